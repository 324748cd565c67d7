//! Promises about the answer cache.

use crate::{World, ann, completed, finish, noise, started};
use gateway::chat::{Delta, Source, StopReason};
use gateway::store::{AnswerKeys, CuratedRow, Finish, ReplyKey, StoredAnswer};
use std::time::Duration;

const HEX: &str = "0f0e0d0c0b0a09080706050403020100ffeeddccbbaa99887766554433221100";

fn row(pk: &str, answer: &str) -> CuratedRow {
    CuratedRow { pk: pk.into(), answer: answer.into(), extra: Default::default() }
}

fn asked(prompt: &str) -> AnswerKeys {
    AnswerKeys { prompt: Some(prompt.into()), ..AnswerKeys::default() }
}

fn learned(text: &str) -> StoredAnswer {
    StoredAnswer {
        deltas: text.split_inclusive(' ').map(Delta::text).collect(),
        stop_reason: StopReason::StopSequence,
        model: Some("m".into()),
        sources: vec![Source { title: "t".into(), location: "l".into(), score: 0.5, span: Some((1, 2)) }],
        curated: false,
    }
}

async fn learn(world: &World, answer: &StoredAnswer) {
    let (key, started, end) = (ReplyKey::new(&ann(), "r"), started("r"), completed());
    world
        .store
        .finish(Finish { learned: Some((HEX, answer)), ..finish(&key, &started, &end) })
        .await
        .unwrap();
}

async fn check(world: &World, keys: &AnswerKeys, expected: Option<&str>) {
    let found = world.store.find_answer(keys).await.unwrap();
    let text = found.map(|answer| answer.deltas.iter().map(Delta::as_text).collect::<String>());
    assert_eq!(text.as_deref(), expected, "{keys:?}");
}

pub async fn a_curated_answer_is_found_exactly_and_folded(world: World) {
    let mut rows = vec![row("What is a goat?", "exact"), row("what is a GOAT?", "other case")];
    rows[0].extra = r#"{"by":"ann"}"#.into();
    world.store.put_curated(&rows).await.unwrap();
    check(&world, &asked("What is a goat?"), Some("exact")).await;
    check(&world, &asked("  what IS\na goat? "), Some("other case")).await;
    check(&world, &asked("What is a goat"), None).await;
    check(&world, &asked(""), None).await;
    check(&world, &AnswerKeys::default(), None).await;
    let long = format!("why {}?", "x".repeat(3000));
    world.store.put_curated(&[row(&long, "long")]).await.unwrap();
    check(&world, &asked(&long), Some("long")).await;
}

pub async fn a_curated_answer_wins_over_a_learned_one(world: World) {
    let kept = learned("learned words");
    learn(&world, &kept).await;
    let keys = AnswerKeys { learned: Some(HEX.into()), ..asked("why?") };
    assert_eq!(world.store.find_answer(&keys).await.unwrap(), Some(kept));
    world.store.put_curated(&[row("WHY?", "curated words")]).await.unwrap();
    let found = world.store.find_answer(&keys).await.unwrap().unwrap();
    assert!(found.curated);
    check(&world, &keys, Some("curated words")).await;
}

pub async fn an_answer_without_a_scope_serves_every_scope(world: World) {
    world.store.put_curated(&[row("why?", "for all"), row("node7why?", "for node7")]).await.unwrap();
    let scoped = |node_id: &str| AnswerKeys { node_id: Some(node_id.into()), ..asked("why?") };
    check(&world, &scoped("node7"), Some("for node7")).await;
    check(&world, &scoped("node8"), Some("for all")).await;
    check(&world, &scoped(""), Some("for all")).await;
}

pub async fn a_question_in_the_form_of_a_learned_key_finds_nothing(world: World) {
    learn(&world, &learned("ann's secret")).await;
    check(&world, &asked(&format!("learned#{HEX}")), None).await;
    let split = AnswerKeys { node_id: Some("learned#".into()), ..asked(HEX) };
    check(&world, &split, None).await;
    world.store.put_curated(&[row(&format!("learned#{HEX}"), "uploaded")]).await.unwrap();
    check(&world, &AnswerKeys { learned: Some(HEX.into()), ..AnswerKeys::default() }, Some("ann's secret"))
        .await;
}

pub async fn a_learned_answer_expires_and_a_curated_one_does_not(world: World) {
    learn(&world, &learned("learned")).await;
    world.store.put_curated(&[row("why?", "curated")]).await.unwrap();
    let keys = AnswerKeys { learned: Some(HEX.into()), ..AnswerKeys::default() };
    world.clock.advance(Duration::from_secs(7 * 86_400 - 1));
    check(&world, &keys, Some("learned")).await;
    world.clock.advance(Duration::from_secs(2));
    check(&world, &keys, None).await;
    world.clock.advance(Duration::from_secs(86_400 * 400));
    check(&world, &asked("why?"), Some("curated")).await;
}

pub async fn of_two_uploaded_rows_with_one_key_the_last_stays(world: World) {
    let rows: Vec<_> =
        (0..230).map(|n| row(&format!("question {}", n % 90), &format!("answer {n}"))).collect();
    world.store.put_curated(&rows).await.unwrap();
    check(&world, &asked("question 0"), Some("answer 180")).await;
    check(&world, &asked("QUESTION 49"), Some("answer 229")).await;
    check(&world, &asked("question 89"), Some("answer 179")).await;
}

pub async fn large_answers_are_found_whole(world: World) {
    for (question, answer) in [("deflated?", "long ".repeat(200_000)), ("in parts?", noise(900_000))] {
        let mut large = row(question, &answer);
        large.extra = serde_json::json!({"note": answer}).to_string();
        world.store.put_curated(&[large]).await.unwrap();
        check(&world, &asked(question), Some(&answer)).await;
    }
    let kept = learned(&noise(1_200_000));
    learn(&world, &kept).await;
    let keys = AnswerKeys { learned: Some(HEX.into()), ..AnswerKeys::default() };
    assert!(world.store.find_answer(&keys).await.unwrap() == Some(kept));
}
