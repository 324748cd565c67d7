//! The Bedrock adapter against the stand-in: real HTTP, real frames, every way it can fail.

#![cfg(feature = "aws")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod support;

use gateway::chat::{Delta, Purpose, StopReason, Usage};
use gateway::error::{Error, Kind};
use gateway::model::catalog::{EmbeddingBody, EmbeddingSpec};
use gateway::model::{EmbedAsk, Embedder, Model, Part};
use serde_json::json;
use std::time::Duration;
use support::{adapter, all, ask, poll_until};
use testkit::bedrock::{Failure, Fault, Knobs, Reasoning, Standin, TokenUsage, ToolCall};

const IDLE: Duration = Duration::from_secs(5);

/// What the adapter makes of one answer given so.
async fn answer(knobs: Knobs) -> Vec<Result<Part, Error>> {
    let standin = Standin::start().await;
    standin.set(knobs);
    all(adapter(&standin, IDLE).ask(ask("why?")).await.unwrap()).await
}

/// The error that a refused call ends with.
async fn refusal(knobs: Knobs) -> Error {
    let standin = Standin::start().await;
    standin.set(knobs);
    match adapter(&standin, IDLE).ask(ask("why?")).await {
        Err(error) => error,
        Ok(_) => panic!("this call should have been refused"),
    }
}

/// Asserts that a stream gives two tokens and then one error of this kind, and ends.
async fn breaks_with(fault: Fault, kind: Kind) -> Error {
    let parts = answer(Knobs { tokens: Some(9), fault: Some(fault), ..Knobs::default() }).await;
    assert_eq!(parts.len(), 3, "{parts:?}");
    assert_eq!(parts[1], Ok(Part::Delta(Delta::text("token1 "))));
    let error = parts[2].clone().unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.detail.is_some());
    error
}

#[tokio::test]
async fn a_text_answer_comes_with_its_stop_reason_and_every_token_count() {
    let usage = TokenUsage {
        input_tokens: 7,
        output_tokens: 2,
        total_tokens: 129,
        cache_read_input_tokens: Some(100),
        cache_write_input_tokens: Some(20),
    };
    let parts =
        answer(Knobs { text: Some("Hello wörld".into()), usage: Some(usage), ..Knobs::default() }).await;
    let expected = Usage {
        input_tokens: 7,
        output_tokens: 2,
        cache_read_input_tokens: 100,
        cache_write_input_tokens: 20,
        estimated: false,
    };
    let expected = [
        Part::Delta(Delta::text("Hello ")),
        Part::Delta(Delta::text("wörld")),
        Part::Stop(StopReason::EndTurn),
        Part::Usage(expected),
    ];
    assert_eq!(parts, expected.map(Ok));
}

