//! The children: started with Lambda's environment, listened to, signalled.

use super::function::Setup;
use super::records::Line;
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

pub(super) use rustix::process::Signal;

/// Starts a function's binary with a clean environment and this Runtime API.
pub(super) fn spawn(setup: &Arc<Setup>, api: SocketAddr) -> io::Result<Child> {
    let mut command = Command::new(&setup.program);
    command.env_clear();
    command.envs(variables(setup.name));
    command.env("AWS_LAMBDA_RUNTIME_API", api.to_string());
    command.envs(setup.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);

    let mut child = command.spawn()?;
    let pid = child.id().unwrap_or_default();
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(keep_lines(Arc::clone(setup), pid, "stdout", stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(keep_lines(Arc::clone(setup), pid, "stderr", stderr));
    }
    Ok(child)
}

/// The variables of every function but `AWS_LAMBDA_RUNTIME_API`. The keys mean nothing, but the access key
/// says whose calls a tap sees.
pub fn variables(function: &str) -> [(&'static str, &str); 13] {
    [
        ("AWS_LAMBDA_FUNCTION_NAME", function),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/emulator"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "emulator"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", function),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_SESSION_TOKEN", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("TZ", ":UTC"),
    ]
}

/// Signals a process that is known to be there.
pub(super) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended by itself a moment ago; its end is noticed elsewhere.
        let _best_effort = rustix::process::kill_process(pid, signal);
    }
}

async fn keep_lines(setup: Arc<Setup>, pid: u32, stream: &'static str, from: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let text = String::from_utf8_lossy(&line).into_owned();
        setup.records.line(Line { function: setup.name.to_owned(), pid, stream, text });
    }
}
