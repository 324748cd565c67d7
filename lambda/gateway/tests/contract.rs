//! The contract that the stack reads its rules from, `contract/`, holds here too: names, values, ranges and
//! defaults of the settings, and which model a name means where.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers may fail")]

use gateway::config::Settings;
use gateway::config::retrieval::Auth;
use gateway::model::catalog::Catalog;
use serde::Deserialize;
use std::collections::BTreeSet;

#[derive(Deserialize)]
struct Contract {
    settings: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    name: String,
    readers: Vec<String>,
    kind: String,
    default: String,
    #[serde(default)]
    values: Vec<String>,
    min: Option<f64>,
    max: Option<f64>,
    #[serde(default)]
    fraction: bool,
}

#[derive(Deserialize)]
struct Models {
    choices: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    asked: String,
    region: String,
    invoked: Option<String>,
}

#[derive(Deserialize)]
struct Endpoints {
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    endpoint: String,
    signed_for: Option<String>,
}

impl Rule {
    /// Values that fit: all of a choice, both ends of a range.
    fn fitting(&self) -> Vec<String> {
        let ends = self.min.into_iter().chain(self.max).map(|end| end.to_string());
        self.values.iter().cloned().chain(ends).collect()
    }

    /// Values that do not.
    fn unfit(&self) -> Vec<String> {
        let step = if self.fraction { 0.5 } else { 1.0 };
        match (self.kind.as_str(), self.min, self.max) {
            ("choice", ..) => vec!["perhaps".into()],
            ("number", Some(min), Some(max)) => {
                let around = [(min - step).to_string(), (max + step).to_string(), "many".into()];
                let part = if self.fraction { None } else { Some((min + 0.5).to_string()) };
                around.into_iter().chain(part).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The settings that the gateway reads.
fn rules() -> Vec<Rule> {
    let contract: Contract = serde_json::from_str(include_str!("../../../contract/settings.json")).unwrap();
    contract
        .settings
        .into_iter()
        .filter(|rule| rule.readers.iter().any(|reader| reader == "gateway"))
        .collect()
}

/// The names that `config.rs` and its folder read.
fn read_names() -> BTreeSet<String> {
    let sources = [include_str!("../src/config.rs"), include_str!("../src/config/retrieval.rs")];
    let raw = sources.map(|source| source.split("struct Raw {").nth(1).unwrap().split('}').next().unwrap());
    let fields = raw.iter().flat_map(|raw| raw.lines()).filter_map(|line| line.split_once(':'));
    fields.map(|(name, _)| name.trim().to_uppercase()).collect()
}

fn read(name: &str, value: &str) -> Result<Settings, Vec<String>> {
    let own = [(name.to_owned(), value.to_owned())];
    Settings::from_vars(around(name).into_iter().filter(|(around, _)| around != name).chain(own))
}

/// What a setting needs beside it to mean something.
fn around(name: &str) -> Vec<(String, String)> {
    let search = [
        ("OPENSEARCH_DOMAIN_ENDPOINT", "https://search-docs.us-east-1.es.amazonaws.com"),
        ("OPENSEARCH_USERNAME", "someone"),
        ("OPENSEARCH_PASSWORD", "secret"),
        ("OPENSEARCH_AUTH", "iam"),
    ];
    let wanted = search.iter().filter(|_| name.starts_with("OPENSEARCH_"));
    wanted.map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// The settings whose rules `config.rs` holds.
fn held() -> Vec<Rule> {
    let names = read_names();
    rules().into_iter().filter(|rule| names.contains(&rule.name)).collect()
}

#[test]
fn every_setting_that_is_read_is_in_the_contract() {
    let stated: BTreeSet<String> = rules().into_iter().map(|rule| rule.name).collect();
    // These are AWS's own: Lambda sets them, or a person for every SDK.
    let ours = read_names().into_iter().filter(|name| !name.starts_with("AWS_") || name == "AWS_CA_BUNDLE");
    let unstated: Vec<String> = ours.filter(|name| !stated.contains(name)).collect();
    assert!(unstated.is_empty(), "not in contract/settings.json: {unstated:?}");
}

#[test]
fn every_setting_of_the_contract_is_read() {
    let names = read_names();
    // The log's filter is read before there are settings.
    let elsewhere = |name: &str| name == "LLM_GATEWAY_LOG";
    let unread: Vec<String> = rules()
        .into_iter()
        .map(|rule| rule.name)
        .filter(|name| !names.contains(name) && !elsewhere(name))
        .collect();
    assert!(unread.is_empty(), "not in config.rs: {unread:?}");
}

#[test]
fn what_the_contract_lets_pass_passes_and_makes_a_difference() {
    for rule in held() {
        let fitting = rule.fitting();
        for value in &fitting {
            assert!(read(&rule.name, value).is_ok(), "{}={value}: {:?}", rule.name, read(&rule.name, value));
        }
        let nothing = Settings::from_vars(around(&rule.name)).unwrap();
        let tells = fitting.iter().any(|value| read(&rule.name, value).unwrap() != nothing);
        assert!(fitting.is_empty() || tells, "{} is read and makes no difference", rule.name);
    }
}

#[test]
fn what_the_contract_refuses_is_refused_by_one_sentence_that_names_it() {
    for rule in held() {
        for value in rule.unfit() {
            let wrong = read(&rule.name, &value).expect_err(&format!("{}={value} passes", rule.name));
            assert!(wrong.len() == 1 && wrong[0].contains(&rule.name), "{}={value}: {wrong:?}", rule.name);
        }
    }
}

#[test]
fn a_default_of_the_contract_is_what_holds_where_nothing_is_said() {
    let stated = held().into_iter().filter(|rule| !rule.default.is_empty());
    // Where a deployment is made: on one machine AWS's own variable says it.
    for rule in stated.filter(|rule| rule.name != "REGION_ID") {
        let nothing = Settings::from_vars(around(&rule.name));
        assert_eq!(read(&rule.name, &rule.default), nothing, "{}={}", rule.name, rule.default);
    }
}

#[test]
fn a_name_means_the_same_model_in_each_region_as_it_does_to_the_stack() {
    let models: Models = serde_json::from_str(include_str!("../../../contract/models.json")).unwrap();
    let catalog = Catalog::load().unwrap();
    assert!(!models.choices.is_empty());
    for case in models.choices {
        let chosen = catalog.choose(&case.asked, &case.region).map(|choice| choice.invoke_id);
        assert_eq!(chosen, case.invoked, "{} in {}", case.asked, case.region);
    }
}

#[test]
fn requests_to_an_endpoint_are_signed_for_the_service_that_the_stack_permits() {
    let cases: Endpoints = serde_json::from_str(include_str!("../../../contract/endpoints.json")).unwrap();
    assert!(!cases.endpoints.is_empty());
    for case in cases.endpoints {
        let own = [("OPENSEARCH_DOMAIN_ENDPOINT".to_owned(), case.endpoint.clone())];
        let found = Settings::from_vars(own).unwrap().retrieval.opensearch.unwrap();
        let service = match found.auth {
            Auth::Iam(service) => Some(service.name()),
            _ => None,
        };
        assert_eq!(service, case.signed_for.as_deref(), "{}", case.endpoint);
    }
}
