"""The `index` command as tests run it, and what it has written."""

import base64
import json
import struct
import subprocess
import zlib
from pathlib import Path

from clients import new_id

from opensearch import opensearch
from target import GATEWAY, Target

LOCAL = "local.hashed-embedding-256"


class Index:
    """Runs `llm-gateway index` in a directory of its own. `env` adds settings; one that is None is left out."""

    def __init__(self, home, **env):
        self.home, self.env = Path(home), env
        (self.home / "docs").mkdir(exist_ok=True)

    def write(self, name, content):
        """Writes text, bytes or rows into a file below `docs`."""
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path = self.home / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def environment(self):
        base = Target.environment(type("Bare", (), {"standin": None, "env": {}})())
        settings = base | {"HOME": str(self.home)} | self.env
        return {name: value for name, value in settings.items() if value is not None}

    def start(self, *args, **options):
        """Starts it and does not wait."""
        command = [GATEWAY, "index", *(args or ["docs"])]
        return subprocess.Popen(command, cwd=self.home, env=self.environment(), **options)

    def __call__(self, *args, stdin=b"", limit=120):
        """Runs it to its end: exit code, standard error and the summary in `code`, `err` and `summary`."""
        args = [*(args or ["docs"]), "--json"]
        process = self.start(*args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(stdin, timeout=limit)
        process.code, process.err = process.returncode, err.decode()
        process.summary = json.loads(out) if out else None
        assert "panicked" not in process.err, process.err
        return process

    def counts(self, *args, code=0, **options):
        """The same: passages added, updated, unchanged and removed."""
        done = self(*args, **options)
        assert done.code == code, done.err
        return tuple(done.summary[name] for name in ("added", "updated", "unchanged", "removed"))


class OnOpenSearch(Index):
    """Into an index of its own."""

    def __init__(self, home, server=None, **env):
        self.server, self.name = server or opensearch(), f"index-{new_id()}"
        place = {"OPENSEARCH_DOMAIN_ENDPOINT": self.server.url, "OPENSEARCH_INDEX": self.name}
        super().__init__(home, **{**place, "EMBEDDINGS_MODEL": LOCAL, **env})

    def passages(self):
        """What is stored, by id."""
        found = self.server.documents(self.name)
        assert all(key == document["metadata"]["passage_id"] for key, document in found.items())
        return found


class OnThisMachine(Index):
    """Into a data directory."""

    def passages(self):
        """What is stored, by id."""
        header, *lines = (self.home / ".llm-gateway" / "passages.jsonl").read_text().splitlines()
        dimensions = json.loads(header)["dimensions"]
        rows = [json.loads(line) for line in lines]
        for row in rows:
            row["vector_field"] = struct.unpack(f"<{dimensions}f", base64.b64decode(row["vector"]))
        return {row["metadata"]["passage_id"]: row for row in rows}


def pdf(*pages):
    """A PDF whose pages have these lines of text."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>")
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    chunks = [text.encode("latin-1") for text in objects]
    for number, text in enumerate(pages):
        lines = b"".join(b"(%s) Tj 0 -16 Td " % line.encode("cp1252") for line in text.splitlines())
        packed = zlib.compress(b"BT /F1 12 Tf 72 720 Td " + lines + b"ET")
        page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> "
        chunks.append((page + f"/Contents {5 + 2 * number} 0 R >>").encode())
        chunks.append(b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(packed) + packed + b"\nendstream")
    out, places = b"%PDF-1.4\n", []
    for number, chunk in enumerate(chunks, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + chunk + b"\nendobj\n"
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
    return out + head + table + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        len(places) + 1,
        len(out),
    )
