"""Clients that leave: of ``--clients`` that ask again and again, every third leaves each time at a random moment, before its answer begins,
in the middle of a stream, or of an upload. What the others notice of it, behind Ray's proxy and behind HAProxy.

python -m benchmarks.leaving --model runs/quickstart/model
"""

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from benchmarks.common import machine, save
from benchmarks.service import HAPROXY, running
from benchmarks.streaming import memory

PROXIES = {"HAProxy": HAPROXY, "Ray's proxy": {}}
LIMIT = 120  # seconds, the service's own for a request
WORD, SENTENCE = {"text": "cab", "duration": 2}, {"text": "cab bead face deaf " * 5}
UPLOAD = 2**17  # bytes


@dataclass
class Tally:
    """What clients met. waited: seconds of those that were answered, by what they asked for; gone: how often the others left, by when."""

    waited: dict[str, list[float]] = field(default_factory=lambda: {"whole": [], "stream": []})
    failed: Counter = field(default_factory=Counter)
    gone: Counter = field(default_factory=Counter)


async def whole(session: aiohttp.ClientSession) -> None:
    async with session.post("/v1/signs", json=WORD) as answer:
        answer.raise_for_status()
        await answer.read()


async def stream(session: aiohttp.ClientSession) -> None:
    async with session.post("/v1/signs/stream", json=SENTENCE) as answer:
        answer.raise_for_status()
        last = b""
        async for line in answer.content:
            last = line
    if json.loads(last)["type"] != "end":
        raise ValueError(f"a stream ended with {last[:200]!r}")


async def upload(session: aiohttp.ClientSession) -> None:
    """Of a recording that never ends."""

    async def form():
        yield b"--x\r\nContent-Disposition: form-data; name=speech; filename=a.wav\r\n\r\n"
        while True:
            yield bytes(1024)
            await asyncio.sleep(0.1)

    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(UPLOAD)}
    async with session.post("/v1/signs", data=form(), headers=headers) as answer:
        await answer.read()


async def stay(session: aiohttp.ClientSession, name: str, tally: Tally, until: float) -> None:
    ask = {"whole": whole, "stream": stream}[name]
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            await asyncio.wait_for(ask(session), LIMIT + 30)
        except Exception as error:
            tally.failed[f"{name}: {type(error).__name__} {getattr(error, 'status', '')}".strip()] += 1
        else:
            tally.waited[name].append(time.monotonic() - began)


async def leave(url: str, rng: random.Random, tally: Tally, until: float) -> None:
    """Each time with a connection of its own, which is closed."""
    while time.monotonic() < until:
        ask = rng.choice((whole, stream, upload))
        async with aiohttp.ClientSession(url) as session:
            with suppress(TimeoutError, aiohttp.ClientError, ValueError):
                await asyncio.wait_for(ask(session), rng.uniform(0, 4))
                continue  # it was answered before it left
        tally.gone[ask.__name__] += 1


async def crowd(url: str, clients: int, seconds: float) -> tuple[Tally, list[float]]:
    """What they met, and MiB of the replicas before, in the middle and at the end."""
    tally, rng, until = Tally(), random.Random(0), time.monotonic() + seconds
    used = [memory()]
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
        asking = []
        for number in range(clients):
            if number % 3 == 0:
                asking.append(leave(url, random.Random(rng.random()), tally, until))
            else:
                asking.append(stay(session, "whole" if number % 3 == 1 else "stream", tally, until))

        async def watch() -> None:
            await asyncio.sleep(seconds / 2)
            used.append(await asyncio.to_thread(memory))

        await asyncio.gather(watch(), *asking)
    return tally, [*used, memory()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("runs/quickstart/model"))
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--what", default="", help="said of the model in the table's title")
    arguments = parser.parse_args()
    header = ("", "answered: whole", "streams", "failed", "left", "slowest: whole, s", "stream, s", "limit, s", "memory at the start, MiB")
    rows = [(*header, "in the middle", "at the end")]
    title = f"{arguments.clients} clients that ask again and again for {arguments.seconds:g} s; every third leaves each time within 4 s. "
    title += f"8 steps; one sampler with one thread; memory of all replicas. {arguments.what}{machine()}"
    for name, environment in PROXIES.items():
        options = {"max_concurrent_requests": 2 * arguments.clients, "request_timeout_s": LIMIT, "stream_timeout_s": LIMIT}
        with running(arguments.model, environment, **options) as url:
            asyncio.run(crowd(url, arguments.clients, 5))  # so that all that is made once is made
            tally, used = asyncio.run(crowd(url, arguments.clients, arguments.seconds))
        print(name, dict(tally.failed), dict(tally.gone))
        answered = [f"{len(waited)}" for waited in tally.waited.values()]
        slowest = [f"{max(waited, default=0):.1f}" for waited in tally.waited.values()]
        counts = [f"{tally.failed.total()}", f"{tally.gone.total()}"]
        rows.append((name, *answered, *counts, *slowest, f"{LIMIT}", *(f"{each:.0f}" for each in used)))
        save("leaving", title, rows)


if __name__ == "__main__":
    main()
