//! The bodies of searches. Pure: no I/O here.

use crate::config::retrieval::FieldNames;
use crate::retrieval::fusion::{LEAST_SHARE, candidates, spare, weights};
use crate::words::content;
use serde_json::{Value, json};
use std::borrow::Cow;

/// Words of a query from its beginning, and as many from its end: a server takes 1,024 clauses a search
/// by default, and a prompt may be a whole document, with the question before or behind it.
const WORDS: usize = 200;

/// What bounds a word that is none: base64, a long link.
const LONGEST_WORD: usize = 100;

/// Neighbours that a server looks for at least. A graph of vectors is searched roughly: looking for 20 of
/// the collection of docs/recall.md, the first four had 3 % fewer of the right ones than when looking for 100,
/// and no fewer then than when all were compared.
const NEIGHBOURS: usize = 100;

/// What the passages of an index are searched by.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// Where documents keep what.
    pub fields: &'a FieldNames,
    /// Passages wanted at most.
    pub k: usize,
    /// What a document must fulfil, in the server's language.
    pub filter: &'a [Value],
    /// Vectors know spelling and not meaning.
    pub spelling: bool,
}

impl Search<'_> {
    /// By words alone.
    pub fn text(&self, text: &str) -> Value {
        self.body(spare(self.k), self.words(text, 0))
    }

    /// By meaning alone.
    pub fn vector(&self, vector: &[f32]) -> Value {
        self.body(spare(self.k), self.nearest(vector, self.filter))
    }

    /// One half of a hybrid search, for a server that does not merge them itself.
    pub fn text_half(&self, text: &str) -> Value {
        self.body(candidates(self.k), self.half_by_words(text))
    }

    /// The other half.
    pub fn vector_half(&self, text: &str, vector: &[f32]) -> Value {
        self.body(candidates(self.k), self.half_by_vector(text, vector))
    }

    /// Both, merged by the server as `fusion.rs` merges them. The pipeline goes with the search, so that
    /// nothing has to be set up on the server.
    pub fn hybrid(&self, text: &str, vector: &[f32]) -> Value {
        let halves = json!([self.half_by_words(text), self.half_by_vector(text, vector)]);
        // Without a depth each half would give `k` candidates, and what is second in both be lost.
        let hybrid = json!({ "hybrid": { "pagination_depth": candidates(self.k), "queries": halves } });
        let mut body = self.body(spare(self.k), hybrid);
        body["search_pipeline"] = json!({ "phase_results_processors": [{ "normalization-processor": {
            "normalization": { "technique": "min_max" },
            "combination": { "technique": "arithmetic_mean", "parameters": { "weights": weights(self.spelling) } },
        } }] });
        body
    }

    fn body(&self, size: usize, query: Value) -> Value {
        json!({
            "size": size,
            "track_total_hits": false,
            // Never the vector: it is ten times the passage.
            "_source": [self.fields.text, self.fields.metadata],
            "query": query,
        })
    }

    fn half_by_words(&self, text: &str) -> Value {
        self.words(text, if self.spelling { 0 } else { LEAST_SHARE })
    }

    fn half_by_vector(&self, text: &str, vector: &[f32]) -> Value {
        match self.spelling {
            true => self.nearest(vector, &[self.words(text, 0)]),
            false => self.nearest(vector, self.filter),
        }
    }

    /// Passages that have at least one of the text's content words, and this share of them in percent, in
    /// the text or in the title, as if both were one field.
    fn words(&self, text: &str, least_share: usize) -> Value {
        let title = format!("{}.title", self.fields.metadata);
        let words = json!({ "multi_match": {
            "query": content(&shortened(text)),
            "type": "cross_fields",
            "fields": [self.fields.text, title],
            "minimum_should_match": format!("{least_share}%"),
            // A title may be mapped as a number or a date.
            "lenient": true,
        } });
        match self.filter {
            [] => words,
            filter => json!({ "bool": { "must": [words], "filter": filter } }),
        }
    }

    /// The filter is inside: put behind the search it would leave fewer than there are.
    fn nearest(&self, vector: &[f32], filter: &[Value]) -> Value {
        let mut nearest = json!({ "vector": vector, "k": candidates(self.k).max(NEIGHBOURS) });
        if !filter.is_empty() {
            nearest["filter"] = json!({ "bool": { "filter": filter } });
        }
        json!({ "knn": { self.fields.vector.as_str(): nearest } })
    }
}

/// The text, or its first and its last words where it has many.
pub fn shortened(text: &str) -> Cow<'_, str> {
    let mut ends = ends_of_words(text);
    let head = ends.by_ref().take(WORDS).last().unwrap_or(0);
    let rest = text.get(head..).unwrap_or_default();
    let Some(tail) = starts_of_last_words(rest) else { return Cow::Borrowed(text) };
    Cow::Owned(format!("{} {}", &text[..head], &rest[tail..]))
}

/// Where each word ends. A letter of a script without spaces is a word of its own, as it is to the
/// server.
fn ends_of_words(text: &str) -> impl Iterator<Item = usize> {
    let mut run = 0;
    let mut chars = text.char_indices().peekable();
    std::iter::from_fn(move || {
        while let Some((at, c)) = chars.next() {
            run = if c.is_alphanumeric() { run + 1 } else { 0 };
            let goes_on = chars.peek().is_some_and(|(_, next)| next.is_alphanumeric());
            if run > 0 && (!goes_on || c > '\u{24f}' || run == LONGEST_WORD) {
                run = 0;
                return Some(at + c.len_utf8());
            }
        }
        None
    })
}

