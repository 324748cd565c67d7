//! BM25 over a fixed set of texts: which of them speak of a question's words, and how much.
//!
//! Why our own: measured with 5,000 passages of 1,200 characters (6 MB of
//! source code and Markdown, x86_64, dev profile with `opt-level = "s"`, stripped), each against an
//! empty program that holds the text:
//!
//! | | crates | binary | memory | a question of 14 words | a query of 24 KB |
//! |---|---|---|---|---|---|
//! | `tantivy` 0.27, of its features only `stemmer` | 121 | +5.6 MB | +40 MB | 0.14 ms | |
//! | `bm25` 2.3 with `default_tokenizer` | 53 | +1.8 MB | +12 MB | 0.42 ms | 614 ms |
//! | this, with `rust-stemmers` | 8 | +0.15 MB | +7 MB | 0.05 ms | 2 ms |
//!
//! A prompt may be long and is the query by default, so the last column matters: `bm25` walks every
//! matching text's words for every word asked. `tantivy` pays off where an index outgrows memory.

use crate::words;
use std::collections::HashMap;

/// How soon a word's repetitions stop counting.
const K1: f32 = 1.2;
/// How much a long text's words count less.
const B: f32 = 0.75;

/// An inverted index. The weight of a word in a text is worked out when the index is built, so a
/// search adds up one number for each posting of the question's words.
#[derive(Debug, Default)]
pub struct Ranking {
    texts: usize,
    terms: HashMap<Box<str>, Box<[Posting]>>,
}

/// A text that has the term.
#[derive(Clone, Copy, Debug)]
struct Posting {
    text: u32,
    weight: f32,
}

impl Ranking {
    /// Indexes the texts; they are named by their position from then on.
    pub fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Ranking {
        let mut counts: HashMap<Box<str>, Vec<Posting>> = HashMap::new();
        let mut lengths = Vec::new();
        for (text, content) in (0u32..).zip(texts) {
            let stems = words::stems(content.as_ref());
            lengths.push(stems.len() as f32);
            for stem in stems {
                let postings = counts.entry(stem.into_boxed_str()).or_default();
                match postings.last_mut() {
                    Some(last) if last.text == text => last.weight += 1.0,
                    _ => postings.push(Posting { text, weight: 1.0 }),
                }
            }
        }
        let average = (lengths.iter().sum::<f32>() / lengths.len().max(1) as f32).max(1.0);
        let weigh = |postings: Vec<Posting>| {
            postings.into_iter().map(|posting| saturate(posting, &lengths, average)).collect()
        };
        let terms = counts.into_iter().map(|(term, postings)| (term, weigh(postings))).collect();
        Ranking { texts: lengths.len(), terms }
    }

    /// How well each text fits the question, in their order: 0 where it has none of the question's
    /// content words, or fewer than this share of them in percent, so that a question without any finds
    /// nothing.
    pub fn scores(&self, question: &str, least_share: usize) -> Vec<f32> {
        let mut asked = words::stems(question);
        asked.sort_unstable();
        asked.dedup();
        let mut scores = vec![(0f32, 0usize); self.texts];
        for postings in asked.iter().filter_map(|stem| self.terms.get(stem.as_str())) {
            let rarity = self.rarity(postings.len());
            for posting in postings {
                if let Some((score, words)) = scores.get_mut(posting.text as usize) {
                    *score += rarity * posting.weight;
                    *words += 1;
                }
            }
        }
        // Rounded down, as OpenSearch does with `minimum_should_match`.
        let least = asked.len() * least_share / 100;
        scores.into_iter().map(|(score, words)| if words >= least { score } else { 0.0 }).collect()
    }

    /// The inverse document frequency, in the form that is never negative.
    fn rarity(&self, having: usize) -> f32 {
        let (all, having) = (self.texts as f32, having as f32);
        (1.0 + (all - having + 0.5) / (having + 0.5)).ln()
    }
}

/// From a count to BM25's weight of the word in its text, as Lucene scales it.
fn saturate(posting: Posting, lengths: &[f32], average: f32) -> Posting {
    let length = lengths.get(posting.text as usize).copied().unwrap_or(average);
    let count = posting.weight;
    let weight = count / (count + K1 * (1.0 - B + B * length / average));
    Posting { weight, ..posting }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts that are found, best first.
    fn order(texts: &[&str], question: &str) -> Vec<usize> {
        let scores = Ranking::new(texts).scores(question, 0);
        let mut found: Vec<usize> = (0..texts.len()).filter(|text| scores[*text] > 0.0).collect();
        found.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        found
    }

    #[test]
    fn the_rarer_word_decides() {
        let texts = ["the server starts", "the server logs", "the server encrypts", "nothing"];
        assert_eq!(order(&texts, "which server is encrypting?"), [2, 0, 1]);
    }

    #[test]
    fn a_text_with_too_small_a_share_of_the_words_is_not_found() {
        let ranking = Ranking::new(["quota", "quota of a month", "quota of a month, raised by hand"]);
        let found =
            |question, share| ranking.scores(question, share).iter().map(|score| *score > 0.0).collect();
        let check = |question, share, expected: [bool; 3]| {
            let found: Vec<bool> = found(question, share);
            assert_eq!(found, expected, "{question} {share}");
        };
        check("raise the quota this month, please", 0, [true, true, true]);
        check("raise the quota this month, please", 50, [true, true, true]);
        check("raise the quota this month, please", 67, [false, true, true]);
        check("raise the quota this month, please", 100, [false, false, true]);
        check("who can raise the quota of the month of May?", 50, [true, true, true]);
        check("can someone raise the quota of next month?", 50, [false, true, true]);
    }

    #[test]
    fn a_short_text_beats_a_long_one_with_the_same_word() {
        let long = "quota ".to_owned() + &"filler words of another kind ".repeat(20);
        assert_eq!(order(&[&long, "quota limits"], "quota"), [1, 0]);
    }

    #[test]
    fn a_question_without_a_known_content_word_finds_nothing() {
        let texts = ["how is it done", "what is this for"];
        assert!(order(&texts, "what is it for?").is_empty());
        assert!(order(&texts, "zebra").is_empty());
        assert!(order(&[], "zebra").is_empty());
    }
}
