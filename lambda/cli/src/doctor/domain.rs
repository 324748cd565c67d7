//! What AWS says of a domain, judged.

use super::report::Finding;
use crate::domain::Domain;
use crate::domain::policy::{Identity, Policy, Verdict};

/// What the gateway and `index` do, as the access policy calls it, and for whom.
const ACTIONS: [(&str, &str); 3] =
    [("es:ESHttpGet", "search"), ("es:ESHttpPost", "search and index"), ("es:ESHttpPut", "make an index")];

/// The lines about a domain; `who` is whose credentials these are, where that is known.
pub fn judge(domain: &Domain, who: Option<&Identity>, endpoint: Option<&str>) -> Vec<Finding> {
    let mut findings = vec![state(domain), engine(domain)];
    findings.extend(address(domain, endpoint));
    findings.push(access(domain, who));
    findings.push(fine_grained(domain, who));
    findings.push(encryption(domain));
    findings
}

fn state(domain: &Domain) -> Finding {
    match (domain.reachable(), &domain.busy) {
        (Err(sentence), _) => Finding::wrong("domain", sentence),
        (Ok(endpoint), None) => Finding::ok("domain", format!("{} is ready at {endpoint}", domain.name)),
        (Ok(endpoint), Some(busy)) => {
            Finding::note("domain", format!("{} is {busy}, and at {endpoint} meanwhile", domain.name))
        }
    }
}

/// Hybrid searches with a depth came with 2.19. What the server can do is tried by a search; this explains it.
fn engine(domain: &Domain) -> Finding {
    let engine = &domain.engine;
    let version = engine.strip_prefix("OpenSearch_").and_then(|version| version.split_once('.'));
    let version =
        version.and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    match version {
        Some(version) if version >= (2, 19) => Finding::ok("engine", engine.clone()),
        Some(_) => {
            Finding::note("engine", format!("{engine} is older than 2.19: hybrid searches are merged here"))
        }
        None => Finding::wrong(
            "engine",
            format!("{engine} is no OpenSearch. Upgrade the domain to OpenSearch 2.19 or later."),
        ),
    }
}

/// The gateway's setting and the domain may be two.
fn address(domain: &Domain, endpoint: Option<&str>) -> Option<Finding> {
    let (set, is) = (endpoint?, domain.endpoint.as_deref()?);
    (set != is).then(|| {
        Finding::note(
            "endpoint",
            format!("OPENSEARCH_DOMAIN_ENDPOINT is {set}, and the domain's own endpoint is {is}"),
        )
    })
}

fn access(domain: &Domain, who: Option<&Identity>) -> Finding {
    let what = "access policy";
    let Some(policy) = domain.policy.as_deref() else {
        return Finding::note(what, "there is none: your own IAM policies decide");
    };
    let Some(policy) = Policy::read(policy) else {
        return Finding::note(what, "it cannot be read here; what it allows is seen below");
    };
    if policy.is_open(&domain.arn) && !domain.in_vpc && !domain.fine_grained {
        return Finding::wrong(
            what,
            "it lets anybody on the internet in. Name the roles that may call, or turn fine-grained access \
             control on.",
        );
    }
    let Some(who) = who else { return Finding::note(what, "whom it is to allow is not known") };
    let judged = ACTIONS.map(|(action, does)| (action, does, policy.verdict(who, action, &domain.arn)));
    let those = |verdict: Verdict| -> Vec<String> {
        let of = judged.iter().filter(|(.., found)| *found == verdict);
        of.map(|(action, does, _)| format!("{action} (to {does})")).collect()
    };
    let (denied, unnamed) = (those(Verdict::Denied), those(Verdict::Unnamed));
    if !denied.is_empty() {
        return Finding::wrong(
            what,
            format!("it denies {} to {}. Change the statement that does.", denied.join(", "), who.arn),
        );
    }
    if !unnamed.is_empty() {
        return Finding::note(
            what,
            format!(
                "it does not allow {} to {}: an IAM policy of yours has to, or add a statement for {}",
                unnamed.join(", "),
                who.arn,
                who.backend_role()
            ),
        );
    }
    let open = judged.iter().any(|(.., found)| *found != Verdict::Allowed);
    match open {
        true => {
            Finding::note(what, "it leaves what you may do to conditions, or to IAM policies of the account")
        }
        false => Finding::ok(what, format!("it lets {} search and index", who.arn)),
    }
}

fn fine_grained(domain: &Domain, who: Option<&Identity>) -> Finding {
    let what = "fine-grained access";
    let role = who.map_or("the role that calls".to_owned(), Identity::backend_role);
    match domain.fine_grained {
        true => Finding::note(
            what,
            format!(
                "it is on: besides the access policy, {role} and the roles of the functions must be mapped, as \
                 backend roles, to a role of the domain's that may read the index, and to index write it. The \
                 README says how."
            ),
        ),
        false => Finding::note(what, "it is off: the access policy alone decides"),
    }
}

