//! The Bedrock stand-in as a process: `bedrock-standin [--port N] [--knobs JSON] [--vectors FILE]
//! [--record]`, or `STANDIN_PORT`, `STANDIN_KNOBS` and `STANDIN_VECTORS`. It prints its URL and serves until
//! it is killed. The texts that the file of vectors knows are embedded with them.
//!
//! Without knobs it answers 32 fixed tokens at once, from frames that are encoded beforehand: it is
//! made for benchmarks. For tests, `--record` keeps what it has seen, for `GET /seen`, and without
//! knobs it echoes the question.

use std::error::Error;
use std::io::Write;
use testkit::bedrock::{Knobs, Standin, TokenUsage, Vectors};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = option("--port", "STANDIN_PORT").map_or(Ok(0), |port| port.parse())?;
    let json = option("--knobs", "STANDIN_KNOBS").unwrap_or_else(|| "{}".to_owned());
    let knobs: Knobs = serde_json::from_str(&json)?;

    let standin = Standin::on(port).await?;
    if let Some(file) = option("--vectors", "STANDIN_VECTORS") {
        standin.embed_with(Vectors::read(&std::fs::read(file)?)?);
    }
    if std::env::args().any(|argument| argument == "--record") {
        standin.set(knobs);
    } else {
        standin.set(fixed(knobs));
        standin.forget_requests();
    }
    writeln!(std::io::stdout(), "{}", standin.url())?;
    std::future::pending().await
}

/// Knobs whose stream is the same for every question, so that it is encoded once.
fn fixed(mut knobs: Knobs) -> Knobs {
    if knobs.text.is_none() && knobs.tokens.is_none() {
        knobs.tokens = Some(32);
    }
    let output_tokens = knobs.tokens.unwrap_or(32) as u64;
    let counts = TokenUsage {
        input_tokens: 10,
        output_tokens,
        total_tokens: 10 + output_tokens,
        ..Default::default()
    };
    knobs.usage.get_or_insert(counts);
    knobs
}

/// The value behind a flag, else that of an environment variable.
fn option(flag: &str, variable: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != flag).skip(1);
    arguments.next().or_else(|| std::env::var(variable).ok())
}
