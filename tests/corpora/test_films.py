import numpy as np
import pytest

from ms2sl.corpora.films import Films, FilmsConfig
from ms2sl.data.preprocessing import PreprocessConfig, preprocess_clip
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from tests.corpora import builders
from tests.video.films import folder, picture, write

NOWHERE = "/no/python"  # where no keypoints can be found, only those that are kept


def corpus(root, **options) -> Films:
    return Films(FilmsConfig(source=str(root), keypoints=str(root.parent / "kept"), **options))


def test_a_table_says_what_is_known_of_each_film(tmp_path):
    own = corpus(folder(tmp_path / "films"), table="clips.csv", signed_language="ase")
    clip = own.clip(0)
    assert (clip.id, clip.split, clip.text, clip.gloss, clip.signed_language) == ("wave", "train", "good morning", "GOOD MORNING", "ase")
    assert (clip.poses.n_frames, clip.poses.fps, clip.speech) == (12, 25, None)
    ready = preprocess_clip(clip, own.skeleton, PreprocessConfig(), 25.0)
    assert np.median(ready.poses.joints[:, own.skeleton.index("body/LEFT_SHOULDER"), 0]) == pytest.approx(0.5, abs=0.05)
    assert own.clip(1).speech.seconds == pytest.approx(0.5, abs=0.01)
    assert own.ignored() == {".txt": 1}


def test_without_a_table_every_film_is_a_clip_and_its_sound_may_be_its_speech(tmp_path):
    root = folder(tmp_path / "films")
    write(root / "sub" / "talks.mp4", [picture()] * 12, sound=True)
    own = corpus(root, dev=0, test=0, sound=True)
    clips = {own.id(i): own.clip(i) for i in own.splits["train"]}
    assert set(clips) == {"wave", "nod", "sub-talks", "speech"}
    assert clips["sub-talks"].speech.seconds == pytest.approx(0.48, abs=0.1)
    assert clips["wave"].speech is None
    assert any(remark.startswith("speech left out") for remark in clips["wave"].remarks)


def test_a_film_is_looked_at_once_under_whatever_name(tmp_path):
    root = folder(tmp_path / "films")
    own = corpus(root, dev=0, test=0)
    assert [own.detect(i) for i in range(len(own.index))] == [12, 0, 12]  # nod, speech and wave
    assert [own.detect(i) for i in range(len(own.index))] == [0, 0, 0]
    first = own.clip(0).poses.joints
    (root / "nod.mp4").rename(root / "nodding.mp4")
    again = corpus(root, dev=0, test=0, python=NOWHERE)
    assert np.array_equal(again.clip(0).poses.joints, first)
    write(root / "nodding.mp4", [picture(3)] * 12)
    with pytest.raises(InputError, match="cannot be run"):
        again.detect(0)


def test_a_film_of_nothing_that_can_be_seen_is_told(tmp_path):
    root = tmp_path / "films"
    root.mkdir()
    (root / "broken.mp4").write_bytes(b"no film at all" * 40)
    write(root / "empty.mp4", [np.full((90, 120, 3), 128, np.uint8)] * 4)
    own = corpus(root, dev=0, test=0)
    with pytest.raises(InputError, match="no film that can be opened"):
        own.clip(0)
    with pytest.raises(InputError, match="shoulders"):
        preprocess_clip(own.clip(1), own.skeleton, PreprocessConfig(), 25.0)


def test_films_and_poses_come_from_tables_alike(tmp_path):
    root = folder(tmp_path / "films")
    rows = [("wave.mp4", ""), ("../wave.mp4", ""), ("", "a"), ("", "")]
    builders.write_table(root / "rows.csv", [{"film": film, "text": text, "split": "train"} for film, text in rows], ",")
    own = corpus(root, table="rows.csv")
    named, outside, text, nothing = own.index
    assert (named.id, named.problem, text.text) == ("wave", None, "a")
    with pytest.raises(InputError) as error:
        StoragePath(root) / "../wave.mp4"
    assert outside.problem == str(error.value)
    assert "has neither film nor text nor speech" in nothing.problem
