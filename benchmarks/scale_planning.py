"""What the code itself needs at a given size: seconds and memory of the real indexing and planning, without the data itself.

    python -m benchmarks.scale_planning train 10000

Each is run in a process of its own, whose memory is its own alone; the answer is a line of JSON. Files of shards are empty but for their
length, and shards that are read are links to one.
"""

import argparse
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.dataset import CARD, Dataset, DatasetCard, Shard, Split, write_dataset_card
from ms2sl.data.ingest import is_done, plan_shards, shard_fingerprints
from ms2sl.data.pose_statistics import PoseStatistics
from ms2sl.data.shards import SCHEMA, ShardHeader, write_shard
from ms2sl.data.skeleton_registry import HOLISTIC_178X3
from ms2sl.features import featurizer
from ms2sl.features.base import SpeechConfig, TextConfig

SHARD_CLIPS = 256  # the default of jobs.prepare
BATCH_SIZE, WORKERS = 64, 64  # the default of jobs.train; of a large training
LINKS = 50_000  # of one file; ext4 allows 65,000
TEXT = "so what we are going to do today is to talk about how to hold the racket and where to stand"


class Meter:
    """Seconds of each part, and the growth of the memory of this process (MiB)."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._before = self._peak()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.seconds[name] = time.process_time() - began

    @staticmethod
    def _peak() -> float:
        """Of /proc: what ``getrusage`` says is at least the memory of the process that started this one."""
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    @property
    def grown(self) -> float:
        return self._peak() - self._before


def index(clips: int, folder: Path) -> dict[str, float]:
    """jobs.prepare before the first shard: a table of so many `.pose` files and recordings, its clips, their digests, the shards to be."""
    beside(write_table, clips, folder)
    meter, corpus = Meter(), PoseFiles(PoseFilesConfig(source=str(folder), table="clips.parquet"))
    with meter.part("index"):
        corpus.splits  # noqa: B018
    with meter.part("digests"):
        corpus.digest()
    with meter.part("plan"):
        shard_fingerprints({}, corpus, plan_shards(corpus, SHARD_CLIPS))
    grown = meter.grown
    return meter.seconds | {"MiB": grown, "pickled": len(pickle.dumps(corpus)) / 2**20}


def write_table(clips: int, folder: Path) -> None:
    """A table of so many clips, all of the same two files."""
    for name in ("a.pose", "a.flac"):
        (folder / name).write_bytes(b"0")
    rows = range(clips)
    columns = {"id": [f"video-{i // 30:07d}-sentence-{i:09d}" for i in rows], "text": [f"{TEXT} {i}" for i in rows]}
    columns |= {"pose": ["a.pose"] * clips, "speech": ["a.flac"] * clips, "signer": [f"signer-{i % 2500}" for i in rows]}
    pq.write_table(pa.table(columns), folder / "clips.parquet")


def describe(shards: int, folder: Path) -> dict[str, float]:
    """jobs.prepare after the last shard, and when it is called again: which shards are done, and ``dataset.json``."""
    header = ShardHeader(fingerprint="0" * 16, skeleton=HOLISTIC_178X3, **_features())
    common = dict.fromkeys(SCHEMA.names) | {"split": "train", "spoken_language": "en", "signed_language": "ase", "text": TEXT}
    common |= {"n_frames": 200, "fps": 25.0, "n_speech": 100, "origin": [640.0, 300.0, 0.0], "unit": 200.0, "signer": "signer-1"}
    rows = [common | {"id": f"video-{i // 30:07d}-sentence-{i:09d}"} for i in range(SHARD_CLIPS)]
    names = [f"train-{i:05d}.parquet" for i in range(shards)]
    for start in range(0, shards, LINKS):
        first, *others = names[start : start + LINKS]
        write_shard(folder / first, pa.Table.from_pylist(rows, SCHEMA), header)
        for name in others:
            os.link(folder / first, folder / name)
    meter = Meter()
    with meter.part("done"):
        assert all(is_done(folder / name, header.fingerprint) for name in names)
    with meter.part("describe"):
        write_dataset_card("scale", folder, names, 25.0, {})
    return meter.seconds | {"MiB": meter.grown}


def blocks(shards: int, folder: Path) -> dict[str, float]:
    """jobs.prepare as it hands the shards to be made to Ray Data, a block each."""
    import ray

    from jobs.cli import start_ray

    start_ray()
    plans, meter = [{"file": f"train-{i:05d}.parquet", "start": 0, "stop": SHARD_CLIPS} for i in range(shards)], Meter()
    with meter.part("blocks"):
        ray.data.from_items(plans, override_num_blocks=shards)
    return meter.seconds | {"MiB": meter.grown}


def train(shards: int, folder: Path) -> dict[str, float]:
    """A worker before its first batch: the card, the listing, the plan of the first epoch."""
    beside(write_card, shards, folder)
    meter = Meter()
    with meter.part("card"):
        dataset = Dataset(folder)
    with meter.part("listing"):
        dataset.shards("train")
    with meter.part("plan"):
        [plan] = EpochPlan.of_worker(dataset, BATCH_SIZE, 0, 0, WORKERS)
        rows = plan.epoch(0)
        pools = plan.pools(0)
    assert sum(each.stop - each.start for each in rows) == sum(plan.batch_sizes)
    assert sum(map(len, pools)) == plan.steps_per_epoch
    return meter.seconds | {"MiB": meter.grown, "card MiB": (folder / CARD).stat().st_size / 2**20}


def alone(shards: int, folder: Path) -> dict[str, float]:
    """The worker that is left of ``--workers 1:64``, and does the work of all: its plan of an epoch."""
    beside(write_card, shards, folder)
    dataset, meter = Dataset(folder), Meter()
    with meter.part("plan"):
        for plan in EpochPlan.of_worker(dataset, BATCH_SIZE, 0, 0, 1, WORKERS):
            plan.epoch(0)
            plan.pools(0)
    return meter.seconds | {"MiB": meter.grown}


def write_card(shards: int, folder: Path) -> None:
    """The card of a dataset of so many shards, and files of the sizes that it notes."""
    size, skeleton = 2**20, HOLISTIC_178X3
    named = tuple(Shard(file=f"train-{i:05d}.parquet", clips=SHARD_CLIPS, size=size) for i in range(shards))
    for shard in named:
        with open(folder / shard.file, "wb") as file:
            file.truncate(size)
    clips = shards * SHARD_CLIPS
    counts = {"clips": clips, "hours": clips * 8 / 3600, "frames": clips * 200, "longest": 750}
    counts |= {f"with_{part}": clips for part in ("text", "speech", "poses")} | {"with_remarks": 0}
    shape = (skeleton.n_joints, skeleton.dims)
    nothing = PoseStatistics(mean=[[0.0] * shape[1]] * shape[0], deviation=[[1.0] * shape[1]] * shape[0], seen=[1.0] * shape[0])
    card = DatasetCard(
        name="scale",
        fingerprint="0" * 16,
        fps=25.0,
        skeleton=skeleton,
        characters="abc",
        statistics=nothing,
        splits={"train": Split(shards=named, **counts)},
        rejected=0,
        corpus={},
        **_features(),
    )
    (folder / CARD).write_text(card.model_dump_json())


def _features() -> dict:
    return {"text": featurizer(TextConfig(), "text").features, "speech": featurizer(SpeechConfig(), "speech").features}


def beside(act: Callable[[int, Path], None], size: int, folder: Path) -> None:
    """In another process, so that this one has no memory of it that it could use again."""
    process = multiprocessing.get_context("spawn").Process(target=act, args=(size, folder))
    process.start()
    process.join()
    assert process.exitcode == 0


WHAT: dict[str, Callable[[int, Path], dict[str, float]]] = {
    "index": index,
    "blocks": blocks,
    "describe": describe,
    "train": train,
    "alone": alone,
}


def measured(what: str, size: int) -> dict[str, float]:
    """In a process of its own: Seconds of each part, of a CPU, and MiB by which its memory grew."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale_planning", what, str(size)], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(ran.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("size", type=int, help="clips to index; shards to make, to describe, or to train from")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(WHAT[arguments.what](arguments.size, Path(folder))))


if __name__ == "__main__":
    main()
