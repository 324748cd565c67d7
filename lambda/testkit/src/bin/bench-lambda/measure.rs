//! The measurements: rounds that take turns, so that what else the machine does hits all alike.

use crate::functions::{Door, Function, Running};
use crate::share::Share;
use crate::world::World;
use std::time::Instant;
use testkit::bench::{Failure, ms};

/// Starts that count, and one before them that fills the disk's cache.
const STARTS: usize = 21;
const WARM_UP: usize = 1;

/// Starts within a share of a CPU: Python's take seconds.
const SHARED_STARTS: usize = 7;

/// Further replies before memory is read.
const MORE: usize = 5;

/// Replies of a warm process, and those before them that do not count.
const REPLIES: usize = 200;
const UNCOUNTED: usize = 20;

/// Between two tokens of the model, so that the first goes alone.
const GAP_MS: u64 = 3;

/// What was measured of a function; milliseconds and megabytes, empty where it does not apply.
#[derive(Default)]
pub struct Figures {
    /// From the process's start to its first question for an event.
    pub ready: Vec<f64>,
    /// From the process's start to the end of its first reply.
    pub reply: Vec<f64>,
    /// CPU of the process until then.
    pub cpu: Vec<f64>,
    /// Resident memory after the first replies.
    pub rss: Vec<f64>,
    /// At 128 MB: from the first event to the end of its reply, started with a whole CPU.
    pub shared_reply: Vec<f64>,
    /// At 128 MB: from the process's start to the end of its first reply.
    pub shared_start: Vec<f64>,
    /// Warm: from the model's first chunk to the client's.
    pub first_chunk: Vec<f64>,
}

/// What was measured of starts that search, in milliseconds.
#[derive(Default)]
pub struct Searched {
    /// From the process's start to the end of its first reply.
    pub reply: Vec<f64>,
    /// Of that, what OpenSearch took itself.
    pub server: Vec<f64>,
}

/// Runs all measurements; one entry a function.
pub async fn run(
    world: &mut World,
    functions: &[Function],
    has_shares: bool,
) -> Result<Vec<Figures>, Failure> {
    let mut all: Vec<Figures> = functions.iter().map(|_| Figures::default()).collect();
    world.pace(0);
    for round in 0..WARM_UP + STARTS {
        for (function, figures) in functions.iter().zip(&mut all) {
            let mut ignored = Figures::default();
            let figures = if round < WARM_UP { &mut ignored } else { figures };
            cold(world, function, figures).await.map_err(|error| in_row(function, error))?;
        }
    }
    // Without shares their columns stay empty.
    for _ in 0..if has_shares { SHARED_STARTS } else { 0 } {
        for (function, figures) in functions.iter().zip(&mut all) {
            shared(world, function, figures).await.map_err(|error| in_row(function, error))?;
        }
    }
    world.pace(GAP_MS);
    for (function, figures) in functions.iter().zip(&mut all) {
        // Lambda's runtime for Python posts a reply when it is whole.
        if function.is_ours() || function.door == Door::Ws {
            warm(world, function, figures).await.map_err(|error| in_row(function, error))?;
        }
    }
    Ok(all)
}

/// Starts that search. The first of `functions` is without a search.
pub async fn searched(world: &mut World, functions: &[Function]) -> Result<Vec<Searched>, Failure> {
    let mut all: Vec<Searched> = functions.iter().map(|_| Searched::default()).collect();
    world.pace(0);
    for round in 0..WARM_UP + STARTS {
        for (function, figures) in functions.iter().zip(&mut all) {
            world.waited();
            let mut running = Running::start(world, function, None).await?;
            let begun = running.begun;
            let reply = running.ask(world, false).await.map_err(|error| in_row(function, error))?;
            if round >= WARM_UP {
                figures.reply.push(ms(reply.end - begun));
                figures.server.push(ms(world.waited()));
            }
            running.measured.end().await?;
        }
    }
    Ok(all)
}

fn in_row(function: &Function, error: Failure) -> Failure {
    format!("{}: {error}", function.name).into()
}

async fn cold(world: &mut World, function: &Function, figures: &mut Figures) -> Result<(), Failure> {
    let mut running = Running::start(world, function, None).await?;
    let begun = running.begun;
    let reply = running.ask(world, false).await?;
    figures.reply.push(ms(reply.end - begun));
    figures.cpu.push(running.measured.cpu()? * 1e3);
    figures.ready.push(ms(running.ready().await? - begun));
    for _ in 0..MORE {
        running.ask(world, false).await?;
    }
    figures.rss.push(running.measured.rss()?);
    running.measured.end().await
}

async fn shared(world: &mut World, function: &Function, figures: &mut Figures) -> Result<(), Failure> {
    let share = Share::of_128_mb()?;
    let mut running = Running::start(world, function, None).await?;
    running.ready().await?;
    share.take(running.measured.pid)?;
    let begun = Instant::now();
    let reply = running.ask(world, false).await?;
    figures.shared_reply.push(ms(reply.end - begun));
    running.measured.end().await?;
    drop(share);

    let share = Share::of_128_mb()?;
    let mut running = Running::start(world, function, Some(&share)).await?;
    let reply = running.ask(world, false).await?;
    figures.shared_start.push(ms(reply.end - running.begun));
    running.measured.end().await
}

async fn warm(world: &mut World, function: &Function, figures: &mut Figures) -> Result<(), Failure> {
    let mut running = Running::start(world, function, None).await?;
    for number in 0..UNCOUNTED + REPLIES {
        let reply = running.ask(world, true).await?;
        if number >= UNCOUNTED {
            figures.first_chunk.push(ms(reply.first.saturating_duration_since(world.model_spoke()?)));
        }
    }
    running.measured.end().await
}
