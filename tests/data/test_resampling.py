from itertools import pairwise

import numpy as np
import pytest

from ms2sl.data.resampling import Resampler, joined, resample
from ms2sl.data.types import Poses

RATES = (7.0, 12.5, 23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0)


def moving(frames: int, fps: float, rng: np.random.Generator) -> Poses:
    return Poses(rng.normal(size=(frames, 3, 2)).astype(np.float32), rng.random((frames, 3), np.float32), fps)


def cut_at(poses: Poses, places: list[int]) -> list[Poses]:
    """Parts that begin at the places."""
    return [Poses(poses.joints[a:b], poses.confidence[a:b], poses.fps) for a, b in pairwise([0, *places, poses.n_frames])]


def resampled(parts: list[Poses], fps: float) -> list[Poses]:
    resampler = Resampler(fps)
    return [resampler(part, last=i == len(parts) - 1) for i, part in enumerate(parts)]


def same(one: Poses, other: Poses) -> bool:
    return (
        one.fps == other.fps
        and one.joints.shape == other.joints.shape
        and np.allclose(one.joints, other.joints, atol=1e-5)
        and np.allclose(one.confidence, other.confidence, atol=1e-5)
    )


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("other", RATES)
def test_parts_are_resampled_as_the_whole_would_be(fps, other):
    rng = np.random.default_rng(round(fps * other))
    for _ in range(20):
        poses = moving(int(rng.integers(1, 120)), fps, rng)
        places = np.unique(rng.integers(1, max(2, poses.n_frames), rng.integers(0, 8)))
        parts = cut_at(poses, places[places < poses.n_frames].tolist())
        assert same(joined(resampled(parts, other)), resample(poses, other)), (poses.n_frames, places)


@pytest.mark.parametrize(("fps", "other"), [(12.5, 30.0), (30.0, 12.5), (25.0, 25.0)])
def test_parts_of_one_frame_are_resampled_too(fps, other):
    poses = moving(40, fps, np.random.default_rng(0))
    assert same(joined(resampled(cut_at(poses, list(range(1, 40))), other)), resample(poses, other))


@pytest.mark.parametrize(("fps", "other", "places"), [(23.976, 29.97, [2, 24, 32, 37, 44]), (29.97, 23.976, [12, 25, 44, 46])])
def test_a_moment_that_falls_on_a_frame_is_that_frame_wherever_parts_end(fps, other, places):
    poses = moving(53, fps, np.random.default_rng(0))
    assert same(joined(resampled(cut_at(poses, places), other)), resample(poses, other))
    falls_on = np.arange(0, resample(poses, other).n_frames, 5 if other > fps else 4)
    assert np.array_equal(resample(poses, other).confidence[falls_on], poses.confidence[:: 4 if other > fps else 5])


def test_a_moment_is_returned_as_soon_as_the_frames_around_it_came():
    poses = moving(100, 25.0, np.random.default_rng(0))
    assert [part.n_frames for part in resampled(cut_at(poses, [1, 11, 50]), 50.0)] == [1, 20, 78, 101]
    assert [part.n_frames for part in resampled(cut_at(poses, [1, 11, 50]), 12.5)] == [1, 5, 19, 25]


def test_frames_that_are_not_needed_any_more_are_forgotten():
    resampler = Resampler(30.0)
    for part in cut_at(moving(1000, 12.5, np.random.default_rng(0)), list(range(10, 1000, 10))):
        resampler(part, last=False)
        assert resampler._kept.n_frames <= 2


def test_one_part_is_joined_to_itself():
    poses = moving(5, 25.0, np.random.default_rng(0))
    assert joined([poses]) is poses
    assert same(joined(cut_at(poses, [1, 3])), poses)
