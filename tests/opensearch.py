"""OpenSearch 2.19.1 with k-NN and neural-search, on a free port of loopback. `scripts/fetch-opensearch` has put
it into the target directory.

A node takes seconds to start and a quarter of a gigabyte, so all workers of a run share one, and each test has
indexes of its own. Where `OPENSEARCH_TEST_ENDPOINT` names a server, that one is used and nothing is started.
"""

import atexit
import fcntl
import functools
import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

from clients import new_id

from target import BUILT, until

HOME = BUILT.parent / "opensearch"
# The folder through which the processes of a run share their node.
SHARED = "OPENSEARCH_TEST_FOLDER"


class OpenSearch:
    """A server, by its URL."""

    def __init__(self, url):
        self.url = url

    def call(self, method, path, body=None, timeout=60):
        """One request: status and reply. `body` is an object, or the lines of `_bulk`."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=timeout)
        many = isinstance(body, list)
        data = "".join(json.dumps(line) + "\n" for line in body) if many else body and json.dumps(body)
        kind = "application/x-ndjson" if many else "application/json"
        connection.request(method, path, data, {"content-type": kind} if data else {})
        reply = connection.getresponse()
        status, text = reply.status, reply.read()
        connection.close()
        return status, json.loads(text or "null")

    def ask(self, method, path, body=None):
        """The reply to a request that has to succeed."""
        status, reply = self.call(method, path, body)
        assert status in (200, 201), (method, path, status, reply)
        return reply

    def create(self, dimensions, name=None, fields=("text", "vector_field", "metadata"), shards=1):
        """A new index in LangChain's layout, with exact cosine for its few vectors. Gives its name."""
        name = name or f"test-{new_id()}"
        text, vector, metadata = fields
        method = {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"}
        vectors = {"type": "knn_vector", "dimension": dimensions, "method": method}
        properties = {text: {"type": "text"}, vector: vectors, metadata: {"type": "object"}}
        settings = {"index": {"knn": True, "number_of_shards": shards, "number_of_replicas": 0}}
        self.ask("PUT", f"/{quote(name, safe='')}", {"settings": settings, "mappings": {"properties": properties}})
        return name

    def put(self, index, documents):
        """Writes documents, a map of ids to them, and makes them visible."""
        lines = []
        for key, document in documents.items():
            lines += [{"index": {"_id": key}}, document]
        reply = self.ask("POST", f"/{quote(index, safe='')}/_bulk?refresh=true", lines)
        assert not reply["errors"], reply

    def delete(self, index, key):
        """Removes a document and makes that visible."""
        self.ask("DELETE", f"/{quote(index, safe='')}/_doc/{quote(key, safe='')}?refresh=true")

    def documents(self, index):
        """All documents of a small index, by id."""
        hits = self.ask("POST", f"/{quote(index, safe='')}/_search", {"size": 10_000})["hits"]["hits"]
        return {hit["_id"]: hit["_source"] for hit in hits}


class Node(OpenSearch):
    """A server as a process of a test's own. It ends with this process, however that ends."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="llm-gateway-opensearch-"))
        self.process = start(self.folder, subprocess.PIPE)
        super().__init__(url(self.folder, self.process))

    def kill(self):
        """Ends it at once."""
        self.process.kill()
        self.process.wait(10)

    def stall(self):
        """It keeps its connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        """Ends a stall."""
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        """Ends it and removes its data."""
        self.kill()
        self.process.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def start(folder, stdin, **options):
    """A node's process, with its data and its log in this folder. It ends when `stdin` does."""
    assert (HOME / "start").exists(), f"{HOME} is not there: run scripts/fetch-opensearch {HOME}"
    with open(folder / "url", "w") as out, open(folder / "log", "w") as log:
        command = [str(HOME / "start"), str(folder / "data")]
        return subprocess.Popen(command, stdin=stdin, stdout=out, stderr=log, **options)


def url(folder, process):
    """A node's URL, once it serves."""

    def serves():
        log = (folder / "log").read_text()
        assert process.poll() is None, f"OpenSearch did not start: {log[-2000:]}"
        said = (folder / "url").read_text()
        return said.endswith("\n") and said.strip()

    return until(serves, 120, 0.1, "OpenSearch's start")


def share():
    """Offers the processes that this one starts a folder for one node. The node, if one of them starts it, lives
    as long as this process."""
    if SHARED in os.environ or "OPENSEARCH_TEST_ENDPOINT" in os.environ:
        return
    folder = Path(tempfile.mkdtemp(prefix="llm-gateway-opensearch-"))
    os.environ[SHARED] = str(folder)
    os.mkfifo(folder / "leash")
    # For writing alone it could not be opened before somebody reads.
    leash = os.open(folder / "leash", os.O_RDWR)
    atexit.register(end, folder, leash)


def end(folder, leash):
    """Lets the shared node go, waits for its end and removes its data."""
    os.close(leash)
    with open(folder / "alive", "w") as alive:
        until(lambda: locked(alive), 30, 0.05, "OpenSearch's end")
    shutil.rmtree(folder, ignore_errors=True)


def locked(file):
    """Takes a lock unless another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@functools.cache
def opensearch():
    """The server that all tests of a run share."""
    if endpoint := os.environ.get("OPENSEARCH_TEST_ENDPOINT"):
        return OpenSearch(endpoint.rstrip("/"))
    share()
    folder = Path(os.environ[SHARED])
    with open(folder / "starting", "w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if not (folder / "serves").exists():
            with open(folder / "leash") as leash, open(folder / "alive", "w") as alive:
                # The node inherits this lock and so has it until its end.
                fcntl.flock(alive, fcntl.LOCK_EX)
                process = start(folder, leash, pass_fds=[alive.fileno()])
            url(folder, process)
            (folder / "url").rename(folder / "serves")
    return OpenSearch((folder / "serves").read_text().strip())
