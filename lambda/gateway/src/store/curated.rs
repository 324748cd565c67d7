//! Curated answers: reading a row of an upload, and writing many.

use super::item::{self, Item};
use super::overflow::{ROOMY, SHARED};
use super::{Store, built};
use crate::error::Error;
use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Rows prepared at once: what bounds the memory of a large upload.
const BATCH: usize = 100;

/// One curated answer.
#[derive(Clone, Debug, PartialEq)]
pub struct CuratedRow {
    /// The question, with its `node_id` before it where it has one.
    pub pk: String,
    /// The answer.
    pub answer: String,
    /// Whatever else the row said; kept, not read.
    pub extra: Map<String, Value>,
}

/// Reads a row of an upload: `{"pk", "answer", …}`, or the seeds' `{"id", "responses"}` where
/// `responses` is JSON with a `completion`, or a string of such JSON.
///
/// # Errors
/// `InvalidRequest` that names the field.
pub fn parse_curated_row(row: &Value) -> Result<CuratedRow, Error> {
    let Value::Object(fields) = row else {
        return Err(Error::invalid("pk", "A row must be an object with `pk` and `answer`."));
    };
    let mut extra = fields.clone();
    let seed = !fields.contains_key("pk") && fields.contains_key("id");
    let (key_field, answer_field) = if seed { ("id", "responses") } else { ("pk", "answer") };
    let pk = extra.remove(key_field).and_then(into_text).filter(|pk| !pk.trim().is_empty());
    let pk =
        pk.ok_or_else(|| Error::invalid(key_field, format!("`{key_field}` must be the question, a text.")))?;
    let answer = extra.remove(answer_field);
    let answer = if seed { answer.and_then(completion) } else { answer.and_then(into_text) };
    let answer = answer.ok_or_else(|| {
        let form = if seed { "JSON with a `completion`" } else { "a text" };
        Error::invalid(answer_field, format!("`{answer_field}` must be {form}."))
    })?;
    Ok(CuratedRow { pk, answer, extra })
}

fn into_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn completion(responses: Value) -> Option<String> {
    let responses = match responses {
        Value::String(json) => serde_json::from_str(&json).ok()?,
        other => other,
    };
    responses.get("completion")?.as_str().map(str::to_owned)
}

impl Store {
    /// Writes curated answers under the question and under its folded form. They never expire. Of
    /// two rows with one key the last one stays. A write that fails may have written some rows;
    /// writing all again is right.
    pub async fn put_curated(&self, rows: &[CuratedRow]) -> Result<(), Error> {
        for batch in rows.chunks(BATCH) {
            // A batch write refuses two items of one key, and says nothing of their order.
            let mut puts = BTreeMap::new();
            for row in batch {
                let attributes = self.curated_attributes(row).await?;
                for pk in item::question_pk(&row.pk).into_iter().chain([item::folded_pk(&row.pk)]) {
                    let mut put = attributes.clone();
                    put.insert("pk".to_owned(), item::s(&pk));
                    puts.insert(pk, put);
                }
            }
            let mut writes = Vec::new();
            for put in puts.into_values() {
                let put = built(PutRequest::builder().set_item(Some(put)).build())?;
                writes.push(WriteRequest::builder().put_request(put).build());
            }
            self.write_all(&self.tables.answers, writes).await?;
        }
        Ok(())
    }

    async fn curated_attributes(&self, row: &CuratedRow) -> Result<Item, Error> {
        let mut attributes = Item::from([("kind".to_owned(), item::s("curated"))]);
        let room = if row.extra.is_empty() { ROOMY } else { SHARED };
        attributes.extend(self.pack_text("answer", row.answer.clone(), room, None).await?);
        if !row.extra.is_empty() {
            attributes.extend(self.pack("extra", &row.extra, SHARED, None).await?);
        }
        Ok(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_of_a_row_are_read() {
        let ours = parse_curated_row(&json!({"pk": "why?", "answer": "so", "by": "ann"})).unwrap();
        assert_eq!((ours.pk.as_str(), ours.answer.as_str()), ("why?", "so"));
        assert_eq!(ours.extra["by"], "ann");
        let responses = r#"{"completion": "so", "stop_reason": null}"#;
        for responses in [json!(responses), serde_json::from_str(responses).unwrap()] {
            let seed = parse_curated_row(&json!({"id": "node1why?", "responses": responses})).unwrap();
            assert_eq!((seed.pk.as_str(), seed.answer.as_str()), ("node1why?", "so"));
            assert!(seed.extra.is_empty());
        }
    }

    fn check(row: Value, param: &str) {
        assert_eq!(parse_curated_row(&row).unwrap_err().param.as_deref(), Some(param));
    }

    #[test]
    fn a_wrong_row_names_its_field() {
        check(json!("text"), "pk");
        check(json!({"answer": "so"}), "pk");
        check(json!({"pk": " ", "answer": "so"}), "pk");
        check(json!({"pk": "why?", "answer": 1}), "answer");
        check(json!({"id": "why?"}), "responses");
        check(json!({"id": "why?", "responses": "no json"}), "responses");
    }
}
