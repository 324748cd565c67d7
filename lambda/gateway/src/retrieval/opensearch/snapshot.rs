//! The state of an index as its searches see it.
//!
//! Each document carries the number that its shard gave to the operation that wrote it, and no shard
//! gives a number twice. So two states of a shard are the same where as many documents are there, with
//! the same highest number and the same sum of all: what was written since would be the highest, what
//! was written before and only seen since cannot take another's place without changing the sum, and what
//! was deleted is missing from the count. The index's own id tells it from one of the same name that came
//! after it. All this is read from the copies that searches ask, and behind the same refresh as they see,
//! so nothing that is not found yet is counted.
//!
//! Numbers are a shard's own, so each shard is asked. Of an index of one shard, whichever copy the
//! process prefers is asked, for the state and for passages alike; of an index of several, the primaries.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// An index of more shards is not asked for its state.
pub const MOST_SHARDS: usize = 16;

/// What its settings say of each index behind a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes {
    /// Name and id of each, in the names' order.
    pub ids: BTreeMap<String, String>,
    /// Shards of the largest.
    pub shards: usize,
}

impl Indexes {
    /// Reads a reply to `GET /INDEX/_settings?flat_settings=true`; `None` where an id is not in it.
    pub fn read(reply: &Map<String, Value>) -> Option<Indexes> {
        let mut indexes = Indexes::default();
        for (name, index) in reply {
            let settings = &index["settings"];
            let id = settings["index.uuid"].as_str()?;
            let shards = settings["index.number_of_shards"].as_str()?.parse().ok()?;
            indexes.ids.insert(name.clone(), id.to_owned());
            indexes.shards = indexes.shards.max(shards);
        }
        (!indexes.ids.is_empty()).then_some(indexes)
    }
}

/// The question for one shard's state.
pub fn body() -> Value {
    let numbers = json!({ "numbers": { "stats": { "field": "_seq_no" } } });
    let indexes = json!({ "terms": { "field": "_index", "size": 1_000 }, "aggs": numbers });
    json!({ "size": 0, "track_total_hits": false, "aggs": { "indexes": indexes } })
}

/// The answer.
#[derive(Deserialize)]
pub struct State {
    #[serde(default)]
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(default)]
    aggregations: Aggregations,
}

#[derive(Deserialize)]
struct Shards {
    failed: u64,
}

#[derive(Default, Deserialize)]
struct Aggregations {
    indexes: Buckets,
}

#[derive(Default, Deserialize)]
struct Buckets {
    buckets: Vec<Bucket>,
}

#[derive(Deserialize)]
struct Bucket {
    key: String,
    numbers: Numbers,
}

#[derive(Deserialize)]
struct Numbers {
    count: u64,
    max: Option<f64>,
    sum: f64,
}

impl State {
    /// The state in words; `None` where not everything was looked at.
    pub fn name(&self) -> Option<String> {
        if self.timed_out || self.shards.failed > 0 {
            return None;
        }
        let state = |Bucket { key, numbers }: &Bucket| {
            (key.clone(), format!("{}/{}/{}", numbers.count, numbers.max.unwrap_or(-1.0), numbers.sum))
        };
        // The order of the buckets is by how much is in them.
        let states: BTreeMap<String, String> = self.aggregations.indexes.buckets.iter().map(state).collect();
        Some(format!("{states:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(reply: Value) -> Option<String> {
        serde_json::from_value::<State>(reply).unwrap().name()
    }

    fn numbers(count: u64, max: f64, sum: f64) -> Value {
        let bucket =
            json!({"key": "docs", "doc_count": count, "numbers": {"count": count, "max": max, "sum": sum}});
        json!({"_shards": {"failed": 0}, "aggregations": {"indexes": {"buckets": [bucket]}}})
    }

    #[test]
    fn each_change_has_another_name() {
        let names = [numbers(3, 2.0, 3.0), numbers(3, 3.0, 4.0), numbers(2, 2.0, 2.0), numbers(3, 2.0, 4.0)];
        let names: Vec<String> = names.into_iter().map(|reply| state(reply).unwrap()).collect();
        for (at, name) in names.iter().enumerate() {
            assert!(!names[at + 1..].contains(name), "{name}");
        }
    }

    #[test]
    fn an_empty_index_has_a_state_and_half_of_one_has_none() {
        let empty = json!({"_shards": {"failed": 0}, "aggregations": {"indexes": {"buckets": []}}});
        assert!(state(empty).is_some());
        assert_eq!(state(json!({"_shards": {"failed": 1}})), None);
        assert_eq!(state(json!({"_shards": {"failed": 0}, "timed_out": true})), None);
    }

    #[test]
    fn settings_name_every_index_behind_an_alias() {
        let one = |id: &str, shards: &str| json!({"settings": {"index.uuid": id, "index.number_of_shards": shards}});
        let read = |reply: Value| Indexes::read(reply.as_object().unwrap());
        let both = read(json!({"b": one("2", "1"), "a": one("1", "5")})).unwrap();
        assert_eq!((format!("{:?}", both.ids), both.shards), (r#"{"a": "1", "b": "2"}"#.to_owned(), 5));
        assert_eq!(read(json!({})), None);
        assert_eq!(read(json!({"a": {"settings": {}}})), None);
    }
}
