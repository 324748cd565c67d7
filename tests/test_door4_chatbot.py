"""Door 4: the chatbot over WebSocket's `$default` route: cumulative frames that replace each other."""

import pytest
from clients import MODEL, Http, Socket, new_id, standin

from target import until


@pytest.fixture
def socket(target):
    with Socket(target) as socket:
        yield socket


def test_frames_are_cumulative_and_the_last_has_the_full_text(socket):
    frames = socket.chatbot(standin(tokens=20, gap_ms=20))
    whole = "".join(f"token{n} " for n in range(20))
    assert len(frames) > 2
    for earlier, later in zip(frames, frames[1:]):
        assert later["msg"].startswith(earlier["msg"])
    assert frames[-1]["msg"] == whole
    assert frames[-1]["status"] == "completed"
    assert {frame["status"] for frame in frames[:-1]} == {"proceeding"}


def test_bytes_sent_stay_linear_in_the_text(socket):
    socket.chatbot("warm up")
    text = "0123456789 " * 2000
    frames = socket.chatbot(standin(text=text, gap_ms=0, first_ms=1))
    assert frames[-1]["msg"] == text
    assert sum(len(frame["msg"]) for frame in frames) < 15 * len(text)


def test_a_ping_is_answered_by_a_pong_with_quotes(socket):
    socket.send("__ping__")
    assert socket.raw() == '"__pong__"'


def test_a_pong_goes_ahead_of_what_is_queued(target):
    with Socket(target) as socket:
        socket.chatbot("clearMemory")
        socket.send({"request_id": "r", "user_id": new_id(), "body": standin(tokens=400, gap_ms=5)})
        first = socket.next()
        assert first["status"] == "proceeding"
        socket.send("__ping__")
        before_pong = 0
        while socket.raw(5) != '"__pong__"':
            before_pong += 1
        assert before_pong < 20


def test_an_error_keeps_the_text_so_far_and_adds_the_message(socket):
    [frame] = socket.chatbot("x", type="document")
    assert frame["status"] == "error" and "ploads are not offered" in frame["msg"]
    frames = socket.chatbot(standin(tokens=9, fault={"kind": "cut", "after": 3}))
    assert frames[-1]["status"] == "error"
    assert frames[-1]["msg"].startswith("token0 token1 token2 \n")


def test_a_wrong_field_is_an_error_under_its_request_id(socket):
    [frame] = socket.chatbot(7, request_id="mine")
    assert (frame["request_id"], frame["status"], frame["error"]["param"]) == ("mine", "error", "body")


def test_an_answer_over_32_kb_ends_with_what_fits_and_the_whole_is_kept(target, socket):
    text = "日本語 " * 6_000
    given = new_id()
    frames = socket.chatbot(standin(text=text), request_id=given, user_id=new_id())
    last = frames[-1]
    assert last["status"] == "error" and f"/answers/{given}" in last["msg"]
    kept = last["msg"].split("\n[")[0]
    assert text.startswith(kept) and len(kept.encode()) > 20_000
    assert len(last["msg"].encode()) <= 32 * 1024
    assert Http(target).answer(given)["completion"] == text


@pytest.mark.parametrize(
    "kind, word",
    [
        ("translation", "Translate"),
        ("grammar", "grammar"),
        ("sentiment", "sentiment"),
        ("extraction", "Extract"),
        ("pii", "identifiable"),
        ("step-by-step", "step by step"),
        ("timestamp-extraction", "date and time"),
    ],
)
def test_a_conversation_type_picks_an_instruction(socket, upstream, kind, word):
    prompt = standin(kind)
    socket.chatbot(prompt, convType=kind, user_id=new_id())
    assert word in upstream.asked(prompt)[0]["body"]["system"][0]["text"]


@pytest.mark.parametrize("kind", ["normal", "qa", None, "unknown"])
def test_other_conversation_types_pick_none(socket, upstream, kind):
    prompt = standin("plain")
    socket.chatbot(prompt, convType=kind, user_id=new_id())
    assert "system" not in upstream.asked(prompt)[0]["body"]


def test_the_conversation_survives_a_reconnect(target, upstream):
    user, first, second = new_id(), standin("first"), standin("second")
    with Socket(target) as socket:
        socket.chatbot(first, user_id=user)
    with Socket(target) as socket:
        socket.chatbot(second, user_id=user)
    messages = upstream.asked(second)[0]["body"]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[0]["content"][0]["text"] == first


def test_clear_memory_forgets_the_conversation(socket, upstream):
    user = new_id()
    socket.chatbot(standin("first"), user_id=user)
    [frame] = socket.chatbot("clearMemory", user_id=user)
    assert frame["status"] == "completed"
    second = standin("second")
    socket.chatbot(second, user_id=user)
    assert len(upstream.asked(second)[0]["body"]["messages"]) == 1


def test_each_user_id_labels_a_conversation_of_its_own(socket, upstream):
    socket.chatbot(standin("first"), user_id=new_id())
    second = standin("second")
    socket.chatbot(second, user_id=new_id())
    assert len(upstream.asked(second)[0]["body"]["messages"]) == 1


def test_list_models_lists_the_allowed_models(socket):
    [frame] = socket.chatbot("list models")
    assert frame["status"] == "completed" and MODEL in frame["msg"]


@pytest.mark.parametrize("mode", ["enableReference", "disableReference", "enableRag", "disableRag"])
def test_the_old_mode_commands_are_acknowledged(socket, upstream, mode):
    [frame] = socket.chatbot(mode)
    assert frame["status"] == "completed" and mode in frame["msg"]


@pytest.mark.parametrize(
    "text", ["hello", "[1]", "7", "{}", '{"body":"x"}', '{"request_id":"x"}', "__pong__", ""]
)
def test_a_text_of_no_known_shape_is_told_what_was_expected(socket, text):
    socket.send(text)
    error = socket.next()["error"]
    assert error["code"] == "invalid_request"
    assert "action" in error["message"] or "object" in error["message"]


def test_a_quick_second_question_waits_for_nothing_and_gets_its_own_id(socket):
    ids = [new_id(), new_id()]
    for given in ids:
        socket.send({"request_id": given, "user_id": given, "body": standin(tokens=10, gap_ms=20)})
    last = {}
    until(
        lambda: last.update({(frame := socket.next())["request_id"]: frame}) or done(last, ids), what="both"
    )
    assert all(last[given]["msg"].endswith("token9 ") for given in ids)


def done(last, ids):
    return all(last.get(given, {}).get("status") == "completed" for given in ids)
