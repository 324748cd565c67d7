//! The `rest` function as a REQUEST authorizer: a bearer key becomes API Gateway's
//! `usageIdentifierKey`, so that clients which only know bearer keys pass a usage plan. Whether the
//! key is one of the plan's, API Gateway decides.

use super::runtime::Answer;
use crate::digest::hex;
use crate::edge::key;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Answers an authorizer event; without a key the request is unauthorized.
pub fn handle(event: &[u8]) -> Answer {
    let event: Value = serde_json::from_slice(event).unwrap_or_default();
    let Some(key) = key_of(&event["headers"]) else {
        // API Gateway turns exactly this word into a 401.
        return Answer::Refused("Unauthorized");
    };
    // The principal must not tell the key: it appears in access logs.
    let digest = hex(&Sha256::digest(key.as_bytes())[..16]);
    let statement = json!({
        "Action": "execute-api:Invoke", "Effect": "Allow", "Resource": resource(&event),
    });
    Answer::Whole(json!({
        "principalId": format!("key-{digest}"),
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "usageIdentifierKey": key,
    }))
}

/// What the key opens: every method of the stage, because API Gateway keeps the policy for minutes and
/// asks it for whatever the same key calls next. A WebSocket is opened by its one route.
fn resource(event: &Value) -> String {
    let arn = event["methodArn"].as_str().unwrap_or_default();
    let mut parts = arn.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(api), Some(stage), Some(method)) if method != "$connect" => format!("{api}/{stage}/*"),
        _ => arn.to_owned(),
    }
}

/// `x-api-key`, `Authorization: Bearer`, or a browser's WebSocket subprotocol.
fn key_of(headers: &Value) -> Option<String> {
    let header = |wanted: &str| {
        let all = headers.as_object()?.iter();
        let found =
            all.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).find_map(|(_, value)| value.as_str());
        found.map(str::trim).filter(|value| !value.is_empty())
    };
    let protocols = header("sec-websocket-protocol").into_iter().flat_map(key::subprotocols);
    key::key(header("x-api-key"), header("authorization"), protocols)
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
            Answer::Refused(message) => {
                assert_eq!(message, "Unauthorized");
                None
            }
            _ => panic!("neither a policy nor a refusal"),
        };
        assert_eq!(key.as_deref(), expected);
    }

    #[test]
    fn a_policy_holds_for_all_that_the_key_may_call_next() {
        let check = |arn: &str, expected: &str| assert_eq!(resource(&json!({ "methodArn": arn })), expected);
        check(
            "arn:aws:execute-api:eu-west-1:1:api/prod/POST/a/b",
            "arn:aws:execute-api:eu-west-1:1:api/prod/*",
        );
        let connect = "arn:aws:execute-api:eu-west-1:1:api/prod/$connect";
        check(connect, connect);
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
