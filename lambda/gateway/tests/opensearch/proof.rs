//! Whose a request is: signatures, passwords, nothing.

use crate::scene::{embed, found, open, query, with};
use crate::search::{Said, Server, hits};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use futures_util::future::FutureExt;
use gateway::error::Kind;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// Credentials that end so long after they are fetched, and how often they were.
#[derive(Clone, Debug)]
struct Keys(Arc<AtomicUsize>, Option<Duration>);

impl ProvideCredentials for Keys {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        let fetched = self.0.fetch_add(1, Ordering::Relaxed);
        let end = self.1.map(|time| SystemTime::now() + time);
        let token = Some("a-token".to_owned());
        Provided::ready(Ok(Credentials::new(format!("AKID{fetched}"), "secret-key", token, end, "test")))
    }
}

#[derive(Debug)]
struct NoKeys;

impl ProvideCredentials for NoKeys {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::ready(Err(CredentialsError::not_loaded("none in this test")))
    }
}

fn config(provider: impl ProvideCredentials + 'static) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(provider))
        .build()
}

async fn server() -> Server {
    Server::new(|_| Said::ok(&hits(&[("found", 1.0)]))).await
}

#[tokio::test]
async fn requests_are_signed_for_their_service_with_their_bodys_digest() {
    let server = server().await;
    for service in ["es", "aoss"] {
        let keys = config(Keys(Arc::default(), None));
        let signed = [("OPENSEARCH_AUTH", "iam"), ("OPENSEARCH_SERVICE", service)];
        let index = with(&server, &signed, embed(|_| async { Ok(vec![1.0]) }.boxed()), Some(&keys));
        found(&index, &query()).await.unwrap();
        let asked = server.take().remove(0);
        let authorization = asked.header("authorization").unwrap();
        let scope = format!("/eu-west-1/{service}/aws4_request");
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKID0/"), "{authorization}");
        assert!(authorization.contains(&scope), "{authorization}");
        for name in ["host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"] {
            assert!(authorization.contains(name), "{authorization}");
        }
        let digest = format!("{:x}", Sha256::digest(asked.body.as_bytes()));
        assert_eq!(asked.header("x-amz-content-sha256"), Some(digest.as_str()));
        assert_eq!(asked.header("x-amz-security-token"), Some("a-token"));
        // A collection refuses what it does not know.
        assert_eq!(asked.line.contains("preference"), service == "es", "{}", asked.line);
    }
}

#[tokio::test]
async fn credentials_are_fetched_once_and_again_shortly_before_they_end() {
    let server = server().await;
    for (time, fetched) in [(None, 1), (Some(3_600), 1), (Some(30), 3)] {
        let count = Arc::new(AtomicUsize::new(0));
        let keys = config(Keys(count.clone(), time.map(Duration::from_secs)));
        let signed = [("OPENSEARCH_AUTH", "iam")];
        let index = with(&server, &signed, embed(|_| async { Ok(vec![1.0]) }.boxed()), Some(&keys));
        for _ in 0..3 {
            found(&index, &query()).await.unwrap();
        }
        assert_eq!(count.load(Ordering::Relaxed), fetched, "{time:?}");
    }
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let server = server().await;
    let signed = [("OPENSEARCH_AUTH", "iam"), ("RETRIEVAL_MODE", "text")];
    let index = with(&server, &signed, embed(|_| async { Ok(vec![1.0]) }.boxed()), Some(&config(NoKeys)));
    let error = found(&index, &query()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.detail.unwrap().contains("no AWS credentials"));
    assert!(server.take().is_empty());
}

#[tokio::test]
async fn a_password_goes_as_basic_authentication_and_is_in_no_debug_output() {
    let server = server().await;
    let index = open(&server, &[("OPENSEARCH_USERNAME", "reader"), ("OPENSEARCH_PASSWORD", "päss:word")]);
    found(&index, &query()).await.unwrap();
    assert_eq!(server.take()[0].header("authorization"), Some("Basic cmVhZGVyOnDDpHNzOndvcmQ="));
    found(&open(&server, &[]), &query()).await.unwrap();
    assert_eq!(server.take()[0].header("authorization"), None);
}
