use super::*;
use rustix::process::{Pid, Signal, kill_process};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

#[tokio::test]
async fn the_command_says_its_urls_is_controlled_over_http_and_stops_its_children() {
    let function = env!("CARGO_BIN_EXE_scripted-lambda");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lambda-emulator"));
    command.args(["--rest", function, "--ws", function, "--concurrency", "2", "--env", "A=b"]);
    command.args(["--visibility-ms", "20", "--max-receives", "1", "--api-key", "alice=key-a"]);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let urls: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    let (rest, control) = (urls["rest"].as_str().unwrap(), urls["control"].as_str().unwrap());

    let steps = script(json!([{ "say": "hello" }, { "stream": { "chunks": ["x"] } }]));
    let reply = ask("POST", rest, &[("x-api-key", "key-a")], steps).await;
    assert_eq!(text(reply).await, "x");
    let seen = body_json(ask("GET", &format!("{control}/seen"), &[], "").await).await;
    let pid = seen["invocations"][0]["pid"].as_u64().unwrap();
    let logs = body_json(ask("GET", &format!("{control}/logs"), &[], "").await).await;
    assert_eq!(logs[0]["text"], "hello");

    let knobs = r#"{"throttled":{"every":10}}"#;
    let set = body_json(ask("PUT", &format!("{control}/knobs"), &[], knobs).await).await;
    assert_eq!(set["throttled"]["every"], 10);
    assert_eq!(ask("PUT", &format!("{control}/knobs"), &[], r#"{"x":1}"#).await.status(), 400);
    let target = [("x-amz-target", "AmazonSQS.SendMessage")];
    let poison = script(json!([{ "error": "no" }]));
    let sent = json!({ "QueueUrl": "q", "MessageBody": poison }).to_string();
    let sent = body_json(ask("POST", &format!("{control}/"), &target, sent).await).await;
    assert_eq!(sent["MD5OfMessageBody"].as_str().unwrap().len(), 32);

    let kill = json!({ "function": "rest" }).to_string();
    let killed = body_json(ask("POST", &format!("{control}/kill"), &[], kill).await).await;
    assert_eq!(killed["killed"], true);
    until(|| (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())).await;
    ask("POST", rest, &[("x-api-key", "key-a")], "").await;
    let seen = body_json(ask("GET", &format!("{control}/seen"), &[], "").await).await;
    let pids: Vec<u64> =
        seen["invocations"].as_array().unwrap().iter().map(|one| one["pid"].as_u64().unwrap()).collect();

    kill_process(Pid::from_raw(child.id().unwrap() as i32).unwrap(), Signal::TERM).unwrap();
    assert!(child.wait().await.unwrap().success());
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}

#[tokio::test]
async fn a_wrong_option_is_a_sentence() {
    for (arguments, named) in [
        (&["--nope", "1"][..], "--nope"),
        (&["--env", "novalue"], "--env"),
        (&["--concurrency", "x"], "--concurrency"),
        (&["--rest", "/not/there"], "/not/there"),
        (&["--rest"], "--rest"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lambda-emulator"));
        let output = command.args(arguments).output().await.unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(named), "{said}");
    }
}
