//! The settings, read once. Only this file reads the environment, and only through the iterator
//! that `main` hands in. A wrong value stops the start with a sentence that names the setting.

pub mod retrieval;
mod wrong;

use retrieval::Retrieval;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use wrong::Wrong;

/// What the gateway does where there is a choice. Field docs name the setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `DEFAULT_MODEL`: answers requests that name none.
    pub default_model: Option<String>,
    /// `ALLOWED_MODELS`: comma-separated ids; empty allows the whole catalog.
    pub allowed_models: Vec<String>,
    /// `DEFAULT_MAX_TOKENS`.
    pub default_max_tokens: u32,
    /// `DEFAULT_TEMP`: 0 to 1; unset leaves it to the model.
    pub default_temp: Option<f32>,
    /// `CACHE_SCOPE=shared`: learned answers answer every caller.
    pub cache_shared: bool,
    /// `ANSWER_CACHE=off`: no answer is looked up or learned.
    pub answer_cache: bool,
    /// `SINGLE_FLIGHT=off`: of identical questions asked of several processes at once each asks the model.
    pub single_flight: bool,
    /// `ON_DISCONNECT=stop`: a client that vanishes stops its reply.
    pub stop_on_disconnect: bool,
    /// `PUSH_INTERVAL_MS`: least time between two frames of one reply after the first.
    pub push_interval: Duration,
    /// `MAX_RUNNING_PER_CALLER`: running replies a caller may have; unset is no cap.
    pub max_running_per_caller: Option<usize>,
    /// `ALLOWED_ORIGINS`: comma-separated origins of web pages that may call.
    pub allowed_origins: Vec<String>,
    /// `REGION_ID`, else `AWS_REGION`: Bedrock's region; picks geographic inference profiles.
    pub region: Option<String>,
    /// `AWS_CA_BUNDLE`: a PEM file whose certificates are trusted besides Amazon's roots.
    pub ca_bundle: Option<PathBuf>,
    /// `RETRIEVAL_…`, `OPENSEARCH_…`, `EMBEDDINGS_MODEL`.
    pub retrieval: Retrieval,
    /// `JOBS_CONCURRENCY`: jobs worked off at once.
    pub jobs_concurrency: usize,
    /// `JOBS_QUEUE_URL`: the SQS queue of the jobs.
    pub jobs_queue: Option<String>,
    /// `LEASE_SECONDS`: how long a reply or job whose process says nothing counts as running.
    pub lease: Option<Duration>,
    /// `CALLER_SESSION=true`: a role's session is a caller of its own.
    pub caller_session: bool,
    /// `ANSWERS_TABLE` and `STATE_TABLE`: the store's two DynamoDB tables.
    pub tables: Option<(String, String)>,
    /// `CALLBACK_URL`, else `AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI`: the WebSocket API's
    /// `https://…/stage`, where frames are pushed to.
    pub callback_url: Option<String>,
    /// `ROLE`: what the `rest` function is.
    pub role: Role,
}

/// What the `rest` function is: one binary, three functions of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It answers HTTP.
    Api,
    /// It works off the job queue.
    Worker,
    /// It authorizes requests that carry a bearer key.
    Authorizer,
}

const ROLES: [(&str, Role); 3] =
    [("api", Role::Api), ("worker", Role::Worker), ("authorizer", Role::Authorizer)];

/// The environment's own form: everything text, so that one place words the errors.
#[derive(Deserialize, Default)]
struct Raw {
    default_model: Option<String>,
    allowed_models: Option<String>,
    default_max_tokens: Option<String>,
    default_temp: Option<String>,
    cache_scope: Option<String>,
    answer_cache: Option<String>,
    single_flight: Option<String>,
    on_disconnect: Option<String>,
    push_interval_ms: Option<String>,
    max_running_per_caller: Option<String>,
    allowed_origins: Option<String>,
    region_id: Option<String>,
    aws_region: Option<String>,
    aws_ca_bundle: Option<String>,
    jobs_concurrency: Option<String>,
    jobs_queue_url: Option<String>,
    lease_seconds: Option<String>,
    caller_session: Option<String>,
    answers_table: Option<String>,
    state_table: Option<String>,
    callback_url: Option<String>,
    aws_endpoint_url_apigatewaymanagementapi: Option<String>,
    role: Option<String>,
    aws_lambda_function_name: Option<String>,
}

