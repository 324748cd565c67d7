//! An answer as a list of steps: pure, so that a stream's faults can be read off it.

use super::frames;
use super::knobs::{Fault, Knobs};
use super::reply::Reply;
use bytes::Bytes;
use serde_json::json;
use std::time::Duration;

/// One thing that a response body does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Sends bytes.
    Send(Bytes),
    /// Waits.
    Wait(Duration),
    /// Waits for ever.
    Stall,
    /// Breaks the connection.
    Cut,
}

/// Long enough that what was sent is on the wire before the connection breaks.
const FLUSH: Duration = Duration::from_millis(5);

/// How many bytes a `Fault::Length` promises and does not send.
pub(super) const MISSING: usize = 100;

/// The steps of a streamed answer.
pub(super) fn of(knobs: &Knobs, reply: &Reply) -> Vec<Step> {
    let mut steps = vec![Step::Send(frames::event("messageStart", &json!({ "role": "assistant" })))];
    steps.extend(wait(knobs.first_ms));
    let text_index = reasoning(knobs, &mut steps);
    let until = knobs.fault.as_ref().map_or(usize::MAX, Fault::after);
    for (n, token) in reply.tokens.iter().take(until).enumerate() {
        if n > 0 {
            steps.extend(wait(knobs.gap_ms));
        }
        steps.push(Step::Send(frames::delta(text_index, json!({ "text": token }))));
    }
    match &knobs.fault {
        Some(fault) => break_off(fault, text_index, &mut steps),
        None => finish(knobs, reply, text_index, &mut steps),
    }
    steps
}

/// Joins what is sent in one go: a plain answer becomes a single piece.
pub(super) fn joined(steps: &[Step]) -> Bytes {
    let sent = steps.iter().filter_map(|step| match step {
        Step::Send(bytes) => Some(&bytes[..]),
        _ => None,
    });
    sent.collect::<Vec<_>>().concat().into()
}

fn wait(ms: u64) -> Option<Step> {
    (ms > 0).then(|| Step::Wait(Duration::from_millis(ms)))
}

/// The reasoning block, if any; returns the index of the text block behind it.
fn reasoning(knobs: &Knobs, steps: &mut Vec<Step>) -> usize {
    if knobs.reasoning.is_empty() {
        return 0;
    }
    for piece in &knobs.reasoning {
        steps.push(Step::Send(frames::delta(0, json!({ "reasoningContent": piece }))));
        steps.extend(wait(knobs.gap_ms));
    }
    steps.push(stop(0));
    1
}

fn stop(index: usize) -> Step {
    Step::Send(frames::event("contentBlockStop", &json!({ "contentBlockIndex": index })))
}

fn finish(knobs: &Knobs, reply: &Reply, text_index: usize, steps: &mut Vec<Step>) {
    if !reply.tokens.is_empty() {
        steps.push(stop(text_index));
    }
    if let Some(tool) = &knobs.tool {
        let index = text_index + usize::from(!reply.tokens.is_empty());
        let start = json!({ "toolUse": { "toolUseId": tool.id, "name": tool.name } });
        let start = json!({ "contentBlockIndex": index, "start": start });
        steps.push(Step::Send(frames::event("contentBlockStart", &start)));
        for piece in pieces(&tool.input.to_string(), 7) {
            steps.push(Step::Send(frames::delta(index, json!({ "toolUse": { "input": piece } }))));
        }
        steps.push(stop(index));
    }
    let stop = json!({ "stopReason": reply.stop_reason });
    steps.push(Step::Send(frames::event("messageStop", &stop)));
    if knobs.no_metadata {
        steps.push(Step::Stall);
        return;
    }
    let metadata = json!({ "usage": reply.usage, "metrics": { "latencyMs": 1 } });
    steps.push(Step::Send(frames::event("metadata", &metadata)));
}

fn break_off(fault: &Fault, index: usize, steps: &mut Vec<Step>) {
    let next = frames::delta(index, json!({ "text": "never to be read" }));
    let half = next.slice(..next.len() / 2);
    let cut = [Step::Wait(FLUSH), Step::Cut];
    match fault {
        Fault::Exception { name, message, .. } => steps.push(Step::Send(frames::exception(name, message))),
        Fault::Cut { .. } => steps.extend(cut),
        Fault::CutInside { .. } => {
            steps.push(Step::Send(half));
            steps.extend(cut);
        }
        Fault::EndInside { .. } => steps.push(Step::Send(half)),
        Fault::Stall { .. } => steps.push(Step::Stall),
        Fault::Checksum { .. } => steps.push(Step::Send(frames::with_wrong_checksum(&next))),
        Fault::End { .. } => {}
        // The server breaks off by itself when the body ends before the length that it declared.
        Fault::Length { .. } => steps.push(Step::Wait(FLUSH)),
    }
}

/// Cuts ASCII or other text into pieces of `size` characters.
fn pieces(text: &str, size: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(size).map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(knobs: Knobs) -> Vec<Step> {
        of(&knobs, &Reply::of(&knobs, "why?"))
    }

    #[test]
    fn a_gap_stands_between_tokens_only() {
        let steps = steps(Knobs { tokens: Some(3), gap_ms: 9, ..Knobs::default() });
        let gaps = steps.iter().filter(|step| matches!(step, Step::Wait(_))).count();
        assert_eq!(gaps, 2);
    }

    #[test]
    fn a_fault_ends_the_stream_after_its_tokens() {
        let cut = steps(Knobs { tokens: Some(9), fault: Some(Fault::Cut { after: 2 }), ..Knobs::default() });
        let sent = cut.iter().filter(|step| matches!(step, Step::Send(_))).count();
        assert_eq!((sent, cut.last()), (3, Some(&Step::Cut)));
    }
}
