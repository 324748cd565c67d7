"""`llm-gateway upload` on bad days: interrupted, throttled, cut off, refused; and how much it holds."""

import base64
import gzip
import json
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import threading
import time
import uuid

import pytest
from dynamodb import Engine, Proxy, ask
from target import until

pytestmark = pytest.mark.local("the command")
from uploads import Upload, environment, rows


@pytest.fixture(scope="module")
def engine():
    started = Engine()
    yield started
    started.stop()


@pytest.fixture
def against(engine, tmp_path):
    """Starts proxies with a rule before the engine (or `alone`), and gives proxy and upload."""
    started = []

    def make(rule=None, alone=False):
        proxy = Proxy(rule, None if alone else engine)
        started.append(proxy)
        table = "answers" if alone else engine.table(f"answers-{uuid.uuid4()}", "pk")
        return proxy, Upload(tmp_path, proxy.url, table)

    yield make
    for proxy in started:
        proxy.stop()


def refusal(code, message="no", status=400):
    return status, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}


def answers(engine, table):
    return {pk: row["answer"] for pk, row in engine.rows(table).items() if pk.startswith("Question")}


def test_whatever_is_refused_for_now_is_tried_again_and_the_last_row_wins(engine, against):
    dice = random.Random(7)

    def rule(operation, body):
        if operation != "BatchWriteItem":
            return None
        time.sleep(dice.random() / 50)
        kind = dice.choice(["fine", "fine", "unprocessed", "throttled", "500", "cut", "503"])
        [(table, puts)] = body["RequestItems"].items()
        if kind == "unprocessed" and len(puts) > 1:
            half = len(puts) // 2
            ask(engine.url, "BatchWriteItem", RequestItems={table: puts[:half]})
            return 200, {"UnprocessedItems": {table: puts[half:]}}
        return {
            "throttled": refusal("ProvisionedThroughputExceededException"),
            "500": refusal("InternalServerError", status=500),
            "503": refusal("ServiceUnavailable", status=503),
            "cut": "cut",
        }.get(kind)

    proxy, upload = against(rule)
    done = upload(upload.file(rows(300) + rows(300, "later {}") + rows(100, "last {}")))
    assert done.code == 0, done.err
    expected = {f"Question {n}?": f"last {n}" if n < 100 else f"later {n}" for n in range(300)}
    assert answers(engine, upload.table) == expected
    for batch in proxy.batches():
        assert len(batch) <= 25 and len(set(batch)) == len(batch)


def test_several_batches_are_in_flight_and_no_more_than_allowed(against):
    def rule(operation, body):
        time.sleep(0.05)

    proxy, upload = against(rule, alone=True)
    assert upload(upload.file(rows(1000)), "--parallel", "4").code == 0
    assert 2 <= proxy.most_open <= 4
    assert sum(len(batch) for batch in proxy.batches()) == 2000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_an_interrupted_upload_goes_on_where_it_was(engine, against, number):
    def slow(operation, body):
        time.sleep(0.05)

    proxy, upload = against(slow)
    content = rows(2000) + rows(500, "later {}")
    file = upload.file([*content[:100], {"pk": "bad"}, *content[100:]])
    state = upload.home / f"{file}.upload-state"
    process = upload.start(file, "--parallel", "2")

    def come_far():
        return state.exists() and json.loads(state.read_text() or "{}").get("rows", 0) > 300

    until(come_far, 60, what="the first rows")
    process.send_signal(number)
    code = process.wait(30)
    kept = json.loads(state.read_text())["rows"]
    assert 300 < kept < 2000
    if number != signal.SIGKILL:
        assert code == 1 and "--resume" in upload.log and f"rows up to {kept} of 2501" in upload.log
    failed = upload.home / f"{file}.failed.jsonl"
    failed.write_text("being mended")

    until(lambda: not proxy.open, 30, what="the end of what was in flight")
    before = len(proxy.batches())
    proxy.rule = lambda operation, body: None
    done = upload(file, "--resume", "--json")
    assert done.code == 1 and json.loads(done.out)["resumed_behind"] == kept, done.err
    again = sum(len(batch) for batch in proxy.batches()[before:])
    assert again <= 2 * (2500 - kept + 1), "what was written is not sent again"
    expected = {f"Question {n}?": f"later {n}" if n < 500 else f"answer {n}" for n in range(2000)}
    assert answers(engine, upload.table) == expected
    assert not state.exists() and failed.read_text() == "being mended"