/// How long a reply or job that stopped writing counts as running, where other processes see only its row.
const SHARED_LEASE: Duration = Duration::from_secs(60);

impl Settings {
    /// The lease where several processes share the store.
    pub fn shared_lease(&self) -> Duration {
        self.lease.unwrap_or(SHARED_LEASE)
    }

    /// Reads the settings from name–value pairs (`std::env::vars()` in `main`).
    ///
    /// # Errors
    /// One sentence a wrong setting, all of them at once.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Settings, Vec<String>> {
        // An empty value is an unset one: `export $(cat .env | xargs)` sets empty strings.
        let vars: Vec<_> = vars.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
        let unread = |error| vec![format!("The settings cannot be read: {error}.")];
        let raw: Raw = envy::from_iter(vars.iter().cloned()).map_err(unread)?;
        let searched: retrieval::Raw = envy::from_iter(vars).map_err(unread)?;
        let mut wrong = Wrong::default();
        // Each push costs money on AWS and nothing here.
        let push_interval = if raw.aws_lambda_function_name.is_some() { 100 } else { 0 };
        let settings = Settings {
            default_model: raw.default_model,
            allowed_models: list(raw.allowed_models),
            default_max_tokens: wrong.number(
                "DEFAULT_MAX_TOKENS",
                raw.default_max_tokens,
                4096,
                1..=1_000_000,
            ),
            default_temp: wrong.fraction("DEFAULT_TEMP", raw.default_temp, "no model takes more"),
            cache_shared: wrong.choice("CACHE_SCOPE", raw.cache_scope, ["caller", "shared"]),
            answer_cache: !wrong.choice("ANSWER_CACHE", raw.answer_cache, ["on", "off"]),
            single_flight: !wrong.choice("SINGLE_FLIGHT", raw.single_flight, ["on", "off"]),
            stop_on_disconnect: wrong.choice("ON_DISCONNECT", raw.on_disconnect, ["finish", "stop"]),
            push_interval: wrong.millis("PUSH_INTERVAL_MS", raw.push_interval_ms, push_interval, 0..=10_000),
            max_running_per_caller: wrong.optional(
                "MAX_RUNNING_PER_CALLER",
                raw.max_running_per_caller,
                1..=1_000_000,
            ),
            allowed_origins: list(raw.allowed_origins),
            region: raw.region_id.or(raw.aws_region),
            ca_bundle: raw.aws_ca_bundle.map(PathBuf::from),
            retrieval: searched.read(&mut wrong),
            jobs_concurrency: wrong.number("JOBS_CONCURRENCY", raw.jobs_concurrency, 10, 1..=1_000),
            jobs_queue: wrong.queue(raw.jobs_queue_url),
            lease: wrong.optional("LEASE_SECONDS", raw.lease_seconds, 2..=600).map(Duration::from_secs),
            caller_session: wrong.choice("CALLER_SESSION", raw.caller_session, ["false", "true"]),
            tables: wrong.tables(raw.answers_table, raw.state_table),
            callback_url: raw.callback_url.or(raw.aws_endpoint_url_apigatewaymanagementapi),
            role: wrong.one_of("ROLE", raw.role, ROLES).unwrap_or(Role::Api),
        };
        if wrong.0.is_empty() { Ok(settings) } else { Err(wrong.0) }
    }
}

