//! What a run came to, for people and for programs.

use super::report::Counts;
use gateway::chat::Usage;
use gateway::search_model::SearchModel;
use indicatif::HumanCount;
use serde_json::{Value, json};
use std::time::Duration;

/// What a run came to.
pub struct Summary<'a> {
    /// The numbers.
    pub counts: &'a Counts,
    /// The files of other kinds.
    pub others: u64,
    /// What embedded, or would.
    pub model: &'a SearchModel,
    /// Where to.
    pub target: &'a str,
    /// Nothing was written.
    pub dry: bool,
    /// How long it took.
    pub took: Duration,
}

impl Summary<'_> {
    /// What the model said that it embedded; before it was asked, the estimate.
    fn tokens(&self) -> u64 {
        if self.dry || self.counts.embedded == 0 { self.counts.tokens } else { self.counts.embedded }
    }

    fn cost(&self) -> f64 {
        let input_tokens = self.tokens();
        self.model.choice.cost(&Usage { input_tokens, ..Usage::default() })
    }

    fn rate(&self) -> f64 {
        self.counts.added as f64 / self.took.as_secs_f64().max(0.001)
    }

    /// For people.
    pub fn text(&self) -> String {
        let counts = self.counts;
        let number = |count: u64| HumanCount(count).to_string();
        let [added, updated, removed] = match self.dry {
            true => ["to add", "to update", "to remove"],
            false => ["added", "updated", "removed"],
        };
        let mut text = format!(
            "{} documents read, {} passages: {} {added}, {} {updated}, {} unchanged, {} {removed}, {} left out; \
             {:.1} s, {:.0} passages/s.",
            number(counts.documents),
            number(counts.passages),
            number(counts.added),
            number(counts.updated),
            number(counts.unchanged),
            number(counts.removed),
            number(counts.left_out),
            self.took.as_secs_f64(),
            self.rate(),
        );
        let about = if self.dry { "would embed about" } else { "embedded" };
        text.push_str(&format!(
            "\n{} {about} {} tokens for ${:.4}, into {}.",
            self.model.choice.entry.id,
            number(self.tokens()),
            self.cost(),
            self.target,
        ));
        if self.others > 0 {
            text.push_str(&format!("\n{} files of other kinds were passed over.", number(self.others)));
        }
        if self.dry {
            text.push_str("\nNothing was written.");
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let counts = self.counts;
        json!({
            "documents": counts.documents,
            "passages": counts.passages,
            "added": counts.added,
            "updated": counts.updated,
            "unchanged": counts.unchanged,
            "removed": counts.removed,
            "left_out": counts.left_out,
            "other_files": self.others,
            "tokens": self.tokens(),
            "cost_usd": (self.cost() * 1e6).round() / 1e6,
            "embeddings_model": self.model.choice.entry.id,
            "seconds": (self.took.as_secs_f64() * 1000.0).round() / 1000.0,
            "passages_per_second": self.rate().round(),
            "dry_run": self.dry,
        })
    }
}
