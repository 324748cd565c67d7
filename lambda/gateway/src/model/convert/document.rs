//! `serde_json::Value` and the SDK's `Document`, which is the same thing under another name.

use aws_smithy_types::{Document, Number};
use serde_json::Value;

/// JSON as the SDK takes it.
pub fn to_document(value: Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(flag) => Document::Bool(flag),
        Value::Number(number) => Document::Number(to_number(&number)),
        Value::String(text) => Document::String(text),
        Value::Array(items) => Document::Array(items.into_iter().map(to_document).collect()),
        Value::Object(fields) => {
            Document::Object(fields.into_iter().map(|(key, value)| (key, to_document(value))).collect())
        }
    }
}

/// What the SDK gives, as JSON. A number that JSON has no text for (NaN) becomes null.
pub fn to_value(document: Document) -> Value {
    match document {
        Document::Null => Value::Null,
        Document::Bool(flag) => Value::Bool(flag),
        Document::Number(Number::PosInt(n)) => Value::from(n),
        Document::Number(Number::NegInt(n)) => Value::from(n),
        Document::Number(Number::Float(n)) => Value::from(n),
        Document::String(text) => Value::String(text),
        Document::Array(items) => items.into_iter().map(to_value).collect(),
        Document::Object(fields) => fields.into_iter().map(|(key, value)| (key, to_value(value))).collect(),
    }
}

fn to_number(number: &serde_json::Number) -> Number {
    match (number.as_u64(), number.as_i64()) {
        (Some(n), _) => Number::PosInt(n),
        (None, Some(n)) => Number::NegInt(n),
        (None, None) => Number::Float(number.as_f64().unwrap_or(f64::NAN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_comes_back_as_it_went() {
        let value = json!({ "a": [1, -2, 0.5, u64::MAX, true, null], "b": { "c": "text" }, "d": {} });
        assert_eq!(to_value(to_document(value.clone())), value);
    }
}
