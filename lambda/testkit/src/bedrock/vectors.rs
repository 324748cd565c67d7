//! The vectors that the stand-in embeds texts with: those of a file for the texts that it knows, which
//! a real model has seen, and hashed words for all others.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;

/// Vectors by the SHA-256 of their texts, in hexadecimal.
#[derive(Debug, Default)]
pub struct Vectors(HashMap<String, Vec<f32>>);

/// The file, as `tests/collection/embed.py` writes it.
#[derive(Deserialize)]
struct File {
    dimensions: usize,
    /// One signed byte a dimension, base64.
    vectors: HashMap<String, String>,
}

impl Vectors {
    /// Reads a file's JSON. Fails where a vector has not as many dimensions as the file says.
    pub fn read(json: &[u8]) -> Result<Vectors, Box<dyn Error>> {
        let file: File = serde_json::from_slice(json)?;
        let mut known = HashMap::new();
        for (text, bytes) in file.vectors {
            let bytes = BASE64_STANDARD.decode(bytes)?;
            if bytes.len() != file.dimensions {
                return Err(format!("{text} has {} of {} dimensions", bytes.len(), file.dimensions).into());
            }
            known.insert(text, bytes.into_iter().map(|byte| f32::from(byte.cast_signed())).collect());
        }
        Ok(Vectors(known))
    }

    /// The vector of a text, of this size and of length 1. A known one is filled up with zeros, which
    /// changes no angle; where it does not fit in, the text is hashed as if it were not known.
    pub(super) fn of(&self, text: &str, size: u64) -> Vec<f32> {
        let size = size.clamp(1, 4096) as usize;
        let known = || self.0.get(&digest(text)).filter(|known| known.len() <= size);
        let known = (!self.0.is_empty()).then(known).flatten().cloned();
        let mut vector = known.unwrap_or_else(|| hashed(text, size));
        vector.resize(size, 0.0);
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length == 0.0 {
            vector[0] = 1.0;
            return vector;
        }
        vector.iter().map(|x| x / length).collect()
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _written = write!(hex, "{byte:02x}");
        hex
    })
}

/// A bag of words, hashed: texts that share words lie near each other.
fn hashed(text: &str, size: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; size];
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    for word in words {
        vector[(fnv(&word.to_lowercase()) % size as u64) as usize] += 1.0;
    }
    vector
}

/// FNV-1a: the same number on every run, which the standard hasher does not promise.
fn fnv(word: &str) -> u64 {
    word.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(vectors: &Vectors, a: &str, b: &str) -> f32 {
        vectors.of(a, 256).iter().zip(vectors.of(b, 256)).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn texts_that_share_words_are_nearer() {
        let none = Vectors::default();
        let house = near(&none, "the red house", "a red house");
        assert!(house > near(&none, "the red house", "cold soup"));
        assert_eq!(near(&none, "", "..."), 1.0);
    }

    #[test]
    fn a_known_text_has_the_vector_of_its_file() {
        let file = serde_json::json!({ "dimensions": 2, "vectors": {
            digest("car"): BASE64_STANDARD.encode([3, 4]),
            digest("lorry"): BASE64_STANDARD.encode([6, 8]),
            digest("soup"): BASE64_STANDARD.encode([4, 253]),
        }});
        let vectors = Vectors::read(file.to_string().as_bytes()).unwrap();
        assert_eq!(vectors.of("car", 4), [0.6, 0.8, 0.0, 0.0]);
        assert!((near(&vectors, "car", "lorry") - 1.0).abs() < 1e-6);
        assert!(near(&vectors, "car", "soup").abs() < 1e-6);
        assert_eq!(vectors.of("unknown", 256), Vectors::default().of("unknown", 256));
        assert_eq!(vectors.of("car", 1), [1.0]);
    }

    #[test]
    fn a_vector_of_another_length_is_refused() {
        let file = serde_json::json!({ "dimensions": 3, "vectors": { "ab": BASE64_STANDARD.encode([1]) } });
        let error = Vectors::read(file.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "ab has 1 of 3 dimensions");
    }
}
