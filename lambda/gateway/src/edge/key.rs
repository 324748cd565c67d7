//! Where clients put a key, and the subprotocol of browsers, which cannot set headers.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

/// The subprotocol that a browser asks for, and that is selected.
pub const SUBPROTOCOL: &str = "llm-gateway";

/// Its companion carries the key, in base64url.
const KEY_SUBPROTOCOL: &str = "llm-gateway.key.";

/// The key of a request: `x-api-key`, then `Authorization: Bearer`, then a subprotocol. Given are
/// the values of these headers, the subprotocols one by one.
pub fn key<'a>(
    api_key: Option<&str>,
    authorization: Option<&str>,
    mut subprotocols: impl Iterator<Item = &'a str>,
) -> Option<String> {
    if let Some(key) = api_key {
        return Some(key.to_owned());
    }
    if let Some((scheme, key)) = authorization.and_then(|value| value.split_once(' '))
        && scheme.eq_ignore_ascii_case("bearer")
    {
        return Some(key.trim().to_owned());
    }
    let encoded = subprotocols.find_map(|name| name.strip_prefix(KEY_SUBPROTOCOL))?;
    let bytes = URL_SAFE_NO_PAD.decode(encoded).or_else(|_| URL_SAFE.decode(encoded)).ok()?;
    String::from_utf8(bytes).ok()
}

/// The subprotocols that a header's value lists.
pub fn subprotocols(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}
