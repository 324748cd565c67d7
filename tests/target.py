"""What the suite runs against: the built gateway in front of the Bedrock stand-in.

Everything that knows how a gateway is started, addressed, stopped or killed is in this file, in
`functions.py` and in `shared.py`, so that the same tests run against the `llm-gateway` command and, as
`LLM_GATEWAY_TARGET` says, against the two Lambda binaries (`lambda`) or the command over tables and a
queue that others share (`shared`). Test files speak HTTP and WebSocket only.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug"
GATEWAY = os.environ.get("LLM_GATEWAY_BIN", str(BUILT / "llm-gateway"))
STANDIN = os.environ.get("BEDROCK_STANDIN_BIN", str(BUILT / "bedrock-standin"))
REST = os.environ.get("REST_BIN", str(BUILT / "rest"))
WS = os.environ.get("WS_BIN", str(BUILT / "ws"))
MARK = re.compile(r"#[0-9a-f]{12}")
LISTENING = re.compile(r"listening on (http://\S+)")


def until(check, limit=10.0, every=0.01, what="the condition"):
    """Polls `check` until it gives something true, and gives that; fails after `limit` seconds."""
    end = time.monotonic() + limit
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {limit} s; last: {value!r}")
        time.sleep(every)


def free_port():
    """A port of loopback that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Standin:
    """The Bedrock stand-in as a process, and what it has seen."""

    def __init__(self, *options, port=0, record=True):
        command = [STANDIN, "--port", str(port), *(["--record"] if record else []), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), "the Bedrock stand-in did not start"

    def seen(self):
        """`calls`, `open`, `requests` (`model`, `body`, `at`), `dropped` (`model`, `sent`, `at`)."""
        with urllib.request.urlopen(self.url + "/seen", timeout=10) as reply:
            return json.load(reply)

    def asked(self, prompt):
        """The requests that asked this prompt (told by its mark, `clients.standin`), oldest first."""
        mark = MARK.search(prompt).group()
        last = lambda seen: json.dumps(seen["body"].get("messages", [None])[-1])
        return [seen for seen in self.seen()["requests"] if mark in last(seen)]

    def stop(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()


KIND = os.environ.get("LLM_GATEWAY_TARGET", "local")


class Target:
    """One gateway with a data directory of its own; without `store` it keeps nothing. `answers` is text for `--answers`,
    `documents` a map of file names to texts (or "own", the gateway's own), `keys` a map of callers
    to keys."""

    stage = ""
    # Seconds within which a cancel stops the model.
    prompt = 0.25
    # Seconds until a reply whose process was killed is known to be dead.
    lease = 0

    def __init__(
        self,
        standin=None,
        *,
        model="bedrock",
        keys=None,
        answers=None,
        documents=None,
        store=True,
        args=(),
        env=None,
    ):
        self.own_standin = standin is None and model == "bedrock"
        self.standin = Standin() if self.own_standin else standin
        self.home = Path(tempfile.mkdtemp(prefix="llm-gateway-test-"))
        self.store = store
        self.model, self.keys, self.args, self.env = model, keys or {}, list(args), env or {}
        (self.home / "documents").mkdir()
        self.own_documents = documents == "own"
        for name, text in ({} if self.own_documents else documents or {}).items():
            (self.home / "documents" / name).write_text(text)
        self.answers = self.home / "answers.json" if answers is not None else None
        if answers is not None:
            self.answers.write_text(answers)
        self.process = None

    @property
    def log(self):
        """Everything that the gateway has written to standard error, all runs of it."""
        return (self.home / "log").read_text()

    def command(self):
        """The command line of the gateway."""
        command = [GATEWAY, "--port", "0", "--data", str(self.home / "data"), "--model", self.model]
        elsewhere = self.own_documents or "OPENSEARCH_DOMAIN_ENDPOINT" in self.env
        command += [] if elsewhere else ["--documents", str(self.home / "documents")]
        command += ["--answers", str(self.answers)] if self.answers else []
        for name, key in self.keys.items():
            command += ["--api-key", f"{name}={key}"]
        return command + ([] if self.store else ["--no-store"]) + self.args

    def environment(self):
        """A clean environment: nothing of the developer's own settings or credentials reaches a test."""
        env = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        env |= {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "LLM_GATEWAY_LOG": "info"}
        env |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        if self.standin:
            env["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = self.standin.url
        return env | self.env

    def start(self):
        """Starts the gateway and waits until it listens. Its port is a new one each time."""
        with open(self.home / "log", "a") as log:
            begin = log.tell()
            self.process = subprocess.Popen(
                self.command(), env=self.environment(), stdout=subprocess.DEVNULL, stderr=log
            )

        def listening():
            assert self.process.poll() is None, f"the gateway did not start: {self.log[begin:]}"
            return LISTENING.search(self.log, begin)

        self.url = until(listening, 20, what="the gateway's start").group(1)
        return self

    def once(self, limit=20):
        """Runs the command where it is expected to end by itself: exit code and standard error."""
        done = subprocess.run(
            self.command(), env=self.environment(), capture_output=True, text=True, timeout=limit
        )
        return done.returncode, done.stderr

    @property
    def ws_url(self):
        return self.url.replace("http", "ws", 1)

    @property
    def stage_url(self):
        """The WebSocket URL as clients of a deployed stage have it."""
        return self.ws_url + "/prod"

    @property
    def address(self):
        """Host and port."""
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        return host, int(port)

    def terminate(self, number=signal.SIGTERM):
        """Asks the gateway to stop, as an orchestrator does, and does not wait."""
        self.process.send_signal(number)

    def exit_code(self, limit=15):
        """Waits for its end."""
        return self.process.wait(limit)

    def stop(self):
        """Stops it in order and gives its exit code."""
        self.terminate()
        return self.exit_code()

    def kill(self):
        """Ends it at once, without a chance to write anything."""
        self.process.kill()
        self.process.wait(10)

    def memory(self):
        """Resident memory, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024

    def connections(self):
        """How many sockets the gateway has open."""
        links = Path(f"/proc/{self.process.pid}/fd").iterdir()
        return sum(link.is_symlink() and os.readlink(link).startswith("socket:") for link in links)

    def close(self):
        """Ends everything that was started and removes the data."""
        if self.process and self.process.poll() is None:
            self.kill()
        if self.own_standin and self.standin:
            self.standin.stop()
        shutil.rmtree(self.home, ignore_errors=True)


def kind():
    """What the suite runs against."""
    if KIND == "lambda":
        from functions import Functions

        return Functions
    if KIND == "shared":
        from shared import Shared

        return Shared
    return Target


@contextlib.contextmanager
def running(standin=None, **options):
    """A gateway of a test's own, started and, at the end, ended."""
    target = kind()(standin, **options)
    try:
        yield target.start()
    finally:
        target.close()
