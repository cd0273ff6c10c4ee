"""Several prepared datasets as one training set.

    python -m jobs.train --data '{"data/asl": 1, "data/dgs": 0.25}'

A weight says how often each clip comes in an epoch: 1 is once, 2 twice, and with 0.25 an epoch takes a quarter of the clips, the next one
the next quarter. Poses are reduced to the joints that all have, by name; statistics are shared.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import PlainSerializer, PlainValidator

from ms2sl.data.dataset import Dataset, DatasetCard, Split
from ms2sl.data.pose_statistics import PoseStatistics
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.skeleton_reduction import Reduction, can_reduce, common_skeleton
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from ms2sl.io.uri import place, public_uri

DATA = 'folder of a prepared dataset, local or a URI; or several with their weights: {"data/a": 1, "data/b": 0.5}'
MOST = 100  # the largest weight
Source = str | Mapping[str, float]


def _source(given: object) -> Source:
    """What ``--data`` says: a folder, or JSON or a mapping of several with their weights. Raises ValueError for anything else."""
    if isinstance(given, str) and given.lstrip().startswith("{"):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise ValueError(f'{error}: a mixture is written {{"data/a": 1, "data/b": 0.5}}') from None
    if not isinstance(given, Mapping):
        return place(given)
    for where, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= MOST:
            raise ValueError(f"the weight of {public_uri(str(where))} is a number above 0 and at most {MOST}, not {weight!r}")
    return {place(where): float(weight) for where, weight in given.items()}


def _public(source: Source) -> str | dict[str, float]:
    return public_uri(source) if isinstance(source, str) else {public_uri(where): weight for where, weight in source.items()}


# For the command line it is a text: what it takes for a mapping is ``key=value``, and a URI may have that in it.
DataSource = Annotated[str, PlainValidator(_source), PlainSerializer(_public, when_used="json")]


def open_dataset(source: Source, skeleton: Skeleton | None = None) -> Dataset:
    """The dataset in a folder, or the mixture of several. Raises InputError if one is none, or they do not fit.

    skeleton: of a model that is judged or trained further on the data, to which they are reduced if it has some of their joints.
    """
    dataset = Mixture(source) if isinstance(source, Mapping) else Dataset(source)
    if skeleton is None or not can_reduce(dataset.skeleton, skeleton):
        return dataset
    return Mixture(source if isinstance(source, Mapping) else {source: 1}, skeleton)


def absolute(source: Source) -> Source:
    """The same as URIs, which mean the same to every process. Raises InputError for a folder that is named twice."""
    if isinstance(source, str):
        return StoragePath(source).uri
    found: dict[str, float] = {}
    for where, weight in source.items():
        folder = StoragePath(where)
        uri = str(folder.local_path().resolve()) if folder.is_local else folder.uri
        if uri in found:
            raise InputError(f"{public_uri(where)} is in the mixture twice: name it once, with one weight")
        found[uri] = weight
    return found


def named_folders(option: str, source: Source) -> dict[str, str]:
    """Each folder by the option that names it, for messages."""
    return {option: source} if isinstance(source, str) else {f"{option} {public_uri(where)}": where for where in source}


class Mixture(Dataset):
    """Datasets, each with a weight, as one, in whatever order they are named. Its card describes all of them; a split is what those have
    that have it.

    skeleton: to which poses are reduced, by default what all have in common.
    Raises InputError if one is no dataset, or if they differ in frames a second or in features.
    """

    def __init__(self, weights: Mapping[str, float], skeleton: Skeleton | None = None):
        if not weights:
            raise InputError("a mixture needs a dataset: name one")
        opened = sorted(((Dataset(where), float(weight)) for where, weight in weights.items()), key=lambda each: each[0].card.fingerprint)
        self.members, self._weights = [member for member, _ in opened], [weight for _, weight in opened]
        self.folder = self.members[0].folder
        for member in self.members[1:]:
            _check_same(self.members[0], member)
        skeleton = skeleton or common_skeleton([member.skeleton for member in self.members])
        self.card = _card(self.members, self._weights, [Reduction(member.skeleton, skeleton) for member in self.members])

    @property
    def parts(self) -> dict[str, dict]:
        members = zip(self.members, self._weights, strict=True)
        return {member.card.fingerprint: {"name": member.folder.name, "weight": weight} for member, weight in members}

    def __str__(self) -> str:
        return self.card.name

    def shards(self, split: str) -> list[tuple[StoragePath, int]]:
        split = self._known(split)
        return [shard for member in self.members if split in member.card.splits for shard in member.shards(split)]

    def shard_sizes(self, split: str) -> list[int]:
        split = self._known(split)
        return [size for member in self.members if split in member.card.splits for size in member.shard_sizes(split)]

    @property
    def weights(self) -> tuple[tuple[int, float], ...]:
        return tuple((len(member.card.splits["train"].shards), weight) for member, weight in zip(self.members, self._weights, strict=True))


def _check_same(first: Dataset, other: Dataset) -> None:
    one, two = first.card, other.card
    names = f"{public_uri(first.folder.uri)} and {public_uri(other.folder.uri)}"
    if one.fps != two.fps:
        raise InputError(f"{names} have {one.fps:g} and {two.fps:g} frames a second: prepare both with the same --poses.fps")
    for what in ("text", "speech"):
        if getattr(one, what) != getattr(two, what):
            raise InputError(f"{names} have {what} features of different kinds: prepare both with the same --{what}.…")


def _card(members: Sequence[Dataset], weights: Sequence[float], reductions: Sequence[Reduction]) -> DatasetCard:
    cards, skeleton = [member.card for member in members], reductions[0].target
    decisive = [[card.fingerprint for card in cards], list(weights), skeleton.model_dump(mode="json")]
    largest, reduction = max(zip(cards, reductions, strict=True), key=lambda each: each[0].splits["train"].clips)
    described = dict.fromkeys(str(card.corpus.get("description", "")) for card in cards)
    names = list(dict.fromkeys(card.name for card in cards))
    return DatasetCard(
        name=" + ".join(names),
        fingerprint=hashlib.blake2b(json.dumps(decisive).encode(), digest_size=8).hexdigest(),
        fps=cards[0].fps,
        skeleton=skeleton,
        text=cards[0].text,
        speech=cards[0].speech,
        characters="".join(sorted(set().union(*(card.characters for card in cards)))),
        statistics=pooled(
            [reduction.statistics(card.statistics) for card, reduction in zip(cards, reductions, strict=True)],
            [weight * card.splits["train"].frames for card, weight in zip(cards, weights, strict=True)],
        ),
        placement=largest.placement and reduction.placement(largest.placement, largest.statistics),
        spoken_languages=_union(card.spoken_languages for card in cards),
        signed_languages=_union(card.signed_languages for card in cards),
        glosses=_union(card.glosses for card in cards),
        signers=_signers(cards),
        splits={split: _sum([card.splits[split] for card in cards if split in card.splits]) for split in _splits(cards)},
        rejected=sum(card.rejected for card in cards),
        corpus={"description": " ".join(filter(None, described)), "mixture": [card.corpus for card in cards]},
    )


def _signers(cards: Sequence[DatasetCard]) -> tuple[str, ...]:
    """Names hold within a dataset: one that two have may be of two people, and is nobody's."""
    times = Counter(signer for card in cards for signer in card.signers)
    return tuple(sorted(signer for signer, n in times.items() if n == 1))


