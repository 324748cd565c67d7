//! What a domain's access policy says of a caller. It is half of the truth: in one account, the caller's
//! own policies may allow what this one does not speak of; only what it denies stays denied.

use serde::Deserialize;
use serde_json::Value;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// As `sts:GetCallerIdentity` says it.
    pub arn: String,
    /// The account's number.
    pub account: String,
}

impl Identity {
    /// The ARNs that a policy may name it by: its own, and that of the role that it has assumed.
    fn arns(&self) -> Vec<String> {
        let mut arns = vec![self.arn.clone()];
        if let Some((_, rest)) = self.arn.split_once(":assumed-role/") {
            arns.extend(rest.split('/').next().map(|role| role_arn(&self.arn, &self.account, role)));
        }
        arns
    }

    /// The ARN that fine-grained access control is to know it by.
    pub fn backend_role(&self) -> String {
        self.arns().pop().unwrap_or_default()
    }
}

fn role_arn(arn: &str, account: &str, role: &str) -> String {
    let partition = arn.split(':').nth(1).unwrap_or("aws");
    format!("arn:{partition}:iam::{account}:role/{role}")
}

/// What a policy says of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is allowed.
    Allowed,
    /// It is allowed under conditions, such as an address that the request comes from.
    Conditional,
    /// The account's own policies decide.
    Delegated,
    /// It is denied, whatever else allows it.
    Denied,
    /// It is not spoken of.
    Unnamed,
}

/// An access policy.
#[derive(Debug, Deserialize)]
pub struct Policy {
    #[serde(rename = "Statement", default)]
    statements: Statements,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Statements {
    Many(Vec<Statement>),
    One(Box<Statement>),
}

impl Default for Statements {
    fn default() -> Statements {
        Statements::Many(Vec::new())
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    effect: String,
    #[serde(default)]
    principal: Value,
    #[serde(default)]
    not_principal: Value,
    #[serde(default)]
    action: Value,
    #[serde(default)]
    not_action: Value,
    #[serde(default)]
    resource: Value,
    #[serde(default)]
    condition: Value,
}

/// How a statement's principal meets a caller.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meets {
    Anybody,
    Caller,
    Account,
    Nobody,
}

impl Policy {
    /// Reads one; None where it is no policy.
    pub fn read(text: &str) -> Option<Policy> {
        serde_json::from_str(text).ok()
    }

    /// What is said of this action of the caller's on something of the domain's.
    pub fn verdict(&self, who: &Identity, action: &str, domain: &str) -> Verdict {
        let about = || self.statements().filter(|one| one.is_about(action, domain));
        if about().any(|one| one.effect == "Deny" && one.denies(who)) {
            return Verdict::Denied;
        }
        let allowed = about().filter(|one| one.effect == "Allow").map(|one| match one.meets(who) {
            Meets::Nobody => Verdict::Unnamed,
            _ if one.has_condition() => Verdict::Conditional,
            Meets::Account => Verdict::Delegated,
            Meets::Anybody | Meets::Caller => Verdict::Allowed,
        });
        let best = [Verdict::Allowed, Verdict::Conditional, Verdict::Delegated];
        let found: Vec<Verdict> = allowed.collect();
        best.into_iter().find(|verdict| found.contains(verdict)).unwrap_or(Verdict::Unnamed)
    }

    /// Does it let anybody read, without a condition?
    pub fn is_open(&self, domain: &str) -> bool {
        let nobody = Identity { arn: String::new(), account: String::new() };
        let read =
            self.statements().filter(|one| one.effect == "Allow" && one.is_about("es:ESHttpGet", domain));
        read.into_iter().any(|one| one.meets(&nobody) == Meets::Anybody && !one.has_condition())
    }

