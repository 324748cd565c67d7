"""Every shell script of the tree passes shellcheck, with the parts that it sources."""

import subprocess
import sys
from pathlib import Path

import pytest

from target import ROOT

pytestmark = pytest.mark.local("about the tree alone")
SHELLS = ("#!/usr/bin/env bash", "#!/bin/sh", "#!/bin/bash")


def scripts():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0")[:-1]:
        file = ROOT / name
        if file.is_file() and file.read_bytes()[:40].decode(errors="replace").startswith(SHELLS):
            yield name


def test_every_shell_script_passes_shellcheck():
    found = sorted(scripts())
    assert {"scripts/deploy", "scripts/test", ".ci/run"} <= set(found)
    sourced = "".join((ROOT / name).read_text() for name in found)
    for part in (ROOT / "scripts/lib").iterdir():
        assert f"# shellcheck source=scripts/lib/{part.name}\n" in sourced, f"{part.name} is not looked at"
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([shellcheck, "--external-sources", *found], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
