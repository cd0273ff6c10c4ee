import numpy as np
import pytest

from ms2sl.data.skeleton import Skeleton
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Poses
from ms2sl.errors import InputError

LEFT, RIGHT = (HOLISTIC_49X2.index(f"body/{side}_SHOULDER") for side in ("LEFT", "RIGHT"))


def poses(frames: int = 5, fps: float = 25.0) -> Poses:
    joints = np.random.default_rng(0).normal(250, 60, (frames, 49, 2)).astype(np.float32)
    return Poses(joints, np.ones((frames, 49), np.float32), fps)


def test_parts_hands_and_limbs_point_at_the_right_joints():
    skeleton = HOLISTIC_49X2
    assert skeleton.joints[skeleton.part("right_hand")][0] == "right_hand/WRIST"
    assert {skeleton.joints[i].split("/")[0] for i in skeleton.hands} == {"left_hand", "right_hand"}
    assert len(skeleton.hands) == 42
    assert all(skeleton.joints[a].split("/")[0] == skeleton.joints[b].split("/")[0] for a, b in skeleton.limbs)


def test_every_limb_joins_two_joints_and_every_joint_of_a_hand_hangs_together():
    skeleton = HOLISTIC_49X2
    assert skeleton.limbs.min() >= 0
    assert skeleton.limbs.max() < skeleton.n_joints == 49
    for side in ("left", "right"):
        span = skeleton.part(f"{side}_hand")
        reached, limbs = {span.start}, [set(limb) for limb in skeleton.limbs.tolist()]
        for _ in range(5):
            reached = reached.union(*(limb for limb in limbs if limb & reached))
        assert reached == set(range(span.start, span.stop))
        assert skeleton.wrists[f"{side}_hand"] == f"body/{side.upper()}_WRIST"


def test_a_part_that_is_not_there_is_named():
    with pytest.raises(KeyError, match="holistic-49x2 has no part tail"):
        HOLISTIC_49X2.part("tail")


def test_it_survives_json_and_equals_itself_whatever_was_asked_of_it():
    used = HOLISTIC_49X2.model_copy()
    _ = used.hands, used.limbs, used.joints
    assert Skeleton.model_validate_json(used.model_dump_json()) == used
    assert used.model_copy(update={"name": "other"}) != used


def test_normalised_shoulders_are_one_apart_around_the_origin():
    joints = HOLISTIC_49X2.normalise(poses()).joints
    assert np.median(np.linalg.norm(joints[:, LEFT] - joints[:, RIGHT], axis=-1)) == pytest.approx(1, rel=1e-5)
    assert np.median(joints[:, [LEFT, RIGHT]].mean(axis=1), axis=0) == pytest.approx(0, abs=1e-5)


def test_one_frame_in_which_the_shoulders_are_far_off_changes_neither_origin_nor_unit():
    one = poses()
    steady = np.repeat(one.joints[:1], 9, axis=0)
    spoiled = steady.copy()
    spoiled[4, LEFT] += 5000
    confidence = np.ones((9, 49), np.float32)
    assert HOLISTIC_49X2.place(Poses(spoiled, confidence, 25.0)) == HOLISTIC_49X2.place(Poses(steady, confidence, 25.0))


def test_place_and_size_of_the_signer_do_not_matter():
    one = poses()
    moved = Poses(one.joints * 3 + 70, one.confidence, one.fps)
    assert np.allclose(HOLISTIC_49X2.normalise(one).joints, HOLISTIC_49X2.normalise(moved).joints, atol=1e-4)


def test_normalising_twice_changes_nothing():
    once = HOLISTIC_49X2.normalise(poses())
    assert np.allclose(HOLISTIC_49X2.normalise(once).joints, once.joints, atol=1e-5)


def test_movement_within_the_clip_is_kept():
    """Origin and scale are those of the clip, not of each frame."""
    one = poses()
    swaying = Poses(one.joints + np.arange(5, dtype=np.float32)[:, None, None] * 40, one.confidence, one.fps)
    midpoints = HOLISTIC_49X2.normalise(swaying).joints[:, [LEFT, RIGHT]].mean(axis=1)
    assert np.ptp(midpoints[:, 0]) > 0.1


def test_frames_that_lack_a_shoulder_do_not_move_the_origin():
    one = poses()
    expected = HOLISTIC_49X2.normalise(Poses(one.joints[:3], one.confidence[:3], one.fps)).joints
    one.joints[3:, LEFT], one.confidence[3:, LEFT] = 1e4, 0
    assert np.allclose(HOLISTIC_49X2.normalise(one).joints[:3], expected, atol=1e-5)


def test_unseen_joints_are_masked_even_if_they_are_nan():
    one = poses()
    one.joints[2, 20], one.confidence[2, 20] = np.nan, 0
    HOLISTIC_49X2.check(one)
    normalised = HOLISTIC_49X2.normalise(one)
    assert np.isfinite(normalised.joints).all()
    assert (normalised.joints[2, 20] == 0).all()


def spoiled(**changes) -> Poses:
    one = poses()
    values = {"joints": one.joints, "confidence": one.confidence, "fps": one.fps} | changes
    return Poses(**values)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (spoiled(joints=np.full((5, 49, 2), np.nan, np.float32)), "NOSE is NaN or infinite in frame 0"),
        (spoiled(joints=np.zeros((5, 50, 3), np.float32)), r"not of skeleton holistic-49x2, which has \(frames, 49, 2\)"),
        (spoiled(confidence=np.ones((4, 49), np.float32)), "does not fit"),
        (spoiled(joints=np.zeros((0, 49, 2), np.float32), confidence=np.zeros((0, 49), np.float32)), "no frames"),
        (spoiled(fps=0.0), "0.0 frames per second"),
        (spoiled(fps=float("nan")), "nan frames per second"),
        (spoiled(fps=float("inf")), "inf frames per second"),
        (spoiled(fps=-25.0), "-25.0 frames per second"),
    ],
)
def test_poses_that_are_unfit_are_explained(bad, reason):
    with pytest.raises(InputError, match=reason):
        HOLISTIC_49X2.check(bad)


def test_the_first_joint_that_is_not_a_number_is_told():
    one = poses()
    one.joints[3, 20, 1] = np.inf
    with pytest.raises(InputError, match=f"{HOLISTIC_49X2.joints[20]} is NaN or infinite in frame 3.*confidence 0"):
        HOLISTIC_49X2.check(one)


@pytest.mark.parametrize("confidence", [-1.0, 1.5, float("nan")])
def test_a_confidence_outside_0_to_1_is_refused(confidence):
    one = poses()
    one.confidence[2, 20] = confidence
    with pytest.raises(InputError, match="confidence"):
        HOLISTIC_49X2.check(one)


def test_without_shoulders_there_is_no_frame_of_reference():
    one = poses()
    one.confidence[:, LEFT] = 0
    with pytest.raises(InputError, match="shoulders are never seen"):
        HOLISTIC_49X2.normalise(one)
    with pytest.raises(InputError, match="no scale"):
        HOLISTIC_49X2.normalise(spoiled(joints=np.zeros((5, 49, 2), np.float32)))
