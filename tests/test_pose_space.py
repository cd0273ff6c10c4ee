import pytest
import torch

from ms2sl.dataset import Dataset
from ms2sl.pose_space import PoseSpace


@pytest.fixture
def space(tiny_dataset) -> PoseSpace:
    dataset = Dataset(tiny_dataset)
    space = PoseSpace(dataset.skeleton)
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
