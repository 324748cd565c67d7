//! One flight in several processes: identical questions that are asked at once, each of another process,
//! make one model call.
//!
//! Who asks first takes the lead by a conditional write ([`Store::lead_flight`]) and asks the model. The
//! others read what that reply says from its own rows. A leader whose process is gone is known by its
//! reply's lease, and one of the others takes its place; what somebody has already heard cannot be taken
//! back, so for them the answer ends there. A store that is down stops nobody: the question is asked.

use crate::chat::{Terminal, new_id};
use crate::error::{Error, Kind};
use crate::log::{Landing, Log};
use crate::reply::{Reply, lock};
use crate::store::{Flight, Lead, ReplyKey, ReplyRow, Store};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How often the leader's reply is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A leader's first row comes half a second after it has taken the lead; one that has none after this
/// time is dead.
const FIRST_ROW: Duration = Duration::from_secs(10);

/// Looks that may fail in a row, for one who has heard a part of the answer.
const FAILED_LOOKS: u32 = 4;

/// Who stops a reply is not kept waiting longer by others who follow, or are followed.
const HAND_OVER: Duration = Duration::from_secs(1);

/// A process's part in a flight that other processes may share.
pub struct Share {
    store: Arc<Store>,
    /// The reply that began the flight in this process.
    reply: Arc<Reply>,
    /// Of the answer to be learned.
    key: String,
    /// Names this process's lead.
    nonce: String,
    lease: Duration,
    /// Is the call made here, or at least paid for here? `None` until that is known.
    ours: watch::Sender<Option<bool>>,
    /// The lead that this process follows.
    followed: Mutex<Option<String>>,
}

/// Whom a leader that stops has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nobody that is known of.
    Alone,
    /// Others, who look how the reply ended.
    Followed,
    /// Others, for whom the flight goes on.
    HandedOver,
}

/// One who follows a leader, or is about to.
struct Follower<'a> {
    flight: Flight,
    log: &'a Log,
    /// The leader can know of it.
    known: bool,
    failed_looks: u32,
}

/// What came of it.
enum Course {
    /// The answer has ended.
    Landed(Landing),
    /// Nothing was heard, and that lead is over; `None` where there is a newer one.
    Over(Option<Flight>),
    /// Nothing was heard, and the store is away.
    Alone,
}

impl Share {
    /// The part of this reply's process in the flight of this key.
    pub fn new(store: Arc<Store>, reply: Arc<Reply>, key: String, lease: Duration) -> Share {
        let (nonce, ours) = (new_id(), watch::Sender::new(None));
        Share { store, reply, key, nonce, lease: lease.min(FIRST_ROW), ours, followed: Mutex::default() }
    }

    /// Is the call another process's? Waits until that is known.
    pub async fn follows(&self) -> bool {
        let mut ours = self.ours.subscribe();
        ours.wait_for(Option::is_some).await.is_ok_and(|ours| *ours == Some(false))
    }

    /// Is the call paid for here?
    pub fn pays(&self) -> bool {
        *self.ours.borrow() == Some(true)
    }

    /// Flies: by `own`, which asks the model, where this process leads, else along with the one that does.
    pub async fn fly(&self, log: &Log, own: impl Future<Output = Landing>) -> Landing {
        let mut over = None;
        while let Some(flight) = self.lead(over.as_ref()).await {
            match self.follow(flight, log).await {
                Course::Landed(landing) => return landing,
                Course::Over(flight) => over = flight,
                Course::Alone => break,
            }
        }
        *lock(&self.followed) = None;
        self.ours.send_replace(Some(true));
        own.await
    }

    /// This process no longer follows anybody.
    pub async fn unfollow(&self) {
        let followed = lock(&self.followed).take();
        if let Some(nonce) = followed {
            let leaving = self.store.unfollow_flight(&self.key, &nonce);
            self.told(timeout(HAND_OVER, leaving).await.unwrap_or_else(|_| Err(late())));
        }
    }

    /// The flight that was handed over has nobody left who follows it.
    pub async fn is_forsaken(&self) -> bool {
        let flight = self.store.flight(&self.key).await;
        flight.is_ok_and(|flight| flight.is_none_or(|now| now.nonce != self.nonce || now.followers == 0))
    }

    /// This reply ends without a whole answer. Where it leads and others follow, they will from now on
    /// find the flight's deltas under `to`; where nobody does, nobody will follow it any more.
    pub async fn leave(&self, reply: &Arc<Reply>, to: Option<&ReplyKey>) -> Left {
        if !self.pays() || !Arc::ptr_eq(reply, &self.reply) {
            return Left::Alone;
        }
        let leaving = async {
            if self.store.end_lonely_flight(&self.key, &self.nonce).await? {
                return Ok(Left::Alone);
            }
            let Some(to) = to else { return Ok(Left::Followed) };
            let lead = Lead { reply: to, nonce: &self.nonce, over: None, lease: self.lease };
            let handed = self.store.hand_over_flight(&self.key, lead).await?;
            Ok(if handed { Left::HandedOver } else { Left::Alone })
        };
        let left = timeout(HAND_OVER, leaving).await;
        self.told(left.unwrap_or_else(|_| Err(late()))).unwrap_or(Left::Alone)
    }

