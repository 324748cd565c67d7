//! REST API proxy events and function URL events into the HTTP that the doors take.

use super::caller::caller;
use crate::chat::Caller;
use crate::error::{Error, Kind, json_place};
use bytes::Bytes;
use http::Request;
use lambda_http::Body as EventBody;
use lambda_http::request::LambdaRequest;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

/// An HTTP event, ready for the doors.
pub struct HttpEvent {
    /// The request; a base64 body is decoded by the event's own flag.
    pub request: Request<Bytes>,
    /// Whose it is: anyone's, where the deployment has no authentication.
    pub caller: Caller,
}

/// Reads an event.
///
/// # Errors
/// `internal`: what came is no HTTP event of API Gateway's or a function URL's.
pub fn read(event: &[u8], with_session: bool) -> Result<HttpEvent, Error> {
    let value: Value = serde_json::from_slice(event).map_err(no_event)?;
    let caller = caller(&value["requestContext"], with_session).unwrap_or_else(Caller::anyone);
    let path = value["rawPath"].as_str().or_else(|| value["path"].as_str()).unwrap_or("/").to_owned();
    let parsed: LambdaRequest = serde_json::from_slice(event).map_err(no_event)?;
    let (mut head, body) = Request::<EventBody>::from(parsed).into_parts();
    let body = match body {
        EventBody::Text(text) => Bytes::from(text),
        EventBody::Binary(bytes) => Bytes::from(bytes),
        _ => Bytes::new(),
    };
    // `lambda_http` puts the stage before the path and decodes neither; the doors want the path alone.
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let wrong = |error| Error::new(Kind::InvalidRequest, "The path is no valid URL path.").because(error);
    head.uri =
        format!("{}{query}", escaped(&path)).parse().map_err(|error: http::uri::InvalidUri| wrong(error))?;
    Ok(HttpEvent { request: Request::from_parts(head, body), caller })
}

/// API Gateway hands the path over decoded where it was encoded; a colon may stand as it is.
fn escaped(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

/// What must not stand in a path as it is.
const PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'`');

fn no_event(error: serde_json::Error) -> Error {
    Error::internal(format!("no HTTP event: {}", json_place(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rest_event_becomes_a_request_of_its_key() {
        let event = json!({
            "resource": "/{proxy+}", "path": "/anthropic.claude-v2:1", "httpMethod": "POST",
            "headers": {"Content-Type": "text/plain"}, "multiValueHeaders": {"Content-Type": ["text/plain"]},
            "queryStringParameters": {"after": "3"}, "multiValueQueryStringParameters": {"after": ["3"]},
            "pathParameters": {"proxy": "x"}, "stageVariables": null,
            "requestContext": {
                "stage": "prod", "path": "/prod/x", "httpMethod": "POST", "requestId": "r",
                "identity": {"apiKeyId": "k1", "sourceIp": "1.2.3.4"},
            },
            "body": "eyJwcm9tcHQiOiJxIn0=", "isBase64Encoded": true,
        });
        let read = read(event.to_string().as_bytes(), false).unwrap();
        assert_eq!(read.request.uri(), "/anthropic.claude-v2:1?after=3");
        assert_eq!(read.request.body(), "{\"prompt\":\"q\"}");
        assert_eq!(read.caller, Caller("key:k1".into()));
    }

    #[test]
    fn a_function_url_event_without_authentication_is_anyones() {
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/", "rawQueryString": "",
            "headers": {"content-type": "application/x-www-form-urlencoded"},
            "requestContext": {
                "accountId": "anonymous", "apiId": "a", "domainName": "a.lambda-url.us-east-1.on.aws",
                "http": {"method": "POST", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "1.2.3.4", "userAgent": "c"},
                "requestId": "r", "routeKey": "$default", "stage": "$default", "timeEpoch": 1,
            },
            "body": "{}", "isBase64Encoded": false,
        });
        let read = read(event.to_string().as_bytes(), false).unwrap();
        assert_eq!((read.request.uri().path(), read.request.body().as_ref()), ("/", &b"{}"[..]));
        assert!(read.caller.is_anyone());
    }
}
