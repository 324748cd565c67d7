//! What a server says: read within a bound, unpacked within the same, its refusals put into words that
//! hold nothing of what was asked.

use super::client::away;
use crate::error::{Error, Kind, causes, json_place};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::Read;
use std::time::Duration;

/// Bytes of a reply at most, packed and unpacked.
const LARGEST: usize = 16 * 1024 * 1024;

/// What is longer is no name of an error.
const LONGEST_NAME: usize = 60;

/// A reply, whatever it says.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// What `Retry-After` said, in seconds.
    pub retry_after: Option<Duration>,
    /// The body, unpacked.
    pub body: Bytes,
}

/// What a refusal consists of. Not of all servers it is the same.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: Option<Cause>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Cause {
    Named {
        #[serde(rename = "type", default)]
        name: String,
        #[serde(default)]
        reason: Option<String>,
        #[serde(default)]
        root_cause: Vec<Root>,
    },
    Said(String),
}

#[derive(Deserialize)]
struct Root {
    #[serde(rename = "type", default)]
    name: String,
    #[serde(default)]
    reason: Option<String>,
}

impl Reply {
    /// Did the server do what it was asked?
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON of this form.
    ///
    /// # Errors
    /// `unavailable`, where it is none.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let unread = |error| away(format!("a reply that cannot be read: {}", json_place(&error)));
        serde_json::from_slice(&self.body).map_err(unread)
    }

    /// The names of the error, as OpenSearch calls its kinds, the root's last; empty where it says none.
    pub fn error_names(&self) -> Vec<String> {
        let Some(Cause::Named { name, root_cause, .. }) = self.cause() else { return Vec::new() };
        let root = root_cause.into_iter().next().map(|root| root.name);
        let mut names: Vec<String> = std::iter::once(name).chain(root).map(|name| plain(&name)).collect();
        names.retain(|name| !name.is_empty());
        names.dedup();
        names
    }

    /// The server's own sentence on why it refused. It may quote what was sent: it is for whoever sent
    /// that, and for no log.
    pub fn reason(&self) -> Option<String> {
        match self.cause()? {
            Cause::Named { reason, root_cause, .. } => {
                root_cause.into_iter().find_map(|root| root.reason).or(reason)
            }
            Cause::Said(sentence) => Some(sentence),
        }
    }

    /// The error that this refusal is.
    pub fn refusal(&self) -> Error {
        let names = self.error_names().join(": ");
        let detail = format!("status {} {names}", self.status);
        match self.status {
            429 => {
                let error = Error::new(Kind::Throttled, "The search has too much to do. Try again later.");
                error.after(self.retry_after).because(detail.trim_end())
            }
            _ => away(detail.trim_end()),
        }
    }

    fn cause(&self) -> Option<Cause> {
        serde_json::from_slice::<Refusal>(&self.body).ok()?.error
    }
}

/// A name as OpenSearch gives them, and nothing that could be a text.
fn plain(name: &str) -> String {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = name.len() <= LONGEST_NAME && name.chars().all(known);
    if is_name { name.to_owned() } else { String::new() }
}

/// A reply as it came, perhaps packed.
pub struct Received {
    /// Its status.
    pub status: u16,
    retry_after: Option<Duration>,
    packed: bool,
    bytes: Bytes,
}

impl Received {
    /// Reads a reply to its end, or as far as one may reach.
    ///
    /// # Errors
    /// `unavailable` where it breaks off.
    pub async fn read(response: HttpResponse) -> Result<Received, Error> {
        let status = response.status().as_u16();
        let packed = response.headers().get("content-encoding").is_some_and(|coding| coding == "gzip");
        let seconds = response.headers().get("retry-after").and_then(|wait| wait.parse().ok());
        let mut body = response.into_body();
        let mut bytes = BytesMut::new();
        while bytes.len() <= LARGEST {
            let Some(frame) = body.frame().await else { break };
            let frame = frame.map_err(|error| away(format!("half a reply: {}", causes(error.as_ref()))))?;
            bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
        let retry_after = seconds.map(Duration::from_secs);
        Ok(Received { status, retry_after, packed, bytes: bytes.freeze() })
    }

    /// The reply, unpacked.
    ///
    /// # Errors
    /// `unavailable` where it is too large or cannot be unpacked.
    pub fn open(self) -> Result<Reply, Error> {
        let body = match self.packed {
            true => unpacked(&self.bytes)?,
            false if self.bytes.len() > LARGEST => return Err(too_large()),
            false => self.bytes,
        };
        Ok(Reply { status: self.status, retry_after: self.retry_after, body })
    }
}

fn unpacked(bytes: &[u8]) -> Result<Bytes, Error> {
    let mut unpacked = Vec::new();
    let read = GzDecoder::new(bytes).take(LARGEST as u64 + 1).read_to_end(&mut unpacked);
    read.map_err(|error| away(format!("a reply that cannot be unpacked: {error}")))?;
    if unpacked.len() > LARGEST { Err(too_large()) } else { Ok(unpacked.into()) }
}

fn too_large() -> Error {
    away(format!("a reply of more than {LARGEST} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, retry_after: None, body: body.to_owned().into() }
    }

    #[test]
    fn a_refusal_is_told_by_its_status_and_names_and_never_by_its_sentence() {
        let body = r#"{"error":{"root_cause":[{"type":"query_shard_exception","reason":"secret plan"}],
            "type":"search_phase_execution_exception","reason":"all shards failed"},"status":400}"#;
        let refusal = reply(400, body).refusal();
        assert_eq!(refusal.kind, Kind::Unavailable);
        assert_eq!(
            refusal.detail.as_deref(),
            Some("status 400 search_phase_execution_exception: query_shard_exception")
        );
        assert_eq!(reply(400, body).reason().as_deref(), Some("secret plan"));
    }

    #[test]
    fn refusals_of_every_shape_are_told() {
        for (body, detail) in [
            ("", "status 403"),
            ("<html>", "status 403"),
            (r#"{"Message":"User: x is not authorized"}"#, "status 403"),
            (r#"{"error":"no handler found for secret plan"}"#, "status 403"),
            (
                r#"{"status":403,"error":{"reason":"403 Forbidden","type":"Forbidden"}}"#,
                "status 403 Forbidden",
            ),
            (r#"{"error":{"type":"two words: secret"}}"#, "status 403"),
        ] {
            assert_eq!(reply(403, body).refusal().detail.as_deref(), Some(detail), "{body}");
        }
        assert_eq!(reply(429, "{}").refusal().kind, Kind::Throttled);
    }

    #[test]
    fn what_is_packed_small_and_is_large_is_not_unpacked_whole() {
        let pack = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let whole = pack(b"{\"hits\":1}");
        assert_eq!(unpacked(&whole).unwrap(), "{\"hits\":1}");
        assert!(unpacked(&whole[..whole.len() / 2]).is_err());
        let bomb = pack(&vec![0; LARGEST + 1]);
        assert!(bomb.len() < LARGEST / 100);
        assert!(unpacked(&bomb).unwrap_err().detail.unwrap().contains("more than"));
    }
}
