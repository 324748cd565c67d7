//! Digests: in hex, and of parts that cannot run into each other.

use sha2::{Digest, Sha256};

/// SHA-256 of parts, each preceded by its length: no part can pass for the end of another.
#[derive(Default)]
pub struct Lengths(Sha256);

impl Lengths {
    /// A digest for this purpose, which is its first part.
    pub fn new(purpose: &str) -> Lengths {
        Lengths::default().part(purpose.as_bytes())
    }

    /// The same with one more part.
    #[must_use]
    pub fn part(mut self, bytes: &[u8]) -> Lengths {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// The digest, in hex.
    pub fn hex(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_two_digits_each() {
        assert_eq!(hex(&[0, 0x0f, 0xa0, 0xff]), "000fa0ff");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let digest = |parts: [&str; 2]| Lengths::new(parts[0]).part(parts[1].as_bytes()).hex();
        assert_ne!(digest(["ab", "c"]), digest(["a", "bc"]));
    }
}
