"""Poses as moving pictures: the body, and below it the hands close up, since hands are what one reads. pose-format draws."""

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
from PIL import Image, ImageDraw
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions
from pose_format.pose_visualizer import PoseVisualizer

from ms2sl.data.skeleton import Part, Skeleton
from ms2sl.data.types import Poses
from ms2sl.extras import extra

WIDTH, BODY_HEIGHT, HAND_HEIGHT = 200, 150, 170  # pixels
BODY_SPAN, BODY_TOP = 3.2, -1.1  # shoulder widths: what the width shows, and where the picture begins
HAND_SPAN = 0.85  # shoulder widths across a close-up
DRAWN_AT_ONCE = 25  # frames
FINER = 3  # drawn larger, then scaled down, for smooth lines
BACKGROUND = (250, 250, 248)
BODY_COLOUR = (90, 95, 110)
FINGER_COLOURS = ((196, 64, 42), (214, 138, 20), (58, 140, 74), (32, 108, 184), (128, 72, 168))


def images(poses: Poses, skeleton: Skeleton, moments: Sequence[int] | None = None) -> Iterator[Image.Image]:
    """One picture a frame, of all frames or of those at ``moments``; no more than ``DRAWN_AT_ONCE`` are in memory."""
    with extra("render"):
        import cv2
    views = _body(poses, skeleton), _close_up(poses, skeleton)
    chosen = np.arange(poses.n_frames) if moments is None else np.asarray(moments)
    for start in range(0, len(chosen), DRAWN_AT_ONCE):
        some = chosen[start : start + DRAWN_AT_ONCE]
        upper, lower = (Poses(view.joints[some], view.confidence[some], poses.fps) for view in views)
        pairs = zip(_draw(upper, skeleton, BODY_HEIGHT, thickness=5), _draw(lower, skeleton, HAND_HEIGHT, thickness=9), strict=True)
        for pair in pairs:
            smaller = cv2.resize(np.concatenate(pair), (WIDTH, BODY_HEIGHT + HAND_HEIGHT), interpolation=cv2.INTER_AREA)
            yield Image.fromarray(cv2.cvtColor(smaller, cv2.COLOR_BGR2RGB))


def gif(poses: Poses, skeleton: Skeleton) -> bytes:
    """An endless GIF at the speed of the poses. GIF counts in 10 ms: frames differ by that much, their sum does not.

    Browsers slow down frames below 20 ms, so of poses above 50 fps only every second (third, ...) frame is shown.
    """
    every = math.ceil(poses.fps / 50)
    shown = Poses(poses.joints[::every], poses.confidence[::every], poses.fps / every)
    return _save(images(shown, skeleton), "GIF", duration=_durations(shown, 10))


def webp(poses: Poses, skeleton: Skeleton) -> bytes:
    """An endless WebP at the speed of the poses: smaller and finer than GIF."""
    return _save(images(poses, skeleton), "WEBP", duration=_durations(poses, 1), quality=60, method=2)