def test_a_resume_wants_the_same_file_and_the_same_table(engine, against):
    proxy, upload = against(lambda operation, body: refusal("ThrottlingException") if "Write" in operation else None)
    file = upload.file(rows(100))
    done = upload(file, "--patience", "1")
    assert done.code == 1 and "throttled" in done.err and "--resume" in done.err
    proxy.rule = lambda operation, body: None
    other = engine.table(f"other-{uuid.uuid4()}", "pk")
    wrong = upload(file, "--resume", table=other)
    assert wrong.code == 1 and upload.table in wrong.err and other in wrong.err
    upload.file(rows(101))
    changed = upload(file, "--resume")
    assert changed.code == 1 and "has changed" in changed.err
    assert engine.rows(upload.table) == engine.rows(other) == {}
    assert upload(file).code == 0
    fresh = upload(file, "--resume")
    assert fresh.code == 0 and "No interrupted upload" in fresh.err


def test_a_table_that_was_made_anew_is_another_one(engine, against):
    proxy, upload = against()
    file, state = upload.file(rows(300)), engine.table(f"state-{uuid.uuid4()}", "pk", "sk")
    parts = ["--state-table", state]
    for anew in [(upload.table, "pk"), (state, "pk", "sk")]:
        written = 0

        def some(operation, body):
            nonlocal written
            written += operation == "BatchWriteItem"
            return refusal("StrangeException") if operation == "BatchWriteItem" and written > 3 else None

        proxy.rule = some
        assert upload(file, "--parallel", "1", *parts).code == 1
        proxy.rule = lambda operation, body: None
        engine.ask("DeleteTable", TableName=anew[0])
        engine.table(*anew)
        done = upload(file, "--resume", *parts)
        assert done.code == 1 and "The interrupted upload" in done.err, done.err
        assert engine.rows(anew[0]) == {}
        assert upload(file, *parts).code == 0


def test_a_data_directory_that_was_made_anew_is_another_one(tmp_path):
    upload = Upload(tmp_path, "http://127.0.0.1:9", "")
    file, state = upload.file(rows(20_000)), tmp_path / "answers.jsonl.upload-state"
    process = upload.start(file, "--data", "data")
    kept = lambda: state.exists() and json.loads(state.read_text() or "{}").get("rows", 0)
    until(lambda: kept() or process.poll() is not None, 60, what="the first rows")
    process.kill()
    process.wait(10)
    assert kept() < 20_000
    shutil.move(tmp_path / "data", tmp_path / "old")
    done = upload(file, "--data", "data", "--resume")
    assert done.code == 1 and "The interrupted upload" in done.err, done.err
    shutil.rmtree(tmp_path / "data")
    shutil.move(tmp_path / "old", tmp_path / "data")
    assert upload(file, "--data", "data", "--resume").code == 0


def test_without_the_right_to_describe_an_upload_goes_on_and_is_resumed(engine, against):
    refused = []

    def rule(operation, body):
        if operation == "DescribeTable":
            return refusal("AccessDeniedException")
        return refusal("StrangeException") if operation == "BatchWriteItem" and refused else None

    proxy, upload = against(rule)
    file = upload.file(rows(30))
    refused.append(True)
    assert upload(file, "--state-table", "state").code == 1
    refused.clear()
    done = upload(file, "--resume", "--state-table", "state")
    assert done.code == 0 and len(answers(engine, upload.table)) == 30, done.err


