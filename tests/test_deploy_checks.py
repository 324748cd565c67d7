"""What `scripts/deploy` and `scripts/destroy` say before they change anything."""

import pytest
from account import Account

pytestmark = pytest.mark.stack("it starts what it needs by itself")

MODEL = "/foundation-model-availability/"
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
NOVA = "amazon.nova-lite-v1:0"
DIGEST = "sha256:" + "ab" * 32


@pytest.fixture(scope="module")
def account():
    made = Account()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def unchanged(account):
    """No check changes the account, or `.env`."""
    before = account.left(), account.settings
    yield
    assert (account.left(), account.settings) == before


def refused(account, line, *words, code=1, **env):
    found, out, said = account.run(line, **env)
    assert (found, out) == (code, ""), out + said
    for word in words:
        assert word in said, said
    return said


def test_an_account_that_lacks_nothing_passes(account):
    _, said = account.succeed("scripts/deploy --check")
    assert "nothing that is missing" in said and "not checked" not in said


@pytest.mark.parametrize("script", ["deploy", "destroy"])
def test_help_has_every_option_and_a_wrong_one_is_named(account, script):
    out, _ = account.succeed(f"scripts/{script} --help")
    assert f"scripts/{script}" in out and "--yes" in out
    refused(account, f"scripts/{script} --force", "--force is no option", code=2)


@pytest.mark.parametrize("script", ["deploy", "destroy"])
@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"REGION_ID": "Frankfurt"}, ["REGION_ID=Frankfurt", "us-east-1"]),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, ["no AWS credentials", "aws configure"]),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, ["does not answer", "REGION_ID=us-east-1"]),
    ],
)
def test_an_account_that_cannot_be_reached_is_a_sentence(account, script, env, words):
    exports = "".join(f"export {name}={value}; " if value else f"unset {name}; " for name, value in env.items())
    refused(account, f"{exports} scripts/{script}", *words, AWS_MAX_ATTEMPTS="1")


def test_missing_and_old_programs_are_named_with_where_to_get_them(account):
    refused(account, "CONTAINER_TOOL=no-such-tool scripts/deploy", "no-such-tool is not installed", "--no-push")
    old = account.home / "old"
    old.mkdir()
    (old / "node").write_text("#!/bin/sh\necho v18.20.0\n")
    (old / "node").chmod(0o755)
    refused(account, f"PATH={old}:$PATH scripts/deploy", "18.20.0 is too old", "https://nodejs.org")


def test_wrong_settings_are_said_all_at_once(account):
    line = "DEFAULT_TEMP=4096 API_GATEWAY_TYPE=http scripts/deploy"
    refused(account, line, "DEFAULT_TEMP must be", "API_GATEWAY_TYPE must be")


def test_without_the_default_model_nothing_is_deployed_and_of_others_it_warns(account):
    for model, state in [(NOVA, "NOT_AVAILABLE"), (HAIKU, "AVAILABLE")]:
        account.answer(MODEL + model, {"agreementAvailability": {"status": state}})
    account.answer("/2016-08-19/account-settings", {"AccountLimit": {"ConcurrentExecutions": 10}})
    line = f"ALLOWED_MODELS={HAIKU},{NOVA} JOBS=on scripts/deploy --check"
    _, said = account.succeed(line)
    assert f"{NOVA} cannot be asked" in said and f"{HAIKU} cannot" not in said
    assert "at most 10 functions at once" in said and "at least 20" in said, "the jobs' workers count"

    account.answer(MODEL + HAIKU, {"authorizationStatus": "NOT_AUTHORIZED"})
    refused(account, line, f"{HAIKU} cannot be asked", "not authorized", "Model catalog")
    account.answer(MODEL + HAIKU, {})
    account.answer("/2016-08-19/account-settings", {"AccountLimit": {"ConcurrentExecutions": 1000}})


def test_an_image_that_is_not_in_the_registry_is_not_deployed(account):
    refused(account, f"IMAGE_DIGEST={DIGEST} ARCHITECTURE=x86_64 scripts/deploy --no-push", DIGEST, "without --no-push")


def test_bearer_keys_of_a_websocket_need_the_image_that_reads_them(account):
    line = f"API_GATEWAY_TYPE=websocket BEARER_KEYS=true IMAGE_DIGEST={DIGEST} ARCHITECTURE=x86_64 scripts/deploy --no-push"
    refused(account, line, "AUTHORIZER_IMAGE_DIGEST is missing")


def test_there_is_nothing_to_go_back_from_or_remove_without_a_stack(account):
    refused(account, "scripts/deploy --rollback", "no stack LlmGatewayStack")
    refused(account, "scripts/destroy --yes", "no stack LlmGatewayStack")


def test_a_standing_charge_is_agreed_to_before_anything_is_made(account):
    refused(account, "MONITORING=on scripts/deploy", "even when nobody uses it", "--yes")


def test_a_websocket_in_a_vpc_needs_a_nat_route_and_says_what_it_costs(account):
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{one}.0/24")["Subnet"]["SubnetId"] for one in range(2)]
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnets[0])
    settings = f"API_GATEWAY_TYPE=websocket VPC={vpc} VPC_SUBNETS={','.join(subnets)} VPC_SECURITY_GROUP={group}"
    line = f"{settings} VPC_ROUTE_TABLES={table} scripts/deploy --check"
    refused(account, line, f"{subnets[0]} has no route to a NAT gateway", "about $33 a month")

    nat = ec2.create_nat_gateway(SubnetId=subnets[1], ConnectivityType="private")["NatGateway"]["NatGatewayId"]
    (main,) = ec2.describe_route_tables(
        Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    )["RouteTables"]
    for one in [table, main["RouteTableId"]]:
        ec2.create_route(RouteTableId=one, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    _, said = account.succeed(line)
    assert "NAT gateway costs about $33 a month" in said
