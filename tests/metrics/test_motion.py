import numpy as np
import pytest

from ms2sl.data.skeleton_registry import HOLISTIC_49X2 as SKELETON
from ms2sl.data.types import Poses
from ms2sl.metrics.dtw import dtw_paths
from ms2sl.metrics.motion import diversity, dtw_mje, hand_dtw, jerk, joint_dtw, movement, wrist_distance


def clip(n_frames: int, fps: float = 25.0, seed: int = 0) -> Poses:
    joints = np.random.default_rng(seed).normal(size=(n_frames, SKELETON.n_joints, SKELETON.dims)).astype(np.float32)
    return Poses(joints, np.ones(joints.shape[:2], np.float32), fps)


def along(position, n_frames: int, fps: float) -> Poses:
    """All joints at ``position(seconds)`` to the right."""
    x = position(np.arange(n_frames) / fps)
    joints = np.zeros((n_frames, SKELETON.n_joints, SKELETON.dims))
    joints[..., 0] = x[:, None]
    return Poses(joints, np.ones(joints.shape[:2], np.float32), fps)


def hands(produced: Poses, real: Poses) -> float:
    return hand_dtw([produced], [real], SKELETON)[0]


def path_of(cost: np.ndarray) -> np.ndarray:
    return dtw_paths([cost])[0]


def test_hand_dtw_is_zero_for_the_clip_itself_at_any_speed():
    real = clip(12)
    slower = Poses(np.repeat(real.joints, 2, axis=0), np.repeat(real.confidence, 2, axis=0), real.fps)
    assert hands(real, real) == pytest.approx(0, abs=1e-6)
    assert hands(slower, real) == pytest.approx(0, abs=1e-6)


def test_hand_dtw_is_in_shoulder_widths_and_of_hands_alone():
    still = along(np.zeros_like, 5, 25)
    aside = Poses(still.joints + np.array([0.3, 0.4]), still.confidence, 25)
    assert hands(aside, still) == pytest.approx(0.5)
    body = still.joints.copy()
    body[:, SKELETON.part("body")] += 9
    assert hands(Poses(body, still.confidence, 25), still) == 0


def test_hand_dtw_agrees_with_loops():
    a, b = clip(9, seed=1), clip(13, seed=2)
    flat = [poses.joints[:, SKELETON.hands].reshape(poses.n_frames, -1) for poses in (a, b)]
    cost = np.array([[np.linalg.norm(x - y) for y in flat[1]] for x in flat[0]])
    path = path_of(cost)
    errors = [np.linalg.norm(a.joints[i, joint] - b.joints[j, joint]) for i, j in path for joint in SKELETON.hands]
    assert hands(a, b) == pytest.approx(np.mean(errors), rel=1e-5)


def test_hand_dtw_ignores_what_the_real_clip_does_not_show():
    real = clip(8)
    confidence = real.confidence.copy()
    confidence[:, SKELETON.part("left_hand")] = 0
    confidence[3] = 0
    hidden = Poses(np.where(confidence[..., None] > 0, real.joints, 0), confidence, real.fps)
    assert hands(real, hidden) == pytest.approx(0, abs=1e-6)
    nothing = Poses(real.joints, np.zeros_like(confidence), real.fps)
    assert np.isnan(hands(real, nothing))


@pytest.mark.parametrize("fps", [12.5, 25, 29.97])
def test_movement_is_speed_a_second_whatever_the_frame_rate_and_length(fps):
    for n_frames in (5, 50):
        assert movement(along(lambda t: 0.7 * t, n_frames, fps), SKELETON) == pytest.approx(0.7, rel=1e-5)


def test_jerk_is_the_third_derivative():
    assert jerk(along(lambda t: t**3, 30, 25.0), SKELETON) == pytest.approx(6, rel=1e-4)
    assert jerk(along(lambda t: 2 * t**2, 30, 25.0), SKELETON) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("n_frames", [1, 2, 20])
def test_who_stands_still_does_not_move(n_frames):
    still = along(np.zeros_like, n_frames, 25)
    assert movement(still, SKELETON) == 0
    assert jerk(still, SKELETON) == 0


def test_a_joint_that_appears_has_not_moved():
    poses = along(np.zeros_like, 6, 25)
    poses.joints[:3] = 7
    poses.confidence[:3] = 0
    assert movement(poses, SKELETON) == 0


def test_dtw_mje_agrees_with_loops_over_every_second_frame():
    produced, real = [clip(9, seed=1), clip(14, seed=2)], [clip(12, seed=3), clip(11, seed=4)]
    pooled = []
    for one, other in zip(produced, real, strict=True):
        a, b = one.joints[::2].astype(float), other.joints[::2].astype(float)
        cost = np.array([[np.sqrt(((x - y) ** 2).sum()) for y in b] for x in a])
        path = path_of(cost)
        pooled += [np.linalg.norm(a[i] - b[j], axis=-1) for i, j in path]
    assert dtw_mje(produced, real) == pytest.approx(np.concatenate(pooled).mean(), rel=1e-5)
    assert dtw_mje(real, real) == pytest.approx(0, abs=1e-6)


def test_parts_are_aligned_and_scored_on_their_own():
    real = clip(10, seed=1)
    shifted = Poses(real.joints.copy(), real.confidence, real.fps)
    shifted.joints[:, SKELETON.part("body")] += 0.5
    assert joint_dtw([shifted], [real], SKELETON.hands)[0] == pytest.approx(0, abs=1e-6)
    assert joint_dtw([shifted], [real], np.arange(7))[0] == pytest.approx(np.sqrt(0.5), rel=0.05)


def test_the_way_of_the_wrists_is_that_of_every_second_frame():
    steady = along(lambda t: 3 * t, 11, 25.0)
    assert wrist_distance(steady, SKELETON) == pytest.approx([3 * 10 / 25] * 2)
    trembling = along(lambda t: np.arange(len(t)) % 2, 11, 25.0)
    assert wrist_distance(trembling, SKELETON).tolist() == [0, 0]
    unseen = Poses(steady.joints, steady.confidence.copy(), 25.0)
    unseen.confidence[4, SKELETON.index("body/LEFT_WRIST")] = 0
    assert sorted(wrist_distance(unseen, SKELETON)) == pytest.approx([3 * 10 / 25 * 3 / 5, 3 * 10 / 25])


def test_samples_that_are_all_alike_have_no_diversity():
    one = clip(8)
    assert diversity([one, one, one], SKELETON) == pytest.approx(0, abs=1e-6)
    assert diversity([one], SKELETON) == 0
    moved = Poses(one.joints + np.array([0.3, 0.4], np.float32), one.confidence, one.fps)
    # 20 pairs of noise cannot be aligned nearer than by shifting them back, which DTW does not do.
    assert 0 < diversity([one, moved], SKELETON) <= 0.5 + 1e-6


def test_movement_of_a_part_is_its_own():
    still = along(lambda t: 0 * t, 10, 25.0)
    still.joints[:, SKELETON.part("left_hand"), 0] = np.arange(10)[:, None] / 25
    assert movement(still, SKELETON, "left_hand") == pytest.approx(1)
    assert movement(still, SKELETON, "body") == 0
    assert movement(still, SKELETON) == pytest.approx(0.5)
