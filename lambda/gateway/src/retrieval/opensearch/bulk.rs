//! `_bulk`: changes as lines of JSON, and what became of each of them.

use super::reply::Reply;
use crate::config::retrieval::FieldNames;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// A change of the index.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A passage with its vector.
    Add {
        /// Its id; the document's too, where the server takes one.
        id: String,
        /// Its text.
        text: String,
        /// Its vector.
        vector: Vec<f32>,
        /// Everything else.
        metadata: Map<String, Value>,
    },
    /// A passage's metadata changed, and neither its text nor its vector did. Not for OpenSearch Serverless
    /// (`Loader::updates`).
    Update {
        /// The document's id.
        at: String,
        /// All of its metadata.
        metadata: Map<String, Value>,
    },
    /// A passage is gone.
    Remove {
        /// The document's id.
        at: String,
    },
}

/// Writes changes as an index takes them.
#[derive(Clone, Debug)]
pub struct Form {
    /// Where a document keeps what.
    pub fields: FieldNames,
    /// OpenSearch Serverless: it gives ids itself.
    pub serverless: bool,
}

impl Form {
    /// The lines of one change.
    ///
    /// # Errors
    /// A sentence, where it cannot be written as JSON.
    pub fn lines(&self, change: &Change) -> Result<Vec<u8>, String> {
        let mut lines = Vec::new();
        let written = match change {
            Change::Add { id, text, vector, metadata } => {
                let own = if self.serverless { json!({}) } else { json!({ "_id": id }) };
                let vector = if self.serverless { &unit(vector) } else { vector };
                let document = Document { fields: &self.fields, text, vector, metadata };
                line(&mut lines, &json!({ "index": own })).and_then(|()| line(&mut lines, &document))
            }
            Change::Update { at, metadata } => line(&mut lines, &json!({ "update": { "_id": at } }))
                .and_then(|()| line(&mut lines, &self.update(metadata))),
            Change::Remove { at } => line(&mut lines, &json!({ "delete": { "_id": at } })),
        };
        written.map_err(|error| format!("A passage is no JSON: {error}."))?;
        Ok(lines)
    }

    fn update(&self, metadata: &Map<String, Value>) -> Value {
        let field = &self.fields.metadata;
        // A partial document is merged: a key that is gone would stay.
        let script = "ctx._source[params.field] = params.metadata";
        json!({ "script": { "source": script, "params": { "field": field, "metadata": metadata } } })
    }
}

/// The vector with the length 1, as the distance of OpenSearch Serverless needs it (`mapping::body`).
fn unit(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    vector.iter().map(|number| if length > 0.0 { number / length } else { *number }).collect()
}

fn line(lines: &mut Vec<u8>, value: &impl Serialize) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *lines, value)?;
    lines.push(b'\n');
    Ok(())
}

/// A passage as it is stored. Its vector is written as it is: a JSON value of our own would hold each number
/// as `f64`, with twice the digits.
struct Document<'a> {
    fields: &'a FieldNames,
    text: &'a str,
    vector: &'a [f32],
    metadata: &'a Map<String, Value>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_map(Some(3))?;
        document.serialize_entry(&self.fields.text, self.text)?;
        document.serialize_entry(&self.fields.vector, self.vector)?;
        document.serialize_entry(&self.fields.metadata, self.metadata)?;
        document.end()
    }
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is written, or was already.
    Done,
    /// The server had too much to do.
    Again,
    /// It may be written yet: the change met another one, or a part of the server failed; why, in its words.
    Failed(String),
    /// It never will be; why, in the server's words.
    Refused(String),
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<Map<String, Value>>,
}

/// What became of so many changes.
///
/// # Errors
/// A sentence, where the reply does not say it.
pub fn outcomes(reply: &Reply, count: usize) -> Result<Vec<Outcome>, String> {
    let answer: Answer = reply.json().map_err(|_| unread())?;
    if answer.items.len() != count {
        return Err(unread());
    }
    Ok(answer.items.iter().map(outcome).collect())
}

fn unread() -> String {
    "OpenSearch's answer to a bulk request cannot be read.".to_owned()
}

