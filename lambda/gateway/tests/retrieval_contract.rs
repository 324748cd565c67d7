//! What a searchable collection promises, one function a promise, run on the embedded one and on a real
//! OpenSearch: the same passages in, the same rules out.
//!
//! `promises!` names the sides, `sides` makes them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken promise ends its test")]

#[path = "retrieval_contract/changes.rs"]
mod changes;
#[path = "retrieval_contract/filters.rs"]
mod filters;
#[path = "support/opensearch.rs"]
mod opensearch;
#[path = "retrieval_contract/order.rs"]
mod order;
#[path = "retrieval_contract/sides.rs"]
mod sides;
#[path = "retrieval_contract/texts.rs"]
mod texts;

use gateway::chat::Passage;
use gateway::retrieval::collection::Rules;
use gateway::retrieval::{Filter, Mode, Query, Retrieval};
use serde_json::{Value, json};
use sides::{LIMIT, Side};
use std::sync::Arc;

pub(crate) const TEXT: Rules = Rules { mode: Mode::Text, min_score: None };
pub(crate) const VECTOR: Rules = Rules { mode: Mode::Vector, min_score: None };
pub(crate) const HYBRID: Rules = Rules { mode: Mode::Hybrid, min_score: None };
pub(crate) const ALL_MODES: [Rules; 3] = [TEXT, VECTOR, HYBRID];

/// A passage of the tests: its text and its metadata.
pub(crate) type Given = (String, Value);

/// A collection on one side, searched by one set of rules.
pub(crate) struct World {
    search: Arc<dyn Retrieval>,
    side: Side,
}

impl World {
    /// The passages for a query, best first.
    pub(crate) async fn find(&self, query: &Query) -> Vec<Passage> {
        let found = self.search.search(query, LIMIT).await.unwrap();
        assert!(!found.degraded);
        found.passages
    }

    /// Where the passages for these words come from.
    pub(crate) async fn locations(&self, text: &str, k: usize) -> Vec<String> {
        self.locations_of(&Query { text: text.into(), k, filter: Filter::default() }).await
    }

    pub(crate) async fn locations_of(&self, query: &Query) -> Vec<String> {
        self.find(query).await.into_iter().map(|passage| passage.source.location).collect()
    }

    /// The collection's state, once it is another one than `before`.
    pub(crate) async fn snapshot_after(&self, before: Option<&str>) -> String {
        let changed = async {
            loop {
                let now = self.search.snapshot().await.unwrap();
                if before != Some(now.as_str()) {
                    return now;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        let limit = std::time::Duration::from_secs(30);
        tokio::time::timeout(limit, changed).await.unwrap_or_else(|_| panic!("the snapshot stays as it was"))
    }

    /// Puts other passages in the place of all that are there.
    pub(crate) async fn replace(&self, passages: &[Given]) {
        self.side.fill(passages).await;
    }
}

/// A passage that says where it is from.
pub(crate) fn given(location: &str, text: &str) -> Given {
    (text.into(), json!({ "source": location, "title": location, "first_line": 1, "last_line": 2 }))
}

/// Three things to speak of, each in two words that share no letters' groups, and one passage of neither.
pub(crate) fn animals() -> Vec<Given> {
    vec![
        given("cars", "An automobile needs oil and fresh tyres."),
        given("zebras", "Zebras live in herds and eat grass."),
        given("queues", "Throttled requests wait until the queue is short."),
        given("bread", "Sourdough needs flour, salt and patience."),
    ]
}

/// A text's vector: how often it speaks of each of three things, in whatever words, and a little of
/// everything, because a vector must point somewhere.
pub(crate) fn vector(text: &str) -> Vec<f32> {
    let things = [["zebra", "striped horse"], ["car ", "automobile"], ["throttled", "overload"]];
    let text = format!("{} ", text.to_lowercase());
    let count = |words: &[&str; 2]| words.iter().map(|word| text.matches(word).count() as f32).sum();
    things.iter().map(count).chain([0.1]).collect()
}

macro_rules! promises {
    ($($room:ident :: $promise:ident),* $(,)?) => {
        promises!(@side embedded, $($room::$promise),*);
        promises!(@side on_opensearch, $($room::$promise),*);
    };
    (@side $side:ident, $($room:ident :: $promise:ident),*) => {
        mod $side {
            $(#[tokio::test(flavor = "multi_thread")] async fn $promise() {
                super::$room::$promise(super::sides::Kind::$side).await;
            })*
        }
    };
}

promises! {
    order::words_find_the_passage_that_has_them,
    order::vectors_find_what_is_meant,
    order::both_together_find_what_either_does,
    order::what_both_halves_find_comes_once_and_first,
    order::no_more_come_than_are_wanted,
    order::scores_fall_and_a_least_score_cuts_them_off,
    order::an_empty_collection_has_nothing,
    order::vectors_that_know_spelling_alone_find_nothing_by_themselves,
    order::a_source_is_told_as_it_is_stored,
    filters::a_filter_is_inside_the_search,
    filters::every_condition_must_hold_and_of_each_one_value,
    filters::a_field_or_value_that_is_not_there_finds_nothing,
    texts::any_query_is_a_question_and_nothing_else,
    texts::any_passage_comes_back_as_it_is,
    texts::a_long_query_finds_what_it_ends_with,
    changes::a_change_is_found_and_named,
    changes::without_a_change_the_name_stays,
}
