//! The lines as Lambda gets them, held against the Embedded Metric Format's specification.

use super::lines::layer;
use super::*;
use crate::chat::{Started, StopReason, Usage, new_id};
use crate::config::Settings;
use crate::log::Log;
use crate::model::catalog::Catalog;
use crate::plan::Menu;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

/// Every unit of a `MetricDatum`.
const UNITS: &str = "Seconds Microseconds Milliseconds Bytes Kilobytes Megabytes Gigabytes Terabytes Bits \
                     Kilobits Megabits Gigabits Terabits Percent Count Bytes/Second Kilobytes/Second \
                     Megabytes/Second Gigabytes/Second Terabytes/Second Bits/Second Kilobits/Second \
                     Megabits/Second Gigabits/Second Terabits/Second Count/Second None";

/// Checks a line and gives the names of its metrics.
fn metrics_of(line: &Value) -> BTreeSet<&str> {
    assert!(line["_aws"]["Timestamp"].as_u64().unwrap() > 1_700_000_000_000, "milliseconds: {line}");
    let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
    assert_eq!(line["_aws"].as_object().unwrap().len(), 2, "no further member is allowed");
    let mut names = BTreeSet::new();
    for directive in directives {
        assert_eq!(directive.as_object().unwrap().len(), 3, "no further member is allowed");
        assert_eq!(directive["Namespace"], "LlmGateway");
        let sets = directive["Dimensions"].as_array().unwrap();
        assert!(!sets.is_empty());
        for set in sets.iter().map(|set| set.as_array().unwrap()) {
            assert_eq!(set.len(), 1, "dimensions are never crossed: {line}");
            let value = line[set[0].as_str().unwrap()].as_str().unwrap();
            assert!((1..=1024).contains(&value.len()) && value.is_ascii(), "{line}");
            assert!(["model", "door"].contains(&set[0].as_str().unwrap()), "{line}");
        }
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&metrics.len()));
        for metric in metrics {
            let name = metric["Name"].as_str().unwrap();
            assert!(line[name].is_number(), "{name} is no number in {line}");
            let unit = metric["Unit"].as_str().unwrap();
            assert!(UNITS.split_whitespace().any(|known| known == unit), "{unit}");
            assert!(names.insert(name), "{name} stands twice");
        }
    }
    names
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Written {
    type Writer = Written;

    fn make_writer(&'a self) -> Written {
        self.clone()
    }
}