    /// Gives the flight that stands, or `None` where this process is to ask the model.
    async fn lead(&self, over: Option<&Flight>) -> Option<Flight> {
        let reply = ReplyKey::new(&self.reply.caller, &self.reply.id);
        let lead = Lead { reply: &reply, nonce: &self.nonce, over, lease: self.lease };
        self.told(self.store.lead_flight(&self.key, lead).await).flatten()
    }

    /// Writes what the leader says into the log, until it ends.
    async fn follow(&self, flight: Flight, log: &Log) -> Course {
        let mut follower = Follower { flight, log, known: false, failed_looks: 0 };
        loop {
            let course = match self.told(self.store.flown(&follower.flight).await) {
                Some(row) => self.step(&mut follower, row).await,
                None => follower.missed(),
            };
            if let Some(course) = course {
                return course;
            }
            sleep(LOOK).await;
        }
    }

    /// One look at the leader's reply; `None` where it goes on.
    async fn step(&self, follower: &mut Follower<'_>, row: Option<ReplyRow>) -> Option<Course> {
        follower.failed_looks = 0;
        let lease_until_ms = row.as_ref().map_or(0, |row| row.lease_until_ms);
        let alive = lease_until_ms.max(follower.flight.lease_until_ms) > self.store.now_ms();
        let whole = row.as_ref().is_some_and(is_whole);
        if !follower.known && !whole {
            let runs = alive && row.as_ref().is_none_or(|row| row.end.is_none());
            if !runs {
                // What came to no whole answer is asked again, as if it had never been asked.
                return Some(Course::Over(Some(follower.flight.clone())));
            }
            match self.told(self.store.follow_flight(&self.key, &follower.flight.nonce).await) {
                Some(true) => {
                    follower.known = true;
                    *lock(&self.followed) = Some(follower.flight.nonce.clone());
                }
                Some(false) => return Some(Course::Over(None)),
                None => return Some(Course::Alone),
            }
        }
        self.ours.send_if_modified(|ours| ours.replace(false).is_none());
        match row.and_then(|row| follower.hear(row)) {
            Some(Terminal::Completed { stop_reason, usage }) => {
                self.settle(&follower.flight).await;
                Some(Course::Landed(Landing { outcome: Ok(stop_reason), usage: Some(usage) }))
            }
            Some(Terminal::Failed { error, .. }) => self.lost(follower, Some(error)).await,
            None if !alive => self.lost(follower, None).await,
            None => None,
        }
    }

    /// The leader's reply has failed, or its process is gone; `None` where its flight goes on elsewhere.
    async fn lost(&self, follower: &mut Follower<'_>, error: Option<Error>) -> Option<Course> {
        let known = &follower.flight;
        if let Some(now) = self.told(self.store.flight(&self.key).await).flatten()
            && now.nonce == known.nonce
            && now.reply != known.reply
        {
            follower.flight = now;
            return None;
        }
        match error {
            // What the model said to the leader it said to all. These are about the leader alone.
            Some(error)
                if !matches!(error.kind, Kind::Cancelled | Kind::DeadlineExceeded | Kind::Internal) =>
            {
                Some(Course::Landed(failure(error)))
            }
            _ if follower.log.is_empty() => Some(Course::Over(Some(known.clone()))),
            _ => Some(Course::Landed(failure(cut_off()))),
        }
    }

    /// Of those who follow a flight whose leader has stopped, one pays.
    async fn settle(&self, flight: &Flight) {
        let payer = ReplyKey::new(&self.reply.caller, &self.reply.id);
        if flight.handed_over
            && self.told(self.store.take_bill(&self.key, &flight.nonce, &payer).await) == Some(true)
        {
            self.ours.send_replace(Some(true));
        }
    }

    /// A store that failed is told of in the reply's log line, and gone without.
    fn told<T>(&self, done: Result<T, Error>) -> Option<T> {
        done.inspect_err(|error| self.reply.lacks.store(error)).ok()
    }
}

impl Follower<'_> {
    /// Writes what is new into the log; gives the terminal, where there is one.
    fn hear(&self, row: ReplyRow) -> Option<Terminal> {
        let heard = usize::try_from(self.log.len()).unwrap_or(usize::MAX);
        row.deltas.into_iter().skip(heard).for_each(|delta| self.log.push(delta));
        row.end
    }

    /// The store did not say what the leader says.
    fn missed(&mut self) -> Option<Course> {
        self.failed_looks += 1;
        if self.log.is_empty() {
            return Some(Course::Alone);
        }
        (self.failed_looks >= FAILED_LOOKS).then(|| Course::Landed(failure(cut_off())))
    }
}

/// It gives the whole answer, though the answer cache may not have it yet.
fn is_whole(row: &ReplyRow) -> bool {
    matches!(&row.end, Some(Terminal::Completed { stop_reason, .. }) if stop_reason.is_complete())
}

fn late() -> Error {
    Error::internal("the store took too long to say who follows a flight")
}

fn failure(error: Error) -> Landing {
    Landing { outcome: Err(error), usage: None }
}

fn cut_off() -> Error {
    let message = "The process that asked the model for this answer was lost in the middle of it. Ask again.";
    Error::new(Kind::UpstreamError, message).because("the leader of a shared flight is gone")
}
