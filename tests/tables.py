"""The functions' tables, as a test looks into them and changes them behind the functions' back."""

import json
import urllib.request


class Tables:
    """A client of DynamoDB's JSON protocol."""

    def __init__(self, url):
        self.url = url

    def call(self, operation, **request):
        """One operation; its reply."""
        headers = {
            "content-type": "application/x-amz-json-1.0",
            "x-amz-target": f"DynamoDB_20120810.{operation}",
            "x-amz-date": "20260101T000000Z",
            "authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, "
            "SignedHeaders=host, Signature=0",
        }
        asked = urllib.request.Request(self.url, json.dumps(request).encode(), headers)
        with urllib.request.urlopen(asked, timeout=20) as reply:
            return json.load(reply)

    def jobs(self):
        """The rows of all jobs, by id, as DynamoDB has them."""
        rows, start = {}, {}
        while True:
            page = self.call("Scan", TableName="state", ConsistentRead=True, **start)
            rows |= {row["job_id"]["S"]: row for row in page["Items"] if row["sk"]["S"] == "job"}
            if "LastEvaluatedKey" not in page:
                return rows
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def change(self, job, **values):
        """Sets attributes of a job's row: numbers and texts."""
        row = self.jobs()[job]
        kind = lambda value: {"S": value} if isinstance(value, str) else {"N": str(value)}
        self.call(
            "UpdateItem",
            TableName="state",
            Key={"pk": row["pk"], "sk": row["sk"]},
            UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in values),
            ExpressionAttributeValues={f":{name}": kind(value) for name, value in values.items()},
        )
