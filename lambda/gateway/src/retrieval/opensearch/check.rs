//! What a start finds out: whether the index is there, may be searched, and fits the settings.

use super::OpenSearch;
use super::client::Call;
use super::reply::Reply;
use crate::retrieval::Mode;
use serde_json::{Map, Value};
use std::time::Duration;

/// How long a start waits for the server.
const PATIENCE: Duration = Duration::from_secs(5);

impl OpenSearch {
    /// Looks at the index once. What may pass by itself is logged; the searches will tell.
    ///
    /// # Errors
    /// A sentence on what must be mended first.
    pub async fn check(&self) -> Result<(), String> {
        let reply = self.client.send(&Call::get(format!("/{}/_mapping", self.index), PATIENCE)).await;
        let reply = match reply {
            Ok(reply) if reply.status == 429 || reply.status >= 500 => Err(reply.refusal()),
            reply => reply,
        };
        match reply {
            Ok(reply) => self.judge(&reply),
            Err(error) => {
                tracing::warn!(%error, "OpenSearch cannot be searched now: answers come without passages");
                Ok(())
            }
        }
    }

    fn judge(&self, reply: &Reply) -> Result<(), String> {
        let index = &self.named;
        match reply.status {
            200 => {}
            401 => {
                return Err("OpenSearch does not know these credentials (401). Check OPENSEARCH_AUTH, \
                            OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD."
                    .to_owned());
            }
            403 => {
                return Err(format!(
                    "OpenSearch refuses to show the index \"{index}\" (403). Allow es:ESHttpGet and \
                     es:ESHttpPost (Serverless: aoss:APIAccessAll and a data access policy) to whom the gateway \
                     runs as; with fine-grained access control map it to a role that may read the index."
                ));
            }
            404 => {
                return Err(format!(
                    "OpenSearch has no index \"{index}\". Make it with `llm-gateway index PATH`, or name \
                     another with OPENSEARCH_INDEX."
                ));
            }
            status => {
                let names = reply.error_names().join(": ");
                return Err(format!(
                    "OpenSearch cannot be used: it answered {status} {names}. Check \
                                    OPENSEARCH_DOMAIN_ENDPOINT and OPENSEARCH_INDEX."
                ));
            }
        }
        let mappings: Map<String, Value> = reply.json().map_err(|_| {
            "OPENSEARCH_DOMAIN_ENDPOINT does not answer as OpenSearch does. Check the address.".to_owned()
        })?;
        mappings.values().try_for_each(|index| self.fits(&index["mappings"]))
    }

    fn fits(&self, mapping: &Value) -> Result<(), String> {
        let (index, fields) = (&self.named, &self.fields);
        let text = field(mapping, &fields.text);
        if text["type"] != "text" && self.mode != Mode::Vector {
            return Err(format!(
                "The index \"{index}\" has no field \"{}\" of type text{}. Name the right one with \
                 OPENSEARCH_TEXT_FIELD, or fill the index with `llm-gateway index PATH`.",
                fields.text,
                but(text)
            ));
        }
        if self.mode == Mode::Text {
            return Ok(());
        }
        let vector = field(mapping, &fields.vector);
        if vector["type"] != "knn_vector" {
            return Err(format!(
                "The index \"{index}\" has no field \"{}\" of type knn_vector{}. Name the right one with \
                 OPENSEARCH_VECTOR_FIELD, make an index with `llm-gateway index PATH`, or set \
                 RETRIEVAL_MODE=text.",
                fields.vector,
                but(vector)
            ));
        }
        let (model, makes) = (&self.embedding.model, self.embedding.dimensions as u64);
        let filled_with = mapping["_meta"]["llm_gateway"]["embeddings_model"].as_str();
        if let Some(other) = filled_with.filter(|other| other != model) {
            return Err(format!(
                "The index \"{index}\" holds vectors of {other}, and those of {model} do not compare with them. Set \
                 EMBEDDINGS_MODEL={other}, or fill another index with `llm-gateway index PATH`."
            ));
        }
        match vector["dimension"].as_u64() {
            Some(has) if has != makes => Err(format!(
                "The index \"{index}\" holds vectors of {has} numbers, and {model} makes {makes}. Set \
                 EMBEDDINGS_MODEL to the model that the index was filled with, or fill another index with \
                 `llm-gateway index PATH`."
            )),
            _ => Ok(()),
        }
    }
}

/// The field's mapping, inner ones behind dots; null where there is none.
pub fn field<'a>(mapping: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(mapping, |field, name| &field["properties"][name])
}

/// What it is instead.
pub fn but(field: &Value) -> String {
    field["type"].as_str().map(|kind| format!(", but one of type {kind}")).unwrap_or_default()
}
