"""Conversations: kept over restarts, listed, deleted, trimmed to the model's window."""

import pytest
from clients import Http, Socket, new_id, standin


def texts(seen):
    return [message["content"][0]["text"] for message in seen["body"]["messages"]]


def test_a_conversation_goes_on_with_its_turns_in_order(http, upstream):
    one, two, three = (standin(word, tokens=2) for word in ("one", "two", "three"))
    chat = http.ask(one).json()["chat_id"]
    assert http.ask(two, chat_id=chat).json()["chat_id"] == chat
    http.ask(three, chat_id=chat)
    [asked] = upstream.asked(three)
    said = "token0 token1 "
    assert texts(asked) == [one, said, two, said, three]
    assert [message["role"] for message in asked["body"]["messages"]] == ["user", "assistant"] * 2 + ["user"]


def test_a_chat_id_of_the_clients_choice_works_and_stays_through_the_reply(target, upstream):
    chat = f"my chat/{new_id()}"
    with Socket(target) as socket:
        frames = socket.reply(standin(tokens=5, gap_ms=15), chat_id=chat)
    assert {frame["chat_id"] for frame in frames} == {chat}


def test_conversations_cross_doors(target, http, upstream):
    one, two, three = standin("rest"), standin("socket"), standin("job")
    chat = http.ask(one).json()["chat_id"]
    with Socket(target) as socket:
        socket.reply(two, chat_id=chat)
        socket.send({"action": "invokeModel", "prompt": three, "chat_id": chat})
        socket.texts()
    assert texts(upstream.asked(three)[0])[::2] == [one, two, three]


def test_a_conversation_survives_restarts(own):
    target = own()
    one, two, three = standin("one"), standin("two"), standin("three")
    chat = Http(target).ask(one).json()["chat_id"]
    target.stop()
    Http(target.start()).ask(two, chat_id=chat)
    target.kill()
    Http(target.start()).ask(three, chat_id=chat)
    assert texts(target.standin.asked(three)[0])[::2] == [one, two, three]


def test_a_chatbot_conversation_survives_restarts(own):
    target, user = own(), new_id()
    one, two = standin("one"), standin("two")
    with Socket(target) as socket:
        socket.chatbot(one, user_id=user)
    target.kill()
    target.start()
    with Socket(target) as socket:
        socket.chatbot(two, user_id=user)
    assert texts(target.standin.asked(two)[0])[::2] == [one, two]


def test_chats_are_listed_newest_first_read_and_deleted(own):
    http = Http(own())
    assert http.get("/chats").json() == {"chats": []}
    prompts = [standin(f"number {n}") for n in range(3)]
    ids = [http.ask(prompt).json()["chat_id"] for prompt in prompts]
    http.ask(standin("more"), chat_id=ids[0])
    listed = http.get("/chats").json()["chats"]
    assert [chat["chat_id"] for chat in listed] == [ids[0], ids[2], ids[1]]
    assert [chat["turns"] for chat in listed] == [2, 1, 1]
    assert listed[2]["title"] and listed[2]["created_at"] <= listed[2]["updated_at"]
    read = http.get(f"/chats/{ids[1]}").json()
    assert [message["text"] for message in read["messages"]] == [prompts[1], f"[stand-in] {prompts[1]}"]
    assert http.delete(f"/prod/chats/{ids[1]}").json() == {"chat_id": ids[1], "deleted": True}
    assert http.get(f"/chats/{ids[1]}").status == http.delete(f"/chats/{ids[1]}").status == 404
    assert [chat["chat_id"] for chat in http.get("/chats").json()["chats"]] == [ids[0], ids[2]]


def test_a_deleted_conversation_starts_fresh(http, upstream):
    chat, second = http.ask(standin("gone")).json()["chat_id"], standin("fresh")
    http.delete(f"/chats/{chat}")
    http.ask(second, chat_id=chat)
    assert texts(upstream.asked(second)[0]) == [second]


@pytest.mark.parametrize("fault", [{"kind": "cut", "after": 2}, {"kind": "end", "after": 2}])
def test_a_failed_answer_is_no_turn(http, upstream, fault):
    chat, failed, second = (
        http.ask(standin("one")).json()["chat_id"],
        standin(tokens=9, fault=fault),
        standin("two"),
    )
    assert http.ask(failed, chat_id=chat).status == 502
    http.ask(second, chat_id=chat)
    assert not any(failed in text for text in texts(upstream.asked(second)[0]))


def test_an_answer_from_the_cache_is_a_turn_too(http, upstream):
    first, second = standin("cached"), standin("after")
    http.ask(first)
    chat = (hit := http.ask(first)).json()["chat_id"]
    assert hit.headers["x-cache"] == "hit"
    http.ask(second, chat_id=chat)
    assert texts(upstream.asked(second)[0])[0] == first


def test_old_turns_go_whole_and_oldest_first_when_the_window_is_full(http, upstream):
    # The window is 200,000 tokens, 4,096 of them for the answer: four turns of 60,000 do not fit.
    prompts = [standin("word " * 48_000, tokens=1) for _ in range(5)]
    chat = new_id()
    for prompt in prompts:
        assert http.ask(prompt, chat_id=chat).status == 200
    kept = texts(upstream.asked(prompts[-1])[0])
    assert kept[-1] == prompts[-1] and len(kept) in (3, 5, 7)
    assert kept[0] in prompts[1:], "it begins with a whole question"
    assert [text for text in kept[::2]] == prompts[-len(kept[::2]) :]
    assert len(http.get(f"/chats/{chat}").json()["messages"]) == 10, "what is kept is not trimmed"


def test_two_turns_at_once_are_both_kept(http):
    from concurrent.futures import ThreadPoolExecutor

    chat = http.ask(standin("first")).json()["chat_id"]
    prompts = [standin(tokens=5, gap_ms=30) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert {
            reply.status for reply in pool.map(lambda prompt: http.ask(prompt, chat_id=chat), prompts)
        } == {200}
    said = [message["text"] for message in http.get(f"/chats/{chat}").json()["messages"]]
    assert len(said) == 10 and set(prompts) <= set(said)


def test_a_long_conversation_is_read_over_the_socket_in_frames_that_fit(target, http):
    prompt = standin("y" * 40_000, tokens=3)
    chat = http.ask(prompt).json()["chat_id"]
    with Socket(target) as socket:
        socket.send({"action": "chat", "chat_id": chat})
        pages = [socket.next()]
        while pages[-1]["has_more"]:
            pages.append(socket.next())
    said = [message for page in pages for message in page["messages"]]
    assert "".join(message["text"] for message in said if message["role"] == "user") == prompt
    assert len(pages) > 1
