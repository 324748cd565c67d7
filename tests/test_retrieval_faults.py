"""Search that is away, slow or wrong: the answer comes without it, says so, and is never late."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from certificates import certificate
from clients import Http, Socket, standin, told
from searching import DOCUMENTS, bomb, cut, half, refuses, says, searching, stalls, trickles

from opensearch import Node
from target import until

QUESTION = "What does the blue whale eat?"
# Within it an answer has to be there, whatever search does, on a busy machine too; the limit of search itself is far
# below.
PATIENCE = 30
LIMIT_MS = "700"
FAULTS = {
    "it is not there": cut,
    "it stalls": stalls,
    "its answer trickles": trickles,
    "its answer breaks off": half,
    "its answer is a gzip bomb": bomb,
    "429": refuses(429, "es_rejected_execution_exception", "rejected execution of search"),
    "503": refuses(503, "cluster_block_exception", "no master"),
    "401": says(401, b"Unauthorized"),
    "403": refuses(403, "security_exception", "no permissions for [indices:data/read/search]"),
    "404": refuses(404, "index_not_found_exception", "no such index"),
    "a page for people": says(200, b"<html><title>Log in</title></html>", content_type="text/html"),
    "another address": says(302, location="http://169.254.169.254/latest"),
    "not the JSON of a search": says(200, {"took": "long", "hits": 7}),
    "a lie about gzip": says(200, b'{"hits":{"hits":[]}}', content_encoding="gzip"),
}


@pytest.fixture(scope="module")
def shared_searching():
    with searching(DOCUMENTS, proxied=True, env={"RETRIEVAL_TIMEOUT_MS": LIMIT_MS}) as target:
        warm(target)
        yield target


def warm(target):
    """Asks until search is used: its first searches may take a server longer than the limit here."""
    until(lambda: Http(target).ask(standin(QUESTION)).json()["sources"], 20, 0.1, "search")


@pytest.fixture
def faulty(shared_searching):
    """A gateway that has found passages before; a test sets what its search answers from now on."""
    yield shared_searching
    shared_searching.proxy.rule = lambda asked: None


def without_search(target, prompt, reply, begun):
    """Is this a whole answer that says that it had no passages, and in time?"""
    assert time.monotonic() - begun < PATIENCE
    assert reply["retrieval"] == "unavailable" and not reply.get("sources"), reply
    asked = target.standin.asked(prompt)
    assert [seen["body"]["messages"][-1]["content"][0]["text"] for seen in asked] == [prompt]


@pytest.mark.parametrize("fault", FAULTS)
def test_every_door_answers_without_search_and_says_so(faulty, fault):
    http, prompts = Http(faulty), [standin(QUESTION, tokens=3) for _ in range(4)]
    faulty.proxy.rule = lambda asked: FAULTS[fault]
    begun = time.monotonic()
    without_search(faulty, prompts[0], http.ask(prompts[0]).json(), begun)
    begun = time.monotonic()
    seen = http.stream(prompts[1])
    assert told(seen) == "token0 token1 token2 "
    without_search(faulty, prompts[1], seen[-1], begun)
    begun = time.monotonic()
    with Socket(faulty) as socket:
        seen = socket.reply(prompts[2])
    assert told(seen) == "token0 token1 token2 "
    without_search(faulty, prompts[2], seen[-1], begun)
    begun = time.monotonic()
    without_search(faulty, prompts[3], http.job(prompts[3]), begun)


@pytest.mark.parametrize("fault", ["it is not there", "it stalls", "503"])
def test_search_is_used_again_once_it_is_back_and_what_was_said_without_it_is_not_learned(faulty, fault):
    http, prompt = Http(faulty), standin(QUESTION)
    faulty.proxy.rule = lambda asked: FAULTS[fault]
    assert http.ask(prompt).json()["retrieval"] == "unavailable"
    faulty.proxy.rule = lambda asked: None
    back = until(lambda: (reply := http.ask(prompt).json())["sources"] and reply, 20, 0.1, "search")
    assert "retrieval" not in back and back["cached"] == "false"


def test_an_answer_that_is_known_does_not_wait_for_a_search_that_stalls(faulty):
    http, prompt = Http(faulty), standin(QUESTION)
    http.ask(prompt)
    faulty.proxy.rule = lambda asked: stalls if asked.searches else None
    begun = time.monotonic()
    reply = http.ask(prompt)
    assert time.monotonic() - begun < PATIENCE
    assert reply.status == 200 and reply.json()["completion"]


def test_many_questions_at_once_wait_no_longer_than_one(faulty):
    faulty.proxy.rule = lambda asked: stalls
    prompts = [standin(QUESTION) for _ in range(8)]
    begun = time.monotonic()
    with ThreadPoolExecutor(len(prompts)) as pool:
        replies = list(pool.map(Http(faulty).ask, prompts))
    for prompt, reply in zip(prompts, replies):
        without_search(faulty, prompt, reply.json(), begun)


TROUBLES = {
    "slow": {"head_ms": 30_000},
    "throttled": {"error": {"name": "ThrottlingException", "status": 429, "message": "slow down"}},
    "refused": {"error": {"name": "AccessDeniedException", "status": 403, "message": "no access"}},
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_question_that_cannot_be_embedded_is_searched_by_its_words(patient, trouble):
    prompt, begun = standin(QUESTION, embedding=TROUBLES[trouble]), time.monotonic()
    reply = Http(patient).ask(prompt).json()
    assert time.monotonic() - begun < PATIENCE
    assert reply["sources"][0]["location"] == "whales.md" and "retrieval" not in reply


@pytest.mark.parametrize("trouble", TROUBLES)
def test_where_only_meaning_counts_it_is_answered_without_search(by_meaning, trouble):
    prompt, begun = standin(QUESTION, embedding=TROUBLES[trouble]), time.monotonic()
    without_search(by_meaning, prompt, Http(by_meaning).ask(prompt).json(), begun)


@pytest.fixture(scope="module")
def patient():
    """A gateway whose limit leaves time for a search after half of it."""
    with searching(DOCUMENTS, env={"RETRIEVAL_TIMEOUT_MS": "6000"}) as target:
        yield target


@pytest.fixture(scope="module")
def by_meaning():
    """A gateway that searches by vectors alone."""
    with searching(DOCUMENTS, env={"RETRIEVAL_TIMEOUT_MS": LIMIT_MS, "RETRIEVAL_MODE": "vector"}) as target:
        yield target


def test_vectors_of_another_length_than_the_indexs_are_no_search(faulty_index):
    prompt, begun = standin(QUESTION), time.monotonic()
    faulty_index.collection.server.ask("DELETE", f"/{faulty_index.collection.index}")
    faulty_index.collection.server.create(8, faulty_index.collection.index)
    without_search(faulty_index, prompt, Http(faulty_index).ask(prompt).json(), begun)


def test_an_index_that_is_removed_is_no_search(faulty_index):
    prompt, begun = standin(QUESTION), time.monotonic()
    faulty_index.collection.server.ask("DELETE", f"/{faulty_index.collection.index}")
    without_search(faulty_index, prompt, Http(faulty_index).ask(prompt).json(), begun)


@pytest.fixture
def faulty_index():
    """A gateway whose index a test may spoil."""
    with searching(DOCUMENTS) as target:
        warm(target)
        yield target


def test_a_server_that_stalls_and_then_is_killed_delays_no_answer():
    node = Node()
    try:
        with searching(DOCUMENTS, server=node, env={"RETRIEVAL_TIMEOUT_MS": LIMIT_MS}) as target:
            http = Http(target)
            warm(target)
            node.stall()
            prompt, begun = standin(QUESTION), time.monotonic()
            without_search(target, prompt, http.ask(prompt).json(), begun)
            node.resume()
            warm(target)
            node.kill()
            prompt, begun = standin(QUESTION), time.monotonic()
            without_search(target, prompt, http.ask(prompt).json(), begun)
    finally:
        node.close()


def test_a_certificate_that_is_not_trusted_gives_no_passages_and_gets_no_query(tmp_path):
    trusted, other = certificate(tmp_path / "trusted", "127.0.0.1"), certificate(tmp_path / "other", "127.0.0.1")
    with searching(DOCUMENTS, tls=trusted, env={"AWS_CA_BUNDLE": str(other.file)}) as target:
        prompt, begun = standin(QUESTION), time.monotonic()
        without_search(target, prompt, Http(target).ask(prompt).json(), begun)
        assert not target.proxy.asked
    with searching(DOCUMENTS, tls=trusted, env={"AWS_CA_BUNDLE": str(trusted.file)}) as target:
        warm(target)
        assert any(asked.searches for asked in target.proxy.asked)


def test_a_certificate_for_another_name_is_not_trusted(tmp_path):
    other = certificate(tmp_path, "search.example.com")
    with searching(DOCUMENTS, tls=other, env={"AWS_CA_BUNDLE": str(other.file)}) as target:
        prompt, begun = standin(QUESTION), time.monotonic()
        without_search(target, prompt, Http(target).ask(prompt).json(), begun)
        assert not target.proxy.asked
