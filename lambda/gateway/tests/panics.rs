//! A panic where logs are written: the process ends, its place is named, and what it worked on is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers may fail")]

use gateway::telemetry;
use serde_json::Value;
use std::process::{Command, Output};

const TEXT: &str = "somebody's text";

/// Runs one of the tests below in a process of its own.
fn child(test: &str) -> Output {
    let this = std::env::current_exe().unwrap();
    Command::new(this).args([test, "--exact", "--ignored", "--nocapture"]).output().unwrap()
}

#[test]
#[ignore = "a child of another test"]
fn cut_where_no_character_ends() {
    telemetry::json_logs(None);
    let text = format!("ä{TEXT}");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // The standard library's message quotes the string.
    let _cut = runtime.block_on(async { tokio::spawn(async move { text[1..].len() }).await });
}

#[test]
#[ignore = "a child of another test"]
fn panic_with_a_literal() {
    telemetry::json_logs(Some("off"));
    panic!("the tray is empty");
}

#[test]
#[ignore = "a child of another test"]
fn panic_as_the_command_does() {
    telemetry::text_logs(None);
    let text = format!("ä{TEXT}");
    assert!(text[1..].is_empty());
}

fn line(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines: Vec<_> = text.lines().filter_map(|line| line.find('{').map(|at| &line[at..])).collect();
    assert_eq!(lines.len(), 1, "{text}");
    serde_json::from_str(lines[0]).unwrap()
}

#[test]
fn a_panic_ends_the_process_with_one_line_that_does_not_quote_the_text() {
    let output = child("cut_where_no_character_ends");
    assert!(!output.status.success() && output.status.code().is_none(), "{output:?}");
    let line = line(&output);
    assert_eq!((&line["message"], &line["level"]), (&"the gateway panicked".into(), &"ERROR".into()));
    assert!(line["place"].as_str().unwrap().contains("panics.rs"));
    assert!(line.get("why").is_none());
    assert!(!format!("{output:?}").contains(TEXT));
}

#[test]
fn a_literal_message_is_told_whatever_the_filter() {
    assert_eq!(line(&child("panic_with_a_literal"))["why"], "the tray is empty");
}

#[test]
fn the_commands_log_does_not_quote_the_text_either() {
    let output = child("panic_as_the_command_does");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("the gateway panicked") && text.contains("panics.rs"), "{text}");
    assert!(!text.contains(TEXT) && !String::from_utf8_lossy(&output.stdout).contains(TEXT));
}
