import io
import json

import numpy as np
import pytest
import soundfile
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody

from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.data.pose_format_io import to_bytes
from ms2sl.data.preprocessing import PreprocessConfig, preprocess_clip
from ms2sl.data.shards import to_clip, to_row
from ms2sl.data.skeleton_registry import HOLISTIC_178X3, OPENPOSE_137X2, SKELETONS
from ms2sl.errors import InputError
from tests.corpora import builders


@pytest.fixture
def root(tmp_path):
    return builders.pose_files(tmp_path / "poses")


def corpus(root, **options) -> PoseFiles:
    return PoseFiles(PoseFilesConfig(source=str(root), **options))


def problem(own: PoseFiles, index: int = 0) -> str:
    with pytest.raises(InputError) as error:
        preprocess_clip(own.clip(index), own.skeleton, PreprocessConfig(), own.fps)
    return str(error.value)


def test_a_table_says_what_is_known_of_each_clip(root):
    own = corpus(root, table="clips.csv", signed_language="ase")
    assert {split: len(span) for split, span in own.splits.items()} == {"train": 3, "dev": 1}
    clip = own.clip(0)
    assert (clip.id, clip.text, clip.gloss, clip.signed_language, clip.poses.fps) == ("clip-0", "sentence 0", "G", "ase", 24.0)
    assert clip.speech.seconds == pytest.approx(0.5, abs=0.01)
    assert own.clip(1).speech is None
    alone = own.clip(3)
    assert (alone.text, alone.poses, alone.speech) == ("text alone", None, None)


def test_json_lines_do_as_well(root):
    rows = [{"id": "one", "pose": "poses/clip-1.pose", "spoken_language": "de"}, {"pose": "poses/clip-2.pose", "text": None}]
    (root / "clips.jsonl").write_text("\n".join(map(json.dumps, rows)))
    own = corpus(root, table="clips.jsonl", dev=0, test=0)
    assert [own.id(i) for i in own.splits["train"]] == ["one", "clip-2"]
    assert own.clip(0).spoken_language == "de"


def test_without_a_table_every_file_is_a_clip_and_recordings_join_their_poses(root):
    builders.speech(root / "poses" / "clip-1.wav")
    own = corpus(root, dev=0, test=0)
    clips = {own.id(i): own.clip(i) for i in own.splits["train"]}
    assert set(clips) == {"poses-clip-0", "poses-clip-1", "poses-clip-2", "speech-clip-0"}
    assert clips["poses-clip-1"].speech is not None
    assert clips["poses-clip-1"].poses is not None
    assert clips["poses-clip-0"].text is None
    assert clips["speech-clip-0"].poses is None


def test_splits_by_name_stay_when_the_corpus_grows(tmp_path):
    for i in range(30):
        builders.pose_file(tmp_path / f"{i:02d}.pose", frames=2)
    few = {own.id(i): split for own in [corpus(tmp_path, dev=0.2, test=0.2)] for split, span in own.splits.items() for i in span}
    assert set(few.values()) == {"train", "dev", "test"}
    for i in range(30, 40):
        builders.pose_file(tmp_path / f"{i:02d}.pose", frames=2)
    many = {own.id(i): split for own in [corpus(tmp_path, dev=0.2, test=0.2)] for split, span in own.splits.items() for i in span}
    assert {name: many[name] for name in few} == few


@pytest.mark.parametrize("name", [name for name in SKELETONS if name.startswith("holistic-178") or name.startswith("holistic-50")])
def test_joints_are_reduced_by_name(root, name):
    own = corpus(root, skeleton=name, dev=0, test=0)
    whole = corpus(root, dev=0, test=0).clip(0).poses
    places = [HOLISTIC_178X3.joints.index(joint) for joint in own.skeleton.joints]
    assert np.array_equal(own.clip(0).poses.joints, whole.joints[:, places, : own.skeleton.dims])


