"""What a search costs an answer beside the bare query, and how fast `llm-gateway index` loads passages beside
LangChain. `scripts/bench-retrieval` builds what it needs and runs it.

One OpenSearch, one Bedrock stand-in and all clients share this machine. Every figure is compared with one of the
same run, in turns.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from clients import MODEL
from labelled import passages, questions
from opensearch import Node
from searching import EMBEDDINGS, Proxy
from target import GATEWAY, Standin, Target

with warnings.catch_warnings():
    # It says that it will be split into several packages.
    warnings.simplefilter("ignore", DeprecationWarning)
    from langchain_community.vectorstores import OpenSearchVectorSearch

UNCOUNTED = 60
SLOW_QUESTIONS = 30
# Longer than the state of the index counts as known: each question asks for it anew.
PAUSE = 1.2
ROUNDS = 3
# What LangChain takes in one call by default.
LANGCHAIN_BULK = 500
INDEX = "bench"
MARK = "xylophonequestion"


class Wire:
    """A connection that is kept, to one server. Nothing is taken apart that need not be: what the client does
    itself would count as the server's time."""

    def __init__(self, url):
        host, port = url.removeprefix("http://").split(":")
        self.host = f"{host}:{port}"
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, path, body, headers=()):
        """The bytes of a request."""
        head = [f"POST {path} HTTP/1.1", f"host: {self.host}", "content-type: application/json"]
        head += [f"{name}: {value}" for name, value in headers] + [f"content-length: {len(body)}", "", ""]
        return "\r\n".join(head).encode() + body

    def ask(self, request):
        """Sends a request. Gives the reply's body, and the milliseconds until its end."""
        begun = time.perf_counter()
        self.socket.sendall(request)
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += self.received()
        head, body = seen.split(b"\r\n\r\n", 1)
        status, *lines = head.decode().lower().split("\r\n")
        length = int(dict(line.split(": ", 1) for line in lines)["content-length"])
        while len(body) < length:
            body += self.received()
        taken = (time.perf_counter() - begun) * 1000
        assert status.split()[1] == "200", (status, body)
        return body, taken

    def received(self):
        data = self.socket.recv(1 << 16)
        assert data, "the connection was closed"
        return data


def made(count):
    """Passages of three sentences each, of the labelled collection's."""
    chance = random.Random(1)
    sentences = [part for passage in passages() for part in passage["text"].split(". ")]
    for number in range(count):
        text = ". ".join(chance.sample(sentences, 3))
        yield {"text": f"{text}. Note {number}.", "title": f"Note {number}", "source": f"notes/{number}"}


