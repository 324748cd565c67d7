//! What is answered: derived from the knobs and the request, the same for the same request.

use super::knobs::{DIRECTIVE, Knobs, TokenUsage};
use super::vectors::Vectors;
use serde_json::{Value, json};

/// What stands before an echoed question.
const MARKER: &str = "[stand-in] ";

/// An answer before it is put on the wire.
pub(super) struct Reply {
    /// The text, in tokens.
    pub tokens: Vec<String>,
    /// Bedrock's stop reason.
    pub stop_reason: String,
    /// The token counts.
    pub usage: TokenUsage,
}

impl Reply {
    /// The answer to this question.
    pub(super) fn of(knobs: &Knobs, question: &str) -> Reply {
        let tokens = match (&knobs.text, knobs.tokens) {
            (Some(text), _) => tokens(text),
            (None, Some(count)) => (0..count).map(|n| format!("token{n} ")).collect(),
            (None, None) => tokens(&format!("{MARKER}{question}")),
        };
        let default_stop = if knobs.tool.is_some() { "tool_use" } else { "end_turn" };
        let usage = knobs.usage.unwrap_or_else(|| counted(question, tokens.len()));
        let stop_reason = knobs.stop_reason.clone().unwrap_or_else(|| default_stop.to_owned());
        Reply { tokens, stop_reason, usage }
    }

    /// The answer of the unary `converse`.
    pub(super) fn converse(&self, knobs: &Knobs) -> Value {
        let mut content: Vec<Value> = Vec::new();
        if !self.tokens.is_empty() {
            content.push(json!({ "text": self.tokens.concat() }));
        }
        if let Some(tool) = &knobs.tool {
            let call = json!({ "toolUseId": tool.id, "name": tool.name, "input": tool.input });
            content.push(json!({ "toolUse": call }));
        }
        json!({
            "output": { "message": { "role": "assistant", "content": content } },
            "stopReason": self.stop_reason,
            "usage": self.usage,
            "metrics": { "latencyMs": 1 },
        })
    }
}

/// The answer of `invoke` to an embedding request, in the shape of the provider who asks so:
/// Titan's `inputText`, or Cohere's `texts`. `None` where the body is neither.
pub(super) fn embedding(body: &Value, vectors: &Vectors) -> Option<Value> {
    if let Some(text) = body["inputText"].as_str() {
        let size = body["dimensions"].as_u64().unwrap_or(1024);
        let count = tokens(text).len();
        return Some(json!({ "embedding": vectors.of(text, size), "inputTextTokenCount": count }));
    }
    let texts = body["texts"].as_array()?;
    let size = body["output_dimension"].as_u64().unwrap_or(1024);
    let vectors: Vec<_> =
        texts.iter().map(|text| vectors.of(text.as_str().unwrap_or_default(), size)).collect();
    let by_type = body["embedding_types"].is_array();
    let embeddings = if by_type { json!({ "float": vectors }) } else { json!(vectors) };
    let kind = if by_type { "embeddings_by_type" } else { "embeddings_floats" };
    Some(json!({ "id": "standin", "response_type": kind, "texts": texts, "embeddings": embeddings }))
}

/// The text of an embedding request that carries a directive, else its first one.
pub(super) fn embedded(body: &Value) -> Option<&str> {
    let many = body["texts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut texts = body["inputText"].as_str().into_iter().chain(many.iter().filter_map(Value::as_str));
    let first = texts.next()?;
    Some(std::iter::once(first).chain(texts).find(|text| text.contains(DIRECTIVE)).unwrap_or(first))
}

/// The question of a Converse request: in its last user message the text that carries a
/// directive, since a gateway may add texts of its own, else the last one.
pub(super) fn question(body: &Value) -> &str {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let last = messages.iter().rev().find(|message| message["role"] == "user");
    let blocks =
        last.and_then(|message| message["content"].as_array()).map(Vec::as_slice).unwrap_or_default();
    let mut texts = blocks.iter().rev().filter_map(|block| block["text"].as_str());
    texts.clone().find(|text| text.contains(DIRECTIVE)).or_else(|| texts.next()).unwrap_or_default()
}

/// Cuts a text into tokens: a word with the white space that follows it.
fn tokens(text: &str) -> Vec<String> {
    text.split_inclusive(char::is_whitespace).map(str::to_owned).collect()
}

fn counted(question: &str, output: usize) -> TokenUsage {
    let (input_tokens, output_tokens) = (tokens(question).len() as u64, output as u64);
    let total_tokens = input_tokens + output_tokens;
    TokenUsage { input_tokens, output_tokens, total_tokens, ..TokenUsage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_echoed_behind_a_marker() {
        let reply = Reply::of(&Knobs::default(), "why is  it?");
        assert_eq!(reply.tokens.concat(), "[stand-in] why is  it?");
    }

    #[test]
    fn a_whole_answer_has_the_shape_of_converse() {
        let knobs = Knobs { text: Some("two words".into()), ..Knobs::default() };
        let expected = json!({
            "output": { "message": { "role": "assistant", "content": [{ "text": "two words" }] } },
            "stopReason": "end_turn",
            "usage": { "inputTokens": 1, "outputTokens": 2, "totalTokens": 3 },
            "metrics": { "latencyMs": 1 },
        });
        assert_eq!(Reply::of(&knobs, "why?").converse(&knobs), expected);
    }

    #[test]
    fn an_embedding_comes_in_the_shape_it_was_asked_in() {
        let embed = |body| embedding(&body, &Vectors::default());
        let titan = embed(json!({ "inputText": "two words", "dimensions": 256 })).unwrap();
        assert_eq!(titan["inputTextTokenCount"], 2);
        assert_eq!(titan["embedding"].as_array().unwrap().len(), 256);
        let cohere = embed(json!({ "texts": ["a", "b"], "embedding_types": ["float"] })).unwrap();
        assert_eq!(cohere["embeddings"]["float"].as_array().unwrap().len(), 2);
    }
}
