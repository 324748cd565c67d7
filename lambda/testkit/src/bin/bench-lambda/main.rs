//! The two functions from their start on: `scripts/bench-lambda`, one command, one table.
//!
//! Each is started again and again, in turns with a handler in Python that does the same with boto3.
//! The Runtime API, the Bedrock stand-in and `@connections` are in this process, the latter two behind
//! TLS under an authority of its own. No figure is a test: another machine gives others.

mod functions;
mod measure;
mod runtime;
mod share;
mod table;
mod world;

use std::io::Write;
use std::path::PathBuf;
use testkit::bench::{Failure, Scratch};

// One thread: what is measured has the other core.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let python = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: bench-lambda PYTHON")?;
    let scratch = Scratch::new()?;
    let mut world = world::World::open(&scratch).await?;
    let functions = functions::all(&python)?;
    let shares = share::Share::of_128_mb();
    if let Err(why) = &shares {
        writeln!(std::io::stderr(), "no share of a CPU is measured: {why}")?;
    }
    let figures = measure::run(&mut world, &functions, shares.is_ok()).await?;
    write!(std::io::stdout(), "{}", table::of(&functions, &figures))?;
    Ok(())
}
