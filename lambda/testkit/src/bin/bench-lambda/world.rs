//! What the functions talk to behind TLS: the Bedrock stand-in, `@connections` and DynamoDB.

use crate::relay::Relay;
use crate::runtime::PATIENCE;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use testkit::bedrock::{Knobs, Standin};
use testkit::bench::{Failure, Measured, Scratch, beside};
use testkit::listen::serve;
use testkit::tls::Authority;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Tokens of every answer.
const TOKENS: usize = 8;

/// A frame that was pushed to a connection.
pub struct Push {
    /// When it had come.
    pub at: Instant,
    /// Its text.
    pub text: Bytes,
}

/// Everything outside of the functions.
pub struct World {
    /// Bedrock.
    pub standin: Standin,
    /// The frames pushed to whatever connection, as they come.
    pub pushes: mpsc::UnboundedReceiver<Push>,
    /// The base URL of `@connections`.
    pub callback: String,
    /// DynamoDB.
    pub tables: Relay,
    /// OpenSearch, where there is one.
    pub search: Option<Relay>,
    /// The authority's certificate.
    pub ca_bundle: PathBuf,
    /// For what the processes say.
    pub said: PathBuf,
    _database: Measured,
}

impl World {
    /// Opens it. `search` is the host and port of an OpenSearch.
    pub async fn open(scratch: &Scratch, search: Option<String>) -> Result<World, Failure> {
        let authority = Authority::new()?;
        let ca_bundle = scratch.0.join("ca.pem");
        std::fs::write(&ca_bundle, authority.pem())?;
        let standin = Standin::over_tls(authority.acceptor("127.0.0.1")?).await?;
        let (sender, pushes) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let callback = format!("https://{}/prod", listener.local_addr()?);
        let service = move || {
            let sender = sender.clone();
            service_fn(move |request| push(sender.clone(), request))
        };
        tokio::spawn(serve(listener, Some(authority.acceptor("127.0.0.1")?), service));
        let (database, address) = database(&scratch.0.join("dynamodb")).await?;
        let tables = Relay::to(address, authority.acceptor("127.0.0.1")?).await?;
        let search = match search {
            Some(server) => Some(Relay::to(server, authority.acceptor("127.0.0.1")?).await?),
            None => None,
        };
        let said = scratch.0.join("said");
        Ok(World { standin, pushes, callback, tables, search, ca_bundle, said, _database: database })
    }

    /// The model's answers from now on: all at once, or a token every few milliseconds.
    pub fn pace(&self, gap_ms: u64) {
        self.standin.set(Knobs { tokens: Some(TOKENS), gap_ms, ..Knobs::default() });
    }

    /// How long OpenSearch has taken since this was last asked.
    pub fn waited(&self) -> Duration {
        self.search.as_ref().map(Relay::waited).unwrap_or_default()
    }

    /// When the model was last asked, which is when its first chunk went out.
    pub fn model_spoke(&self) -> Result<Instant, Failure> {
        Ok(self.standin.requests().last().ok_or("the model was not asked")?.at)
    }
}

/// The tables' server, which speaks no TLS itself, and where it listens.
async fn database(said: &Path) -> Result<(Measured, String), Failure> {
    let process = Measured::spawn(&mut Command::new(beside("dynamodb-server")?), said)?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let said = std::fs::read_to_string(said)?;
        if let Some(address) = said.strip_prefix("http://").and_then(|said| said.strip_suffix('\n')) {
            return Ok((process, address.to_owned()));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Err("dynamodb-server does not listen".into())
}

async fn push(
    sender: mpsc::UnboundedSender<Push>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if let Ok(body) = request.into_body().collect().await {
        let _received = sender.send(Push { at: Instant::now(), text: body.to_bytes() });
    }
    Ok(Response::new(Full::default()))
}
