//! Reads a stream of Bedrock's to its end, with a limit on every wait.

use super::failure;
use crate::error::Error;
use crate::model::{Part, Parts, convert};
use aws_sdk_bedrockruntime::primitives::event_stream::EventReceiver;
use aws_sdk_bedrockruntime::types::ConverseStreamOutput;
use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;
use futures_util::stream::{self, StreamExt};
use std::time::Duration;
use tokio::time::timeout;

/// How long the token counts may lag behind the end of the answer.
const COUNTS_LIMIT: Duration = Duration::from_secs(1);

/// How long the end of the HTTP response may lag behind the counts. Reading it gives the
/// connection back to the pool; a late one is not worth a caller's wait.
const END_LIMIT: Duration = Duration::from_millis(50);

type Events = EventReceiver<ConverseStreamOutput, ConverseStreamOutputError>;

/// The parts of a stream. It ends after the first error; dropping it closes the connection.
pub(super) fn parts(events: Events, idle: Duration) -> Parts {
    let reader = Reader { events, idle, place: Place::Answer };
    stream::unfold(reader, |mut reader| async move { reader.next().await.map(|part| (part, reader)) }).boxed()
}

struct Reader {
    events: Events,
    idle: Duration,
    place: Place,
}

/// Where in the stream the reader stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// The answer is coming.
    Answer,
    /// The model has stopped; the counts are due.
    Counts,
    /// Only the end is due.
    End,
    /// An error was given out.
    Failed,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<Part, Error>> {
        loop {
            let limit = match self.place {
                Place::Answer => self.idle,
                Place::Counts => COUNTS_LIMIT,
                Place::End => END_LIMIT,
                Place::Failed => return None,
            };
            let error = match timeout(limit, self.events.recv()).await {
                Ok(Ok(Some(event))) => match convert::part::part(event) {
                    Some(part) => return Some(Ok(self.passed(part))),
                    None => continue,
                },
                Ok(Ok(None)) => return None,
                Ok(Err(error)) => failure::of_stream(error),
                Err(_) => failure::silent(self.idle),
            };
            // Behind `Stop` the answer is whole, and nothing can take that back.
            if self.place != Place::Answer {
                tracing::debug!(%error, "a stream of Bedrock's broke off behind its answer");
                return None;
            }
            self.place = Place::Failed;
            return Some(Err(error));
        }
    }

    fn passed(&mut self, part: Part) -> Part {
        match part {
            Part::Stop(_) => self.place = Place::Counts,
            Part::Usage(_) => self.place = Place::End,
            Part::Delta(_) => {}
        }
        part
    }
}
