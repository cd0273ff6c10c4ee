"""Signs and letters joined into one movement."""

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


@dataclass(frozen=True, eq=False)
class Segment:
    """A stretch of movement at ``FINE_RATE``: joints ``(frames, joints, dims)`` in shoulder widths, confidence ``(frames, joints)``."""

    joints: np.ndarray
    confidence: np.ndarray


def join(signs: Sequence[Segment], between: Sequence[Segment], fps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signs with a movement between each two of them, at ``fps``: joints and confidence as in a ``Segment``, and the seconds at which each
    sign begins and ends, float32 ``(signs, 2)``."""
    pieces, times, now = [], [], 0
    for number, sign in enumerate(signs):
        if number:
            pieces.append(between[number - 1])
            now += len(between[number - 1].joints)
        pieces.append(sign)
        times.append((now, now + len(sign.joints)))
        now += len(sign.joints)
    chosen = np.minimum(np.arange(0, now, FINE_RATE / fps).astype(int), now - 1)
    joints, confidence = (np.concatenate([getattr(piece, name) for piece in pieces])[chosen] for name in ("joints", "confidence"))
    return joints, confidence, np.array(times, np.float32) / FINE_RATE


def transition(before: Segment, after: Segment, seconds: float) -> Segment:
    """Minimum-jerk movement from the end of one segment to the beginning of the next (Flash & Hogan 1985).

    A joint that only one side sees stays where that side has it, and is seen for that half of the way.
    """
    s = _way(seconds)
    share = (10 * s**3 - 15 * s**4 + 6 * s**5)[:, None, None]
    seen_before, seen_after = before.confidence[-1], after.confidence[0]
    start = np.where(seen_before[:, None] > 0, before.joints[-1], after.joints[0])
    stop = np.where(seen_after[:, None] > 0, after.joints[0], start)
    return Segment(start * (1 - share) + stop * share, np.where(s[:, None] < 0.5, seen_before[None], seen_after[None]))


def resample(joints: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Joints at places between frames ``(positions,)``, interpolated linearly."""
    low = np.floor(positions).astype(int)
    high = np.minimum(low + 1, len(joints) - 1)
    share = (positions - low)[:, None, None]
    return joints[low] * (1 - share) + joints[high] * share


def spell(
    letters: Sequence[Letter], same_as_before: Sequence[bool], manner: Manner, fps: float, rng: np.random.Generator
) -> tuple[Poses, np.ndarray]:
    """Poses in pixels of a sequence of letters, and the seconds at which each of them begins and ends, float32 ``(letters, 2)``.

    same_as_before: whether a letter is the same as the one before; it is then slid aside with a bounce, so that one can count them.
    """
    shift = _slides(same_as_before)
    signs: list[Segment] = []
    between = []
    for number, letter in enumerate(letters):
        held = _held(letter, manner.speed * rng.uniform(0.9, 1.1)) + _aside(letter, shift[number])
        sign = Segment(held, np.broadcast_to(letter.poses.confidence[0], held.shape[:2]))
        if signs:
            seconds = TRANSITION / (manner.speed * rng.uniform(0.9, 1.1))
            moved = transition(signs[-1], sign, seconds)
            between.append(_bounced(moved, signs[-1], sign, seconds) if same_as_before[number] else moved)
        signs.append(sign)
    joints, confidence, times = join(signs, between, fps)
    joints = joints + _smooth_noise(joints.shape, fps, rng)
    pixels = joints * manner.width + np.array(manner.place)
    return Poses((pixels * (confidence[..., None] > 0)).astype(np.float32), confidence.astype(np.float32), fps), times


def _way(seconds: float) -> np.ndarray:
    """How much of a transition is over at each of its frames, in (0, 1)."""
    frames = max(2, round(seconds * FINE_RATE))
    return (np.arange(frames) + 1) / (frames + 1)


def _bounced(moved: Segment, before: Segment, after: Segment, seconds: float) -> Segment:
    """With a dip on the way of the hands that both sides see."""
    outward = np.abs(_outward(np.minimum(before.confidence[-1], after.confidence[0])))
    joints = moved.joints.copy()
    joints[..., 1] += (outward.max(axis=1) * BOUNCE)[None, :] * np.sin(np.pi * _way(seconds))[:, None] ** 2
    return Segment(joints, moved.confidence)


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
        return resample(joints, np.linspace(0, len(joints) - 1, frames))
    frames = max(2, round(HOLD / speed * FINE_RATE))
    middle, span = (len(joints) - 1) / 2, min(len(joints) - 1, HOLD * letter.poses.fps) / 2
    return resample(joints, np.linspace(middle - span, middle + span, frames))


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


def _smooth_noise(shape: tuple[int, ...], fps: float, rng: np.random.Generator) -> np.ndarray:
    """Noise that changes no faster than hands do."""
    knots = max(2, int(np.ceil(shape[0] / fps / NOISE_KNOTS)) + 1)
    noise = rng.normal(0, NOISE, (knots, *shape[1:]))
    return resample(noise, np.linspace(0, knots - 1, shape[0]))
