"""The stack with everything that is off by default, deployed and removed: functions in a VPC, WAF, a domain name of
the user's own, OpenSearch that the stack makes. As `test_deploy.py`, against an account on loopback."""

import pytest
from account import Account
from test_deploy import every_resource_of_the_template_is_there, nothing_differs

pytestmark = pytest.mark.stack("it starts what it needs by itself")

NAME = "llm.example.com"
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"
KINDS = {
    "rest": {"API_GATEWAY_TYPE": "rest", "JOBS": "on", "WAF": "on", "OPENSEARCH_CREATE": "domain"},
    "websocket": {
        "API_GATEWAY_TYPE": "websocket",
        "OPENSEARCH_CREATE": "serverless",
        "OPENSEARCH_WRITERS": "arn:aws:iam::123456789012:user/librarian",
    },
}


@pytest.fixture(params=KINDS)
def account(request):
    made = Account(**KINDS[request.param])
    try:
        made.write(**own_network(made), **own_name(made))
        yield made
    finally:
        made.close()


def own_network(account):
    """A VPC whose subnets reach the internet through a NAT gateway."""
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{one}.0/24")["Subnet"]["SubnetId"] for one in range(2)]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    nat = ec2.create_nat_gateway(SubnetId=subnets[0], ConnectivityType="private")["NatGateway"]["NatGatewayId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    for subnet in subnets:
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    group = ec2.create_security_group(GroupName="functions", Description="functions", VpcId=vpc)["GroupId"]
    named = {"VPC": vpc, "VPC_SUBNETS": ",".join(subnets), "VPC_SECURITY_GROUP": group}
    return named | {"VPC_ROUTE_TABLES": table}


def own_name(account):
    zone = account.client("route53").create_hosted_zone(Name="example.com", CallerReference="once")["HostedZone"]["Id"]
    return {"DOMAIN_NAME": NAME, "CERTIFICATE_ARN": CERTIFICATE, "HOSTED_ZONE_ID": zone.rsplit("/", 1)[-1]}


@pytest.mark.slow
def test_a_user_deploys_every_option_and_removes_it_with_what_costs_by_the_hour(account):
    out = deploy_where_nobody_answers(account)
    every_resource_of_the_template_is_there(account)
    nothing_differs(account)
    outputs, settings = account.outputs(), account.settings
    scheme = "https" if settings["API_GATEWAY_TYPE"] == "rest" else "wss"
    assert outputs["ApiUrl"] == f"{scheme}://{NAME}/" and outputs["StageUrl"].startswith(f"{scheme}://")
    assert outputs["ApiUrl"] in out and outputs["DocumentsPolicyArn"] in out
    the_functions_are_in_the_network(account, settings)
    the_name_leads_to_the_api(account, settings)
    if scheme == "https":
        the_firewall_stands_before_the_stage(account)
        the_domain_is_closed(account, settings)
    else:
        the_collection_opens_to_whom_it_should(account, outputs)
    the_type_does_not_change_under_the_name(account)
    the_removal_names_what_still_costs(account)


def deploy_where_nobody_answers(account):
    """What is printed is needed all the more then."""
    scheme = {"rest": "http", "websocket": "ws"}[account.settings["API_GATEWAY_TYPE"]]
    code, out, said = account.run("scripts/deploy --yes", SMOKE_URL=f"{scheme}://127.0.0.1:9/")
    assert code == 1 and "is deployed, but does not answer as it should" in said, said
    assert "--rollback" not in said, "there is no image to go back to"
    return out


def the_functions_are_in_the_network(account, settings):
    for name, function in account.functions().items():
        place = function.get("VpcConfig", {})
        inside = place.get("SubnetIds") == settings["VPC_SUBNETS"].split(",")
        assert inside and place["SecurityGroupIds"] == [settings["VPC_SECURITY_GROUP"]], name
    ends = account.client("ec2").describe_vpc_endpoints()["VpcEndpoints"]
    services = sorted(one["ServiceName"].rsplit(".", 1)[-1] for one in ends)
    assert services == ["bedrock-runtime", "dynamodb", *(["sqs"] if settings["JOBS"] == "on" else [])]


