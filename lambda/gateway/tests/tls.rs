//! Whom the gateway believes to be AWS: the pinned roots, and the file of `AWS_CA_BUNDLE`.

#![cfg(feature = "aws")]
#![expect(clippy::unwrap_used, reason = "helpers fail as tests do")]

mod support;

use gateway::error::{Error, Kind};
use gateway::model::Model;
use gateway::model::bedrock::IDLE;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::{all, ask, trusting};
use testkit::bedrock::Standin;
use testkit::tls::Authority;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// A file that is removed with this.
struct Bundle(PathBuf);

impl Bundle {
    fn of(authority: &Authority) -> Bundle {
        let file = std::env::temp_dir().join(format!("ca-bundle-{}.pem", uuid::Uuid::new_v4()));
        std::fs::write(&file, authority.pem()).unwrap();
        Bundle(file)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// A stand-in whose certificate is this authority's, for this name. It is asked as 127.0.0.1.
async fn behind_tls(authority: &Authority, name: &str) -> Standin {
    Standin::over_tls(authority.acceptor(name).unwrap()).await.unwrap()
}

async fn asked(standin: &Standin, ca_bundle: Option<&Path>) -> Result<(), Error> {
    let parts = trusting(&standin.url(), IDLE, ca_bundle).ask(ask("why?")).await?;
    assert!(all(parts).await.iter().all(Result::is_ok));
    Ok(())
}

/// Refused, and for this reason, before a byte of the request was sent.
async fn check_refused(standin: &Standin, ca_bundle: Option<&Path>, reason: &str) {
    let error = asked(standin, ca_bundle).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.detail.as_ref().unwrap().contains(reason), "{:?}", error.detail);
    assert_eq!(standin.calls(), 0);
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_the_setting_names_it() {
    let authority = Authority::new().unwrap();
    let standin = behind_tls(&authority, "127.0.0.1").await;
    let bundle = Bundle::of(&authority);
    asked(&standin, Some(&bundle.0)).await.unwrap();
    assert_eq!(standin.calls(), 1);
}

#[tokio::test]
async fn a_private_authority_is_refused_without_the_setting() {
    let standin = behind_tls(&Authority::new().unwrap(), "127.0.0.1").await;
    check_refused(&standin, None, "UnknownIssuer").await;
}

#[tokio::test]
async fn another_authority_than_the_settings_is_refused() {
    let standin = behind_tls(&Authority::new().unwrap(), "127.0.0.1").await;
    let bundle = Bundle::of(&Authority::new().unwrap());
    // Both have the same name, so it is the signature that is wrong.
    check_refused(&standin, Some(&bundle.0), "BadSignature").await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new().unwrap();
    let standin = behind_tls(&authority, "bedrock.example").await;
    let bundle = Bundle::of(&authority);
    check_refused(&standin, Some(&bundle.0), "not valid for name").await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_ends_its_handshake_is_given_up_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let begun = Instant::now();
    let error = trusting(&url, IDLE, None).ask(ask("why?")).await.err().unwrap();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
