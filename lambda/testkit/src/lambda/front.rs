//! What the listening sides share.

use super::function::{Function, Setup};
use super::knobs::Pushing;
use super::options::Options;
use super::queue::Queue;
use super::records::Records;
use super::registry::Registry;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The functions and everything that is known about clients.
#[derive(Debug)]
pub(super) struct Front {
    /// The settings.
    pub options: Options,
    /// The REST function.
    pub rest: Option<Arc<Function>>,
    /// The WebSocket function.
    pub ws: Option<Arc<Function>>,
    /// The REST binary as authorizer.
    pub authorizer: Option<Arc<Function>>,
    /// The REST binary as worker.
    pub worker: Option<Arc<Function>>,
    /// What was seen.
    pub records: Arc<Records>,
    /// Policies that the REST API's authorizer gave, by the key that it was asked about.
    pub policies: Mutex<HashMap<String, Value>>,
    /// How pushes are to fail.
    pub pushing: Pushing,
    /// The open WebSocket connections.
    pub registry: Registry,
    /// The SQS queue.
    pub queue: Queue,
    /// Where the WebSocket API listens.
    pub ws_address: SocketAddr,
}

impl Front {
    /// Everything but the listeners. The children learn where pushes and messages go.
    pub fn new(options: Options, ws_address: SocketAddr, control: SocketAddr) -> Front {
        let records = Arc::new(Records::default());
        let function = |name: &'static str, program: Option<&Path>, role: Option<&str>| {
            // A map, because the last of two variables of one name is the one that counts.
            let mut env = BTreeMap::from([
                (
                    "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI".to_owned(),
                    format!("http://{ws_address}/{}", super::events::STAGE),
                ),
                ("AWS_ENDPOINT_URL_SQS".to_owned(), format!("http://{control}")),
            ]);
            env.extend(options.env.iter().cloned());
            env.extend(role.map(|role| (options.role_variable.clone(), role.to_owned())));
            let setup = Setup {
                name,
                program: program?.to_owned(),
                env: env.into_iter().collect(),
                concurrency: options.concurrency,
                freeze: options.freeze,
                limits: options.limits.clone(),
                records: Arc::clone(&records),
            };
            Some(Function::new(setup))
        };
        let rest = options.rest.as_deref();
        Front {
            rest: function("rest", rest, None),
            ws: function("ws", options.ws.as_deref(), None),
            authorizer: function("authorizer", rest, Some(&options.authorizer_role)),
            worker: function("worker", rest, Some(&options.worker_role)),
            records,
            pushing: Pushing::default(),
            registry: Registry::default(),
            policies: Mutex::default(),
            queue: Queue::new(options.concurrency),
            ws_address,
            options,
        }
    }

    /// All functions that there are.
    pub fn functions(&self) -> impl Iterator<Item = &Arc<Function>> {
        [&self.rest, &self.ws, &self.authorizer, &self.worker].into_iter().flatten()
    }

    /// Kills the children of this function, or of all; the one with this process id, or all. Whether
    /// there was one.
    pub fn kill(&self, name: Option<&str>, pid: Option<u32>) -> bool {
        let meant = self.functions().filter(|function| name.is_none_or(|name| name == function.name()));
        meant.filter(|function| function.kill(pid)).count() > 0
    }
}
