import numpy as np
import pytest

from ms2sl.corpora.phoenix14t import Phoenix14T, Phoenix14TConfig, line_spans
from ms2sl.data.skeleton_registry import PHOENIX_50X3
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from tests.corpora import builders


@pytest.fixture
def root(tmp_path):
    return builders.phoenix14t(tmp_path / "phoenix")


def corpus(root, **options) -> Phoenix14T:
    return Phoenix14T(Phoenix14TConfig(source=str(root), **options))


def test_poses_texts_and_glosses_are_those_of_the_lines(root):
    own = corpus(root)
    assert own.splits == {"train": range(0, 3), "dev": range(3, 6)}
    clip = own.clip(2)
    assert (clip.id, clip.text, clip.gloss, clip.spoken_language) == ("train-2", "regen in train/train-2", "REGEN", "de")
    assert clip.poses.joints.shape == (8, 50, 3)
    assert np.abs(own.skeleton.normalise(clip.poses).joints - builders.signing(PHOENIX_50X3, 8, seed=2).joints).max() < 1e-3


def test_the_origin_is_a_position_and_a_frame_of_zeros_is_none(root):
    lines = (root / "train.skels").read_text().splitlines()
    numbers = np.array(lines[0].split(), float).reshape(-1, 151)
    numbers[:, 3:6] = 0  # the neck
    numbers[2, :150] = 0
    (root / "train.skels").write_text("\n".join([" ".join(map(str, numbers.ravel())), *lines[1:]]))
    clip = corpus(root).clip(0)
    assert (clip.poses.confidence[2] == 0).all()
    assert (clip.poses.confidence[[0, 1, 3, 4, 5]] == 1).all()


def relined(root, change) -> None:
    """The first line with other frames ``(frames, 151)``."""
    lines = (root / "train.skels").read_text().splitlines()
    frames = change(np.array(lines[0].split(), float).reshape(-1, 151))
    (root / "train.skels").write_text("\n".join([" ".join(map(str, frames.ravel())), *lines[1:]]) + "\n")


def test_a_hand_of_zeros_is_not_seen(root):
    hand = PHOENIX_50X3.part("left_hand")

    def without_hand(frames):
        frames[2:4, hand.start * 3 : hand.stop * 3] = 0
        frames[:, 3:6] = 0  # the neck is the origin
        return frames

    relined(root, without_hand)
    seen = corpus(root).clip(0).poses.confidence > 0
    assert not seen[2:4, hand].any()
    seen[2:4, hand] = True
    assert seen.all()


def test_frames_without_a_counter_are_not_taken_for_others_where_their_number_divides_by_accident(root):
    rng = np.random.default_rng(0)
    relined(root, lambda frames: rng.uniform(0, 1, (151, 150)))
    clip = corpus(root).clip(0)
    assert (clip.text, clip.poses) == ("regen in train/train-0", None)
    assert "the last of each is no counter that runs from 0 to 1. If its frames have 150, append the counter to each" in clip.remarks[0]
    relined(root, lambda frames: rng.uniform(0, 1, (20, 150)))
    assert "they would be 20 frames of 150, without the counter" in corpus(root).clip(0).remarks[0]


def renamed(root, split: str, names: list[str]) -> None:
    (root / f"{split}.files").write_text("\n".join(names) + "\n")


def test_sequences_of_one_name_in_several_folders_keep_their_own_texts(root):
    renamed(root, "train", ["train/s1/1", "train/s2/1", "train/s2/2"])
    for kind in ("text", "gloss"):
        (root / f"train.{kind}").write_text("\n".join(f"{kind} {i}" for i in range(3)) + "\n")
    own = corpus(root)
    assert [own.id(i) for i in own.splits["train"]] == ["train-s1-1", "train-s2-1", "2"]
    assert [(own.clip(i).text, own.clip(i).gloss, own.clip(i).poses.n_frames) for i in range(3)] == [
        (f"text {i}", f"gloss {i}", 6 + i) for i in range(3)
    ]


def test_a_table_is_matched_by_folders_too_and_never_by_a_name_that_several_have(root):
    renamed(root, "train", ["train/s1/1", "train/s2/1", "train/s2/2"])
    rows = [{"id": name, "annotation": "G", "translation": f"text of {name}"} for name in ("s1/1", "s2/1", "2")]
    builders.write_table(root / "train.csv", rows, "|")
    own = corpus(root, tables="{split}.csv")
    assert [own.clip(i).text for i in range(3)] == ["text of s1/1", "text of s2/1", "text of 2"]
    builders.write_table(root / "train.csv", [rows[0] | {"id": "1"}, rows[2]], "|")
    own, reasons = corpus(root, tables="{split}.csv"), []
    for index in (0, 1, 3):
        with pytest.raises(InputError) as error:
            own.clip(index)
        reasons.append(str(error.value))
    assert reasons == ["it has no text in train.csv"] * 2 + ["train/s1/1 and train/s2/1 could both be 1"]
    assert own.clip(2).text == "text of 2"
    builders.write_table(root / "train.csv", [rows[0], rows[0]], "|")
    with pytest.raises(InputError, match=r"train\.csv: rows of one name: 2 have the name s1/1"):
        corpus(root, tables="{split}.csv").splits  # noqa: B018


def test_names_that_begin_anew_in_each_split(root):
    for split in ("train", "dev"):
        renamed(root, split, ["1", "2", split])
    own = corpus(root)
    assert [own.id(i) for i in range(6)] == ["train-1", "train-2", "train", "dev-1", "dev-2", "dev"]
    assert (own.clip(4).text, own.clip(4).poses.n_frames) == ("regen in dev/dev-1", 7)


