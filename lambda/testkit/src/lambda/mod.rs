//! Lambda and API Gateway on one machine: real clients in front, real Lambda binaries behind.
//!
//! To a client it is a REST API's stage, a function URL and a WebSocket API's stage; to a binary it
//! is the Runtime API, `@connections` and SQS. Idle processes are stopped, as Lambda freezes them.
//!
//! ```no_run
//! # use testkit::lambda::{Emulator, Options};
//! # async fn example() -> std::io::Result<()> {
//! let options = Options { ws: Some("target/debug/ws".into()), ..Options::default() };
//! let emulator = Emulator::start(options)?;
//! let url = &emulator.urls().ws;
//! # Ok(())
//! # }
//! ```
//!
//! What is not as on AWS:
//! - Signatures are looked for and not computed; the access key is taken for the role's name.
//! - Authorizers are asked each time, no rate is limited, bandwidth is not held down, children have
//!   the whole machine, and a process that ended is replaced only for the next event.
//! - A request waits a moment for an environment to come free before it is throttled.
//! - A push is answered when it is queued for the client, not when it was written.
//! - From memory of AWS, where its documents are silent: a REST event's `path` is as encoded as the
//!   client sent it, a throttled WebSocket message is told as an internal error, control frames do
//!   not count against idleness.
//! - The worker's events come from the emulator's own queue, or from one on another server (`mapping`),
//!   one message an event.
//! - Killed with SIGKILL, the emulator leaves its stopped children behind; SIGTERM ends them.

mod caller;
mod control;
mod emulator;
mod environment;
mod events;
mod framing;
mod front;
mod function;
mod knobs;
mod mapping;
mod moment;
mod options;
mod process;
mod queue;
mod records;
mod registry;
mod rest;
mod runtime_api;
mod session;
mod wire;
mod ws;

pub use emulator::{Emulator, Urls};
pub use knobs::{Knobs, Which};
pub use mapping::Source;
pub use options::{Limits, Options};
pub use process::variables;
pub use records::{Client, Invocation, Line, Push, Seen, Step};
