"""Types of resources that only some settings ask for: WAF, a domain name of the user's own, OpenSearch."""

import json

import moto.route53.models as route53
from moto.ec2.models.vpcs import VPCEndPoint
from moto.opensearchserverless.models import OpenSearchServiceServerlessBackend as Serverless
from moto.opensearchserverless.responses import OpenSearchServiceServerlessResponse as ServerlessReply
from resources import Made, client, kind


class Acl(Made):
    """Deleting asks for a token of its last change."""

    def make(self):
        super().make()
        self.summary = self.reply["Summary"]
        self.physical_resource_id = "|".join([self.summary["Name"], self.summary["Id"], "REGIONAL"])

    def delete(self, account_id, region):
        who = {"Name": self.summary["Name"], "Id": self.summary["Id"], "Scope": "REGIONAL"}
        self.call("delete_web_acl", **who, LockToken=self.call("get_web_acl", **who)["LockToken"])


class Mapping(Made):
    """Of an API of either kind; moto's call knows only those of the second."""

    def make(self):
        self.physical_resource_id, wanted = self.name, self.properties["ApiId"]
        rest, v2 = client("apigateway", self.region), client("apigatewayv2", self.region)
        apis = {one["id"] for one in rest.get_rest_apis()["items"]}
        if wanted not in apis:
            super().make()
            return
        stages = [stage["stageName"] for stage in rest.get_stages(restApiId=wanted)["item"]]
        assert self.properties["Stage"] in stages, "the stage is there before its mapping"
        v2.get_domain_name(DomainName=self.properties["DomainName"])


class Domain(Made):
    def make(self):
        self.properties = self.properties | {"DomainName": self.name.lower()[:28]}
        super().make()
        self.status = self.reply["DomainStatus"]
        self.physical_resource_id = self.status["DomainName"]

    def host(self):
        return self.status.get("Endpoint") or self.status["Endpoints"]["vpc"]


class Collection(Made):
    def make(self):
        # moto wants what AWS does without.
        self.properties = {"Tags": []} | self.properties
        super().make()
        self.made = self.reply["createCollectionDetail"]
        self.physical_resource_id = self.made["id"]

    def endpoint(self):
        (found,) = self.call("batch_get_collection", ids=[self.made["id"]])["collectionDetails"]
        return found["collectionEndpoint"]


class SecurityPolicy(Made):
    def make(self):
        super().make()
        self.physical_resource_id = f"{self.properties['Type']}|{self.properties['Name']}"


def delete_security_policy(reply):
    """moto has no such call."""
    asked, kept = json.loads(reply.body), reply.opensearchserverless_backend.security_policies
    (found,) = [token for token, one in kept.items() if (one.name, one.type) == (asked["name"], asked["type"])]
    del kept[found]
    return "{}"


def create_access_policy(reply):
    """moto has no such call either."""
    asked, kept = json.loads(reply.body), access_of(reply)
    rules = json.loads(asked["policy"])
    assert asked["name"] not in kept and all(rule["Rules"] and rule["Principal"] for rule in rules), asked
    kept[asked["name"]] = {key: asked[key] for key in ("name", "type")} | {"policy": rules}
    return json.dumps({"accessPolicyDetail": kept[asked["name"]]})


def list_access_policies(reply):
    all_ = [{key: one[key] for key in ("name", "type")} for one in access_of(reply).values()]
    return json.dumps({"accessPolicySummaries": all_})


def get_access_policy(reply):
    return json.dumps({"accessPolicyDetail": access_of(reply)[json.loads(reply.body)["name"]]})


def delete_access_policy(reply):
    del access_of(reply)[json.loads(reply.body)["name"]]
    return "{}"


def access_of(reply):
    backend = reply.opensearchserverless_backend
    if not hasattr(backend, "access"):
        backend.access = {}
    return backend.access


for call in (
    delete_security_policy,
    create_access_policy,
    get_access_policy,
    list_access_policies,
    delete_access_policy,
):
    setattr(ServerlessReply, call.__name__, call)

def by_encryption(create):
    """moto takes any policy of a collection for that of its encryption, and asks that for a key of the user's own."""

    def created(backend, **asked):
        every = backend.security_policies
        backend.security_policies = {token: one for token, one in every.items() if one.type == "encryption"}
        for one in backend.security_policies.values():
            one.policy.setdefault("KmsARN", "auto")
        try:
            return create(backend, **asked)
        finally:
            backend.security_policies = every

    return created


Serverless.create_collection = by_encryption(Serverless.create_collection)
# Ids as AWS makes them; moto's begin with anything.
zone_id = route53.create_route53_zone_id
route53.create_route53_zone_id = lambda *asked, **more: "Z" + zone_id(*asked, **more)[:20]
VPCEndPoint.delete = lambda it, _account, region: client("ec2", region).delete_vpc_endpoints(VpcEndpointIds=[it.id])
kind("AWS::WAFv2::WebACL", "wafv2.create_web_acl", base=Acl, defaults=["Name"], attributes={"Arn": lambda it: it.summary["ARN"]})
kind("AWS::WAFv2::WebACLAssociation", "wafv2.associate_web_acl", "", "disassociate_web_acl", {"ResourceArn": "ResourceArn"})
kind(
    "AWS::ApiGatewayV2::DomainName",
    "apigatewayv2.create_domain_name",
    "DomainName",
    "delete_domain_name",
    {"DomainName": "Ref"},
    # moto says back what it was told; AWS adds where the name has to lead.
    attributes={
        "RegionalDomainName": lambda _: "d-0123456789.execute-api.us-east-1.amazonaws.com",
        "RegionalHostedZoneId": lambda _: "Z1UJRXOUMOOFQ8",
    },
)
kind("AWS::ApiGatewayV2::ApiMapping", "apigatewayv2.create_api_mapping", base=Mapping)
kind(
    "AWS::OpenSearchService::Domain",
    "opensearch.create_domain",
    "",
    "delete_domain",
    {"DomainName": "Ref"},
    base=Domain,
    attributes={"Arn": lambda it: it.status["ARN"], "DomainEndpoint": Domain.host},
)
kind(
    "AWS::OpenSearchServerless::Collection",
    "opensearchserverless.create_collection",
    "",
    "delete_collection",
    {"id": "Ref"},
    base=Collection,
    attributes={"Arn": lambda it: it.made["arn"], "CollectionEndpoint": Collection.endpoint},
)
kind(
    "AWS::OpenSearchServerless::SecurityPolicy",
    "opensearchserverless.create_security_policy",
    "",
    "delete_security_policy",
    {"name": "Name", "type": "Type"},
    base=SecurityPolicy,
)
kind(
    "AWS::OpenSearchServerless::AccessPolicy",
    "opensearchserverless.create_access_policy",
    "",
    "delete_access_policy",
    {"name": "Name", "type": "Type"},
)
