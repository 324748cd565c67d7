//! Converse's stream events as parts of an answer.

use crate::chat::{Delta, StopReason, Usage};
use crate::model::Part;
use aws_sdk_bedrockruntime::types as converse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The part that an event is, or `None` for one that says nothing to a caller: the frame of a
/// block, an empty piece, or something that this version does not know.
pub fn part(event: converse::ConverseStreamOutput) -> Option<Part> {
    match event {
        converse::ConverseStreamOutput::ContentBlockStart(start) => match start.start? {
            converse::ContentBlockStart::ToolUse(call) => {
                Some(Part::Delta(Delta::ToolUse { id: call.tool_use_id, name: call.name }))
            }
            _ => None,
        },
        converse::ConverseStreamOutput::ContentBlockDelta(event) => delta(event.delta?).map(Part::Delta),
        converse::ConverseStreamOutput::MessageStop(stop) => {
            Some(Part::Stop(stop_reason(stop.stop_reason.as_str())))
        }
        converse::ConverseStreamOutput::Metadata(metadata) => {
            metadata.usage.map(|counts| Part::Usage(usage(&counts)))
        }
        _ => None,
    }
}

fn delta(delta: converse::ContentBlockDelta) -> Option<Delta> {
    match delta {
        converse::ContentBlockDelta::Text(text) if !text.is_empty() => Some(Delta::Text { text }),
        converse::ContentBlockDelta::ToolUse(piece) if !piece.input.is_empty() => {
            Some(Delta::ToolInput { json: piece.input })
        }
        converse::ContentBlockDelta::ReasoningContent(piece) => reasoning(piece),
        _ => None,
    }
}

fn reasoning(piece: converse::ReasoningContentBlockDelta) -> Option<Delta> {
    let (text, signature, redacted) = match piece {
        converse::ReasoningContentBlockDelta::Text(text) if !text.is_empty() => (text, None, None),
        converse::ReasoningContentBlockDelta::Signature(signature) => (String::new(), Some(signature), None),
        converse::ReasoningContentBlockDelta::RedactedContent(bytes) => {
            (String::new(), None, Some(STANDARD.encode(bytes)))
        }
        _ => return None,
    };
    Some(Delta::Reasoning { text, signature, redacted })
}

fn stop_reason(reason: &str) -> StopReason {
    let known = [
        StopReason::EndTurn,
        StopReason::StopSequence,
        StopReason::MaxTokens,
        StopReason::ToolUse,
        StopReason::GuardrailIntervened,
        StopReason::ContentFiltered,
    ];
    let found = known.into_iter().find(|known| known.as_str() == reason);
    found.unwrap_or_else(|| StopReason::Other(reason.to_owned()))
}

fn usage(counts: &converse::TokenUsage) -> Usage {
    Usage {
        input_tokens: count(Some(counts.input_tokens)),
        output_tokens: count(Some(counts.output_tokens)),
        cache_read_input_tokens: count(counts.cache_read_input_tokens),
        cache_write_input_tokens: count(counts.cache_write_input_tokens),
        estimated: false,
    }
}

fn count(tokens: Option<i32>) -> u64 {
    tokens.and_then(|tokens| u64::try_from(tokens).ok()).unwrap_or(0)
}
