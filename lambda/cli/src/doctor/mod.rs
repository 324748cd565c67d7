//! `llm-gateway doctor`: looks at everything that the settings and options name, and changes nothing.

mod account;
mod domain;
mod kept;
mod machine;
mod model;
mod options;
mod report;
mod search;

pub use options::{DoctorOptions, HELP};

use crate::collection;
use crate::domain::{Domain, Vars, with_endpoint};
use crate::options::{ModelOption, ServeOptions};
use account::Account;
use aws_types::SdkConfig;
use gateway::config::Settings;
use gateway::config::retrieval::Auth;
use gateway::model::Embedder;
use gateway::model::embedding::HashedEmbedding;
use gateway::search_model::SearchModel;
use report::Finding;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long each part of it may take. Parts wait for one another only where they need to.
const LIMIT: Duration = Duration::from_secs(20);

/// Looks and prints.
///
/// # Errors
/// None: what is wrong is a finding.
pub async fn doctor(options: DoctorOptions) -> Result<ExitCode, String> {
    let vars: Vec<_> = std::env::vars().collect();
    let findings = match Settings::from_vars(vars.iter().cloned()) {
        Ok(settings) => look(&options, settings, vars).await,
        Err(wrong) => {
            let mut findings: Vec<_> = wrong.into_iter().map(|one| Finding::wrong("settings", one)).collect();
            findings.extend(machine::door(&options.serve, &[]).await);
            findings.push(machine::data(&options.serve));
            findings.push(Finding::note("everything else", "is looked at once the settings can be read"));
            findings
        }
    };
    let told = match options.json {
        true => report::json(&findings).to_string() + "\n",
        false => report::text(&findings),
    };
    // A closed standard output leaves nobody to tell.
    let _closed = std::io::stdout().write_all(told.as_bytes());
    Ok(if report::is_well(&findings) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn look(options: &DoctorOptions, mut settings: Settings, vars: Vars) -> Vec<Finding> {
    let serve = &options.serve;
    let mut findings = vec![Finding::ok("settings", "can be read")];
    let endpoints = machine::endpoints(&vars);
    let reachable = endpoints.is_empty();
    findings.extend(endpoints);
    findings.extend(machine::door(serve, &settings.allowed_origins).await);
    if settings.tables.is_none() || settings.retrieval.opensearch.is_none() {
        findings.push(machine::data(serve));
    }
    findings.extend(machine::answers(serve));
    let account = match needs_aws(options, &settings) {
        false => Account::unasked("nothing that is set or given needs it"),
        true if !reachable => Account::unasked("its endpoints have to be mended first"),
        true => within("AWS credentials", account::look(&settings)).await.unwrap_or_else(Account::only),
    };
    findings.extend(account.findings.clone());
    if !reachable {
        return findings;
    }
    let search_model = match search_model(serve, &settings) {
        Ok(model) => model,
        Err(sentence) => {
            findings.push(Finding::wrong("embeddings", sentence));
            return findings;
        }
    };
    let asked = within("model", model::look(serve, &settings, &search_model));
    let kept = within("tables and queue", rows(&account, &settings));
    let (asked, kept) = tokio::join!(asked, kept);
    findings.extend(asked.unwrap_or_else(|late| vec![late]));
    findings.extend(kept.unwrap_or_else(|late| vec![late]));
    let (described, endpoint) = described(options, &settings, &account).await;
    findings.extend(described);
    if let Some(endpoint) = endpoint.filter(|_| settings.retrieval.opensearch.is_none()) {
        match Settings::from_vars(with_endpoint(vars, &endpoint)) {
            Ok(with) => settings = with,
            Err(wrong) => findings.extend(wrong.into_iter().map(|one| Finding::wrong("settings", one))),
        }
    }
    match &settings.retrieval.opensearch {
        Some(there) => {
            let looked = search::look(there, &settings, usable(&account), &search_model);
            findings.extend(within("OpenSearch", looked).await.unwrap_or_else(|late| vec![late]));
        }
        None if options.domain.is_some() => {}
        None => findings.push(machine::documents(serve, &settings, &search_model)),
    }
    findings
}

/// Does anything need AWS's credentials?
fn needs_aws(options: &DoctorOptions, settings: &Settings) -> bool {
    let there = settings.retrieval.opensearch.as_ref();
    options.serve.model == ModelOption::Bedrock
        || options.domain.is_some()
        || settings.tables.is_some()
        || settings.jobs_queue.is_some()
        || there.is_some_and(|there| matches!(there.auth, Auth::Iam(_)))
}

async fn rows(account: &Account, settings: &Settings) -> Vec<Finding> {
    match usable(account) {
        Some(config) => kept::look(config, settings).await,
        None if settings.tables.is_some() || settings.jobs_queue.is_some() => {
            vec![Finding::note("tables and queue", "not asked: they need a Region and credentials")]
        }
        None => Vec::new(),
    }
}

/// What AWS says of `--domain`, and the endpoint to search it at.
async fn described(
    options: &DoctorOptions,
    settings: &Settings,
    account: &Account,
) -> (Vec<Finding>, Option<String>) {
    let Some(name) = &options.domain else { return (Vec::new(), None) };
    let Some(config) = usable(account) else {
        return (vec![Finding::note("domain", "not asked: it needs a Region and credentials")], None);
    };
    let set = settings.retrieval.opensearch.as_ref().map(|there| there.endpoint.as_str());
    match within("domain", Domain::describe(config, name)).await {
        Err(late) => (vec![late], None),
        Ok(Err(sentence)) => (vec![Finding::wrong("domain", sentence)], None),
        Ok(Ok(domain)) => {
            let judged = domain::judge(&domain, account.identity.as_ref(), set);
            (judged, domain.reachable().ok().map(str::to_owned))
        }
    }
}

/// The AWS settings, where requests can be signed.
fn usable(account: &Account) -> Option<&SdkConfig> {
    account.config.as_ref().filter(|_| account.has_credentials)
}

/// The embeddings model, as `serve` chooses it. It is asked for nothing here, whoever stands for it.
fn search_model(options: &ServeOptions, settings: &Settings) -> Result<SearchModel, String> {
    let unasked: Arc<dyn Embedder> = Arc::new(HashedEmbedding);
    collection::search_model(options, settings, (options.model == ModelOption::Bedrock).then_some(&unasked))
}

/// What a part of the report finds, or that it took too long.
async fn within<T>(what: &str, part: impl Future<Output = T>) -> Result<T, Finding> {
    let late = || Finding::wrong(what, format!("nothing within {} s. Check the network.", LIMIT.as_secs()));
    timeout(LIMIT, part).await.map_err(|_| late())
}
