use super::*;
use aws_lambda_events::apigw::{
    ApiGatewayCustomAuthorizerRequestTypeRequest, ApiGatewayProxyRequest, ApiGatewayWebsocketProxyRequest,
};
use aws_lambda_events::lambda_function_urls::LambdaFunctionUrlRequest;
use aws_lambda_events::sqs::SqsEvent;
use bytes::Bytes;
use serde::de::DeserializeOwned;

fn asked(method: &str, uri: &str, headers: &[(&str, &str)], body: &[u8]) -> Asked {
    let mut map = hyper::HeaderMap::new();
    for (name, value) in headers {
        let name = hyper::header::HeaderName::try_from(*name).unwrap();
        map.append(name, value.parse().unwrap());
    }
    let (method, uri) = (method.parse().unwrap(), uri.parse().unwrap());
    Asked { method, uri, headers: map, body: Bytes::copy_from_slice(body) }
}

fn known() -> Identity {
    Identity {
        key: Some(("alice".into(), "key-a".into())),
        access_key: Some("AKIDALICE".into()),
        authorizer: Some(json!({ "principalId": "alice", "team": "a" })),
    }
}

fn connection() -> Connection {
    let (id, domain) = (short_id(), "127.0.0.1:1".to_owned());
    Connection { id, connected_at: 5, domain, identity: known(), agent: None }
}

fn typed<T: DeserializeOwned>(event: Value) -> T {
    serde_json::from_value(event).unwrap()
}

/// Every key of an object, with those of the objects in it, as paths.
fn keys(value: &Value, at: &str, found: &mut Vec<String>) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{at}/{name}");
        if !["/headers", "/multiValueHeaders"].contains(&path.as_str()) {
            keys(inner, &path, found);
        }
        found.push(path);
    }
}

#[test]
fn the_documented_examples_are_events_of_their_types() {
    let rest: ApiGatewayProxyRequest = typed(template(REST));
    assert_eq!(rest.request_context.stage.unwrap(), "prod");
    let url: LambdaFunctionUrlRequest = typed(template(FUNCTION_URL));
    assert!(url.is_base64_encoded);
    for (text, kind) in [(CONNECT, "CONNECT"), (MESSAGE, "MESSAGE"), (DISCONNECT, "DISCONNECT")] {
        let ws: ApiGatewayWebsocketProxyRequest = typed(template(text));
        assert_eq!(ws.request_context.event_type.unwrap(), kind);
    }
    let sqs: SqsEvent = typed(template(SQS));
    assert_eq!(sqs.records.len(), 1);
}

#[test]
fn a_rest_event_holds_what_the_client_sent() {
    let headers = [("host", "h"), ("x-a", "1"), ("x-a", "2")];
    let asked = asked("POST", "/prod/a.b%3A0?q=1&q=a%20b", &headers, b"{\"a\":1}");
    let event: ApiGatewayProxyRequest = typed(rest(&asked, &known()).unwrap());
    assert_eq!(event.path.unwrap(), "/a.b%3A0");
    assert_eq!(event.path_parameters["proxy"], "a.b:0");
    assert_eq!(event.request_context.path.unwrap(), "/prod/a.b%3A0");
    assert_eq!(event.headers["x-a"], "2");
    assert_eq!(event.multi_value_headers.get_all("x-a").iter().count(), 2);
    assert_eq!(event.multi_value_query_string_parameters.all("q").unwrap(), ["1", "a b"]);
    assert_eq!(event.body.unwrap(), "{\"a\":1}");
    let identity = event.request_context.identity;
    assert_eq!(identity.api_key_id.unwrap(), "alice");
    assert_eq!(identity.user_arn.unwrap(), "arn:aws:sts::123456789012:assumed-role/AKIDALICE/session");
    assert_eq!(event.request_context.authorizer.fields["team"], "a");
    assert!(rest(&self::asked("GET", "/production/x", &[], b""), &known()).is_none());
}

