//! A model that plays a script: for demonstrations, and for tests of clients against timing and
//! faults that no real model produces on demand.
//!
//! The script is a JSON file: a list of entries. The first entry whose `match` is part of the
//! question answers it; one without `match` answers every question.
//!
//! ```json
//! [
//!   { "match": "weather",
//!     "after_ms": 300,
//!     "deltas": [ {"reasoning": "A tool knows that.", "signature": "sig"},
//!                 {"text": "Let me look. ", "after_ms": 50},
//!                 {"tool_use": {"id": "call-1", "name": "weather", "input": {"city": "Oslo"}}} ] },
//!   { "match": "count", "deltas": [ {"text": "{n} ", "after_ms": 10} ], "repeat": 100,
//!     "usage": {"input_tokens": 7, "output_tokens": 100} },
//!   { "match": "busy",  "error": {"code": "throttled", "message": "Too much.", "retry_after_s": 2} },
//!   { "match": "break", "deltas": [ {"text": "one "}, {"text": "two "} ],
//!     "error": {"code": "upstream_error", "message": "It broke.", "after_deltas": 1} },
//!   { "match": "cut",   "deltas": [ {"text": "half an ans"} ], "cut": true },
//!   { "match": "stall", "deltas": [ {"text": "wait"} ], "stall": true },
//!   { "deltas": [ {"text": "Hello."} ] }
//! ]
//! ```
//!
//! - `after_ms` of an entry passes before the model begins to answer, that of a delta before the
//!   delta. Both are 0 if absent.
//! - A delta is exactly one of `text`, `reasoning` (with or without `signature`) and `tool_use`.
//! - `repeat` plays the deltas that many times; `{n}` in a text is the number of the repetition,
//!   counted from 1.
//! - At the end the model stops with `stop_reason`, which is `tool_use` if there was a tool call
//!   and else `end_turn`, and says `usage`, which is counted in words if absent.
//! - Three other ends, at most one of them in an entry. `error` fails with a code of the gateway's
//!   error table: after `after_deltas` deltas (repetitions counted, 0 allowed), or, if that is
//!   absent, instead of beginning to answer. `cut` ends without a stop, as a broken connection
//!   does. `stall` never ends.
//!
//! Parameters of the request have no influence, `max_tokens` included.

use super::{Ask, Model, Part, Parts};
use crate::chat::{Delta, StopReason, Usage};
use crate::error::{Error, Kind};
use crate::words;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Plays a script.
#[derive(Debug)]
pub struct Scripted {
    entries: Vec<Arc<Entry>>,
}

impl Scripted {
    /// Reads a script. The error says what is wrong and on which line.
    pub fn load(path: &Path) -> Result<Scripted, Error> {
        let json = std::fs::read_to_string(path)
            .map_err(|error| invalid(format!("the script {} cannot be read: {error}", path.display())))?;
        Scripted::parse(&json)
            .map_err(|error| invalid(format!("the script {}: {}", path.display(), error.message)))
    }

    /// Reads a script from its text.
    pub fn parse(json: &str) -> Result<Scripted, Error> {
        let entries: Vec<Entry> = serde_json::from_str(json).map_err(|error| invalid(error.to_string()))?;
        if entries.is_empty() {
            return Err(invalid("it has no entry, so that no question could be answered".to_owned()));
        }
        Ok(Scripted { entries: entries.into_iter().map(Arc::new).collect() })
    }

    fn entry(&self, question: &str) -> Option<Arc<Entry>> {
        let fits = |entry: &&Arc<Entry>| entry.pattern.as_ref().is_none_or(|part| question.contains(part));
        self.entries.iter().find(fits).cloned()
    }
}

fn invalid(message: String) -> Error {
    Error::invalid("model", message)
}

impl Model for Scripted {
    fn ask(&self, ask: Ask) -> BoxFuture<'static, Result<Parts, Error>> {
        let Some(entry) = self.entry(&ask.question) else {
            let message = "No entry of the script matches this question: add one, or one without `match`.";
            return std::future::ready(Err(Error::new(Kind::InvalidRequest, message))).boxed();
        };
        async move {
            pause(entry.after_ms).await;
            match &entry.end {
                End::Refuse(error) => Err(error.clone()),
                _ => Ok(play(entry, words::count(&ask.question))),
            }
        }
        .boxed()
    }
}

