//! Amazon Bedrock: answers by `ConverseStream`, embeddings by `InvokeModel`.
//!
//! One try, no retries: whether another may follow is the engine's to say. Every wait has a limit,
//! because the SDK has none on a stream.

mod check;
mod failure;
mod reader;
mod setup;

use super::catalog::EmbeddingBody;
use super::convert;
use super::{Ask, EmbedAsk, Embedder, Model, Parts};
use crate::chat::{Purpose, Vectors};
use crate::error::Error;
use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::http::HttpRequest;
use aws_sdk_bedrockruntime::operation::converse_stream::builders::ConverseStreamFluentBuilder;
use aws_sdk_bedrockruntime::operation::converse_stream::{ConverseStreamInput, ConverseStreamOutput};
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_smithy_types::body::SdkBody;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// How long a model may be silent, unless the one who builds the adapter says otherwise.
pub const IDLE: Duration = Duration::from_secs(60);

/// Embedding requests of one call in flight at once.
const TOGETHER: usize = 8;

/// The adapter. Cheap to clone: the connections are shared.
#[derive(Clone, Debug)]
pub struct Bedrock {
    client: Client,
    idle: Duration,
}

impl Model for Bedrock {
    fn ask(&self, ask: Ask) -> BoxFuture<'static, Result<Parts, Error>> {
        let (client, idle) = (self.client.clone(), self.idle);
        Box::pin(async move {
            let call = call(&client, convert::request(ask)?);
            let sent = timeout(idle, send(call)).await.map_err(|_| failure::silent(idle))?;
            Ok(reader::parts(sent?.stream, idle))
        })
    }
}

impl Embedder for Bedrock {
    fn embed(&self, ask: EmbedAsk) -> BoxFuture<'static, Result<Vectors, Error>> {
        let this = self.clone();
        Box::pin(async move {
            let EmbedAsk { invoke_id, spec, texts, purpose } = ask;
            let requests = texts.chunks(spec.batch.max(1));
            // Collected first: a stream that borrows from its closure is not `Send` in general.
            let requests: Vec<_> =
                requests.map(|texts| this.invoke(&invoke_id, spec.body, texts, purpose)).collect();
            let parts: Vec<Vectors> = stream::iter(requests).buffered(TOGETHER).try_collect().await?;
            let input_tokens = parts.iter().map(|part| part.input_tokens).sum();
            Ok(Vectors { vectors: parts.into_iter().flat_map(|part| part.vectors).collect(), input_tokens })
        })
    }
}

impl Bedrock {
    /// One request: as many texts as the provider takes in one.
    async fn invoke(
        &self,
        invoke_id: &str,
        body: EmbeddingBody,
        texts: &[String],
        purpose: Purpose,
    ) -> Result<Vectors, Error> {
        let call = self
            .client
            .invoke_model()
            .model_id(invoke_id)
            .content_type("application/json")
            .accept("application/json")
            .body(Blob::new(body.body(texts, purpose)?));
        let reply = timeout(self.idle, call.send()).await.map_err(|_| failure::silent(self.idle))?;
        body.read(reply.map_err(failure::of_call)?.body.as_ref(), texts)
    }
}

fn call(client: &Client, input: ConverseStreamInput) -> ConverseStreamFluentBuilder {
    client
        .converse_stream()
        .set_model_id(input.model_id)
        .set_messages(input.messages)
        .set_system(input.system)
        .set_inference_config(input.inference_config)
        .set_tool_config(input.tool_config)
        .set_additional_model_request_fields(input.additional_model_request_fields)
        .set_output_config(input.output_config)
}

/// Sends a call. The SDK keeps a tool's schema in a hash map and so writes its keys in another
/// order each time; the provider's prompt cache begins with the tools and would never be hit.
async fn send(call: ConverseStreamFluentBuilder) -> Result<ConverseStreamOutput, Error> {
    let sent = match call.get_tool_config() {
        Some(_) => call.customize().mutate_request(sort_keys).send().await,
        None => call.send().await,
    };
    sent.map_err(failure::of_call)
}

/// Writes the body again with its keys in order; a body that is not JSON is left as it is.
fn sort_keys(request: &mut HttpRequest) {
    let body = request.body().bytes().and_then(|body| serde_json::from_slice::<Value>(body).ok());
    if let Some(mut body) = body {
        body.sort_all_objects();
        let body = body.to_string();
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = SdkBody::from(body);
    }
}
