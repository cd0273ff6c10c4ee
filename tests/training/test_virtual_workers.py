"""What is learned does not depend on how many workers share the work of the virtual ones."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from ms2sl.data.dataset import Dataset
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.local import worker_batches
from ms2sl.training.loop import TrainingConfig, train, worker_plans
from tests.training.ranks import Rank

VIRTUAL = 8


class KeepingRank(Rank):
    """All of them put their part of a checkpoint into one folder; the first one reports."""

    def report(self, step, metrics, checkpoint, urgent):
        if checkpoint and self.rank:
            shutil.copytree(checkpoint, self.folder / f".step-{step:08d}", dirs_exist_ok=True)
        dist.barrier()
        if self.rank == 0:
            super().report(step, metrics, checkpoint, urgent)
        dist.barrier()


def worker(rank: int, workers: int, data: str, shape: str, folder: str, steps: int, options: dict) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting-{workers}-{steps}", rank=rank, world_size=workers)
    dataset, model = Dataset(data), ModelConfig.model_validate_json(shape)
    config = TrainingConfig(
        steps=6,
        batch_size=2,
        warmup=0,
        validate_every=6,
        checkpoint_every=3,
        log_every=1,
        precision="fp32",
        virtual_workers=VIRTUAL,
        **options,
    )
    torch.manual_seed(0)
    task = MS2SLTask(dataset, model, LossWeights(), ModelCard.of("ms2sl", model, dataset.card))
    reporter, read = KeepingRank(Path(folder)), []
    plans = worker_plans(config, dataset, rank, workers)

    def batches(step: int):
        for i, batch in enumerate(worker_batches(plans, task.collate, step)):
            at, turn = divmod(i, len(plans))
            if step + at == steps:
                raise KeyboardInterrupt
            read.append((step + at, plans[turn].rank, batch.n_frames.tolist(), float(batch.poses.double().sum())))
            yield batch

    with contextlib.suppress(KeyboardInterrupt):
        train(task, batches, config, reporter)
    (Path(folder) / f"read-{steps}-{rank}.json").write_text(json.dumps(read))
    if rank == 0:
        (Path(folder) / f"history-{steps}.json").write_text(json.dumps(reporter.history))
    dist.destroy_process_group()


def learned(workers: int, *given, steps: int = 6, **options) -> None:
    """Learns to so many steps, and is stopped there."""
    torch.multiprocessing.spawn(worker, (workers, *given, steps, options), nprocs=workers)


@pytest.fixture(scope="module")
def runs(tiny_dataset, tiny_model, tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in ("alone", "eight", "three then two", "three shards then two copies")}
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    given = {name: (str(tiny_dataset), tiny_model.model_dump_json(), str(folder)) for name, folder in folders.items()}
    learned(1, *given["alone"])
    learned(8, *given["eight"])
    learned(3, *given["three then two"], steps=4)  # the last checkpoint is of step 3
    learned(2, *given["three then two"])
    learned(3, *given["three shards then two copies"], steps=4, parallel="fsdp", recompute=True)
    learned(2, *given["three shards then two copies"])
    return folders


def read(folder: Path) -> dict[tuple[int, int], list]:
    """What each virtual worker was given at each step; what was done twice must have been the same."""
    found: dict[tuple[int, int], list] = {}
    for file in folder.glob("read-*.json"):
        for step, virtual, *content in json.loads(file.read_text()):
            assert found.setdefault((step, virtual), content) == content
    return found


def losses(folder: Path) -> dict[int, dict[str, float]]:
    rows = [row for file in sorted(folder.glob("history-*.json")) for row in json.loads(file.read_text())]
    kept = ("step", "frames_per_second", "data_wait_share")
    return {row["step"]: {name: value for name, value in row.items() if name not in kept} for row in rows}


OTHERS = pytest.mark.parametrize("other", ["eight", "three then two", "three shards then two copies"])


@OTHERS
def test_the_same_clips_come_in_the_same_order(runs, other):
    alone = read(runs["alone"])
    assert sorted(alone) == [(step, virtual) for step in range(6) for virtual in range(VIRTUAL)]
    assert read(runs[other]) == alone


@OTHERS
def test_losses_are_equal_but_for_rounding(runs, other):
    alone, together = losses(runs["alone"]), losses(runs[other])
    assert alone.keys() == together.keys() == set(range(1, 7))
    for step, values in alone.items():
        assert together[step] == pytest.approx(values, rel=2e-3, abs=2e-4), step
    assert alone[1]["loss"] != pytest.approx(alone[6]["loss"], rel=0.02)


def test_each_rank_keeps_a_part_of_its_own_of_the_weights(runs):
    """Of step 3 of the sharded run nothing is left: its last checkpoint is that of two copies, of which each tensor is kept once."""
    kept = [load_file(file) for file in (runs["three shards then two copies"] / "step-00000006" / "training-2").iterdir()]
    assert len(kept) == 2
    assert not kept[0].keys() & kept[1].keys()
