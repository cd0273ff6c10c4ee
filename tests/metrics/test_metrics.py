import numpy as np
import pytest

from ms2sl.clip import Poses
from ms2sl.metrics.motion import dtw_path, hand_dtw, jerk, movement
from ms2sl.metrics.retrieval import ranks, recall_at
from ms2sl.metrics.text import edit_distance, letter_error_rate
from ms2sl.skeleton import HOLISTIC_49X2 as SKELETON


def poses(track: np.ndarray, fps: float = 10.0) -> Poses:
    """All joints along one track ``(frames, 2)``."""
    joints = np.repeat(track[:, None], 49, axis=1).astype(np.float32)
    return Poses(joints, np.ones((len(track), 49), np.float32), fps)


def plain_dtw(cost: np.ndarray) -> float:
    total = np.full((cost.shape[0] + 1, cost.shape[1] + 1), np.inf)
    total[0, 0] = 0
    for i in range(1, cost.shape[0] + 1):
        for j in range(1, cost.shape[1] + 1):
            total[i, j] = cost[i - 1, j - 1] + min(total[i - 1, j], total[i, j - 1], total[i - 1, j - 1])
    return total[-1, -1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (13, 8), (40, 41)])
def test_the_warping_path_is_the_cheapest(shape):
    cost = np.random.default_rng(0).random(shape)
    path = dtw_path(cost)
    assert cost[path[:, 0], path[:, 1]].sum() == pytest.approx(plain_dtw(cost))
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [shape[0] - 1, shape[1] - 1]
    steps = np.diff(path, axis=0)
    assert {tuple(step) for step in steps} <= {(1, 0), (0, 1), (1, 1)}


def test_dtw_is_blind_to_pace_and_sees_place():
    track = np.stack([np.sin(np.arange(20) / 3), np.arange(20) / 20], axis=1)
    slow = np.repeat(track, 2, axis=0)
    assert hand_dtw(poses(slow), poses(track), SKELETON) == pytest.approx(0, abs=1e-6)
    assert hand_dtw(poses(track + np.array([3, 4])), poses(track), SKELETON) == pytest.approx(5, rel=0.2)
    still = np.zeros((5, 2))
    assert hand_dtw(poses(still + np.array([3, 4])), poses(still), SKELETON) == pytest.approx(5)


def test_joints_that_the_real_clip_never_shows_do_not_count():
    real, produced = poses(np.zeros((4, 2))), poses(np.zeros((4, 2)))
    left = SKELETON.part("left_hand")
    real.confidence[:, left] = 0
    produced.joints[:, left] = 99
    assert hand_dtw(produced, real, SKELETON) == 0
    assert movement(real, SKELETON) == 0


def test_movement_is_speed_and_jerk_the_third_derivative():
    t = np.arange(30) / 10.0
    straight = poses(np.stack([3 * t, 4 * t], axis=1))
    assert movement(straight, SKELETON) == pytest.approx(5, rel=1e-4)
    assert jerk(straight, SKELETON) == pytest.approx(0, abs=0.05)
    cubic = poses(np.stack([t**3, 0 * t], axis=1))
    assert jerk(cubic, SKELETON) == pytest.approx(6, rel=1e-2)


def test_what_stands_still_does_not_move():
    assert movement(poses(np.ones((9, 2))), SKELETON) == jerk(poses(np.ones((9, 2))), SKELETON) == 0
    assert movement(poses(np.ones((1, 2))), SKELETON) == 0


@pytest.mark.parametrize(("a", "b", "edits"), [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("aab", "ab", 1), ("x", "x", 0)])
def test_edit_distance(a, b, edits):
    assert edit_distance(a, b) == edit_distance(b, a) == edits


def test_letter_error_is_of_all_letters_not_of_clips():
    assert letter_error_rate(["ab", "xxxxxxxx"], ["ab", "abcdefgh"]) == pytest.approx(80)
    assert letter_error_rate(["aaaaaa"], ["b"]) == pytest.approx(600)


def test_ranks_by_hand():
    gallery = np.eye(3)
    queries = np.array([[1.0, 0, 0], [0.8, 0.6, 0], [0.6, 0.64, 0.48]])
    assert ranks(queries, gallery).tolist() == [1, 2, 3]
    assert recall_at(1, queries, gallery) == pytest.approx(100 / 3)
    assert recall_at(2, queries, gallery) == pytest.approx(200 / 3)


def test_embeddings_that_are_all_alike_find_nothing():
    same = np.tile([1.0, 0], (50, 1))
    assert recall_at(10, same, same) == 0