fn list(text: Option<String>) -> Vec<String> {
    let text = text.unwrap_or_default();
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

impl Wrong {
    fn queue(&mut self, url: Option<String>) -> Option<String> {
        let url = url?;
        if !url.starts_with("https://") && !url.starts_with("http://") {
            self.0.push(format!("JOBS_QUEUE_URL must be the URL of an SQS queue, not \"{url}\"."));
        }
        if url.ends_with(".fifo") {
            self.0.push("JOBS_QUEUE_URL names a FIFO queue; jobs need a standard queue.".to_owned());
        }
        Some(url)
    }

    fn tables(&mut self, answers: Option<String>, state: Option<String>) -> Option<(String, String)> {
        if answers.is_some() != state.is_some() {
            self.0.push("ANSWERS_TABLE and STATE_TABLE go together: set both, or neither.".to_owned());
        }
        if answers.is_some() && answers == state {
            self.0.push("ANSWERS_TABLE and STATE_TABLE are two tables: give them two names.".to_owned());
        }
        answers.zip(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        Settings::from_vars(vars.iter().map(|(name, value)| (name.to_string(), value.to_string())))
    }

    #[test]
    fn an_empty_environment_gives_the_documented_defaults() {
        let settings = read(&[("DEFAULT_MODEL", "")]).unwrap();
        assert_eq!(settings.default_max_tokens, 4096);
        assert_eq!(settings.default_model, None);
        assert!(
            settings.answer_cache
                && settings.single_flight
                && !settings.cache_shared
                && !settings.stop_on_disconnect
        );
    }

    #[test]
    fn the_seeds_default_temperature_of_4096_is_refused_by_name() {
        let wrong = read(&[("DEFAULT_TEMP", "4096"), ("CACHE_SCOPE", "everyone")]).unwrap_err();
        assert!(wrong[0].contains("DEFAULT_TEMP") && wrong[1].contains("CACHE_SCOPE"), "{wrong:?}");
    }

    #[test]
    fn a_queue_is_a_standard_one_and_is_named_by_its_url() {
        let url = "https://sqs.us-east-1.amazonaws.com/1/jobs";
        assert_eq!(read(&[("JOBS_QUEUE_URL", url)]).unwrap().jobs_queue.as_deref(), Some(url));
        for (wrong, word) in [("https://sqs.us-east-1.amazonaws.com/1/jobs.fifo", "FIFO"), ("jobs", "URL")] {
            let sentences = read(&[("JOBS_QUEUE_URL", wrong)]).unwrap_err();
            assert!(sentences.len() == 1 && sentences[0].contains(word), "{sentences:?}");
        }
    }

    #[test]
    fn the_two_tables_have_two_names() {
        let wrong = read(&[("ANSWERS_TABLE", "one"), ("STATE_TABLE", "one")]).unwrap_err();
        assert!(wrong.len() == 1 && wrong[0].contains("two names"), "{wrong:?}");
    }

    #[test]
    fn the_template_leaves_the_push_interval_to_where_it_runs() {
        let template = include_str!("../../../template.env").lines().filter_map(|line| line.split_once('='));
        let template: Vec<(&str, &str)> = template.collect();
        assert!(template.contains(&("PUSH_INTERVAL_MS", "")));
        assert_eq!(read(&template).unwrap().push_interval, Duration::ZERO);
        let on_lambda = [&template[..], &[("AWS_LAMBDA_FUNCTION_NAME", "ws")]].concat();
        assert_eq!(read(&on_lambda).unwrap().push_interval, Duration::from_millis(100));
    }

    #[test]
    fn a_lease_is_of_whole_seconds() {
        assert_eq!(read(&[("LEASE_SECONDS", "4")]).unwrap().lease, Some(Duration::from_secs(4)));
        for wrong in ["1", "601", "2.5", "-4"] {
            assert!(read(&[("LEASE_SECONDS", wrong)]).unwrap_err()[0].contains("LEASE_SECONDS"));
        }
    }

    #[test]
    fn lists_are_split_at_commas() {
        let settings = read(&[("ALLOWED_MODELS", "a, b,,c ")]).unwrap();
        assert_eq!(settings.allowed_models, ["a", "b", "c"]);
    }
}
