"""Which format an answer has, and what is in it."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ms2sl.data.pose_format_io import from_bytes
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.data.types import Poses
from ms2sl.training.checkpoint import read_card
from serve.formats import DRAWN, FORMATS, POSE, head, model_description, negotiate_media_type

JSON, GIF, MP4 = "application/json", "image/gif", "video/mp4"


@pytest.fixture
def poses() -> Poses:
    joints = np.random.default_rng(0).normal(0, 0.5, (6, HOLISTIC_49X2.n_joints, 2)).astype(np.float32)
    confidence = np.ones(joints.shape[:2], np.float32)
    confidence[:, 3] = 0
    return Poses(joints * confidence[..., None], confidence, 12.5)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", POSE),
        (" ", POSE),
        ("*/*", POSE),
        ("application/*", POSE),
        ("image/*", GIF),
        ("video/*", MP4),
        ("image/gif", GIF),
        ("IMAGE/GIF", GIF),
        ("application/json; charset=utf-8", JSON),
        ("text/html, application/json", JSON),
        ("text/html,*/*;q=0.1", POSE),
        ("image/gif;q=0.5, video/mp4;q=0.6", MP4),
        ("image/gif;q=0.6, video/mp4;q=0.5", GIF),
        ("image/gif;Q=0.5, video/mp4;q=0.6", MP4),
        ("image/gif ; q=0.9 , application/json ; q=1.0", JSON),
        ("application/pose;q=0.1, */*", JSON),
        ("application/pose;q=0, */*;q=0.5", JSON),
        ("application/*;q=0.9, application/pose;q=0.2", JSON),
        ("*/*;q=0.1, image/*;q=0.2, image/gif;q=0", POSE),
        ("image/gif, image/gif;q=0.1", GIF),
        ("image/gif;q=1.5, application/json", JSON),
        ("image/gif;q=, application/json;q=0.1", JSON),
    ],
)
def test_the_format_that_is_liked_best_is_made(accept, kind):
    assert negotiate_media_type(accept) == kind


@pytest.mark.parametrize(
    "accept", ["text/html", "*/*;q=0", "image/png", "application/pose;q=0", "nonsense", ",", ";", "application/", "image/gif;q=no"]
)
def test_there_may_be_no_format_that_is_accepted(accept):
    assert negotiate_media_type(accept) is None


@pytest.mark.parametrize("weight", ["²", "٣", ".", "", "1e9", "nan", "inf", "-1", "0x1", "1" * 5000])
def test_a_weight_that_is_no_number_breaks_nothing(weight):
    assert negotiate_media_type(f"image/gif;q={weight}, application/json;q=0.001") in (JSON, GIF)


def test_json_has_all_that_it_takes_to_draw(poses):
    content = json.loads(FORMATS[JSON](poses, HOLISTIC_49X2))
    assert set(content) == {"fps", "skeleton", "dims", "seen", "n_frames", "seconds", "joints", "frames"}
    assert (content["fps"], content["n_frames"], content["seconds"]) == (12.5, 6, 0.48)
    assert (content["skeleton"], content["dims"], content["joints"]) == ("holistic-49x2", 2, list(HOLISTIC_49X2.joints))
    frames = np.array(content["frames"], float)
    assert np.array_equal(np.isnan(frames).any(axis=2), poses.confidence == 0)
    assert np.allclose(frames[poses.confidence > 0], poses.joints[poses.confidence > 0], atol=1e-4)
    assert [i for i, seen in enumerate(content["seen"]) if not seen] == [3]


def test_a_hand_that_is_not_seen_at_first_may_come(poses):
    hidden = Poses(poses.joints, poses.confidence.copy(), poses.fps)
    left = HOLISTIC_49X2.part("left_hand")
    hidden.confidence[:2, left] = 0
    first = Poses(hidden.joints[:2], hidden.confidence[:2], 12.5)
    assert not any(head(first, HOLISTIC_49X2)["seen"][left])
    assert head(first, HOLISTIC_49X2, ["body", "left_hand"]) == head(poses, HOLISTIC_49X2)
    frames = json.loads(FORMATS[JSON](hidden, HOLISTIC_49X2))["frames"]
    assert frames[1][10] == [None, None]
    assert frames[2][10] != [None, None]


def test_json_is_small(poses):
    assert len(FORMATS[JSON](poses, HOLISTIC_49X2)) < 9 * poses.joints.size + 2000


def test_the_head_is_what_json_says_without_the_frames(poses):
    assert head(poses, HOLISTIC_49X2).items() <= json.loads(FORMATS[JSON](poses, HOLISTIC_49X2)).items()


def test_a_pose_file_holds_the_poses(poses):
    read = from_bytes(FORMATS[POSE](poses, HOLISTIC_49X2), HOLISTIC_49X2).poses
    assert (read.n_frames, read.fps) == (6, 12.5)
    assert np.array_equal(read.confidence, poses.confidence)


def test_pictures_are_pictures(poses):
    picture = Image.open(io.BytesIO(FORMATS[GIF](poses, HOLISTIC_49X2)))
    assert (picture.format, picture.n_frames) == ("GIF", 6)
    assert FORMATS[MP4](poses, HOLISTIC_49X2)[4:8] == b"ftyp"
    assert set(DRAWN) == {GIF, MP4}


def test_a_model_is_described_by_its_card(tiny_checkpoint):
    card = read_card(tiny_checkpoint, "ms2sl")
    described = model_description(card, "7")
    assert (described["version"], described["fps"], described["modalities"]) == ("7", card.fps, ("text", "speech"))
    assert described["skeleton"]["name"] == "holistic-49x2"
    assert described["skeleton"]["joints"] == HOLISTIC_49X2.joints
    assert described["spoken_languages"] == card.spoken_languages
    assert json.dumps(described)


def test_a_model_of_letters_tells_which_and_any_other_none(tiny_checkpoint):
    card = read_card(tiny_checkpoint, "ms2sl")
    letters = SimpleNamespace(vocabulary="letters"), SimpleNamespace(vocabulary=None)
    lettered, other = (
        SimpleNamespace(**{name: getattr(card, name) for name in type(card).model_fields} | {"text": text}) for text in letters
    )
    assert model_description(lettered, "1")["characters"] == card.characters != ""
    assert model_description(other, "1")["characters"] == ""
