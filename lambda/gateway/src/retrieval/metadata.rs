//! What a stored passage says about itself, as JSON: what filters ask, and where its source is read from.

use super::{Condition, Filter};
use crate::chat::Source;
use serde_json::{Map, Value};

/// Where a passage comes from, in the names of different loaders.
const LOCATIONS: [&str; 4] = ["source", "location", "url", "file_path"];

/// The source that a passage's metadata names.
pub fn source(metadata: &Map<String, Value>, score: f32) -> Source {
    let text = |name: &&str| metadata.get(*name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let location = LOCATIONS.iter().find_map(text).unwrap_or_default();
    let last = location.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let title = text(&"title").unwrap_or(last);
    let number = |name: &str| metadata.get(name).and_then(Value::as_u64);
    let lines = number("first_line").zip(number("last_line"));
    let span = lines.or_else(|| number("page").map(|page| (page, page)));
    Source { title: title.to_owned(), location: location.to_owned(), score, span }
}

/// Does the metadata fulfil every condition?
pub fn fulfils(metadata: &Map<String, Value>, filter: &Filter) -> bool {
    filter.0.iter().all(|condition| within(metadata, &condition.field, condition))
}

/// A field's name may hold dots itself, or name an inner field behind each of them.
fn within(map: &Map<String, Value>, field: &str, condition: &Condition) -> bool {
    map.get(field).is_some_and(|value| holds(value, condition))
        || field.match_indices('.').any(|(dot, _)| {
            map.get(&field[..dot]).is_some_and(|inner| has(inner, &field[dot + 1..], condition))
        })
}

fn has(value: &Value, field: &str, condition: &Condition) -> bool {
    match value {
        Value::Object(map) => within(map, field, condition),
        Value::Array(all) => all.iter().any(|one| has(one, field, condition)),
        _ => false,
    }
}

fn holds(value: &Value, condition: &Condition) -> bool {
    match value {
        Value::Array(all) => all.iter().any(|one| holds(one, condition)),
        Value::String(text) => condition.any_of.contains(text),
        Value::Number(_) | Value::Bool(_) => condition.any_of.contains(&value.to_string()),
        Value::Null | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// `lang=de|en&tags=b`, and nothing for no conditions.
    fn filter(text: &str) -> Filter {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        let condition = |(field, values): (&str, &str)| {
            let any_of = values.split('|').filter(|value| !value.is_empty()).map(str::to_owned).collect();
            Condition { field: field.to_owned(), any_of }
        };
        Filter(pairs.map(condition).collect())
    }

    #[test]
    fn all_conditions_must_hold_and_of_each_one_value() {
        let metadata = json!({"lang": "en", "tags": ["a", "b"], "year": 2026, "draft": false, "none": null,
            "team": {"name": "search", "of": [{"site": "x"}, {"site": "y"}]}, "a.b": "dotted"});
        let holds = |text: &str| fulfils(metadata.as_object().unwrap(), &filter(text));
        for text in [
            "",
            "lang=de|en",
            "lang=en&tags=b",
            "year=2026&draft=false",
            "team.name=search",
            "team.of.site=y",
            "a.b=dotted",
        ] {
            assert!(holds(text), "{text}");
        }
        for text in [
            "lang=EN",
            "lang=",
            "lang=en&tags=c",
            "none=null",
            "team=search",
            "absent=x",
            "team.absent.site=y",
        ] {
            assert!(!holds(text), "{text}");
        }
    }

    #[test]
    fn a_source_is_read_from_any_loaders_names() {
        let check = |metadata: Value, title: &str, location: &str, span: Option<(u64, u64)>| {
            let source = source(metadata.as_object().unwrap(), 0.5);
            let found = (source.title.as_str(), source.location.as_str(), source.span);
            assert_eq!(found, (title, location, span), "{metadata}");
        };
        check(
            json!({"source": "docs/a.md", "title": "A › B", "first_line": 3, "last_line": 9}),
            "A › B",
            "docs/a.md",
            Some((3, 9)),
        );
        check(
            json!({"source": "s3://bucket/report.pdf", "page": 7}),
            "report.pdf",
            "s3://bucket/report.pdf",
            Some((7, 7)),
        );
        check(json!({"url": "https://x.org/handbook/"}), "handbook", "https://x.org/handbook/", None);
        check(json!({"file_path": "a.txt", "source": "", "title": 4}), "a.txt", "a.txt", None);
        check(json!({}), "", "", None);
    }
}
