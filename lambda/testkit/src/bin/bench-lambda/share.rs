//! A share of one CPU, as Lambda gives it by memory: 1,769 MB is one, 128 MB is 7.2 % of it. The
//! kernel's bandwidth control (cgroup v1 or v2) cuts it into periods of 20 ms, the length that users
//! of Lambda have observed.

use std::fs::{create_dir, remove_dir, write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;
use testkit::bench::Failure;
use tokio::process::Command;

/// Microseconds.
const PERIOD: u32 = 20_000;
const QUOTA: u32 = PERIOD * 128 / 1769;

/// A control group, removed with this. Each process needs one of its own: what a killed one still
/// did would be held against the next.
pub struct Share(PathBuf);

impl Share {
    /// The share of a function with 128 MB.
    ///
    /// # Errors
    /// Where control groups cannot be written, which needs root.
    pub fn of_128_mb() -> Result<Share, Failure> {
        let name = format!("llm-gateway-bench-{}", uuid::Uuid::new_v4());
        let version_1 = Path::new("/sys/fs/cgroup/cpu");
        let root = if version_1.is_dir() { version_1 } else { Path::new("/sys/fs/cgroup") };
        let group = root.join(name);
        create_dir(&group).map_err(|error| format!("{}: {error}", group.display()))?;
        let share = Share(group);
        match root == version_1 {
            true => {
                share.set("cpu.cfs_period_us", &PERIOD.to_string())?;
                share.set("cpu.cfs_quota_us", &QUOTA.to_string())?;
            }
            false => share.set("cpu.max", &format!("{QUOTA} {PERIOD}"))?,
        }
        Ok(share)
    }

    /// Puts a running process into it, with all its threads.
    pub fn take(&self, pid: u32) -> Result<(), Failure> {
        self.set("cgroup.procs", &pid.to_string())
    }

    /// A command whose program is in it from its first instruction on.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        let enter = "echo $$ > \"$0\"/cgroup.procs && exec \"$@\"";
        command.args(["-c", enter]).arg(&self.0).arg(program);
        command
    }

    fn set(&self, file: &str, value: &str) -> Result<(), Failure> {
        let path = self.0.join(file);
        Ok(write(&path, value).map_err(|error| format!("{}: {error}", path.display()))?)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // The last process may take a moment to be gone.
        for _ in 0..100 {
            if remove_dir(&self.0).is_ok() {
                return;
            }
            sleep(Duration::from_millis(10));
        }
    }
}
