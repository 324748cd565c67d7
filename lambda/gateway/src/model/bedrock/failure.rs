//! Every failure of Bedrock's, or on the way to it, as one of our kinds.

use crate::error::{Error, Kind, causes};
use aws_sdk_bedrockruntime::config::http::HttpResponse;
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_types::event_stream::RawMessage;
use std::time::Duration;

/// A call that got no stream.
pub(super) fn of_call<E>(error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let detail = causes(&error);
    match &error {
        SdkError::ServiceError(service) => {
            let (response, refusal) = (service.raw(), service.err());
            let id = response.headers().get("x-amzn-requestid").unwrap_or("unknown");
            let status = response.status().as_u16();
            let failure =
                of_exception(refusal.code(), refusal.message(), status).after(retry_after(response));
            let told = told(failure.kind, refusal.code(), refusal.message());
            failure.because(format!("{told}, status {status}, request id {id}"))
        }
        // The connection ended without a response: Bedrock was there, so it is not `unavailable`.
        SdkError::DispatchFailure(dispatch) if dispatch.as_other().is_some() => broken(&detail),
        SdkError::ResponseError(_) => broken(&detail),
        _ => Error::new(Kind::Unavailable, "The gateway could not reach Bedrock. Try again.").because(detail),
    }
}

/// A stream that ended with an error.
pub(super) fn of_stream<E>(error: SdkError<E, RawMessage>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let detail = causes(&error);
    match &error {
        SdkError::ServiceError(service) => {
            let name = exception_type(service.raw());
            let message = service.err().message();
            let failure = of_exception(name.as_deref(), message, 0);
            let told = told(failure.kind, name.as_deref(), message);
            failure.because(told)
        }
        _ => broken(&detail),
    }
}

/// Nothing came for this long.
pub(super) fn silent(idle: Duration) -> Error {
    let seconds = idle.as_secs_f64();
    Error::new(
        Kind::UpstreamError,
        format!("The model fell silent: nothing came for {seconds} s. Try again."),
    )
}

fn broken(detail: &str) -> Error {
    Error::new(Kind::UpstreamError, "The model's answer broke off or could not be read. Try again.")
        .because(detail)
}

/// The name in the `:exception-type` header, with the capital that it has everywhere else.
fn exception_type(raw: &RawMessage) -> Option<String> {
    let RawMessage::Decoded(message) = raw else { return None };
    let header = message.headers().iter().find(|header| header.name().as_str() == ":exception-type")?;
    let mut name = header.value().as_string().ok()?.as_str().to_owned();
    name.get_mut(..1)?.make_ascii_uppercase();
    Some(name)
}

/// The kind of an exception, by its name; by its status where the name is not one we know.
fn of_exception(name: Option<&str>, message: Option<&str>, status: u16) -> Error {
    let said = message.unwrap_or_default();
    let (kind, sentence) = match (name.unwrap_or_default(), status) {
        ("ValidationException", _) => return refused(said),
        ("ThrottlingException" | "ModelNotReadyException" | "ServiceQuotaExceededException", _)
        | (_, 429) => (
            Kind::Throttled,
            "The model is busy: Bedrock takes no more requests for it now. Try again later.",
        ),
        ("AccessDeniedException", _) => (
            Kind::Unavailable,
            "The gateway is not allowed to use this model on Bedrock; its operator has to grant access.",
        ),
        ("ResourceNotFoundException", _) => {
            (Kind::ModelNotFound, "Bedrock does not have this model in the gateway's Region. Choose another.")
        }
        ("ServiceUnavailableException", _) | (_, 502..=504) => {
            (Kind::Unavailable, "Bedrock is not available now. Try again.")
        }
        ("ModelTimeoutException", _) => (
            Kind::UpstreamError,
            "The model took too long and Bedrock gave up on it. Try again, or ask for less.",
        ),
        (_, 401 | 403) => (
            Kind::Unavailable,
            "Bedrock does not accept the gateway's credentials; its operator has to renew them.",
        ),
        _ => (Kind::UpstreamError, "The model failed on Bedrock. Try again."),
    };
    Error::new(kind, sentence)
}

/// A `ValidationException` covers much; its text is all that tells the cases apart.
fn refused(said: &str) -> Error {
    const TOO_LONG: [&str; 6] = [
        "input is too long",
        "prompt is too long",
        "too many input tokens",
        "context window",
        "context length",
        "context limit",
    ];
    let lower = said.to_lowercase();
    let kind = if TOO_LONG.iter().any(|phrase| lower.contains(phrase)) {
        Kind::TooLarge
    } else if lower.contains("model identifier is invalid") {
        Kind::ModelNotFound
    } else {
        Kind::InvalidRequest
    };
    Error::new(kind, format!("Bedrock refused the request: {said}"))
}

/// `Retry-After` in whole seconds; its date form is not used by AWS.
fn retry_after(response: &HttpResponse) -> Option<Duration> {
    response.headers().get("retry-after")?.trim().parse().ok().map(Duration::from_secs)
}

/// An exception for the log. What Bedrock says of a request, or of an answer, may quote it; what it
/// says of access, quotas and itself does not, and the operator needs it.
fn told(kind: Kind, name: Option<&str>, message: Option<&str>) -> String {
    let name = name.unwrap_or("unnamed exception");
    match message.filter(|_| matches!(kind, Kind::Throttled | Kind::Unavailable)) {
        Some(message) => format!("{name}: {message}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_length_is_told_from_the_others() {
        let check = |said: &str, kind| {
            let error = of_exception(Some("ValidationException"), Some(said), 400);
            assert_eq!(error.kind, kind, "{said}");
            assert!(error.message.ends_with(said));
        };
        check("Input is too long for requested model.", Kind::TooLarge);
        check("prompt is too long: 210000 tokens > 200000 maximum", Kind::TooLarge);
        check("Too many input tokens. Max input tokens: 8192", Kind::TooLarge);
        check("input length and `max_tokens` exceed context limit", Kind::TooLarge);
        check("The provided model identifier is invalid.", Kind::ModelNotFound);
        check("temperature: range: 0..1", Kind::InvalidRequest);
    }

    #[test]
    fn the_log_gets_what_is_said_of_access_and_nothing_that_may_quote_the_request() {
        let said = Some("User: x is not authorized");
        assert_eq!(
            told(Kind::Unavailable, Some("AccessDeniedException"), said),
            "AccessDeniedException: User: x is not authorized"
        );
        for kind in [Kind::InvalidRequest, Kind::TooLarge, Kind::ModelNotFound, Kind::UpstreamError] {
            assert_eq!(
                told(kind, Some("ValidationException"), Some("'my secret' is wrong")),
                "ValidationException"
            );
        }
    }

    #[test]
    fn an_exception_without_a_known_name_goes_by_its_status() {
        let check = |status, kind| assert_eq!(of_exception(Some("Novel"), None, status).kind, kind);
        check(429, Kind::Throttled);
        check(403, Kind::Unavailable);
        check(503, Kind::Unavailable);
        check(500, Kind::UpstreamError);
    }
}