async fn pause(milliseconds: u64) {
    // A pause of 0 would still wait for the timer's next tick.
    if milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

fn play(entry: Arc<Entry>, words_asked: u64) -> Parts {
    let end = end(&entry, words_asked);
    let count = entry.deltas.len();
    let all = count.saturating_mul(entry.repeat);
    let total = match entry.end {
        End::Fail(_, after) => after.min(all),
        _ => all,
    };
    let deltas = stream::iter(0..total).then(move |index| {
        let entry = Arc::clone(&entry);
        async move {
            let Some(delta) = entry.deltas.get(index % count) else { return stream::iter(vec![]) };
            pause(delta.after_ms).await;
            stream::iter(delta.parts(index / count + 1))
        }
    });
    deltas.flatten().chain(end).boxed()
}

/// What comes after the deltas.
fn end(entry: &Entry, words_asked: u64) -> Parts {
    match &entry.end {
        End::Stop(reason, usage) => {
            let usage = usage.unwrap_or_else(|| entry.estimate(words_asked));
            stream::iter([Ok(Part::Stop(reason.clone())), Ok(Part::Usage(usage))]).boxed()
        }
        End::Fail(error, _) | End::Refuse(error) => stream::iter([Err(error.clone())]).boxed(),
        End::Cut => stream::empty().boxed(),
        End::Stall => stream::pending().boxed(),
    }
}

/// A checked entry.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawEntry")]
struct Entry {
    pattern: Option<String>,
    after_ms: u64,
    deltas: Vec<ScriptedDelta>,
    repeat: usize,
    end: End,
}

#[derive(Debug)]
enum End {
    Stop(StopReason, Option<Usage>),
    /// Before the stream.
    Refuse(Error),
    /// In the stream, after so many deltas.
    Fail(Error, usize),
    Cut,
    Stall,
}

impl Entry {
    fn estimate(&self, words_asked: u64) -> Usage {
        let once: u64 = self.deltas.iter().map(|delta| delta.content.words()).sum();
        Usage {
            input_tokens: words_asked,
            output_tokens: once.saturating_mul(self.repeat as u64),
            estimated: true,
            ..Usage::default()
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "RawDelta")]
struct ScriptedDelta {
    after_ms: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Text(String),
    Reasoning { text: String, signature: Option<String> },
    ToolUse(ToolUse),
}

impl Content {
    fn words(&self) -> u64 {
        match self {
            Content::Text(text) | Content::Reasoning { text, .. } => words::count(text),
            Content::ToolUse(tool) => words::count(&tool.input.to_string()),
        }
    }
}

impl ScriptedDelta {
    fn parts(&self, repetition: usize) -> Vec<Result<Part, Error>> {
        let deltas = match &self.content {
            Content::Text(text) => vec![Delta::text(text.replace("{n}", &repetition.to_string()))],
            Content::Reasoning { text, signature } => {
                vec![Delta::Reasoning { text: text.clone(), signature: signature.clone(), redacted: None }]
            }
            Content::ToolUse(ToolUse { id, name, input }) => vec![
                Delta::ToolUse { id: id.clone(), name: name.clone() },
                Delta::ToolInput { json: input.to_string() },
            ],
        };
        deltas.into_iter().map(|delta| Ok(Part::Delta(delta))).collect()
    }
}

/// An entry as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    #[serde(rename = "match")]
    pattern: Option<String>,
    #[serde(default)]
    after_ms: u64,
    #[serde(default)]
    deltas: Vec<ScriptedDelta>,
    #[serde(default = "once")]
    repeat: usize,
    stop_reason: Option<StopReason>,
    usage: Option<Usage>,
    error: Option<RawError>,
    #[serde(default)]
    cut: bool,
    #[serde(default)]
    stall: bool,
}

fn once() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawError {
    code: String,
    message: String,
    retry_after_s: Option<u64>,
    after_deltas: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDelta {
    #[serde(default)]
    after_ms: u64,
    text: Option<String>,
    reasoning: Option<String>,
    signature: Option<String>,
    tool_use: Option<ToolUse>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolUse {
    id: String,
    name: String,
    input: Value,
}

impl TryFrom<RawEntry> for Entry {
    type Error = String;

    fn try_from(raw: RawEntry) -> Result<Entry, String> {
        let tool_used = raw.deltas.iter().any(|delta| matches!(delta.content, Content::ToolUse(_)));
        let end = match (raw.error, raw.cut, raw.stall) {
            (None, false, false) => {
                let reason = if tool_used { StopReason::ToolUse } else { StopReason::EndTurn };
                End::Stop(raw.stop_reason.unwrap_or(reason), raw.usage)
            }
            (Some(error), false, false) => failure(error)?,
            (None, true, false) => End::Cut,
            (None, false, true) => End::Stall,
            _ => return Err("an entry has at most one of `error`, `cut` and `stall`".to_owned()),
        };
        let RawEntry { pattern, after_ms, deltas, repeat, .. } = raw;
        Ok(Entry { pattern, after_ms, deltas, repeat, end })
    }
}

fn failure(raw: RawError) -> Result<End, String> {
    let kind = Kind::from_code(&raw.code).ok_or_else(|| {
        let codes: Vec<&str> = Kind::ALL.into_iter().map(Kind::code).collect();
        format!("`error.code` is `{}`; it must be one of {}", raw.code, codes.join(", "))
    })?;
    let error = Error::new(kind, raw.message).after(raw.retry_after_s.map(Duration::from_secs));
    Ok(raw.after_deltas.map_or(End::Refuse(error.clone()), |after| End::Fail(error, after)))
}

impl TryFrom<RawDelta> for ScriptedDelta {
    type Error = String;

    fn try_from(raw: RawDelta) -> Result<ScriptedDelta, String> {
        let content = match (raw.text, raw.reasoning, raw.tool_use) {
            (Some(text), None, None) => Content::Text(text),
            (None, Some(text), None) => Content::Reasoning { text, signature: raw.signature },
            (None, None, Some(tool)) => Content::ToolUse(tool),
            _ => return Err("a delta has exactly one of `text`, `reasoning` and `tool_use`".to_owned()),
        };
        Ok(ScriptedDelta { after_ms: raw.after_ms, content })
    }
}

#[cfg(test)]
mod tests;
