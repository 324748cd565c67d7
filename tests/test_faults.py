"""What goes wrong upstream: an answer that was cut short is an error on every door, never a success."""

import time

import pytest
from clients import MODEL, Http, Socket, new_id, standin, told

from target import Standin, until

HALF = "token0 token1 token2 "
FAULTS = ["cut", "cut_inside", "end_inside", "checksum", "end", "length"]


def fault(kind, after=3):
    return standin(tokens=9, fault={"kind": kind, "after": after})


@pytest.mark.parametrize("kind", FAULTS)
def test_a_stream_that_broke_is_a_502_with_the_text_so_far(http, upstream, kind):
    prompt = fault(kind)
    reply = http.ask(prompt)
    assert (reply.status, reply.error["code"]) == (502, "upstream_error")
    assert reply.json()["completion"] == HALF
    assert reply.headers["x-should-retry"] == "false"
    assert len(upstream.asked(prompt)) == 1, "what began to answer is not asked again"


@pytest.mark.parametrize("kind", FAULTS)
def test_a_stream_that_broke_ends_every_streaming_door_with_an_error(target, http, kind):
    seen = http.stream(fault(kind))
    assert told(seen) == HALF and seen[-1]["error"]["code"] == "upstream_error"
    assert "stop_reason" not in seen[-1]
    assert "[error upstream_error: " in http.post("/", {"modelParams": {"prompt": fault(kind)}}).text
    with Socket(target) as socket:
        frames = socket.reply(fault(kind))
        assert told(frames) == HALF and frames[-1]["error"]["code"] == "upstream_error"
        socket.send({"action": "invokeModel", "prompt": fault(kind)})
        assert socket.texts()[-1].startswith("Error: ")
        assert socket.chatbot(fault(kind))[-1]["status"] == "error"


@pytest.mark.parametrize(
    "name, code",
    [
        ("throttlingException", "throttled"),
        ("internalServerException", "upstream_error"),
        ("modelStreamErrorException", "upstream_error"),
        ("serviceUnavailableException", "unavailable"),
        ("validationException", "invalid_request"),
    ],
)
def test_an_exception_inside_the_stream_keeps_its_kind(http, name, code):
    broken = {"kind": "exception", "after": 3, "name": name, "message": "said upstream"}
    seen = http.stream(standin(tokens=9, fault=broken))
    assert told(seen) == HALF and seen[-1]["error"]["code"] == code


@pytest.mark.parametrize("kind", ["cut", "end", "checksum"])
def test_before_the_first_token_it_is_tried_again_and_then_told(http, upstream, kind):
    prompt = fault(kind, after=0)
    reply = http.ask(prompt)
    assert (reply.status, reply.error["code"]) == (502, "upstream_error")
    assert "completion" not in reply.json() and reply.headers["x-should-retry"] is None
    assert len(upstream.asked(prompt)) == 3


def test_a_throttled_model_is_asked_again_before_the_first_token(http, upstream):
    prompt = standin("busy", throttle=2)
    assert http.ask(prompt).status == 200
    assert len(upstream.asked(prompt)) == 3


def test_a_model_that_stays_throttled_is_a_429_with_its_retry_after(target, http):
    refused = {"name": "ThrottlingException", "status": 429}
    reply = http.ask(standin(error=refused, retry_after=17))
    assert (reply.status, reply.error["code"], reply.headers["retry-after"]) == (429, "throttled", "17")
    assert reply.error["retry_after"] == 17
    with Socket(target) as socket:
        [frame] = socket.reply(standin(error=refused, retry_after=17))
    assert frame["error"]["retry_after"] == 17


@pytest.mark.parametrize(
    "name, status, ours, code",
    [
        ("ValidationException", 400, 400, "invalid_request"),
        ("AccessDeniedException", 403, 503, "unavailable"),
        ("ResourceNotFoundException", 404, 404, "model_not_found"),
        ("ServiceUnavailableException", 503, 503, "unavailable"),
        ("InternalServerException", 500, 502, "upstream_error"),
        ("ModelTimeoutException", 408, 502, "upstream_error"),
    ],
)
def test_a_refusal_has_its_row_of_the_table(http, name, status, ours, code):
    reply = http.ask(standin(error={"name": name, "status": status, "message": "because"}))
    assert (reply.status, reply.error["code"]) == (ours, code)


def test_a_prompt_that_the_model_finds_too_long_is_too_large(http):
    said = {"name": "ValidationException", "status": 400, "message": "Input is too long for requested model."}
    assert http.ask(standin(error=said)).status == 413


def test_a_service_that_is_away_is_a_503_and_the_gateway_recovers(own):
    upstream = Standin()
    port = upstream.url.rsplit(":", 1)[1]
    target = own(standin=upstream)
    upstream.stop()
    reply = Http(target).ask(standin("nobody there"))
    assert (reply.status, reply.error["code"]) == (503, "unavailable")
    assert Http(target).get("/health").status == 200
    upstream.process = again = Standin(port=port).process
    try:
        assert Http(target).ask(standin("back")).status == 200
    finally:
        again.kill()
        again.wait(10)


def test_a_failure_is_not_handed_to_the_next_who_asks_the_same(http, upstream):
    prompt = fault("cut")
    http.ask(prompt)
    http.ask(prompt)
    assert len(upstream.asked(prompt)) == 2


def test_an_answer_is_whole_without_its_bill(http):
    reply = http.ask(standin(tokens=3, no_metadata=True))
    assert reply.status == 200 and reply.json()["completion"] == HALF
    assert reply.json()["usage"]["estimated"] is True


def test_a_model_that_stalls_holds_up_nobody_else_and_can_be_cancelled(target, http):
    given = new_id()
    with Socket(target) as socket:
        socket.ask(fault("stall"), request_id=given)
        assert socket.next()["completion"].startswith("token0")
        begun = time.monotonic()
        assert told(socket_reply(target)) == "token0 token1 "
        assert time.monotonic() - begun < 2
        socket.send({"action": "cancel", "request_id": given})
        assert socket.frames()[-1]["error"]["code"] == "cancelled"


def socket_reply(target):
    with Socket(target) as socket:
        return socket.reply(standin(tokens=2))


@pytest.mark.slow
def test_a_model_that_falls_silent_for_a_minute_is_given_up_with_its_text_kept(own):
    target, given = own(), new_id()
    with Socket(target) as socket:
        socket.ask(fault("stall"), request_id=given)
        frames = []
        while not frames or frames[-1]["has_more_messages"] == "true":
            frames.append(socket.next(90))
    assert told(frames) == HALF and frames[-1]["error"]["code"] == "upstream_error"
    until(lambda: target.standin.seen()["dropped"], what="the dropped stream")
    assert Http(target).answer(given)["completion"] == HALF


def test_reasoning_is_no_part_of_the_text(http):
    prompt = standin(tokens=2, reasoning=[{"text": "Let me think."}, {"signature": "sig"}])
    assert http.ask(prompt, model="anthropic.claude-sonnet-4-6").json()["completion"] == "token0 token1 "
    seen = http.stream(prompt + " ", model="anthropic.claude-sonnet-4-6")
    assert told(seen) == "token0 token1 "


def test_slow_tokens_arrive_one_by_one_on_a_socket(target):
    with Socket(target) as socket:
        frames = socket.reply(standin(tokens=5, gap_ms=150), model=MODEL)
    assert len(frames) == 6
