//! What a stored passage says about itself, as JSON: what filters ask, and where its source is read from.

use super::{Condition, Filter};
use crate::chat::Source;
use serde_json::{Map, Value};

/// Where a passage comes from, in the names of different loaders.
const LOCATIONS: [&str; 4] = ["source", "location", "url", "file_path"];

/// Characters of a title, and of a location, at most: both are told to clients.
const LONGEST_TITLE: usize = 300;
const LONGEST_LOCATION: usize = 1_000;

/// The source that a passage's metadata names. Whoever wrote the documents chose its form, so title and
/// location are cut to one line each.
pub fn source(metadata: &Map<String, Value>, score: f32) -> Source {
    let line = |name: &str, longest| metadata.get(name).and_then(|value| line(value, longest));
    let location = LOCATIONS.iter().find_map(|name| line(name, LONGEST_LOCATION)).unwrap_or_default();
    let title = line("title", LONGEST_TITLE).unwrap_or_else(|| last_segment(&location));
    let number = |name: &str| {
        let value = metadata.get(name)?;
        value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
    };
    let lines = number("first_line").map(|first| (first, number("last_line").unwrap_or(first)));
    let span = lines.or_else(|| number("page").map(|page| (page, page)));
    Source { title, location, score, span }
}

/// A text or a number as one line; `None` where there is nothing to see in it.
fn line(value: &Value, longest: usize) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line: String = plain.trim().chars().take(longest).collect();
    (!line.is_empty()).then_some(line)
}

/// The last part of a path or an address.
fn last_segment(location: &str) -> String {
    let path = location.split(['?', '#']).next().unwrap_or_default();
    let last = path.rsplit(['/', '\\']).find(|segment| !segment.is_empty());
    last.unwrap_or(location).chars().take(LONGEST_TITLE).collect()
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
    use proptest::prelude::*;
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
        check(json!({"file_path": "a.txt", "source": " ", "title": ["x"]}), "a.txt", "a.txt", None);
        check(json!({"url": "https://x.org/guide/?q=1#top"}), "guide", "https://x.org/guide/?q=1#top", None);
        check(
            json!({"source": "C:\\docs\\b.txt", "first_line": "7"}),
            "b.txt",
            "C:\\docs\\b.txt",
            Some((7, 7)),
        );
        check(json!({"source": 17, "page": "x", "title": "\n\u{0}One\r\nline\n"}), "One  line", "17", None);
        check(json!({}), "", "", None);
    }

    proptest! {
        #[test]
        fn titles_and_locations_are_one_line_within_their_bounds(
            title in any::<String>(), location in "[\\s\\S]{0,3000}",
        ) {
            let metadata = json!({ "title": title, "source": location });
            let source = source(metadata.as_object().unwrap(), 0.5);
            for (text, longest) in [(&source.title, LONGEST_TITLE), (&source.location, LONGEST_LOCATION)] {
                prop_assert!(text.chars().count() <= longest && !text.chars().any(char::is_control));
            }
        }
    }
}
