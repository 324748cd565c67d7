"""Door 6 on Lambda: the API function sends to SQS, the worker function gets its messages. Processes
end at the worst moment, sends fail, messages come twice: no job is lost, and none is asked twice
after its answer was stored."""

import contextlib
import hashlib
import json
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import IncompleteRead

import pytest
from clients import Http, new_id, standin

from functions import Functions
from target import until

pytestmark = pytest.mark.functions("the queue and its worker")

ENDED = ("completed", "failed", "cancelled")


class Jobs(Functions):
    """Functions whose dead workers are found out within six seconds, although their queue hides what it
    delivers for much longer, as it must on AWS."""

    def __init__(self, *, emulator=(), **options):
        super().__init__(emulator=["--visibility-ms", "5400000", *emulator], elasticmq=False, **options)


@contextlib.contextmanager
def running(**options):
    lambdas = Jobs(**options)
    try:
        yield lambdas.start()
    finally:
        lambdas.close()


@pytest.fixture(scope="module")
def shared():
    with running() as lambdas:
        yield lambdas


def working(lambdas, *functions):
    """The processes of these functions that have an invocation."""
    seen = lambdas.control("/seen")["invocations"]
    return [one["pid"] for one in seen if one["function"] in functions and one["outcome"] is None]


def kill(pid):
    """Ends a process at once. It may have ended by itself a moment ago."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def knobs(lambdas, **turned):
    """Makes sends fail, or all of them well again."""
    lambdas.control("/knobs", turned)


def deliver(lambdas, job, **changes):
    """Puts a job's message into the queue once more."""
    row = lambdas.tables.jobs()[job]
    message = json.dumps({"caller": row["caller"]["S"], "id": job, **changes})
    lambdas.control("/enqueue", {"body": message})
    return message


def submit(lambdas, prompt, **headers):
    reply = Http(lambdas).post("/invokeModel", {"prompt": prompt}, **headers)
    assert reply.status == 200, reply.text
    return reply.headers["location"].removeprefix("/jobs/")


def show(lambdas, job):
    return Http(lambdas).get(f"/jobs/{job}").json()


def ended(lambdas, job, limit=60):
    """The job, once it has ended."""

    def look():
        status = show(lambdas, job)
        return status["status"] in ENDED and status

    return until(look, limit, 0.1, f"the end of job {job}")


def drained(lambdas):
    """Waits until no message waits or is worked on."""
    until(lambda: lambdas.control("/seen")["queued"] == 0, 60, 0.1, "an empty queue")


def kill_when_asked(lambdas, prompt, times):
    """Kills the worker once the model has been asked so often."""
    until(lambda: len(lambdas.standin.asked(prompt)) == times, 60, what=f"the model call number {times}")
    for pid in working(lambdas, "worker"):
        kill(pid)


def unsent(lambdas, prompt, key="key"):
    """A job whose row stands and whose message was never sent."""
    before, headers = set(lambdas.tables.jobs()), {"idempotency_key": new_id()} if key else {}
    knobs(lambdas, sends_refused={"every": 1})
    try:
        assert Http(lambdas).post("/invokeModel", {"prompt": prompt}, **headers).status == 503
    finally:
        knobs(lambdas)
    [job] = set(lambdas.tables.jobs()) - before
    return job


def test_a_job_is_taken_in_sent_and_worked_off(shared):
    prompt = standin("through the queue")
    body = json.dumps({"prompt": prompt}).encode()
    reply = Http(shared).post("/invokeModel", body)
    result = reply.json()["SendMessageResponse"]["SendMessageResult"]
    assert result["MD5OfMessageBody"] == hashlib.md5(body).hexdigest()
    assert reply.headers["location"] == f"/jobs/{result['MessageId']}"
    job = ended(shared, result["MessageId"])
    assert (job["status"], job["completion"]) == ("completed", f"[stand-in] {prompt}")
    drained(shared)
    assert len(shared.standin.asked(prompt)) == 1


@pytest.mark.parametrize(
    "body, status, code",
    [
        ({"prompt": ""}, 400, "invalid_request"),
        ({"prompt": "q", "model": "no.such"}, 404, "model_not_found"),
        (b"nonsense", 400, "invalid_request"),
    ],
)
def test_a_wrong_job_is_refused_before_it_is_sent(shared, body, status, code):
    before = shared.tables.jobs()
    reply = Http(shared).post("/invokeModel", body)
    assert (reply.status, reply.error["code"]) == (status, code)
    assert shared.tables.jobs().keys() == before.keys()


@pytest.mark.parametrize("missing", ["JOBS_QUEUE_URL", "STATE_TABLE"])
def test_without_a_queue_or_a_store_no_jobs_are_taken(missing):
    env = {missing: "", **({"ANSWERS_TABLE": ""} if missing == "STATE_TABLE" else {})}
    with running(env=env) as lambdas:
        reply = Http(lambdas).post("/invokeModel", {"prompt": "q"})
        assert (reply.status, reply.error["code"]) == (503, "unavailable")
        assert "takes no jobs" in reply.error["message"]


