"""`llm-gateway index` when OpenSearch or the model is busy, away, refuses, or holds something else."""

import json
import time

import pytest
from clients import new_id
from indexing import LOCAL, OnOpenSearch
from searching import Proxy, cut, half, refuses, says, stalls

from opensearch import opensearch
from target import Standin

pytestmark = pytest.mark.local("the command")

TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-english-v3"


@pytest.fixture
def proxied(tmp_path):
    """An index behind a proxy."""
    proxy = Proxy(opensearch())
    index = OnOpenSearch(tmp_path)
    index.env["OPENSEARCH_DOMAIN_ENDPOINT"] = proxy.url
    index.proxy = proxy
    yield index
    proxy.stop()


@pytest.fixture
def bedrock():
    """The stand-in for Bedrock, behind a proxy."""
    standin = Standin()
    proxy = Proxy(standin)
    proxy.standin = standin
    yield proxy
    proxy.stop()
    standin.stop()


def rows(index, count):
    index.write("rows.jsonl", [{"text": f"Row {n} says something."} for n in range(count)])


def first(times, fault, where="_bulk"):
    """The fault for so many requests."""
    left = [times]

    def rule(asked):
        if where not in asked.path or not left[0]:
            return None
        left[0] -= 1
        return fault

    return rule


def every_item(status):
    """A bulk reply in which every item has this status."""

    def answer(handler, asked):
        count = sum(line.startswith(b'{"index"') for line in asked.body.splitlines())
        item = {"index": {"status": status, "error": {"type": "es_rejected_execution_exception", "reason": "full"}}}
        says(200, {"errors": True, "items": [item] * count})(handler, asked)

    return answer


@pytest.mark.parametrize(
    "fault",
    [refuses(429, "es_rejected_execution_exception", "full"), refuses(503, "x", "no master"), every_item(429), every_item(409), every_item(500), cut, half],
    ids=["429", "503", "every item 429", "every item 409", "every item 500", "cut off", "half a reply"],
)
def test_what_passes_is_tried_again_and_nothing_is_lost_or_twice(proxied, fault):
    rows(proxied, 1200)
    proxied.proxy.rule = first(3, fault)
    assert proxied.counts() == (1200, 0, 0, 0)
    assert len(proxied.passages()) == 1200
    assert all(len(asked.body) < 10_000_000 for asked in proxied.proxy.asked)


def test_an_item_that_fails_whatever_is_done_is_named_and_the_others_are_written(proxied):
    rows(proxied, 2)

    def one_fails(handler, asked):
        count = sum(line.startswith(b'{"index"') for line in asked.body.splitlines())
        bad = {"index": {"status": 500, "error": {"type": "x", "reason": "shard failed"}}}
        says(200, {"errors": True, "items": [bad] + [{"index": {"status": 201}}] * (count - 1)})(handler, asked)

    proxied.proxy.rule = first(10_000, one_fails)
    done = proxied("docs", "--patience", "2", limit=60)
    assert done.code == 1 and (done.summary["added"], done.summary["left_out"]) == (1, 1), done.err
    assert "OpenSearch refused it: 500: shard failed" in done.err


@pytest.mark.parametrize("fault", [refuses(503, "x", "y"), every_item(429), stalls, cut], ids=["503", "items", "stalls", "cut"])
def test_what_does_not_pass_ends_the_run_within_its_patience(proxied, fault):
    rows(proxied, 100)
    proxied.proxy.rule = first(10_000, fault)
    begun = time.monotonic()
    done = proxied("docs", "--patience", "3", limit=60)
    assert done.code == 1 and "OpenSearch" in done.err and "the same command goes on from there" in done.err
    assert time.monotonic() - begun < 40
    proxied.proxy.rule = lambda asked: None
    assert proxied.counts() == (100, 0, 0, 0)


@pytest.mark.parametrize(
    "fault, says_",
    [
        (says(401, b"Unauthorized"), "OPENSEARCH_PASSWORD"),
        (refuses(403, "security_exception", "no permissions"), "fine-grained access control"),
        (says(200, b"<html>"), "does not answer as OpenSearch does"),
        (refuses(503, "x", "y"), "too much to do"),
        (cut, "cannot be reached"),
    ],
    ids=["401", "403", "a page", "503", "cut"],
)
def test_a_server_that_cannot_be_used_is_told_before_anything_is_embedded(proxied, bedrock, fault, says_):
    proxied.env |= {"EMBEDDINGS_MODEL": TITAN, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock.url}
    rows(proxied, 3)
    proxied.proxy.rule = first(10_000, fault, "/")
    done = proxied("docs", "--patience", "3", limit=60)
    assert done.code == 1 and says_ in done.err, done.err
    assert bedrock.asked == []


