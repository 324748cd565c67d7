"""What the two Lambda binaries write to their log: one JSON object a line, each failure once, and
nothing of what was asked, answered or presented as a key, whatever goes wrong and however much of
the log is asked for."""

import base64
import contextlib
import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
import uuid

import pytest
from clients import END, Http, Socket, standin

from functions import QUEUE, Functions
from runtime_api import RuntimeApi
from target import BUILT, Target, until

pytestmark = pytest.mark.functions("what the functions write")

MODEL = "/anthropic.claude-v2"
EMBEDDING = "/amazon.titan-embed-text-v2:0"
TRACE = {"LLM_GATEWAY_LOG": "trace"}


class Lambdas(Functions):
    """Both functions, spoken to with whatever bytes."""

    def post(self, path, body, base="rest", headers=None):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.urls[base] + path, raw, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, reply.read().decode(), dict(reply.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), dict(error.headers)


@contextlib.contextmanager
def running(**options):
    lambdas = Lambdas(**{"store": False, "elasticmq": False, **options})
    try:
        yield lambdas.start()
    finally:
        lambdas.close()


class Marks:
    """Words that stand for somebody's text. None of them may be found in a log."""

    def __init__(self):
        self.all = []

    def new(self, kind):
        self.all.append(f"MARK-{kind}-{uuid.uuid4().hex}")
        return self.all[-1]

    def found_in(self, text):
        """The marks that stand in it, plain or in base64, at whatever offset."""
        lower, flat = text.lower(), text.replace("-", "+").replace("_", "/")
        return [
            mark
            for mark in self.all
            if mark.lower() in lower or any(form in flat for form in in_base64(mark.encode()))
        ]


