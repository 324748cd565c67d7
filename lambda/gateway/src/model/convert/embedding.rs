//! `InvokeModel` bodies of embedding models: each provider has its own.

use crate::chat::{Purpose, Vectors};
use crate::error::{Error, Kind, json_place};
use crate::model::catalog::EmbeddingBody;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

/// How a provider's bodies are written and read.
impl EmbeddingBody {
    /// The request body for as many texts as the provider takes at once; Titan takes one.
    ///
    /// # Errors
    /// `internal` for a local model: nothing is sent for one.
    pub fn body(self, texts: &[String], purpose: Purpose) -> Result<Vec<u8>, Error> {
        let body = match (self, texts) {
            (EmbeddingBody::Titan, [text]) => json!({ "inputText": text }),
            (EmbeddingBody::Titan, _) => return Err(Error::internal("Titan embeds one text a request")),
            (EmbeddingBody::Cohere, texts) => {
                let input_type = match purpose {
                    Purpose::Query => "search_query",
                    Purpose::Document => "search_document",
                };
                json!({ "texts": texts, "input_type": input_type, "embedding_types": ["float"] })
            }
            (EmbeddingBody::Local, _) => return Err(local()),
        };
        Ok(body.to_string().into_bytes())
    }

    /// The vectors in a response body; `texts` is what was asked, for the estimate.
    ///
    /// # Errors
    /// `upstream_error` where it cannot be read, or has not one vector a text.
    pub fn read(self, body: &[u8], texts: &[String]) -> Result<Vectors, Error> {
        let vectors = match self {
            EmbeddingBody::Titan => serde_json::from_slice(body).map(Titan::vectors),
            EmbeddingBody::Cohere => {
                serde_json::from_slice(body).and_then(|cohere: Cohere<'_>| cohere.vectors(texts))
            }
            EmbeddingBody::Local => return Err(local()),
        };
        let unread = || Error::new(Kind::UpstreamError, "The embedding model's answer could not be read.");
        let vectors = vectors.map_err(|error| unread().because(json_place(&error)))?;
        match vectors.vectors.len() == texts.len() {
            true => Ok(vectors),
            false => {
                let (got, wanted) = (vectors.vectors.len(), texts.len());
                Err(unread().because(format!("{got} vectors for {wanted} texts")))
            }
        }
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

impl Titan {
    fn vectors(self) -> Vectors {
        Vectors { vectors: vec![self.embedding], input_tokens: self.input_text_token_count }
    }
}

#[derive(Deserialize)]
struct Cohere<'a> {
    /// Older Cohere models give the list itself, newer ones a list a type. Read as it stands, because an
    /// untagged enum would keep each of a hundred thousand numbers as a value of its own first.
    #[serde(borrow)]
    embeddings: &'a RawValue,
}

#[derive(Deserialize)]
struct ByType {
    float: Vec<Vec<f32>>,
}

impl Cohere<'_> {
    fn vectors(self, texts: &[String]) -> serde_json::Result<Vectors> {
        let json = self.embeddings.get();
        let vectors = match json.starts_with('[') {
            true => serde_json::from_str(json)?,
            false => serde_json::from_str::<ByType>(json)?.float,
        };
        // About four characters a token, as everywhere where a model does not say.
        let input_tokens = texts.iter().map(|text| text.chars().count().div_ceil(4) as u64).sum();
        Ok(Vectors { vectors, input_tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_shape_is_read_in_every_form_it_comes_in() {
        let check = |shape: EmbeddingBody, body: &str, input_tokens| {
            let expected = Vectors { vectors: vec![vec![0.5, -1.0]], input_tokens };
            assert_eq!(shape.read(body.as_bytes(), &texts(&["12345"])).unwrap(), expected);
        };
        check(EmbeddingBody::Titan, r#"{"embedding":[0.5,-1],"inputTextTokenCount":7}"#, 7);
        check(EmbeddingBody::Cohere, r#"{"embeddings":[[0.5,-1]],"id":"x"}"#, 2);
        check(EmbeddingBody::Cohere, r#"{"embeddings":{"float":[[0.5,-1]]}}"#, 2);
    }

    #[test]
    fn cohere_takes_several_texts_and_is_told_what_they_are_for() {
        let check = |purpose, input_type: &str| {
            let body = EmbeddingBody::Cohere.body(&texts(&["a", "b"]), purpose).unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let expected =
                json!({ "texts": ["a", "b"], "input_type": input_type, "embedding_types": ["float"] });
            assert_eq!(body, expected);
        };
        check(Purpose::Query, "search_query");
        check(Purpose::Document, "search_document");
        assert!(EmbeddingBody::Titan.body(&texts(&["a", "b"]), Purpose::Document).is_err());
    }

    #[test]
    fn an_answer_without_a_vector_for_each_text_is_the_models_fault() {
        for body in ["", "{}", r#"{"embeddings":[]}"#, r#"{"embeddings":[[1],[2],[3]]}"#] {
            let error = EmbeddingBody::Cohere.read(body.as_bytes(), &texts(&["a", "b"])).unwrap_err();
            assert_eq!(error.kind, Kind::UpstreamError);
        }
    }
}
