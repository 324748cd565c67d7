//! `Bedrock::load` reads the environment, so each case here runs this test binary once more in an
//! environment of its own.

#![cfg(feature = "aws")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers fail as tests do; a child reports by printing"
)]

use futures_util::StreamExt;
use gateway::aws::http_client;
use gateway::chat::{Message, Role};
use gateway::model::bedrock::Bedrock;
use gateway::model::{Ask, Model};
use std::process::Command;
use testkit::bedrock::Standin;

/// The child: loads, asks where it could, and prints what came of it.
#[tokio::test]
#[ignore = "run by the other tests, with an environment"]
async fn child() {
    let bedrock = match Bedrock::load(http_client(None).unwrap(), None).await {
        Ok(bedrock) => bedrock,
        Err(error) => return println!("refused: {}", error.message),
    };
    let messages = vec![Message::text(Role::User, "why?")];
    let ask = Ask { invoke_id: "test.model".into(), messages, ..Ask::default() };
    let parts: Vec<_> = bedrock.ask(ask).await.unwrap().collect().await;
    println!("answered: {}", parts.iter().all(Result::is_ok));
}

/// The same as a Lambda function.
#[cfg(feature = "lambda")]
#[tokio::test]
#[ignore = "run by the other tests, with an environment"]
async fn function() {
    let opened = gateway::edge::lambda::open::Lambda::open(std::env::vars().collect()).await;
    let request = gateway::chat::Request::new(gateway::chat::Caller::local(), "prompt", "why?");
    let reply = opened.unwrap().gateway.answer(request).await.unwrap();
    let whole = gateway::whole::collect(reply.read(0)).await;
    println!("answered: {}", matches!(whole.end, gateway::chat::Terminal::Completed { .. }));
}

/// What a child prints that has these variables and no others.
async fn child_with(variables: &[(&str, &str)]) -> String {
    run("child", variables).await
}

async fn run(name: &str, variables: &[(&str, &str)]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name, "--ignored", "--nocapture"]).env_clear();
    child
        .env("HOME", "/nonexistent")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn without_a_region_a_sentence_says_what_to_set() {
    let said = child_with(&[]).await;
    assert!(said.contains("refused: No AWS Region") && said.contains("AWS_REGION"), "{said}");
}

#[tokio::test]
async fn without_credentials_a_sentence_says_what_to_set() {
    let said = child_with(&[("AWS_REGION", "us-east-1")]).await;
    assert!(
        said.contains("refused: No AWS credentials") && said.contains("AWS_BEARER_TOKEN_BEDROCK"),
        "{said}"
    );
}

#[tokio::test]
async fn the_endpoint_and_the_bearer_token_of_the_environment_are_used() {
    let standin = Standin::start().await;
    let url = standin.url();
    let variables = [
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", &url),
        ("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-test"),
    ];
    assert!(child_with(&variables).await.contains("answered: true"));
    assert_eq!(standin.requests()[0].headers["authorization"], "Bearer bedrock-api-key-test");
}

#[tokio::test]
async fn the_keys_of_the_environment_sign_the_call() {
    let standin = Standin::start().await;
    let url = standin.url();
    let variables = [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", &url),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    assert!(child_with(&variables).await.contains("answered: true"));
    let headers = &standin.requests()[0].headers;
    assert!(headers["authorization"].to_str().unwrap().contains("/eu-west-1/bedrock/aws4_request"));
}

#[cfg(feature = "lambda")]
#[tokio::test]
async fn a_function_asks_bedrock_in_the_region_of_its_setting() {
    let standin = Standin::start().await;
    let url = standin.url();
    let variables = [
        ("AWS_REGION", "us-east-1"),
        ("REGION_ID", "eu-west-1"),
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", &url),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let said = run("function", &variables).await;
    assert!(said.contains("answered: true"), "{said}");
    let headers = &standin.requests()[0].headers;
    assert!(headers["authorization"].to_str().unwrap().contains("/eu-west-1/bedrock/aws4_request"));
}
