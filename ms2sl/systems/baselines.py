"""The trivial producers that a model must beat."""

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein

from ms2sl.data.dataset import Dataset
from ms2sl.data.pose_statistics import PoseStatistics, PoseSums, anchors
from ms2sl.data.resampling import stretch
from ms2sl.data.shards import decode_poses, read_shard
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Clip, Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.text_normalization import plain


@dataclass(frozen=True, eq=False)
class Training:
    """What the trivial producers know: the training clips that have poses. Texts are plain; poses are read when they are asked for.

    read: poses of the clips with these indices; statistics: of all of them. Raises InputError if there are no clips.
    """

    texts: Sequence[str | None]
    mean_seconds: float
    fps: float
    skeleton: Skeleton
    statistics: PoseStatistics
    read: Callable[[Sequence[int]], list[Poses]]

    def __post_init__(self):
        if not self.texts:
            raise InputError("the baselines need training clips with poses, and there are none")

    @classmethod
    def of_clips(cls, clips: Iterable[Clip], skeleton: Skeleton) -> "Training":
        """Clips in memory."""
        clips = [clip for clip in clips if clip.poses is not None]
        poses = [clip.poses for clip in clips]
        return cls(
            [clip.text and plain(clip.text) for clip in clips],
            float(np.mean([each.seconds for each in poses])) if poses else 0.0,
            poses[0].fps if poses else 0.0,
            skeleton,
            PoseSums.of(poses, skeleton).statistics(),
            lambda chosen: [poses[i] for i in chosen],
        )

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> "Training":
        """The training split of a prepared dataset, its poses left on disk."""
        shards = [(path, read_shard(path, ["text", "n_frames", "fps"])) for path, _ in dataset.shards("train")]
        rows = [(path, i, row) for path, table in shards for i, row in enumerate(table.to_pylist()) if row["n_frames"]]

        def read(chosen: Sequence[int]) -> list[Poses]:
            found = {}
            for path in dict.fromkeys(rows[k][0] for k in chosen):
                wanted = sorted({rows[k][1] for k in chosen if rows[k][0] == path})
                some = read_shard(path, ["n_frames", "fps", "poses", "confidence"]).take(wanted).to_pylist()
                found |= {(path, i): decode_poses(row, dataset.skeleton) for i, row in zip(wanted, some, strict=True)}
            return [found[rows[k][:2]] for k in chosen]

        texts = [row["text"] and plain(row["text"]) for *_, row in rows]
        seconds = [row["n_frames"] / row["fps"] for *_, row in rows]
        mean_seconds = float(np.mean(seconds)) if rows else 0.0
        return cls(texts, mean_seconds, dataset.card.fps, dataset.skeleton, dataset.card.statistics, read)

    def frames(self, utterance: Utterance, fps: float) -> int:
        """As many as the user asks for, else as training clips last on average."""
        return max(1, round((self.mean_seconds if utterance.seconds is None else utterance.seconds) * fps))


class MeanPose:
    """The mean of all training frames, without movement: the mean hands at the mean wrists. Joints seen in fewer than 1 % of the frames
    are left out."""

    name = "mean pose"

    def __init__(self, training: Training):
        self.training = training
        mean, anchor = np.array(training.statistics.mean), anchors(training.skeleton)
        relative = (anchor != np.arange(len(anchor)))[:, None]
        self.confidence = (np.array(training.statistics.seen) >= 0.01).astype(np.float32)
        self.pose = ((mean + relative * mean[anchor]) * self.confidence[:, None]).astype(np.float32)

    def produce(self, utterances: Sequence[Utterance], *, seed: int) -> list[Poses]:
        return [
            _hold(self.pose, self.confidence, self.training.frames(utterance, self.training.fps), self.training.fps)
            for utterance in utterances
        ]


class StaticPose:
    """One real frame, from the middle of a training clip, held."""

    name = "static pose"

    def __init__(self, training: Training):
        self.training = training

    def produce(self, utterances: Sequence[Utterance], *, seed: int) -> list[Poses]:
        held = []
        for utterance, poses in zip(utterances, _pick(self.training, utterances, seed), strict=True):
            middle = poses.n_frames // 2
            held.append(_hold(poses.joints[middle], poses.confidence[middle], self.training.frames(utterance, poses.fps), poses.fps))
        return held


class RandomClip:
    """Any training clip."""

    name = "random clip"

    def __init__(self, training: Training):
        self.training = training

    def produce(self, utterances: Sequence[Utterance], *, seed: int) -> list[Poses]:
        picked = _pick(self.training, utterances, seed)
        return [fit_length(poses, utterance) for poses, utterance in zip(picked, utterances, strict=True)]


class NearestText:
    """The training clip whose text is nearest by edit distance; of several, one of like length, then the first."""

    name = "nearest text"

    def __init__(self, training: Training):
        self.training = training
        self.known = [(i, text) for i, text in enumerate(training.texts) if text is not None]

    def produce(self, utterances: Sequence[Utterance], *, seed: int) -> list[Poses]:
        nearest = self.training.read([self._nearest(utterance) for utterance in utterances])
        return [fit_length(poses, utterance) for poses, utterance in zip(nearest, utterances, strict=True)]

    def _nearest(self, utterance: Utterance) -> int:
        if utterance.text is None or not self.known:
            raise InputError(f"{utterance.id}: the nearest text needs a text, and training clips with one")
        wanted = plain(utterance.text)
        return min(self.known, key=lambda known: (Levenshtein.distance(known[1], wanted), abs(len(known[1]) - len(wanted))))[0]


def _pick(training: Training, utterances: Sequence[Utterance], seed: int) -> list[Poses]:
    draws = (np.random.default_rng((seed % 2**64, zlib.crc32(utterance.id.encode()))) for utterance in utterances)
    return training.read([int(draw.integers(len(training.texts))) for draw in draws])


def _hold(pose: np.ndarray, confidence: np.ndarray, frames: int, fps: float) -> Poses:
    return Poses(np.repeat(pose[None], frames, axis=0), np.repeat(confidence[None], frames, axis=0), fps)


def fit_length(poses: Poses, utterance: Utterance) -> Poses:
    """Stretched to the length that the user asks for, if any."""
    if utterance.seconds is None:
        return poses
    return stretch(poses, max(1, round(utterance.seconds * poses.fps)))
