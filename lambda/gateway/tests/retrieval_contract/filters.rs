//! What a passage's metadata must say.

use crate::sides::{Kind, world};
use crate::{ALL_MODES, Given, HYBRID};
use gateway::retrieval::{Condition, Filter, Query};
use serde_json::{Value, json};

/// Many that fit the question better, and one that fulfils the filter.
pub(crate) async fn a_filter_is_inside_the_search(side: Kind) {
    let mut passages: Vec<Given> = (0..300)
        .map(|n| (format!("Zebra zebra zebra {n}."), json!({ "source": format!("{n}"), "team": "a" })))
        .collect();
    let last = "A text of many other words, and at its end a zebra.";
    passages.push((last.into(), json!({ "source": "last", "team": "b" })));
    for rules in ALL_MODES {
        let world = world(side, rules, &passages).await;
        assert_eq!(world.locations_of(&filtered("zebra", "team=b")).await, ["last"], "{:?}", rules.mode);
    }
}

pub(crate) async fn every_condition_must_hold_and_of_each_one_value(side: Kind) {
    let passage = |name: &str, metadata: Value| -> Given {
        let mut metadata = metadata;
        metadata["source"] = json!(name);
        (format!("Zebra {name}."), metadata)
    };
    let passages = [
        passage("en", json!({ "lang": "en", "year": 2025, "draft": false, "owner": { "team": "search" } })),
        passage(
            "fr",
            json!({ "lang": "fr", "year": 2026, "draft": true, "owner": { "team": "Search Team" } }),
        ),
        passage("tags", json!({ "lang": "fr", "tags": ["one", "two"] })),
    ];
    let world = world(side, HYBRID, &passages).await;
    for (filter, expected) in [
        ("lang=en", &["en"][..]),
        ("lang=en|fr", &["en", "fr", "tags"]),
        ("lang=fr&year=2026", &["fr"]),
        ("lang=en&year=2026", &[]),
        ("draft=true", &["fr"]),
        ("year=2025|2026", &["en", "fr"]),
        ("owner.team=search", &["en"]),
        ("owner.team=Search Team", &["fr"]),
        ("owner.team=Search", &[]),
        ("tags=two", &["tags"]),
        ("lang=EN", &[]),
    ] {
        let mut found = world.locations_of(&filtered("zebra", filter)).await;
        found.sort();
        assert_eq!(found, expected, "{filter}");
    }
}

pub(crate) async fn a_field_or_value_that_is_not_there_finds_nothing(side: Kind) {
    let passages = [(
        "Zebra.".to_owned(),
        json!({ "source": "a", "year": 2026, "day": "2026-05-03", "owner": { "team": "b" } }),
    )];
    for rules in ALL_MODES {
        let world = world(side, rules, &passages).await;
        for filter in [
            "absent=x",
            "year=soon",
            "year=99999999999999999999",
            "day=3 May",
            "day=2026-05-04",
            "owner=b",
            "owner.absent=b",
            "source=",
        ] {
            let found = world.locations_of(&filtered("zebra", filter)).await;
            assert!(found.is_empty(), "{:?} {filter}", rules.mode);
        }
        let found = world.locations_of(&filtered("zebra", "day=3 May|2026-05-03")).await;
        assert_eq!(found, ["a"], "{:?}", rules.mode);
    }
}

/// `lang=en|fr&team=b`: conditions and their values.
fn filtered(text: &str, filter: &str) -> Query {
    let pairs = filter.split('&').filter_map(|pair| pair.split_once('='));
    let condition = |(field, values): (&str, &str)| {
        let any_of = values.split('|').filter(|value| !value.is_empty()).map(str::to_owned).collect();
        Condition { field: field.to_owned(), any_of }
    };
    Query { text: text.into(), k: 4, filter: Filter(pairs.map(condition).collect()) }
}
