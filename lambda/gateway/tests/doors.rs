//! The doors over the whole engine, in the process: what no single file can promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers may fail")]

use bytes::Bytes;
use futures_util::future::BoxFuture;
use gateway::chat::Caller;
use gateway::config::Settings;
use gateway::edge::Doors;
use gateway::edge::socket::{Gone, Outlet, Session};
use gateway::gateway::{Gateway, Rooms};
use gateway::model::embedding::HashedEmbedding;
use gateway::model::scripted::Scripted;
use gateway::queue::local::LocalQueue;
use gateway::store::{Retention, Store, SystemClock};
use http::{Method, Request};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SCRIPT: &str = r#"[{"match": "slow", "stall": true, "deltas": [{"text": "begun"}]},
                         {"deltas": [{"text": "said "}, {"text": "so"}]}]"#;

async fn doors() -> Arc<Doors> {
    over(memory().await, true)
}

async fn memory() -> Arc<Store> {
    Arc::new(Store::embedded(None, Retention::default(), Arc::new(SystemClock)).await.unwrap())
}

/// A gateway over this store, alone or as one of several processes.
fn over(store: Arc<Store>, single_process: bool) -> Arc<Doors> {
    let rooms = Rooms {
        model: Arc::new(Scripted::parse(SCRIPT).unwrap()),
        embedder: Arc::new(HashedEmbedding),
        stands_in: Some("local.scripted"),
        retrieval: None,
        store: Some(store),
        single_process,
        lease: Duration::from_secs(5),
    };
    let gateway = Gateway::open(Settings::from_vars([]).unwrap(), rooms).unwrap();
    let queue = LocalQueue::start(Arc::new(gateway.clone()), 4);
    Arc::new(Doors { gateway, queue: Some(queue), until: None })
}

async fn http(doors: &Doors, caller: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
    let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let mut request = Request::new(bytes);
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    request.headers_mut().insert("accept", "application/json".parse().unwrap());
    let response = doors.http(request, Caller(caller.into())).await;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// Keeps what a session says.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Outlet for Heard {
    fn send(&self, frame: String) -> BoxFuture<'_, Result<(), Gone>> {
        self.0.lock().unwrap().push(frame);
        Box::pin(async { Ok(()) })
    }

    fn urgent(&self, frame: String) -> BoxFuture<'_, Result<(), Gone>> {
        self.send(frame)
    }

    fn close(&self, _: u16, _: &'static str) -> BoxFuture<'_, Result<(), Gone>> {
        Box::pin(async { Ok(()) })
    }
}

async fn ws(doors: &Arc<Doors>, caller: &str, text: &str) -> Vec<String> {
    let heard = Arc::new(Heard::default());
    let session = Session::new(doors.clone(), Caller(caller.into()), heard.clone());
    if let Some(going) = session.text(text).await {
        going.await;
    }
    std::mem::take(&mut *heard.0.lock().unwrap())
}

/// What one caller owns: a finished answer, a running one, a conversation, a job.
struct Owned {
    ids: [String; 4],
}

async fn own(doors: &Arc<Doors>, caller: &str) -> Owned {
    let path = "/local.scripted";
    let (status, answer) = http(doors, caller, Method::POST, path, json!({"prompt": "quick"})).await;
    assert_eq!(status, 200, "{answer}");
    let (_, job) = http(doors, caller, Method::POST, "/invokeModel", json!({"prompt": "job"})).await;
    let job = job["SendMessageResponse"]["SendMessageResult"]["MessageId"].as_str().unwrap().to_owned();
    let running = format!("running-of-{caller}");
    let asked =
        json!({"action": "sendmessage", "prompt": "slow", "request_id": running, "invalidate_cache": true});
    let (doors, caller) = (doors.clone(), caller.to_owned());
    let own_running = running.clone();
    let other = doors.clone();
    tokio::spawn(async move { ws(&other, &caller, &asked.to_string()).await });
    while doors.gateway.live.find(&Caller(running[11..].to_owned()), &own_running).is_none() {
        tokio::task::yield_now().await;
    }
    let text = |key: &str| answer[key].as_str().unwrap().to_owned();
    Owned { ids: [text("request_id"), running, text("chat_id"), job] }
}

