//! The doors on AWS Lambda: API Gateway's and SQS's events in, the Runtime API and `@connections` out.
//!
//! [`runtime`] serves invocations, [`http_event`] and [`socket_event`] turn events into what the doors
//! take, [`push`] is a WebSocket connection's outlet, [`jobs_event`] and [`authorizer`] are the other
//! two roles of the `rest` function, [`open`] puts a gateway together from the environment.

pub mod authorizer;
pub mod caller;
pub mod http_event;
pub mod jobs_event;
pub mod open;
pub mod push;
pub mod runtime;
pub mod socket_event;
