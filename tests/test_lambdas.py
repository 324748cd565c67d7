"""The two Lambda binaries where they differ from the command: invocations, pushes, keys, limits. All
other files of the suite run against them too, where `LLM_GATEWAY_TARGET` is `lambda`."""

import contextlib
import json
import time
import urllib.request

import pytest
from clients import MODEL, Http, Socket, events, new_id, standin, told
from websockets.exceptions import InvalidStatus

from functions import Functions
from target import until

pytestmark = pytest.mark.functions("the functions themselves")

CHAT = {"action": "sendmessage"}


@pytest.fixture
def make():
    """Starts functions of this test's own."""
    with contextlib.ExitStack() as stack:

        def start(**options):
            functions = Functions(**options)
            stack.callback(functions.close)
            return functions.start()

        yield start


def outcomes(target, function="ws"):
    """How the function's invocations ended, those that run left out."""
    seen = target.control("/seen")["invocations"]
    return [one["outcome"] for one in seen if one["function"] == function and one["outcome"]]


def rest_of(socket):
    """Whatever else comes to a client."""
    frames = []
    with contextlib.suppress(TimeoutError):
        while True:
            frames.append(socket.next(timeout=0.5))
    return frames


def whole(tokens):
    return "".join(f"token{n} " for n in range(tokens))


def test_the_function_url_speaks_door_5(target):
    body = json.dumps({"modelParams": {"prompt": standin("hello")}}).encode()
    with urllib.request.urlopen(target.urls["function_url"] + "/", body, timeout=20) as reply:
        assert reply.headers["content-type"].startswith("text/plain") and b"hello" in reply.read()


@pytest.mark.slow
def test_a_45_second_answer_arrives_whole_and_without_a_foreign_frame(make):
    target = make()
    with Socket(target) as socket:
        begun = time.monotonic()
        frames = socket.reply(standin(tokens=90, gap_ms=500))
        assert time.monotonic() - begun > 44
        assert told(frames) == whole(90) and frames[-1]["stop_reason"] == "end_turn"
    # The environment was busy until the terminal was out, and only then frozen.
    until(lambda: outcomes(target)[-1:] == ["ok"], what="the end of the invocation")


def test_a_message_that_is_delivered_twice_is_answered_once(make):
    target, prompt, given = make(), standin("twice", tokens=3), new_id()
    target.control("/knobs", {"repeated_messages": True})
    with Socket(target) as socket:
        frames = socket.reply(prompt)
        named = socket.reply(standin("named", tokens=3), request_id=given)
        until(lambda: outcomes(target).count("ok") >= 5, what="four messages and a connect")
        assert told(frames) == told(named) == whole(3)
        with pytest.raises(TimeoutError):
            socket.next(timeout=1)
        # The client's own repetition is another matter: it gets its answer again.
        target.control("/knobs", {})
        assert len(target.standin.asked(prompt)) == 1


def test_a_request_that_a_client_repeats_attaches_although_deliveries_are_told_apart(target):
    prompt, given = standin("again", tokens=3), new_id()
    with Socket(target) as socket:
        first, second = (socket.reply(prompt, request_id=given) for _ in range(2))
    assert told(first) == told(second) == whole(3) and len(target.standin.asked(prompt)) == 1


def test_what_the_model_says_while_a_push_is_on_its_way_goes_together(make):
    target = make(env={"PUSH_INTERVAL_MS": "100"})
    target.control("/knobs", {"push_delay_ms": 20})
    with Socket(target) as socket:
        frames = socket.reply(standin(tokens=200, gap_ms=10))
    assert told(frames) == whole(200) and len(frames) <= 50


