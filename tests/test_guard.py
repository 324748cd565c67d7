"""Who may talk to a gateway: its host, the page that asks, the key."""

import base64
import http.client
import json

import pytest
from clients import MODEL, Http, Socket, standin, told
from websockets.exceptions import InvalidStatus

from target import Target

pytestmark = pytest.mark.local("on AWS API Gateway stands guard")

KEYS = {"alice": "secret-a", "bob": "secret/b+="}
ROUTES = [
    ("POST", f"/{MODEL}"),
    ("POST", "/"),
    ("POST", "/invokeModel"),
    ("GET", "/jobs/x"),
    ("GET", "/answers/x"),
    ("DELETE", "/answers/x"),
    ("GET", "/chats"),
    ("GET", "/chats/x"),
    ("GET", "/nothing"),
    ("POST", "/health"),
]


@pytest.fixture(scope="module")
def locked():
    import target as targets

    with targets.running(keys=KEYS) as target:
        yield target


def raw(target, method, path, headers):
    """A request with exactly these headers, `Host` included."""
    connection = http.client.HTTPConnection(*target.address, timeout=20)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:8080", "[::1]:80"])
def test_names_of_this_machine_are_fine_hosts(target, host):
    assert raw(target, "GET", "/health", [("Host", host)])[0].status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.nip.io", "0.0.0.0", "[::2]", ""]
)
def test_a_foreign_host_is_forbidden(target, host):
    response, body = raw(target, "GET", "/health", [("Host", host)])
    assert response.status in (400, 403)
    if response.status == 403:
        assert json.loads(body)["error"]["code"] == "forbidden"


def test_a_request_without_or_with_two_hosts_is_refused(target):
    assert raw(target, "GET", "/health", [])[0].status in (400, 403)
    assert raw(target, "GET", "/health", [("Host", "localhost"), ("Host", "evil.example")])[0].status in (
        400,
        403,
    )


def test_a_host_may_be_allowed(own):
    target = own(args=["--allow-host", "box.lan"])
    assert raw(target, "GET", "/health", [("Host", "box.lan:99")])[0].status == 200
    assert raw(target, "GET", "/health", [("Host", "lan")])[0].status == 403


def foreign(target):
    host, port = target.address
    return [
        "null",
        "https://evil.example",
        f"http://{host}:{port + 1}",
        "file://",
        "x",
        f"http://localhost.evil:{port}",
        f"http://{host}",
    ]


def test_a_page_of_another_origin_is_forbidden_over_http_and_websocket(target):
    for origin in foreign(target):
        for method in ("GET", "OPTIONS"):
            host = "%s:%s" % target.address
            response, _ = raw(target, method, "/health", [("Host", host), ("Origin", origin)])
            assert response.status == 403, origin
            assert response.headers["access-control-allow-origin"] is None
        with pytest.raises(InvalidStatus) as refused:
            Socket(target, origin=origin).__enter__()
        assert refused.value.response.status_code == 403


def test_a_page_of_the_gateways_own_is_fine(target):
    host, port = target.address
    for origin in (f"http://{host}:{port}", f"https://{host}:{port}", f"http://localhost:{port}"):
        response, _ = raw(target, "GET", "/health", [("Host", f"{host}:{port}"), ("Origin", origin)])
        assert response.status == 200
        with Socket(target, origin=origin) as socket:
            socket.send("__ping__")
            assert socket.raw() == '"__pong__"'


@pytest.mark.parametrize("how", ["flag", "setting"])
def test_only_an_allowed_origin_is_echoed_and_never_a_star(own, how):
    origin = "https://chat.example"
    target = own(args=["--allow-origin", origin]) if how == "flag" else own(env={"ALLOWED_ORIGINS": origin})
    reply = Http(target).post(f"/{MODEL}", {"prompt": standin("cors")}, origin=origin)
    assert reply.headers["access-control-allow-origin"] == origin and reply.headers["vary"] == "origin"
    assert "x-request-id" in reply.headers["access-control-expose-headers"]
    preflight = Http(target).send("OPTIONS", f"/{MODEL}", headers={"origin": origin})
    assert preflight.status == 204 and "x-api-key" in preflight.headers["access-control-allow-headers"]
    assert Http(target).post("/x", {}, origin="https://other.example").status == 403
    assert Http(target).get("/health").headers["access-control-allow-origin"] is None


