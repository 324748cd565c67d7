"""Several gateways of the command over one pair of tables and one queue, on a server of SQS's protocol:
whoever takes a job in, any of them works it off, and none is lost when one of them ends."""

import contextlib
import time

import pytest
from clients import Http, new_id, standin

from dynamodb import Proxy
from elasticmq import Queues
from tables import Tables
from target import Standin, Target, until

pytestmark = pytest.mark.local("the command")


@pytest.fixture(scope="module")
def services():
    """Bedrock, the tables and the queues."""
    bedrock, tables, queues = Standin(), Tables(), Queues()
    try:
        yield bedrock, tables, queues
    finally:
        queues.stop()
        tables.stop()
        bedrock.stop()


@pytest.fixture
def fleet(services):
    """Starts gateways over the same tables and a queue of this test's own."""
    bedrock, tables, queues = services
    queue, dead = queues.create(f"jobs-{new_id()}")
    env = {
        **tables.env,
        "AWS_ENDPOINT_URL_SQS": queues.url,
        "JOBS_QUEUE_URL": queue,
        "LEASE_SECONDS": "3",
        "JOBS_CONCURRENCY": "3",
    }
    with contextlib.ExitStack() as stack:

        def start():
            target = Target(bedrock, env=env)
            stack.callback(target.close)
            return target.start()

        start.env, start.left = env, lambda: queues.count(queue) + queues.count(dead)
        yield start


def submit(target, prompt):
    reply = Http(target).post("/invokeModel", {"prompt": prompt})
    assert reply.status == 200, reply.text
    return reply.headers["location"]


def ended(target, location, limit=60):
    def look():
        job = Http(target).get(location).json()
        return job["status"] not in ("queued", "running") and job

    return until(look, limit, 0.1, f"the end of {location}")


def test_a_job_taken_in_by_one_is_seen_and_worked_off_by_all(fleet):
    one, two = fleet(), fleet()
    prompts = [standin("shared", tokens=8, gap_ms=20) for _ in range(20)]
    jobs = [submit(target, prompt) for prompt, target in zip(prompts, [one, two] * 10)]
    for job in jobs:
        assert ended(two, job)["status"] == ended(one, job)["status"] == "completed"
    assert all(len(one.standin.asked(prompt)) == 1 for prompt in prompts)
    until(lambda: fleet.left() == 0, 20, 0.1, "the deletion of every message")


def test_a_job_whose_gateway_was_killed_is_finished_by_another(fleet):
    one = fleet()
    prompts = [standin("killed", tokens=60, gap_ms=40) for _ in range(3)]
    jobs = [submit(one, prompt) for prompt in prompts]
    until(lambda: all(one.standin.asked(prompt) for prompt in prompts), 30, what="the model calls")
    one.kill()
    two = fleet()
    for job, prompt in zip(jobs, prompts):
        assert ended(two, job)["status"] == "completed"
        assert len(two.standin.asked(prompt)) == 2
    until(lambda: fleet.left() == 0, 20, 0.1, "the deletion of every message")


def test_a_stop_in_order_hands_jobs_over(fleet):
    one, two = fleet(), fleet()
    prompts = [standin("handed over", tokens=800, gap_ms=15) for _ in range(4)]
    jobs = [submit(one, prompt) for prompt in prompts]
    until(lambda: all(one.standin.asked(prompt) for prompt in prompts), 30, what="the model calls")
    assert one.stop() == 0
    for job in jobs:
        assert ended(two, job, 90)["status"] == "completed"


def test_a_job_is_cancelled_through_any_gateway(fleet):
    one, prompt = fleet(), standin("stop me", tokens=2000, gap_ms=20)
    job = submit(one, prompt)
    until(lambda: one.standin.asked(prompt), 30, what="the model call")
    two, before = fleet(), len(one.standin.seen()["dropped"])
    assert Http(two).delete(job).json()["status"] == "cancelled"
    until(lambda: len(two.standin.seen()["dropped"]) > before, 20, what="the dropped stream")
    time.sleep(0.5)
    assert ended(one, job)["status"] == "cancelled"
    assert len(one.standin.asked(prompt)) == 1


@pytest.mark.parametrize(
    "left_out, args, word",
    [
        (("ANSWERS_TABLE", "STATE_TABLE"), [], "JOBS_QUEUE_URL"),
        (("STATE_TABLE",), [], "ANSWERS_TABLE"),
        ((), ["--no-store"], "--no-store"),
        (("AWS_REGION",), [], "Region"),
    ],
)
def test_settings_that_do_not_go_together_stop_the_start_with_a_sentence(fleet, left_out, args, word):
    target = Target(model="extractive", env=fleet.env | {name: "" for name in left_out}, args=args)
    try:
        code, said = target.once()
        assert code == 1 and word in said and said.count("\n") == 1, said
    finally:
        target.close()


@pytest.mark.parametrize(
    "env, words",
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, ["No AWS credentials", "AWS_PROFILE"]),
        ({"ANSWERS_TABLE": "absent"}, ["Table absent does not exist"]),
        ({"STATE_TABLE": "absent"}, ["Table absent does not exist"]),
        ({"ANSWERS_TABLE": "state", "STATE_TABLE": "answers"}, ["Table state", "ANSWERS_TABLE", "partition key `pk`"]),
        ({"STATE_TABLE": "other"}, ["Table other", "STATE_TABLE", "sort key `sk`"]),
        ({"STATE_TABLE": "answers"}, ["STATE_TABLE", "two names"]),
        ({"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:9"}, ["cannot be reached", "AWS_ENDPOINT_URL_DYNAMODB"]),
        ({"AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:9"}, ["job queue", "JOBS_QUEUE_URL"]),
        ({"JOBS_QUEUE_URL": "http://127.0.0.1/000000000000/absent"}, ["job queue", "absent", "JOBS_QUEUE_URL"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_is_not_there_stops_the_start_with_a_sentence(services, fleet, env, words):
    if "other" in env.values():
        services[1].table("other", "pk")
    target = Target(model="extractive", env=fleet.env | env)
    try:
        # A clean home: the machine's own credentials are not the test's.
        target.env |= {"HOME": str(target.home)}
        code, said = target.once(60)
        assert code == 1 and all(word in said for word in words) and said.count("\n") == 1, said
        assert "panicked" not in said and "listening" not in said
    finally:
        target.close()


def test_who_may_not_describe_a_table_may_use_it(services, fleet):
    denied = {"__type": "com.amazonaws.dynamodb.v20120810#AccessDeniedException", "message": "no"}
    proxy = Proxy(lambda operation, body: (400, denied) if operation == "DescribeTable" else None, services[1])
    target = Target(services[0], env=fleet.env | {"AWS_ENDPOINT_URL_DYNAMODB": proxy.url})
    try:
        target.start()
        assert ended(target, submit(target, standin("undescribed")))["status"] == "completed"
    finally:
        target.close()
        proxy.stop()


def test_tables_without_a_queue_take_no_jobs(services, fleet):
    target = Target(services[0], env=fleet.env | {"JOBS_QUEUE_URL": ""})
    try:
        reply = Http(target.start()).post("/invokeModel", {"prompt": "q"})
        assert (reply.status, reply.error["code"]) == (503, "unavailable")
    finally:
        target.close()
