"""Faults in the middle of a real training, on a head and two nodes that are raylets of this machine, one after the other: the steps that
each costs, the seconds until the next report, what the terminal says, and whether weights and MLflow end as those of a training that
nothing disturbed.

    python -m benchmarks.faults
    python -m benchmarks.faults --only driver head

The rows of other faults stay in the table as they are.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from benchmarks.common import machine, save_beside
from benchmarks.disturbed import EVERY, INTERVAL, STEPS, TROUBLE, Place, Row
from benchmarks.raylets import Raylets
from benchmarks.wire import AWAY, Wire, mlflow_server, s3_server

GROWTH = 15  # seconds between looks for nodes that joined, instead of ten minutes
LOOKING = f"""
import jobs.placement
import jobs.train
from jobs.cli import main
PROGRAM, jobs.placement.GROWTH = "train", {GROWTH}
main(jobs.train.TrainCommand, jobs.train.run)
"""
LONG = 3 * INTERVAL  # steps
SMALL = "40m"  # of a disk that gets full


def worker(place: Place) -> Iterator[Row]:
    with place.training("worker") as training:
        since = training.now()
        place.raylets.kill_worker()
        training.finish()
        yield place.row("a worker is killed", training, since)


def node(place: Place) -> Iterator[Row]:
    with place.training("node", "--workers=1:2", program=("-c", LOOKING)) as training:
        lost = training.now()
        place.raylets.lose()
        training.reaches(LONG, since=lost.reports + 1)
        added = training.now()
        place.raylets.complete()
        training.finish()
        yield place.row("a node is lost (`--workers 1:2`)", training, lost)
        yield place.row(f"a node joins (looked for every {GROWTH} s)", training, added)


def driver(place: Place) -> Iterator[Row]:
    with place.training("driver") as training:
        since = training.now()
        training.kill()
        place.start(training)
        training.finish()
        yield place.row("the driver is killed; same command", training, since)


def ctrl_c(place: Place) -> Iterator[Row]:
    with place.training("ctrl-c") as training:
        since = training.now()
        training.signal(signal.SIGINT)
        ending = training.ending(since.time)
        place.start(training)
        training.finish()
        yield place.row(f"Ctrl-C ({ending}); same command", training, since)


def head(place: Place) -> Iterator[Row]:
    with place.training("head") as training:
        since = training.now()
        place.raylets.restart()
        ending = training.ending(since.time)
        place.start(training)
        training.finish()
        yield place.row(f"the head is restarted (the command {ending}); same command", training, since)


def away(place: Place, name: str, what: str, option: str, server: AbstractContextManager[tuple[Wire, str]]) -> Iterator[Row]:
    with server as (wire, uri), place.training(name, **{option: uri}) as training:
        since = training.now()
        wire.cut()
        training.finish()
        yield place.row(f"{what} is away for {AWAY} s", training, since, **{option: uri})


def tracking(place: Place) -> Iterator[Row]:
    return away(place, "tracking", "MLflow's server", "tracking", mlflow_server(place.folder / "server"))


def store(place: Place) -> Iterator[Row]:
    return away(place, "store", "the object store with `--runs`", "runs", s3_server(place.folder / "s3.log"))


def disk(place: Place) -> Iterator[Row]:
    with full_disk(place.folder / "disk") as fill, place.training("disk", runs=str(place.folder / "disk")) as training:
        since = training.now()
        free = fill()
        ending = training.ending(since.time)
        free()
        room = replace(training.now(), shown=since.shown)
        place.start(training)
        training.finish()
        what = f"the disk of `--runs` is full (the command {ending}); room, same command"
        yield place.row(what, training, room, runs=str(place.folder / "disk"))


@contextmanager
def full_disk(folder: Path, size: str = SMALL) -> Iterator:
    """A small disk, for which one must be root: a function that fills it and gives one that makes room again."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "ms2sl", str(folder)], check=True)

    def fill():
        ballast = folder / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        return ballast.unlink

    try:
        yield fill
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


FAULTS = {fault.__name__.replace("_", "-"): fault for fault in (worker, node, driver, ctrl_c, head, tracking, store, disk)}
HEADER = ("`--only`", "what fails", "steps lost", "seconds to the next report", "what the terminal says", "weights", "metrics", "load")


@contextmanager
def begun(folder: Path | None) -> Iterator[Place]:
    """A place, by default a temporary one, with a cluster, data and an undisturbed training; nothing is left running."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would all commands
    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}.items():
        os.environ.setdefault(name, value)
    with tempfile.TemporaryDirectory(prefix="ms2sl-faults-", ignore_cleanup_errors=True) as temporary:
        place = Place((folder or Path(temporary)).absolute(), Raylets())
        try:
            place.begin()
            yield place
        finally:
            place.raylets.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--folder", type=Path, help="for data and runs; a temporary one by default")
    arguments = parser.parse_args()
    title = (
        f"A training of {STEPS} steps on two nodes, a report every {EVERY} and a checkpoint every {INTERVAL}; the fault comes after step "
        f"{TROUBLE}. Weights: beside those of a training that nothing disturbed. Load: the machine's, at the end. {machine()}"
    )
    with begun(arguments.folder) as place:
        for name in arguments.only:
            place.raylets.complete()
            save_beside("faults", title, HEADER, list(FAULTS[name](place)), 1)


if __name__ == "__main__":
    main()
