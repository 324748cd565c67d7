//! `llm-gateway index`: documents become passages that the gateway finds, in OpenSearch or on this machine.

mod embed;
mod held;
mod local;
mod options;
mod passage;
pub mod pdf;
mod read;
mod report;
mod row;
mod run;
mod store;
mod summary;
mod target;
mod walk;

pub use options::{HELP, IndexOptions};

use crate::domain::{self, Vars};
use crate::say;
use crate::signals::stop_at_a_signal;
use crate::threads::apart;
use report::Report;
use run::Run;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use summary::Summary;

/// Indexes the PATHs.
///
/// # Errors
/// A sentence for the person who started it.
pub async fn index(options: IndexOptions) -> Result<ExitCode, String> {
    let begun = Instant::now();
    let piped = options.paths.iter().any(|path| path.as_os_str() == "-");
    if options.prune && piped {
        say("--prune removes what is gone below a PATH, and standard input is none. Leave one of them out.");
        return Ok(ExitCode::from(2));
    }
    let mut vars: Vars = std::env::vars().collect();
    if let Some(name) = &options.domain {
        vars = domain::named(name, vars).await?;
    }
    let settings = target::settings(&options, vars)?;
    let stop = stop_at_a_signal()?;
    let paths = options.paths.clone();
    let walk =
        apart(move || walk::walk(&paths)).await.map_err(|_| "The PATHs could not be read.".to_owned())??;
    let target = target::open(&options, &settings).await?;
    let report = Arc::new(Report::new(walk.files.iter().map(|file| file.size).sum()));
    walk.wrong.iter().for_each(|sentence| report.leave_out(sentence));
    let (others, dry) = (walk.others, options.dry_run);
    let run =
        Run { target, walk, prune: options.prune, dry, report: report.clone(), refused: Mutex::default() };
    let ended = tokio::select! {
        ended = run.go() => ended,
        () = stop.cancelled() => Err("Interrupted.".to_owned()),
    };
    report.end();
    if let Err(why) = ended {
        let stays = if dry {
            "Nothing was written."
        } else {
            "What was written stays: the same command goes on from there."
        };
        return Err(format!("{why}\n{stays}"));
    }
    let counts = report.counts();
    let (model, name) = (&run.target.model, &run.target.name);
    let summary = Summary { counts: &counts, others, model, target: name, dry, took: begun.elapsed() };
    say(&summary.text());
    if options.json {
        // A closed standard output leaves nobody to tell.
        let _closed = writeln!(std::io::stdout(), "{}", summary.json());
    }
    Ok(if counts.left_out == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
