"""Rows per second of a loop of boto3 `put_item`, of boto3 `batch_writer`, and of `llm-gateway upload`.

boto3 writes a row as one item, as the older system's script did. The command writes it as two, under
the question and under its folded form. `scripts/bench-upload` builds what it needs and runs it.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time

import boto3
from dynamodb import Engine, Moto
from target import GATEWAY
from uploads import environment

ROUNDS = 3


def rows(count):
    """Questions of 30 and answers of 500 bytes."""
    return [{"pk": f"What is the meaning of {n:07}?", "answer": f"{n} " + "word " * 98} for n in range(count)]


def put_item(table, content):
    for row in content:
        table.put_item(Item=row)


def batch_writer(table, content):
    with table.batch_writer() as batch:
        for row in content:
            batch.put_item(Item=row)


def command(server, table, home, content):
    """Everything: the process's start, both readings of the file, the summary."""
    with open(f"{home}/rows.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in content)
    begun = time.perf_counter()
    to_do = [GATEWAY, "upload", file.name, "-t", table.name]
    subprocess.run(to_do, env=environment(home, server.url), check=True, capture_output=True)
    return time.perf_counter() - begun


def timed(work, *args):
    begun = time.perf_counter()
    work(*args)
    return time.perf_counter() - begun


def measure(server, count):
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    resource = boto3.resource("dynamodb", endpoint_url=server.url, **keys)
    content, rates = rows(count), {"put_item": [], "batch_writer": [], "upload": []}
    fresh = lambda: resource.Table(server.table(f"bench-{time.time_ns()}", "pk"))
    with tempfile.TemporaryDirectory() as home:
        for _ in range(ROUNDS):
            few = content[: count // 10]
            rates["put_item"].append(len(few) / timed(put_item, fresh(), few))
            rates["batch_writer"].append(count / timed(batch_writer, fresh(), content))
            rates["upload"].append(count / command(server, fresh(), home, content))
    return {way: statistics.median(seen) for way, seen in rates.items()}


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--server", choices=["engine", "moto"], default="engine")
    options.add_argument("--rows", type=int, default=20_000)
    options = options.parse_args()
    server = {"engine": Engine, "moto": Moto}[options.server]()
    try:
        rates = measure(server, options.rows)
    finally:
        server.stop()
    print(f"| {options.rows:,} rows, {options.server} | rows/s | upload is |\n|---|---|---|")
    for way, rate in rates.items():
        print(f"| {way} | {rate:,.0f} | {rates['upload'] / rate:.1f}x |")


if __name__ == "__main__":
    main()
