//! What a reply had to do without. Counted while it is given and told in its one log line, however
//! often a room that is down was tried.

use crate::error::Error;
use crate::reply::lock;
use std::sync::Mutex;

/// The gaps of one reply.
#[derive(Default)]
pub struct Lacks(Mutex<Gaps>);

#[derive(Default)]
struct Gaps {
    store_failures: u64,
    store_error: Option<String>,
    retrieval_error: Option<String>,
}

impl Lacks {
    /// The store failed, and the reply goes on without it.
    pub fn store(&self, error: &Error) {
        let mut gaps = lock(&self.0);
        gaps.store_failures += 1;
        gaps.store_error.get_or_insert_with(|| error.to_string());
    }

    /// Search gave no passages, and the reply goes on without them. What a model refuses it may quote, so
    /// its sentence is not kept.
    pub fn retrieval(&self, error: &Error) {
        lock(&self.0).retrieval_error = Some(error.quiet());
    }

    /// How often the store failed, and how it did first.
    pub fn store_failures(&self) -> (u64, Option<String>) {
        let gaps = lock(&self.0);
        (gaps.store_failures, gaps.store_error.clone())
    }

    /// Why there were no passages.
    pub fn retrieval_error(&self) -> Option<String> {
        lock(&self.0).retrieval_error.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn why_a_search_failed_is_told_without_a_sentence_that_may_quote_the_question() {
        let lacks = Lacks::default();
        let refused = Error::new(Kind::InvalidRequest, "Bedrock refused the request: 'my secret' is wrong");
        lacks.retrieval(&refused.clone().because("ValidationException"));
        assert_eq!(lacks.retrieval_error().as_deref(), Some("invalid_request (ValidationException)"));
        lacks.retrieval(&refused);
        assert_eq!(lacks.retrieval_error().as_deref(), Some("invalid_request"));
    }
}
