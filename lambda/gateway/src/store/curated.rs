//! Curated answers: reading a row of an upload, and writing rows.

use super::item::{self, Item};
use super::overflow::{self, ROOMY, SHARED};
use super::{Bulk, Store, unavailable};
use crate::error::{Error, Kind};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// How long rows are tried again where a whole list is written at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// One curated answer.
#[derive(Clone, Debug, PartialEq)]
pub struct CuratedRow {
    /// The question, with its `node_id` before it where it has one.
    pub pk: String,
    /// The answer.
    pub answer: String,
    /// Whatever else the row said, as the text of a JSON object, or empty; kept, not read. Text,
    /// because a number that became a float would lose digits.
    pub extra: String,
}

/// Reads a row of an upload: `{"pk", "answer", …}`, or the seeds' `{"id", "responses"}` where
/// `responses` is JSON with a `completion`, or a string of such JSON.
///
/// # Errors
/// `InvalidRequest` that names the field; without one where the row is no JSON object.
pub fn parse_curated_row(text: &str) -> Result<CuratedRow, Error> {
    let mut fields = Fields::read(text)?;
    let seed = !fields.has("pk") && fields.has("id");
    let (key_field, answer_field) = if seed { ("id", "responses") } else { ("pk", "answer") };
    let pk = filled(key_field, fields.text(key_field, "the question, a text")?)?;
    let answer = if seed { fields.completion(answer_field)? } else { fields.text(answer_field, "a text")? };
    Ok(CuratedRow { pk, answer: filled(answer_field, answer)?, extra: fields.rest() })
}

impl CuratedRow {
    /// The keys it is written under: the question as it was asked, where DynamoDB can hold it, and
    /// the folded question. The first is the row's own: of two rows that share it the later stays.
    pub fn keys(&self) -> Vec<String> {
        item::question_pk(&self.pk).into_iter().chain([item::folded_pk(&self.pk)]).collect()
    }

    /// Bytes of its text.
    pub fn size(&self) -> usize {
        self.pk.len() + self.answer.len() + self.extra.len()
    }

    /// The room of the answer within its item.
    fn room(&self) -> usize {
        if self.extra.is_empty() { ROOMY } else { SHARED }
    }

    /// The row without its key, and the part rows that it names.
    pub(super) async fn packed(self) -> Result<(Item, Vec<Item>), Error> {
        let mut attributes = Item::from([("kind".to_owned(), item::s("curated"))]);
        let room = self.room();
        let mut packed = overflow::packed("answer", self.answer, room, None).await?;
        attributes.extend(packed.attributes);
        if !self.extra.is_empty() {
            let extra = overflow::packed("extra", self.extra, SHARED, None).await?;
            attributes.extend(extra.attributes);
            packed.parts.extend(extra.parts);
        }
        Ok((attributes, packed.parts))
    }

    /// The field that one item cannot hold even deflated, so that it needs the state table.
    pub fn needs_parts(&self) -> Option<&'static str> {
        let large = |text: &str, room| !overflow::fits(text, room);
        match () {
            () if large(&self.answer, self.room()) => Some("answer"),
            () if large(&self.extra, SHARED) => Some("extra"),
            () => None,
        }
    }
}

/// The fields of a row that nobody has asked for yet, in their order.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Fields<'a>, Error> {
        if !text.trim_start().starts_with('{') {
            return Err(wrong("A row must be a JSON object: {\"pk\": \"the question\", \"answer\": \"…\"}."));
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let fields = json.deserialize_map(FieldsVisitor).and_then(|fields| json.end().map(|()| fields));
        let fields = fields.map_err(|error| wrong(syntax(&error, text)))?;
        let mut names: Vec<_> = fields.iter().map(|(name, _)| name).collect();
        names.sort();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(Error::invalid(twice[0], format!("`{}` stands twice in the row.", twice[0]))),
            None => Ok(Fields(fields)),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.0.iter().position(|(field, _)| field == name)?;
        Some(self.0.remove(at).1)
    }

    /// The text under `name`.
    fn text(&mut self, name: &str, form: &str) -> Result<String, Error> {
        let Some(raw) = self.take(name) else {
            return Err(Error::invalid(name, format!("`{name}` is missing; it must be {form}.")));
        };
        let json = raw.get();
        if !json.starts_with('"') {
            let met = kind(json);
            return Err(Error::invalid(name, format!("`{name}` must be {form}; it is {met}.")));
        }
        serde_json::from_str(json).map_err(|error| {
            Error::invalid(name, format!("`{name}` is no valid JSON text: {}.", complaint(&error)))
        })
    }

    /// The `completion` of the JSON under `name`, which may be a text of JSON.
    fn completion(&mut self, name: &str) -> Result<String, Error> {
        #[derive(serde::Deserialize)]
        struct Responses {
            completion: String,
        }
        let form = || Error::invalid(name, format!("`{name}` must be JSON with a `completion`, a text."));
        let raw = self.take(name).ok_or_else(form)?.get();
        let inner: Cow<'_, str> = match raw.starts_with('"') {
            true => Cow::Owned(serde_json::from_str(raw).map_err(|_| form())?),
            false => Cow::Borrowed(raw),
        };
        let responses: Responses = serde_json::from_str(&inner).map_err(|_| form())?;
        Ok(responses.completion)
    }

    /// What is left, as the text of a JSON object; empty where nothing is.
    fn rest(&self) -> String {
        let pairs = self.0.iter().map(|(name, value)| format!("{}:{value}", serde_json::json!(name)));
        let pairs: Vec<String> = pairs.collect();
        if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
    }
}

