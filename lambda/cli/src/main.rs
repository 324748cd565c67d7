//! The `llm-gateway` command: every door of the gateway on one machine.

mod collection;
mod doctor;
mod domain;
mod guard;
mod index;
mod kept;
mod options;
mod progress;
mod rows;
mod serve;
mod server;
mod signals;
mod threads;
mod upload;
mod websocket;

use clap::Parser;
use options::{Cli, Command};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = Cli::parse().command();
    if matches!(command, Command::PdfText) {
        return index::pdf::extract();
    }
    // One process serves thousands of connections; the usual soft limit of 1,024 files would end that.
    let _as_many_as_allowed = rlimit::increase_nofile_limit(u64::MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(32).enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(command)),
        Err(error) => Err(format!("The runtime cannot start: {error}.")),
    };
    match done {
        Ok(code) => code,
        Err(sentence) => {
            say(&sentence);
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Serve(options) => serve::serve(options).await.map(|()| ExitCode::SUCCESS),
        Command::Doctor(options) => doctor::doctor(*options).await,
        Command::Upload(options) => upload::upload(*options).await,
        Command::Index(options) => index::index(*options).await,
        Command::PdfText => Ok(index::pdf::extract()),
    }
}

/// A line for the person at the terminal: data goes to standard output, everything else here.
pub fn say(line: &str) {
    // A closed standard error leaves nobody to tell.
    let _closed = writeln!(std::io::stderr(), "{line}");
}