def test_a_fifo_queue_stops_the_start_with_a_sentence():
    with running(env={"JOBS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/1/j.fifo"}) as lambdas:
        assert Http(lambdas).post("/invokeModel", {"prompt": "q"}).status >= 500
        until(lambda: "standard queue" in lambdas.log, what="the sentence in the log")


def test_a_send_that_fails_is_told_and_the_same_key_gives_one_job(shared):
    prompt, key = standin("not sent"), new_id()
    knobs(shared, sends_refused={"every": 1})
    try:
        ask = lambda: Http(shared).post("/invokeModel", {"prompt": prompt}, idempotency_key=key)
        for _ in range(2):
            reply = ask()
            assert (reply.status, reply.error["code"]) == (503, "unavailable")
        knobs(shared)
        locations = {ask().headers["location"] for _ in range(3)}
    finally:
        knobs(shared)
    assert len(locations) == 1
    assert ended(shared, locations.pop().removeprefix("/jobs/"))["status"] == "completed"
    drained(shared)
    assert len(shared.standin.asked(prompt)) == 1


def test_a_job_without_a_key_that_was_not_sent_is_ended(shared):
    prompt = standin("nobody knows it")
    job = unsent(shared, prompt, key=None)
    assert show(shared, job)["status"] == "failed"
    assert show(shared, job)["error"]["code"] == "unavailable"
    assert shared.standin.asked(prompt) == []


@pytest.mark.parametrize("key", [None, "a-key"])
def test_a_send_that_may_have_worked_neither_loses_nor_doubles_the_job(shared, key):
    prompt = standin("ambiguous")
    headers = {"idempotency_key": f"{key}-{new_id()}"} if key else {}
    knobs(shared, sends_ambiguous={"every": 1})
    try:
        reply = Http(shared).post("/invokeModel", {"prompt": prompt}, **headers)
    finally:
        knobs(shared)
    drained(shared)
    if reply.status == 200:
        assert ended(shared, reply.headers["location"].removeprefix("/jobs/"))["status"] == "completed"
    elif key:
        assert reply.status == 503
        assert ended(shared, submit(shared, prompt, **headers))["status"] == "completed"
    drained(shared)
    assert len(shared.standin.asked(prompt)) == (1 if reply.status == 200 or key else 0)


def test_a_message_that_comes_often_is_worked_off_once(shared):
    prompt = standin("many times", tokens=40, gap_ms=40)
    job = submit(shared, prompt)
    for _ in range(5):
        deliver(shared, job)
    assert ended(shared, job)["status"] == "completed"
    drained(shared)
    assert len(shared.standin.asked(prompt)) == 1


def test_a_job_whose_worker_was_killed_is_finished_by_another(shared):
    prompt = standin("killed", tokens=60, gap_ms=30)
    job = submit(shared, prompt)
    kill_when_asked(shared, prompt, 1)
    done = ended(shared, job)
    assert (done["status"], len(done["completion"].split())) == ("completed", 60)
    assert len(shared.standin.asked(prompt)) == 2


def test_a_job_that_ends_its_workers_is_given_up_with_the_reason():
    prompt = standin("deadly", tokens=200, gap_ms=50)
    with running(emulator=["--max-receives", "5"]) as lambdas:
        job = submit(lambdas, prompt)
        for times in (1, 2, 3):
            kill_when_asked(lambdas, prompt, times)
        done = ended(lambdas, job)
        assert (done["status"], done["error"]["code"]) == ("failed", "internal")
        assert "stopped each time" in done["error"]["message"]
        drained(lambdas)
        assert len(lambdas.standin.asked(prompt)) == 3


def test_a_job_fails_before_its_message_becomes_a_dead_letter():
    prompt = standin("short patience", tokens=200, gap_ms=50)
    with running(emulator=["--max-receives", "2"]) as lambdas:
        job = submit(lambdas, prompt)
        kill_when_asked(lambdas, prompt, 1)
        done = ended(lambdas, job)
        assert (done["status"], done["error"]["code"]) == ("failed", "internal")
        drained(lambdas)
        assert len(lambdas.standin.asked(prompt)) == 1


def test_a_message_that_names_no_job_becomes_a_dead_letter(shared):
    bodies = ["nonsense", '{"caller": 1}', "[]", '{"caller": "ann", "id": "another gateway\'s"}']
    for body in bodies:
        shared.control("/enqueue", {"body": body})
    until(lambda: set(bodies) <= set(shared.control("/seen")["dead_letters"]), 60, 0.1, "the dead letters")


def test_a_job_that_cannot_be_read_fails_with_the_reason_and_is_a_dead_letter(shared):
    job = unsent(shared, standin("unreadable"))
    shared.tables.change(job, question="no JSON")
    message = deliver(shared, job)
    until(lambda: message in shared.control("/seen")["dead_letters"], 60, 0.1, "the dead letter")
    assert shared.tables.jobs()[job]["phase"]["S"] == "failed"


