//! Who is asking: signature, authorizer, API key, in the order in which API Gateway looks.

use super::events::{self, Identity};
use super::front::Front;
use super::function::{self, Failure, Function};
use super::records::lock;
use super::wire::{Asked, Reply, refused};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Finds out who it is; the reply is the refusal. `event` is what the authorizer is asked about.
pub(super) async fn identify(front: &Front, asked: &Asked, event: &Value) -> Result<Identity, Reply> {
    let mut identity = signed(front, asked).ok_or_else(|| refused(403, "Missing Authentication Token"))?;
    let mut key = asked.header("x-api-key").map(str::to_owned);
    if let Some(authorizer) = front.authorizer.as_ref().filter(|_| front.options.bearer_keys) {
        let question = events::authorizer(event);
        let answer = policy(front, asked, authorizer, &question).await?;
        if !allows(&answer, question["methodArn"].as_str().unwrap_or_default()) {
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

/// What the authorizer says, or has said about the same key before: a REST API keeps policies.
async fn policy(
    front: &Front,
    asked: &Asked,
    authorizer: &Arc<Function>,
    question: &Value,
) -> Result<Value, Reply> {
    let source = ["authorization", "x-api-key"].map(|name| asked.header(name).unwrap_or_default().to_owned());
    let source = source.join("\n");
    let is_rest = question.get("httpMethod").is_some();
    if let Some(kept) = lock(&front.policies).get(&source).filter(|_| is_rest) {
        return Ok(kept.clone());
    }
    let answer = match authorizer.invoke("authorizer", question).await {
        Ok(posted) => function::json(posted).await.ok_or_else(broken)?,
        // This one message is the documented way to say 401.
        Err(Failure::Reported(message)) if message == "Unauthorized" => {
            return Err(refused(401, "Unauthorized"));
        }
        Err(_) => return Err(broken()),
    };
    if is_rest {
        lock(&front.policies).insert(source, answer.clone());
    }
    Ok(answer)
}

/// Does the policy allow this method and nothing deny it?
fn allows(answer: &Value, method: &str) -> bool {
    let covers = |resource: &Value| match resource.as_str().and_then(|text| text.split_once('*')) {
        Some((before, "")) => method.starts_with(before),
        _ => resource == method,
    };
    let statements = answer["policyDocument"]["Statement"].as_array();
    let effects = |wanted: &str| {
        let is = |statement: &Value| statement["Effect"] == wanted && covers(&statement["Resource"]);
        statements.is_some_and(|all| all.iter().any(is))
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
