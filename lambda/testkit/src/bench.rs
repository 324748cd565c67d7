//! What both benchmarks need: measured processes, a directory of their own, medians.

mod process;

pub use process::Measured;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whatever stops a benchmark, as a sentence.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The middle value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A program that was built together with this one.
pub fn beside(name: &str) -> io::Result<PathBuf> {
    let here = std::env::current_exe()?;
    Ok(here.parent().unwrap_or(Path::new(".")).join(name))
}

/// A directory of the benchmark's own, removed at its end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// Creates it, empty.
    pub fn new() -> io::Result<Scratch> {
        let dir = std::env::temp_dir().join(format!("llm-gateway-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_dir_all(&self.0);
    }
}
