"""The Reporter of Ray Train, and the callback that passes reports on to MLflow."""

import tempfile
from pathlib import Path

import ray.train
import ray.train.torch
from torch import nn

from ms2sl.tracking import Tracker


class RayReporter:
    """A worker's side: rank, device, DDP, checkpoints and reports of Ray Train.

    progress: the actor to tell of each step, if any. start: a checkpoint to go on from where the run has none of its own.
    """

    def __init__(self, progress=None, start: Path | None = None):
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        self.progress, self.start = progress, start

    def wrap(self, module: nn.Module) -> nn.Module:
        return ray.train.torch.prepare_model(module)

    def latest(self) -> Path | None:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return self.start
        self._copy = tempfile.TemporaryDirectory()  # lives as long as the reporter
        return Path(checkpoint.to_directory(self._copy.name))

    def report(self, step: int, metrics: dict[str, float], checkpoint: Path | None) -> None:
        if self.rank == 0 and self.progress is not None:
            self.progress.set.remote(step, f"loss {metrics['loss']:.3f}, {metrics['frames_per_second']:.0f} frames/s")
        saved = ray.train.Checkpoint.from_directory(checkpoint) if checkpoint else None
        ray.train.report(metrics | {"step": step}, checkpoint=saved, checkpoint_dir_name=f"step-{step:08d}")


class TrackMetrics(ray.train.UserCallback):
    """Runs in Ray Train's controller. The tracker never raises, so it cannot stop training."""

    def __init__(self, tracker: Tracker):
        self.tracker = tracker

    def after_report(self, run_context, metrics: list[dict], checkpoint) -> None:
        values = dict(metrics[0])
        self.tracker.metrics(values, int(values.pop("step")))
