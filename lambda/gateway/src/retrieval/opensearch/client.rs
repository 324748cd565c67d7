//! One request to OpenSearch: over the connector that every AWS client shares, with its credentials, a
//! time limit round all of it, and at most one more try.

use super::auth::Credentials;
use super::reply::{Received, Reply};
use crate::config::retrieval::{Auth, OpenSearch};
use crate::error::{Error, Kind, causes};
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_types::SdkConfig;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use serde_json::Value;
use std::fmt;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long a server that is busy is left alone before the one more try.
const PAUSE: Duration = Duration::from_millis(100);

/// The way to a server. Cheap to clone: connections are the connector's, and kept there.
#[derive(Clone)]
pub struct Client {
    connector: SharedHttpConnector,
    endpoint: String,
    proof: Proof,
}

/// What proves whose a request is.
#[derive(Clone)]
enum Proof {
    Signature(Credentials),
    Password(HeaderValue),
    None,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Path and query, percent-encoded.
    pub path: String,
    /// JSON, or lines of JSON; empty where there is none.
    pub body: Bytes,
    /// How long everything may take: connection, reply, body, the other try.
    pub limit: Duration,
    /// It may be sent twice: doing it again changes nothing.
    pub repeatable: bool,
}

impl Call {
    /// A question without a body.
    pub fn get(path: impl Into<String>, limit: Duration) -> Call {
        Call { method: Method::GET, path: path.into(), body: Bytes::new(), limit, repeatable: true }
    }

    /// A question with one.
    pub fn post(path: impl Into<String>, body: &Value, limit: Duration) -> Call {
        Call {
            method: Method::POST,
            path: path.into(),
            body: body.to_string().into(),
            limit,
            repeatable: true,
        }
    }
}

impl Client {
    /// The client for an endpoint. `config` has the credentials and the Region to sign with.
    ///
    /// # Errors
    /// A sentence where requests have to be signed and there is nothing to sign them with.
    pub fn new(
        connector: SharedHttpConnector,
        settings: &OpenSearch,
        config: Option<&SdkConfig>,
    ) -> Result<Client, String> {
        let proof = match &settings.auth {
            Auth::Iam(service) => Proof::Signature(Credentials::new(*service, &settings.endpoint, config)?),
            Auth::Basic { username, password } => {
                let pair = STANDARD.encode(format!("{username}:{}", password.0));
                let header = HeaderValue::try_from(format!("Basic {pair}"));
                let mut header = header.map_err(|_| "OPENSEARCH_PASSWORD cannot be sent.".to_owned())?;
                header.set_sensitive(true);
                Proof::Password(header)
            }
            Auth::None => Proof::None,
        };
        Ok(Client { connector, endpoint: settings.endpoint.clone(), proof })
    }

    /// Sends a request, and once more where it may be and the connection broke or the server was busy.
    /// Whatever a server says is a reply, refusals too.
    ///
    /// # Errors
    /// `unavailable` where nothing came, not in time, or nothing that can be read.
    pub async fn send(&self, call: &Call) -> Result<Reply, Error> {
        match timeout(call.limit, self.twice(call)).await {
            Ok(received) => received?.open(),
            Err(_) => Err(away(format!("nothing within {} ms", call.limit.as_millis()))),
        }
    }

    /// The same for who wants an answer and nothing else.
    ///
    /// # Errors
    /// As [`Client::send`], and what the server refuses: `throttled`, else `unavailable`, with its status
    /// and type of error in the detail.
    pub async fn ask(&self, call: &Call) -> Result<Reply, Error> {
        let reply = self.send(call).await?;
        if reply.is_success() { Ok(reply) } else { Err(reply.refusal()) }
    }

    async fn twice(&self, call: &Call) -> Result<Received, Error> {
        match self.once(call).await {
            reply if !call.repeatable => reply,
            // A connection that was kept may have been closed by the other side meanwhile.
            Err(_) => self.once(call).await,
            Ok(reply) if matches!(reply.status, 429 | 503) => {
                sleep(PAUSE).await;
                self.once(call).await
            }
            Ok(reply) => Ok(reply),
        }
    }

    async fn once(&self, call: &Call) -> Result<Received, Error> {
        let request = self.request(call).await?;
        let response = self.connector.call(request).await;
        Received::read(response.map_err(|error| away(causes(&error)))?).await
    }

    async fn request(&self, call: &Call) -> Result<HttpRequest, Error> {
        let uri = format!("{}{}", self.endpoint, call.path);
        let mut builder = Request::builder().method(&call.method).uri(&uri).header(ACCEPT_ENCODING, "gzip");
        if !call.body.is_empty() {
            builder = builder.header(CONTENT_TYPE, self.content_type(call));
        }
        let mut request = builder.body(call.body.clone()).map_err(Error::internal)?;
        match &self.proof {
            Proof::Signature(credentials) => credentials.sign(&mut request, &uri).await?,
            Proof::Password(header) => {
                request.headers_mut().insert(AUTHORIZATION, header.clone());
            }
            Proof::None => {}
        }
        request.map(SdkBody::from).try_into().map_err(Error::internal)
    }

    fn content_type(&self, call: &Call) -> &'static str {
        if call.path.contains("_bulk") { "application/x-ndjson" } else { "application/json" }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Search cannot be had; the reason is for the log.
pub(super) fn away(why: impl fmt::Display) -> Error {
    Error::new(Kind::Unavailable, "The search cannot be reached. Try again later.").because(why)
}
