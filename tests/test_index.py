"""`llm-gateway index`: what files may look like, what is stored of them, and what a second run does."""

import gzip
import json
import os
import signal
import subprocess

import pytest
from clients import Http
from indexing import LOCAL, Index, OnOpenSearch, OnThisMachine, pdf

import target as targets
from target import GATEWAY, until

pytestmark = pytest.mark.local("the command")

GUIDE = "# Guide\n\nIntro.\n\n## Doors\n\nThe green door is locked.\n\n## Windows\n\nThe windows are open.\n"
PAGE = "<html><head><title>Help</title></head><body>\n<nav>menu</nav><h2>Lamps</h2>\n<p>Lamps are &amp; stay lit.</p></body></html>"


@pytest.fixture(params=[OnOpenSearch, OnThisMachine], ids=["opensearch", "this machine"])
def index(request, tmp_path):
    return request.param(tmp_path)


@pytest.fixture
def here(tmp_path):
    return OnThisMachine(tmp_path)


def by_title(index):
    return {row["metadata"]["title"]: row for row in index.passages().values()}


def test_every_format_is_stored_with_its_title_and_its_place(index):
    index.write("guide.md", GUIDE)
    index.write("notes/plain.txt", "\ufeffPlain words.\n")
    index.write("help.html", PAGE)
    index.write("book.pdf", pdf("First page of the book.", "Café at the\nsecond page."))
    index.write("rows.jsonl", [
        {"text": "A row of a file."},
        {"text": "A row from elsewhere.", "title": "Else", "source": "https://x.org/a", "id": 7, "metadata": {"lang": "en"}},
    ])
    index.write("picture.png", b"\x89PNG")
    index.write(".hidden.md", "hidden")
    done = index()
    assert done.code == 0, done.err
    summary = done.summary
    assert (summary["documents"], summary["added"], summary["other_files"]) == (6, 9, 1)
    assert summary["embeddings_model"] == LOCAL and summary["cost_usd"] == 0
    found = by_title(index)

    def place(title):
        metadata = found[title]["metadata"]
        return {name: metadata.get(name) for name in ("source", "first_line", "last_line", "page")}

    assert place("Doors") == {"source": "docs/guide.md", "first_line": 5, "last_line": 7, "page": None}
    assert place("plain.txt") == {"source": "docs/notes/plain.txt", "first_line": 1, "last_line": 1, "page": None}
    assert place("Lamps") == {"source": "docs/help.html", "first_line": 1, "last_line": 3, "page": None}
    assert place("rows.jsonl") == {"source": "docs/rows.jsonl", "first_line": 1, "last_line": 1, "page": None}
    assert place("Else") == {"source": "https://x.org/a", "first_line": None, "last_line": None, "page": None}
    pages = {row["metadata"]["page"]: row["text"] for row in index.passages().values() if "page" in row["metadata"]}
    assert pages[1] == "First page of the book." and "Café" in pages[2]
    assert "Lamps are & stay lit." in found["Lamps"]["text"] and "menu" not in str(found)
    assert found["plain.txt"]["text"] == "Plain words."
    assert found["Else"]["metadata"]["lang"] == "en" and found["Else"]["metadata"]["id"] == 7
    assert all(len(row["vector_field"]) == 256 for row in found.values())


def test_the_same_files_again_change_nothing_and_a_changed_one_replaces_its_passages(index):
    index.write("guide.md", GUIDE)
    index.write("other.md", "# Other\n\nStays.\n")
    assert index.counts() == (4, 0, 0, 0)
    before = index.passages()
    assert index.counts() == (0, 0, 4, 0)
    assert index.passages() == before

    index.write("guide.md", "A new first line.\n\n" + GUIDE.replace("green", "blue"))
    assert index.counts() == (2, 2, 1, 1), "one is new, one changed, two moved, one stays"
    after = by_title(index)
    assert after["Windows"]["metadata"]["first_line"] == 11
    texts = " ".join(row["text"] for row in index.passages().values())
    assert "blue door" in texts and "green door" not in texts
    kept = {key: row["vector_field"] for key, row in index.passages().items() if key in before}
    assert len(kept) == 3 and all(before[key]["vector_field"] == vector for key, vector in kept.items())


