"""`scripts/push-image`, with programs in the place of aws, docker and podman that record their calls."""

import json
import re
import shutil
import stat
import subprocess
import sys

import pytest

from target import ROOT

pytestmark = pytest.mark.local("it starts what it needs by itself")

INPUTS = ["Cargo.toml", "Cargo.lock", ".dockerignore", "docker/Dockerfile", "lambda/rest/src/main.rs"]
TOOLS = "bash sh git sed awk grep tr tail cat cut cp mv rm mktemp uname tee dirname env".split()
HOST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
DIGEST = "sha256:" + "ab" * 32
LATER = "sha256:" + "cd" * 32
SETTINGS = "REGION_ID=eu-central-1\nECR_REST_REPOSITORY=my/rest\nECR_WEBSOCKET_REPOSITORY=my/ws\nOTHER=kept\n"

# What stands behind every fake: state.json has the repositories, their tags and what is to fail.
FAKE = """#!{python}
import json, os, sys
os.chdir({home!r})
name, args = os.path.basename(sys.argv[0]), sys.argv[1:]
stdin = sys.stdin.read() if "--password-stdin" in args else ""
with open("calls.jsonl", "a") as calls:
    calls.write(json.dumps([name, *args, *([stdin] if stdin else [])]) + "\\n")
state = json.load(open("state.json"))
value = lambda flag: args[args.index(flag) + 1]
def end(code, said=""):
    json.dump(state, open("state.json", "w"))
    print(said, file=sys.stderr if code else sys.stdout)
    sys.exit(code)
verb = args[3] if name == "aws" else " ".join(args[:2]) if args[0] == "buildx" else args[0].strip("-")
if verb in state["fail"]:
    end(1, state["fail"][verb])
if name == "aws":
    repository = value("--repository-name") if "--repository-name" in args else None
    uri = "{host}/"
    if verb == "get-login-password":
        end(0, "secret-password")
    if verb == "describe-repositories":
        wanted = value("--repository-names")
        known = wanted in state["repositories"]
        end(0, uri + wanted) if known else end(254, "An error occurred (RepositoryNotFoundException) …")
    if verb == "create-repository":
        state["repositories"][repository] = {{}}
        end(0, uri + repository)
    if verb == "describe-images":
        tags = state["repositories"][repository]
        tag = value("--image-ids").removeprefix("imageTag=")
        end(0, tags[tag]) if tag in tags else end(254, "An error occurred (ImageNotFoundException) …")
elif verb == "version":
    end(0, name + " version 5")
elif verb == "buildx version":
    end(*((0, "v0.20") if state["buildx"] else (1, "no such command")))
elif verb == "push":
    repository, tag = args[-1].split("/", 1)[1].rsplit(":", 1)
    another = state.get("pushed_by_another")
    state["repositories"].setdefault(repository, {{}})[tag] = another or state["digest"]
    if another:
        end(1, "tag invalid: The image tag already exists and cannot be overwritten")
    if "--digestfile" in args:
        open(value("--digestfile"), "w").write(state["digest"])
    end(0, tag + ": digest: " + state["digest"] + " size: 528")
end(0)
"""


