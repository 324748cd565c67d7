//! The text and Markdown files of a directory, and which of them changed since the last look.

use super::collection::Document;
use super::split::Format;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// A larger file is a dump and not a document.
const LARGEST: u64 = 2 * 1024 * 1024;

/// How the reason begins where the system is in the way, and not what stands in the file.
const UNREAD: &str = "cannot be read";

/// A file that can be told from a later version of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Path from the documents' directory, with `/` between its parts.
    pub name: String,
    size: u64,
    modified: Option<SystemTime>,
}

/// What a look at the files came to.
#[derive(Debug, Default)]
pub struct Read {
    /// The documents, sorted by name.
    pub documents: Vec<Arc<Document>>,
    /// Files left out, each with the reason.
    pub skipped: Vec<(String, String)>,
    /// Those among them that could not be read at all: the next try may, although they do not change.
    pub unread: HashSet<String>,
}

/// The text and Markdown files under a directory, sorted by name. Hidden files and directories are
/// skipped and symbolic links are not followed, so that the walk ends and stays inside. Fails
/// if the directory itself cannot be read; a subdirectory that vanishes meanwhile has no files.
pub fn signature(directory: &Path) -> io::Result<Vec<Stamp>> {
    let mut stamps = Vec::new();
    let mut open = vec![(directory.to_path_buf(), String::new())];
    while let Some((path, prefix)) = open.pop() {
        let entries = match fs::read_dir(&path) {
            Err(_) if !prefix.is_empty() => continue,
            entries => entries?,
        };
        for entry in entries.flatten() {
            visit(&entry, &prefix, &mut open, &mut stamps);
        }
    }
    stamps.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(stamps)
}

fn visit(entry: &fs::DirEntry, prefix: &str, open: &mut Vec<(PathBuf, String)>, stamps: &mut Vec<Stamp>) {
    let own = entry.file_name().to_string_lossy().into_owned();
    // `DirEntry::metadata` does not follow symbolic links.
    let Ok(metadata) = entry.metadata() else { return };
    if own.starts_with('.') {
        return;
    }
    if metadata.is_dir() {
        open.push((entry.path(), format!("{prefix}{own}/")));
    } else if metadata.is_file() && Format::of(&own).is_some() {
        let modified = metadata.modified().ok();
        stamps.push(Stamp { name: format!("{prefix}{own}"), size: metadata.len(), modified });
    }
}

/// The documents behind a signature. Those whose stamp is in `known` are not read again; one that
/// cannot be read is left out with the reason, or stays as it was known under another stamp.
pub fn read(directory: &Path, stamps: &[Stamp], known: &Known) -> Read {
    let mut read = Read::default();
    for stamp in stamps {
        let earlier = known.0.get(&stamp.name);
        if let Some((_, document)) = earlier.filter(|(known, _)| known == stamp) {
            read.documents.push(Arc::clone(document));
            continue;
        }
        match read_one(directory, stamp) {
            Ok(document) => read.documents.push(Arc::new(document)),
            Err(reason) => {
                if reason.starts_with(UNREAD) {
                    read.unread.insert(stamp.name.clone());
                }
                read.skipped.push((stamp.name.clone(), reason));
                read.documents.extend(earlier.map(|(_, document)| Arc::clone(document)));
            }
        }
    }
    read
}

