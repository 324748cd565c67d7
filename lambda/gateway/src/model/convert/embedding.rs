//! `InvokeModel` bodies of embedding models: each provider has its own.

use crate::error::{Error, Kind, json_place};
use crate::model::Embedding;
use crate::model::catalog::EmbeddingBody;
use serde::Deserialize;
use serde_json::json;

/// How a provider's bodies are written and read.
impl EmbeddingBody {
    /// The request body for one text.
    ///
    /// # Errors
    /// `internal` for a local model: nothing is sent for one.
    pub fn body(self, text: &str) -> Result<Vec<u8>, Error> {
        let body = match self {
            EmbeddingBody::Titan => json!({ "inputText": text }),
            EmbeddingBody::Cohere => {
                json!({ "texts": [text], "input_type": "search_query", "embedding_types": ["float"] })
            }
            EmbeddingBody::Local => return Err(local()),
        };
        Ok(body.to_string().into_bytes())
    }

    /// The embedding in a response body; `text` is what was asked, for the estimate.
    pub fn read(self, body: &[u8], text: &str) -> Result<Embedding, Error> {
        let embedding = match self {
            EmbeddingBody::Titan => serde_json::from_slice::<Titan>(body).map(|titan| {
                Some(Embedding { vector: titan.embedding, input_tokens: titan.input_text_token_count })
            }),
            EmbeddingBody::Cohere => {
                serde_json::from_slice::<Cohere>(body).map(|cohere| cohere.embedding(text))
            }
            EmbeddingBody::Local => return Err(local()),
        };
        let unread = || Error::new(Kind::UpstreamError, "The embedding model's answer could not be read.");
        embedding
            .map_err(|error| unread().because(json_place(&error)))?
            .ok_or_else(|| unread().because("no vector in it"))
    }
}

fn local() -> Error {
    Error::internal("a local embedding model was asked of Bedrock")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Titan {
    embedding: Vec<f32>,
    input_text_token_count: u64,
}

#[derive(Deserialize)]
struct Cohere {
    embeddings: CohereVectors,
}

/// Older Cohere models give the list itself, newer ones a list a type.
#[derive(Deserialize)]
#[serde(untagged)]
enum CohereVectors {
    List(Vec<Vec<f32>>),
    ByType { float: Vec<Vec<f32>> },
}

impl Cohere {
    fn embedding(self, text: &str) -> Option<Embedding> {
        let (CohereVectors::List(vectors) | CohereVectors::ByType { float: vectors }) = self.embeddings;
        // About four characters a token, as everywhere where a model does not say.
        let input_tokens = text.chars().count().div_ceil(4) as u64;
        vectors.into_iter().next().map(|vector| Embedding { vector, input_tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_is_read_in_every_form_it_comes_in() {
        let check = |shape: EmbeddingBody, body: &str, input_tokens| {
            let expected = Embedding { vector: vec![0.5, -1.0], input_tokens };
            assert_eq!(shape.read(body.as_bytes(), "12345").unwrap(), expected);
        };
        check(EmbeddingBody::Titan, r#"{"embedding":[0.5,-1],"inputTextTokenCount":7}"#, 7);
        check(EmbeddingBody::Cohere, r#"{"embeddings":[[0.5,-1]],"id":"x"}"#, 2);
        check(EmbeddingBody::Cohere, r#"{"embeddings":{"float":[[0.5,-1]]}}"#, 2);
    }

    #[test]
    fn an_answer_without_a_vector_is_the_models_fault() {
        for body in ["", "{}", r#"{"embeddings":[]}"#] {
            assert_eq!(
                EmbeddingBody::Cohere.read(body.as_bytes(), "").unwrap_err().kind,
                Kind::UpstreamError
            );
        }
    }
}
