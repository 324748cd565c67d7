//! Which files there are to read.

use gateway::retrieval::split::Format;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::path::{Component, Path};

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text that has a structure.
    Text(Format),
    /// PDF.
    Pdf,
    /// JSON Lines: many documents.
    Rows,
}

impl Kind {
    /// The kind by a file name's ending. What ends in `.json` is rows only where it was `named`: most
    /// such files in a directory are something else.
    fn of(name: &str, named: bool) -> Option<Kind> {
        let lower = name.to_ascii_lowercase();
        let ends = |endings: &[&str]| endings.iter().any(|ending| lower.ends_with(ending));
        if ends(&[".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"]) || (named && ends(&[".json", ".json.gz"]))
        {
            return Some(Kind::Rows);
        }
        if ends(&[".pdf"]) { Some(Kind::Pdf) } else { Format::of(name).map(Kind::Text) }
    }
}

/// A file to read.
#[derive(Clone, Debug)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// What it is called: its path as it was given, with `/` between its parts.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// How it is read.
    pub kind: Kind,
}

/// What standard input is called. No file is: a name without an ending is of no kind that is read.
const STANDARD_INPUT: &str = "standard input";

/// What was found.
#[derive(Debug, Default)]
pub struct Walk {
    /// The files, in the order of the PATHs and of their names, each once.
    pub files: Vec<File>,
    /// Files of kinds that are not read.
    pub others: u64,
    /// Sentences on what could not be looked at.
    pub wrong: Vec<String>,
    /// The names of the PATHs; everything that is called so, or below them, was looked at.
    pub roots: Vec<String>,
}

/// Looks for files. Hidden ones, and in directories symbolic links, are left out, so that the walk ends and
/// stays inside.
///
/// # Errors
/// A sentence: a PATH is not there.
pub fn walk(paths: &[PathBuf]) -> Result<Walk, String> {
    let mut walk = Walk::default();
    for path in paths {
        if path.as_os_str() == "-" {
            let name = STANDARD_INPUT.to_owned();
            walk.files.push(File { path: path.clone(), name, size: 0, kind: Kind::Rows });
            continue;
        }
        let metadata = fs::metadata(path)
            .map_err(|error| format!("{} cannot be read: {error}. Nothing was indexed.", path.display()))?;
        let name = name(path);
        if metadata.is_dir() {
            walk.directory(path, &name);
        } else {
            walk.take(path, &name, &metadata, true);
        }
        walk.roots.push(name);
    }
    let mut seen = std::collections::HashSet::new();
    walk.files.retain(|file| seen.insert(file.name.clone()));
    Ok(walk)
}

impl Walk {
    fn directory(&mut self, path: &Path, name: &str) {
        let read = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut entries = match read {
            Ok(entries) => entries,
            Err(error) => return self.wrong.push(format!("{} cannot be read: {error}.", path.display())),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let own = entry.file_name().to_string_lossy().into_owned();
            let inner =
                if name.is_empty() { own.clone() } else { format!("{}/{own}", name.trim_end_matches('/')) };
            // `DirEntry::metadata` does not follow symbolic links.
            match entry.metadata() {
                _ if own.starts_with('.') => {}
                Ok(metadata) if metadata.is_dir() => self.directory(&entry.path(), &inner),
                Ok(metadata) if metadata.is_file() => self.take(&entry.path(), &inner, &metadata, false),
                Ok(_) => {}
                Err(error) => self.wrong.push(format!("{inner} cannot be read: {error}.")),
            }
        }
    }

    fn take(&mut self, path: &Path, name: &str, metadata: &Metadata, named: bool) {
        match Kind::of(name, named) {
            // A pipe may never end, and a device has no size to judge it by; rows are copied as they come.
            Some(kind) if kind != Kind::Rows && !metadata.is_file() => {
                self.wrong.push(format!("{name} is no regular file. Copy what it gives into one."));
            }
            Some(kind) => {
                let (path, name) = (path.to_owned(), name.to_owned());
                self.files.push(File { path, name, size: metadata.len(), kind });
            }
            None if named => self.wrong.push(format!(
                "{name} is of no kind that is read. Give it the ending of what it is: .md, .txt, .html, .pdf or \
                 .jsonl."
            )),
            None => self.others += 1,
        }
    }

