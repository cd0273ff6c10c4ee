"""Faults in the middle of jobs that work through a list, and of sweeps, on a head and two nodes that are raylets of this machine, one after
the other: what had been done and was done again, the seconds until more is done, what the terminal says, and whether what comes out is
what comes out where nothing disturbs.

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from ms2sl.evaluation.objective import QUALITY
from ms2sl.io.storage import StoragePath
from ms2sl.sweep.trial_store import TrialStore

SOME = 8  # files that are done when the fault comes
UTTERANCES, CLIPS, TRIALS = 160, 1200, 8
DISK = "200m"  # of what gets full: there is room for all that a job makes


@dataclass(frozen=True)
class Job:
    """A command, of what it writes into a folder, and where it works.

    done: finished files (a table, a trial), by name, each with a stamp that changes when it is written again. results: rows that come out.
    some: files that are done when the fault comes. actor: its workers' processes.
    """

    arguments: Callable[[Place, str], Sequence[str]]
    done: Callable[[StoragePath], Mapping[str, str]]
    results: Callable[[StoragePath], Iterable[object]]
    some: int = SOME
    actor: str = "ray::MapWorker"


def tables(folder: StoragePath) -> Mapping[str, str]:
    return {name: stamp for name, stamp in folder.hasty().stamps().items() if name.endswith(".parquet")}


def rows(folder: StoragePath) -> Iterator[object]:
    for each in folder.children():
        if each.name.endswith(".parquet"):
            yield from (sorted(row.items()) for row in pq.read_table(each.open()).to_pylist())


def ended(folder: StoragePath) -> Mapping[str, str]:
    """Trials of a sweep."""
    return {str(trial.number): trial.model_dump_json() for trial in TrialStore(folder).trials() if trial.outcome != "open"}


def judged(folder: StoragePath) -> Iterator[object]:
    """What each trial tried, how it ended and how it was judged on its way."""
    for trial in TrialStore(folder).trials():
        yield trial.number, trial.recipe, trial.outcome, [(row["step"], row[QUALITY]) for row in trial.history]


def produce(place: Place, out: str) -> Sequence[str]:
    words = place.folder / "words.txt"
    rng = random.Random(0)
    words.write_text("\n".join("".join(rng.choices("abcdefgh", k=5)) for _ in range(UTTERANCES)))
    making = [f"--model={place.undisturbed}", f"--utterances={words}", "--batch-size=2", "--steps=100"]
    return ["jobs.produce", *making, f"--out={out}", "--workers=2"]


def prepare(place: Place, out: str) -> Sequence[str]:
    clips = [f"--fingerspelling.train={CLIPS}", "--fingerspelling.dev=5", "--fingerspelling.test=5"]
    return ["jobs.prepare", "--shard-size=5", *clips, f"--out={out}", "--workers=2"]


def reader(place: Place) -> Path:
    return place.trained("reader", "--task=recogniser", "--recogniser.width=32", "--training.steps=20", "--training.batch-size=8")


def evaluate(place: Place, out: str) -> Sequence[str]:
    judging = [f"--data={place.folder}/data", f"--model={place.undisturbed}", f"--back-translator={reader(place)}"]
    making = ["--seeds=8", "--steps=100", "--shown=2", f"--tracking={place.tracking}"]
    return ["jobs.evaluate", *judging, *making, f"--out={out}", "--workers=2"]


def tune(place: Place, out: str) -> Sequence[str]:
    """Two trials at a time, each a training that is judged three times."""
    searching = [f"--trials={TRIALS}", "--search=random", "--scheduler=none", "--concurrent=2", "--max-failures=3"]
    training = ["--training.steps=120", "--training.batch-size=8", *place.shape, "--num-evals=3", "--clips=4"]
    places = [f"--data={place.folder}/data", f"--back-translator={reader(place)}", f"--tracking={place.tracking}"]
    return ["jobs.tune", *searching, *training, *places, f"--runs={out}", "--name=sweep"]


JOBS = {
    "prepare": Job(prepare, tables, rows),
    "produce": Job(produce, lambda out: tables(out / "parts"), lambda out: rows(out / "parts")),
    "evaluate": Job(evaluate, lambda out: tables(out / ".measures"), rows),
    "tune": Job(tune, lambda out: ended(out / "sweep/trials"), lambda out: judged(out / "sweep/trials"), some=2, actor="ray::ImplicitFunc"),
}


class Work(Command):
    """A job on two workers. done: when each of its files was there, again where it was written again."""

    def __init__(self, place: Place, name: str, job: Job, out: str):
        super().__init__(["-m", *job.arguments(place, out)], place.folder / f"{name}.log")
        self.job, self.out = job, StoragePath(out)
        self.done: list[tuple[float, str]] = []
        self._seen: dict[str, str] = {}

    def start(self, **environment: str) -> None:
        super().start(**environment)
        threading.Thread(target=self._follow, args=(self.process,), daemon=True).start()

    def _follow(self, process) -> None:
        while process.poll() is None:
            with suppress(InputError, OSError):  # it is not there yet, or the store is away
                now = self.job.done(self.out)
                self.done += [(time.time(), name) for name, stamp in now.items() if self._seen.get(name) != stamp]
                self._seen |= now
            time.sleep(0.1)

    @property
    def again(self) -> int:
        """Files that were written again."""
        return sum(number - 1 for number in Counter(name for _, name in self.done).values())

    def rows(self) -> Counter[str]:
        """What came out."""
        return Counter(map(str, self.job.results(self.out)))


def worker(place: Place, work: Work) -> str:
    place.raylets.kill_worker(work.job.actor)
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
    return f"the object store of what is made is away for {AWAY} s"


def disk(fill: Callable, place: Place, work: Work) -> str:
    began, free = time.time(), fill()
    ending = work.ending(began)
    free()
    place.start(work)
    return f"the disk of what is made is full (the command {ending}); room, same command"


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
            work.until(lambda: len(work.done) >= work.job.some)
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
    title = f"Jobs of two workers on two nodes; the fault comes when {SOME} files are done, of tune {JOBS['tune'].some} trials. {machine()}"
    with begun(arguments.folder) as place:
        for job in arguments.jobs:
            whole, seconds = undisturbed(place, job, JOBS[job])
            for fault in arguments.only:
                place.raylets.complete()
                save_beside("batch_faults", title, HEADER, [disturbed(place, job, fault, whole, seconds)], 2)


if __name__ == "__main__":
    main()
