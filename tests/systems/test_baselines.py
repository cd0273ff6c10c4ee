from dataclasses import replace

import numpy as np
import pytest

from ms2sl.audio.speech import Speech
from ms2sl.data.dataset import Dataset
from ms2sl.data.skeleton_registry import HOLISTIC_49X2 as SKELETON
from ms2sl.data.training_clips import TrainingClips
from ms2sl.data.types import Clip, Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.metrics.motion import movement
from ms2sl.systems.baselines import MeanPose, NearestText, RandomClip, StaticPose

ALL = [MeanPose, StaticPose, RandomClip, NearestText]


def clip(text: str | None, n_frames: int, fps: float = 12.5, seed: int = 0) -> Clip:
    joints = np.random.default_rng(seed).normal(size=(n_frames, SKELETON.n_joints, SKELETON.dims)).astype(np.float32)
    confidence = np.ones(joints.shape[:2], np.float32)
    return Clip(f"{text}-{seed}", "train", "en", "ase", text=text, poses=Poses(joints, confidence, fps))


def of_clips(clips: list[Clip]) -> TrainingClips:
    return TrainingClips.of_clips(clips, SKELETON)


@pytest.fixture(scope="module")
def training() -> TrainingClips:
    return of_clips([clip("cat", 10, seed=1), clip("catch", 20, seed=2), clip(None, 30, seed=3), clip("dog", 40, seed=4)])


@pytest.mark.parametrize("kind", ALL)
def test_everyone_makes_sound_poses_of_the_length_asked_for(kind, training):
    for seconds in (None, 2.0):
        (poses,) = kind(training).produce([Utterance("u", text="cat", seconds=seconds)], seed=0)
        SKELETON.check(poses)
        if seconds:
            assert poses.seconds == pytest.approx(seconds)


@pytest.mark.parametrize("kind", ALL)
def test_the_same_seed_gives_the_same_in_any_batch(kind, training):
    producer = kind(training)
    utterances = [Utterance(str(i), text="dot") for i in range(8)]
    together = producer.produce(utterances, seed=-3)
    alone = producer.produce(utterances[5:6], seed=-3)[0]
    np.testing.assert_array_equal(together[5].joints, alone.joints)


@pytest.mark.parametrize("kind", [MeanPose, StaticPose])
def test_still_ones_do_not_move_and_last_as_long_as_training_on_average(kind, training):
    (poses,) = kind(training).produce([Utterance("u", text="cat")], seed=0)
    assert movement(poses, SKELETON) == 0
    assert poses.n_frames == 25


def test_the_mean_length_is_in_seconds():
    mixed = of_clips([clip("a", 25, fps=25.0), clip("b", 25, fps=12.5)])
    for kind in (MeanPose, StaticPose):
        for name in "xyz":
            (poses,) = kind(mixed).produce([Utterance(name, text="a")], seed=0)
            assert poses.seconds == pytest.approx(1.5, abs=0.05)


def test_mean_pose_is_the_mean_over_frames_that_are_seen():
    one, two = clip("a", 150, seed=1), clip("b", 50, seed=2)
    two.poses.confidence[:, 10] = 0
    one.poses.confidence[1:, 20] = 0
    two.poses.confidence[:, 20] = 0
    (poses,) = MeanPose(of_clips([one, two])).produce([Utterance("u")], seed=0)
    everything = np.concatenate([one.poses.joints, two.poses.joints])
    np.testing.assert_allclose(poses.joints[0, 0], everything[:, 0].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(poses.joints[0, 5], everything[:, 5].mean(axis=0), atol=1e-5)
    wrist = SKELETON.index("body/LEFT_WRIST")
    hand = (one.poses.joints[:, 10] - one.poses.joints[:, wrist]).mean(axis=0)
    np.testing.assert_allclose(poses.joints[0, 10], everything[:, wrist].mean(axis=0) + hand, atol=1e-5)
    assert poses.confidence[0, [0, 10, 20]].tolist() == [1, 1, 0], "joint 20 is in one frame of 200"


def test_static_pose_is_a_real_frame(training):
    (poses,) = StaticPose(training).produce([Utterance("u")], seed=0)
    frames = np.concatenate([poses.joints for poses in training.read(range(4))])
    assert (frames == poses.joints[0]).all(axis=(1, 2)).any()


def test_random_clips_are_of_training_and_differ_by_utterance_and_seed(training):
    producer = RandomClip(training)
    utterances = [Utterance(str(i)) for i in range(60)]
    lengths = [[poses.n_frames for poses in producer.produce(utterances, seed=seed)] for seed in (0, 1)]
    assert set(lengths[0]) == {10, 20, 30, 40}
    assert lengths[0] != lengths[1]


@pytest.mark.parametrize(("text", "n_frames"), [("cat", 10), ("CATCH", 20), ("fog", 40), ("catc", 10)])
def test_nearest_text(training, text, n_frames):
    (poses,) = NearestText(training).produce([Utterance("u", text=text)], seed=0)
    assert poses.n_frames == n_frames


def test_of_texts_equally_near_the_one_of_like_length_is_taken():
    known = of_clips([clip("abcd", 10), clip("abx", 20), clip("aby", 30)])
    (poses,) = NearestText(known).produce([Utterance("u", text="abc")], seed=0)
    assert poses.n_frames == 20


def test_nearest_text_needs_a_text(training):
    speech = Speech(np.zeros(100, np.float32), 16000)
    with pytest.raises(InputError, match="needs a text"):
        NearestText(training).produce([Utterance("u", speech=speech)], seed=0)


def test_a_clip_stretched_in_time_is_interpolated(training):
    (poses,) = NearestText(training).produce([Utterance("u", text="cat", seconds=19 / 12.5)], seed=0)
    real = training.read([0])[0].joints
    np.testing.assert_allclose(poses.joints[::2], real, atol=1e-6)
    np.testing.assert_allclose(poses.joints[1::2], (real[1:] + real[:-1]) / 2, atol=1e-6)


def test_baselines_need_training_clips():
    with pytest.raises(InputError, match="there are none"):
        of_clips([replace(clip("a", 3), poses=None)])


def test_a_dataset_on_disk_is_known_as_its_clips_are(tiny_dataset):
    dataset = Dataset(tiny_dataset)
    clips = [clip for clip in dataset.clips("train") if clip.poses]
    lazy, eager = TrainingClips.of_dataset(dataset), TrainingClips.of_clips(clips, dataset.skeleton)
    assert lazy.texts == eager.texts
    assert (lazy.mean_seconds, lazy.fps) == pytest.approx((eager.mean_seconds, eager.fps))
    utterances = [Utterance(str(i), text=text) for i, text in enumerate(("cab", "dig", "cab", "zzz"))]
    for kind in ALL:
        for one, other in zip(kind(lazy).produce(utterances, seed=1), kind(eager).produce(utterances, seed=1), strict=True):
            np.testing.assert_allclose(one.joints, other.joints, atol=1e-4)
