//! What `serve` needs of this machine: a port, a place to write, documents to read.

use super::report::Finding;
use crate::guard::Guard;
use crate::options::ServeOptions;
use gateway::config::Settings;
use gateway::retrieval::Mode;
use gateway::retrieval::passages;
use gateway::search_model::SearchModel;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long whatever has the port may take to say what it is.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Endpoints of AWS's services that are no addresses: the SDK takes one for a mistake in its own code.
pub fn endpoints(vars: &[(String, String)]) -> Vec<Finding> {
    let is_address =
        |url: &str| url.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some());
    let named = vars.iter().filter(|(name, _)| name.starts_with("AWS_ENDPOINT_URL"));
    let wrong = named.filter(|(_, url)| !is_address(url));
    let sentence = |(name, _): &(String, String)| {
        Finding::wrong(
            "settings",
            format!("{name} is no URL. Unset it, or write it with http:// or https://."),
        )
    };
    wrong.map(sentence).collect()
}

/// Who may call, and whether the port is free.
pub async fn door(options: &ServeOptions, origins: &[String]) -> Vec<Finding> {
    let allowed: Vec<String> = options.allow_origin.iter().chain(origins).cloned().collect();
    let mut findings = Vec::new();
    if let Err(sentence) = Guard::new(options.host, &options.allow_host, &allowed, &options.api_key) {
        findings.push(Finding::wrong("access", sentence));
    }
    let (host, port) = (options.host, options.port);
    findings.push(match TcpListener::bind((host, port)).await {
        Ok(_) if port == 0 => Finding::ok("port", "one that is free is chosen"),
        Ok(_) => Finding::ok("port", format!("{port} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_gateway(options).await => {
            Finding::note("port", format!("{port} is taken by a gateway that runs"))
        }
        Err(error) => Finding::wrong(
            "port",
            format!("{host} port {port} cannot be listened on: {error}. Choose another one with --port."),
        ),
    });
    findings
}

/// Does what listens there answer as a gateway does?
async fn is_gateway(options: &ServeOptions) -> bool {
    let host = if options.host.is_unspecified() { [127, 0, 0, 1].into() } else { options.host };
    let asked = async {
        let mut stream = TcpStream::connect((host, options.port)).await?;
        let request = format!("GET /health HTTP/1.0\r\nHost: {host}:{}\r\n\r\n", options.port);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(4096).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = timeout(ANSWER_LIMIT, asked).await;
    let answer = answer.ok().and_then(Result::ok).unwrap_or_default();
    // With keys its health is not told to strangers; that it wants one is.
    let said = String::from_utf8_lossy(&answer).into_owned();
    said.contains("\"status\":\"ok\"") || said.contains("\"code\":\"unauthorized\"")
}

/// Where everything is kept, unless in tables.
pub fn data(options: &ServeOptions) -> Finding {
    let dir = &options.data;
    let shown = dir.display();
    if options.no_store {
        return Finding::note("data directory", "nothing is kept (--no-store)");
    }
    match std::fs::metadata(dir) {
        Ok(found) if !found.is_dir() => Finding::wrong(
            "data directory",
            format!("{shown} is a file. Name a directory with --data, or remove it."),
        ),
        Ok(_) => match tempfile::tempfile_in(dir) {
            Ok(_) => Finding::ok("data directory", format!("{shown} can be written to")),
            Err(error) => Finding::wrong(
                "data directory",
                format!("{shown} cannot be written to: {error}. Name another one with --data."),
            ),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => to_be_made(dir),
        Err(error) => Finding::wrong(
            "data directory",
            format!("{shown} cannot be reached: {error}. Name another one with --data."),
        ),
    }
}

/// A directory that is not there yet is made by whoever begins to write, where that can be done.
fn to_be_made(dir: &Path) -> Finding {
    let whole = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let above = whole.ancestors().skip(1).find(|above| above.exists());
    match above.map(tempfile::tempfile_in) {
        Some(Ok(_)) => Finding::ok("data directory", format!("{} will be made", dir.display())),
        _ => Finding::wrong(
            "data directory",
            format!("{} is not there and cannot be made. Name another one with --data.", dir.display()),
        ),
    }
}

/// What is searched where no OpenSearch is named.
pub fn documents(options: &ServeOptions, settings: &Settings, model: &SearchModel) -> Finding {
    if let Some(dir) = &options.documents {
        return match gateway::retrieval::documents::signature(dir) {
            Ok(files) if files.is_empty() => Finding::wrong(
                "documents",
                format!(
                    "{} has no .md or .txt file. Name another directory with --documents.",
                    dir.display()
                ),
            ),
            Ok(files) => Finding::ok("documents", format!("{} files in {}", files.len(), dir.display())),
            Err(error) => {
                Finding::wrong("documents", format!("--documents {} cannot be read: {error}.", dir.display()))
            }
        };
    }
    let file = options.data.join(passages::FILE);
    if !file.exists() {
        let own = "the gateway's own; `llm-gateway index PATH` or --documents DIR brings others";
        return Finding::ok("documents", own);
    }
    let model = (settings.retrieval.mode != Mode::Text).then_some(model.choice.entry.id.as_str());
    match passages::read(&file, model) {
        Ok(document) => {
            let passages = document.passages.len();
            Finding::ok("documents", format!("{passages} passages in {}", file.display()))
        }
        Err(sentence) => Finding::wrong("documents", sentence),
    }
}

/// The curated answers of `--answers`.
pub fn answers(options: &ServeOptions) -> Option<Finding> {
    let file = options.answers.as_ref()?;
    Some(match crate::rows::all(file) {
        Ok(rows) => Finding::ok("answers", format!("{} curated answers in {}", rows.len(), file.display())),
        Err(why) => Finding::wrong("answers", format!("--answers {why}")),
    })
}
