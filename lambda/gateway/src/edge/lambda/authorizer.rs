//! The `rest` function as a REQUEST authorizer: a bearer key becomes API Gateway's
//! `usageIdentifierKey`, so that clients which only know bearer keys pass a usage plan. Whether the
//! key is one of the plan's, API Gateway decides.

use super::runtime::Answer;
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Answers an authorizer event; without a key the request is unauthorized.
pub fn handle(event: &[u8]) -> Answer {
    let event: Value = serde_json::from_slice(event).unwrap_or_default();
    let Some(key) = key_of(&event["headers"]) else {
        // API Gateway turns exactly this word into a 401.
        return Answer::Failed("Unauthorized".to_owned());
    };
    // The principal must not tell the key: it appears in access logs.
    let digest: String =
        Sha256::digest(key.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let statement = json!({
        "Action": "execute-api:Invoke", "Effect": "Allow", "Resource": event["methodArn"],
    });
    Answer::Whole(json!({
        "principalId": format!("key-{digest}"),
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "usageIdentifierKey": key,
    }))
}

/// `x-api-key`, `Authorization: Bearer`, or a browser's WebSocket subprotocol.
fn key_of(headers: &Value) -> Option<String> {
    let header = |wanted: &str| {
        let all = headers.as_object()?.iter();
        let found =
            all.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).find_map(|(_, value)| value.as_str());
        found.map(str::trim).filter(|value| !value.is_empty())
    };
    if let Some(key) = header("x-api-key") {
        return Some(key.to_owned());
    }
    if let Some((scheme, key)) = header("authorization").and_then(|value| value.split_once(' '))
        && scheme.eq_ignore_ascii_case("bearer")
    {
        return Some(key.trim().to_owned());
    }
    let protocols = header("sec-websocket-protocol")?.split(',').map(str::trim);
    let encoded = protocols.filter_map(|name| name.strip_prefix("llm-gateway.key.")).next()?;
    let bytes = URL_SAFE_NO_PAD.decode(encoded).or_else(|_| URL_SAFE.decode(encoded)).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: Value, expected: Option<&str>) {
        let event = json!({"type": "REQUEST", "methodArn": "arn:x", "headers": headers});
        let key = match handle(event.to_string().as_bytes()) {
            Answer::Whole(policy) => {
                assert_eq!(policy["policyDocument"]["Statement"][0]["Resource"], "arn:x");
                assert!(!policy["principalId"].as_str().unwrap().contains("secret"));
                policy["usageIdentifierKey"].as_str().map(str::to_owned)
            }
            Answer::Failed(message) => {
                assert_eq!(message, "Unauthorized");
                None
            }
            _ => panic!("neither a policy nor a refusal"),
        };
        assert_eq!(key.as_deref(), expected);
    }

    #[test]
    fn a_key_is_found_in_every_place_that_clients_put_it() {
        check(json!({"Authorization": "Bearer secret-1"}), Some("secret-1"));
        check(json!({"X-Api-Key": "secret-2"}), Some("secret-2"));
        check(
            json!({"Sec-WebSocket-Protocol": "llm-gateway, llm-gateway.key.c2VjcmV0LTM"}),
            Some("secret-3"),
        );
        check(json!({"Authorization": "Basic eA=="}), None);
        check(json!({}), None);
    }
}
