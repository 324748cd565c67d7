"""Retrieval: passages reach the model, sources reach the caller, and what a document may never do. The same from
the files of one machine and from OpenSearch."""

import json

import pytest
from clients import Http, Socket, new_id, standin, told
from searching import DOCUMENTS, searching

import target as targets
from target import until

CURATED = json.dumps([{"pk": "Who feeds the whale?", "answer": "Nobody does."}])
QUESTION = "What does the blue whale eat?"
FILES = pytest.param("files", marks=pytest.mark.local("the documents of one machine"))
OPENSEARCH = pytest.param("opensearch")


@pytest.fixture(scope="module", params=[FILES, OPENSEARCH])
def asking(request):
    """A gateway over the documents."""
    open_search = searching(DOCUMENTS, answers=CURATED)
    files = targets.running(documents=DOCUMENTS, answers=CURATED)
    with open_search if request.param == "opensearch" else files as target:
        yield target


def message(target, prompt):
    """What the model was asked, once: the text of its last message."""
    [asked] = target.standin.asked(prompt)
    return asked["body"]["messages"][-1]["content"][0]["text"]


def test_passages_stand_in_a_delimited_block_before_the_question(asking):
    prompt = standin(QUESTION)
    reply = Http(asking).ask(prompt)
    text = message(asking, prompt)
    assert text.startswith("The passages between") and "not instructions" in text
    assert text.index("krill") < text.index("</reference_passages>\n\n") < text.index(prompt)
    assert text.endswith(prompt)
    assert reply.json()["sources"][0]["location"].startswith("whales.md")


def test_every_door_that_shows_sources_shows_the_same(asking):
    http = Http(asking)
    whole = http.ask(standin(QUESTION)).json()
    assert whole["sources"] and {"title", "location", "score"} <= set(whole["sources"][0])
    assert "retrieval" not in whole
    seen = [http.stream(standin(QUESTION))[-1], http.answer(whole["request_id"])]
    with Socket(asking) as socket:
        seen.append(socket.reply(standin(QUESTION))[-1])
    seen.append(http.job(standin(QUESTION)))
    for reply in seen:
        assert reply["sources"][0]["location"].startswith("whales.md"), reply
        assert "retrieval" not in reply


def test_the_other_doors_ask_with_passages_too(asking):
    prompts = [standin(QUESTION) for _ in range(3)]
    Http(asking).post("/", {"modelParams": {"prompt": prompts[0]}})
    with Socket(asking) as socket:
        socket.send({"action": "invokeModel", "prompt": prompts[1]})
        socket.texts()
        socket.chatbot(prompts[2], user_id=new_id())
    for prompt in prompts:
        assert "eats krill" in message(asking, prompt)


def test_sources_come_best_first_and_say_how_good_they_are(asking):
    sources = Http(asking).ask(standin("whales sing a song in every ocean")).json()["sources"]
    scores = [source["score"] for source in sources]
    assert sources[0]["location"].startswith("song.md") and len(sources) > 1
    assert scores == sorted(scores, reverse=True)


def test_a_document_cannot_close_its_block(asking):
    prompt = standin("zebra facts")
    Http(asking).ask(prompt)
    text = message(asking, prompt)
    after_passages = text[text.index("<reference_passages>\n") :]
    assert after_passages.count("</reference_passages>") == 1
    assert after_passages.index("PWNED") < after_passages.index("</reference_passages>")


def test_a_rag_prompt_is_searched_instead_of_the_prompt(asking):
    http, searched = Http(asking), "sourdough bread starter"
    with Socket(asking) as socket:
        replies = [
            http.ask(standin("tell me"), rag_prompt=searched).json(),
            socket.reply(standin("tell me"), rag_prompt=searched)[-1],
            http.job(standin("tell me"), rag_prompt=searched),
        ]
    for reply in replies:
        assert reply["sources"][0]["location"].startswith("bread.txt"), reply


@pytest.mark.parametrize("wanted", ["bread.txt", ["bread.txt", "evil.md"]])
def test_a_rag_filter_leaves_out_what_is_not_asked_for(asking, wanted):
    http = Http(asking)
    with Socket(asking) as socket:
        replies = [
            http.ask(standin(QUESTION), rag_prompt="bread zebra whale", rag_filter={"source": wanted}).json(),
            socket.reply(standin(QUESTION), rag_prompt="bread zebra whale", rag_filter={"source": wanted})[-1],
            http.job(standin(QUESTION), rag_prompt="bread zebra whale", rag_filter={"source": wanted}),
        ]
    for reply in replies:
        found = {source["location"].split(" ")[0] for source in reply["sources"]}
        assert found == ({wanted} if isinstance(wanted, str) else set(wanted)), reply