def test_files_that_are_gone_stay_until_they_are_pruned_and_others_are_not_touched(index):
    for name in ("a.md", "b/c.md", "b/d.md"):
        index.write(name, f"About {name}.\n")
    (index.home / "elsewhere.md").write_text("Elsewhere.\n")
    assert index.counts("docs", "elsewhere.md") == (4, 0, 0, 0)
    (index.home / "elsewhere.md").unlink()
    (index.home / "docs/b/c.md").unlink()
    (index.home / "docs/a.md").unlink()
    assert index.counts("docs") == (0, 0, 1, 0)
    assert index.counts("docs/b", "--prune", "--dry-run") == (0, 0, 1, 1)
    assert index.counts("docs/b", "--prune") == (0, 0, 1, 1)
    left = {row["metadata"]["source"] for row in index.passages().values()}
    assert left == {"docs/a.md", "docs/b/d.md", "elsewhere.md"}
    assert index.counts(".", "--prune") == (0, 0, 1, 2)


def test_files_that_are_there_are_not_pruned_although_a_walk_passes_over_them(index):
    index.write("rows.json", [{"text": "A row."}])
    index.write(".hidden.md", "Hidden.\n")
    outside = index.home / "outside.md"
    outside.write_text("Linked.\n")
    (index.home / "docs/link.md").symlink_to(outside)
    assert index.counts("docs/rows.json", "docs/.hidden.md", "docs/link.md") == (3, 0, 0, 0)
    assert index.counts("docs", "--prune") == (0, 0, 0, 0)
    (index.home / "docs/.hidden.md").unlink()
    assert index.counts("docs", "--prune") == (0, 0, 0, 1)
    assert {row["text"] for row in index.passages().values()} == {"A row.", "Linked."}


def test_equal_texts_live_beside_each_other(index):
    index.write("a.md", "The same.\n")
    index.write("b.md", "The same.\n")
    index.write("rows.jsonl", [{"text": "The same."}] * 3)
    assert index.counts() == (5, 0, 0, 0)
    assert index.counts() == (0, 0, 5, 0)
    index.write("rows.jsonl", [{"text": "The same."}] * 2)
    assert index.counts() == (0, 0, 4, 1)


def test_what_cannot_be_read_is_named_and_the_rest_is_indexed(index):
    index.write("good.md", "Good.\n")
    index.write("latin.txt", b"caf\xe9")
    index.write("wide.txt", "x".encode("utf-16"))
    index.write("zero.txt", b"a\0b")
    index.write("broken.pdf", b"%PDF-1.7\n" + b"\xff" * 2000)
    index.write("empty.pdf", pdf(""))
    index.write("large.txt", b"x" * (16 * 1024 * 1024 + 1))
    index.write("rows.jsonl", '{"text": "fine"}\n{"txt": 1}\nno json\n{"text": "fine too"}\n')
    (index.home / "word.docx").write_bytes(b"PK")
    done = index("docs", "word.docx")
    assert done.code == 1 and (done.summary["added"], done.summary["left_out"]) == (3, 9), done.err
    for sentence in [
        "docs/latin.txt is no UTF-8 text: its byte 4",
        "docs/wide.txt is UTF-16 text",
        "docs/zero.txt is no text",
        "docs/broken.pdf is no PDF that can be read",
        "docs/empty.pdf holds no text",
        "docs/large.txt is larger than 16 MB",
        "docs/rows.jsonl, line 2: `text` is missing",
        "docs/rows.jsonl, line 3: It is no valid JSON",
        "word.docx is of no kind that is read",
    ]:
        assert sentence in done.err, done.err
    # What was indexed of a file before it broke stays.
    index.write("good.md", b"\xff\xff")
    assert index.counts("docs/good.md", code=1) == (0, 0, 0, 0)
    assert "Good." in [row["text"] for row in index.passages().values()]


