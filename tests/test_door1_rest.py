"""Door 1: `prompt` over REST, `POST /{modelId}`, whole and streamed."""

import json

import pytest
from clients import MODEL, events, lines, standin, told


def test_an_answer_has_every_documented_key(http):
    prompt = standin("why?")
    reply = http.ask(prompt)
    body = reply.json()
    assert reply.status == 200
    assert body["completion"] == f"[stand-in] {prompt}"
    assert body["stop_reason"] == "end_turn"
    assert body["cached"] == "false"
    assert body["model"] == MODEL
    assert body["sources"] == []
    assert body["usage"]["input_tokens"] > 0 and body["usage"]["output_tokens"] > 0
    assert body["chat_id"] and body["request_id"] == reply.headers["x-request-id"]


def test_the_headers_say_what_happened(http):
    prompt = standin("headers")
    first, second = http.ask(prompt), http.ask(prompt)
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    assert first.headers["x-model"] == MODEL
    timing = dict(stage.split(";dur=") for stage in first.headers["server-timing"].split(", "))
    assert {"cache", "model", "total"} <= set(timing)
    assert float(timing["total"]) >= float(timing["model"]) > 0


def test_a_stream_is_one_object_a_delta_and_one_terminal(http):
    seen = http.stream(standin("count", tokens=5))
    assert [event["completion"] for event in seen] == [f"token{n} " for n in range(5)] + [""]
    assert [event["seq"] for event in seen] == [1, 2, 3, 4, 5, 5]
    assert {event["request_id"] for event in seen} == {seen[0]["request_id"]}
    assert {event["chat_id"] for event in seen} == {seen[0]["chat_id"]}
    for event in seen:
        for key in ("completion", "chat_id", "cached", "has_more_messages"):
            assert isinstance(event[key], str)
    assert seen[-1]["stop_reason"] == "end_turn" and seen[-1]["usage"]["output_tokens"] == 5


def test_a_stream_has_no_id_and_no_retry_lines(http):
    with http.open("POST", f"/{MODEL}", {"prompt": standin("raw", tokens=3), "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-request-id"] and response.headers["x-cache"] == "miss"
        seen = [line for line in lines(response) if line]
    assert seen and all(line.startswith("data: {") for line in seen)


def test_a_stream_sends_each_delta_when_it_comes(http):
    with http.open(
        "POST", f"/{MODEL}", {"prompt": standin(tokens=40, gap_ms=50), "stream": True}
    ) as response:
        first = json.loads(response.readline().removeprefix(b"data: "))
        status = http.answer(first["request_id"])
        assert status["status"] == "running", "the first event came before the answer was complete"
        assert len(events(response)) == 40


@pytest.mark.slow
def test_a_silent_model_is_bridged_by_a_comment(http):
    with http.open(
        "POST", f"/{MODEL}", {"prompt": standin(tokens=1, first_ms=15_500), "stream": True}
    ) as response:
        seen = [line for line in lines(response) if line]
    assert seen[0].startswith(":")
    assert json.loads(seen[-1].removeprefix("data: "))["stop_reason"] == "end_turn"


@pytest.mark.parametrize("true", [True, "true"])
def test_booleans_may_be_strings(http, true):
    prompt = standin("booleans")
    assert http.ask(prompt, invalidate_cache="false").headers["x-cache"] == "miss"
    assert http.ask(prompt, stream="false").headers["x-cache"] == "hit"
    assert http.ask(prompt, invalidate_cache=true).headers["x-cache"] != "hit"
    assert http.ask(prompt, stream=true).headers["content-type"].startswith("text/event-stream")


def test_parameters_reach_the_model(http, upstream):
    prompt = standin("parameters")
    parameters = {"temperature": 0.25, "max_tokens_to_sample": 77, "stop_sequences": "END"}
    assert http.ask(prompt, parameters=parameters, system="Be brief.").status == 200
    asked = upstream.asked(prompt)[0]["body"]
    config = asked["inferenceConfig"]
    assert (config["temperature"], config["maxTokens"], config["stopSequences"]) == (0.25, 77, ["END"])
    assert asked["system"][0] == {"text": "Be brief."}


def test_stop_sequences_may_be_a_list_and_max_tokens_has_a_short_name(http, upstream):
    prompt = standin("short names")
    http.ask(prompt, parameters={"max_tokens": 5, "stop_sequences": ["A", "B"]})
    config = upstream.asked(prompt)[0]["body"]["inferenceConfig"]
    assert (config["maxTokens"], config["stopSequences"]) == (5, ["A", "B"])


def test_the_prompt_is_never_altered(http, upstream):
    prompt = "  \t Leading, trailing,日本語 \u00e9 \u0000 <b>&amp;</b> \\n " + standin("exact") + " \n\n "
    body = http.ask(prompt).json()
    assert body["completion"] == f"[stand-in] {prompt}"


def test_a_framed_prompt_reaches_the_model_as_turns(http, upstream):
    mark = standin("framed")
    framed = f"Be kind.\n\nHuman: one\n\nAssistant: two\n\nHuman: {mark}\n\nAssistant:"
    http.ask(framed)
    asked = upstream.asked(mark)[0]["body"]
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "user"]
    assert asked["messages"][2]["content"][0]["text"] == mark
    assert asked["system"][0]["text"] == "Be kind."


def test_unknown_keys_are_ignored_and_named_and_null_is_absent(http):
    reply = http.ask(
        standin("extras"),
        parameters={"odd": 1, "temperature": None},
        chat_id=None,
        rag_prompt=None,
        more=[],
        none=None,
    )
    assert reply.status == 200
    assert sorted(reply.json()["ignored"]) == ["more", "parameters.odd"]


def test_parameters_may_be_missing_empty_or_null(http):
    for more in ({}, {"parameters": {}}, {"parameters": None}):
        assert "ignored" not in http.ask(standin("bare"), **more).json()


def test_the_content_type_is_not_looked_at(http):
    body = json.dumps({"prompt": standin("typed")}).encode()
    for kind in ("application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8", "x"):
        assert http.post(f"/{MODEL}", body, content_type=kind).status == 200


@pytest.mark.parametrize("path", ["/{}", "/prod/{}", "/{}/"])
@pytest.mark.parametrize("colon", [":", "%3A", "%3a"])
def test_a_model_id_may_be_percent_encoded_and_behind_a_stage(http, path, colon):
    reply = http.post(path.format(MODEL.replace(":", colon)), {"prompt": standin("path")})
    assert (reply.status, reply.json()["model"]) == (200, MODEL)


def test_a_streamed_hit_has_the_text_once_and_says_cached(http):
    prompt = standin("again", tokens=4)
    live, hit = http.stream(prompt), http.stream(prompt)
    assert told(hit) == told(live) == "token0 token1 token2 token3 "
    assert {event["cached"] for event in hit} == {"true"}


def test_an_embedding_model_gives_a_vector(http):
    reply = http.ask("two words", model="amazon.titan-embed-text-v2:0")
    assert reply.status == 200
    assert len(reply.json()["embedding"]) == 1024 and reply.json()["inputTextTokenCount"] == 2