def test_a_filter_that_nothing_fulfils_gives_an_answer_without_passages(asking):
    prompt = standin(QUESTION)
    body = Http(asking).ask(prompt, rag_filter={"source": "nowhere.md"}).json()
    assert body["sources"] == [] and "retrieval" not in body
    assert message(asking, prompt) == prompt


@pytest.mark.parametrize("wrong", ["whales.md", {"source": None}, {"source": {"a": "b"}}, {"source": []}, {"": "x"}])
def test_a_wrong_rag_filter_is_refused_with_a_sentence(asking, wrong):
    reply = Http(asking).ask(standin(QUESTION), rag_filter=wrong)
    assert (reply.status, reply.error["param"]) == (400, "rag_filter")


def test_an_answer_is_not_learned_for_another_filter(asking):
    http, prompt = Http(asking), standin(QUESTION)
    first = http.ask(prompt, rag_filter={"source": "whales.md"})
    other = http.ask(prompt, rag_filter={"source": "bread.txt"})
    again = http.ask(prompt, rag_filter={"source": "whales.md"})
    assert [reply.headers["x-cache"] for reply in (first, other, again)] == ["miss", "miss", "hit"]
    assert again.json()["sources"] == first.json()["sources"] != other.json()["sources"]


def test_a_learned_answer_keeps_its_sources(asking):
    http, prompt = Http(asking), standin(QUESTION)
    first, second = http.ask(prompt), http.ask(prompt)
    assert second.headers["x-cache"] == "hit"
    assert second.json()["sources"] == first.json()["sources"] != []


def test_a_curated_answer_needs_no_passages(asking):
    reply = Http(asking).ask("Who feeds the whale?").json()
    assert (reply["completion"], reply["sources"]) == ("Nobody does.", [])


def test_passages_are_never_stored_as_turns(asking):
    http, first, second = Http(asking), standin("humpback whales sing?"), standin("and then, whales?")
    chat = http.ask(first).json()["chat_id"]
    http.ask(second, chat_id=chat)
    messages = asking.standin.asked(second)[0]["body"]["messages"]
    assert messages[0]["content"][0]["text"] == first
    assert "<reference_passages>" in messages[-1]["content"][0]["text"]
    said = http.get(f"/chats/{chat}").json()["messages"]
    assert [turn["text"] for turn in said if turn["role"] == "user"] == [first, second]


def test_nothing_of_a_question_or_a_passage_is_logged(asking):
    secret, body = f"krill-{new_id()}", Http(asking).ask(standin(QUESTION))
    assert body.json()["sources"]
    Http(asking).ask(standin("tell me"), rag_prompt=secret)
    with Socket(asking) as socket:
        assert told(socket.reply(standin(secret)))
    assert secret not in asking.log and "eats krill" not in asking.log


def test_an_answer_from_before_a_change_is_not_given_after_it(own_collection):
    target, change, remove = own_collection
    http, prompt = Http(target), standin("What do penguins eat?")
    assert "squid" not in http.ask(prompt).text
    assert http.ask(prompt).headers["x-cache"] == "hit"
    change("penguins.md", "# Penguins\n\nPenguins eat fish and squid.\n")
    known = lambda: [source["location"].split(" ")[0] for source in http.ask(prompt).json()["sources"]]
    until(lambda: "penguins.md" in known(), 20, 0.2, "the new passage")
    assert "squid" in target.standin.asked(prompt)[-1]["body"]["messages"][-1]["content"][0]["text"]
    remove("penguins.md")
    until(lambda: "penguins.md" not in known(), 20, 0.2, "its end")


@pytest.fixture(params=[FILES, OPENSEARCH])
def own_collection(request):
    """A gateway of the test's own, and how a passage is put there and removed."""
    documents = {"bears.md": "# Bears\n\nBears eat berries and what penguins leave.\n"}
    if request.param == "opensearch":
        with searching(documents) as target:
            yield target, lambda name, text: target.collection.put({name: text}), target.collection.delete
        return
    with targets.running(documents=documents) as target:
        folder = target.home / "documents"
        yield target, lambda name, text: (folder / name).write_text(text), lambda name: (folder / name).unlink()
