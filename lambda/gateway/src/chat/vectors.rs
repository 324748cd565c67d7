//! Texts as vectors, and what for.

/// What a vector is for: some models make another one of a question than of a passage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To search with.
    #[default]
    Query,
    /// To be found.
    Document,
}

/// Texts as vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    /// In the order of the texts.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of the texts.
    pub input_tokens: u64,
}
