//! The two functions from their start on: `scripts/bench-lambda`, one command, one table.
//!
//! Each is started again and again, in turns with a handler in Python that does the same with boto3.
//! The Runtime API, the Bedrock stand-in and `@connections` are in this process, the latter two behind
//! TLS under an authority of its own. `--search` measures instead what a search in an OpenSearch adds to the
//! first reply, for `scripts/bench-retrieval`. No figure is a test: another machine gives others.

mod functions;
mod measure;
mod relay;
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
    const USAGE: &str = "usage: bench-lambda PYTHON | bench-lambda --search HOST:PORT";
    let first = std::env::args().nth(1).ok_or(USAGE)?;
    let scratch = Scratch::new()?;
    if first == "--search" {
        let server = std::env::args().nth(2).ok_or(USAGE)?;
        let mut world = world::World::open(&scratch, Some(server)).await?;
        let functions = functions::searching()?;
        let figures = measure::searched(&mut world, &functions).await?;
        write!(std::io::stdout(), "{}", table::searched(&functions, &figures))?;
        return Ok(());
    }
    let python = PathBuf::from(first);
    let mut world = world::World::open(&scratch, None).await?;
    let functions = functions::all(&python)?;
    let shares = share::Share::of_128_mb();
    if let Err(why) = &shares {
        writeln!(std::io::stderr(), "no share of a CPU is measured: {why}")?;
    }
    let figures = measure::run(&mut world, &functions, shares.is_ok()).await?;
    write!(std::io::stdout(), "{}", table::of(&functions, &figures))?;
    Ok(())
}
