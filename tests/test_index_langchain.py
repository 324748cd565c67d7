"""One index, two readers: what LangChain wrote is found by the gateway, and what `llm-gateway index` wrote is
found by LangChain."""

import subprocess

import pytest
from clients import Http, new_id, standin
from searching import DOCUMENTS, Embeddings

import target as targets
from opensearch import opensearch
from target import GATEWAY, Standin, Target

pytestmark = pytest.mark.local("the command loads documents; what reads them is the same on all targets")

QUESTION = "What does the blue whale eat?"
# As LangChain's loaders of PDFs and of web pages leave it.
METADATA = [
    {"source": "guides/animals.pdf", "page": 3, "lang": "en"},
    {"source": "https://example.com/songs", "title": "Songs of the sea", "lang": "en"},
    {"source": "guides/bread.txt", "lang": "fr"},
]


def langchain():
    """The class; its import takes a second, which the processes without a test of this file are spared."""
    from langchain_community.vectorstores import OpenSearchVectorSearch

    return OpenSearchVectorSearch


@pytest.fixture(scope="module")
def bedrock():
    standin = Standin()
    yield standin
    standin.stop()


def written(bedrock, **options):
    """An index that LangChain has made and filled; `options` are its own."""
    index = f"langchain-{new_id()}"
    settings = {"engine": "lucene", "space_type": "cosinesimil", **options}
    texts = list(DOCUMENTS.values())[: len(METADATA)]
    langchain().from_texts(
        texts, Embeddings(bedrock), METADATA, opensearch_url=opensearch().url, index_name=index, **settings
    )
    return index


def asked(bedrock, index, question=QUESTION, env=None, **more):
    """What a gateway answers from this index."""
    settings = {"OPENSEARCH_DOMAIN_ENDPOINT": opensearch().url, "OPENSEARCH_INDEX": index, **(env or {})}
    with targets.running(bedrock, env=settings) as target:
        prompt = standin(question)
        reply = Http(target).ask(prompt, **more).json()
        text = bedrock.asked(prompt)[0]["body"]["messages"][-1]["content"][0]["text"]
        return reply["sources"], text


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
@pytest.mark.parametrize("space", ["cosinesimil", "l2"])
def test_an_index_of_langchain_is_searched_with_sources(bedrock, mode, space):
    sources, text = asked(bedrock, written(bedrock, space_type=space), env={"RETRIEVAL_MODE": mode})
    assert (sources[0]["location"], sources[0]["title"]) == ("guides/animals.pdf", "animals.pdf")
    assert "eats krill" in text


def test_titles_and_pages_of_its_loaders_are_told(bedrock):
    index = written(bedrock)
    sources, _ = asked(bedrock, index, "whales sing songs and eat krill")
    known = {source["location"]: source for source in sources}
    assert known["https://example.com/songs"]["title"] == "Songs of the sea"
    assert "3" in str(known["guides/animals.pdf"]["span"])


def test_its_metadata_can_be_filtered_by(bedrock):
    sources, text = asked(bedrock, written(bedrock), rag_filter={"lang": "fr"})
    assert [source["location"] for source in sources] == ["guides/bread.txt"] and "krill" not in text


def test_its_fields_may_have_other_names(bedrock):
    index = written(bedrock, text_field="body", vector_field="embedding")
    env = {"OPENSEARCH_TEXT_FIELD": "body", "OPENSEARCH_VECTOR_FIELD": "embedding"}
    sources, _ = asked(bedrock, index, env=env)
    assert sources[0]["location"] == "guides/animals.pdf"


@pytest.fixture(scope="module")
def loaded(bedrock, tmp_path_factory):
    """LangChain's view of an index that `llm-gateway index` has made of the documents."""
    folder, index = tmp_path_factory.mktemp("documents"), f"ours-{new_id()}"
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text)
    rows = '{"text": "Penguins eat fish and squid.", "metadata": {"source": "penguins", "team": "ice"}}\n'
    (folder / "rows.jsonl").write_text(rows)
    settings = {"OPENSEARCH_DOMAIN_ENDPOINT": opensearch().url, "OPENSEARCH_INDEX": index}
    target = Target(bedrock, env=settings)
    command = [GATEWAY, "index", str(folder)]
    done = subprocess.run(command, env=target.environment(), capture_output=True, text=True, timeout=60)
    target.close()
    assert done.returncode == 0, done.stderr
    opensearch().ask("POST", f"/{index}/_refresh")
    return langchain()(opensearch().url, index, Embeddings(bedrock), engine="lucene")


def test_langchain_finds_what_was_indexed_with_its_metadata(loaded):
    # As many as there are: of fewer the graph of an index may miss one.
    best, score = loaded.similarity_search_with_score(QUESTION, k=5)[0]
    assert "eats krill" in best.page_content and score > 0
    assert best.metadata["source"].endswith("whales.md") and best.metadata["title"].endswith("Whales")


def test_langchain_filters_what_was_indexed(loaded):
    wanted = {"term": {"metadata.team.keyword": "ice"}}
    found = loaded.similarity_search(QUESTION, k=5, efficient_filter=wanted)
    assert [document.metadata["source"] for document in found] == ["penguins"]


def test_langchain_adds_to_an_index_of_ours_and_the_gateway_finds_it(loaded, bedrock):
    loaded.add_texts(["Giraffes eat the leaves of acacias."], [{"source": "giraffes.md"}])
    sources, _ = asked(bedrock, loaded.index_name, "What do giraffes eat?")
    assert sources[0]["location"] == "giraffes.md"
