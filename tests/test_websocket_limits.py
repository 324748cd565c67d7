"""The limits of API Gateway's WebSockets, kept on every target; and slow or rude clients."""

import contextlib
import json
import socket as sockets
import time

import pytest
from clients import Http, Socket, new_id, standin, told
from websockets.exceptions import ConnectionClosed

from target import until

KB = 1024


def closed(socket):
    """The close code after whatever frames come before it."""
    with pytest.raises(ConnectionClosed) as why:
        while True:
            socket.ws.recv(20)
    return why.value.rcvd.code if why.value.rcvd else None


def send_until_closed(socket, message):
    """Sends what is too big: the gateway may close before all of it is sent."""
    with contextlib.suppress(ConnectionClosed):
        socket.ws.send(message)


@pytest.mark.parametrize("size", [32 * KB + 1, 64 * KB, 100 * KB])
def test_a_frame_over_32_kb_closes_the_connection_with_1009(target, size):
    with Socket(target) as socket:
        send_until_closed(socket, "x" * size)
        assert closed(socket) == 1009


def test_a_frame_of_32_kb_and_a_message_of_128_kb_in_frames_pass(target):
    with Socket(target) as socket:
        for pieces in (["y" * 32 * KB], ["y" * 32 * KB] * 4):
            socket.ws.send(pieces)
            assert socket.next()["error"]["code"] == "invalid_request"


def test_a_message_over_128_kb_closes_the_connection_with_1009(target):
    with Socket(target) as socket:
        send_until_closed(socket, ["x" * 30 * KB] * 5)
        assert closed(socket) == 1009


def test_a_binary_frame_closes_the_connection_with_1003(target):
    with Socket(target) as socket:
        socket.ws.send(b"\x00\x01")
        assert closed(socket) == 1003


def test_a_text_that_is_no_utf_8_closes_the_connection_with_1007(target):
    with Socket(target) as socket:
        socket.ws.send(b"\xff\xfe", text=True)
        assert closed(socket) == 1007


def test_a_ping_of_the_protocol_is_answered_while_replies_run(target):
    with Socket(target) as socket:
        socket.ask(standin(tokens=100, gap_ms=10))
        begun = time.monotonic()
        assert socket.ws.ping().wait(5)
        assert time.monotonic() - begun < 1
        assert socket.frames()[-1]["stop_reason"] == "end_turn"


def test_a_closing_handshake_is_answered_in_the_middle_of_a_reply(target):
    with Socket(target) as socket:
        socket.ask(standin(tokens=300, gap_ms=10))
        socket.next()
        begun = time.monotonic()
        socket.ws.close()
        assert time.monotonic() - begun < 2 and socket.ws.close_code == 1000


def test_frames_of_a_client_in_many_small_pieces_are_one_message(target):
    prompt = standin("pieces")
    with Socket(target) as socket:
        socket.ws.send(iter('{"action":"sendmessage","prompt":%s}' % json.dumps(prompt)))
        assert told(socket.frames()) == f"[stand-in] {prompt}"


def test_a_client_that_reads_late_gets_everything_in_few_full_frames(target):
    with Socket(target) as socket:
        socket.ask(standin(tokens=20_000, first_ms=1))
        time.sleep(0.5)
        frames = socket.frames(check=False)
    assert told(frames) == "".join(f"token{n} " for n in range(20_000))


@pytest.mark.slow
@pytest.mark.local("on AWS API Gateway holds the sockets")
def test_clients_that_stop_reading_are_cut_off_and_memory_stays_bounded(own):
    target, given = own(), new_id()
    http = Http(target)
    http.ask(standin(tokens=128_000), request_id=given, model="anthropic.claude-opus-4-6-v1")
    assert len(http.answer(given)["completion"]) > 1_400_000
    idle, before = target.connections(), target.memory()
    stuck = [unread(target, f"/answers/{given}") for _ in range(20)]
    # Kept-alive connections that were counted as idle may end meanwhile.
    until(lambda: target.connections() >= idle + 16, 20, what="the connections")
    most = 0

    def cut():
        nonlocal most
        most = max(most, target.memory())
        return target.connections() <= idle + 1

    until(cut, 60, 0.1, "the cut")
    assert most - before < 350 * KB * KB, f"{(most - before) >> 20} MB for 20 readers"
    assert http.get("/health").status == 200
    for client in stuck:
        client.close()


def unread(target, path):
    """A request whose reply is never read."""
    client = sockets.socket()
    client.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    client.connect(target.address)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return client
