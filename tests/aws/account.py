"""An AWS account on loopback, and a clone from which a user deploys into it: moto's server with what
`cloudformation.py` adds, the real AWS CLI and CDK, and a program in the place of docker that builds nothing
and pushes into moto's registry."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import boto3

from target import ROOT, free_port, until

# What the scripts and the image's tag are made of.
CLONE = ["scripts", "cdk", "contract", "docker", "lambda/rest/src", "lambda/ws/src"]
CLONE += ["lambda/gateway/src/model/catalog.json", "template.env", "Cargo.toml", "Cargo.lock", ".dockerignore", ".gitignore"]
BESIDES = shutil.ignore_patterns("node_modules", "cdk.out", "test")
ID = "123456789012"
REGION = "us-east-1"

DOCKER = """#!{python}
import sys
words = sys.argv[1:]
if words == ["--version"]:
    print("Docker version 28")
elif words[0] == "push":
    import hashlib, json
    import boto3
    repository, tag = words[-1].split("/", 1)[1].rsplit(":", 1)
    digest = "sha256:" + hashlib.sha256(tag.encode()).hexdigest()
    ecr = boto3.client("ecr", region_name={region!r})
    manifest = json.dumps({{"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "tag": tag}})
    ecr.put_image(repositoryName=repository, imageTag=tag, imageDigest=digest, imageManifest=manifest)
    print(f"{{tag}}: digest: {{digest}} size: 1")
elif words[0] == "buildx":
    sys.exit(1)
"""


class Account:
    """One account and one clone. `settings` are written into the clone's `.env`."""

    def __init__(self, **settings):
        self.home = Path(tempfile.mkdtemp(prefix="llm-gateway-account-"))
        self.tree = self.home / "clone"
        self.clone()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = open(self.home / "moto.log", "w")
        command = [sys.executable, str(ROOT / "tests/aws/cloudformation.py"), str(port)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        (self.home / "bin").mkdir()
        docker = self.home / "bin/docker"
        docker.write_text(DOCKER.format(python=sys.executable, region=REGION))
        docker.chmod(0o755)
        self.secrets = {"AWS_ACCESS_KEY_ID": "AKIADEPLOYER", "AWS_SECRET_ACCESS_KEY": "secret"}
        self.env = self.secrets | {
            "PATH": f"{self.home}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
            # The CDK remembers accounts by access key, under CDK_HOME.
            "HOME": str(self.home),
            "CDK_HOME": f"{self.home}/cdk",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ENDPOINT_URL_S3_FOR_CLOUDFORMATION": f"http://localhost:{port}",
            "AWS_EC2_METADATA_DISABLED": "true",
            "CDK_VALIDATION": "false",
        }
        self.write(**settings)
        until(self.answers, 60, 0.1, "moto's start")

    def answers(self):
        assert self.process.poll() is None, f"moto ended: {(self.home / 'moto.log').read_text()}"
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{self.url}/moto-api/", timeout=10).status == 200

    def clone(self):
        for part in CLONE:
            source, here = ROOT / part, self.tree / part
            here.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, here, ignore=BESIDES) if source.is_dir() else shutil.copy2(source, here)
        (self.tree / "cdk/node_modules").symlink_to(ROOT / "cdk/node_modules")
        self.git("init", "-q")
        self.commit("one")

    def git(self, *words):
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        subprocess.run(["git", *who, *words], cwd=self.tree, check=True, capture_output=True, timeout=60)

    def commit(self, message):
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)

    @property
    def settings(self):
        """What `.env` says."""
        lines = (self.tree / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if line)

    def write(self, **settings):
        """`cp template.env .env`, where it is missing, and the edits."""
        file = self.tree / ".env"
        if not file.exists():
            shutil.copy(self.tree / "template.env", file)
        all_ = self.settings
        assert settings.keys() <= all_.keys(), "template.env does not have these settings"
        file.write_text("".join(f"{name}={value}\n" for name, value in (all_ | settings).items()))

    def run(self, line, **env):
        """A line of a user's shell, after the README's `export`: exit code, standard output and error."""
        export = "export $(cat .env | xargs)\n"
        done = subprocess.run(
            ["bash", "-c", export + line],
            cwd=self.tree,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        return done.returncode, done.stdout, done.stderr

    def succeed(self, line, **env):
        """As `run`, for a line that must succeed: what it said, on both streams."""
        code, out, said = self.run(line, **env)
        assert code == 0, said + out
        return out, said

    def answer(self, path, body):
        """Puts another answer in the place of a control plane's."""
        request = urllib.request.Request(f"{self.url}/answers{path}", json.dumps(body).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    def client(self, service):
        keys = {name.lower(): value for name, value in self.secrets.items()}
        return boto3.client(service, region_name=REGION, endpoint_url=self.url, **keys)

    def outputs(self, stack="LlmGatewayStack"):
        (found,) = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}

    def functions(self):
        """The deployed functions by role: `api`, `worker`, `authorizer`, or `ws` where none is said."""
        found = self.client("lambda").list_functions()["Functions"]
        return {one["Environment"]["Variables"].get("ROLE", "ws"): one for one in found}

    def image(self, function):
        """The digest that a function runs."""
        code = self.client("lambda").get_function(FunctionName=function["FunctionName"])["Code"]
        return code["ImageUri"].split("@")[1]

    def left(self):
        """Everything that is in the account, by kind, but for what the CDK's own stack has."""
        stacks = self.client("cloudformation")
        made = stacks.describe_stacks()["Stacks"]
        cdk = [stacks.list_stack_resources(StackName=one["StackName"]) for one in made if one["StackName"] == "CDKToolkit"]
        own = {resource["PhysicalResourceId"] for page in cdk for resource in page["StackResourceSummaries"]}
        names = lambda service, call, field, name, **asked: [
            one[name] if name else one for one in getattr(self.client(service), call)(**asked).get(field, [])
        ]
        kinds = {
            "stacks": names("cloudformation", "describe_stacks", "Stacks", "StackName"),
            "functions": names("lambda", "list_functions", "Functions", "FunctionName"),
            "mappings": names("lambda", "list_event_source_mappings", "EventSourceMappings", "UUID"),
            "rest APIs": names("apigateway", "get_rest_apis", "items", "id"),
            "keys": names("apigateway", "get_api_keys", "items", "id"),
            "plans": names("apigateway", "get_usage_plans", "items", "id"),
            "WebSocket APIs": names("apigatewayv2", "get_apis", "Items", "ApiId"),
            "tables": names("dynamodb", "list_tables", "TableNames", None),
            "queues": names("sqs", "list_queues", "QueueUrls", None),
            "logs": names("logs", "describe_log_groups", "logGroups", "logGroupName"),
            "roles": names("iam", "list_roles", "Roles", "RoleName"),
            "alarms": names("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
            "dashboards": names("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
            "topics": names("sns", "list_topics", "Topics", "TopicArn"),
            "domains": names("opensearch", "list_domain_names", "DomainNames", "DomainName"),
            "collections": names("opensearchserverless", "list_collections", "collectionSummaries", "id"),
            "firewalls": names("wafv2", "list_web_acls", "WebACLs", "Id", Scope="REGIONAL"),
            "names": names("apigatewayv2", "get_domain_names", "Items", "DomainName"),
            "repositories": names("ecr", "describe_repositories", "repositories", "repositoryName"),
        }
        policies = ["opensearchserverless", "list_security_policies", "securityPolicySummaries", "name"]
        kinds["security policies"] = [one for kind in ("encryption", "network") for one in names(*policies, type=kind)]
        access = names("opensearchserverless", "list_access_policies", "accessPolicySummaries", "name", type="data")
        kinds["access policies"] = access
        # moto goes on listing those that are deleted.
        ends = names("ec2", "describe_vpc_endpoints", "VpcEndpoints", None)
        kinds["endpoints"] = [one["VpcEndpointId"] for one in ends if one["State"] != "deleted"]
        local = self.client("iam").list_policies(Scope="Local")["Policies"]
        kinds["policies"] = [policy["Arn"] for policy in local]
        left = {kind: [one for one in all_ if one not in own | {"CDKToolkit"}] for kind, all_ in kinds.items()}
        return {kind: all_ for kind, all_ in left.items() if all_}

    def close(self):
        self.process.kill()
        self.process.wait(10)
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)
