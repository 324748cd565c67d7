//! What the store does when the service, the network or the process fails, and what it asks of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers may fail")]

#[path = "store_faults/asked.rs"]
mod asked;
#[path = "store_faults/crashes.rs"]
mod crashes;
#[path = "store_faults/dead.rs"]
mod dead;
#[path = "support/engine.rs"]
mod engine;
#[path = "store_faults/retries.rs"]
mod retries;
#[path = "store_faults/scene.rs"]
mod scene;
#[path = "store_faults/sizes.rs"]
mod sizes;
#[path = "support/wire.rs"]
mod wire;