def test_poses_go_back_to_their_picture_within_a_fifth_of_a_pixel(root):
    own = corpus(root, dev=0, test=0)
    raw = own.clip(1)
    back = to_clip(to_row(preprocess_clip(raw, own.skeleton, PreprocessConfig(), 25.0)), own.skeleton)
    pose = Pose.read(to_bytes(back.poses, own.skeleton, back.placement))
    assert (pose.header.dimensions.width, pose.header.dimensions.height) == (1280, 720)
    assert np.abs(pose.body.data[:, 0].filled(0) - raw.poses.joints).max() < 0.2


def rewritten(path, joints=None, confidence=None, fps=None) -> None:
    """The same file with something else in it; joints ``(frames, people, joints, dims)``."""
    pose = Pose.read(path.read_bytes())
    joints = pose.body.data.filled(0) if joints is None else joints
    confidence = pose.body.confidence if confidence is None else confidence
    buffer = io.BytesIO()
    Pose(pose.header, NumPyPoseBody(pose.body.fps if fps is None else fps, joints, confidence)).write(buffer)
    path.write_bytes(buffer.getvalue())


@pytest.fixture
def one(tmp_path):
    return builders.pose_file(tmp_path / "one" / "a.pose", frames=12)


def only(one) -> PoseFiles:
    return corpus(one.parent, dev=0, test=0)


