//! Door 2, `sendmessage` over WebSocket, and the stream objects that door 1's SSE, resume and
//! `GET /answers/{id}` share with it.

use super::fields::Fields;
use super::prompt;
use super::voice::{FRAME_LIMIT, Voice, error_line, error_object, pack};
use crate::chat::{CacheOutcome, Caller, Delta, Event, Request, Started, Terminal};
use crate::error::Error;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Reads a `sendmessage` request.
///
/// # Errors
/// `invalid_request`, naming the field.
pub fn request(mut fields: Fields, caller: Caller) -> Result<Request, Error> {
    fields.take("action");
    prompt::read(fields, caller, "sendmessage")
}

/// Door 2's format: `completion`, `chat_id`, `cached`, `has_more_messages`, all four strings always.
pub struct PromptVoice {
    request_id: String,
    started: Option<Arc<Started>>,
    seq: u64,
    /// One object a delta (SSE) instead of one a frame (WebSocket).
    each: bool,
    /// The text of a cached answer, which comes whole with its terminal.
    held: Vec<Delta>,
}

impl PromptVoice {
    /// Frames as full as they may be.
    pub fn new(request_id: &str) -> PromptVoice {
        PromptVoice {
            request_id: request_id.to_owned(),
            started: None,
            seq: 0,
            each: false,
            held: Vec::new(),
        }
    }

    /// One object a delta, whatever else is waiting.
    pub fn each_delta(request_id: &str) -> PromptVoice {
        PromptVoice { each: true, ..PromptVoice::new(request_id) }
    }

    /// The format for what comes after delta number `after`.
    pub fn resumed(self, after: u64) -> PromptVoice {
        PromptVoice { seq: after, ..self }
    }

    fn is_hit(&self) -> bool {
        self.started.as_ref().is_some_and(|started| started.cache == CacheOutcome::Hit)
    }

    fn frame<'a>(&'a self, text: &'a str, seq: u64, more: bool) -> Frame<'a> {
        Frame {
            completion: text,
            chat_id: self.started.as_ref().map_or("", |started| started.chat_id.as_str()),
            cached: if self.is_hit() { "true" } else { "false" },
            has_more_messages: if more { "true" } else { "false" },
            request_id: &self.request_id,
            seq,
        }
    }

    fn delta_frames(&self, deltas: &[Delta], last: u64) -> Vec<String> {
        if !self.each {
            let chunks = pack(deltas, last);
            return chunks.iter().map(|chunk| self.frame(&chunk.text, chunk.seq, true).text()).collect();
        }
        let first = last + 1 - deltas.len() as u64;
        let texts = deltas.iter().map(Delta::as_text).zip(first..).filter(|(text, _)| !text.is_empty());
        texts.map(|(text, seq)| self.frame(text, seq, true).text()).collect()
    }

    fn end(&mut self, end: &Terminal) -> Vec<String> {
        let held = std::mem::take(&mut self.held);
        let mut chunks = pack(&held, self.seq);
        let rest = chunks.pop().map_or(String::new(), |chunk| chunk.text);
        let mut frames: Vec<String> =
            chunks.iter().map(|chunk| self.frame(&chunk.text, chunk.seq, true).text()).collect();
        let mut last = self.frame(&rest, self.seq, false).object();
        add_terminal(&mut last, end, self.started.as_deref(), &self.request_id);
        let mut text = Value::Object(last.clone()).to_string();
        if text.len() > FRAME_LIMIT && !rest.is_empty() {
            // Sources and all together are too much: the text goes before them.
            frames.push(self.frame(&rest, self.seq, true).text());
            last.insert("completion".into(), "".into());
            text = Value::Object(last).to_string();
        }
        frames.push(text);
        frames
    }
}

/// The keys of every frame.
#[derive(Serialize)]
struct Frame<'a> {
    completion: &'a str,
    chat_id: &'a str,
    cached: &'static str,
    has_more_messages: &'static str,
    request_id: &'a str,
    seq: u64,
}

impl Frame<'_> {
    /// Straight to text: there is one for each token of a stream.
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As an object, for a terminal to be added to.
    fn object(&self) -> Map<String, Value> {
        match json!(self) {
            Value::Object(object) => object,
            _ => Map::new(),
        }
    }
}

impl Voice for PromptVoice {
    fn frames(&mut self, step: Event) -> Vec<String> {
        match step {
            Event::Started(started) => {
                self.started = Some(started);
                Vec::new()
            }
            Event::Deltas { last, deltas } => {
                self.seq = last;
                if self.is_hit() && !self.each {
                    self.held.extend(deltas);
                    return Vec::new();
                }
                self.delta_frames(&deltas, last)
            }
            Event::End(end) => self.end(&end),
        }
    }
}

