"""A user deploys, changes and removes the stack: README's lines, in a clone, against an AWS account on loopback
(`aws/account.py`). The deployed URL is the emulator's, which runs the true binaries with the environment that
the deployed functions have, on the tables that the stack has made."""


import pytest
from account import Account
from clients import Http
from iam import check_policies

from functions import Functions
from target import ROOT, until

pytestmark = pytest.mark.stack("it starts what it needs by itself")

SEARCH = {"OPENSEARCH_DOMAIN_ENDPOINT": "https://search-docs-abcdefghijklmnopqrstuvwxyz.us-east-1.es.amazonaws.com"}
KINDS = {
    "rest": {
        "API_GATEWAY_TYPE": "rest",
        "API_GATEWAY_USE_IAM_AUTH": "true",
        "JOBS": "on",
        "FUNCTION_URL": "on",
        "MONITORING": "on",
        **SEARCH,
    },
    "websocket": {"API_GATEWAY_TYPE": "websocket", "BEARER_KEYS": "true", **SEARCH},
}
# As the emulator reads a signature: who made it.
SIGNED = "AWS4-HMAC-SHA256 Credential=AKIADEPLOYER/20261123/us-east-1/execute-api/aws4_request, SignedHeaders=host"


class Deployed(Functions):
    """The binaries with the environment of the functions in the account, behind the emulator's APIs."""

    def __init__(self, account):
        super().__init__(store=False)
        deployed = account.functions()
        self.deployed = deployed.get("api", deployed.get("ws"))["Environment"]["Variables"]
        self.account = account
        (key,) = account.client("apigateway").get_api_keys(includeValues=True)["items"]
        self.keys = {key["name"]: key["value"]}
        self.emulator = ["--iam"] if "iam" in account.outputs()["AuthMode"] else []

    def settings(self):
        # Neither the stack's own URL nor the user's domain is reached from here; the emulator says where it
        # listens, and answers for the queue.
        away = {"CALLBACK_URL", "OPENSEARCH_DOMAIN_ENDPOINT"}
        own = {name: value for name, value in self.deployed.items() if name not in away}
        tables = {"AWS_ENDPOINT_URL_DYNAMODB": self.account.url}
        return own | tables | {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": self.standin.url}

    def command(self):
        bearer = self.account.outputs()["AuthMode"] == "bearer"
        return [word for word in super().command() if word != "--bearer-keys" or bearer]


@pytest.fixture(params=KINDS)
def account(request):
    made = Account(**KINDS[request.param])
    yield made
    made.close()


@pytest.mark.slow
def test_a_user_goes_from_template_env_to_printed_urls_and_back_to_nothing_left(account):
    """One story, because each step needs the one before and takes its seconds."""
    first = deploy_for_the_first_time(account)
    every_resource_of_the_template_is_there(account)
    nothing_differs(account)
    the_binaries_answer_with_what_the_stack_gave_them(account)
    check_policies(account)
    reader = account.settings["AUTHORIZER_IMAGE_DIGEST"]
    second = deploy_another_image(account, first)
    go_back(account, first, second)
    assert account.settings["AUTHORIZER_IMAGE_DIGEST"] == reader, "who reads the keys goes back too"
    a_policy_in_use_stops_the_removal(account)
    remove_everything(account)


def deploy_for_the_first_time(account):
    out, _ = account.succeed("scripts/deploy --no-smoke --yes")
    outputs = account.outputs()
    every_function_runs(account, outputs["ImageDigest"])
    lines = [line.strip() for line in out.splitlines()]
    assert any(outputs["ApiUrl"] in line and line.startswith(("curl -s ", "npx -y wscat@")) for line in lines), out
    assert f"${outputs['IdleCostUsd']} a month" in out and f"about ${outputs['CostPer1000Usd']}" in out
    the_printed_line_fetches_the_key(account, out)
    return outputs["ImageDigest"]


def every_function_runs(account, digest):
    """The bearer keys of a WebSocket API are read by the image of rest."""
    settings = account.settings
    assert settings["IMAGE_DIGEST"] == digest
    other = settings["AUTHORIZER_IMAGE_DIGEST"] or digest
    for name, function in account.functions().items():
        assert account.image(function) == (other if name == "authorizer" else digest)


def the_printed_line_fetches_the_key(account, out):
    (key,) = account.client("apigateway").get_api_keys(includeValues=True)["items"]
    assert key["value"] not in out, "the key itself is not printed"
    assert key["name"] in out
    line = next(line for line in out.splitlines() if line.strip().startswith("key=$("))
    assert account.succeed(f'{line}\nprintf %s "$key"')[0] == key["value"]


def every_resource_of_the_template_is_there(account):
    cloudformation = account.client("cloudformation")
    template = cloudformation.get_template(StackName="LlmGatewayStack")["TemplateBody"]
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName="LlmGatewayStack")
    made = {resource["LogicalResourceId"] for page in pages for resource in page["StackResourceSummaries"]}
    assert made == set(template["Resources"]), "moto passed some over"


