"""Rows per second of a loop of boto3 `put_item`, of boto3 `batch_writer`, and of `llm-gateway upload`.

boto3 writes a row as one item, as the older system's script did. The command writes it as two, under
the question and under its folded form. `scripts/bench-upload` builds what it needs and runs it.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
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


async def forward(upstream, delay, ports):
    """Passes connections on to `upstream`; what goes there arrives `delay` seconds later."""

    async def late(reader, writer, delay):
        waiting = asyncio.Queue()

        async def deliver():
            while (arrived := await waiting.get())[1]:
                await asyncio.sleep(arrived[0] + delay - time.monotonic())
                writer.write(arrived[1])
                await writer.drain()
            writer.close()

        delivery = asyncio.create_task(deliver())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                waiting.put_nowait((time.monotonic(), data))
        waiting.put_nowait((0, b""))
        with contextlib.suppress(ConnectionError):
            await delivery

    async def connected(reader, writer):
        far_reader, far_writer = await asyncio.open_connection(*upstream)
        await asyncio.gather(late(reader, far_writer, delay), late(far_reader, writer, 0))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    ports.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


@contextlib.contextmanager
def distance(server, milliseconds):
    """The server's URL from that far away; in a process of its own, so that nobody waits for it."""
    if not milliseconds:
        yield server.url
        return
    host, port = server.url.removeprefix("http://").split(":")
    here, there = multiprocessing.Pipe()
    run = lambda: asyncio.run(forward((host, int(port)), milliseconds / 1000, there))
    process = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        process.kill()
        process.join()


def put_item(table, content):
    for row in content:
        table.put_item(Item=row)


def batch_writer(table, content):
    with table.batch_writer() as batch:
        for row in content:
            batch.put_item(Item=row)


def command(url, table, home, content):
    """Everything: the process's start, both readings of the file, the summary."""
    with open(f"{home}/rows.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in content)
    begun = time.perf_counter()
    to_do = [GATEWAY, "upload", file.name, "-t", table.name]
    subprocess.run(to_do, env=environment(home, url), check=True, capture_output=True)
    return time.perf_counter() - begun


def timed(work, *args):
    begun = time.perf_counter()
    work(*args)
    return time.perf_counter() - begun


def measure(server, url, count):
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    resource = boto3.resource("dynamodb", endpoint_url=url, **keys)
    content, rates = rows(count), {"put_item": [], "batch_writer": [], "upload": []}
    fresh = lambda: resource.Table(server.table(f"bench-{time.time_ns()}", "pk"))
    with tempfile.TemporaryDirectory() as home:
        for _ in range(ROUNDS):
            few = content[: count // 10]
            rates["put_item"].append(len(few) / timed(put_item, fresh(), few))
            rates["batch_writer"].append(count / timed(batch_writer, fresh(), content))
            rates["upload"].append(count / command(url, fresh(), home, content))
    return {way: statistics.median(seen) for way, seen in rates.items()}


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--server", choices=["engine", "moto"], default="engine")
    options.add_argument("--rows", type=int, default=20_000)
    options = options.parse_args()
    server = {"engine": Engine, "moto": Moto}[options.server]()
    print("| server | put_item rows/s | batch_writer | upload | over put_item | over batch_writer |")
    print("|---|---|---|---|---|---|")
    try:
        for milliseconds in (0, 5):
            with distance(server, milliseconds) as url:
                rates = measure(server, url, options.rows)
            where = f"{milliseconds} ms away" if milliseconds else "on loopback"
            each = " | ".join(f"{rate:,.0f}" for rate in rates.values())
            times = " | ".join(f"{rates['upload'] / rates[way]:.1f}x" for way in ("put_item", "batch_writer"))
            print(f"| {options.server}, {where} | {each} | {times} |", flush=True)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
