"""Single signs cut from a prepared dataset: its clips of one sign, or the stretches that gloss times name."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ms2sl.corpora.letters import QUIET, hand_speed
from ms2sl.data.dataset import Dataset
from ms2sl.data.shards import decode_poses
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.skeleton_reduction import read_reduced
from ms2sl.data.types import Poses

HOLD, STILL = 0.2, 0.4  # seconds kept before and after the movement of a sign, and of a sign that does not move
COLUMNS = ["id", "gloss", "gloss_times", "signer", "signed_language", "n_frames", "fps", "poses", "confidence"]
KEPT = 32  # shards in memory


@dataclass(frozen=True, slots=True)
class Sign:
    """Where a recording of a sign is: its shard and row, and the frames from start to before stop."""

    id: str
    gloss: str
    signer: str
    signed_language: str
    shard: int
    row: int
    start: int
    stop: int


class Signs:
    """The signs of a split of a dataset, by gloss and signer; their poses are read when they are asked for.

    handless: how many clips of one sign show no hand, and are not used.
    """

    def __init__(self, dataset: Dataset, split: str):
        self.split, self.skeleton, self.shards = split, dataset.skeleton, [path for path, _ in dataset.shards(split)]
        self.handless = 0
        self.by_gloss: dict[str, dict[str, list[Sign]]] = defaultdict(lambda: defaultdict(list))
        for number, path in enumerate(self.shards):
            for row, values in enumerate(read_reduced(path, self.skeleton, COLUMNS).to_pylist()):
                for sign in self._cut(number, row, values):
                    self.by_gloss[sign.gloss][sign.signer].append(sign)
        self.by_gloss = {gloss: dict(signers) for gloss, signers in self.by_gloss.items()}  # as it can be pickled
        self._read: OrderedDict[int, list[dict]] = OrderedDict()

    def _cut(self, shard: int, row: int, values: dict) -> Iterator[Sign]:
        glosses = (values["gloss"] or "").split()
        if not values["poses"] or not glosses or (values["gloss_times"] is None and len(glosses) > 1):
            return
        poses, signer = decode_poses(values, self.skeleton), values["signer"] or ""
        if values["gloss_times"] is None:
            found = sign_frames(poses, self.skeleton)
            self.handless += found is None
            spans = [found] if found else []
        else:
            times = np.array(values["gloss_times"], np.float32).reshape(-1, 2) * values["fps"]
            spans = [(int(start), max(int(start) + 1, min(round(stop), len(poses.joints)))) for start, stop in times]
        for gloss, (start, stop) in zip(glosses, spans, strict=False):
            if start < len(poses.joints):
                yield Sign(values["id"], gloss, signer, values["signed_language"], shard, row, start, stop)

    @property
    def count(self) -> int:
        return sum(len(some) for by_signer in self.by_gloss.values() for some in by_signer.values())

    def signers(self, glosses: tuple[str, ...]) -> list[str]:
        """Those who have a recording of each of these."""
        return sorted(set.intersection(*(set(self.by_gloss.get(gloss, {})) for gloss in glosses)))

    def poses(self, sign: Sign) -> Poses:
        """Normalised."""
        if sign.shard not in self._read:
            self._read[sign.shard] = read_reduced(self.shards[sign.shard], self.skeleton, COLUMNS).to_pylist()
            if len(self._read) > KEPT:
                self._read.popitem(last=False)
        self._read.move_to_end(sign.shard)
        poses = decode_poses(self._read[sign.shard][sign.row], self.skeleton)
        return Poses(poses.joints[sign.start : sign.stop], poses.confidence[sign.start : sign.stop], poses.fps)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_read": OrderedDict()}


def sign_frames(poses: Poses, skeleton: Skeleton) -> tuple[int, int] | None:
    """Start and stop (frames) of the sign in a recording of it alone: the frames in which hands move, and a little before and after.

    Recordings begin before the hands are there, and go on while they rest or hold the end. None where no hand is seen.
    """
    hands = skeleton.hands
    seen = poses.confidence[:, hands] > 0
    there = np.flatnonzero(seen.any(axis=1))
    if not len(there):
        return None
    first, last = int(there[0]), int(there[-1]) + 1
    speed = hand_speed(poses.joints[:, hands], seen) * poses.fps
    moving = np.flatnonzero(np.isfinite(speed[first:last]) & (speed[first:last] >= QUIET)) + first
    if len(moving):
        margin = round(HOLD * poses.fps)
        return max(first, int(moving[0]) - margin), min(last, int(moving[-1]) + 1 + margin)
    middle, half = (first + last) / 2, STILL * poses.fps / 2
    return max(first, round(middle - half)), min(last, max(round(middle + half), round(middle - half) + 1))
