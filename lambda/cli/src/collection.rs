//! What the command searches: an OpenSearch, where one is named, or else documents of this machine.

use crate::options::ServeOptions;
use gateway::aws;
use gateway::config::Settings;
use gateway::config::retrieval::Auth;
use gateway::model::Embedder;
use gateway::model::catalog::Api;
use gateway::model::embedding::HashedEmbedding;
use gateway::retrieval::collection::{Meaning, Rules};
use gateway::retrieval::local::LocalIndex;
use gateway::retrieval::opensearch::OpenSearch;
use gateway::retrieval::passages;
use gateway::retrieval::{Mode, Retrieval};
use gateway::search_model::SearchModel;
use std::sync::Arc;
use std::time::Duration;

/// How often the documents are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The gateway's own documents: the first question of a fresh clone has an answer with sources.
const OWN_DOCUMENTS: [(&str, &str); 3] = [
    ("README.md", include_str!("../../../README.md")),
    ("ARCHITECTURE.md", include_str!("../../../ARCHITECTURE.md")),
    ("CONTRIBUTING.md", include_str!("../../../CONTRIBUTING.md")),
];

/// The index of `OPENSEARCH_DOMAIN_ENDPOINT`, looked at once so that what is wrong with it is said now; without one
/// the documents of this machine.
///
/// # Errors
/// A sentence for the person who started it.
pub async fn open(
    options: &ServeOptions,
    settings: &Settings,
    model: &SearchModel,
) -> Result<Arc<dyn Retrieval>, String> {
    let Some(there) = &settings.retrieval.opensearch else {
        return Ok(local(options, settings, model)?);
    };
    if let Some(folder) = &options.documents {
        let folder = folder.display().to_string();
        tracing::warn!(folder, "--documents is not searched: OPENSEARCH_DOMAIN_ENDPOINT is set");
    }
    let connector = aws::connector(settings.ca_bundle.as_deref())?;
    let config = match there.auth {
        Auth::Iam(_) => aws::found(aws::client_over(connector.clone()), settings.region.as_deref()).await,
        Auth::Basic { .. } | Auth::None => None,
    };
    let search = OpenSearch::open(connector, config.as_ref(), &settings.retrieval, model.embedding())?;
    let search = search.ok_or("OPENSEARCH_DOMAIN_ENDPOINT is missing.")?;
    search.check().await?;
    Ok(Arc::new(search))
}

/// The documents of `--documents`, or else the passages that `llm-gateway index` left in the data
/// directory, or until then the gateway's own documents. `indexed` is the model of the passages' vectors;
/// what is read here is embedded here, which costs nothing.
///
/// # Errors
/// A sentence for the person who started it.
fn local(
    options: &ServeOptions,
    settings: &Settings,
    indexed: &SearchModel,
) -> Result<Arc<LocalIndex>, String> {
    let rules = Rules { mode: settings.retrieval.mode, min_score: settings.retrieval.min_score };
    let here = meaning(&here(settings)?);
    let index = match &options.documents {
        Some(dir) => LocalIndex::from_dir(dir.clone(), rules, here)
            .map_err(|error| format!("--documents {} cannot be read: {error}.", dir.display()))?,
        None => {
            let file = options.data.join(passages::FILE);
            LocalIndex::from_file(file, rules, meaning(indexed), (&OWN_DOCUMENTS, here))?
        }
    };
    let index = Arc::new(index);
    index.clone().watch(LOOK);
    Ok(index)
}

/// What embeds for searches: `bedrock` for its models, where they can be reached. Where nothing is embedded, or
/// only what is read here, `EMBEDDINGS_MODEL` has no say and stops nothing.
///
/// # Errors
/// A sentence that names `EMBEDDINGS_MODEL`.
pub fn search_model(
    options: &ServeOptions,
    settings: &Settings,
    bedrock: Option<&Arc<dyn Embedder>>,
) -> Result<SearchModel, String> {
    let retrieval = &settings.retrieval;
    let read_here = retrieval.opensearch.is_none() && options.documents.is_some();
    if retrieval.mode == Mode::Text || read_here { here(settings) } else { model(settings, bedrock) }
}

fn model(settings: &Settings, bedrock: Option<&Arc<dyn Embedder>>) -> Result<SearchModel, String> {
    SearchModel::open(settings, bedrock.is_none(), |api| match api {
        Api::LocalEmbedding => Some(Arc::new(HashedEmbedding)),
        _ => bedrock.cloned(),
    })
}

/// What embeds the documents that are read here.
fn here(settings: &Settings) -> Result<SearchModel, String> {
    let mut settings = settings.clone();
    settings.retrieval.embeddings_model = None;
    model(&settings, None)
}

fn meaning(model: &SearchModel) -> Meaning {
    Meaning { embed: model.embed.clone(), model: model.choice.entry.id.clone(), spelling: model.is_local() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Serve {
        #[command(flatten)]
        options: ServeOptions,
    }

    #[test]
    fn a_model_that_cannot_be_reached_stops_only_what_embeds_with_it() {
        let opens = |mode: &str, more: &[&str]| {
            let vars = [("EMBEDDINGS_MODEL", "amazon.titan-embed-text-v2:0"), ("RETRIEVAL_MODE", mode)];
            let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let serve = Serve::try_parse_from([&["serve"], more].concat()).unwrap();
            search_model(&serve.options, &Settings::from_vars(vars).unwrap(), None).is_ok()
        };
        assert!(opens("text", &[]) && opens("hybrid", &["--documents", "."]));
        assert!(!opens("hybrid", &[]) && !opens("vector", &[]));
    }
}
