//! What several test files need; none needs all of it.
#![allow(dead_code, clippy::unwrap_used, reason = "a test's helpers may fail")]

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_bedrockruntime::config::{Credentials, SharedCredentialsProvider};
use futures_util::StreamExt;
use gateway::aws::http_client;
use gateway::chat::{Message, Role};
use gateway::error::Error;
use gateway::model::bedrock::Bedrock;
use gateway::model::{Ask, Part, Parts};
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::bedrock::Standin;

/// The adapter in front of this stand-in, in us-east-1, with keys that mean nothing.
pub fn adapter(standin: &Standin, idle: Duration) -> Bedrock {
    trusting(&standin.url(), idle, None)
}

/// The same in front of whatever is there, with an `AWS_CA_BUNDLE`.
pub fn trusting(url: &str, idle: Duration, ca_bundle: Option<&Path>) -> Bedrock {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .http_client(http_client(ca_bundle).unwrap())
        .build();
    Bedrock::new(&config, idle)
}

/// An ask of this text alone.
pub fn ask(text: &str) -> Ask {
    Ask {
        invoke_id: "test.model-v1:0".to_owned(),
        messages: vec![Message::text(Role::User, text)],
        ..Ask::default()
    }
}

/// A stream to its end.
pub async fn all(parts: Parts) -> Vec<Result<Part, Error>> {
    parts.collect().await
}

/// Waits for a condition that has to come true soon.
pub async fn poll_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
