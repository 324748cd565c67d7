"""A small Runtime API that hands out any bytes as events: for what no API Gateway would send."""

import contextlib
import http.server
import json
import subprocess
import threading
import time
import uuid

from target import BUILT, until


class RuntimeApi:
    """Hands out these events, then none; keeps what the function posts: path, headers, body."""

    def __init__(self, *events):
        self.events, self.posts, self.left = list(events), [], threading.Event()
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if not api.events:
                    api.left.wait(30)
                    self.close_connection = True
                    return
                self.send_response(200)
                raw = api.events.pop(0)
                for name, value in {
                    "lambda-runtime-aws-request-id": uuid.uuid4().hex,
                    "lambda-runtime-deadline-ms": str(int(time.time() * 1000) + 30_000),
                    "lambda-runtime-invoked-function-arn": "arn:aws:lambda:us-east-1:1:function:f",
                    "content-length": str(len(raw)),
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def do_POST(self):
                raw, length = b"", self.headers.get("content-length")
                if length:
                    raw = self.rfile.read(int(length))
                else:
                    while size := int(self.rfile.readline(), 16):
                        raw += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                api.posts.append((self.path, dict(self.headers), raw))
                self.send_response(202)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def run(self, name, posts, **env):
        """Runs a function until it has posted so often; gives its exit code, or None, and its output."""
        env = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.server.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": name, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_LOG_GROUP_NAME": "g",
            "AWS_LAMBDA_LOG_STREAM_NAME": "s", "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true", "CALLBACK_URL": "http://127.0.0.1:9/prod", **env,
        }
        process = subprocess.Popen(
            [str(BUILT / name)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        until(lambda: len(self.posts) >= posts, 20, what="the posts of the function")
        code = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(1)
        process.kill()
        out, err = process.communicate(timeout=10)
        self.left.set()
        self.server.shutdown()
        assert err == ""
        return code, [json.loads(line) for line in out.splitlines()]
