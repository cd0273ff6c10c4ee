"""Whoever is compared, and the judge who lets them produce and measures it."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from ms2sl.data.dataset import Dataset
from ms2sl.data.resampling import resample
from ms2sl.data.shards import read_shard, to_clip
from ms2sl.data.types import Clip, Poses
from ms2sl.errors import InputError
from ms2sl.evaluation.aggregation import REAL
from ms2sl.evaluation.clip_metrics import measure
from ms2sl.inference.one_by_one import produce_each
from ms2sl.inference.producer import Producer
from ms2sl.inference.sampling_config import Sampling
from ms2sl.metrics.motion import diversity
from ms2sl.systems.back_translation import BackTranslator
from ms2sl.systems.baselines import MeanPose, NearestText, RandomClip, StaticPose, Training
from ms2sl.systems.cascade import Cascade, open_ear
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.systems.pose_folder import PoseFolder

Modality = Literal["", "text", "speech", "both"]
BaselineName = Literal["nearest text", "random clip", "static pose", "mean pose"]
BASELINES: Mapping[BaselineName, type] = {kind.name: kind for kind in (NearestText, RandomClip, StaticPose, MeanPose)}
DRAWN = ("random clip", "static pose")  # baselines that another seed changes


class SystemUnderTest(Sampling):
    """Somebody to compare, and what they are given: plain data, so that an actor on any machine can make them.

    kind: ``real``, ``ms2sl`` (``source``: its folder), ``cascade`` (also ``ear``), ``dictionary`` (``source``: the dictionary),
    ``folder`` (``source``: the folder), or the name of a baseline.
    """

    name: str
    kind: str
    modality: Modality = ""
    source: str = ""
    ear: str = ""
    seeds: tuple[int, ...] = (0,)

    @property
    def label(self) -> str:
        return f"{self.name} from {self.modality}" if self.modality else self.name


class Evaluator:
    """Lets entries produce clips of a dataset and measures what they made."""

    def __init__(self, dataset: Dataset, reader: BackTranslator | None, device: str = "cpu"):
        self.dataset, self.reader, self.device = dataset, reader, device
        self._producers: dict[SystemUnderTest, Producer] = {}

    @cached_property
    def training(self) -> Training:
        return Training.of_dataset(self.dataset)

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
        """What an entry makes of each clip, of which it is given text or speech alone: neither poses nor length, gloss or timing. At the
        frame rate of the dataset, whatever its own.

        Also ids of what it could not produce, with reasons; the mean pose stands in for that.
        """
        if entry.kind == "real":
            return [clip.poses for clip in clips], {}
        utterances = [clip.utterance(entry.modality) for clip in clips]
        results = produce_each(self.producer(entry), utterances, seed=seed)
        failed = {each.id: str(error) for each, error in zip(utterances, results, strict=True) if isinstance(error, InputError)}
        produced = [
            MeanPose(self.training).produce([each], seed=seed)[0] if isinstance(result, InputError) else result
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
        if entry.kind in BASELINES:
            return BASELINES[entry.kind](self.training)
        if entry.kind == "folder":
            return PoseFolder(Path(entry.source), self.dataset.skeleton, self.dataset.card.fps)
        if entry.kind == "dictionary":
            from ms2sl.systems.dictionary import Dictionary  # takes long to load

            clip = next(self.dataset.clips("train"))
            return Dictionary(entry.source, self.dataset.skeleton, self.dataset.card.fps, clip.spoken_language, clip.signed_language)
        model = MS2SLProducer.load(Path(entry.source), **entry.model_dump(include=set(Sampling.model_fields)), device=self.device)
        if entry.kind == "cascade":
            return Cascade(open_ear(entry.ear, model), model, model.card.characters if model.card.text.vocabulary else None)
        return model


def real_signing() -> SystemUnderTest:
    """The ceiling."""
    return SystemUnderTest(name=REAL, kind="real")


def columns(rows: Sequence[dict], entry: SystemUnderTest, ids: Sequence[str]) -> list[dict[str, np.ndarray]]:
    """For each seed the measures of an entry by name, in the order of the ids."""
    found = {(row["seed"], row["id"]): row for row in rows if (row["label"], row["steps"]) == (entry.label, entry.steps)}
    ordered = ([found[seed, id] for id in ids] for seed in entry.seeds)
    return [{key: np.array([row[key] for row in some]) for key in some[0]} for some in ordered]


def chosen_clips(dataset: Dataset, split: str, limit: int) -> list[Clip]:
    """The first clips of the split that have text and poses; if at least half as many as are wanted also have speech, those."""
    found = [
        (path, i, row["n_speech"] > 0)
        for path, _ in dataset.shards(split)
        for i, row in enumerate(read_shard(path, ["text", "n_frames", "n_speech"]).to_pylist())
        if row["text"] and row["n_frames"]
    ]
    spoken = [place for place in found if place[2]]
    chosen = (spoken if spoken and 2 * len(spoken) >= min(limit, len(found)) else found)[:limit]
    clips = []
    for path in dict.fromkeys(path for path, *_ in chosen):
        rows = read_shard(path).take([i for where, i, _ in chosen if where == path])
        clips += [to_clip(row, dataset.skeleton) for row in rows.to_pylist()]
    return clips
