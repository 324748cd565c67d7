"""`llm-gateway doctor`: what it sees, what it says of it, and that it changes nothing and comes to an end."""

import contextlib
import json
import os
import socket
import subprocess
import time

import boto3
import pytest
from dynamodb import Moto
from opensearch import opensearch
from searching import Proxy, cut, refuses, says, stalls

from target import GATEWAY, Standin, Target

pytestmark = pytest.mark.local("the command line")

DOMAIN = "arn:aws:es:us-east-1:123456789012:domain/docs/*"
# Whom moto takes every caller for.
ME = "arn:aws:sts::123456789012:user/moto"


class Report:
    """What a run printed: `code`, and state and sentences by what was looked at."""

    def __init__(self, done):
        self.code, self.error = done.returncode, done.stderr
        self.whole = json.loads(done.stdout)
        self.lines = [(line["what"], line["state"], line["says"]) for line in self.whole["findings"]]

    def __getitem__(self, what):
        found = [(state, says) for name, state, says in self.lines if name == what]
        assert len(found) == 1, (what, self.lines)
        return found[0]

    @property
    def wrong(self):
        return [what for what, state, _ in self.lines if state == "wrong"]


@pytest.fixture
def doctor(tmp_path):
    """Runs it with these arguments and settings, in a directory of its own."""

    def run(*args, limit=60, **env):
        clean = {"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)} | env
        port = [] if "--port" in args else ["--port", "0"]
        command = [GATEWAY, "doctor", "--json", *port, *args]
        done = subprocess.run(command, env=clean, cwd=tmp_path, capture_output=True, text=True, timeout=limit)
        return Report(done)

    return run


@pytest.fixture(scope="module")
def moto():
    server = Moto()
    yield server
    server.stop()


@pytest.fixture
def account(moto):
    """An account of one test's own, as settings; `clients` gives boto3's."""

    class Account:
        env = {
            "AWS_ENDPOINT_URL": moto.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIAVERYPRIVATE",
            "AWS_SECRET_ACCESS_KEY": "verysecret",
        }

        @staticmethod
        def client(service):
            keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
            return boto3.client(service, endpoint_url=moto.url, region_name="us-east-1", **keys)

        def table(self, *keys, ttl="expires_at"):
            name = f"table-{time.monotonic_ns()}"
            moto.table(name, *keys)
            if ttl:
                spec = {"Enabled": True, "AttributeName": ttl}
                moto.ask("UpdateTimeToLive", TableName=name, TimeToLiveSpecification=spec)
            return name

        def domain(self, principal=ME, action="es:ESHttp*", **options):
            name = f"d{time.monotonic_ns()}"[-20:]
            allow = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": action}
            allow["Resource"] = DOMAIN.replace("/docs/", f"/{name}/")
            policies = json.dumps({"Statement": [allow]})
            options = {"EngineVersion": "OpenSearch_2.19"} | options
            self.client("opensearch").create_domain(DomainName=name, AccessPolicies=policies, **options)
            return name

    return Account()


@pytest.fixture
def server():
    """Starts servers that answer as told, before an OpenSearch or before nothing."""
    with contextlib.ExitStack() as stack:

        def start(answer=None, before=None):
            proxy = Proxy(before, lambda asked: answer)
            stack.callback(proxy.stop)
            return proxy

        yield start


@pytest.fixture(scope="module")
def filled():
    """An index with a document in it, for the laptop's embeddings."""
    index = opensearch().create(256)
    row = {"text": "Zebras eat grass.", "vector_field": [1.0] + [0.0] * 255, "metadata": {"source": "zebras.md"}}
    opensearch().put(index, {"1": row})
    return index


def test_on_a_laptop_without_anything_all_is_well_and_nothing_is_left_behind(doctor, tmp_path):
    report = doctor()
    assert report.code == 0 and report.wrong == [], report.lines
    assert report["port"][0] == report["data directory"][0] == report["documents"][0] == "ok"
    assert "not asked" in report["AWS"][1]
    assert list(tmp_path.iterdir()) == []


def test_for_people_it_prints_a_line_each_and_a_last_one(tmp_path):
    env = {"PATH": os.environ["PATH"]}
    command = [GATEWAY, "doctor", "--port", "0"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and done.stderr == ""
    assert lines[0].split() == ["ok", "settings", "can", "be", "read"] and lines[-1] == "All is well."


def test_wrong_use_is_exit_code_2(tmp_path):
    command = [GATEWAY, "doctor", "--no-such-option"]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 2


def test_every_wrong_setting_is_told_at_once(doctor):
    report = doctor(DEFAULT_TEMP="9", RETRIEVAL_MODE="both", RETRIEVAL_K="0", AWS_ENDPOINT_URL="")
    assert report.code == 1 and report.wrong == ["settings"] * 3
    said = " ".join(says for _, _, says in report.lines)
    assert all(name in said for name in ["DEFAULT_TEMP", "RETRIEVAL_MODE", "RETRIEVAL_K"])


@pytest.mark.parametrize("url", ["", "localhost:4566", "no url"])
def test_an_endpoint_that_is_no_url_is_told_and_not_used(doctor, url):
    report = doctor("--model", "bedrock", AWS_ENDPOINT_URL_STS=url, AWS_REGION="us-east-1")
    assert report.code == 1 and "AWS_ENDPOINT_URL_STS" in str(report.lines)


def test_what_serve_could_not_use_is_told_as_it_would_say_it(doctor, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "answers").write_text("no rows")
    report = doctor("--data", "file", "--documents", "nowhere", "--answers", "answers", "--host", "0.0.0.0")
    assert report.code == 1
    assert sorted(report.wrong) == ["access", "answers", "data directory", "documents"]
    assert "--data" in report["data directory"][1] and "nowhere" in report["documents"][1]
    report = doctor("--data", "file/below")
    assert report.wrong == ["data directory"]


def test_a_file_of_passages_is_read_to_its_end(doctor, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    head = {"format": "llm-gateway passages 1", "embeddings_model": "local.hashed-embedding-256", "dimensions": 1}
    line = {"text": "a", "metadata": {}, "vector": "AACAPw=="}
    file = data / "passages.jsonl"
    for lines, state, word in [
        ([head, line, line], "ok", "2 passages"),
        ([head, line, {"text": "cut"}], "wrong", "line 3"),
        ([head | {"embeddings_model": "amazon.titan-embed-text-v2:0"}, line], "wrong", "EMBEDDINGS_MODEL"),
        ([{"format": "another"}], "wrong", "llm-gateway index"),
    ]:
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        report = doctor("--data", str(data))
        assert report["documents"][0] == state and word in report["documents"][1], report.lines
        assert report.code == (state == "wrong")


def test_a_port_that_a_gateway_has_is_told_from_one_that_something_else_has(doctor):
    target = Target(model="extractive").start()
    try:
        state, says = doctor("--port", str(target.address[1]))["port"]
        assert state == "note" and "gateway" in says
    finally:
        target.close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        report = doctor("--port", str(taken.getsockname()[1]))
    assert report["port"][0] == "wrong" and "--port" in report["port"][1]


def test_without_region_or_credentials_it_says_what_to_set_and_ends(doctor):
    report = doctor("--model", "bedrock", "--domain", "docs")
    assert report.code == 1 and "AWS_REGION" in report["AWS region"][1]
    report = doctor("--domain", "docs", AWS_REGION="us-east-1")
    assert "AWS_ACCESS_KEY_ID" in report["AWS credentials"][1] and report["domain"][0] == "note"


def test_credentials_are_told_by_whose_they_are_and_never_shown(doctor, account):
    report = doctor("--domain", account.domain(), **account.env)
    assert report["AWS credentials"] == ("ok", f"those of {ME}")
    told = json.dumps(report.whole) + report.error
    assert "AKIAVERYPRIVATE" not in told and "verysecret" not in told


def test_credentials_that_aws_refuses_are_told(doctor, account, server):
    body = b"""<ErrorResponse><Error><Code>ExpiredToken</Code><Message>The security token has expired</Message></Error>
        <RequestId>1</RequestId></ErrorResponse>"""
    sts = server(says(403, body))
    report = doctor("--domain", account.domain(), **account.env | {"AWS_ENDPOINT_URL_STS": sts.url})
    state, sentence = report["AWS credentials"]
    assert state == "wrong" and "ExpiredToken" in sentence and "Renew" in sentence


def test_bedrock_is_asked_for_nothing_that_is_paid(doctor):
    standin = Standin()
    env = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": standin.url, "AWS_REGION": "us-east-1"}
    env |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"}
    try:
        report = doctor("--model", "bedrock", **env)
        asked = standin.seen()["requests"]
    finally:
        standin.stop()
    assert report["model"][0] == report["embeddings"][0] == "ok", report.lines
    bodies = sorted((json.dumps(seen["body"]) for seen in asked), key=len)
    assert bodies[0] == "{}", "a text to embed would be paid"
    assert json.loads(bodies[1])["inferenceConfig"] == {"maxTokens": 0} and not json.loads(bodies[1]).get("messages")
    assert report["AWS credentials"][0] == "note", "that nobody says whose they are is not wrong"


@pytest.mark.parametrize(
    ("status", "kind", "word"),
    [
        (403, "AccessDeniedException", "bedrock:InvokeModel"),
        (403, "UnrecognizedClientException", "credentials"),
        (404, "ResourceNotFoundException", "DEFAULT_MODEL"),
    ],
)
def test_what_stands_between_here_and_bedrock_is_told(doctor, account, server, status, kind, word):
    bedrock = server(says(status, {"message": "no"}, x_amzn_errortype=kind))
    report = doctor("--model", "bedrock", **account.env | {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock.url})
    assert report["model"][0] == "wrong" and word in report["model"][1], report.lines


def test_tables_and_queue_in_order_are_ok(doctor, account):
    sqs = account.client("sqs")
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "3"})
    url = sqs.create_queue(QueueName="jobs", Attributes={"RedrivePolicy": redrive})["QueueUrl"]
    tables = {"ANSWERS_TABLE": account.table("pk"), "STATE_TABLE": account.table("pk", "sk")}
    report = doctor(**account.env, **tables, JOBS_QUEUE_URL=url)
    assert report.code == 0, report.lines
    assert report["answers table"][0] == report["state table"][0] == report["job queue"][0] == "ok"


def test_tables_and_queue_that_are_not_right_are_told(doctor, account):
    tables = {"ANSWERS_TABLE": account.table("pk", "sk"), "STATE_TABLE": account.table("pk", "sk", ttl=None)}
    report = doctor(**account.env, **tables, JOBS_QUEUE_URL=account.env["AWS_ENDPOINT_URL"] + "/1/gone")
    assert sorted(report.wrong) == ["answers table", "job queue", "state table"]
    assert "partition key" in report["answers table"][1] and "expires_at" in report["state table"][1]
    other = {"ANSWERS_TABLE": "gone", "STATE_TABLE": account.table("pk", "sk", ttl="another")}
    report = doctor(**account.env, **other)
    assert "does not exist" in report["answers table"][1] and "expires_at" in report["state table"][1]


def test_a_domain_that_is_not_there_is_told_with_those_that_are(doctor, account):
    there = account.domain()
    report = doctor("--domain", "no-such-domain", **account.env)
    assert report.code == 1 and report["domain"][0] == "wrong"
    assert "no-such-domain" in report["domain"][1] and there in report["domain"][1]


def test_a_domain_is_judged_by_what_aws_says_of_it(doctor, account):
    safe = {
        "EncryptionAtRestOptions": {"Enabled": True},
        "NodeToNodeEncryptionOptions": {"Enabled": True},
        "DomainEndpointOptions": {"EnforceHTTPS": True},
        "AdvancedSecurityOptions": {"Enabled": True},
    }
    report = doctor("--domain", account.domain(**safe), **account.env)
    assert [report[what][0] for what in ("domain", "engine", "access policy", "encryption")] == ["ok"] * 4
    assert report["fine-grained access"][0] == "note" and ME in report["fine-grained access"][1]
    report = doctor("--domain", account.domain(action="es:ESHttpGet"), **account.env)
    assert "es:ESHttpPost" in report["access policy"][1] and "es:ESHttpGet" not in report["access policy"][1]
    assert "HTTPS is not enforced" in report["encryption"][1]
    report = doctor("--domain", account.domain(principal="*"), **account.env)
    assert report["access policy"][0] == "wrong" and "anybody" in report["access policy"][1]
    old = account.domain(EngineVersion="Elasticsearch_7.10")
    report = doctor("--domain", old, **account.env)
    assert report["engine"][0] == "wrong" and "Upgrade" in report["engine"][1]


def test_an_index_in_order_is_searched_as_the_gateway_searches(doctor, filled, server):
    proxy = server(before=opensearch())
    report = doctor(OPENSEARCH_DOMAIN_ENDPOINT=proxy.url, OPENSEARCH_INDEX=filled)
    assert report.code == 0, report.lines
    assert "2.19.1" in report["OpenSearch"][1] and "1 document" in report["index"][1]
    assert "merged by the server" in report["search"][1]
    assert {asked.method for asked in proxy.asked} <= {"GET", "POST"}, "it changes nothing"
    text = doctor(OPENSEARCH_DOMAIN_ENDPOINT=proxy.url, OPENSEARCH_INDEX=filled, RETRIEVAL_MODE="text")
    assert "by words" in text["search"][1]


def test_what_is_wrong_with_an_index_is_told(doctor, filled):
    url = opensearch().url
    for env, word in [
        ({"OPENSEARCH_INDEX": "not-there"}, "llm-gateway index"),
        ({"OPENSEARCH_INDEX": opensearch().create(256)}, "is empty"),
        ({"OPENSEARCH_INDEX": opensearch().create(8)}, "EMBEDDINGS_MODEL"),
        ({"OPENSEARCH_INDEX": filled, "OPENSEARCH_VECTOR_FIELD": "text"}, "knn_vector"),
    ]:
        report = doctor(OPENSEARCH_DOMAIN_ENDPOINT=url, **env)
        assert report.wrong == ["index"] and word in report["index"][1], report.lines
    assert doctor(OPENSEARCH_DOMAIN_ENDPOINT=url, OPENSEARCH_INDEX=filled).code == 0


FRONT = {"Message": "User: arn:aws:iam::1:user/x is not authorized to perform: es:ESHttpGet"}
FINE = "no permissions for [indices:data/read/search] and User [name=x, backend_roles=[], requestedTenant=null]"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (says(403, FRONT), ["es:ESHttpGet", "access policy"]),
        (refuses(403, "security_exception", FINE), ["no permissions", "backend role"]),
        (says(401, b"Unauthorized"), ["401", "OPENSEARCH_PASSWORD"]),
        (says(503, {}), ["503"]),
        (says(200, b"<html>"), ["OPENSEARCH_DOMAIN_ENDPOINT"]),
        (says(200, {"version": {"number": "7.10.2"}}), ["7.10.2"]),
        (cut, ["cannot be reached"]),
        (stalls, ["cannot be reached"]),
    ],
)
def test_a_server_that_is_not_right_is_told_with_what_to_do(doctor, server, answer, words):
    report = doctor(OPENSEARCH_DOMAIN_ENDPOINT=server(answer).url)
    assert report.code == 1
    said = " ".join(says for _, state, says in report.lines if state == "wrong")
    assert all(word in said for word in words), report.lines


@pytest.mark.slow
def test_a_service_that_says_nothing_holds_nobody_up_for_long(doctor, account, server):
    silent = server(stalls)
    begun = time.monotonic()
    env = account.env | {"AWS_ENDPOINT_URL": silent.url, "ANSWERS_TABLE": "a", "STATE_TABLE": "b"}
    env |= {"JOBS_QUEUE_URL": silent.url + "/1/jobs", "OPENSEARCH_DOMAIN_ENDPOINT": silent.url}
    report = doctor("--domain", "docs", "--model", "bedrock", limit=120, **env)
    assert report.code == 1 and time.monotonic() - begun < 120
    assert {"model", "domain", "OpenSearch"} <= set(report.wrong), report.lines
