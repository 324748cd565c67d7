"""The `upload` command as tests run it."""

import json
import subprocess
from pathlib import Path

from target import GATEWAY, Target


def environment(home, url, **more):
    """A clean environment with DynamoDB at `url`. A variable that is None is left out."""
    base = Target.environment(type("Bare", (), {"standin": None, "env": {}})())
    base |= {"HOME": str(home), "AWS_ENDPOINT_URL_DYNAMODB": url}
    return {name: value for name, value in (base | more).items() if value is not None}


class Upload:
    """Runs `llm-gateway upload` in a directory of its own, against a server."""

    def __init__(self, home, url, table):
        self.home, self.url, self.table = Path(home), url, table

    def file(self, rows, name="answers.jsonl"):
        """Writes rows (or text, or bytes) into a file and gives its name."""
        if isinstance(rows, list):
            rows = "".join(json.dumps(row) + "\n" for row in rows)
        (self.home / name).write_bytes(rows.encode() if isinstance(rows, str) else rows)
        return name

    def command(self, file, *args, table=None):
        to = [] if "--data" in args or table == "" else ["-t", table or self.table]
        return [GATEWAY, "upload", str(file), *to, *args]

    def __call__(self, file, *args, table=None, env=None, stdin=None, limit=120):
        """Runs it to its end: exit code, standard output and standard error in `code`, `out`, `err`."""
        done = subprocess.run(
            self.command(file, *args, table=table),
            cwd=self.home,
            env=environment(self.home, self.url, **(env or {})),
            input=stdin or b"",
            capture_output=True,
            timeout=limit,
        )
        done.code, done.out, done.err = done.returncode, done.stdout.decode(), done.stderr.decode()
        assert "panicked" not in done.err, done.err
        return done

    def start(self, file, *args):
        """Starts it and does not wait."""
        log = open(self.home / "log", "w")
        return subprocess.Popen(
            self.command(file, *args),
            cwd=self.home,
            env=environment(self.home, self.url),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )

    @property
    def log(self):
        return (self.home / "log").read_text()


def rows(count, answer="answer {}", start=0):
    """That many different rows."""
    return [{"pk": f"Question {n}?", "answer": answer.format(n)} for n in range(start, start + count)]
