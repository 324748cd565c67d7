#!/usr/bin/env python3
"""Uploads curated answers as `llm-gateway upload` does: the command line of the older system.

    python scripts/bulk_upload_JSON_to_DDB/bulk_upload_JSON_to_DDB.py FILE -t TABLE

Every option of `llm-gateway upload` works here too. The command is looked for in LLM_GATEWAY_BIN, on
PATH, and where cargo builds it.
"""

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def find_command():
    """The path of the command, or None."""
    named = os.environ.get("LLM_GATEWAY_BIN")
    if named:
        return named
    on_path = shutil.which("llm-gateway")
    if on_path:
        return on_path
    target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
    built = [target / profile / "llm-gateway" for profile in ("release", "debug")]
    return next((str(path) for path in built if os.access(path, os.X_OK)), None)


def main():
    command = find_command()
    if not command:
        sys.exit("The command llm-gateway was not found. Build it with `cargo build --release`, or name it in LLM_GATEWAY_BIN.")
    try:
        os.execv(command, [command, "upload", *(sys.argv[1:] or ["--help"])])
    except OSError as error:
        sys.exit(f"{command} cannot be run: {error.strerror}. Set LLM_GATEWAY_BIN to the command llm-gateway.")


if __name__ == "__main__":
    main()
