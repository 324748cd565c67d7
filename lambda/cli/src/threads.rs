//! Threads for work that blocks.

use tokio::sync::oneshot;

/// Runs work that blocks on a thread of its own, which does not keep the process from ending.
pub fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (done, result) = oneshot::channel();
    std::thread::spawn(move || {
        // Nobody waits for it any more where the upload was stopped.
        let _unwanted = done.send(work());
    });
    result
}
