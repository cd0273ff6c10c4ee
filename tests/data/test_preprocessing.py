from dataclasses import replace

import numpy as np
import pytest

from ms2sl.audio.speech import Speech
from ms2sl.data.preprocessing import PreprocessConfig, bridge, preprocess_clip, without_outliers
from ms2sl.data.resampling import resample, stretch
from ms2sl.data.skeleton_registry import HOLISTIC_49X2, PHOENIX_50X3
from ms2sl.data.types import Clip, Placement, Poses
from ms2sl.errors import InputError
from tests.corpora.builders import signing


def clip(poses: Poses | None = None, **fields) -> Clip:
    return Clip("a", "train", "en", "ase", **({"text": "hello"} | fields), poses=poses)


def line(frames: int = 10, fps: float = 25.0) -> Poses:
    """All joints move by 0.01 a frame."""
    joints = np.broadcast_to(np.arange(frames, dtype=np.float32)[:, None, None] * 0.01, (frames, 49, 2)).copy()
    return Poses(joints, np.ones((frames, 49), np.float32), fps)


@pytest.mark.parametrize("skeleton", [HOLISTIC_49X2, PHOENIX_50X3])
def test_a_fitted_clip_knows_the_way_back_to_its_picture(skeleton):
    shoulder_widths = signing(skeleton, seed=3)
    origin = np.array([640, 300, 20][: skeleton.dims], np.float32)
    raw = Poses(shoulder_widths.joints * 180 + origin, shoulder_widths.confidence, 25.0)
    fitted = preprocess_clip(clip(raw, placement=Placement((0.0,), 1.0, 1280, 720)), skeleton, PreprocessConfig(), 25.0)
    assert np.abs(fitted.poses.joints - shoulder_widths.joints).max() < 1e-4
    assert np.abs(fitted.poses.joints * fitted.placement.unit + fitted.placement.origin - raw.joints).max() < 0.01
    assert (fitted.placement.width, fitted.placement.height) == (1280, 720)
    assert fitted.remarks == ()


def test_short_gaps_are_bridged_and_long_ones_stay_unseen():
    poses = line(20)
    poses.confidence[3:7, 5] = 0  # 4 frames, 0.16 s
    poses.confidence[8:14, 6] = 0  # 6 frames, 0.24 s
    poses.confidence[:2, 7] = poses.confidence[18:, 8] = 0
    poses.confidence[7, 5] = 0.5
    whole = poses.joints.copy()
    poses.joints[poses.confidence == 0] = 0
    bridged = bridge(poses, 0.2)
    assert np.abs(bridged.joints[3:7, 5] - whole[3:7, 5]).max() < 1e-6
    assert (bridged.confidence[3:7, 5] == 0.5).all()
    assert (bridged.confidence[8:14, 6] == 0).all()
    assert (bridged.confidence[:2, 7] == 0).all()
    assert (bridged.confidence[18:, 8] == 0).all()
    assert (bridge(poses, 0.0).confidence == poses.confidence).all()


@pytest.mark.parametrize("frames", [[4], [4, 5], [1], [8]])
def test_a_joint_that_leaps_away_and_back_is_left_out(frames):
    poses = line()
    poses.joints[frames, 11] += 0.9
    mended, outliers = without_outliers(poses)
    assert np.argwhere(outliers).tolist() == [[frame, 11] for frame in frames]
    assert (mended.confidence[frames, 11] == 0).all()
    assert mended.confidence.sum() == 490 - len(frames)


def test_fast_movement_is_no_outlier():
    poses = line()
    poses.joints[4:, 11] += 0.9  # it leaps and stays
    poses.joints[6:, 12] += np.linspace(0, 2, 4)[:, None]
    assert not without_outliers(poses)[1].any()


def test_at_fewer_frames_a_second_hands_go_farther_between_them():
    poses = line(fps=12.5)
    poses.joints[4, 11] += 0.6
    assert not without_outliers(poses)[1].any()


def test_what_is_farther_than_limbs_reach_is_left_out():
    poses = line()
    poses.joints[2:9, 3] = 11
    assert np.argwhere(without_outliers(poses)[1]).tolist() == [[frame, 3] for frame in range(2, 9)]


