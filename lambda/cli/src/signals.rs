//! The signals that ask a process to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Ready at the first SIGINT or SIGTERM from now on.
///
/// # Errors
/// A sentence, where the signals cannot be caught.
pub fn signals() -> Result<impl Future<Output = ()> + Send + use<>, String> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
