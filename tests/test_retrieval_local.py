"""Retrieval on one machine alone: the documents of a folder, quoted without a language model."""

import pytest
from clients import Http, Socket
from searching import DOCUMENTS, Collection

import target as targets
from target import Standin, until

pytestmark = pytest.mark.local("a model and documents of one machine")


@pytest.fixture(scope="module")
def quoting():
    with targets.running(model="extractive", documents=DOCUMENTS) as target:
        yield target


def test_the_offline_model_quotes_the_document_and_names_its_source(quoting):
    body = Http(quoting).ask("What does the blue whale eat?", model="local.extractive").json()
    assert "krill" in body["completion"] and "no language model" in body["completion"]
    assert body["sources"][0]["location"].startswith("whales.md")
    assert {"title", "location", "score"} <= set(body["sources"][0])


def test_without_a_fitting_passage_it_says_that_it_found_nothing(quoting):
    body = Http(quoting).ask("xylophone quantum?", model="local.extractive").json()
    assert "found nothing" in body["completion"] and body["sources"] == []


def test_sources_are_told_on_the_socket_too(quoting):
    with Socket(quoting) as socket:
        last = socket.reply("How is sourdough bread made?")[-1]
    assert last["sources"][0]["location"].startswith("bread.txt")


def test_a_fresh_gateway_answers_its_first_question_from_its_own_documents(own):
    target = own(model="extractive", documents="own")
    body = Http(target).ask("What does the answer cache do?", model="local.extractive").json()
    assert body["sources"] and "cache" in body["completion"].lower()


def test_the_offline_model_quotes_what_opensearch_found(own):
    standin = Standin()
    collection = Collection(standin, DOCUMENTS)
    standin.stop()
    target = own(model="extractive", env={**collection.env, "RETRIEVAL_MODE": "text"})
    body = Http(target).ask("What does the blue whale eat?", model="local.extractive").json()
    assert "krill" in body["completion"]
    assert body["sources"][0]["location"].startswith("whales.md")


def test_a_changed_document_is_found_and_makes_learned_answers_old(own):
    target = own(model="extractive", documents=DOCUMENTS)
    http, question = Http(target), "penguins?"
    assert http.ask(question, model="local.extractive").json()["sources"] == []
    (target.home / "documents" / "penguins.md").write_text("# Penguins\n\nPenguins eat fish and squid.\n")
    body = until(
        lambda: (b := http.ask(question, model="local.extractive").json())["sources"] and b,
        10,
        0.2,
        "the new file",
    )
    assert "squid" in body["completion"]
    (target.home / "documents" / "penguins.md").unlink()
    until(lambda: not http.ask(question, model="local.extractive").json()["sources"], 10, 0.2, "its removal")
