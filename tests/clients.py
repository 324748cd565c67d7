"""Clients of the doors, on published libraries: `http.client` and `websockets`.

They read what is on the wire and check what holds for every reply: one terminal, and it is the last.
"""

import base64
import contextlib
import http.client
import json
import uuid

from websockets.sync.client import connect

from target import until

LIMIT = 30
FRAME = 8_000
MODEL = "anthropic.claude-haiku-4-5-20251001-v1:0"
END = "<End of LLM response>"


def standin(text="", /, **knobs):
    """A prompt that no other test uses, with a directive for the stand-in. Without `text` or
    `tokens` among the knobs the answer echoes the prompt."""
    return f"{text} #{uuid.uuid4().hex[:12]} @standin{json.dumps(knobs, ensure_ascii=False)}"


def new_id():
    return str(uuid.uuid4())


class Reply:
    """A whole HTTP reply."""

    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The error object; the reply is checked to have the shape that all HTTP doors share."""
        body = self.json()
        error = body["error"]
        assert body["message"] == error["message"], body
        assert set(error) >= {"message", "type", "code", "param", "request_id"}, body
        assert self.headers["content-type"] == "application/json"
        return error


class Http:
    """Requests to one target, each on a connection of its own."""

    def __init__(self, target, key=None):
        self.target, self.key = target, key

    @contextlib.contextmanager
    def open(self, method, path, body=None, headers=None, timeout=LIMIT):
        """Sends a request and gives the response, its body unread."""
        connection = http.client.HTTPConnection(*self.target.address, timeout=timeout)
        try:
            raw = json.dumps(body).encode() if isinstance(body, dict) else body
            key = {"x-api-key": self.key} if self.key else {}
            connection.request(method, self.target.stage + path, raw, {**key, **(headers or {})})
            yield connection.getresponse()
        finally:
            connection.close()

    def send(self, method, path, body=None, headers=None):
        with self.open(method, path, body, headers) as response:
            return Reply(response, response.read())

    def get(self, path, **headers):
        return self.send(
            "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    def post(self, path, body, **headers):
        return self.send(
            "POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )

    def delete(self, path):
        return self.send("DELETE", path)

    def ask(self, prompt, model=MODEL, **more):
        """Door 1, whole."""
        return self.post(f"/{model}", {"prompt": prompt, **more})

    def stream(self, prompt, model=MODEL, **more):
        """Door 1's events, to the end."""
        with self.open("POST", f"/{model}", {"prompt": prompt, "stream": True, **more}) as response:
            assert response.status == 200, response.read()
            return events(response)

    def job(self, prompt, **more):
        """Door 6: takes a job in, waits until it has ended well, and gives the status object of its reply."""
        taken = self.post("/invokeModel", {"prompt": prompt, **more}).json()
        job = taken["SendMessageResponse"]["SendMessageResult"]["MessageId"]
        ended = lambda: (status := self.get(f"/jobs/{job}").json())["completed_at"] and status
        assert (status := until(ended, LIMIT, 0.05, f"job {job}"))["status"] == "completed", status
        return self.answer(job)

    def answer(self, request_id):
        """The status object of a reply."""
        return self.get(f"/answers/{request_id}", accept="application/json").json()


def lines(response):
    """The lines of a streamed body, as they come."""
    while line := response.readline():
        yield line.decode().rstrip("\n")


def events(response):
    """All events of an SSE stream; it is checked for what no stream may have."""
    assert response.headers["content-type"].startswith("text/event-stream")
    seen = []
    for line in lines(response):
        assert not line or line.startswith((":", "data: ")), line
        if line.startswith("data: "):
            seen.append(json.loads(line.removeprefix("data: ")))
    one_terminal(seen)
    return seen


def one_terminal(frames):
    """Exactly one frame ends the reply, and it is the last one."""
    more = [frame["has_more_messages"] for frame in frames]
    assert more == ["true"] * (len(more) - 1) + ["false"], frames


def told(frames):
    """The text of door 2's frames, the error that the terminal puts there left out."""
    return "".join(frame["completion"] for frame in frames if "error" not in frame)


class Socket:
    """A WebSocket connection to a target."""

    def __init__(self, target, key=None, path="", **options):
        if key:
            coded = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
            options["subprotocols"] = ["llm-gateway", f"llm-gateway.key.{coded}"]
        options.setdefault("max_size", 2**20)
        options = {"open_timeout": LIMIT, "close_timeout": 2, "compression": None, "proxy": None, **options}
        self.connection = connect(target.ws_url + path, **options)

    def __enter__(self):
        self.ws = self.connection.__enter__()
        return self

    def __exit__(self, *why):
        return self.connection.__exit__(*why)

    def send(self, message):
        """Sends a text, in frames that API Gateway takes."""
        text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
        pieces = [text[at : at + FRAME] for at in range(0, len(text), FRAME)]
        self.ws.send(text if len(pieces) < 2 else pieces)

    def raw(self, timeout=LIMIT):
        """The next frame, as text."""
        return self.ws.recv(timeout)

    def next(self, timeout=LIMIT):
        """The next frame, as JSON."""
        return json.loads(self.raw(timeout))

    def ask(self, prompt, **more):
        """Sends a `sendmessage`."""
        self.send({"action": "sendmessage", "prompt": prompt, **more})

    def frames(self, request_id=None, check=True):
        """Door 2's frames up to the terminal; of one reply, where several run."""
        seen = []
        while not seen or seen[-1]["has_more_messages"] == "true":
            frame = self.next()
            if request_id is None or frame.get("request_id") == request_id:
                assert "has_more_messages" in frame, frame
                seen.append(frame)
        for frame in seen if check else []:
            for key in ("completion", "chat_id", "cached", "has_more_messages"):
                assert isinstance(frame[key], str), frame
        return seen

    def reply(self, prompt, **more):
        """Asks through door 2 and gives the frames."""
        self.ask(prompt, **more)
        return self.frames()

    def texts(self):
        """Door 3's frames, the end frame left out."""
        seen = [self.raw()]
        while seen[-1] != END:
            seen.append(self.raw())
        return seen[:-1]

    def chatbot(self, body, request_id=None, **more):
        """Asks through door 4 and gives the frames up to the last."""
        request_id = request_id or new_id()
        asked = {"user_id": "any", "request_id": request_id, "request_time": "2023-10-08 18:01:45"}
        self.send({**asked, "type": "text", "body": body, "convType": "normal", **more})
        seen = [self.next()]
        while seen[-1]["status"] == "proceeding":
            seen.append(self.next())
        assert all(frame["request_id"] == request_id for frame in seen), seen
        return seen
