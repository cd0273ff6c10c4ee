"""Whoever is compared, and the judge who lets them produce and measures it."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ms2sl.config import Config
from ms2sl.data.dataset import Dataset
from ms2sl.data.resampling import resample
from ms2sl.data.types import Clip, Poses
from ms2sl.errors import InputError
from ms2sl.evaluation.aggregation import REAL
from ms2sl.evaluation.clip_metrics import measure
from ms2sl.inference.one_by_one import produce_each
from ms2sl.inference.producer import Producer
from ms2sl.io.uri import Uri
from ms2sl.metrics.motion import diversity
from ms2sl.systems.back_translation import BackTranslator
from ms2sl.systems.baselines import MeanPose
from ms2sl.systems.registry import Context, system

Modality = Literal["", "text", "speech", "both"]
GROUND_TRUTH = "real"  # in place of a kind


class SystemUnderTest(Config):
    """A system to compare, and what it is given: plain data, so that an actor on any machine can load it.

    kind: of the registry, or ``real`` for the clips themselves. source: what it is loaded from, such as a checkpoint folder. asr: the
    recogniser of speech of a cascade. options: of its calls.
    """

    name: str
    kind: str
    modality: Modality = ""
    source: Uri = ""
    asr: str = ""
    seeds: tuple[int, ...] = (0,)
    options: Config | None = None

    @property
    def steps(self) -> int:
        """Sampling steps; 0 of a system that has none."""
        return getattr(self.options, "steps", 0)

    @property
    def label(self) -> str:
        return f"{self.name} from {self.modality}" if self.modality else self.name


class Evaluator:
    """Lets entries produce clips of a dataset and measures what they made."""

    def __init__(self, dataset: Dataset, reader: BackTranslator | None, device: str = "cpu"):
        self.dataset, self.reader = dataset, reader
        self.context = Context(device, dataset=dataset)
        self._producers: dict[SystemUnderTest, Producer] = {}

    def rows(self, entry: SystemUnderTest, clips: Sequence[Clip]) -> list[dict]:
        """Measures of each clip with each seed: those of ``measure``, whose they are (``label``, ``steps``, ``seed``), ``failed`` (why, or
        ""), and ``diversity`` (NaN with one seed)."""
        made, rows = [], []
        for seed in entry.seeds:
            produced, failed = self.produce(entry, clips, seed)
            measured = measure(clips, produced, self.reader, self.dataset.skeleton)
            whose = {"label": entry.label, "steps": entry.steps, "seed": seed}
            rows += [row | whose | {"failed": failed.get(row["id"], "")} for row in measured]
            made.append(produced)
        several = len(entry.seeds) > 1
        various = [diversity(samples, self.dataset.skeleton) if several else np.nan for samples in zip(*made, strict=True)]
        return [row | {"diversity": various[i % len(clips)]} for i, row in enumerate(rows)]

    def produce(self, entry: SystemUnderTest, clips: Sequence[Clip], seed: int) -> tuple[list[Poses], dict[str, str]]:
        """What an entry makes of each clip, of which it is given text or speech and the signed language alone: neither poses nor length,
        gloss or timing. At the frame rate of the dataset, whatever its own.

        Also ids of what it could not produce, with reasons; the mean pose stands in for that.
        """
        if entry.kind == GROUND_TRUTH:
            return [clip.poses for clip in clips], {}
        utterances = [clip.utterance(entry.modality) for clip in clips]
        results = produce_each(self.producer(entry), utterances, seed=seed)
        failed = {each.id: str(error) for each, error in zip(utterances, results, strict=True) if isinstance(error, InputError)}
        produced = [
            MeanPose(self.context.training).produce([each], seed=seed)[0] if isinstance(result, InputError) else result
            for each, result in zip(utterances, results, strict=True)
        ]
        return [resample(poses, self.dataset.card.fps) for poses in produced], failed

    def producer(self, entry: SystemUnderTest) -> Producer:
        """Raises InputError if it cannot be made."""
        alike = entry.model_copy(update={"name": "", "modality": "", "seeds": ()})
        if alike not in self._producers:
            self._producers[alike] = self._make(entry)
        return self._producers[alike]

    def _make(self, entry: SystemUnderTest) -> Producer:
        producer = system(entry.kind).load(entry.source, self.context, **({"asr": entry.asr} if entry.asr else {}))
        producer.options = entry.options or producer.options
        return producer


def real_signing() -> SystemUnderTest:
    """The ceiling."""
    return SystemUnderTest(name=REAL, kind=GROUND_TRUTH)


def columns(rows: Sequence[dict], entry: SystemUnderTest, ids: Sequence[str]) -> list[dict[str, np.ndarray]]:
    """For each seed the measures of an entry by name, in the order of the ids."""
    found = {(row["seed"], row["id"]): row for row in rows if (row["label"], row["steps"]) == (entry.label, entry.steps)}
    ordered = ([found[seed, id] for id in ids] for seed in entry.seeds)
    return [{key: np.array([row[key] for row in some]) for key in some[0]} for some in ordered]
