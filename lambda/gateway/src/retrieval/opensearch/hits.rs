//! What a search found, as passages: whoever wrote the documents chose the form of their metadata.

use crate::chat::{Passage, Source};
use crate::config::retrieval::FieldNames;
use serde::Deserialize;
use serde_json::Value;

/// Characters of a title, and of a location, at most: both are told to clients.
const LONGEST_TITLE: usize = 300;
const LONGEST_LOCATION: usize = 1_000;

/// The names under which documents say where they come from, the usual first.
const LOCATIONS: [&str; 4] = ["source", "location", "url", "file_path"];

/// A search's reply.
#[derive(Deserialize)]
pub struct Found {
    #[serde(default)]
    timed_out: bool,
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<Hit>,
}

/// A document that was found.
#[derive(Clone, Deserialize)]
pub struct Hit {
    #[serde(rename = "_index", default)]
    index: String,
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_score")]
    score: Option<f32>,
    #[serde(rename = "_source", default)]
    source: Value,
}

impl Found {
    /// Did the server stop before it had looked at everything?
    pub fn is_partial(&self) -> bool {
        self.timed_out
    }

    /// The documents, best first.
    pub fn hits(self) -> Vec<Hit> {
        self.hits.hits
    }

    /// A hybrid search that no pipeline merged answers with scores far below zero, which mark where each
    /// half begins.
    pub fn is_unmerged(&self) -> bool {
        self.hits.hits.iter().any(|hit| hit.score() < 0.0)
    }
}

impl Hit {
    /// The server's score.
    pub fn score(&self) -> f32 {
        self.score.unwrap_or(0.0)
    }

    /// What tells it from every other document.
    pub fn key(&self) -> (String, String) {
        (self.index.clone(), self.id.clone())
    }

    /// The passage, with this score; `None` for a document without text.
    pub fn passage(&self, fields: &FieldNames, score: f32) -> Option<Passage> {
        let text = inner(&self.source, &fields.text)?.as_str().filter(|text| !text.trim().is_empty())?;
        let nothing = Value::Null;
        let metadata = inner(&self.source, &fields.metadata).unwrap_or(&nothing);
        // An id says little, but it can be looked up.
        let location = LOCATIONS.iter().find_map(|name| word(&metadata[*name], LONGEST_LOCATION));
        let location = location.unwrap_or_else(|| self.id.clone());
        let title = word(&metadata["title"], LONGEST_TITLE).unwrap_or_else(|| last_segment(&location));
        let source = Source { title, location, score, span: span(metadata) };
        Some(Passage { text: text.to_owned(), source })
    }
}

/// The value of a field, inner ones behind dots.
fn inner<'a>(source: &'a Value, path: &str) -> Option<&'a Value> {
    let whole = source.get(path);
    whole.or_else(|| path.split('.').try_fold(source, |value, name| value.get(name)))
}

/// A value as one line of text.
fn word(value: &Value, longest: usize) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let line: String =
        text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(longest).collect();
    Some(line).filter(|line| !line.trim().is_empty())
}

/// The last part of a path or an address.
fn last_segment(location: &str) -> String {
    let path = location.split(['?', '#']).next().unwrap_or_default();
    let last = path.rsplit(['/', '\\']).find(|segment| !segment.is_empty());
    last.unwrap_or(location).chars().take(LONGEST_TITLE).collect()
}

/// First and last line, else the page.
fn span(metadata: &Value) -> Option<(u64, u64)> {
    let number = |name: &str| {
        let value = &metadata[name];
        value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
    };
    let lines = number("first_line").map(|first| (first, number("last_line").unwrap_or(first)));
    lines.or_else(|| number("page").map(|page| (page, page)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn fields() -> FieldNames {
        FieldNames { text: "text".into(), vector: "vector_field".into(), metadata: "metadata".into() }
    }

    fn source_of(metadata: Value) -> Source {
        let hit = json!({ "_id": "id-1", "_score": 0.5, "_source": { "text": "t", "metadata": metadata } });
        let hit: Hit = serde_json::from_value(hit).unwrap();
        hit.passage(&fields(), hit.score()).unwrap().source
    }

    #[test]
    fn metadata_of_every_origin_becomes_a_source() {
        for (metadata, title, location, span) in [
            (
                json!({"source": "docs/a.md", "title": "A › B", "first_line": 3, "last_line": 9}),
                "A › B",
                "docs/a.md",
                Some((3, 9)),
            ),
            (
                json!({"source": "/srv/files/report.pdf", "page": 4}),
                "report.pdf",
                "/srv/files/report.pdf",
                Some((4, 4)),
            ),
            (
                json!({"url": "https://example.com/guide/?q=1"}),
                "guide",
                "https://example.com/guide/?q=1",
                None,
            ),
            (
                json!({"file_path": "C:\\docs\\b.txt", "first_line": "7"}),
                "b.txt",
                "C:\\docs\\b.txt",
                Some((7, 7)),
            ),
            (json!({"source": 17, "page": "x"}), "17", "17", None),
            (json!({"source": " ", "location": "here"}), "here", "here", None),
            (json!({"source": ["a"], "title": "\n\u{0}Title\r\n"}), "Title", "id-1", None),
            (json!({}), "id-1", "id-1", None),
            (json!("text"), "id-1", "id-1", None),
        ] {
            let source = source_of(metadata.clone());
            let found = (source.title.trim(), source.location.as_str(), source.span);
            assert_eq!(found, (title, location, span), "{metadata}");
        }
    }

    #[test]
    fn a_document_without_text_is_no_passage_and_fields_may_lie_deeper() {
        let hit =
            |source: Value| serde_json::from_value::<Hit>(json!({ "_id": "x", "_source": source })).unwrap();
        for source in [json!({}), json!({"text": " "}), json!({"text": 7}), Value::Null] {
            assert_eq!(hit(source).passage(&fields(), 1.0), None);
        }
        let deep = FieldNames { text: "doc.body".into(), metadata: "doc.about".into(), ..fields() };
        let passage =
            hit(json!({"doc": {"body": "t", "about": {"source": "s"}}})).passage(&deep, 1.0).unwrap();
        assert_eq!((passage.text.as_str(), passage.source.location.as_str()), ("t", "s"));
    }

    #[test]
    fn scores_below_zero_are_marks_and_not_results() {
        let found = |scores: &[f64]| {
            let hits: Vec<Value> =
                scores.iter().map(|score| json!({ "_id": "x", "_score": score })).collect();
            serde_json::from_value::<Found>(json!({ "hits": { "hits": hits } })).unwrap()
        };
        assert!(found(&[-9_549_511_700.0, 1.0]).is_unmerged());
        assert!(!found(&[1.0, 0.0]).is_unmerged());
    }

    proptest! {
        #[test]
        fn titles_and_locations_are_one_line_within_their_bounds(title in any::<String>(), location in "[\\s\\S]{0,3000}") {
            let source = source_of(json!({ "title": title, "source": location }));
            for (text, longest) in [(&source.title, LONGEST_TITLE), (&source.location, LONGEST_LOCATION)] {
                prop_assert!(text.chars().count() <= longest && !text.chars().any(char::is_control));
                prop_assert!(!text.is_empty());
            }
        }
    }
}
