//! A row of JSON Lines: one document, or a part of one.

use gateway::chat::{Passage, Source};
use gateway::digest::Lengths;
use gateway::retrieval::split::{Format, split};
use serde_json::{Map, Value};

use super::passage::Document;

/// Bytes of metadata that every passage of a row is stored with, at most.
const LONGEST_METADATA: usize = 32 * 1024;

/// A row that was read.
#[derive(Debug)]
pub struct Row {
    /// What it says of itself, and its digest.
    pub document: Document,
    /// Its text in pieces.
    pub pieces: Vec<Passage>,
}

/// Reads a row of a file that stands on this line.
///
/// # Errors
/// A sentence that names the field.
pub fn read(json: &[u8], file: &str, line: u64) -> Result<Row, String> {
    let text =
        std::str::from_utf8(json).map_err(|_| "It is no UTF-8 text. Save the file as UTF-8.".to_owned())?;
    let row: Value = serde_json::from_str(text).map_err(|error| format!("It is no valid JSON: {error}."))?;
    let Value::Object(mut row) = row else {
        return Err("It is no JSON object. A row is {\"text\": \"…\"}.".to_owned());
    };
    // LangChain's documents call it so.
    let text = row.remove("text").or_else(|| row.remove("page_content"));
    let text = match text {
        Some(Value::String(text)) if !text.trim().is_empty() => text,
        Some(Value::String(_)) => return Err("`text` is empty.".to_owned()),
        Some(_) => return Err("`text` must be a text.".to_owned()),
        None => return Err("`text` is missing.".to_owned()),
    };
    let mut metadata = match row.remove("metadata") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(metadata)) => metadata,
        Some(_) => return Err("`metadata` must be a JSON object.".to_owned()),
    };
    let source = named(&mut row, &mut metadata, "source")?;
    let title = named(&mut row, &mut metadata, "title")?;
    // `id`, and what else a row says, can be filtered by as well.
    for (name, value) in row {
        metadata.entry(name).or_insert(value);
    }
    let long = serde_json::to_string(&metadata).map_or(0, |json| json.len());
    if long > LONGEST_METADATA {
        return Err(format!(
            "`metadata` has {long} bytes, and every passage is stored with it. Leave it at 32 KB."
        ));
    }
    let location = source.unwrap_or_else(|| file.to_owned());
    let own = title.unwrap_or_else(|| last_segment(&location).to_owned());
    let mut pieces = split(&location, &text, Format::Text);
    let foreign = location != file;
    for piece in &mut pieces {
        // Lines of the row's text are lines of no file; the row's own is one of this file.
        let span = (!foreign).then_some((line, line));
        piece.source = Source { title: own.clone(), location: location.clone(), score: 0.0, span };
    }
    // A row that moved names another line, unless it names none.
    let place = if foreign { 0 } else { line };
    let digest = Lengths::new("row 1").part(json).part(&place.to_be_bytes()).hex();
    Ok(Row { document: Document { metadata, digest, page: None }, pieces })
}

/// A text of the row itself or of its metadata.
fn named(
    row: &mut Map<String, Value>,
    metadata: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<String>, String> {
    match row.remove(name).or_else(|| metadata.remove(name)) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
        None | Some(Value::Null | Value::String(_)) => Ok(None),
        Some(_) => Err(format!("`{name}` must be a text.")),
    }
}

/// What a location is called where nothing else is said.
pub fn last_segment(location: &str) -> &str {
    location.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(row: Value) -> Result<Row, String> {
        read(row.to_string().as_bytes(), "data/rows.jsonl", 7)
    }

    #[test]
    fn a_row_says_where_it_comes_from_or_is_a_line_of_its_file() {
        let own = row(json!({ "text": "hello", "id": 4, "metadata": { "lang": "en" } })).unwrap();
        let source = &own.pieces[0].source;
        assert_eq!((source.title.as_str(), source.location.as_str()), ("rows.jsonl", "data/rows.jsonl"));
        assert_eq!(source.span, Some((7, 7)));
        assert_eq!(Value::from(own.document.metadata), json!({ "lang": "en", "id": 4 }));
        let foreign =
            row(json!({ "page_content": "hello", "metadata": { "source": "https://x.org/a", "page": 2 } }))
                .unwrap();
        let source = &foreign.pieces[0].source;
        assert_eq!(
            (source.title.as_str(), source.location.as_str(), source.span),
            ("a", "https://x.org/a", None)
        );
        assert_eq!(Value::from(foreign.document.metadata), json!({ "page": 2 }));
    }

    #[test]
    fn a_long_row_has_several_passages_of_one_title() {
        let row = row(json!({ "text": "A sentence of some words. ".repeat(200), "title": "T" })).unwrap();
        assert!(row.pieces.len() > 1 || row.pieces[0].text.len() < 6_000);
        assert!(row.pieces.iter().all(|piece| piece.source.title == "T"));
    }

    #[test]
    fn what_is_wrong_with_a_row_is_named() {
        for (wrong, word) in [
            (json!({ "txt": "x" }), "`text` is missing"),
            (json!({ "text": " " }), "`text` is empty"),
            (json!({ "text": 5 }), "`text` must be"),
            (json!({ "text": "x", "metadata": [] }), "`metadata` must be"),
            (json!({ "text": "x", "title": {} }), "`title` must be"),
            (json!({ "text": "x", "metadata": { "a": "x".repeat(40_000) } }), "32 KB"),
            (json!(["text"]), "no JSON object"),
        ] {
            let said = row(wrong).unwrap_err();
            assert!(said.contains(word), "{said}");
        }
        assert!(read(b"{\"text\": \"\xff\"}", "a", 1).unwrap_err().contains("UTF-8"));
        assert!(read(b"{", "a", 1).unwrap_err().contains("JSON"));
    }
}
