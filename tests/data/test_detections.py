import numpy as np
import pytest

from ms2sl.data.detections import fractions, seen_without_zeros

PARTS, SHOULDERS = [slice(0, 4), slice(4, 8)], (0, 1)


def poses(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).uniform(low, high, (10, 8, 2)), np.ones((10, 8), np.float32)


@pytest.mark.parametrize(("low", "high"), [(20, 600), (-1, 1)], ids=["pixels", "shoulder widths"])
def test_zeros_now_and_then_are_unseen(low, high):
    joints, confidence = poses(low, high)
    joints[3:6, 4:8] = joints[8, 2] = joints[9] = 0
    expected = confidence.copy()
    expected[3:6, 4:8] = expected[8, 2] = expected[9] = 0
    assert np.array_equal(seen_without_zeros(joints, confidence, PARTS), expected)


def test_a_joint_that_always_is_zero_is_the_origin_only_where_coordinates_lie_around_it():
    for (low, high), seen in (((20, 600), False), ((-1, 1), True)):
        joints, confidence = poses(low, high)
        joints[:, 1] = 0
        assert (seen_without_zeros(joints, confidence, PARTS)[:, 1] > 0).all() == seen
    joints[:, 4:8] = joints[6] = 0  # a hand that is never detected, and a frame of nothing
    found = seen_without_zeros(joints, confidence, PARTS) > 0
    assert not found[:, 4:8].any()
    assert found[:, :4].all(axis=1).tolist() == [frame != 6 for frame in range(10)]


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.1, 0.9, (0, 1)), (-0.9, 0.9, (-1, 1)), (3, 700, None), (-0.02, 1.0, (0, 1)), (-2, 2, None)]
)
def test_fractions_of_a_picture_are_told_from_pixels(low, high, expected):
    joints, confidence = poses(low, high)
    assert fractions(joints, confidence, SHOULDERS) == expected
    joints[2, 5], confidence[2, 5] = 9999, 0  # what is not seen says nothing
    assert fractions(joints, confidence, SHOULDERS) == expected
    assert fractions(joints, confidence * 0, SHOULDERS) is None


BODY = np.array(
    [[0, -0.6], [0.5, 0], [-0.5, 0], [0.7, 0.6], [-0.7, 0.6], [0.4, 0.9], [-0.4, 0.9], [0.3, 1.5]]
)  # of a nose, in shoulder widths


@pytest.mark.parametrize("origin", range(8))
@pytest.mark.parametrize("up", [1, -1], ids=["y down", "y up"])
def test_whichever_joint_is_the_origin_is_seen(origin, up):
    joints = (BODY - BODY[origin]) * [1, up] + np.random.default_rng(0).normal(0, 0.02, (20, 8, 2))
    joints[:, origin] = 0
    assert (seen_without_zeros(joints, np.ones((20, 8)), [slice(0, 8)]) > 0).all()


@pytest.mark.parametrize("up", [1, -1], ids=["y down", "y up"])
def test_a_corner_of_the_picture_is_no_joint(up):
    joints = ((BODY * 100 + [200, 150]) * [1, up])[None].repeat(20, axis=0)
    joints[:, 3] = 0
    assert not (seen_without_zeros(joints, np.ones((20, 8)), [slice(0, 8)]) > 0)[:, 3].any()


@pytest.mark.parametrize(
    ("frames", "confidence"), [(slice(3, 4), 0.1), (slice(3, 4), 1), (slice(None), 1)], ids=["guessed", "once", "hips"]
)
def test_joints_outside_the_picture_leave_fractions_fractions(frames, confidence):
    joints, sure = (BODY * 0.2 + [0.5, 0.4])[None].repeat(10, axis=0), np.ones((10, 8))
    joints[frames, 7], sure[frames, 7] = [0.4, 1.6], confidence
    assert fractions(joints, sure, (1, 2)) == (0, 1)


def test_shoulder_widths_and_tiny_pictures_are_no_fractions():
    joints, sure = BODY[None].repeat(10, axis=0), np.ones((10, 8))
    for other in (joints - BODY.min(axis=0), joints * 4 + [4, 3], joints * 1.5 + [1.5, 1]):
        assert fractions(other, sure, (1, 2)) is None
    assert fractions(joints, sure, (1, 2)) != (0, 1)
