//! Whether Bedrock takes this machine's requests, found out with ones that it refuses: a conversation
//! without a message and with a limit of no tokens, a text that is none. No model is asked and nothing
//! is paid.

use super::{Bedrock, failure};
use crate::error::{Error, Kind};
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::InferenceConfiguration;
use std::time::Duration;
use tokio::time::timeout;

/// How long Bedrock may take to refuse.
const LIMIT: Duration = Duration::from_secs(10);

impl Bedrock {
    /// Would a conversation with this model be taken?
    ///
    /// # Errors
    /// What stands in the way, as a call would have it: the reason is in the detail.
    pub async fn check_model(&self, invoke_id: &str) -> Result<(), Error> {
        let none = InferenceConfiguration::builder().max_tokens(0).build();
        let call = self.client.converse_stream().model_id(invoke_id).inference_config(none);
        let refused = timeout(LIMIT, call.send()).await.map_err(|_| failure::silent(LIMIT))?;
        judge(refused.err().map(failure::of_call))
    }

    /// Would a text be embedded by this model?
    ///
    /// # Errors
    /// As [`Bedrock::check_model`].
    pub async fn check_embedder(&self, invoke_id: &str) -> Result<(), Error> {
        let call = self.client.invoke_model().model_id(invoke_id).content_type("application/json");
        let call = call.accept("application/json").body(Blob::new("{}"));
        let refused = timeout(LIMIT, call.send()).await.map_err(|_| failure::silent(LIMIT))?;
        judge(refused.err().map(failure::of_call))
    }
}

/// Refused for what is wrong with it, a request has come through all the rest.
fn judge(refused: Option<Error>) -> Result<(), Error> {
    match refused {
        Some(error) if !matches!(error.kind, Kind::InvalidRequest | Kind::TooLarge | Kind::Throttled) => {
            Err(error)
        }
        _ => Ok(()),
    }
}
