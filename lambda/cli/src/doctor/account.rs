//! Who this machine is to AWS: a Region, credentials, and whether AWS knows them.

use super::report::Finding;
use crate::domain::policy::Identity;
use aws_sdk_sts::Client;
use aws_sdk_sts::config::retry::RetryConfig;
use aws_sdk_sts::config::timeout::TimeoutConfig;
use aws_sdk_sts::config::{Builder, ProvideCredentials};
use aws_sdk_sts::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_types::SdkConfig;
use gateway::aws;
use gateway::config::Settings;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// How long the search for credentials may take: away from EC2 it ends with a metadata server that
/// never answers.
const SEARCH_LIMIT: Duration = Duration::from_secs(5);

/// How long AWS may take to say whose they are.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// What was found out.
#[derive(Default)]
pub struct Account {
    /// The machine's AWS settings, where there are any.
    pub config: Option<SdkConfig>,
    /// There are credentials.
    pub has_credentials: bool,
    /// Whose they are.
    pub identity: Option<Identity>,
    /// The lines of the report.
    pub findings: Vec<Finding>,
}

impl Account {
    /// AWS was not asked, and why.
    pub fn unasked(why: &str) -> Account {
        Account::only(Finding::note("AWS", format!("not asked: {why}")))
    }

    /// Nothing else was found out.
    pub fn only(finding: Finding) -> Account {
        Account { findings: vec![finding], ..Account::default() }
    }
}

/// Looks for a Region and credentials, and asks AWS whose they are: that needs no permission and costs
/// nothing.
pub async fn look(settings: &Settings) -> Account {
    let config = match aws::load(settings.ca_bundle.as_deref(), settings.region.as_deref()).await {
        Ok(config) => config,
        Err(sentence) => {
            return Account::only(Finding::wrong("AWS region", sentence));
        }
    };
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    let mut account = Account::only(Finding::ok("AWS region", region));
    match credentials(&config).await {
        Err(sentence) => account.findings.push(Finding::wrong("AWS credentials", sentence)),
        Ok(()) => {
            account.has_credentials = true;
            let (identity, finding) = identity(&config).await;
            account.identity = identity;
            account.findings.push(finding);
        }
    }
    account.config = Some(config);
    account
}

async fn credentials(config: &SdkConfig) -> Result<(), String> {
    let none = "none were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.";
    let provider = config.credentials_provider().ok_or(none)?;
    let found = timeout(SEARCH_LIMIT, provider.provide_credentials()).await.map_err(|_| none)?;
    // The reason may quote a profile's file.
    let found = found.map_err(|_| none)?;
    match found.expiry() {
        Some(end) if end <= SystemTime::now() => {
            Err("they have expired. Renew them, as by `aws sso login`.".into())
        }
        _ => Ok(()),
    }
}

async fn identity(config: &SdkConfig) -> (Option<Identity>, Finding) {
    let limits = TimeoutConfig::builder().operation_timeout(CALL_LIMIT).build();
    let builder = Builder::from(config).retry_config(RetryConfig::disabled()).timeout_config(limits);
    let client = Client::from_conf(builder.build());
    match client.get_caller_identity().send().await {
        Ok(reply) => {
            let identity = reply.arn.zip(reply.account).map(|(arn, account)| Identity { arn, account });
            let who = identity.as_ref().map_or("somebody", |identity| &identity.arn);
            let finding = Finding::ok("AWS credentials", format!("those of {who}"));
            (identity, finding)
        }
        Err(error) => (
            None,
            match error.code() {
                Some(code) => Finding::wrong(
                    "AWS credentials",
                    format!(
                        "AWS does not take them: {code}: {}. Renew them; check AWS_SESSION_TOKEN and this machine's \
                     clock.",
                        error.message().unwrap_or_default()
                    ),
                ),
                // Many a network lets through what is needed and not this.
                None => Finding::note(
                    "AWS credentials",
                    format!("found; whose they are could not be asked: {}", DisplayErrorContext(&error)),
                ),
            },
        ),
    }
}
