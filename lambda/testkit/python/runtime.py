"""A custom runtime's loop, with less in it than Lambda's own for Python: what is measured beside it is
the handler and boto3."""

import http.client
import json
import os


def serve(handle):
    """Asks for events and posts what `handle` makes of them, for ever."""
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    while True:
        api.request("GET", "/2018-06-01/runtime/invocation/next")
        reply = api.getresponse()
        invocation, event = reply.headers["lambda-runtime-aws-request-id"], json.loads(reply.read())
        response = json.dumps(handle(event))
        api.request("POST", f"/2018-06-01/runtime/invocation/{invocation}/response", response)
        api.getresponse().read()
