//! Where an index is, what makes its vectors, and both opened.

use super::embed::Embedding;
use super::local::Local;
use super::options::IndexOptions;
use super::store::Store;
use gateway::aws;
use gateway::config::Settings;
use gateway::config::retrieval::{Auth, OpenSearch};
use gateway::model::Embedder;
use gateway::model::bedrock::Bedrock;
use gateway::model::catalog::{Api, Catalog};
use gateway::model::embedding::HashedEmbedding;
use gateway::retrieval::opensearch::client::Client;
use gateway::retrieval::opensearch::load::{Found, Loader};
use gateway::retrieval::opensearch::mapping::Vectors;
use gateway::search_model::SearchModel;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An index that is open.
pub struct Target {
    /// What is written to.
    pub store: Store,
    /// What it is, for people.
    pub name: String,
    /// What makes its vectors.
    pub model: SearchModel,
    /// The way to that.
    pub embedding: Embedding,
}

/// The data directory where none is named, as `serve` has it.
const DATA: &str = ".llm-gateway";

/// The settings with what the options say instead; of what goes to this machine without OpenSearch.
///
/// # Errors
/// A sentence a wrong setting.
pub fn settings(
    options: &IndexOptions,
    vars: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, String> {
    let mut settings = Settings::from_vars(vars).map_err(|wrong| wrong.join("\n"))?;
    let model = options.embeddings_model.clone();
    settings.retrieval.embeddings_model = model.or(settings.retrieval.embeddings_model);
    if options.data.is_some() {
        settings.retrieval.opensearch = None;
    }
    match (&options.index, &mut settings.retrieval.opensearch) {
        (Some(name), Some(opensearch)) => opensearch.index.clone_from(name),
        (Some(_), None) => {
            return Err(
                "--index names an index of OpenSearch: set OPENSEARCH_DOMAIN_ENDPOINT or --domain too."
                    .to_owned(),
            );
        }
        (None, _) => {}
    }
    Ok(settings)
}

/// Opens what the settings name. With `--dry-run` it is only looked at.
///
/// # Errors
/// A sentence that says what to do.
pub async fn open(options: &IndexOptions, settings: &Settings) -> Result<Target, String> {
    let model = model(options, settings).await?;
    let vectors = Vectors { model: model.choice.entry.id.clone(), dimensions: model.dimensions() };
    let patience = Duration::from_secs(options.patience);
    let (store, name) = match &settings.retrieval.opensearch {
        Some(opensearch) => {
            let loader = Loader::new(client(settings, opensearch).await?, opensearch, vectors, patience);
            let name = format!("the index \"{}\" at {}", opensearch.index, opensearch.endpoint);
            (prepared(loader, !options.dry_run, &name).await?, name)
        }
        None => {
            let dir = options.data.clone().unwrap_or_else(|| PathBuf::from(DATA));
            let local = Local::open(&dir, &vectors, !options.dry_run)?;
            (Store::Local(Mutex::new(local)), format!("this machine's index in {}", dir.display()))
        }
    };
    let embedding = Embedding::new(model.embed.clone(), patience);
    Ok(Target { store, name, model, embedding })
}

async fn prepared(mut loader: Loader, write: bool, name: &str) -> Result<Store, String> {
    let found = loader.look().await?;
    if found == Found::Fitting(false) {
        crate::say(&format!(
            "Nothing says which model made the vectors in {name}. If it was another one than this run's, \
             the two do not compare."
        ));
    }
    if write {
        loader.prepare(found).await?;
    }
    Ok(Store::OpenSearch(Box::new(loader), found != Found::Nothing))
}

async fn client(settings: &Settings, opensearch: &OpenSearch) -> Result<Client, String> {
    let connector = aws::connector(settings.ca_bundle.as_deref())?;
    let config = match opensearch.auth {
        Auth::Iam(_) => aws::found(aws::client_over(connector.clone()), settings.region.as_deref()).await,
        Auth::Basic { .. } | Auth::None => None,
    };
    Client::new(connector, opensearch, config.as_ref())
}

async fn model(options: &IndexOptions, settings: &Settings) -> Result<SearchModel, String> {
    // This machine's index is for a gateway that needs nothing else, unless a model is named.
    let local = settings.retrieval.opensearch.is_none();
    let catalog = Catalog::load().map_err(|error| error.message)?;
    let id = settings.retrieval.embeddings_model.as_deref().unwrap_or(catalog.embedding_id(local));
    let region = settings.region.as_deref().unwrap_or("us-east-1");
    let here = catalog.choose(id, region).is_none_or(|choice| choice.entry.api != Api::Embedding);
    // A dry run asks no model anything, and so needs no credentials.
    let embedder: Arc<dyn Embedder> = if here || options.dry_run {
        Arc::new(HashedEmbedding)
    } else {
        let http = aws::http_client(settings.ca_bundle.as_deref())?;
        Arc::new(Bedrock::load(http, settings.region.as_deref()).await.map_err(|error| error.message)?)
    };
    SearchModel::open(settings, local, |_| Some(embedder.clone()))
}