def moved(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    return source.rename(target)


def test_names_that_differ_in_their_folders_alone_are_other_clips(one):
    folder = one.parent
    for place in ("b-c/d.pose", "b/c-d.pose", "s1/e.pose"):
        builders.pose_file(folder / place)
    assert [corpus(folder, dev=0, test=0).id(i) for i in range(4)] == ["a", "b-c--d", "b--c-d", "s1-e"]
    builders.pose_file(folder / "s2/e.pose", seed=1)
    (folder / "clips.csv").write_text("pose,text,split\ns1/e.pose,one,train\ns2/e.pose,two,train\na.pose,three,test\n")
    own = corpus(folder, table="clips.csv")
    assert [(own.id(i), own.clip(i).text) for i in range(3)] == [("s1-e", "one"), ("s2-e", "two"), ("a", "three")]
    assert not np.array_equal(own.clip(0).poses.joints, own.clip(1).poses.joints)


def test_accents_are_the_same_however_they_are_encoded(one):
    composed, decomposed = "gr\u00fcn", "gru\u0308n"
    folder = one.parent
    moved(one, folder / f"F\u0308/{decomposed}.pose")
    builders.speech(folder / f"F\u0308/{composed}.wav")
    clip = corpus(folder, dev=0, test=0).clip(0)
    assert (clip.id, clip.poses.n_frames, clip.speech.seconds) == (f"F\u0308-{composed}", 12, pytest.approx(0.5, abs=0.01))
    (folder / "F\u0308").rename(folder / "A\u0308")
    (folder / "clips.csv").write_text(f"pose,speech\n\u00c4/{composed}.pose,\u00c4/{decomposed}.wav\n", encoding="utf-8")
    clip = corpus(folder, table="clips.csv", dev=0, test=0).clip(0)
    assert (clip.id, clip.poses.n_frames, clip.speech.seconds) == (composed, 12, pytest.approx(0.5, abs=0.01))


def test_two_recordings_of_one_name_are_not_guessed_at(one):
    builders.speech(one.with_suffix(".wav"), 0.5)
    builders.speech(one.with_suffix(".flac"), 0.7)
    clip = only(one).clip(0)
    assert (clip.speech, clip.poses.n_frames) == (None, 12)
    assert clip.remarks == ("speech left out: 2 have the name a: a.flac, a.wav",)


def test_two_files_whose_names_differ_in_encoding_alone_are_told(one):
    moved(one, one.with_name("gr\u00fcn.pose"))
    builders.pose_file(one.with_name("gru\u0308n.pose"))
    assert "2 have the name gr\u00fcn: " in problem(only(one))


def test_what_operating_systems_leave_is_no_clip(one):
    for place in ("._a.pose", ".DS_Store", "__MACOSX/._a.pose", "__MACOSX/b.pose", "Thumbs.db", "desktop.ini", ".cache/c.pose"):
        (one.parent / place).parent.mkdir(exist_ok=True)
        (one.parent / place).write_bytes(b"\0\5\x16\7")
    own = only(one)
    assert [own.id(i) for i in own.splits["train"]] == ["a"]


def test_a_file_that_is_cut_short_or_something_else(one):
    one.write_bytes(one.read_bytes()[:4000])
    assert "cut short or no .pose file" in problem(only(one))
    one.write_bytes(b"hello, this is text")
    assert "cut short or no .pose file" in problem(only(one))
    one.write_bytes(b"")
    assert "cut short or no .pose file" in problem(only(one))


def test_no_frames_and_nobody(one):
    rewritten(one, np.zeros((0, 1, 178, 3), np.float32), np.zeros((0, 1, 178), np.float32))
    assert problem(only(one)) == "the .pose file has no frames"


def test_nobody_is_seen(one):
    rewritten(one, confidence=np.zeros((12, 1, 178), np.float32))
    assert "shoulders are never seen" in problem(only(one))


def test_no_frames_a_second(one):
    rewritten(one, fps=0)
    assert problem(only(one)) == "0.0 frames per second is impossible"


def test_not_a_number(one):
    joints = Pose.read(one.read_bytes()).body.data.filled(0)
    joints[4, 0, 30, 1] = np.nan
    rewritten(one, joints)
    assert f"joint {HOLISTIC_178X3.joints[30]} is NaN or infinite in frame 4" in problem(only(one))


def test_absurd_coordinates_are_left_out_and_remarked(one):
    joints = Pose.read(one.read_bytes()).body.data.filled(0)
    joints[4:9, 0, 30] = 1e7
    rewritten(one, joints)
    own = only(one)
    clip = preprocess_clip(own.clip(0), own.skeleton, PreprocessConfig(), 25.0)
    assert clip.remarks == ("5 outliers in 5 frames were left out",)
    assert np.abs(clip.poses.joints).max() < 10


def test_a_second_person_who_is_never_seen_changes_nothing(one):
    pose = Pose.read(one.read_bytes())
    joints = np.concatenate([pose.body.data.filled(0) * 0, pose.body.data.filled(0)], axis=1)
    confidence = np.concatenate([pose.body.confidence * 0, pose.body.confidence], axis=1)
    before = only(one).clip(0)
    rewritten(one, joints, confidence)
    clip = only(one).clip(0)
    assert np.array_equal(clip.poses.joints, before.poses.joints)
    assert clip.remarks == ()


def test_one_person_is_followed_where_the_people_of_a_file_change_places(one):
    alone = only(one).clip(0).poses.joints
    pose = Pose.read(one.read_bytes())
    signer = pose.body.data.filled(0)
    both = np.concatenate([signer, signer * 0.6 + [900, 100, 0]], axis=1)
    both[5:] = both[5:, ::-1]
    confidence = np.repeat(pose.body.confidence, 2, axis=1)
    confidence[5:9, 1] = 0  # the signer, who stands second there
    rewritten(one, both, confidence)
    clip = only(one).clip(0)
    assert (clip.poses.confidence.max(axis=1) == 0).tolist() == [5 <= frame < 9 for frame in range(12)]
    seen = [*range(5), *range(9, 12)]
    assert np.array_equal(clip.poses.joints[seen], alone[seen])
    crowded, missed = clip.remarks
    assert crowded == "several people in 8 of 12 frames (the signer was followed)"
    assert missed == "the signer was not detected in 4 of 12 frames in which somebody else was"


@pytest.mark.parametrize("confidence", [1, 0])
def test_a_hand_of_zeros_is_not_seen_whatever_its_confidence(one, confidence):
    pose = Pose.read(one.read_bytes())
    joints, sure, hand = pose.body.data.filled(0), pose.body.confidence.copy(), HOLISTIC_178X3.part("left_hand")
    joints[3:7, :, hand], sure[3:7, :, hand] = 0, confidence
    rewritten(one, joints, sure)
    seen = only(one).clip(0).poses.confidence > 0
    assert (seen[:, hand].any(axis=1) == [not 3 <= frame < 7 for frame in range(12)]).all()
    assert seen[:, HOLISTIC_178X3.part("body")].all()


def test_fractions_of_the_picture_become_pixels_where_its_size_is_known(one):
    pixels = only(one).clip(0).poses.joints
    pose = Pose.read(one.read_bytes())
    rewritten(one, pose.body.data.filled(0) / [1280, 720, 1280])
    clip = only(one).clip(0)
    assert np.abs(clip.poses.joints - pixels).max() < 1e-3
    assert clip.remarks == ("its coordinates lie between 0 and 1: taken as fractions of 1280 × 720 pixels",)
    pose = Pose.read(one.read_bytes())
    pose.header.dimensions.width = pose.header.dimensions.height = 0
    buffer = io.BytesIO()
    pose.write(buffer)
    one.write_bytes(buffer.getvalue())
    reason = (
        r"its coordinates lie between 0 and 1, and it does not say the size of its picture: give it \(--posefiles\.width and \.height\)"
    )
    with pytest.raises(InputError, match=reason):
        only(one).clip(0)
    clip = corpus(one.parent, dev=0, test=0, width=1280, height=720).clip(0)
    assert np.abs(clip.poses.joints - pixels).max() < 1e-3
    assert (clip.placement.width, clip.placement.height) == (1280, 720)


def test_another_skeleton_is_explained(one):
    builders.pose_file(one, skeleton=OPENPOSE_137X2)
    assert "it has no joint body/LEFT_SHOULDER of skeleton holistic-178x3; it has body (25), face (70)" in problem(only(one))
    with pytest.raises(InputError, match="there is no skeleton 'holistic'; there are: holistic-49x2"):
        corpus(one.parent, skeleton="holistic")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("clips.csv", "pose,sentence\na.pose,b\n", "has the columns 'sentence'; it may have gloss, gloss_times, id"),
        ("clips.txt", "pose,text\na.pose,b\n", "is of no kind that is read here: name it .csv, .tsv"),
        ("clips.csv", "", "is empty"),
        ("clips.jsonl", '{"pose": "a.pose"}\n{"pose": "b', "line 2 is not JSON"),
        ("clips.jsonl", "[1]", "line 1 is not an object"),
        ("missing.csv", None, "does not exist"),
    ],
)
def test_a_table_that_is_wrong(one, name, content, reason):
    if content is not None:
        (one.parent / name).write_text(content)
    with pytest.raises(InputError, match=reason):
        corpus(one.parent, table=name).splits  # noqa: B018


