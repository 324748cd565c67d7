"""What OpenSearch is shown of who asks: signatures as botocore works them out, a password, or nothing."""

import base64
import hashlib
import re
import urllib.parse

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from clients import Http, new_id, standin
from searching import DOCUMENTS, searching

from opensearch import opensearch

KEY, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "a session/token+with=signs=="
SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<headers>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)
QUESTION = "What does the blue whale eat?"
# Characters that an index may have in its name and that a URL writes in different ways.
ODD = "notes+ü=(1)~a'b;c@d&e$!"


def signature(asked, service, token, body=None):
    """The signature that botocore gives a request that came in."""
    found = SIGNED.fullmatch(asked.headers["authorization"])
    assert (found["key"], found["region"], found["service"]) == (KEY, "us-east-1", service)
    signed = found["headers"].split(";")
    path, _, query = asked.path.partition("?")
    request = AWSRequest(
        asked.method,
        f"http://{asked.headers['host']}{path}",
        headers={name: asked.headers[name] for name in signed},
        data=asked.body if body is None else body,
        params=dict(urllib.parse.parse_qsl(query, keep_blank_values=True)),
    )
    request.context["timestamp"] = asked.headers["x-amz-date"]
    signer = SigV4Auth(Credentials(KEY, SECRET, token), service, "us-east-1")
    text = signer.string_to_sign(request, signer.canonical_request(request))
    return signer.signature(text, request), found["signature"], signed


def searched(env, index=None):
    """Everything that a gateway asks of OpenSearch to answer one question. The index has two shards, which the
    gateway asks one by one."""
    index = opensearch().create(1024, index, shards=2)
    with searching(DOCUMENTS, proxied=True, index=index, env=env) as target:
        # With a filter, because its meaning is in the mapping, which is asked for by GET.
        reply = Http(target).ask(standin(QUESTION), rag_filter={"source": list(DOCUMENTS)}).json()
        assert reply["sources"], "the signed requests got their answers"
        return list(target.proxy.asked)


KEYS = pytest.param(None, id="keys", marks=pytest.mark.local("a function always has a session"))


@pytest.mark.parametrize("token", [KEYS, pytest.param(TOKEN, id="session")])
@pytest.mark.parametrize("service", ["es", "aoss"])
def test_every_request_has_the_signature_that_botocore_gives_it(service, token):
    env = {"OPENSEARCH_AUTH": "iam", "OPENSEARCH_SERVICE": service}
    env |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    env |= {"AWS_SESSION_TOKEN": token} if token else {}
    asked = searched(env, f"{ODD}{new_id()}")
    assert {request.method for request in asked} == {"GET", "POST"}
    for request in asked:
        again, sent, signed = signature(request, service, token)
        assert again == sent, (request.method, request.path, signed)
        assert request.headers["x-amz-content-sha256"] == hashlib.sha256(request.body).hexdigest()
        assert {"host", "x-amz-date", "x-amz-content-sha256"} <= set(signed)
        assert request.headers.get("x-amz-security-token") == token
        assert ("x-amz-security-token" in signed) == bool(token)
        # A proxy may change them.
        assert not {"content-length", "user-agent", "connection"} & set(signed)
    # What needs no escape has none: whoever stands between may take it away.
    assert all(request.path.startswith("/" + urllib.parse.quote(ODD, safe="~")) for request in asked)
    if service == "es":
        assert any("%7C" in request.path for request in asked), "a query string that is written in two ways"


def test_a_signature_is_of_the_body_too():
    env = {"OPENSEARCH_AUTH": "iam", "OPENSEARCH_SERVICE": "es", "AWS_SESSION_TOKEN": TOKEN}
    env |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    search = [request for request in searched(env) if request.searches][-1]
    del search.headers["x-amz-content-sha256"]
    search.headers["x-amz-content-sha256"] = hashlib.sha256(b"{}").hexdigest()
    again, sent, _ = signature(search, "es", TOKEN, b"{}")
    assert again != sent


def test_a_user_and_a_password_are_sent_as_they_are_and_never_logged():
    env = {"OPENSEARCH_USERNAME": "reader", "OPENSEARCH_PASSWORD": "pässwörd: with a colon"}
    for request in searched(env):
        kind, coded = request.headers["authorization"].split()
        assert (kind, base64.b64decode(coded).decode()) == ("Basic", "reader:pässwörd: with a colon")


def test_a_server_of_ones_own_is_asked_without_a_name():
    for request in searched({}):
        assert "authorization" not in request.headers
        assert not [name for name in request.headers if name.lower().startswith("x-amz")]
