//! OpenSearch with k-NN and neural-search on a free port of loopback, one node for a test binary.
//! `scripts/fetch-opensearch` has put it under the target directory; where `OPENSEARCH_TEST_ENDPOINT` names a
//! server, that one is used. Tests take indexes of their own.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

struct Node {
    url: String,
    /// The node ends when its standard input does: with this process, however that ends.
    _process: Child,
}

/// The server's URL, without a slash at its end. Panics with what to do where it cannot be started.
pub fn url() -> &'static str {
    static ENDPOINT: OnceLock<Option<String>> = OnceLock::new();
    static NODE: OnceLock<Node> = OnceLock::new();
    let endpoint = ENDPOINT.get_or_init(|| std::env::var("OPENSEARCH_TEST_ENDPOINT").ok());
    endpoint.as_deref().unwrap_or_else(|| &NODE.get_or_init(start).url).trim_end_matches('/')
}

fn start() -> Node {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("opensearch").join("start");
    let home = program.parent().unwrap();
    assert!(program.is_file(), "{} is not there: run scripts/fetch-opensearch {0}", home.display());
    let ours = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("opensearch-{}", std::process::id()));
    let log = ours.with_extension("log");
    let mut process = Command::new(&program)
        .arg(&ours)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(url.starts_with("http://"), "OpenSearch did not start: {said}");
    // A log that is open can be removed, and then leaves nothing behind.
    std::fs::remove_file(&log).unwrap();
    Node { url: url.trim().to_owned(), _process: process }
}
