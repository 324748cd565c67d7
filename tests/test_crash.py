"""The process ends at the worst moment: `kill -9` loses nothing whose terminal was sent and no
accepted job; a stop in order gives every open reply its terminal."""

import contextlib
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import Http, Socket, new_id, standin, told
from websockets.exceptions import ConnectionClosed, WebSocketException

from target import until


def whole(tokens):
    return "".join(f"token{n} " for n in range(tokens))


class Client(threading.Thread):
    """Asks on one connection until it breaks, and remembers what it was told."""

    def __init__(self, target, tokens):
        super().__init__()
        self.target, self.tokens = target, tokens
        self.ended, self.open = {}, None

    def run(self):
        with contextlib.suppress(OSError, WebSocketException, TimeoutError):
            with Socket(self.target) as socket:
                while True:
                    given = new_id()
                    self.open = (given, "")
                    socket.ask(
                        standin(tokens=self.tokens, gap_ms=3), request_id=given, chat_id=f"chat-{given}"
                    )
                    frames = []
                    while not frames or frames[-1]["has_more_messages"] == "true":
                        frames.append(socket.next())
                        self.open = (given, told(frames))
                    self.ended[given], self.open = frames, None


@pytest.mark.slow
@pytest.mark.local("eight leases would have to run out")
def test_eight_kills_in_the_middle_of_everything_lose_nothing_that_was_promised(own):
    target, draw = own(), random.Random(8)
    jobs, ended, dead = {}, {}, {}
    for turn in range(8):
        clients = [Client(target, draw.randint(5, 80)) for _ in range(6)]
        for client in clients:
            client.start()
        for _ in range(3):
            tokens = draw.randint(5, 200)
            prompt = standin("job", tokens=tokens, gap_ms=4)
            jobs[Http(target).post("/invokeModel", {"prompt": prompt}).headers["location"]] = tokens
        time.sleep(draw.uniform(0.2, 1.2))
        target.kill()
        for client in clients:
            client.join(20)
            ended |= client.ended
            if client.open:
                dead[client.open[0]] = client.open[1]
        target.start()
        check(target, ended, dead)
        # A job that ends its worker three times is given up, so none may see more than two of these.
        for location, tokens in jobs.items() if turn % 2 else []:
            job = finished(target, location)
            assert (job["status"], job["completion"]) == ("completed", whole(tokens))
    assert len(ended) > 20 and dead


def finished(target, location):
    """The job's status, once it has ended."""

    def look():
        job = Http(target).get(location).json()
        return job["status"] not in ("queued", "running") and job

    return until(look, 60, 0.05, "the job's end")


def check(target, ended, dead):
    """Every terminal that was received stands; every reply that died has ended as `internal`."""
    http = Http(target)
    for given, frames in ended.items():
        answer = http.answer(given)
        assert (answer["status"], answer["completion"]) == ("completed", told(frames)), given
        chat = http.get(f"/chats/{frames[-1]['chat_id']}").json()
        assert [message["text"] for message in chat["messages"]][1:] == [told(frames)]
    for given, text in dead.items():
        reply = http.get(f"/answers/{given}", accept="application/json")
        if reply.status == 404:
            assert text == "", "what has sent a delta is known"
            continue
        answer = reply.json()
        if answer["status"] == "completed":
            assert answer["completion"].startswith(text)
            continue
        assert answer["error"]["code"] == "internal", answer
        assert whole(80).startswith(answer["completion"])


@pytest.mark.slow
def test_a_reply_that_died_is_ended_with_its_stored_text_and_can_be_resumed(own):
    target, given = own(), new_id()
    with Socket(target) as socket:
        socket.ask(standin(tokens=2000, gap_ms=10), request_id=given)
        text = ""
        while len(text) < 1200:
            text += socket.next()["completion"]
        target.kill()
    target.start()
    ended = lambda: (answer := Http(target).answer(given))["status"] != "running" and answer
    answer = until(ended, target.lease + 20, 0.2, "its end")
    assert (answer["status"], answer["error"]["code"]) == ("failed", "internal")
    assert len(answer["completion"]) > 400 and whole(2000).startswith(answer["completion"])
    with Socket(target) as socket:
        socket.send({"action": "resume", "request_id": given, "after": 0})
        frames = socket.frames()
        assert told(frames) == answer["completion"] and frames[-1]["error"]["code"] == "internal"
    assert Http(target).answer(given)["error"]["code"] == "internal", "and it stays so"


@pytest.mark.slow
def test_a_dead_reply_asked_again_under_its_id_says_how_it_ended(own):
    target, given, prompt = own(), new_id(), standin(tokens=2000, gap_ms=10)
    with Socket(target) as socket:
        socket.ask(prompt, request_id=given)
        time.sleep(1.2)
        target.kill()
    target.start()
    with Socket(target) as socket:
        frames = socket.reply(prompt, request_id=given)
        assert frames[-1]["error"]["code"] == "internal"
    assert len(target.standin.asked(prompt)) == 1