def test_every_open_client_gets_one_true_terminal_or_its_connection_is_gone(make):
    """Bedrock is cut, every tenth push is refused, one fails, one connection is gone, and one reply is
    still speaking when the function's time is over."""
    target = make(emulator=["--timeout-s", "9"])
    asked = {
        "cut": standin("cut", tokens=60, gap_ms=30, fault={"kind": "cut", "after": 40}),
        "whole": standin("whole", tokens=80, gap_ms=30),
        "late": standin("late", tokens=2000, gap_ms=30),
        "gone": standin("gone", tokens=40, gap_ms=40),
    }
    with contextlib.ExitStack() as stack:
        sockets = {name: stack.enter_context(Socket(target)) for name in asked}
        seen = {name: [] for name in asked}
        target.control("/knobs", {"throttled": {"every": 10}, "unavailable": {"at": [7]}})
        for name, socket in sockets.items():
            socket.ask(asked[name])
        seen["gone"].append(sockets["gone"].next())
        clients = target.control("/seen")["connections"]
        knobs = {"gone": [clients[-1]["id"]], "throttled": {"every": 10}, "unavailable": {"at": [7]}}
        target.control("/knobs", knobs)
        for name in ("cut", "whole", "late"):
            seen[name] = sockets[name].frames()
        assert seen["cut"][-1]["error"]["code"] == "upstream_error" and told(seen["cut"]) == whole(40)
        assert told(seen["whole"]) == whole(80)
        assert seen["late"][-1]["error"]["code"] == "deadline_exceeded"
        said = told(seen["late"])
        assert len(said) > 500 and whole(2000).startswith(said)
        lost = Http(target).answer
        until(lambda: lost(seen["gone"][0]["request_id"])["status"] == "completed", 20, what="its end")
        assert lost(seen["gone"][0]["request_id"])["completion"] == whole(40)
        assert lost(seen["late"][0]["request_id"])["completion"] == said
        for name in ("cut", "whole", "late"):
            assert not rest_of(sockets[name]), "nothing comes after a terminal"
        assert all(frame["has_more_messages"] == "true" for frame in seen["gone"] + rest_of(sockets["gone"]))
    for prompt in asked.values():
        assert len(target.standin.asked(prompt)) == 1, "nothing is asked of the model twice"
    assert set(outcomes(target)) == {"ok"}


def test_a_streamed_rest_reply_ends_with_its_text_when_the_functions_time_is_over(make):
    target = make(emulator=["--timeout-s", "6"])
    seen = Http(target).stream(standin(tokens=2000, gap_ms=30))
    assert seen[-1]["error"]["code"] == "deadline_exceeded" and whole(2000).startswith(told(seen))
    reply = Http(target).ask(standin(tokens=2000, gap_ms=30))
    assert (reply.status, reply.headers["x-should-retry"]) == (504, "false")
    assert whole(2000).startswith(reply.json()["completion"]) and len(reply.json()["completion"]) > 100


def test_door_3_ends_with_an_error_where_a_frame_may_be_lost(make):
    target = make()
    target.control("/knobs", {"ambiguous": {"at": [2]}})
    with Socket(target) as socket:
        prompt = standin(tokens=40, gap_ms=20)
        socket.send({"action": "invokeModel", "prompt": f"\n\nHuman: {prompt}\n\nAssistant:", "parameters": {}})
        texts = socket.texts()
        assert texts[-1].startswith("Error: ") and whole(40).startswith("".join(texts[:-1]))
        with pytest.raises(TimeoutError):
            socket.raw(timeout=1)
        target.control("/knobs", {"ambiguous": {"at": [2]}})
        frames = socket.reply(standin(tokens=40, gap_ms=20))
        numbers = [frame["seq"] for frame in frames[:-1]]
        assert len(set(numbers)) == len(numbers) - 1, "the same frame again, by its number"


def test_without_authentication_an_id_opens_and_nothing_is_listed(make):
    target = make(signer=None)
    http, prompt = Http(target), standin("blue")
    first = http.ask(prompt).json()
    again = http.ask(standin("and"), chat_id=first["chat_id"]).json()
    assert again["chat_id"] == first["chat_id"]
    assert len(http.get(f"/chats/{first['chat_id']}").json()["messages"]) == 4
    assert http.answer(first["request_id"])["completion"] == first["completion"]
    assert (http.get("/chats").status, http.get("/chats").error["code"]) == (403, "forbidden")
    # Identical questions of strangers are not one question, and what a client chose opens nothing.
    assert http.ask(prompt).json()["cached"] == "false" and len(target.standin.asked(prompt)) == 2
    mine = [http.ask(standin("mine"), chat_id="mine", request_id="same").json() for _ in range(2)]
    assert mine[0]["chat_id"] != mine[1]["chat_id"] and mine[0]["request_id"] != mine[1]["request_id"]
    assert mine[0]["ignored"] == ["request_id"]
    with Socket(target) as one, Socket(target) as two:
        chat = one.reply(standin("here"), chat_id="c")[-1]["chat_id"]
        assert chat == "c"
        two.send({"action": "chat", "chat_id": "c"})
        assert two.next()["error"]["code"] == "not_found"
        one.send({"action": "chats"})
        assert one.next()["error"]["code"] == "forbidden"


