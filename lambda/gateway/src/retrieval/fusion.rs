//! One hybrid rule for every collection: OpenSearch's own, so that the same documents are ranked alike
//! on a laptop, on a domain that merges the halves itself, and on one that cannot and has us do it.
//!
//! As its normalization-processor does with `min_max` and `arithmetic_mean`: the scores of each half's
//! candidates are stretched over 0 to 1, then the weighted mean is taken, in which a half that did not
//! find a passage counts 0.

use super::framing::folded;
use crate::chat::Passage;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// The share of a question's content words, in percent, under which a passage is no candidate by words,
/// where vectors know meaning. A question in other words than the passage's has some word in common with
/// many passages, and the best of those would otherwise stand as high as the best by meaning: measured in
/// docs/recall.md.
pub const LEAST_SHARE: usize = 50;

/// The weights of the two halves, text and vector. They add up to 1, which the server asks of them.
/// Vectors that know spelling alone see what words see, and less sharply.
pub fn weights(spelling: bool) -> [f32; 2] {
    if spelling { [0.7, 0.3] } else { [0.5, 0.5] }
}

/// What the worst candidate of a half gets, so that it is still told from one that was not found.
const FOUND: f32 = 0.001;

/// How many candidates of each half are merged where `k` passages are wanted: a passage that is neither
/// half's best may be the best of both.
pub fn candidates(k: usize) -> usize {
    k.saturating_mul(5).clamp(20, 200).max(spare(k))
}

/// How many passages are asked for where `k` are wanted: a text that was loaded twice takes one place, and
/// then another passage has to take the other.
pub fn spare(k: usize) -> usize {
    k.saturating_mul(2)
}

/// One way to search.
#[derive(Clone, Debug)]
pub struct Half<K> {
    /// How much it counts, over 0.
    pub weight: f32,
    /// Its best candidates in any order, each with a score that is higher for a better one. Of a
    /// candidate that is named twice the better score counts; one whose score is no number is left out.
    pub found: Vec<(K, f32)>,
}

/// All candidates of the halves, each once, with scores over 0 and up to 1, best first; among equals in
/// the order in which they are named.
pub fn fuse<K: Eq + Hash + Clone>(halves: &[Half<K>]) -> Vec<(K, f32)> {
    let weights: f32 = halves.iter().map(|half| half.weight).sum();
    let mut places: HashMap<&K, usize> = HashMap::new();
    let mut fused: Vec<(K, f32)> = Vec::new();
    for half in halves {
        let share = half.weight / weights;
        for (candidate, score) in stretched(&half.found) {
            let place = *places.entry(candidate).or_insert(fused.len());
            match fused.get_mut(place) {
                Some((_, sum)) => *sum += share * score,
                None => fused.push((candidate.clone(), share * score)),
            }
        }
    }
    fused.sort_by(|a, b| b.1.total_cmp(&a.1));
    fused
}

/// The first `k` passages of different texts: a document that was loaded twice takes one place.
pub fn distinct(passages: impl IntoIterator<Item = Passage>, k: usize) -> Vec<Passage> {
    let mut seen = HashSet::new();
    passages.into_iter().filter(|passage| seen.insert(folded(&passage.text))).take(k).collect()
}

