"""Fetches pinned files from Maven Central, for the scripts that put servers together for the tests."""

import hashlib
import sys
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CENTRAL = "https://repo1.maven.org/maven2/"
TRIES = 3


def fetch_all(pinned, directory):
    """Puts what the file `pinned` lists into `directory`. A line is a SHA-256, a path in Maven Central and,
    optionally, a folder; a zip is unpacked into that folder. What is there already with the right checksum
    is not fetched again."""
    rows = [line.split() for line in pinned.read_text().splitlines()]
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(fetch, directory, *row) for row in rows]:
            done.result()


def fetch(directory, expected, path, folder="."):
    """Fetches one file, unless it is there."""
    file = directory / folder / path.rsplit("/", 1)[1]
    archive = file.suffix == ".zip"
    # The servers take every file of such a folder for one of theirs.
    file = directory / "archives" / file.name if archive else file
    if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == expected:
        return
    data = download(CENTRAL + path)
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        sys.exit(f"{CENTRAL}{path} has the checksum {found}, not {expected}")
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_bytes(data)
    if archive:
        zipfile.ZipFile(part).extractall(directory / folder)
    part.rename(file)


def download(url):
    """The bytes at a URL."""
    for left in reversed(range(TRIES)):
        try:
            with urllib.request.urlopen(url, timeout=60) as reply:
                return reply.read()
        except OSError as error:
            if not left:
                sys.exit(f"{url} cannot be fetched: {error}")
