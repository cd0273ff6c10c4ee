"""Faults in the middle of jobs that work through a list, on a head and two nodes that are raylets of this machine, one after the other:
what had been done and was done again, the seconds until more is done, what the terminal says, and whether what comes out is what comes
out where nothing disturbs.

    python -m benchmarks.batch_faults
    python -m benchmarks.batch_faults --jobs produce --only driver head

The rows of other jobs and faults stay in the table as they are.
"""

import argparse
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.command import Command
from benchmarks.common import machine, save_beside
from benchmarks.disturbed import Place, Row, shown
from benchmarks.faults import begun, full_disk
from benchmarks.wire import AWAY, Wire, s3_server
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath

SOME = 8  # files that are done when the fault comes
UTTERANCES, CLIPS = 160, 1200
ACTOR = "ray::MapWorker"
DISK = "3m"  # of what gets full: less than what a job writes


@dataclass(frozen=True)
class Job:
    """done: the folder in --out in which each table is finished work; results: that of the tables that come out. None is --out itself."""

    arguments: Callable[[Place], Sequence[str]]
    done: str | None = None
    results: str | None = None


def produce(place: Place) -> Sequence[str]:
    words = place.folder / "words.txt"
    rng = random.Random(0)
    words.write_text("\n".join("".join(rng.choices("abcdefgh", k=5)) for _ in range(UTTERANCES)))
    return ["jobs.produce", f"--model={place.undisturbed}", f"--utterances={words}", "--batch-size=2", "--steps=100"]


def prepare(place: Place) -> Sequence[str]:
    return ["jobs.prepare", "--shard-size=5", f"--fingerspelling.train={CLIPS}", "--fingerspelling.dev=5", "--fingerspelling.test=5"]


def evaluate(place: Place) -> Sequence[str]:
    reader = place.trained("reader", "--task=recogniser", "--recogniser.width=32", "--training.steps=20", "--training.batch-size=8")
    judged = [f"--data={place.folder}/data", f"--model={place.undisturbed}", f"--back-translator={reader}", "--seeds=8", "--steps=100"]
    return ["jobs.evaluate", *judged, "--shown=2", f"--tracking={place.tracking}"]


JOBS = {"prepare": Job(prepare), "produce": Job(produce, "parts", "parts"), "evaluate": Job(evaluate, ".measures")}


class Work(Command):
    """A job on two workers. done: when each of its files was there, again where it was written again."""

    def __init__(self, place: Place, name: str, job: Job, out: str):
        super().__init__(["-m", *job.arguments(place), f"--out={out}", "--workers=2"], place.folder / f"{name}.log")
        self.finished, self.results = (StoragePath(out) / each if each else StoragePath(out) for each in (job.done, job.results))
        self.done: list[tuple[float, str]] = []
        self._seen: dict[str, str] = {}

    def start(self, **environment: str) -> None:
        super().start(**environment)
        threading.Thread(target=self._follow, args=(self.process,), daemon=True).start()

    def _follow(self, process) -> None:
        while process.poll() is None:
            with suppress(InputError, OSError):  # it is not there yet, or the store is away
                now = {name: stamp for name, stamp in self.finished.hasty().stamps().items() if name.endswith(".parquet")}
                self.done += [(time.time(), name) for name, stamp in now.items() if self._seen.get(name) != stamp]
                self._seen |= now
            time.sleep(0.1)

    @property
    def again(self) -> int:
        """Files that were written again."""
        return sum(number - 1 for number in Counter(name for _, name in self.done).values())

    def rows(self) -> Counter[str]:
        """What came out."""
        tables = (pq.read_table(each.open()) for each in self.results.children() if each.name.endswith(".parquet"))
        return Counter(str(sorted(row.items())) for table in tables for row in table.to_pylist())


def worker(place: Place, work: Work) -> str:
    place.raylets.kill_worker(ACTOR)
    return "a worker is killed"


def node(place: Place, work: Work) -> str:
    place.raylets.lose()
    place.raylets.complete()
    return "a node is lost, and another joins"


