//! The text of a PDF, by page, taken out by a process of its own: a file that makes the reader panic, recurse
//! or grow loses only itself.
//!
//! The reader is `pdf-extract`: it knows fonts' encodings, which `lopdf` alone does not, and brings 40 crates
//! that are not here already; `pdf_oxide` would bring more than a hundred. PDFium and MuPDF are programs in
//! C++ and C, and MuPDF's licence asks for the whole gateway's source.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

/// The hidden command.
pub const COMMAND: &str = "pdf-text";

/// How long a file may take, and the seconds of a processor that it may.
const LIMIT: Duration = Duration::from_secs(60);
/// Bytes of memory, and of text, at most.
const MEMORY: u64 = 1024 * 1024 * 1024;
const LONGEST: u64 = 64 * 1024 * 1024;

/// The pages' texts.
///
/// # Errors
/// A sentence's end: why there is no text.
pub async fn pages(path: &Path) -> Result<Vec<String>, String> {
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let program = std::env::current_exe().map_err(|error| format!("cannot be read: {error}"))?;
    let mut child = Command::new(program)
        .arg(COMMAND)
        .stdin(file)
        .stdout(Stdio::piped())
        // What a panic says may quote the file.
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot be read: no process can be started: {error}"))?;
    let mut said = Vec::new();
    let output = child.stdout.take();
    let all = async {
        if let Some(output) = output {
            output.take(LONGEST + 1).read_to_end(&mut said).await?;
        }
        child.wait().await
    };
    let ended = timeout(LIMIT, all).await.map_err(|_| format!("took longer than {} s", LIMIT.as_secs()))?;
    let ended = ended.map_err(|error| format!("cannot be read: {error}"))?;
    if said.len() as u64 > LONGEST {
        return Err("holds more than 64 MB of text".to_owned());
    }
    // The reader's library writes to standard output too; the pages are the last line.
    let last = said.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let pages = serde_json::from_slice::<Vec<String>>(last).ok().filter(|_| ended.success());
    pages.ok_or_else(|| "is no PDF that can be read: it is damaged, encrypted or too complex".to_owned())
}

/// The process: a PDF comes in, a line of JSON goes out.
pub fn extract() -> ExitCode {
    // Where a limit cannot be set the caller's clock is left.
    let _memory = rlimit::setrlimit(rlimit::Resource::AS, MEMORY, MEMORY);
    let _time = rlimit::setrlimit(rlimit::Resource::CPU, LIMIT.as_secs(), LIMIT.as_secs());
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes);
    let Ok(pages) = read
        .map_err(|_| ())
        .and_then(|_| pdf_extract::extract_text_from_mem_by_pages(&bytes).map_err(|_| ()))
    else {
        return ExitCode::FAILURE;
    };
    let line = serde_json::to_string(&pages).unwrap_or_default();
    match writeln!(std::io::stdout(), "\n{line}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