/// Where the last words begin; `None` where there are no more than these.
fn starts_of_last_words(text: &str) -> Option<usize> {
    let ends: Vec<usize> = ends_of_words(text).collect();
    let before = ends.len().checked_sub(WORDS + 1)?;
    ends.get(before).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields() -> FieldNames {
        FieldNames { text: "text".into(), vector: "vector_field".into(), metadata: "metadata".into() }
    }

    fn check(made: Value, pointer: &str, expected: Value) {
        assert_eq!(made.pointer(pointer), Some(&expected), "{made}");
    }

    #[test]
    fn the_filter_is_inside_of_every_half() {
        let (fields, filter) = (fields(), [json!({ "terms": { "metadata.lang": ["en"] } })]);
        let search = Search { fields: &fields, k: 4, filter: &filter, spelling: false };
        check(search.text("why"), "/query/bool/filter", json!(filter));
        check(search.vector(&[0.5]), "/query/knn/vector_field/filter/bool/filter", json!(filter));
        let hybrid = search.hybrid("why", &[0.5]);
        check(hybrid.clone(), "/query/hybrid/queries/0/bool/filter", json!(filter));
        check(hybrid, "/query/hybrid/queries/1/knn/vector_field/filter/bool/filter", json!(filter));
        let bare = Search { filter: &[], ..search };
        check(bare.text("why"), "/query/multi_match/query", json!("why"));
        check(bare.vector(&[0.5]), "/query/knn/vector_field", json!({ "vector": [0.5], "k": 100 }));
    }

    #[test]
    fn words_are_looked_for_in_the_title_too_and_in_a_hybrid_search_half_of_them_must_be_there() {
        let fields = FieldNames { text: "body".into(), metadata: "meta".into(), ..fields() };
        let search = Search { fields: &fields, k: 4, filter: &[], spelling: false };
        let text = search.text("What is H-209?");
        check(text.clone(), "/query/multi_match/fields", json!(["body", "meta.title"]));
        check(text.clone(), "/query/multi_match/query", json!("H-209?"));
        check(text, "/query/multi_match/minimum_should_match", json!("0%"));
        let hybrid = search.hybrid("why", &[0.5]);
        check(hybrid, "/query/hybrid/queries/0/multi_match/minimum_should_match", json!("50%"));
    }

    #[test]
    fn vectors_of_spelling_rank_what_the_words_have_found() {
        let (fields, filter) = (fields(), [json!({ "terms": { "metadata.lang": ["en"] } })]);
        let search = Search { fields: &fields, k: 4, filter: &filter, spelling: true };
        let words = search.text("why")["query"].clone();
        let hybrid = search.hybrid("why", &[0.5]);
        check(hybrid.clone(), "/query/hybrid/queries/0", words.clone());
        check(hybrid, "/query/hybrid/queries/1/knn/vector_field/filter/bool/filter", json!([words]));
        check(search.vector(&[0.5]), "/query/knn/vector_field/filter/bool/filter", json!(filter));
    }

    #[test]
    fn only_the_text_and_the_metadata_are_asked_for() {
        let fields = fields();
        let search = Search { fields: &fields, k: 4, filter: &[], spelling: false };
        for body in
            [search.text("a"), search.vector(&[1.0]), search.hybrid("a", &[1.0]), search.text_half("a")]
        {
            check(body, "/_source", json!(["text", "metadata"]));
        }
        check(search.hybrid("a", &[1.0]), "/size", json!(8));
        check(search.vector_half("a", &[1.0]), "/size", json!(20));
    }

    #[test]
    fn a_long_query_keeps_its_beginning_and_its_end() {
        let text = format!("Why is it so? {}Say it in one word.", "filler ".repeat(5_000));
        let short = shortened(&text);
        assert!(
            short.starts_with("Why is it so? filler") && short.ends_with("filler Say it in one word."),
            "{short}"
        );
        assert_eq!(ends_of_words(&short).count(), 2 * WORDS);
        let han = "语".repeat(5_000);
        assert_eq!(shortened(&han).chars().count(), 2 * WORDS + 1);
        assert_eq!(shortened("a short one"), "a short one");
    }

    proptest! {
        #[test]
        fn any_text_is_cut_to_the_same_bound_and_a_short_one_not_at_all(text in "(\\PC| |\n|word |语){0,900}") {
            let short = shortened(&text);
            // Cut once, a word of a script with spaces may be parted into two.
            prop_assert!(ends_of_words(&short).count() <= 2 * WORDS + 1);
            if ends_of_words(&text).count() <= 2 * WORDS {
                prop_assert_eq!(short.as_ref(), text.as_str());
            }
        }

        #[test]
        fn whatever_is_asked_stays_a_value(text in ".{0,60}", vector in prop::collection::vec(-1f32..1.0, 0..4)) {
            let fields = fields();
            let body = Search { fields: &fields, k: 4, filter: &[], spelling: false }.hybrid(&text, &vector);
            let back: Value = serde_json::from_str(&body.to_string()).unwrap();
            prop_assert_eq!(back.pointer("/query/hybrid/queries/0/multi_match/query"), Some(&json!(content(&shortened(&text)))));
            prop_assert_eq!(back["query"].as_object().unwrap().len(), 1);
        }
    }
}
