//! Texts cut to size: measured as JSON has them, never cut inside a character.

use crate::chat::Delta;

/// A delta is at most this long, so that every frame of every door holds whole deltas and a reply
/// can be resumed after any of them.
pub const DELTA_LIMIT: usize = 16 * 1024;

/// Bytes of a text inside a JSON string.
pub fn escaped_len(text: &str) -> usize {
    text.bytes().map(escaped_byte).sum()
}

fn escaped_byte(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
        0..=31 => 6,
        _ => 1,
    }
}

/// Cuts a text into pieces of at most `limit` bytes as JSON has them, never inside a character.
pub fn cut(text: &str, limit: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut from, mut size) = (0, 0);
    for (at, c) in text.char_indices() {
        let more = if c.is_ascii() { escaped_byte(c as u8) } else { c.len_utf8() };
        if size + more > limit {
            pieces.push(&text[from..at]);
            (from, size) = (at, 0);
        }
        size += more;
    }
    pieces.push(&text[from..]);
    pieces
}

/// The delta, or the deltas that a long one is cut into.
pub fn small(delta: Delta) -> Vec<Delta> {
    let cut = |text: &str| cut(text, DELTA_LIMIT).into_iter().map(str::to_owned).collect::<Vec<_>>();
    match delta {
        Delta::Text { text } if escaped_len(&text) > DELTA_LIMIT => {
            cut(&text).into_iter().map(Delta::text).collect()
        }
        Delta::ToolInput { json } if escaped_len(&json) > DELTA_LIMIT => {
            cut(&json).into_iter().map(|json| Delta::ToolInput { json }).collect()
        }
        other => vec![other],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_delta_becomes_several_that_fit_and_a_short_one_stays() {
        let long = "日本\u{1}".repeat(10_000);
        let deltas = small(Delta::text(long.as_str()));
        assert!(deltas.len() > 3 && deltas.iter().all(|delta| escaped_len(delta.as_text()) <= DELTA_LIMIT));
        assert_eq!(deltas.iter().map(Delta::as_text).collect::<String>(), long);
        assert_eq!(small(Delta::text("a")), [Delta::text("a")]);
    }

    proptest! {
        #[test]
        fn pieces_keep_every_character_and_the_limit(text in "[\\x00-\\x7fäé日]{0,400}") {
            let pieces = cut(&text, 50);
            prop_assert_eq!(pieces.concat(), text.as_str());
            for piece in pieces {
                prop_assert_eq!(serde_json::to_string(piece).unwrap().len(), escaped_len(piece) + 2);
                prop_assert!(escaped_len(piece) <= 50);
            }
        }
    }
}
