//! Which actions of IAM a request needs, and on what.

use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// A service that can be tapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// DynamoDB; the resource is a table, or `TABLE/index/INDEX`.
    DynamoDb,
    /// SQS; the resource is a queue's URL.
    Sqs,
    /// Bedrock's runtime; the resource is a model or an inference profile.
    Bedrock,
    /// An API's `@connections`; the resource is `METHOD/@connections`.
    Connections,
    /// An OpenSearch domain; the resource is the path, which begins with the index.
    OpenSearch,
}

impl Service {
    /// The service of this name: `dynamodb`, `sqs`, `bedrock`, `connections` or `opensearch`.
    pub fn named(name: &str) -> Option<Service> {
        Some(match name {
            "dynamodb" => Service::DynamoDb,
            "sqs" => Service::Sqs,
            "bedrock" => Service::Bedrock,
            "connections" => Service::Connections,
            "opensearch" => Service::OpenSearch,
            _ => return None,
        })
    }
}

/// Actions and resources. What is not understood is named as it came, so that no policy allows it.
pub(super) fn calls(service: Service, head: &Parts, body: &[u8]) -> Vec<(String, String)> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let target = head.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let operation = target.and_then(|target| target.split_once('.')).map_or("", |(_, operation)| operation);
    let path = percent_decode_str(head.uri.path()).decode_utf8_lossy();
    match service {
        Service::DynamoDb => dynamodb(operation, &body),
        Service::Sqs => {
            let action = operation.strip_suffix("Batch").unwrap_or(operation);
            vec![(format!("sqs:{action}"), text(&body["QueueUrl"]))]
        }
        Service::Bedrock => vec![bedrock(&path)],
        Service::Connections => {
            let resource = format!("{}/@connections", head.method);
            vec![("execute-api:ManageConnections".to_owned(), resource)]
        }
        Service::OpenSearch => {
            let mut method = head.method.as_str().to_lowercase();
            method.get_mut(..1).map(str::make_ascii_uppercase);
            vec![(format!("es:ESHttp{method}"), path.trim_start_matches('/').to_owned())]
        }
    }
}

/// A transaction needs the permission of each of its parts, a batch one of its own on each table.
fn dynamodb(operation: &str, body: &Value) -> Vec<(String, String)> {
    let parts = body["TransactItems"].as_array().into_iter().flatten();
    let parts = parts.flat_map(|part| part.as_object().into_iter().flatten());
    let parts = parts.map(|(kind, item)| {
        let action =
            if kind == "ConditionCheck" { "ConditionCheckItem".to_owned() } else { format!("{kind}Item") };
        (format!("dynamodb:{action}"), text(&item["TableName"]))
    });
    let tables = body["RequestItems"].as_object().into_iter().flat_map(|tables| tables.keys());
    let tables = tables.map(|table| (format!("dynamodb:{operation}"), table.clone()));
    let mut all: Vec<_> = parts.chain(tables).collect();
    if all.is_empty() {
        let index = body["IndexName"].as_str().map(|index| format!("/index/{index}")).unwrap_or_default();
        all.push((format!("dynamodb:{operation}"), text(&body["TableName"]) + &index));
    }
    all
}

/// `/model/ID/OPERATION`.
fn bedrock(path: &str) -> (String, String) {
    let inner = path.strip_prefix("/model/").and_then(|rest| rest.rsplit_once('/'));
    let (model, operation) = inner.unwrap_or((path, ""));
    let action = match operation {
        "converse" | "invoke" => "InvokeModel",
        "converse-stream" | "invoke-with-response-stream" => "InvokeModelWithResponseStream",
        "count-tokens" => "CountTokens",
        other => other,
    };
    (format!("bedrock:{action}"), model.to_owned())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use serde_json::json;

    fn asked(service: Service, method: &str, path: &str, target: &str, body: Value) -> Vec<(String, String)> {
        let request = Request::builder().method(method).uri(path).header("x-amz-target", target);
        let (head, ()) = request.body(()).unwrap().into_parts();
        calls(service, &head, body.to_string().as_bytes())
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(action, resource)| ((*action).to_owned(), (*resource).to_owned())).collect()
    }

    #[test]
    fn a_call_of_one_item_or_an_index_names_its_table() {
        let ask = |operation: &str, body| {
            asked(Service::DynamoDb, "POST", "/", &format!("DynamoDB_20120810.{operation}"), body)
        };
        assert_eq!(ask("GetItem", json!({ "TableName": "t" })), pairs(&[("dynamodb:GetItem", "t")]));
        let query = json!({ "TableName": "t", "IndexName": "i" });
        assert_eq!(ask("Query", query), pairs(&[("dynamodb:Query", "t/index/i")]));
    }

    #[test]
    fn a_transaction_needs_the_permissions_of_its_parts_and_a_batch_its_own() {
        let parts = json!({ "TransactItems": [
            { "Put": { "TableName": "a" } }, { "ConditionCheck": { "TableName": "b" } },
        ] });
        let found = asked(Service::DynamoDb, "POST", "/", "DynamoDB_20120810.TransactWriteItems", parts);
        assert_eq!(found, pairs(&[("dynamodb:PutItem", "a"), ("dynamodb:ConditionCheckItem", "b")]));
        let tables = json!({ "RequestItems": { "a": [], "b": [] } });
        let found = asked(Service::DynamoDb, "POST", "/", "DynamoDB_20120810.BatchWriteItem", tables);
        assert_eq!(found, pairs(&[("dynamodb:BatchWriteItem", "a"), ("dynamodb:BatchWriteItem", "b")]));
    }

    #[test]
    fn the_other_services_are_told_by_their_paths_and_methods() {
        let none = || json!(null);
        let batch = json!({ "QueueUrl": "https://q" });
        let found = asked(Service::Sqs, "POST", "/", "AmazonSQS.SendMessageBatch", batch);
        assert_eq!(found, pairs(&[("sqs:SendMessage", "https://q")]));
        let found = asked(Service::Bedrock, "POST", "/model/us.a%3A0/converse-stream", "", none());
        assert_eq!(found, pairs(&[("bedrock:InvokeModelWithResponseStream", "us.a:0")]));
        let found = asked(Service::Connections, "DELETE", "/prod/@connections/x%3D", "", none());
        assert_eq!(found, pairs(&[("execute-api:ManageConnections", "DELETE/@connections")]));
        let found = asked(Service::OpenSearch, "POST", "/llm-gateway/_search?x=1", "", none());
        assert_eq!(found, pairs(&[("es:ESHttpPost", "llm-gateway/_search")]));
    }

    #[test]
    fn what_is_not_understood_is_an_action_that_nothing_allows() {
        let found = asked(Service::Bedrock, "POST", "/new/thing", "", json!(null));
        assert_eq!(found, pairs(&[("bedrock:", "/new/thing")]));
    }
}
