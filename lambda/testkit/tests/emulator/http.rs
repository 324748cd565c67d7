use super::*;

#[tokio::test]
async fn a_rest_request_becomes_an_event_and_its_stream_a_reply() {
    let emulator = started(Options::default());
    let reply = ask("POST", &format!("{}/a.b%3A0?q=1", emulator.urls().rest), &[], "hello").await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()["content-type"], "text/plain");
    let event = body_json(reply).await;
    assert_eq!(event["path"], "/a.b%3A0");
    assert_eq!(event["body"], "hello");
    assert_eq!(event["requestContext"]["stage"], "prod");
    let done = finished(&emulator, "rest").await;
    assert_eq!(done.outcome.unwrap(), "ok");
    assert!(done.delivered <= done.posted.unwrap() && done.streamed.unwrap() <= done.freed.unwrap());
}

#[tokio::test]
async fn a_function_url_request_becomes_an_event_of_payload_2() {
    let emulator = started(Options { iam: true, ..Options::default() });
    let url = format!("{}/x?q=1", emulator.urls().function_url);
    assert_eq!(ask("POST", &url, &[], "a").await.status(), 403);
    let signed =
        [("authorization", "AWS4-HMAC-SHA256 Credential=AKIDALICE/20260101/us-east-1/lambda/aws4_request")];
    let event = body_json(ask("POST", &url, &signed, "a").await).await;
    assert_eq!((&event["version"], &event["body"]), (&json!("2.0"), &json!("YQ==")));
    assert_eq!(event["requestContext"]["authorizer"]["iam"]["accessKey"], "AKIDALICE");
}

#[tokio::test]
async fn chunks_are_passed_on_as_they_come() {
    let emulator = started(Options::default());
    let steps = script(json!([{ "stream": { "chunks": ["one", "two"], "gap": 300 } }]));
    let begun = Instant::now();
    let mut reply = ask("POST", &emulator.urls().rest, &[], steps).await;
    let first = reply.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "one");
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!(text(reply).await, "two");
    assert!(begun.elapsed() >= Duration::from_millis(600));
}

#[tokio::test]
async fn what_is_no_framed_stream_is_a_502() {
    let emulator = started(Options::default());
    for steps in [
        json!([{ "post": { "statusCode": 200, "body": "whole" } }]),
        json!([{ "stream": { "bare": true, "chunks": ["no prelude"] } }]),
        json!([{ "error": "broken" }]),
        json!([{ "exit": 1 }]),
        json!([]),
    ] {
        let reply = ask("POST", &emulator.urls().rest, &[], script(steps)).await;
        assert_eq!(reply.status(), 502);
        assert_eq!(body_json(reply).await, json!({ "message": "Internal server error" }));
    }
    let outcomes: Vec<_> = emulator.seen().invocations.into_iter().filter_map(|one| one.outcome).collect();
    for expected in ["ok", "error", "exited", "no_response"] {
        assert!(outcomes.iter().any(|outcome| outcome == expected), "{expected} is not in {outcomes:?}");
    }
}

#[tokio::test]
async fn a_stream_that_fails_or_falls_silent_is_cut() {
    let emulator = started(with(|limits| limits.silence = Duration::from_millis(150)));
    for stream in
        [json!({ "chunks": ["half"], "fails": true }), json!({ "chunks": ["half", "late"], "gap": 2000 })]
    {
        let reply = ask("POST", &emulator.urls().rest, &[], script(json!([{ "stream": stream }]))).await;
        assert_eq!(reply.status(), 200);
        assert!(reply.into_body().collect().await.is_err());
    }
    assert_eq!(finished(&emulator, "rest").await.outcome.unwrap(), "stream_error");
    for steps in [
        json!([{ "sleep": 2000 }]),
        json!([{ "stream": { "bare": true, "chunks": ["a", "b"], "gap": 2000 } }]),
    ] {
        let reply = ask("POST", &emulator.urls().rest, &[], script(steps)).await;
        assert_eq!(reply.status(), 504);
        assert_eq!(body_json(reply).await, json!({ "message": "Endpoint request timed out" }));
    }
}

#[tokio::test]
async fn keys_stage_and_size_are_looked_at_before_the_function() {
    let keys = vec![("alice".to_owned(), "key-a".to_owned())];
    let emulator = started(Options { api_keys: keys, ..Options::default() });
    let url = &emulator.urls().rest;
    for headers in [&[][..], &[("x-api-key", "wrong")]] {
        let reply = ask("POST", url, headers, "").await;
        assert_eq!(reply.status(), 403);
        assert_eq!(body_json(reply).await, json!({ "message": "Forbidden" }));
    }
    let key = [("x-api-key", "key-a")];
    assert_eq!(ask("POST", &url.replace("/prod", "/other"), &key, "").await.status(), 403);
    let large = vec![b'a'; 6 * 1024 * 1024];
    assert_eq!(ask("POST", url, &key, large).await.status(), 413);
    assert!(emulator.seen().invocations.is_empty());
    let event = body_json(ask("POST", url, &key, "").await).await;
    assert_eq!(event["requestContext"]["identity"]["apiKeyId"], "alice");
}

#[tokio::test]
async fn a_bearers_key_is_the_one_that_the_authorizer_gives() {
    let keys = vec![("alice".to_owned(), "key-a".to_owned())];
    let emulator = started(Options { api_keys: keys, bearer_keys: true, ..Options::default() });
    let url = &emulator.urls().rest;
    for (authorization, status) in
        [("", 401), ("Bearer denied", 403), ("Bearer unknown", 403), ("Bearer key-a", 200)]
    {
        let reply = ask("POST", url, &[("authorization", authorization)], "").await;
        assert_eq!(reply.status(), status, "{authorization}");
        if status == 200 {
            let context = &body_json(reply).await["requestContext"];
            assert_eq!(context["identity"]["apiKeyId"], "alice");
            assert_eq!(context["authorizer"], json!({ "principalId": "someone", "team": "a", "level": "3" }));
        }
    }
}

#[tokio::test]
async fn a_request_beyond_the_concurrency_is_throttled() {
    let emulator = started(Options { concurrency: 1, ..Options::default() });
    let slow = script(json!([{ "sleep": 1000 }, { "stream": {} }]));
    let url = emulator.urls().rest.clone();
    let first = tokio::spawn(async move { ask("POST", &url, &[], slow).await.status() });
    until(|| (!emulator.seen().invocations.is_empty()).then_some(())).await;
    assert_eq!(ask("POST", &emulator.urls().rest, &[], "").await.status(), 429);
    assert_eq!(first.await.unwrap(), 200);
}
