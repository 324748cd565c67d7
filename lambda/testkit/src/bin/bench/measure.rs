//! The measurements: rounds that take turns, so that what else the machine does hits all alike.

use crate::client::{Connection, Timing};
use crate::process::Process;
use crate::targets::{Setup, Target, gateway};
use futures_util::future::{try_join, try_join_all};
use std::cell::Cell;
use std::time::{Duration, Instant};
use testkit::bench::{Failure, Scratch, beside, median, ms};
use tokio::time::{sleep, timeout};

/// Requests of a kind in a round, rounds that count, and rounds before them that do not.
const REQUESTS: usize = 50;
const ROUNDS: usize = 14;
const WARM_UP: usize = 2;

/// Connections, turns and length of the throughput measurement.
const CONNECTIONS: usize = 64;
const TURNS: usize = 3;
const TURN: Duration = Duration::from_millis(1000);

/// Streams that are open at once, and how slowly they flow: all are open before the first ends.
const STREAMS: usize = 1000;
const SLOW: &str = r#"@standin{"gap_ms":500}"#;
const SLOW_TIME: Duration = Duration::from_secs(15);

/// Starts of which the median counts.
const STARTS: usize = 5;

/// What was measured of one kind of request: milliseconds.
#[derive(Default)]
pub struct Sample {
    /// To the first byte.
    pub first: Vec<f64>,
    /// To the end.
    pub whole: Vec<f64>,
    /// CPU of the process, all requests together.
    pub cpu: f64,
}

impl Sample {
    /// CPU a request.
    pub fn cpu_each(&self) -> f64 {
        self.cpu / self.whole.len().max(1) as f64
    }
}

/// Everything that was measured of one target.
#[derive(Default)]
pub struct Figures {
    /// Plain answers.
    pub plain: Sample,
    /// Streamed ones.
    pub stream: Sample,
    /// Plain answers a second, each turn.
    pub rate: Vec<f64>,
    /// Resident memory in MB: at rest, after the load, with all streams open.
    pub rss: [Option<f64>; 3],
}

/// Runs all measurements; one entry a target.
pub async fn run(targets: &[Target]) -> Result<Vec<Figures>, Failure> {
    let mut figures: Vec<Figures> = targets.iter().map(|_| Figures::default()).collect();
    for (target, figures) in targets.iter().zip(&mut figures) {
        figures.rss[0] = Some(target.process.measured.rss()?);
    }
    latency(targets, &mut figures).await?;
    for _ in 0..TURNS {
        for (target, figures) in targets.iter().zip(&mut figures) {
            figures.rate.push(throughput(target).await.map_err(|error| in_row(target, error))?);
        }
    }
    for (target, figures) in targets.iter().zip(&mut figures) {
        figures.rss[1] = Some(target.process.measured.rss()?);
    }
    for (target, figures) in targets.iter().zip(&mut figures) {
        if target.is_gateway() && target.owns_process {
            figures.rss[2] = Some(with_streams(target).await.map_err(|error| in_row(target, error))?);
        }
    }
    Ok(figures)
}

fn in_row(target: &Target, error: Failure) -> Failure {
    format!("{}: {error}", target.name).into()
}

async fn latency(targets: &[Target], figures: &mut [Figures]) -> Result<(), Failure> {
    let mut connections = Vec::new();
    for target in targets {
        connections.push(Connection::open(target.process.address).await?);
    }
    for round in 0..WARM_UP + ROUNDS {
        for ((target, figures), connection) in targets.iter().zip(figures.iter_mut()).zip(&mut connections) {
            for stream in [false, true] {
                let (timings, cpu) =
                    a_round(target, connection, stream).await.map_err(|error| in_row(target, error))?;
                if round < WARM_UP {
                    continue;
                }
                let sample = if stream { &mut figures.stream } else { &mut figures.plain };
                sample.first.extend(timings.iter().map(|timing| ms(timing.first)));
                sample.whole.extend(timings.iter().map(|timing| ms(timing.whole)));
                sample.cpu += cpu * 1e3;
            }
        }
    }
    Ok(())
}

async fn a_round(
    target: &Target,
    connection: &mut Connection,
    stream: bool,
) -> Result<(Vec<Timing>, f64), Failure> {
    let mut timings = Vec::with_capacity(REQUESTS);
    let before = target.process.measured.cpu()?;
    for _ in 0..REQUESTS {
        timings.push(connection.send(target.ask(stream)).await?);
    }
    Ok((timings, target.process.measured.cpu()? - before))
}

/// Plain answers a second over many connections, each with one request at a time.
async fn throughput(target: &Target) -> Result<f64, Failure> {
    let (done, stop) = (Cell::new(0_u32), Cell::new(false));
    let client = || async {
        let mut connection = Connection::open(target.process.address).await?;
        while !stop.get() {
            connection.send(target.ask(false)).await?;
            done.set(done.get() + 1);
        }
        Ok::<(), Failure>(())
    };
    let clock = async {
        sleep(TURN).await;
        stop.set(true);
        Ok(())
    };
    let begun = Instant::now();
    try_join(try_join_all((0..CONNECTIONS).map(|_| client())), clock).await?;
    Ok(f64::from(done.get()) / begun.elapsed().as_secs_f64())
}

/// Resident memory while all streams are open, each past its first byte.
async fn with_streams(target: &Target) -> Result<f64, Failure> {
    let open = (0..STREAMS).map(|_| async {
        let mut connection = Connection::open(target.process.address).await?;
        let (body, ..) = connection.begin(target.ask_with(true, SLOW)).await?;
        Ok::<_, Failure>((connection, body))
    });
    let open =
        timeout(SLOW_TIME, try_join_all(open)).await.map_err(|_| "the first stream ended too soon")??;
    let rss = target.process.measured.rss();
    drop(open);
    rss
}

/// Milliseconds from start to listening, the median of a few.
pub async fn start_up(scratch: &Scratch, upstream: &Process) -> Result<f64, Failure> {
    let mut times = Vec::new();
    let program = beside("llm-gateway")?;
    for _ in 0..STARTS {
        let setup = Setup { program: &program, bearer: true, store: true };
        times.push(ms(gateway(scratch, upstream.address, setup).await?.started_in));
    }
    Ok(median(&times))
}
