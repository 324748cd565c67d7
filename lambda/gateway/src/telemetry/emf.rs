//! CloudWatch's Embedded Metric Format: a JSON log line that says which of its own members are
//! metrics. CloudWatch Logs reads them out of the function's log; nothing is called and nothing waits.
//! The format: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
//!
//! Metrics are named as the line's members are. Each has one dimension, `model` or `door`, in a set
//! of its own. With m models and d doors in use that makes at most 11 × (m + d) custom metrics, at
//! $0.30 a month each where they are sent all month (the first ten are free): with two models and
//! three doors 7 × 5 × $0.30 = $10.50 for the seven that every reply has, and cents for the four that
//! only trouble sends, because a metric is billed by the hour. Crossed they would be 11 × m × d, and
//! with a request's or caller's id as a dimension one for each.
//!
//! The cache's outcome is one metric, not one for each outcome: `cache_hit` is 1 for a hit and 0 for
//! a miss, and absent where the cache was not asked (`bypass`, `off`; the member `cache` tells which).
//! Its sum is the hits, its average the hit rate, its number of samples the look-ups. In the same way
//! the average of `errors` is the error rate, and the samples of `total_ms` are the replies.

use serde_json::{Map, Value, json};

/// Where the metrics are in CloudWatch.
pub const NAMESPACE: &str = "LlmGateway";

/// The target of the events that carry metrics.
pub const TARGET: &str = "gateway::metrics";

/// The members that tell metrics apart, each in a dimension set of its own.
const DIMENSIONS: [&str; 2] = ["model", "door"];

/// Every metric and its unit, in CloudWatch's words.
const METRICS: [(&str, &str); 11] = [
    ("first_token_ms", "Milliseconds"),
    ("total_ms", "Milliseconds"),
    ("input_tokens", "Count"),
    ("output_tokens", "Count"),
    ("cost_usd", "None"),
    ("cache_hit", "Count"),
    ("errors", "Count"),
    ("refused", "Count"),
    ("throttles", "Count"),
    ("store_failures", "Count"),
    ("retrieval_unavailable", "Count"),
];

/// The `_aws` member of a line: the metrics and dimensions that it has. `None` where one of the two is
/// missing. `now_ms` is in milliseconds since 1970.
pub fn metadata(line: &Map<String, Value>, now_ms: u64) -> Option<Value> {
    let dimensions: Vec<_> = DIMENSIONS.iter().filter(|name| is_dimension(line.get(**name))).collect();
    let metrics = METRICS.iter().filter(|(name, _)| line.get(*name).is_some_and(Value::is_number));
    let metrics: Vec<_> = metrics.map(|(name, unit)| json!({"Name": name, "Unit": unit})).collect();
    if dimensions.is_empty() || metrics.is_empty() {
        return None;
    }
    let sets: Vec<_> = dimensions.iter().map(|name| [name]).collect();
    Some(json!({
        "Timestamp": now_ms,
        "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": sets, "Metrics": metrics}],
    }))
}

/// CloudWatch takes no empty value.
fn is_dimension(value: Option<&Value>) -> bool {
    value.and_then(Value::as_str).is_some_and(|text| !text.is_empty())
}
