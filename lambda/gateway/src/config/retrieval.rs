//! The settings of retrieval, and of the OpenSearch that it may search.

use super::wrong::Wrong;
use crate::chat::{Condition, Filter};
use crate::retrieval::Mode;
use http::Uri;
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

/// How passages are searched. Field docs name the setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Retrieval {
    /// `RETRIEVAL_TIMEOUT_MS`: past it the answer comes without passages.
    pub timeout: Duration,
    /// `RETRIEVAL_K`: passages a question gets at most.
    pub k: usize,
    /// `RETRIEVAL_MODE`: `hybrid`, `vector` or `text`.
    pub mode: Mode,
    /// `RETRIEVAL_MIN_SCORE`: passages below it are left out.
    pub min_score: Option<f32>,
    /// `RETRIEVAL_FILTER`: `field=value` pairs behind commas, all of which a passage must fulfil; values
    /// of one field are alternatives.
    pub filter: Filter,
    /// `EMBEDDINGS_MODEL`: makes the vectors; unset is the catalog's.
    pub embeddings_model: Option<String>,
    /// `OPENSEARCH_…`, where `OPENSEARCH_DOMAIN_ENDPOINT` is set.
    pub opensearch: Option<OpenSearch>,
}

/// An OpenSearch index and the way to it.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenSearch {
    /// `OPENSEARCH_DOMAIN_ENDPOINT`: `https://HOST` or `http://HOST:PORT`, without a slash at its end.
    pub endpoint: String,
    /// `OPENSEARCH_INDEX`: an index, or an alias of some.
    pub index: String,
    /// `OPENSEARCH_AUTH`: how requests prove whose they are.
    pub auth: Auth,
    /// `OPENSEARCH_TEXT_FIELD`, `OPENSEARCH_VECTOR_FIELD`, `OPENSEARCH_METADATA_FIELD`.
    pub fields: FieldNames,
}

/// Where a document keeps what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldNames {
    /// The passage's text.
    pub text: String,
    /// Its vector.
    pub vector: String,
    /// Everything else about it.
    pub metadata: String,
}

/// How requests prove whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Signed with the machine's or function's AWS credentials.
    Iam(Service),
    /// `OPENSEARCH_USERNAME` and `OPENSEARCH_PASSWORD`.
    Basic {
        /// The user.
        username: String,
        /// Its password.
        password: Secret,
    },
    /// Not at all.
    None,
}

/// `OPENSEARCH_SERVICE`: what a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `es`: a domain of Amazon OpenSearch Service.
    Domain,
    /// `aoss`: a collection of Amazon OpenSearch Serverless.
    Serverless,
}

impl Service {
    /// The name that requests are signed for.
    pub fn name(self) -> &'static str {
        match self {
            Service::Domain => "es",
            Service::Serverless => "aoss",
        }
    }
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The environment's own form.
#[derive(Deserialize, Default)]
pub struct Raw {
    retrieval_timeout_ms: Option<String>,
    retrieval_k: Option<String>,
    retrieval_mode: Option<String>,
    retrieval_min_score: Option<String>,
    retrieval_filter: Option<String>,
    embeddings_model: Option<String>,
    opensearch_domain_endpoint: Option<String>,
    opensearch_index: Option<String>,
    opensearch_auth: Option<String>,
    opensearch_username: Option<String>,
    opensearch_password: Option<String>,
    opensearch_service: Option<String>,
    opensearch_text_field: Option<String>,
    opensearch_vector_field: Option<String>,
    opensearch_metadata_field: Option<String>,
}

impl Raw {
    /// The settings, and the sentences about those that are wrong.
    pub fn read(mut self, wrong: &mut Wrong) -> Retrieval {
        let modes = [("hybrid", Mode::Hybrid), ("vector", Mode::Vector), ("text", Mode::Text)];
        Retrieval {
            timeout: wrong.millis(
                "RETRIEVAL_TIMEOUT_MS",
                self.retrieval_timeout_ms.take(),
                2_000,
                1..=60_000,
            ),
            k: wrong.number("RETRIEVAL_K", self.retrieval_k.take(), 4, 1..=50),
            mode: wrong.one_of("RETRIEVAL_MODE", self.retrieval_mode.take(), modes).unwrap_or_default(),
            min_score: wrong.score(self.retrieval_min_score.take()),
            filter: wrong.filter(self.retrieval_filter.take()),
            embeddings_model: self.embeddings_model.take(),
            opensearch: self.opensearch(wrong),
        }
    }

