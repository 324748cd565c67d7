"""Nobody sees, stops or continues what is another's."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import MODEL, Http, Socket, new_id, standin, told

from target import until

KEYS = {"alice": "secret-a", "bob": "secret-b"}


@pytest.fixture(scope="module")
def two():
    import target as targets

    with targets.running(keys=KEYS) as target:
        yield target


@pytest.fixture
def alice(two):
    return Http(two, KEYS["alice"])


@pytest.fixture
def bob(two):
    return Http(two, KEYS["bob"])


def test_twenty_connections_at_once_never_see_each_others_text(target):
    barrier = threading.Barrier(20)

    def talk(n):
        with Socket(target) as socket:
            barrier.wait(20)
            for turn in range(3):
                prompt = standin(f"words of {n} only, turn {turn} " + f"w{n} " * 50)
                frames = socket.reply(prompt)
                assert told(frames) == f"[stand-in] {prompt}"
            return frames[-1]["chat_id"]

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(talk, range(20)))) == 20


def test_twenty_requests_over_every_http_door_never_mix(http):
    def ask(n):
        prompt = standin(f"number {n} " * 20)
        wanted = f"[stand-in] {prompt}"
        if n % 3 == 0:
            return http.ask(prompt).json()["completion"] == wanted
        if n % 3 == 1:
            return told(http.stream(prompt)) == wanted
        return http.post("/", {"modelParams": {"prompt": prompt}}).text == wanted

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(ask, range(20)))


def test_interleaved_replies_of_one_connection_keep_to_their_ids(target):
    with Socket(target) as socket:
        prompts = {new_id(): standin(f"reply {n} " * 10, gap_ms=10) for n in range(4)}
        for given, prompt in prompts.items():
            socket.ask(prompt, request_id=given)
        frames = []
        while sum(frame["has_more_messages"] == "false" for frame in frames) < 4:
            frames.append(socket.next())
    for given, prompt in prompts.items():
        assert told(frame for frame in frames if frame["request_id"] == given) == f"[stand-in] {prompt}"


def test_anothers_answer_is_not_there(two, alice, bob):
    given = new_id()
    alice.ask(standin("mine"), request_id=given)
    assert alice.answer(given)["status"] == "completed"
    for reply in (bob.get(f"/answers/{given}"), bob.get(f"/answers/{given}", accept="application/json")):
        assert (reply.status, reply.error["code"]) == (404, "not_found")
    with Socket(two, KEYS["bob"]) as socket:
        socket.send({"action": "resume", "request_id": given})
        assert socket.next()["error"]["code"] == "not_found"


def test_anothers_running_answer_cannot_be_seen_or_cancelled(two, alice, bob):
    given = new_id()
    with Socket(two, KEYS["alice"]) as socket:
        socket.ask(standin(tokens=50, gap_ms=40), request_id=given)
        socket.next()
        assert bob.get(f"/answers/{given}").status == 404
        assert bob.delete(f"/answers/{given}").status == 404
        with Socket(two, KEYS["bob"]) as other:
            other.send({"action": "cancel", "request_id": given})
            assert other.next()["error"]["code"] == "not_found"
        assert socket.frames()[-1]["stop_reason"] == "end_turn"


def test_the_same_request_id_of_two_callers_is_two_replies(alice, bob):
    given, mine, theirs = new_id(), standin("alice's"), standin("bob's")
    assert alice.ask(mine, request_id=given).json()["completion"].endswith(mine)
    assert bob.ask(theirs, request_id=given).json()["completion"].endswith(theirs)
    assert alice.answer(given)["completion"].endswith(mine)


def test_anothers_conversation_is_not_there_and_its_id_starts_fresh(two, alice, bob):
    chat = alice.ask(standin("private")).json()["chat_id"]
    assert bob.get(f"/chats/{chat}").status == bob.delete(f"/chats/{chat}").status == 404
    assert chat not in [one["chat_id"] for one in bob.get("/chats").json()["chats"]]
    prompt = standin("what did alice say?")
    assert bob.ask(prompt, chat_id=chat).status == 200
    assert len(two.standin.asked(prompt)[0]["body"]["messages"]) == 1
    assert len(alice.get(f"/chats/{chat}").json()["messages"]) == 2
    assert len(bob.get(f"/chats/{chat}").json()["messages"]) == 2


def test_a_chatbots_user_id_is_no_identity(two):
    user = "same-user-id"
    with Socket(two, KEYS["alice"]) as socket:
        socket.chatbot(standin("alice's secret"), user_id=user)
    prompt = standin("bob asks")
    with Socket(two, KEYS["bob"]) as socket:
        socket.chatbot(prompt, user_id=user)
        socket.chatbot("clearMemory", user_id=user)
    assert len(two.standin.asked(prompt)[0]["body"]["messages"]) == 1
    again = standin("alice asks again")
    with Socket(two, KEYS["alice"]) as socket:
        socket.chatbot(again, user_id=user)
    assert len(two.standin.asked(again)[0]["body"]["messages"]) == 3, "bob cleared nothing of hers"


def test_anothers_job_is_not_there_and_cannot_be_cancelled(alice, bob):
    job = alice.post("/invokeModel", {"prompt": standin(tokens=40, gap_ms=30)}).headers["location"]
    assert bob.get(job).status == bob.delete(job).status == 404
    until(lambda: alice.get(job).json()["status"] == "completed", 20, 0.05, "the job")
    assert bob.get(job).status == 404
    assert bob.get(job.replace("jobs", "answers")).status == 404


def test_an_idempotency_key_of_another_is_no_conflict(alice, bob):
    key = new_id()
    one = alice.post("/invokeModel", {"prompt": standin("a")}, idempotency_key=key)
    two = bob.post("/invokeModel", {"prompt": standin("b")}, idempotency_key=key)
    assert one.status == two.status == 200 and one.headers["location"] != two.headers["location"]


def test_one_caller_who_asks_the_same_at_once_pays_alone(two, alice, bob):
    prompt = standin(tokens=10, gap_ms=30, head_ms=100)
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: (alice, bob)[n % 2].ask(prompt), range(8)))
    assert {reply.status for reply in replies} == {200}
    assert len(two.standin.asked(prompt)) == 2, "one call a caller: flights are not shared across callers"


def test_a_cap_is_each_callers_own(own):
    target = own(keys=KEYS, env={"MAX_RUNNING_PER_CALLER": "1"})
    alice, bob = (Http(target, key) for key in KEYS.values())
    with alice.open(
        "POST", f"/{MODEL}", {"prompt": standin(tokens=60, gap_ms=40), "stream": True}
    ) as response:
        assert response.readline()
        assert alice.ask(standin("second")).status == 429
        assert bob.ask(standin("first")).status == 200
