"""`llm-gateway upload`: what files may look like, what is written, what is said of bad rows."""

import gzip
import json
import subprocess
import sys
import uuid

import pytest
from clients import Http
from dynamodb import Engine, Moto
from target import GATEWAY, ROOT

pytestmark = pytest.mark.local("the command")
from uploads import Upload, environment, rows

BAD = [
    ("pk,answer", "JSON object"),
    ('{"pk": "no comma" "answer": "x"}', "no valid JSON"),
    ('{"answer": "x"}', "`pk` is missing"),
    ('{"pk": "q"}', "`answer` is missing"),
    ('{"pk": " ", "answer": "x"}', "`pk` is empty"),
    ('{"pk": 5, "answer": "x"}', "`pk` must be"),
    ('{"pk": "q", "answer": ["x"]}', "`answer` must be"),
    ('{"pk": "q", "pk": "r", "answer": "x"}', "`pk` stands twice"),
    ('{"id": "q", "responses": "x"}', "`responses` must be"),
    ('{"pk": "q", "answer": "x', "no valid JSON"),
    ('["pk", "answer"]', "JSON object"),
    ('{"pk": "q", "answer": ""}', "`answer` is empty"),
]


@pytest.fixture(scope="module", params=[Engine, Moto], ids=["engine", "moto"])
def server(request):
    started = request.param()
    yield started
    started.stop()


@pytest.fixture
def upload(server, tmp_path):
    return Upload(tmp_path, server.url, server.table(f"answers-{uuid.uuid4()}", "pk"))


@pytest.fixture
def nowhere(tmp_path):
    """An upload that has no server."""
    return Upload(tmp_path, "http://127.0.0.1:9", "answers")


LIST = json.dumps(rows(60), indent=1)
LINES = "\n".join(map(json.dumps, rows(60)))


@pytest.mark.parametrize(
    "content",
    [
        LIST.encode(),
        LINES.encode(),
        gzip.compress(LIST.encode()),
        gzip.compress(LINES[:3000].encode()) + gzip.compress(LINES[3000:].encode()),
        b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n\r\n").encode(),
    ],
    ids=["list", "lines", "gzip of a list", "gzip in two members", "mark, CRLF and blank lines"],
)
@pytest.mark.parametrize("way", ["file", "standard input"])
def test_every_form_of_a_file_gives_the_same_rows(upload, server, content, way):
    done = upload("-", stdin=content) if way != "file" else upload(upload.file(content, "a.txt"))
    assert done.code == 0 and "60 rows read: 60 written" in done.err, done.err
    written = server.rows(upload.table)
    assert len(written) == 120, "under the question, and under its folded form"
    assert {pk: row["answer"] for pk, row in written.items() if "curated#" not in pk} == {
        row["pk"]: row["answer"] for row in rows(60)
    }
    assert list(upload.home.glob("*upload-state")) == []


def test_rows_keep_what_else_they_say_to_the_digit_and_never_expire(upload, server):
    text = '{"pk":"q","n":1.10,"big":12345678901234567890123,"answer":"a","by":{"x":[1e400]}}\n'
    seed = {"id": "node1Old?", "responses": json.dumps({"completion": "old"})}
    assert upload(upload.file(text + json.dumps(seed))).code == 0
    written = server.rows(upload.table)
    assert written["q"] == {
        "pk": "q",
        "kind": "curated",
        "answer": "a",
        "extra": '{"n":1.10,"big":12345678901234567890123,"by":{"x":[1e400]}}',
    }
    assert written["node1Old?"] == {"pk": "node1Old?", "kind": "curated", "answer": "old"}


@pytest.mark.parametrize("form", ["lines", "list"])
def test_bad_rows_are_named_and_kept_and_the_good_ones_are_written(upload, server, form):
    good, bad = [json.dumps(row) for row in rows(30)], [text for text, _ in BAD]
    mixed = [text for pair in zip(good, bad) for text in pair] + good[len(bad) :]
    text = "\n".join(mixed) if form == "lines" else "[\n" + ",\n".join(mixed) + "\n]"
    if form == "list":  # Without its brackets it is two rows of a list.
        text = text.replace("pk,answer", "pk answer")
    file = upload.file(text)
    done = upload(file)
    assert done.code == 1 and f"30 written, 0 replaced by a later row with the same key, {len(BAD)} failed" in done.err
    for number, (_, sentence) in enumerate(BAD):
        line = 2 * number + 2
        place = f"{file}, line {line}: " if form == "lines" else f"{file}, row {line} (line {line + 1}): "
        [said] = [said for said in done.err.splitlines() if said.startswith(place)]
        assert sentence in said
    assert len(server.rows(upload.table)) == 60

    failed = upload.home / f"{file}.failed.jsonl"
    assert len(failed.read_text().splitlines()) == len(BAD)
    failed.write_text("\n".join(map(json.dumps, rows(len(BAD), start=30))))
    assert upload(failed.name).code == 0
    assert len(server.rows(upload.table)) == 2 * (30 + len(BAD))


def test_of_rows_with_one_key_the_last_is_written(upload, server):
    done = upload(upload.file(rows(90) + rows(90, "second {}") + rows(50, "third {}")), "--json")
    summary = json.loads(done.out)
    assert (summary["rows"], summary["written"], summary["replaced"]) == (230, 90, 140)
    assert "row 1 by row 91" in done.err
    written = server.rows(upload.table)
    assert {row["answer"] for pk, row in written.items() if pk.startswith("Question")} == {
        f"third {n}" if n < 50 else f"second {n}" for n in range(90)
    }


