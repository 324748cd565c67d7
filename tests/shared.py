"""The third target of the suite: the command with everything on AWS's parts, which are DynamoDB's semantics
over HTTP, ElasticMQ for SQS, and OpenSearch."""

import functools

from clients import new_id

from elasticmq import queues
from opensearch import opensearch
from tables import Tables
from target import Target


class Shared(Target):
    """As `Target`; the tables and the queue outlive a restart. A gateway that is to search nothing else searches an
    index without an answer to anything."""

    lease = 4
    prompt = 1.0

    def __init__(self, standin=None, **options):
        super().__init__(standin, **options)
        self.tables, self.env = None, searched(self.env)

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


def searched(env):
    """These settings, and if they do not say what to search, those of an index in which no question of a test finds
    anything."""
    return env if "OPENSEARCH_DOMAIN_ENDPOINT" in env else {**nothing_to_find(), **env}


@functools.cache
def nothing_to_find():
    # On a busy machine a state that comes late would cost an answer the cache, as it should elsewhere.
    index = opensearch().create(8)
    opensearch().put(index, {"1": {"text": "Quokkas are marsupials.", "metadata": {"source": "quokkas.md"}}})
    settings = {"OPENSEARCH_DOMAIN_ENDPOINT": opensearch().url, "OPENSEARCH_INDEX": index}
    return {**settings, "RETRIEVAL_MODE": "text", "RETRIEVAL_TIMEOUT_MS": "60000"}
