//! The Bedrock stand-in as a process, for benchmarks: `bedrock-standin [--port N] [--knobs JSON]`,
//! or `STANDIN_PORT` and `STANDIN_KNOBS`. It prints its URL and serves until it is killed.
//! Without knobs it answers 32 fixed tokens at once, from frames that are encoded beforehand.

use std::error::Error;
use std::io::Write;
use testkit::bedrock::{Knobs, Standin, TokenUsage};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = option("--port", "STANDIN_PORT").map_or(Ok(0), |port| port.parse())?;
    let json = option("--knobs", "STANDIN_KNOBS").unwrap_or_else(|| "{}".to_owned());
    let mut knobs: Knobs = serde_json::from_str(&json)?;
    if knobs.text.is_none() && knobs.tokens.is_none() {
        knobs.tokens = Some(32);
    }
    // Counts that are given make the stream the same for every question, so that it is kept.
    let output_tokens = knobs.tokens.unwrap_or(32) as u64;
    let counts = TokenUsage {
        input_tokens: 10,
        output_tokens,
        total_tokens: 10 + output_tokens,
        ..Default::default()
    };
    knobs.usage.get_or_insert(counts);

    let standin = Standin::on(port).await?;
    standin.set(knobs);
    standin.forget_requests();
    writeln!(std::io::stdout(), "{}", standin.url())?;
    std::future::pending().await
}

/// The value behind a flag, else that of an environment variable.
fn option(flag: &str, variable: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != flag).skip(1);
    arguments.next().or_else(|| std::env::var(variable).ok())
}
