//! The index that passages are written to: how a new one is made, and whether one that is there fits.

use super::check::{but, field};
use crate::config::retrieval::FieldNames;
use serde_json::{Map, Value, json};

/// Characters of a string that can be matched exactly; a keyword has at most 32,766 bytes.
const LONGEST_KEYWORD: u32 = 8_191;

/// What the command asks for exactly, in every passage's metadata.
pub const OWN_FIELDS: [&str; 3] = ["passage_id", "document", "loaded_from"];

/// The vectors that an index is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vectors {
    /// The id of the model that makes them.
    pub model: String,
    /// Numbers in each.
    pub dimensions: usize,
}

/// The body that makes an index. OpenSearch Serverless has another engine, without cosine similarity: over
/// vectors of length 1 its distance ranks the same.
pub fn body(fields: &FieldNames, vectors: &Vectors, serverless: bool) -> Value {
    let (engine, space) = if serverless { ("faiss", "l2") } else { ("lucene", "cosinesimil") };
    let method = json!({ "name": "hnsw", "engine": engine, "space_type": space });
    let keyword = json!({ "type": "keyword", "ignore_above": LONGEST_KEYWORD });
    let own: Map<String, Value> =
        OWN_FIELDS.iter().map(|name| ((*name).to_owned(), keyword.clone())).collect();
    let string = json!({ "type": "text", "fields": { "keyword": keyword } });
    let strings = json!({ "strings": {
        "path_match": format!("{}.*", fields.metadata), "match_mapping_type": "string", "mapping": string,
    } });
    let mut properties = Map::new();
    properties.insert(fields.text.clone(), json!({ "type": "text" }));
    let vector = json!({ "type": "knn_vector", "dimension": vectors.dimensions, "method": method });
    properties.insert(fields.vector.clone(), vector);
    properties.insert(fields.metadata.clone(), json!({ "properties": own }));
    let said = json!({ "embeddings_model": vectors.model, "dimensions": vectors.dimensions });
    json!({
        "settings": { "index": { "knn": true } },
        "mappings": { "_meta": { "llm_gateway": said }, "date_detection": false, "dynamic_templates": [strings], "properties": properties },
    })
}

/// Does an index take these vectors? `mapping` is its mapping, `knn` its setting `index.knn`, where it is
/// shown.
///
/// # Errors
/// A sentence that names what is wrong and what to do.
pub fn judge(
    index: &str,
    mapping: &Value,
    knn: Option<&str>,
    fields: &FieldNames,
    vectors: &Vectors,
) -> Result<(), String> {
    const OTHER: &str = "Fill another index with --index NAME (OPENSEARCH_INDEX)";
    let text = field(mapping, &fields.text);
    if !text.is_null() && text["type"] != "text" {
        return Err(format!(
            "The field \"{}\" of the index \"{index}\" is no text{}. {OTHER}, or another field with \
             OPENSEARCH_TEXT_FIELD.",
            fields.text,
            but(text)
        ));
    }
    let vector = field(mapping, &fields.vector);
    if vector["type"] != "knn_vector" {
        return Err(format!(
            "The index \"{index}\" has no field \"{}\" of type knn_vector{}: it cannot be searched by vectors. \
             {OTHER}, or another field with OPENSEARCH_VECTOR_FIELD.",
            fields.vector,
            but(vector)
        ));
    }
    if knn.is_some_and(|knn| knn != "true") {
        return Err(format!(
            "The index \"{index}\" was made without \"index.knn\": true, so that its vectors are kept and not \
             searched, and this cannot be set later. {OTHER}."
        ));
    }
    let said = &mapping["_meta"]["llm_gateway"]["embeddings_model"];
    if let Some(model) = said.as_str().filter(|model| *model != vectors.model) {
        return Err(format!(
            "The index \"{index}\" holds vectors of {model}, and those of {} do not compare with them. Use \
             --embeddings-model {model} (EMBEDDINGS_MODEL), or fill another index with --index NAME.",
            vectors.model
        ));
    }
    match vector["dimension"].as_u64() {
        Some(has) if has != vectors.dimensions as u64 => Err(format!(
            "The index \"{index}\" holds vectors of {has} numbers, and {} makes {}. Name the model that it was \
             filled with by --embeddings-model (EMBEDDINGS_MODEL), or fill another index with --index NAME.",
            vectors.model, vectors.dimensions
        )),
        _ => Ok(()),
    }
}

