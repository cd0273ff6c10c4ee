"""Isolated signs: trees of .npy, tables of takes, Kaggle's two layouts."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ms2sl.corpora.asl_fingerspelling import AslFingerspelling, AslFingerspellingConfig
from ms2sl.corpora.asl_signs import AslSigns, AslSignsConfig
from ms2sl.corpora.isolated import stale_frames
from ms2sl.corpora.takes import Takes, TakesConfig
from ms2sl.data.mediapipe_landmarks import GUESSED
from ms2sl.data.preprocessing import PreprocessConfig, preprocess_clip
from ms2sl.data.skeleton_registry import HOLISTIC_49X2, HOLISTIC_178X3
from ms2sl.data.types import Poses
from ms2sl.errors import InputError
from tests.corpora import builders

NOSE, LEFT_SHOULDER, LEFT_WRIST, RIGHT_TIP = (
    HOLISTIC_49X2.index(name) for name in ("body/NOSE", "body/LEFT_SHOULDER", "left_hand/WRIST", "right_hand/PINKY_TIP")
)


def takes(root, **options) -> Takes:
    return Takes(TakesConfig(source=str(root), **options))


def clips(corpus) -> dict:
    return {corpus.id(i): corpus.clip(i) for span in corpus.splits.values() for i in span}


@pytest.mark.parametrize("width", [1662, 1629, 258, 225])
def test_a_tree_of_frames_is_read_whatever_landmarks_it_has(tmp_path, width):
    clip = clips(takes(builders.takes_tree(tmp_path, width=width)))["thank-you_2"]
    assert (clip.gloss, clip.text, clip.poses.fps) == ("thank-you", "thank you", 15.0)
    values = builders.landmarks(seed=12)
    for joint, landmark in ((NOSE, 0), (LEFT_SHOULDER, 11), (LEFT_WRIST, 501), (RIGHT_TIP, 542)):
        assert np.allclose(clip.poses.joints[:, joint], values[:, landmark, :2] * [640, 480], atol=1e-3)
    assert clip.poses.confidence[0, NOSE] == pytest.approx(0.9 if width in (1662, 258) else 1)
    assert clip.poses.confidence[0, LEFT_WRIST] == 1
    assert clip.remarks == ("its frames a second are not known: taken as 15 (--takes.recorded-fps)",)


def test_the_face_and_depth_are_there_for_a_skeleton_that_has_them(tmp_path):
    clip = clips(takes(builders.takes_tree(tmp_path), skeleton="holistic-178x3", recorded_fps=30))["HELLO_0"]
    values, lips = builders.landmarks(seed=0), HOLISTIC_178X3.index("face/61")
    assert np.allclose(clip.poses.joints[:, lips, :2], values[:, 33 + 61, :2] * [640, 480], atol=1e-3)
    left, right = (HOLISTIC_178X3.index(f"body/{side}_ELBOW") for side in ("LEFT", "RIGHT"))
    apart = (clip.poses.joints[:, left] - clip.poses.joints[:, right])[:, 2]
    assert np.allclose(apart, (values[:, 13] - values[:, 14])[:, 2] * 640, atol=1e-2)
    assert clip.remarks == ()
    without = takes(builders.takes_tree(tmp_path / "b", width=258), skeleton="holistic-178x3").clip(0)
    assert without.remarks == ("poses left out: it has no face/0, which skeleton holistic-178x3 has: choose another skeleton",)


def test_hands_alone_stand_before_a_body_that_is_guessed(tmp_path):
    clip = clips(takes(builders.takes_tree(tmp_path, width=126)))["HELLO_1"]
    assert GUESSED in clip.remarks
    ready = preprocess_clip(clip, HOLISTIC_49X2, PreprocessConfig(), 15.0)
    assert ready.poses.confidence[:, NOSE].max() == 0
    assert np.allclose(ready.poses.joints[:, LEFT_SHOULDER], [0.5, 0.0], atol=1e-5)
    assert ready.poses.confidence[:, LEFT_WRIST].min() == 1


def test_a_take_may_be_one_file_and_have_a_folder_of_its_signer(tmp_path):
    for signer in ("anna", "ben"):
        for take in range(2):
            (tmp_path / signer / "HELLO").mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / signer / "HELLO" / f"{take}.npy", builders.tutorial_frames(builders.landmarks(seed=take), 258))
    (tmp_path / "readme.txt").write_text("")
    corpus = takes(tmp_path, unseen_signers="ben")
    found = clips(corpus)
    assert sorted(found) == ["anna_HELLO_0", "anna_HELLO_1", "ben_HELLO_0", "ben_HELLO_1"]
    assert [clip.signer for clip in found.values() if clip.split == "unseen_signer"] == ["ben", "ben"]
    assert found["anna_HELLO_1"].poses.n_frames == 12
    assert corpus.ignored() == {".txt": 1}
    with pytest.raises(InputError, match=r"--takes\.unseen-signers: there is no eve; there are: anna, ben"):
        takes(tmp_path, unseen_signers="eve, ben").index  # noqa: B018


def test_a_table_of_takes_keeps_who_signs_and_what_is_unseen(tmp_path):
    builders.takes_table(tmp_path / "takes.parquet")
    found = clips(takes(tmp_path, table="takes.parquet"))
    clip = found["take-5"]
    assert (clip.gloss, clip.signer, clip.signed_language, clip.poses.fps) == ("THANK-YOU", "anna", "ase", 15.0)
    assert clip.remarks == ()
    left = HOLISTIC_49X2.part("left_hand")
    assert clip.poses.confidence[:8, left].max() == 0
    assert clip.poses.confidence[8:, left].min() == pytest.approx(230 / 255)
    assert np.allclose(clip.poses.joints[:, NOSE], builders.landmarks(17, seed=5)[:, 0, :2] * [640, 480], atol=0.5)  # float16
    assert found["take-0"].poses.n_frames == 12


def test_first_frames_of_the_recording_before_are_cut(tmp_path):
    folder = builders.takes_tree(tmp_path, signs=("HELLO",), takes=1) / "HELLO" / "0"
    first = np.load(folder / "0.npy")
    first[: 33 * 4 : 4] += 0.15  # half a shoulder width aside
    np.save(folder / "0.npy", first)
    clip = takes(tmp_path).clip(0)
    assert clip.poses.n_frames == 11
    assert np.allclose(clip.poses.joints[0, NOSE], builders.landmarks()[1, 0, :2] * [640, 480], atol=1e-3)
    assert any(remark.startswith("1 first frame left out") for remark in clip.remarks)


@pytest.mark.parametrize(("jump", "cut"), [(0, 0), (1, 1), (2, 2), (3, 0), (6, 0)])
def test_only_a_jump_of_the_body_within_the_first_frames_is_one_to_cut(jump, cut):
    joints = builders.signing(HOLISTIC_49X2, 12).joints
    joints[:jump] += 0.3
    assert stale_frames(Poses(joints, np.ones(joints.shape[:2], np.float32), 15.0), HOLISTIC_49X2) == cut


def test_mirrored_copies_are_refused_or_turned_back(tmp_path):
    folder = builders.takes_tree(tmp_path, signs=("HELLO",), takes=2, width=225) / "HELLO" / "1"
    for file in folder.iterdir():
        frame = np.load(file).reshape(-1, 3)
        frame[:, 0] = 1 - frame[:, 0]
        np.save(file, frame.ravel())
    refused = clips(takes(tmp_path, recorded_fps=15))
    assert refused["HELLO_0"].remarks == ()
    assert refused["HELLO_1"].poses is None
    assert "its landmarks are mirrored" in refused["HELLO_1"].remarks[0]
    turned = clips(takes(tmp_path, recorded_fps=15, mirrored="turn"))["HELLO_1"]
    assert np.allclose(turned.poses.joints[:, NOSE], builders.landmarks(seed=1)[:, 0, :2] * [640, 480], atol=1e-3)
    assert turned.remarks[0].endswith("turned back")


def test_kaggles_signs_are_read_by_type_and_index(tmp_path):
    corpus = AslSigns(AslSignsConfig(source=str(builders.asl_signs(tmp_path)), unseen_signers="26735"))
    clip = clips(corpus)["1003"]
    assert (clip.gloss, clip.text, clip.signer, clip.split, clip.signed_language) == ("hot-dog", "hot dog", "26735", "unseen_signer", "ase")
    values = builders.landmarks(11, seed=3)
    assert np.allclose(clip.poses.joints[:, NOSE], values[:, 0, :2] * [640, 480], atol=1e-3)
    assert np.allclose(clip.poses.joints[3:, LEFT_WRIST], values[3:, 501, :2] * [640, 480], atol=1e-3)
    assert clip.poses.confidence[:, LEFT_WRIST].tolist() == [0] * 3 + [1] * 8
    assert "taken as 30 (--asl-signs.recorded-fps)" in clip.remarks[0]


def test_kaggles_fingerspelling_is_read_by_sequence(tmp_path):
    corpus = AslFingerspelling(AslFingerspellingConfig(source=str(builders.asl_fingerspelling(tmp_path))))
    clip = clips(corpus)["1975433637"]
    assert (clip.text, clip.gloss, clip.signer) == ("+4-51 scales/4", "+ 4 - 5 1 s c a l e s / 4", "101")
    values = builders.landmarks(13, seed=4)
    for joint, landmark in ((NOSE, 0), (LEFT_SHOULDER, 11), (LEFT_WRIST, 501), (RIGHT_TIP, 542)):
        assert np.allclose(clip.poses.joints[:, joint], values[:, landmark, :2] * [640, 480], atol=1e-3)


def one_frame(folder):
    for file in list(folder.iterdir())[1:]:
        file.unlink()


def other_width(folder):
    np.save(folder / "3.npy", np.zeros(258, np.float32))


def unknown_width(folder):
    for file in folder.iterdir():
        np.save(file, np.zeros(99, np.float32))


def cut_short(folder):
    (folder / "3.npy").write_bytes((folder / "3.npy").read_bytes()[:200])


def pickled(folder):
    np.save(folder / "3.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def nobody(folder):
    for file in folder.iterdir():
        np.save(file, np.full(1662, np.nan, np.float32))


def no_frames(folder):
    one_frame(folder)
    np.save(next(folder.iterdir()), np.zeros((0, 1662), np.float32))


def texts(folder):
    np.save(folder / "3.npy", np.array(["a"] * 1662))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (no_frames, "it has no frames"),
        (texts, "it is no .npy file of numbers"),
        (other_width, "3.npy has 258 values, 0.npy has 1662"),
        (unknown_width, "a frame has 99 values of type float32; those of MediaPipe are 1662, 1629, 258, 225, 126"),
        (cut_short, "cut short or no .npy file"),
        (pickled, "cut short or no .npy file of numbers"),
    ],
)
def test_a_broken_take_keeps_its_text_and_says_what_is_wrong(tmp_path, spoil, reason):
    root = builders.takes_tree(tmp_path)
    spoil(root / "HELLO" / "1")
    found = clips(takes(root))
    assert found["HELLO_1"].poses is None
    assert reason in " ".join(found["HELLO_1"].remarks)
    assert found["HELLO_0"].poses is not None


@pytest.mark.parametrize(("spoil", "frames"), [(one_frame, 1), (nobody, None)])
def test_a_take_of_one_frame_is_a_clip_and_one_of_nobody_is_text_alone(tmp_path, spoil, frames):
    root = builders.takes_tree(tmp_path)
    spoil(root / "HELLO" / "1")
    clip = clips(takes(root))["HELLO_1"]
    ready = preprocess_clip(clip, HOLISTIC_49X2, PreprocessConfig(), 15.0)
    assert (ready.poses and ready.poses.n_frames) == frames
    if frames is None:
        assert "the shoulders are never seen" in ready.remarks[-1]


def test_what_lies_beside_signs_is_told(tmp_path):
    root = builders.takes_tree(tmp_path)
    np.save(root / "lost.npy", np.zeros(1662))
    corpus = takes(root)
    with pytest.raises(InputError, match=r"lost\.npy is in no folder of a sign"):
        corpus.clip(next(i for span in corpus.splits.values() for i in span if corpus.id(i).startswith("lost")))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": pa.array(["pose", "tail"])}, "landmarks of type 'tail'"),
        ({"landmark_index": pa.array([0, 33])}, "has a landmark pose 33, of which there are 33"),
        ({"frame": pa.array([0, 10**6])}, "numbered from 0 to 1000000, which is no clip"),
        ({"x": None}, "has no column x"),
    ],
)
def test_a_sequence_of_kaggle_that_is_none_is_told(tmp_path, change, reason):
    root = builders.asl_signs(tmp_path)
    good = {"frame": pa.array([0, 1]), "type": pa.array(["pose", "pose"]), "landmark_index": pa.array([0, 1])}
    columns = good | {axis: pa.array([0.5, 0.5]) for axis in "xyz"} | change
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    pq.write_table(table, root / "train_landmark_files/26734/1000.parquet")
    corpus = AslSigns(AslSignsConfig(source=str(root)))
    assert reason in " ".join(clips(corpus)["1000"].remarks)


def test_a_row_of_takes_whose_bytes_do_not_fit_is_told(tmp_path):
    path = builders.takes_table(tmp_path / "takes.parquet")
    rows = pq.read_table(path).to_pylist()
    rows[1]["joints"] = rows[1]["joints"][:-2]
    rows[2]["fps"] = None
    pq.write_table(pa.Table.from_pylist(rows), path)
    found = clips(takes(tmp_path, table="takes.parquet"))
    assert "not float16 of (13, 75, 3)" in found["take-1"].remarks[-1]
    assert "taken as 15" in found["take-2"].remarks[-1]


def test_the_frames_a_second_of_the_table_win_over_those_of_the_option(tmp_path):
    builders.takes_table(tmp_path / "takes.parquet")
    assert clips(takes(tmp_path, table="takes.parquet", recorded_fps=30))["take-0"].poses.fps == 15


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("joints", None, "has no column joints"),
        ("joints", "text", "its column joints is of type string, not bytes"),
        ("n_frames", 12.0, None),
    ],
)
def test_columns_of_other_types_are_told(tmp_path, name, values, reason):
    path = builders.takes_table(tmp_path / "takes.parquet", takes=1)
    rows = [{key: value for key, value in (row | {name: values}).items() if value is not None} for row in pq.read_table(path).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows), path)
    clip = clips(takes(tmp_path, table="takes.parquet"))["take-0"]
    assert (reason in " ".join(clip.remarks)) if reason else clip.poses.n_frames == 12


def test_takes_are_found_where_the_first_file_is_broken(tmp_path):
    (tmp_path / "anna" / "HELLO").mkdir(parents=True)
    for take in range(3):
        np.save(tmp_path / "anna" / "HELLO" / f"{take}.npy", builders.tutorial_frames(builders.landmarks(seed=take), 258))
    (tmp_path / "anna" / "HELLO" / "0.npy").write_bytes(b"")
    found = clips(takes(tmp_path))
    assert [(clip.gloss, clip.signer, clip.poses is None) for clip in found.values()].count(("HELLO", "anna", False)) == 2


@pytest.mark.parametrize("kind", [Takes, AslSigns, AslFingerspelling])
def test_a_skeleton_that_is_not_mediapipes_is_refused(kind):
    with pytest.raises(InputError, match=r"\.skeleton openpose-137x2 has body/Nose, which MediaPipe has not"):
        kind(kind.Config(skeleton="openpose-137x2"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"frame": [0.0, 1.0]}, None),
        ({"frame": [0, None]}, "has a row without frame"),
        ({"x": ["a", "b"]}, "is no Parquet file of landmarks"),
    ],
)
def test_numbers_of_kaggle_may_be_of_other_types_and_nothing_else(tmp_path, change, reason):
    root = builders.asl_signs(tmp_path)
    good = {"frame": [0, 1], "type": ["pose", "pose"], "landmark_index": [0, 1]} | {axis: [0.5, 0.5] for axis in "xyz"}
    pq.write_table(pa.table(good | change), root / "train_landmark_files/26734/1000.parquet")
    clip = clips(AslSigns(AslSignsConfig(source=str(root))))["1000"]
    assert (reason in " ".join(clip.remarks)) if reason else clip.poses.n_frames == 2
