"""Load on the service: requests a second and latency by numbers of clients, with batches and without, behind Ray's own proxy and behind
HAProxy, beside the sampler called directly and beside LitServe. Needs ``wrk`` (apt install wrk); for LitServe ``pip install litserve``.

python -m benchmarks.serving --model runs/quickstart/model
"""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import machine, save
from benchmarks.service import HAPROXY, reserved_port, running, until_ready
from ms2sl.data.types import Utterance
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems.ms2sl.producer import MS2SLProducer

CLIENTS, BATCH = (1, 8, 32), 16


def load(url: str, clients: int, seconds: int, seed: int, steps: int) -> dict:
    script = Path(__file__).with_name("signs.lua")
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), url]
    run = subprocess.run([*command, "--", str(seed), "/v1/signs", str(steps)], capture_output=True, text=True, check=True)
    return json.loads(run.stdout.strip().splitlines()[-1])


def direct(model: Path, batch: int, steps: int, seconds: float) -> float:
    """Signings a second of the sampler alone, in one thread."""
    torch.set_num_threads(1)
    producer = MS2SLProducer.load(model, options=Sampling(steps=steps), precision="auto")
    rng, signed, began = np.random.default_rng(0), 0, None
    while began is None or time.perf_counter() < began + seconds:
        words = ["".join(chr(97 + letter) for letter in rng.integers(0, 26, rng.integers(3, 6))) for _ in range(batch)]
        producer.produce([Utterance("text", text=word) for word in words], seed=0)
        if began is None:  # the first batch is for warming up
            began = time.perf_counter()
        else:
            signed += batch
    return signed / (time.perf_counter() - began)


@contextmanager
def litserve(model: Path, batch: int) -> Iterator[str]:
    with reserved_port() as port:
        pass  # LitServe binds otherwise than Ray, so it is not kept
    log = Path(tempfile.gettempdir()) / f"litserve-{port}.log"
    with log.open("w") as out:
        command = [sys.executable, "-m", "benchmarks.litserve_app", str(model.absolute()), str(port), str(batch)]
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        until_ready(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # with its workers, which it leaves behind otherwise
        process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("runs/quickstart/model"))
    parser.add_argument("--seconds", type=int, default=10, help="of each measurement")
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: apt install wrk")
    alone = {batch: direct(arguments.model, batch, arguments.steps, arguments.seconds) for batch in (1, BATCH)}
    servers = {
        f"Ray's proxy, batches of {BATCH}": lambda: running(arguments.model, max_batch_size=BATCH),
        "Ray's proxy, one by one": lambda: running(arguments.model, max_batch_size=1),
        f"HAProxy, batches of {BATCH}": lambda: running(arguments.model, HAPROXY, max_batch_size=BATCH),
        "HAProxy, one by one": lambda: running(arguments.model, HAPROXY, max_batch_size=1),
    }
    if importlib.util.find_spec("litserve"):
        servers[f"LitServe, batches of {BATCH}"] = lambda: litserve(arguments.model, BATCH)
    header = ("", *(f"{n} clients: signs/s" if i == 0 else f"{n}: signs/s" for i, n in enumerate(CLIENTS)))
    rows = [(*header, *(f"{n}: p50 / p95 / p99, ms" for n in CLIENTS), "share of the sampler alone", "failed")]
    for name, start in servers.items():
        with start() as url:
            load(url, BATCH, 3, 0, arguments.steps)
            measured = [load(url, clients, arguments.seconds, clients, arguments.steps) for clients in CLIENTS]
        speeds = [each["requests"] / each["seconds"] for each in measured]
        against = alone[1 if name.endswith("one by one") else BATCH]
        latencies = [f"{each['p50']:.0f} / {each['p95']:.0f} / {each['p99']:.0f}" for each in measured]
        share, failed = f"{max(speeds) / against:.2f}", str(sum(each["failed"] for each in measured))
        rows.append((name, *(f"{speed:.0f}" for speed in speeds), *latencies, share, failed))
    title = f"{arguments.steps} steps; words of 3 to 5 letters, hardly any twice; one sampler with one thread. The sampler alone: "
    title += ", ".join(f"{speed:.0f} signs/s in batches of {batch}" for batch, speed in alone.items())
    save(f"serving-{arguments.steps}-steps", f"{title}. {machine()}", rows)


if __name__ == "__main__":
    main()