@pytest.mark.parametrize(("suffix", "kind", "subtype"), [(".opus", "OGG", "OPUS"), (".OGA", "OGG", "VORBIS"), (".aiff", "AIFF", "PCM_16")])
def test_recordings_of_all_kinds_are_the_speech_of_the_poses_of_their_name(one, suffix, kind, subtype):
    soundfile.write(one.with_suffix(suffix), np.full(8000, 0.1), 16_000, format=kind, subtype=subtype)
    assert only(one).clip(0).speech.seconds == pytest.approx(0.5, abs=0.05)


def test_a_file_that_the_table_names_is_not_there(one):
    (one.parent / "clips.csv").write_text("pose,split\nb.pose,train\n")
    assert "b.pose does not exist" in problem(corpus(one.parent, table="clips.csv"))


def test_a_clip_named_twice(one):
    (one.parent / "clips.csv").write_text("id,pose,split\na,a.pose,train\na,a.pose,train\n")
    assert "a clip of this name is there already" in problem(corpus(one.parent, table="clips.csv"), 1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no sound", "a.wav is not audio"),
        ("silence", "a.wav holds no samples"),
        ("hour", "a.wav lasts longer than 600 s"),
        ("hole", "a.wav holds NaN or infinite samples"),
    ],
)
def test_speech_that_cannot_be_used(one, content, reason):
    sound = one.parent / "a.wav"
    if content == "silence":
        builders.speech(sound, 0)
    elif content == "hour":
        builders.speech(sound, 3600, rate=4000)
    elif content == "hole":
        soundfile.write(sound, np.array([0.1, np.nan] * 4000, np.float32), 16_000, subtype="FLOAT")
    else:
        sound.write_bytes(content)
    clip = only(one).clip(0)
    assert (clip.speech, clip.poses.n_frames) == (None, 12)
    assert clip.remarks[0].startswith(f"speech left out: {reason}")
    one.unlink()
    assert problem(only(one)).startswith(reason)