fn encryption(domain: &Domain) -> Finding {
    let lacks = [
        (domain.https_only, "HTTPS is not enforced"),
        (domain.encrypted, "data is not encrypted at rest"),
        (domain.encrypted_between, "nodes speak to each other unencrypted"),
    ];
    let lacks: Vec<&str> = lacks.iter().filter(|(has, _)| !has).map(|(_, lack)| *lack).collect();
    match lacks.is_empty() {
        true => Finding::ok("encryption", "HTTPS is enforced; at rest and between the nodes"),
        false => {
            Finding::note("encryption", format!("{}; the domain's settings can turn it on", lacks.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::State;
    use super::*;
    use serde_json::json;

    fn domain() -> Domain {
        Domain {
            name: "docs".into(),
            arn: "arn:aws:es:us-east-1:123456789012:domain/docs".into(),
            endpoint: Some("https://search-docs.us-east-1.es.amazonaws.com".into()),
            engine: "OpenSearch_2.19".into(),
            policy: Some(policy("es:ESHttp*", &json!({ "AWS": "arn:aws:iam::123456789012:user/me" }))),
            fine_grained: true,
            https_only: true,
            encrypted: true,
            encrypted_between: true,
            ..Domain::default()
        }
    }

    fn policy(action: &str, principal: &serde_json::Value) -> String {
        json!({ "Statement": [{ "Effect": "Allow", "Principal": principal, "Action": action,
            "Resource": "arn:aws:es:us-east-1:123456789012:domain/docs/*" }] })
        .to_string()
    }

    fn me() -> Identity {
        Identity { arn: "arn:aws:iam::123456789012:user/me".into(), account: "123456789012".into() }
    }

    fn finding(domain: &Domain, what: &str) -> Finding {
        let findings = judge(domain, Some(&me()), domain.endpoint.as_deref());
        findings.into_iter().find(|finding| finding.what == what).unwrap()
    }

    fn check(domain: &Domain, what: &str, state: State, word: &str) {
        let finding = finding(domain, what);
        assert!(finding.state == state && finding.says.contains(word), "{finding:?}");
    }

    #[test]
    fn a_domain_in_order_has_nothing_to_mend() {
        let findings = judge(&domain(), Some(&me()), None);
        assert!(findings.iter().all(|finding| finding.state != State::Wrong), "{findings:?}");
        check(&domain(), "domain", State::Ok, "ready");
        check(&domain(), "access policy", State::Ok, "search and index");
        check(&domain(), "fine-grained access", State::Note, "user/me");
        check(&domain(), "encryption", State::Ok, "at rest");
    }

    #[test]
    fn a_domain_that_cannot_be_called_says_why() {
        let making = Domain { endpoint: None, busy: Some("creating".into()), ..domain() };
        check(&making, "domain", State::Wrong, "no endpoint yet");
        check(&Domain { leaving: true, ..domain() }, "domain", State::Wrong, "deleted");
        check(&Domain { busy: Some("modifying".into()), ..domain() }, "domain", State::Note, "modifying");
    }

    #[test]
    fn engines_that_are_too_old_or_other_are_told() {
        check(&Domain { engine: "Elasticsearch_7.10".into(), ..domain() }, "engine", State::Wrong, "Upgrade");
        check(&Domain { engine: "OpenSearch_1.3".into(), ..domain() }, "engine", State::Note, "older");
        check(&Domain { engine: "OpenSearch_3.1".into(), ..domain() }, "engine", State::Ok, "3.1");
    }

    #[test]
    fn what_the_policy_lacks_is_named() {
        let mine = json!({ "AWS": me().arn });
        let reads = Domain { policy: Some(policy("es:ESHttpGet", &mine)), ..domain() };
        check(&reads, "access policy", State::Note, "es:ESHttpPost (to search and index), es:ESHttpPut");
        let open = Domain { policy: Some(policy("es:*", &json!("*"))), fine_grained: false, ..domain() };
        check(&open, "access policy", State::Wrong, "anybody");
        check(&Domain { in_vpc: true, ..open }, "access policy", State::Ok, "user/me");
        let account = Domain { policy: Some(policy("es:*", &json!({ "AWS": "123456789012" }))), ..domain() };
        check(&account, "access policy", State::Note, "IAM policies");
        check(&Domain { policy: None, ..domain() }, "access policy", State::Note, "IAM");
        let denies = json!({ "Statement": [{ "Effect": "Deny", "Principal": "*", "Action": "es:*", "Resource": "*" }] });
        check(
            &Domain { policy: Some(denies.to_string()), ..domain() },
            "access policy",
            State::Wrong,
            "denies",
        );
    }

    #[test]
    fn another_endpoint_in_the_settings_is_told() {
        let findings = judge(&domain(), None, Some("https://search-other.us-east-1.es.amazonaws.com"));
        assert!(
            findings
                .iter()
                .any(|finding| finding.what == "endpoint" && finding.says.contains("search-other"))
        );
    }

    #[test]
    fn what_is_not_encrypted_is_told() {
        check(
            &Domain { https_only: false, encrypted: false, ..domain() },
            "encryption",
            State::Note,
            "at rest",
        );
    }
}
