"""Corpora of different skeletons come together by the names of their joints."""

import numpy as np
import pytest

from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.data.dataset import Dataset
from ms2sl.data.pose_statistics import PoseSums
from ms2sl.data.preprocessing import PreprocessConfig, preprocess_clip
from ms2sl.data.shards import decode_joints, encode_poses, to_clip, to_row
from ms2sl.data.skeleton_reduction import Reduction, common_skeleton, read_reduced
from ms2sl.data.skeleton_registry import HOLISTIC_49X2, HOLISTIC_178X3, OPENPOSE_137X2, PHOENIX_50X3, SKELETONS
from ms2sl.data.types import Clip, Poses
from ms2sl.errors import InputError
from tests.conftest import prepare
from tests.corpora import builders


def moving(skeleton, seed: int = 0, frames: int = 9) -> Poses:
    """Random poses, some joints unseen, with shoulders two units apart in the plane and apart in depth too."""
    rng = np.random.default_rng(seed)
    joints = rng.normal(0, 1, (frames, skeleton.n_joints, skeleton.dims)).astype(np.float32)
    for joint, x in zip(skeleton.shoulders, (1.0, -1.0), strict=True):
        joints[:, skeleton.index(joint)] = (x, 0.5, x)[: skeleton.dims]
    confidence = (rng.random((frames, skeleton.n_joints)) < 0.9).astype(np.float32)
    confidence[:, [skeleton.index(joint) for joint in skeleton.shoulders]] = 1
    return Poses(joints, confidence, 25.0)


@pytest.mark.parametrize(
    ("names", "joints", "dims"),
    [
        (("holistic-178x3", "holistic-50x3"), 50, 3),
        (("holistic-178x3", "holistic-50x2"), 50, 2),
        (("holistic-49x2", "holistic-50x2"), 48, 2),  # the one has a nose, the other hips
        (("openpose-137x2", "phoenix-50x3"), 50, 2),
        (("openpose-137x2",), 137, 2),
    ],
)
def test_the_common_skeleton_has_what_all_have(names, joints, dims):
    skeletons = [SKELETONS[name] for name in names]
    common = common_skeleton(skeletons)
    assert (common.n_joints, common.dims) == (joints, dims)
    for skeleton in skeletons:
        reduction = Reduction(skeleton, common)
        assert [skeleton.joints[i] for i in reduction.joints] == list(common.joints)
        named = {(common.joints[a], common.joints[b]) for a, b in common.limbs}
        if skeleton is skeletons[0]:
            assert named <= {(skeleton.joints[a], skeleton.joints[b]) for a, b in skeleton.limbs}
    assert set(common.wrists) == {"left_hand", "right_hand"}


def test_a_common_skeleton_that_has_a_name_keeps_it():
    assert common_skeleton([SKELETONS["holistic-178x3"], SKELETONS["holistic-50x3"]]) == SKELETONS["holistic-50x3"]
    assert common_skeleton([SKELETONS["openpose-137x2"], SKELETONS["openpose-50x2"]]) == SKELETONS["openpose-50x2"]


def test_skeletons_of_other_names_have_nothing_in_common():
    with pytest.raises(InputError, match=r"holistic-49x2, openpose-137x2 have no shoulders of the same names.*prepare the data with one"):
        common_skeleton([HOLISTIC_49X2, OPENPOSE_137X2])


def test_poses_that_lack_a_joint_cannot_be_made_poses_of_it():
    with pytest.raises(InputError, match="poses of skeleton phoenix-50x3 have no joint body/MidHip"):
        Reduction(PHOENIX_50X3, OPENPOSE_137X2)
    with pytest.raises(InputError, match="holistic-50x2 have no 3 dimensions"):
        Reduction(SKELETONS["holistic-50x2"], SKELETONS["holistic-50x3"])


def test_reduced_poses_are_those_of_a_corpus_that_never_had_more():
    """178 joints in space, normalised and then reduced to 50 in the plane, are the 50 joints in the plane, normalised."""
    source, target = HOLISTIC_178X3, SKELETONS["holistic-50x2"]
    raw = moving(source)
    chosen = [source.index(joint) for joint in target.joints]
    direct = target.normalise(Poses(raw.joints[:, chosen, :2], raw.confidence[:, chosen], raw.fps))
    reduced, placement = Reduction(source, target).poses(source.normalise(raw))
    assert np.allclose(reduced.joints, direct.joints, atol=1e-5)
    assert np.array_equal(reduced.confidence, direct.confidence)
    assert placement.unit == pytest.approx(np.sqrt(0.5), abs=1e-5)  # shoulders (2, 0, 2) apart: 2 of √8 are left in the plane