#[tokio::test]
async fn what_one_caller_owns_no_other_can_read_cancel_or_resume() {
    let doors = doors().await;
    let alice = own(&doors, "alice").await;
    let all: Vec<(Method, String)> = [Method::GET, Method::DELETE]
        .into_iter()
        .flat_map(|method| {
            let paths = ["answers", "chats", "jobs"]
                .into_iter()
                .flat_map(|kind| alice.ids.iter().map(move |id| format!("/{kind}/{id}")));
            paths.map(move |path| (method.clone(), path))
        })
        .collect();
    for (method, path) in &all {
        let (status, body) = http(&doors, "bob", method.clone(), path, Value::Null).await;
        assert_eq!((status, body["error"]["code"].as_str()), (404, Some("not_found")), "{method} {path}");
    }
    for id in &alice.ids {
        for action in ["cancel", "resume", "chat", "delete_chat"] {
            let text = json!({"action": action, "request_id": id, "chat_id": id}).to_string();
            let frames = ws(&doors, "bob", &text).await;
            assert!(frames.len() == 1 && frames[0].contains("not_found"), "{action} {id}: {frames:?}");
        }
    }
    assert_eq!(http(&doors, "bob", Method::GET, "/chats", Value::Null).await.1["chats"], json!([]));
    // And all of it is still there for its owner.
    let [answer, running, chat, job] = &alice.ids;
    for path in [format!("/answers/{answer}"), format!("/chats/{chat}"), format!("/jobs/{job}")] {
        assert_eq!(http(&doors, "alice", Method::GET, &path, Value::Null).await.0, 200, "{path}");
    }
    let cancelled = http(&doors, "alice", Method::DELETE, &format!("/answers/{running}"), Value::Null).await;
    assert_eq!(cancelled.0, 200);
}

#[tokio::test]
async fn a_reply_is_cancelled_and_resumed_from_another_process() {
    let store = memory().await;
    let (here, there) = (over(store.clone(), false), over(store, false));
    let ask = json!({"action": "sendmessage", "prompt": "slow", "request_id": "r1"}).to_string();
    let asking = {
        let here = here.clone();
        tokio::spawn(async move { ws(&here, "alice", &ask).await })
    };
    // It is known over there as soon as it is kept.
    while http(&there, "alice", Method::GET, "/answers/r1", Value::Null).await.1["seq"] != 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(http(&there, "bob", Method::DELETE, "/answers/r1", Value::Null).await.0, 404);
    assert_eq!(http(&there, "alice", Method::DELETE, "/answers/r1", Value::Null).await.0, 200);
    let frames = asking.await.unwrap();
    let last: Value = serde_json::from_str(frames.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "cancelled");
    let resumed = ws(&there, "alice", r#"{"action":"resume","request_id":"r1","after":0}"#).await;
    assert!(resumed[0].contains("begun") && resumed.last().unwrap().contains("cancelled"), "{resumed:?}");
}

#[tokio::test]
async fn another_callers_chat_id_starts_fresh_in_ones_own_space() {
    let doors = doors().await;
    let ask = json!({"prompt": "quick", "chat_id": "shared-name"});
    for caller in ["alice", "bob"] {
        let (status, _) = http(&doors, caller, Method::POST, "/local.scripted", ask.clone()).await;
        assert_eq!(status, 200);
        let (_, chat) = http(&doors, caller, Method::GET, "/chats/shared-name", Value::Null).await;
        assert_eq!(chat["messages"].as_array().unwrap().len(), 2, "{caller} sees one turn: {chat}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40)
    ))]

    #[test]
    fn whatever_text_comes_every_frame_is_json_or_door_3(text in "(\\PC|[\\x00-\\x1f]){0,60}|\\{\"action\":\"(sendmessage|invokeModel|cancel|resume|chat|x)\",\"[a-z_]{1,10}\":(null|1|\"[a-z]{0,5}\"|\\[\\]|\\{\\})\\}|\\{\"request_id\":\"[a-z]{0,9}\",\"body\":(null|1|\"[a-z ]{0,9}\")\\}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let frames = runtime.block_on(async { ws(&doors().await, "fuzz", &text).await });
        for frame in frames {
            let raw = text.contains("invokeModel");
            prop_assert!(raw || serde_json::from_str::<Value>(&frame).is_ok(), "{}", frame);
        }
    }

    #[test]
    fn whatever_body_comes_every_reply_has_a_status_of_the_table(bytes in prop::collection::vec(any::<u8>(), 0..80), path in "/[a-zA-Z%0-9./]{0,20}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let status = runtime.block_on(async {
            let Ok(uri) = path.parse() else { return 400 };
            let mut request = Request::new(Bytes::from(bytes));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = uri;
            doors().await.http(request, Caller::local()).await.status().as_u16()
        });
        prop_assert!([200, 400, 404, 413].contains(&status), "{}", status);
    }
}
