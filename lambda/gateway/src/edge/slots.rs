//! How many replies may run on one WebSocket connection at once.

use super::Doors;
use crate::chat::LONGEST_REPLY;
use crate::error::{Error, Kind};
use crate::gateway::Gateway;
use crate::store::{Holder, Slot};
use crate::telemetry;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Replies that may run on one connection at once.
const RUNNING: usize = 4;

/// A connection's places for running replies.
pub(super) enum Slots {
    /// Every message of the connection comes to this process.
    Here(Arc<Semaphore>),
    /// Each message may come to another process: the store counts.
    Stored {
        /// The engine that has the store.
        gateway: Arc<Gateway>,
        /// The connection.
        connection: String,
        /// The message.
        message: String,
    },
}

/// A place that is held.
pub(super) enum Held {
    /// Free again when it is dropped.
    Here(#[expect(dead_code, reason = "held, not used")] OwnedSemaphorePermit),
    /// Free again when the store is told, or some time after its process was killed.
    Stored(Arc<Gateway>, Slot),
    /// There is nobody to count.
    Uncounted,
}

impl Slots {
    /// Counted in this process.
    pub fn here() -> Slots {
        Slots::Here(Arc::new(Semaphore::new(RUNNING)))
    }

    /// Counted in the store.
    pub fn stored(doors: &Doors, connection: &str, message: &str) -> Slots {
        let (connection, message) = (connection.to_owned(), message.to_owned());
        Slots::Stored { gateway: doors.gateway.clone(), connection, message }
    }

    /// Takes a place. A store that is away or absent stops nobody.
    ///
    /// # Errors
    /// `throttled` where all are taken.
    pub async fn take(&self) -> Result<Held, Error> {
        match self {
            Slots::Here(slots) => {
                slots.clone().try_acquire_owned().map(Held::Here).map_err(|_closed_or_full| full())
            }
            Slots::Stored { gateway, connection, message } => {
                let Some(store) = gateway.store() else { return Ok(Held::Uncounted) };
                let holder = Holder::Connection(connection);
                match store.take_slot(holder, message, RUNNING, LONGEST_REPLY).await {
                    Ok(Some(slot)) => Ok(Held::Stored(gateway.clone(), slot)),
                    Ok(None) => Err(full()),
                    Err(error) => {
                        telemetry::store_failed(message, &error);
                        Ok(Held::Uncounted)
                    }
                }
            }
        }
    }
}

impl Held {
    /// Gives the place back.
    pub async fn free(self) {
        let Held::Stored(gateway, slot) = self else { return };
        let Some(store) = gateway.store() else { return };
        if let Err(error) = store.free_slot(slot).await {
            tracing::warn!(%error, "a connection's place was not given back: it frees itself in 15 minutes");
        }
    }
}

fn full() -> Error {
    let message =
        format!("{RUNNING} replies are running on this connection. Wait for one to end, or cancel it.");
    Error::new(Kind::Throttled, message).after(Some(Duration::from_secs(1)))
}