def test_parts_of_large_rows_are_tried_again_as_patiently_as_rows(engine, against):
    """The gateway itself gives a call up after five seconds."""
    state = engine.table(f"state-{uuid.uuid4()}", "pk", "sk")
    refused = {}

    def rule(operation, body):
        if operation != "BatchWriteItem" or state not in body["RequestItems"]:
            return None
        size = len(json.dumps(body))
        assert size < 1_500_000, f"{size} bytes in one call"
        until = refused.setdefault("until", time.monotonic() + 8)
        return refusal("ThrottlingException") if time.monotonic() < until else None

    proxy, upload = against(rule)
    noise = base64.b85encode(os.urandom(1_000_000)).decode()
    file = upload.file([{"pk": "large", "answer": noise}])
    done = upload(file, "--state-table", state)
    assert done.code == 0, done.err
    assert int(engine.rows(upload.table)["large"]["answer_count"]) == 3
    refused["until"] = time.monotonic() + 600
    done = upload(upload.file([{"pk": "larger", "answer": noise[::-1]}]), "--state-table", state, "--patience", "2")
    assert done.code == 1 and f"Table {state} has taken no row for 2 s" in done.err, done.err


def test_a_resume_of_an_upload_that_wrote_nothing_leaves_the_bad_rows_as_they_are(against):
    proxy, upload = against(lambda operation, body: refusal("StrangeException") if "Write" in operation else None)
    file = upload.file([{"pk": "bad"}, *rows(10)])
    assert upload(file).code == 1
    failed = upload.home / f"{file}.failed.jsonl"
    assert json.loads(failed.read_text()) == {"pk": "bad"}
    failed.write_text("being mended")
    proxy.rule = lambda operation, body: None
    done = upload(file, "--resume")
    assert "10 written" in done.err and failed.read_text() == "being mended", done.err
    assert "10 written" in upload(file).err and json.loads(failed.read_text()) == {"pk": "bad"}


def test_two_uploads_of_one_file_at_once_are_one_too_many(against):
    proxy, upload = against(lambda operation, body: time.sleep(0.1), alone=True)
    file = upload.file(rows(2000))
    first = upload.start(file, "--parallel", "1")
    until(lambda: len(proxy.batches()) > 2, 60, what="the first upload")
    second = upload(file)
    assert second.code == 1 and "Another upload of the same file" in second.err
    first.kill()
    first.wait(10)


def test_a_table_that_is_not_there_or_not_ours_is_told_before_anything_else(engine, against):
    _, upload = against()
    done = upload(upload.file(rows(1)), table="no-such-table")
    assert done.code == 1 and "Table no-such-table does not exist in region us-east-1" in done.err
    table = engine.table(f"sorted-{uuid.uuid4()}", "pk", "sk")
    done = upload(upload.file(rows(1)), table=table)
    assert done.code == 1 and "partition key `pk`" in done.err


ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/answers"
DENIED = f"User: arn:aws:iam::123456789012:user/ann is not authorized to perform: dynamodb:BatchWriteItem on resource: {ARN} because no policy allows it"


@pytest.mark.parametrize(
    "reply, says",
    [
        (refusal("AccessDeniedException", DENIED), ["`dynamodb:BatchWriteItem`", f"`{ARN}`"]),
        (refusal("AccessDeniedException", "no"), ["`dynamodb:BatchWriteItem`", "us-east-1", "table/answers"]),
        (refusal("UnrecognizedClientException", "bad token"), ["credentials", "AWS_ACCESS_KEY_ID"]),
        (refusal("ExpiredTokenException", "old token"), ["credentials", "Log in again"]),
        (refusal("ValidationException", "wrong key"), ["partition key `pk`", "wrong key"]),
        (refusal("ResourceNotFoundException", "gone"), ["does not exist"]),
        (refusal("StrangeException", "odd"), ["StrangeException: odd"]),
    ],
    ids=["denied", "denied without a reason", "unknown key", "expired", "wrong schema", "table deleted", "unknown"],
)
def test_a_refusal_is_a_sentence_that_says_what_to_do(against, reply, says):
    def rule(operation, body):
        # Who may write need not be allowed to describe.
        return reply if operation == "BatchWriteItem" else refusal("AccessDeniedException")

    proxy, upload = against(rule, alone=True)
    done = upload(upload.file(rows(100)), "--parallel", "1")
    assert done.code == 1 and all(word in done.err for word in says), done.err
    assert len(proxy.batches()) == 1, "it is not tried again"


