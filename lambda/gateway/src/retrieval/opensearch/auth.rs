//! Signatures (SigV4) for Amazon OpenSearch Service and Serverless.

use super::client::away;
use crate::config::retrieval::Service;
use crate::error::{Error, causes};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_types::SdkConfig;
use bytes::Bytes;
use http::Request;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;

/// Credentials are fetched anew so long before they end.
const MARGIN: Duration = Duration::from_secs(60);

/// Credentials without an end are looked at again after this: their file may have changed.
const LASTING: Duration = Duration::from_secs(15 * 60);

/// What requests are signed with. Cheap to clone: fetched credentials are shared.
#[derive(Clone)]
pub struct Credentials(Arc<Signer>);

struct Signer {
    service: &'static str,
    region: String,
    provider: SharedCredentialsProvider,
    /// The credentials, and when to fetch others. Whoever comes while they are being fetched waits.
    known: Mutex<Option<(Identity, SystemTime)>>,
}

impl Credentials {
    /// What signs for this endpoint: in the Region that its name says, else in the machine's.
    ///
    /// # Errors
    /// A sentence where there are no credentials or no Region.
    pub fn new(service: Service, endpoint: &str, config: Option<&SdkConfig>) -> Result<Credentials, String> {
        let provider = config.and_then(SdkConfig::credentials_provider);
        let provider = provider.ok_or(
            "OPENSEARCH_AUTH is iam and no AWS credentials were found. Provide some, or set OPENSEARCH_AUTH.",
        )?;
        let machines = || config.and_then(SdkConfig::region).map(|region| region.as_ref().to_owned());
        let region = region_of(endpoint).map(str::to_owned).or_else(machines).ok_or(
            "OPENSEARCH_DOMAIN_ENDPOINT does not say its Region. Set REGION_ID or AWS_REGION, for example us-east-1.",
        )?;
        let signer = Signer { service: service.name(), region, provider, known: Mutex::default() };
        Ok(Credentials(Arc::new(signer)))
    }

    /// Signs a request for this address, its body's digest included.
    ///
    /// # Errors
    /// `unavailable` where the credentials cannot be had.
    pub async fn sign(&self, request: &mut Request<Bytes>, uri: &str) -> Result<(), Error> {
        let identity = self.0.identity().await?;
        let mut settings = SigningSettings::default();
        // Serverless refuses requests without it, and a domain does not mind.
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.0.region)
            .name(self.0.service)
            .time(SystemTime::now())
            .settings(settings)
            .build();
        let params = params.map_err(Error::internal)?.into();
        let headers =
            request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable = SignableRequest::new(
            request.method().as_str(),
            uri,
            headers,
            SignableBody::Bytes(request.body()),
        );
        let (instructions, _) =
            sign(signable.map_err(Error::internal)?, &params).map_err(Error::internal)?.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}

impl Signer {
    async fn identity(&self) -> Result<Identity, Error> {
        let mut known = self.known.lock().await;
        let now = SystemTime::now();
        if let Some((identity, _)) = known.as_ref().filter(|(_, until)| now < *until) {
            return Ok(identity.clone());
        }
        let fetched = self.provider.provide_credentials().await;
        let fetched = fetched.map_err(|error| away(format!("no AWS credentials: {}", causes(&error))))?;
        let until = match fetched.expiry() {
            Some(end) => end.checked_sub(MARGIN).unwrap_or(now),
            None => now + LASTING,
        };
        let identity = Identity::from(fetched);
        *known = Some((identity.clone(), until));
        Ok(identity)
    }
}

/// The Region in a name such as `search-docs.us-east-1.es.amazonaws.com` or
/// `search-docs.aos.us-east-1.on.aws`.
fn region_of(endpoint: &str) -> Option<&str> {
    let host = endpoint.split("://").last()?.split([':', '/']).next()?;
    let labels: Vec<&str> = host.split('.').collect();
    let at = match labels.as_slice() {
        [.., "amazonaws", "com"] => {
            labels.iter().position(|label| matches!(*label, "es" | "aoss"))?.checked_sub(1)?
        }
        [.., "amazonaws", "com", "cn"] => labels.iter().position(|label| *label == "es")?.checked_sub(1)?,
        [.., "on", "aws"] => labels.len().checked_sub(3)?,
        _ => return None,
    };
    labels.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_the_endpoints_own() {
        for (endpoint, region) in [
            ("https://search-docs-abc.eu-central-1.es.amazonaws.com", Some("eu-central-1")),
            ("https://vpc-docs.us-gov-west-1.es.amazonaws.com:443", Some("us-gov-west-1")),
            ("https://search-docs.cn-north-1.es.amazonaws.com.cn", Some("cn-north-1")),
            ("https://abc.us-east-1.aoss.amazonaws.com", Some("us-east-1")),
            ("https://search-docs.aos.us-west-2.on.aws", Some("us-west-2")),
            ("https://docs.example.com", None),
            ("http://127.0.0.1:9200", None),
            ("https://amazonaws.com", None),
        ] {
            assert_eq!(region_of(endpoint), region, "{endpoint}");
        }
    }
}
