//! An embedder that needs no model: the hashing trick over stemmed words and character trigrams.
//!
//! It knows spelling and not meaning: texts come out close when they share words or parts of words,
//! and `car` is as far from `automobile` as from `banana`. It is there so that a laptop without
//! an account can serve the embeddings door, index and compare; for meaning, use a model of
//! Bedrock's. Vectors of this one and of any other do not compare.

use super::{EmbedAsk, Embedder};
use crate::chat::Vectors;
use crate::error::Error;
use crate::words;
use futures_util::future::{BoxFuture, FutureExt};

/// Length of every vector.
pub const DIMENSIONS: usize = 256;

/// How much a trigram counts beside a word: a word has several of them.
const TRIGRAM_WEIGHT: f32 = 0.3;

/// Deterministic vectors of [`DIMENSIONS`] numbers and length 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct HashedEmbedding;

impl Embedder for HashedEmbedding {
    fn embed(&self, ask: EmbedAsk) -> BoxFuture<'static, Result<Vectors, Error>> {
        let vectors = ask.texts.iter().map(|text| vector(text)).collect();
        let input_tokens = ask.texts.iter().map(|text| words::count(text)).sum();
        std::future::ready(Ok(Vectors { vectors, input_tokens })).boxed()
    }
}

fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0f32; DIMENSIONS];
    for stem in words::stems(text) {
        add(&mut vector, 'w', &stem, 1.0);
    }
    for word in words::plain(text) {
        let framed: Vec<char> = format!("^{word}$").chars().collect();
        for trigram in framed.windows(3) {
            add(&mut vector, 't', &String::from_iter(trigram), TRIGRAM_WEIGHT);
        }
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > f32::EPSILON {
        vector.iter_mut().for_each(|x| *x /= length);
    } else if let Some(first) = vector.first_mut() {
        // A text without words, or whose features cancel out: a zero vector has no direction, and
        // search engines refuse it.
        *first = 1.0;
    }
    vector
}

/// Adds a feature at the place, and with the sign, that its hash says. The sign lets features that
/// fall on one place cancel out on average instead of adding up.
fn add(vector: &mut [f32], kind: char, feature: &str, weight: f32) {
    let hash = hash(kind, feature);
    let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
    if let Some(place) = vector.get_mut((hash % DIMENSIONS as u64) as usize) {
        *place += sign * weight;
    }
}

/// FNV-1a, its bits then mixed once more. The same on every machine and in every version, unlike
/// the standard library's hasher: vectors are stored.
fn hash(kind: char, feature: &str) -> u64 {
    let bytes = [kind as u8].into_iter().chain(feature.bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Purpose;
    use crate::model::catalog::{EmbeddingBody, EmbeddingSpec};
    use proptest::prelude::*;

    fn closeness(a: &str, b: &str) -> f32 {
        vector(a).iter().zip(vector(b)).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn texts_that_share_words_are_closer_than_texts_that_do_not() {
        let question = "How are throttled requests retried?";
        let near = closeness(question, "A throttled request is retried after a wait.");
        let far = closeness(question, "The index holds passages of Markdown files.");
        assert!(near > 0.4 && near > far + 0.3, "{near} {far}");
        assert!(closeness("embedding", "embeddings") > 0.8);
    }

    #[test]
    fn the_vector_of_a_text_never_changes() {
        // Vectors are stored: another hash would make every index useless without a word.
        let stored = vector("gateway");
        let places: Vec<usize> = (0..DIMENSIONS).filter(|place| stored[*place] != 0.0).collect();
        assert_eq!(places, [36, 47, 53, 63, 170, 194, 197, 237]);
    }

    #[tokio::test]
    async fn it_keeps_the_order_and_counts_the_words() {
        let texts = vec!["two words".to_owned(), "one".to_owned()];
        let ask = EmbedAsk {
            invoke_id: String::new(),
            spec: EmbeddingSpec { dimensions: DIMENSIONS, body: EmbeddingBody::Local, batch: 96 },
            texts,
            purpose: Purpose::Document,
        };
        let embedded = HashedEmbedding.embed(ask).await.unwrap();
        assert_eq!(embedded.vectors, [vector("two words"), vector("one")]);
        assert_eq!(embedded.input_tokens, 3);
    }

    proptest! {
        #[test]
        fn every_vector_has_length_one(text in "\\PC{0,80}") {
            let length: f32 = vector(&text).iter().map(|x| x * x).sum();
            prop_assert!((length - 1.0).abs() < 1e-3);
        }
    }
}
