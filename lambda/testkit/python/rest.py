"""Door 1 as a handler in Python would answer it: one call of `Converse`, one response."""

import json

import boto3
import runtime

bedrock = boto3.client("bedrock-runtime")


def handle(event):
    """A REST API's event and its response."""
    asked = json.loads(event["body"])
    messages = [{"role": "user", "content": [{"text": asked["prompt"]}]}]
    answer = bedrock.converse(
        modelId=event["pathParameters"]["proxy"], messages=messages, inferenceConfig={"maxTokens": 4096}
    )
    text = "".join(part.get("text", "") for part in answer["output"]["message"]["content"])
    body = {"completion": text, "stop_reason": answer["stopReason"], "usage": answer["usage"]}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}


runtime.serve(handle)
