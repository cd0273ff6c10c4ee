"""A part of a clip that cannot be used costs that part alone."""

from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.features import featurizer
from ms2sl.features.base import SpeechConfig, TextConfig
from ms2sl.fitting import FitConfig
from ms2sl.preparing import featurize, import_rows, plan_shards
from tests.corpora import builders
from tests.features import checkpoints


def test_a_text_that_the_encoder_cannot_read_costs_neither_poses_nor_speech(tmp_path):
    root = builders.pose_files(tmp_path / "corpus")
    table = root / "clips.csv"
    table.write_text(table.read_text().replace("sentence 0", "word " * 100).replace("text alone", "alone " * 100))
    corpus = PoseFiles(PoseFilesConfig(source=str(root), table="clips.csv"))
    text = featurizer(TextConfig(featurizer="clip", weights=str(checkpoints.clip(tmp_path / "clip"))), "text")
    rows, rejected = [], []
    for plan in plan_shards(corpus, 10):
        some, refused = import_rows(corpus, plan, FitConfig())
        rejected += refused + featurize(some, text, featurizer(SpeechConfig(), "speech"))
        rows += some
    assert [(row["text"], row["n_text"] > 0) for row in rows] == [(None, False), ("sentence 1", True), ("sentence 2", True)]
    assert rows[0]["n_frames"] > 0
    assert rows[0]["n_speech"] > 0
    assert rows[0]["remarks"].startswith("text left out: the text has ")
    [rejection] = rejected  # of which nothing is left
    assert "tokens, more than the 77 that the encoder reads" in rejection.reason


def test_a_language_without_a_voice_costs_the_speech_alone(tmp_path):
    corpus = PoseFiles(PoseFilesConfig(source=str(builders.pose_files(tmp_path)), table="clips.csv"))  # of und
    rows = [row for plan in plan_shards(corpus, 10) for row in import_rows(corpus, plan, FitConfig(), synthesise=True)[0]]
    assert [row["speech"] is None for row in rows] == [False, True, True, True]
    assert rows[1]["n_frames"] > 0
    assert rows[1]["remarks"] == "speech left out: espeak-ng has no voice for the language 'und': say which language is spoken"