/// Under which name each of [`OWN_FIELDS`] can be matched exactly in an index that is there, and the
/// mapping that those need which it lacks, if it lacks some.
///
/// # Errors
/// A sentence, where one of them is there and of another kind.
pub fn own_fields(
    index: &str,
    mapping: &Value,
    fields: &FieldNames,
) -> Result<([String; 3], Option<Value>), String> {
    let mut lacking = Map::new();
    let mut paths = OWN_FIELDS.map(|name| format!("{}.{name}", fields.metadata));
    for (name, path) in OWN_FIELDS.iter().zip(&mut paths) {
        let there = field(mapping, path);
        if there.is_null() {
            let keyword = json!({ "type": "keyword", "ignore_above": LONGEST_KEYWORD });
            lacking.insert((*name).to_owned(), keyword);
        } else if there["type"] != "keyword" {
            if there["fields"]["keyword"]["type"] != "keyword" {
                return Err(format!(
                    "The field \"{path}\" of the index \"{index}\" cannot be matched exactly{}, and the passages \
                     of a document are found by it. Fill another index with --index NAME (OPENSEARCH_INDEX).",
                    but(there)
                ));
            }
            path.push_str(".keyword");
        }
    }
    let inner = |lacking: Map<String, Value>| {
        let mut properties = Map::new();
        properties.insert(fields.metadata.clone(), json!({ "properties": lacking }));
        json!({ "properties": properties })
    };
    Ok((paths, (!lacking.is_empty()).then(|| inner(lacking))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> FieldNames {
        FieldNames { text: "text".into(), vector: "vector_field".into(), metadata: "metadata".into() }
    }

    fn vectors(model: &str, dimensions: usize) -> Vectors {
        Vectors { model: model.into(), dimensions }
    }

    fn said(change: impl Fn(&mut Value), knn: Option<&str>) -> String {
        let mut mapping = body(&fields(), &vectors("m", 8), false)["mappings"].take();
        change(&mut mapping);
        judge("docs", &mapping, knn, &fields(), &vectors("m", 8)).err().unwrap_or_default()
    }

    #[test]
    fn an_index_that_the_command_made_fits() {
        assert_eq!(said(|_| {}, Some("true")), "");
        assert_eq!(said(|_| {}, None), "", "a server that does not show its settings");
        let mapping = body(&fields(), &vectors("m", 8), true)["mappings"].take();
        assert_eq!(mapping["properties"]["vector_field"]["method"]["engine"], "faiss");
        let (paths, lacking) = own_fields("docs", &mapping, &fields()).unwrap();
        assert_eq!((paths[0].as_str(), lacking), ("metadata.passage_id", None));
    }

    #[test]
    fn what_is_wrong_with_an_index_is_named() {
        let check = |change: fn(&mut Value), knn, words: &[&str]| {
            let said = said(change, knn);
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
        };
        let vector = |mapping: &mut Value| mapping["properties"]["vector_field"]["dimension"] = 9.into();
        check(vector, None, &["vectors of 9 numbers", "m makes 8"]);
        check(
            |mapping| mapping["properties"]["vector_field"] = json!({"type": "float"}),
            None,
            &["no field \"vector_field\" of type knn_vector, but one of type float"],
        );
        check(
            |mapping| mapping["properties"]["text"] = json!({"type": "keyword"}),
            None,
            &["\"text\"", "one of type keyword"],
        );
        check(|_| {}, Some("false"), &["index.knn"]);
        check(
            |mapping| mapping["_meta"]["llm_gateway"]["embeddings_model"] = "other".into(),
            None,
            &["vectors of other", "--embeddings-model other"],
        );
    }

    #[test]
    fn an_index_of_another_program_gets_the_fields_that_it_lacks() {
        let text = json!({"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}});
        let mapping = json!({"properties": {"metadata": {"properties": {"document": text}}}});
        let (paths, lacking) = own_fields("docs", &mapping, &fields()).unwrap();
        assert_eq!(paths, ["metadata.passage_id", "metadata.document.keyword", "metadata.loaded_from"]);
        let lacking = lacking.unwrap();
        let lacking = lacking["properties"]["metadata"]["properties"].as_object().unwrap();
        assert_eq!(lacking.keys().collect::<Vec<_>>(), ["passage_id", "loaded_from"]);
        let number = json!({"properties": {"metadata": {"properties": {"document": {"type": "long"}}}}});
        assert!(own_fields("docs", &number, &fields()).unwrap_err().contains("metadata.document"));
    }
}
