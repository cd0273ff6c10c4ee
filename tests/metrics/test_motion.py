import numpy as np
import pytest

from ms2sl.clip import Poses
from ms2sl.metrics.motion import dtw_path, hand_dtw, jerk, movement
from ms2sl.skeletons import HOLISTIC_49X2 as SKELETON


def clip(n_frames: int, fps: float = 25.0, seed: int = 0) -> Poses:
    joints = np.random.default_rng(seed).normal(size=(n_frames, SKELETON.n_joints, SKELETON.dims)).astype(np.float32)
    return Poses(joints, np.ones(joints.shape[:2], np.float32), fps)


def along(position, n_frames: int, fps: float) -> Poses:
    """All joints at ``position(seconds)`` to the right."""
    x = position(np.arange(n_frames) / fps)
    joints = np.zeros((n_frames, SKELETON.n_joints, SKELETON.dims))
    joints[..., 0] = x[:, None]
    return Poses(joints, np.ones(joints.shape[:2], np.float32), fps)


def cheapest_by_loops(cost: np.ndarray) -> float:
    total = np.full((len(cost) + 1, len(cost[0]) + 1), np.inf)
    total[0, 0] = 0
    for i in range(len(cost)):
        for j in range(len(cost[0])):
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    return total[-1, -1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (9, 14), (20, 11)])
def test_path_is_the_cheapest_and_monotone(shape):
    cost = np.random.default_rng(sum(shape)).random(shape)
    path = dtw_path(cost)
    assert cost[path[:, 0], path[:, 1]].sum() == pytest.approx(cheapest_by_loops(cost))
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [shape[0] - 1, shape[1] - 1]
    assert {tuple(step) for step in np.diff(path, axis=0).tolist()} <= {(1, 0), (0, 1), (1, 1)}


def test_path_by_hand():
    cost = np.abs(np.array([0, 1, 2])[:, None] - np.array([0, 0, 1, 2])[None])
    assert dtw_path(cost).tolist() == [[0, 0], [0, 1], [1, 2], [2, 3]]


def test_hand_dtw_is_zero_for_the_clip_itself_at_any_speed():
    real = clip(12)
    slower = Poses(np.repeat(real.joints, 2, axis=0), np.repeat(real.confidence, 2, axis=0), real.fps)
    assert hand_dtw(real, real, SKELETON) == pytest.approx(0, abs=1e-6)
    assert hand_dtw(slower, real, SKELETON) == pytest.approx(0, abs=1e-6)


def test_hand_dtw_is_in_shoulder_widths_and_of_hands_alone():
    still = along(np.zeros_like, 5, 25)
    aside = Poses(still.joints + np.array([0.3, 0.4]), still.confidence, 25)
    assert hand_dtw(aside, still, SKELETON) == pytest.approx(0.5)
    body = still.joints.copy()
    body[:, SKELETON.part("body")] += 9
    assert hand_dtw(Poses(body, still.confidence, 25), still, SKELETON) == 0


def test_hand_dtw_agrees_with_loops():
    a, b = clip(9, seed=1), clip(13, seed=2)
    flat = [poses.joints[:, SKELETON.hands].reshape(poses.n_frames, -1) for poses in (a, b)]
    cost = np.array([[np.linalg.norm(x - y) for y in flat[1]] for x in flat[0]])
    path = dtw_path(cost)
    errors = [np.linalg.norm(a.joints[i, joint] - b.joints[j, joint]) for i, j in path for joint in SKELETON.hands]
    assert hand_dtw(a, b, SKELETON) == pytest.approx(np.mean(errors), rel=1e-5)


def test_hand_dtw_ignores_what_the_real_clip_does_not_show():
    real = clip(8)
    confidence = real.confidence.copy()
    confidence[:, SKELETON.part("left_hand")] = 0
    confidence[3] = 0
    hidden = Poses(np.where(confidence[..., None] > 0, real.joints, 0), confidence, real.fps)
    assert hand_dtw(real, hidden, SKELETON) == pytest.approx(0, abs=1e-6)
    nothing = Poses(real.joints, np.zeros_like(confidence), real.fps)
    assert np.isnan(hand_dtw(real, nothing, SKELETON))


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
