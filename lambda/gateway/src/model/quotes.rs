//! The sentences and code samples of passages that fit a question best.

use crate::chat::Passage;
use crate::words;
use std::collections::{HashMap, HashSet};

/// A quote that is this much worse than the best one is left out.
const WORST: f32 = 0.4;
/// How much a question's word counts when it stands in the heading over the sentence.
const HEADING: f32 = 0.4;
/// How much a passage counts less than the one that the search put before it.
const NEXT_PASSAGE: f32 = 0.9;

/// A sentence or a code sample of a passage.
#[derive(Clone, Debug, PartialEq)]
pub struct Quote {
    /// Which passage, counted from 0.
    pub passage: usize,
    /// Which of the passage's quotes, counted from 0.
    pub position: usize,
    /// As it stands there, line breaks inside a sentence made spaces.
    pub text: String,
    /// It keeps its own lines: a code fence or a table's row.
    pub is_block: bool,
}

/// At most `most` quotes for the question, in the order of the passages and their texts. None
/// where no sentence, and no heading over one, shares a content word with the question.
pub fn best(question: &str, passages: &[Passage], most: usize) -> Vec<Quote> {
    let asked: HashSet<String> = words::stems(question).into_iter().collect();
    let quotes: Vec<(Quote, HashSet<String>)> = passages
        .iter()
        .enumerate()
        .flat_map(|(number, passage)| quotes(number, &passage.text))
        .map(|quote| (words::stems(&quote.text).into_iter().collect(), quote))
        .map(|(stems, quote)| (quote, stems))
        .collect();
    let rarity = rarity(&asked, &quotes);
    let titles: Vec<HashSet<String>> =
        passages.iter().map(|passage| words::stems(&passage.source.title).into_iter().collect()).collect();
    let weight = |stems: &HashSet<String>| -> f32 {
        asked.intersection(stems).filter_map(|stem| rarity.get(stem.as_str())).sum()
    };
    let mut scored: Vec<(f32, Quote)> = Vec::new();
    for (quote, stems) in &quotes {
        let heading = titles.get(quote.passage).map_or(0.0, &weight) * HEADING;
        // A long sentence shares more words by chance.
        let length = 1.0 + stems.len() as f32 / 40.0;
        let score = (weight(stems) / length + heading) * NEXT_PASSAGE.powi(quote.passage as i32);
        scored.push((score, quote.clone()));
    }
    choose(scored, most)
}

fn choose(mut scored: Vec<(f32, Quote)>, most: usize) -> Vec<Quote> {
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let top = scored.first().map_or(0.0, |(score, _)| *score);
    let good = scored.into_iter().filter(|(score, _)| *score > 0.0 && *score >= top * WORST);
    // A passage may begin with the last sentences of the one before.
    let mut said = HashSet::new();
    let good = good.filter(|(_, quote)| said.insert(quote.text.clone()));
    let mut chosen: Vec<Quote> = good.take(most).map(|(_, quote)| quote).collect();
    chosen.sort_by_key(|quote| (quote.passage, quote.position));
    chosen
}

/// How much each word of the question tells: the fewer quotes have it, the more.
fn rarity<'a>(asked: &'a HashSet<String>, quotes: &[(Quote, HashSet<String>)]) -> HashMap<&'a str, f32> {
    let all = quotes.len() as f32;
    let rarity = asked.iter().map(|stem| {
        let having = quotes.iter().filter(|(_, stems)| stems.contains(stem)).count() as f32;
        (stem.as_str(), (1.0 + all / (1.0 + having)).ln())
    });
    rarity.collect()
}

/// The quotes of one passage: code fences whole, list items and table rows one by one, and the
/// sentences of paragraphs. Headings are names, not statements.
fn quotes(passage: usize, text: &str) -> Vec<Quote> {
    let mut found: Vec<(String, bool)> = Vec::new();
    let mut paragraph = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        let is_fence = line.starts_with("```") || line.starts_with("~~~");
        let is_heading = line.starts_with('#');
        if line.is_empty() || is_fence || is_heading || begins_item(line) {
            found.extend(sentences(&std::mem::take(&mut paragraph)));
        }
        if is_fence {
            let mark = &line[..3];
            let mut code = line.to_owned();
            for inner in lines.by_ref() {
                code.push('\n');
                code.push_str(inner.trim_end());
                if inner.trim_start().starts_with(mark) {
                    break;
                }
            }
            found.push((code, true));
        } else if line.starts_with('|') && !is_rule(line) {
            found.push((line.to_owned(), true));
        } else if !is_heading && !is_rule(line) {
            // The mark of a list item says nothing outside its list.
            paragraph.push_str(
                line.strip_prefix(['-', '*', '+']).filter(|rest| rest.starts_with(' ')).unwrap_or(line),
            );
            paragraph.push(' ');
        }
    }
    found.extend(sentences(&paragraph));
    let numbered = found.into_iter().enumerate();
    numbered.map(|(position, (text, is_block))| Quote { passage, position, text, is_block }).collect()
}

