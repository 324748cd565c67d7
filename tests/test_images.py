"""What an image is made of, as far as that can be told without building one; `scripts/test-images`
builds, pushes and runs them."""

import json
import re
import subprocess

import pytest

from target import ROOT

pytestmark = pytest.mark.local("it starts what it needs by itself")

# A second HTTP stack, a second TLS provider, and the store of one machine: megabytes and cold-start
# time, each of them brought in by one default feature of one dependency.
HEAVY = ["aws-lc-rs", "aws-lc-sys", "openssl-sys", "native-tls", "dynoxide-rs", "libsqlite3-sys"]
# Which settings the gateway reads, and which only scripts and the stack do.
CONTRACT = {setting["name"]: setting for setting in json.loads((ROOT / "contract/settings.json").read_text())["settings"]}
# This is read by the functions only: one machine has no roles.
FUNCTIONS = {"CALLER_SESSION"}
# And this names a file, which would have to be mounted as well.
FILES = {"AWS_CA_BUNDLE"}


def crates(*packages):
    """Name and version of everything that these packages are built from together, as an image's are."""
    command = ["cargo", "tree", "--locked", "--offline", "-e", "normal", "--prefix", "none", "-f", "{p}"]
    for package in packages:
        command += ["-p", package]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return {tuple(line.split()[:2]) for line in done.stdout.splitlines() if line}


def test_the_functions_are_built_from_one_light_stack():
    found = crates("rest", "ws")
    assert {name for name, _ in found} >= {"hyper", "rustls", "ring", "lambda_runtime"}
    assert [version for name, version in found if name == "hyper" and version.startswith("v0.")] == []
    assert {name for name, _ in found} & set(HEAVY) == set()


def test_the_command_has_the_store_that_the_functions_must_not_have():
    assert {"dynoxide-rs", "libsqlite3-sys"} <= {name for name, _ in crates("llm-gateway")}


@pytest.mark.parametrize(
    "target, packages", [("rest", ["rest", "ws"]), ("ws", ["rest", "ws"]), ("gateway", ["llm-gateway"])]
)
def test_the_dockerfile_builds_what_was_looked_at(target, packages):
    text = (ROOT / "docker/Dockerfile").read_text()
    source = re.search(rf"^FROM scratch AS {target}\nCOPY --from=(\w+)", text, re.MULTILINE).group(1)
    stage = text[text.index(f"AS {source}\n") :].split("\nFROM")[0]
    [build] = re.findall(r"cargo build .*", stage)
    assert re.findall(r" -p (\S+)", build) == packages and "--locked" in build


def test_the_container_gets_every_setting_of_the_template():
    lines = (ROOT / "template.env").read_text().splitlines()
    read = {name for name, setting in CONTRACT.items() if "gateway" in setting["readers"]}
    settings = read.intersection(line.split("=")[0] for line in lines) - FUNCTIONS - FILES
    assert len(settings) > 15
    passed = set(re.findall(r"^      - ([A-Z_]+)", (ROOT / "docker/compose.yaml").read_text(), re.MULTILINE))
    missing = settings - passed
    assert not missing, f"pass {missing} on in docker/compose.yaml, or say above who else reads them"
