"""The error table: every row through a door, in the door's shape."""

import json

import pytest
from clients import MODEL, Http, Socket, new_id, standin

TABLE = {
    "invalid_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "model_not_found": 404,
    "not_found": 404,
    "conflict": 409,
    "too_large": 413,
    "throttled": 429,
    "internal": 500,
    "upstream_error": 502,
    "unavailable": 503,
    "deadline_exceeded": 504,
}


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    """A gateway whose model fails with the code that the question names, before or after text."""
    import target as targets

    script = []
    for code in TABLE:
        error = {
            "code": code,
            "message": f"It was {code}.",
            **({"retry_after_s": 9} if code == "throttled" else {}),
        }
        script.append(
            {"match": f"late {code}", "deltas": [{"text": "half "}], "error": {**error, "after_deltas": 1}}
        )
        script.append({"match": code, "error": error})
    script.append({"deltas": [{"text": "fine"}]})
    file = tmp_path_factory.mktemp("script") / "script.json"
    file.write_text(json.dumps(script))
    with targets.running(model=f"script:{file}") as target:
        yield target


@pytest.mark.parametrize("code, status", TABLE.items())
@pytest.mark.local("only a script fails in every way")
def test_every_kind_has_its_status_before_the_first_byte(scripted, code, status):
    http = Http(scripted)
    for body in ({"prompt": code}, {"prompt": code, "stream": True}):
        reply = http.post(f"/{MODEL}", body)
        assert (reply.status, reply.error["code"]) == (status, code)
        assert reply.error["request_id"] == reply.headers["x-request-id"]
        assert (reply.headers["retry-after"] is not None) == (code == "throttled")
        assert "completion" not in reply.json()
    reply = http.post("/", {"modelParams": {"prompt": code}})
    assert (reply.status, reply.error["code"]) == (status, code)


@pytest.mark.parametrize("code, status", [(code, status) for code, status in TABLE.items() if status >= 500])
@pytest.mark.local("only a script fails in every way")
def test_every_failure_after_text_keeps_the_text_and_forbids_a_paid_retry(scripted, code, status):
    http = Http(scripted)
    reply = http.ask(f"late {code}")
    assert (reply.status, reply.error["code"]) == (status, code)
    assert reply.json()["completion"] == "half " and reply.json()["usage"]
    assert reply.headers["x-should-retry"] == "false"
    seen = http.stream(f"late {code}")
    assert seen[0]["completion"] == "half " and seen[-1]["error"]["code"] == code
    raw = http.post("/", {"modelParams": {"prompt": f"late {code}"}}).text
    assert raw == f"half \n[error {code}: {seen[-1]['error']['message']}]\n"


@pytest.mark.parametrize("code", TABLE)
@pytest.mark.local("only a script fails in every way")
def test_every_kind_ends_the_socket_doors_in_their_own_way(scripted, code):
    with Socket(scripted) as socket:
        [frame] = socket.reply(code)
        assert frame["completion"] == f"[error {code}: {frame['error']['message']}]"
        assert frame["error"]["code"] == code
        socket.send({"action": "invokeModel", "prompt": f"late {code}"})
        assert socket.texts() == ["half ", f"Error: {frame['error']['message']}"]
        [*_, last] = socket.chatbot(f"late {code}")
        assert (last["status"], last["msg"]) == ("error", f"half \n{frame['error']['message']}")


WRONG = [
    (b"", None, "JSON"),
    (b"{", None, "JSON"),
    (b"nonsense", None, "JSON"),
    (b"[]", None, "object"),
    (b'"text"', None, "object"),
    pytest.param(
        b'{"prompt":"\xff\xfe"}',
        None,
        "UTF-8",
        marks=pytest.mark.local("API Gateway makes text of it before the function sees it"),
    ),
    ({}, "prompt", "missing"),
    ({"prompt": None}, "prompt", "missing"),
    ({"prompt": ""}, "prompt", "empty"),
    ({"prompt": " \n\t "}, "prompt", "empty"),
    ({"prompt": 7}, "prompt", "string"),
    ({"prompt": ["q"]}, "prompt", "string"),
    ({"prompt": {"text": "q"}}, "prompt", "string"),
    ({"prompt": "q", "parameters": "hot"}, "parameters", "object"),
    ({"prompt": "q", "parameters": {"temperature": 9}}, "parameters.temperature", "0 to 1"),
    ({"prompt": "q", "parameters": {"temperature": -0.1}}, "parameters.temperature", "0 to 1"),
    ({"prompt": "q", "parameters": {"temperature": "0.5"}}, "parameters.temperature", "number"),
    ({"prompt": "q", "parameters": {"top_p": 1.5}}, "parameters.top_p", "0 to 1"),
    ({"prompt": "q", "parameters": {"max_tokens": 0}}, "parameters.max_tokens", "whole number"),
    ({"prompt": "q", "parameters": {"max_tokens": 1.5}}, "parameters.max_tokens", "whole number"),
    (
        {"prompt": "q", "parameters": {"max_tokens_to_sample": "9"}},
        "parameters.max_tokens_to_sample",
        "whole",
    ),
    ({"prompt": "q", "parameters": {"stop_sequences": 7}}, "parameters.stop_sequences", "list"),
    ({"prompt": "q", "parameters": {"stop_sequences": [7]}}, "parameters.stop_sequences", "list"),
    ({"prompt": "q", "parameters": {"stop_sequences": [""]}}, "parameters.stop_sequences", "empty"),
    ({"prompt": "q", "parameters": {"node_id": 7}}, "parameters.node_id", "string"),
    ({"prompt": "q", "chat_id": 7}, "chat_id", "string"),
    ({"prompt": "q", "chat_id": ""}, "chat_id", "characters"),
    ({"prompt": "q", "chat_id": "x" * 129}, "chat_id", "128"),
    ({"prompt": "q", "request_id": "a\nb"}, "request_id", "control"),
    ({"prompt": "q", "system": 7}, "system", "string"),
    ({"prompt": "q", "rag_prompt": []}, "rag_prompt", "string"),
    ({"prompt": "q", "invalidate_cache": "maybe"}, "invalidate_cache", "true or false"),
    ({"prompt": "q", "stream": 1}, "stream", "true or false"),
]


