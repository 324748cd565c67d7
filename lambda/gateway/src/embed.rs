//! Embedding: a text in, a vector out. No stream, no conversation, no cache.

use crate::blocks::tokens;
use crate::chat::{Caller, Purpose, SILENT_LIMIT, Vectors};
use crate::error::{Error, Kind};
use crate::flight::past_deadline;
use crate::gateway::Gateway;
use crate::model::EmbedAsk;
use crate::model::catalog::{Choice, LegacyShape};
use crate::telemetry;
use std::time::Instant;
use tokio::time::timeout;

impl Gateway {
    /// Is it an embedding model that is offered?
    pub fn is_embedding(&self, asked: &str) -> bool {
        self.menu().choose(Some(asked)).is_ok_and(|choice| choice.entry.embedding.is_some())
    }

    /// Embeds a text.
    ///
    /// # Errors
    /// `model_not_found` where the model cannot be reached from here; the provider's errors.
    pub async fn embed(&self, caller: &Caller, asked: &str, text: &str) -> Result<Vectors, Error> {
        let choice = self.menu().choose(Some(asked))?;
        let begun = Instant::now();
        let embedding = self.embed_with(&choice, text).await;
        telemetry::embedded(caller, &choice, begun.elapsed(), &embedding);
        embedding
    }

    async fn embed_with(&self, choice: &Choice, text: &str) -> Result<Vectors, Error> {
        if tokens(text) > u64::from(choice.entry.window) {
            let message =
                format!("The text is over the model's window of {} tokens. Split it.", choice.entry.window);
            return Err(Error::new(Kind::TooLarge, message));
        }
        let Some(spec) = &choice.entry.embedding else {
            return Err(Error::invalid("model", "This is no embedding model."));
        };
        let texts = vec![text.to_owned()];
        let ask =
            EmbedAsk { invoke_id: choice.invoke_id.clone(), spec: *spec, texts, purpose: Purpose::Query };
        let embedded = timeout(SILENT_LIMIT, self.rooms.embedder.embed(ask)).await;
        embedded.map_err(|_| past_deadline())?
    }

    /// The answer shape that clients of this old id expect, if a special one.
    pub fn legacy_shape(&self, asked: &str) -> Option<LegacyShape> {
        self.catalog.choose(asked, self.settings.region.as_deref().unwrap_or("us-east-1"))?.legacy_shape
    }
}
