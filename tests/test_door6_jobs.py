"""Door 6: asynchronous jobs, `POST /invokeModel` and `/jobs/{id}`."""

import hashlib
import json

import pytest
from clients import new_id, standin

from target import until


def submit(http, prompt, **more):
    reply = http.post("/invokeModel", {"prompt": prompt, **more})
    assert reply.status == 200, reply.text
    return reply.json()["SendMessageResponse"]["SendMessageResult"]["MessageId"]


def ended(http, job):
    def look():
        status = http.get(f"/jobs/{job}").json()
        return status["status"] not in ("queued", "running") and status

    return until(look, 20, 0.05, f"job {job}")


@pytest.mark.parametrize("path", ["/invokeModel", "/prod/invokeModel"])
def test_a_job_is_taken_in_as_the_sqs_integration_answers(http, path):
    body = json.dumps({"prompt": standin("md5")}).encode()
    reply = http.post(path, body)
    assert reply.status == 200
    answer = reply.json()["SendMessageResponse"]
    result = answer["SendMessageResult"]
    assert answer["ResponseMetadata"]["RequestId"]
    assert result["MD5OfMessageBody"] == hashlib.md5(body).hexdigest()
    for key in ("MD5OfMessageAttributes", "MD5OfMessageSystemAttributes", "SequenceNumber"):
        assert key in result and result[key] is None
    assert reply.headers["location"] == f"/jobs/{result['MessageId']}"


def test_the_answer_is_stored_with_its_times_and_its_usage(http):
    prompt = standin("stored")
    status = ended(http, submit(http, prompt))
    assert set(status) == {"id", "status", "completion", "error", "usage", "created_at", "completed_at"}
    assert (status["status"], status["completion"]) == ("completed", f"[stand-in] {prompt}")
    assert status["error"] is None and status["usage"]["output_tokens"] > 0
    assert status["created_at"] <= status["completed_at"] and status["created_at"].endswith("Z")


def test_a_running_job_says_so_and_takes_every_key_of_door_1(http, upstream):
    prompt = standin(tokens=30, gap_ms=40)
    job = submit(
        http, prompt, model="amazon.nova-lite-v1:0", system="Be brief.", parameters={"max_tokens": 99}
    )
    running = until(lambda: http.get(f"/jobs/{job}").json()["status"] == "running", what="running")
    assert running
    assert ended(http, job)["status"] == "completed"
    asked = upstream.asked(prompt)[0]
    assert asked["model"].endswith("amazon.nova-lite-v1:0")
    assert asked["body"]["inferenceConfig"]["maxTokens"] == 99


def test_a_failed_job_says_why(http):
    refused = {"name": "ValidationException", "status": 400, "message": "no such thing"}
    status = ended(http, submit(http, standin(error=refused)))
    assert status["status"] == "failed" and status["error"]["code"] == "invalid_request"


def test_the_same_idempotency_key_and_body_is_the_same_job(http, upstream):
    key, prompt = new_id(), standin("once")
    replies = [http.post("/invokeModel", {"prompt": prompt}, idempotency_key=key) for _ in range(3)]
    assert len({reply.headers["location"] for reply in replies}) == 1
    ended(http, replies[0].headers["location"].rsplit("/", 1)[1])
    assert len(upstream.asked(prompt)) == 1


def test_the_same_idempotency_key_with_another_body_is_a_conflict(http):
    key = new_id()
    assert http.post("/invokeModel", {"prompt": standin("a")}, idempotency_key=key).status == 200
    reply = http.post("/invokeModel", {"prompt": standin("b")}, idempotency_key=key)
    assert (reply.status, reply.error["code"]) == (409, "conflict")
    assert reply.headers["x-should-retry"] == "false"


def test_a_cancelled_job_stops_its_model(http, upstream):
    prompt = standin(tokens=2000, gap_ms=20)
    job = submit(http, prompt)
    until(lambda: upstream.asked(prompt), what="the model call")
    before = len(upstream.seen()["dropped"])
    assert http.delete(f"/jobs/{job}").json()["status"] == "cancelled"
    until(lambda: len(upstream.seen()["dropped"]) > before, 5, what="the dropped stream")
    assert http.get(f"/jobs/{job}").json()["status"] == "cancelled"


def test_a_job_that_ended_stays_as_it_ended_when_it_is_cancelled(http):
    job = submit(http, standin("done"))
    ended(http, job)
    http.delete(f"/jobs/{job}")
    assert http.get(f"/jobs/{job}").json()["status"] == "completed"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_job_that_is_not_there_is_not_found(http, method):
    reply = http.send(method, f"/jobs/{new_id()}")
    assert (reply.status, reply.error["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "body, status, code",
    [
        ({}, 400, "invalid_request"),
        ({"prompt": ""}, 400, "invalid_request"),
        ({"prompt": "q", "parameters": {"temperature": 9}}, 400, "invalid_request"),
        ({"prompt": "q", "model": "no.such"}, 404, "model_not_found"),
        (b"nonsense", 400, "invalid_request"),
    ],
)
def test_a_wrong_job_is_refused_before_it_is_queued(http, body, status, code):
    reply = http.post("/invokeModel", body)
    assert (reply.status, reply.error["code"]) == (status, code)


@pytest.mark.local("on AWS the queue's mapping caps them")
def test_at_most_so_many_jobs_run_at_once(own):
    from clients import Http

    target = own(env={"JOBS_CONCURRENCY": "2"})
    http = Http(target)
    jobs = [submit(http, standin(tokens=10, gap_ms=30)) for _ in range(6)]
    most = 0
    while any(http.get(f"/jobs/{job}").json()["status"] in ("queued", "running") for job in jobs):
        most = max(most, target.standin.seen()["open"])
    assert most == 2
    assert all(ended(http, job)["status"] == "completed" for job in jobs)


def test_a_throttled_job_is_tried_again(http, upstream):
    prompt = standin("patient", throttle=4)
    status = ended(http, submit(http, prompt))
    assert status["status"] == "completed" and len(upstream.asked(prompt)) == 5
