"""`--domain NAME`: where a domain of Amazon OpenSearch Service is, asked of AWS, by the commands that use it."""

import json
import os
import subprocess

import pytest
from certificates import certificate
from clients import new_id
from opensearch import opensearch
from searching import Proxy, says

from target import GATEWAY

pytestmark = pytest.mark.local("the command line")

HASHED = "local.hashed-embedding-256"


@pytest.fixture
def domain(tmp_path):
    """A domain as AWS describes it, its endpoint an OpenSearch behind TLS. `run` runs the command beside it."""
    trusted = certificate(tmp_path / "tls", "127.0.0.1")
    there = Proxy(opensearch(), lambda asked: None, trusted.context)
    status = {"DomainId": "1/docs", "DomainName": "docs", "ARN": "arn:aws:es:us-east-1:1:domain/docs"}
    status |= {"Endpoint": f"127.0.0.1:{there.port}", "EngineVersion": "OpenSearch_2.19", "ClusterConfig": {}}

    def described(asked):
        if asked.path.endswith("/opensearch/domain/docs"):
            return says(200, {"DomainStatus": status})
        if asked.path.endswith("/domain"):
            return says(200, {"DomainNames": [{"DomainName": "docs"}]})
        return says(404, {"message": "no"}, x_amzn_errortype="ResourceNotFoundException")

    aws = Proxy(None, described)
    env = {"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": str(trusted.file)}
    env |= {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    env |= {"AWS_ENDPOINT_URL_OPENSEARCH": aws.url, "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"}

    class Domain:
        endpoint, described, asked = f"https://127.0.0.1:{there.port}", status, there.asked

        @staticmethod
        def run(*args, **more):
            return subprocess.run(
                [GATEWAY, *args], env=env | more, cwd=tmp_path, capture_output=True, text=True, timeout=120
            )

    yield Domain
    aws.stop()
    there.stop()


@pytest.fixture
def document(tmp_path):
    (tmp_path / "zebras.md").write_text("# Zebras\n\nZebras eat grass.\n")
    return "zebras.md"


def test_documents_are_indexed_into_a_domain_and_the_doctor_finds_them(domain, document):
    index = f"test-{new_id()}"
    options = ["--index", index, "--embeddings-model", HASHED]
    done = domain.run("index", document, "--domain", "docs", *options)
    assert done.returncode == 0, done.stderr
    [held] = opensearch().documents(index).values()
    assert "Zebras eat grass." in held["text"] and domain.asked
    done = domain.run("doctor", "--domain", "docs", "--port", "0", "--json", OPENSEARCH_INDEX=index)
    findings = {line["what"]: line for line in json.loads(done.stdout)["findings"]}
    assert done.returncode == 0, done.stdout
    assert domain.endpoint in findings["domain"]["says"] and "1 document" in findings["index"]["says"]


def test_the_doctor_tells_vectors_of_another_model(domain, document):
    index = f"test-{new_id()}"
    domain.run("index", document, "--domain", "docs", "--index", index, "--embeddings-model", HASHED)
    meta = {"_meta": {"llm_gateway": {"embeddings_model": "another-model", "dimensions": 256}}}
    opensearch().ask("PUT", f"/{index}/_mapping", meta)
    done = domain.run("doctor", "--domain", "docs", "--port", "0", OPENSEARCH_INDEX=index)
    assert done.returncode == 1 and "another-model" in done.stdout


def test_a_domain_that_is_not_there_or_not_ready_stops_the_run(domain, document):
    done = domain.run("index", document, "--domain", "other")
    assert done.returncode == 1 and "no OpenSearch domain other" in done.stderr and "docs" in done.stderr
    domain.described["Endpoint"] = None
    done = domain.run("index", document, "--domain", "docs")
    assert done.returncode == 1 and "no endpoint yet" in done.stderr
    assert not domain.asked


def test_two_places_at_once_are_refused(domain, document):
    done = domain.run("index", document, "--domain", "docs", OPENSEARCH_DOMAIN_ENDPOINT="https://elsewhere")
    assert done.returncode == 1 and "--domain" in done.stderr and not domain.asked
    assert domain.run("index", document, "--domain", "docs", "--data", "here").returncode == 2