def test_poses_that_cannot_be_read_leave_the_text(root):
    (root / "poses" / "clip-1.pose").write_bytes(b"PAR")
    clip = corpus(root, table="clips.csv").clip(1)
    assert (clip.text, clip.poses, clip.placement) == ("sentence 1", None, None)
    assert clip.remarks[0].startswith("poses left out: it is cut short or no .pose file")


def test_a_recording_that_is_cut_short_is_remarked(one):
    sound = builders.speech(one.parent / "a.wav", 2.0)
    sound.write_bytes(sound.read_bytes()[: sound.stat().st_size // 2])
    clip = only(one).clip(0)
    assert clip.speech.seconds == pytest.approx(1.0, abs=0.01)
    assert clip.remarks == ("a.wav has 1.0 s of the 2.0 s that its header promises",)


def texts(own: PoseFiles) -> dict[str, str | None]:
    return {own.id(i): own.clip(i).text for span in own.splits.values() for i in span}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'id,pose,text\na,a.pose,"good\nmorning"\nb,a.pose,"one\r\n\r\ntwo"\n'),
        ("t.CSV", "id,pose,text,\na,a.pose,good\u2028morning,\nb,a.pose,one\x85two,\n,,,\n"),
        ("t.tsv", "id\tpose\ttext\na\ta.pose\tgood\x0bmorning\nb\ta.pose\tone\x0ctwo\n"),
        ("t.jsonl", '{"id": "a", "pose": "a.pose", "text": "good\u2028morning", "gloss": NaN}\n{"id": "b", "text": " one  two"}\n'),
    ],
)
def test_rows_and_texts_are_those_of_the_table(one, name, content):
    (one.parent / name).write_bytes(content.encode())
    assert texts(corpus(one.parent, table=name, dev=0, test=0)) == {"a": "good morning", "b": "one two"}


def test_what_is_missing_is_missing(one):
    rows = [{"id": 0, "pose": "a.pose", "text": float("nan"), "gloss": float("nan")}, {"id": 1, "text": 5}, {"id": 2, "text": None}]
    (one.parent / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = corpus(one.parent, table="t.jsonl", dev=0, test=0)
    assert [(own.id(i), own.clip(i).text, own.clip(i).gloss) for i in (0, 1)] == [("0", None, None), ("1", "5", None)]
    assert problem(own, 2).endswith("t.jsonl, line 3 has neither pose nor text nor speech")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('id,pose,text\na,a.pose,one\nb,a.pose,"two he says\nc,a.pose,three\n', "line 3 opens a quote that is not closed"),
        ('id,pose,text\na,a.pose,"x\ny"\nb,a.pose,two, three\n', "line 4 has 4 fields, but the first line has 3"),
    ],
)
def test_a_row_that_would_swallow_or_lose_something_is_named(one, content, reason):
    (one.parent / "t.csv").write_text(content)
    with pytest.raises(InputError, match=reason):
        corpus(one.parent, table="t.csv").splits  # noqa: B018


def test_a_text_that_is_none_is_left_out_with_its_reason(one):
    (one.parent / "t.csv").write_text("id,pose,text,gloss\na,a.pose,ca\ue000b,G\ufffe\n", encoding="utf-8")
    clip = corpus(one.parent, table="t.csv", dev=0, test=0).clip(0)
    assert (clip.text, clip.gloss, clip.poses.n_frames) == (None, None, 12)
    assert clip.remarks[0].startswith("gloss left out: the text has a character that Unicode does not know (U+FFFE)")
    assert clip.remarks[1].startswith("text left out: the text has a private-use character")
