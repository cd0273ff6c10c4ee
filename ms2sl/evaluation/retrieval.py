"""Whether text, speech and real signing of the same clip find each other in the joint space of a model."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import permutations

import numpy as np
import torch

from ms2sl.data.types import Clip
from ms2sl.errors import InputError
from ms2sl.evaluation.tables import Table
from ms2sl.metrics.retrieval import median_rank, recall_at
from ms2sl.systems.ms2sl.producer import MS2SLProducer

BATCH = 64
CUTS = (1, 5, 10)


@torch.no_grad()
def embeddings(producer: MS2SLProducer, clips: Sequence[Clip], modalities: Sequence[str]) -> dict[str, np.ndarray]:
    """Unit vectors ``(clips, embedding)`` of the real signing, and of each of the modalities ``text`` and ``speech``."""
    found: dict[str, list[torch.Tensor]] = {name: [] for name in (*modalities, "signing")}
    for start in range(0, len(clips), BATCH):
        some = clips[start : start + BATCH]
        for modality in modalities:
            features = [producer.features(clip.utterance(modality)) for clip in some]
            batch = producer.collate.batch([None] * len(some), *zip(*features, strict=True)).to(producer.device)
            found[modality].append(producer.model.conditions(batch)[modality].embedding)
        nothing = [None] * len(some)
        found["signing"].append(
            producer.model.embed_signs(producer.collate.batch([c.poses for c in some], nothing, nothing).to(producer.device))
        )
    return {name: torch.cat(vectors).cpu().numpy() for name, vectors in found.items()}


def heard(producer: MS2SLProducer, clips: Sequence[Clip], modalities: Sequence[str]) -> list[Clip]:
    """The clips of which the model can be told; others have letters, say, that it never met."""

    def can(clip: Clip) -> bool:
        with suppress(InputError):
            return all(producer.features(clip.utterance(modality)) for modality in modalities)
        return False

    return [clip for clip in clips if can(clip)]


def retrieval(producer: MS2SLProducer, clips: Sequence[Clip], modalities: Sequence[str]) -> dict[str, dict[str, float]]:
    """R@1, R@5, R@10 (per cent) and the median rank, for each direction such as ``text → signing``, among the clips that can be told to
    the model, and how many those are; nothing without any."""
    known = clips
    try:
        vectors = embeddings(producer, known, modalities) if known else {}
    except InputError:  # features are not made twice but to find which clip it was
        known = heard(producer, clips, modalities)
        vectors = embeddings(producer, known, modalities) if known else {}
    return {
        f"{query} → {target}": {f"R@{k}": recall_at(k, vectors[query], vectors[target]) for k in CUTS}
        | {"median rank": median_rank(vectors[query], vectors[target]), "clips": len(known)}
        for query, target in permutations(vectors, 2)
    }


def retrieval_table(found: dict[str, dict[str, float]]) -> Table:
    rows = [("from", "to", *next(iter(found.values())))]
    return rows + [
        (*direction.split(" → "), *(f"{value:.0f}" if name == "clips" else f"{value:.1f}" for name, value in scores.items()))
        for direction, scores in found.items()
    ]
