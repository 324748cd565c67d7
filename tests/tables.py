"""A gateway's two tables over HTTP, as a test looks into them and changes them behind the gateway's back."""

from dynamodb import Engine


class Tables(Engine):
    """The server, with both tables."""

    def __init__(self):
        super().__init__("answers,state")
        self.env = {"AWS_ENDPOINT_URL_DYNAMODB": self.url, "ANSWERS_TABLE": "answers", "STATE_TABLE": "state"}

    def jobs(self):
        """The rows of all jobs, by id, as DynamoDB has them."""
        rows, start = {}, {}
        while True:
            page = self.ask("Scan", TableName="state", ConsistentRead=True, **start)
            rows |= {row["job_id"]["S"]: row for row in page["Items"] if row["sk"]["S"] == "job"}
            if not page.get("LastEvaluatedKey"):
                return rows
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def change(self, job, **values):
        """Sets attributes of a job's row: numbers and texts."""
        row = self.jobs()[job]
        kind = lambda value: {"S": value} if isinstance(value, str) else {"N": str(value)}
        self.ask(
            "UpdateItem",
            TableName="state",
            Key={"pk": row["pk"], "sk": row["sk"]},
            UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in values),
            ExpressionAttributeValues={f":{name}": kind(value) for name, value in values.items()},
        )
