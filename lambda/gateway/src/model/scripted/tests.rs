//! What a script plays, and what is said about a bad one.

use super::*;
use serde_json::json;
use std::task::Poll;
use tokio::time::Instant;

async fn ask(script: Value, question: &str) -> Result<Parts, Error> {
    let scripted = Scripted::parse(&script.to_string()).unwrap();
    scripted.ask(Ask { question: question.into(), ..Ask::default() }).await
}

async fn play_all(entry: Value) -> Vec<Result<Part, Error>> {
    ask(json!([entry]), "a question").await.unwrap().collect().await
}

fn text(text: &str) -> Result<Part, Error> {
    Ok(Part::Delta(Delta::text(text)))
}

fn stop(reason: StopReason, input_tokens: u64, output_tokens: u64) -> [Result<Part, Error>; 2] {
    let usage = Usage { input_tokens, output_tokens, estimated: true, ..Usage::default() };
    [Ok(Part::Stop(reason)), Ok(Part::Usage(usage))]
}

#[tokio::test]
async fn the_first_entry_that_matches_answers() {
    let script = json!([
        {"match": "cat", "deltas": [{"text": "meow"}]},
        {"deltas": [{"text": "what?"}]},
        {"match": "dog", "deltas": [{"text": "never"}]},
    ]);
    for (question, answer) in [("a cat?", "meow"), ("a dog?", "what?")] {
        let mut parts = ask(script.clone(), question).await.unwrap();
        assert_eq!(parts.next().await, Some(text(answer)));
    }
}

#[tokio::test]
async fn a_question_without_an_entry_is_an_invalid_request() {
    let error = ask(json!([{"match": "cat"}]), "a dog?").await.err().unwrap();
    assert_eq!(error.kind, Kind::InvalidRequest);
    assert!(error.message.contains("match"));
}

#[tokio::test]
async fn repetitions_are_counted_and_usage_is_estimated_in_words() {
    let parts = play_all(json!({"deltas": [{"text": "{n} of "}, {"text": "2;"}], "repeat": 2})).await;
    let [first, second] = stop(StopReason::EndTurn, 2, 6);
    assert_eq!(parts, [text("1 of "), text("2;"), text("2 of "), text("2;"), first, second]);
}

#[tokio::test]
async fn reasoning_and_tool_calls_are_played() {
    let parts = play_all(json!({"deltas": [
        {"reasoning": "hm", "signature": "s"},
        {"tool_use": {"id": "1", "name": "weather", "input": {"city": "Oslo"}}},
    ]}))
    .await;
    let deltas = [
        Delta::Reasoning { text: "hm".into(), signature: Some("s".into()), redacted: None },
        Delta::ToolUse { id: "1".into(), name: "weather".into() },
        Delta::ToolInput { json: r#"{"city":"Oslo"}"#.into() },
    ];
    assert_eq!(parts[..3], deltas.map(|delta| Ok(Part::Delta(delta))));
    assert_eq!(parts[3], Ok(Part::Stop(StopReason::ToolUse)));
}

#[tokio::test]
async fn stop_reason_and_usage_are_the_scripts_own() {
    let usage = json!({"input_tokens": 7, "output_tokens": 8});
    let parts = play_all(json!({"stop_reason": "max_tokens", "usage": usage})).await;
    let usage = Usage { input_tokens: 7, output_tokens: 8, ..Usage::default() };
    assert_eq!(parts, [Ok(Part::Stop(StopReason::MaxTokens)), Ok(Part::Usage(usage))]);
}

#[tokio::test]
async fn an_error_comes_instead_of_the_answer_or_after_so_many_deltas() {
    let error = json!({"code": "throttled", "message": "Too much.", "retry_after_s": 2});
    let refused = ask(json!([{"error": error}]), "x").await.err().unwrap();
    let expected = Error::new(Kind::Throttled, "Too much.").after(Some(Duration::from_secs(2)));
    assert_eq!(refused, expected);

    for (after, before_it) in [(0, 0), (3, 3), (9, 4)] {
        let error = json!({"code": "upstream_error", "message": "It broke.", "after_deltas": after});
        let parts =
            play_all(json!({"deltas": [{"text": "a"}, {"text": "b"}], "repeat": 2, "error": error})).await;
        assert_eq!(parts.len(), before_it + 1);
        assert_eq!(parts[before_it], Err(Error::new(Kind::UpstreamError, "It broke.")));
    }
}

#[tokio::test]
async fn a_cut_stream_ends_without_a_stop_and_a_stalled_one_never() {
    assert_eq!(play_all(json!({"deltas": [{"text": "half"}], "cut": true})).await, [text("half")]);

    let mut parts = ask(json!([{"deltas": [{"text": "wait"}], "stall": true}]), "x").await.unwrap();
    assert_eq!(parts.next().await, Some(text("wait")));
    assert_eq!(futures_util::poll!(parts.next()), Poll::Pending);
}

#[tokio::test(start_paused = true)]
async fn the_pauses_are_kept() {
    let began = Instant::now();
    let deltas = json!([{"text": "a", "after_ms": 20}, {"text": "b"}]);
    let mut parts = ask(json!([{"after_ms": 300, "deltas": deltas}]), "x").await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_millis(300));
    parts.next().await;
    parts.next().await;
    assert_eq!(began.elapsed(), Duration::from_millis(320));
}

fn check_refused(script: &str, part: &str) {
    let error = Scripted::parse(script).unwrap_err();
    assert!(error.message.contains(part), "{script}: {error}");
}

#[test]
fn a_bad_script_is_refused_with_its_line_and_field() {
    check_refused("[\n{\"detlas\": []}\n]", "unknown field `detlas`");
    check_refused("[\n{\"detlas\": []}\n]", "line 2");
    check_refused("[{\"deltas\": [{}]}]", "exactly one of");
    check_refused("[{\"deltas\": [{\"text\": \"a\", \"reasoning\": \"b\"}]}]", "exactly one of");
    check_refused("[{\"cut\": true, \"stall\": true}]", "at most one of");
    check_refused("[{\"error\": {\"code\": \"oops\", \"message\": \"\"}}]", "upstream_error");
    check_refused("[]", "no entry");
    check_refused("{", "line 1");
    let error = Scripted::load(Path::new("/nowhere/script.json")).unwrap_err();
    assert!(error.message.contains("/nowhere/script.json"));
}

#[test]
fn the_script_in_the_documentation_is_a_script() {
    let source = include_str!("../scripted.rs");
    let (_, rest) = source.split_once("//! ```json\n").unwrap();
    let (script, _) = rest.split_once("//! ```\n").unwrap();
    let json: String = script.lines().map(|line| line.trim_start_matches("//!")).collect();
    assert_eq!(Scripted::parse(&json).unwrap().entries.len(), 7);
}
