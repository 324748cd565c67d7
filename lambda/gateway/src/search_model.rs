//! The embeddings model of searches: which one it is, and a way for the room of retrieval to ask it.

use crate::blocks::tokens;
use crate::chat::Purpose;
use crate::config::Settings;
use crate::error::{Error, Kind};
use crate::flight::past_deadline;
use crate::model::catalog::{Api, Catalog, Choice};
use crate::model::{EmbedAsk, Embedder};
use crate::retrieval::Embed;
use futures_util::future::FutureExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a batch of texts may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What makes the vectors of searches.
#[derive(Clone)]
pub struct SearchModel {
    /// The model.
    pub choice: Choice,
    /// Asks it. A question over the model's window is cut, because its beginning is a question too; a
    /// passage is refused.
    pub embed: Embed,
}

impl SearchModel {
    /// `EMBEDDINGS_MODEL`, or the catalog's: the local one where `local`, because no model of Bedrock's
    /// can be reached then. `embedder` gives what embeds for models of this API, where there is one.
    ///
    /// # Errors
    /// A sentence that names `EMBEDDINGS_MODEL`.
    pub fn open(
        settings: &Settings,
        local: bool,
        embedder: impl Fn(Api) -> Option<Arc<dyn Embedder>>,
    ) -> Result<SearchModel, String> {
        let catalog = Catalog::load().map_err(|error| error.to_string())?;
        let asked = settings.retrieval.embeddings_model.as_deref();
        let id = asked.unwrap_or(catalog.embedding_id(local));
        let region = settings.region.as_deref().unwrap_or("us-east-1");
        let choice = catalog.choose(id, region).filter(|choice| choice.entry.embedding.is_some());
        let Some(choice) = choice else {
            let known = catalog.entries().filter(|entry| entry.embedding.is_some());
            let known: Vec<&str> = known.map(|entry| entry.id.as_str()).collect();
            return Err(format!("EMBEDDINGS_MODEL must be one of {}, not \"{id}\".", known.join(", ")));
        };
        let Some(embedder) = embedder(choice.entry.api) else {
            return Err(format!(
                "EMBEDDINGS_MODEL={id} cannot be reached from here: models of Bedrock's need --model bedrock, \
                 and {} is there on a laptop only.",
                catalog.embedding_id(true)
            ));
        };
        Ok(SearchModel { embed: over(embedder, &choice), choice })
    }

    /// The model as the room of OpenSearch takes it.
    #[cfg(feature = "aws")]
    pub fn embedding(&self) -> crate::retrieval::opensearch::Embedding {
        crate::retrieval::opensearch::Embedding {
            model: self.choice.entry.id.clone(),
            spelling: self.is_local(),
            dimensions: self.dimensions(),
            embed: self.embed.clone(),
        }
    }

    /// Does it know spelling and not meaning?
    pub fn is_local(&self) -> bool {
        self.choice.entry.api == Api::LocalEmbedding
    }

    /// Numbers in a vector.
    pub fn dimensions(&self) -> usize {
        self.choice.entry.embedding.map_or(0, |spec| spec.dimensions)
    }
}

fn over(embedder: Arc<dyn Embedder>, choice: &Choice) -> Embed {
    let (invoke_id, spec, window) = (choice.invoke_id.clone(), choice.entry.embedding, choice.entry.window);
    Arc::new(move |texts, purpose| {
        let fitting: Result<Vec<String>, Error> =
            texts.into_iter().map(|text| fit(text, u64::from(window), purpose)).collect();
        let (invoke_id, embedder) = (invoke_id.clone(), embedder.clone());
        async move {
            let texts = fitting?;
            let spec = spec.ok_or_else(|| Error::internal("this is no embedding model"))?;
            let asked = embedder.embed(EmbedAsk { invoke_id, spec, texts, purpose });
            timeout(LIMIT, asked).await.map_err(|_| past_deadline())?
        }
        .boxed()
    })
}

/// The text as far as the model takes it.
fn fit(mut text: String, window: u64, purpose: Purpose) -> Result<String, Error> {
    if tokens(&text) <= window {
        return Ok(text);
    }
    if purpose == Purpose::Document {
        let sentence =
            format!("A passage is over the embeddings model's window of {window} tokens. Split it.");
        return Err(Error::new(Kind::TooLarge, sentence));
    }
    // A character is one token at most, as they are estimated.
    let most = usize::try_from(window).unwrap_or(usize::MAX);
    if let Some((end, _)) = text.char_indices().nth(most) {
        text.truncate(end);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Vectors;
    use crate::model::catalog::EmbeddingBody;
    use futures_util::future::BoxFuture;

    /// Gives the length of each text as its vector.
    struct Lengths;

    impl Embedder for Lengths {
        fn embed(&self, ask: EmbedAsk) -> BoxFuture<'static, Result<Vectors, Error>> {
            let vectors = ask.texts.iter().map(|text| vec![text.len() as f32]).collect();
            std::future::ready(Ok(Vectors { vectors, input_tokens: 0 })).boxed()
        }
    }

    fn open(vars: &[(&str, &str)], local: bool) -> Result<SearchModel, String> {
        let vars = vars.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let settings = Settings::from_vars(vars).unwrap();
        SearchModel::open(&settings, local, |api| match api == Api::LocalEmbedding || !local {
            true => Some(Arc::new(Lengths)),
            false => None,
        })
    }

    #[test]
    fn without_a_setting_it_is_the_one_that_can_be_reached() {
        let local = open(&[], true).unwrap();
        assert!(local.is_local() && local.dimensions() == 256);
        let bedrock = open(&[], false).unwrap();
        assert!(!bedrock.is_local() && bedrock.dimensions() == 1024);
        assert_eq!(bedrock.choice.entry.embedding.unwrap().body, EmbeddingBody::Titan);
    }

    #[test]
    fn a_model_that_does_not_embed_or_cannot_be_reached_is_refused_by_the_settings_name() {
        let cohere = [("EMBEDDINGS_MODEL", "cohere.embed-english-v3")];
        assert_eq!(open(&cohere, false).unwrap().choice.invoke_id, "cohere.embed-english-v3");
        for (id, local) in
            [("gpt", false), ("amazon.nova-lite-v1:0", false), ("cohere.embed-english-v3", true)]
        {
            let sentence = open(&[("EMBEDDINGS_MODEL", id)], local).err().unwrap();
            assert!(sentence.contains("EMBEDDINGS_MODEL") && sentence.contains(id), "{sentence}");
        }
    }

    #[tokio::test]
    async fn a_question_over_the_window_is_cut_and_a_passage_refused() {
        let model = open(&[("EMBEDDINGS_MODEL", "cohere.embed-english-v3")], false).unwrap();
        let long = "é".repeat(600);
        let question = (model.embed)(vec![long.clone(), "short".into()], Purpose::Query).await.unwrap();
        assert_eq!(question.vectors, [[512.0 * 2.0], [5.0]]);
        let refused = (model.embed)(vec![long], Purpose::Document).await.unwrap_err();
        assert_eq!(refused.kind, Kind::TooLarge);
    }
}