    fn opensearch(self, wrong: &mut Wrong) -> Option<OpenSearch> {
        let url = self.opensearch_domain_endpoint?;
        let (endpoint, host) = wrong.endpoint(&url)?;
        let aws = is_aws(&host);
        let services = [("es", Service::Domain), ("aoss", Service::Serverless)];
        let by_name = if host.contains(".aoss.") { Service::Serverless } else { Service::Domain };
        let service =
            wrong.one_of("OPENSEARCH_SERVICE", self.opensearch_service, services).unwrap_or(by_name);
        let user = self.opensearch_username.is_some();
        let ways = [("iam", Way::Iam), ("basic", Way::Basic), ("none", Way::None)];
        let way = wrong.one_of("OPENSEARCH_AUTH", self.opensearch_auth, ways);
        let by_what_is_set = match (user, aws) {
            (true, _) => Way::Basic,
            (false, true) => Way::Iam,
            (false, false) => Way::None,
        };
        let auth = match way.unwrap_or(by_what_is_set) {
            Way::Iam => Auth::Iam(service),
            Way::Basic => wrong.basic(self.opensearch_username, self.opensearch_password),
            Way::None => Auth::None,
        };
        let mut name = |name: &str, text: Option<String>, default: &str| {
            wrong.field_name(name, text.unwrap_or_else(|| default.to_owned()))
        };
        let fields = FieldNames {
            text: name("OPENSEARCH_TEXT_FIELD", self.opensearch_text_field, "text"),
            vector: name("OPENSEARCH_VECTOR_FIELD", self.opensearch_vector_field, "vector_field"),
            metadata: name("OPENSEARCH_METADATA_FIELD", self.opensearch_metadata_field, "metadata"),
        };
        let index = wrong.index(self.opensearch_index.unwrap_or_else(|| "llm-gateway".to_owned()));
        Some(OpenSearch { endpoint, index, auth, fields })
    }
}

/// Is it a name of AWS's own? `on.aws` is what endpoints for IPv6 are called.
fn is_aws(host: &str) -> bool {
    [".amazonaws.com", ".amazonaws.com.cn", ".on.aws"].iter().any(|end| host.ends_with(end))
}

#[derive(Clone, Copy)]
enum Way {
    Iam,
    Basic,
    None,
}

impl Wrong {
    fn score(&mut self, text: Option<String>) -> Option<f32> {
        let text = text?;
        let score = text.trim().parse::<f32>().ok().filter(|score| (0.0..=1_000.0).contains(score));
        if score.is_none() {
            self.0.push(format!("RETRIEVAL_MIN_SCORE must be a number from 0 to 1000, not \"{text}\"."));
        }
        score
    }

    fn filter(&mut self, text: Option<String>) -> Filter {
        let mut filter = Filter::default();
        for pair in text.as_deref().unwrap_or_default().split(',').filter(|pair| !pair.trim().is_empty()) {
            match pair.split_once('=').map(|(field, value)| (field.trim(), value.trim())) {
                Some((field, value)) if !field.is_empty() && !value.is_empty() => filter.allow(field, value),
                _ => self.0.push(format!(
                    "RETRIEVAL_FILTER must be field=value pairs behind commas, such as lang=en,team=a; \
                     \"{}\" is none.",
                    pair.trim()
                )),
            }
        }
        filter
    }

