//! The whole engine over a store, as a Lambda has it.
#![allow(dead_code)]

use bytes::Bytes;
use futures_util::future::BoxFuture;
use gateway::chat::Caller;
use gateway::config::Settings;
use gateway::edge::Doors;
use gateway::error::Error;
use gateway::gateway::{Gateway, Rooms};
use gateway::model::Model;
use gateway::model::embedding::HashedEmbedding;
use gateway::model::scripted::Scripted;
use gateway::queue::Queue;
use gateway::retrieval::Retrieval;
use gateway::store::Store;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// A queue whose worker is the test.
struct Unattended;

impl Queue for Unattended {
    fn enqueue<'a>(&'a self, _: &'a Caller, _: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn close(&self) {}

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// The doors of one of several processes, with a model that plays this script.
pub fn doors(store: Store, script: &str) -> Arc<Doors> {
    over(store, Arc::new(Scripted::parse(script).unwrap()), &[])
}

/// The same with any model, and with these settings.
pub fn over(store: Store, model: Arc<dyn Model>, settings: &[(&str, &str)]) -> Arc<Doors> {
    let vars = settings.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    searching(store, model, Settings::from_vars(vars).unwrap(), None)
}

/// The same with documents, and perhaps without a store.
pub fn searching(
    store: impl Into<Option<Store>>,
    model: Arc<dyn Model>,
    settings: Settings,
    retrieval: Option<Arc<dyn Retrieval>>,
) -> Arc<Doors> {
    let rooms = Rooms {
        model,
        embedder: Arc::new(HashedEmbedding),
        stands_in: Some("local.scripted"),
        retrieval,
        store: store.into().map(Arc::new),
        single_process: false,
        lease: Duration::from_secs(60),
    };
    let gateway = Gateway::open(settings, rooms).unwrap();
    Arc::new(Doors { gateway, queue: Some(Arc::new(Unattended)), until: None })
}

/// One request of alice's: the response, and its body.
pub async fn http(doors: &Doors, method: Method, path: &str, body: &Value) -> (Response<()>, String) {
    let mut request = Request::new(if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) });
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    let (head, body) = doors.http(request, Caller("alice".into())).await.into_parts();
    let text = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(head, ()), String::from_utf8(text.to_vec()).unwrap())
}