@pytest.mark.parametrize("method, path", ROUTES)
def test_every_route_needs_a_known_key(locked, method, path):
    body = {"prompt": standin("key")} if method == "POST" else None
    assert (reply := Http(locked).send(method, path, body)).status == 401 and reply.error[
        "code"
    ] == "unauthorized"
    assert (reply := Http(locked, "wrong").send(method, path, body)).status == 403 and reply.error[
        "code"
    ] == "forbidden"
    assert Http(locked, KEYS["alice"]).send(method, path, body).status not in (401, 403)
    for nearly in ("", "secret-", "secret-a ", "SECRET-A"):
        assert Http(locked).send(method, path, body, {"authorization": f"Basic {nearly}"}).status == 401


def test_health_the_page_and_preflights_are_open(locked):
    for method, path in (("GET", "/health"), ("GET", "/"), ("OPTIONS", f"/{MODEL}"), ("OPTIONS", "/chats")):
        assert Http(locked).send(method, path).status < 300


def test_a_key_may_come_as_a_header_or_as_a_bearer(locked):
    for headers in (
        {"x-api-key": KEYS["bob"]},
        {"authorization": f"Bearer {KEYS['bob']}"},
        {"authorization": f"bearer {KEYS['bob']}"},
    ):
        assert Http(locked).send("GET", "/chats", headers=headers).status == 200


def test_a_browsers_socket_sends_its_key_as_a_subprotocol_and_gets_the_plain_one_back(locked):
    prompt = standin("browser")
    with Socket(locked, KEYS["bob"]) as socket:
        assert socket.ws.subprotocol == "llm-gateway"
        assert told(socket.reply(prompt)) == f"[stand-in] {prompt}"
    with Socket(locked, additional_headers={"x-api-key": KEYS["bob"]}) as socket:
        assert socket.ws.subprotocol is None
        assert told(socket.reply(prompt)) == f"[stand-in] {prompt}"


@pytest.mark.parametrize(
    "options, status",
    [
        ({}, 401),
        ({"key": "wrong"}, 403),
        ({"subprotocols": ["llm-gateway"]}, 401),
        ({"path": "/health"}, 401),
    ],
)
def test_a_socket_without_a_known_key_is_refused(locked, options, status):
    with pytest.raises(InvalidStatus) as refused:
        Socket(locked, **options).__enter__()
    assert refused.value.response.status_code == status


def test_a_wrong_handshake_is_a_400(target):
    key = ("Sec-WebSocket-Key", base64.b64encode(b"0" * 16).decode())
    upgrade = [("Host", "localhost"), ("Connection", "upgrade"), ("Upgrade", "websocket")]
    for headers in (
        [*upgrade, key],
        [*upgrade, ("Sec-WebSocket-Version", "13")],
        [*upgrade, key, ("Sec-WebSocket-Version", "8")],
    ):
        assert raw(target, "GET", "/", headers)[0].status == 400


def test_aws_signatures_are_ignored_where_no_keys_are_set(http):
    signed = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0"
    assert http.post(f"/{MODEL}", {"prompt": standin("signed")}, authorization=signed).status == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_for_others_without_keys_is_refused_with_a_sentence(host):
    target = Target(model="extractive", args=["--host", host])
    try:
        code, said = target.once()
        assert code == 1 and "--api-key" in said
    finally:
        target.close()


def test_no_key_is_ever_logged(locked):
    Http(locked, KEYS["alice"]).ask(standin("secret words"))
    for secret in (*KEYS.values(), "secret words"):
        assert secret not in locked.log
