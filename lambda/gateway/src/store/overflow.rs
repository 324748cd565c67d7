//! Values that may be larger than the 400 KB of a row.
//!
//! Small text stays readable in its attribute; larger text is deflated; what is still too large goes
//! into part rows, written before the row that names them. Parts that nothing names expire, but for
//! those of a curated answer: as it has no end, what it had before it was replaced stays.

use super::item::{self, Item};
use super::rows::puts;
use super::{Store, unavailable};
use crate::digest::Lengths;
use crate::error::{Error, json_place};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use flate2::Compression;
use flate2::read::{DeflateDecoder, DeflateEncoder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Read;

/// The room of the one large value of a row.
pub(super) const ROOMY: usize = 300_000;
/// The room of each of two large values of a row.
pub(super) const SHARED: usize = 150_000;
/// Bytes in one part row.
const PART: usize = 350_000;

/// The attributes that hold one value.
pub(super) type Attributes = Vec<(String, AttributeValue)>;

impl Store {
    /// `value` as JSON under `name`, in at most `room` bytes of the row.
    pub(super) async fn pack(
        &self,
        name: &str,
        value: &impl Serialize,
        room: usize,
        expires_at: Option<u64>,
    ) -> Result<Attributes, Error> {
        let json = serde_json::to_string(value).map_err(Error::internal)?;
        self.pack_text(name, json, room, expires_at).await
    }

    /// `text` itself under `name`, in at most `room` bytes of the row.
    pub(super) async fn pack_text(
        &self,
        name: &str,
        text: String,
        room: usize,
        expires_at: Option<u64>,
    ) -> Result<Attributes, Error> {
        let packed = packed(name, text, room, expires_at).await?;
        self.write_all(&self.tables.state, puts(packed.parts)?).await?;
        Ok(packed.attributes)
    }

    /// The value under `name`; None where the row has none.
    pub(super) async fn unpack<T: DeserializeOwned>(
        &self,
        row: &Item,
        name: &str,
    ) -> Result<Option<T>, Error> {
        let Some(text) = self.unpack_text(row, name).await? else {
            return Ok(None);
        };
        let parsed = serde_json::from_str(&text);
        parsed.map(Some).map_err(|error| unreadable(name, json_place(&error)))
    }

    /// The text under `name`; None where the row has none.
    pub(super) async fn unpack_text(&self, row: &Item, name: &str) -> Result<Option<String>, Error> {
        if let Some(text) = item::text(row, name) {
            return Ok(Some(text.to_owned()));
        }
        let deflated = match row.get(&format!("{name}_z")) {
            Some(AttributeValue::B(blob)) => blob.clone().into_inner(),
            _ => match item::text(row, &format!("{name}_parts")) {
                Some(id) => self.read_parts(id, item::number(row, &format!("{name}_count"))).await?,
                None => return Ok(None),
            },
        };
        let bytes = aside(move || read_all(DeflateDecoder::new(deflated.as_slice()))).await?;
        String::from_utf8(bytes).map(Some).map_err(|_| unreadable(name, "it is no text"))
    }

    /// The keys of the part rows that hold the value under `name`.
    pub(super) fn part_keys(row: &Item, name: &str) -> Vec<Item> {
        let Some(id) = item::text(row, &format!("{name}_parts")) else {
            return Vec::new();
        };
        let count = item::number(row, &format!("{name}_count")).unwrap_or_default();
        (0..count).map(|number| part_key(id, number)).collect()
    }

    async fn read_parts(&self, id: &str, count: Option<u64>) -> Result<Vec<u8>, Error> {
        let parts = self.partition(&format!("part#{id}")).await?;
        if Some(parts.len() as u64) != count {
            return Err(unreadable("parts", "some are missing"));
        }
        let bytes = parts.iter().filter_map(|part| part.get("bytes")?.as_b().ok());
        Ok(bytes.flat_map(|blob| blob.as_ref()).copied().collect())
    }
}

/// A value, packed.
pub(super) struct Packed {
    /// What the row has of it.
    pub attributes: Attributes,
    /// The part rows that hold the rest: they are written before the row.
    pub parts: Vec<Item>,
}

/// `text` under `name`, in at most `room` bytes of its row.
pub(super) async fn packed(
    name: &str,
    text: String,
    room: usize,
    expires_at: Option<u64>,
) -> Result<Packed, Error> {
    if text.len() <= room {
        return Ok(Packed {
            attributes: vec![(name.to_owned(), AttributeValue::S(text))],
            parts: Vec::new(),
        });
    }
    let bytes = aside(move || deflated(&text)).await?;
    if bytes.len() <= room {
        let attribute = (format!("{name}_z"), AttributeValue::B(Blob::new(bytes)));
        return Ok(Packed { attributes: vec![attribute], parts: Vec::new() });
    }
    // What never expires is written again and again, by every upload of the same file: parts
    // named by what they hold take their own place.
    let id = match expires_at {
        Some(_) => crate::chat::new_id(),
        None => Lengths::new("part").part(&bytes).hex(),
    };
    let parts = (0..).zip(bytes.chunks(PART)).map(|(number, part)| {
        let mut row = part_key(&id, number);
        row.insert("bytes".to_owned(), AttributeValue::B(Blob::new(part)));
        row.extend(expires_at.map(|at| ("expires_at".to_owned(), item::n(at))));
        row
    });
    let parts: Vec<Item> = parts.collect();
    let count = item::n(parts.len() as u64);
    Ok(Packed {
        attributes: vec![(format!("{name}_parts"), item::s(&id)), (format!("{name}_count"), count)],
        parts,
    })
}

fn part_key(id: &str, number: u64) -> Item {
    item::key(&format!("part#{id}"), &format!("{number:05}"))
}

fn unreadable(name: &str, why: impl std::fmt::Display) -> Error {
    unavailable(format!("a stored value ({name}) cannot be read: {why}"))
}

/// Whether one row can hold `text` in `room` bytes.
pub(super) fn fits(text: &str, room: usize) -> bool {
    text.len() <= room || deflated(text).is_ok_and(|bytes| bytes.len() <= room)
}

fn deflated(text: &str) -> std::io::Result<Vec<u8>> {
    read_all(DeflateEncoder::new(text.as_bytes(), Compression::fast()))
}

fn read_all(mut from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Megabytes take long enough to compress that other replies would notice.
async fn aside(work: impl FnOnce() -> std::io::Result<Vec<u8>> + Send + 'static) -> Result<Vec<u8>, Error> {
    let done = tokio::task::spawn_blocking(work).await.map_err(unavailable)?;
    done.map_err(|error| unreadable("deflate", error))
}
