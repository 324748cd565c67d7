//! AWS's limits and units, counted from the requests themselves.

use serde_json::Value;

const ITEM: usize = 400 * 1024;
const TRANSACTION: usize = 4 * 1024 * 1024;
const BATCH: usize = 16 * 1024 * 1024;

/// Sentences on what AWS would refuse in this request of so many bytes.
pub fn broken(operation: &str, body: &Value, bytes: usize) -> Vec<String> {
    let items: Vec<usize> = items(operation, body).into_iter().map(size).collect();
    let all: usize = items.iter().sum();
    let mut broken = Vec::new();
    let mut check =
        |held: bool, what: String| broken.extend((!held).then_some(format!("{operation}: {what}")));
    check(items.iter().all(|size| *size <= ITEM), format!("an item of {:?} bytes", items.iter().max()));
    match operation {
        "TransactWriteItems" => {
            check(items.len() <= 100, format!("{} actions", items.len()));
            check(all <= TRANSACTION, format!("{all} bytes"));
        }
        "BatchWriteItem" => {
            check(items.len() <= 25, format!("{} writes", items.len()));
            check(bytes <= BATCH, format!("{bytes} bytes"));
        }
        "BatchGetItem" => {
            let tables = body["RequestItems"].as_object().into_iter().flatten();
            let keys: usize = tables.map(|(_, ask)| ask["Keys"].as_array().map_or(0, Vec::len)).sum();
            // With items of 400 KB that many stay within the 16 MB of one reply.
            check(keys <= 40, format!("{keys} keys"));
        }
        _ => {}
    }
    broken
}

/// The items, or the keys and new values, that a request writes.
fn items<'a>(operation: &str, body: &'a Value) -> Vec<&'a Value> {
    match operation {
        "PutItem" => vec![&body["Item"]],
        "UpdateItem" => vec![&body["ExpressionAttributeValues"]],
        "TransactWriteItems" => actions(body).map(written).collect(),
        "BatchWriteItem" => {
            let tables = body["RequestItems"].as_object().into_iter().flatten();
            let writes = tables.flat_map(|(_, writes)| writes.as_array().into_iter().flatten());
            writes.map(|write| write.pointer("/PutRequest/Item").unwrap_or(&Value::Null)).collect()
        }
        _ => Vec::new(),
    }
}

/// The actions of a transaction.
pub fn actions(body: &Value) -> impl Iterator<Item = &Value> {
    let actions = body["TransactItems"].as_array().into_iter().flatten();
    actions.filter_map(|action| action.as_object()?.values().next())
}

fn written(action: &Value) -> &Value {
    action.get("Item").unwrap_or(&action["ExpressionAttributeValues"])
}

/// Which row an action is at.
pub fn key(action: &Value) -> String {
    let row = action.get("Item").unwrap_or(&action["Key"]);
    format!("{} {} {}", action["TableName"], row["pk"], row["sk"])
}

/// Bytes of an item as DynamoDB counts them: names, texts in UTF-8, numbers about half their digits.
pub fn size(item: &Value) -> usize {
    let attributes = item.as_object().into_iter().flatten();
    attributes.map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &Value) -> usize {
    let (kind, value) = value.as_object().and_then(|value| value.iter().next()).unwrap();
    let text = value.as_str().unwrap_or_default();
    match kind.as_str() {
        "S" => text.len(),
        "N" => text.len().div_ceil(2) + 1,
        "B" => text.len() / 4 * 3 - text.bytes().rev().take_while(|byte| *byte == b'=').count(),
        _ => 1,
    }
}

/// The units that the engine says it charged.
pub fn units(reply: &Value) -> f64 {
    let of = |capacity: &Value| capacity["CapacityUnits"].as_f64().unwrap_or(0.0);
    match &reply["ConsumedCapacity"] {
        Value::Array(tables) => tables.iter().map(of).sum(),
        one => of(one),
    }
}