#[tokio::test]
async fn a_tool_call_comes_as_its_name_and_pieces_of_its_input() {
    let input = json!({ "city": "Reykjavík", "days": 3 });
    let tool = ToolCall { id: "call-1".into(), name: "weather".into(), input: input.clone() };
    let parts = answer(Knobs { text: Some(String::new()), tool: Some(tool), ..Knobs::default() }).await;
    let begin = Delta::ToolUse { id: "call-1".into(), name: "weather".into() };
    assert_eq!(parts[0], Ok(Part::Delta(begin)));
    let json: String = parts
        .iter()
        .filter_map(|part| match part {
            Ok(Part::Delta(Delta::ToolInput { json })) => Some(json.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), input);
    assert!(parts.contains(&Ok(Part::Stop(StopReason::ToolUse))));
}

#[tokio::test]
async fn reasoning_comes_with_its_signature_and_its_redacted_pieces() {
    let reasoning = vec![
        Reasoning::Text("let me think".into()),
        Reasoning::Signature("sig".into()),
        Reasoning::RedactedContent("c2VjcmV0".into()),
    ];
    let parts = answer(Knobs { text: Some("42".into()), reasoning, ..Knobs::default() }).await;
    let piece = |text: &str, signature: Option<&str>, redacted: Option<&str>| {
        let (signature, redacted) = (signature.map(str::to_owned), redacted.map(str::to_owned));
        Ok(Part::Delta(Delta::Reasoning { text: text.to_owned(), signature, redacted }))
    };
    let expected = [
        piece("let me think", None, None),
        piece("", Some("sig"), None),
        piece("", None, Some("c2VjcmV0")),
        Ok(Part::Delta(Delta::text("42"))),
    ];
    assert_eq!(parts[..4], expected);
}

#[tokio::test]
async fn every_stop_reason_is_passed_on() {
    let standin = Standin::start().await;
    let bedrock = adapter(&standin, IDLE);
    let reasons = "end_turn tool_use max_tokens stop_sequence guardrail_intervened content_filtered \
        malformed_model_output malformed_tool_use model_context_window_exceeded one_of_tomorrow";
    for reason in reasons.split_whitespace() {
        standin.set(Knobs { stop_reason: Some(reason.into()), ..Knobs::default() });
        let parts = all(bedrock.ask(ask("why?")).await.unwrap()).await;
        let stop = parts.iter().find_map(|part| match part {
            Ok(Part::Stop(stop)) => Some(stop.clone()),
            _ => None,
        });
        let stop = stop.unwrap();
        assert_eq!(stop.as_str(), reason);
        let known = !reason.contains("mal") && !reason.contains("exceeded") && !reason.contains("tomorrow");
        assert_eq!(matches!(stop, StopReason::Other(_)), !known, "{reason}");
    }
}

#[tokio::test]
async fn every_refusal_before_the_stream_has_its_kind() {
    let cases = [
        ("AccessDeniedException", 403, Kind::Unavailable),
        ("UnrecognizedClientException", 403, Kind::Unavailable),
        ("ExpiredTokenException", 403, Kind::Unavailable),
        ("ValidationException", 400, Kind::InvalidRequest),
        ("ServiceQuotaExceededException", 400, Kind::Throttled),
        ("ResourceNotFoundException", 404, Kind::ModelNotFound),
        ("ModelTimeoutException", 408, Kind::UpstreamError),
        ("ModelErrorException", 424, Kind::UpstreamError),
        ("ModelStreamErrorException", 424, Kind::UpstreamError),
        ("ThrottlingException", 429, Kind::Throttled),
        ("ModelNotReadyException", 429, Kind::Throttled),
        ("InternalServerException", 500, Kind::UpstreamError),
        ("ServiceUnavailableException", 503, Kind::Unavailable),
        ("OneOfTomorrow", 418, Kind::UpstreamError),
    ];
    for (name, status, kind) in cases {
        let error =
            refusal(Knobs { error: Some(Failure::new(name, status, "said so")), ..Knobs::default() }).await;
        assert_eq!(error.kind, kind, "{name}");
        assert_eq!(
            error.message.contains("said so"),
            name == "ValidationException",
            "{name}: {}",
            error.message
        );
        let detail = error.detail.unwrap();
        assert!(detail.contains(name), "{name}: {detail}");
        // What may quote the request is not for the log; what an operator has to act on is.
        let told = matches!(kind, Kind::Throttled | Kind::Unavailable);
        assert_eq!(detail.contains("said so"), told, "{name}: {detail}");
    }
}

#[tokio::test]
async fn a_prompt_over_the_window_is_too_large() {
    let failure = Failure::new("ValidationException", 400, "Input is too long for requested model.");
    let error = refusal(Knobs { error: Some(failure), ..Knobs::default() }).await;
    assert_eq!(error.kind, Kind::TooLarge);
    assert_eq!(error.message, "Bedrock refused the request: Input is too long for requested model.");
}

#[tokio::test]
async fn a_throttled_call_says_how_long_to_wait_and_is_not_retried_here() {
    let standin = Standin::start().await;
    standin.set(Knobs { throttle: 1, retry_after: Some(7), ..Knobs::default() });
    let bedrock = adapter(&standin, IDLE);
    let error = bedrock.ask(ask("why?")).await.err().unwrap();
    assert_eq!((error.kind, error.retry_after), (Kind::Throttled, Some(Duration::from_secs(7))));
    assert_eq!(standin.calls(), 1);
    assert!(bedrock.ask(ask("why?")).await.is_ok());
}

#[tokio::test]
async fn every_exception_within_the_stream_has_its_kind() {
    let cases = [
        ("internalServerException", Kind::UpstreamError),
        ("modelStreamErrorException", Kind::UpstreamError),
        ("modelTimeoutException", Kind::UpstreamError),
        ("validationException", Kind::InvalidRequest),
        ("throttlingException", Kind::Throttled),
        ("serviceUnavailableException", Kind::Unavailable),
        ("oneOfTomorrow", Kind::UpstreamError),
    ];
    for (name, kind) in cases {
        let fault = Fault::Exception { after: 2, name: name.into(), message: "said so".into() };
        let error = breaks_with(fault, kind).await;
        let detail = error.detail.unwrap().to_lowercase();
        assert!(detail.contains(&name.to_lowercase()), "{detail}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_upstream_error_wherever_it_breaks() {
    breaks_with(Fault::Cut { after: 2 }, Kind::UpstreamError).await;
    breaks_with(Fault::CutInside { after: 2 }, Kind::UpstreamError).await;
    breaks_with(Fault::EndInside { after: 2 }, Kind::UpstreamError).await;
    breaks_with(Fault::Length { after: 2 }, Kind::UpstreamError).await;
}

#[tokio::test]
async fn a_wrong_checksum_is_an_upstream_error() {
    breaks_with(Fault::Checksum { after: 2 }, Kind::UpstreamError).await;
}

#[tokio::test]
async fn a_stream_without_message_stop_ends_without_stop() {
    let fault = Some(Fault::End { after: 2 });
    let parts = answer(Knobs { tokens: Some(9), fault, ..Knobs::default() }).await;
    let texts = ["token0 ", "token1 "].map(|text| Ok(Part::Delta(Delta::text(text))));
    assert_eq!(parts, texts);
}

#[tokio::test]
async fn a_model_that_falls_silent_is_given_up_and_its_connection_closed() {
    let standin = Standin::start().await;
    let bedrock = adapter(&standin, Duration::from_millis(60));
    standin.set(Knobs { tokens: Some(9), fault: Some(Fault::Stall { after: 2 }), ..Knobs::default() });
    let parts = all(bedrock.ask(ask("why?")).await.unwrap()).await;
    let error = parts[2].clone().unwrap_err();
    assert_eq!(error.kind, Kind::UpstreamError);
    assert!(error.message.contains("silent"), "{}", error.message);
    assert_eq!(parts.len(), 3);
    poll_until("the stalled stream is closed", || standin.open() == 0).await;

    standin.set(Knobs { head_ms: 60_000, ..Knobs::default() });
    let error = bedrock.ask(ask("why?")).await.err().unwrap();
    assert!(error.message.contains("silent"), "{}", error.message);
    poll_until("the waiting call is closed", || standin.open() == 0).await;
}

#[tokio::test]
async fn an_answer_whose_counts_never_come_is_still_whole() {
    let parts = answer(Knobs { tokens: Some(1), no_metadata: true, ..Knobs::default() }).await;
    let expected = [Part::Delta(Delta::text("token0 ")), Part::Stop(StopReason::EndTurn)];
    assert_eq!(parts, expected.map(Ok));
}

#[tokio::test]
async fn a_text_is_embedded_in_the_shape_that_its_model_speaks() {
    let standin = Standin::start().await;
    let bedrock = adapter(&standin, IDLE);
    let titan = bedrock.embed(texts(EmbeddingBody::Titan, 1, 1)).await.unwrap();
    assert_eq!((titan.vectors[0].len(), titan.input_tokens), (1024, 2));
    let cohere = bedrock.embed(texts(EmbeddingBody::Cohere, 96, 1)).await.unwrap();
    assert_eq!(cohere.vectors, titan.vectors);
    assert_eq!(standin.requests()[1].body["input_type"], "search_document");

    standin.set(Knobs { throttle: 1, retry_after: Some(2), ..Knobs::default() });
    let error = bedrock.embed(texts(EmbeddingBody::Titan, 1, 1)).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (Kind::Throttled, Some(Duration::from_secs(2))));
}

#[tokio::test]
async fn many_texts_take_as_few_requests_as_their_model_allows_and_keep_their_order() {
    let standin = Standin::start().await;
    let bedrock = adapter(&standin, IDLE);
    let cohere = bedrock.embed(texts(EmbeddingBody::Cohere, 96, 200)).await.unwrap();
    let sizes: Vec<_> =
        standin.requests().iter().map(|seen| seen.body["texts"].as_array().unwrap().len()).collect();
    assert_eq!(
        {
            let mut sizes = sizes;
            sizes.sort_unstable();
            sizes
        },
        [8, 96, 96]
    );
    let titan = bedrock.embed(texts(EmbeddingBody::Titan, 1, 200)).await.unwrap();
    assert_eq!(standin.requests().len(), 3 + 200);
    assert_eq!(titan.vectors, cohere.vectors);
    assert_ne!(titan.vectors[0], titan.vectors[1]);
}

/// So many texts for a model with such bodies; the first one is `two words`.
fn texts(body: EmbeddingBody, batch: usize, count: usize) -> EmbedAsk {
    let texts =
        (0..count).map(|number| if number == 0 { "two words".into() } else { format!("text {number}") });
    EmbedAsk {
        invoke_id: "test.embedder".into(),
        spec: EmbeddingSpec { dimensions: 1024, body, batch },
        texts: texts.collect(),
        purpose: Purpose::Document,
    }
}

#[tokio::test]
async fn a_directive_in_the_prompt_steers_its_own_request_only() {
    let standin = Standin::start().await;
    let bedrock = adapter(&standin, IDLE);
    let parts =
        all(bedrock.ask(ask(r#"go @standin{"tokens":1,"stop_reason":"max_tokens"}"#)).await.unwrap()).await;
    assert_eq!(parts[..2], [Ok(Part::Delta(Delta::text("token0 "))), Ok(Part::Stop(StopReason::MaxTokens))]);
    let parts = all(bedrock.ask(ask("why?")).await.unwrap()).await;
    assert_eq!(parts[0], Ok(Part::Delta(Delta::text("[stand-in] "))));
}

#[tokio::test]
async fn a_directive_is_throttled_by_its_own_count_and_a_script_is_played_once() {
    let standin = Standin::start().await;
    let bedrock = adapter(&standin, IDLE);
    let throttled = r#"go @standin{"throttle":2,"retry_after":1}"#;
    for (text, kind) in [
        (throttled, Some(Kind::Throttled)),
        ("why?", None),
        (throttled, Some(Kind::Throttled)),
        (throttled, None),
    ] {
        assert_eq!(bedrock.ask(ask(text)).await.err().map(|error| error.kind), kind);
    }
    let failure = Some(Failure::new("ServiceUnavailableException", 503, "away"));
    standin.script([Knobs { error: failure, ..Knobs::default() }]);
    assert_eq!(bedrock.ask(ask("why?")).await.err().map(|error| error.kind), Some(Kind::Unavailable));
    assert!(bedrock.ask(ask("why?")).await.is_ok());
}
