//! Event-stream frames, encoded by the same crate that the SDK decodes them with.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::Bytes;
use serde_json::{Value, json};

/// An event of this name.
pub(super) fn event(name: &str, payload: &Value) -> Bytes {
    frame("event", ":event-type", name, payload)
}

/// An exception of this name; it ends its stream.
pub(super) fn exception(name: &str, message: &str) -> Bytes {
    frame("exception", ":exception-type", name, &json!({ "message": message }))
}

/// A piece of content in the block of this index.
pub(super) fn delta(index: usize, delta: Value) -> Bytes {
    event("contentBlockDelta", &json!({ "contentBlockIndex": index, "delta": delta }))
}

/// The same frame with a wrong message checksum, its last four bytes.
pub(super) fn with_wrong_checksum(frame: &Bytes) -> Bytes {
    let mut bytes = frame.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 0xff;
    }
    bytes.into()
}

fn frame(kind: &'static str, type_header: &'static str, name: &str, payload: &Value) -> Bytes {
    let text = |value: &str| HeaderValue::String(value.to_owned().into());
    let message = Message::new(payload.to_string())
        .add_header(Header::new(type_header, text(name)))
        .add_header(Header::new(":content-type", text("application/json")))
        .add_header(Header::new(":message-type", text(kind)));
    let mut buffer = Vec::new();
    // The only failures are headers and payloads past 16 MB, which nothing here can reach.
    let written = write_message_to(&message, &mut buffer);
    debug_assert!(written.is_ok());
    buffer.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_eventstream::frame::read_message_from;

    #[test]
    fn a_frame_reads_back_until_its_checksum_is_spoilt() {
        let frame = event("messageStop", &json!({ "stopReason": "end_turn" }));
        let message = read_message_from(frame.clone()).unwrap();
        assert_eq!(&message.payload()[..], br#"{"stopReason":"end_turn"}"#);
        assert!(read_message_from(with_wrong_checksum(&frame)).is_err());
    }
}
