//! What goes to Bedrock, byte by byte of JSON: one file a case in `tests/golden/`, an ask and the
//! Converse body that it must become, read where it comes out: at the stand-in.

#![cfg(feature = "aws")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use gateway::chat::{Message, Sampling, Tool, ToolChoice};
use gateway::error::Kind;
use gateway::model::bedrock::IDLE;
use gateway::model::convert;
use gateway::model::{Ask, Model};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use testkit::bedrock::Standin;

/// An `Ask` as the files spell it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    messages: Vec<Message>,
    #[serde(default)]
    stored_messages: usize,
    #[serde(default)]
    cache_points: bool,
    system: Option<String>,
    #[serde(default)]
    sampling: Sampling,
    #[serde(default)]
    tools: Vec<Tool>,
    tool_choice: Option<ToolChoice>,
    response_schema: Option<Value>,
}

#[derive(Deserialize)]
struct Case {
    ask: Written,
    converse: Value,
}

impl From<Written> for Ask {
    fn from(written: Written) -> Ask {
        Ask {
            invoke_id: "test.model".to_owned(),
            messages: written.messages,
            stored_messages: written.stored_messages,
            cache_points: written.cache_points,
            system: written.system,
            sampling: written.sampling,
            tools: written.tools,
            tool_choice: written.tool_choice,
            response_schema: written.response_schema,
            ..Ask::default()
        }
    }
}

#[tokio::test]
async fn every_ask_becomes_the_converse_request_beside_it() {
    let standin = Standin::start().await;
    let bedrock = support::adapter(&standin, IDLE);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10);
    for file in files {
        let name = file.display();
        let text = std::fs::read_to_string(&file).unwrap();
        let case: Case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let parts = bedrock.ask(case.ask.into()).await;
        assert!(parts.is_ok(), "{name}: {:?}", parts.err());
        let body = standin.requests().last().unwrap().body.clone();
        assert_eq!(body, case.converse, "{name}\n{body:#}");
    }
}

/// Asserts that a conversation of these messages cannot be sent, and why.
fn check_refused(messages: Value, reason: &str) {
    let messages = serde_json::from_value(messages).unwrap();
    let error = convert::request(Ask { messages, ..Ask::default() }).unwrap_err();
    assert_eq!((error.kind, error.param.as_deref()), (Kind::InvalidRequest, Some("messages")));
    assert!(error.message.contains(reason), "{}", error.message);
}

#[test]
fn what_cannot_be_sent_is_refused_with_a_reason() {
    let message = |block: Value| json!([{ "role": "user", "content": [block] }]);
    check_refused(message(json!({ "type": "text", "text": " \n" })), "empty");
    check_refused(
        message(json!({ "type": "image", "format": "bmp", "bytes": "AAAA" })),
        "gif, jpeg, png, webp",
    );
    check_refused(message(json!({ "type": "image", "format": "png", "bytes": "?" })), "base64");
    let nested = json!({ "type": "tool_use", "id": "1", "name": "n", "input": {} });
    check_refused(
        message(json!({ "type": "tool_result", "id": "1", "content": [nested], "is_error": false })),
        "text and images",
    );
}
