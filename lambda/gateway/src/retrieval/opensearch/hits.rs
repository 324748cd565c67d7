//! What a search found, as passages: whoever wrote the documents chose the form of their metadata.

use crate::chat::Passage;
use crate::config::retrieval::FieldNames;
use crate::retrieval::metadata;
use serde::Deserialize;
use serde_json::{Map, Value};

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
        let metadata = inner(&self.source, &fields.metadata).and_then(Value::as_object);
        let mut source = metadata::source(metadata.unwrap_or(&Map::new()), score);
        if source.location.is_empty() {
            // An id says little, but it can be looked up.
            source.location.clone_from(&self.id);
        }
        if source.title.is_empty() {
            source.title.clone_from(&source.location);
        }
        Some(Passage { text: text.to_owned(), source })
    }
}

/// The value of a field, inner ones behind dots.
fn inner<'a>(source: &'a Value, path: &str) -> Option<&'a Value> {
    let whole = source.get(path);
    whole.or_else(|| path.split('.').try_fold(source, |value, name| value.get(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields() -> FieldNames {
        FieldNames { text: "text".into(), vector: "vector_field".into(), metadata: "metadata".into() }
    }

    #[test]
    fn what_says_nothing_of_its_origin_is_named_by_its_id() {
        for metadata in [json!({}), json!("text"), json!({"source": ["a"]})] {
            let hit = json!({"_id": "id-1", "_score": 0.5, "_source": {"text": "t", "metadata": metadata}});
            let hit: Hit = serde_json::from_value(hit).unwrap();
            let source = hit.passage(&fields(), hit.score()).unwrap().source;
            assert_eq!(
                (source.title.as_str(), source.location.as_str(), source.span),
                ("id-1", "id-1", None)
            );
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
}
