"""The `llm-gateway` command: options, exit codes, sentences about what is wrong."""

import os
import stat
import subprocess

import pytest
from clients import Http

from target import GATEWAY, Target

pytestmark = pytest.mark.local("the command line")


def run(*args, env=None, limit=20):
    done = subprocess.run(
        [GATEWAY, *args],
        env=env or {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=limit,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def stopped():
    """Makes targets that are not started."""
    made = []

    def make(**options):
        made.append(Target(model="extractive", **options))
        return made[-1]

    yield make
    for target in made:
        target.close()


@pytest.mark.parametrize("args", [["--help"], ["serve", "--help"]])
def test_help_has_an_example_and_goes_to_standard_output(args):
    code, out, said = run(*args)
    assert (code, said) == (0, "")
    assert "Example:" in out and "--api-key" in out


def test_the_version_is_printed():
    assert run("--version")[1].startswith("llm-gateway ")


@pytest.mark.parametrize(
    "args",
    [
        ["--no-such-flag"],
        ["--port", "many"],
        ["--port", "70000"],
        ["--model", "gpt"],
        ["--model", "script:"],
        ["--host", "nowhere"],
        ["nonsense"],
    ],
)
def test_a_wrong_flag_exits_2_and_says_which(args):
    code, out, said = run(*args)
    assert (code, out) == (2, "")
    assert args[-1] in said or args[0] in said


@pytest.mark.parametrize(
    "name, value",
    [
        ("DEFAULT_TEMP", "4096"),
        ("DEFAULT_TEMP", "hot"),
        ("DEFAULT_MAX_TOKENS", "0"),
        ("DEFAULT_MAX_TOKENS", "many"),
        ("CACHE_SCOPE", "everyone"),
        ("ON_DISCONNECT", "explode"),
        ("PUSH_INTERVAL_MS", "-1"),
        ("MAX_RUNNING_PER_CALLER", "none"),
        ("DEFAULT_MODEL", "no.such"),
        ("ANSWER_CACHE", "maybe"),
        ("RETRIEVAL_K", "0"),
        ("JOBS_CONCURRENCY", "0"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_a_sentence_that_names_it(stopped, name, value):
    code, said = stopped(env={name: value}).once()
    assert code == 1 and name in said and said.strip().endswith(".")
    assert "panicked" not in said and "listening" not in said


def test_all_wrong_settings_are_told_at_once(stopped):
    code, said = stopped(env={"DEFAULT_TEMP": "4096", "CACHE_SCOPE": "x", "ON_DISCONNECT": "y"}).once()
    assert code == 1 and all(name in said for name in ("DEFAULT_TEMP", "CACHE_SCOPE", "ON_DISCONNECT"))


def test_an_empty_setting_is_an_unset_one(own):
    names = ["DEFAULT_TEMP", "DEFAULT_MODEL", "CACHE_SCOPE", "ALLOWED_MODELS", "MAX_RUNNING_PER_CALLER"]
    own(model="extractive", env=dict.fromkeys(names, ""))


@pytest.mark.parametrize(
    "options, word",
    [
        ({"args": ["--api-key", "nameless"]}, "--api-key"),
        ({"args": ["--api-key", "a=same", "--api-key", "b=same"]}, "key"),
        ({"args": ["--allow-origin", "example.com"]}, "--allow-origin"),
        ({"args": ["--documents", "/no/such/place"]}, "--documents"),
        ({"args": ["--answers", "/no/such/file"]}, "--answers"),
        ({"answers": "[{]"}, "--answers"),
        ({"answers": '[{"answer": "without a question"}]'}, "row 1"),
    ],
)
def test_a_wrong_value_exits_1_with_a_sentence(stopped, options, word):
    code, said = stopped(**options).once()
    assert code != 0 and word in said and "panicked" not in said


def test_a_port_in_use_is_told(own, stopped):
    host, port = own(model="extractive").address
    code, said = stopped(args=["--port", str(port)]).once()
    assert code != 0 and "--port" in said


@pytest.mark.parametrize("content", [None, "", "no certificate in here"])
def test_a_bundle_without_certificates_stops_the_start(stopped, tmp_path, content):
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)
    target = stopped(env={"AWS_CA_BUNDLE": str(bundle)})
    target.model = "bedrock"
    code, said = target.once()
    assert code == 1 and f"AWS_CA_BUNDLE: {bundle}" in said and "panicked" not in said


def test_without_credentials_bedrock_says_what_to_set(stopped):
    target = stopped()
    target.model = "bedrock"
    env = target.environment()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        env.pop(name)
    env["AWS_CONFIG_FILE"] = env["AWS_SHARED_CREDENTIALS_FILE"] = str(target.home / "none")
    done = subprocess.run(target.command(), env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "AWS_ACCESS_KEY_ID" in done.stderr


def test_it_is_ready_when_it_says_so_and_prints_lines_to_paste(own):
    target = own(model="extractive")
    assert Http(target).get("/health").json() == {"status": "ok"}
    log = target.log
    assert f"listening on {target.url}" in log and "curl" in log and "wscat" in log


def test_the_data_directory_is_the_owners_alone(own):
    target = own(model="extractive")
    mode = stat.S_IMODE((target.home / "data").stat().st_mode)
    assert mode == 0o700
    for file in (target.home / "data").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0 or mode == 0o700


def test_options_may_come_from_the_environment(own):
    target = own(model="extractive", env={"LLM_GATEWAY_API_KEY": "alice=a,bob=b"})
    assert Http(target).get("/chats").status == 401
    assert Http(target, "b").get("/chats").status == 200
