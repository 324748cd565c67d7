//! The `rest` Lambda: HTTP events, the job queue, or bearer keys, by `ROLE`.

use gateway::edge::lambda::open::{Rest, run};
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run(std::env::vars().collect(), Rest::new).await
}
