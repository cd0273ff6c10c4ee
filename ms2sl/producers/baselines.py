"""The trivial producers that a model must beat."""

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from rapidfuzz.distance import Levenshtein

from ms2sl.clip import Clip, Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.features.text_bytes import plain
from ms2sl.resampling import stretch


class Training:
    """What the trivial producers know: the training clips that have poses."""

    def __init__(self, clips: Iterable[Clip]):
        self.clips = [clip for clip in clips if clip.poses is not None]
        if not self.clips:
            raise InputError("the baselines need training clips with poses, and there are none")
        self.fps = self.clips[0].poses.fps
        self.mean_seconds = float(np.mean([clip.poses.seconds for clip in self.clips]))

    def frames(self, utterance: Utterance, fps: float) -> int:
        """As many as the user asks for, else as training clips last on average."""
        return max(1, round((self.mean_seconds if utterance.seconds is None else utterance.seconds) * fps))


class MeanPose:
    """The mean of all training frames, without movement; joints seen in fewer than 1 % of them are left out."""

    name = "mean pose"

    def __init__(self, training: Training):
        self.training = training
        frames = sum(clip.poses.n_frames for clip in training.clips)
        seen = sum((clip.poses.confidence > 0).sum(axis=0) for clip in training.clips)
        total = sum((clip.poses.joints * (clip.poses.confidence[..., None] > 0)).sum(axis=0, dtype=np.float64) for clip in training.clips)
        self.pose = (total / np.maximum(seen, 1)[:, None]).astype(np.float32)
        self.confidence = (seen >= max(1, 0.01 * frames)).astype(np.float32)

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
        for utterance in utterances:
            poses = _pick(self.training, utterance, seed).poses
            middle = poses.n_frames // 2
            held.append(_hold(poses.joints[middle], poses.confidence[middle], self.training.frames(utterance, poses.fps), poses.fps))
        return held


class RandomClip:
    """Any training clip."""

    name = "random clip"

    def __init__(self, training: Training):
        self.training = training

    def produce(self, utterances: Sequence[Utterance], *, seed: int) -> list[Poses]:
        return [_fit(_pick(self.training, utterance, seed).poses, utterance) for utterance in utterances]


class NearestText:
    """The training clip whose text is nearest by edit distance; of several, one of like length, then the first."""

    name = "nearest text"

    def __init__(self, training: Training):
        self.clips = [(plain(clip.text), clip) for clip in training.clips if clip.text is not None]

    def produce(self, utterances: Sequence[Utterance], *, seed: int) -> list[Poses]:
        return [_fit(self._nearest(utterance).poses, utterance) for utterance in utterances]

    def _nearest(self, utterance: Utterance) -> Clip:
        if utterance.text is None or not self.clips:
            raise InputError(f"{utterance.id}: the nearest text needs a text, and training clips with one")
        wanted = plain(utterance.text)
        return min(self.clips, key=lambda known: (Levenshtein.distance(known[0], wanted), abs(len(known[0]) - len(wanted))))[1]


def _pick(training: Training, utterance: Utterance, seed: int) -> Clip:
    rng = np.random.default_rng((seed % 2**64, zlib.crc32(utterance.id.encode())))
    return training.clips[rng.integers(len(training.clips))]


def _hold(pose: np.ndarray, confidence: np.ndarray, frames: int, fps: float) -> Poses:
    return Poses(np.repeat(pose[None], frames, axis=0), np.repeat(confidence[None], frames, axis=0), fps)


def _fit(poses: Poses, utterance: Utterance) -> Poses:
    """Stretched to the length that the user asks for, if any."""
    if utterance.seconds is None:
        return poses
    return stretch(poses, max(1, round(utterance.seconds * poses.fps)))
