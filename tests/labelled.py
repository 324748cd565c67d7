"""The labelled collection of `tests/collection`: what is searched in it, what should be found, and how much
of it was.

`passages.jsonl` is what a team loads with `llm-gateway index`; `questions.jsonl` names the passages that
answer each question. A third of them can only be found by their words (codes, part numbers, names), a third
only by their meaning (no word is shared), the others by both. `embed.py` there makes `vectors.json`.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "collection"
PASSAGES = FOLDER / "passages.jsonl"
VECTORS = FOLDER / "vectors.json"
KINDS = ("words", "meaning", "both")
K = 4


def lines(name):
    return [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]


def passages():
    """`id`, `source`, `title`, `text`, `metadata` of each."""
    return lines("passages.jsonl")


def questions():
    """`id`, `kind`, `question`, `relevant` of each."""
    return lines("questions.jsonl")


def recall(search):
    """How much of what is relevant is among the first four that `search(question)` finds, in percent: by kind
    of question, and over all of them. It gives ids, best first."""
    shares = {kind: [] for kind in KINDS}
    for asked in questions():
        found = search(asked["question"])[:K]
        shares[asked["kind"]].append(sum(name in found for name in asked["relevant"]) / len(asked["relevant"]))
    every = [share for some in shares.values() for share in some]
    mean = lambda some: round(100 * sum(some) / len(some), 1)
    return {kind: mean(some) for kind, some in shares.items()} | {"all": mean(every)}
