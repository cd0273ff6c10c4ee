import numpy as np
import pytest

from ms2sl.following import follow, remarks

BODY, SHOULDERS = slice(0, 6), (0, 1)
REST = np.array([[0.5, 0], [-0.5, 0], [0.7, 0.6], [-0.7, 0.6], [0.4, 0.9], [-0.4, 0.9]])


def person(x: float, scale: float, frames: int = 30, step: float = 0.0) -> np.ndarray:
    """``(frames, 12, 2)``: shoulders, elbows, wrists and two hands of three joints, which move; ``step`` pixels a frame to the right."""
    joints = np.concatenate([REST, np.repeat(REST[4:], 3, axis=0)])[None].repeat(frames, axis=0)
    joints[:, [3, 5, *range(9, 12)], 1] -= 0.3 * np.sin(np.arange(frames) / 3)[:, None]
    joints[..., 0] += (x + step * np.arange(frames))[:, None] / scale
    return joints * scale


def scene(*people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    joints = np.stack(people, axis=1)
    return joints, np.ones(joints.shape[:3], np.float32)


def shuffled(joints, confidence, seed: int = 0):
    """People in another order in each frame, and where each of them stands."""
    rng = np.random.default_rng(seed)
    order = np.array([rng.permutation(joints.shape[1]) for _ in joints])
    frames = np.arange(len(joints))[:, None]
    return joints[frames, order], confidence[frames, order], np.argsort(order, axis=1)


@pytest.mark.parametrize(
    ("x", "scale", "step"),
    [(300, 150, 0), (300, 100, 0), (900, 80, 0), (100, 150, 12), (640, 60, 0)],
    ids=["beside", "smaller", "behind", "walks in front of the signer", "in the same place, far behind"],
)
def test_the_signer_is_followed_whatever_the_order(x, scale, step):
    joints, confidence = scene(person(x, scale, step=step), person(640, 200))
    joints, confidence, places = shuffled(joints, confidence)
    assert follow(joints, confidence, BODY, SHOULDERS).tolist() == places[:, 1].tolist()


@pytest.mark.parametrize("missed", [[0], [29], [0, 1, 2], [7], list(range(5, 15)), list(range(0, 30, 2))])
@pytest.mark.parametrize("alone", [True, False], ids=["others seen only then", "others always seen"])
def test_where_the_signer_is_missed_nobody_else_is_taken(missed, alone):
    joints, confidence = scene(person(640, 200), person(300, 150))
    confidence[missed, 0] = 0
    if alone:
        confidence[np.setdiff1d(np.arange(30), missed), 1] = 0
    joints, confidence, places = shuffled(joints, confidence)
    chosen = follow(joints, confidence, BODY, SHOULDERS)
    assert np.flatnonzero(chosen < 0).tolist() == missed
    seen = chosen >= 0
    assert (chosen[seen] == places[seen, 0]).all()
    assert f"the signer was not detected in {len(missed)} of 30 frames in which somebody else was" in remarks(chosen, confidence)


def test_who_passes_by_before_the_camera_is_not_the_signer():
    joints, confidence = scene(person(640, 200), person(100, 500, step=60))
    confidence[9:, 1] = 0
    assert follow(joints, confidence, BODY, SHOULDERS).tolist() == [0] * 30


def test_a_second_detection_of_a_hand_alone_does_not_stand_for_the_signer():
    joints, confidence = scene(person(640, 200), person(640, 200))
    confidence[:, 1, :9] = 0
    joints, confidence, places = shuffled(joints, confidence)
    assert follow(joints, confidence, BODY, SHOULDERS).tolist() == places[:, 0].tolist()


def test_the_signer_may_walk_turn_and_lose_hands():
    joints, confidence = scene(person(100, 200, step=25), person(1500, 150))
    joints[10:20, 0, :, 0] = 100 + 25 * np.arange(10, 20)[:, None] + 0.5 * (joints[10:20, 0, :, 0] - 100 - 25 * np.arange(10, 20)[:, None])
    confidence[5:9, 0, 6:] = 0
    joints, confidence, places = shuffled(joints, confidence)
    assert follow(joints, confidence, BODY, SHOULDERS).tolist() == places[:, 0].tolist()


def test_nobody_is_followed_where_nobody_is():
    joints, confidence = scene(person(640, 200))
    assert (follow(joints, confidence * 0, BODY, SHOULDERS) == -1).all()
    confidence[3:5] = 0
    chosen = follow(joints, confidence, BODY, SHOULDERS)
    assert remarks(chosen, confidence) == ("nobody in 2 of 30 frames",)
