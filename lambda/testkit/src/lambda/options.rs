//! What an emulator is started with.

use super::mapping::Source;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a whole emulator; `Default` has AWS's numbers and no functions.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary behind the REST API and the function URL, and of authorizer and worker.
    pub rest: Option<PathBuf>,
    /// The binary behind the WebSocket API.
    pub ws: Option<PathBuf>,
    /// Execution environments of one function at most.
    pub concurrency: usize,
    /// Environment variables for every child, after the emulator's own: these win.
    pub env: Vec<(String, String)>,
    /// Caller names and their keys. With any, a request needs one of them.
    pub api_keys: Vec<(String, String)>,
    /// Keys come from a REQUEST authorizer's `usageIdentifierKey`, not from `x-api-key`.
    pub bearer_keys: bool,
    /// Requests must be signed; the access key tells who it is. The signature is not computed.
    pub iam: bool,
    /// Requests without a signature count as signed with this access key.
    pub signer: Option<String>,
    /// The worker's queue is on this server, not in the emulator.
    pub queue: Option<Source>,
    /// Idle children are stopped with SIGSTOP.
    pub freeze: bool,
    /// The variable that tells the rest binary its role.
    pub role_variable: String,
    /// Its value for the authorizer.
    pub authorizer_role: String,
    /// Its value for the function that takes SQS events.
    pub worker_role: String,
    /// Times and counts.
    pub limits: Limits,
    /// Ports: REST, function URL, WebSocket, control; 0 picks one.
    pub ports: [u16; 4],
}

impl Default for Options {
    fn default() -> Options {
        Options {
            rest: None,
            ws: None,
            concurrency: 10,
            env: Vec::new(),
            api_keys: Vec::new(),
            bearer_keys: false,
            iam: false,
            signer: None,
            queue: None,
            freeze: true,
            role_variable: "ROLE".to_owned(),
            authorizer_role: "authorizer".to_owned(),
            worker_role: "worker".to_owned(),
            limits: Limits::default(),
            ports: [0; 4],
        }
    }
}

/// The limits of Lambda and API Gateway; tests shorten them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A function's time for one invocation; then its process is killed.
    pub function: Duration,
    /// A function's time until it asks for its first invocation.
    pub init: Duration,
    /// How long a WebSocket integration is waited for.
    pub integration: Duration,
    /// How long a streamed REST reply may be silent.
    pub silence: Duration,
    /// How long a WebSocket connection may be idle.
    pub idle: Duration,
    /// How long a WebSocket connection may last.
    pub connection: Duration,
    /// How long a request waits for an environment to come free before it is throttled. Lambda does
    /// not wait; a runtime needs a moment between its reply and its next request for work.
    pub patience: Duration,
    /// How long a received SQS message is hidden, which is when a failed one is tried again.
    pub visibility: Duration,
    /// How often an SQS message is received before it is a dead letter.
    pub max_receives: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            function: Duration::from_secs(900),
            init: Duration::from_secs(10),
            integration: Duration::from_secs(29),
            silence: Duration::from_secs(300),
            idle: Duration::from_secs(600),
            connection: Duration::from_secs(7200),
            patience: Duration::from_millis(100),
            visibility: Duration::from_secs(5400),
            max_receives: 3,
        }
    }
}

/// Bytes of an invocation's event, and of a whole reply, at most.
pub(super) const PAYLOAD: usize = 6 * 1024 * 1024;
/// Bytes of a WebSocket frame at most.
pub(super) const FRAME: usize = 32 * 1024;
/// Bytes of a WebSocket message at most.
pub(super) const MESSAGE: usize = 128 * 1024;