def mp4(poses: Poses, skeleton: Skeleton) -> bytes:
    """A film (H.264) at the speed of the poses, rounded to a thousandth of a frame a second."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=Fraction(round(poses.fps * 1000), 1000))
        stream.width, stream.height, stream.pix_fmt = WIDTH, BODY_HEIGHT + HAND_HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in images(poses, skeleton):
            film.mux(stream.encode(av.VideoFrame.from_image(picture)))
        film.mux(stream.encode())
    return buffer.getvalue()


def still(poses: Poses, skeleton: Skeleton) -> bytes:
    """The frame in the middle, as WebP."""
    middle = slice(poses.n_frames // 2, poses.n_frames // 2 + 1)
    return _save(images(Poses(poses.joints[middle], poses.confidence[middle], poses.fps), skeleton), "WEBP", quality=60, method=2)


def _durations(poses: Poses, unit: int) -> list[int]:
    """Milliseconds of each frame, multiples of ``unit``, such that every frame ends as near to its time as can be."""
    ends = np.round(np.arange(poses.n_frames + 1) * 1000 / poses.fps / unit)
    return (unit * np.diff(ends)).astype(int).tolist()


def _save(pictures: Iterable[Image.Image], kind: str, **options) -> bytes:
    buffer, rest = io.BytesIO(), iter(pictures)
    next(rest).save(buffer, kind, save_all=True, append_images=rest, loop=0, **options)
    return buffer.getvalue()


def _body(poses: Poses, skeleton: Skeleton) -> Poses:
    scale = WIDTH / BODY_SPAN
    pixels = (poses.joints[..., :2] - np.array([-BODY_SPAN / 2, BODY_TOP], np.float32)) * scale
    return Poses(pixels, poses.confidence, poses.fps)


def _close_up(poses: Poses, skeleton: Skeleton) -> Poses:
    """Each hand that is ever seen, side by side in the order of the picture, following it as it moves."""
    pixels, confidence = np.zeros_like(poses.joints[..., :2]), np.zeros_like(poses.confidence)
    shown = [part for part in ("right_hand", "left_hand") if part in skeleton.wrists and poses.confidence[:, skeleton.part(part)].any()]
    for place, name in enumerate(shown):
        span = skeleton.part(name)
        hand, seen = poses.joints[:, span, :2], poses.confidence[:, span] > 0
        weight = seen[..., None] / np.maximum(seen.sum(axis=1), 1)[:, None, None]
        there = np.flatnonzero(seen.any(axis=1))
        near = np.interp(np.arange(len(seen)), there, np.arange(len(there)))
        nearest = there[near.round().astype(int)]  # where it is not, the camera waits
        centre = _smooth((hand * weight).sum(axis=1, keepdims=True)[nearest])
        scale = min(WIDTH / len(shown), HAND_HEIGHT) / HAND_SPAN
        middle = np.array([WIDTH * (place + 0.5) / len(shown), HAND_HEIGHT / 2], np.float32)
        pixels[:, span] = (hand - centre) * scale + middle
        confidence[:, span] = poses.confidence[:, span]
    return Poses(pixels, confidence, poses.fps)


def _smooth(centre: np.ndarray, frames: int = 5) -> np.ndarray:
    """Moving average, so that the camera follows a hand and does not shake with it."""
    padded = np.pad(centre, ((frames // 2, frames // 2), (0, 0), (0, 0)), mode="edge")
    return np.stack([padded[i : i + len(centre)] for i in range(frames)]).mean(axis=0)


def _draw(pixels: Poses, skeleton: Skeleton, height: int, thickness: int) -> list[np.ndarray]:
    """Frames BGR ``(height, width, 3)``, larger by ``FINER``."""
    components = [
        PoseHeaderComponent(part.name, list(part.joints), list(part.limbs), _colours(part, skeleton), "XYC") for part in skeleton.parts
    ]
    header = PoseHeader(0.2, PoseHeaderDimensions(WIDTH * FINER, height * FINER, 0), components)
    body = NumPyPoseBody(pixels.fps, (pixels.joints * FINER)[:, None], pixels.confidence[:, None])
    return list(PoseVisualizer(Pose(header, body), thickness=thickness).draw(BACKGROUND[::-1]))


def _colours(part: Part, skeleton: Skeleton) -> list[tuple[int, int, int]]:
    """A colour for each finger of a hand: four joints after the wrist belong to one."""
    if part.name not in skeleton.wrists:
        return [BODY_COLOUR] * len(part.joints)
    return [BODY_COLOUR] + [FINGER_COLOURS[(joint - 1) // 4 % len(FINGER_COLOURS)] for joint in range(1, len(part.joints))]


def strips(rows: Sequence[tuple[str, Poses]], skeleton: Skeleton, frames: int = 9) -> bytes:
    """PNG of clips below each other, each as ``frames`` moments from its first to its last frame, with its label on the left."""
    margin, height = 150, BODY_HEIGHT + HAND_HEIGHT
    sheet = Image.new("RGB", (margin + frames * WIDTH, len(rows) * height), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for y, (label, poses) in enumerate(rows):
        moments = np.linspace(0, poses.n_frames - 1, frames).round().astype(int).tolist()
        pen.text((10, y * height + height // 2), label, fill=BODY_COLOUR, font_size=20)
        for x, picture in enumerate(images(poses, skeleton, moments)):
            sheet.paste(picture, (margin + x * WIDTH, y * height))
    buffer = io.BytesIO()
    sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS).save(buffer, "PNG")
    return buffer.getvalue()
