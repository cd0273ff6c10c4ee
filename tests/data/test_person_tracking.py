import time

import numpy as np
import pytest

from ms2sl.data.person_tracking import follow, remarks

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


def one(*stretches: tuple[float, float, int, float]) -> tuple[np.ndarray, np.ndarray]:
    """One person in stretches of ``person``; those of no size are frames of nobody."""
    joints = np.concatenate([person(x, scale or 1, frames, step) for x, scale, frames, step in stretches])[:, None]
    confidence = np.ones(joints.shape[:3], np.float32)
    confidence[np.repeat([scale == 0 for _, scale, _, _ in stretches], [frames for _, _, frames, _ in stretches])] = 0
    return joints, confidence


@pytest.mark.parametrize(
    "stretches",
    [
        [(400, 80, 60, 0), (700, 80, 50, 0)],
        [(400, 80, 60, 0), (400, 176, 50, 0)],
        [(400, 80, 25, 0), (600, 80, 25, 0), (800, 80, 25, 0), (1000, 80, 25, 0)],
        [(400, 80, 60, 0), (700, 80, 50, 0), (400, 80, 60, 0)],
        [(100, 80, 8, 70), (660, 80, 52, 0)],
        [(400, 80, 60, 0), (0, 0, 25, 0), (480, 80, 50, 0)],
    ],
    ids=["camera cut", "zoom", "four angles", "another angle and back", "walks in at few frames a second", "a step aside while undetected"],
)
def test_one_person_alone_keeps_every_frame(stretches):
    joints, confidence = one(*stretches)
    chosen = follow(joints, confidence, BODY, SHOULDERS)
    assert (chosen >= 0).tolist() == confidence[:, 0, 0].astype(bool).tolist()
    assert not any("somebody else" in remark for remark in remarks(chosen, confidence))


@pytest.mark.parametrize(("x", "scale"), [(300, 150), (200, 200)], ids=["smaller", "of one size"])
def test_who_is_alone_for_a_short_time_while_the_signer_is_missed_is_not_the_signer(x, scale):
    joints, confidence = one((640, 200, 50, 0), (x, scale, 12, 0), (640, 200, 60, 0))
    assert np.flatnonzero(follow(joints, confidence, BODY, SHOULDERS) < 0).tolist() == list(range(50, 62))


def test_a_signer_seen_in_pieces_is_one_person_beside_somebody_who_is_always_there():
    pieces, missed = [(400 + 90 * i, 80, 25, 0) for i in range(5)], np.arange(125) % 25 >= 20
    joints, confidence = scene(np.concatenate([person(x, scale, frames) for x, scale, frames, _ in pieces]), person(1150, 32, 125))
    joints[:, 1] = joints[0, 1]
    confidence[missed, 0] = 0
    joints, confidence, places = shuffled(joints, confidence)
    assert follow(joints, confidence, BODY, SHOULDERS).tolist() == np.where(missed, -1, places[:, 0]).tolist()


def test_the_signer_is_who_moves_rather_than_who_stands_nearer():
    joints, confidence = scene(person(300, 200), person(900, 150))
    joints[:, 0] = joints[0, 0] + np.random.default_rng(0).normal(0, 1, (30, 1, 2))
    assert follow(joints, confidence, BODY, SHOULDERS).tolist() == [1] * 30


def test_false_detections_all_over_the_picture_cost_little():
    rng = np.random.default_rng(0)
    joints = np.concatenate([person(640, 200, 600)[:, None], np.zeros((600, 2, 12, 2))], axis=1)
    joints[:, 1:] = person(0, 1, 1)[0] * rng.uniform(30, 100, (600, 2, 1, 1)) + rng.uniform(0, [1280, 720], (600, 2, 1, 2))
    joints, confidence, places = shuffled(joints, np.ones((600, 3, 12), np.float32))
    started = time.process_time()
    assert follow(joints, confidence, BODY, SHOULDERS).tolist() == places[:, 0].tolist()
    assert time.process_time() - started < 20  # comparing each with all that ever were takes minutes


def test_nobody_is_followed_where_nobody_is():
    joints, confidence = scene(person(640, 200))
    assert (follow(joints, confidence * 0, BODY, SHOULDERS) == -1).all()
    confidence[3:5] = 0
    chosen = follow(joints, confidence, BODY, SHOULDERS)
    assert remarks(chosen, confidence) == ("nobody in 2 of 30 frames",)
