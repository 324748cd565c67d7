//! LLM Gateway: a request comes through a door ([`edge`]), becomes a [`chat::Request`], is answered
//! by [`gateway::Gateway::answer`], and goes out of the same door as [`chat::Event`]s.
//!
//! The rooms behind the engine are [`store`], [`retrieval`], [`model`] and [`queue`]; none of them
//! knows another. [`run`] is the one place that knows their order.

#[cfg(feature = "aws")]
pub mod aws;
pub mod blocks;
pub mod cache_key;
pub mod carry;
pub mod chat;
pub mod config;
pub mod consult;
pub mod digest;
pub mod edge;
pub mod embed;
pub mod error;
pub mod flight;
pub mod gateway;
pub mod jobs;
pub mod keep;
pub mod lacks;
pub mod live;
pub mod log;
pub mod model;
pub mod pieces;
pub mod plan;
pub mod queue;
pub mod recall;
pub mod reply;
pub mod retrieval;
pub mod run;
pub mod search_model;
pub mod shared_flight;
pub mod store;
pub mod telemetry;
pub mod whole;
pub mod words;
pub mod worker;