def pooled(statistics: Sequence[PoseStatistics], frames: Sequence[float]) -> PoseStatistics:
    """Statistics of several sets of frames together, each counted ``frames`` times."""
    seen = np.array([np.array(each.seen) * n for each, n in zip(statistics, frames, strict=True)])  # (sets, joints)
    share = (seen / np.maximum(seen.sum(axis=0), 1e-9))[..., None]
    mean, deviation = (np.array([getattr(each, name) for each in statistics]) for name in ("mean", "deviation"))
    middle = (share * mean).sum(axis=0)
    variance = (share * (deviation**2 + mean**2)).sum(axis=0) - middle**2
    every = seen.sum(axis=0) / max(sum(frames), 1e-9)
    return PoseStatistics(mean=middle.tolist(), deviation=np.sqrt(np.maximum(variance, 0)).tolist(), seen=every.tolist())


def _splits(cards: Sequence[DatasetCard]) -> list[str]:
    return list(dict.fromkeys(split for card in cards for split in card.splits))


def _sum(splits: Sequence[Split]) -> Split:
    """Counts of several; ``longest`` is of all. It has no shards of its own: those of the datasets lie in their folders."""
    counts = {
        name: sum(getattr(split, name) for split in splits) for name in Split.model_fields if name not in ("shards", "longest", "left_out")
    }
    lost = {
        part: sum(split.left_out.get(part, 0) for split in splits) for part in dict.fromkeys(p for split in splits for p in split.left_out)
    }
    return Split(**counts, shards=(), longest=max(split.longest for split in splits), left_out=lost)


def _union(names) -> tuple[str, ...]:
    return tuple(sorted(set().union(*names)))