@pytest.mark.parametrize("body, param, words", WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_request_is_a_400_that_names_the_field_and_says_what_to_do(http, body, param, words):
    reply = http.post(f"/{MODEL}", body)
    assert reply.status == 400
    assert (reply.error["code"], reply.error["param"]) == ("invalid_request", param)
    assert words in reply.error["message"]


def test_deep_nesting_is_a_400_and_not_a_crash(http):
    for deep in (b"[" * 200_000, b'{"prompt":"q","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        assert http.post(f"/{MODEL}", deep).status == 400
    assert http.get("/health").status == 200


def test_an_unknown_model_lists_what_there_is(http):
    for path in ("/no.such-model", "/anthropic.claude", "/claude", "/v3"):
        reply = http.post(path, {"prompt": "q"})
        assert (reply.status, reply.error["code"]) == (404, "model_not_found")
        assert MODEL in reply.error["message"]


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/nothing"),
        ("PUT", "/health"),
        ("POST", "/jobs"),
        ("POST", "/model"),
        ("POST", "/a/b"),
        ("DELETE", "/"),
    ],
)
def test_a_path_that_is_not_there_says_which_are(http, method, path):
    reply = http.send(method, path, b"{}")
    assert (reply.status, reply.error["code"]) == (404, "not_found")
    assert "/invokeModel" in reply.error["message"]


@pytest.mark.local("on AWS API Gateway answers it, in words of its own")
def test_a_body_over_6_mb_is_too_large_and_the_sender_reads_why(http):
    for size in (6 * 1024 * 1024 + 1, 10 * 1024 * 1024):
        reply = http.post(f"/{MODEL}", {"prompt": "x" * size})
        assert (reply.status, reply.error["code"]) == (413, "too_large")
        assert "6 MB" in reply.error["message"]


def test_a_prompt_over_the_models_window_is_too_large_and_says_the_limit(http, upstream):
    before = upstream.seen()["calls"]
    reply = http.post(f"/{MODEL}", {"prompt": "word " * 200_000})
    assert (reply.status, reply.error["code"], reply.error["param"]) == (413, "too_large", "prompt")
    assert "200000" in reply.error["message"] and upstream.seen()["calls"] == before


def test_a_large_prompt_within_the_window_is_answered_whole(http):
    prompt = standin("x" * 400_000)
    assert http.ask(prompt).json()["completion"] == f"[stand-in] {prompt}"


def test_a_request_id_in_use_with_another_body_is_a_conflict(http):
    given = new_id()
    assert http.ask(standin("a"), request_id=given).status == 200
    reply = http.ask(standin("b"), request_id=given)
    assert (reply.status, reply.error["code"]) == (409, "conflict")
    assert reply.headers["x-should-retry"] == "false"


def test_a_caller_past_its_cap_is_throttled(own):
    target = own(env={"MAX_RUNNING_PER_CALLER": "2"})
    http = Http(target)
    body = {"prompt": standin(tokens=100, gap_ms=50), "stream": True}
    with (
        http.open("POST", f"/{MODEL}", body) as one,
        http.open("POST", f"/{MODEL}", {**body, "system": "2"}) as two,
    ):
        assert one.readline() and two.readline()
        reply = http.ask(standin("third"))
        assert (reply.status, reply.error["code"]) == (429, "throttled")
        assert int(reply.headers["retry-after"]) >= 1


def test_a_message_shows_no_path_no_stack_and_no_table(http, scripted):
    replies = [http.post("/x", b"{"), http.get("/answers/x"), Http(scripted).ask("internal")]
    for reply in replies:
        for word in ("/tmp", "panicked", ".rs", "dynamo", "table", "sqlite"):
            assert word not in reply.text
