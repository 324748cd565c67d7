"""The black-box suite: the built gateway, driven over real sockets by published clients.

`scripts/test` installs what it needs and runs it after all other tests. By hand:

    cargo build --workspace --all-targets
    python3 -m venv target/test-venv
    target/test-venv/bin/pip install -r tests/requirements.txt -r tests/requirements-langchain.txt
    scripts/fetch-elasticmq target/elasticmq
    scripts/fetch-opensearch target/opensearch
    npm ci --prefix tests
    target/test-venv/bin/pytest -n 4 tests

`LLM_GATEWAY_BIN`, `BEDROCK_STANDIN_BIN`, `REST_BIN` and `WS_BIN` name other binaries than those in
`target/debug`, and `LAMBDA_EMULATOR_OPTIONS` adds options to the emulator's. Nothing here needs a
network or an account: Bedrock is the stand-in of `lambda/testkit`, whose answers are steered by an
`@standin{…}` directive inside the prompt (`clients.standin` writes it).
"""

import contextlib

import pytest
from clients import Http

import elasticmq
import opensearch
import target as targets


@pytest.fixture(scope="session")
def target():
    """A gateway that the tests of one worker share: they use prompts, chats and ids of their own."""
    with targets.running() as shared:
        yield shared


@pytest.fixture
def upstream(target):
    """The stand-in behind the shared gateway."""
    return target.standin


@pytest.fixture
def http(target):
    """An HTTP client of the shared gateway."""
    return Http(target)


@pytest.fixture
def own():
    """Starts gateways of this test's own, with options; they end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(targets.running(**options))


def pytest_configure(config):
    """The workers of this run, which inherit the environment, share one OpenSearch and one server of queues."""
    opensearch.share()
    if config.getoption("numprocesses") and targets.KIND != "stack":
        elasticmq.share()


def pytest_collection_modifyitems(config, items):
    """Leaves out what is about the other target. Slow tests begin first, so that the others run
    beside them."""
    others = {"local": ["functions"], "lambda": ["local"], "shared": ["functions", "local"], "stack": []}[targets.KIND]
    elsewhere = [
        item
        for item in items
        if any(item.get_closest_marker(other) for other in others)
        or (item.get_closest_marker("stack") is None) == (targets.KIND == "stack")
    ]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
