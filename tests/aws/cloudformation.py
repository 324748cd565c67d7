"""`moto_server` with what a deployment of the stack needs besides: the types of resources that moto's
CloudFormation leaves out, and two answers of control planes. `python cloudformation.py PORT`."""

import json

import options  # noqa: F401
from moto.apigateway.models import Deployment, RestAPI
from moto.cloudformation.parsing import ResourceMap
from moto.iam.models import ManagedPolicy, Role
from moto.server import DomainDispatcherApplication, create_backend_app
from resources import PORT, Made, client, kind
from werkzeug.serving import run_simple


class Table(Made):
    """A global table of one replica, which is where the replica's own properties are."""

    def make(self):
        (replica,) = self.properties["Replicas"]
        assert replica["Region"] == self.region, "the one replica is the stack's own"
        self.properties = self.properties | {"DeletionProtectionEnabled": replica["DeletionProtectionEnabled"]}
        super().make()
        self.physical_resource_id = self.name
        lives = self.properties["TimeToLiveSpecification"]
        self.call("update_time_to_live", TableName=self.name, TimeToLiveSpecification=lives)
        backups = replica["PointInTimeRecoverySpecification"]
        self.call("update_continuous_backups", TableName=self.name, PointInTimeRecoverySpecification=backups)


class QueuePolicy(Made):
    def make(self):
        policy = json.dumps(self.properties["PolicyDocument"])
        for queue in self.properties["Queues"]:
            self.call(self.create, QueueUrl=queue, Attributes={"Policy": policy})
        self.physical_resource_id = self.name


class Account(Made):
    """A setting of the account: it stays as it is when the stack goes."""

    def make(self):
        role = {"op": "replace", "path": "/cloudwatchRoleArn", "value": self.properties["CloudWatchRoleArn"]}
        self.call(self.create, patchOperations=[role])
        self.physical_resource_id = self.name


class PlanKey(Made):
    def make(self):
        super().make()
        self.physical_resource_id = f"{self.properties['KeyId']}:{self.properties['UsagePlanId']}"


# moto's own has none, so that a Ref to it gives the object.
Deployment.physical_resource_id = property(lambda deployment: deployment.id)


def attached(create, remove):
    """A role's own creation and removal, with the account's managed policies, which moto's leave out."""

    def created(cls, resource_name, cloudformation_json, account_id, region_name, **more):
        role = create(resource_name, cloudformation_json, account_id, region_name, **more)
        for arn in cloudformation_json["Properties"].get("ManagedPolicyArns", []):
            if f"::{account_id}:" in arn:
                client("iam", region_name).attach_role_policy(RoleName=role.name, PolicyArn=arn)
        return role

    def removed(cls, resource_name, cloudformation_json, account_id, region_name):
        iam = client("iam", region_name)
        for policy in iam.list_attached_role_policies(RoleName=resource_name)["AttachedPolicies"]:
            iam.detach_role_policy(RoleName=resource_name, PolicyArn=policy["PolicyArn"])
        remove(resource_name, cloudformation_json, account_id, region_name)

    return classmethod(created), classmethod(removed)


def keeping(delete):
    """A stack's removal; moto knows one of the two policies that keep a resource then."""

    def deleted(resources):
        for one in resources._resource_json_map.values():
            if one.get("DeletionPolicy") == "RetainExceptOnCreate":
                one["DeletionPolicy"] = "Retain"
        delete(resources)

    return deleted


def delete_policy(policy, _account, region):
    """IAM keeps what is attached; CloudFormation tries again when it has deleted more."""
    assert policy.attachment_count == 0, f"{policy.arn} is attached"
    client("iam", region).delete_policy(PolicyArn=policy.arn)


ResourceMap.delete = keeping(ResourceMap.delete)
ManagedPolicy.delete = delete_policy
RestAPI.delete = lambda api, _account, region: client("apigateway", region).delete_rest_api(restApiId=api.id)
Role.create_from_cloudformation_json, Role.delete_from_cloudformation_json = attached(
    Role.create_from_cloudformation_json, Role.delete_from_cloudformation_json
)

