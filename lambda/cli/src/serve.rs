//! `llm-gateway serve`: the rooms, the doors and the port put together, and taken down in order.

use crate::collection;
use crate::guard::Guard;
use crate::kept::Kept;
use crate::options::{ModelOption, ServeOptions};
use crate::say;
use crate::server::{CONNECTIONS, Server};
use crate::signals::signals;
use gateway::aws;
use gateway::config::Settings;
use gateway::edge::Doors;
use gateway::gateway::{Gateway, Rooms};
use gateway::model::bedrock::Bedrock;
use gateway::model::embedding::HashedEmbedding;
use gateway::model::extractive::Extractive;
use gateway::model::scripted::Scripted;
use gateway::model::{Embedder, Model};
use gateway::store::Store;
use gateway::telemetry;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Open replies have this long to end by themselves when the process is told to stop.
const PATIENCE: Duration = Duration::from_secs(7);

/// How often expired rows are removed from disk.
const SWEEP: Duration = Duration::from_secs(3600);

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// A sentence for the person who started it.
pub async fn serve(options: Box<ServeOptions>) -> Result<(), String> {
    telemetry::text_logs(std::env::var("LLM_GATEWAY_LOG").ok().as_deref());
    let settings = Settings::from_vars(std::env::vars()).map_err(|wrong| wrong.join("\n"))?;
    let mut origins = options.allow_origin.clone();
    origins.extend(settings.allowed_origins.iter().cloned());
    let guard = Guard::new(options.host, &options.allow_host, &origins, &options.api_key)?;
    let address = (options.host, options.port);
    let listening = TcpListener::bind(address).await;
    let listener = listening.map_err(|error| {
        format!("Cannot listen on {} port {}: {error}. Choose another one with --port.", address.0, address.1)
    })?;
    let bound = listener.local_addr().map_err(|error| error.to_string())?;

    let doors = Arc::new(open(&options, settings).await?);
    let (gateway, queue) = (doors.gateway.clone(), doors.queue.clone());
    let server = Arc::new(Server {
        doors,
        guard,
        closing: CancellationToken::new(),
        slots: Arc::new(Semaphore::new(CONNECTIONS)),
        tasks: TaskTracker::new(),
    });
    let stop = CancellationToken::new();
    let accepting = tokio::spawn(server.clone().accept(listener, stop.clone()));
    // Before anyone is told that it listens: a signal that comes while its handler is being set up
    // is lost.
    let told_to_stop = signals()?;
    greet(&reachable(bound, &options), options.api_key.first(), &gateway);

    told_to_stop.await;
    stop.cancel();
    let _accepted = accepting.await;
    if let Some(queue) = &queue {
        queue.close();
    }
    gateway.live.close(PATIENCE).await;
    gateway.carried.end(tokio::time::Instant::now()).await;
    if let Some(queue) = &queue {
        // Jobs that were stopped go back to their rows, for the next start.
        let _late = tokio::time::timeout(Duration::from_secs(1), queue.closed()).await;
    }
    server.closing.cancel();
    server.tasks.close();
    // Connections that do not close by themselves end with the process.
    let _late = tokio::time::timeout(Duration::from_secs(1), server.tasks.wait()).await;
    Ok(())
}

/// The rooms as the options say, and the doors over them.
async fn open(options: &ServeOptions, settings: Settings) -> Result<Doors, String> {
    let (model, embedder, stands_in) = models(options, &settings).await?;
    let search_model =
        collection::search_model(options, &settings, stands_in.is_none().then_some(&embedder))?;
    let retrieval = collection::open(options, &settings, &search_model).await?;
    let kept = Kept::open(options, &settings).await?;
    if let (Some(store), Some(file)) = (&kept.store, &options.answers) {
        load_answers(store, file).await?;
    }
    let rooms = Rooms {
        model,
        embedder,
        stands_in,
        retrieval: Some(retrieval),
        store: kept.store.clone(),
        single_process: kept.alone,
        lease: kept.lease,
    };
    let gateway = Gateway::open(settings, rooms)?;
    if let Some(store) = &kept.store {
        tokio::spawn(sweep(store.clone()));
    }
    let queue = kept.work(&gateway);
    Ok(Doors { gateway, queue, until: None })
}

type Models = (Arc<dyn Model>, Arc<dyn Embedder>, Option<&'static str>);

async fn models(options: &ServeOptions, settings: &Settings) -> Result<Models, String> {
    Ok(match &options.model {
        ModelOption::Extractive => {
            (Arc::new(Extractive), Arc::new(HashedEmbedding), Some("local.extractive"))
        }
        ModelOption::Script(file) => {
            let script = Scripted::load(file).map_err(|error| error.message)?;
            (Arc::new(script), Arc::new(HashedEmbedding), Some("local.scripted"))
        }
        ModelOption::Bedrock => {
            let http = aws::http_client(settings.ca_bundle.as_deref())?;
            let bedrock = Bedrock::load(http, settings.region.as_deref()).await;
            let bedrock = Arc::new(bedrock.map_err(|error| error.message)?);
            (bedrock.clone(), bedrock, None)
        }
    })
}

/// Loads curated answers, all of them or none.
async fn load_answers(store: &Store, file: &Path) -> Result<(), String> {
    let rows = crate::rows::all(file).map_err(|why| format!("--answers {why}"))?;
    store.put_curated(&rows).await.map_err(|error| error.message)?;
    say(&format!("{} curated answers loaded from {}", rows.len(), file.display()));
    Ok(())
}

async fn sweep(store: Arc<Store>) {
    let mut every = tokio::time::interval(SWEEP);
    loop {
        every.tick().await;
        match store.sweep().await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "expired rows removed"),
            Err(error) => tracing::warn!(%error, "expired rows were not removed"),
        }
    }
}

/// The address as a client on this machine, or of the first allowed name, would write it.
fn reachable(bound: SocketAddr, options: &ServeOptions) -> String {
    match options.allow_host.first() {
        Some(host) if !bound.ip().is_loopback() => format!("{host}:{}", bound.port()),
        _ if bound.ip().is_unspecified() => format!("127.0.0.1:{}", bound.port()),
        _ => bound.to_string(),
    }
}

fn greet(address: &str, key: Option<&String>, gateway: &Gateway) {
    let menu = gateway.menu();
    let shown = menu.default_id();
    // The key itself is not printed: it would stand in every log of this terminal.
    let name = key.and_then(|pair| pair.split_once('=')).map(|(name, _)| name);
    let header =
        name.map(|name| format!(" -H \"x-api-key: $KEY_OF_{}\"", name.to_uppercase())).unwrap_or_default();
    let question = "What does the answer cache do?";
    say(&format!("listening on http://{address}"));
    say(&format!("  curl -s{header} http://{address}/{shown} -d '{{\"prompt\":\"{question}\"}}'"));
    let message = format!("{{\"action\":\"sendmessage\",\"prompt\":\"{question}\"}}");
    say(&format!("  npx -y wscat@6.1.0{header} -c ws://{address} -x '{message}' -w 2"));
}
