"""Whether text, speech and real signing of the same clip find each other in the joint space of a model."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import permutations
from typing import Protocol, runtime_checkable

import numpy as np

from ms2sl.data.types import Clip, Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.evaluation.tables import Table
from ms2sl.inference.producer import Producer
from ms2sl.metrics.retrieval import median_rank, ranks, recall_at

CUTS = (1, 5, 10)
TOGETHER = 64  # clips whose poses are in memory at a time


@runtime_checkable
class JointSpace(Protocol):
    """A producer with one embedding space for what is said and for signing."""

    def embed(self, utterances: Sequence[Utterance], modality: str) -> np.ndarray:
        """Unit vectors ``(utterances, embedding)`` of their text or speech. Raises InputError for one that the model cannot be told."""
        ...

    def embed_signing(self, clips: Sequence[Poses]) -> np.ndarray:
        """Unit vectors ``(clips, embedding)`` of normalised poses."""
        ...


def embeddings(producer: JointSpace, clips: Sequence[Clip], modalities: Sequence[str]) -> dict[str, np.ndarray]:
    """Unit vectors ``(clips, embedding)`` of the real signing, and of each of the modalities ``text`` and ``speech``, of the clips that the
    model can be told; others have letters, say, that it never met. Nothing without any.

    The clips are read some at a time.
    """
    parts = []
    for start in range(0, len(clips), TOGETHER):
        some = clips[start : start + TOGETHER]
        try:
            parts.append(_embed(producer, some, modalities))
        except InputError:  # features are not made twice but to find which clip it was
            if some := [clip for clip in some if _can_be_told(producer, clip, modalities)]:
                parts.append(_embed(producer, some, modalities))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _embed(producer: JointSpace, clips: Sequence[Clip], modalities: Sequence[str]) -> dict[str, np.ndarray]:
    said = {modality: producer.embed([clip.utterance(modality) for clip in clips], modality) for modality in modalities}
    return said | {"signing": producer.embed_signing([clip.poses for clip in clips])}


def _can_be_told(producer: JointSpace, clip: Clip, modalities: Sequence[str]) -> bool:
    with suppress(InputError):
        return all(len(producer.embed([clip.utterance(modality)], modality)) for modality in modalities)
    return False


def retrieval(producer: Producer | JointSpace, clips: Sequence[Clip], modalities: Sequence[str]) -> dict[str, dict[str, float]]:
    """R@1, R@5, R@10 (per cent) and the median rank, for each direction such as ``text → signing``, among the clips that can be told to
    the model, and how many those are; nothing without any, and nothing of a model without a joint space."""
    vectors = embeddings(producer, clips, modalities) if isinstance(producer, JointSpace) else {}
    return {f"{query} → {target}": _scores(vectors[query], vectors[target]) for query, target in permutations(vectors, 2)}


def _scores(queries: np.ndarray, gallery: np.ndarray) -> dict[str, float]:
    found = ranks(queries, gallery)
    return {f"R@{k}": recall_at(k, found) for k in CUTS} | {"median rank": median_rank(found), "clips": len(found)}


def retrieval_table(found: dict[str, dict[str, float]]) -> Table:
    rows = [("from", "to", *next(iter(found.values())))]
    return rows + [
        (*direction.split(" → "), *(f"{value:.0f}" if name == "clips" else f"{value:.1f}" for name, value in scores.items()))
        for direction, scores in found.items()
    ]
