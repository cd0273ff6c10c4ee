"""Training in this process alone, without Ray: for tests, notebooks and comparisons."""

import shutil
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import torch

from ms2sl.data.batch_sampler import EpochPlan, length_bucketed_batches, marked
from ms2sl.data.collate import Batch, Collate


class LocalReporter:
    """One rank. Keeps what was reported in ``history`` and the last checkpoint in ``folder`` (nowhere if it is None)."""

    rank, world_size = 0, 1

    def __init__(self, folder: Path | None = None, device: str = "cpu"):
        self.folder, self.device = folder, torch.device(device)
        self.history: list[dict[str, float]] = []

    def latest(self) -> Path | None:
        found = sorted(self.folder.glob("step-*")) if self.folder else []
        return found[-1] if found else None

    def preempted(self) -> bool:
        return False

    def report(self, step: int, metrics: dict[str, float], checkpoint: Path | None, urgent: bool) -> None:
        self.history.append({"step": step} | metrics)
        if checkpoint and self.folder:
            earlier = self.latest()
            partial = self.folder / f".step-{step:08d}"
            shutil.copytree(checkpoint, partial, dirs_exist_ok=True)
            partial.rename(self.folder / f"step-{step:08d}")
            if earlier:
                shutil.rmtree(earlier)


def local_batches(plan: EpochPlan, collate: Collate, start: int) -> Iterator[Batch]:
    """The batches of this rank from step ``start`` on, for ever; the same as those that Ray streams."""
    epoch, skip = divmod(start, plan.steps_per_epoch)
    while True:
        blocks = (marked(rows.read(collate.columns, collate.skeleton), epoch=epoch) for rows in plan.epoch(epoch, skip))
        yield from map(collate, length_bucketed_batches(blocks, plan, epoch, skip))
        epoch, skip = epoch + 1, 0


def worker_batches(plans: Sequence[EpochPlan], collate: Collate, start: int) -> Iterator[Batch]:
    """Those of several virtual workers, of each one a step."""
    return chain.from_iterable(zip(*(local_batches(plan, collate, start) for plan in plans), strict=True))
