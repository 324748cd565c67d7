//! Which web pages may read replies: those of the origins allowed (`ALLOWED_ORIGINS`).

use super::body::Body;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Response, StatusCode};
use std::net::IpAddr;

/// Origins, compared without their scheme and with all names of the loopback address equal.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<String>);

/// What an `Origin` header says.
#[derive(Debug, PartialEq)]
pub enum Origin {
    /// An allowed one.
    Allowed,
    /// Host and port, in the form that [`comparable`] gives.
    Other(String),
    /// `null`, or no origin at all.
    Opaque,
}

impl Origins {
    /// The origins of a list.
    ///
    /// # Errors
    /// The entry that is no origin.
    pub fn new<'a>(list: &'a [String]) -> Result<Origins, &'a str> {
        let read =
            |origin: &'a String| authority(origin).map(|found| comparable(&found)).ok_or(origin.as_str());
        list.iter().map(read).collect::<Result<_, _>>().map(Origins)
    }

    /// Is nothing allowed?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What this header says.
    pub fn judge(&self, value: &str) -> Origin {
        match authority(value).map(|found| comparable(&found)) {
            Some(origin) if self.0.contains(&origin) => Origin::Allowed,
            Some(origin) => Origin::Other(origin),
            None => Origin::Opaque,
        }
    }

    /// The request's `Origin`, where it is an allowed one.
    pub fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let value = headers.get(header::ORIGIN)?;
        let text = value.to_str().ok()?;
        (self.judge(text) == Origin::Allowed).then(|| value.clone())
    }
}

/// Host and port of an origin; `null` and everything that is no origin have none.
fn authority(origin: &str) -> Option<Authority> {
    let (_, rest) = origin.split_once("://")?;
    rest.trim_end_matches('/').parse().ok()
}

/// A form in which all names of the loopback address are the same.
pub fn comparable(authority: &Authority) -> String {
    let host = authority.host().to_ascii_lowercase();
    let host = if is_loopback(&host) { "localhost".to_owned() } else { host };
    match authority.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// Does the name mean this machine?
pub fn is_loopback(name: &str) -> bool {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The reply to `OPTIONS`.
pub fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Lets a page of this origin read the reply.
pub fn allow(headers: &mut HeaderMap, origin: HeaderValue, preflight: bool) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    let exposed = "x-request-id, x-cache, x-model, server-timing, retry-after, location";
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
    if preflight {
        let allowed = "authorization, content-type, x-api-key, idempotency-key, accept";
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
        let methods = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_by_host_and_port() {
        let list = ["https://Chat.example".to_owned(), "http://127.0.0.1:3000/".to_owned()];
        let origins = Origins::new(&list).unwrap();
        for allowed in ["https://chat.example", "http://chat.example", "http://localhost:3000"] {
            assert_eq!(origins.judge(allowed), Origin::Allowed, "{allowed}");
        }
        assert_eq!(origins.judge("https://chat.example:444"), Origin::Other("chat.example:444".into()));
        assert_eq!(origins.judge("null"), Origin::Opaque);
        assert_eq!(Origins::new(&["chat.example".to_owned()]).unwrap_err(), "chat.example");
    }
}