fn outcome(item: &Map<String, Value>) -> Outcome {
    let Some((action, result)) = item.iter().next() else { return Outcome::Refused(unread()) };
    match result["status"].as_u64().unwrap_or_default() {
        200..=299 => Outcome::Done,
        // What is to be gone is gone.
        404 if action == "delete" => Outcome::Done,
        429 | 503 => Outcome::Again,
        status @ (409 | 500 | 502 | 504) => Outcome::Failed(format!("{status}: {}", said(result))),
        status => Outcome::Refused(format!("{status}: {}", said(result))),
    }
}

/// Why an item was not written, in the server's words.
fn said(result: &Value) -> String {
    let error = &result["error"];
    let cause = if error["caused_by"].is_object() { &error["caused_by"] } else { error };
    cause["reason"].as_str().or(error.as_str()).unwrap_or("no reason given").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(serverless: bool) -> Form {
        let fields = FieldNames { text: "t".into(), vector: "v".into(), metadata: "m".into() };
        Form { fields, serverless }
    }

    fn metadata() -> Map<String, Value> {
        json!({ "title": "a" }).as_object().unwrap().clone()
    }

    fn written(change: &Change, serverless: bool) -> String {
        String::from_utf8(form(serverless).lines(change).unwrap()).unwrap()
    }

    #[test]
    fn a_passage_is_written_under_its_id_where_the_server_takes_one() {
        let (id, text, vector) = ("i".to_owned(), "x\ny".to_owned(), vec![0.1, -2.0]);
        let add = Change::Add { id, text, vector, metadata: metadata() };
        let document = "{\"t\":\"x\\ny\",\"v\":[0.1,-2.0],\"m\":{\"title\":\"a\"}}\n";
        assert_eq!(written(&add, false), format!("{{\"index\":{{\"_id\":\"i\"}}}}\n{document}"));
        assert!(written(&add, true).starts_with("{\"index\":{}}\n{\"t\":\"x\\ny\",\"v\":[0.049"));
    }

    #[test]
    fn metadata_changes_alone_and_what_is_gone_has_no_document() {
        let update = Change::Update { at: "i".into(), metadata: metadata() };
        assert!(written(&update, false).starts_with("{\"update\":{\"_id\":\"i\"}}\n{\"script\":"));
        assert!(written(&update, false).ends_with("{\"field\":\"m\",\"metadata\":{\"title\":\"a\"}}}}\n"));
        assert_eq!(written(&Change::Remove { at: "i".into() }, false), "{\"delete\":{\"_id\":\"i\"}}\n");
    }

    #[test]
    fn each_item_has_its_own_outcome() {
        let item =
            |action: &str, status: u64, error: Value| json!({ action: { "status": status, "error": error } });
        let wrong = json!({ "type": "mapper_parsing_exception", "reason": "failed",
            "caused_by": { "reason": "dimension is 8" } });
        let items = [
            item("index", 201, Value::Null),
            item("delete", 404, Value::Null),
            item("update", 404, json!({ "reason": "missing" })),
            item("index", 429, json!({ "reason": "queue" })),
            item("index", 400, wrong),
            item("update", 409, json!({ "reason": "version conflict" })),
            item("index", 500, json!({ "reason": "shard failed" })),
            item("index", 502, Value::Null),
            item("index", 503, Value::Null),
            item("index", 504, Value::Null),
            json!({ "index": {} }),
        ];
        let body = json!({ "errors": true, "items": items }).to_string();
        let reply = Reply { status: 200, retry_after: None, body: body.into() };
        let refused = |said: &str| Outcome::Refused(said.into());
        let all = outcomes(&reply, 11).unwrap();
        let first = [Outcome::Done, Outcome::Done, refused("404: missing"), Outcome::Again];
        assert_eq!(all[..4], first);
        assert_eq!(all[4], refused("400: dimension is 8"));
        let failed = |said: &str| Outcome::Failed(said.into());
        assert_eq!(all[5..7], [failed("409: version conflict"), failed("500: shard failed")]);
        let none = "no reason given";
        assert_eq!(all[7], failed(&format!("502: {none}")));
        assert_eq!(all[8..10], [Outcome::Again, failed(&format!("504: {none}"))]);
        assert_eq!(all[10], refused("0: no reason given"));
        assert!(outcomes(&reply, 10).is_err());
    }
}
