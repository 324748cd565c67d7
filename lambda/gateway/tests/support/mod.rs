//! What several test files need.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_bedrockruntime::config::{Credentials, SharedCredentialsProvider};
use gateway::model::bedrock::Bedrock;
use std::time::Duration;
use testkit::bedrock::Standin;

/// The adapter in front of this stand-in, in us-east-1, with keys that mean nothing.
pub fn adapter(standin: &Standin, idle: Duration) -> Bedrock {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(standin.url())
        .build();
    Bedrock::new(&config, idle)
}
