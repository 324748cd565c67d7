//! Who asks, from the request context that API Gateway filled in; never from a body or a header.

use crate::chat::Caller;
use serde_json::Value;

/// The caller of an event: IAM before the API key before what an authorizer said; `None` where the
/// deployment has no authentication. A role is a caller without its session's name, or every
/// container that assumes it would be a new one; `with_session` keeps the name.
pub fn caller(context: &Value, with_session: bool) -> Option<Caller> {
    let identity = &context["identity"];
    let iam = [&identity["userArn"], &context["authorizer"]["iam"]["userArn"]];
    if let Some(arn) = iam.into_iter().find_map(text) {
        return Some(Caller(if with_session { arn.to_owned() } else { without_session(arn) }));
    }
    if let Some(id) = text(&identity["apiKeyId"]) {
        return Some(Caller(format!("key:{id}")));
    }
    let principal = text(&context["authorizer"]["principalId"])?;
    Some(Caller(format!("principal:{principal}")))
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// `arn:aws:sts::1:assumed-role/NAME/SESSION` without its session.
fn without_session(arn: &str) -> String {
    match arn.split_once(":assumed-role/") {
        Some((before, role)) => {
            let name = role.split('/').next().unwrap_or(role);
            format!("{before}:assumed-role/{name}")
        }
        None => arn.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(context: Value, expected: Option<&str>) {
        assert_eq!(caller(&context, false).map(|caller| caller.0).as_deref(), expected, "{context}");
    }

    #[test]
    fn iam_comes_before_a_key_and_a_role_has_no_session() {
        let role = "arn:aws:sts::123456789012:assumed-role/Chat/i-0abc";
        check(
            json!({"identity": {"userArn": role, "apiKeyId": "k1"}}),
            Some("arn:aws:sts::123456789012:assumed-role/Chat"),
        );
        check(
            json!({"authorizer": {"iam": {"userArn": "arn:aws:iam::1:user/ann"}}}),
            Some("arn:aws:iam::1:user/ann"),
        );
        check(json!({"identity": {"apiKeyId": "k1"}}), Some("key:k1"));
        check(json!({"authorizer": {"principalId": "p"}, "identity": {"apiKeyId": ""}}), Some("principal:p"));
        check(json!({"identity": {"sourceIp": "1.2.3.4"}}), None);
        let kept = caller(&json!({"identity": {"userArn": role}}), true);
        assert_eq!(kept, Some(Caller(role.into())));
    }
}
