//! The processes that are measured, and what Linux says of them.

use crate::client::Failure;
use std::fs::{File, read_dir, read_to_string};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::time::sleep;

/// A process may take this long until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// A child that ends with the benchmark.
pub struct Process {
    /// Where it listens.
    pub address: SocketAddr,
    /// From its start until it said so.
    pub started_in: Duration,
    pid: u32,
    _child: Child,
}

impl Process {
    /// Starts a program and waits for the line in which it says `http://ADDRESS`.
    pub async fn start(mut command: Command, said: &Path) -> Result<Process, Failure> {
        let begun = Instant::now();
        let child = spawn(&mut command, said)?;
        while begun.elapsed() < PATIENCE {
            if let Some(address) = address(&read_to_string(said)?) {
                return Process::of(child, address, begun.elapsed());
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
        let child = spawn(&mut command, said)?;
        while begun.elapsed() < PATIENCE {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Process::of(child, address, begun.elapsed());
            }
            sleep(Duration::from_millis(1)).await;
        }
        Err(format!("it does not listen: {}", read_to_string(said)?).into())
    }

    fn of(child: Child, address: SocketAddr, started_in: Duration) -> Result<Process, Failure> {
        let pid = child.id().ok_or("it has ended already")?;
        Ok(Process { address, started_in, pid, _child: child })
    }

    /// CPU time so far, in seconds. The scheduler's own count: `stat` counts in steps of 10 ms.
    pub fn cpu(&self) -> Result<f64, Failure> {
        let mut nanos = 0;
        for thread in read_dir(format!("/proc/{}/task", self.pid))? {
            // A thread that ended meanwhile has no file any more.
            let text = read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
            nanos += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(nanos as f64 / 1e9)
    }

    /// Resident memory, in MB of 1,000,000 bytes.
    pub fn rss(&self) -> Result<f64, Failure> {
        let status = read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024.0 / 1e6)
    }
}

fn spawn(command: &mut Command, said: &Path) -> Result<Child, Failure> {
    let file = File::create(said)?;
    // A file and no pipe: reading a pipe would take CPU from what is measured.
    let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
    Ok(child
        .spawn()
        .map_err(|error| format!("{:?} does not start: {error}", command.as_std().get_program()))?)
}

fn address(said: &str) -> Option<SocketAddr> {
    let (_, rest) = said.split_once("http://")?;
    // The whole line must be there, or half an address could be read.
    rest.split_once('\n')?.0.trim().parse().ok()
}

/// A directory of the benchmark's own, removed at its end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// Creates it.
    pub fn new() -> Result<Scratch, Failure> {
        let dir = std::env::temp_dir().join(format!("llm-gateway-bench-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("documents"))?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_dir_all(&self.0);
    }
}
