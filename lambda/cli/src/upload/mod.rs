//! `llm-gateway upload`: curated answers out of a file into DynamoDB, or into this machine's store.
//!
//! The file is read twice: once to check every row, once to write the good ones.

mod check;
mod duplicates;
mod options;
mod state;
mod summary;
mod target;
mod write;

pub use options::{HELP, UploadOptions};

use crate::rows::Source;
use crate::say;
use crate::signals::stop_at_a_signal;
use crate::threads::apart;
use check::Checked;
use gateway::store::Bulk;
use state::{State, StateFile};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use summary::Summary;
use target::{Opened, Target};
use tokio_util::sync::CancellationToken;
use write::{Ended, Writing};

/// Uploads a file.
///
/// # Errors
/// A sentence for the person who started it.
pub async fn upload(options: UploadOptions) -> Result<ExitCode, String> {
    let begun = Instant::now();
    let target = match Target::of(&options) {
        _ if options.dry_run => None,
        None => return Ok(wrong_use()),
        target => target,
    };
    let stop = stop_at_a_signal()?;
    let parts = options.data.is_some() || options::filled(&options.state_table).is_some();
    let opened = match target {
        Some(target) => Some(target.open(&options).await?),
        None => None,
    };
    let path = options.file.clone();
    let (signal, checking) = (stop.clone(), stop.clone());
    let checked = apart(move || -> Result<_, String> {
        let source = Source::open(&path)?;
        Ok(check::check(&source, parts, &checking)?.map(|checked| (source, checked)))
    });
    let checked = tokio::select! {
        () = signal.cancelled() => None,
        checked = checked => checked.map_err(|_| "The file could not be checked.".to_owned())??,
    };
    let Some((source, mut checked)) = checked else {
        return Err("Interrupted while the rows were checked. Nothing was written.".to_owned());
    };
    let (mut sent, mut resumed, mut failed) = (None, 0, None);
    if let Some(opened) = opened {
        let state = State { file: checked.digest.clone(), target: opened.name.clone(), rows: 0 };
        let mut writing = Writing { source: Arc::new(source), parts, rows: checked.rows, state };
        let kept = StateFile::open(options.beside(".upload-state"))?;
        let behind = begin(&options, &writing.state, kept.left.as_ref())?;
        resumed = behind.unwrap_or_default();
        writing.state.rows = resumed;
        failed = keep_failed(&options, &mut checked, behind.is_some())?;
        kept.save(&writing.state)?;
        sent = Some(send(&options, &opened, &mut writing, kept, &stop).await?);
    }
    let took = begun.elapsed();
    let summary = Summary { checked: &checked, sent, resumed, failed: failed.as_deref(), took };
    say(&summary.text());
    if options.json {
        // A closed standard output leaves nobody to tell.
        let _closed = writeln!(std::io::stdout(), "{}", summary.json());
    }
    Ok(if checked.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A command line that does not say where to.
fn wrong_use() -> ExitCode {
    say("Say where to: -t TABLE (or the setting ANSWERS_TABLE), or --data DIR for this machine's store. \
         `llm-gateway upload --help` has examples.");
    ExitCode::from(2)
}

/// The row behind which a resumed upload begins; None where it begins anew.
fn begin(options: &UploadOptions, now: &State, left: Option<&State>) -> Result<Option<u64>, String> {
    let file = options.file.display();
    match left {
        Some(left) if options.resume => {
            if left.file != now.file {
                return Err(format!(
                    "{file} has changed since its upload was interrupted. Leave out --resume to upload all of it."
                ));
            }
            if left.target != now.target {
                return Err(format!(
                    "The interrupted upload of {file} went to {}, this one goes to {}. Name that one, or leave \
                     out --resume to upload all of it here.",
                    left.target, now.target
                ));
            }
            Ok(Some(left.rows))
        }
        Some(left) if (&left.file, &left.target) == (&now.file, &now.target) && left.rows > 0 => {
            say(&format!(
                "An upload of {file} was interrupted behind row {}; --resume would go on there. This one begins \
                 at the beginning.",
                left.rows
            ));
            Ok(None)
        }
        None if options.resume => {
            say(&format!("No interrupted upload of {file} was found. This one begins at the beginning."));
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// Writes the bad rows where they can be mended, if there are any. A resumed upload leaves those of
/// the interrupted one as they are: somebody may be mending them.
fn keep_failed(
    options: &UploadOptions,
    checked: &mut Checked,
    resumed: bool,
) -> Result<Option<PathBuf>, String> {
    let path = options.beside(".failed.jsonl");
    if checked.bad == 0 {
        return Ok(None);
    }
    if !resumed || !path.exists() {
        let copied = File::create(&path).and_then(|mut file| std::io::copy(&mut checked.failed, &mut file));
        copied.map_err(|error| {
            format!("{} cannot be written: {error}. Name a directory with --state-dir.", path.display())
        })?;
    }
    Ok(Some(path))
}

/// Writes the good rows and gives their number.
async fn send(
    options: &UploadOptions,
    opened: &Opened,
    writing: &mut Writing,
    kept: StateFile,
    stop: &CancellationToken,
) -> Result<u64, String> {
    let patience = Duration::from_secs(options.patience);
    let mut bulk = Bulk::new(&opened.store, usize::from(options.parallel), patience);
    let ended = write::write(writing, &mut bulk, &kept, stop).await;
    let why = match ended {
        Ok(Ended::Whole(count, _)) => {
            kept.remove();
            return Ok(count);
        }
        Ok(Ended::Stopped) => "Interrupted.".to_owned(),
        Err(why) => why,
    };
    let input = if options.file.as_os_str() == "-" { " and the same standard input" } else { "" };
    Err(format!(
        "{why}\nThe rows up to {} of {} are written. To go on, run the same command with --resume{input}.",
        writing.state.rows, writing.rows
    ))
}