    /// Those of these files that were below a PATH and are not there any more. A walk passes over much that
    /// was indexed because it was named: what it has not found may still be there.
    ///
    /// # Errors
    /// A sentence: it cannot be known of one.
    pub fn lost<'a>(&self, names: impl Iterator<Item = &'a String>) -> Result<Vec<&'a str>, String> {
        let mut lost = Vec::new();
        for name in names.filter(|name| self.covers(name)) {
            match fs::symlink_metadata(name) {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    lost.push(name.as_str());
                }
                Err(error) => return Err(format!("{name} cannot be looked at: {error}.")),
            }
        }
        Ok(lost)
    }

    fn covers(&self, name: &str) -> bool {
        self.roots.iter().any(|root| match root.as_str() {
            "" => name != STANDARD_INPUT && !name.starts_with('/') && !name.starts_with("../"),
            root => name
                .strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || root.ends_with('/') || rest.starts_with('/')),
        })
    }
}

/// A path's name: without what says nothing.
fn name(path: &Path) -> String {
    let parts: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    parts.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(walk: &Walk) -> Vec<&str> {
        walk.files.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn every_kind_is_found_and_nothing_hidden_or_linked() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("docs");
        for name in [
            "b.md",
            "a/deep/c.TXT",
            "a/d.html",
            "e.pdf",
            "f.jsonl",
            ".hidden.md",
            ".git/x.md",
            "g.json",
            "h.rs",
        ] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "x").unwrap();
        }
        std::os::unix::fs::symlink(&root, root.join("loop")).unwrap();
        let walk = walk(&[root.clone(), root.join("b.md"), root.join("g.json"), root.join("h.rs")]).unwrap();
        let found: Vec<_> =
            names(&walk).iter().map(|name| name.rsplit_once("docs/").unwrap().1.to_owned()).collect();
        assert_eq!(found, ["a/d.html", "a/deep/c.TXT", "b.md", "e.pdf", "f.jsonl", "g.json"]);
        assert_eq!((walk.others, walk.wrong.len()), (2, 1));
        assert!(super::walk(&[root.join("nothing")]).is_err());
        let device = root.join("zero.txt");
        std::os::unix::fs::symlink("/dev/zero", &device).unwrap();
        let walk = super::walk(&[device]).unwrap();
        assert!(walk.files.is_empty() && walk.wrong[0].contains("no regular file"));
    }

    #[test]
    fn only_a_file_that_is_not_there_is_lost() {
        let home = tempfile::tempdir().unwrap();
        let root = name(home.path());
        fs::write(home.path().join("a.json"), "x").unwrap();
        let walk = walk(&[home.path().to_owned()]).unwrap();
        assert!(walk.files.is_empty());
        let names = ["a.json", "b.json", "a.json/c.md"].map(|own| format!("{root}/{own}"));
        let elsewhere = "/nothing.md".to_owned();
        assert_eq!(walk.lost(names.iter().chain([&elsewhere])), Ok(vec![&*names[1], &*names[2]]));
        assert!(walk.lost([format!("{root}/{}.md", "x".repeat(300))].iter()).is_err());
    }

    #[test]
    fn a_name_is_covered_by_the_paths_it_stands_below() {
        let covers =
            |root: &str, name: &str| Walk { roots: vec![root.into()], ..Walk::default() }.covers(name);
        assert!(covers("docs", "docs/a.md") && covers("docs", "docs") && covers("/", "/a.md"));
        assert!(!covers("docs", "docs2/a.md") && !covers("docs/a", "docs/b.md"));
        assert!(covers("", "a.md") && !covers("", "/a.md") && !covers("", "../a.md"));
        assert!(!covers("", STANDARD_INPUT));
        assert_eq!(name(Path::new("./docs//a/./b.md")), "docs/a/b.md");
        assert_eq!(name(Path::new(".")), "");
    }
}
