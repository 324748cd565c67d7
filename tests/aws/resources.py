"""Types of resources for moto's CloudFormation, each made of a call of its service's own API at this same server:
botocore checks every property that the stack sets against AWS's model of that API, and what the call has made
can be asked for afterwards. Properties that no such call takes are passed over; on AWS other calls set them.
"""

import functools
import json
import sys

import boto3
from botocore.exceptions import ClientError
from moto.core.common_models import CloudFormationModel

PORT = int(sys.argv[1])


@functools.cache
def client(service, region):
    secrets = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client(service, region_name=region, endpoint_url=f"http://127.0.0.1:{PORT}", **secrets)


def shaped(value, shape):
    """A property in the spelling of the API: CloudFormation begins every name with a capital."""
    if shape.type_name == "structure":
        known = {name.lower(): name for name in shape.members}
        pairs = [(known.get(name.lower()), inner) for name, inner in value.items()]
        return {name: shaped(inner, shape.members[name]) for name, inner in pairs if name}
    if shape.type_name == "list":
        return [shaped(inner, shape.member) for inner in value]
    if shape.type_name == "map":
        pairs = ((one["Key"], one["Value"]) for one in value) if isinstance(value, list) else value.items()
        return {name: shaped(inner, shape.value) for name, inner in pairs}
    if shape.type_name == "string":
        return value if isinstance(value, str) else json.dumps(value)
    return {"boolean": lambda it: str(it).lower() == "true", "double": float}.get(shape.type_name, int)(value)


class Made:
    """A resource that calls have made. `kind` makes a class of each type of this."""

    type_name = service = create = removal = ref = ""
    removed_by, renamed, defaults, attributes = {}, {}, (), {}

    @classmethod
    def cloudformation_type(cls):
        return cls.type_name

    @staticmethod
    def cloudformation_name_type():
        return ""

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        made = cls()
        made.name, made.account, made.region = resource_name, account_id, region_name
        made.properties = cloudformation_json.get("Properties", {})
        made.make()
        return made

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name
    ):
        original_resource.delete(account_id, region_name)
        return cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)

    def call(self, operation, **arguments):
        return getattr(client(self.service, self.region), operation)(**arguments)

    def make(self):
        api = client(self.service, self.region).meta
        shape = api.service_model.operation_model(api.method_to_api_mapping[self.create]).input_shape
        told = {self.renamed.get(name, name): value for name, value in self.properties.items()}
        self.reply = self.call(self.create, **dict.fromkeys(self.defaults, self.name) | shaped(told, shape))
        self.physical_resource_id = self.reply.get(self.ref, self.name)

    def delete(self, account_id, region):
        if self.removal:
            known = self.properties | {"Ref": self.physical_resource_id, "[Ref]": [self.physical_resource_id]}
            try:
                self.call(self.removal, **{name: known[source] for name, source in self.removed_by.items()})
            except ClientError as error:
                # It went with what it belonged to.
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                    raise

    @classmethod
    def has_cfn_attr(cls, attr):
        return attr in cls.attributes

    def get_cfn_attribute(self, name):
        return self.attributes[name](self)

    def is_created(self):
        return True


def kind(type_name, create, ref="", removal="", removed_by=None, base=Made, **more):
    """A class of a type. moto looks at the direct subclasses of its own base only."""
    service, create = create.split(".")
    fields = {"type_name": type_name, "service": service, "create": create, "ref": ref, "removal": removal}
    fields |= {"removed_by": removed_by or {}} | more
    return type(type_name.replace("::", ""), (base, CloudFormationModel), fields)
