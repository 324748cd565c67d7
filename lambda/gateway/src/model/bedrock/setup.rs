//! Builds the adapter: from the machine's AWS settings, or from a configuration that is there.

use super::{Bedrock, IDLE};
use crate::aws;
use crate::error::{Error, Kind};
use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::{
    Builder, ProvideCredentials, Region, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_types::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long the search for a Region and credentials may take: away from EC2 it ends with a
/// metadata server that never answers.
const SEARCH_LIMIT: Duration = Duration::from_secs(5);

impl Bedrock {
    /// The adapter for this configuration; `idle` is how long a model may be silent. The endpoint
    /// and the bearer token of the environment hold where the configuration was loaded from it.
    pub fn new(config: &SdkConfig, idle: Duration) -> Bedrock {
        let config = Builder::from(config)
            .retry_config(RetryConfig::disabled())
            // It would end a stream of a model that thinks for more than a few seconds.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Bedrock { client: Client::from_conf(config), idle }
    }

    /// The adapter for this Region, or the one of the machine's AWS settings, with its
    /// credentials. Where there is none of either, a sentence says what to set, within 5 s.
    pub async fn load(http: SharedHttpClient, region: Option<&str>) -> Result<Bedrock, Error> {
        let until = Instant::now() + SEARCH_LIMIT;
        let mut loader = aws::settings(http);
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let config = timeout_at(until, loader.load()).await.map_err(|_| no_region())?;
        if config.region().is_none() {
            return Err(no_region());
        }
        if !has_bearer_token(&config) {
            let provider = config.credentials_provider().ok_or_else(no_credentials)?;
            let found =
                timeout_at(until, provider.provide_credentials()).await.map_err(|_| no_credentials())?;
            found.map_err(|error| no_credentials().because(error))?;
        }
        Ok(Bedrock::new(&config, IDLE))
    }
}

/// A Bedrock API key, which takes the place of credentials.
fn has_bearer_token(config: &SdkConfig) -> bool {
    let key = ServiceConfigKey::builder().service_id("bedrock").env("AWS_BEARER_TOKEN").profile("").build();
    let (Ok(key), Some(settings)) = (key, config.service_config()) else { return false };
    settings.load_config(key).is_some()
}

fn no_region() -> Error {
    Error::new(
        Kind::Unavailable,
        "No AWS Region was found for Bedrock. Set REGION_ID or AWS_REGION, for example us-east-1.",
    )
}

fn no_credentials() -> Error {
    Error::new(
        Kind::Unavailable,
        "No AWS credentials were found for Bedrock. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
         AWS_PROFILE, or a Bedrock API key in AWS_BEARER_TOKEN_BEDROCK.",
    )
}
