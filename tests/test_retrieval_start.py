"""What the command says at its start about an OpenSearch that cannot be used; and that a function starts all the
same."""

import pytest
from clients import Http, standin
from searching import DOCUMENTS, Collection, Proxy, refuses, says, searching, stalls

import target as targets
from opensearch import opensearch
from target import Standin, Target

LOCAL = pytest.mark.local("what the command does at its start")


@pytest.fixture(scope="module")
def bedrock():
    standin = Standin()
    yield standin
    standin.stop()


def start(bedrock, **env):
    """Runs the command where it should end by itself: what it said. The environment is a map in capitals."""
    target = Target(bedrock, env=env)
    try:
        code, said = target.once()
    finally:
        target.close()
    assert code == 1 and "panicked" not in said, said
    return said


@LOCAL
def test_an_index_that_does_not_exist_is_named_with_the_command_that_makes_it(bedrock):
    said = start(bedrock, OPENSEARCH_DOMAIN_ENDPOINT=opensearch().url, OPENSEARCH_INDEX="not-there-yet")
    assert "not-there-yet" in said and "llm-gateway index" in said


@LOCAL
def test_vectors_of_another_length_are_told_with_both_lengths(bedrock):
    index = opensearch().create(8)
    said = start(bedrock, OPENSEARCH_DOMAIN_ENDPOINT=opensearch().url, OPENSEARCH_INDEX=index)
    assert index in said and "8" in said and "1024" in said and "EMBEDDINGS_MODEL" in said


@LOCAL
def test_an_index_without_the_field_of_vectors_names_the_setting(bedrock):
    index = opensearch().create(1024, fields=("text", "embedding", "metadata"))
    said = start(bedrock, OPENSEARCH_DOMAIN_ENDPOINT=opensearch().url, OPENSEARCH_INDEX=index)
    assert "vector_field" in said and "OPENSEARCH_VECTOR_FIELD" in said


@LOCAL
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_stops_the_start_with_what_to_do(bedrock, status):
    proxy = Proxy(rule=lambda asked: refuses(status, "security_exception", "no permissions for [secret words]"))
    try:
        said = start(bedrock, OPENSEARCH_DOMAIN_ENDPOINT=proxy.url)
    finally:
        proxy.stop()
    wanted = {401: "OPENSEARCH_PASSWORD", 403: "es:ESHttpPost"}[status]
    assert f"({status})" in said and wanted in said and "secret words" not in said


@LOCAL
@pytest.mark.parametrize("rule", [None, stalls, says(503)], ids=["nobody listens", "it stalls", "503"])
def test_a_search_that_is_away_is_warned_of_and_the_gateway_serves(bedrock, rule):
    proxy = Proxy(rule=lambda asked: rule)
    if not rule:
        proxy.stop()
    env = {"OPENSEARCH_DOMAIN_ENDPOINT": proxy.url, "RETRIEVAL_TIMEOUT_MS": "500"}
    try:
        with targets.running(bedrock, env=env) as target:
            assert "OpenSearch cannot be searched now" in target.log
            assert Http(target).ask(standin("Are you there?")).json()["retrieval"] == "unavailable"
    finally:
        if rule:
            proxy.stop()


@pytest.mark.functions("a function that ended at its start would be started for ever")
@pytest.mark.parametrize("index", ["not-there-yet", None], ids=["no index", "another length"])
def test_a_function_starts_and_answers_without_search(bedrock, index):
    env = {"OPENSEARCH_DOMAIN_ENDPOINT": opensearch().url, "OPENSEARCH_INDEX": index or opensearch().create(8)}
    with targets.running(bedrock, env=env) as target:
        reply = Http(target).ask(standin("Are you there?"))
        assert (reply.status, reply.json()["retrieval"]) == (200, "unavailable")


@LOCAL
def test_fields_of_other_names_are_read_and_an_alias_is_an_index(bedrock):
    server, alias = opensearch(), "an-alias-of-two"
    embeddings = Collection(bedrock, {}).embeddings
    fields = ("body", "vector", "about")
    for source, text in list(DOCUMENTS.items())[:2]:
        index = server.create(1024, fields=fields)
        row = {"body": text, "vector": embeddings.embed_query(text), "about": {"source": source}}
        server.put(index, {source: row})
        server.ask("POST", "/_aliases", {"actions": [{"add": {"index": index, "alias": alias}}]})
    names = dict(zip(("TEXT", "VECTOR", "METADATA"), fields))
    env = {f"OPENSEARCH_{name}_FIELD": field for name, field in names.items()}
    env |= {"OPENSEARCH_DOMAIN_ENDPOINT": server.url, "OPENSEARCH_INDEX": alias}
    with targets.running(bedrock, env=env) as target:
        sources = Http(target).ask(standin("What do whales eat, and what do they sing?")).json()["sources"]
    assert {source["location"] for source in sources} == set(list(DOCUMENTS)[:2])


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_each_mode_finds_what_is_asked_for(mode):
    with searching(DOCUMENTS, env={"RETRIEVAL_MODE": mode, "RETRIEVAL_K": "1"}) as target:
        [source] = Http(target).ask(standin("What does the blue whale eat?")).json()["sources"]
    assert source["location"] == "whales.md"


def test_a_filter_of_the_deployment_holds_with_that_of_the_request():
    metadata = {"whales.md": {"team": "sea"}, "song.md": {"team": "sea"}, "bread.txt": {"team": "land"}}
    env = {"RETRIEVAL_FILTER": "team=sea,team=sky"}
    with searching(DOCUMENTS, metadata=metadata, env=env) as target:
        http = Http(target)
        locations = lambda **more: {
            source["location"] for source in http.ask(standin("whale song bread"), **more).json()["sources"]
        }
        assert locations() == {"whales.md", "song.md"}
        assert locations(rag_filter={"source": ["song.md", "bread.txt"]}) == {"song.md"}
        assert locations(rag_filter={"team": "land"}) == set(), "a request cannot widen it"


def test_passages_below_the_minimum_score_are_left_out():
    with searching(DOCUMENTS, env={"RETRIEVAL_MODE": "vector", "RETRIEVAL_MIN_SCORE": "0.99"}) as target:
        body = Http(target).ask(standin("What does the blue whale eat?")).json()
        assert body["sources"] == [] and "retrieval" not in body