def test_a_pipe_of_text_is_refused_at_once(here):
    os.mkfifo(here.home / "pipe.md")
    here.write("good.md", "Good.\n")
    done = here("docs", "pipe.md", limit=20)
    assert done.code == 1 and "pipe.md is no regular file" in done.err and done.summary["added"] == 1


def test_a_dry_run_says_what_would_change_and_what_it_costs_and_writes_nothing(index):
    index.env["EMBEDDINGS_MODEL"] = "amazon.titan-embed-text-v2:0"
    index.env |= {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    index.write("guide.md", GUIDE * 200)
    done = index("docs", "--dry-run")
    assert done.code == 0, done.err
    assert done.summary["dry_run"] and done.summary["added"] == 600
    assert done.summary["cost_usd"] == pytest.approx(done.summary["tokens"] * 0.02 / 1e6, abs=1e-6) and done.summary["tokens"] > 3000
    assert not (index.home / ".llm-gateway").exists()
    if isinstance(index, OnOpenSearch):
        assert index.server.call("HEAD", f"/{index.name}")[0] == 404


def test_rows_come_from_standard_input_and_from_gzip_and_are_never_taken_for_all_there_is(index):
    rows = "".join(json.dumps({"text": f"Row {n}.", "source": f"s{n}"}) + "\n" for n in range(3)).encode()
    assert index.counts("-", stdin=rows) == (3, 0, 0, 0)
    assert index.counts("-", stdin=rows[: rows.index(b"\n") + 1]) == (0, 0, 1, 0)
    index.write("rows.jsonl.gz", gzip.compress(rows))
    assert index.counts("docs") == (3, 0, 0, 0), "of the same source, and of another file"
    assert index.counts("docs") == (0, 0, 3, 0) and len(index.passages()) == 6
    assert index.counts(".", "--prune") == (0, 0, 3, 0), "standard input is below no directory"


def test_a_killed_run_goes_on_where_it_was(index):
    index.write("rows.jsonl", [{"text": f"Row {n} is about the number {n}. " * 20} for n in range(6000)])
    process = index.start(stderr=subprocess.DEVNULL)
    journal = index.home / ".llm-gateway" / "passages.jsonl.journal"

    def begun():
        if isinstance(index, OnThisMachine):
            return journal.exists() and journal.stat().st_size > 500_000
        status, reply = index.server.call("GET", f"/{index.name}/_stats/indexing")
        return status == 200 and reply["_all"]["primaries"]["indexing"]["index_total"] > 500

    until(begun, 60)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    added, _, unchanged, _ = index.counts()
    assert added + unchanged == 6000 and 0 < unchanged < 6000
    assert len(by_number(index)) == 6000
    assert index.counts() == (0, 0, 6000, 0)
    rows = (index.home / "docs" / "rows.jsonl").read_text().splitlines(keepends=True)
    index.write("rows.jsonl", "".join(rows[5:3000] + rows[3002:]))
    assert index.counts() == (0, 5993, 0, 7), "rows of a large file that are gone go, and the others' lines move"
    assert sorted(path.name for path in (index.home / ".llm-gateway").glob("*")) in ([], ["passages.jsonl"])


def by_number(index):
    return {row["text"][:20] for row in index.passages().values()}


def test_an_interrupted_run_says_that_it_can_go_on(here):
    here.write("rows.jsonl", [{"text": f"Row {n}. " * 100} for n in range(20_000)])
    process = here.start(stderr=subprocess.PIPE)
    until(lambda: (here.home / ".llm-gateway" / "passages.jsonl.journal").exists(), 30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and b"the same command goes on from there" in err


def test_two_runs_at_once_do_not_mix(here):
    here.write("rows.jsonl", [{"text": f"Row {n}. " * 100} for n in range(5_000)])
    first = here.start(stderr=subprocess.DEVNULL)
    until(lambda: (here.home / ".llm-gateway" / "passages.jsonl.journal").exists(), 30)
    second = here()
    assert first.wait(60) == 0
    assert second.code == 1 and "Another `llm-gateway index` is writing" in second.err
    assert here.counts() == (0, 0, 5_000, 0)


def test_serve_finds_what_was_indexed(here):
    here.write("doors.md", "# Doors\n\nThe vermilion door opens at dawn.\n")
    data = here.home / "data"
    assert here("docs", "--data", str(data)).code == 0
    command = [GATEWAY, "--port", "0", "--data", str(data)]
    with open(here.home / "log", "w") as log:
        served = subprocess.Popen(command, cwd=here.home, env=here.environment(), stderr=log)
    try:
        line = until(lambda: targets.LISTENING.search((here.home / "log").read_text()), 20)
        host, port = line.group(1).removeprefix("http://").split(":")
        served.address, served.keys, served.stage = (host, int(port)), {}, ""
        reply = Http(served).ask("When does the vermilion door open?", model="local.extractive").json()
        assert reply["sources"][0]["location"] == "docs/doors.md" and "dawn" in reply["completion"]
        assert reply["sources"][0]["span"] == [1, 3]
    finally:
        served.terminate()
        served.wait(20)


@pytest.mark.parametrize(
    "args, code, says",
    [
        ([], 2, "PATH"),
        (["nothing.md"], 1, "nothing.md cannot be read"),
        (["-", "--prune"], 2, "standard input"),
        (["docs", "--index", "x", "--data", "y"], 2, "cannot be used with"),
        (["docs", "--index", "x"], 1, "OPENSEARCH_DOMAIN_ENDPOINT"),
        (["docs", "--embeddings-model", "gpt"], 1, "must be one of"),
    ],
)
def test_wrong_use_is_told(here, args, code, says):
    command = [GATEWAY, "index", *args]
    done = subprocess.run(command, cwd=here.home, env=here.environment(), input=b"", capture_output=True, timeout=30)
    assert done.returncode == code and says in done.stderr.decode(), done.stderr
    assert done.stdout == b""


def test_help_has_an_example():
    done = subprocess.run([GATEWAY, "index", "--help"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "llm-gateway index docs" in done.stdout and "pdf-text" not in done.stdout


def test_another_model_is_refused(index):
    index.write("a.md", "Text.\n")
    assert index().code == 0
    index.env["EMBEDDINGS_MODEL"] = "amazon.titan-embed-text-v2:0"
    done = index()
    assert done.code == 1 and f"holds vectors of {LOCAL}" in done.err and "--embeddings-model" in done.err


def test_what_an_interrupted_run_has_embedded_is_not_lost_to_another_model(here):
    here.write("a.md", "Text.\n")
    data = here.home / ".llm-gateway"
    data.mkdir()
    journal = data / "passages.jsonl.journal"
    header = {"format": "llm-gateway passages 1", "embeddings_model": "cohere.embed-english-v3", "dimensions": 1024}
    whole = json.dumps(header) + "\n" + json.dumps({"text": "Paid for.", "metadata": {}, "vector": ""}) + "\n"
    journal.write_text(whole)
    done = here()
    assert done.code == 1 and "an interrupted run has embedded with cohere.embed-english-v3" in done.err, done.err
    assert journal.read_text() == whole
    journal.write_text(json.dumps(header) + "\n")
    assert here.counts() == (1, 0, 0, 0), "one that holds nothing is nobody's loss"


def test_a_pdf_that_takes_for_ever_or_grows_loses_only_itself(here):
    """A page tree that contains itself, and a stream that unpacks to more than the reader may have."""
    loop = b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 9 >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n"
    here.write("loop.pdf", loop)
    here.write("good.pdf", pdf("Good page."))
    done = here(limit=100)
    assert done.code == 1 and "docs/loop.pdf" in done.err, done.err
    assert [row["text"] for row in here.passages().values()] == ["Good page."]


def test_the_index_of_this_machine_is_for_its_user_alone(here):
    here.write("a.md", "Text.\n")
    assert here().code == 0
    assert os.stat(here.home / ".llm-gateway").st_mode & 0o777 == 0o700
    assert isinstance(here, Index)
