//! What is found, in which order, how much of it and with what scores.

use crate::sides::{Kind, searched, world};
use crate::{ALL_MODES, HYBRID, TEXT, VECTOR, animals, given};
use gateway::retrieval::collection::Rules;
use gateway::retrieval::{Filter, Query};
use serde_json::json;

pub(crate) async fn words_find_the_passage_that_has_them(side: Kind) {
    let world = world(side, TEXT, &animals()).await;
    for (question, expected) in [
        ("What do zebras eat?", &["zebras"][..]),
        ("How much salt and flour?", &["bread"]),
        ("Are THROTTLED requests lost?", &["queues"]),
        ("striped horse", &[]),
        ("xylophone", &[]),
    ] {
        assert_eq!(world.locations(question, 1).await, expected, "{question}");
    }
    let several = world.locations("zebras grass herds, flour", 4).await;
    assert_eq!(several, ["zebras", "bread"], "more of the question's words come first");
}

pub(crate) async fn vectors_find_what_is_meant(side: Kind) {
    let world = world(side, VECTOR, &animals()).await;
    for (question, first) in [("striped horse", "zebras"), ("overload", "queues"), ("my car is old", "cars")]
    {
        let found = world.locations(question, 4).await;
        assert_eq!((found[0].as_str(), found.len()), (first, 4), "{question}: everything is somewhere near");
    }
}

pub(crate) async fn both_together_find_what_either_does(side: Kind) {
    let world = world(side, HYBRID, &animals()).await;
    assert_eq!(world.locations("striped horse", 1).await, ["zebras"]);
    assert_eq!(world.locations("sourdough patience", 1).await, ["bread"]);
    let both = world.locations("sourdough patience, striped horse", 4).await;
    assert!(both[..2].contains(&"zebras".to_owned()) && both[..2].contains(&"bread".to_owned()), "{both:?}");
}

pub(crate) async fn what_both_halves_find_comes_once_and_first(side: Kind) {
    let world = world(side, HYBRID, &animals()).await;
    let found = world.find(&query("zebras and their grass", 4)).await;
    let locations: Vec<&str> = found.iter().map(|passage| passage.source.location.as_str()).collect();
    assert_eq!(locations[0], "zebras");
    assert!((found[0].source.score - 1.0).abs() < 1e-5, "the best of both halves: {}", found[0].source.score);
    assert_eq!(locations.iter().filter(|location| **location == "zebras").count(), 1);
}

pub(crate) async fn no_more_come_than_are_wanted(side: Kind) {
    let many: Vec<_> = (0..30).map(|n| given(&format!("z{n:02}"), &format!("Zebra number {n}."))).collect();
    for rules in ALL_MODES {
        let world = world(side, rules, &many).await;
        for (wanted, expected) in [(1, 1), (7, 7), (50, 30)] {
            let mut found = world.locations("zebra", wanted).await;
            found.sort();
            found.dedup();
            assert_eq!(found.len(), expected, "{:?}", rules.mode);
        }
    }
}

pub(crate) async fn scores_fall_and_a_least_score_cuts_them_off(side: Kind) {
    for rules in ALL_MODES {
        let all = world(side, rules, &animals()).await;
        let found = all.find(&query("zebras eat grass, sourdough", 4)).await;
        let scores: Vec<f32> = found.iter().map(|passage| passage.source.score).collect();
        let [first, second, ..] = scores.as_slice() else { panic!("{:?} {scores:?}", rules.mode) };
        assert!(first > second && scores.is_sorted_by(|a, b| a >= b), "{:?} {scores:?}", rules.mode);
        // The scores of words have no unit: they depend on all the texts, and on the server's version.
        let least = Rules { min_score: Some(f32::midpoint(*first, *second)), ..rules };
        let cut = world(side, least, &animals()).await;
        assert_eq!(cut.locations("zebras eat grass, sourdough", 4).await, ["zebras"], "{scores:?}");
    }
}

pub(crate) async fn an_empty_collection_has_nothing(side: Kind) {
    for rules in ALL_MODES {
        let world = world(side, rules, &[]).await;
        assert!(world.locations("zebras", 4).await.is_empty(), "{:?}", rules.mode);
    }
}

pub(crate) async fn vectors_that_know_spelling_alone_find_nothing_by_themselves(side: Kind) {
    let world = searched(side, HYBRID, true, &animals()).await;
    assert!(world.locations("striped horse", 4).await.is_empty());
    assert_eq!(world.locations("what do zebras need?", 1).await, ["zebras"]);
}

pub(crate) async fn a_source_is_told_as_it_is_stored(side: Kind) {
    let passages = [
        given("docs/a.md", "zebra one"),
        ("zebra two".into(), json!({ "url": "https://x.org/guide/", "page": 3 })),
    ];
    let world = world(side, TEXT, &passages).await;
    let mut found = world.find(&query("zebra", 4)).await;
    found.sort_by(|a, b| a.text.cmp(&b.text));
    let [lines, page] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(lines.text, "zebra one");
    assert_eq!((lines.source.title.as_str(), lines.source.span), ("docs/a.md", Some((1, 2))));
    assert_eq!((page.source.title.as_str(), page.source.span), ("guide", Some((3, 3))));
}

fn query(text: &str, k: usize) -> Query {
    Query { text: text.into(), k, filter: Filter::default() }
}
