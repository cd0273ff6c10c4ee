"""The Reporter of Ray Train, and the callback that passes reports on to MLflow."""

from pathlib import Path

import ray.train
import ray.train.torch
import torch
from ray.experimental import tqdm_ray
from torch import nn

from ms2sl.tracking import Tracker


class RayReporter:
    """A worker's side: rank, device, DDP, checkpoints and reports of Ray Train."""

    def __init__(self, steps: int, title: str):
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        self.bar = tqdm_ray.tqdm(total=steps, desc=title, unit="step") if self.rank == 0 else None
        self.shown = 0

    def wrap(self, module: nn.Module) -> nn.Module:
        return ray.train.torch.prepare_model(module)

    def latest(self) -> Path | None:
        checkpoint = ray.train.get_checkpoint()
        return Path(checkpoint.to_directory()) if checkpoint else None

    def report(self, step: int, metrics: dict[str, float], checkpoint: Path | None) -> None:
        if self.bar is not None:
            self.bar.set_description(
                f"{self.bar._desc.split(' loss')[0]} loss {metrics['loss']:.3f}, {metrics['frames_per_second']:.0f} frames/s"
            )
            self.bar.update(step - self.shown)
            self.shown = step
        saved = ray.train.Checkpoint.from_directory(checkpoint) if checkpoint else None
        ray.train.report(metrics | {"step": step}, checkpoint=saved, checkpoint_dir_name=f"step-{step:08d}")


class TrackMetrics(ray.train.UserCallback):
    """Runs in Ray Train's controller. The tracker never raises, so it cannot stop training."""

    def __init__(self, tracker: Tracker):
        self.tracker = tracker

    def after_report(self, run_context, metrics: list[dict], checkpoint) -> None:
        values = dict(metrics[0])
        self.tracker.metrics(values, int(values.pop("step")))


def threads_per_worker(workers: int, cores: int) -> int:
    """CPU threads of each worker where all run on one machine."""
    return max(1, cores // workers)


def set_threads(threads: int) -> None:
    torch.set_num_threads(threads)