    /// The endpoint without a slash at its end, and its host.
    fn endpoint(&mut self, url: &str) -> Option<(String, String)> {
        // The console and CloudFormation give a domain's endpoint without `https://`.
        let url = url.trim();
        let whole = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
        let uri = whole.trim_end_matches('/').parse::<Uri>().ok();
        let uri = uri.filter(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.path().trim_end_matches('/').is_empty()
                && uri.query().is_none()
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        });
        let Some((scheme, authority)) = uri.as_ref().and_then(|uri| uri.scheme_str().zip(uri.authority()))
        else {
            // What was set is not repeated: a password may stand in it.
            self.0.push(
                "OPENSEARCH_DOMAIN_ENDPOINT must be an address such as \
                 https://search-docs.us-east-1.es.amazonaws.com or http://127.0.0.1:9200, without a path; \
                 a user and password have settings of their own, OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD."
                    .to_owned(),
            );
            return None;
        };
        let host = authority.host().to_ascii_lowercase();
        if scheme == "http" && is_aws(&host) {
            self.0.push(format!("OPENSEARCH_DOMAIN_ENDPOINT: {host} is on AWS. Write https:// before it."));
        }
        Some((format!("{scheme}://{authority}"), host))
    }

    fn basic(&mut self, username: Option<String>, password: Option<String>) -> Auth {
        if username.is_none() || password.is_none() {
            let sentence = "OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD go together: set both, or OPENSEARCH_AUTH \
                            to \"iam\" or \"none\".";
            self.0.push(sentence.to_owned());
        }
        if username.as_ref().is_some_and(|name| name.contains(':')) {
            self.0.push(
                "OPENSEARCH_USERNAME must not hold a colon: basic authentication ends it there.".to_owned(),
            );
        }
        Auth::Basic { username: username.unwrap_or_default(), password: Secret(password.unwrap_or_default()) }
    }

    fn index(&mut self, name: String) -> String {
        let odd =
            |c: char| c.is_uppercase() || c.is_whitespace() || c.is_control() || "\\/*?\"<>|,#:%".contains(c);
        let wrong = name.starts_with(['_', '-', '+', '.']) || name.contains(odd) || name.len() > 255;
        if wrong {
            self.0.push(format!(
                "OPENSEARCH_INDEX must be the name of one index or alias (lower case, no spaces, none of \
                 \\ / * ? \" < > | , # : %, no _ - + . at its beginning), not \"{name}\"."
            ));
        }
        name
    }

    fn field_name(&mut self, setting: &str, name: String) -> String {
        let odd = |c: char| c.is_whitespace() || c.is_control() || "*,\"\\".contains(c);
        if name.starts_with(['_', '.']) || name.ends_with('.') || name.contains(odd) || name.len() > 255 {
            self.0.push(format!(
                "{setting} must be the name of a field (no spaces, no * , \" \\, no _ or . at its beginning), \
                 not \"{name}\"."
            ));
        }
        name
    }
}