fn read_one(directory: &Path, stamp: &Stamp) -> Result<Document, String> {
    if stamp.size > LARGEST {
        return Err("larger than 2 MB".to_owned());
    }
    let bytes = fs::read(directory.join(&stamp.name)).map_err(|error| format!("{UNREAD}: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    // A byte order mark is no part of the text, and would hide a heading in the first line.
    Ok(Document::new(&stamp.name, text.strip_prefix('\u{feff}').unwrap_or(&text)))
}

/// The documents of an earlier look, each under the stamp it was read at.
#[derive(Debug, Default)]
pub struct Known(HashMap<String, (Stamp, Arc<Document>)>);

impl Known {
    /// Remembers the documents that were read. One that stays from before is remembered under its
    /// new stamp: it is tried again when the file changes once more, not every two seconds; but where the
    /// file could not be read, under the stamp that is known of it, and it is tried at the next look.
    pub fn next(&self, stamps: &[Stamp], read: &Read) -> Known {
        let by_name: HashMap<&str, &Arc<Document>> =
            read.documents.iter().map(|document| (document.name.as_str(), document)).collect();
        let found = stamps.iter().filter_map(|stamp| {
            let document = by_name.get(stamp.name.as_str())?;
            let unread = read.unread.contains(&stamp.name);
            let stamp = if unread { &self.0.get(&stamp.name)?.0 } else { stamp };
            Some((stamp.name.clone(), (stamp.clone(), Arc::clone(document))))
        });
        Known(found.collect())
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// A directory of its own for each test, gone at its end.
    pub struct TempDirectory(PathBuf);

    impl TempDirectory {
        pub fn new() -> TempDirectory {
            let path = std::env::temp_dir().join(format!("gateway-documents-{}", uuid::Uuid::new_v4()));
            fs::create_dir_all(&path).unwrap();
            TempDirectory(path)
        }

        pub fn path(&self) -> &Path {
            &self.0
        }

        pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    impl Drop for TempDirectory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::TempDirectory;
    use super::*;

    fn read_all(directory: &TempDirectory) -> Read {
        let path = directory.path();
        read(path, &signature(path).unwrap(), &Known::default())
    }

    fn names(read: &Read) -> Vec<&str> {
        read.documents.iter().map(|document| document.name.as_str()).collect()
    }

    #[test]
    fn text_and_markdown_are_found_at_every_depth_and_nothing_else() {
        let directory = TempDirectory::new();
        directory.write("b.md", "\u{feff}# B\ntext");
        directory.write("a/deep/c.txt", "c");
        directory.write("main.rs", "fn main() {}");
        directory.write(".hidden.md", "x");
        directory.write(".git/config.txt", "x");
        let read = read_all(&directory);
        assert_eq!(names(&read), ["a/deep/c.txt", "b.md"]);
        assert_eq!(read.documents[1].passages[0].metadata["title"], "b.md › B");
        assert!(read.skipped.is_empty());
    }

    #[test]
    fn a_file_that_is_too_large_or_not_text_is_skipped_with_the_reason() {
        let directory = TempDirectory::new();
        directory.write("large.txt", vec![b'x'; LARGEST as usize + 1]);
        directory.write("latin.txt", b"caf\xe9");
        directory.write("good.txt", vec![b'x'; LARGEST as usize]);
        let read = read_all(&directory);
        assert_eq!(names(&read), ["good.txt"]);
        let reasons: Vec<&str> = read.skipped.iter().map(|(_, reason)| reason.as_str()).collect();
        assert_eq!(reasons, ["larger than 2 MB", "not UTF-8"]);
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_links_are_not_followed() {
        let (directory, outside) = (TempDirectory::new(), TempDirectory::new());
        outside.write("secret.txt", "x");
        std::os::unix::fs::symlink(directory.path(), directory.path().join("loop")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret.txt"), directory.path().join("secret.txt"))
            .unwrap();
        assert!(signature(directory.path()).unwrap().is_empty());
    }

    #[test]
    fn a_file_that_did_not_change_is_not_read_again() {
        let directory = TempDirectory::new();
        directory.write("a.txt", "a");
        directory.write("b.txt", "b");
        let stamps = signature(directory.path()).unwrap();
        let first = read(directory.path(), &stamps, &Known::default());
        directory.write("b.txt", "bb");
        let again = signature(directory.path()).unwrap();
        assert_ne!(again, stamps);
        let second = read(directory.path(), &again, &Known::default().next(&stamps, &first));
        assert!(Arc::ptr_eq(&first.documents[0], &second.documents[0]));
        assert_ne!(first.documents[1].digest, second.documents[1].digest);
    }

    #[test]
    fn a_file_that_became_unreadable_stays_as_it_was() {
        let directory = TempDirectory::new();
        directory.write("a.txt", "a");
        let stamps = signature(directory.path()).unwrap();
        let first = read(directory.path(), &stamps, &Known::default());
        directory.write("a.txt", b"\xff\xff");
        let again = signature(directory.path()).unwrap();
        let second = read(directory.path(), &again, &Known::default().next(&stamps, &first));
        assert!(Arc::ptr_eq(&first.documents[0], &second.documents[0]));
        assert_eq!(second.skipped.len(), 1);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        assert!(signature(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn a_file_that_could_not_be_read_is_tried_again_though_it_did_not_change() {
        let directory = TempDirectory::new();
        directory.write("a.txt", "a");
        let stamps = signature(directory.path()).unwrap();
        // As where the system is out of file handles: there is nothing at this path.
        let none = read(&directory.path().join("elsewhere"), &stamps, &Known::default());
        assert!(none.documents.is_empty() && none.unread.contains("a.txt"));
        let known = Known::default().next(&stamps, &none);
        let then = read(directory.path(), &stamps, &known);
        assert_eq!(names(&then), ["a.txt"]);
        // Known, then changed, then not readable for a while.
        let known = known.next(&stamps, &then);
        directory.write("a.txt", "another");
        let changed = signature(directory.path()).unwrap();
        let stays = read(&directory.path().join("elsewhere"), &changed, &known);
        assert!(Arc::ptr_eq(&stays.documents[0], &then.documents[0]));
        let at_last = read(directory.path(), &changed, &known.next(&changed, &stays));
        assert_ne!(at_last.documents[0].digest, then.documents[0].digest);
    }
}