def test_a_failing_job_is_tried_three_times_and_keeps_its_reason(shared):
    broken = {"kind": "cut", "after": 2}
    prompt = standin("broken", tokens=9, fault=broken)
    done = ended(shared, submit(shared, prompt))
    assert (done["status"], done["error"]["code"]) == ("failed", "upstream_error")
    drained(shared)
    assert len(shared.standin.asked(prompt)) == 3
    assert not any(prompt in letter for letter in shared.control("/seen")["dead_letters"])


def test_a_stored_answer_is_never_asked_for_again(shared):
    prompt = standin("stored once")
    job = submit(shared, prompt)
    first = ended(shared, job)
    # As if the worker had died after the answer was stored and before its job was.
    shared.tables.change(job, phase="running", lease_until=0)
    deliver(shared, job)
    again = ended(shared, job)
    assert (again["status"], again["completion"]) == ("completed", first["completion"])
    assert shared.tables.jobs()[job]["attempts"]["N"] == "2"
    assert len(shared.standin.asked(prompt)) == 1


def test_a_lost_message_is_sent_again_when_somebody_asks_for_its_job(shared):
    prompt = standin("lost")
    job = unsent(shared, prompt)
    assert show(shared, job)["status"] == "queued"
    drained(shared)
    assert shared.standin.asked(prompt) == [], "a young job is only slow"
    shared.tables.change(job, created_at=int((time.time() - 130) * 1000))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: show(shared, job), range(8)))
    assert ended(shared, job)["status"] == "completed"
    assert len(shared.standin.asked(prompt)) == 1


def test_a_running_job_is_cancelled_from_another_process(shared):
    prompt = standin("stop me", tokens=2000, gap_ms=20)
    job = submit(shared, prompt)
    until(lambda: shared.standin.asked(prompt), 30, what="the model call")
    before = len(shared.standin.seen()["dropped"])
    assert Http(shared).delete(f"/jobs/{job}").json()["status"] == "cancelled"
    until(lambda: len(shared.standin.seen()["dropped"]) > before, 20, what="the dropped stream")
    drained(shared)
    assert show(shared, job)["status"] == "cancelled"
    assert len(shared.standin.asked(prompt)) == 1


def test_a_queued_job_is_cancelled_and_never_asked():
    with running(emulator=["--concurrency", "1"]) as lambdas:
        first, second = standin("first", tokens=60, gap_ms=40), standin("second")
        running_job = submit(lambdas, first)
        until(lambda: lambdas.standin.asked(first), 30, what="the model call")
        waiting = submit(lambdas, second)
        assert show(lambdas, waiting)["status"] == "queued"
        assert Http(lambdas).delete(f"/jobs/{waiting}").json()["status"] == "cancelled"
        assert ended(lambdas, running_job)["status"] == "completed"
        drained(lambdas)
        assert show(lambdas, waiting)["status"] == "cancelled"
        assert lambdas.standin.asked(second) == []


@pytest.mark.slow
def test_five_hundred_jobs_and_a_hail_of_kills_end_every_job():
    draw = random.Random(500)
    # Some are killed before they have hidden their message for less.
    options = ["--max-receives", "5", "--concurrency", "8", "--visibility-ms", "6000"]
    with running(emulator=options) as lambdas:
        prompts = {}

        def one(number):
            prompt, key = standin("hail", tokens=draw.randint(1, 12), gap_ms=5), f"hail-{number}"
            reply = None
            while reply is None or reply.status != 200:
                # A kill may cut a reply short, too; the same key gives it again.
                with contextlib.suppress(IncompleteRead):
                    reply = Http(lambdas).post("/invokeModel", {"prompt": prompt}, idempotency_key=key)
            prompts[reply.headers["location"].removeprefix("/jobs/")] = prompt

        with ThreadPoolExecutor(6) as pool:
            sending = [pool.submit(one, number) for number in range(500)]
            kills = 0
            while lambdas.control("/seen")["queued"] or not all(sent.done() for sent in sending):
                time.sleep(draw.uniform(0.2, 0.8))
                busy = working(lambdas, "worker", "rest")
                if busy and kills < 25:
                    kill(draw.choice(busy))
                    kills += 1
            for sent in sending:
                sent.result()
        assert kills >= 10 and len(prompts) == 500
        rows = lambdas.tables.jobs()
        found = [rows[job]["phase"]["S"] for job in prompts]
        assert set(found) <= {"completed", "failed"}, {phase: found.count(phase) for phase in set(found)}
        assert found.count("completed") > 480
        asked = json.dumps(lambdas.standin.seen()["requests"])
        for job in draw.sample(sorted(prompts), 60):
            status = show(lambdas, job)
            assert status["completion"] or status["error"]["message"], status
        assert asked.count("hail") >= found.count("completed")
