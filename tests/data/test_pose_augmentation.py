"""Training poses changed as other signers, cameras and detectors would have them."""

import numpy as np
import pytest
import torch

from ms2sl.data.collate import BatchField
from ms2sl.data.pose_augmentation import AugmentConfig, augmented
from ms2sl.data.skeleton_registry import HOLISTIC_49X2, HOLISTIC_178X3, OPENPOSE_137X2, PHOENIX_50X3, SKELETONS
from ms2sl.errors import InputError

JOINTS = HOLISTIC_49X2.n_joints


def field(*lengths: int) -> BatchField:
    """Clips that move in a straight line, all seen."""
    longest = -(-max(lengths) // 4) * 4
    time = torch.arange(longest).float()[None, :, None, None]
    start = torch.rand(len(lengths), 1, JOINTS, 2, generator=torch.Generator().manual_seed(1))
    inside = (torch.arange(longest)[None] < torch.tensor(lengths)[:, None])[..., None]
    return BatchField((start + 0.1 * time) * inside[..., None], torch.tensor(lengths), inside.expand(-1, -1, JOINTS).clone(), 4)


def change(poses: BatchField, seed: int = 0, **options) -> BatchField:
    return augmented(poses, HOLISTIC_49X2, AugmentConfig(**options), torch.Generator().manual_seed(seed))


def test_nothing_asked_is_nothing_changed():
    poses = field(9, 6)
    same = change(poses)
    assert torch.equal(same.values, poses.values)
    assert torch.equal(same.mask, poses.mask)
    assert torch.equal(same.lengths, poses.lengths)


def test_a_faster_clip_has_fewer_frames_and_the_same_way():
    poses = field(*[20] * 64)
    made = change(poses, speed=0.5)
    assert made.lengths.min() < 15
    assert made.lengths.max() > 30
    for row, n in enumerate(made.lengths.tolist()):
        way = made.values[row, :n]
        assert torch.allclose(way[0], poses.values[row, 0])
        assert torch.allclose(way[-1], poses.values[row, 19], atol=1e-5)
        assert torch.allclose(way.diff(dim=0), torch.full(way.diff(dim=0).shape, 0.1 * 19 / (n - 1)), atol=1e-5)
        assert made.mask[row].sum(dim=0).tolist() == [n] * JOINTS
        assert not made.values[row, n:].any()


def test_what_was_not_seen_is_no_place_to_pass_through():
    poses = field(8)
    poses.mask[0, 4:, 3] = False
    poses.values[0, 4:, 3] = 1e6
    made = change(poses, speed=0.3)
    assert made.values[0, :, 3][made.mask[0, :, 3]].abs().max() < 10
    assert 0 < made.mask[0, :, 3].sum() < made.lengths[0]


def test_clips_without_poses_stay_without():
    poses = field(8, 4)
    poses.lengths[1], poses.mask[1], poses.values[1] = 0, False, 0
    made = change(poses, speed=0.3, mirror=1, rotation=10, scale=0.1, shift=0.1, joint_dropout=0.1, gap=0.2)
    assert made.lengths[1] == 0
    assert not made.mask[1].any()


def test_a_mirror_swaps_sides_and_hands():
    poses = field(5)
    made = change(poses, mirror=1)
    for left, right in (("left_hand/WRIST", "right_hand/WRIST"), ("body/LEFT_ELBOW", "body/RIGHT_ELBOW"), ("body/NOSE", "body/NOSE")):
        one, other = HOLISTIC_49X2.index(left), HOLISTIC_49X2.index(right)
        assert torch.equal(made.values[0, :, one, 0], -poses.values[0, :, other, 0])
        assert torch.equal(made.values[0, :, one, 1], poses.values[0, :, other, 1])
    assert 20 < sum((change(field(2), seed=seed, mirror=0.5).values[0, 0] < 0).any().item() for seed in range(64)) < 44


def test_a_turn_and_a_stretch_keep_what_they_must():
    poses = field(6)
    turned = change(poses, rotation=30)
    assert torch.allclose(turned.values.norm(dim=-1), poses.values.norm(dim=-1), atol=1e-5)
    angles = [torch.atan2(*change(field(1), seed=s, rotation=30).values[0, 0, 0].flip(0)) for s in range(50)]
    before = torch.atan2(*field(1).values[0, 0, 0].flip(0))
    turns = torch.rad2deg(torch.stack(angles) - before)
    assert turns.abs().max() <= 30.001
    assert turns.min() < -15 < 15 < turns.max()
    factor = change(poses, scale=0.2).values[0, 0] / poses.values[0, 0]
    assert torch.allclose(factor, factor[:1].expand_as(factor), atol=1e-5)
    assert (factor - 1).abs().max() <= 0.2001
    moved = change(poses, shift=0.5).values[0] - poses.values[0]
    assert torch.allclose(moved[:6], moved[0, 0].expand_as(moved[:6]), atol=1e-5)
    assert 0 < moved.abs().max() <= 0.5


def test_joints_are_hidden_all_along_and_gaps_hide_everybody():
    hidden = change(field(*[12] * 40), joint_dropout=0.25).mask
    assert ((hidden.any(dim=1)) == hidden[:, :12].all(dim=1)).all()
    assert hidden[:, 0].float().mean() == pytest.approx(0.75, abs=0.05)
    gaps = ~change(field(*[40] * 40), gap=0.5).mask[:, :40]
    assert (gaps.any(dim=2) == gaps.all(dim=2)).all()
    assert gaps.float().mean() == pytest.approx(0.25, abs=0.06)
    assert (gaps.all(dim=2).int().diff(dim=1).abs().sum(dim=1) <= 2).all(), "one gap a clip"


@pytest.mark.parametrize("skeleton", [each for each in SKELETONS.values() if not any(part.name == "face" for part in each.parts)])
def test_a_mirror_of_a_mirror_is_the_thing_itself(skeleton):
    order = skeleton.mirrored
    assert np.array_equal(order[order], np.arange(skeleton.n_joints))
    assert skeleton.shoulders == tuple(skeleton.joints[order[skeleton.index(joint)]] for joint in reversed(skeleton.shoulders))
    assert sum(order == np.arange(skeleton.n_joints)) <= 2  # nose and neck


def test_openposes_body_is_mirrored_by_its_names():
    assert PHOENIX_50X3.joints[PHOENIX_50X3.mirrored[PHOENIX_50X3.index("body/RElbow")]] == "body/LElbow"


@pytest.mark.parametrize("skeleton", [HOLISTIC_178X3, OPENPOSE_137X2])
def test_a_face_without_sides_is_not_mirrored(skeleton):
    with pytest.raises(InputError, match=r"the joints of the face of skeleton .* have no left and right"):
        skeleton.mirrored  # noqa: B018
