//! The one error type, and the one table that says what each kind means outside.
//!
//! `message` is for the caller and says what to do; `detail` is for the log and never leaves.

use std::fmt;
use std::time::Duration;

/// What went wrong, as few kinds as callers can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request itself is wrong.
    InvalidRequest,
    /// No credentials, or unknown ones.
    Unauthorized,
    /// Known, but not allowed.
    Forbidden,
    /// The model is unknown or not allowed here.
    ModelNotFound,
    /// The job, chat or answer is not there, or not the caller's.
    NotFound,
    /// An idempotency key or request id came back with another body.
    Conflict,
    /// A limit on size was passed.
    TooLarge,
    /// Too much at once, upstream or here.
    Throttled,
    /// The model failed, or its stream broke off.
    UpstreamError,
    /// The deadline cut the answer off.
    DeadlineExceeded,
    /// A service we need is away.
    Unavailable,
    /// The caller stopped it.
    Cancelled,
    /// Our fault.
    Internal,
}

impl Kind {
    /// Every kind, for tables and tests.
    pub const ALL: [Kind; 13] = [
        Kind::InvalidRequest,
        Kind::Unauthorized,
        Kind::Forbidden,
        Kind::ModelNotFound,
        Kind::NotFound,
        Kind::Conflict,
        Kind::TooLarge,
        Kind::Throttled,
        Kind::UpstreamError,
        Kind::DeadlineExceeded,
        Kind::Unavailable,
        Kind::Cancelled,
        Kind::Internal,
    ];

    /// HTTP status, wire code, OpenAI-style error type. `Cancelled` is seen on streams only;
    /// its status (499, as nginx logs it) stands for a whole reply stopped by `DELETE /answers/{id}`.
    const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Kind::InvalidRequest => (400, "invalid_request", "invalid_request_error"),
            Kind::Unauthorized => (401, "unauthorized", "authentication_error"),
            Kind::Forbidden => (403, "forbidden", "permission_error"),
            Kind::ModelNotFound => (404, "model_not_found", "invalid_request_error"),
            Kind::NotFound => (404, "not_found", "not_found_error"),
            Kind::Conflict => (409, "conflict", "conflict_error"),
            Kind::TooLarge => (413, "too_large", "invalid_request_error"),
            Kind::Throttled => (429, "throttled", "rate_limit_error"),
            Kind::UpstreamError => (502, "upstream_error", "api_error"),
            Kind::DeadlineExceeded => (504, "deadline_exceeded", "api_error"),
            Kind::Unavailable => (503, "unavailable", "api_error"),
            Kind::Cancelled => (499, "cancelled", "cancelled"),
            Kind::Internal => (500, "internal", "api_error"),
        }
    }

    /// The HTTP status of a reply that fails before its first byte.
    pub const fn status(self) -> u16 {
        self.row().0
    }

    /// The code on the wire.
    pub const fn code(self) -> &'static str {
        self.row().1
    }

    /// The `type` of the error object, in OpenAI's vocabulary.
    pub const fn error_type(self) -> &'static str {
        self.row().2
    }

    /// The kind behind a code on the wire or in the store.
    pub fn from_code(code: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// A failure: its kind, a sentence for the caller, and what only the log may see.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// What kind of failure.
    pub kind: Kind,
    /// What was wrong and what to do, for the caller. Never a path, a table or another's data.
    pub message: String,
    /// The field of the request that is at fault.
    pub param: Option<String>,
    /// How long to wait before the next try.
    pub retry_after: Option<Duration>,
    /// For the log only.
    pub detail: Option<String>,
}

impl Error {
    /// An error of this kind with a sentence for the caller.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), param: None, retry_after: None, detail: None }
    }

    /// A 400 that names the field.
    pub fn invalid(param: &str, message: impl Into<String>) -> Error {
        Error { param: Some(param.to_owned()), ..Error::new(Kind::InvalidRequest, message) }
    }

    /// Our fault: the caller learns nothing but that, the log gets `detail`.
    pub fn internal(detail: impl fmt::Display) -> Error {
        Error::new(Kind::Internal, "The gateway failed on this request. Try again; the log has the reason.")
            .because(detail)
    }

    /// The same error with a detail for the log.
    pub fn because(mut self, detail: impl fmt::Display) -> Error {
        self.detail = Some(detail.to_string());
        self
    }

    /// The log's form where the message may quote what was asked: code and detail alone.
    pub fn quiet(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{} ({detail})", self.kind.code()),
            None => self.kind.code().to_owned(),
        }
    }

    /// The same error with the wait that the throttling side asked for.
    pub fn after(mut self, wait: Option<Duration>) -> Error {
        self.retry_after = wait;
        self
    }
}

/// Where JSON cannot be read, for a log: serde's own message quotes what it met, somebody's text.
pub fn json_place(error: &serde_json::Error) -> String {
    format!("{:?} at line {} column {}", error.classify(), error.line(), error.column())
}

impl fmt::Display for Error {
    /// The log's form: code, message, detail.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.code(), self.message)?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// A foreign error and what caused it, in one line and in their short form: the long one would show
/// pieces of somebody's text.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// For the log: what a service said when it refused, by its code and message, or what came in the way of
/// asking it. An SDK error's debug form holds the raw reply, and so somebody's text.
pub(crate) fn refusal(
    doing: &str,
    (code, message): (Option<&str>, Option<&str>),
    error: &(dyn std::error::Error + 'static),
) -> String {
    match code {
        Some(code) => format!("{doing}: {code}: {}", message.unwrap_or_default()),
        None => format!("{doing}: {}", causes(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_leads_back_to_its_kind() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_code(kind.code()), Some(kind));
        }
    }

    #[test]
    fn the_detail_is_for_the_log_only() {
        let error = Error::internal("table x");
        assert!(!error.message.contains("table x"));
        assert!(error.to_string().contains("table x"));
    }
}
