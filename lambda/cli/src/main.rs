//! The `llm-gateway` command: every door of the gateway on one machine.

mod guard;
mod kept;
mod options;
mod serve;
mod server;
mod websocket;

use clap::Parser;
use options::{Cli, Command};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let Command::Serve(options) = cli.command();
    // One process serves thousands of connections; the usual soft limit of 1,024 files would end that.
    let _as_many_as_allowed = rlimit::increase_nofile_limit(u64::MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(32).enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(serve::serve(options)),
        Err(error) => Err(format!("The runtime cannot start: {error}.")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            say(&sentence);
            ExitCode::FAILURE
        }
    }
}

/// A line for the person at the terminal: data goes to standard output, everything else here.
pub fn say(line: &str) {
    // A closed standard error leaves nobody to tell.
    let _closed = writeln!(std::io::stderr(), "{line}");
}