def the_name_leads_to_the_api(account, settings):
    records = account.client("route53").list_resource_record_sets(HostedZoneId=settings["HOSTED_ZONE_ID"])
    (own,) = [one for one in records["ResourceRecordSets"] if one["Name"].startswith(NAME)]
    assert own["Type"] == "A" and "execute-api" in own["AliasTarget"]["DNSName"]


def the_firewall_stands_before_the_stage(account):
    (api,) = account.client("apigateway").get_rest_apis()["items"]
    arn = f"arn:aws:apigateway:us-east-1::/restapis/{api['id']}/stages/prod"
    found = account.client("wafv2").get_web_acl_for_resource(ResourceArn=arn)["WebACL"]
    assert [rule["Name"] for rule in found["Rules"]] == ["reputation", "rate"]


def the_domain_is_closed(account, settings):
    (named,) = account.client("opensearch").list_domain_names()["DomainNames"]
    status = account.client("opensearch").describe_domain(DomainName=named["DomainName"])["DomainStatus"]
    assert status["EncryptionAtRestOptions"]["Enabled"] and status["NodeToNodeEncryptionOptions"]["Enabled"]
    assert status["DomainEndpointOptions"]["EnforceHTTPS"]
    assert status["VPCOptions"]["SubnetIds"] == settings["VPC_SUBNETS"].split(",")[:1]


def the_collection_opens_to_whom_it_should(account, outputs):
    serverless = account.client("opensearchserverless")
    (made,) = serverless.list_collections()["collectionSummaries"]
    opened = {}
    for one in serverless.list_access_policies(type="data")["accessPolicySummaries"]:
        detail = serverless.get_access_policy(name=one["name"], type="data")["accessPolicyDetail"]
        (rule,) = detail["policy"]
        opened |= dict.fromkeys(rule["Principal"], rule)
    index = [f"index/{made['name']}/llm-gateway"]
    librarian = KINDS["websocket"]["OPENSEARCH_WRITERS"]
    assert opened.keys() == {librarian, outputs["FunctionRoleArn"]}
    assert all(part["Resource"] == index for rule in opened.values() for part in rule["Rules"])
    may = {who: set(rule["Rules"][0]["Permission"]) for who, rule in opened.items()}
    assert may[outputs["FunctionRoleArn"]] == {"aoss:DescribeIndex", "aoss:ReadDocument"}
    assert "aoss:WriteDocument" in may[librarian]


def the_type_does_not_change_under_the_name(account):
    """API Gateway would refuse it in the middle of the deployment."""
    before = account.outputs()
    other = {"rest": "websocket", "websocket": "rest"}[account.settings["API_GATEWAY_TYPE"]]
    line = f"API_GATEWAY_TYPE={other} JOBS=off WAF=off scripts/deploy --check --yes"
    code, _, said = account.run(line)
    assert code == 1 and f"DOMAIN_NAME={NAME}" in said and "deploy once without it" in said, said
    assert account.outputs() == before


def the_removal_names_what_still_costs(account):
    out, said = account.succeed("scripts/destroy --yes")
    made = {"rest": "OpenSearch domain", "websocket": "collection"}[account.settings["API_GATEWAY_TYPE"]]
    assert made in said and "costs as much as before" in said and "costs as much as before" in out
    left = account.left()
    opensearch = {"domains"} if made == "OpenSearch domain" else {"collections", "security policies"}
    assert left.keys() == {"tables", "repositories", "roles"} | opensearch, left
    commands = [line for line in out.splitlines() if line.startswith("  aws ")]
    account.succeed("set -e\n" + "\n".join(commands))
    assert account.left() == {}