def test_a_reduced_row_still_says_where_it_stands_in_its_picture(tmp_path):
    """Poses, origin and unit of a reduced row take its joints back to where the file has them."""
    root = builders.pose_files(tmp_path / "corpus")
    config = {"source": str(root), "table": "clips.csv", "width": 512, "height": 512}
    whole = PoseFiles(PoseFilesConfig(skeleton="holistic-178x3", **config))
    flat = PoseFiles(PoseFilesConfig(skeleton="holistic-50x2", **config))
    big, small = (Dataset(prepare(corpus, tmp_path / corpus.skeleton.name)) for corpus in (whole, flat))
    for split in big.card.splits:
        (place, _), *_ = big.shards(split)
        for row, clip in zip(read_reduced(place, flat.skeleton).to_pylist(), small.clips(split), strict=True):
            found = to_clip(row, flat.skeleton)
            assert (found.poses is None) == (clip.poses is None)
            if clip.poses is None:
                continue
            seen = clip.poses.confidence > 0
            assert np.array_equal(found.poses.confidence, clip.poses.confidence)
            here, there = (np.array(each.placement.origin) + each.placement.unit * each.poses.joints for each in (found, clip))
            assert np.abs(here - there)[seen].max() < 0.01 * clip.placement.unit
            assert (found.placement.width, found.placement.height) == (clip.placement.width, clip.placement.height)


@pytest.mark.parametrize("target", ["holistic-50x3", "holistic-50x2"])
def test_its_statistics_are_those_of_the_joints_that_are_left(target):
    """And in the shoulder widths of the plane where depth is left out: exactly, if the signer does not turn."""
    source, target = HOLISTIC_178X3, SKELETONS[target]
    clips = [source.normalise(moving(source, seed)) for seed in range(3)]
    reduction = Reduction(source, target)
    reduced = PoseSums.of([reduction.poses(clip)[0] for clip in clips], target).statistics()
    found = reduction.statistics(PoseSums.of(clips, source).statistics())
    for name in ("mean", "deviation", "seen"):
        assert np.allclose(getattr(found, name), getattr(reduced, name), atol=1e-5)


def test_a_row_without_depth_says_where_it_stands_and_so_does_the_card():
    """Origin and unit of a reduced row, with its joints, are where the joints of the whole row were; the card's unit shrinks likewise."""
    source, target = HOLISTIC_178X3, SKELETONS["holistic-50x2"]
    raw = moving(source)
    whole = preprocess_clip(Clip("a", "train", "und", "und", poses=raw), source, PreprocessConfig(longest_gap=0), 25.0)
    row = Reduction(source, target).row(to_row(whole))
    found = to_clip(row, target)
    seen = found.poses.confidence > 0
    there = raw.joints[:, [source.index(joint) for joint in target.joints], :2]
    here = np.array(found.placement.origin) + found.placement.unit * found.poses.joints
    assert np.abs(here - there)[seen].max() < 0.01
    assert found.placement.unit == pytest.approx(2, abs=1e-3)  # of √8 in space
    statistics = PoseSums.of([whole.poses], source).statistics()
    assert Reduction(source, target).placement(whole.placement, statistics).unit == pytest.approx(2, abs=1e-3)


def test_poses_of_a_signer_who_stands_sideways_keep_their_unit():
    """Shoulders that nearly meet in the plane would blow hands up beyond what a shard can hold."""
    source, target = SKELETONS["holistic-50x3"], SKELETONS["holistic-50x2"]
    raw = moving(source)
    for joint, z in zip(source.shoulders, (1.0, -1.0), strict=True):
        raw.joints[:, source.index(joint)] = (z * 0.1, 0.5, z)
    poses, placement = Reduction(source, target).poses(source.normalise(raw))
    assert placement.unit == 1
    assert np.array_equal(decode_joints(encode_poses(poses), (50, 2)), np.round(poses.joints * 1024) / 1024)


@pytest.mark.parametrize("columns", [["confidence"], ["poses"], ["id", "poses"], ["unit"], ["id"]])
def test_some_columns_of_a_reduced_shard(tmp_path, columns):
    """Whatever a field of a batch asks for."""
    corpus = PoseFiles(PoseFilesConfig(source=str(builders.pose_files(tmp_path / "corpus")), table="clips.csv"))
    dataset = Dataset(prepare(corpus, tmp_path / "data"))
    (place, _), *_ = dataset.shards("train")
    whole = read_reduced(place, SKELETONS["holistic-50x2"])
    assert read_reduced(place, SKELETONS["holistic-50x2"], columns).equals(
        whole.select(columns).replace_schema_metadata(whole.schema.metadata)
    )
    with pytest.raises(InputError, match="shards have no column 'pose'; they have: id, split"):
        read_reduced(place, corpus.skeleton, ["pose"])
