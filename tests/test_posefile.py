import numpy as np
import pytest
from pose_format import Pose

from ms2sl.clip import Poses
from ms2sl.posefile import HEIGHT, ORIGIN, SHOULDER_WIDTH, WIDTH, from_bytes, to_bytes
from ms2sl.skeleton import HOLISTIC_49X2 as SKELETON
from ms2sl.skeleton import Part, Skeleton

LEFT, RIGHT = (SKELETON.index(joint) for joint in SKELETON.shoulders)


@pytest.fixture(scope="module")
def poses(corpus) -> Poses:
    return SKELETON.normalise(corpus.clip(0).poses)


@pytest.mark.parametrize("fps", [12.5, 25.0, 29.97])
def test_a_clip_comes_back_as_it_was(poses, fps):
    back = from_bytes(to_bytes(Poses(poses.joints, poses.confidence, fps), SKELETON), SKELETON)
    assert np.abs(back.joints - poses.joints).max() < 1e-4
    assert np.array_equal(back.confidence, poses.confidence)
    assert back.fps == pytest.approx(fps)


def test_one_frame_is_enough():
    one = Poses(np.zeros((1, 49, 2), np.float32), np.ones((1, 49), np.float32), 25.0)
    assert from_bytes(to_bytes(one, SKELETON), SKELETON).n_frames == 1


def test_pose_format_reads_joints_limbs_and_pixels(poses):
    pose = Pose.read(to_bytes(poses, SKELETON))
    names = [f"{component.name}/{point}" for component in pose.header.components for point in component.points]
    assert tuple(names) == SKELETON.joints
    assert [len(component.limbs) for component in pose.header.components] == [len(part.limbs) for part in SKELETON.parts]
    assert (pose.header.dimensions.width, pose.header.dimensions.height) == (WIDTH, HEIGHT)
    assert pose.body.data.shape == (poses.n_frames, 1, 49, 2)
    shoulders = pose.body.data[:, 0, [LEFT, RIGHT]]
    assert np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=-1).mean() == pytest.approx(SHOULDER_WIDTH, rel=1e-3)
    assert shoulders.mean(axis=(0, 1)).tolist() == pytest.approx(ORIGIN, abs=0.1)


def test_what_was_not_seen_is_masked_for_pose_format_too(poses):
    confidence = np.ones_like(poses.confidence)
    confidence[1:3, 20] = 0
    encoded = to_bytes(Poses(poses.joints + 1, confidence, 25.0), SKELETON)
    mask = np.ma.getmaskarray(Pose.read(encoded).body.data)
    assert mask[1:3, 0, 20].all()
    assert mask.sum() == 2 * 2
    back = from_bytes(encoded, SKELETON)
    assert (back.confidence[1:3, 20] == 0).all()
    assert (back.joints[1:3, 20] == 0).all()


def test_between_seen_and_unseen_confidence_is_kept(poses):
    confidence = np.full_like(poses.confidence, 0.25)
    back = from_bytes(to_bytes(Poses(poses.joints, confidence, 25.0), SKELETON), SKELETON)
    assert (back.confidence == 0.25).all()


def test_depth_is_kept_where_a_skeleton_has_it():
    body = Part(name="body", joints=("LEFT", "RIGHT", "NOSE"), limbs=((0, 1),))
    deep = Skeleton(name="deep", dims=3, parts=(body,), shoulders=("body/LEFT", "body/RIGHT"), wrists={})
    joints = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)
    back = from_bytes(to_bytes(Poses(joints, np.ones((4, 3), np.float32), 25.0), deep), deep)
    assert np.abs(back.joints - joints).max() < 1e-4
