//! Who may talk to this gateway: the host it is addressed by, the web page that asks, the key.
//!
//! A web page of another site must not reach a gateway on its reader's laptop, neither by its
//! address (the browser says `Origin`) nor by a name that resolves to it (`Host`).

use gateway::chat::Caller;
use gateway::edge::cors::{Origin, Origins, comparable, is_loopback};
use gateway::edge::key;
use gateway::error::{Error, Kind};
use http::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;

/// The rules of one listening address.
pub struct Guard {
    on_loopback: bool,
    hosts: Vec<String>,
    origins: Origins,
    /// By SHA-256 of the key: comparing digests tells nothing about a key by its timing.
    keys: HashMap<[u8; 32], Caller>,
}

/// A request that may pass.
pub struct Pass {
    /// Whose it is, or why nobody's: `unauthorized` without a key, `forbidden` with an unknown one.
    pub caller: Result<Caller, Error>,
    /// The origin to allow in the reply, where a page of an allowed one asks.
    pub origin: Option<HeaderValue>,
}

impl Guard {
    /// The rules from the options.
    ///
    /// # Errors
    /// A sentence that names the option.
    pub fn new(host: IpAddr, hosts: &[String], origins: &[String], keys: &[String]) -> Result<Guard, String> {
        let keys = read_keys(keys)?;
        if !host.is_loopback() && keys.is_empty() {
            return Err(format!(
                "Listening on {host} lets others in, and no key is set. Give --api-key NAME=KEY, or listen on 127.0.0.1."
            ));
        }
        let wrong =
            |origin| format!("--allow-origin {origin} is no origin. Write it as https://example.com.");
        Ok(Guard {
            on_loopback: host.is_loopback(),
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            origins: Origins::new(origins).map_err(wrong)?,
            keys,
        })
    }

    /// Checks a request's head. A page that may call may also read why its key was refused.
    ///
    /// # Errors
    /// `forbidden` for a foreign host or a foreign origin.
    pub fn check(&self, head: &Parts) -> Result<Pass, Error> {
        let host = self.check_host(head)?;
        let origin = self.check_origin(&head.headers, &host)?;
        Ok(Pass { caller: self.caller(head), origin })
    }

    fn check_host(&self, head: &Parts) -> Result<Authority, Error> {
        // Two of them are a trick: what stands behind may go by the other one.
        let mut headers = head.headers.get_all(HOST).iter();
        let header = headers.next().filter(|_| headers.next().is_none());
        let named =
            header.and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<Authority>().ok());
        // Where the request line has a full URL, that is the host; one that differs is a trick.
        let host = match (named, head.uri.authority()) {
            (Some(host), Some(line)) if host != *line => None,
            (host, _) => host,
        };
        let host = host.ok_or_else(|| forbidden("The request needs one valid Host header."))?;
        let name = host.host().to_ascii_lowercase();
        let listed = self.hosts.contains(&name) || self.hosts.contains(&host.as_str().to_ascii_lowercase());
        let fine = listed || if self.on_loopback { is_loopback(&name) } else { self.hosts.is_empty() };
        if !fine {
            return Err(forbidden(
                "This gateway does not answer for that Host. Use localhost, or start it with --allow-host.",
            ));
        }
        Ok(host)
    }

    fn check_origin(&self, headers: &HeaderMap, host: &Authority) -> Result<Option<HeaderValue>, Error> {
        let mut allowed = None;
        for value in headers.get_all(ORIGIN) {
            match self.origins.judge(value.to_str().unwrap_or_default()) {
                Origin::Allowed => allowed = Some(value.clone()),
                Origin::Other(origin) if origin == comparable(host) => {}
                Origin::Other(_) | Origin::Opaque => return Err(foreign_page()),
            }
        }
        Ok(allowed)
    }

    fn caller(&self, head: &Parts) -> Result<Caller, Error> {
        // A WebSocket is a door whatever its path, so it is never among the routes without a key.
        let open = !is_upgrade(&head.headers)
            && (head.method == Method::OPTIONS
                || (head.method == Method::GET
                    && ["/", "/health", "/prod/health"].contains(&head.uri.path())));
        if self.keys.is_empty() || open {
            return Ok(Caller::local());
        }
        let key = key_of(&head.headers).ok_or_else(|| {
            Error::new(
                Kind::Unauthorized,
                "A key is needed: send it as x-api-key, or as Authorization: Bearer.",
            )
        })?;
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let caller = self.keys.get(&digest).cloned();
        caller
            .ok_or_else(|| forbidden("The key is not known here. Ask the operator of this gateway for one."))
    }
}

