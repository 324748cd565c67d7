//! How pushes, and sends to the queue, are made to fail.

use super::records::lock;
use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::time::Duration;

/// Which pushes or sends, each counted from 1 since the knobs were set, over all connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Which {
    /// Every n-th; 0 is none.
    pub every: u64,
    /// And these.
    pub at: Vec<u64>,
}

impl Which {
    fn hits(&self, number: u64) -> bool {
        (self.every > 0 && number.is_multiple_of(self.every)) || self.at.contains(&number)
    }
}

/// What is wrong with API Gateway and with SQS's `SendMessage`; by default nothing is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// A push takes this long.
    pub push_delay_ms: u64,
    /// Answered 429, not delivered.
    pub throttled: Which,
    /// Answered 503, not delivered.
    pub unavailable: Which,
    /// Answered 503, and delivered.
    pub ambiguous: Which,
    /// Ids of connections that are gone to whoever pushes; the client is left in peace.
    pub gone: Vec<String>,
    /// Answered 410, not delivered.
    pub gone_pushes: Which,
    /// A client's message is delivered to the function a second time when the first was answered.
    pub repeated_messages: bool,
    /// Sends that are answered 503, and not taken.
    pub sends_refused: Which,
    /// Sends that are answered 503, and taken.
    pub sends_ambiguous: Which,
}

/// What happens to one push or send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing special.
    Delivered,
    /// 429.
    Throttled,
    /// 503, not delivered.
    Unavailable,
    /// 503, delivered.
    Ambiguous,
    /// 410.
    Gone,
}

/// The knobs, and how many pushes and sends there were since they were turned.
#[derive(Debug, Default)]
pub(super) struct Pushing(Mutex<(Knobs, u64, u64)>);

impl Pushing {
    /// Turns the knobs and counts afresh.
    pub fn set(&self, knobs: Knobs) {
        *lock(&self.0) = (knobs, 0, 0);
    }

    /// The knobs as they are.
    pub fn knobs(&self) -> Knobs {
        lock(&self.0).0.clone()
    }

    /// Counts a push and says what becomes of it, and after how long.
    pub fn fate(&self, connection: &str) -> (Fate, Duration) {
        let mut state = lock(&self.0);
        state.1 += 1;
        let (knobs, number) = (&state.0, state.1);
        let fate = if knobs.gone.iter().any(|id| id == connection) || knobs.gone_pushes.hits(number) {
            Fate::Gone
        } else if knobs.throttled.hits(number) {
            Fate::Throttled
        } else if knobs.unavailable.hits(number) {
            Fate::Unavailable
        } else if knobs.ambiguous.hits(number) {
            Fate::Ambiguous
        } else {
            Fate::Delivered
        };
        (fate, Duration::from_millis(knobs.push_delay_ms))
    }

    /// Counts a send to the queue and says what becomes of it.
    pub fn send_fate(&self) -> Fate {
        let mut state = lock(&self.0);
        state.2 += 1;
        let (knobs, number) = (&state.0, state.2);
        if knobs.sends_refused.hits(number) {
            Fate::Unavailable
        } else if knobs.sends_ambiguous.hits(number) {
            Fate::Ambiguous
        } else {
            Fate::Delivered
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knobs_hit_the_pushes_they_name() {
        let pushing = Pushing::default();
        let every = Which { every: 3, at: vec![] };
        let at = Which { every: 0, at: vec![2, 3] };
        pushing.set(Knobs { throttled: every, ambiguous: at, gone: vec!["b=".into()], ..Knobs::default() });
        let fates: Vec<Fate> = (0..4).map(|_| pushing.fate("a=").0).collect();
        assert_eq!(fates, [Fate::Delivered, Fate::Ambiguous, Fate::Throttled, Fate::Delivered]);
        assert_eq!(pushing.fate("b=").0, Fate::Gone);
    }

    #[test]
    fn sends_are_counted_apart_from_pushes() {
        let pushing = Pushing::default();
        let which = |at: u64| Which { every: 0, at: vec![at] };
        pushing.set(Knobs { sends_refused: which(1), sends_ambiguous: which(2), ..Knobs::default() });
        pushing.fate("a=");
        let fates: Vec<Fate> = (0..3).map(|_| pushing.send_fate()).collect();
        assert_eq!(fates, [Fate::Unavailable, Fate::Ambiguous, Fate::Delivered]);
    }
}
