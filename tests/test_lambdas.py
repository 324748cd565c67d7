"""The two Lambda binaries behind the emulator of Lambda and API Gateway: the doors as on one machine."""

import contextlib
import json
import os
import subprocess
import time
import urllib.request

import pytest
from websockets.sync.client import connect

from target import BUILT, REST, WS, Standin, until

END = "<End of LLM response>"


class Lambdas:
    """The emulator with both binaries, in front of a stand-in of Bedrock."""

    def __init__(self, *options):
        self.standin = Standin()
        command = [str(BUILT / "lambda-emulator"), "--rest", REST, "--ws", WS]
        command += ["--env", f"AWS_ENDPOINT_URL_BEDROCK_RUNTIME={self.standin.url}", *options]
        command += os.environ.get("LAMBDA_EMULATOR_OPTIONS", "").split()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.urls = json.loads(self.process.stdout.readline())

    def post(self, path, body, base="rest", headers=None):
        request = urllib.request.Request(self.urls[base] + path, json.dumps(body).encode(), headers or {})
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return reply.status, reply.read().decode(), dict(reply.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), dict(error.headers)

    def control(self, path):
        with urllib.request.urlopen(self.urls["control"] + path, timeout=10) as reply:
            return json.load(reply)

    def socket(self):
        return connect(self.urls["ws"] + "?name=Ryan", open_timeout=20)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.standin.stop()


@contextlib.contextmanager
def running(*options):
    lambdas = Lambdas(*options)
    try:
        yield lambdas
    finally:
        lambdas.stop()


@pytest.fixture(scope="module")
def lambdas():
    with running() as both:
        yield both


def standin(**knobs):
    return "@standin" + json.dumps(knobs)


def until_end(ws):
    """The frames of one reply of door 2."""
    frames = []
    while not frames or frames[-1]["has_more_messages"] == "true":
        frames.append(json.loads(ws.recv(20)))
    return frames


def test_door_1_answers_whole_with_the_headers_of_the_local_gateway(lambdas):
    status, text, headers = lambdas.post("/anthropic.claude-v2", {"prompt": "hello", "x": 1})
    answer = json.loads(text)
    assert status == 200 and answer["completion"].endswith("hello") and answer["ignored"] == ["x"]
    assert headers["x-request-id"] == answer["request_id"] and headers["x-cache"] == "off"


def test_door_1_streams_as_the_model_speaks(lambdas):
    body = json.dumps({"prompt": standin(text="one two three", gap_ms=300), "stream": True}).encode()
    with urllib.request.urlopen(lambdas.urls["rest"] + "/anthropic.claude-v2", body, timeout=20) as reply:
        begun, arrivals = time.monotonic(), []
        for line in reply:
            if line.startswith(b"data: "):
                arrivals.append((time.monotonic() - begun, json.loads(line[6:])))
    texts = [frame["completion"] for _, frame in arrivals]
    assert "".join(texts) == "one two three" and arrivals[-1][1]["has_more_messages"] == "false"
    assert arrivals[-1][0] - arrivals[0][0] > 0.4, "the first piece did not wait for the last"


def test_errors_have_their_status_and_shape(lambdas):
    for path, body, status, code in [
        ("/anthropic.claude-v2", {"prompt": ""}, 400, "invalid_request"),
        ("/no.such-model", {"prompt": "q"}, 404, "model_not_found"),
        ("/anthropic.claude-v2", {"prompt": standin(throttle=99, retry_after=7)}, 429, "throttled"),
        ("/anthropic.claude-v2", {"prompt": standin(tokens=9, fault={"kind": "cut", "after": 3})}, 502, "upstream_error"),
    ]:
        found, text, headers = lambdas.post(path, body)
        assert (found, json.loads(text)["error"]["code"]) == (status, code)
        assert headers.get("retry-after") == ("7" if status == 429 else None)


def test_door_5_streams_raw_text_from_the_function_url(lambdas):
    status, text, headers = lambdas.post("/", {"modelParams": {"prompt": "hello"}}, base="function_url")
    assert (status, text.endswith("hello")) == (200, True)
    assert headers["content-type"].startswith("text/plain")


