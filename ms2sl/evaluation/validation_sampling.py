"""A task of training whose validation also says how good its samples are."""

import tempfile
from pathlib import Path

import torch
from torch import nn

from ms2sl.config import Config
from ms2sl.data.collate import Batch
from ms2sl.data.dataset import Dataset
from ms2sl.evaluation.judged_clips import chosen_clips
from ms2sl.evaluation.objective import Quality, ScoreName
from ms2sl.io.uri import PathOrUri
from ms2sl.systems import back_translation
from ms2sl.training.loop import Task


class SampleMetricsConfig(Config):
    """By which back-translator and score, on how many clips of the validation split, and sampled how."""

    back_translator: PathOrUri
    score: ScoreName | None = None
    clips: int = 64
    sampling: Config | None = None

    def quality(self, dataset: Dataset, device: str = "cpu") -> Quality:
        """Raises InputError if the folder holds no reader."""
        reader = back_translation.load(self.back_translator, device)
        return Quality(dataset, reader, chosen_clips(dataset, dataset.validation, self.clips, reader.reads), self.score, device)


class TaskWithSampleMetrics:
    """A task, judged at each validation by the very checkpoint that would be kept, on rank 0 alone: others need no quality."""

    def __init__(self, task: Task, quality: Quality | None, sampling: Config | None):
        self.task, self.quality, self.sampling = task, quality, sampling
        self.module, self.collate, self.lockstep = task.module, task.collate, getattr(task, "lockstep", False)

    def loss(self, module: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return self.task.loss(module, batch, generator)

    def validate(self, weights: dict[str, torch.Tensor], rank: int, world_size: int, device: torch.device) -> dict[str, float]:
        """Also the metrics of ``Quality``, on rank 0."""
        metrics = self.task.validate(weights, rank, world_size, device)
        if rank:
            return metrics
        with tempfile.TemporaryDirectory() as folder:
            self.save(Path(folder), weights)
            return metrics | self.quality.metrics(Path(folder), self.sampling)

    def save(self, folder: Path, weights: dict[str, torch.Tensor]) -> None:
        self.task.save(folder, weights)
