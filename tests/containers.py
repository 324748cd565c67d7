"""A registry and podman for `scripts/test-images`, both of its own, and how it says what went wrong."""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
import urllib.request

from target import ROOT, free_port

MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)

CONTAINERS = """[containers]
# Podman's own limits may be above what this machine allows.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""

STORAGE = """[storage]
driver = "overlay"
graphroot = "{work}/store"
runroot = "{work}/run"
"""


def end(sentence):
    sys.exit(f"test-images: {sentence}")


def say(text):
    print(f"test-images: {text}", flush=True)


def check(true, what):
    """Not `assert`: it must hold under `python -O` as well."""
    if not true:
        end(f"FAILED: {what}")


def run(*command, **options):
    """Runs a command to its end and gives what it printed on standard output."""
    command = [str(word) for word in command]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **options)
    if done.returncode:
        end(f"{command[0]} failed with {done.returncode}: {' '.join(command)}")
    return done.stdout


def until_answers(url):
    for _ in range(200):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(url, timeout=5).read()
        time.sleep(0.1)
    end(f"{url} does not answer")


def executable(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


class Place:
    """A registry, and podman with a storage of its own; both end, and everything goes, with the script."""

    def __init__(self, work, from_source):
        self.work, self.port = work, free_port()
        self.registry = f"127.0.0.1:{self.port}"
        files = {
            "containers.conf": CONTAINERS,
            "storage.conf": STORAGE.format(work=work),
            "registries.conf": f'[[registry]]\nlocation = "{self.registry}"\ninsecure = true\n',
            "registry.yml": f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: {self.registry}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {work}/registry}}}}\n",
        }
        for name, text in files.items():
            (work / name).write_text(text)
        self.conf = {
            "CONTAINERS_CONF": f"{work}/containers.conf",
            "CONTAINERS_STORAGE_CONF": os.environ.get("CONTAINERS_STORAGE_CONF", f"{work}/storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": f"{work}/registries.conf",
            "BUILDAH_ISOLATION": "chroot",
        }
        self.env = {**os.environ, **self.conf}
        stages = [f"--build-context {stage}={work}/{stage}" for stage in ("lambdas", "command")]
        stages = "" if from_source else " ".join(["--no-cache", *stages])
        script = f'[ "$1" = build ] && shift && exec podman build {stages} "$@"\nexec podman "$@"\n'
        self.tool = executable(work / "podman-with-stages", script)

    @contextlib.contextmanager
    def open(self):
        command = ["docker-registry", "serve", str(self.work / "registry.yml")]
        with open(self.work / "registry.log", "w") as log:
            registry = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until_answers(f"http://{self.registry}/v2/")
            yield self
        finally:
            left = self.podman("ps", "-aq", "--filter", "label=test-images").split()
            if left:
                self.podman("rm", "-f", "-t", "0", *left)
            registry.terminate()
            registry.wait(20)

    def podman(self, *args):
        return run(self.tool, *args, env=self.env).strip()

    def push(self, function):
        """The digest that scripts/push-image prints."""
        settings = {
            "CONTAINER_TOOL": str(self.tool),
            "REGISTRY": self.registry,
            "ARCHITECTURE": os.uname().machine,
            "ECR_REST_REPOSITORY": "llm-gateway-rest",
            "ECR_WEBSOCKET_REPOSITORY": "llm-gateway-ws",
        }
        return run("scripts/push-image", function, env=self.env | settings).strip()

    def fetch(self, repository, kind, digest):
        """A manifest or a blob, which must be what its digest says."""
        request = urllib.request.Request(f"http://{self.registry}/v2/{repository}/{kind}/{digest}")
        request.add_header("accept", ", ".join(MANIFESTS))
        with urllib.request.urlopen(request, timeout=30) as reply:
            raw = reply.read()
        right = "sha256:" + hashlib.sha256(raw).hexdigest() == digest
        check(right, f"{repository}: one of the {kind} is not what its digest says")
        return raw

    def lambda_like(self, function, digest, *more):
        """A program that runs the image as Lambda does: what the emulator starts in place of the binary."""
        image = f"{self.registry}/llm-gateway-{function}@{digest}"
        exports = {**self.conf, "PATH": os.environ["PATH"]}.items()
        exports = "".join(f"export {name}='{value}'\n" for name, value in exports)
        options = "--rm --label test-images --env-host --network host --read-only --read-only-tmpfs=false"
        options += " --tmpfs /tmp:rw,size=512m --user 993:990 --cap-drop all --security-opt no-new-privileges"
        options += " --memory 128m " + " ".join(more)
        name = f"run-{function}{len(list(self.work.glob('run-*')))}"
        return executable(self.work / name, f"{exports}exec podman run {options} {image}\n")
