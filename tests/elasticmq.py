"""ElasticMQ, a server of SQS's protocol, on a free port of loopback. `scripts/fetch-elasticmq` has put its
jars into the target directory."""

import atexit
import functools
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request

from target import BUILT, free_port, until

JARS = BUILT.parent / "elasticmq"
SHARED = "SQS_TEST_ENDPOINT"


class Queues:
    """The server as a process."""

    def __init__(self, url=None):
        self.url, self.process = url, None
        if not url:
            self.start()

    def start(self):
        assert JARS.is_dir(), f"{JARS} is not there: run scripts/fetch-elasticmq {JARS}"
        assert shutil.which("java"), "ElasticMQ needs Java 17 or later as `java`"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        options = {
            "node-address.host": "127.0.0.1",
            "node-address.port": port,
            "rest-sqs.bind-hostname": "127.0.0.1",
            "rest-sqs.bind-port": port,
            "rest-stats.enabled": "false",
        }
        command = ["java", "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += [f"-D{name}={value}" for name, value in options.items()]
        command += ["-cp", f"{JARS}/*", "org.elasticmq.server.Main"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.answers, 60, 0.1, "ElasticMQ's start")

    def answers(self):
        assert self.process.poll() is None, "ElasticMQ did not start"
        try:
            return self.call("ListQueues") is not None
        except urllib.error.URLError:
            return False

    def call(self, operation, **request):
        """One operation of SQS's JSON protocol."""
        headers = {
            "content-type": "application/x-amz-json-1.0",
            "x-amz-target": f"AmazonSQS.{operation}",
        }
        asked = urllib.request.Request(self.url, json.dumps(request).encode(), headers)
        with urllib.request.urlopen(asked, timeout=20) as reply:
            return json.loads(reply.read() or "{}")

    def create(self, name, max_receives=5):
        """A queue and, with `-dead` behind its name, that of its dead letters. Gives both URLs."""
        dead = self.call("CreateQueue", QueueName=f"{name}-dead")["QueueUrl"]
        attributes = self.call("GetQueueAttributes", QueueUrl=dead, AttributeNames=["QueueArn"])
        arn = attributes["Attributes"]["QueueArn"]
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": max_receives})
        created = self.call("CreateQueue", QueueName=name, Attributes={"RedrivePolicy": policy})
        return created["QueueUrl"], dead

    def count(self, url):
        """Messages of a queue, hidden ones included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = self.call("GetQueueAttributes", QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    def stop(self):
        self.process.kill()
        self.process.wait(10)


def share():
    """Starts the server that the processes this one starts will share."""
    os.environ.setdefault(SHARED, queues().url)


@functools.cache
def queues():
    """One server of queues for all targets of a run."""
    if url := os.environ.get(SHARED):
        return Queues(url)
    server = Queues()
    atexit.register(server.stop)
    return server