/// Does the request ask for a WebSocket?
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(http::header::UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// Does the client offer the subprotocol that carries a key?
pub fn offers_subprotocol(headers: &HeaderMap) -> bool {
    subprotocols(headers).any(|name| name == key::SUBPROTOCOL)
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(key::subprotocols)
}

fn key_of(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    key::key(text("x-api-key"), text(AUTHORIZATION.as_str()), subprotocols(headers))
}

fn read_keys(keys: &[String]) -> Result<HashMap<[u8; 32], Caller>, String> {
    let mut read = HashMap::new();
    for pair in keys {
        let Some((name, key)) =
            pair.split_once('=').filter(|(name, key)| !name.is_empty() && !key.is_empty())
        else {
            return Err("--api-key must be NAME=KEY, such as --api-key alice=SECRET.".to_owned());
        };
        if !Caller(name.to_owned()).is_known() {
            return Err(format!(
                "--api-key {name}=…: callers of that name are nobody's. Choose another name."
            ));
        }
        if read.insert(Sha256::digest(key.as_bytes()).into(), Caller(name.to_owned())).is_some() {
            return Err(format!(
                "The key of {name} is another caller's too. Give each caller a key of its own."
            ));
        }
    }
    Ok(read)
}

fn forbidden(message: &str) -> Error {
    Error::new(Kind::Forbidden, message)
}

fn foreign_page() -> Error {
    forbidden(
        "Web pages of other sites may not call this gateway. Start it with --allow-origin for those that may.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    fn guard(keys: &[&str]) -> Guard {
        let keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
        let origins = ["https://chat.example".to_owned()];
        Guard::new("127.0.0.1".parse().unwrap(), &["box.lan".into()], &origins, &keys).unwrap()
    }

    fn head(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::post("/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn kind(guard: &Guard, headers: &[(&str, &str)]) -> Option<Kind> {
        guard.check(&head(headers)).and_then(|pass| pass.caller).err().map(|error| error.kind)
    }

    #[test]
    fn only_names_of_this_machine_are_hosts() {
        for host in ["localhost:8080", "127.0.0.1:9", "127.8.8.8", "[::1]:8080", "LOCALHOST", "box.lan"] {
            assert_eq!(kind(&guard(&[]), &[("host", host)]), None, "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "", "127.0.0.1.evil"] {
            assert_eq!(kind(&guard(&[]), &[("host", host)]), Some(Kind::Forbidden), "{host}");
        }
        assert_eq!(kind(&guard(&[]), &[]), Some(Kind::Forbidden), "no Host at all");
        let two = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(kind(&guard(&[]), &two), Some(Kind::Forbidden), "two of them");
    }

    #[test]
    fn a_page_of_another_site_is_refused_and_an_allowed_one_is_echoed() {
        let with = |origin: &str| {
            guard(&[]).check(&head(&[("host", "localhost:8080"), ("origin", origin)])).map(|pass| pass.origin)
        };
        assert_eq!(with("http://127.0.0.1:8080").unwrap(), None, "its own page");
        assert_eq!(with("https://chat.example").unwrap().unwrap(), "https://chat.example");
        for origin in [
            "null",
            "http://localhost:9999",
            "https://evil.example",
            "https://chat.example.evil",
            "file://",
            "x",
        ] {
            assert_eq!(with(origin).err().map(|error| error.kind), Some(Kind::Forbidden), "{origin}");
        }
    }

    #[test]
    fn a_key_may_come_by_header_by_bearer_or_by_subprotocol() {
        let guard = guard(&["alice=secret-1", "bob=secret-2"]);
        let host = ("host", "localhost");
        assert_eq!(kind(&guard, &[host]), Some(Kind::Unauthorized));
        let mut upgrade = head(&[host, ("upgrade", "websocket")]);
        upgrade.method = Method::GET;
        upgrade.uri = "/health".parse().unwrap();
        assert!(guard.check(&upgrade).ok().unwrap().caller.is_err(), "a WebSocket needs a key on every path");
        assert_eq!(kind(&guard, &[host, ("x-api-key", "secret-3")]), Some(Kind::Forbidden));
        let protocols = format!("llm-gateway, llm-gateway.key.{}", URL_SAFE_NO_PAD.encode("secret-2"));
        for (header, caller) in [
            (("x-api-key", "secret-1"), "alice"),
            (("authorization", "Bearer secret-2"), "bob"),
            (("sec-websocket-protocol", protocols.as_str()), "bob"),
        ] {
            let pass = guard.check(&head(&[host, header])).ok().unwrap();
            assert_eq!(pass.caller.unwrap().0, caller);
        }
    }

    #[test]
    fn others_are_let_in_only_with_keys() {
        let any: IpAddr = "0.0.0.0".parse().unwrap();
        assert!(Guard::new(any, &[], &[], &[]).err().unwrap().contains("--api-key"));
        assert!(Guard::new(any, &[], &[], &["a=long-enough".into()]).is_ok());
        assert!(Guard::new(any, &[], &[], &["a=".into()]).is_err());
    }
}
