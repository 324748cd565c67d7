"""IAM's decision for the stack's policies, as they stand in the account after a deployment: what the functions
were seen to do is allowed, and what is allowed they were seen to do, except for what `UNSEEN` gives a reason for.

What they do is what `aws-tap` wrote down while the black-box suite ran on the functions (`AWS_CALLS`).
"""

import json
import os
import re
from pathlib import Path

from account import ID, REGION

# What the suite does not see a function ask for: functions, action, what the resource is like, and why it is
# allowed all the same.
UNSEEN = [
    ("api worker ws authorizer", "logs:CreateLogStream", "*", "Lambda writes the function's log with its role"),
    ("api worker ws authorizer", "logs:PutLogEvents", "*", "Lambda writes the function's log with its role"),
    ("worker", "sqs:ReceiveMessage", "*", "the event source mapping asks with the worker's role"),
    ("worker", "sqs:DeleteMessage", "*", "the event source mapping asks with the worker's role"),
    ("worker", "dynamodb:BatchWriteItem", "*", "an answer too large for one row is written in parts"),
    ("api worker ws", "es:ESHttpGet", "*/_mapping", "what a filter compares is read from the index's fields"),
    ("worker", "bedrock:InvokeModel", "*", "retrieval embeds the question, where an index is set"),
    ("ws", "execute-api:ManageConnections", "*/DELETE/*", "a connection that lost the end of a reply is closed"),
]
# The regions to which AWS may carry a request through a geographic profile.
CARRIED = {"us": ["us-east-1", "us-east-2", "us-west-2"]}


def like(pattern, value):
    """IAM's wildcards: `*` is any text, `?` one character, and nothing else means anything."""
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None


def as_list(value):
    return value if isinstance(value, list) else [value]


OPERATORS = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringLike": like,
    "ArnEquals": like,
    "ArnLike": like,
    "Bool": lambda wanted, value: str(wanted).lower() == value,
}


def applies(statement, action, resource, context, principal=None):
    """Whether a statement is about this request. What this does not know it does not guess."""
    known = {"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}
    assert statement.keys() <= known, f"{statement.keys() - known} is not understood here"
    if not any(like(one.lower(), action.lower()) for one in as_list(statement["Action"])):
        return False
    if resource is not None and not any(like(one, resource) for one in as_list(statement["Resource"])):
        return False
    named = statement.get("Principal", "*")
    pairs = [] if named == "*" else [(kind, one) for kind, all_ in named.items() for one in as_list(all_)]
    if named != "*" and ("AWS", "*") not in pairs and not any(pair in pairs for pair in (principal or {}).items()):
        return False
    return all(
        key.lower() in context and any(OPERATORS[operator](wanted, context[key.lower()]) for wanted in as_list(values))
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    )


def allowed(documents, action, resource, context=None, principal=None):
    """A refusal wins, and what nothing allows is refused."""
    context = {key.lower(): value for key, value in (context or {}).items()}
    statements = [one for document in documents for one in as_list(document["Statement"])]
    effects = {one["Effect"] for one in statements if applies(one, action, resource, context, principal)}
    return effects == {"Allow"}


class Role:
    """What a function's role may do: its own policies and those attached to it."""

    def __init__(self, account, function):
        self.environment = function["Environment"]["Variables"]
        iam, name = account.client("iam"), function["Role"].split("/")[-1]
        inline = iam.list_role_policies(RoleName=name)["PolicyNames"]
        self.documents = [iam.get_role_policy(RoleName=name, PolicyName=one)["PolicyDocument"] for one in inline]
        for attached in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            self.documents.append(managed(iam, attached["PolicyArn"]))

    def grants(self):
        """Every action on every resource that something allows."""
        for document in self.documents:
            for statement in as_list(document["Statement"]):
                for action in as_list(statement["Action"]):
                    for resource in as_list(statement["Resource"]):
                        yield action, resource


def managed(iam, arn):
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    return iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]


def recorded():
    """The calls of the suite: function, action and resource."""
    file = os.environ.get("AWS_CALLS", "")
    assert file and Path(file).exists(), (
        "AWS_CALLS must name a record of calls. Make it first: AWS_CALLS=FILE LLM_GATEWAY_TARGET=lambda pytest tests"
    )
    calls = {tuple(json.loads(line).values()) for line in Path(file).read_text().splitlines()}
    # The rest binary is the function `api` of the stack. The suite's OpenSearch wants no signatures, so that nobody
    # knows whose a search was: all that answer search alike.
    whose = lambda function: {"rest": ["api"], "": ["api", "worker", "ws"]}.get(function, [function])
    return {(who, action, resource) for function, action, resource in calls for who in whose(function)}