def test_a_job_that_was_running_is_delivered_again(own):
    target, prompt = own(), standin("again", tokens=60, gap_ms=20)
    job = Http(target).post("/invokeModel", {"prompt": prompt}).headers["location"]
    until(lambda: target.standin.asked(prompt), what="the first try")
    target.kill()
    target.start()
    done = until(
        lambda: (job_ := Http(target).get(job).json())["status"] == "completed" and job_, 40, 0.1, "the job"
    )
    assert done["completion"] == whole(60)
    assert len(target.standin.asked(prompt)) == 2


def test_jobs_that_waited_are_worked_off_after_a_kill(own):
    target = own(env={"JOBS_CONCURRENCY": "1"})
    prompts = [standin("waiting", tokens=8, gap_ms=20) for _ in range(12)]
    jobs = [Http(target).post("/invokeModel", {"prompt": prompt}).headers["location"] for prompt in prompts]
    target.kill()
    target.start()
    for job in jobs:
        assert finished(target, job)["status"] == "completed"


def test_an_answer_that_is_stored_is_never_asked_again(own):
    target, prompt, key = own(), standin("stored"), new_id()
    job = Http(target).post("/invokeModel", {"prompt": prompt}, idempotency_key=key).headers["location"]
    until(lambda: Http(target).get(job).json()["status"] == "completed", what="the job")
    for _ in range(3):
        target.kill()
        target.start()
        again = Http(target).post("/invokeModel", {"prompt": prompt}, idempotency_key=key)
        assert again.headers["location"] == job
        assert Http(target).get(job).json()["status"] == "completed"
    assert len(target.standin.asked(prompt)) == 1


@pytest.mark.local("Lambda stops no process in order")
def test_a_stop_in_order_lets_short_replies_end_and_refuses_new_ones(own):
    target = own()
    with Socket(target) as socket, Socket(target) as late:
        socket.ask(standin(tokens=60, gap_ms=30))
        socket.next()
        target.terminate()
        until(lambda: refused(target), 3, what="no new connections")
        late.ask(standin("too late"))
        [frame] = late.frames()
        assert frame["error"]["code"] == "unavailable"
        assert socket.frames()[-1]["stop_reason"] == "end_turn"
        with pytest.raises(ConnectionClosed) as why:
            socket.raw()
        assert why.value.rcvd.code == 1001
    assert target.exit_code(10) == 0


def refused(target):
    try:
        Http(target).get("/health")
    except OSError:
        return True
    return False


@pytest.mark.local("Lambda stops no process in order")
def test_a_stop_in_order_gives_every_open_reply_its_terminal_within_ten_seconds(own):
    target, ids = own(), [new_id() for _ in range(3)]
    http = Http(target)
    long = {"tokens": 5000, "gap_ms": 20}
    with Socket(target) as socket, ThreadPoolExecutor(4) as pool:
        socket.ask(standin(**long), request_id=ids[0])
        socket.send({"action": "invokeModel", "prompt": standin(**long), "request_id": ids[1]})
        stream = pool.submit(http.stream, standin(**long), request_id=ids[2])
        raw = pool.submit(http.post, "/", {"modelParams": {"prompt": standin(**long)}})
        whole_reply = pool.submit(http.ask, standin(**long))
        until(lambda: target.standin.seen()["open"] == 5, what="five replies")
        begun = time.monotonic()
        target.terminate()
        texts = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                texts.append(socket.raw())
        assert any('"unavailable"' in text for text in texts)
        assert "<End of LLM response>" in texts and any(text.startswith("Error: ") for text in texts)
        assert stream.result(10)[-1]["error"]["code"] == "unavailable"
        assert "[error unavailable: " in raw.result(10).text
        assert whole_reply.result(10).status == 503
        assert target.exit_code(10) == 0
        assert time.monotonic() - begun < 10
    target.start()
    assert Http(target).answer(ids[0])["error"]["code"] == "unavailable"


@pytest.mark.local("Lambda stops no process in order")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_gateway_stops_at_once_with_exit_code_0(own, number):
    target, begun = own(), time.monotonic()
    target.terminate(number)
    assert target.exit_code(10) == 0
    assert time.monotonic() - begun < 3


@pytest.mark.local("Lambda stops no process in order")
def test_a_job_in_the_middle_of_a_stop_goes_on_after_it(own):
    target, prompt = own(), standin(tokens=900, gap_ms=20)
    job = Http(target).post("/invokeModel", {"prompt": prompt}).headers["location"]
    until(lambda: target.standin.asked(prompt), what="the first try")
    assert target.stop() == 0
    target.start()
    until(lambda: len(target.standin.asked(prompt)) == 2, 40, 0.1, "the second try")
    assert Http(target).get(job).json()["status"] in ("running", "queued")
