use super::*;
use futures_util::{SinkExt, StreamExt};
use testkit::lambda::{Knobs, Which};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

type Socket = WebSocketStream<TcpStream>;

/// Opens a connection; the status where it is refused.
async fn open(emulator: &Emulator, query: &str, headers: &[(&'static str, &str)]) -> Result<Socket, u16> {
    open_with(emulator, query, headers).await.map(|(socket, _)| socket)
}

async fn open_with(
    emulator: &Emulator,
    query: &str,
    headers: &[(&'static str, &str)],
) -> Result<(Socket, Option<String>), u16> {
    let url = format!("{}{query}", emulator.urls().ws);
    let mut request = url.into_client_request().unwrap();
    let address = request.uri().authority().unwrap().to_string();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, reply)) => {
            let protocol = reply.headers().get("sec-websocket-protocol");
            Ok((socket, protocol.map(|value| value.to_str().unwrap().to_owned())))
        }
        Err(Error::Http(reply)) => Err(reply.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

async fn say(socket: &mut Socket, text: impl Into<String>) {
    socket.send(Message::text(text.into())).await.unwrap();
}

/// The next text; a close is told as `closed CODE`.
async fn heard(socket: &mut Socket) -> String {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => return text.as_str().to_owned(),
            Message::Close(frame) => return format!("closed {}", u16::from(frame.unwrap().code)),
            _ => {}
        }
    }
}

fn encoded(steps: Value) -> String {
    let script = script(steps);
    format!("?script={}", percent_encoding::utf8_percent_encode(&script, percent_encoding::NON_ALPHANUMERIC))
}

#[tokio::test]
async fn a_message_is_answered_by_pushes_after_the_response() {
    let emulator = started(Options::default());
    let mut socket = open(&emulator, "?name=Ryan", &[]).await.unwrap();
    let steps = json!([{ "post": { "statusCode": 200 } }, { "push": "one" }, { "push": "two" }]);
    say(&mut socket, json!({ "action": "sendmessage", "do": steps }).to_string()).await;
    assert_eq!(heard(&mut socket).await, "one");
    assert_eq!(heard(&mut socket).await, "two");
    let done = finished(&emulator, "sendmessage").await;
    assert!(done.posted.unwrap() <= emulator.seen().pushes[0].at);
    let client = &emulator.seen().connections[0];
    assert_eq!(client.query, "name=Ryan");

    socket.close(None).await.unwrap();
    finished(&emulator, "$disconnect").await;
    assert_eq!(emulator.seen().connections[0].code, Some(1005));
    let url = format!("{}/@connections/{}", emulator.urls().connections, client.id);
    assert_eq!(ask("POST", &url, &[], "late").await.status(), 410);
}

#[tokio::test]
async fn what_connect_returns_decides_the_handshake() {
    let emulator = started(Options::default());
    let refusal = encoded(json!([{ "post": { "statusCode": 401 } }]));
    assert_eq!(open(&emulator, &refusal, &[]).await.err(), Some(401));
    assert_eq!(open(&emulator, &encoded(json!([{ "error": "no" }])), &[]).await.err(), Some(502));
    assert_eq!(open(&emulator, &encoded(json!([{ "post": {} }])), &[]).await.err(), Some(502));
    let offered = [("sec-websocket-protocol", "llm-gateway, other")];
    let (_socket, protocol) = open_with(&emulator, "", &offered).await.unwrap();
    assert_eq!(protocol.unwrap(), "llm-gateway");
}

#[tokio::test]
async fn nothing_can_be_pushed_before_connect_has_returned() {
    let emulator = started(Options::default());
    let early = json!([{ "push": "early" }, { "post": { "statusCode": 200 } }]);
    open(&emulator, &encoded(early), &[]).await.unwrap();
    assert_eq!(emulator.seen().pushes[0].status, 410);
}

#[tokio::test]
async fn a_late_integration_puts_a_foreign_frame_into_the_stream_and_goes_on() {
    let emulator = started(with(|limits| limits.integration = Duration::from_millis(200)));
    let mut socket = open(&emulator, "", &[]).await.unwrap();
    say(
        &mut socket,
        script(json!([{ "sleep": 500 }, { "post": { "statusCode": 200 } }, { "push": "late" }])),
    )
    .await;
    let frame: Value = serde_json::from_str(&heard(&mut socket).await).unwrap();
    assert_eq!(frame["message"], "Endpoint request timed out");
    assert_eq!(frame["connectionId"], emulator.seen().connections[0].id);
    assert!(frame["requestId"].is_string());
    assert_eq!(heard(&mut socket).await, "late");

    say(
        &mut socket,
        script(json!([{ "post": { "statusCode": 200 } }, { "sleep": 500 }, { "push": "fine" }])),
    )
    .await;
    assert_eq!(heard(&mut socket).await, "fine");
}

#[tokio::test]
async fn a_failed_invocation_is_told_to_the_client() {
    let emulator = started(Options::default());
    let mut socket = open(&emulator, "", &[]).await.unwrap();
    for steps in [json!([{ "error": "x" }]), json!([{ "exit": 1 }]), json!([{ "post": "no status" }])] {
        say(&mut socket, script(steps)).await;
        let frame: Value = serde_json::from_str(&heard(&mut socket).await).unwrap();
        assert_eq!(frame["message"], "Internal server error");
    }
}

#[tokio::test]
async fn frames_messages_and_binaries_beyond_the_limits_close_the_connection() {
    let emulator = started(Options::default());
    let mut fits = open(&emulator, "", &[]).await.unwrap();
    say(&mut fits, "a".repeat(32 * 1024)).await;
    finished(&emulator, "$default").await;

    let mut large = open(&emulator, "", &[]).await.unwrap();
    say(&mut large, "a".repeat(32 * 1024 + 1)).await;
    assert_eq!(heard(&mut large).await, "closed 1009");
    let mut binary = open(&emulator, "", &[]).await.unwrap();
    binary.send(Message::binary(vec![1])).await.unwrap();
    assert_eq!(heard(&mut binary).await, "closed 1003");
    let disconnects = || emulator.seen().invocations.iter().filter(|one| one.kind == "$disconnect").count();
    until(|| (disconnects() == 2).then_some(())).await;
}

#[tokio::test]
async fn a_message_of_several_frames_may_have_128_kb() {
    let emulator = started(Options::default());
    for (frames, expected) in [(4, None), (5, Some("closed 1009"))] {
        let mut socket = open(&emulator, "", &[]).await.unwrap();
        for number in 0..frames {
            let kind = if number == 0 { Data::Text } else { Data::Continue };
            let frame = Frame::message(vec![b'a'; 32 * 1024], OpCode::Data(kind), number + 1 == frames);
            socket.send(Message::Frame(frame)).await.unwrap();
        }
        match expected {
            Some(expected) => assert_eq!(heard(&mut socket).await, expected),
            None => assert_eq!(finished(&emulator, "$default").await.outcome.unwrap(), "ok"),
        }
    }
}

#[tokio::test]
async fn a_connection_marked_as_gone_is_410_to_pushes_and_open_to_its_client() {
    let emulator = started(Options::default());
    let mut socket = open(&emulator, "", &[]).await.unwrap();
    let id = until(|| emulator.seen().connections.first().map(|client| client.id.clone())).await;
    emulator.set(Knobs { gone: vec![id], ..Knobs::default() });
    let pushing = |text: &str| script(json!([{ "post": { "statusCode": 200 } }, { "push": text }]));
    say(&mut socket, pushing("lost")).await;
    let refused = until(|| emulator.seen().pushes.first().cloned()).await;
    assert_eq!((refused.status, refused.delivered), (410, false));
    emulator.set(Knobs::default());
    say(&mut socket, pushing("back")).await;
    assert_eq!(heard(&mut socket).await, "back");
}

#[tokio::test]
async fn an_open_connection_starts_no_child_of_a_stopped_emulator() {
    let emulator = started(Options::default());
    let mut socket = open(&emulator, "", &[]).await.unwrap();
    let pid = emulator.seen().invocations[0].pid;
    emulator.stop().await;
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    // The session of the open connection is still there; its message finds no function.
    say(&mut socket, "hello").await;
    let frame: Value = serde_json::from_str(&heard(&mut socket).await).unwrap();
    assert_eq!(frame["message"], "Internal server error");
}

#[tokio::test]
async fn idle_and_old_connections_are_closed() {
    let emulator = started(with(|limits| limits.idle = Duration::from_millis(100)));
    assert_eq!(heard(&mut open(&emulator, "", &[]).await.unwrap()).await, "closed 1001");
    let emulator = started(with(|limits| limits.connection = Duration::from_millis(100)));
    assert_eq!(heard(&mut open(&emulator, "", &[]).await.unwrap()).await, "closed 1001");
}

#[tokio::test]
async fn connections_can_be_asked_and_closed_from_outside() {
    let emulator = started(Options::default());
    let mut socket = open(&emulator, "", &[]).await.unwrap();
    let id = until(|| emulator.seen().connections.first().map(|client| client.id.clone())).await;
    let url = format!("{}/@connections/{}", emulator.urls().connections, id.replace('=', "%3D"));
    let info = body_json(ask("GET", &url, &[], "").await).await;
    assert!(info["connectedAt"].as_str().unwrap().ends_with('Z'));
    for size in [32 * 1024 + 1, 128 * 1024 + 1] {
        let reply = ask("POST", &url, &[], vec![b'a'; size]).await;
        assert_eq!(reply.status(), 413);
        assert_eq!(reply.headers()["x-amzn-errortype"], "PayloadTooLargeException");
    }
    assert_eq!(ask("POST", &url, &[], vec![b'a'; 32 * 1024]).await.status(), 200);
    assert_eq!(heard(&mut socket).await.len(), 32 * 1024);
    assert_eq!(ask("DELETE", &url, &[], "").await.status(), 204);
    assert_eq!(heard(&mut socket).await, "closed 1000");
    assert_eq!(ask("GET", &url, &[], "").await.status(), 410);
}

#[tokio::test]
async fn knobs_make_pushes_fail_and_every_push_is_recorded() {
    let emulator = started(Options::default());
    let mut socket = open(&emulator, "", &[]).await.unwrap();
    let which = |number| Which { every: 0, at: vec![number] };
    let every = Which { every: 4, at: vec![] };
    emulator.set(Knobs {
        push_delay_ms: 20,
        throttled: every,
        unavailable: which(1),
        ambiguous: which(2),
        gone_pushes: which(3),
        ..Knobs::default()
    });
    let pushes: Vec<Value> = (1..=5).map(|number| json!({ "push": number.to_string() })).collect();
    let begun = Instant::now();
    say(&mut socket, script(json!(pushes))).await;
    assert_eq!(heard(&mut socket).await, "2");
    assert_eq!(heard(&mut socket).await, "5");
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let seen = until(|| Some(emulator.seen().pushes).filter(|all| all.len() == 5)).await;
    let statuses: Vec<(u16, bool)> = seen.iter().map(|push| (push.status, push.delivered)).collect();
    assert_eq!(statuses, [(503, false), (503, true), (410, false), (429, false), (200, true)]);
}

#[tokio::test]
async fn a_websocket_needs_its_key_too() {
    let keys = vec![("alice".to_owned(), "key-a".to_owned())];
    let plain = started(Options { api_keys: keys.clone(), ..Options::default() });
    assert_eq!(open(&plain, "", &[]).await.err(), Some(403));
    assert!(open(&plain, "", &[("x-api-key", "key-a")]).await.is_ok());
    let bearer = started(Options { api_keys: keys, bearer_keys: true, ..Options::default() });
    assert_eq!(open(&bearer, "", &[("authorization", "Bearer no")]).await.err(), Some(403));
    assert!(open(&bearer, "", &[("authorization", "Bearer key-a")]).await.is_ok());
    assert_eq!(finished(&bearer, "authorizer").await.function, "authorizer");
}
