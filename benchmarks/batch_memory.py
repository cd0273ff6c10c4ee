"""Memory of the driver of batch jobs, by how much there is to do: by how much its peak grows from where the work begins.

    python -m benchmarks.batch_memory

produce: ``jobs.produce`` of a table of utterances, half of which are finished, with a model that signs in no time. evaluate: what is
measured of one system and of real signing, taken in part by part, scored and written as one table. prepare: the index of a tree of files,
and what each shard is known by. Each size is measured in a process of its own.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import machine, save
from jobs import produce
from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.data.ingest import plan_shards, shard_fingerprints
from ms2sl.data.skeleton_registry import HOLISTIC_178X3
from ms2sl.evaluation.aggregation import summarise
from ms2sl.evaluation.evaluator import SystemUnderTest, real_signing
from ms2sl.evaluation.judged_clips import PLACES, JudgedClips
from ms2sl.evaluation.measurements import TOGETHER, Measurements, part_table
from ms2sl.inference.batch_output import Settings, content_digest
from ms2sl.inference.utterance_input import read_utterances
from ms2sl.io.storage import StoragePath

TEXT = "the weather of tomorrow, number {}, is rainy in the north and dry in the south"
INTERVAL = 0.05  # seconds between looks at the memory
WIDTH = 128  # of the state of a reader
SIZES = {"produce": (2_000, 20_000, 200_000), "evaluate": (2_000, 20_000, 200_000), "prepare": (10_000, 100_000)}


class Instantly:
    """In place of the actor that signs: nothing is made, and each utterance is remarked on."""

    def __init__(self, options):
        pass

    def __call__(self, batch: dict) -> dict:
        ids = [each.id for each in batch["utterance"]]
        return {"made": [len(ids)], "failed": [[]], "remarks": [[(f"{name} is odd",) for name in ids]]}


def producing(n: int, folder: Path):
    table, parts = folder / "utterances.csv", folder / "out" / "parts"
    with table.open("w") as file:
        file.write("id,text\n")
        file.writelines(f'{i:08d},"{TEXT.format(i)}"\n' for i in range(n))
    parts.mkdir(parents=True)
    made = read_utterances(table).utterances[: n // 2]
    for start in range(0, len(made), 32):
        some = list(made[start : start + 32])
        columns = {"id": [u.id for u in some], "text": [u.text for u in some], "digest": [content_digest(u) for u in some]}
        pq.write_table(pa.table(columns), parts / f"{start:08d}.parquet")
    settings = Settings("a model", {}, {}, 0, None)
    (folder / "out" / "settings.json").write_text('{"model": "a model", "seed": 0, "duration": null}')
    command = produce.ProduceCommand(model=folder, utterances=table, out=folder / "out")

    def work() -> None:
        loaded = SimpleNamespace(card=None, options=None)
        instant = mock.patch.multiple(produce, load=lambda options: loaded, Produce=Instantly)
        with instant, mock.patch.object(Settings, "of", return_value=settings):
            produce.produce_many(command)

    return work


def evaluating(n: int, folder: Path):
    places = pa.table([[f"{i:08d}" for i in range(n)], np.zeros(n), np.arange(n), np.ones(n, bool)], PLACES.names).cast(PLACES)
    clips, systems = JudgedClips([], places, HOLISTIC_178X3), [real_signing(), SystemUnderTest(name="somebody", kind="static pose")]
    measured, rng = Measurements(folder / "measures", systems, clips, {}), np.random.default_rng(0)

    def rows(system: SystemUnderTest, ids: list[str]) -> list[dict]:
        plain = {"letters": 60, "letter_edits": 9, "words": 12, "word_edits": 3, "bleu": [12, 12, 9, 6, 4, 2, 12, 11, 10, 9]}
        plain |= {"rouge_l": 50.0, "mje_sum": 6.0, "mje_count": 12.0, "speed": 1.5, "speed_body": 0.5, "way": [4.0, 3.0], "seconds": 2.0}
        plain |= {"jerk": 80.0, "body_dtw": 0.1, "log_likelihood": -1.0, "failed": "", "diversity": float("nan")}
        whose = {"label": system.label, "steps": system.steps, "seed": 0}
        return [
            plain | whose | {"id": id, "text": TEXT.format(id), "read": TEXT.format(id[::-1]), "hand_dtw": dtw, "state": state.tolist()}
            for id, dtw, state in zip(ids, rng.random(len(ids)).tolist(), rng.normal(size=(len(ids), WIDTH)), strict=True)
        ]

    def work() -> None:
        for part in measured.missing():
            measured.add(part_table(rows(part.system, clips.ids(part.start, part.start + TOGETHER)), part.name))
        (real,) = measured.columns(systems[0], texts=False)
        summarise("somebody", "", measured.columns(systems[1]), real)
        measured.write_table(StoragePath(folder / "measures.parquet"))

    return work


def preparing(n: int, folder: Path):
    for i in range(n):
        (folder / f"signer-{i // 1000:03d}").mkdir(exist_ok=True)
        (folder / f"signer-{i // 1000:03d}" / f"{i:06d}.pose").touch()
    corpus = PoseFiles(PoseFilesConfig(source=str(folder)))

    def work() -> None:
        shard_fingerprints({}, corpus, plan_shards(corpus, 256))
        corpus.card()

    return work


def peak(job: str, n: int) -> tuple[float, float]:
    """MiB by which the largest memory of this process grows, and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        work = {"produce": producing, "evaluate": evaluating, "prepare": preparing}[job](n, Path(folder))
        before, started, ended, largest = resident(), time.perf_counter(), threading.Event(), [0.0]

        def watch() -> None:
            while not ended.wait(INTERVAL):
                largest.append(max(largest.pop(), resident()))

        threading.Thread(target=watch, daemon=True).start()
        work()
        ended.set()
        return largest[0] - before, time.perf_counter() - started


def resident() -> float:
    """MiB of this process now."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--job", choices=SIZES, help="measure this one alone, in this process")
    parser.add_argument("--size", type=int)
    arguments = parser.parse_args()
    if arguments.size:
        print("measured", *peak(arguments.job, arguments.size))
        return
    rows = [("job", "utterances, clips or files", "growth of the driver's peak, MiB", "seconds")]
    for job, sizes in SIZES.items():
        for size in sizes:
            command = [sys.executable, "-m", "benchmarks.batch_memory", "--job", job, "--size", str(size)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            grown, seconds = map(float, ran.stdout.split("measured ")[1].split())
            rows.append((job, f"{size:,}", f"{grown:,.0f}", f"{seconds:.0f}"))
    save("batch_memory", f"Memory of the driver. {machine()}", rows)


if __name__ == "__main__":
    main()
