//! The engine: a [`Request`] in, a [`Reply`] with exactly one terminal out.
//!
//! [`crate::run`] gives the reply; it is the one place that knows the order of the rooms.

use crate::cache_key;
use crate::carry::Carried;
use crate::chat::{Request, Terminal};
use crate::config::Settings;
use crate::error::Error;
use crate::flight::Flights;
use crate::live::{Admitted, Live, too_many};
use crate::model::catalog::Catalog;
use crate::model::{Embedder, Model};
use crate::plan::{Menu, Plan};
use crate::reply::Reply;
use crate::retrieval::Retrieval;
use crate::run::Run;
use crate::store::{Holder, Slot, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tracing::Instrument;

/// The rooms that a gateway is put together from.
pub struct Rooms {
    /// What answers.
    pub model: Arc<dyn Model>,
    /// What embeds.
    pub embedder: Arc<dyn Embedder>,
    /// Answers are this local model's, whatever model was asked for; `None` is Bedrock.
    pub stands_in: Option<&'static str>,
    /// The documents, where there are any.
    pub retrieval: Option<Arc<dyn Retrieval>>,
    /// What is remembered, where anything is.
    pub store: Option<Arc<Store>>,
    /// No other process uses the store: what is not running here is not running.
    pub single_process: bool,
    /// How long a running reply may be silent in the store before it counts as dead.
    pub lease: Duration,
}

/// The engine and its rooms.
pub struct Gateway {
    /// The settings.
    pub settings: Settings,
    /// The replies that run.
    pub live: Live,
    /// The flights that go on for other processes after their reply.
    pub carried: Carried,
    pub(crate) rooms: Rooms,
    pub(crate) catalog: Catalog,
    pub(crate) flights: Arc<Flights>,
}

impl Gateway {
    /// Puts a gateway together.
    ///
    /// # Errors
    /// A sentence where `DEFAULT_MODEL` or an entry of `ALLOWED_MODELS` is no model on offer.
    pub fn open(settings: Settings, rooms: Rooms) -> Result<Arc<Gateway>, String> {
        let catalog = Catalog::load().map_err(|error| error.to_string())?;
        let gateway = Gateway {
            settings,
            live: Live::default(),
            carried: Carried::default(),
            rooms,
            catalog,
            flights: Arc::new(Flights::default()),
        };
        let menu = gateway.menu();
        for id in &gateway.settings.allowed_models {
            menu.choose(Some(id)).map_err(|error| format!("ALLOWED_MODELS: {}", error.message))?;
        }
        menu.choose(None).map_err(|error| format!("DEFAULT_MODEL: {}", error.message))?;
        Ok(Arc::new(gateway))
    }

    /// Answers a request. The same caller asking with the same id and body attaches to the reply
    /// that exists.
    ///
    /// # Errors
    /// What is wrong before anything runs: `invalid_request`, `model_not_found`, `too_large`,
    /// `throttled`, `conflict`, `unavailable`. Everything later is the reply's terminal.
    pub async fn answer(self: &Arc<Gateway>, request: Request) -> Result<Arc<Reply>, Error> {
        let plan = self.plan(&request)?;
        let fingerprint =
            if request.claims_its_id() { cache_key::fingerprint(&request) } else { String::new() };
        let cap = self.settings.max_running_per_caller.filter(|_| !request.caller.is_anyone());
        match self.live.admit(&request.caller, &request.id, &fingerprint, cap)? {
            Admitted::Running(reply) => Ok(reply),
            Admitted::New(reply) => {
                let (tell, placed) = oneshot::channel();
                let run = self.clone().run(request, plan, reply.clone(), (cap, tell));
                // Whoever asks may leave meanwhile, but what was admitted must come to its end. In the
                // asker's span: on Lambda the invocation's, whose id is on each line.
                tokio::spawn(run.in_current_span());
                placed.await.unwrap_or_else(|_| Err(Error::internal("a reply without a place")))?;
                Ok(reply)
            }
        }
    }

    /// Gives an admitted reply, once it has a place; says whether it has one.
    async fn run(
        self: Arc<Gateway>,
        request: Request,
        plan: Plan,
        reply: Arc<Reply>,
        (cap, tell): (Option<usize>, oneshot::Sender<Result<(), Error>>),
    ) {
        match self.place(&request, cap, &reply).await {
            Ok(place) => {
                let _left = tell.send(Ok(()));
                Run::new(self, request, (plan, place), reply).go().await;
            }
            Err(full) => {
                self.live.remove(&reply);
                // Somebody may have attached to it meanwhile.
                reply.end(Terminal::from(full.clone()));
                let _left = tell.send(Err(full));
            }
        }
    }

    /// A place among the caller's running replies in all processes, where they have a cap. A store
    /// that is away stops nobody.
    async fn place(
        &self,
        request: &Request,
        cap: Option<usize>,
        reply: &Reply,
    ) -> Result<Option<Slot>, Error> {
        let (Some(store), Some(cap), false) = (self.store(), cap, self.rooms.single_process) else {
            return Ok(None);
        };
        let time = request.time_limit + self.rooms.lease;
        match store.take_slot(Holder::Caller(&request.caller), &request.id, cap, time).await {
            Ok(Some(place)) => Ok(Some(place)),
            Ok(None) => Err(too_many(cap)),
            Err(error) => {
                reply.lacks.store(&error);
                Ok(None)
            }
        }
    }

    /// Chooses the model for a request and checks the request against it.
    ///
    /// # Errors
    /// `invalid_request`, `model_not_found`, `too_large`.
    pub fn plan(&self, request: &Request) -> Result<Plan, Error> {
        let mut plan = Plan::new(self.menu(), request)?;
        if self.rooms.retrieval.is_none() && !request.rag_filter.is_empty() {
            plan.ignored.push("rag_filter".to_owned());
        }
        Ok(plan)
    }

    /// The models on offer.
    pub fn menu(&self) -> Menu<'_> {
        Menu { catalog: &self.catalog, settings: &self.settings, stands_in: self.rooms.stands_in }
    }

    /// What is remembered, where anything is.
    pub fn store(&self) -> Option<&Store> {
        self.rooms.store.as_deref()
    }
}