def test_items_that_are_refused_are_named_and_the_others_are_written(tmp_path):
    index = OnOpenSearch(tmp_path)
    index.write("a.jsonl", [{"text": "First.", "metadata": {"number": 1}}])
    assert index.counts() == (1, 0, 0, 0)
    index.write("b.jsonl", [{"text": f"Row {n}.", "metadata": {"number": n if n % 2 else "many"}} for n in range(10)])
    done = index()
    assert done.code == 1 and (done.summary["added"], done.summary["left_out"]) == (5, 5), done.err
    assert "docs/b.jsonl, line 1: OpenSearch refused it: 400" in done.err
    assert len(index.passages()) == 6


def test_passages_that_the_server_refuses_leave_those_they_replace(tmp_path):
    index = OnOpenSearch(tmp_path)
    index.write("a.jsonl", [{"text": "First.", "metadata": {"number": 1}}])
    index.write("b.jsonl", [{"text": "Second."}])
    assert index.counts() == (2, 0, 0, 0)
    index.write("a.jsonl", [{"text": "First, rewritten.", "metadata": {"number": "one"}}])
    index.write("b.jsonl", [{"text": "Second, rewritten."}])
    assert index.counts(code=1) == (1, 0, 0, 1)
    assert {row["text"] for row in index.passages().values()} == {"First.", "Second, rewritten."}
    index.write("a.jsonl", [{"text": "First, rewritten.", "metadata": {"number": 1}}])
    assert index.counts() == (1, 0, 1, 1)


def without_knn(body):
    """Such an index takes no method for its vectors."""
    body["settings"]["index"]["knn"] = False
    del body["mappings"]["properties"]["vector_field"]["method"]


