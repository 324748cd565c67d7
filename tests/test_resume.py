"""Resume: what was said is said again from any point, over WebSocket and HTTP, without a lost or a
doubled character."""

import random

import pytest
from clients import Http, Socket, events, lines, new_id, standin, told

from target import until


def whole(tokens):
    return "".join(f"token{n} " for n in range(tokens))


def take(socket, count):
    """At most `count` frames, and whether the last one ended the reply."""
    frames = []
    while len(frames) < count:
        frames.append(socket.next())
        if frames[-1]["has_more_messages"] == "false":
            return frames, True
    return frames, False


@pytest.mark.parametrize("seed", range(4))
def test_a_reply_survives_drops_at_random_points_to_the_character(target, seed):
    draw = random.Random(seed)
    tokens, given = 150, new_id()
    text, after, ended = "", 0, False
    ask = {"action": "sendmessage", "prompt": standin(tokens=tokens, gap_ms=10), "request_id": given}
    for _ in range(40):
        with Socket(target) as socket:
            socket.send(ask)
            frames, ended = take(socket, draw.randint(1, 25))
            text += told(frames)
            after = frames[-1]["seq"]
            # Some drops are rude: no closing handshake, as when a train enters a tunnel.
            if draw.random() < 0.5:
                socket.ws.socket.close()
        if ended:
            break
        ask = {"action": "resume", "request_id": given, "after": after}
    assert ended and frames[-1]["stop_reason"] == "end_turn"
    assert text == whole(tokens)


def test_a_resume_from_every_seq_gives_exactly_the_rest(target):
    given = new_id()
    with Socket(target) as socket:
        socket.reply(standin(tokens=12), request_id=given)
        for after in range(13):
            socket.send({"action": "resume", "request_id": given, "after": after})
            frames = socket.frames()
            assert told(frames) == "".join(f"token{n} " for n in range(after, 12))
            assert frames[-1]["seq"] == 12 and frames[-1]["usage"]["output_tokens"] == 12


def test_a_resume_past_the_end_is_only_the_terminal(target):
    given = new_id()
    with Socket(target) as socket:
        socket.reply(standin(tokens=3), request_id=given)
        socket.send({"action": "resume", "request_id": given, "after": 999})
        [last] = socket.frames()
        assert last["stop_reason"] == "end_turn"


@pytest.mark.parametrize("after", [-1, "many", 1.5])
def test_a_wrong_after_is_named(target, http, after):
    with Socket(target) as socket:
        socket.send({"action": "resume", "request_id": "x", "after": after})
        assert socket.next()["error"]["param"] == "after"
    reply = http.get(f"/answers/x?after={after}")
    assert (reply.status, reply.error["param"]) == (400, "after")


def test_answers_give_the_stream_objects_of_door_1_from_any_point(target, http):
    given = new_id()
    with Socket(target) as socket:
        socket.reply(standin(tokens=6), request_id=given)
    for path, first in ((f"/answers/{given}", 0), (f"/prod/answers/{given}?after=4", 4)):
        with http.open("GET", path) as response:
            seen = events(response)
        assert [event["seq"] for event in seen] == [*range(first + 1, 7), 6]
        assert told(seen) == "".join(f"token{n} " for n in range(first, 6))
        assert {event["request_id"] for event in seen} == {given}


def test_answers_follow_a_reply_that_still_runs(target, http):
    given = new_id()
    with Socket(target) as socket:
        socket.ask(standin(tokens=40, gap_ms=20), request_id=given)
        socket.next()
        running = http.answer(given)
        assert running["status"] == "running" and whole(40).startswith(running["completion"])
        with http.open("GET", f"/answers/{given}") as response:
            assert told(events(response)) == whole(40)
        assert told(socket.frames()) in whole(40)
    done = http.answer(given)
    assert (done["status"], done["completion"], done["seq"]) == ("completed", whole(40), 40)
    assert done["stop_reason"] == "end_turn" and done["chat_id"] and done["model"]


def test_a_failed_answer_is_kept_with_its_text_and_its_reason(target, http):
    given = new_id()
    with Socket(target) as socket:
        socket.reply(standin(tokens=9, fault={"kind": "cut", "after": 4}), request_id=given)
    status = http.answer(given)
    assert (status["status"], status["completion"]) == ("failed", whole(4))
    assert status["error"]["code"] == "upstream_error"


def test_an_answer_outlives_the_process(own):
    target, given = own(), new_id()
    with Socket(target) as socket:
        socket.reply(standin(tokens=30), request_id=given)
    assert target.stop() == 0
    target.start()
    assert Http(target).answer(given)["completion"] == whole(30)
    with Socket(target) as socket:
        socket.send({"action": "resume", "request_id": given, "after": 10})
        assert told(socket.frames()) == "".join(f"token{n} " for n in range(10, 30))


def test_an_answer_that_is_not_there_is_not_found(http):
    for reply in (http.get("/answers/no-such"), http.get("/answers/no-such", accept="application/json")):
        assert (reply.status, reply.error["code"]) == (404, "not_found")


def leave_socket(target, given):
    with Socket(target) as socket:
        socket.ask(standin(tokens=40, gap_ms=40), request_id=given)
        socket.next()


def leave_stream(target, given):
    body = {"prompt": standin(tokens=40, gap_ms=40), "stream": True, "request_id": given}
    with Http(target).open("POST", "/anthropic.claude-v2", body) as response:
        assert next(lines(response)).startswith("data: ")


def leave_whole(target, given):
    body = {"prompt": standin(tokens=40, gap_ms=40), "request_id": given}
    with pytest.raises(TimeoutError):
        with Http(target).open("POST", "/anthropic.claude-v2", body, timeout=0.3):
            pass


LEAVE = [leave_socket, leave_stream, leave_whole]


@pytest.mark.parametrize("leave", LEAVE)
def test_with_finish_a_client_that_vanishes_finds_its_whole_answer_later(target, http, upstream, leave):
    given = new_id()
    leave(target, given)
    until(lambda: http.answer(given)["status"] == "completed", 10, 0.05, "the end")
    assert http.answer(given)["completion"] == whole(40)


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.local("on Lambda a closed HTTP connection cannot be seen")
def test_with_stop_a_client_that_vanishes_stops_its_model(own, leave):
    target, given = own(env={"ON_DISCONNECT": "stop"}), new_id()
    leave(target, given)
    until(lambda: target.standin.seen()["dropped"], 5, what="the dropped stream")
    status = until(lambda: (s := Http(target).answer(given))["status"] != "running" and s, 5, what="the end")
    assert status["status"] == "cancelled" and whole(40).startswith(status["completion"])


def test_with_stop_a_whole_body_that_was_read_has_stopped_nothing(own):
    target = own(env={"ON_DISCONNECT": "stop"})
    with Socket(target) as socket:
        assert told(socket.reply(standin(tokens=20, gap_ms=5))) == whole(20)
    assert target.standin.seen()["dropped"] == []
