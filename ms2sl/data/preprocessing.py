"""Poses made fit for learning: checked, in shoulder widths, without outliers or short gaps, at one number of frames a second."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from pydantic import Field

from ms2sl.audio.speech import SAMPLE_RATE
from ms2sl.config import Config
from ms2sl.data.resampling import resample
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Clip, Placement, Poses
from ms2sl.errors import InputError

ABSURD = 10.0  # shoulder widths from between the shoulders: farther than any limb reaches
BEYOND = 0.2  # seconds by which a sign may end after the poses: tables round to frames
LEAP, LEAP_SPEED = 0.5, 12.5  # shoulder widths from one frame to the next and back again, and a second: hands do not reach it


class PreprocessConfig(Config):
    """How poses are made fit for learning."""

    fps: float | None = Field(None, gt=0, le=200, description="frames a second; by default those that are usual for the corpus")
    longest_gap: float = Field(0.2, ge=0, description="seconds for which a joint may be unseen and still be interpolated")
    longest: float = Field(60.0, gt=0, description="seconds of the longest clip that is kept")


def preprocess_clip(clip: Clip, skeleton: Skeleton, config: PreprocessConfig, fps: float) -> Clip:
    """A raw clip with its poses normalised, mended and resampled to ``fps``, its speech at 16 kHz, and a remark on what was mended.

    Poses, speech and gloss times that cannot be used are left out with a remark. Raises InputError if nothing is left, or the clip is
    too long.
    """
    if clip.text is None and clip.speech is None and clip.poses is None:
        raise InputError("it has neither text nor speech nor poses")
    if clip.speech is not None:
        try:
            speech = clip.speech.resampled(SAMPLE_RATE)
            if not np.isfinite(speech.waveform).all():
                raise InputError("the speech holds NaN or infinite samples")
            clip = replace(clip, speech=speech, speech_source=clip.speech_source or "recorded")
        except InputError as error:
            clip = clip.without("speech", error)
    try:
        if clip.poses is not None:
            skeleton.check(clip.poses)
    except InputError as error:
        clip = clip.without("poses", error)
    try:
        check_gloss_times(clip)
    except InputError as error:
        clip = replace(clip, gloss_times=None, remarks=(*clip.remarks, f"gloss_times left out: {error}"))
    for what, given in (("speech", clip.speech), ("signing", clip.poses)):
        if given is not None and given.seconds > config.longest:
            raise InputError(f"its {what} lasts {given.seconds:.1f} s, longer than --poses.longest {config.longest:g}")
    if clip.poses is None:
        return clip
    try:
        placement = skeleton.place(clip.poses)
    except InputError as error:
        return clip.without("poses", error)
    poses, outliers = without_outliers(skeleton.normalise(clip.poses))
    poses = bridge(poses, config.longest_gap)
    size = (clip.placement.width, clip.placement.height) if clip.placement else (0, 0)
    remarks = [f"{outliers.sum()} outliers in {outliers.any(axis=1).sum()} frames were left out"] if outliers.any() else []
    return replace(
        clip,
        poses=resample(poses, fps),
        source_fps=poses.fps,
        placement=Placement(placement.origin, placement.unit, *size),
        remarks=(*clip.remarks, *remarks),
    )


def check_gloss_times(clip: Clip) -> None:
    """Raises InputError if they are not one stretch of the clip for each sign of its gloss, in the order in which signs begin."""
    if clip.gloss_times is None:
        return
    signs, times = (clip.gloss or "").split(), clip.gloss_times
    if times.shape != (len(signs), 2):
        raise InputError(f"they are {len(times)} stretches for {len(signs)} signs")
    latest = clip.poses.seconds + BEYOND if clip.poses is not None else np.inf
    starts, stops = times[:, 0], times[:, 1]
    if not (np.isfinite(times).all() and (starts >= 0).all() and (stops > starts).all() and (stops <= latest).all()):
        raise InputError("one of them begins before 0, ends before it begins, or ends after the clip")
    if (np.diff(starts) < 0).any():
        raise InputError("a sign begins before the one that stands before it")


def without_outliers(poses: Poses) -> tuple[Poses, np.ndarray]:
    """Normalised poses with outliers unseen, and bool ``(frames, joints)`` where they were.

    An outlier is farther away than any limb reaches, or leaps away and comes back within two frames.
    """
    seen = poses.confidence > 0
    outliers = seen & (np.abs(poses.joints).max(axis=2) > ABSURD)
    for away in (1, 2):
        outliers |= _leaps(poses.joints, seen & ~outliers, away, max(LEAP, LEAP_SPEED / poses.fps))
    keep = seen & ~outliers
    return Poses(poses.joints * keep[..., None], poses.confidence * keep, poses.fps), outliers


def _leaps(joints: np.ndarray, seen: np.ndarray, away: int, leap: float) -> np.ndarray:
    """bool ``(frames, joints)``: stretches of ``away`` frames farther than ``leap`` from the frames before and after, which lie nearer to
    each other."""
    found = np.zeros_like(seen)
    if len(joints) < away + 2:
        return found
    before, first, last, after = joints[: -away - 1], joints[1:-away], joints[away:-1], joints[away + 1 :]
    far, back, near = (np.linalg.norm(a - b, axis=-1) for a, b in ((before, first), (last, after), (before, after)))
    known = np.all([seen[i : len(seen) - away - 1 + i] for i in range(away + 2)], axis=0)
    leaps = known & (far > leap) & (back > leap) & (near < leap)
    for frame in range(away):
        found[1 + frame : len(found) - away + frame] |= leaps
    return found


def bridge(poses: Poses, longest_gap: float) -> Poses:
    """Joints that are unseen for at most ``longest_gap`` seconds between two frames that see them, interpolated linearly; their
    confidence is that of the less sure of the two. Longer gaps, and those at either end, stay unseen."""
    joints, confidence = poses.joints.copy(), poses.confidence.copy()
    seen = confidence > 0
    for joint in np.flatnonzero(seen.any(axis=0) & ~seen.all(axis=0)):
        frames = np.flatnonzero(seen[:, joint])
        for start, stop in pairwise(frames):
            if 1 < stop - start <= longest_gap * poses.fps + 1:
                share = np.linspace(0, 1, stop - start + 1, dtype=np.float32)[1:-1, None]
                joints[start + 1 : stop, joint] = joints[start, joint] * (1 - share) + joints[stop, joint] * share
                confidence[start + 1 : stop, joint] = min(confidence[start, joint], confidence[stop, joint])
    return Poses(joints, confidence, poses.fps)
