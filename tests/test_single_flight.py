"""Identical questions asked of many processes at once: each concurrent request to the functions is an
execution environment of its own, and all of them make one model call."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import Http, Socket, new_id, standin, told

from target import until

pytestmark = pytest.mark.functions("each concurrent request is a process of its own")

# The answer lasts some seconds, so that all processes are there before it ends.
SLOW = {"tokens": 60, "gap_ms": 100, "head_ms": 500}
PROCESSES = 24


def whole(tokens):
    return "".join(f"token{n} " for n in range(tokens))


def at_work(target, kind="rest"):
    """The processes that are at a request, in the order in which they got it."""
    seen = target.control("/seen")["invocations"]
    return [one["pid"] for one in seen if one["kind"] == kind and one["outcome"] is None]


@pytest.fixture
def many(own):
    """Functions of up to so many processes each; who finds none free waits."""
    return own(emulator=["--concurrency", str(PROCESSES), "--patience-ms", "60000"])


class Scene:
    """One process leads; seven others have come to follow it."""

    def __init__(self, target, pool, prompt):
        self.target, self.prompt, self.upstream = target, prompt, target.standin
        self.leading = pool.submit(self.ask)
        until(lambda: self.upstream.asked(prompt), 20, what="the model call")
        [self.leader] = at_work(target)
        self.following = [pool.submit(self.ask) for _ in range(7)]
        until(lambda: len(set(at_work(target))) == 8, 30, what="eight processes")

    def ask(self):
        return Http(self.target).ask(self.prompt)

    def kill(self):
        os.kill(self.leader, signal.SIGKILL)

    def followers(self):
        return [reply.result(60) for reply in self.following]


@pytest.fixture
def pool():
    with ThreadPoolExecutor(200) as pool:
        yield pool


def test_two_hundred_identical_questions_over_many_processes_make_one_model_call(many, pool):
    prompt = standin(**SLOW)
    replies = list(pool.map(lambda _: Http(many).ask(prompt), range(200)))
    assert {reply.status for reply in replies} == {200}
    bodies = [reply.json() for reply in replies]
    assert {body["completion"] for body in bodies} == {whole(60)}
    assert len({body["request_id"] for body in bodies}) == 200
    assert len({body["chat_id"] for body in bodies}) == 200
    assert len(many.standin.asked(prompt)) == 1
    assert sum(body["usage"]["output_tokens"] for body in bodies) == 60, "paid for once"
    assert sum(reply.headers["x-cache"] == "miss" for reply in replies) == 1
    assert len(many.environments("started")) >= 8


def test_over_websocket_and_http_who_follows_hears_the_answer_as_it_comes(many):
    prompt = standin(tokens=60, gap_ms=60)
    with Socket(many) as socket:
        socket.ask(prompt)
        first = socket.next()
        seen = Http(many).stream(prompt)
        frames = [first, *socket.frames()]
    assert told(seen) == told(frames) == whole(60) and len(seen) > 4
    assert len(many.standin.asked(prompt)) == 1


def test_a_leader_that_is_killed_before_it_spoke_is_replaced(many, pool):
    scene = Scene(many, pool, standin(tokens=20, head_ms=9000))
    # They are known to the leader.
    time.sleep(2)
    scene.kill()
    replies = scene.followers()
    assert {reply.status for reply in replies} == {200}
    assert {reply.json()["completion"] for reply in replies} == {whole(20)}
    assert len(scene.upstream.asked(scene.prompt)) == 2
    assert scene.leading.result(60).status >= 500


def test_a_leader_that_is_killed_in_mid_answer_is_no_success_for_anyone(many, pool):
    scene = Scene(many, pool, standin(tokens=400, gap_ms=50))
    time.sleep(4)
    scene.kill()
    for reply in scene.followers():
        assert (reply.status, reply.error["code"]) == (502, "upstream_error")
        assert whole(400).startswith(reply.json()["completion"]) and len(reply.json()["completion"]) > 20
    assert len(scene.upstream.asked(scene.prompt)) == 1
    again = Http(many).stream(scene.prompt)
    assert told(again) == whole(400) and len(scene.upstream.asked(scene.prompt)) == 2


def test_a_process_does_not_rest_while_it_carries_an_answer_on_for_others(many, pool):
    prompt, given = standin(tokens=60, gap_ms=80), new_id()
    leading = pool.submit(Http(many).ask, prompt, request_id=given)
    until(lambda: many.standin.asked(prompt), 20, what="the model call")
    following = [pool.submit(Http(many).ask, prompt) for _ in range(3)]
    until(lambda: len(set(at_work(many))) == 4, 30, what="four processes")
    time.sleep(1)
    Http(many).delete(f"/answers/{given}")
    assert leading.result(30).error["code"] == "cancelled"
    replies = [reply.result(60).json() for reply in following]
    assert {reply["completion"] for reply in replies} == {whole(60)}
    assert sum(reply["usage"]["output_tokens"] for reply in replies) == 60, "one of them pays"
    assert len(many.standin.asked(prompt)) == 1
    assert Http(many).ask(prompt).headers["x-cache"] == "hit", "it was learned"


def test_switched_off_each_process_asks(own, pool):
    target, prompt = own(env={"SINGLE_FLIGHT": "off"}), standin(tokens=20, gap_ms=50, head_ms=500)
    replies = list(pool.map(lambda _: Http(target).ask(prompt), range(4)))
    assert {reply.json()["completion"] for reply in replies} == {whole(20)}
    assert len(target.standin.asked(prompt)) == 4