def load(target, rows, index):
    """Seconds of `llm-gateway index`, from the process's start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = [GATEWAY, "index", str(file), "--index", index]
        begun = time.perf_counter()
        done = subprocess.run(command, env=target.environment(), capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return time.perf_counter() - begun


def template(target, server):
    """The search that this gateway sends for a question: path, headers, and its body as a function of the
    question and its vector. Taken from the wire, so that it is the same query."""
    proxy = Proxy(server)
    watched = Target(target.standin, documents="own", env={**target.env, "OPENSEARCH_DOMAIN_ENDPOINT": proxy.url})
    try:
        watched.start()
        wire = Wire(watched.url)
        wire.ask(wire.request(f"/{MODEL}", json.dumps({"prompt": MARK}).encode()))
        [asked] = [asked for asked in proxy.asked if MARK.encode() in asked.body]
    finally:
        watched.close()
        proxy.stop()
    kept = [(name, value) for name, value in asked.headers.items() if name.lower() == "accept-encoding"]
    pattern = json.loads(asked.body)

    def body(question, vector):
        def filled(value):
            if isinstance(value, dict):
                return {key: vector if key == "vector" else filled(inner) for key, inner in value.items()}
            if isinstance(value, list):
                return [filled(inner) for inner in value]
            return value.replace(MARK, question) if isinstance(value, str) else value

        return json.dumps(filled(pattern)).encode()

    return asked.path, kept, body


def added(server, standin, mode, count, pause):
    """Medians in ms over questions that are asked with and without a search, and whose search, and embedding
    where there is one, are asked for beside, in an order that changes."""
    env = {"RETRIEVAL_MODE": mode, "OPENSEARCH_INDEX": INDEX, "OPENSEARCH_AUTH": "iam", "OPENSEARCH_SERVICE": "es"}
    searching = Target(standin, documents="own", env={**env, "OPENSEARCH_DOMAIN_ENDPOINT": server.url})
    plain = Target(standin)
    try:
        path, headers, body = template(searching, server)
        gateway, bare = Wire(searching.start().url), Wire(plain.start().url)
        raw, embed = Wire(server.url), Wire(standin.url)
        embedding = f"/model/{EMBEDDINGS}/invoke"
        seen, uncounted = [], 0 if pause else UNCOUNTED
        for number, asked in zip(range(count + uncounted), itertools.cycle(questions())):
            question = f"{asked['question']} Case {number}."
            door = json.dumps({"prompt": question}).encode()
            text = embed.request(embedding, json.dumps({"inputText": question}).encode())
            # Not measured: it is needed to write the bare query.
            vector = json.loads(embed.ask(text)[0])["embedding"] if mode == "hybrid" else None
            query = raw.request(path, body(question, vector), headers)
            time.sleep(pause)
            ways = {
                "with": lambda: gateway.ask(gateway.request(f"/{MODEL}", door)),
                "without": lambda: bare.ask(bare.request(f"/{MODEL}", door)),
                "query": lambda: raw.ask(query),
                "embedding": lambda: embed.ask(text) if mode == "hybrid" else (b"", 0.0),
            }
            order = list(ways)
            random.Random(number).shuffle(order)
            said = {way: ways[way]() for way in order}
            reply = json.loads(said["with"][0])
            assert reply["sources"] and "retrieval" not in reply, reply
            seen.append({way: taken for way, (_, taken) in said.items()})
    finally:
        searching.close()
        plain.close()
    seen = seen[uncounted:]
    for one in seen:
        one["added"] = one["with"] - one["without"] - one["query"] - one["embedding"]
    return {name: statistics.median(one[name] for one in seen) for name in seen[0]}


class Embeddings:
    """The stand-in's vectors for LangChain, one text a request as Titan takes them, on a connection that is
    kept: its own class for Bedrock, over boto3, is slower."""

    def __init__(self, url):
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)

    def embed_query(self, text):
        body = json.dumps({"inputText": text})
        self.connection.request("POST", f"/model/{EMBEDDINGS}/invoke", body, {"content-type": "application/json"})
        return json.load(self.connection.getresponse())["embedding"]

    def embed_documents(self, texts):
        return [self.embed_query(text) for text in texts]


def langchain(server, standin, rows, index):
    """Seconds of a loop of `from_texts`."""
    embeddings = Embeddings(standin.url)
    begun = time.perf_counter()
    for first in range(0, len(rows), LANGCHAIN_BULK):
        some = rows[first : first + LANGCHAIN_BULK]
        OpenSearchVectorSearch.from_texts(
            [row["text"] for row in some],
            embeddings,
            metadatas=[{"source": row["source"], "title": row["title"]} for row in some],
            opensearch_url=server.url,
            index_name=index,
            engine="lucene",
            space_type="cosinesimil",
        )
    return time.perf_counter() - begun


def rates(server, standin, rows, few):
    """Passages a second of both, medians; LangChain loads the first few of them."""
    target = Target(standin, env={"OPENSEARCH_DOMAIN_ENDPOINT": server.url})
    seen = {"LangChain": [], "index": []}
    try:
        for number in range(ROUNDS):
            name = f"rate-{number}-{time.time_ns()}"
            seen["LangChain"].append(few / langchain(server, standin, rows[:few], f"{name}-a"))
            seen["index"].append(len(rows) / load(target, rows, f"{name}-b"))
            count = server.ask("GET", f"/{name}-b/_count")["count"]
            assert count == len(rows), (count, len(rows))
            for index in ("a", "b"):
                server.ask("DELETE", f"/{name}-{index}")
    finally:
        target.close()
    return {way: statistics.median(some) for way, some in seen.items()}


@contextlib.contextmanager
def standing_in(**knobs):
    standin = Standin("--knobs", json.dumps(knobs), record=False)
    try:
        yield standin
    finally:
        standin.stop()


def table(*rows):
    for number, row in enumerate(rows):
        print("| " + " | ".join(row) + " |", flush=True)
        if number == 0:
            print("|" + "---|" * len(row), flush=True)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--passages", type=int, default=5_000)
    options.add_argument("--questions", type=int, default=600)
    options.add_argument("--only", choices=["added", "rates", "cold"])
    options = options.parse_args()
    wanted = lambda part: options.only in (None, part)
    rows, server = list(made(options.passages)), Node()
    try:
        with standing_in() as standin:
            if options.only != "rates":
                target = Target(standin, env={"OPENSEARCH_DOMAIN_ENDPOINT": server.url})
                load(target, rows, INDEX)
                target.close()
            if wanted("added"):
                print_added(server, standin, options.questions)
        if wanted("rates"):
            print_rates(server, rows)
        if wanted("cold"):
            command = [os.environ["BENCH_LAMBDA_BIN"], "--search", server.url.removeprefix("http://")]
            print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout, flush=True)
    finally:
        server.close()


def print_added(server, standin, questions):
    lines = []
    for mode, pause in (("text", 0), ("hybrid", 0), ("text", PAUSE), ("hybrid", PAUSE)):
        seen = added(server, standin, mode, SLOW_QUESTIONS if pause else questions, pause)
        name = f"{mode}, a question every {PAUSE} s" if pause else f"{mode}, one question after the other"
        parts = ("without", "query", "embedding", "with", "added")
        lines.append([name] + [f"{seen[part]:.2f}" for part in parts])
    head = ["", "answer without a search ms", "bare query ms", "bare embedding ms", "answer with it ms", "added ms"]
    table(head, *lines)
    print()


def print_rates(server, rows):
    lines = []
    for delay in (0, 20):
        with standing_in(head_ms=delay) as standin:
            seen = rates(server, standin, rows, len(rows) // (5 if delay else 2))
        each = [f"{rate:,.0f}" for rate in seen.values()]
        name = f"{delay} ms" if delay else "none"
        lines.append([name, *each, f"{seen['index'] / seen['LangChain']:.1f}x"])
    table(["delay of an embedding", "LangChain passages/s", "index passages/s", "ratio"], *lines)
    print()


if __name__ == "__main__":
    sys.exit(main())
