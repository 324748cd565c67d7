"""What docs/retrieval.md asks to be allowed is enough, and nothing else is asked for; and it explains sentences that
are said."""

import re
import subprocess

import pytest
from clients import Http, new_id, standin
from searching import DOCUMENTS, Proxy, refuses, searching

from opensearch import opensearch
from target import GATEWAY, ROOT, Standin, Target

PAGE = (ROOT / "docs" / "retrieval.md").read_text()
ACTIONS = {"GET": "es:ESHttpGet", "POST": "es:ESHttpPost", "PUT": "es:ESHttpPut"}
LOADER = "`llm-gateway index`"
READS = {("GET", "_mapping"), ("GET", "_settings"), ("POST", "_search")}
WRITES = {("PUT", ""), ("PUT", "_mapping"), ("POST", "_bulk"), ("POST", "_refresh")}


def row(who):
    """The row of the page's table of actions."""
    return "".join(re.findall(rf"^\| {re.escape(who)} \|.*$", PAGE, re.M))


def only(index, allowed):
    """A rule that refuses everything of a domain but these requests to one index."""

    def rule(asked):
        _, name, *what = asked.path.split("?")[0].split("/")
        known = name == index and (asked.method, "/".join(what)) in allowed
        return None if known else refuses(403, "security_exception", "no permissions")

    return rule


def used(proxy):
    """Method and what of an index each request that came in was about."""
    return {(asked.method, "/".join(asked.path.split("?")[0].split("/")[2:])) for asked in proxy.asked}


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_a_gateway_needs_the_reads_that_the_page_names(mode):
    index = opensearch().create(1024)
    proxied = {"proxied": True, "rule": only(index, READS), "index": index}
    with searching(DOCUMENTS, **proxied, env={"RETRIEVAL_MODE": mode}) as target:
        reply = Http(target).ask(standin("What do whales eat?"), rag_filter={"source": list(DOCUMENTS)})
        assert reply.json()["sources"] and reply.headers["x-cache"] == "miss"
        assert used(target.proxy) == READS
    for method, what in READS:
        assert ACTIONS[method] in row("gateway") and f"/INDEX/{what}" in row("gateway")


@pytest.mark.local("the command")
def test_loading_needs_the_reads_and_writes_that_the_page_names(tmp_path):
    for name, text in DOCUMENTS.items():
        (tmp_path / name).write_text(text)
    bedrock, index = Standin(), f"loaded-{new_id()}"
    proxy = Proxy(opensearch(), only(index, READS | WRITES))
    target = Target(bedrock, env={"OPENSEARCH_DOMAIN_ENDPOINT": proxy.url, "OPENSEARCH_INDEX": index})
    try:
        for _ in range(2):
            command = [GATEWAY, "index", "--prune", str(tmp_path)]
            done = subprocess.run(command, env=target.environment(), capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            (tmp_path / "evil.md").unlink(missing_ok=True)
    finally:
        target.close()
        proxy.stop()
        bedrock.stop()
    assert len(opensearch().documents(index)) == len(DOCUMENTS) - 1
    for method, what in used(proxy) - READS:
        assert ACTIONS[method] in row("gateway") + row(LOADER), method
        assert f"/INDEX/{what}".rstrip("/") in row(LOADER), what


@pytest.mark.local("the same sources on all targets")
def test_every_sentence_that_the_page_explains_is_in_the_sources():
    sources = [path for path in ROOT.glob("lambda/*/src/**/*.rs") if "testkit" not in path.parts]
    said = "\n".join(path.read_text() for path in sources)
    # A long sentence goes on in the next line, and has quotation marks of its own.
    said = re.sub(r"\\\n\s*", "", said).replace('\\"', '"')
    table = PAGE.split("| what it says | what to do |")[1]
    sentences = re.findall(r"^\| (?:log: )?`([^`]+)` \|", table, re.M)
    assert len(sentences) > 10
    pieces = {piece.strip() for sentence in sentences for piece in re.split("…|=", sentence)}
    assert not [piece for piece in pieces if piece not in said]
