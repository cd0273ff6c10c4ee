"""Letters joined into one movement, as a signer spells a word."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ms2sl.corpora.letters import Letter
from ms2sl.data.skeleton_registry import HOLISTIC_49X2 as SKELETON
from ms2sl.data.types import Poses

FINE_RATE = 100  # frames a second at which movement is composed, before it is sampled at the corpus's rate
HOLD, TRANSITION = 0.27, 0.30  # seconds, at ordinary speed
SLIDE, BOUNCE = 0.25, 0.15  # shoulder widths: how far a doubled letter is moved aside and how far it dips on the way
NOISE, NOISE_KNOTS = 0.005, 0.16  # shoulder widths, and seconds between the knots of smooth noise


@dataclass(frozen=True)
class Manner:
    """How a clip is signed. speed: 1 is ordinary; width: pixels between the shoulders; place: pixels ``(2,)``."""

    speed: float
    width: float
    place: tuple[float, float]


def spell(
    letters: Sequence[Letter], same_as_before: Sequence[bool], manner: Manner, fps: float, rng: np.random.Generator
) -> tuple[Poses, np.ndarray]:
    """Poses in pixels of a sequence of letters, and the seconds at which each of them begins and ends, float32 ``(letters, 2)``.

    same_as_before: whether a letter is the same as the one before; it is then slid aside with a bounce, so that one can count them.
    """
    shift = _slides(same_as_before)
    pieces, confidences, times, now = [], [], [], 0
    for number, letter in enumerate(letters):
        held = _held(letter, manner.speed * rng.uniform(0.9, 1.1)) + _aside(letter, shift[number])
        seen = letter.poses.confidence[0]
        if pieces:
            joints, known = _transition(
                pieces[-1][-1], held[0], confidences[-1][-1], seen, same_as_before[number], manner.speed * rng.uniform(0.9, 1.1)
            )
            pieces.append(joints)
            confidences.append(known)
            now += len(joints)
        pieces.append(held)
        confidences.append(np.broadcast_to(seen, held.shape[:2]))
        times.append((now, now + len(held)))
        now += len(held)
    joints, confidence = np.concatenate(pieces), np.concatenate(confidences)
    chosen = np.arange(0, len(joints), FINE_RATE / fps).astype(int)
    joints, confidence = joints[chosen], confidence[chosen]
    joints = joints + _smooth_noise(joints.shape, fps, rng)
    pixels = joints * manner.width + np.array(manner.place)
    poses = Poses((pixels * (confidence[..., None] > 0)).astype(np.float32), confidence.astype(np.float32), fps)
    return poses, np.array(times, np.float32) / FINE_RATE


def _slides(same_as_before: Sequence[bool]) -> list[float]:
    """How far aside each letter is: one slide farther for each repetition, and back for a new letter."""
    shift = [0.0]
    for same in same_as_before[1:]:
        shift.append(shift[-1] + SLIDE if same else 0.0)
    return shift


def _held(letter: Letter, speed: float) -> np.ndarray:
    """The letter at the fine rate ``(frames, joints, dims)``: a hold of its handshape, or its whole movement."""
    joints = letter.poses.joints
    if letter.moves:
        frames = max(2, round(len(joints) / letter.poses.fps / speed * FINE_RATE))
        return _resample(joints, np.linspace(0, len(joints) - 1, frames))
    frames = max(2, round(HOLD / speed * FINE_RATE))
    middle, span = (len(joints) - 1) / 2, min(len(joints) - 1, HOLD * letter.poses.fps) / 2
    return _resample(joints, np.linspace(middle - span, middle + span, frames))


def _resample(joints: np.ndarray, positions: np.ndarray) -> np.ndarray:
    low = np.floor(positions).astype(int)
    high = np.minimum(low + 1, len(joints) - 1)
    share = (positions - low)[:, None, None]
    return joints[low] * (1 - share) + joints[high] * share


def _outward(letter_confidence: np.ndarray) -> np.ndarray:
    """Direction ``(joints, dims)`` in which each seen hand and its wrist slide: away from the body's middle."""
    direction = np.zeros((SKELETON.n_joints, SKELETON.dims), np.float32)
    for part, wrist in SKELETON.wrists.items():
        side = 1.0 if part == "left_hand" else -1.0  # a signer's left is on the right of the picture
        if letter_confidence[SKELETON.part(part)].any():
            direction[SKELETON.part(part), 0] = side
            direction[SKELETON.index(wrist), 0] = side
    return direction


def _aside(letter: Letter, distance: float) -> np.ndarray:
    return distance * _outward(letter.poses.confidence[0])


def _transition(start, stop, seen_before, seen_after, bounce: bool, speed: float) -> tuple[np.ndarray, np.ndarray]:
    """Minimum-jerk movement between two poses (Flash & Hogan 1985) and its confidence.

    A joint that only one side sees stays where that side has it, and is seen for that half of the way.
    """
    frames = max(2, round(TRANSITION / speed * FINE_RATE))
    s = (np.arange(frames) + 1) / (frames + 1)
    share = (10 * s**3 - 15 * s**4 + 6 * s**5)[:, None, None]
    start = np.where(seen_before[:, None] > 0, start, stop)
    stop = np.where(seen_after[:, None] > 0, stop, start)
    joints = start * (1 - share) + stop * share
    if bounce:
        dip = (np.abs(_outward(np.minimum(seen_before, seen_after))).max(axis=1) * BOUNCE)[None, :] * np.sin(np.pi * s)[:, None] ** 2
        joints[..., 1] += dip
    return joints, np.where(s[:, None] < 0.5, seen_before[None], seen_after[None])


def _smooth_noise(shape: tuple[int, ...], fps: float, rng: np.random.Generator) -> np.ndarray:
    """Noise that changes no faster than hands do."""
    knots = max(2, int(np.ceil(shape[0] / fps / NOISE_KNOTS)) + 1)
    noise = rng.normal(0, NOISE, (knots, *shape[1:]))
    return _resample(noise, np.linspace(0, knots - 1, shape[0]))