#[test]
fn a_function_url_event_encodes_what_is_not_text() {
    let form = [("content-type", "application/x-www-form-urlencoded"), ("cookie", "a=1; b=2")];
    let event: LambdaFunctionUrlRequest =
        typed(function_url(&asked("POST", "/?q=1&q=2", &form, b"{}"), &known()));
    assert!(event.is_base64_encoded);
    assert_eq!(event.body.unwrap(), "e30=");
    assert_eq!(event.query_string_parameters["q"], "1,2");
    assert_eq!(event.cookies.unwrap(), ["a=1", "b=2"]);
    let iam = event.request_context.authorizer.unwrap().iam.unwrap();
    assert_eq!(iam.access_key.unwrap(), "AKIDALICE");

    let text = [("content-type", "application/json; charset=utf-8")];
    let event = function_url(&asked("POST", "/", &text, b"{}"), &Identity::default());
    assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!("{}"), &json!(false)));
    assert_eq!(event["requestContext"]["accountId"], "anonymous");
    assert!(event.get("queryStringParameters").is_none());
}

#[test]
fn websocket_events_tell_connection_and_caller() {
    let connection = connection();
    assert_eq!((connection.id.len(), &connection.id[15..]), (16, "="));
    let handshake = asked("GET", "/prod?name=Ryan", &[("sec-websocket-protocol", "a, b")], b"");
    for event in [
        connect(&connection, &handshake),
        message(&connection, "$default", "hello"),
        disconnect(&connection, 1001, "Going away"),
    ] {
        let event: ApiGatewayWebsocketProxyRequest = typed(event);
        assert_eq!(event.request_context.connection_id.as_ref(), Some(&connection.id));
        assert_eq!(event.request_context.connected_at, 5);
        assert_eq!(event.request_context.identity.api_key_id.unwrap(), "alice");
    }
    let event = connect(&connection, &handshake);
    assert_eq!(event["headers"]["sec-websocket-protocol"], "a, b");
    assert_eq!(event["queryStringParameters"]["name"], "Ryan");
}

#[test]
fn an_event_has_the_keys_of_its_example_and_no_others() {
    let plain = Connection { identity: Identity::default(), ..connection() };
    let handshake = asked("GET", "/prod?name=x", &[], b"");
    let posted = asked("POST", "/prod/hello/world?name=x", &[], b"x");
    let letter = Message { id: "id".into(), body: "body".into(), md5: "md5".into(), sent_ms: 1 };
    for (example, event) in [
        (REST, rest(&posted, &Identity::default()).unwrap()),
        (CONNECT, connect(&plain, &handshake)),
        (MESSAGE, message(&plain, "chats", "{}")),
        (DISCONNECT, disconnect(&plain, 1000, "")),
        (SQS, sqs(&letter, "receipt", 2)),
    ] {
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        for (value, list) in [(&template(example), &mut expected), (&event, &mut found)] {
            keys(value, "", list);
            list.retain(|path| !path.contains("eaders/"));
            list.sort();
        }
        assert_eq!(found, expected);
    }
}

#[test]
fn an_authorizer_is_asked_about_the_same_request_under_its_arn() {
    let posted = asked("POST", "/prod/hello?q=1", &[("authorization", "Bearer k")], b"secret");
    let event = authorizer(&rest(&posted, &Identity::default()).unwrap());
    assert!(event.get("body").is_none());
    let event: ApiGatewayCustomAuthorizerRequestTypeRequest = typed(event);
    assert_eq!(
        event.method_arn.unwrap(),
        "arn:aws:execute-api:us-east-1:123456789012:gatewayapi/prod/POST/hello"
    );
    assert_eq!(event.headers["authorization"], "Bearer k");

    let handshake = asked("GET", "/prod", &[("sec-websocket-protocol", "a")], b"");
    let event = authorizer(&connect(&connection(), &handshake));
    assert!(event["methodArn"].as_str().unwrap().ends_with(":gatewayws/prod/$connect"));
    assert_eq!(event["headers"]["sec-websocket-protocol"], "a");
}
