//! Promises that only a directory can keep.

use crate::{TempDir, ann, completed, deltas, finish, started};
use gateway::chat::Delta;
use gateway::store::{Clock, Finish, Finished, Flush, ReplyKey, Retention, StoppedClock, Store, SystemClock};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

async fn open(dir: &Path) -> Result<Store, gateway::error::Error> {
    Store::embedded(Some(dir), Retention::default(), Arc::new(SystemClock)).await
}

#[tokio::test]
async fn a_directory_left_by_a_killed_process_holds_what_finish_returned() {
    let (dir, copy) = (TempDir::fresh(), TempDir::fresh());
    let store = open(&dir.0).await.unwrap();
    let (key, started, end, text) =
        (ReplyKey::new(&ann(), "r"), started("r"), completed(), deltas("one two"));
    let flush = Flush {
        key: &key,
        fingerprint: None,
        started: &started,
        first_seq: 1,
        deltas: &text,
        lease: Duration::ZERO,
    };
    store.flush_reply(flush).await.unwrap();
    store.finish(Finish { first_seq: 3, ..finish(&key, &started, &end) }).await.unwrap();
    // The files as they lie there while the store is open are the files that kill -9 leaves.
    std::fs::create_dir(&copy.0).unwrap();
    for file in std::fs::read_dir(&dir.0).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.0.join(file.file_name())).unwrap();
    }
    let reopened = open(&copy.0).await.unwrap();
    let row = reopened.load_reply(&key).await.unwrap().unwrap();
    assert_eq!(row.deltas.iter().map(Delta::as_text).collect::<String>(), "one two");
    assert_eq!(row.end, Some(completed()));
    let again = reopened.finish(finish(&key, &started, &end)).await.unwrap();
    assert_eq!(again, Finished::AlreadyEnded(completed()));
}

#[tokio::test]
async fn a_directory_serves_one_process_at_a_time() {
    let dir = TempDir::fresh();
    let first = open(&dir.0).await.unwrap();
    let error = open(&dir.0).await.err().unwrap();
    assert!(error.message.contains("another llm-gateway has it open"), "{}", error.message);
    first.put_connection("c", &ann()).await.unwrap();
    drop(first);
    let second = open(&dir.0).await.unwrap();
    assert_eq!(second.connection("c").await.unwrap(), Some(ann()));
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_directory_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::fresh();
    let nested = dir.0.join("data");
    let _store = open(&nested).await.unwrap();
    assert_eq!(std::fs::metadata(&nested).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let dir = TempDir::fresh();
    std::fs::write(&dir.0, "a file").unwrap();
    let error = open(&dir.0).await.err().unwrap();
    std::fs::remove_file(&dir.0).unwrap();
    assert!(error.message.starts_with("The data directory"), "{}", error.message);
}

#[tokio::test]
async fn expired_rows_leave_the_disk_and_live_ones_stay() {
    let dir = TempDir::fresh();
    let clock = StoppedClock::at(SystemClock.now_ms() - 3 * 60 * 60 * 1000);
    let store = Store::embedded(Some(&dir.0), Retention::default(), clock.clone()).await.unwrap();
    store.put_connection("old", &ann()).await.unwrap();
    clock.advance(Duration::from_secs(3 * 60 * 60));
    store.put_connection("new", &ann()).await.unwrap();
    assert_eq!(store.sweep().await.unwrap(), 1);
    assert_eq!(store.sweep().await.unwrap(), 0);
    assert_eq!(store.connection("new").await.unwrap(), Some(ann()));
}
