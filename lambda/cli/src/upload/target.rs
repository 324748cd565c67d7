//! Where an upload goes: a DynamoDB table, or the data directory of this machine.

use super::options::{UploadOptions, filled};
use gateway::error::Error;
use gateway::store::{Retention, Store, SystemClock, Tables};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A target that the command line names.
pub enum Target {
    /// A DynamoDB table, and the table for parts of large rows.
    Table(String, Option<String>),
    /// A data directory.
    Data(PathBuf),
}

/// A target that is open.
pub struct Opened {
    /// What is written to.
    pub store: Store,
    /// What it is, told from every other target; for people too.
    pub name: String,
}

impl Target {
    /// None where the command line names none.
    pub fn of(options: &UploadOptions) -> Option<Target> {
        match &options.data {
            Some(dir) => Some(Target::Data(dir.clone())),
            None => options.table().map(|table| Target::Table(table, filled(&options.state_table))),
        }
    }

    /// Opens it and looks whether it can be written to.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub async fn open(self, options: &UploadOptions) -> Result<Opened, String> {
        let sentence = |error: Error| error.message;
        let (retention, clock) = (Retention::default(), Arc::new(SystemClock));
        match self {
            Target::Data(dir) => {
                let store = Store::embedded(Some(&dir), retention, clock).await.map_err(sentence)?;
                let id = store.check_answers_table().await.map_err(sentence)?;
                let dir = dir.canonicalize().unwrap_or(dir);
                Ok(Opened { store, name: format!("data directory {}{}", dir.display(), told_by(id)) })
            }
            Target::Table(answers, state) => {
                let (bundle, region) = (filled(&options.ca_bundle), filled(&options.region));
                let config = gateway::aws::load(bundle.as_deref().map(Path::new), region.as_deref()).await?;
                Store::check_settings(&config).await.map_err(sentence)?;
                let region = config.region().map(ToString::to_string).unwrap_or_default();
                let at = Store::endpoint(&config).map(|url| format!(" at {url}")).unwrap_or_default();
                let mut name = format!("table {answers} in {region}{at}");
                let tables = Tables { answers, state: state.clone().unwrap_or_default() };
                let store = Store::new(Store::client(&config), tables, retention, clock);
                name += &told_by(store.check_answers_table().await.map_err(sentence)?);
                if let Some(state) = state {
                    let id = store.check_state_table().await.map_err(sentence)?;
                    name += &format!(", parts in {state}{}", told_by(id));
                }
                Ok(Opened { store, name })
            }
        }
    }
}

/// A table that was made anew has another id under the same name.
fn told_by(id: Option<String>) -> String {
    id.map(|id| format!(" ({id})")).unwrap_or_default()
}
