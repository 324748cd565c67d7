//! Whether the models can be asked.

use super::report::Finding;
use crate::options::{ModelOption, ServeOptions};
use gateway::aws;
use gateway::config::Settings;
use gateway::error::{Error, Kind};
use gateway::model::bedrock::Bedrock;
use gateway::model::catalog::Catalog;
use gateway::model::scripted::Scripted;
use gateway::plan::Menu;
use gateway::retrieval::Mode;
use gateway::search_model::SearchModel;

/// Looks at what answers, and at what embeds for searches.
pub async fn look(options: &ServeOptions, settings: &Settings, search: &SearchModel) -> Vec<Finding> {
    match &options.model {
        ModelOption::Extractive => {
            vec![Finding::ok("model", "quotes the documents; no language model is asked")]
        }
        ModelOption::Script(file) => vec![match Scripted::load(file) {
            Ok(_) => Finding::ok("model", format!("plays {}", file.display())),
            Err(error) => Finding::wrong("model", error.message),
        }],
        ModelOption::Bedrock => on_bedrock(settings, search).await,
    }
}

async fn on_bedrock(settings: &Settings, search: &SearchModel) -> Vec<Finding> {
    let opened = match aws::http_client(settings.ca_bundle.as_deref()) {
        Ok(http) => Bedrock::load(http, settings.region.as_deref()).await.map_err(|error| error.message),
        Err(sentence) => Err(sentence),
    };
    let bedrock = match opened {
        Ok(bedrock) => bedrock,
        Err(sentence) => return vec![Finding::wrong("model", sentence)],
    };
    let asked = async {
        match default_model(settings) {
            Ok(id) => finding("model", &id, bedrock.check_model(&id).await),
            Err(sentence) => Finding::wrong("model", sentence),
        }
    };
    let embeds = async {
        let wanted = settings.retrieval.mode != Mode::Text && !search.is_local();
        let id = &search.choice.invoke_id;
        if wanted { Some(finding("embeddings", id, bedrock.check_embedder(id).await)) } else { None }
    };
    let (asked, embeds) = tokio::join!(asked, embeds);
    [Some(asked), embeds].into_iter().flatten().collect()
}

/// The id that a request without a model is answered by.
fn default_model(settings: &Settings) -> Result<String, String> {
    let catalog = Catalog::load().map_err(|error| error.to_string())?;
    let menu = Menu { catalog: &catalog, settings, stands_in: None };
    let choice = menu.choose(None).map_err(|error| format!("DEFAULT_MODEL: {}", error.message))?;
    Ok(choice.invoke_id)
}

fn finding(what: &str, id: &str, checked: Result<(), Error>) -> Finding {
    let Err(error) = checked else {
        return Finding::ok(
            what,
            format!("Bedrock takes requests for {id}; it was asked for nothing that is paid"),
        );
    };
    let detail = error.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    let todo = match error.kind {
        Kind::ModelNotFound => "Check DEFAULT_MODEL, EMBEDDINGS_MODEL and the Region (REGION_ID).",
        Kind::Unavailable => {
            "Check the network, the credentials, and that their policy allows bedrock:InvokeModel and \
             bedrock:InvokeModelWithResponseStream."
        }
        _ => "Try again.",
    };
    Finding::wrong(what, format!("{id}: {}{detail} {todo}", error.message))
}
