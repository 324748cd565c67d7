//! How far an upload has come, in a small file that an interruption leaves behind.

use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// The file has always this many bytes: overwriting it is one write, which a killed process has done
/// or not.
const SIZE: usize = 4096;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Hex SHA-256 of the file as it lies on disk.
    pub file: String,
    /// What was uploaded to.
    pub target: String,
    /// All rows up to this one are written.
    pub rows: u64,
}

/// The state file of one upload, held by one process.
pub struct StateFile {
    path: PathBuf,
    file: File,
    /// What an earlier upload left.
    pub left: Option<State>,
}

impl StateFile {
    /// Opens it, or creates it.
    ///
    /// # Errors
    /// A sentence: it cannot be written, or another process uploads the same file.
    pub fn open(path: PathBuf) -> Result<StateFile, String> {
        let shown = path.display();
        let cannot = |error| {
            format!(
                "{shown}, which keeps the place of an interrupted upload, cannot be written: {error}. Name a directory with --state-dir."
            )
        };
        let mut options = File::options();
        let options = options.create(true).truncate(false).read(true).write(true);
        let mut file = options.open(&path).map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "Another upload of the same file is running: it has {shown} open. Wait for it."
                ));
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
        let mut text = Vec::new();
        file.by_ref().take(SIZE as u64).read_to_end(&mut text).map_err(cannot)?;
        let left = serde_json::from_slice(&text).ok();
        Ok(StateFile { path, file, left })
    }

    /// Keeps a state in place of the one before.
    ///
    /// # Errors
    /// A sentence.
    pub fn save(&self, state: &State) -> Result<(), String> {
        let cannot = |error| format!("{} cannot be written: {error}.", self.path.display());
        let mut text = serde_json::to_vec(state).map_err(|error| cannot(error.into()))?;
        text.resize(text.len().max(SIZE), b' ');
        self.file.write_all_at(&text, 0).map_err(cannot)
    }

    /// Removes it: there is nothing to go on with.
    pub fn remove(self) {
        // One that stays is noticed by its digest, or says that nothing is left to do.
        let _gone = std::fs::remove_file(&self.path);
    }
}