/// What a terminal says beyond the four keys.
fn add_terminal(frame: &mut Map<String, Value>, end: &Terminal, started: Option<&Started>, request_id: &str) {
    match end {
        Terminal::Completed { stop_reason, usage } => {
            frame.insert("stop_reason".into(), stop_reason.as_str().into());
            frame.insert("usage".into(), json!(usage));
        }
        Terminal::Failed { error, usage } => {
            if error.kind != crate::error::Kind::Cancelled {
                frame.insert("completion".into(), error_line(error).into());
            }
            frame.insert("usage".into(), json!(usage));
            frame.insert("error".into(), error_object(error, Some(request_id)));
        }
    }
    if let Some(started) = started {
        add_started(frame, started);
    }
}

/// What is known since the start, where there is something to say.
pub fn add_started(frame: &mut Map<String, Value>, started: &Started) {
    frame.insert("model".into(), started.model.as_str().into());
    if !started.sources.is_empty() {
        frame.insert("sources".into(), json!(started.sources));
    }
    if !started.ignored.is_empty() {
        frame.insert("ignored".into(), json!(started.ignored));
    }
    if started.retrieval_unavailable {
        frame.insert("retrieval".into(), "unavailable".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{StopReason, Usage};
    use crate::edge::voice::FRAME_LIMIT;
    use crate::error::Kind;

    fn started(cache: CacheOutcome) -> Event {
        Event::Started(Arc::new(Started {
            request_id: "r".into(),
            chat_id: "c".into(),
            model: "m".into(),
            cache,
            sources: vec![],
            retrieval_unavailable: false,
            ignored: vec![],
            timings: Default::default(),
        }))
    }

    fn say(steps: Vec<Event>, mut voice: PromptVoice) -> Vec<Value> {
        let frames = steps.into_iter().flat_map(|step| voice.frames(step));
        frames
            .inspect(|frame| assert!(frame.len() <= FRAME_LIMIT))
            .map(|frame| serde_json::from_str(&frame).unwrap())
            .collect()
    }

    fn deltas(texts: &[&str], last: u64) -> Event {
        Event::Deltas { last, deltas: texts.iter().map(|text| Delta::text(*text)).collect() }
    }

    fn completed() -> Event {
        Event::End(Terminal::Completed { stop_reason: StopReason::EndTurn, usage: Usage::default() })
    }

    #[test]
    fn a_live_answer_is_deltas_and_an_empty_terminal_with_four_strings_each() {
        let steps = vec![started(CacheOutcome::Miss), deltas(&["a", "b"], 2), completed()];
        let frames = say(steps, PromptVoice::new("r"));
        assert_eq!(frames.len(), 2);
        assert_eq!((&frames[0]["completion"], &frames[0]["seq"]), (&json!("ab"), &json!(2)));
        assert_eq!(
            (&frames[1]["completion"], &frames[1]["has_more_messages"]),
            (&json!(""), &json!("false"))
        );
        for frame in &frames {
            for key in ["completion", "chat_id", "cached", "has_more_messages"] {
                assert!(frame[key].is_string(), "{key} in {frame}");
            }
        }
    }

    #[test]
    fn a_cached_answer_is_one_frame_or_several_of_which_only_the_last_ends() {
        let hit = vec![started(CacheOutcome::Hit), deltas(&["whole"], 1), completed()];
        let frames = say(hit, PromptVoice::new("r"));
        assert_eq!(
            (frames.len(), &frames[0]["completion"], &frames[0]["cached"]),
            (1, &json!("whole"), &json!("true"))
        );
        let big = "x".repeat(15_000);
        let hit = vec![started(CacheOutcome::Hit), deltas(&[&big, &big, &big], 3), completed()];
        let frames = say(hit, PromptVoice::new("r"));
        let more: Vec<_> = frames.iter().map(|frame| frame["has_more_messages"].as_str().unwrap()).collect();
        assert!(more.len() > 1 && more[..more.len() - 1].iter().all(|more| *more == "true"));
        assert_eq!(*more.last().unwrap(), "false");
    }

    #[test]
    fn an_error_is_told_in_completion_but_a_cancelled_reply_ends_with_nothing() {
        for (kind, text) in [(Kind::Throttled, "[error throttled: wait]"), (Kind::Cancelled, "")] {
            let end =
                Event::End(Terminal::Failed { error: Error::new(kind, "wait"), usage: Usage::default() });
            let frames = say(vec![end], PromptVoice::new("r"));
            assert_eq!(frames[0]["completion"], text);
            assert_eq!(frames[0]["error"]["code"], kind.code());
        }
    }

    #[test]
    fn sse_has_one_object_a_delta() {
        let steps = vec![started(CacheOutcome::Hit), deltas(&["a", "b"], 2), completed()];
        assert_eq!(say(steps, PromptVoice::each_delta("r")).len(), 3);
    }
}
