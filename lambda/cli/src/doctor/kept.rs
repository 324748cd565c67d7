//! The tables and the queue.

use super::report::Finding;
use aws_types::SdkConfig;
use gateway::config::Settings;
use gateway::queue::sqs::Sqs;
use gateway::store::{Retention, Store, SystemClock, Tables};
use std::sync::Arc;

/// Looks at what `ANSWERS_TABLE`, `STATE_TABLE` and `JOBS_QUEUE_URL` name.
pub async fn look(config: &SdkConfig, settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some((answers, state)) = &settings.tables {
        let tables = Tables { answers: answers.clone(), state: state.clone() };
        findings.extend(tables_of(config, tables).await);
    }
    if let Some(url) = &settings.jobs_queue {
        findings.push(match settings.tables {
            Some(_) => queue(config, url, settings).await,
            None => Finding::wrong(
                "job queue",
                "JOBS_QUEUE_URL goes with ANSWERS_TABLE and STATE_TABLE. Set them too, or unset it.",
            ),
        });
    }
    findings
}

async fn tables_of(config: &SdkConfig, tables: Tables) -> Vec<Finding> {
    if let Err(error) = Store::check_settings(config).await {
        return vec![Finding::wrong("tables", error.message)];
    }
    let store =
        Store::new(Store::client(config), tables.clone(), Retention::default(), Arc::new(SystemClock));
    let keys = tokio::join!(store.check_answers_table(), store.check_state_table());
    let ends = tokio::join!(store.expires(&tables.answers), store.expires(&tables.state));
    vec![
        table("answers table", &tables.answers, keys.0, ends.0),
        table("state table", &tables.state, keys.1, ends.1),
    ]
}

fn table(
    what: &str,
    name: &str,
    keys: Result<Option<String>, gateway::error::Error>,
    expires: Option<bool>,
) -> Finding {
    match (keys, expires) {
        (Err(error), _) => Finding::wrong(what, error.message),
        (Ok(None), _) => Finding::note(
            what,
            format!("{name} may not be looked at: allow dynamodb:DescribeTable to have its keys checked"),
        ),
        (Ok(Some(_)), Some(false)) => Finding::wrong(
            what,
            format!(
                "{name} has the right keys but keeps expired rows for ever. Enable its time to live with the \
                 attribute expires_at."
            ),
        ),
        (Ok(Some(_)), Some(true)) => {
            Finding::ok(what, format!("{name} has the right keys and a time to live"))
        }
        (Ok(Some(_)), None) => Finding::note(
            what,
            format!(
                "{name} has the right keys; allow dynamodb:DescribeTimeToLive to have its time to live checked"
            ),
        ),
    }
}

async fn queue(config: &SdkConfig, url: &str, settings: &Settings) -> Finding {
    let queue = Sqs::new(config, url, settings.shared_lease());
    match queue.check().await {
        Err(sentence) => Finding::wrong("job queue", sentence),
        Ok(()) if queue.has_dead_letters().await => Finding::ok("job queue", format!("{url} is there")),
        Ok(()) => Finding::note(
            "job queue",
            format!(
                "{url} is there; it has no queue of dead letters, so a job that ends its worker comes for ever"
            ),
        ),
    }
}
