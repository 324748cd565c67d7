"""The other target of the suite: the two Lambda binaries behind the emulator of Lambda and API
Gateway, in front of the Bedrock stand-in, of DynamoDB's semantics over HTTP, and of OpenSearch."""

import json
import os
import subprocess
import urllib.request

from clients import new_id

from elasticmq import queues
from shared import searched
from tables import Tables
from target import BUILT, GATEWAY, REST, WS, Target, free_port, until

EMULATOR = str(BUILT / "lambda-emulator")
SIGNER = "AKIATESTS"
# The emulator answers for it.
QUEUE = "https://sqs.us-east-1.amazonaws.com/123456789012/jobs"


# Where `AWS_CALLS` names a file, what the functions ask of AWS is written down there (`aws-tap`).
RECORD = os.environ.get("AWS_CALLS")
TAP = str(BUILT / "aws-tap")
TAPPED = {
    "dynamodb": "AWS_ENDPOINT_URL_DYNAMODB",
    "sqs": "AWS_ENDPOINT_URL_SQS",
    "bedrock": "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
    "opensearch": "OPENSEARCH_DOMAIN_ENDPOINT",
}


class Taps:
    """A tap before every service that these settings name, and before the WebSocket API's pushes, which is to
    listen on `port`."""

    def __init__(self, settings):
        self.port = free_port()
        urls = {name: settings.get(variable, "") for name, variable in TAPPED.items()}
        # What is behind TLS, or nowhere, is left as it is.
        ahead = {name: url.removeprefix("http://") for name, url in urls.items() if url.startswith("http://")}
        ahead["connections"] = f"127.0.0.1:{self.port}"
        command = [TAP, "--calls", RECORD, *(f"{name}={to}" for name, to in ahead.items())]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        urls = json.loads(self.process.stdout.readline())
        self.env = {TAPPED[name]: url for name, url in urls.items() if name in TAPPED}
        self.env["CALLBACK_URL"] = urls["connections"] + "/prod"

    def stop(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()


class Functions(Target):
    """As `Target`. Where there are no `keys`, the API has IAM authentication and every request counts
    as signed by one principal; `signer=None` switches authentication off. Jobs wait on ElasticMQ, or without `elasticmq` in the emulator. `emulator` are options of
    the emulator."""

    stage = "/prod"
    # A quarter of a second on processors of their own; here all processes share two.
    prompt = 1.0
    lease = 4

    def __init__(self, standin=None, *, signer=SIGNER, emulator=(), elasticmq=True, **options):
        super().__init__(standin, **options)
        self.env = searched(self.env)
        self.signer, self.emulator = signer, list(emulator)
        assert not self.args, "the functions have no command line"
        self.tables, self.queue, self.elasticmq = None, None, elasticmq
        self.taps = None

    def command(self):
        """The command line of the emulator."""
        command = [EMULATOR, "--rest", REST, "--ws", WS, "--concurrency", "64"]
        # A worker that is killed before it has hidden its message for less leaves it hidden for this.
        command += ["--visibility-ms", "6000"]
        for name, key in self.keys.items():
            command += ["--api-key", f"{name}={key}", "--bearer-keys"]
        command += ["--signed-by", self.signer] if self.signer and not self.keys else []
        for name, value in self.settings().items():
            command += ["--env", f"{name}={value}"]
        if self.taps:
            command += ["--ports", f"0,0,{self.taps.port},0"]
        if self.queue:
            command += ["--queue", f"{queues().url.removeprefix('http://')},{self.queue}"]
        return command + self.emulator + os.environ.get("LAMBDA_EMULATOR_OPTIONS", "").split()

    def settings(self):
        """The functions' environment."""
        env = {"LLM_GATEWAY_LOG": "info", "PUSH_INTERVAL_MS": "0", "LEASE_SECONDS": str(self.lease)}
        if self.standin:
            env["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = self.standin.url
        if self.tables:
            env |= self.tables.env | {"JOBS_QUEUE_URL": self.queue or QUEUE}
        if self.queue:
            env["AWS_ENDPOINT_URL_SQS"] = queues().url
        return env | self.env | (self.taps.env if self.taps else {})

    def start(self):
        """Starts everything and waits until it serves. The tables outlive a restart."""
        if self.process and self.process.poll() is None:
            return self
        if self.store and not self.tables:
            self.tables = Tables()
            self.queue = queues().create(f"jobs-{new_id()}")[0] if self.elasticmq else None
            if self.answers:
                self.upload()
        said = ""
        for _ in range(3):
            if RECORD and not self.taps:
                self.taps = Taps(self.settings())
            with open(self.home / "emulator.log", "a") as log:
                self.process = subprocess.Popen(
                    self.command(), stdout=subprocess.PIPE, stderr=log, text=True
                )
            said = self.process.stdout.readline()
            if said or not self.taps:
                break
            # Its port was free a moment ago, and somebody else's connection has it now.
            self.process.wait(10)
            self.taps.stop()
            self.taps = None
        self.urls = json.loads(said)
        self.url = self.urls["rest"]
        return self

    def upload(self):
        """Curated answers get into the table as a user gets them there."""
        env = self.environment() | self.tables.env
        command = [GATEWAY, "upload", str(self.answers), "-t", "answers"]
        subprocess.run(command, env=env, check=True, capture_output=True, timeout=60)

    @property
    def ws_url(self):
        return self.urls["ws"]

    stage_url = ws_url

    @property
    def address(self):
        """Host and port of the REST API."""
        host, port = self.url.removeprefix("http://").split("/")[0].rsplit(":", 1)
        return host, int(port)

    def control(self, path, body=None):
        """The emulator's own endpoint."""
        data = None if body is None else json.dumps(body).encode()
        method = {"/knobs": "PUT"}.get(path, "POST") if data else "GET"
        request = urllib.request.Request(self.urls["control"] + path, data, method=method)
        with urllib.request.urlopen(request, timeout=20) as reply:
            return json.load(reply)

    @property
    def log(self):
        return "\n".join(line["text"] for line in self.control("/logs"))

    def stop(self):
        """Everything of the functions ends; the tables stay."""
        self.process.terminate()
        code = self.process.wait(20)
        self.process.stdout.close()
        return code

    def kill(self):
        """Ends every execution environment at once, in the middle of whatever it does. API Gateway and
        the queue live on."""
        before = self.environments("started")
        self.control("/kill", {})
        # Until it is known that a process is gone an event may still be given to it.
        until(lambda: before <= self.environments("exited", "killed", "init_error"), what="their end")

    def environments(self, *steps):
        """The processes that have taken one of these steps in their lives."""
        return {step["pid"] for step in self.control("/seen")["environments"] if step["what"] in steps}

    def close(self):
        if self.process and self.process.poll() is None:
            self.stop()
        if self.tables:
            self.tables.stop()
        if self.taps:
            self.taps.stop()
        self.process = None
        super().close()