/// The candidates of a half, each once, the best at 1 and the worst at [`FOUND`].
fn stretched<K: Eq + Hash>(found: &[(K, f32)]) -> Vec<(&K, f32)> {
    let mut places: HashMap<&K, usize> = HashMap::new();
    let mut once: Vec<(&K, f32)> = Vec::new();
    for (candidate, score) in found.iter().filter(|(_, score)| score.is_finite()) {
        let place = *places.entry(candidate).or_insert(once.len());
        match once.get_mut(place) {
            Some((_, best)) => *best = best.max(*score),
            None => once.push((candidate, *score)),
        }
    }
    // In f64 the distance of two f32 is always a number.
    let wide = |score: f32| f64::from(score);
    let best = once.iter().map(|(_, score)| wide(*score)).fold(f64::NEG_INFINITY, f64::max);
    let worst = once.iter().map(|(_, score)| wide(*score)).fold(f64::INFINITY, f64::min);
    for (_, score) in &mut once {
        *score = match best > worst {
            true => (((wide(*score) - worst) / (best - worst)) as f32).max(FOUND),
            // One candidate, or candidates that are equally good.
            false => 1.0,
        };
    }
    once
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn half(weight: f32, found: &[(&'static str, f32)]) -> Half<&'static str> {
        Half { weight, found: found.to_vec() }
    }

    fn check(halves: &[Half<&str>], expected: &[(&str, f32)]) {
        let fused = fuse(halves);
        let names = |list: &[(&str, f32)]| list.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&fused), names(expected), "{fused:?}");
        for ((_, score), (_, expected)) in fused.iter().zip(expected) {
            assert!((score - expected).abs() < 1e-6, "{fused:?}");
        }
    }

    #[test]
    fn scores_are_those_that_opensearch_works_out() {
        // Text: 9 -> 1, 6 -> 0.5, 3 -> 0.001. Vectors: 0.9 -> 1, 0.8 -> 0.5, 0.7 -> 0.001.
        let text = half(0.5, &[("a", 9.0), ("b", 6.0), ("c", 3.0)]);
        let vector = half(0.5, &[("b", 0.9), ("d", 0.8), ("c", 0.7)]);
        check(&[text.clone(), vector.clone()], &[("b", 0.75), ("a", 0.5), ("d", 0.25), ("c", 0.001)]);
        let (text, vector) = (Half { weight: 0.3, ..text }, Half { weight: 0.7, ..vector });
        check(&[text, vector], &[("b", 0.85), ("d", 0.35), ("a", 0.3), ("c", 0.001)]);
    }

    #[test]
    fn a_candidate_alone_in_its_half_and_equally_good_ones_get_all_of_it() {
        check(
            &[half(0.5, &[("a", 0.2)]), half(0.5, &[("b", 7.0), ("c", 7.0)])],
            &[("a", 0.5), ("b", 0.5), ("c", 0.5)],
        );
    }

    #[test]
    fn a_half_that_found_nothing_leaves_the_order_of_the_other() {
        check(&[half(0.5, &[]), half(0.5, &[("b", 1.0), ("a", 2.0)])], &[("a", 0.5), ("b", 0.0005)]);
        check(&[half(0.5, &[]), half(0.5, &[])], &[]);
        check(&[], &[]);
    }

    #[test]
    fn a_score_that_is_no_number_finds_nothing() {
        let odd = [("a", f32::NAN), ("b", f32::INFINITY), ("c", 1.0)];
        check(&[half(1.0, &odd)], &[("c", 1.0)]);
        // Far apart, and still a number between them.
        check(&[half(1.0, &[("a", f32::MAX), ("b", f32::MIN)])], &[("a", 1.0), ("b", 0.001)]);
    }

    #[test]
    fn enough_candidates_are_merged() {
        assert_eq!([1, 4, 10, 50, 500].map(candidates), [20, 20, 50, 200, 1000]);
    }

    fn halves() -> impl Strategy<Value = Vec<Half<u8>>> {
        let found = prop::collection::vec((0..12u8, -50i16..50), 0..12);
        let found =
            found.prop_map(|all| all.into_iter().map(|(key, score)| (key, f32::from(score))).collect());
        let half = (1..10u8, found).prop_map(|(weight, found)| Half { weight: f32::from(weight), found });
        prop::collection::vec(half, 1..4)
    }

    fn same(a: &[(u8, f32)], b: &[(u8, f32)]) -> bool {
        let sorted = |list: &[(u8, f32)]| {
            let mut list = list.to_vec();
            list.sort_by_key(|(key, _)| *key);
            list
        };
        let (a, b) = (sorted(a), sorted(b));
        a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-4)
    }

    proptest! {
        #[test]
        fn every_candidate_comes_once_and_within_its_bounds(halves in halves()) {
            let fused = fuse(&halves);
            let mut keys: Vec<u8> = fused.iter().map(|(key, _)| *key).collect();
            keys.sort_unstable();
            let mut named: Vec<u8> = halves.iter().flat_map(|half| &half.found).map(|(key, _)| *key).collect();
            named.sort_unstable();
            named.dedup();
            prop_assert_eq!(keys, named);
            prop_assert!(fused.iter().all(|(_, score)| *score > 0.0 && *score < 1.0 + 1e-5));
            prop_assert!(fused.is_sorted_by(|a, b| a.1 >= b.1));
        }

        #[test]
        fn neither_the_unit_of_a_halfs_scores_nor_of_the_weights_matters(
            halves in halves(), unit in 1..9u8, shift in -9..9i8, share in 1..9u8,
        ) {
            let moved = |score: &f32| score * f32::from(unit) + f32::from(shift);
            let other: Vec<Half<u8>> = halves.iter().map(|half| Half {
                weight: half.weight * f32::from(share),
                found: half.found.iter().map(|(key, score)| (*key, moved(score))).collect(),
            }).collect();
            prop_assert!(same(&fuse(&halves), &fuse(&other)));
        }

        #[test]
        fn the_order_in_which_a_half_names_its_candidates_does_not_matter(halves in halves()) {
            let turned = halves.iter().map(|half| Half {
                weight: half.weight,
                found: half.found.iter().rev().copied().collect(),
            });
            prop_assert!(same(&fuse(&halves), &fuse(&turned.collect::<Vec<_>>())));
        }

        #[test]
        fn whoever_is_better_in_every_half_is_better_in_all(halves in halves(), a in 0..12u8, b in 0..12u8) {
            let best = |half: &Half<u8>, key: u8| {
                half.found.iter().filter(|(found, _)| *found == key).map(|(_, score)| *score).reduce(f32::max)
            };
            let better = halves.iter().all(|half| match (best(half, a), best(half, b)) {
                (Some(a), Some(b)) => a >= b,
                (None, Some(_)) => false,
                _ => true,
            });
            let score = |key: u8| fuse(&halves).iter().find(|(found, _)| *found == key).map_or(0.0, |found| found.1);
            prop_assert!(!better || score(a) >= score(b) - 1e-6);
        }
    }
}
