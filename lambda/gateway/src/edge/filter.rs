//! `rag_filter`: what the metadata of passages must say, as a request carries it.

use super::fields::Fields;
use crate::chat::{Condition, Filter};
use crate::error::Error;
use serde_json::Value;

const NAME: &str = "rag_filter";

/// Conditions at most, values of one at most, and characters of a name or value.
const CONDITIONS: usize = 20;
const VALUES: usize = 50;
const LONGEST_NAME: usize = 128;
const LONGEST_VALUE: usize = 1_024;

/// Reads the filter; without one every passage counts.
///
/// # Errors
/// `invalid_request` that says what a filter looks like.
pub fn read(fields: &mut Fields) -> Result<Filter, Error> {
    let conditions = match fields.take(NAME) {
        None => return Ok(Filter::default()),
        Some(Value::Object(conditions)) => conditions,
        Some(_) => {
            return Err(wrong("must be an object, such as {\"lang\": \"en\", \"team\": [\"a\", \"b\"]}."));
        }
    };
    if conditions.len() > CONDITIONS {
        return Err(wrong(&format!("may have {CONDITIONS} fields at most.")));
    }
    let conditions = conditions.into_iter().map(|(field, values)| condition(field, values));
    conditions.collect::<Result<_, _>>().map(Filter)
}

fn condition(field: String, values: Value) -> Result<Condition, Error> {
    let odd = |c: char| c.is_control() || c == '*' || c == ',';
    if field.trim().is_empty() || field.chars().count() > LONGEST_NAME || field.contains(odd) {
        return Err(wrong(&format!(
            "names a field that is none: 1 to {LONGEST_NAME} characters, no control ones, no * and no comma."
        )));
    }
    let values = match values {
        Value::Array(values) => values,
        one => vec![one],
    };
    if values.is_empty() || values.len() > VALUES {
        return Err(wrong(&format!("must give each field 1 to {VALUES} values.")));
    }
    let any_of: Option<Vec<String>> = values.into_iter().map(value).collect();
    let any_of = any_of.ok_or_else(|| {
        wrong(&format!(
            "must give each field a string of {LONGEST_VALUE} characters at most, a number, true, false, or a \
             list of these."
        ))
    })?;
    Ok(Condition { field, any_of })
}

fn value(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text).filter(|text| text.chars().count() <= LONGEST_VALUE),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

fn wrong(sentence: &str) -> Error {
    Error::invalid(NAME, format!("`{NAME}` {sentence}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(filter: Value) -> Result<Filter, Error> {
        read(&mut Fields::parse(json!({ NAME: filter }).to_string().as_bytes())?)
    }

    #[test]
    fn one_value_or_several_of_every_kind_are_read() {
        let filter = parse(json!({"lang": "en", "team": ["a", "b"], "page": 3, "draft": false})).unwrap();
        let conditions: Vec<String> =
            filter.0.iter().map(|one| format!("{}={}", one.field, one.any_of.join("|"))).collect();
        assert_eq!(conditions, ["lang=en", "team=a|b", "page=3", "draft=false"]);
        for none in [json!(null), json!({})] {
            assert!(parse(none).unwrap().is_empty());
        }
    }

    #[test]
    fn a_filter_that_is_none_is_named() {
        let many: serde_json::Map<String, Value> = (0..21).map(|n| (n.to_string(), json!(1))).collect();
        for filter in [
            json!("lang=en"),
            json!([]),
            json!({"lang": []}),
            json!({"lang": null}),
            json!({"lang": {"not": "en"}}),
            json!({"lang": ["en", ["fr"]]}),
            json!({"": "en"}),
            json!({"la*": "en"}),
            json!({"a,b": "en"}),
            json!({"x".repeat(129): "en"}),
            json!({"lang": "x".repeat(1_025)}),
            json!({"lang": vec!["x"; 51]}),
            Value::Object(many),
        ] {
            let error = parse(filter.clone()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(NAME), "{filter}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_keeps_to_the_bounds(field in "\\PC{0,140}", values in prop::collection::vec(".{0,20}", 0..60)) {
            if let Ok(filter) = parse(json!({ field: values })) {
                prop_assert!(filter.0.len() == 1 && filter.0[0].any_of.len() <= VALUES);
                prop_assert!(filter.0[0].field.chars().count() <= LONGEST_NAME);
            }
        }
    }
}