def in_base64(raw):
    """What is the same in every base64 text that holds these bytes, for each of the three offsets."""
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        yield coded[(before * 8 + 5) // 6 : len(coded) - 1]


def lines_of(lambdas):
    """Every line, parsed; it is checked that each is one JSON object on standard output."""
    raw = lambdas.control("/logs")
    assert [line for line in raw if line["stream"] != "stdout"] == []
    lines = [json.loads(line["text"]) for line in raw]
    assert all(isinstance(line, dict) and line["timestamp"] and line["level"] for line in lines)
    return lines


def quiet(lambdas):
    """Waits until no invocation runs, and gives the lines."""
    over = lambda: all(seen["freed"] for seen in lambdas.control("/seen")["invocations"])
    until(over, 30, every=0.1, what="the end of every invocation")
    return lines_of(lambdas)


def about(lines, message):
    return [line for line in lines if line.get("message") == message]


def troubles(lines):
    return [line for line in lines if line["level"] in ("WARN", "ERROR")]


def check_metrics(line):
    """A line with metrics, held against the specification of the Embedded Metric Format."""
    assert isinstance(line["_aws"]["Timestamp"], int)
    assert abs(line["_aws"]["Timestamp"] / 1000 - time.time()) < 3600
    for directive in line["_aws"]["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert directive["Namespace"] == "LlmGateway"
        assert directive["Dimensions"] and all(len(names) == 1 for names in directive["Dimensions"])
        assert all(isinstance(line[names[0]], str) and line[names[0]] for names in directive["Dimensions"])
        assert 0 < len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            assert type(line[metric["Name"]]) in (int, float), metric
            assert metric["Unit"] in ("Milliseconds", "Count", "None")


def asking(new, **knobs):
    """A marked prompt that gets a marked answer."""
    return f"{new('prompt')} {standin(text=new('answer') + ' is what it said', **knobs)}"


def http_doors(lambdas, marks):
    """Doors 1, 5, 6, 8 and embeddings: what works, what is wrong, what breaks."""
    new = marks.new
    asked = {"system": new("system"), "rag_prompt": new("rag"), new("key"): new("value")}
    parameters = {"stop_sequences": [new("stop")], "temperature": 0.1, new("parameter"): 1}
    for stream in (False, True):
        lambdas.post(MODEL, {"prompt": asking(new), "stream": stream, "parameters": parameters, **asked})
    lambdas.post(EMBEDDING, {"prompt": new("embedding")})
    lambdas.post("/", {"modelParams": {"prompt": asking(new)}}, base="function_url")
    lambdas.post("/", new("nojson").encode(), base="function_url")
    for knob in failures(new):
        prompt = asking(new, **knob)
        lambdas.post(MODEL, {"prompt": prompt, **asked})
        lambdas.post(MODEL, {"prompt": prompt, "stream": True})
        lambdas.post("/", {"modelParams": {"prompt": prompt}}, base="function_url")
    for body in [
        {"prompt": {"text": new("object")}},
        {"prompt": new("prompt"), "stream": new("flag")},
        {"prompt": new("prompt"), "parameters": {"temperature": new("temperature")}},
        {"prompt": new("prompt"), "parameters": new("parameters")},
        {"prompt": ""},
    ]:
        lambdas.post(MODEL, body)
        lambdas.post(EMBEDDING, body)
        lambdas.post("/invokeModel", body)
    lambdas.post("/invokeModel", {"prompt": new("job")}, headers={"Idempotency-Key": new("idempotency")})
    lambdas.post(f"/{new('model')}", {"prompt": new("prompt")})
    lambdas.post(f"/a/{new('path')}", {"prompt": new("prompt")})
    lambdas.post(f"/jobs/{new('job')}", {})
    lambdas.post(MODEL, b'{"prompt": "' + new("broken").encode())
    lambdas.post(MODEL, b"\xff\xfe" + new("bytes").encode())


def failures(new):
    """What the model does wrong, where its message quotes the request or the answer."""
    yield {"error": {"name": "ValidationException", "status": 400, "message": f"messages.0: {new('echo')} is bad"}}
    yield {"error": {"name": "ModelErrorException", "status": 424, "message": f"could not parse {new('echo')}"}}
    yield {"fault": {"kind": "exception", "after": 2, "name": "validationException", "message": new("echo")}}
    yield {"fault": {"kind": "exception", "after": 2, "name": "modelStreamErrorException", "message": new("echo")}}
    yield {"throttle": 99, "retry_after": 7}
    yield {"throttle": 1}
    yield {"fault": {"kind": "cut", "after": 2}}
    yield {"fault": {"kind": "cut_inside", "after": 2}}
    yield {"fault": {"kind": "checksum", "after": 2}}
    yield {"fault": {"kind": "end", "after": 2}}


def socket_doors(lambdas, marks):
    """Doors 2, 3, 4 and 8."""
    new = marks.new
    ways = [{}, *failures(new)]
    with Socket(lambdas) as socket:
        for way in ways:
            prompt = asking(new, **way)
            socket.reply(prompt, system=new("system"))
            socket.send({"action": "invokeModel", "prompt": f"\n\nHuman: {prompt}\n\nAssistant:"})
            socket.texts()
            socket.chatbot(prompt, user_id=new("user"))
        for wrong in [
            new("nojson"),
            json.dumps([new("list")]),
            json.dumps({"action": new("action"), "prompt": new("prompt")}),
            json.dumps({"action": {"x": new("action")}}),
            json.dumps({"action": "sendmessage", "prompt": [new("prompt")]}),
            json.dumps({"action": "invokeModel", "prompt": "", "parameters": {"modelId": new("model")}}),
            json.dumps({"user_id": "u", "request_id": "r", "body": {"x": new("body")}}),
            json.dumps({"user_id": "u", "request_id": "r", "type": "document", "body": new("body")}),
            json.dumps({"action": "resume", "request_id": "none", "after": new("after")}),
            json.dumps({"action": "cancel", "request_id": [new("id")]}),
            json.dumps({"action": "chat", "chat_id": {"x": new("chat")}}),
        ]:
            socket.send(wrong)
            while socket.raw().startswith("Error:"):
                pass


def test_no_mark_of_any_door_is_in_the_log_even_where_everything_is_asked_for():
    marks = Marks()
    emulator = ["--visibility-ms", "200", "--max-receives", "2"]
    with running(env=TRACE, store=True, emulator=emulator) as lambdas:
        http_doors(lambdas, marks)
        socket_doors(lambdas, marks)
        learned = {"prompt": asking(marks.new)}
        assert [lambdas.post(MODEL, learned)[2]["x-cache"] for _ in range(2)] == ["miss", "hit"]
        for body in [marks.new("message"), json.dumps({"caller": 3, "id": marks.new("id")})]:
            lambdas.control("/enqueue", {"body": body})
        until(lambda: len(lambdas.control("/seen")["dead_letters"]) == 2, 20, what="the dead letters")
        lines = quiet(lambdas)
    assert marks.found_in(json.dumps(lines)) == []
    measured = [line for line in lines if "_aws" in line]
    for line in measured:
        check_metrics(line)
    doors = {line["door"] for line in about(measured, "reply")}
    assert doors == {"prompt", "functionUrl", "sendmessage", "invokeModel", "chatbot", "jobs"}
    assert {line.get("cache_hit") for line in about(measured, "reply")} >= {0, 1}
    outcomes = {line["outcome"] for line in about(measured, "reply")}
    assert outcomes >= {"end_turn", "invalid_request", "throttled", "upstream_error"}
    assert about(measured, "embedding") and about(measured, "refused")


def test_keys_are_not_in_the_log_whether_they_open_or_not():
    marks = Marks()
    key, wrong = marks.new("key"), marks.new("wrong")
    with running(env=TRACE, keys={"alice": key}) as lambdas:
        for headers in [
            {"Authorization": f"Bearer {key}"},
            {"Authorization": f"Bearer {wrong}"},
            {"Authorization": f"Basic {base64.b64encode(key.encode()).decode()}"},
            {"x-api-key": key},
            {"x-api-key": wrong},
            {},
        ]:
            lambdas.post(MODEL, {"prompt": "hello"}, headers=headers)
        lines = quiet(lambdas)
    assert about(lines, "reply")
    assert marks.found_in(json.dumps(lines)) == []
    assert troubles(lines) == [], "somebody without a key is no failure of ours"


def test_each_failed_reply_is_one_line_that_can_be_joined_with_its_invocation():
    with running() as lambdas:
        headers = {}
        for prompt in [
            standin(tokens=9, fault={"kind": "cut", "after": 3}),
            standin(throttle=99, retry_after=7),
            standin(error={"name": "ValidationException", "status": 400, "message": "no"}),
            standin(throttle=1, tokens=3),
        ]:
            _, text, headers = lambdas.post(MODEL, {"prompt": prompt})
        with Socket(lambdas) as socket:
            last = socket.reply(standin(tokens=9, fault={"kind": "cut", "after": 3}))[-1]
        lines = quiet(lambdas)
        seen = lambdas.control("/seen")
    replies = about(lines, "reply")
    assert [line["outcome"] for line in replies] == [
        "upstream_error", "throttled", "invalid_request", "end_turn", "upstream_error",
    ]
    assert troubles(lines) == [line for line in replies if line["errors"] == 1]
    assert len(lines) == len(replies), "and nothing else is there to read"
    assert [line.get("throttles") for line in replies] == [None, 1, None, 1, None]
    assert [line.get("failed_tries") for line in replies] == [1, 1, 1, 1, 1]
    invoked = {one["id"]: one for one in seen["invocations"]}
    assert all(line["aws_request_id"] in invoked for line in replies)
    assert len({line["aws_request_id"] for line in replies}) == len(replies)
    assert replies[-1]["request_id"] == last["request_id"]
    assert [line.get("connection_id") for line in replies] == [None] * 4 + [seen["connections"][0]["id"]]
    stages = [stage.split(";dur=")[0] for stage in headers["server-timing"].split(", ")]
    assert set(stages) == {"history", "cache", "retrieval", "model", "total"}


def test_pushes_that_fail_again_and_again_are_one_line_with_their_count():
    with running() as lambdas, Socket(lambdas) as socket:
        lambdas.control("/knobs", {"throttled": {"every": 2}, "unavailable": {"at": [3]}})
        socket.reply(standin(tokens=12, gap_ms=60))
        lines = quiet(lambdas)
        failed = [push for push in lambdas.control("/seen")["pushes"] if push["status"] >= 400]
    assert len(failed) > 2
    [pushed] = troubles(lines)
    assert (pushed["message"], pushed["outcome"]) == ("pushed", "delivered")
    assert pushed["failed_tries"] == len(failed) and pushed["frames"] > 0
    assert re.match("(429|503) ", pushed["error"])
    [reply] = about(lines, "reply")
    assert reply["level"] == "INFO" and reply["aws_request_id"] == pushed["aws_request_id"]


def test_a_client_that_left_is_one_line_and_no_failure():
    with running() as lambdas, Socket(lambdas) as socket:
        lambdas.control("/knobs", {"gone_pushes": {"every": 1}})
        socket.ask(standin(tokens=5))
        until(lambda: about(lines_of(lambdas), "pushed"), what="the line about the pushes")
        lines = quiet(lambdas)
    [pushed] = about(lines, "pushed")
    assert (pushed["outcome"], pushed["level"], pushed["error"]) == ("gone", "INFO", "410 GoneException")
    assert troubles(lines) == []


DOWN = {
    "ANSWERS_TABLE": "answers", "STATE_TABLE": "state", "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:9",
    "JOBS_QUEUE_URL": QUEUE, "AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:9",
}


def test_a_store_that_is_down_is_counted_in_the_replys_one_line():
    with running(env=DOWN) as lambdas:
        body = {"prompt": standin(tokens=20, gap_ms=100), "request_id": uuid.uuid4().hex, "chat_id": "c"}
        status, text, _ = lambdas.post(MODEL, body)
        assert status == 200, text
        lines = quiet(lambdas)
    [line] = lines
    assert (line["message"], line["level"], line["outcome"]) == ("reply", "WARN", "end_turn")
    assert line["store_failures"] >= 3 and "store_error" in line and line["errors"] == 0
    assert {"Name": "store_failures", "Unit": "Count"} in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]


def test_metrics_stay_where_only_warnings_are_asked_for():
    with running(env={"LLM_GATEWAY_LOG": "error"}) as lambdas:
        lambdas.post(MODEL, {"prompt": "hello"})
        [line] = quiet(lambdas)
    check_metrics(line)
    assert line["aws_request_id"]


@pytest.mark.parametrize("name, role", [("rest", "api"), ("rest", "worker"), ("rest", "authorizer"), ("ws", "api")])
def test_malformed_events_end_in_one_line_each_and_are_not_quoted(name, role):
    marks = Marks()
    new = marks.new
    events = [
        {"httpMethod": new("method"), "body": {"x": new("body")}, "requestContext": new("context")},
        {"Records": [{"messageId": 7, "body": new("body")}]},
        {"Records": new("records")},
        {"requestContext": {"connectionId": {"x": new("id")}, "eventType": new("type")}, "body": new("body")},
        [new("list")],
        new("text"),
    ]
    raw = [json.dumps(event).encode() for event in events] + [b'{"body": "' + new("cut").encode()]
    code, lines = RuntimeApi(*raw).run(name, len(raw), ROLE=role, **TRACE, **DOWN)
    assert code is None, "the function lives on"
    assert marks.found_in(json.dumps(lines)) == []
    ids = [line["aws_request_id"] for line in troubles(lines)]
    assert len(ids) == len(set(ids)), "each is named once"
    assert len(ids) == (0 if role == "authorizer" else len(raw))


@pytest.mark.parametrize("name", ["rest", "ws"])
def test_a_wrong_setting_is_told_to_the_log_and_to_lambda(name):
    api = RuntimeApi()
    code, lines = api.run(name, 1, DEFAULT_TEMP="4096", ROLE="nobody")
    assert code == 1
    [line] = lines
    assert line["level"] == "ERROR" and "DEFAULT_TEMP" in line["sentence"] and "ROLE" in line["sentence"]
    [(path, headers, body)] = api.posts
    assert path == "/2018-06-01/runtime/init/error"
    headers = {name.lower(): value for name, value in headers.items()}
    assert headers["lambda-runtime-function-error-type"] == "Runtime.InvalidSettings"
    assert json.loads(body)["errorMessage"] == line["sentence"]


def test_outside_of_lambda_a_function_says_what_it_is():
    done = subprocess.run([str(BUILT / "rest")], env={}, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (1, "")
    assert "llm-gateway" in json.loads(done.stdout)["sentence"]


def test_the_command_too_writes_no_mark_however_much_of_the_log_is_asked_for():
    marks = Marks()
    new = marks.new
    key, subject = new("key"), "the rare axolotl"
    documents = {"a.md": f"# {subject}\n\n{subject} is called {new('document')} by its friends.\n"}
    answers = json.dumps([{"pk": new("curated"), "answer": new("answer")}])
    options = {"documents": documents, "answers": answers, "keys": {"alice": key}}
    target = Target(**options, env={"LLM_GATEWAY_LOG": "trace"})
    with contextlib.closing(target.start()):
        http_client = Http(target, key)
        for knob in [{}, *failures(new)]:
            prompt = f"{subject} {asking(new, **knob)}"
            http_client.ask(prompt, system=new("system"), rag_prompt=f"{subject} {new('rag')}")
        http_client.post("/invokeModel", {"prompt": f"{subject} {new('job')}"})
        http_client.post("/x", new("nojson").encode())
        Http(target, new("wrong")).ask(new("prompt"))
        with Socket(target, key) as ws:
            ws.reply(f"{subject} {new('prompt')}")
            ws.chatbot(f"{subject} {new('body')}")
        text = until(lambda: target.log if target.log.count(" reply ") > 10 else None, 20)
    assert marks.found_in(text) == []


def test_the_search_for_marks_finds_them():
    marks = Marks()
    mark = marks.new("x")
    for before in ("", "a", "ab", "abc"):
        raw = f"{before}{mark}{before}".encode()
        for text in (raw.decode(), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()):
            assert marks.found_in(f'{{"detail": "{text}"}}') == [mark]
    assert marks.found_in(urllib.parse.quote("MARK-y-0")) == []
