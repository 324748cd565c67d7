//! What is answered: derived from the knobs and the request, the same for the same request.

use super::knobs::{DIRECTIVE, Knobs, TokenUsage};
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
pub(super) fn embedding(body: &Value) -> Option<Value> {
    if let Some(text) = body["inputText"].as_str() {
        let size = body["dimensions"].as_u64().unwrap_or(1024);
        let count = tokens(text).len();
        return Some(json!({ "embedding": vector(text, size), "inputTextTokenCount": count }));
    }
    let texts = body["texts"].as_array()?;
    let size = body["output_dimension"].as_u64().unwrap_or(1024);
    let vectors: Vec<_> = texts.iter().map(|text| vector(text.as_str().unwrap_or_default(), size)).collect();
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

/// A bag of words, hashed and of length 1: texts that share words lie near each other.
fn vector(text: &str, size: u64) -> Vec<f32> {
    let size = size.clamp(1, 4096);
    let mut vector = vec![0.0_f32; size as usize];
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    for word in words {
        vector[(fnv(&word.to_lowercase()) % size) as usize] += 1.0;
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length == 0.0 {
        vector[0] = 1.0;
        return vector;
    }
    vector.iter().map(|x| x / length).collect()
}

/// FNV-1a: the same number on every run, which the standard hasher does not promise.
fn fnv(word: &str) -> u64 {
    word.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
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
    fn texts_that_share_words_are_nearer() {
        let near =
            |a: &str, b: &str| -> f32 { vector(a, 256).iter().zip(vector(b, 256)).map(|(x, y)| x * y).sum() };
        assert!(near("the red house", "a red house") > near("the red house", "cold soup"));
    }

    #[test]
    fn an_embedding_comes_in_the_shape_it_was_asked_in() {
        let titan = embedding(&json!({ "inputText": "two words", "dimensions": 256 })).unwrap();
        assert_eq!(titan["inputTextTokenCount"], 2);
        assert_eq!(titan["embedding"].as_array().unwrap().len(), 256);
        let cohere = embedding(&json!({ "texts": ["a", "b"], "embedding_types": ["float"] })).unwrap();
        assert_eq!(cohere["embeddings"]["float"].as_array().unwrap().len(), 2);
    }
}