def nothing_differs(account):
    # Without a change set, which moto cannot delete.
    diff = "cd cdk && node node_modules/aws-cdk/bin/cdk diff --fail --method template -c llm-gateway:local-endpoint=yes"
    _, said = account.succeed(diff)
    assert "There were no differences" in said


def the_binaries_answer_with_what_the_stack_gave_them(account):
    outputs = account.outputs()
    if outputs["ApiUrl"].startswith("wss"):
        callback = account.functions()["ws"]["Environment"]["Variables"]["CALLBACK_URL"]
        assert callback == outputs["ApiUrl"].replace("wss://", "https://")
    deployed = Deployed(account)
    try:
        deployed.start()
        url = deployed.url + "/" if outputs["ApiUrl"].startswith("https") else deployed.ws_url
        out, said = account.succeed("scripts/deploy --no-push --yes", SMOKE_URL=url)
        assert "without credentials it refuses" in said and "answers" in said
        assert len(deployed.standin.seen()["requests"]) == 1, "one question went to the model"
        the_printed_lines_get_an_answer(account, out.replace(outputs["ApiUrl"], url))
        if "JobsQueueUrl" in outputs:
            a_job_goes_through_the_queue(deployed)
        assert account.client("dynamodb").scan(TableName=outputs["StateTable"])["Count"] > 0
    finally:
        deployed.close()


def the_printed_lines_get_an_answer(account, out):
    """They are pasted in order; wscat comes from the tests' own packages in place of npx."""
    lines = out.split("key=$(")[1].split("\n\n")[0].replace("npx -y wscat@6.1.0", f"{ROOT}/tests/node_modules/.bin/wscat")
    # wscat leaves when its standard input ends.
    answer, said = account.succeed("{ key=$(" + lines + "\n} < <(sleep 12)")
    assert "dead letter" in answer, "the stand-in says the question again: " + answer + said


def a_job_goes_through_the_queue(deployed):
    (key,) = deployed.keys.values()
    http = Http(deployed, key)
    job = http.post("/invokeModel", {"prompt": "a job"}, authorization=SIGNED).headers["location"]
    done = lambda: http.get(job, authorization=SIGNED).json()["status"] == "completed"
    until(done, 30, 0.2, "the job's end")


def deploy_another_image(account, first):
    (account.tree / "lambda/rest/src/main.rs").write_text("// another image\n")
    (account.tree / "lambda/ws/src/main.rs").write_text("// another image\n")
    account.commit("two")
    out, _ = account.succeed("scripts/deploy --no-smoke --yes")
    second = account.outputs()["ImageDigest"]
    assert second != first and second in out
    every_function_runs(account, second)
    return second


def go_back(account, first, second):
    out, said = account.succeed("scripts/deploy --rollback --no-smoke --yes")
    assert f"going back from {second} to {first}" in said and first in out
    every_function_runs(account, first)
    # Once more goes forward again.
    _, said = account.succeed("scripts/deploy --rollback --check")
    assert f"going back from {first} to {second}" in said


def a_policy_in_use_stops_the_removal(account):
    policy = account.outputs().get("CallerPolicyArn")
    if policy is None:
        return
    iam = account.client("iam")
    iam.create_user(UserName="caller")
    iam.attach_user_policy(UserName="caller", PolicyArn=policy)
    code, _, said = account.run("scripts/destroy --yes")
    commands = [line for line in said.splitlines() if "iam detach-user-policy" in line]
    assert code == 1 and "Nothing was changed" in said and account.outputs() and len(commands) == 1
    account.succeed(commands[0])
    iam.delete_user(UserName="caller")


def remove_everything(account):
    outputs = account.outputs()
    code, _, said = account.run("scripts/destroy")
    assert code == 1 and "--yes" in said and "stays" in said and account.outputs() == outputs
    out, said = account.succeed("scripts/destroy --yes")
    left = account.left()
    settings = account.settings
    repositories = [settings["ECR_REST_REPOSITORY"]]
    if settings["API_GATEWAY_TYPE"] == "websocket":
        repositories.append(settings["ECR_WEBSOCKET_REPOSITORY"])
    tables = [outputs["AnswersTable"], outputs["StateTable"]]
    assert left.keys() == {"tables", "repositories", "roles"}, left
    assert set(left["tables"]) == set(tables) and set(left["repositories"]) == set(repositories)
    (role,) = left["roles"]
    assert "ApiLogs" in role, "what API Gateway writes its logs with is the account's"
    for name in [*tables, *repositories]:
        assert name in said and name in out
    commands = [line for line in out.splitlines() if line.startswith("  aws ")]
    account.succeed("set -e\n" + "\n".join(commands))
    assert account.left() == {}
    code, _, said = account.run("scripts/destroy --yes")
    assert code == 1 and "no stack LlmGatewayStack" in said
