//! Values of settings read one by one, and the sentences about those that are wrong.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// The sentences about wrong settings, gathered while reading on with the default.
#[derive(Default)]
pub struct Wrong(pub Vec<String>);

impl Wrong {
    /// A whole number in a range.
    pub fn number<N>(&mut self, name: &str, text: Option<String>, default: N, range: RangeInclusive<N>) -> N
    where
        N: FromStr + PartialOrd + Display,
    {
        let Some(text) = text else { return default };
        match text.trim().parse::<N>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (least, most) = (range.start(), range.end());
                self.0.push(format!("{name} must be a whole number from {least} to {most}, not \"{text}\"."));
                default
            }
        }
    }

    /// A whole number of milliseconds in a range.
    pub fn millis(
        &mut self,
        name: &str,
        text: Option<String>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Duration {
        Duration::from_millis(self.number(name, text, default, range))
    }

    /// A whole number in a range, where it is set.
    pub fn optional<N>(&mut self, name: &str, text: Option<String>, range: RangeInclusive<N>) -> Option<N>
    where
        N: FromStr + PartialOrd + Display + Copy,
    {
        text.is_some().then(|| self.number(name, text, *range.start(), range))
    }

    /// A number from 0 to 1, where it is set; `why` says why no other will do.
    pub fn fraction(&mut self, name: &str, text: Option<String>, why: &str) -> Option<f32> {
        let text = text?;
        match text.trim().parse::<f32>() {
            Ok(number) if (0.0..=1.0).contains(&number) => Some(number),
            _ => {
                self.0.push(format!("{name} must be a number from 0 to 1, not \"{text}\": {why}."));
                None
            }
        }
    }

    /// True for the second word, false for the first, which is the default.
    pub fn choice(&mut self, name: &str, text: Option<String>, words: [&str; 2]) -> bool {
        self.one_of(name, text, [(words[0], false), (words[1], true)]).unwrap_or(false)
    }

    /// The value of the word that is set, whatever case it is written in.
    pub fn one_of<V: Copy, const N: usize>(
        &mut self,
        name: &str,
        text: Option<String>,
        words: [(&str, V); N],
    ) -> Option<V> {
        let text = text?;
        let known = words.iter().find(|(word, _)| text.trim().eq_ignore_ascii_case(word));
        if known.is_none() {
            let quoted: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let (last, others) = quoted.split_last().map_or(("", &[][..]), |(last, others)| (last, others));
            self.0.push(format!("{name} must be {} or {last}, not \"{text}\".", others.join(", ")));
        }
        known.map(|(_, value)| *value)
    }
}
