//! Flights that go on for other processes although their own reply has stopped.
//!
//! The reply that leads a shared flight may be cancelled, or reach its deadline, while others follow it.
//! Its process then carries the flight on: what the model says is written under a key of its own, as if a
//! reply without a reader gave it, and the answer is learned. A process must not rest meanwhile.

use crate::chat::{Request, new_id};
use crate::flight::{Seat, past_deadline};
use crate::keep::{Done, Keeper};
use crate::log::Landing;
use crate::reply::{cancelled, lock};
use crate::run::{Run, learnable, terminal};
use crate::shared_flight::Left;
use crate::store::ReplyKey;
use crate::telemetry;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Carried flights that have no time left may write how they ended for so long.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often it is looked whether somebody still follows a carried flight.
const LOOK: Duration = Duration::from_secs(1);

/// The flights that this process carries on.
#[derive(Default)]
pub struct Carried(Mutex<Flights>);

#[derive(Default)]
struct Flights {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Carried {
    fn spawn(&self, flight: CarriedFlight) {
        let mut flights = lock(&self.0);
        while flights.tasks.try_join_next().is_some() {}
        let going = flight.go(flights.stop.clone());
        flights.tasks.spawn(going.in_current_span());
    }

    /// Ready when they have ended: by themselves before `until`, or because of it.
    pub async fn end(&self, until: Instant) {
        let Flights { mut tasks, stop } = std::mem::take(&mut *lock(&self.0));
        let all = async { while tasks.join_next().await.is_some() {} };
        tokio::pin!(all);
        if timeout_at(until, &mut all).await.is_err() {
            stop.cancel();
            let _late = timeout(LAST_WORDS, all).await;
        }
    }
}

/// One of them.
struct CarriedFlight {
    seat: Seat,
    keeper: Arc<Keeper>,
    request: Request,
    tokens: u64,
    learn: Option<String>,
}

impl Run {
    /// This reply ends without a whole answer. Where its flight has not landed and others follow, it is
    /// carried on for them.
    pub(crate) async fn leave_flight(&self, seat: &Seat, keeper: &Keeper, learn: Option<&String>) -> Left {
        let Some(share) = seat.share() else { return Left::Alone };
        let key = ReplyKey::new(&self.request.caller, &new_id());
        // A process that is ending carries nothing on.
        let goes_on = !seat.log.has_landed() && !self.gateway.live.is_closed();
        if goes_on && seat.is_last() {
            share.unfollow().await;
        }
        let left = share.leave(&self.reply, goes_on.then_some(&key)).await;
        if left == Left::HandedOver {
            self.gateway.carried.spawn(CarriedFlight {
                seat: seat.clone(),
                keeper: Arc::new(keeper.under(key)),
                // It is nobody's turn in a conversation.
                request: Request { keep_chat: false, ..self.request.clone() },
                tokens: self.plan.tokens,
                learn: learn.cloned(),
            });
        }
        left
    }
}

impl CarriedFlight {
    /// Ready when nobody waits for it any more.
    async fn forsaken(&self) {
        loop {
            sleep(LOOK).await;
            if let Some(share) = self.seat.share().filter(|_| self.seat.is_last())
                && share.is_forsaken().await
            {
                return;
            }
        }
    }

    async fn go(self, stop: CancellationToken) {
        let log = &self.seat.log;
        // Begins at once, with all that was said by now.
        let recording = self.keeper.record(log.clone());
        let landing = tokio::select! {
            landing = log.landing() => landing,
            () = stop.cancelled() => Landing { outcome: Err(past_deadline()), usage: None },
            () = self.forsaken() => Landing { outcome: Err(cancelled()), usage: None },
        };
        let all = log.after(0);
        // Who follows elsewhere pays, unless another reply here does.
        let pays = self.seat.pays();
        let written = Some(recording.stop().await);
        let end = terminal(landing, &all, (self.tokens, pays));
        let learned = learnable(&end, self.learn.filter(|_| pays));
        let done = Done { request: &self.request, all: &all, written, end: &end, learned };
        if let Err(error) = self.keeper.finish(done).await {
            telemetry::store_failed(&self.keeper.key.id, &error);
        }
    }
}
