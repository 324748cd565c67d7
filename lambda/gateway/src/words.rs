//! Words as searches compare them: lower case, English stop words out, stemmed.
//!
//! Scripts written without spaces (Chinese, Japanese, Korean) become overlapping pairs of
//! characters, which finds words in them without a dictionary.

#[cfg(feature = "embedded")]
use rust_stemmers::{Algorithm, Stemmer};
use std::borrow::Cow;

/// Words that stand in every English text and say nothing about it. Sorted, for the search in it.
const STOP_WORDS: [&str; 127] = [
    "a", "about", "after", "again", "all", "am", "an", "and", "any", "are", "as", "at", "be", "because",
    "been", "before", "being", "below", "between", "both", "but", "by", "can", "could", "d", "did", "do",
    "does", "doing", "don", "down", "during", "each", "few", "for", "from", "further", "had", "has", "have",
    "having", "he", "her", "here", "hers", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its",
    "just", "ll", "m", "may", "me", "might", "more", "most", "must", "my", "no", "nor", "not", "now", "of",
    "off", "on", "once", "only", "or", "other", "our", "ours", "out", "over", "own", "please", "re", "s",
    "same", "shall", "she", "should", "so", "some", "such", "t", "tell", "than", "that", "the", "their",
    "them", "then", "there", "these", "they", "this", "those", "through", "to", "too", "under", "until",
    "up", "ve", "very", "was", "we", "were", "what", "when", "where", "which", "while", "who", "whom", "why",
    "will", "with", "would", "you",
];

/// The words of a text in their order, as written but in lower case. Letters and digits make a
/// word; everything else parts words, so `snake_case` and `don't` are two each.
pub fn plain(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for run in text.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty()) {
        let run = run.to_lowercase();
        if run.is_ascii() { words.push(run) } else { by_script(&run, &mut words) }
    }
    words
}

/// The content words of a text in their order: stemmed, without stop words.
#[cfg(feature = "embedded")]
pub fn stems(text: &str) -> Vec<String> {
    let stemmer = Stemmer::create(Algorithm::English);
    let content = plain(text).into_iter().filter(|word| STOP_WORDS.binary_search(&word.as_str()).is_err());
    content.map(|word| stemmer.stem(&word).into_owned()).collect()
}

/// The text without its stop words, otherwise as it is written; the whole of it where it has no others.
pub fn content(text: &str) -> Cow<'_, str> {
    let says = |part: &&str| plain(part).iter().any(|word| STOP_WORDS.binary_search(&word.as_str()).is_err());
    let content: Vec<&str> = text.split_whitespace().filter(says).collect();
    if content.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(content.join(" ")) }
}

/// How many words a text has between its white space: what the offline models count as tokens.
pub fn count(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

/// A run of letters, parted where the script changes, ideographs in pairs.
fn by_script(run: &str, words: &mut Vec<String>) {
    let mut rest = run;
    while let Some(first) = rest.chars().next() {
        let dense = is_dense(first);
        let end = rest.find(|c| is_dense(c) != dense).unwrap_or(rest.len());
        let (part, tail) = rest.split_at(end);
        rest = tail;
        if dense { pairs(part, words) } else { words.push(part.to_owned()) }
    }
}

fn pairs(part: &str, words: &mut Vec<String>) {
    let chars: Vec<char> = part.chars().collect();
    match chars.len() {
        1 => words.push(part.to_owned()),
        _ => words.extend(chars.windows(2).map(String::from_iter)),
    }
}

/// Kana, ideographs and Hangul: written without spaces between words, or nearly so.
fn is_dense(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(stems(text), expected, "{text}");
    }

    #[test]
    fn the_stop_words_are_sorted() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn inflected_forms_meet_in_one_stem() {
        check("How do the CONNECTIONS connect?", &["connect", "connect"]);
        check("DEFAULT_MODEL, http-server", &["default", "model", "http", "server"]);
        check("I don't think so.", &["think"]);
        check("What is it?", &[]);
        check("", &[]);
    }

    #[test]
    fn what_is_left_without_stop_words_stands_as_it_was_written() {
        assert_eq!(content("What does L-471 tell me?"), "L-471");
        assert_eq!(content("I don't know who's Ingrid Solberg"), "know Ingrid Solberg");
        assert_eq!(content("What is it?"), "What is it?");
        assert_eq!(content("用Rust写 — 检索"), "用Rust写 检索");
    }

    #[test]
    fn text_without_spaces_becomes_pairs_of_characters() {
        check("检索答案", &["检索", "索答", "答案"]);
        check("用Rust写", &["用", "rust", "写"]);
    }
}
