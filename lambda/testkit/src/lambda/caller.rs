//! Who is asking: signature, authorizer, API key, in the order in which API Gateway looks.

use super::events::{self, Identity};
use super::front::Front;
use super::function::{self, Failure};
use super::wire::{Asked, Reply, refused};
use serde_json::{Map, Value, json};

/// Finds out who it is; the reply is the refusal. `event` is what the authorizer is asked about.
pub(super) async fn identify(front: &Front, asked: &Asked, event: &Value) -> Result<Identity, Reply> {
    let mut identity = signed(front, asked).ok_or_else(|| refused(403, "Missing Authentication Token"))?;
    let mut key = asked.header("x-api-key").map(str::to_owned);
    if let Some(authorizer) = front.authorizer.as_ref().filter(|_| front.options.bearer_keys) {
        let posted = authorizer.invoke("authorizer", &events::authorizer(event)).await;
        let answer = match posted {
            Ok(posted) => function::json(posted).await.ok_or_else(broken)?,
            // This one message is the documented way to say 401.
            Err(Failure::Reported(message)) if message == "Unauthorized" => {
                return Err(refused(401, "Unauthorized"));
            }
            Err(_) => return Err(broken()),
        };
        if !allows(&answer) {
            let body = json!({ "Message": "User is not authorized to access this resource" });
            return Err(super::wire::json(403, &body));
        }
        key = answer["usageIdentifierKey"].as_str().map(str::to_owned);
        identity.authorizer = Some(context(&answer));
    }
    if !front.options.api_keys.is_empty() {
        let known = front.options.api_keys.iter().find(|(_, known)| Some(known) == key.as_ref());
        identity.key = Some(known.cloned().ok_or_else(|| refused(403, "Forbidden"))?);
    }
    Ok(identity)
}

/// The signer, by the access key alone. `None` where there has to be a signature and is none.
pub(super) fn signed(front: &Front, asked: &Asked) -> Option<Identity> {
    if !front.options.iam {
        return Some(Identity { access_key: front.options.signer.clone(), ..Identity::default() });
    }
    let header = asked.header("authorization").filter(|value| value.starts_with("AWS4-HMAC-SHA256"));
    let credential = match header.and_then(|value| value.split_once("Credential=")) {
        Some((_, rest)) => rest.to_owned(),
        None => asked.query().into_iter().find(|(name, _)| name == "X-Amz-Credential")?.1,
    };
    let access_key = credential.split('/').next()?.to_owned();
    Some(Identity { access_key: Some(access_key), ..Identity::default() })
}

fn allows(answer: &Value) -> bool {
    let statements = answer["policyDocument"]["Statement"].as_array();
    let effects = |wanted: &str| {
        statements.is_some_and(|all| all.iter().any(|statement| statement["Effect"] == wanted))
    };
    effects("Allow") && !effects("Deny")
}

/// The authorizer's context as a request context has it: every value a string, and the principal.
fn context(answer: &Value) -> Value {
    let mut all = Map::new();
    all.insert("principalId".to_owned(), answer["principalId"].clone());
    for (name, value) in answer["context"].as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        all.insert(name.clone(), json!(text));
    }
    Value::Object(all)
}

fn broken() -> Reply {
    // API Gateway's own words for an authorizer that failed: the message is null.
    super::wire::json(500, &json!({ "message": null }))
}
