"""How much of what is relevant retrieval finds: by words, by vectors and by both, on a laptop and on OpenSearch,
through the command that loads the passages and the door that answers from them.

The table is kept in docs/recall.md; `UPDATE_RECALL=1 pytest tests/test_recall.py` writes it anew.
"""

import contextlib
import hashlib
import json
import os
import re
import subprocess

import pytest
from clients import MODEL, Http, new_id
from labelled import FOLDER, KINDS, PASSAGES, VECTORS, passages, questions, recall
from opensearch import opensearch

from target import GATEWAY, ROOT, Standin, Target

pytestmark = pytest.mark.local("what is found does not depend on who serves the doors")

TABLE = ROOT / "docs" / "recall.md"
MODES = ("text", "vector", "hybrid")
COLUMNS = (*KINDS, "all")
# Two questions of 83: graphs of vectors are searched roughly, and equal scores may stand in either order.
TOLERANCE = 2.5


class Side:
    """A place that is searched, and the vectors that it is searched by: the laptop's hashed ones, or, where
    `meaning`, those that a real model has made, through the Bedrock stand-in."""

    def __init__(self, name, *, remote, meaning):
        self.name, self.remote, self.meaning = name, remote, meaning

    @contextlib.contextmanager
    def loaded(self):
        """Loads the collection as a user does. Gives what starts a gateway that searches it in one of the modes."""
        standin = Standin("--vectors", str(VECTORS)) if self.meaning else None
        with contextlib.ExitStack() as stack:
            if standin:
                stack.callback(standin.stop)
            index = f"recall-{new_id()}"
            env = {"OPENSEARCH_DOMAIN_ENDPOINT": opensearch().url, "OPENSEARCH_INDEX": index} if self.remote else {}
            if self.meaning:
                env["EMBEDDINGS_MODEL"] = "amazon.titan-embed-text-v2:0"
            elif self.remote:
                env["EMBEDDINGS_MODEL"] = "local.hashed-embedding-256"
            model = "bedrock" if self.meaning else "extractive"
            home = stack.enter_context(self.target(standin, model, env))
            data = [] if self.remote else ["--data", str(home.home / "data")]
            load = [GATEWAY, "index", str(PASSAGES), *data]
            done = subprocess.run(load, env=home.environment(), capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            yield lambda mode: self.serving(home, mode)
            if self.remote:
                opensearch().ask("DELETE", f"/{index}")

    @contextlib.contextmanager
    def target(self, standin, model, env):
        target = Target(standin, model=model, documents="own", store=False, env=env)
        try:
            yield target
        finally:
            target.close()

    @contextlib.contextmanager
    def serving(self, home, mode):
        home.env["RETRIEVAL_MODE"] = mode
        home.start()
        yield lambda question: found(home, question, MODEL if self.meaning else "local.extractive")
        home.stop()


def found(target, question, model):
    """The ids of the sources of an answer: a source's location ends with its passage's id."""
    body = Http(target).ask(question, model=model).json()
    assert "retrieval" not in body, body
    return [source["location"].split("#")[1] for source in body["sources"]]


SIDES = [
    Side("laptop, hashed vectors", remote=False, meaning=False),
    Side("laptop, a model's vectors", remote=False, meaning=True),
    Side("OpenSearch, hashed vectors", remote=True, meaning=False),
    Side("OpenSearch, a model's vectors", remote=True, meaning=True),
]


def row(side, mode, measured):
    return f"| {side} | {mode} | " + " | ".join(f"{measured[column]:.1f}" for column in COLUMNS) + " |"


def kept(side, mode):
    """The row of the table in the documents: its line and its numbers."""
    [line] = [line for line in TABLE.read_text().splitlines() if line.startswith(f"| {side} | {mode} |")]
    return line, dict(zip(COLUMNS, map(float, re.findall(r"\d+\.\d", line)), strict=True))


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_as_much_is_found_as_the_documents_say_and_by_both_no_less_than_by_the_better_half(side):
    measured = {}
    with side.loaded() as serving:
        for mode in MODES:
            with serving(mode) as search:
                measured[mode] = recall(search)
    for mode, seen in measured.items():
        line, said = kept(side.name, mode)
        if os.environ.get("UPDATE_RECALL"):
            TABLE.write_text(TABLE.read_text().replace(line, row(side.name, mode, seen)))
        else:
            for column in COLUMNS:
                assert abs(seen[column] - said[column]) <= TOLERANCE, (mode, column, seen, said)
    assert measured["hybrid"]["all"] >= max(measured["text"]["all"], measured["vector"]["all"]), measured


def test_the_collection_is_large_enough_and_names_what_is_there():
    ids = [passage["id"] for passage in passages()]
    assert len(ids) == len(set(ids)) >= 200
    assert len({passage["text"] for passage in passages()}) == len(ids)
    assert len({asked["question"] for asked in questions()}) == len(questions()) >= 60
    for kind in KINDS:
        assert sum(asked["kind"] == kind for asked in questions()) >= 20, kind
    for asked in questions():
        assert 1 <= len(asked["relevant"]) <= 3 and set(asked["relevant"]) <= set(ids), asked
    for passage in passages():
        assert passage["source"].endswith(f"#{passage['id']}"), passage


def test_a_question_of_meaning_shares_no_word_with_what_answers_it():
    by_id = {passage["id"]: passage for passage in passages()}
    for asked in questions():
        for name in asked["relevant"]:
            shared = words(asked["question"]) & words(by_id[name]["title"] + " " + by_id[name]["text"])
            assert (asked["kind"] != "meaning") or not shared, (asked, shared)
            assert (asked["kind"] != "words") or shared, asked


def words(text):
    """The stems of a text's content words, roughly: what is shorter than four letters or stands in most
    texts says nothing, except where it has a digit."""
    common = {"what", "when", "which", "that", "this", "with", "from", "after", "have", "does", "into", "they", "them"}
    seen = {word for word in re.findall(r"[^\W_]+", text.lower()) if word not in common}
    return {word[:6] for word in seen if len(word) > 3 or any(c.isdigit() for c in word)}


def test_every_text_has_its_vector():
    """A text without one would be hashed by the stand-in and its meaning be lost without a word."""
    known = json.loads(VECTORS.read_text())["vectors"]
    texts = [f"{passage['title']}\n{passage['text']}" for passage in passages()]
    for text in texts + [asked["question"] for asked in questions()]:
        digest = hashlib.sha256(text.encode()).hexdigest()
        assert digest in known, f"{text!r} has changed: run {FOLDER / 'embed.py'} as it says"
