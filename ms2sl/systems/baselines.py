"""The trivial producers that a model must beat."""

import zlib
from collections.abc import Sequence

import numpy as np
from rapidfuzz.distance import Levenshtein

from ms2sl.config import Config
from ms2sl.data.pose_statistics import anchors
from ms2sl.data.resampling import stretch
from ms2sl.data.training_clips import TrainingClips
from ms2sl.data.types import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.inference.producer import WholeProducer
from ms2sl.systems.registry import Context, System
from ms2sl.text_normalization import plain


class MeanPose(WholeProducer):
    """The mean of all training frames, without movement: the mean hands at the mean wrists. Joints seen in fewer than 1 % of the frames
    are left out."""

    name = "mean pose"

    def __init__(self, training: TrainingClips):
        self.training, self.skeleton, self.fps = training, training.skeleton, training.fps
        mean, anchor = np.array(training.statistics.mean), anchors(training.skeleton)
        relative = (anchor != np.arange(len(anchor)))[:, None]
        self.confidence = (np.array(training.statistics.seen) >= 0.01).astype(np.float32)
        self.pose = ((mean + relative * mean[anchor]) * self.confidence[:, None]).astype(np.float32)

    def sign(self, utterances: Sequence[Utterance], options: Config, seed: int) -> list[Poses]:
        return [
            _hold(self.pose, self.confidence, self.training.frames(utterance, self.training.fps), self.training.fps)
            for utterance in utterances
        ]


class StaticPose(WholeProducer):
    """One real frame, from the middle of a training clip, held."""

    name = "static pose"

    def __init__(self, training: TrainingClips):
        self.training, self.skeleton, self.fps = training, training.skeleton, training.fps

    def sign(self, utterances: Sequence[Utterance], options: Config, seed: int) -> list[Poses]:
        held = []
        for utterance, poses in zip(utterances, _pick(self.training, utterances, seed), strict=True):
            middle = poses.n_frames // 2
            held.append(_hold(poses.joints[middle], poses.confidence[middle], self.training.frames(utterance, poses.fps), poses.fps))
        return held


class RandomClip(WholeProducer):
    """Any training clip."""

    name = "random clip"

    def __init__(self, training: TrainingClips):
        self.training, self.skeleton, self.fps = training, training.skeleton, training.fps

    def sign(self, utterances: Sequence[Utterance], options: Config, seed: int) -> list[Poses]:
        picked = _pick(self.training, utterances, seed)
        return [fit_length(poses, utterance) for poses, utterance in zip(picked, utterances, strict=True)]


class NearestText(WholeProducer):
    """The training clip whose text is nearest by edit distance; of several, one of like length, then the first."""

    name = "nearest text"

    def __init__(self, training: TrainingClips):
        self.training, self.skeleton, self.fps = training, training.skeleton, training.fps
        self.known = [(i, text) for i, text in enumerate(training.texts) if text is not None]

    def sign(self, utterances: Sequence[Utterance], options: Config, seed: int) -> list[Poses]:
        nearest = self.training.read([self._nearest(utterance) for utterance in utterances])
        return [fit_length(poses, utterance) for poses, utterance in zip(nearest, utterances, strict=True)]

    def _nearest(self, utterance: Utterance) -> int:
        if utterance.text is None or not self.known:
            raise InputError(f"{utterance.id}: the nearest text needs a text, and training clips with one")
        wanted = plain(utterance.text)
        return min(self.known, key=lambda known: (Levenshtein.distance(known[1], wanted), abs(len(known[1]) - len(wanted))))[0]


def _pick(training: TrainingClips, utterances: Sequence[Utterance], seed: int) -> list[Poses]:
    draws = (np.random.default_rng((seed % 2**64, zlib.crc32(utterance.id.encode()))) for utterance in utterances)
    return training.read([int(draw.integers(len(training.texts))) for draw in draws])


def _hold(pose: np.ndarray, confidence: np.ndarray, frames: int, fps: float) -> Poses:
    return Poses(np.repeat(pose[None], frames, axis=0), np.repeat(confidence[None], frames, axis=0), fps)


def fit_length(poses: Poses, utterance: Utterance) -> Poses:
    """Stretched to the length that the user asks for, if any."""
    if utterance.seconds is None:
        return poses
    return stretch(poses, max(1, round(utterance.seconds * poses.fps)))


def _system(producer: type[WholeProducer], inputs: Sequence[str] = (), seeded: bool = False) -> System:
    def load(source: str, context: Context) -> WholeProducer:
        return producer(context.training)  # type: ignore[call-arg]

    description = (producer.__doc__ or "").partition("\n")[0]
    return System(producer.name, description, frozenset(inputs), "poses", load, seeded=seeded, baseline=True)


NEAREST_TEXT = _system(NearestText, inputs=("text",))
RANDOM_CLIP, STATIC_POSE = (_system(producer, seeded=True) for producer in (RandomClip, StaticPose))
MEAN_POSE = _system(MeanPose)
