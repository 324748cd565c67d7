"""The third target of the suite: the command with everything on AWS's parts, which are DynamoDB's semantics
over HTTP and ElasticMQ for SQS."""

from clients import new_id

from elasticmq import queues
from tables import Tables
from target import Target


class Shared(Target):
    """As `Target`; the tables and the queue outlive a restart."""

    lease = 4
    prompt = 1.0

    def __init__(self, standin=None, **options):
        super().__init__(standin, **options)
        self.tables = None

    def start(self):
        if self.store and not self.tables:
            self.tables = Tables()
            queue, _dead = queues().create(f"jobs-{new_id()}")
            ours = {"AWS_ENDPOINT_URL_SQS": queues().url, "JOBS_QUEUE_URL": queue}
            self.env = self.tables.env | ours | {"LEASE_SECONDS": str(self.lease)} | self.env
        return super().start()

    def close(self):
        super().close()
        if self.tables:
            self.tables.stop()
