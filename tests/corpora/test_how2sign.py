import json

import cv2
import numpy as np
import pytest

from ms2sl.corpora.how2sign import How2Sign, How2SignConfig
from ms2sl.data.preprocessing import PreprocessConfig, preprocess_clip
from ms2sl.data.skeleton_registry import OPENPOSE_137X2
from ms2sl.errors import InputError
from tests.corpora import builders


@pytest.fixture
def root(tmp_path):
    return builders.how2sign(tmp_path / "how2sign")


def corpus(root, **options) -> How2Sign:
    return How2Sign(How2SignConfig(source=str(root), **options))


def first_clip(root):
    return root / "json" / "v0-rgb_front"


def problem(root, name: str = "v0-rgb_front", **options) -> str:
    """Why a clip is rejected, or what was left out of it and why."""
    own = corpus(root, **options)
    [index] = [i for i in range(len(own.index)) if own.id(i) == name]
    try:
        clip = preprocess_clip(own.clip(index), own.skeleton, PreprocessConfig(), own.fps)
    except InputError as error:
        return str(error)
    [part] = [part for part in ("text", "poses") if getattr(clip, part) is None]
    [remark] = clip.remarks
    assert remark.startswith(f"{part} left out: ")
    return remark


def test_poses_text_and_splits_are_those_of_the_files(root):
    own = corpus(root, fps=30)
    assert {split: len(span) for split, span in own.splits.items()} == {"train": 3, "dev": 3}
    clip = own.clip(1)
    assert (clip.id, clip.text, clip.spoken_language, clip.signed_language) == ("v1-rgb_front", 'He said "number 1".', "en", "ase")
    assert (clip.poses.joints.shape, clip.poses.fps) == ((8, 137, 2), 30.0)
    expected = builders.signing(OPENPOSE_137X2, 8, seed=1).joints
    assert np.abs(own.skeleton.normalise(clip.poses).joints - expected).max() < 0.02
    assert (clip.placement.width, clip.placement.height) == (1280, 720)


def test_speech_is_found_by_the_name_of_the_sentence(root):
    builders.speech(root / "audio" / "v1-rgb_front.wav")
    own = corpus(root, speech="audio")
    assert own.clip(0).speech is None
    assert own.clip(1).speech.seconds == pytest.approx(0.5, abs=0.01)


