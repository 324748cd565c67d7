//! How a reply is put into WebSocket frames: the one trait that the doors' formats implement, and
//! the packing that keeps every frame within API Gateway's 32 KB.

use crate::chat::{Delta, Event};
use crate::error::Error;
use crate::pieces::escaped_len;
use serde_json::{Value, json};

/// The largest frame API Gateway carries, in bytes.
pub const FRAME_LIMIT: usize = 32 * 1024;

/// Room for text in a frame, what a door puts around it left out.
pub const TEXT_LIMIT: usize = 28 * 1024;

/// One reply in one door's format.
pub trait Voice: Send {
    /// The frames for this step, in order; none where the format has nothing to say yet.
    fn frames(&mut self, step: Event) -> Vec<String>;

    /// Can its client tell a frame that arrives twice? It can where frames are numbered or replace
    /// each other.
    fn bears_repetition(&self) -> bool {
        true
    }
}

/// Text of some deltas and the number of the last one in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chunk {
    /// The text, all deltas together.
    pub text: String,
    /// Number of the last delta that it contains.
    pub seq: u64,
}

/// Packs deltas into as few chunks as fit a frame each. Every delta is small enough to stay whole
/// (`pieces::small` sees to that), so a client may resume after any chunk.
pub fn pack(deltas: &[Delta], last: u64) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut chunk = Chunk::default();
    let mut size = 0;
    let first = last + 1 - deltas.len() as u64;
    for (delta, seq) in deltas.iter().zip(first..) {
        let text = delta.as_text();
        let more = escaped_len(text);
        if size + more > TEXT_LIMIT && !chunk.text.is_empty() {
            chunks.push(std::mem::take(&mut chunk));
            size = 0;
        }
        chunk.text.push_str(text);
        chunk.seq = seq;
        size += more;
    }
    if !chunk.text.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

/// The error object of every door that speaks JSON.
pub fn error_object(error: &Error, request_id: Option<&str>) -> Value {
    let mut object = json!({
        "message": error.message,
        "type": error.kind.error_type(),
        "code": error.kind.code(),
        "param": error.param,
        "request_id": request_id,
    });
    if let Some(wait) = error.retry_after {
        object["retry_after"] = json!(wait.as_secs().max(1));
    }
    object
}

/// The line that stands for an error where a client prints text and looks at nothing else.
pub fn error_line(error: &Error) -> String {
    format!("[error {}: {}]", error.kind.code(), error.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_deltas_go_together_and_carry_the_last_number() {
        let deltas = [Delta::text("a"), Delta::text("b"), Delta::text("c")];
        assert_eq!(pack(&deltas, 7), [Chunk { text: "abc".into(), seq: 7 }]);
        assert_eq!(pack(&[], 7), []);
    }

    proptest! {
        #[test]
        fn chunks_keep_every_character_and_the_limit(texts in prop::collection::vec(("[\\x00-\\x7fäé日]{1,3}", 0..1500_usize), 0..30)) {
            let deltas: Vec<Delta> = texts.iter().map(|(text, times)| Delta::text(text.repeat(*times))).collect();
            let chunks = pack(&deltas, deltas.len() as u64);
            let whole: String = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
            let all: String = deltas.iter().map(Delta::as_text).collect();
            prop_assert_eq!(whole, all);
            for chunk in &chunks {
                prop_assert!(serde_json::to_string(&chunk.text).unwrap().len() <= TEXT_LIMIT + 2);
            }
        }
    }
}
