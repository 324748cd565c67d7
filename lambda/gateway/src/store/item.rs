//! The two tables' rows: keys, attributes, and what goes through serde. No I/O.
//!
//! `H(a, b)` is the hex SHA-256 of the length-delimited parts. *blob* is a value that may be large
//! (`overflow`): `x` holds readable text, or `x_z` deflated bytes, or `x_parts` names part rows.
//! Every row but the curated ones has `expires_at`, epoch seconds: at that second it is gone.
//!
//! Table *answers*, key `pk`:
//!
//! | `pk` | attributes |
//! |---|---|
//! | the question, at most 2,048 bytes | `kind` = curated, blob `answer` (the text), blob `extra` (JSON) |
//! | `curated#H(question, folded)` | the same |
//! | `learned#`hex | `kind` = learned, blob `body` ([`StoredAnswer`](super::StoredAnswer)) |
//!
//! Table *state*, key `pk`, `sk`:
//!
//! | `pk` | `sk` | attributes |
//! |---|---|---|
//! | `reply#H(caller, id)` | `begin` | `fingerprint`, `owner`, `delivery`, `lease_until` (ms) |
//! | | `event#first seq` | `fingerprint`, `lease_until`, `first_seq`, blob `body` ([`Piece`]) |
//! | | `cancel` | its caller wants it to stop |
//! | | `end` | `fingerprint`, `first_seq`, `last_seq`, blob `body` ([`Piece`]) |
//! | `flight#`hex | `flight` | `nonce`, `reply` (the leading reply's `pk`), `lease_until` (ms), `followers`, `handed`, `payer` |
//! | `chats#H(caller)` | `chat#H(chat id)` | `chat_id`, `title`, `created_at`, `updated_at` (ms), `turns`, `deleted_at` (ms), `gone` |
//! | `chat#H(caller, chat id)` | `~deleted` | `deleted_at` (ms): behind every turn, so that who reads them backwards meets it first |
//! | | `turn#ms#H(request id)` | `started_at` (ms), `size` (bytes), blob `body` ([`Turn`](super::Turn)) |
//! | `job#H(caller, id)` | `job` | `kind` = job, `job_id`, `caller`, `phase`, `attempts`, `claimant` (of the last attempt), `refused`, `lease_until`, `created_at`, `completed_at`, `requeued_at` (ms), blob `question`, blob `outcome` |
//! | `jobkey#H(caller, key)` | `key` | `job_id`, `body_hash` |
//! | `conn#`id | `conn` | `caller` |
//! | | `running` | `running`: a string set, one `until ms#name` a place taken |
//! | `running#H(caller)` | `running` | the same |
//! | `part#`UUID, or digest of what never expires | number | `bytes` |

use crate::chat::{Caller, Delta, Started, StopReason, Terminal, Usage};
use crate::digest::Lengths;
use crate::error::{Error, Kind};
use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;

/// A row as DynamoDB has it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// DynamoDB's limit on a partition key, in bytes.
const LONGEST_PK: usize = 2048;

