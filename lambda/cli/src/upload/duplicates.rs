//! Counts the rows that a later one replaces, in little memory whatever the number of rows.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, Write};

/// Keys held before they go to disk: 12 MB.
const HELD: usize = 500_000;

/// Files that keys are shared out to by their first byte.
const SHARES: usize = 256;

/// Pairs of rows that are told by number.
const EXAMPLES: usize = 3;

/// A key's digest, and its row's number.
type Key = ([u8; 16], u64);

/// The keys so far.
#[derive(Default)]
pub struct Duplicates {
    held: Vec<Key>,
    shares: Vec<File>,
}

/// What was found.
#[derive(Debug, Default, PartialEq)]
pub struct Replaced {
    /// Rows that a later one replaces.
    pub count: u64,
    /// A few of them, each with the next row of its key.
    pub examples: Vec<(u64, u64)>,
}

impl Duplicates {
    /// Takes a row's key in.
    pub fn add(&mut self, key: &str, number: u64) -> io::Result<()> {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        self.held.push((half, number));
        if self.held.len() >= HELD { self.share_out() } else { Ok(()) }
    }

    /// Looks through all of them.
    pub fn finish(mut self) -> io::Result<Replaced> {
        let mut replaced = Replaced::default();
        if self.shares.is_empty() {
            replaced.count_in(self.held);
            return Ok(replaced);
        }
        self.share_out()?;
        for mut share in self.shares {
            share.rewind()?;
            let mut bytes = Vec::new();
            share.read_to_end(&mut bytes)?;
            replaced.count_in(bytes.chunks_exact(24).filter_map(unpacked).collect());
        }
        Ok(replaced)
    }

    fn share_out(&mut self) -> io::Result<()> {
        while self.shares.len() < SHARES {
            self.shares.push(tempfile::tempfile()?);
        }
        self.held.sort_unstable();
        for keys in self.held.chunk_by(|one, other| one.0[0] == other.0[0]) {
            let bytes: Vec<u8> = keys
                .iter()
                .flat_map(|(digest, number)| digest.iter().copied().chain(number.to_be_bytes()))
                .collect();
            if let Some(share) = keys.first().and_then(|key| self.shares.get_mut(usize::from(key.0[0]))) {
                share.write_all(&bytes)?;
            }
        }
        self.held.clear();
        Ok(())
    }
}

fn unpacked(bytes: &[u8]) -> Option<Key> {
    let (digest, number) = bytes.split_at_checked(16)?;
    Some((digest.try_into().ok()?, u64::from_be_bytes(number.try_into().ok()?)))
}

impl Replaced {
    fn count_in(&mut self, mut keys: Vec<Key>) {
        keys.sort_unstable();
        let pairs = keys.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        for pair in pairs {
            self.count += 1;
            self.examples.push((pair[0].1, pair[1].1));
            if self.examples.len() > 100 * EXAMPLES {
                self.fewest();
            }
        }
        self.fewest();
    }

    /// The examples that stand first in the file.
    fn fewest(&mut self) {
        self.examples.sort_unstable();
        self.examples.truncate(EXAMPLES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_but_the_last_of_its_key_is_replaced() {
        let mut keys = Duplicates::default();
        for (key, number) in ["a", "b", "a", "c", "a", "b"].iter().zip(1..) {
            keys.add(key, number).unwrap();
        }
        let found = keys.finish().unwrap();
        assert_eq!(found, Replaced { count: 3, examples: vec![(1, 3), (2, 6), (3, 5)] });
    }

    #[test]
    fn what_went_to_disk_is_counted_too() {
        let mut keys = Duplicates::default();
        let rows = HELD as u64 + 1000;
        for number in 0..rows {
            keys.add(&(number % (HELD as u64 - 500)).to_string(), number).unwrap();
        }
        let found = keys.finish().unwrap();
        assert_eq!((found.count, found.examples[0]), (1500, (0, HELD as u64 - 500)));
    }
}
