"""DynamoDB for tests: two servers that share no code, and a stand-in for what servers do on bad days.

`Engine` is the testkit's `dynamodb-server`, `Moto` is `moto_server`. `Proxy` stands before one of them,
or before nothing, and answers as a test tells it to.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import target as targets

SERVER = os.environ.get("DYNAMODB_SERVER_BIN", str(targets.BUILT / "dynamodb-server"))
SIGNED = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0"


def ask(url, operation, **body):
    """One operation: status and reply."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    headers = {"x-amz-target": f"DynamoDB_20120810.{operation}", "authorization": SIGNED}
    headers |= {"content-type": "application/x-amz-json-1.0", "x-amz-date": "20260101T000000Z"}
    connection.request("POST", "/", json.dumps(body), headers)
    reply = connection.getresponse()
    status, body = reply.status, json.loads(reply.read())
    connection.close()
    return status, body


class Server:
    """A server's process; `url` once it answers."""

    def ask(self, operation, **body):
        status, reply = ask(self.url, operation, **body)
        assert status == 200, reply
        return reply

    def table(self, name, *keys):
        """Creates a table with these string keys and gives its name."""
        schema = [{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ["HASH", "RANGE"])]
        kinds = [{"AttributeName": key, "AttributeType": "S"} for key in keys]
        self.ask(
            "CreateTable", TableName=name, KeySchema=schema, AttributeDefinitions=kinds, BillingMode="PAY_PER_REQUEST"
        )
        return name

    def rows(self, table):
        """All items of a table by `pk`; strings only."""
        found, start = {}, {}
        while True:
            page = self.ask("Scan", TableName=table, **start)
            for item in page["Items"]:
                found[item["pk"]["S"]] = {name: next(iter(value.values())) for name, value in item.items()}
            if not page.get("LastEvaluatedKey"):
                return found
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def stop(self):
        self.process.kill()
        self.process.wait(10)


class Engine(Server):
    """The engine of the gateway's own store, over HTTP."""

    def __init__(self, tables="unused-answers,unused-state"):
        command = [SERVER, "--port", "0", "--tables", tables]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), "dynamodb-server did not start"

    def stop(self):
        super().stop()
        self.process.stdout.close()


class Moto(Server):
    """`moto_server` on a free port."""

    def __init__(self):
        port = targets.free_port()
        log = tempfile.TemporaryFile()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.url = f"http://127.0.0.1:{port}"

        def answers():
            assert self.process.poll() is None, "moto_server ended; is tests/requirements.txt installed?"
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        targets.until(answers, 60, 0.1, "moto_server's start")


class Proxy:
    """Answers DynamoDB's operations as `rule(operation, body)` says: None hands the request on,
    "cut" closes the connection, else (status, reply). Without a server everything else succeeds."""

    def __init__(self, rule=None, server=None):
        self.rule, self.server = rule or (lambda operation, body: None), server
        self.lock, self.calls, self.open, self.most_open = threading.Lock(), [], 0, 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                operation = self.headers["x-amz-target"].split(".")[1]
                answer = proxy.answer(operation, body)
                if answer == "cut":
                    self.close_connection = True
                    return
                data = json.dumps(answer[1]).encode()
                self.send_response(answer[0])
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        class Listener(ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 128

            def handle_error(self, *_):
                """A client that was killed is no fault of this server."""

        self.listener = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.listener.server_address[1]}"
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()

    def answer(self, operation, body):
        with self.lock:
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        try:
            told = self.rule(operation, body)
            if told is None:
                told = ask(self.server.url, operation, **body) if self.server else (200, self.success(operation))
            with self.lock:
                self.calls.append((operation, body, told))
            return told
        finally:
            with self.lock:
                self.open -= 1

    @staticmethod
    def success(operation):
        key = {"KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}]}
        kinds = {"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}]}
        return {"Table": key | kinds} if operation == "DescribeTable" else {"UnprocessedItems": {}}

    def batches(self):
        """The keys of each batch that was sent, in order."""
        written = [body["RequestItems"] for operation, body, _ in self.calls if operation == "BatchWriteItem"]
        puts = [next(iter(items.values())) for items in written]
        return [[put["PutRequest"]["Item"]["pk"]["S"] for put in batch] for batch in puts]

    def stop(self):
        self.listener.shutdown()
        self.listener.server_close()
