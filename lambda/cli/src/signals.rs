//! The signals that ask a process to stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

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

/// Cancelled at the first signal; the second one ends the process.
///
/// # Errors
/// A sentence, where the signals cannot be caught.
pub fn stop_at_a_signal() -> Result<CancellationToken, String> {
    let (stop, first) = (CancellationToken::new(), signals()?);
    let told = stop.clone();
    tokio::spawn(async move {
        first.await;
        told.cancel();
        if let Ok(second) = signals() {
            second.await;
            std::process::exit(1);
        }
    });
    Ok(stop)
}