def test_a_bearer_key_passes_by_way_of_the_authorizer(make):
    target = make(keys={"alice": "secret-1"})
    assert Http(target).ask("hello").status == 401
    assert Http(target, "secret-1").ask(standin()).status == 200
    assert Http(target).post(f"/{MODEL}", {"prompt": standin()}, authorization="Bearer secret-1").status == 200
    assert Http(target).post(f"/{MODEL}", {"prompt": "q"}, authorization="Bearer wrong").status == 403
    # API Gateway keeps the policy and asks it about whatever the same key calls next.
    assert Http(target, "secret-1").get("/chats").status == 200
    with Socket(target, "secret-1") as socket:
        assert told(socket.reply(standin(tokens=2))) == whole(2)
        socket.send({"action": "chats"})
        assert len(socket.next()["chats"]) == 3, "the same caller by HTTP and by WebSocket"


def test_a_store_that_is_down_keeps_no_websocket_client_waiting(make):
    target = make()
    with Socket(target) as socket:
        target.tables.stop()
        socket.send("__ping__")
        assert socket.raw() == '"__pong__"'
        assert told(socket.reply(standin(tokens=3))) == whole(3)


def test_a_reply_at_the_callers_cap_is_found_again_by_its_id(make):
    target, given, prompt = make(env={"MAX_RUNNING_PER_CALLER": "1"}), new_id(), standin(tokens=40, gap_ms=50)
    with Socket(target) as one, Socket(target) as two:
        one.ask(prompt, request_id=given)
        one.next()
        assert told(two.reply(prompt, request_id=given)) == whole(40), "the same request needs no second place"
        assert told(one.frames()) != "" and len(target.standin.asked(prompt)) == 1
        assert told(two.reply(standin(tokens=2))) == whole(2), "and every place is free again"


def test_a_page_of_an_allowed_origin_may_read_and_another_may_not(make):
    target, page = make(env={"ALLOWED_ORIGINS": "https://chat.example"}), "https://chat.example"
    for stream in (False, True):
        reply = Http(target).post(f"/{MODEL}", {"prompt": standin("page"), "stream": stream}, origin=page)
        assert reply.status == 200 and reply.headers["access-control-allow-origin"] == page
        assert reply.headers["vary"] == "origin"
        other = Http(target).post(f"/{MODEL}", {"prompt": "", "stream": stream}, origin="https://evil.example")
        assert other.headers["access-control-allow-origin"] is None
    asked = {"origin": page, "access-control-request-method": "POST"}
    preflight = Http(target).send("OPTIONS", f"/{MODEL}", headers=asked)
    assert preflight.status == 204 and "x-api-key" in preflight.headers["access-control-allow-headers"]
    with Socket(target, origin=page) as socket:
        assert told(socket.reply(standin(tokens=2))) == whole(2)
    with pytest.raises(InvalidStatus) as refused, Socket(target, origin="https://evil.example"):
        pass
    assert refused.value.response.status_code == 403


def test_an_environment_is_frozen_between_invocations_and_goes_on_after_it(target):
    Http(target).ask(standin("one"))
    time.sleep(0.3)
    with Http(target).open("POST", f"/{MODEL}", {"prompt": standin(tokens=5, gap_ms=100), "stream": True}) as two:
        assert told(events(two)) == whole(5)
    steps = [step["what"] for step in target.control("/seen")["environments"] if step["function"] == "rest"]
    assert "frozen" in steps and "continued" in steps
