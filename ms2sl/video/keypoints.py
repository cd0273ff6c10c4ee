"""Keypoints of a film by MediaPipe Holistic, as the bytes of a `.pose` file."""

import contextlib
import io
import struct
import subprocess
import tempfile
import weakref
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

from ms2sl.data.mediapipe_landmarks import BODY
from ms2sl.data.resampling import at
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Poses
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from ms2sl.video.decoding import Picture, pictures

LANDMARKS = 543
SIZE = LANDMARKS * 4 * 4  # bytes of those of a picture
MOST_PIXELS = 720  # of the shorter side of a picture: the models look at 256
UNEVEN = 0.25  # of the time between two pictures, by which one may be early or late
TORSO = ((11, 12), (11, 13), (13, 15), (12, 14), (14, 16), (11, 23), (12, 24), (23, 24))
GAP, LONGEST = 0.5, 600.0  # seconds
COLOURS = ((70, 70, 80), (120, 120, 120), (0, 120, 190), (214, 80, 20))


class Ended(InputError):
    """MediaPipe ended in a film."""


@dataclass(frozen=True)
class Detected:
    """pose: bytes of a ``.pose`` file. frames: pictures that were looked at."""

    pose: bytes
    frames: int


class Detector:
    """MediaPipe Holistic in a process of its own, for one film after another; python: of an environment that has it."""

    def __init__(self, python: str):
        worker = str(files("ms2sl.video") / "mediapipe_worker.py")
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        self.process = subprocess.Popen([python, "-I", worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said)
        self.close = weakref.finalize(self, _end, self.process)

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def landmarks(self, pixels: np.ndarray) -> np.ndarray:
        """float32 ``(543, 4)`` of a picture, the next one of a film. Raises Ended."""
        height, width, _ = pixels.shape
        answer = b""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(struct.pack("<II", height, width) + pixels.tobytes())
            self.process.stdin.flush()
            answer = self.process.stdout.read(SIZE)
        if len(answer) < SIZE:
            status = self.process.wait()
            self._said.seek(0)
            said = self._said.read().decode(errors="replace").strip().splitlines()
            raise Ended(f"MediaPipe ended with status {status}{f': {said[-1]}' if said else ''}")
        return np.frombuffer(answer, np.float32).reshape(LANDMARKS, 4)

    def detect(self, film: StoragePath, most_fps: float) -> Detected:
        """The keypoints of a film, in pixels, at an even rate. Raises InputError if it cannot be decoded, or is no film of signing."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(struct.pack("<II", 0, 0))
        found, times, size = [], [], (0, 0)
        for picture in pictures(film, most_fps, MOST_PIXELS):
            if picture.seconds > LONGEST:
                raise InputError(f"it takes more than {LONGEST:.0f} s: cut it into sentences")
            size = size if found else picture.pixels.shape[1::-1]
            found.append(self.landmarks(_same_size(picture, size)))
            times.append(picture.seconds)
        values = np.stack(found)
        confidence = np.where(np.isfinite(values).all(axis=2), values[..., 3], 0).astype(np.float32)
        joints = np.where(confidence[..., None] > 0, values[..., :3], 0) * np.array([*size, 1], np.float32)
        return Detected(_pose_file(_even(Poses(joints, confidence, 1.0), np.array(times)), *size), len(found))


def _end(process: subprocess.Popen) -> None:
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    process.kill()
    process.wait()


def _same_size(picture: Picture, size: tuple[int, int]) -> np.ndarray:
    """A film may change its size in the middle; landmarks are fractions of whatever it is, so only a turn would matter."""
    width, height = picture.pixels.shape[1::-1]
    if (width > height) != (size[0] > size[1]) and width != height:
        raise InputError(f"it changes from {size[0]} × {size[1]} to {width} × {height} at {picture.seconds:.1f} s: cut it there")
    return picture.pixels


def _even(poses: Poses, times: np.ndarray) -> Poses:
    """At a constant rate, that of most pictures: between two pictures of uneven times joints are on the way from one to the other, and
    unseen where no picture is for longer than ``GAP``. Raises InputError if there are too few."""
    if len(times) < 2:
        return Poses(poses.joints, poses.confidence, 25.0)
    step = float(np.median(np.diff(times)))
    if step > GAP:
        raise InputError(f"it has a picture every {step:.1f} s: no film of signing")
    whole = (times[-1] - times[0]) / (len(times) - 1)
    step = whole if abs(whole - step) < UNEVEN * step else step  # which rounding of times does not move
    now = times[0] + np.arange(round((times[-1] - times[0]) / step) + 1) * step
    fps = round(1 / step, 3)
    if len(now) == len(times) and np.abs(times - now).max() <= UNEVEN * step:
        return Poses(poses.joints, poses.confidence, fps)
    even = at(poses, np.interp(now, times, np.arange(len(times))), fps)
    after = np.searchsorted(times, now).clip(1, len(times) - 1)
    alone = np.minimum(now - times[after - 1], times[after] - now) > step / 2
    lost = alone & (times[after] - times[after - 1] > GAP)
    return Poses(even.joints, even.confidence * ~lost[:, None], fps)


def _pose_file(poses: Poses, width: int, height: int) -> bytes:
    """x and y in pixels, z as a fraction of the width, as the field's tools write it."""
    parts = [("POSE", BODY, TORSO), ("FACE", map(str, range(468)), ())]
    parts += [(part.name.upper(), part.joints, part.limbs) for part in HOLISTIC_49X2.parts if part.name != "body"]
    components = [
        PoseHeaderComponent(f"{name}_LANDMARKS", list(points), list(limbs), [colour], "XYZC")
        for (name, points, limbs), colour in zip(parts, COLOURS, strict=True)
    ]
    header = PoseHeader(version=0.2, dimensions=PoseHeaderDimensions(width, height, width), components=components)
    buffer = io.BytesIO()
    Pose(header, NumPyPoseBody(poses.fps, poses.joints[:, None].astype(np.float32), poses.confidence[:, None])).write(buffer)
    return buffer.getvalue()
