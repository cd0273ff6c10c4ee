import numpy as np
import pytest

from ms2sl.data.pose_format_io import from_bytes
from ms2sl.data.skeleton_registry import HOLISTIC_49X2, HOLISTIC_178X3
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from ms2sl.video.keypoints import Detector
from ms2sl.video.mediapipe_environment import python_of
from tests.video.films import picture, turned, write

SHOULDERS = [HOLISTIC_49X2.index(joint) for joint in HOLISTIC_49X2.shoulders]


def shoulders(raw):
    """Their middle ``(frames, 2)``, pixels."""
    return raw.poses.joints[:, SHOULDERS].mean(axis=1)


@pytest.fixture(scope="module")
def moving(tmp_path_factory, detector):
    """A person who moves 4 pixels to the right in each picture."""
    film = write(tmp_path_factory.mktemp("films") / "moving.mp4", [picture(4 * i - 40) for i in range(20)])
    return detector.detect(StoragePath(film), 30)


def test_keypoints_follow_the_person(moving):
    raw = from_bytes(moving.pose, HOLISTIC_49X2)
    assert (moving.frames, raw.poses.n_frames, raw.poses.fps, raw.width, raw.height) == (20, 20, 25, 480, 360)
    assert raw.poses.confidence[:, SHOULDERS].min() > 0
    way = shoulders(raw)[5:] - shoulders(raw)[5]  # the tracker of MediaPipe smooths the beginning
    assert np.allclose(way[:, 0], 4 * np.arange(15), atol=6)
    assert np.abs(way[:, 1]).max() < 6
    left, right = (raw.poses.joints[:, joint, 0] for joint in SHOULDERS)
    assert 60 < np.median(left - right) < 200  # the left one is to the right of the picture


def test_all_landmarks_are_there_with_depth_in_pixels(moving):
    raw = from_bytes(moving.pose, HOLISTIC_178X3)
    face = HOLISTIC_178X3.part("face")
    assert raw.poses.confidence[:, face].min() > 0
    assert 10 < np.ptp(raw.poses.joints[:, face, 2], axis=1).mean() < 200


def test_a_turned_film_gives_the_keypoints_of_the_upright_one(tmp_path, detector):
    upright = [np.ascontiguousarray(np.rot90(picture())) for _ in range(8)]  # a quarter turn to the left, which the header takes back
    film = turned(write(tmp_path / "film.mp4", upright), tmp_path / "turned.mp4")
    raw = from_bytes(detector.detect(StoragePath(film), 30).pose, HOLISTIC_49X2)
    plain = from_bytes(detector.detect(StoragePath(write(tmp_path / "plain.mp4", [picture()] * 8)), 30).pose, HOLISTIC_49X2)
    assert (raw.width, raw.height) == (480, 360)
    assert np.allclose(shoulders(raw), shoulders(plain), atol=4)


def test_uneven_times_are_made_even(tmp_path, detector):
    times = [0, 40, 80, 120, 160, 200, 440, 480, 520, 760, 800, 840]
    film = write(tmp_path / "film.mp4", [picture(round(t / 10) - 40) for t in times], times)
    raw = from_bytes(detector.detect(StoragePath(film), 30).pose, HOLISTIC_49X2)
    assert (raw.poses.fps, raw.poses.n_frames) == (25, 22)
    place = shoulders(raw)[4:, 0]
    speed, begin = np.polyfit(np.arange(len(place)) / 25, place, 1)
    assert speed == pytest.approx(100, abs=15)  # pixels a second, as the person moves
    assert np.abs(place - begin - speed * np.arange(len(place)) / 25).max() < 8


def test_where_a_film_has_no_picture_nobody_is_seen(tmp_path, detector):
    times = [*range(0, 400, 40), *range(2000, 2400, 40)]
    raw = from_bytes(detector.detect(StoragePath(write(tmp_path / "film.mp4", [picture()] * 20, times)), 30).pose, HOLISTIC_49X2)
    seen = raw.poses.confidence[:, SHOULDERS].min(axis=1) > 0
    assert (raw.poses.fps, raw.poses.n_frames) == (25, 60)
    assert np.flatnonzero(seen).tolist() == [*range(10), *range(50, 60)]


def test_a_film_of_hours_or_of_single_pictures_is_told(tmp_path, detector):
    for times, reason in (([0, 40, 700_000], "takes more than 600 s"), ([0, 2000, 4000], "a picture every 2.0 s")):
        film = write(tmp_path / "film.mp4", [picture()] * 3, times)
        with pytest.raises(InputError, match=reason):
            detector.detect(StoragePath(film), 30)


def test_of_a_film_without_a_person_nobody_is_seen(tmp_path, detector):
    found = detector.detect(StoragePath(write(tmp_path / "grey.mp4", [np.full((90, 120, 3), 128, np.uint8)] * 4)), 30)
    assert from_bytes(found.pose, HOLISTIC_49X2).poses.confidence.max() == 0


def test_a_detector_that_ended_is_told(mediapipe, tmp_path):
    other = Detector(mediapipe)
    other.process.kill()
    with pytest.raises(InputError, match="MediaPipe ended with status -9"):
        other.landmarks(picture())
    assert not other.runs


@pytest.mark.parametrize(("python", "reason"), [("/no/python", "cannot be run: No such file"), ("python3", "cannot load MediaPipe")])
def test_an_environment_without_mediapipe_is_told(python, reason):
    with pytest.raises(InputError, match=reason):
        python_of(python)