def test_clips_of_one_and_two_frames_have_no_outliers():
    for frames in (1, 2):
        assert not without_outliers(line(frames))[1].any()


@pytest.mark.parametrize(("fps", "frames"), [(25.0, 30), (12.5, 15), (50.0, 60), (29.97, 36)])
def test_resampled_movement_lasts_as_long_and_is_where_it_was(fps, frames):
    poses = line(30)
    other = resample(poses, fps)
    assert (other.n_frames, other.fps) == (frames, fps)
    times = np.minimum(np.arange(frames) / fps, 29 / 25)
    assert np.abs(other.joints[:, 0, 0] - times * 25 * 0.01).max() < 1e-5


def test_a_joint_between_a_frame_that_sees_it_and_one_that_does_not_is_unseen():
    poses = line(4)
    poses.confidence[2, 0] = 0
    assert resample(poses, 50.0).confidence[:, 0].tolist() == [1, 1, 1, 0, 0, 0, 1, 1]


def test_stretched_movement_begins_and_ends_where_it_did():
    longer = stretch(line(10), 25)
    assert longer.n_frames == 25
    assert longer.joints[[0, -1], 0, 0] == pytest.approx([0, 0.09])


def test_the_frames_a_second_of_the_recording_are_kept():
    fitted = preprocess_clip(clip(signing(HOLISTIC_49X2, 30, fps=30.0)), HOLISTIC_49X2, PreprocessConfig(), 25.0)
    assert (fitted.poses.fps, fitted.poses.n_frames, fitted.source_fps) == (25.0, 25, 30.0)


def test_speech_is_brought_to_16_khz_and_marked():
    fitted = preprocess_clip(clip(speech=Speech(np.zeros(44_100, np.float32), 44_100)), HOLISTIC_49X2, PreprocessConfig(), 25.0)
    assert (fitted.speech.rate, len(fitted.speech.waveform), fitted.speech_source) == (16_000, 16_000, "recorded")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (clip(text=None), "it has neither text nor speech nor poses"),
        (clip(line(2000)), r"its signing lasts 80.0 s, longer than --poses\.longest 60"),
        (clip(speech=Speech(np.zeros(16_000 * 61, np.float32), 16_000)), "its speech lasts 61.0 s"),
        (clip(replace(line(), fps=0.0), text=None), "0.0 frames per second is impossible"),
        (clip(replace(line(), confidence=np.zeros((10, 49), np.float32)), text=None), "shoulders are never seen"),
    ],
)
def test_what_cannot_be_used_is_explained(bad, reason):
    with pytest.raises(InputError, match=reason):
        preprocess_clip(bad, HOLISTIC_49X2, PreprocessConfig(), 25.0)


@pytest.mark.parametrize(
    ("broken", "part", "reason"),
    [
        ({"poses": replace(line(), fps=0.0)}, "poses", "0.0 frames per second is impossible"),
        ({"poses": replace(line(), confidence=np.zeros((10, 49), np.float32))}, "poses", "the shoulders are never seen"),
        ({"speech": Speech(np.full(16_000, np.nan, np.float32), 16_000)}, "speech", "the speech holds NaN or infinite samples"),
        ({"speech": Speech(np.zeros(16_000, np.float32), 0)}, "speech", "speech of 0 samples a second is impossible"),
    ],
)
def test_a_part_that_cannot_be_used_is_left_out_and_the_others_stay(broken, part, reason):
    good = replace(clip(signing(HOLISTIC_49X2, 30)), speech=Speech(np.zeros(16_000, np.float32), 16_000))
    fitted = preprocess_clip(replace(good, **broken), HOLISTIC_49X2, PreprocessConfig(), 25.0)
    assert [getattr(fitted, each) is None for each in ("text", "speech", "poses")] == [False, part == "speech", part == "poses"]
    assert [remark for remark in fitted.remarks if remark.startswith(f"{part} left out: {reason}")]
    assert (fitted.speech_source is None, fitted.placement is None) == (part == "speech", part == "poses")