def test_doors_2_3_and_4_speak_over_one_websocket(lambdas):
    with lambdas.socket() as ws:
        ws.send("__ping__")
        assert ws.recv(20) == '"__pong__"'
        ws.send(json.dumps({"action": "sendmessage", "prompt": standin(tokens=20, gap_ms=20)}))
        frames = until_end(ws)
        words = "".join(frame["completion"] for frame in frames).split()
        assert len(words) == 20 and frames[-1]["stop_reason"] == "end_turn"
        assert len(frames) < 12, "deltas gather while a push is on its way"
        ws.send(json.dumps({"action": "invokeModel", "prompt": "\n\nHuman: hi\n\nAssistant:", "parameters": {}}))
        texts = [ws.recv(20)]
        while texts[-1] != END:
            texts.append(ws.recv(20))
        assert "".join(texts[:-1]).endswith("hi")
        ws.send(json.dumps({"user_id": "u", "request_id": "r", "type": "text", "body": "hello"}))
        last = json.loads(ws.recv(20))
        while last["status"] == "proceeding":
            last = json.loads(ws.recv(20))
        assert last["status"] == "completed" and last["msg"].endswith("hello")
        ws.send("neither JSON nor a ping")
        assert json.loads(ws.recv(20))["error"]["code"] == "invalid_request"


def test_an_answer_longer_than_the_integration_limit_arrives_whole_without_a_foreign_frame():
    with running("--integration-ms", "1000") as lambdas, lambdas.socket() as ws:
        ws.send(json.dumps({"action": "sendmessage", "prompt": standin(tokens=30, gap_ms=100)}))
        frames = until_end(ws)
        assert all("completion" in frame for frame in frames)
        assert len("".join(frame["completion"] for frame in frames).split()) == 30
        ended = lambda: [seen["outcome"] for seen in lambdas.control("/seen")["invocations"] if seen["function"] == "ws"]
        until(lambda: ended()[-1] == "ok", what="the end of the invocation")


def test_a_cut_stream_and_failing_pushes_end_in_one_true_terminal():
    with running() as lambdas, lambdas.socket() as ws:
        knobs = {"throttled": {"every": 3}, "unavailable": {"at": [5]}}
        request = urllib.request.Request(
            lambdas.urls["control"] + "/knobs", json.dumps(knobs).encode(), {"content-type": "application/json"}, method="PUT"
        )
        urllib.request.urlopen(request, timeout=10).read()
        prompt = standin(tokens=30, gap_ms=60, fault={"kind": "cut", "after": 20})
        ws.send(json.dumps({"action": "sendmessage", "prompt": prompt}))
        frames = until_end(ws)
        assert frames[-1]["error"]["code"] == "upstream_error"
        words = "".join(frame["completion"] for frame in frames[:-1]).split()
        assert len(words) == 20 and len(set(frame["seq"] for frame in frames[:-1])) == len(frames) - 1


def test_an_api_key_is_needed_where_keys_are_set():
    with running("--api-key", "alice=secret-1") as lambdas:
        body = {"prompt": "hello"}
        assert lambdas.post("/anthropic.claude-v2", body)[0] == 403
        assert lambdas.post("/anthropic.claude-v2", body, headers={"x-api-key": "secret-1"})[0] == 200


def test_a_bearer_key_passes_by_way_of_the_authorizer():
    with running("--api-key", "alice=secret-1", "--bearer-keys") as lambdas:
        body = {"prompt": "hello"}
        assert lambdas.post("/anthropic.claude-v2", body)[0] == 401
        assert lambdas.post("/anthropic.claude-v2", body, headers={"Authorization": "Bearer secret-1"})[0] == 200
        assert lambdas.post("/anthropic.claude-v2", body, headers={"Authorization": "Bearer wrong"})[0] == 403


def test_logs_are_json_and_name_no_prompt_and_no_answer():
    with running() as lambdas:
        lambdas.post("/anthropic.claude-v2", {"prompt": "a-word-of-the-prompt"})
        lines = lambda: [line["text"] for line in lambdas.control("/logs") if line["text"].startswith("{")]
        ended = lambda: any(json.loads(line).get("outcome") == "end_turn" for line in lines())
        until(ended, what="the reply's log line")
        assert not any("a-word-of-the-prompt" in line for line in lines())


