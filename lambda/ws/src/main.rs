//! The `ws` Lambda: WebSocket events.

use gateway::edge::lambda::open::{Lambda, Ws};
use gateway::edge::lambda::runtime::serve;
use gateway::telemetry;
use std::process::ExitCode;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::json_logs(std::env::var("LLM_GATEWAY_LOG").ok().as_deref());
    let done = match Lambda::open(std::env::vars().collect()).await {
        Ok(lambda) => serve(Arc::new(Arc::new(Ws(lambda)))).await.map_err(|error| error.to_string()),
        Err(sentence) => Err(sentence),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            telemetry::cannot_start(&sentence);
            ExitCode::FAILURE
        }
    }
}