def test_a_short_sequence_without_a_counter_is_read_and_remarked(root):
    relined(root, lambda frames: np.hstack([frames[:, :150], np.full((len(frames), 1), 3.5)]))
    clip = corpus(root).clip(0)
    assert clip.poses.n_frames == 6
    assert clip.remarks == ("the last of the 151 numbers of a frame in train.skels is no counter that runs from 0 to 1",)


@pytest.mark.parametrize("last", [1.0, 1 - 1 / 40])
@pytest.mark.parametrize("decimals", [2, 5])
def test_a_counter_may_be_rounded_and_end_at_or_before_1(root, last, decimals):
    counter = np.linspace(0, last, 40).round(decimals)[:, None]
    relined(root, lambda frames: np.hstack([np.resize(frames[:, :150], (40, 150)), counter]))
    clip = corpus(root).clip(0)
    assert (clip.poses.n_frames, clip.remarks) == (40, ())


def test_a_counter_that_ends_half_way_is_remarked(root):
    relined(root, lambda frames: frames[:3])
    clip = corpus(root).clip(0)
    assert clip.poses.n_frames == 3
    assert clip.remarks == ("its counter runs from 0.00 to 0.40: a part of the sequence is not in train.skels",)


def test_texts_come_from_a_table_too_and_what_has_no_poses_is_text_alone(root):
    rows = [{"id": f"train-{i}", "signer": "S", "annotation": "WIND", "translation": f"wind {i}"} for i in (0, 1, 7)]
    builders.write_table(root / "train.csv", rows, "|")
    own = corpus(root, tables="{split}.csv")
    clips = {own.id(i): own.clip(i) for i in own.splits["train"] if own.id(i) != "train-2"}
    assert (clips["train-0"].text, clips["train-0"].gloss, clips["train-0"].poses.n_frames) == ("wind 0", "WIND", 6)
    assert (clips["train-7"].text, clips["train-7"].poses) == ("wind 7", None)
    with pytest.raises(InputError, match=r"it has no text in train\.csv"):
        own.clip(2)


def test_the_corpus_own_tables_name_their_columns_otherwise(root, tmp_path):
    rows = [{"name": "x", "video": "x/1/*.png", "start": -1, "end": -1, "speaker": "S", "orth": "REGEN", "translation": "regen"}]
    builders.write_table(tmp_path / "texts" / "PHOENIX-2014-T.train.corpus.csv", rows, "|")
    clip = corpus(tmp_path / "texts", tables="PHOENIX-2014-T.{split}.corpus.csv").clip(0)
    assert (clip.id, clip.text, clip.gloss, clip.poses) == ("x", "regen", "REGEN", None)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda line: " ".join(line.split()[:400]), "numbers, which are not frames of 151: it was cut short"),
        (lambda line: line.replace(" ", " x", 1), "holds something that is no number"),
        (lambda line: "", "has 0 numbers"),
    ],
)
def test_a_line_that_is_damaged_costs_the_poses_of_one_clip(root, spoil, reason):
    lines = (root / "train.skels").read_text().splitlines()
    (root / "train.skels").write_text("\n".join([spoil(lines[0]), *lines[1:]]) + "\n")
    own = corpus(root)
    clip = own.clip(0)
    assert (clip.text, clip.poses) == ("regen in train/train-0", None)
    assert clip.remarks[0].startswith("poses left out: ")
    assert reason in clip.remarks[0]
    assert own.clip(1).poses.n_frames == 7


def test_a_line_of_text_that_is_empty_leaves_poses_and_gloss(root):
    (root / "train.text").write_text("\nregen\nregen\n")
    clip = corpus(root).clip(0)
    assert (clip.text, clip.gloss, clip.poses.n_frames) == (None, "REGEN", 6)
    assert clip.remarks == ("text left out: it has no text in train.text",)


def test_files_that_do_not_belong_together_are_told(root):
    (root / "train.text").write_text("one line alone\n")
    with pytest.raises(InputError, match=r"train\.text has 1 lines, but there are 3 sequences of poses"):
        corpus(root).splits  # noqa: B018


def test_a_wrong_delimiter_and_an_empty_folder(root, tmp_path):
    (root / "train.csv").write_text("id,translation\na,b\n")
    with pytest.raises(InputError, match=r"no column name or id, translation; its columns, when it is split at '\|', are: 'id,"):
        corpus(root, tables="{split}.csv").splits  # noqa: B018
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"has neither train\.skels nor a table"):
        corpus(tmp_path / "empty").splits  # noqa: B018


def test_lines_are_found_across_the_pieces_in_which_a_file_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("ms2sl.corpora.phoenix14t.SCAN", 7)
    lines = ["", "a", "bcdefgh", "ijklmnopqrstu", "v"]
    (tmp_path / "file").write_text("\n".join(lines))
    content = (tmp_path / "file").read_text()
    assert [content[start:stop] for start, stop in line_spans(StoragePath(tmp_path / "file"))] == lines


def test_a_quote_in_a_table_is_a_character(root):
    rows = ["name|speaker|orth|translation", "train-0|S|EINS|eins", 'train-1|S|ZWEI|"zwei sagt er', "train-2|S|DREI|drei"]
    (root / "train.csv").write_text("\n".join(rows) + "\n")
    own = corpus(root, tables="{split}.csv")
    assert [own.clip(i).text for i in own.splits["train"]] == ["eins", '"zwei sagt er', "drei"]


def test_lines_end_at_line_feeds_alone(root):
    (root / "train.text").write_text("guten\x85abend\nmorgen\u2028regnet es\nheute\x0c\n", encoding="utf-8")
    own = corpus(root)
    assert [own.clip(i).text for i in own.splits["train"]] == ["guten abend", "morgen regnet es", "heute"]