def test_a_dry_run_needs_no_credentials_and_writes_nothing(nowhere):
    keys = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_REGION": None}
    file = nowhere.file([*rows(3), {"pk": "q"}])
    for table in ("", "answers"):
        done = nowhere(file, "--dry-run", table=table, env=keys)
        assert done.code == 1 and "line 4: `answer` is missing" in done.err and "3 good" in done.err
    assert nowhere(nowhere.file(rows(3), "good"), "--dry-run", table="").code == 0
    assert sorted(path.name for path in nowhere.home.iterdir()) == ["answers.jsonl", "good"]


@pytest.mark.parametrize(
    "content, says",
    [
        (gzip.compress(LINES.encode())[:-20], "cut off"),
        (LIST[:-200].encode(), "before its list does"),
        ((LIST + LIST).encode(), "behind the end of the list"),
        (LINES.encode("utf-16"), "UTF-16"),
    ],
    ids=["gzip cut off", "list cut off", "two lists", "UTF-16"],
)
def test_of_a_file_that_is_damaged_as_a_whole_nothing_is_written(upload, server, content, says):
    done = upload(upload.file(content))
    assert done.code == 1 and says in done.err
    assert server.rows(upload.table) == {}


def test_a_row_over_the_limit_is_a_bad_row_and_is_kept_whole(nowhere):
    text = '{"pk":"huge","answer":"' + "x" * 5_000_000 + '"}\n' + json.dumps(rows(1)[0])
    data = nowhere.home / "data"
    done = nowhere(nowhere.file(text), "--data", str(data))
    assert done.code == 1 and "line 1: The row is longer than 4 MB" in done.err and "1 written" in done.err
    assert (nowhere.home / "answers.jsonl.failed.jsonl").read_text() == text.splitlines()[0] + "\n"


def test_a_row_that_one_item_cannot_hold_needs_the_state_table(upload, server):
    noise = "".join(uuid.uuid4().hex for _ in range(40_000))
    file = upload.file([{"pk": "large", "answer": noise}])
    done = upload(file)
    assert done.code == 1 and "--state-table" in done.err and server.rows(upload.table) == {}
    state = server.table(f"state-{uuid.uuid4()}", "pk", "sk")
    for _ in range(2):
        assert upload(file, "--state-table", state).code == 0
    [part] = server.rows(state)
    assert server.rows(upload.table)["large"]["answer_parts"] == part.removeprefix("part#")
    for wrong, says in [("no-such-table", "does not exist"), (upload.table, "sort key `sk`")]:
        refused = upload(upload.file(rows(1), "small"), "--state-table", wrong)
        assert refused.code == 1 and f"Table {wrong}" in refused.err and says in refused.err


def test_a_gateway_answers_from_what_was_uploaded_to_its_data(own, nowhere):
    target = own(model="extractive")
    large = "".join(uuid.uuid4().hex for _ in range(20_000))
    file = nowhere.file([{"pk": "What is uploaded?", "answer": "This."}, {"pk": "Large?", "answer": large}])
    data = str(target.home / "data")
    busy = nowhere(file, "--data", data)
    assert busy.code == 1 and "another llm-gateway" in busy.err
    target.stop()
    assert nowhere(file, "--data", data).code == 0
    target.start()
    for prompt, answer in [("what IS  uploaded?", "This."), ("Large?", large)]:
        reply = Http(target).ask(prompt)
        assert (reply.json()["completion"], reply.headers["x-cache"]) == (answer, "hit")
        assert reply.json()["cached"] == "true"


def test_wrong_use_exits_2_and_an_empty_setting_is_none(nowhere):
    file = nowhere.file(rows(1))
    for env in ({}, {"ANSWERS_TABLE": ""}):
        done = nowhere(file, table="", env=env)
        assert done.code == 2 and "-t TABLE" in done.err and "--data" in done.err
    assert nowhere(file, "--no-such-option").code == 2
    both = subprocess.run([GATEWAY, "upload", file, "-t", "t", "--data", "d"], cwd=nowhere.home, capture_output=True)
    assert both.returncode == 2


def test_the_table_may_come_from_the_settings(upload, server):
    settings = {"ANSWERS_TABLE": upload.table, "STATE_TABLE": "", "REGION_ID": ""}
    assert upload(upload.file(rows(2)), table="", env=settings).code == 0
    assert len(server.rows(upload.table)) == 4


def test_the_older_systems_invocation_works(upload, server):
    script = str(ROOT / "scripts/bulk_upload_JSON_to_DDB/bulk_upload_JSON_to_DDB.py")
    env = environment(upload.home, upload.url, LLM_GATEWAY_BIN=GATEWAY)
    command = [sys.executable, script, upload.file(json.dumps(rows(2)), "a.json"), "-t", upload.table]
    done = subprocess.run(command, cwd=upload.home, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "2 written" in done.stderr
    assert len(server.rows(upload.table)) == 4
    explained = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True)
    assert explained.returncode == 0 and "Examples:" in explained.stdout
    env["LLM_GATEWAY_BIN"] = "/no/such/command"
    lost = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True)
    assert lost.returncode == 1 and "LLM_GATEWAY_BIN" in lost.stderr and "Traceback" not in lost.stderr
    env |= {"LLM_GATEWAY_BIN": "", "PATH": "/nowhere", "CARGO_TARGET_DIR": "/nowhere"}
    lost = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True)
    assert lost.returncode == 1 and "cargo build" in lost.stderr