def test_frames_a_second_are_read_from_the_videos(root):
    (root / "videos").mkdir()
    video = cv2.VideoWriter(str(root / "videos" / "v0-rgb_front.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 29.97, (64, 64))
    for _ in range(8):
        video.write(np.zeros((64, 64, 3), np.uint8))
    video.release()
    assert corpus(root, videos="videos").clip(0).poses.fps == pytest.approx(29.97, abs=0.01)
    assert "v1-rgb_front.mp4 is missing or no video" in problem(root, "v1-rgb_front", videos="videos")


def test_a_folder_for_each_split(root):
    for split, names in {"train": (0, 1, 2), "val": (3, 4, 5)}.items():
        for i in names:
            (root / split).mkdir(exist_ok=True)
            (root / "json" / f"v{i}-rgb_front").rename(root / split / f"v{i}-rgb_front")
    assert {split: len(span) for split, span in corpus(root, poses="{split}").splits.items()} == {"train": 3, "dev": 3}


def numbered(root) -> dict[str, list[str]]:
    """One folder a split, in which sentences are numbered anew; the number of frames says which is which."""
    texts = {"train": ["first", "second"], "val": ["other"]}
    for split, sentences in texts.items():
        rows = [{"VIDEO_ID": "v", "SENTENCE_NAME": f"{i:04d}", "SENTENCE": text} for i, text in enumerate(sentences)]
        builders.write_table(root / f"how2sign_realigned_{split}.csv", rows, "\t")
        for i, text in enumerate(sentences):
            builders.openpose_clip(root / split / "json" / f"{i:04d}", frames=len(text))
            builders.speech(root / split / "speech" / f"{i:04d}.wav", len(text) / 10)
    return texts


def test_sentences_that_are_numbered_anew_in_each_split_are_not_mixed(tmp_path):
    texts = numbered(tmp_path)
    own = corpus(tmp_path, poses="{split}/json", speech="{split}/speech")
    assert [own.id(i) for i in range(3)] == ["train-0000", "0001", "dev-0000"]
    for index, text in enumerate([*texts["train"], *texts["val"]]):
        clip = own.clip(index)
        assert (clip.text, clip.poses.n_frames, clip.speech.seconds) == (text, len(text), pytest.approx(len(text) / 10, abs=0.01))


def test_a_name_that_several_splits_have_is_not_looked_up_in_a_folder_for_all(tmp_path):
    numbered(tmp_path)
    (tmp_path / "train/json").rename(tmp_path / "json")
    own = corpus(tmp_path)
    reason = "sentences of train and val have the name 0000, and all splits have one folder: give each its own"
    for index in (0, 2):
        with pytest.raises(InputError, match=reason):
            own.clip(index)
    assert own.clip(1).text == "second"
    own = corpus(tmp_path, poses="{split}/json", speech="train/speech")
    [clip] = [own.clip(i) for i in own.splits["dev"]]
    assert (clip.text, clip.poses.n_frames, clip.speech) == ("other", 5, None)
    assert clip.remarks == (f"speech left out: {reason}",)


def test_names_of_sentences_are_the_same_however_accents_are_encoded(root):
    table = root / "how2sign_realigned_train.csv"
    table.write_text(table.read_text().replace("v0-rgb_front", "gr\u00fcn"), encoding="utf-8")
    first_clip(root).rename(root / "json" / "gru\u0308n")
    builders.speech(root / "speech" / "gru\u0308n.wav")
    own = corpus(root, speech="speech")
    [clip] = [own.clip(i) for i in range(len(own.index)) if own.id(i) == "gr\u00fcn"]
    assert (clip.poses.n_frames, clip.speech is not None) == (8, True)


def test_what_operating_systems_leave_is_neither_frame_nor_clip(root):
    before = corpus(root).clip(0)
    for place in (first_clip(root), root / "json"):
        for name in (".DS_Store", "Thumbs.db", "._v0-rgb_front_000000000003_keypoints.json"):
            (place / name).write_bytes(b"\0\5\x16\7")
    (root / "json" / "__MACOSX").mkdir()
    own = corpus(root)
    assert len(own.index) == 6
    assert np.array_equal(own.clip(0).poses.joints, before.poses.joints)


def test_joints_that_openpose_did_not_see_are_masked_and_not_at_the_origin(root):
    file = next(first_clip(root).glob("*_000000000003_*"))
    frame = json.loads(file.read_text())
    frame["people"][0]["hand_left_keypoints_2d"] = [0] * 63
    file.write_text(json.dumps(frame))
    clip = corpus(root).clip(0)
    assert (clip.poses.confidence[3, OPENPOSE_137X2.part("left_hand")] == 0).all()
    assert (clip.poses.confidence[2] > 0).all()


def test_a_file_that_is_cut_in_half(root):
    file = next(first_clip(root).glob("*_000000000005_*"))
    file.write_text(file.read_text()[:500])
    assert "000000000005_keypoints.json is cut short or not JSON" in problem(root)


@pytest.mark.parametrize(
    "content", ['{"version": 1.3}', '{"people": [{"pose_keypoints_2d": [1, 2]}]}', "[]", '{"people": [{"pose_keypoints_2d": "x"}]}']
)
def test_json_of_something_else(root, content):
    next(first_clip(root).glob("*_000000000000_*")).write_text(content)
    assert "is not what OpenPose writes" in problem(root)


def test_of_two_people_the_signer_is_followed(root):
    folder = first_clip(root)
    for number in (2, 3, 4):
        file = next(folder.glob(f"*_{number:012d}_*"))
        signer = json.loads(file.read_text())["people"][0]
        other = builders.openpose_frame(np.full((137, 3), 0.9) * [900, 400, 1])
        builders.write_frame(folder, number, [other, signer])
    alone, clip = builders.signing(OPENPOSE_137X2, 8, seed=0).joints, corpus(root).clip(0)
    assert np.abs(OPENPOSE_137X2.normalise(clip.poses).joints - alone).max() < 0.02
    assert clip.remarks == ("several people in 3 of 8 frames (the signer was followed)",)


def test_a_bystander_does_not_stand_for_the_signer_who_is_missed(root):
    """Neither in the middle nor at the beginning, before the signer was seen."""
    folder = first_clip(root)
    other = builders.signing(OPENPOSE_137X2, 1, seed=7).joints[0] * 120 + [150, 300]
    for number in (0, 4):
        builders.write_frame(folder, number, [builders.openpose_frame(np.insert(other, 2, 0.9, axis=1))])
    clip = corpus(root).clip(0)
    assert (clip.poses.confidence == 0).all(axis=1).tolist() == [number in (0, 4) for number in range(8)]
    alone = builders.signing(OPENPOSE_137X2, 8, seed=0).joints
    seen = [1, 2, 3, 5, 6, 7]
    assert np.abs(OPENPOSE_137X2.normalise(clip.poses).joints[seen] - alone[seen]).max() < 0.02
    assert clip.remarks == ("the signer was not detected in 2 of 8 frames in which somebody else was",)


def test_frames_are_those_of_their_numbers_and_unseen_where_one_is_missing(root):
    before = corpus(root).clip(0).poses.joints
    folder = first_clip(root)
    for file in folder.iterdir():
        file.rename(folder / f"frame_{int(file.name.split('_')[-2]) * 5}.json")  # 0, 5, 10 …
    assert np.array_equal(corpus(root).clip(0).poses.joints, before)
    (folder / "frame_15.json").unlink()
    clip = corpus(root).clip(0)
    assert clip.poses.n_frames == 8
    assert (clip.poses.confidence[3] == 0).all()
    assert np.array_equal(np.delete(clip.poses.joints, 3, axis=0), np.delete(before, 3, axis=0))
    assert clip.remarks == ("1 of 8 frames have no file and are unseen",)


def test_what_lies_beside_frames_is_told(root):
    before = corpus(root).clip(0).poses.joints
    folder = first_clip(root)
    for file in folder.glob("*.json"):
        file.rename(file.with_suffix(".JSON"))
    for name in ("clip.mp4", "one.txt", "two.txt", ".DS_Store"):
        (folder / name).touch()
    clip = corpus(root).clip(0)
    assert np.array_equal(clip.poses.joints, before)
    assert clip.remarks == ("1 files of its folder are no frames (.mp4)", "2 files of its folder are no frames (.txt)")


@pytest.mark.parametrize("edges", [(0, 1), (-1, 1)])
def test_coordinates_that_openpose_scaled_are_pixels_again(root, edges):
    pixels = corpus(root).clip(0).poses.joints
    for number, frame in enumerate(pixels):
        scaled = frame / [1280, 720] * (edges[1] - edges[0]) + edges[0]
        person = builders.openpose_frame(np.zeros((137, 3)))
        for key, part in zip(
            ("pose", "face", "hand_left", "hand_right"), np.split(np.insert(scaled, 2, 0.8, axis=1), [25, 95, 116]), strict=True
        ):
            person[f"{key}_keypoints_2d"] = part.ravel().tolist()
        builders.write_frame(first_clip(root), number, [person])
    clip = corpus(root).clip(0)
    assert np.abs(clip.poses.joints - pixels).max() < 0.01
    assert clip.remarks == (f"its coordinates lie between {edges[0]} and {edges[1]}: taken as fractions of 1280 × 720 pixels",)


def test_zeros_with_confidence_are_not_seen(root):
    file = next(first_clip(root).glob("*_000000000003_*"))
    frame = json.loads(file.read_text())
    frame["people"][0]["hand_left_keypoints_2d"] = [0, 0, 1] * 21
    file.write_text(json.dumps(frame))
    assert (corpus(root).clip(0).poses.confidence[3, OPENPOSE_137X2.part("left_hand")] == 0).all()


def test_frames_without_people_are_masked_and_poses_without_any_are_left_out(root):
    builders.write_frame(first_clip(root), 4, [])
    clip = corpus(root).clip(0)
    assert (clip.poses.confidence[4] == 0).all()
    assert clip.remarks == ("nobody in 1 of 8 frames",)
    for number in range(8):
        builders.write_frame(first_clip(root), number, [])
    assert "nobody in any of the 8 frames" in problem(root)


def test_a_clip_of_no_frames(root):
    for file in first_clip(root).iterdir():
        file.unlink()
    assert "has no JSON files" in problem(root)


def test_a_sentence_that_is_empty_and_a_folder_without_a_sentence(root):
    table = root / "how2sign_realigned_train.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[1].rsplit("\t", 1)[0] + "\t ", *lines[3:]]) + "\n")
    assert problem(root) == "text left out: its SENTENCE is empty"
    assert problem(root, "v1-rgb_front") == "no table of texts has a sentence of this name"


def test_sentences_without_poses_are_counted(root):
    table = root / "how2sign_realigned_val.csv"
    table.write_text(table.read_text() + "v9\tv9-rgb_front\t0.1\tNobody signs this.\n")
    assert corpus(root).card()["sentences without poses"] == 1


def test_a_sentence_named_twice_is_one_clip_and_one_rejection(root):
    table = root / "how2sign_realigned_train.csv"
    table.write_text(table.read_text() + table.read_text().splitlines()[1] + "\n")
    own = corpus(root)
    assert own.clip(0).id == "v0-rgb_front"
    with pytest.raises(InputError, match="a clip of this name is there already, as number 0"):
        own.clip(3)


def test_a_wrong_delimiter_is_told(root):
    table = root / "how2sign_realigned_train.csv"
    table.write_text(table.read_text().replace("\t", ";"))
    with pytest.raises(InputError, match=r"no column SENTENCE_NAME, SENTENCE; its columns, when it is split at '\\t', are: 'VIDEO_ID;SENT"):
        corpus(root).splits  # noqa: B018


def test_a_row_with_a_tab_too_many_is_told(root):
    table = root / "how2sign_realigned_train.csv"
    table.write_text(table.read_text().replace("number 2", "number\t2"))
    with pytest.raises(InputError, match=r"line 4 has 5 fields, but the first line has 4: 'v2\\tv2-rgb"):
        corpus(root).splits  # noqa: B018


def test_a_folder_that_is_not_the_corpus(tmp_path):
    for options, reason in (
        ({"source": ""}, r"say where the corpus is: --how2sign\.source FOLDER"),
        ({"source": str(tmp_path / "nowhere")}, "is not a folder that can be found"),
        ({"source": str(tmp_path)}, "has none of how2sign_realigned_train.csv"),
    ):
        with pytest.raises(InputError, match=reason):
            How2Sign(How2SignConfig(**options)).splits  # noqa: B018


def test_a_line_separator_in_a_sentence_is_a_space(root):
    table = root / "how2sign_realigned_train.csv"
    table.write_text(table.read_text().replace("number 1", "number\u2028one"), encoding="utf-8")
    assert corpus(root).clip(1).text == 'He said "number one".'