def driver(place: Place, work: Work) -> str:
    work.kill()
    place.start(work)
    return "the driver is killed; same command"


def ctrl_c(place: Place, work: Work) -> str:
    began = time.time()
    work.signal(signal.SIGINT)
    ending = work.ending(began)
    place.start(work)
    return f"Ctrl-C ({ending}); same command"


def head(place: Place, work: Work) -> str:
    began = time.time()
    place.raylets.restart()
    ending = work.ending(began)
    place.start(work)
    return f"the head is restarted (the command {ending}); same command"


def store(wire: Wire, place: Place, work: Work) -> str:
    wire.cut()
    return f"the object store of `--out` is away for {AWAY} s"


def disk(fill: Callable, place: Place, work: Work) -> str:
    began, free = time.time(), fill()
    ending = work.ending(began)
    free()
    place.start(work)
    return f"the disk of `--out` is full (the command {ending}); room, same command"


Fault = Callable[[Place, Work], str]


@contextmanager
def anywhere(fault: Fault, place: Place, name: str) -> Iterator[tuple[Fault, str]]:
    yield fault, f"{place.folder}/{name}"


@contextmanager
def in_a_store(place: Place, name: str) -> Iterator[tuple[Fault, str]]:
    with s3_server(place.folder / "s3.log") as (wire, uri):
        yield partial(store, wire), (StoragePath(uri) / name).uri


@contextmanager
def on_a_disk(place: Place, name: str) -> Iterator[tuple[Fault, str]]:
    with full_disk(place.folder / "disk", DISK) as fill:
        yield partial(disk, fill), f"{place.folder}/disk/{name}"


FAULTS: dict[str, Callable[[Place, str], AbstractContextManager[tuple[Fault, str]]]] = {
    **{fault.__name__.replace("_", "-"): partial(anywhere, fault) for fault in (worker, node, driver, ctrl_c, head)},
    "store": in_a_store,
    "disk": on_a_disk,
}
HEADER = ("job", "`--only`", "what fails", "done before", "done again", "s to more", "s in all", "what the terminal says", "rows", "load")


def undisturbed(place: Place, name: str, job: Job) -> tuple[Counter[str], float]:
    """What comes out, and the seconds that it takes."""
    work = Work(place, name, job, f"{place.folder}/{name}")
    began = time.time()
    place.start(work)
    work.finish()
    return work.rows(), time.time() - began


def disturbed(place: Place, job: str, fault: str, whole: Counter[str], seconds: float) -> Row:
    with FAULTS[fault](place, f"{job}-{fault}") as (act, out):
        work = Work(place, f"{job}-{fault}", JOBS[job], out)
        began = time.time()
        place.start(work)
        try:
            work.until(lambda: len(work.done) >= SOME)
            since, before = work.now(), len(work.done)
            what = act(place, work)
            work.finish()
        finally:
            work.kill()
        took, rows = time.time() - began, work.rows()
    waited = next((when for when, _ in work.done[before:]), time.time()) - since.time
    same = "equal" if rows == whole else f"{(rows & whole).total()} of {whole.total()} equal, {rows.total()} there"
    said = shown(what, work.said(since), place.folder)
    cost = (f"{before}", f"{work.again}", f"{waited:.0f}", f"{took:.0f} ({seconds:.0f} undisturbed)")
    return (job, fault, what, *cost, said, same, f"{os.getloadavg()[0]:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--folder", type=Path, help="for data and runs; a temporary one by default")
    arguments = parser.parse_args()
    title = f"Batch jobs of two workers on two nodes; the fault comes when {SOME} files are done. {machine()}"
    with begun(arguments.folder) as place:
        for job in arguments.jobs:
            whole, seconds = undisturbed(place, job, JOBS[job])
            for fault in arguments.only:
                place.raylets.complete()
                save_beside("batch_faults", title, HEADER, [disturbed(place, job, fault, whole, seconds)], 2)


if __name__ == "__main__":
    main()
