import io

import numpy as np
import pytest
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

from ms2sl.data.pose_format_io import CANVAS, from_bytes, to_bytes
from ms2sl.data.skeleton import Part, Skeleton
from ms2sl.data.skeleton_registry import HOLISTIC_49X2 as SKELETON
from ms2sl.data.skeleton_registry import HOLISTIC_178X3
from ms2sl.data.types import Poses

LEFT, RIGHT = (SKELETON.index(joint) for joint in SKELETON.shoulders)


@pytest.fixture(scope="module")
def poses(corpus) -> Poses:
    return SKELETON.normalise(corpus.clip(0).poses)


def read(encoded: bytes, skeleton: Skeleton = SKELETON) -> Poses:
    """From the canvas back to shoulder widths."""
    raw = from_bytes(encoded, skeleton).poses
    joints = (raw.joints - np.array(CANVAS.origin[: skeleton.dims], np.float32)) / CANVAS.unit
    return Poses(joints * (raw.confidence[..., None] > 0), raw.confidence, raw.fps)


@pytest.mark.parametrize("fps", [12.5, 25.0, 29.97])
def test_a_clip_comes_back_as_it_was(poses, fps):
    back = read(to_bytes(Poses(poses.joints, poses.confidence, fps), SKELETON))
    assert np.abs(back.joints - poses.joints).max() < 1e-4
    assert np.array_equal(back.confidence, poses.confidence)
    assert back.fps == pytest.approx(fps)


def test_one_frame_is_enough():
    one = Poses(np.zeros((1, 49, 2), np.float32), np.ones((1, 49), np.float32), 25.0)
    assert read(to_bytes(one, SKELETON)).n_frames == 1


def test_pose_format_reads_joints_limbs_and_pixels(poses):
    pose = Pose.read(to_bytes(poses, SKELETON))
    names = [f"{component.name}/{point}" for component in pose.header.components for point in component.points]
    assert tuple(names) == SKELETON.joints
    assert [len(component.limbs) for component in pose.header.components] == [len(part.limbs) for part in SKELETON.parts]
    assert (pose.header.dimensions.width, pose.header.dimensions.height) == (CANVAS.width, CANVAS.height)
    assert pose.body.data.shape == (poses.n_frames, 1, 49, 2)
    shoulders = pose.body.data[:, 0, [LEFT, RIGHT]]
    assert np.median(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=-1)) == pytest.approx(CANVAS.unit, rel=1e-3)
    assert shoulders.mean(axis=(0, 1)).tolist() == pytest.approx(CANVAS.origin[:2], abs=0.1)


def test_what_was_not_seen_is_masked_for_pose_format_too(poses):
    confidence = np.ones_like(poses.confidence)
    confidence[1:3, 20] = 0
    encoded = to_bytes(Poses(poses.joints + 1, confidence, 25.0), SKELETON)
    mask = np.ma.getmaskarray(Pose.read(encoded).body.data)
    assert mask[1:3, 0, 20].all()
    assert mask.sum() == 2 * 2
    back = read(encoded)
    assert (back.confidence[1:3, 20] == 0).all()
    assert (back.joints[1:3, 20] == 0).all()


def test_between_seen_and_unseen_confidence_is_kept(poses):
    confidence = np.full_like(poses.confidence, 0.25)
    back = read(to_bytes(Poses(poses.joints, confidence, 25.0), SKELETON))
    assert (back.confidence == 0.25).all()


def test_depth_is_kept_where_a_skeleton_has_it():
    body = Part(name="body", joints=("LEFT", "RIGHT", "NOSE"), limbs=((0, 1),))
    deep = Skeleton(name="deep", dims=3, parts=(body,), shoulders=("body/LEFT", "body/RIGHT"), wrists={})
    joints = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)
    back = read(to_bytes(Poses(joints, np.ones((4, 3), np.float32), 25.0), deep), deep)
    assert np.abs(back.joints - joints).max() < 1e-4


def mediapipe(joints: np.ndarray, width: int, depth: int, scale: float = 1.0, shift: float = 0.0) -> bytes:
    """As pose-format's own writer has it: x and y in pixels, z as MediaPipe says it; then scaled and moved, all three."""
    names = {"body": "POSE", "left_hand": "LEFT_HAND", "right_hand": "RIGHT_HAND", "face": "FACE"}
    parts = [
        PoseHeaderComponent(f"{names[part.name]}_LANDMARKS", list(part.joints), list(part.limbs), [(0, 0, 0)], "XYZC")
        for part in HOLISTIC_178X3.parts
    ]
    size = PoseHeaderDimensions(round(width * scale), round(width * scale), depth)
    pixels, buffer = (joints * [width, width, 1] * scale + shift).astype(np.float32), io.BytesIO()
    confidence = np.ones((len(joints), 1, HOLISTIC_178X3.n_joints), np.float32)
    Pose(PoseHeader(version=0.2, dimensions=size, components=parts), NumPyPoseBody(25.0, pixels[:, None], confidence)).write(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("width", "depth", "scale", "shift"),
    [(640, 640, 1.0, 0), (500, 0, 1.0, 0), (640, 640, 0.8, 256), (640, 640, 1.953125, 0), (500, 1000, 1.0, 0)],
)
def test_depth_of_mediapipe_is_as_large_as_breadth_and_height(width, depth, scale, shift):
    """A hand turns about its wrist: in depth its fingers are as long as across. MediaPipe puts it at z = 0, and the wrist of the body
    before the hips."""
    skeleton, frames = HOLISTIC_178X3, 12
    joints = np.random.default_rng(0).uniform(0.3, 0.7, (frames, skeleton.n_joints, 3))
    joints[..., 2] = -0.3
    hand, wrist = skeleton.part("left_hand"), skeleton.index("body/LEFT_WRIST")
    left, right = (skeleton.index(joint) for joint in skeleton.shoulders)
    joints[:, left], joints[:, right] = (0.6, 0.3, -0.2), (0.4, 0.3, -0.2)
    angle, reach = np.linspace(0, np.pi / 2, frames), np.linspace(0, 0.1, 21)
    joints[:, hand, 0] = 0.5 + np.cos(angle)[:, None] * reach
    joints[:, hand, 1] = 0.5
    joints[:, hand, 2] = -np.sin(angle)[:, None] * reach
    joints[:, wrist] = (0.5, 0.5, -0.4)
    joints[:, skeleton.part("face"), 2] = 0.0
    poses = skeleton.normalise(from_bytes(mediapipe(joints, width, depth, scale, shift), skeleton).poses)
    fingers = poses.joints[:, hand] - poses.joints[:, [wrist]]
    expected = np.broadcast_to(reach / 0.2, (frames, 21))  # shoulders are 0.2 of the width apart
    assert np.linalg.norm(fingers, axis=-1) == pytest.approx(expected, abs=1e-3)
    assert poses.joints[:, wrist, 2] == pytest.approx(-1.0, abs=1e-3)
    assert poses.joints[:, skeleton.part("face"), 2] == pytest.approx(0.0, abs=1e-3)  # over the shoulders


def test_depth_that_is_in_pixels_stays_as_it_is():
    joints = np.random.default_rng(0).uniform(0, 1, (4, HOLISTIC_178X3.n_joints, 3))
    found = from_bytes(mediapipe(joints * [1, 1, 500], 500, 500), HOLISTIC_178X3).poses
    assert found.joints == pytest.approx(joints * 500, rel=1e-5)