struct FieldsVisitor;

impl<'a> Visitor<'a> for FieldsVisitor {
    type Value = Vec<(Cow<'a, str>, &'a RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry::<Cow<'a, str>, &'a RawValue>()? {
            fields.push(field);
        }
        Ok(fields)
    }
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(Kind::InvalidRequest, message)
}

fn filled(name: &str, text: String) -> Result<String, Error> {
    match text.trim().is_empty() {
        true => Err(Error::invalid(name, format!("`{name}` is empty."))),
        false => Ok(text),
    }
}

/// What a JSON value is, by its first byte.
fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'"') => "a text",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// What serde has to say, without the place, which it counts within what it was given.
fn complaint(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map(|(what, _)| what.to_owned()).unwrap_or(text)
}

/// Where and why a row is no JSON.
fn syntax(error: &serde_json::Error, text: &str) -> String {
    let place = match text.contains('\n') {
        true => format!("line {} of the row, column {}", error.line(), error.column()),
        false => format!("column {}", error.column()),
    };
    format!("The row is no valid JSON: {} at {place}.", complaint(error))
}

impl Store {
    /// Writes curated answers under the question and under its folded form. They never expire. Of
    /// two rows with one key the last one stays. A write that fails may have written some rows;
    /// writing all again is right.
    pub async fn put_curated(&self, rows: &[CuratedRow]) -> Result<(), Error> {
        let mut bulk = Bulk::new(self, 1, PATIENCE);
        let all = async {
            for (row, place) in rows.iter().zip(1..) {
                bulk.put(place, row.clone()).await?;
            }
            bulk.finish().await
        };
        // What an upload's person is told is for the log here.
        all.await.map_err(|error: Error| unavailable(error.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_of_a_row_are_read() {
        let ours = parse_curated_row(r#"{"pk": "why?", "answer": "so", "by": "ann"}"#).unwrap();
        assert_eq!((ours.pk.as_str(), ours.answer.as_str()), ("why?", "so"));
        assert_eq!(ours.extra, r#"{"by":"ann"}"#);
        let responses = r#"{"completion": "so", "stop_reason": null}"#;
        for responses in [json!(responses), serde_json::from_str(responses).unwrap()] {
            let row = json!({"id": "node1why?", "responses": responses}).to_string();
            let seed = parse_curated_row(&row).unwrap();
            assert_eq!((seed.pk.as_str(), seed.answer.as_str()), ("node1why?", "so"));
            assert!(seed.extra.is_empty());
        }
    }

    #[test]
    fn other_keys_keep_their_order_and_every_digit() {
        let row = r#"{"z\n":1.10, "pk":"\u0071", "big": 12345678901234567890123, "answer":"a", "a":[1e400]}"#;
        let row = parse_curated_row(row).unwrap();
        assert_eq!(row.extra, r#"{"z\n":1.10,"big":12345678901234567890123,"a":[1e400]}"#);
        assert_eq!(row.pk, "q");
    }

    #[test]
    fn a_row_that_one_item_cannot_hold_names_its_field() {
        let row = |answer: String, extra: String| CuratedRow { pk: "q".into(), answer, extra };
        let noise: String =
            (0..400_000_u64).map(|n| char::from(33 + (n * n * 31 % 8191 % 90) as u8)).collect();
        assert_eq!(row("x".repeat(2_000_000), String::new()).needs_parts(), None);
        let random: String = (0..20_000).map(|_| uuid::Uuid::new_v4().to_string()).collect();
        assert_eq!(row(random.clone(), String::new()).needs_parts(), Some("answer"));
        assert_eq!(row("a".into(), random).needs_parts(), Some("extra"));
        assert_eq!(row(noise[..200_000].into(), String::new()).needs_parts(), None);
    }

    fn check(row: &str, param: &str, says: &str) {
        let error = parse_curated_row(row).unwrap_err();
        assert_eq!(error.param.as_deref().unwrap_or_default(), param, "{row}");
        assert!(error.message.contains(says), "{row}: {}", error.message);
    }

    #[test]
    fn a_wrong_row_names_its_field_and_says_what_it_is() {
        check(r#""text""#, "", "JSON object");
        check("pk,answer", "", "JSON object");
        check(r#"{"pk": "why?" "answer": "so"}"#, "", "expected `,` or `}` at column 15");
        check("{\"pk\": \"why?\",\n \"answer\": so}", "", "line 2 of the row, column 12");
        check(r#"{"pk": "why?", "answer": "so"} x"#, "", "trailing");
        check(r#"{"answer": "so"}"#, "pk", "missing");
        check(r#"{"pk": " ", "answer": "so"}"#, "pk", "empty");
        check(r#"{"pk": "a", "pk": "b", "answer": "so"}"#, "pk", "twice");
        check(r#"{"pk": ["why?"], "answer": "so"}"#, "pk", "it is a list");
        check(r#"{"pk": "why?"}"#, "answer", "missing");
        check(r#"{"pk": "why?", "answer": 1}"#, "answer", "it is a number");
        check(r#"{"pk": "why?", "answer": null}"#, "answer", "it is null");
        check(r#"{"pk": "why?", "answer": "\ud800"}"#, "answer", "no valid JSON text");
        check(r#"{"id": "why?"}"#, "responses", "completion");
        check(r#"{"id": "why?", "responses": "no json"}"#, "responses", "completion");
        check(r#"{"id": "why?", "responses": {"completion": 1}}"#, "responses", "completion");
    }
}
