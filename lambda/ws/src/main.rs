//! The `ws` Lambda: WebSocket events.

use gateway::edge::lambda::open::{Ws, run};
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run(std::env::vars().collect(), Ws::new).await
}
