//! The servers that are measured.

use std::fs::read_to_string;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::bench::{Failure, Measured};
use tokio::process::Command;
use tokio::time::sleep;

/// A process may take this long until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that ends with the benchmark.
pub struct Process {
    /// Where it listens.
    pub address: SocketAddr,
    /// From its start until it said so.
    pub started_in: Duration,
    /// What Linux says of it.
    pub measured: Measured,
}

impl Process {
    /// Starts a program and waits for the line in which it says `http://ADDRESS`.
    pub async fn start(mut command: Command, said: &Path) -> Result<Process, Failure> {
        let begun = Instant::now();
        let measured = Measured::spawn(&mut command, said)?;
        while begun.elapsed() < PATIENCE {
            if let Some(address) = address(&read_to_string(said)?) {
                return Ok(Process { address, started_in: begun.elapsed(), measured });
            }
            sleep(Duration::from_millis(1)).await;
        }
        Err(format!("it does not listen: {}", read_to_string(said)?).into())
    }

    /// Starts a program that says nothing, and waits until this address takes connections.
    pub async fn start_at(
        mut command: Command,
        said: &Path,
        address: SocketAddr,
    ) -> Result<Process, Failure> {
        let begun = Instant::now();
        let measured = Measured::spawn(&mut command, said)?;
        while begun.elapsed() < PATIENCE {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Ok(Process { address, started_in: begun.elapsed(), measured });
            }
            sleep(Duration::from_millis(1)).await;
        }
        Err(format!("it does not listen: {}", read_to_string(said)?).into())
    }
}

fn address(said: &str) -> Option<SocketAddr> {
    let (_, rest) = said.split_once("http://")?;
    // The whole line must be there, or half an address could be read.
    rest.split_once('\n')?.0.trim().parse().ok()
}
