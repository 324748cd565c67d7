"""Door 2 as a handler in Python would answer it: `ConverseStream`, and a push for each delta."""

import json
import os

import boto3
import runtime

bedrock = boto3.client("bedrock-runtime")
connections = boto3.client("apigatewaymanagementapi", endpoint_url=os.environ["CALLBACK_URL"])


def handle(event):
    """A WebSocket API's message."""
    asked = json.loads(event["body"])
    connection = event["requestContext"]["connectionId"]

    def push(text, more):
        frame = {"completion": text, "cached": "false", "has_more_messages": more}
        connections.post_to_connection(ConnectionId=connection, Data=json.dumps(frame))

    messages = [{"role": "user", "content": [{"text": asked["prompt"]}]}]
    answer = bedrock.converse_stream(
        modelId="anthropic.claude-v2", messages=messages, inferenceConfig={"maxTokens": 4096}
    )
    for part in answer["stream"]:
        if "contentBlockDelta" in part:
            push(part["contentBlockDelta"]["delta"].get("text", ""), "true")
    push("", "false")
    return {"statusCode": 200}


runtime.serve(handle)
