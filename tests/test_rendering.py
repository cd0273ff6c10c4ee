import io

import numpy as np
import pytest
from PIL import Image

from ms2sl.corpora.letters import alphabet
from ms2sl.data.skeleton_registry import HOLISTIC_49X2 as SKELETON
from ms2sl.data.types import Poses
from ms2sl.rendering import BACKGROUND, BODY_HEIGHT, HAND_HEIGHT, WIDTH, gif, images, still, strips, webp


def wave(n_frames: int, fps: float) -> Poses:
    """The letter V, going from side to side so that no two frames are alike."""
    held = alphabet("ase")["v"].poses
    joints = np.repeat(held.joints[:1], n_frames, axis=0)
    joints[..., 0] += 0.5 * np.sin(np.arange(n_frames))[:, None]
    return Poses(joints, np.repeat(held.confidence[:1], n_frames, axis=0), fps)


def read(encoded: bytes) -> tuple[int, int]:
    """Frames, and milliseconds altogether."""
    image, total = Image.open(io.BytesIO(encoded)), 0
    for frame in range(image.n_frames):
        image.seek(frame)
        image.load()
        total += image.info["duration"]
    return image.n_frames, total


def inked(picture: Image.Image) -> int:
    return int((np.abs(np.asarray(picture, int) - BACKGROUND).sum(axis=2) > 60).sum())


@pytest.mark.parametrize("fps", [12.5, 24, 25, 29.97, 50])
def test_animations_last_as_long_as_the_poses(fps):
    poses = wave(12, fps)
    for encode, unit in ((gif, 10), (webp, 1)):
        n_frames, milliseconds = read(encode(poses, SKELETON))
        assert n_frames == 12
        assert milliseconds == pytest.approx(1000 * poses.seconds, abs=unit / 2 + 1e-6)


def test_a_gif_has_no_frame_that_browsers_would_slow_down():
    n_frames, milliseconds = read(gif(wave(20, 100.0), SKELETON))
    assert (n_frames, milliseconds) == (10, 200)


def test_one_frame_and_poses_that_stand_still_can_be_drawn():
    poses = wave(1, 25)
    held = Poses(np.repeat(poses.joints, 5, axis=0), np.repeat(poses.confidence, 5, axis=0), 25)
    for encode in (gif, webp, still):
        for some in (poses, held):
            assert Image.open(io.BytesIO(encode(some, SKELETON))).width == next(images(some, SKELETON)).width


def test_the_hand_is_drawn_larger_below_the_body():
    (picture,) = images(wave(1, 25), SKELETON)
    lower = picture.crop((0, BODY_HEIGHT, picture.width, picture.height))
    assert inked(lower) > 500


def test_what_is_not_seen_is_not_drawn():
    poses = wave(2, 25)
    assert inked(next(images(Poses(poses.joints, np.zeros_like(poses.confidence), 25), SKELETON))) == 0
    body = poses.confidence.copy()
    body[:, SKELETON.hands] = 0
    picture = next(images(Poses(poses.joints, body, 25), SKELETON))
    assert inked(picture) > 0
    assert inked(picture.crop((0, BODY_HEIGHT, picture.width, picture.height))) == 0


def test_handshapes_look_different():
    shapes = [list(images(alphabet("ase")[letter].poses, SKELETON))[5].crop((0, BODY_HEIGHT, 200, 320)) for letter in "abvy"]
    for i, a in enumerate(shapes):
        for b in shapes[i + 1 :]:
            assert np.abs(np.asarray(a, int) - np.asarray(b, int)).mean() > 2


def test_strips_show_clips_below_each_other(corpus):
    poses = SKELETON.normalise(corpus.clip(0).poses)
    sheet = Image.open(io.BytesIO(strips([("real", poses), ("made", poses)], SKELETON, frames=4)))
    assert sheet.size == ((150 + 4 * WIDTH) // 2, BODY_HEIGHT + HAND_HEIGHT)