/// A string attribute.
pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number attribute.
pub(super) fn n(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// The string under `name`.
pub(super) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// The whole number under `name`.
pub(super) fn number(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Not expired at `now_s`.
pub(super) fn is_live(item: &Item, now_s: u64) -> bool {
    number(item, "expires_at").is_none_or(|at| at > now_s)
}

/// The key of a row of the state table.
pub(super) fn key(pk: &str, sk: &str) -> Item {
    Item::from([("pk".to_owned(), s(pk)), ("sk".to_owned(), s(sk))])
}

/// Hex SHA-256 of the parts, each preceded by its length: no two lists of parts collide.
pub(super) fn digest(parts: &[&str]) -> String {
    parts.iter().fold(Lengths::default(), |digest, part| digest.part(part.as_bytes())).hex()
}

/// The key of a question as it was asked. None where DynamoDB could not hold it, or where it
/// would reach into the rows that have a key of ours.
pub(super) fn question_pk(question: &str) -> Option<String> {
    let ours = ["learned#", "curated#"].iter().any(|prefix| question.starts_with(prefix));
    let fits = !question.is_empty() && question.len() <= LONGEST_PK;
    (fits && !ours).then(|| question.to_owned())
}

/// The key of a question with case and white space folded.
pub(super) fn folded_pk(question: &str) -> String {
    let folded = question.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    format!("curated#{}", digest(&[&folded]))
}

/// The key of a learned answer.
pub(super) fn learned_pk(hex: &str) -> String {
    format!("learned#{hex}")
}

/// The partition of a reply.
pub(super) fn reply_pk(caller: &Caller, id: &str) -> String {
    format!("reply#{}", digest(&[&caller.0, id]))
}

/// The place of gathered deltas within their reply.
pub(super) fn event_sk(first_seq: u64) -> String {
    format!("event#{first_seq:020}")
}

/// The partition of the flight of a learned answer.
pub(super) fn flight_pk(hex: &str) -> String {
    format!("flight#{hex}")
}

/// The place of a flight in it.
pub(super) const FLIGHT: &str = "flight";

/// The key of that row.
pub(super) fn flight_key(hex: &str) -> Item {
    key(&flight_pk(hex), FLIGHT)
}

/// The partition of a caller's list of conversations.
pub(super) fn chats_pk(caller: &Caller) -> String {
    format!("chats#{}", digest(&[&caller.0]))
}

/// The place of a conversation in that list.
pub(super) fn chat_sk(chat_id: &str) -> String {
    format!("chat#{}", digest(&[chat_id]))
}

/// The partition of a conversation's turns.
pub(super) fn turns_pk(caller: &Caller, chat_id: &str) -> String {
    format!("chat#{}", digest(&[&caller.0, chat_id]))
}

/// The place of a conversation's deletion, behind every turn.
pub(super) const DELETED: &str = "~deleted";

/// The place of a turn: by time, the request id only tells turns of one millisecond apart.
pub(super) fn turn_sk(at_ms: u64, request_id: &str) -> String {
    format!("{}#{}", turns_from(at_ms), digest(&[request_id]))
}

/// Turns from this millisecond on stand behind it, older ones before it.
pub(super) fn turns_from(at_ms: u64) -> String {
    format!("turn#{at_ms:020}")
}

/// The partition of a job.
pub(super) fn job_pk(caller: &Caller, id: &str) -> String {
    format!("job#{}", digest(&[&caller.0, id]))
}

/// The partition of an idempotency key.
pub(super) fn job_key_pk(caller: &Caller, key: &str) -> String {
    format!("jobkey#{}", digest(&[&caller.0, key]))
}

/// The partition of a connection.
pub(super) fn connection_pk(id: &str) -> String {
    format!("conn#{id}")
}

/// The partition of a caller's places.
pub(super) fn running_pk(caller: &Caller) -> String {
    format!("running#{}", digest(&[&caller.0]))
}

/// What an `event` or `end` row of a reply says.
#[derive(Serialize, Deserialize)]
pub(super) struct Piece {
    /// The same in every piece.
    pub started: Option<Started>,
    /// The deltas from the row's `first_seq` on.
    #[serde(with = "brief")]
    pub deltas: Vec<Delta>,
    /// The terminal, in `end`.
    pub end: Option<End>,
}

/// Deltas of text as bare strings: half a second's are about a kilobyte, the unit that writes are paid in,
/// of which their own form would be two thirds.
mod brief {
    use super::{Delta, Deserialize, Serialize};
    use serde::{Deserializer, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Brief<'a> {
        Text(std::borrow::Cow<'a, str>),
        Other(std::borrow::Cow<'a, Delta>),
    }

    pub fn serialize<S: Serializer>(deltas: &[Delta], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(deltas.iter().map(|delta| match delta {
            Delta::Text { text } => Brief::Text(text.into()),
            other => Brief::Other(std::borrow::Cow::Borrowed(other)),
        }))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Delta>, D::Error> {
        let deltas = Vec::<Brief<'static>>::deserialize(deserializer)?;
        Ok(deltas.into_iter().map(Brief::into_delta).collect())
    }

    impl Brief<'_> {
        fn into_delta(self) -> Delta {
            match self {
                Brief::Text(text) => Delta::text(text),
                Brief::Other(delta) => delta.into_owned(),
            }
        }
    }
}

/// A terminal event. [`Terminal`] itself has no wire form, because doors have many.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum End {
    Completed { stop_reason: StopReason, usage: Usage },
    Failed { error: Fault, usage: Usage },
}

/// An error as it is kept: everything but the detail, which is for the log alone.
#[derive(Serialize, Deserialize)]
pub(super) struct Fault {
    code: String,
    message: String,
    param: Option<String>,
    retry_after_ms: Option<u64>,
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Fault {
        Fault {
            code: error.kind.code().to_owned(),
            message: error.message.clone(),
            param: error.param.clone(),
            retry_after_ms: error.retry_after.map(super::millis),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        let kind = Kind::from_code(&fault.code).unwrap_or(Kind::Internal);
        let error = Error { param: fault.param, ..Error::new(kind, fault.message) };
        error.after(fault.retry_after_ms.map(Duration::from_millis))
    }
}

impl End {
    /// The form that is kept.
    pub fn of(terminal: &Terminal) -> End {
        match terminal {
            Terminal::Completed { stop_reason, usage } => {
                End::Completed { stop_reason: stop_reason.clone(), usage: *usage }
            }
            Terminal::Failed { error, usage } => End::Failed { error: error.into(), usage: *usage },
        }
    }
}

impl From<End> for Terminal {
    fn from(end: End) -> Terminal {
        match end {
            End::Completed { stop_reason, usage } => Terminal::Completed { stop_reason, usage },
            End::Failed { error, usage } => Terminal::Failed { error: error.into(), usage },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_key_cannot_be_shifted_into_each_other() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["ab"]), digest(&["ab", ""]));
        assert_eq!(digest(&["x"]).len(), 64);
    }

    #[test]
    fn case_and_white_space_fold_and_nothing_else_does() {
        assert_eq!(folded_pk("  What IS\n\ta goat? "), folded_pk("what is a goat?"));
        assert_ne!(folded_pk("what is a goat"), folded_pk("what is a goat?"));
    }

    #[test]
    fn a_question_is_no_key_where_it_is_empty_too_long_or_looks_like_ours() {
        for question in ["", "learned#00", "curated#00", &"x".repeat(2049)] {
            assert_eq!(question_pk(question), None);
        }
        assert_eq!(question_pk("learned# is a word").as_deref(), None);
        assert_eq!(question_pk("why?").as_deref(), Some("why?"));
    }

    #[test]
    fn deltas_of_every_kind_come_back_from_a_piece_and_from_their_own_form() {
        let deltas = vec![
            Delta::text("so "),
            Delta::text(""),
            Delta::Reasoning { text: "why".into(), signature: Some("s".into()), redacted: None },
            Delta::ToolUse { id: "i".into(), name: "n".into() },
            Delta::ToolInput { json: "{".into() },
        ];
        let piece = Piece { started: None, deltas: deltas.clone(), end: None };
        let kept = serde_json::to_value(&piece).unwrap();
        assert_eq!(kept["deltas"][0], "so ");
        assert_eq!(serde_json::from_value::<Piece>(kept).unwrap().deltas, deltas);
        let own = serde_json::json!({"deltas": deltas});
        assert_eq!(serde_json::from_value::<Piece>(own).unwrap().deltas, deltas);
    }

    #[test]
    fn every_terminal_comes_back_without_its_detail() {
        let usage = Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() };
        for kind in Kind::ALL {
            let mut error = Error::new(kind, "why").because("secret").after(Some(Duration::from_secs(2)));
            error.param = Some("prompt".into());
            let kept =
                serde_json::to_string(&End::of(&Terminal::Failed { error: error.clone(), usage })).unwrap();
            assert!(!kept.contains("secret"));
            let end: End = serde_json::from_str(&kept).unwrap();
            error.detail = None;
            assert_eq!(Terminal::from(end), Terminal::Failed { error, usage });
        }
        let whole = Terminal::Completed { stop_reason: StopReason::Other("odd".into()), usage };
        let kept = serde_json::to_string(&End::of(&whole)).unwrap();
        assert_eq!(Terminal::from(serde_json::from_str::<End>(&kept).unwrap()), whole);
    }
}
