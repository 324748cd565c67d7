"""Door 2: `sendmessage` over WebSocket."""

import json

import pytest
from clients import MODEL, Socket, new_id, standin, told

from target import until


@pytest.fixture
def socket(target):
    with Socket(target, path="?name=Ryan") as socket:
        yield socket


def test_a_live_answer_is_deltas_and_an_empty_terminal(socket):
    prompt = standin("why?", gap_ms=20)
    frames = socket.reply(prompt)
    assert told(frames) == f"[stand-in] {prompt}"
    assert len(frames) > 2 and frames[-1]["completion"] == ""
    assert {frame["cached"] for frame in frames} == {"false"}
    assert len({frame["chat_id"] for frame in frames}) == 1 and frames[0]["chat_id"]


def test_every_frame_carries_the_request_id_and_a_growing_seq(socket):
    given = new_id()
    frames = socket.reply(standin(tokens=6, gap_ms=15), request_id=given)
    assert {frame["request_id"] for frame in frames} == {given}
    seqs = [frame["seq"] for frame in frames[:-1]]
    assert seqs == sorted(set(seqs)) and seqs[-1] == frames[-1]["seq"] == 6


def test_the_terminal_says_why_it_stopped_what_it_used_and_what_was_ignored(socket):
    last = socket.reply(standin("end", tokens=3), odd=1, parameters={"strange": 2})[-1]
    assert last["stop_reason"] == "end_turn"
    assert last["usage"]["output_tokens"] == 3
    assert sorted(last["ignored"]) == ["odd", "parameters.strange"]
    assert last["model"] == MODEL


def test_a_cached_answer_is_one_frame_with_the_whole_text(socket):
    prompt = standin("again", tokens=20)
    live = socket.reply(prompt)
    [hit] = socket.reply(prompt)
    assert (hit["completion"], hit["cached"], hit["has_more_messages"]) == (told(live), "true", "false")


def test_a_cached_answer_over_32_kb_comes_in_frames_that_fit(socket):
    prompt = standin("long", text='日本語\n"x" ' * 4000)
    live = told(socket.reply(prompt))
    socket.ask(prompt)
    frames, size = [], 0
    while not frames or frames[-1]["has_more_messages"] == "true":
        raw = socket.raw()
        size = max(size, len(raw.encode()))
        frames.append(json.loads(raw))
    assert len(frames) > 3 and size <= 32 * 1024
    assert {frame["cached"] for frame in frames} == {"true"}
    assert told(frames) == live == '日本語\n"x" ' * 4000


def test_no_live_frame_is_over_32_kb(socket):
    text = "a" * 90_000
    socket.ask(standin("one long word", text=text))
    frames, sizes = [], []
    while not frames or frames[-1]["has_more_messages"] == "true":
        raw = socket.raw()
        sizes.append(len(raw.encode()))
        frames.append(json.loads(raw))
    assert told(frames) == text and max(sizes) <= 32 * 1024


def test_an_error_is_told_in_completion_and_in_the_error_object(socket):
    [frame] = socket.reply("   ", request_id="mine")
    assert frame["error"]["code"] == "invalid_request" and frame["error"]["param"] == "prompt"
    assert frame["completion"] == f"[error invalid_request: {frame['error']['message']}]"
    assert frame["request_id"] == frame["error"]["request_id"] == "mine"


def test_an_error_after_the_first_delta_follows_the_text(socket):
    frames = socket.reply(standin(tokens=9, fault={"kind": "cut", "after": 3}))
    assert told(frames) == "token0 token1 token2 "
    assert frames[-1]["completion"].startswith("[error upstream_error: ")
    assert frames[-1]["error"]["code"] == "upstream_error"


def test_a_model_may_be_named_and_an_unknown_one_is_told_with_the_allowed_ones(socket):
    assert (
        socket.reply(standin("named"), model="amazon.nova-lite-v1:0")[-1]["model"] == "amazon.nova-lite-v1:0"
    )
    [frame] = socket.reply("q", model="no.such")
    assert frame["error"]["code"] == "model_not_found" and MODEL in frame["error"]["message"]


def test_parameters_reach_the_model(socket, upstream):
    prompt = standin("parameters")
    parameters = {"node_id": "n", "temperature": 0.0, "max_tokens_to_sample": 9, "stop_sequences": ["E"]}
    socket.reply(prompt, parameters=parameters)
    config = upstream.asked(prompt)[0]["body"]["inferenceConfig"]
    assert config == {"temperature": 0.0, "maxTokens": 9, "stopSequences": ["E"]}


def test_the_same_request_id_with_the_same_body_attaches_to_the_reply(socket, upstream):
    prompt, given = standin(tokens=20, gap_ms=25), new_id()
    socket.ask(prompt, request_id=given)
    first = socket.next()
    socket.ask(prompt, request_id=given)
    seen = [first]
    while sum(frame["has_more_messages"] == "false" for frame in seen) < 2:
        seen.append(socket.next())
    whole = "".join(f"token{n} " for n in range(20))
    # Both replies have the whole text; their frames come mixed, so sizes are compared.
    assert sum(len(frame["completion"]) for frame in seen) == 2 * len(whole)
    assert all("error" not in frame for frame in seen)
    assert len(upstream.asked(prompt)) == 1
    again = socket.reply(prompt, request_id=given)
    assert told(again) == whole and len(upstream.asked(prompt)) == 1, "also after its end"


def test_the_same_request_id_with_another_body_is_a_conflict_that_leaves_the_reply_alone(socket):
    given = new_id()
    socket.ask(standin(tokens=20, gap_ms=25), request_id=given)
    frames = [socket.next()]
    socket.ask(standin("another"), request_id=given)
    while sum(frame["has_more_messages"] == "false" for frame in frames) < 2:
        frames.append(socket.next())
    [conflict] = [frame for frame in frames if "error" in frame]
    assert conflict["error"]["code"] == "conflict"
    assert told(frames) == "".join(f"token{n} " for n in range(20))


def test_a_fifth_running_reply_is_throttled_and_the_four_go_on(socket):
    ids = [new_id() for _ in range(5)]
    for given in ids[:4]:
        socket.ask(standin(tokens=30, gap_ms=40), request_id=given)
    frames = [socket.next() for _ in range(4)]
    socket.ask(standin("one too many"), request_id=ids[4])
    while len([frame for frame in frames if frame["has_more_messages"] == "false"]) < 5:
        frames.append(socket.next())
    by_id = {given: [frame for frame in frames if frame["request_id"] == given] for given in ids}
    [refused] = by_id[ids[4]]
    assert refused["error"]["code"] == "throttled" and refused["error"]["retry_after"] >= 1
    for given in ids[:4]:
        assert by_id[given][-1]["stop_reason"] == "end_turn"
    assert socket.reply(standin("free again"))[-1]["stop_reason"] == "end_turn"


def test_an_answer_goes_to_the_connection_that_asked_and_to_no_other(target, socket, upstream):
    with Socket(target) as other:
        prompt = standin("mine")
        assert told(socket.reply(prompt)) == f"[stand-in] {prompt}"
        until(lambda: upstream.seen()["open"] == 0, what="the model's end")
        other.send("__ping__")
        assert other.raw() == '"__pong__"', "nothing came before the pong"
