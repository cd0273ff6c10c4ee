"""One rank of a real group of processes that trains a line; run by test_ranks.py. Prints what it saw as JSON."""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from ms2sl.data.collate import Batch, BatchField
from ms2sl.training.distributed import late
from ms2sl.training.divergence import Diverged
from ms2sl.training.local import LocalReporter
from ms2sl.training.loop import TrainingConfig, train

CLIPS = {0: [4, 4, 8, 8], 1: [40, 80, 120, 400]}  # frames of the clips of each rank


def batch_of(lengths: list[int]) -> Batch:
    """Clips whose poses are their own length in hundreds of frames."""
    n_frames = torch.tensor(lengths)
    poses = (n_frames / 100.0)[:, None, None, None].expand(-1, max(lengths), 1, 1).clone()
    return Batch({"poses": BatchField(poses, n_frames, torch.ones(poses.shape[:3], dtype=torch.bool), multiple=4)})


class Line:
    """Learns 3 x + 1, of x the first coordinate of each clip; from step ``explodes`` on its loss is a million times as large."""

    def __init__(self, explodes: int | None = None):
        self.module, self.explodes, self.parts, self.calls = torch.nn.Linear(1, 1), explodes, [], 0
        torch.nn.init.zeros_(self.module.weight)
        torch.nn.init.zeros_(self.module.bias)

    def loss(self, module, batch, generator):
        self.parts.append(len(batch))
        self.calls += 1
        x = batch.poses[:, 0, 0]
        loss = ((module(x) - (3 * x + 1)) ** 2).mean()
        return {"loss": loss * (1e6 if self.explodes is not None and self.calls > self.explodes else 1)}

    def validate(self, weights, rank, world_size, device):
        return {}

    def save(self, folder, weights):
        pass


class Rank(LocalReporter):
    def __init__(self, folder=None):
        super().__init__(folder)
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()


def follow(task: Line, lengths: list[int], reporter: LocalReporter, **options) -> dict:
    config = TrainingConfig(**{"steps": 20, "log_every": 5, "warmup": 0, "learning_rate": 0.1, "precision": "fp32"} | options)
    try:
        train(task, lambda step: (batch_of(lengths) for _ in range(step, config.steps)), config, reporter)
        end = "trained"
    except Diverged as error:
        end = str(error)
    weights = [parameter.item() for parameter in task.module.parameters()]
    return {"end": end, "history": reporter.history, "weights": weights, "parts": task.parts}


def wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.1)


if __name__ == "__main__":
    rank, store = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    accumulated = follow(Line(), CLIPS[rank], Rank(), max_frames=256)
    diverged = follow(Line(explodes=50 if rank == 1 else None), [40, 80], Rank(), steps=80)
    given_up = Path(f"{store}-given-up")
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=5), dist.group.WORLD)
    slow = (batch_of([40, 80]) if step < 3 or rank == 0 else wait_for(given_up) for step in range(20))
    try:
        train(Line(), lambda step: slow, TrainingConfig(steps=20, precision="fp32"), Rank())
        waited = "for nobody"
    except (RuntimeError, AttributeError):  # whom others have given up gets nothing from them
        waited = late()
    given_up.touch()
    print(json.dumps({"accumulated": accumulated, "diverged": diverged, "waited": waited}))
    dist.destroy_process_group()
