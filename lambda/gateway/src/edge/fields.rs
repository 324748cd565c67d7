//! Reads a foreign JSON object field by field: types are checked, `null` means absent, errors name
//! the field, and what nobody asked for is known at the end.

use crate::error::{Error, Kind};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// A JSON object of which fields are taken one by one.
pub struct Fields {
    map: Map<String, Value>,
    path: &'static str,
}

/// So many names of ignored keys are told at most, each cut to so many characters: the keys are
/// the client's, the frame they are told in is ours.
const IGNORED_NAMES: usize = 20;
const IGNORED_CHARS: usize = 64;

impl Fields {
    /// Parses a body.
    ///
    /// # Errors
    /// `invalid_request` that says where the JSON breaks, or that it is no object.
    pub fn parse(body: &[u8]) -> Result<Fields, Error> {
        let text = std::str::from_utf8(body).map_err(|error| {
            let at = error.valid_up_to();
            Error::new(
                Kind::InvalidRequest,
                format!("The body is not valid UTF-8 at byte {at}. Send JSON in UTF-8."),
            )
        })?;
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(Fields { map, path: "" }),
            Ok(_) => Err(Error::new(
                Kind::InvalidRequest,
                "The body must be a JSON object, such as {\"prompt\": \"…\"}.",
            )),
            Err(error) => Err(Error::new(
                Kind::InvalidRequest,
                format!("The body is not JSON: {error}. Send an object such as {{\"prompt\": \"…\"}}."),
            )),
        }
    }

    /// Is there a value under this name?
    pub fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// A name as it stands, without checking or taking it: for the id that an error is told under.
    pub fn peek_name(&self, name: &str) -> Option<String> {
        let text = self.map.get(name)?.as_str()?;
        check_name(name, text).ok().map(|()| text.to_owned())
    }

    /// A text.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a string", &other)),
        }
    }

    /// A text that must be there and not blank.
    pub fn required(&mut self, name: &str) -> Result<String, Error> {
        let full = self.full(name);
        match self.text(name)? {
            Some(text) if !text.trim().is_empty() => Ok(text),
            Some(_) => Err(Error::invalid(&full, format!("`{full}` is empty. Put the question there."))),
            None => Err(Error::invalid(
                &full,
                format!("`{full}` is missing. Put the question there, as a string."),
            )),
        }
    }

    /// A short name of the client's choice, such as `chat_id`: 1 to 128 characters, no control ones.
    pub fn name(&mut self, name: &str) -> Result<Option<String>, Error> {
        let full = self.full(name);
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        check_name(&full, &text)?;
        Ok(Some(text))
    }

    /// A boolean, real or as the strings "true" and "false". Absent is false.
    pub fn flag(&mut self, name: &str) -> Result<bool, Error> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(other) => Err(self.wrong(name, "true or false", &other)),
        }
    }

    /// A number from 0 to 1.
    pub fn fraction(&mut self, name: &str) -> Result<Option<f32>, Error> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.as_f64() {
            #[allow(clippy::cast_possible_truncation)]
            Some(number) if (0.0..=1.0).contains(&number) => Ok(Some(number as f32)),
            _ => Err(self.wrong(name, "a number from 0 to 1", &value)),
        }
    }

    /// A whole number in a range.
    pub fn count(&mut self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, Error> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        // Old clients send 256.0 for 256.
        let whole = value
            .as_u64()
            .or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0).map(|n| n as u64));
        match whole.and_then(|n| u32::try_from(n).ok()) {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self.wrong(
                name,
                &format!("a whole number from {} to {}", range.start(), range.end()),
                &value,
            )),
        }
    }

    /// A text or a list of texts.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, Error> {
        let Some(value) = self.take(name) else {
            return Ok(Vec::new());
        };
        let list = match value {
            Value::String(text) => return Ok(vec![text]),
            Value::Array(list) => list,
            other => return Err(self.wrong(name, "a string or a list of strings", &other)),
        };
        let texts = list.into_iter().map(|item| match item {
            Value::String(text) => Ok(text),
            other => Err(self.wrong(name, "a string or a list of strings", &other)),
        });
        texts.collect()
    }

    /// An object inside; an empty one where it is absent.
    pub fn object(&mut self, name: &'static str) -> Result<Fields, Error> {
        match self.take(name) {
            None => Ok(Fields { map: Map::new(), path: name }),
            Some(Value::Object(map)) => Ok(Fields { map, path: name }),
            Some(other) => Err(self.wrong(name, "an object", &other)),
        }
    }

    /// Takes any value, or nothing.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// The keys that nobody took, in their full form.
    pub fn ignored(self) -> Vec<String> {
        let names = self.map.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| self.full(name));
        names.take(IGNORED_NAMES).map(|name| name.chars().take(IGNORED_CHARS).collect()).collect()
    }

    fn full(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn wrong(&self, name: &str, wanted: &str, found: &Value) -> Error {
        let full = self.full(name);
        let mut found = found.to_string();
        if found.chars().count() > 40 {
            found = found.chars().take(40).chain("…".chars()).collect();
        }
        Error::invalid(&full, format!("`{full}` must be {wanted}, not {found}."))
    }
}

/// Checks a name of the client's choice: 1 to 128 characters, none of them a control character.
pub fn check_name(full: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() || text.chars().count() > 128 || text.chars().any(char::is_control) {
        return Err(Error::invalid(
            full,
            format!("`{full}` must be 1 to 128 characters without control characters."),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn null_means_absent_and_what_nobody_took_is_named() {
        let mut fields = fields(r#"{"prompt":"a","extra":1,"none":null,"chat_id":null}"#);
        assert_eq!(fields.required("prompt").unwrap(), "a");
        assert_eq!(fields.name("chat_id").unwrap(), None);
        assert_eq!(fields.ignored(), ["extra"]);
    }

    #[test]
    fn a_wrong_type_is_an_error_that_names_the_full_field() {
        let mut all =
            fields(r#"{"parameters":{"temperature":9,"max_tokens":"many","stop":[1]},"stream":"yes"}"#);
        assert_eq!(all.flag("stream").unwrap_err().param.as_deref(), Some("stream"));
        let mut inner = all.object("parameters").unwrap();
        for error in [
            inner.fraction("temperature").unwrap_err(),
            inner.count("max_tokens", 1..=9).unwrap_err(),
            inner.texts("stop").map(|_| ()).unwrap_err(),
        ] {
            assert!(error.param.unwrap().starts_with("parameters."));
        }
    }

    #[test]
    fn booleans_may_be_strings_and_counts_may_be_whole_floats() {
        let mut fields = fields(r#"{"a":"TRUE","b":false,"n":256.0,"s":"x"}"#);
        assert!(fields.flag("a").unwrap() && !fields.flag("b").unwrap());
        assert_eq!(fields.count("n", 1..=300).unwrap(), Some(256));
        assert_eq!(fields.texts("s").unwrap(), ["x"]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_fields_or_an_invalid_request(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(error) = Fields::parse(&bytes) {
                prop_assert_eq!(error.kind, Kind::InvalidRequest);
            }
        }
    }
}
