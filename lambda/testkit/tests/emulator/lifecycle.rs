use super::*;
use std::collections::BTreeSet;
use std::fs::read_to_string;

/// The state letter of a process, `T` where it is stopped; `None` where it is gone.
fn state(pid: u32) -> Option<char> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[tokio::test]
async fn an_idle_process_is_stopped_and_goes_on_for_an_event() {
    let emulator = started(single());
    let url = &emulator.urls().rest;
    for _ in 0..2 {
        assert_eq!(ask("POST", url, &[], "").await.status(), 200);
        let pid = emulator.seen().invocations[0].pid;
        until(|| (state(pid) == Some('T')).then_some(())).await;
    }
    let steps: Vec<String> = emulator.seen().environments.into_iter().map(|step| step.what).collect();
    assert_eq!(steps, ["started", "ready", "frozen", "continued", "frozen"]);
}

#[tokio::test]
async fn freezing_can_be_switched_off() {
    let emulator = started(Options { freeze: false, ..single() });
    ask("POST", &emulator.urls().rest, &[], "").await;
    let done = finished(&emulator, "rest").await;
    assert!(state(done.pid).is_some_and(|state| state != 'T'));
    assert!(emulator.seen().environments.iter().all(|step| step.what != "frozen"));
}

#[tokio::test]
async fn an_environment_is_busy_until_it_asks_for_more() {
    let emulator = started(single());
    let url = &emulator.urls().rest;
    let busy = script(json!([{ "stream": { "chunks": ["early"] } }, { "sleep": 400 }]));
    let begun = Instant::now();
    assert_eq!(text(ask("POST", url, &[], busy).await).await, "early");
    assert!(begun.elapsed() < Duration::from_millis(400));
    assert!(emulator.seen().invocations[0].freed.is_none());
    ask("POST", url, &[], "").await;
    assert!(begun.elapsed() >= Duration::from_millis(400));
    let pids: BTreeSet<u32> = emulator.seen().invocations.iter().map(|one| one.pid).collect();
    assert_eq!(pids.len(), 1);
}

#[tokio::test]
async fn simultaneous_requests_have_environments_of_their_own() {
    let emulator = started(Options::default());
    let slow = script(json!([{ "sleep": 300 }, { "stream": {} }]));
    let ask = || ask("POST", &emulator.urls().rest, &[], slow.clone());
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    assert!([a, b, c].iter().all(|reply| reply.status() == 200));
    let pids: BTreeSet<u32> = emulator.seen().invocations.iter().map(|one| one.pid).collect();
    assert_eq!(pids.len(), 3);
}

#[tokio::test]
async fn a_process_past_its_deadline_is_killed_and_replaced() {
    let emulator = started(with(|limits| limits.function = Duration::from_millis(200)));
    let url = &emulator.urls().rest;
    assert_eq!(ask("POST", url, &[], script(json!([{ "sleep": 5000 }]))).await.status(), 502);
    let done = finished(&emulator, "rest").await;
    assert_eq!(done.outcome.unwrap(), "timeout");
    assert_eq!(state(done.pid), None);
    assert_eq!(ask("POST", url, &[], "").await.status(), 200);
}

#[tokio::test]
async fn a_function_that_cannot_start_is_a_502() {
    for init in ["error", "none"] {
        let mut options = with(|limits| limits.init = Duration::from_millis(200));
        options.env = vec![("INIT".to_owned(), init.to_owned())];
        if init == "none" {
            // A Runtime API that is not there: the process ends by itself.
            options.env.push(("AWS_LAMBDA_RUNTIME_API".to_owned(), "127.0.0.1:1".to_owned()));
        }
        let emulator = started(options);
        assert_eq!(ask("POST", &emulator.urls().rest, &[], "").await.status(), 502);
    }
}

#[tokio::test]
async fn killing_a_child_cuts_its_reply() {
    let emulator = started(Options::default());
    let steps = script(json!([{ "stream": { "chunks": ["half", "never"], "gap": 5000 } }]));
    let reply = ask("POST", &emulator.urls().rest, &[], steps).await;
    let pid = emulator.seen().invocations[0].pid;
    assert!(emulator.kill(Some(pid)));
    assert!(reply.into_body().collect().await.is_err());
    assert_eq!(finished(&emulator, "rest").await.outcome.unwrap(), "exited");
    assert!(!emulator.kill(Some(pid)));
}

#[tokio::test]
async fn a_queued_message_is_tried_until_it_is_a_dead_letter() {
    let emulator = started(with(|limits| limits.visibility = Duration::from_secs(1)));
    let good = script(json!([{ "say": "worked" }, { "post": { "batchItemFailures": [] } }]));
    let poison = script(json!([{ "post": { "batchItemFailures": [{ "itemIdentifier": "x" }] } }]));
    emulator.enqueue(&good);
    emulator.enqueue(&poison);
    until(|| (emulator.seen().queued == 0).then_some(())).await;
    let seen = emulator.seen();
    assert_eq!(seen.dead_letters, [poison]);
    let worked = seen.invocations.iter().filter(|one| one.function == "worker" && one.kind == "sqs");
    assert_eq!(worked.count(), 4);
    until(|| emulator.lines().iter().any(|line| line.text == "worked").then_some(())).await;
}

#[tokio::test]
async fn a_message_that_is_hidden_for_too_short_is_delivered_beside_its_first_delivery() {
    let emulator = started(with(|limits| limits.visibility = Duration::from_secs(1)));
    emulator.enqueue(&script(json!([{ "sleep": 1700 }, { "post": { "batchItemFailures": [] } }])));
    until(|| (emulator.seen().queued == 0).then_some(())).await;
    let seen = emulator.seen();
    assert_eq!((seen.invocations.len(), seen.dead_letters.len()), (2, 0));
    assert_ne!(seen.invocations[0].pid, seen.invocations[1].pid);
}

#[tokio::test]
async fn sqs_delays_a_message_refuses_a_send_and_knows_its_receipts() {
    let emulator = started(Options::default());
    emulator.set(serde_json::from_value(json!({ "sends_refused": { "at": [2] } })).unwrap());
    let control = format!("{}/", emulator.urls().control);
    let call = async |operation: &str, body: Value| {
        let target = format!("AmazonSQS.{operation}");
        let reply = ask("POST", &control, &[("x-amz-target", target.as_str())], body.to_string()).await;
        (reply.status().as_u16(), body_json(reply).await)
    };
    let body = script(json!([{ "post": { "batchItemFailures": [] } }]));
    let (status, _) = call("SendMessage", json!({ "MessageBody": body, "DelaySeconds": 1 })).await;
    assert_eq!((status, emulator.seen().queued), (200, 1));
    assert_eq!(call("SendMessage", json!({ "MessageBody": body })).await.0, 503);
    assert_eq!(emulator.seen().invocations.len(), 0);
    until(|| (emulator.seen().queued == 0).then_some(())).await;
    assert_eq!(emulator.seen().invocations.len(), 1);
    let hide = json!({ "ReceiptHandle": "none", "VisibilityTimeout": 1 });
    assert_eq!(call("ChangeMessageVisibility", hide).await.0, 400);
    let (_, attributes) = call("GetQueueAttributes", json!({})).await;
    assert_eq!(attributes["Attributes"]["RedrivePolicy"], r#"{"maxReceiveCount":3}"#);
}

#[tokio::test]
async fn a_stopped_emulator_leaves_no_child() {
    let emulator = started(Options::default());
    ask("POST", &emulator.urls().rest, &[], "").await;
    let pid = emulator.seen().invocations[0].pid;
    emulator.stop().await;
    assert_eq!(state(pid), None);
}
