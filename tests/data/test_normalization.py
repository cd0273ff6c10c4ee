import numpy as np
import pytest
import torch

from ms2sl.data.dataset import Dataset
from ms2sl.data.normalization import SMALLEST_DEVIATION, PoseNormalizer, fill_unseen
from ms2sl.data.pose_statistics import PoseSums, anchors
from ms2sl.data.skeleton_registry import HOLISTIC_49X2 as SKELETON
from ms2sl.data.types import Poses


@pytest.fixture
def space(tiny_dataset) -> PoseNormalizer:
    dataset = Dataset(tiny_dataset)
    space = PoseNormalizer(dataset.skeleton)
    space.set_statistics(dataset.card.statistics)
    return space


@pytest.fixture
def clip(tiny_dataset):
    poses = next(Dataset(tiny_dataset).clips("train")).poses
    return torch.from_numpy(poses.joints)[None], torch.from_numpy(poses.confidence > 0)[None]


def test_decoding_inverts_encoding(space, clip):
    poses, seen = clip
    features, _ = space.encode(poses, seen)
    assert torch.allclose(space.decode(features)[seen], poses[seen], atol=1e-5)


def test_features_lie_near_unit_scale_and_unknown_ones_are_zero(space, clip):
    features, mask = space.encode(*clip)
    assert features[mask].abs().mean() < 2
    assert (features[~mask] == 0).all()
    assert mask.any()
    assert not mask.all()


def test_a_hand_that_moves_as_a_whole_changes_only_its_wrist(space, clip, tiny_dataset):
    skeleton = Dataset(tiny_dataset).skeleton
    poses, seen = clip
    wrist, hand = skeleton.index("body/RIGHT_WRIST"), skeleton.part("right_hand")
    moved = poses.clone()
    moved[..., hand, :] += 0.3
    moved[..., wrist, :] += 0.3
    change = (space.encode(moved, seen)[0] - space.encode(poses, seen)[0]).abs().amax(dim=(0, 1)).unflatten(0, (-1, 2)).amax(dim=1)
    assert change[wrist] > 1
    change[wrist] = 0
    assert change.max() < 1e-3


def test_joints_that_training_never_saw_are_not_used(space, tiny_dataset):
    used = space.used.unflatten(0, (-1, 2)).all(dim=1)
    skeleton = Dataset(tiny_dataset).skeleton
    assert not used[skeleton.part("left_hand")].any()
    assert used[skeleton.part("right_hand")].all()


def test_statistics_are_those_of_the_frames_in_which_a_joint_and_its_wrist_are_seen():
    rng = np.random.default_rng(0)
    clips = [
        Poses(rng.normal(2, 3, (n, 49, 2)).astype(np.float32), (rng.random((n, 49)) < 0.7).astype(np.float32), 25.0) for n in (40, 70, 1)
    ]
    statistics = PoseSums.of(clips, SKELETON).statistics()
    joints, seen = (np.concatenate([getattr(clip, name) for clip in clips]) for name in ("joints", "confidence"))
    for joint, name in enumerate(SKELETON.joints):
        side = name.split("_hand")[0] if "_hand" in name else None
        known, values = seen[:, joint] > 0, joints[:, joint].astype(float)
        if side:
            wrist = SKELETON.index(f"body/{side.upper()}_WRIST")
            known, values = known & (seen[:, wrist] > 0), values - joints[:, wrist]
        assert np.allclose(statistics.mean[joint], values[known].mean(axis=0), atol=1e-5)
        assert np.allclose(statistics.deviation[joint], values[known].std(axis=0), atol=1e-5)
        assert statistics.seen[joint] == pytest.approx(known.mean())


def test_a_hand_whose_wrist_is_not_seen_is_unknown(space, clip):
    poses, seen = clip
    hand, wrist = SKELETON.part("right_hand"), SKELETON.index("body/RIGHT_WRIST")
    blind = seen.clone()
    blind[..., wrist] = False
    features, mask = (x.unflatten(2, (-1, 2)) for x in space.encode(poses, blind))
    assert not mask[:, :, hand].any()
    assert (features[:, :, hand] == 0).all()
    assert seen[..., hand].all(), "otherwise the hand was not seen to begin with"


def test_unknown_positions_do_not_leak_into_known_features(space, clip):
    poses, seen = clip
    spoiled = torch.where(seen[..., None], poses, torch.tensor(1e6))
    assert torch.equal(space.encode(spoiled, seen)[0], space.encode(poses, seen)[0])


def test_coordinates_that_hardly_vary_are_not_blown_up():
    space = PoseNormalizer(SKELETON)
    space.set_statistics(PoseSums.of([Poses(np.ones((9, 49, 2), np.float32), np.ones((9, 49), np.float32), 25.0)], SKELETON).statistics())
    assert (space.deviation == SMALLEST_DEVIATION).all()


def test_only_hands_are_relative_and_to_their_own_wrist():
    anchor = anchors(SKELETON)
    assert (anchor[SKELETON.part("left_hand")] == SKELETON.index("body/LEFT_WRIST")).all()
    assert (anchor[SKELETON.part("right_hand")] == SKELETON.index("body/RIGHT_WRIST")).all()
    assert (anchor[SKELETON.part("body")] == np.arange(7)).all()


def test_what_is_unseen_is_on_the_way_between_what_is_seen():
    features = torch.tensor([[9.0, 1.0, 9.0, 9.0, 4.0, 9.0], [9.0] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])[..., None]
    known = torch.tensor([[0, 1, 0, 0, 1, 0], [0] * 6, [1] * 6], dtype=torch.bool)[..., None]
    filled = fill_unseen(features, known)[..., 0]
    assert filled.tolist() == [[1, 1, 2, 3, 4, 4], [0] * 6, [1, 2, 3, 4, 5, 6]]


def test_visibility_is_a_bit_of_each_part_and_comes_back_as_joints(space):
    seen = torch.ones(1, 3, SKELETON.n_joints, dtype=torch.bool)
    left, right = SKELETON.part("left_hand"), SKELETON.part("right_hand")
    seen[0, 1, right] = False
    seen[0, 2, SKELETON.part("body")] = False
    space.share_seen[:] = 1
    assert space.visibility(seen)[0].tolist() == [[1, 1, 1], [1, 1, -1], [-1, 1, 1]]
    space.share_seen[left] = 0
    joints = space.seen_joints(space.visibility(seen))[0]
    assert joints[:, left].sum() == 0  # which training never saw
    assert joints[:, right].sum(dim=1).tolist() == [21, 0, 0]  # and none without its wrist
    assert joints[:, SKELETON.part("body")].any(dim=1).tolist() == [True, True, False]
