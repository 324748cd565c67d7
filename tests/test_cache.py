"""The answer cache: learned, curated, invalidated, scoped, shared in flight, and what it never holds."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import MODEL, Http, Socket, new_id, standin, told

CURATED = [
    {"pk": "What is curated?", "answer": "This is.", "category": "kept"},
    {"pk": "n1Who am I?", "answer": "You are in n1."},
    {"id": "nodeOld rows?", "responses": json.dumps({"completion": "Old rows work."})},
    {"pk": "Long?", "answer": "x" * 70_000},
]


@pytest.fixture(scope="module")
def curated():
    import target as targets

    with targets.running(answers=json.dumps(CURATED)) as target:
        yield target


def test_a_learned_answer_costs_no_model_call_and_says_so(http, upstream):
    prompt = standin("learn")
    first, second = http.ask(prompt), http.ask(prompt)
    assert (first.headers["x-cache"], first.json()["cached"]) == ("miss", "false")
    assert (second.headers["x-cache"], second.json()["cached"]) == ("hit", "true")
    assert second.json()["completion"] == first.json()["completion"]
    assert second.json()["usage"]["output_tokens"] == 0
    assert len(upstream.asked(prompt)) == 1


def test_all_doors_share_what_was_learned(target, http, upstream):
    prompt = standin("doors", tokens=4)
    whole = http.ask(prompt).json()["completion"]
    with Socket(target) as socket:
        assert told(socket.reply(prompt)) == whole
        socket.send({"action": "invokeModel", "prompt": prompt})
        assert "".join(socket.texts()) == whole
        assert socket.chatbot(prompt, user_id=new_id())[-1]["msg"] == whole
    assert http.post("/", {"modelParams": {"prompt": prompt}}).text == whole
    assert len(upstream.asked(prompt)) == 1


def test_a_learned_answer_outlives_the_process(own):
    target, prompt = own(), standin("restart")
    Http(target).ask(prompt)
    target.stop()
    assert Http(target.start()).ask(prompt).headers["x-cache"] == "hit"


def test_invalidate_skips_the_read_and_overwrites(http, upstream):
    prompt = standin("fresh")
    http.ask(prompt)
    again = http.ask(prompt, invalidate_cache=True)
    assert again.headers["x-cache"] != "hit" and again.json()["cached"] == "false"
    assert http.ask(prompt).headers["x-cache"] == "hit"
    assert len(upstream.asked(prompt)) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"system": "Be brief."},
        {"parameters": {"temperature": 0.9}},
        {"parameters": {"max_tokens": 77}},
        {"parameters": {"stop_sequences": ["x"]}},
        {"parameters": {"node_id": "n"}},
        {"rag_prompt": "something else"},
        {"model": "amazon.nova-lite-v1:0"},
    ],
    ids=lambda other: "+".join(other),
)
def test_what_changes_the_answer_is_part_of_the_key(http, upstream, other):
    prompt = standin("key")
    http.ask(prompt)
    assert http.ask(prompt, **other).headers["x-cache"] == "miss"
    assert len(upstream.asked(prompt)) == 2


def test_a_prompt_that_differs_by_one_space_is_another_question(http):
    prompt = standin("space")
    http.ask(prompt)
    assert http.ask(prompt + " ").headers["x-cache"] == "miss"


@pytest.mark.parametrize(
    "knobs",
    [
        {"tokens": 3, "stop_reason": "max_tokens"},
        {"tokens": 3, "stop_reason": "content_filtered"},
        {"tokens": 3, "stop_reason": "guardrail_intervened"},
        {"tokens": 9, "fault": {"kind": "cut", "after": 3}},
        {"tokens": 9, "fault": {"kind": "end", "after": 3}},
    ],
    ids=lambda knobs: knobs.get("stop_reason") or knobs["fault"]["kind"],
)
def test_an_incomplete_answer_is_never_learned(http, upstream, knobs):
    prompt = standin("partial", **knobs)
    http.ask(prompt)
    assert http.ask(prompt).headers["x-cache"] != "hit"
    assert len(upstream.asked(prompt)) == 2


def test_an_answer_that_a_stop_sequence_ended_is_learned(http):
    prompt = standin("stop", stop_reason="stop_sequence", tokens=3)
    assert http.ask(prompt).json()["stop_reason"] == "stop_sequence"
    assert http.ask(prompt).headers["x-cache"] == "hit"


def test_a_cancelled_answer_is_never_learned(target, http, upstream):
    prompt, given = standin(tokens=60, gap_ms=15), new_id()
    with Socket(target) as socket:
        socket.ask(prompt, request_id=given, model=MODEL)
        socket.next()
        http.delete(f"/answers/{given}")
        assert socket.frames()[-1]["error"]["code"] == "cancelled"
    assert http.ask(prompt).headers["x-cache"] == "miss"
    assert len(upstream.asked(prompt)) == 2


def test_a_question_in_a_conversation_is_asked_again(http, upstream):
    prompt = standin("turn")
    chat = http.ask(prompt).json()["chat_id"]
    again = http.ask(prompt, chat_id=chat)
    assert again.headers["x-cache"] != "hit"
    assert len(upstream.asked(prompt)) == 2


def test_twenty_identical_questions_at_once_make_one_model_call(http, upstream):
    prompt = standin(tokens=20, gap_ms=20, head_ms=100)
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda _: http.ask(prompt), range(20)))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.json()["completion"] for reply in replies}) == 1
    assert len({reply.json()["request_id"] for reply in replies}) == 20
    assert len(upstream.asked(prompt)) == 1
    paid = [reply.json()["usage"]["output_tokens"] for reply in replies]
    assert sum(paid) == 20, "the one call is paid for once"


def test_callers_learn_apart_by_default(own):
    target, prompt = own(keys={"alice": "a", "bob": "b"}), standin("scope")
    for key in "ab":
        assert Http(target, key).ask(prompt).headers["x-cache"] == "miss"
    assert len(target.standin.asked(prompt)) == 2
    assert Http(target, "a").ask(prompt).headers["x-cache"] == "hit"


def test_callers_learn_together_where_the_scope_is_shared(own):
    target, prompt = own(keys={"alice": "a", "bob": "b"}, env={"CACHE_SCOPE": "shared"}), standin("scope")
    seen = [Http(target, key).ask(prompt).headers["x-cache"] for key in "ab"]
    assert seen == ["miss", "hit"] and len(target.standin.asked(prompt)) == 1


def test_a_cache_that_is_switched_off_says_so(own):
    target, prompt = own(env={"ANSWER_CACHE": "off"}), standin("off")
    assert {Http(target).ask(prompt).headers["x-cache"] for _ in range(2)} <= {"off", "bypass"}
    assert len(target.standin.asked(prompt)) == 2


def test_a_gateway_without_a_store_answers_and_says_off(own):
    target, prompt = own(store=False), standin("no store")
    reply = Http(target).ask(prompt)
    assert (reply.status, reply.headers["x-cache"]) == (200, "off")
    assert Http(target).post("/invokeModel", {"prompt": "q"}).status == 503
    assert Http(target).get("/chats").status == 503


@pytest.mark.parametrize(
    "prompt",
    ["What is curated?", "  what IS\n\tcurated?  ", "WHAT IS CURATED?"],
)
def test_a_curated_answer_matches_exactly_or_folded(curated, prompt):
    reply = Http(curated).ask(prompt)
    assert (reply.json()["completion"], reply.headers["x-cache"]) == ("This is.", "hit")
    assert curated.standin.seen()["calls"] == 0


def test_a_curated_answer_may_belong_to_a_node(curated):
    http = Http(curated)
    assert http.ask("Who am I?", parameters={"node_id": "n1"}).json()["completion"] == "You are in n1."
    assert http.ask("Old rows?", parameters={"node_id": "node"}).json()["completion"] == "Old rows work."


def test_a_question_with_a_system_instruction_is_none_of_the_curated_ones(own):
    target = own(answers=json.dumps(CURATED))
    reply = Http(target).ask("What is curated?", system="Be brief.")
    assert reply.headers["x-cache"] == "miss"


def test_invalidate_skips_a_curated_answer_too(own):
    target = own(answers=json.dumps(CURATED))
    assert Http(target).ask("What is curated?", invalidate_cache=True).json()["completion"] != "This is."


def test_curated_answers_answer_every_caller_and_every_door(own):
    target = own(answers="\n".join(json.dumps(row) for row in CURATED), keys={"alice": "a", "bob": "b"})
    for key in "ab":
        with Socket(target, key) as socket:
            [frame] = socket.reply("What is curated?")
            assert (frame["completion"], frame["cached"]) == ("This is.", "true")
            frames = socket.reply("Long?")
            assert len(frames) > 2 and told(frames) == "x" * 70_000
    assert target.standin.seen()["calls"] == 0