def test_without_credentials_or_region_it_says_so_at_once(against):
    _, upload = against()
    begun = time.monotonic()
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    done = upload(upload.file(rows(1)), env=none)
    assert done.code == 1 and "No AWS credentials" in done.err and "AWS_PROFILE" in done.err
    done = upload(upload.file(rows(1)), env={"AWS_REGION": None})
    assert done.code == 1 and "No AWS Region" in done.err and "REGION_ID" in done.err
    assert time.monotonic() - begun < 30, "both searches have a limit of 5 s"


@pytest.mark.parametrize("url, says", [("http://127.0.0.1:9", "cannot be reached"), ("", "no URL"), ("x y", "no URL")])
def test_an_endpoint_that_is_away_or_no_url_is_told(tmp_path, url, says):
    done = Upload(tmp_path, url, "answers")
    done = done(done.file(rows(1)))
    assert done.code == 1 and says in done.err and "AWS_ENDPOINT_URL_DYNAMODB" in done.err


def test_a_terminal_sees_the_progress_and_a_pipe_does_not(against):
    _, upload = against(lambda operation, body: time.sleep(0.05), alone=True)
    file = upload.file(rows(3000))
    assert "\r" not in (piped := upload(file).err) and "\x1b" not in piped
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        upload.command(file),
        cwd=upload.home,
        env=environment(upload.home, upload.url, TERM="xterm"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            shown += (more := os.read(leader, 65536))
        except OSError:
            break
        if not more:
            break
    assert process.wait(60) == 0
    text = shown.decode()
    assert re.search(r"uploading .*/3,000 rows, \d+ rows/s, .* left", text), text[-2000:]
    assert "3,000 rows read: 3,000 written" in text


@pytest.mark.slow
@pytest.mark.parametrize("form", ["list of large rows", "lines of small rows", "one endless row"])
def test_a_large_file_needs_little_memory(against, form):
    proxy, upload = against(alone=True)
    # What it was sent is of no interest here, and would fill this process.
    proxy.calls = type("Forgetful", (list,), {"append": lambda self, call: None})()
    command = upload.command("-", *(["--dry-run"] if form != "list of large rows" else []))
    process = subprocess.Popen(
        command,
        cwd=upload.home,
        env=environment(upload.home, upload.url),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

    def feed():
        with gzip.GzipFile(fileobj=process.stdin, mode="wb", compresslevel=1) as out:
            if form == "one endless row":
                out.write(b'[{"pk":"endless","answer":"')
                for _ in range(150):
                    out.write(b"word " * 200_000)
                out.write(b'"},{"pk":"q","answer":"a"}]')
            elif form == "list of large rows":
                out.write(b"[")
                for n in range(900):
                    out.write(b"," * bool(n) + json.dumps({"pk": f"q {n}", "answer": "word " * 20_000}).encode())
                out.write(b"]")
            else:
                for n in range(6):
                    lines = (f'{{"pk":"Question {n} {m}?","answer":"{"word " * 24}"}}\n' for m in range(100_000))
                    out.write("".join(lines).encode())
        process.stdin.close()

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    peak = 0
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as status:
                peak = max([peak, *(int(line.split()[1]) for line in status if line.startswith("VmHWM"))])
        except FileNotFoundError:
            break
        time.sleep(0.05)
    said = process.stderr.read().decode()
    assert process.wait(10) == (form == "one endless row"), said
    assert "rows read" in said and 0 < peak < 100_000, f"{peak} kB; {said}"