class Place:
    """A clone with the script in it, and a PATH that has nothing but what it needs."""

    def __init__(self, home, cloned=None):
        self.home, self.tree, self.bin = home, home / "clone", home / "bin"
        for file in [*INPUTS, "scripts/push-image", "scripts/lib/aws.sh", "template.env"]:
            (self.tree / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, self.tree / file)
        (self.tree / ".gitignore").write_text(".env\n")
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        for fake in ["aws", "docker", "podman"]:
            (self.bin / fake).write_text(FAKE.format(python=sys.executable, home=str(home), host=HOST))
            (self.bin / fake).chmod(0o755)
        self.state(repositories={"my/rest": {}, "my/ws": {}}, fail={}, buildx=True, digest=DIGEST)
        # A copy of one repository is cheaper than making one for every test.
        if cloned:
            shutil.copytree(cloned, self.tree / ".git")
        else:
            self.git("init", "-q")
            self.commit("one")

    def git(self, *args):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        done = subprocess.run(["git", *who, *args], cwd=self.tree, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, message):
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "--short=12", "HEAD")

    def state(self, **changes):
        file = self.home / "state.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(known | changes))

    def settings(self, text=SETTINGS):
        self.env.write_text(text)

    @property
    def env(self):
        return self.tree / ".env"

    @property
    def calls(self):
        file = self.home / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def called(self, *words):
        """The calls that have all these words."""
        return [call for call in self.calls if all(word in call for word in words)]

    def run(self, *args, **env):
        done = subprocess.run(
            [self.tree / "scripts/push-image", *args],
            cwd=self.home,
            env={"PATH": str(self.bin), "HOME": str(self.home)} | env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def cloned(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("first")).tree / ".git"


@pytest.fixture
def place(tmp_path, cloned):
    made = Place(tmp_path, cloned)
    made.settings()
    return made


def sourced(file, name, shell):
    """A setting as the documented line exports it."""
    script = f'export $(cat {file} | xargs) && printf %s "${name}"'
    return subprocess.run([shell, "-c", script], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("function, repository", [("rest", "my/rest"), ("ws", "my/ws")])
def test_an_image_is_pushed_and_its_digest_written(place, function, repository):
    commit = place.commit("two")
    code, out, said = place.run(function, ARCHITECTURE="arm64")
    image = f"{HOST}/{repository}:{function}-{commit}-arm64"
    assert (code, out) == (0, DIGEST + "\n"), said
    assert place.env.read_text() == SETTINGS + f"IMAGE_DIGEST={DIGEST}\nARCHITECTURE=arm64\n"
    [built] = place.called("buildx", "build")
    assert built[-3:] == ["-t", image, "."] and "--provenance=false" in built
    assert built[built.index("--target") + 1] == function
    assert built[built.index("--platform") + 1] == "linux/arm64"
    assert place.called("docker", "login", HOST, "secret-password\n") and place.called("push", image)
    assert not place.called("create-repository")
    assert image in said and "secret-password" not in said


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_settings_can_be_exported_by_the_documented_line(place, shell):
    place.env.unlink()
    assert place.run("rest", REGION_ID="eu-central-1", ARCHITECTURE="amd64")[0] == 0
    assert sourced(place.env, "IMAGE_DIGEST", shell) == DIGEST
    assert sourced(place.env, "ARCHITECTURE", shell) == "x86_64"
    assert sourced(place.env, "ANSWER_CACHE", shell) == "on"


def test_lines_are_replaced_where_they_stand_and_all_others_kept(place):
    old = f"A=1\nIMAGE_DIGEST={LATER}\nB='x y'\nARCHITECTURE=arm64\n{SETTINGS}"
    place.settings(old + "IMAGE_DIGEST=twice\nC=no-newline")
    place.env.chmod(0o640)
    assert place.run("rest", ARCHITECTURE="x86_64")[0] == 0
    new = f"A=1\nIMAGE_DIGEST={DIGEST}\nB='x y'\nARCHITECTURE=x86_64\n{SETTINGS}C=no-newline\n"
    assert place.env.read_text() == new
    assert stat.S_IMODE(place.env.stat().st_mode) == 0o640
    assert [file.name for file in place.tree.glob(".env*")] == [".env"]


def test_a_missing_env_is_made_from_the_template_and_is_the_owners_alone(place):
    place.env.unlink()
    code, _, said = place.run("ws")
    assert code == 0, said
    names = [line.split("=")[0] for line in (ROOT / "template.env").read_text().splitlines()]
    assert [line.split("=")[0] for line in place.env.read_text().splitlines()] == names
    assert f"IMAGE_DIGEST={DIGEST}\n" in place.env.read_text()
    assert stat.S_IMODE(place.env.stat().st_mode) == 0o600
    assert place.called("create-repository", "llm-gateway-ws")


def test_a_missing_repository_is_created_scanned_and_immutable(place):
    place.state(repositories={})
    code, _, said = place.run("rest")
    [created] = place.called("create-repository")
    assert code == 0 and "scanOnPush=true" in created and "IMMUTABLE" in created and "my/rest" in said


def test_a_second_run_builds_and_pushes_nothing(place):
    assert place.run("rest")[0] == 0
    first, calls = place.env.read_text(), len(place.calls)
    place.state(digest=LATER)
    code, out, said = place.run("rest")
    assert (code, out, place.env.read_text()) == (0, DIGEST + "\n", first) and "already" in said
    assert not any(word in call for call in place.calls[calls:] for word in ["buildx", "push", "login"])


def test_files_that_are_not_committed_get_a_tag_of_their_own(place):
    tags = []
    for text in ["// one", "// two", "// two"]:
        (place.tree / "lambda/rest/src/main.rs").write_text(text)
        code, _, said = place.run("rest")
        assert code == 0 and "not committed" in said
        tags.append(re.search(r"my/rest:(\S+)", said).group(1))
    assert tags[0] != tags[1] == tags[2] and all("-with-" in tag for tag in tags)
    assert len(place.called("buildx", "build")) == 2
    assert place.git("status", "--porcelain") == "M lambda/rest/src/main.rs", "the index is as it was"


def test_files_that_are_in_no_image_do_not_change_the_tag(place):
    (place.tree / "notes.md").write_text("mine")
    code, _, said = place.run("rest")
    assert code == 0 and "-with-" not in said


def test_another_one_who_pushed_the_same_tag_meanwhile_is_no_failure(place):
    place.state(pushed_by_another=LATER)
    code, out, said = place.run("rest")
    assert (code, out) == (0, LATER + "\n"), said
    assert f"IMAGE_DIGEST={LATER}\n" in place.env.read_text()


def test_podman_builds_and_tells_the_digest_by_a_file(place):
    code, out, said = place.run("rest", CONTAINER_TOOL="podman")
    [built] = place.called("podman", "build")
    assert (code, out) == (0, DIGEST + "\n"), said
    assert built[1:6] == ["build", "--format", "oci", "--timestamp", "0"]
    assert not place.called("docker")


def test_docker_without_buildx_builds_plainly(place):
    place.state(buildx=False)
    assert place.run("rest", RUST_IMAGE="mirror.example/rust:1")[0] == 0
    [built] = place.called("docker", "build")
    assert built[1] == "build" and "--provenance=false" not in built
    assert built[built.index("--build-arg") + 1] == "RUST_IMAGE=mirror.example/rust:1"


def test_another_registry_needs_no_aws_and_leaves_the_settings_alone(place):
    (place.bin / "aws").unlink()
    code, out, said = place.run("rest", REGISTRY="127.0.0.1:5000")
    assert (code, out) == (0, DIGEST + "\n"), said
    assert place.env.read_text() == SETTINGS
    assert re.search(r"127\.0\.0\.1:5000/my/rest:rest-[0-9a-f]{12}-(x86_64|arm64)\b", said)


@pytest.mark.parametrize("args, word", [([], "rest"), (["both"], "rest"), (["rest", "ws"], "ws")])
def test_a_wrong_argument_exits_2(place, args, word):
    code, out, said = place.run(*args)
    assert (code, out) == (2, "") and word in said and said.strip().endswith(".") or "--help" in said
    assert place.calls == []


def test_help_has_an_example_and_goes_to_standard_output(place):
    code, out, said = place.run("--help")
    assert (code, said) == (0, "") and "scripts/push-image rest" in out and "CONTAINER_TOOL" in out


UNKNOWN = "An error occurred (UnrecognizedClientException)"
CREDENTIALS = "Unable to locate credentials. You can configure credentials by running aws configure."
DENIED = "An error occurred (AccessDeniedException) when calling the X operation: User: u is not authorized"


@pytest.mark.parametrize(
    "change, words",
    [
        ({"settings": SETTINGS.replace("my/rest", "")}, ["ECR_REST_REPOSITORY", ".env"]),
        ({"settings": SETTINGS.replace("my/rest", "host.example/x:latest")}, ["name alone"]),
        ({"settings": SETTINGS.replace("my/rest", "My_Rest")}, ["ECR_REST_REPOSITORY", "lower-case"]),
        ({"settings": SETTINGS.replace("eu-central-1", "")}, ["REGION_ID"]),
        ({"settings": SETTINGS + "ARCHITECTURE=mips\n"}, ["ARCHITECTURE=mips", "arm64"]),
        ({"missing": "aws"}, ["AWS CLI", "aws.amazon.com/cli"]),
        ({"missing": "docker"}, ["docker is not installed", "CONTAINER_TOOL=podman"]),
        ({"missing": "git"}, ["git is needed"]),
        ({"missing": ".git"}, ["git finds no commit"]),
        ({"fail": {"info": "Cannot connect to the Docker daemon"}}, ["Cannot connect", "Start it"]),
        ({"fail": {"describe-repositories": CREDENTIALS}}, ["no AWS credentials", "aws configure"]),
        ({"fail": {"describe-repositories": "An error occurred (ExpiredTokenException)"}}, ["expired"]),
        ({"fail": {"describe-repositories": UNKNOWN}}, ["not accept"]),
        ({"fail": {"describe-repositories": DENIED}}, ["ecr:DescribeRepositories", "allowed"]),
        ({"fail": {"describe-repositories": "Could not connect to the endpoint URL"}}, ["REGION_ID="]),
        ({"fail": {"describe-repositories": "Something new"}}, ["Something new"]),
        ({"fail": {"create-repository": DENIED}, "repositories": {}}, ["ecr:CreateRepository"]),
        ({"fail": {"describe-images": DENIED}}, ["ecr:DescribeImages"]),
        ({"fail": {"get-login-password": DENIED}}, ["ecr:GetAuthorizationToken"]),
        ({"fail": {"login": "Error saving credentials"}}, ["could not log in", "Error saving credentials"]),
        ({"fail": {"buildx build": "error: could not compile"}}, ["not built", "above"]),
        ({"fail": {"push": "denied: not authorized"}}, ["not pushed", "above"]),
        ({"digest": "none"}, ["not pushed"]),
    ],
)
def test_every_failure_is_a_sentence_and_leaves_the_settings_alone(place, change, words):
    place.settings(change.pop("settings", SETTINGS))
    missing = change.pop("missing", None)
    if missing == ".git":
        shutil.rmtree(place.tree / ".git")
    elif missing:
        (place.bin / missing).unlink()
    place.state(**change)
    before = place.env.read_text()
    code, out, said = place.run("rest")
    sentence = said.strip().splitlines()[-1]
    assert (code, out) == (1, "") and sentence.startswith("push-image: "), said
    assert all(word in sentence for word in words), sentence
    assert place.env.read_text() == before and [file.name for file in place.tree.glob(".env*")] == [".env"]


def test_an_env_that_cannot_be_written_is_told_with_what_to_write(place):
    (place.bin / "mv").unlink()
    (place.bin / "mv").write_text("#!/bin/sh\necho mv: Permission denied >&2\nexit 1\n")
    (place.bin / "mv").chmod(0o755)
    code, out, said = place.run("rest")
    assert (code, out) == (1, "") and "Permission denied" in said and f"IMAGE_DIGEST={DIGEST}" in said
    assert place.env.read_text() == SETTINGS and [file.name for file in place.tree.glob(".env*")] == [".env"]
