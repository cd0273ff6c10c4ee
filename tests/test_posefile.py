import numpy as np
import pytest
from pose_format import Pose

from ms2sl.clip import Poses
from ms2sl.posefile import CANVAS, from_bytes, to_bytes
from ms2sl.skeleton import Part, Skeleton
from ms2sl.skeletons import HOLISTIC_49X2 as SKELETON

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