    fn statements(&self) -> impl Iterator<Item = &Statement> {
        match &self.statements {
            Statements::Many(many) => many.iter(),
            Statements::One(one) => std::slice::from_ref(one.as_ref()).iter(),
        }
    }
}

impl Statement {
    fn is_about(&self, action: &str, domain: &str) -> bool {
        let acts = match &self.not_action {
            Value::Null => {
                names(&self.action).any(|pattern| fits(&pattern.to_lowercase(), &action.to_lowercase()))
            }
            others => !names(others).any(|pattern| fits(&pattern.to_lowercase(), &action.to_lowercase())),
        };
        // What is searched stands below the domain: `ARN/index/_search`.
        let below = format!("{domain}/_");
        acts && (self.resource.is_null() || names(&self.resource).any(|pattern| fits(&pattern, &below)))
    }

    fn has_condition(&self) -> bool {
        self.condition.as_object().is_some_and(|conditions| !conditions.is_empty())
    }

    /// A condition may or may not hold: it is not said to deny.
    fn denies(&self, who: &Identity) -> bool {
        let named = matches!(self.meets(who), Meets::Anybody | Meets::Caller);
        named && !self.has_condition()
    }

    fn meets(&self, who: &Identity) -> Meets {
        if !self.not_principal.is_null() {
            let excepted = principals(&self.not_principal).any(|name| meets(&name, who) != Meets::Nobody);
            return if excepted { Meets::Nobody } else { Meets::Anybody };
        }
        let all: Vec<Meets> = principals(&self.principal).map(|name| meets(&name, who)).collect();
        let order = [Meets::Anybody, Meets::Caller, Meets::Account];
        order.into_iter().find(|one| all.contains(one)).unwrap_or(Meets::Nobody)
    }
}

fn meets(principal: &str, who: &Identity) -> Meets {
    if principal == "*" {
        return Meets::Anybody;
    }
    let account = principal == who.account || principal.ends_with(&format!(":iam::{}:root", who.account));
    if account && !who.account.is_empty() {
        return Meets::Account;
    }
    // A role's path stands in its own ARN and not in that of its session.
    let without_path = |arn: &str| match arn.split_once(":role/") {
        Some((start, role)) => format!("{start}:role/{}", role.rsplit('/').next().unwrap_or_default()),
        None => arn.to_owned(),
    };
    let named = who.arns().iter().any(|arn| *arn == without_path(principal) || arn == principal);
    if named { Meets::Caller } else { Meets::Nobody }
}

/// `"*"`, `{"AWS": "arn"}` or `{"AWS": ["arn", …]}`; services are no callers.
fn principals(value: &Value) -> impl Iterator<Item = String> {
    names(value.get("AWS").unwrap_or(value)).collect::<Vec<_>>().into_iter()
}

/// A name, or a list of names.
fn names(value: &Value) -> impl Iterator<Item = String> {
    let names = match value {
        Value::String(name) => vec![name.clone()],
        Value::Array(all) => all.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    };
    names.into_iter()
}

/// Does the pattern, with `*` and `?` in it, fit the text?
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut seen, mut star) = (0, 0, None);
    while seen < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(c) if *c == '?' || *c == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((starred, from)) = star else { return false };
                star = Some((starred, from + 1));
                at = starred + 1;
                seen = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DOMAIN: &str = "arn:aws:es:us-east-1:123456789012:domain/docs";

    fn role() -> Identity {
        let arn = "arn:aws:sts::123456789012:assumed-role/gateway/session".to_owned();
        Identity { arn, account: "123456789012".to_owned() }
    }

    fn verdict(statements: Value, action: &str) -> Verdict {
        let policy = json!({ "Version": "2012-10-17", "Statement": statements });
        Policy::read(&policy.to_string()).unwrap().verdict(&role(), action, DOMAIN)
    }

    fn allow(principal: Value, action: Value) -> Value {
        json!({ "Effect": "Allow", "Principal": principal, "Action": action, "Resource": format!("{DOMAIN}/*") })
    }

    #[test]
    fn a_role_is_known_by_its_own_name_and_by_its_sessions() {
        for arn in [
            "arn:aws:iam::123456789012:role/gateway",
            "arn:aws:iam::123456789012:role/with/a/path/gateway",
            "arn:aws:sts::123456789012:assumed-role/gateway/session",
            "*",
        ] {
            for principal in [json!({ "AWS": arn }), json!({ "AWS": ["arn:aws:iam::1:role/x", arn] })] {
                assert_eq!(
                    verdict(json!([allow(principal, json!("es:ESHttp*"))]), "es:ESHttpPost"),
                    Verdict::Allowed
                );
            }
        }
        let other = json!({ "AWS": "arn:aws:iam::123456789012:role/other" });
        assert_eq!(verdict(json!([allow(other, json!("es:*"))]), "es:ESHttpGet"), Verdict::Unnamed);
        assert_eq!(role().backend_role(), "arn:aws:iam::123456789012:role/gateway");
    }

    #[test]
    fn each_action_is_judged_by_itself() {
        let statements = json!(allow(json!("*"), json!(["es:eshttpget", "es:ESHttpP?st"])));
        for (action, expected) in [
            ("es:ESHttpGet", Verdict::Allowed),
            ("es:ESHttpPost", Verdict::Allowed),
            ("es:ESHttpPut", Verdict::Unnamed),
        ] {
            assert_eq!(verdict(statements.clone(), action), expected, "{action}");
        }
    }

    #[test]
    fn a_denial_wins_and_a_condition_leaves_it_open() {
        let anybody = allow(json!("*"), json!("es:*"));
        let deny = json!({ "Effect": "Deny", "Principal": "*", "Action": "es:ESHttpPut", "Resource": "*" });
        assert_eq!(verdict(json!([anybody, deny]), "es:ESHttpPut"), Verdict::Denied);
        assert_eq!(verdict(json!([anybody, deny]), "es:ESHttpGet"), Verdict::Allowed);
        let mut here = anybody.clone();
        here["Condition"] = json!({ "IpAddress": { "aws:SourceIp": ["10.0.0.0/8"] } });
        assert_eq!(verdict(json!([here]), "es:ESHttpGet"), Verdict::Conditional);
        let not = json!({ "Effect": "Deny", "NotPrincipal": { "AWS": role().backend_role() }, "Action": "es:*",
            "Resource": "*" });
        assert_eq!(verdict(json!([anybody, not]), "es:ESHttpGet"), Verdict::Allowed);
    }

    #[test]
    fn an_account_is_a_delegation_and_another_resource_is_none() {
        for account in ["arn:aws:iam::123456789012:root", "123456789012"] {
            let statements = json!([allow(json!({ "AWS": account }), json!("es:*"))]);
            assert_eq!(verdict(statements, "es:ESHttpGet"), Verdict::Delegated);
        }
        let mut elsewhere = allow(json!("*"), json!("es:*"));
        elsewhere["Resource"] = json!("arn:aws:es:us-east-1:123456789012:domain/other/*");
        assert_eq!(verdict(json!([elsewhere]), "es:ESHttpGet"), Verdict::Unnamed);
        assert_eq!(verdict(json!([]), "es:ESHttpGet"), Verdict::Unnamed);
    }

    #[test]
    fn open_to_anybody_is_told_from_open_to_some() {
        let open = |statement: Value| {
            let policy = Policy::read(&json!({ "Statement": [statement] }).to_string()).unwrap();
            policy.is_open(DOMAIN)
        };
        let anybody = allow(json!({ "AWS": "*" }), json!("es:*"));
        assert!(open(anybody.clone()));
        assert!(!open(allow(json!({ "AWS": "123456789012" }), json!("es:*"))));
        let mut here = anybody;
        here["Condition"] = json!({ "IpAddress": { "aws:SourceIp": "10.0.0.0/8" } });
        assert!(!open(here));
        assert!(Policy::read("no policy").is_none());
    }

    #[test]
    fn patterns_fit_as_in_policies() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("es:*", "es:ESHttpGet", true),
            ("*a*b", "xaxxbxb", true),
            ("*a*b", "xaxxbx", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("abc", "abcd", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
