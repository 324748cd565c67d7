//! Deltas put together into content blocks, and texts measured in tokens.

use crate::chat::{Block, Delta, Message};
use serde_json::Value;

/// The content blocks that these deltas make up.
pub fn assemble(deltas: &[Delta]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inputs: Vec<String> = Vec::new();
    for delta in deltas {
        match (delta, blocks.last_mut()) {
            (Delta::Text { text: more }, Some(Block::Text { text })) => text.push_str(more),
            (Delta::Text { text }, _) => blocks.push(Block::Text { text: text.clone() }),
            (
                Delta::Reasoning { text: more, signature: end, redacted: None },
                Some(Block::Reasoning { text, signature, redacted: None }),
            ) => {
                text.push_str(more);
                *signature = signature.take().or_else(|| end.clone());
            }
            (Delta::Reasoning { text, signature, redacted }, _) => blocks.push(Block::Reasoning {
                text: text.clone(),
                signature: signature.clone(),
                redacted: redacted.clone(),
            }),
            (Delta::ToolUse { id, name }, _) => {
                inputs.push(String::new());
                blocks.push(Block::ToolUse { id: id.clone(), name: name.clone(), input: Value::Null });
            }
            (Delta::ToolInput { json }, _) => {
                if let Some(input) = inputs.last_mut() {
                    input.push_str(json);
                }
            }
        }
    }
    let tools = blocks.iter_mut().filter_map(|block| match block {
        Block::ToolUse { input, .. } => Some(input),
        _ => None,
    });
    for (input, json) in tools.zip(inputs) {
        // An input that is no JSON was cut short; a tool call without its input is told as one.
        *input = serde_json::from_str(&json).unwrap_or_else(|_| Value::Object(Default::default()));
    }
    blocks
}

/// Deltas with neighbouring texts joined: what is kept of an answer that is played again.
pub fn condense(deltas: &[Delta]) -> Vec<Delta> {
    let mut condensed: Vec<Delta> = Vec::new();
    for delta in deltas {
        match (condensed.last_mut(), delta) {
            (Some(Delta::Text { text }), Delta::Text { text: more }) => text.push_str(more),
            _ => condensed.push(delta.clone()),
        }
    }
    condensed
}

/// Tokens of a text, estimated: four bytes of ASCII or one other character. On the high side for
/// English, about right for code and for CJK.
pub fn tokens(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    let others = text.bytes().filter(|byte| *byte >= 0xC0).count() as u64;
    ascii.div_ceil(4) + others
}

/// Tokens of a message, estimated; an image counts for what Bedrock's models charge at most.
pub fn message_tokens(message: &Message) -> u64 {
    4 + message.content.iter().map(block_tokens).sum::<u64>()
}

fn block_tokens(block: &Block) -> u64 {
    match block {
        Block::Text { text } | Block::Reasoning { text, .. } => tokens(text),
        Block::Image { .. } => 1_600,
        Block::ToolUse { name, input, .. } => tokens(name) + tokens(&input.to_string()),
        Block::ToolResult { content, .. } => content.iter().map(block_tokens).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn deltas_become_text_reasoning_and_tool_blocks() {
        let reasoning = |text: &str, signature: Option<&str>| Delta::Reasoning {
            text: text.into(),
            signature: signature.map(Into::into),
            redacted: None,
        };
        let deltas = [
            reasoning("think", None),
            reasoning("ing", Some("sig")),
            Delta::text("a"),
            Delta::text("b"),
            Delta::ToolUse { id: "1".into(), name: "t".into() },
            Delta::ToolInput { json: "{\"x\"".into() },
            Delta::ToolInput { json: ":1}".into() },
            Delta::ToolUse { id: "2".into(), name: "u".into() },
        ];
        let blocks = assemble(&deltas);
        assert_eq!(
            blocks[0],
            Block::Reasoning { text: "thinking".into(), signature: Some("sig".into()), redacted: None }
        );
        assert_eq!(blocks[1], Block::Text { text: "ab".into() });
        assert_eq!(blocks[2], Block::ToolUse { id: "1".into(), name: "t".into(), input: json!({"x": 1}) });
        assert_eq!(blocks[3], Block::ToolUse { id: "2".into(), name: "u".into(), input: json!({}) });
        assert_eq!(condense(&deltas).len(), 7);
    }

    #[test]
    fn tokens_are_estimated_from_bytes_and_characters() {
        assert_eq!(tokens("abcdefgh"), 2);
        assert_eq!(tokens("日本語"), 3);
        assert_eq!(tokens(""), 0);
    }
}
