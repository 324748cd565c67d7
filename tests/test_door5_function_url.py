"""Door 5: function URL streaming, `POST /` with Bedrock's own parameters, answered as raw text."""

import base64
import json

import pytest
from clients import standin

WHOLE = "".join(f"token{n} " for n in range(8))


def event(prompt, **parameters):
    bedrock = {"modelId": "anthropic.claude-v2", "contentType": "application/json", "accept": "*/*"}
    model = {"max_tokens_to_sample": 2048, "temperature": 0.5, "top_k": 250, "top_p": 0.5, "prompt": prompt}
    return {"bedrockParams": bedrock, "modelParams": {**model, **parameters}}


@pytest.mark.parametrize("path", ["/", "/prod", "/prod/"])
def test_the_answer_is_raw_text(http, path):
    reply = http.post(path, event(standin(tokens=8)))
    assert (reply.status, reply.text) == (200, WHOLE)
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers["x-model"] == "anthropic.claude-sonnet-4-6"


def test_the_text_comes_chunk_by_chunk(http):
    with http.open("POST", "/", event(standin(tokens=40, gap_ms=40))) as response:
        first = response.read1(1000)
        status = http.answer(response.headers["x-request-id"])
        rest = response.read()
    assert first.startswith(b"token0 ") and status["status"] == "running"
    assert (first + rest).decode() == "".join(f"token{n} " for n in range(40))


def test_the_parameters_that_the_successor_takes_reach_the_model(http, upstream):
    prompt = standin("parameters")
    http.post("/", event(prompt))
    body = upstream.asked(prompt)[0]["body"]
    assert body["inferenceConfig"] == {"temperature": 0.5, "maxTokens": 2048}, "top_p goes before temperature"
    assert body["additionalModelRequestFields"] == {"top_k": 250}


def test_the_content_type_of_curl_is_fine(http):
    body = json.dumps(event(standin(tokens=8))).encode()
    assert http.post("/", body, content_type="application/x-www-form-urlencoded").text == WHOLE


def test_a_request_of_this_door_leaves_no_conversation(http):
    reply = http.post("/", event(standin("no chat")))
    answer = http.answer(reply.headers["x-request-id"])
    chat = answer["chat_id"]
    assert http.get(f"/chats/{chat}").status == 404


@pytest.mark.parametrize(
    "body, param",
    [
        ({"prompt": "of another door"}, "modelParams"),
        ({"modelParams": {}}, "prompt"),
        ({"modelParams": {"prompt": ""}}, "prompt"),
        ({"modelParams": []}, "modelParams"),
        ({"modelParams": {"prompt": "q", "top_k": "many"}}, "top_k"),
        ({"modelParams": {"prompt": "q"}, "bedrockParams": 7}, "bedrockParams"),
        ({"modelParams": {"prompt": "q"}, "bedrockParams": {"modelId": 7}}, "modelId"),
    ],
)
def test_a_wrong_request_is_a_400_that_names_the_field(http, body, param):
    reply = http.post("/", body)
    assert reply.status == 400
    assert reply.error["code"] == "invalid_request" and reply.error["param"].endswith(param)


def test_an_error_before_the_first_byte_has_its_status(http):
    refused = {"name": "ThrottlingException", "status": 429}
    reply = http.post("/", event(standin(error=refused, retry_after=7)))
    assert (reply.status, reply.headers["retry-after"], reply.error["code"]) == (429, "7", "throttled")


def test_an_error_after_the_first_byte_is_a_last_line(http):
    reply = http.post("/", event(standin(tokens=9, fault={"kind": "cut", "after": 2})))
    text, line = reply.text.rstrip("\n").rsplit("\n", 1)
    assert reply.status == 200 and text == "token0 token1 "
    assert line.startswith("[error upstream_error: ") and line.endswith("]")


def test_base64_in_a_body_is_not_guessed_at(http):
    body = base64.b64encode(json.dumps(event("q")).encode())
    assert http.post("/", body).status == 400