/// A list item or a table row.
fn begins_item(line: &str) -> bool {
    let after_digits = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered =
        after_digits.len() < line.len() && (after_digits.starts_with(". ") || after_digits.starts_with(") "));
    numbered || ["- ", "* ", "+ ", "|"].iter().any(|mark| line.starts_with(mark))
}

/// A line of marks: under a title, between sections, under a table's head.
fn is_rule(line: &str) -> bool {
    !line.is_empty() && line.chars().all(|c| matches!(c, '-' | '=' | '*' | '_' | '|' | ':' | ' '))
}

fn sentences(paragraph: &str) -> Vec<(String, bool)> {
    let mut sentences = Vec::new();
    let mut sentence = String::new();
    let mut rest = paragraph.chars().peekable();
    while let Some(c) = rest.next() {
        sentence.push(c);
        let ends = match c {
            '。' | '！' | '？' => true,
            '.' | '!' | '?' => rest.peek().is_none_or(|next| next.is_whitespace()),
            _ => false,
        };
        // `e.g. this` goes on: no sentence begins with a small letter.
        let goes_on = || rest.clone().find(|next| !next.is_whitespace()).is_some_and(char::is_lowercase);
        if ends && !goes_on() {
            sentences.push(std::mem::take(&mut sentence));
        }
    }
    sentences.push(sentence);
    let trimmed = sentences.iter().map(|sentence| sentence.trim());
    trimmed.filter(|sentence| !sentence.is_empty()).map(|sentence| (sentence.to_owned(), false)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Source;
    use proptest::prelude::*;

    fn passage(title: &str, text: &str) -> Passage {
        let source = Source { title: title.into(), location: "a.md".into(), score: 1.0, span: Some((1, 1)) };
        Passage { text: text.into(), source }
    }

    fn check(text: &str, expected: &[&str]) {
        let found: Vec<String> = quotes(0, text).into_iter().map(|quote| quote.text).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_passage_is_taken_apart_into_what_can_be_quoted() {
        check(
            "# Title\nOne is\nhere. Two, e.g. this, too! Last",
            &["One is here.", "Two, e.g. this, too!", "Last"],
        );
        check(
            "Title\n=====\n- first. Item\n- second\n1. third",
            &["Title", "first.", "Item", "second", "1. third"],
        );
        check(
            "Run:\n```sh\n# comment\nrun. It\n```\nDone.",
            &["Run:", "```sh\n# comment\nrun. It\n```", "Done."],
        );
        check("| a | b |\n|---|---|\n| 1.5 | 2 |", &["| a | b |", "| 1.5 | 2 |"]);
        check("第一句。第二句！", &["第一句。", "第二句！"]);
    }

    fn texts(question: &str, passages: &[Passage]) -> Vec<String> {
        best(question, passages, 2).into_iter().map(|quote| quote.text).collect()
    }

    #[test]
    fn the_sentence_with_the_questions_rarer_words_is_quoted() {
        let passages = [passage("a", "The gateway answers. The gateway encrypts. The gateway sleeps.")];
        assert_eq!(texts("Does the gateway encrypt?", &passages), ["The gateway encrypts."]);
    }

    #[test]
    fn a_heading_speaks_for_the_sentence_under_it() {
        let passages = [passage("a › Limits", "At most 6 MB."), passage("a › Colors", "Mostly blue.")];
        assert_eq!(texts("What are the limits?", &passages), ["At most 6 MB."]);
    }

    #[test]
    fn what_stands_in_two_passages_is_quoted_once() {
        let passages = [passage("a", "It encrypts. It sleeps."), passage("a", "It encrypts. It wakes.")];
        assert_eq!(texts("Does it encrypt?", &passages), ["It encrypts."]);
    }

    #[test]
    fn without_a_shared_word_nothing_is_quoted() {
        assert!(texts("zebra", &[passage("a", "One. Two.")]).is_empty());
        assert!(texts("what is it", &[passage("a", "What is it.")]).is_empty());
        assert!(texts("anything", &[]).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_can_be_quoted_from(text in "([ a-z.#|`~\n-]|```|。){0,200}") {
            for quote in quotes(0, &text) {
                prop_assert!(!quote.text.trim().is_empty());
            }
        }
    }
}