/// The lines that are written meanwhile.
fn lines_of(doing: impl FnOnce()) -> Vec<Value> {
    let written = Written::default();
    let subscriber = tracing_subscriber::registry().with(layer(written.clone()));
    tracing::subscriber::with_default(subscriber, doing);
    let bytes = written.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn started(cache: CacheOutcome) -> Started {
    Started {
        request_id: "r".into(),
        chat_id: "c".into(),
        model: "m".into(),
        cache,
        sources: vec![],
        retrieval_unavailable: false,
        ignored: vec![],
        timings: Default::default(),
    }
}

/// The one line of a reply to which `happens`, and that ends so.
fn line_of(happens: impl FnOnce(&Reply), end: &Terminal) -> Value {
    let request = Request::new(Caller::local(), "prompt", "the question");
    let settings = Settings::from_vars([]).unwrap();
    let catalog = Catalog::load().unwrap();
    let plan = Plan::new(Menu { catalog: &catalog, settings: &settings, stands_in: None }, &request).unwrap();
    let reply = Reply::new(new_id(), Caller::local(), String::new());
    happens(&reply);
    let mut lines = lines_of(|| replied(&request, &plan, false, &reply, end));
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

fn completed() -> Terminal {
    let usage = Usage { input_tokens: 1_000, output_tokens: 2_000, ..Usage::default() };
    Terminal::Completed { stop_reason: StopReason::EndTurn, usage }
}

fn begins(reply: &Reply, cache: CacheOutcome) {
    reply.start(started(cache), Log::of(vec![crate::chat::Delta::text("a")]));
}

#[test]
fn a_whole_answers_line_is_its_metrics() {
    let line = line_of(|reply| begins(reply, CacheOutcome::Miss), &completed());
    let expected = "cache_hit cost_usd errors first_token_ms input_tokens output_tokens total_ms";
    assert_eq!(metrics_of(&line).into_iter().collect::<Vec<_>>().join(" "), expected);
    assert_eq!(
        (&line["level"], &line["message"], &line["outcome"]),
        (&"INFO".into(), &"reply".into(), &"end_turn".into())
    );
    assert_eq!(
        (&line["errors"], &line["cache_hit"], &line["output_tokens"]),
        (&0.into(), &0.into(), &2_000.into())
    );
    assert!(line["cost_usd"].as_f64().unwrap() > 0.0);
    let sets = &line["_aws"]["CloudWatchMetrics"][0]["Dimensions"];
    assert_eq!(sets, &serde_json::json!([["model"], ["door"]]));
}

#[test]
fn only_a_cache_that_was_asked_has_a_hit_or_a_miss() {
    for (cache, expected) in [
        (CacheOutcome::Hit, Some(1)),
        (CacheOutcome::Shared, Some(1)),
        (CacheOutcome::Miss, Some(0)),
        (CacheOutcome::Bypass, None),
        (CacheOutcome::Off, None),
    ] {
        let line = line_of(|reply| begins(reply, cache), &completed());
        assert_eq!(line.get("cache_hit").and_then(Value::as_u64), expected);
        assert_eq!(metrics_of(&line).contains("cache_hit"), expected.is_some());
        assert_eq!(line["cache"], cache.as_str());
    }
}

#[test]
fn a_failure_is_one_line_with_its_reason_and_a_cancelled_reply_is_none() {
    for (error, level, errors) in [
        (Error::new(Kind::UpstreamError, "a sentence").because("why"), "WARN", 1),
        (Error::internal("why"), "ERROR", 1),
        (Error::new(Kind::Cancelled, "a sentence").because("why"), "INFO", 0),
    ] {
        let line = line_of(|_| (), &Terminal::from(error.clone()));
        assert_eq!((&line["level"], &line["errors"]), (&level.into(), &errors.into()));
        assert_eq!((&line["outcome"], &line["detail"]), (&error.kind.code().into(), &"why".into()));
        assert!(!line.to_string().contains("a sentence"), "the caller's sentence may quote the request");
        assert!(!metrics_of(&line).contains("first_token_ms"), "there was none");
    }
}

#[test]
fn what_a_reply_went_without_is_counted_in_its_line() {
    let happens = |reply: &Reply| {
        begins(reply, CacheOutcome::Off);
        reply.lacks.store(&Error::new(Kind::Unavailable, "away").because("get: first"));
        reply.lacks.store(&Error::new(Kind::Unavailable, "away").because("put: second"));
        reply.lacks.retrieval(&Error::internal("it took too long"));
        let log = reply.log().unwrap();
        log.try_failed(Kind::Throttled);
        log.try_failed(Kind::UpstreamError);
    };
    let line = line_of(happens, &completed());
    let metrics = metrics_of(&line);
    for (name, count) in [("store_failures", 2), ("retrieval_unavailable", 1), ("throttles", 1)] {
        assert_eq!(line[name], count, "{name}");
        assert!(metrics.contains(name), "{name}");
    }
    assert_eq!((&line["failed_tries"], &line["level"]), (&2.into(), &"WARN".into()));
    assert_eq!(line["store_error"], "unavailable: away (get: first)");
}

#[test]
fn a_refusal_has_its_door_alone_and_not_the_sentence() {
    let error = Error::invalid("prompt", "`my secret` is wrong");
    let lines = lines_of(|| refused("sendmessage", Some("r"), &error));
    assert_eq!(metrics_of(&lines[0]), BTreeSet::from(["refused"]));
    assert_eq!(lines[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"], serde_json::json!([["door"]]));
    assert_eq!((&lines[0]["param"], &lines[0]["level"]), (&"prompt".into(), &"INFO".into()));
    assert!(!lines[0].to_string().contains("my secret"));
    let lines = lines_of(|| refused("prompt", None, &Error::new(Kind::Throttled, "wait")));
    assert_eq!(metrics_of(&lines[0]), BTreeSet::from(["refused", "throttles"]));
}

#[test]
fn an_embedding_is_measured_like_a_reply() {
    let choice = Catalog::load().unwrap().choose("local.hashed-embedding-256", "us-east-1").unwrap();
    let took = Duration::from_millis(12);
    let done = Ok(Vectors { vectors: vec![vec![0.0]], input_tokens: 3 });
    let lines = lines_of(|| embedded(&Caller::local(), &choice, took, &done));
    assert_eq!(metrics_of(&lines[0]), BTreeSet::from(["cost_usd", "errors", "input_tokens", "total_ms"]));
    let failed = Err(Error::new(Kind::Throttled, "wait"));
    let lines = lines_of(|| embedded(&Caller::local(), &choice, took, &failed));
    assert_eq!(metrics_of(&lines[0]), BTreeSet::from(["errors", "throttles", "total_ms"]));
}

#[test]
fn any_line_is_one_object_that_carries_its_spans_and_only_measured_ones_metrics() {
    let lines = lines_of(|| {
        let span =
            tracing::info_span!("invocation", aws_request_id = "i", connection_id = tracing::field::Empty);
        let _inside = span.enter();
        span.record("connection_id", "c=");
        tracing::warn!(
            model = "m",
            door = "d",
            total_ms = 1.5,
            text = "two\nlines \"and\" quotes",
            "not measured"
        );
        tracing::info!(target: emf::TARGET, model = "m", total_ms = f64::NAN, "nothing to measure");
    });
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert_eq!((&line["aws_request_id"], &line["connection_id"]), (&"i".into(), &"c=".into()));
        assert!(line.get("_aws").is_none() && line["timestamp"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(lines[0]["text"], "two\nlines \"and\" quotes");
}
