//! A stand-in for the Bedrock Runtime: real HTTP, real event-stream frames, faults on demand.
//!
//! ```no_run
//! # async fn example() {
//! let standin = testkit::bedrock::Standin::start().await;
//! standin.set(testkit::bedrock::Knobs { gap_ms: 20, ..Default::default() });
//! # }
//! ```

mod calls;
mod frames;
mod knobs;
mod log;
mod reply;
mod server;
mod steps;
mod vectors;
mod wire;

pub use knobs::{Failure, Fault, Knobs, Reasoning, TokenUsage, ToolCall};
pub use log::{Dropped, Recorded};
pub use server::Standin;
pub use vectors::Vectors;
