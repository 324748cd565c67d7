//! A reply waited for to its end, for whoever has no use for its pieces.

use crate::chat::{Event, Started, Terminal};
use crate::error::Error;
use crate::reply::Reader;
use std::sync::Arc;

/// A reply that was waited for to its end.
pub struct Whole {
    /// What was known when it began.
    pub started: Option<Arc<Started>>,
    /// All its text.
    pub text: String,
    /// The model had begun to answer, be it with something that is no text.
    pub began: bool,
    /// Its terminal.
    pub end: Terminal,
}

/// Waits for the whole reply.
pub async fn collect(mut reader: Reader) -> Whole {
    // Nothing is sent before the end, so that nothing needs to be looked at before it either.
    let reply = reader.reply().clone();
    reply.ended().await;
    let mut started = None;
    let mut text = String::new();
    let mut began = false;
    loop {
        match reader.next().await {
            Some(Event::Started(known)) => started = Some(known),
            Some(Event::Deltas { deltas, .. }) => {
                began = true;
                deltas.iter().for_each(|delta| text.push_str(delta.as_text()));
            }
            Some(Event::End(end)) => return Whole { started, text, began, end },
            None => {
                let error = Error::internal("a reply without a terminal");
                return Whole {
                    started,
                    text,
                    began,
                    end: Terminal::Failed { error, usage: Default::default() },
                };
            }
        }
    }
}
