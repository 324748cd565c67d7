//! A file of rows as bytes: gzip or not, a pipe or not, readable more than once.

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read, Seek};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What reading takes from the file at a time.
const CHUNK: usize = 128 * 1024;

/// The byte order mark that some editors put before UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A file that can be read from its beginning again. What cannot, standard input for one, has been
/// copied into a file without a name, which ends with the process.
pub struct Source {
    /// How messages name it.
    pub name: String,
    /// Bytes, as they lie on disk.
    pub size: u64,
    file: File,
}

/// Bytes read so far and their digest, seen from outside the reader.
#[derive(Clone, Default)]
pub struct Meter {
    bytes: Arc<AtomicU64>,
    digest: Arc<Mutex<Sha256>>,
}

impl Meter {
    /// Bytes of the file that were read.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The hex SHA-256 of the bytes that were read.
    pub fn digest(&self) -> String {
        let digest = self.digest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        gateway::digest::hex(&digest.finalize())
    }
}

impl Source {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// A sentence that names it.
    pub fn open(path: &Path) -> Result<Source, String> {
        if path == Path::new("-") {
            let name = "standard input".to_owned();
            let file = spool(&mut std::io::stdin().lock(), &name)?;
            return Source::of(file, name);
        }
        let name = path.display().to_string();
        let cannot = |error| format!("{name} cannot be read: {error}.");
        let mut file = File::open(path).map_err(cannot)?;
        let kind = file.metadata().map_err(cannot)?;
        if kind.is_dir() {
            return Err(format!("{name} is a directory. Name a file of rows."));
        }
        if !kind.is_file() {
            file = spool(&mut file, &name)?;
        }
        Source::of(file, name)
    }

    fn of(file: File, name: String) -> Result<Source, String> {
        let size = file.metadata().map_err(|error| format!("{name} cannot be read: {error}."))?.len();
        Ok(Source { name, size, file })
    }

    /// The rows' bytes from the beginning, without gzip and byte order mark. One reader at a time.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn bytes(&self, meter: Meter) -> Result<Box<dyn BufRead + Send>, String> {
        let cannot = |error: std::io::Error| format!("{} cannot be read: {error}.", self.name);
        let mut file = self.file.try_clone().map_err(cannot)?;
        file.rewind().map_err(cannot)?;
        let metered = BufReader::with_capacity(CHUNK, Metered { file, meter });
        let (head, raw) = peek(metered, 2).map_err(cannot)?;
        let plain: Box<dyn BufRead + Send> = match head.starts_with(b"\x1f\x8b") {
            true => Box::new(BufReader::with_capacity(CHUNK, MultiGzDecoder::new(raw))),
            false => Box::new(raw),
        };
        let (head, mut plain) = peek(plain, BOM.len()).map_err(|error| self.broken(&error))?;
        if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            return Err(format!("{} is UTF-16 text. Save it as UTF-8.", self.name));
        }
        if head == BOM {
            plain.consume(BOM.len());
        }
        Ok(Box::new(plain))
    }

    /// What a failed read means.
    pub fn broken(&self, error: &std::io::Error) -> String {
        match error.kind() {
            ErrorKind::UnexpectedEof => {
                format!("{} is cut off: its gzip data ends too early. Copy it again.", self.name)
            }
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                format!("{} is damaged: {error}. Copy it again.", self.name)
            }
            _ => format!("{} cannot be read: {error}.", self.name),
        }
    }
}

/// The first bytes, and a reader that still gives them.
fn peek<R: BufRead>(mut from: R, most: usize) -> std::io::Result<(Vec<u8>, impl BufRead + use<R>)> {
    let mut head = Vec::with_capacity(most);
    from.by_ref().take(most as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(from)))
}

/// Copies what can be read once into a file that has no name and only this user can open.
fn spool(from: &mut dyn Read, name: &str) -> Result<File, String> {
    let cannot = |error| {
        let dir = std::env::temp_dir();
        format!(
            "{name} cannot be kept in {} for its two readings: {error}. TMPDIR names another directory.",
            dir.display()
        )
    };
    let mut file = tempfile::tempfile().map_err(cannot)?;
    std::io::copy(from, &mut file).map_err(cannot)?;
    Ok(file)
}

struct Metered {
    file: File,
    meter: Meter,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.meter.bytes.fetch_add(count as u64, Ordering::Relaxed);
        self.meter.digest.lock().unwrap_or_else(PoisonError::into_inner).update(&buffer[..count]);
        Ok(count)
    }
}
