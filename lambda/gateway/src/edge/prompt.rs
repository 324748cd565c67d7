//! The `prompt` request that doors 1, 2, 3, 5 and 6 share: one JSON object into one [`Request`].

use super::fields::Fields;
use super::{filter, framing};
use crate::chat::{Caller, Request, Sampling};
use crate::error::Error;

/// Reads `prompt`, `parameters` and their siblings. Unknown keys end up in `ignored`.
///
/// # Errors
/// `invalid_request`, naming the field.
pub fn read(mut fields: Fields, caller: Caller, door: &str) -> Result<Request, Error> {
    let prompt = fields.required("prompt")?;
    let mut request = question(prompt, caller, door);
    request.model = fields.name("model")?;
    request.chat_id = fields.name("chat_id")?;
    request.system = fields.text("system")?.filter(|text| !text.trim().is_empty()).or(request.system);
    request.rag_prompt = fields.text("rag_prompt")?.filter(|text| !text.trim().is_empty());
    request.rag_filter = filter::read(&mut fields)?;
    request.cache.invalidate = fields.flag("invalidate_cache")?;
    if let Some(id) = fields.name("request_id")? {
        request.id = id;
        request.id_given = true;
    }
    let parameters = fields.object("parameters")?;
    request.ignored = fields.ignored();
    read_parameters(parameters, &mut request)?;
    Ok(request)
}

/// A request of this prompt: framed prompts become turns, plain ones one user message.
pub fn question(prompt: String, caller: Caller, door: &str) -> Request {
    match framing::parse(&prompt) {
        None => Request::new(caller, door, prompt),
        Some(framed) => {
            let mut request = Request::new(caller, door, "");
            request.messages = framed.messages;
            request.system = framed.system;
            request
        }
    }
}

/// Reads sampling parameters under every spelling that the older clients use.
///
/// # Errors
/// `invalid_request`, naming the field.
pub fn read_parameters(mut fields: Fields, request: &mut Request) -> Result<(), Error> {
    request.sampling = Sampling {
        max_tokens: first_count(&mut fields, &["max_tokens_to_sample", "max_tokens", "maxTokens"])?,
        temperature: fields.fraction("temperature")?,
        top_p: fields.fraction("top_p")?,
        top_k: fields.count("top_k", 0..=100_000)?,
        stop_sequences: fields.texts("stop_sequences")?,
    };
    check_stops(&request.sampling.stop_sequences)?;
    request.cache.node_id = fields.text("node_id")?;
    if let Some(model) = fields.name("modelId")? {
        request.model = Some(model);
    }
    request.ignored.extend(fields.ignored());
    Ok(())
}

fn first_count(fields: &mut Fields, names: &[&str]) -> Result<Option<u32>, Error> {
    let mut first = None;
    for name in names {
        let count = fields.count(name, 1..=10_000_000)?;
        first = first.or(count);
    }
    Ok(first)
}

fn check_stops(stops: &[String]) -> Result<(), Error> {
    let name = "parameters.stop_sequences";
    if stops.len() > 2_500 {
        return Err(Error::invalid(name, format!("`{name}` may hold 2,500 sequences at most.")));
    }
    if stops.iter().any(String::is_empty) {
        return Err(Error::invalid(name, format!("`{name}` holds an empty text. Leave it out.")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Role;

    fn parse(json: &str) -> Result<Request, Error> {
        read(Fields::parse(json.as_bytes())?, Caller::local(), "prompt")
    }

    #[test]
    fn every_documented_key_is_read_and_the_rest_is_ignored_by_name() {
        let request = parse(
            r#"{"prompt":"q","parameters":{"temperature":0.2,"max_tokens_to_sample":7,"top_p":0.9,"stop_sequences":"END",
                "node_id":"n","odd":1},"chat_id":"c","system":"s","rag_prompt":"r","rag_filter":{"lang":"en"},"invalidate_cache":"true","x":{}}"#,
        )
        .unwrap();
        assert_eq!(request.question(), "q");
        assert_eq!(request.sampling.max_tokens, Some(7));
        assert_eq!(request.sampling.stop_sequences, ["END"]);
        assert_eq!(request.cache.node_id.as_deref(), Some("n"));
        assert!(request.cache.invalidate);
        assert_eq!(request.rag_filter.0[0].any_of, ["en"]);
        assert_eq!(request.ignored, ["x", "parameters.odd"]);
    }

    #[test]
    fn a_framed_prompt_arrives_as_turns() {
        let request =
            parse(r#"{"prompt":"\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"}"#).unwrap();
        assert_eq!(request.messages.len(), 3);
        assert_eq!(request.messages[1].role, Role::Assistant);
    }

    #[test]
    fn wrong_values_name_their_field() {
        for (json, field) in [
            (r#"{}"#, "prompt"),
            (r#"{"prompt":"  "}"#, "prompt"),
            (r#"{"prompt":7}"#, "prompt"),
            (r#"{"prompt":"q","parameters":[]}"#, "parameters"),
            (r#"{"prompt":"q","parameters":{"temperature":9}}"#, "parameters.temperature"),
            (r#"{"prompt":"q","parameters":{"max_tokens":0}}"#, "parameters.max_tokens"),
            (r#"{"prompt":"q","parameters":{"stop_sequences":[""]}}"#, "parameters.stop_sequences"),
            (r#"{"prompt":"q","chat_id":""}"#, "chat_id"),
            (r#"{"prompt":"q","rag_filter":"lang"}"#, "rag_filter"),
            (r#"{"prompt":"q","invalidate_cache":"maybe"}"#, "invalidate_cache"),
        ] {
            assert_eq!(parse(json).unwrap_err().param.as_deref(), Some(field), "{json}");
        }
    }
}