API, V2 = {"restApiId": "RestApiId"}, {"ApiId": "ApiId"}
kind("AWS::ApiGateway::Account", "apigateway.update_account", base=Account)
kind("AWS::ApiGateway::ApiKey", "apigateway.create_api_key", "id", "delete_api_key", {"apiKey": "Ref"}, defaults=["name"])
kind(
    "AWS::ApiGateway::Authorizer",
    "apigateway.create_authorizer",
    "id",
    "delete_authorizer",
    API | {"authorizerId": "Ref"},
)
kind(
    "AWS::ApiGateway::GatewayResponse",
    "apigateway.put_gateway_response",
    "",
    "delete_gateway_response",
    API | {"responseType": "ResponseType"},
)
kind(
    "AWS::ApiGateway::Model",
    "apigateway.create_model",
    "name",
    "delete_model",
    API | {"modelName": "Ref"},
    defaults=["name"],
)
kind(
    "AWS::ApiGateway::RequestValidator",
    "apigateway.create_request_validator",
    "id",
    "delete_request_validator",
    API | {"requestValidatorId": "Ref"},
    defaults=["name"],
)
kind("AWS::ApiGateway::Stage", "apigateway.create_stage", "stageName", "delete_stage", API | {"stageName": "Ref"})
kind(
    "AWS::ApiGateway::UsagePlan",
    "apigateway.create_usage_plan",
    "id",
    "delete_usage_plan",
    {"usagePlanId": "Ref"},
    renamed={"UsagePlanName": "name"},
    defaults=["name"],
)
kind(
    "AWS::ApiGateway::UsagePlanKey",
    "apigateway.create_usage_plan_key",
    "",
    "delete_usage_plan_key",
    {"usagePlanId": "UsagePlanId", "keyId": "KeyId"},
    base=PlanKey,
)
kind("AWS::ApiGatewayV2::Api", "apigatewayv2.create_api", "ApiId", "delete_api", {"ApiId": "Ref"})
kind(
    "AWS::ApiGatewayV2::Authorizer",
    "apigatewayv2.create_authorizer",
    "AuthorizerId",
    "delete_authorizer",
    V2 | {"AuthorizerId": "Ref"},
)
kind(
    "AWS::ApiGatewayV2::Integration",
    "apigatewayv2.create_integration",
    "IntegrationId",
    "delete_integration",
    V2 | {"IntegrationId": "Ref"},
)
kind("AWS::ApiGatewayV2::Route", "apigatewayv2.create_route", "RouteId", "delete_route", V2 | {"RouteId": "Ref"})
kind("AWS::ApiGatewayV2::Stage", "apigatewayv2.create_stage", "StageName", "delete_stage", V2 | {"StageName": "Ref"})
kind(
    "AWS::CloudWatch::Alarm",
    "cloudwatch.put_metric_alarm",
    "",
    "delete_alarms",
    {"AlarmNames": "[Ref]"},
    defaults=["AlarmName"],
)
kind(
    "AWS::DynamoDB::GlobalTable",
    "dynamodb.create_table",
    "",
    "delete_table",
    {"TableName": "Ref"},
    base=Table,
    defaults=["TableName"],
    attributes={"Arn": lambda made: made.reply["TableDescription"]["TableArn"]},
)
kind(
    "AWS::Lambda::EventInvokeConfig",
    "lambda.put_function_event_invoke_config",
    "",
    "delete_function_event_invoke_config",
    {"FunctionName": "FunctionName"},
)
kind(
    "AWS::Lambda::Url",
    "lambda.create_function_url_config",
    "FunctionArn",
    "delete_function_url_config",
    {"FunctionName": "TargetFunctionArn"},
    renamed={"TargetFunctionArn": "FunctionName"},
    attributes={"FunctionUrl": lambda made: made.reply["FunctionUrl"]},
)
kind("AWS::SQS::QueuePolicy", "sqs.set_queue_attributes", base=QueuePolicy)

AVAILABLE = {
    "agreementAvailability": {"status": "AVAILABLE"},
    "authorizationStatus": "AUTHORIZED",
    "entitlementAvailability": "AVAILABLE",
    "regionAvailability": "AVAILABLE",
}
# What a test has put in the place of an answer, by its path.
answers = {"/2016-08-19/account-settings": {"AccountLimit": {"ConcurrentExecutions": 1000}}}


def server(moto):
    """moto's application, and before it what moto has no answer for. A test PUTs another answer."""

    def application(environ, start_response):
        path = environ["PATH_INFO"].rstrip("/")
        known = answers.get(path)
        if environ["REQUEST_METHOD"] == "PUT" and path.startswith("/answers/"):
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            answers[path.removeprefix("/answers")] = known = json.loads(body)
        elif path.startswith("/foundation-model-availability/"):
            known = AVAILABLE | (known or {})
        if known is None:
            return moto(environ, start_response)
        start_response("200 OK", [("content-type", "application/json")])
        return [json.dumps(known).encode()]

    return application


if __name__ == "__main__":
    application = server(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", PORT, application, threaded=True)
