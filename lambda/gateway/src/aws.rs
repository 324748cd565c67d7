//! How the gateway reaches AWS: one HTTP client for every service, and the machine's AWS settings.
//!
//! Trusted are the five roots that AWS's services are signed under, and what `AWS_CA_BUNDLE` names.
//! The machine's own store is not read: that takes milliseconds of every cold start, and an image
//! made from nothing has none.

use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// How long a connection may take to open, name look-up and TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// How long the search for the machine's settings may take.
const SEARCH_LIMIT: Duration = Duration::from_secs(5);

/// The pinned roots, PEM.
const ROOTS: &[u8] = include_bytes!("aws/roots.pem");

/// The HTTP client of every AWS client, over one connector: connections and TLS sessions are shared
/// whatever a client's own settings are. TLS is ring's; TCP_NODELAY is set; any number of idle
/// connections is kept. `ca_bundle` is a PEM file whose certificates are trusted besides the pinned.
///
/// # Errors
/// A sentence that names `AWS_CA_BUNDLE`, where that file cannot be read or holds no certificate.
pub fn http_client(ca_bundle: Option<&Path>) -> Result<SharedHttpClient, String> {
    connector(ca_bundle).map(client_over)
}

/// The same for who needs the connector too: for what AWS has no client for.
pub fn client_over(connector: SharedHttpConnector) -> SharedHttpClient {
    http_client_fn(move |_, _| connector.clone())
}

/// The one connector.
///
/// # Errors
/// As [`http_client`].
pub fn connector(ca_bundle: Option<&Path>) -> Result<SharedHttpConnector, String> {
    let store = trusted(ca_bundle)?;
    let context = TlsContext::builder().with_trust_store(store).build();
    let context = context.map_err(|error| format!("TLS cannot be set up: {error}."))?;
    let connector = Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .enable_tcp_nodelay(true)
        .connector_settings(HttpConnectorSettings::builder().connect_timeout(CONNECT_LIMIT).build())
        .build();
    Ok(SharedHttpConnector::new(connector))
}

/// The start of a configuration from the machine's AWS settings.
pub fn settings(http: SharedHttpClient) -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http)
}

/// The machine's AWS settings, in this Region or in their own.
///
/// # Errors
/// A sentence that says what to set.
pub async fn load(ca_bundle: Option<&Path>, region: Option<&str>) -> Result<SdkConfig, String> {
    let config = found(http_client(ca_bundle)?, region).await;
    let config = config.filter(|config| config.region().is_some_and(|region| !region.as_ref().is_empty()));
    config
        .ok_or_else(|| "No AWS Region was found. Set REGION_ID or AWS_REGION, for example us-east-1.".into())
}

/// The machine's AWS settings, with whatever is among them; `None` where the search does not end.
pub async fn found(http: SharedHttpClient, region: Option<&str>) -> Option<SdkConfig> {
    let mut loader = settings(http);
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    // Away from EC2 the search ends with a metadata server that never answers.
    timeout(SEARCH_LIMIT, loader.load()).await.ok()
}

fn trusted(ca_bundle: Option<&Path>) -> Result<TrustStore, String> {
    let mut store = TrustStore::empty().with_pem_certificate(ROOTS);
    if let Some(file) = ca_bundle {
        for certificate in usable(file)? {
            store.add_pem_certificate(pem(&certificate));
        }
    }
    Ok(store)
}

/// The file's certificates that can be a trust anchor. The others are left out, as a bundle of a
/// whole machine holds some; the connector would panic over them.
fn usable(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = std::fs::read(file).map_err(|error| refused(file, format!("cannot be read: {error}")))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let all = all.map_err(|error| refused(file, format!("is not in PEM form: {error}")))?;
    let found = all.len();
    let is_anchor = |one: &CertificateDer<'_>| webpki::anchor_from_trusted_cert(one).is_ok();
    let usable: Vec<_> = all.into_iter().filter(is_anchor).collect();
    if usable.is_empty() {
        return Err(refused(file, "holds no certificate that can be trusted"));
    }
    if usable.len() < found {
        tracing::warn!(left_out = found - usable.len(), "AWS_CA_BUNDLE has certificates that are none");
    }
    Ok(usable)
}

fn refused(file: &Path, why: impl Display) -> String {
    let file = file.display();
    format!("AWS_CA_BUNDLE: {file} {why}. Name a PEM file of CA certificates, or unset it.")
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(certificate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_pinned_roots_are_the_five_of_amazon_trust_services() {
        let roots: Vec<_> = CertificateDer::pem_slice_iter(ROOTS).map(Result::unwrap).collect();
        let digests: Vec<String> = roots.iter().map(|root| format!("{:x}", Sha256::digest(root))).collect();
        let published = [
            "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
            "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
            "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
            "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
            "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
        ];
        assert_eq!(digests, published);
        assert!(roots.iter().all(|root| webpki::anchor_from_trusted_cert(root).is_ok()));
    }

    /// What is said about a bundle of these bytes.
    fn said(bytes: &[u8]) -> String {
        let file = std::env::temp_dir().join(format!("ca-bundle-{}", uuid::Uuid::new_v4()));
        std::fs::write(&file, bytes).unwrap();
        let said = http_client(Some(&file)).err().unwrap_or_default();
        std::fs::remove_file(file).unwrap();
        said
    }

    #[test]
    fn a_bundle_that_cannot_be_used_is_refused_by_the_settings_name() {
        let lorem = "-----BEGIN CERTIFICATE-----\nTG9yZW0gaXBzdW0=\n-----END CERTIFICATE-----\n";
        let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        let open = "-----BEGIN CERTIFICATE-----\nTG9yZW0gaXBzdW0=\n";
        for bytes in [b"", b"no PEM at all".as_slice(), lorem.as_bytes(), broken.as_bytes(), open.as_bytes()]
        {
            assert!(said(bytes).starts_with("AWS_CA_BUNDLE: "), "{}", String::from_utf8_lossy(bytes));
        }
        for path in ["/nonexistent/ca.pem", "/tmp"] {
            let said = http_client(Some(Path::new(path))).unwrap_err();
            assert!(said.starts_with(&format!("AWS_CA_BUNDLE: {path} cannot be read")), "{said}");
        }
    }

    #[test]
    fn a_certificate_that_is_none_does_not_spoil_a_bundle() {
        let lorem = "-----BEGIN CERTIFICATE-----\nTG9yZW0gaXBzdW0=\n-----END CERTIFICATE-----\n";
        assert_eq!(said(&[lorem.as_bytes(), ROOTS].concat()), "");
    }
}
