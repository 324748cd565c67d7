//! What the functions talk to behind TLS: the Bedrock stand-in and `@connections`.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Instant;
use testkit::bedrock::{Knobs, Standin};
use testkit::bench::{Failure, Scratch};
use testkit::listen::serve;
use testkit::tls::Authority;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

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
    /// The authority's certificate.
    pub ca_bundle: PathBuf,
    /// For what the processes say.
    pub said: PathBuf,
}

impl World {
    /// Opens it.
    pub async fn open(scratch: &Scratch) -> Result<World, Failure> {
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
        let said = scratch.0.join("said");
        Ok(World { standin, pushes, callback, ca_bundle, said })
    }

    /// The model's answers from now on: all at once, or a token every few milliseconds.
    pub fn pace(&self, gap_ms: u64) {
        self.standin.set(Knobs { tokens: Some(TOKENS), gap_ms, ..Knobs::default() });
    }

    /// When the model was last asked, which is when its first chunk went out.
    pub fn model_spoke(&self) -> Result<Instant, Failure> {
        Ok(self.standin.requests().last().ok_or("the model was not asked")?.at)
    }
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
