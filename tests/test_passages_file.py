"""This machine's index, the file that `llm-gateway index` writes, as a gateway searches it."""

import base64
import json
import os
import struct
import subprocess

import pytest
from clients import Http, standin

from target import GATEWAY, Standin, Target, until

pytestmark = pytest.mark.local("a model and documents of one machine")

HASHED, TITAN = "local.hashed-embedding-256", "amazon.titan-embed-text-v2:0"
MODEL = "local.extractive"


def index(target, name, text):
    """Indexes one document into a gateway's data directory, with the command."""
    (target.home / name).write_text(text)
    command = [GATEWAY, "index", name, "--data", str(target.home / "data")]
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=env, cwd=target.home, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def write(target, passages, model=HASHED, dimensions=256):
    """The file, by hand: `passages` is a list of texts, metadata and vectors."""
    lines = [{"format": "llm-gateway passages 1", "embeddings_model": model, "dimensions": dimensions}]
    for text, metadata, vector in passages:
        packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        lines.append({"text": text, "metadata": metadata, "vector": packed})
    (target.home / "data").mkdir(exist_ok=True)
    file = target.home / "data" / "passages.jsonl"
    (new := file.with_suffix(".new")).write_text("".join(json.dumps(line) + "\n" for line in lines))
    new.rename(file)


@pytest.fixture
def made():
    """Makes targets that search their data directory and are not started yet."""
    targets = []

    def make(**options):
        targets.append(Target(documents="own", **options))
        return targets[-1]

    yield make
    for target in targets:
        target.close()


def test_what_is_indexed_while_a_gateway_runs_is_found_and_takes_the_place_of_its_own_documents(made):
    target = made(model="extractive").start()
    http = Http(target)
    assert http.ask("What does the answer cache do?", model=MODEL).json()["sources"]
    index(target, "okapi.md", "# Okapi\n\nThe okapi eats leaves and fungi.\n")
    ask = lambda: (body := http.ask("What does the okapi eat?", model=MODEL).json())["sources"] and body
    body = until(ask, 20, 0.2, "the new index")
    assert "fungi" in body["completion"] and body["sources"][0]["location"] == "okapi.md"
    assert http.ask("What does the answer cache do?", model=MODEL).json()["sources"] == []


def test_an_index_of_before_the_start_is_searched_from_the_first_question_on(made):
    target = made(model="extractive")
    index(target, "okapi.md", "# Okapi\n\nThe okapi eats leaves and fungi.\n")
    body = Http(target.start()).ask("What does the okapi eat?", model=MODEL, rag_filter={"source": "okapi.md"}).json()
    assert "fungi" in body["completion"]


def test_a_file_that_breaks_while_a_gateway_runs_changes_nothing(made):
    target = made(model="extractive")
    index(target, "okapi.md", "# Okapi\n\nThe okapi eats leaves and fungi.\n")
    http = Http(target.start())
    (target.home / "data" / "passages.jsonl").write_text("{broken")
    until(lambda: "The last index stays" in target.log, 20, 0.1, "the log's line")
    assert "fungi" in http.ask("What does the okapi eat?", model=MODEL).json()["completion"]


@pytest.mark.parametrize(
    ("passages", "model", "words"),
    [
        ([("a", {}, [1.0] * 255)], HASHED, ["line 2", "llm-gateway index"]),
        ([("a", {}, [float("nan")] * 256)], HASHED, ["line 2"]),
        ([("a", {}, [1.0] * 256)], TITAN, [TITAN, HASHED, "EMBEDDINGS_MODEL"]),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start_with_a_sentence(made, passages, model, words):
    target = made(model="extractive")
    write(target, passages, model)
    code, said = target.once()
    assert code == 1 and all(word in said for word in words), said
    assert "Traceback" not in said and "panicked" not in said


def test_vectors_of_bedrocks_are_searched_by_vectors_of_bedrocks(made):
    upstream = Standin()
    target = made(standin=upstream)
    question = standin("krill eaters")
    near = [0.0] * 1024
    near[0] = 1.0
    write(target, [("Blue whales.", {"source": "whales.md"}, near)], TITAN, 1024)
    try:
        body = Http(target.start()).ask(question).json()
        embedded = [seen for seen in upstream.seen()["requests"] if seen["model"] == TITAN]
    finally:
        upstream.stop()
    assert body["sources"][0]["location"] == "whales.md", "by meaning: it shares no word with the question"
    assert len(embedded) == 1, "only the question was embedded"