def requests(action, resource, environment, api):
    """What IAM is asked about one call: actions, ARNs and contexts. All of them must be allowed."""
    service = action.split(":")[0]
    if service == "dynamodb":
        variable = {"answers": "ANSWERS_TABLE", "state": "STATE_TABLE"}[resource]
        return [(action, f"arn:aws:dynamodb:{REGION}:{ID}:table/{environment[variable]}", {})]
    if service == "sqs":
        return [(action, f"arn:aws:sqs:{REGION}:{ID}:{environment['JOBS_QUEUE_URL'].split('/')[-1]}", {})]
    if service == "execute-api":
        return [(action, f"arn:aws:execute-api:{REGION}:{ID}:{api}/prod/{resource}/abc=", {})]
    if service == "es":
        if "OPENSEARCH_DOMAIN_ENDPOINT" not in environment:
            return []
        index = environment.get("OPENSEARCH_INDEX", "llm-gateway")
        domain = re.search(r"//search-(.+?)-\w{26}\.", environment["OPENSEARCH_DOMAIN_ENDPOINT"]).group(1)
        # Every test has an index of its own.
        return [(action, f"arn:aws:es:{REGION}:{ID}:domain/{domain}/{index}/{resource.partition('/')[2]}", {})]
    assert service == "bedrock", f"{action} on {resource}: what this call needs is not known here"
    prefix, _, model = resource.partition(".")
    if prefix not in {"global", *CARRIED}:
        return [(action, f"arn:aws:bedrock:{REGION}::foundation-model/{resource}", {})]
    profile = f"arn:aws:bedrock:{REGION}:{ID}:inference-profile/{resource}"
    through = {"bedrock:InferenceProfileArn": profile, "aws:RequestedRegion": REGION}
    places = [(region, through) for region in CARRIED.get(prefix, [REGION])]
    places += [("", through | {"aws:RequestedRegion": "unspecified"})] if prefix == "global" else []
    models = [(action, f"arn:aws:bedrock:{region}::foundation-model/{model}", context) for region, context in places]
    return [(action, profile, {}), *models]


def check_policies(account):
    """Fails with all that is wrong at once."""
    calls, wrong = recorded(), []
    api = re.search(r"//(\w+)\.execute-api", account.outputs()["ApiUrl"]).group(1)
    for name, function in account.functions().items():
        role = Role(account, function)
        seen = {(action, resource) for who, action, resource in calls if who == name}
        assert seen or name == "authorizer", f"the suite was not recorded: {name} has called nothing"
        asked = [one for action, resource in seen for one in requests(action, resource, role.environment, api)]
        wrong += [f"{name} may not {one[0]} on {one[1]}" for one in asked if not allowed(role.documents, *one)]
        wrong += unseen(name, role, asked)
    assert not wrong, "\n".join(sorted(set(wrong)))
    who_may_invoke(account, api)
    queues_refuse_plain_http(account)


def unseen(name, role, asked):
    """What a role may do and was not seen to do. Models are compared by what is done with them: the suite does
    not ask every model of the catalog."""
    for action, resource in role.grants():
        assert "*" not in action, f"{name}: {action} is not exact"
        near = [one for one in asked if one[0].lower() == action.lower()]
        needed = any(like(resource, one[1]) or action.startswith("bedrock:") for one in near)
        excused = any(
            name in who.split() and what == action and like(where, resource) for who, what, where, _why in UNSEEN
        )
        if not needed and not excused:
            yield f"{name} was never seen to {action} on {resource}; see UNSEEN"


def who_may_invoke(account, api):
    """API Gateway may, for this API; callers of a function URL only through it, because who invokes a function
    directly writes his own request context and can be anyone."""
    invoke, own = "lambda:InvokeFunction", f"arn:aws:execute-api:{REGION}:{ID}:{api}/prod/POST/x"
    if account.settings["API_GATEWAY_TYPE"] == "websocket":
        own = f"arn:aws:execute-api:{REGION}:{ID}:{api}/prod$default"
    for name in account.functions().keys() & {"api", "ws"}:
        arn = account.functions()[name]["FunctionArn"]
        document = json.loads(account.client("lambda").get_policy(FunctionName=arn)["Policy"])
        for statement in document["Statement"]:
            # moto repeats the request; IAM has no such key.
            statement.pop("FunctionName", None)
        may = lambda source, principal: allowed([document], invoke, arn, {"aws:SourceArn": source}, principal)
        assert may(own, {"Service": "apigateway.amazonaws.com"})
        assert not may(own.replace(api, "another1"), {"Service": "apigateway.amazonaws.com"})
        assert not may(own, {"AWS": f"arn:aws:iam::{ID}:user/caller"})
        policy = account.outputs().get("CallerPolicyArn")
        callers = [managed(account.client("iam"), policy)] if policy else []
        if "FunctionUrl" in account.outputs():
            assert allowed(callers, invoke, arn, {"lambda:InvokedViaFunctionUrl": "true"})
            assert allowed(callers, "lambda:InvokeFunctionUrl", arn, {"lambda:FunctionUrlAuthType": "AWS_IAM"})
        assert not allowed(callers, invoke, arn)


def queues_refuse_plain_http(account):
    sqs = account.client("sqs")
    for url in sqs.list_queues().get("QueueUrls", []):
        policy = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy", "QueueArn"])["Attributes"]
        document, arn = json.loads(policy["Policy"]), policy["QueueArn"]
        role = {"Statement": [{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn}]}
        for secure in ["true", "false"]:
            context = {"aws:SecureTransport": secure}
            assert allowed([role, document], "sqs:SendMessage", arn, context) == (secure == "true"), url
