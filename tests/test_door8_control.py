"""Door 8: cancel, and control over WebSocket and HTTP. Resume has a file of its own."""

import time

import pytest
from clients import Socket, new_id, standin, told

from target import until

LONG = {"tokens": 5000, "gap_ms": 20}


@pytest.fixture
def socket(target):
    with Socket(target) as socket:
        yield socket


def dropped_after(upstream, moment, model):
    """Seconds from `moment` to the first stream of `model` that was dropped after it."""

    def look():
        return [
            drop["at"] - moment
            for drop in upstream.seen()["dropped"]
            if drop["at"] > moment and model in drop["model"]
        ]

    return until(look, 5, what="a dropped stream")[0]


# Each of these tests has a model of its own, by which the stand-in tells whose stream was dropped.
@pytest.mark.parametrize(
    "way, model", [("socket", "amazon.nova-lite-v1:0"), ("http", "amazon.nova-micro-v1:0")]
)
def test_a_cancel_stops_the_model_at_once_and_ends_the_reply(
    target, http, upstream, socket, way, model
):
    given = new_id()
    socket.ask(standin(**LONG), request_id=given, model=model)
    socket.next()
    moment = time.time()
    if way == "socket":
        socket.send({"action": "cancel", "request_id": given})
    else:
        assert http.delete(f"/answers/{given}").json() == {"request_id": given, "status": "cancelled"}
    last = socket.frames(given)[-1]
    assert time.time() - moment < 1 + target.prompt
    assert dropped_after(upstream, moment, model) < target.prompt
    assert last["error"]["code"] == "cancelled" and last["completion"] == ""
    assert last["usage"]["output_tokens"] > 0, "what was said until then is paid for"
    assert http.answer(given)["status"] == "cancelled"


def test_door_3_and_door_4_end_in_their_own_way_when_they_are_cancelled(http, socket):
    given = new_id()
    socket.send({"action": "invokeModel", "prompt": standin(**LONG), "request_id": given})
    first = socket.raw()
    http.delete(f"/answers/{given}")
    rest = socket.texts()
    assert first.startswith("token0") and not any(text.startswith("Error") for text in rest)
    socket.send({"request_id": given + "4", "user_id": given, "body": standin(**LONG)})
    socket.next()
    http.delete(f"/answers/{given}4")
    while (frame := socket.next())["status"] == "proceeding":
        pass
    assert (frame["status"], frame["error"]["code"]) == ("error", "cancelled")


def test_a_whole_reply_that_is_cancelled_is_no_success(http, target):
    from concurrent.futures import ThreadPoolExecutor

    given = new_id()
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(http.ask, standin(**LONG), request_id=given)
        until(
            lambda: http.get(f"/answers/{given}", accept="application/json").status == 200, what="the start"
        )
        until(lambda: http.answer(given).get("seq"), what="the first delta")
        http.delete(f"/answers/{given}")
        reply = asking.result(10)
    assert reply.status >= 400 and reply.error["code"] == "cancelled"
    assert reply.json()["completion"].startswith("token0 ")


def test_who_shares_a_model_call_goes_on_when_another_cancels(target, upstream):
    prompt, one, two = standin(tokens=60, gap_ms=30), new_id(), new_id()
    with Socket(target) as first, Socket(target) as second:
        first.ask(prompt, request_id=one)
        first.next()
        second.ask(prompt, request_id=two)
        second.next()
        first.send({"action": "cancel", "request_id": one})
        assert first.frames()[-1]["error"]["code"] == "cancelled"
        assert second.frames()[-1]["stop_reason"] == "end_turn"
    assert len(upstream.asked(prompt)) == 1


def test_a_cancelled_connection_can_ask_again(socket):
    given = new_id()
    socket.ask(standin(**LONG), request_id=given)
    socket.next()
    socket.send({"action": "cancel", "request_id": given})
    socket.frames(given)
    assert told(socket.reply(standin(tokens=2))) == "token0 token1 "


def test_the_id_that_the_gateway_made_works_too(socket):
    socket.ask(standin(**LONG))
    given = socket.next()["request_id"]
    socket.send({"action": "cancel", "request_id": given})
    assert socket.frames(given)[-1]["error"]["code"] == "cancelled"


def test_a_cancel_before_the_first_delta_ends_the_reply_too(socket, upstream):
    given, prompt = new_id(), standin(tokens=5, head_ms=20_000)
    socket.ask(prompt, request_id=given)
    until(lambda: upstream.asked(prompt), what="the model call")
    socket.send({"action": "cancel", "request_id": given})
    [frame] = socket.frames()
    assert frame["error"]["code"] == "cancelled" and frame["completion"] == ""


@pytest.mark.parametrize("action", ["cancel", "resume"])
def test_an_unknown_id_is_not_found_in_the_format_of_control(socket, action):
    socket.send({"action": action, "request_id": "no-such"})
    frame = socket.next()
    assert (frame["action"], frame["request_id"]) == (action, "no-such")
    assert frame["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    "action, field",
    [("cancel", "request_id"), ("resume", "request_id"), ("chat", "chat_id"), ("delete_chat", "chat_id")],
)
def test_a_control_request_without_its_id_names_the_field(socket, action, field):
    socket.send({"action": action})
    frame = socket.next()
    assert frame["action"] == action
    assert (frame["error"]["code"], frame["error"]["param"]) == ("invalid_request", field)


def test_an_ended_reply_cannot_be_cancelled(http, socket):
    given = new_id()
    socket.reply(standin(tokens=2), request_id=given)
    assert (reply := http.delete(f"/answers/{given}")).status == 404 and reply.error["code"] == "not_found"
    assert http.answer(given)["status"] == "completed"


def test_an_unknown_action_is_told_with_the_known_ones(socket):
    socket.send({"action": "explode"})
    error = socket.next()["error"]
    assert error["code"] == "invalid_request" and "sendmessage" in error["message"]
    socket.send({"action": 7})
    assert socket.next()["error"]["param"] == "action"


def test_chats_are_listed_read_and_deleted_over_the_socket(socket):
    prompt = standin("over the socket")
    chat = socket.reply(prompt)[-1]["chat_id"]
    socket.send({"action": "chats"})
    listed = socket.next()
    assert listed["action"] == "chats" and chat in [one["chat_id"] for one in listed["chats"]]
    socket.send({"action": "chat", "chat_id": chat})
    said = socket.next()
    assert [(one["role"], one["text"]) for one in said["messages"]] == [
        ("user", prompt),
        ("assistant", f"[stand-in] {prompt}"),
    ]
    socket.send({"action": "delete_chat", "chat_id": chat})
    assert socket.next() == {"action": "delete_chat", "chat_id": chat, "deleted": True}
    for action in ("chat", "delete_chat"):
        socket.send({"action": action, "chat_id": chat})
        assert socket.next()["error"]["code"] == "not_found"
