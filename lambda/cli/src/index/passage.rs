//! Passages as they are stored: an id that stays the same, and what is said of them.

use gateway::blocks::tokens;
use gateway::chat;
use gateway::digest::Lengths;
use gateway::retrieval::split::{embedded, within};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Hex digits of an id.
const ID: usize = 32;

/// A passage to store.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// The same for the same text under the same title of the same source.
    pub id: String,
    /// Its text.
    pub text: String,
    /// Where it comes from, and what its document says of itself.
    pub metadata: Map<String, Value>,
    /// Tokens of what is embedded of it, estimated.
    pub tokens: u64,
}

impl Passage {
    /// The digest of its document.
    pub fn document(&self) -> &str {
        self.metadata.get("document").and_then(Value::as_str).unwrap_or_default()
    }

    /// The name of the file that it was read from.
    pub fn file(&self) -> &str {
        self.metadata.get("loaded_from").and_then(Value::as_str).unwrap_or_default()
    }

    /// The text that is embedded of it.
    pub fn embedded(&self) -> String {
        let title = self.metadata.get("title").and_then(Value::as_str).unwrap_or_default();
        embedded(title, &self.text)
    }

    /// Where it stands, for a message.
    pub fn place(&self) -> String {
        let text = |name: &str| self.metadata.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| self.metadata.get(name).and_then(Value::as_u64);
        let source = text("source");
        match (number("first_line"), number("page")) {
            (Some(line), _) => format!("{source}, line {line}"),
            (None, Some(page)) => format!("{source}, page {page}"),
            _ => source.to_owned(),
        }
    }
}

/// A document whose passages are made.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// What it says of itself.
    pub metadata: Map<String, Value>,
    /// The digest of it.
    pub digest: String,
    /// The page, of a PDF.
    pub page: Option<u64>,
}

/// Makes the passages of one file.
pub struct Maker<'a> {
    /// The file's name.
    pub file: &'a str,
    /// Tokens that the model takes at once.
    pub window: u64,
    /// How often the same was seen.
    seen: HashMap<u128, u32>,
}

impl Maker<'_> {
    /// For a file.
    pub fn new(file: &str, window: u64) -> Maker<'_> {
        Maker { file, window, seen: HashMap::new() }
    }

    /// Stores pieces of a document.
    pub fn passages(&mut self, document: &Document, pieces: Vec<chat::Passage>) -> Vec<Passage> {
        let pieces = within(pieces, self.window).into_iter();
        pieces.map(|piece| self.passage(document, piece)).collect()
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.seen.values().map(|count| *count as usize).sum()
    }

    fn passage(&mut self, document: &Document, piece: chat::Passage) -> Passage {
        let chat::Passage { text, source } = piece;
        let parts = || {
            // Two files may hold the same part of the same source, and only one of them may go.
            let parts = Lengths::new("passage").part(self.file.as_bytes()).part(source.location.as_bytes());
            parts.part(source.title.as_bytes()).part(text.as_bytes())
        };
        let count =
            self.seen.entry(u128::from_str_radix(&parts().hex()[..ID], 16).unwrap_or_default()).or_default();
        let mut id = parts().part(&count.to_be_bytes()).hex();
        id.truncate(ID);
        *count += 1;
        let mut metadata = Map::new();
        metadata.insert("source".to_owned(), source.location.into());
        metadata.insert("title".to_owned(), source.title.into());
        match (document.page, source.span) {
            (Some(page), _) => {
                metadata.insert("page".to_owned(), page.into());
            }
            (None, Some((first, last))) => {
                metadata.insert("first_line".to_owned(), first.into());
                metadata.insert("last_line".to_owned(), last.into());
            }
            _ => {}
        }
        for (name, value) in &document.metadata {
            metadata.entry(name.clone()).or_insert_with(|| value.clone());
        }
        metadata.insert("passage_id".to_owned(), id.as_str().into());
        metadata.insert("document".to_owned(), document.digest.as_str().into());
        metadata.insert("loaded_from".to_owned(), self.file.into());
        let passage = Passage { id, text, metadata, tokens: 0 };
        Passage { tokens: tokens(&passage.embedded()), ..passage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway::retrieval::split::{Format, split};

    fn passages(file: &str, text: &str) -> Vec<Passage> {
        let pieces = split(file, text, Format::Markdown);
        Maker::new(file, 8_192).passages(&Document::default(), pieces)
    }

    #[test]
    fn an_id_stays_while_the_text_moves_and_is_another_for_another_text_or_place() {
        let one = passages("a.md", "# A\ntext\n");
        let moved = passages("a.md", "\n\n# A\ntext\n");
        assert_eq!(one[0].id, moved[0].id);
        assert_ne!(one[0].metadata["first_line"], moved[0].metadata["first_line"]);
        for other in [
            passages("b.md", "# A\ntext\n"),
            passages("a.md", "# A\ntexts\n"),
            passages("a.md", "# B\ntext\n"),
        ] {
            assert_ne!(one[0].id, other[0].id);
        }
        assert_eq!(one[0].place(), "a.md, line 1");
    }

    #[test]
    fn equal_texts_of_one_source_are_told_apart_and_counted() {
        let mut maker = Maker::new("a.md", 8_192);
        let pieces = split("a.md", "same", Format::Text);
        let again = maker.passages(&Document::default(), [pieces.clone(), pieces].concat());
        assert_ne!(again[0].id, again[1].id);
        assert_eq!(maker.count(), 2);
    }

    #[test]
    fn a_documents_own_metadata_stands_beside_ours_and_does_not_replace_it() {
        let own = serde_json::json!({ "lang": "en", "passage_id": "mine", "source": "elsewhere" });
        let document =
            Document { metadata: own.as_object().unwrap().clone(), digest: "d".into(), page: Some(3) };
        let passage =
            Maker::new("a.pdf", 99).passages(&document, split("a.pdf", "text", Format::Text)).remove(0);
        let expected = serde_json::json!({ "source": "a.pdf", "title": "a.pdf", "page": 3, "lang": "en",
            "passage_id": passage.id, "document": "d", "loaded_from": "a.pdf" });
        assert_eq!(Value::from(passage.metadata), expected);
    }
}
