//! What the gateway adds to a model call: `scripts/bench`, one command, one table, ratios in one run.
//!
//! The stand-in answers at once, so that the differences to asking it directly are the gateway's.
//! No figure is a test: a machine that is busy, or another one, gives others.

mod client;
mod measure;
mod process;
mod table;
mod targets;

use std::io::Write;
use std::path::PathBuf;
use testkit::bench::{Failure, Scratch};

// One thread: the client must not take turns with itself on the cores that it shares.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    // Other builds of the gateway, to compare in the same run: `scripts/bench PROGRAM...`.
    let others: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let scratch = Scratch::new()?;
    let targets = targets::start(&scratch, &others).await?;
    let figures = measure::run(&targets).await?;
    let start = measure::start_up(&scratch, &targets[0].process).await?;
    write!(std::io::stdout(), "{}", table::of(&targets, &figures, start))?;
    Ok(())
}
