//! The key of a learned answer, and the fingerprint of a request.

use crate::chat::Request;
use crate::digest::Lengths;
use serde_json::json;

/// What a learned answer is found under. Two requests share it only when the same model would be
/// asked the same thing for the same scope.
pub struct Asked<'a> {
    /// The request.
    pub request: &'a Request,
    /// The caller, or `None` where answers are shared by all.
    pub scope: Option<&'a str>,
    /// The id that is invoked, and whose name is told.
    pub model: &'a str,
    /// Sampling as the model gets it.
    pub sampling: &'a crate::chat::Sampling,
    /// State of the retrieval collection.
    pub snapshot: &'a str,
}

/// SHA-256, hex.
pub fn learned(asked: &Asked<'_>) -> String {
    let request = asked.request;
    let scope = match asked.scope {
        Some(caller) => Lengths::new("learned v2").part(b"caller").part(caller.as_bytes()),
        None => Lengths::new("learned v2").part(b"shared"),
    };
    scope
        .part(asked.model.as_bytes())
        .part(json!([request.system, request.response_schema, request.tool_choice]).to_string().as_bytes())
        .part(json!([asked.sampling, request.cache.node_id]).to_string().as_bytes())
        .part(json!(request.messages).to_string().as_bytes())
        .part(json!(request.tools).to_string().as_bytes())
        .part(json!([request.rag_prompt, request.rag_filter, asked.snapshot]).to_string().as_bytes())
        .hex()
}

/// Tells a repeated request from another one under the same id: everything the client sent counts,
/// nothing that the gateway made up does.
pub fn fingerprint(request: &Request) -> String {
    let body = json!([
        request.door,
        request.model,
        request.messages,
        request.system,
        request.sampling,
        request.tools,
        request.tool_choice,
        request.response_schema,
        request.chat_id,
        request.rag_prompt,
        request.rag_filter,
        request.cache,
    ]);
    Lengths::new("request v1").part(body.to_string().as_bytes()).hex()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Caller, Condition, Filter, Sampling};
    use std::collections::HashSet;

    fn key(change: impl Fn(&mut Request), scope: Option<&str>, model: &str, snapshot: &str) -> String {
        let mut request = Request::new(Caller::local(), "prompt", "why?");
        change(&mut request);
        let sampling = request.sampling.clone();
        learned(&Asked { request: &request, scope, model, sampling: &sampling, snapshot })
    }

    fn lang(value: &str) -> Filter {
        Filter(vec![Condition { field: "lang".into(), any_of: vec![value.into()] }])
    }

    #[test]
    fn everything_that_could_change_the_answer_changes_the_key() {
        let same = |_: &mut Request| {};
        let keys = [
            key(same, Some("a"), "m", "s"),
            key(same, Some("b"), "m", "s"),
            key(same, None, "m", "s"),
            key(same, Some("a"), "n", "s"),
            key(same, Some("a"), "m", "t"),
            key(|r| r.system = Some("x".into()), Some("a"), "m", "s"),
            key(|r| r.rag_prompt = Some("x".into()), Some("a"), "m", "s"),
            key(|r| r.rag_filter = lang("en"), Some("a"), "m", "s"),
            key(|r| r.rag_filter = lang("fr"), Some("a"), "m", "s"),
            key(|r| r.cache.node_id = Some("x".into()), Some("a"), "m", "s"),
            key(|r| r.sampling = Sampling { top_k: Some(1), ..Sampling::default() }, Some("a"), "m", "s"),
            key(|r| r.response_schema = Some(json!({})), Some("a"), "m", "s"),
            key(
                |r| r.messages.push(crate::chat::Message::text(crate::chat::Role::Assistant, "x")),
                Some("a"),
                "m",
                "s",
            ),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
        assert_eq!(
            keys[0],
            key(|r| r.id = "other".into(), Some("a"), "m", "s"),
            "and the request's id does not"
        );
    }

    #[test]
    fn a_shared_scope_is_no_callers_name() {
        let same = |_: &mut Request| {};
        assert_ne!(key(same, None, "m", "s"), key(same, Some("shared"), "m", "s"));
    }
}
