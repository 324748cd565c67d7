//! What a passage's metadata must say to be searched at all.

use serde::{Deserialize, Serialize};

/// Conditions that must all hold; without any, every passage counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Filter(pub Vec<Condition>);

/// A field of the metadata and the values of which it must have one, exactly. Numbers and booleans
/// stand here as they are written in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The field, inner ones behind dots.
    pub field: String,
    /// The values.
    pub any_of: Vec<String>,
}

impl Filter {
    /// Does every passage count?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Both filters' conditions.
    pub fn and(&self, other: &Filter) -> Filter {
        Filter(self.0.iter().chain(&other.0).cloned().collect())
    }
}
