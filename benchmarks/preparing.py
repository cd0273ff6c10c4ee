"""jobs.prepare: clips a second on 1 and 2 workers, and the memory of driver and actors as the corpus grows ten times.

    python -m benchmarks.preparing

The corpus is fingerspelling, which is read from memory: what is measured is speech synthesis, checks, features and writing. Memory is
the largest sum, over the processes that the job starts, of what each has to itself (USS), looked at twice a second.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

import psutil

from benchmarks.common import machine, save


def prepare(clips: int, workers: int) -> tuple[float, float]:
    """Clips a second once work goes on, and the largest memory in MiB."""
    with tempfile.TemporaryDirectory() as out:
        options = ("--fingerspelling.train", clips, "--workers", workers, "--shard-size", 100, "--out", out)
        command = [sys.executable, "-m", "jobs.prepare", *map(str, options)]
        job = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
        os.set_blocking(job.stderr.fileno(), False)
        largest, shown = 0.0, b""
        while job.poll() is None:
            largest = max(largest, memory(job.pid))
            shown += job.stderr.read() or b""
            time.sleep(0.5)
        shown += job.stderr.read() or b""
        assert job.returncode == 0, shown.decode()
    return rate(shown.decode()), largest / 2**20


def rate(shown: str) -> float:
    """From the bar: clips and seconds from the first shard to the last."""
    steps = [(int(done), clock(passed)) for done, passed in re.findall(r"\| (\d+)/\d+ \[([\d:]+)<", shown)]
    first = next(step for step in steps if step[0])
    return (steps[-1][0] - first[0]) / max(steps[-1][1] - first[1], 1)


def clock(text: str) -> int:
    seconds = 0
    for part in text.split(":"):
        seconds = 60 * seconds + int(part)
    return seconds


def memory(pid: int) -> int:
    total = 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            total += process.memory_full_info().uss
        except psutil.Error:
            continue
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=2000)
    clips = parser.parse_args().clips
    rows = [("clips", "workers", "clips/s", "memory, MiB")]
    for n, workers in ((clips, 1), (clips, 2), (10 * clips, 2)):
        speed, largest = prepare(n, workers)
        rows.append((str(n), str(workers), f"{speed:.0f}", f"{largest:.0f}"))
    save("preparing", machine(), rows)


if __name__ == "__main__":
    main()