impl Filter {
    /// One more value that the field may have.
    fn allow(&mut self, field: &str, value: &str) {
        match self.0.iter_mut().find(|condition| condition.field == field) {
            Some(condition) => condition.any_of.push(value.to_owned()),
            None => self.0.push(Condition { field: field.to_owned(), any_of: vec![value.to_owned()] }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    const AWS: &str = "https://search-docs.us-east-1.es.amazonaws.com";

    fn read(vars: &[(&str, &str)]) -> Result<Retrieval, Vec<String>> {
        let vars = vars.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Settings::from_vars(vars).map(|settings| settings.retrieval)
    }

    fn opensearch(vars: &[(&str, &str)]) -> OpenSearch {
        read(vars).unwrap().opensearch.unwrap()
    }

    #[test]
    fn an_endpoint_alone_is_enough() {
        let found = opensearch(&[("OPENSEARCH_DOMAIN_ENDPOINT", AWS)]);
        assert_eq!((found.endpoint.as_str(), found.index.as_str()), (AWS, "llm-gateway"));
        assert_eq!(found.auth, Auth::Iam(Service::Domain));
        assert_eq!(
            [&found.fields.text, &found.fields.vector, &found.fields.metadata],
            ["text", "vector_field", "metadata"]
        );
        for (endpoint, auth) in [
            ("abc.us-east-1.aoss.amazonaws.com/", Auth::Iam(Service::Serverless)),
            ("search-docs.us-east-1.es.amazonaws.com", Auth::Iam(Service::Domain)),
            ("http://127.0.0.1:9200/", Auth::None),
        ] {
            assert_eq!(opensearch(&[("OPENSEARCH_DOMAIN_ENDPOINT", endpoint)]).auth, auth, "{endpoint}");
        }
        assert_eq!(read(&[]).unwrap().opensearch, None);
    }

    #[test]
    fn what_is_set_wins_over_what_the_host_suggests() {
        let found = opensearch(&[
            ("OPENSEARCH_DOMAIN_ENDPOINT", "https://docs.example.com"),
            ("OPENSEARCH_AUTH", "IAM"),
            ("OPENSEARCH_SERVICE", "aoss"),
            ("OPENSEARCH_TEXT_FIELD", "body"),
        ]);
        assert_eq!(found.auth, Auth::Iam(Service::Serverless));
        assert_eq!(found.fields.text, "body");
    }

    #[test]
    fn a_password_is_never_shown() {
        let found = opensearch(&[
            ("OPENSEARCH_DOMAIN_ENDPOINT", AWS),
            ("OPENSEARCH_USERNAME", "reader"),
            ("OPENSEARCH_PASSWORD", "hunter2"),
        ]);
        assert!(
            matches!(&found.auth, Auth::Basic { username, password } if username == "reader" && password.0 == "hunter2")
        );
        assert!(!format!("{found:?}").contains("hunter2"));
        let wrong =
            read(&[("OPENSEARCH_DOMAIN_ENDPOINT", "https://reader:hunter2@docs.example.com")]).unwrap_err();
        assert!(wrong[0].contains("OPENSEARCH_PASSWORD") && !wrong[0].contains("hunter2"));
    }

    #[test]
    fn a_filter_is_pairs_and_one_fields_values_are_alternatives() {
        let filter = read(&[("RETRIEVAL_FILTER", "lang=en, team=a,team=b=c,")]).unwrap().filter;
        let conditions: Vec<(&str, Vec<&str>)> = filter
            .0
            .iter()
            .map(|one| (one.field.as_str(), one.any_of.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(conditions, [("lang", vec!["en"]), ("team", vec!["a", "b=c"])]);
    }

    #[test]
    fn each_wrong_value_has_a_sentence_that_names_its_setting() {
        for (name, value) in [
            ("OPENSEARCH_DOMAIN_ENDPOINT", "ftp://docs.example.com"),
            ("OPENSEARCH_DOMAIN_ENDPOINT", "https://docs.example.com/path"),
            ("OPENSEARCH_DOMAIN_ENDPOINT", "http://search-docs.us-east-1.es.amazonaws.com"),
            ("OPENSEARCH_DOMAIN_ENDPOINT", "two words"),
            ("OPENSEARCH_INDEX", "Docs"),
            ("OPENSEARCH_INDEX", "a,b"),
            ("OPENSEARCH_INDEX", "docs*"),
            ("OPENSEARCH_AUTH", "token"),
            ("OPENSEARCH_AUTH", "basic"),
            ("OPENSEARCH_USERNAME", "reader"),
            ("OPENSEARCH_SERVICE", "opensearch"),
            ("OPENSEARCH_TEXT_FIELD", "_source"),
            ("OPENSEARCH_VECTOR_FIELD", "a*"),
            ("OPENSEARCH_METADATA_FIELD", "a b"),
            ("RETRIEVAL_MODE", "semantic"),
            ("RETRIEVAL_MIN_SCORE", "-1"),
            ("RETRIEVAL_MIN_SCORE", "NaN"),
            ("RETRIEVAL_FILTER", "lang"),
            ("RETRIEVAL_FILTER", "lang="),
            ("RETRIEVAL_K", "0"),
            ("RETRIEVAL_TIMEOUT_MS", "never"),
        ] {
            let with_endpoint = [("OPENSEARCH_DOMAIN_ENDPOINT", AWS), (name, value)];
            let from = usize::from(name == "OPENSEARCH_DOMAIN_ENDPOINT");
            let wrong = read(&with_endpoint[from..]).unwrap_err();
            assert!(
                wrong.len() == 1 && wrong[0].contains(name) && wrong[0].ends_with('.'),
                "{name}: {wrong:?}"
            );
        }
    }
}
