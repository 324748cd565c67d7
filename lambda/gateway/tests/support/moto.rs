//! A second, independent implementation of DynamoDB's API: moto's server, one for a test binary.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// Starts the server on a port of its own choice and stops it, by its pid, when the standard input ends:
/// that is when the test binary does, however it ends.
const LEASH: &str = r#""$0" -H 127.0.0.1 -p 0 2>&1 & server=$!; read -r _; kill "$server""#;

/// Importing it takes seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    url: String,
    /// Its standard input is the leash.
    _shell: Child,
}

/// The server's address. Panics with what to do where the server is not installed.
pub fn url() -> &'static str {
    static SERVER: OnceLock<Server> = OnceLock::new();
    &SERVER.get_or_init(start).url
}

fn start() -> Server {
    let mut shell = Command::new("sh")
        .arg("-c")
        .arg(LEASH)
        .arg(program())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut heard = Vec::new();
    let url = lines.by_ref().find_map(|line| {
        let url = line.split_once("Running on ").map(|(_, url)| url.trim().to_owned());
        heard.push(line);
        url
    });
    let url = url.unwrap_or_else(|| panic!("moto_server did not start: {}", heard.join("\n")));
    // Its log is read on, or it would stand still once the pipe is full.
    std::thread::spawn(move || lines.for_each(drop));
    first_answer(url.strip_prefix("http://").unwrap());
    Server { url, _shell: shell }
}

/// The first request imports the service; tests, which have time limits, come after it.
fn first_answer(address: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "POST / HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/x-amz-json-1.0\r\n\
         X-Amz-Target: DynamoDB_20120810.ListTables\r\nContent-Length: 2\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, \
         SignedHeaders=host, Signature=none\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("TableNames"), "moto_server says: {answer}");
}

fn program() -> OsString {
    if let Some(program) = std::env::var_os("MOTO_SERVER") {
        return program;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let program = target.join("test-venv/bin/moto_server");
    assert!(
        program.is_file(),
        "{} is not there. `scripts/test` installs it and runs all tests; MOTO_SERVER names another one.",
        program.display()
    );
    program.into()
}
