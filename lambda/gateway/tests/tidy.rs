//! The limits and invariants that ARCHITECTURE.md states, held over the text of the tree.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers may fail")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file at most.
const LONGEST_FILE: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Path from the root, and text, of every source file with one of these endings.
fn sources(endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                let left_out = ["target", "node_modules", "__pycache__"].contains(&name.as_str());
                if !left_out && !name.starts_with('.') {
                    open.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let from_root = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push((from_root, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The part of a Rust file that is not its unit tests.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}

/// Files of the library and the binaries in which `wanted` stands outside tests, but `allowed` ones.
fn users_of(wanted: &str, allowed: &[&str]) -> Vec<String> {
    let all = sources(&[".rs"]).into_iter().filter(|(path, _)| path.contains("/src/"));
    let ours = all.filter(|(path, _)| !path.starts_with("lambda/testkit/"));
    let users = ours.filter(|(_, text)| production(text).contains(wanted)).map(|(path, _)| path);
    users.filter(|path| !allowed.iter().any(|room| path.contains(room))).collect()
}

fn nobody(users: Vec<String>, why: &str) {
    assert!(users.is_empty(), "{why}: {users:?}");
}

#[test]
fn no_file_is_longer_than_the_limit() {
    let all = sources(&[".rs", ".ts", ".py", ".mjs", ".js", ".sh"]);
    let long = all
        .iter()
        .map(|(path, text)| (text.lines().count(), path))
        .filter(|(lines, _)| *lines > LONGEST_FILE);
    let long: Vec<_> = long.collect();
    assert!(long.is_empty(), "over {LONGEST_FILE} lines: {long:?}");
}

#[test]
fn nothing_is_left_for_later() {
    // Written in two halves, so that this file does not find itself.
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X:"].concat()];
    for (path, text) in sources(&[".rs", ".ts", ".py", ".sh"]) {
        assert!(!words.iter().any(|word| text.contains(word.as_str())), "{path}");
    }
}

#[test]
fn only_the_settings_and_main_read_the_environment() {
    // `main` hands the variables to `config.rs`; clap reads the options' own.
    nobody(
        users_of(
            "env::var",
            &[
                "lambda/cli/src/index/mod.rs",
                "lambda/cli/src/serve.rs",
                "lambda/cli/src/doctor/mod.rs",
                "lambda/rest/src/main.rs",
                "lambda/ws/src/main.rs",
                "gateway/src/config.rs",
            ],
        ),
        "the environment is read in",
    );
}

#[test]
fn each_sdk_is_named_in_one_room() {
    nobody(
        users_of("aws_sdk_bedrockruntime", &["src/model/bedrock", "src/model/convert"]),
        "Bedrock outside its room",
    );
    nobody(users_of("aws_sdk_dynamodb", &["src/store/"]), "DynamoDB outside its room");
    nobody(users_of("aws_sdk_sqs", &["src/queue/sqs.rs"]), "SQS outside its file");
    nobody(users_of("aws_sdk_apigatewaymanagement", &["src/edge/lambda/"]), "pushes outside their room");
    nobody(users_of("aws_sdk_opensearch", &["cli/src/domain/"]), "the control plane outside its room");
    nobody(users_of("aws_sdk_sts", &["cli/src/doctor/account.rs"]), "STS outside its file");
    nobody(users_of("lambda_runtime", &["src/edge/lambda/"]), "the Runtime API outside its room");
    nobody(users_of("dynoxide", &["src/store/embedded.rs"]), "the store's engine outside its file");
    nobody(users_of("aws_sigv4", &["retrieval/opensearch/auth.rs"]), "signatures outside their file");
    nobody(
        users_of("aws_credential_types", &["retrieval/opensearch/auth.rs"]),
        "credentials outside their file",
    );
    nobody(users_of("aws_config", &["gateway/src/aws.rs"]), "the AWS settings loader outside its room");
    nobody(users_of("aws_smithy_http_client", &["gateway/src/aws.rs"]), "a second HTTP client for AWS");
}

#[test]
fn the_control_plane_is_in_no_function() {
    for member in ["gateway", "rest", "ws"] {
        let manifest = fs::read_to_string(root().join(format!("lambda/{member}/Cargo.toml"))).unwrap();
        assert!(!manifest.contains("aws-sdk-opensearch"), "{member} has the control plane");
    }
}

#[test]
fn rooms_do_not_use_each_other() {
    let rooms = ["store", "retrieval", "model", "queue"];
    let engine = [
        "gateway",
        "run",
        "recall",
        "consult",
        "keep",
        "flight",
        "shared_flight",
        "carry",
        "live",
        "jobs",
        "worker",
        "plan",
        "edge",
    ];
    for room in rooms {
        let files = sources(&[".rs"]).into_iter().filter(|(path, _)| path.contains(&format!("src/{room}/")));
        for (path, text) in files {
            let others = rooms.iter().chain(&engine).filter(|other| **other != room);
            let used: Vec<_> =
                others.filter(|other| production(&text).contains(&format!("crate::{other}::"))).collect();
            assert!(used.is_empty(), "{path} uses {used:?}");
        }
    }
    for file in engine.iter().filter(|file| **file != "edge") {
        let path = root().join(format!("lambda/gateway/src/{file}.rs"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(!production(&text).contains("crate::edge"), "{file}.rs uses a door");
    }
    let doors = sources(&[".rs"])
        .into_iter()
        .filter(|(path, _)| path.contains("src/edge/") && !path.contains("edge/lambda"));
    for (path, text) in doors {
        let sdk = production(&text).contains("aws_sdk") || production(&text).contains("crate::flight");
        assert!(!sdk, "{path} goes past the engine");
    }
}

#[test]
fn model_ids_stand_in_the_catalog_only() {
    for id in ["anthropic.claude", "amazon.nova", "amazon.titan", "cohere.", "meta.llama"] {
        nobody(users_of(&format!("\"{id}"), &[]), "a model id in code");
    }
}

#[test]
fn prompts_answers_and_keys_are_named_in_no_log_line() {
    let all = sources(&[".rs"]).into_iter().filter(|(path, _)| path.contains("/src/"));
    for (path, text) in all {
        for (at, _) in text.match_indices("tracing::") {
            let call: String = text[at..].chars().take_while(|c| *c != ';').collect();
            for word in ["prompt", "completion", "question", "messages", "api_key", "authorization"] {
                assert!(!call.contains(word), "{path}: {call}");
            }
        }
    }
}