@pytest.mark.parametrize(
    "change, says_",
    [
        (lambda body: body["mappings"]["properties"]["vector_field"].update(dimension=9), "vectors of 9 numbers"),
        (lambda body: body["mappings"]["properties"].update(vector_field={"type": "float"}), "one of type float"),
        (lambda body: body["mappings"]["properties"].update(text={"type": "keyword"}), "is no text"),
        (without_knn, "index.knn"),
        (lambda body: body["mappings"].update(_meta={"llm_gateway": {"embeddings_model": TITAN}}), f"vectors of {TITAN}"),
    ],
    ids=["dimension", "no vectors", "no text", "knn off", "another model"],
)
def test_an_index_that_is_there_and_does_not_fit_is_refused_by_what_is_wrong(tmp_path, change, says_):
    index = OnOpenSearch(tmp_path)
    method = {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"}
    vectors = {"type": "knn_vector", "dimension": 256, "method": method}
    body = {
        "settings": {"index": {"knn": True, "number_of_replicas": 0}},
        "mappings": {"properties": {"text": {"type": "text"}, "vector_field": vectors}},
    }
    change(body)
    index.server.ask("PUT", f"/{index.name}", body)
    index.write("a.md", "Text.\n")
    for args in [("docs",), ("docs", "--dry-run")]:
        done = index(*args)
        assert done.code == 1 and says_ in done.err, done.err
    assert index.server.documents(index.name) == {}


def test_an_index_of_others_gets_the_fields_it_lacks_and_keeps_its_documents(tmp_path):
    index = OnOpenSearch(tmp_path)
    index.server.create(256, index.name)
    foreign = {"text": "Theirs.", "vector_field": [1.0] * 256, "metadata": {"source": "docs/a.md"}}
    index.server.put(index.name, {"theirs": foreign})
    index.write("a.md", "Ours.\n")
    done = index("docs", "--prune")
    assert done.code == 0 and "Nothing says which model" in done.err
    assert index.counts("docs", "--prune") == (0, 0, 1, 0)
    assert len(index.server.documents(index.name)) == 2


def test_serverless_gets_no_ids_and_no_refresh_and_is_not_written_twice(proxied):
    proxied.server.create(256, proxied.name)
    proxied.env |= {"OPENSEARCH_AUTH": "iam", "OPENSEARCH_SERVICE": "aoss"}
    proxied.write("guide.md", "# Guide\n\nIntro.\n\n## Doors\n\nLocked.\n")

    def refreshed():
        proxied.server.ask("POST", f"/{proxied.name}/_refresh")

    assert proxied.counts() == (2, 0, 0, 0)
    refreshed()
    proxied.write("guide.md", "\n# Guide\n\nIntro.\n\n## Doors\n\nOpen.\n")
    assert proxied.counts() == (2, 0, 0, 2)
    refreshed()
    assert proxied.counts() == (0, 0, 2, 0)
    stored = proxied.server.documents(proxied.name)
    assert len(stored) == 2 and all(key != one["metadata"]["passage_id"] for key, one in stored.items())
    assert not any("_refresh" in asked.path or "/_doc/" in asked.path for asked in proxied.proxy.asked)
    assert all("aoss" in asked.headers["authorization"] for asked in proxied.proxy.asked)
    added = [line for asked in proxied.proxy.asked for line in asked.body.splitlines() if line.startswith(b'{"index"')]
    assert set(added) == {b'{"index":{}}'}


def test_serverless_keeps_no_metadata_that_is_gone(proxied):
    proxied.server.create(256, proxied.name)
    proxied.env |= {"OPENSEARCH_AUTH": "iam", "OPENSEARCH_SERVICE": "aoss"}
    for metadata in [{"team": "a", "lang": "en"}, {"lang": "en"}]:
        proxied.write("rows.jsonl", [{"text": "A row.", "metadata": metadata}])
        assert proxied().code == 0
        proxied.server.ask("POST", f"/{proxied.name}/_refresh")
    (stored,) = proxied.server.documents(proxied.name).values()
    assert stored["metadata"]["lang"] == "en" and "team" not in stored["metadata"]
    assert proxied.counts() == (0, 0, 1, 0)


@pytest.mark.parametrize("model, texts", [(TITAN, 1), (COHERE, 96)])
def test_models_of_bedrock_get_as_many_texts_as_they_take_and_patience(tmp_path, bedrock, model, texts):
    index = OnOpenSearch(tmp_path, EMBEDDINGS_MODEL=model, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=bedrock.url)
    rows(index, 200)
    throttled = says(429, {"message": "slow down"}, x_amzn_errortype="ThrottlingException")
    bedrock.rule = first(3, throttled, "/invoke")
    done = index()
    assert done.code == 0 and done.summary["added"] == 200, done.err
    assert done.summary["tokens"] > 0 and done.summary["cost_usd"] > 0
    bodies = [json.loads(asked.body) for asked in bedrock.asked]
    sizes = [len(body.get("texts", [None])) for body in bodies]
    assert max(sizes) == texts and sum(sizes) == 200 + sum(sizes[:3])
    assert texts == 1 or all(body["input_type"] == "search_document" for body in bodies)
    asked = len(bedrock.asked)
    assert index.counts() == (0, 0, 200, 0) and len(bedrock.asked) == asked, "nothing is embedded again"


def test_a_text_that_the_model_refuses_is_named_and_costs_no_other_its_place(tmp_path, bedrock):
    index = OnOpenSearch(tmp_path, EMBEDDINGS_MODEL=COHERE, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=bedrock.url)
    index.write("rows.jsonl", [{"text": "refuse me" if n == 7 else f"Row {n}."} for n in range(20)])
    refusal = says(400, {"message": "Too many input tokens."}, x_amzn_errortype="ValidationException")
    bedrock.rule = lambda asked: refusal if b"refuse me" in asked.body else None
    done = index()
    assert done.code == 1 and done.summary["added"] == 19 and len(index.passages()) == 19
    assert "docs/rows.jsonl, line 8: Bedrock refused the request: Too many input tokens." in done.err


def test_texts_that_the_model_refuses_leave_those_they_replace(tmp_path, bedrock):
    index = OnOpenSearch(tmp_path, EMBEDDINGS_MODEL=COHERE, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=bedrock.url)
    index.write("guide.md", "# Guide\n\nIntro.\n\n## Doors\n\nThe green door.\n")
    index.write("other.md", "# Other\n\nOld.\n")
    assert index.counts() == (3, 0, 0, 0)
    before = index.passages()
    index.write("guide.md", "# Handbook\n\nIntro.\n\n## Exits\n\nThe green door.\n")
    refusal = says(400, {"message": "Malformed input request."}, x_amzn_errortype="ValidationException")
    bedrock.rule = lambda asked: refusal
    done = index()
    assert done.code == 1 and (done.summary["removed"], done.summary["left_out"]) == (0, 2), done.err
    assert "docs/guide.md keeps its old passages" in done.err and index.passages() == before
    index.write("rows.jsonl", [{"text": f"Row {n}."} for n in range(40)])
    done = index()
    assert done.code == 1 and "refused the first 16 texts" in done.err and index.passages() == before
    bedrock.rule = lambda asked: None
    assert index.counts() == (42, 0, 1, 2)


def test_a_model_that_may_not_be_used_is_told_at_once(tmp_path, bedrock):
    index = OnOpenSearch(tmp_path, EMBEDDINGS_MODEL=TITAN, AWS_ENDPOINT_URL_BEDROCK_RUNTIME=bedrock.url)
    rows(index, 5)
    bedrock.rule = lambda asked: says(403, {"message": "no access"}, x_amzn_errortype="AccessDeniedException")
    done = index(limit=20)
    assert done.code == 1 and "not allowed to use this model" in done.err


def test_a_server_that_is_not_there_is_named(tmp_path):
    index = OnOpenSearch(tmp_path, OPENSEARCH_DOMAIN_ENDPOINT="http://127.0.0.1:9", EMBEDDINGS_MODEL=LOCAL)
    index.name = f"index-{new_id()}"
    rows(index, 1)
    done = index(limit=30)
    assert done.code == 1 and "OPENSEARCH_DOMAIN_ENDPOINT" in done.err
