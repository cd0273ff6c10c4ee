"""Whether costs of an hour foretell what jobs take: small corpora prepared and trained on by the commands themselves.

Seconds are of CPUs, of all processes that a job starts, looked at four times a second; what starting takes is that of the smallest job.
"""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.scale_costs import BATCH, DEV, FPS, Costs, write_corpus
from ms2sl.data.dataset import Dataset

SMALLEST, SHARD_SIZE = 8, 64  # clips
STEPS = 12  # of training
INTERVAL = 0.25  # seconds
AT_ONCE = {"RAY_worker_niceness": "0"}  # or its workers starve beside whatever else the machine does


def check(sizes: Sequence[int], seconds: float, costs: Costs) -> list[tuple[str, ...]]:
    """Rows of a table. seconds: of a clip, on average."""
    rows: list[tuple[str, ...]] = [("clips", "what", "foretold", "measured", "measured / foretold")]
    each = sum(costs.seconds[name] for name in ("import", "write", "default features"))
    start, starts = 0.0, 0.0
    with tempfile.TemporaryDirectory() as temporary:
        for clips in [SMALLEST, *sizes] if sizes else []:
            folder = Path(temporary) / str(clips)
            hours = write_corpus(folder / "source", clips, seconds, seed=clips)
            prepared = spent(*prepare(folder))
            steps = 1 if clips == SMALLEST else STEPS
            trained = spent(*train(folder, steps))
            signed = steps * learned(folder, steps)
            if clips == SMALLEST:
                start, starts = prepared - each * hours, trained - costs.seconds["train"] * signed
                continue
            files = sum(-(-n // SHARD_SIZE) for n in (DEV, clips - DEV)) + 2  # with dataset.json and rejected.parquet
            stored = list((folder / "data").iterdir())
            checkpoint = folder / "runs" / "check"
            size = sum(path.stat().st_size for path in checkpoint.glob("train/step-*/**/*.safetensors"))
            parameters = sum(path.stat().st_size for path in checkpoint.glob("model/*.safetensors")) / 4
            foretold = {
                "prepare, CPU seconds": (start + each * hours, prepared),
                "train, CPU seconds": (starts + costs.seconds["train"] * signed, trained),
                "dataset, MB": ((costs.size["poses, speech, text"] + costs.size["default features"]) * hours / 1e6, _size(stored) / 1e6),
                "files": (files, len(stored)),
                "checkpoint, MB": (costs.checkpoint * parameters / 1e6, size / 1e6),
            }
            for what, (before, after) in foretold.items():
                rows.append((str(clips), what, f"{before:,.1f}", f"{after:,.1f}", f"{after / before:.2f}"))
    return rows


def _size(files: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def prepare(folder: Path) -> tuple[str, ...]:
    source = ("--corpus", "posefiles", "--posefiles.source", str(folder / "source"), "--posefiles.table", "clips.csv")
    return ("jobs.prepare", *source, "--out", str(folder / "data"), "--workers", "1", "--shard-size", str(SHARD_SIZE))


def train(folder: Path, steps: int) -> tuple[str, ...]:
    size = {"steps": steps, "batch-size": min(BATCH, SMALLEST - DEV if steps == 1 else BATCH), "checkpoint-every": steps}
    options = [part for name, value in size.items() for part in (f"--training.{name}", str(value))]
    return ("jobs.train", "--data", str(folder / "data"), "--runs", str(folder / "runs"), "--name", "check", *options)


def learned(folder: Path, steps: int) -> float:
    """Hours of signing of a step, on average over an epoch."""
    training = Dataset(folder / "data").card.splits["train"]
    batch = min(BATCH, SMALLEST - DEV if steps == 1 else BATCH)
    per_epoch = math.ceil(training.clips / batch)
    return training.frames / per_epoch / FPS / 3600


def spent(*command: str) -> float:
    """Seconds of CPUs of a job, of all processes that it starts."""
    job = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | AT_ONCE)
    assert job.stderr is not None
    os.set_blocking(job.stderr.fileno(), False)
    used: dict[tuple[int, float], float] = {}
    shown = b""
    while job.poll() is None:
        used |= _used(job.pid)
        shown += job.stderr.read() or b""
        time.sleep(INTERVAL)
    assert job.returncode == 0, shown.decode()
    return sum(used.values())


def _used(pid: int) -> dict[tuple[int, float], float]:
    """Seconds of each process of a tree, by its number and when it began."""
    found = {}
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return {}
    for process in processes:
        try:
            times = process.cpu_times()
            found[process.pid, process.create_time()] = times.user + times.system
        except psutil.Error:
            continue
    return found
