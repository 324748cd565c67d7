//! A process that is measured, and what Linux says of it.

use super::Failure;
use std::fs::{File, read_dir, read_to_string};
use std::path::Path;
use std::process::Stdio;
use tokio::process::{Child, Command};

/// A child that ends with this.
pub struct Measured {
    /// Its process id.
    pub pid: u32,
    child: Child,
}

impl Measured {
    /// Starts a program that writes what it says into this file.
    ///
    /// # Errors
    /// A sentence that names the program.
    pub fn spawn(command: &mut Command, said: &Path) -> Result<Measured, Failure> {
        let file = File::create(said)?;
        // A file and no pipe: reading a pipe would take CPU from what is measured.
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        let child = child.spawn();
        let child =
            child.map_err(|error| format!("{:?} does not start: {error}", command.as_std().get_program()))?;
        let pid = child.id().ok_or("it has ended already")?;
        Ok(Measured { pid, child })
    }

    /// Kills it and waits until it is gone, so that its end does not disturb what comes next.
    ///
    /// # Errors
    /// The system's.
    pub async fn end(mut self) -> Result<(), Failure> {
        Ok(self.child.kill().await?)
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
