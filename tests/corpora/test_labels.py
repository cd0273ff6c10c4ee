"""What a table says of clips: glosses, their times, signers."""

import json

import numpy as np

from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.data.preprocessing import PreprocessConfig, preprocess_clip
from ms2sl.data.shards import to_clip, to_row
from tests.corpora import builders


def test_what_is_said_of_a_clip_reaches_it(tmp_path):
    """Glosses with their times, and the signer; times that do not fit are left out with a remark."""
    builders.pose_file(tmp_path / "a.pose")
    rows = [
        {"id": "good", "pose": "a.pose", "gloss": "HELLO YOU", "gloss_times": "0-0.12 0.16-0.3", "signer": "anna"},
        {"id": "one too few", "pose": "a.pose", "gloss": "HELLO YOU", "gloss_times": "0-0.12"},
        {"id": "too late", "pose": "a.pose", "gloss": "HELLO", "gloss_times": "0-99"},
        {"id": "backwards", "pose": "a.pose", "gloss": "HELLO YOU", "gloss_times": "0.2-0.3 0.1-0.15"},
        {"id": "no times", "pose": "a.pose", "gloss": "HELLO", "gloss_times": "soon"},
    ]
    (tmp_path / "clips.jsonl").write_text("\n".join(map(json.dumps, rows)))
    corpus = PoseFiles(PoseFilesConfig(source=str(tmp_path), table="clips.jsonl", dev=0, test=0))
    clips = {}
    for index in range(len(rows)):
        clip = preprocess_clip(corpus.clip(index), corpus.skeleton, PreprocessConfig(), 25.0)
        clips[clip.id] = to_clip(to_row(clip), corpus.skeleton)
    good = clips["good"]
    assert (good.gloss, good.signer, good.remarks) == ("HELLO YOU", "anna", ())
    assert np.allclose(good.gloss_times, [[0, 0.12], [0.16, 0.3]])
    reasons = {name: clip.remarks[-1] for name, clip in clips.items() if clip.gloss_times is None}
    assert reasons == {
        "one too few": "gloss_times left out: they are 1 stretches for 2 signs",
        "too late": "gloss_times left out: one of them begins before 0, ends before it begins, or ends after the clip",
        "backwards": "gloss_times left out: a sign begins before the one that stands before it",
        "no times": "gloss_times left out: 'soon' is not seconds such as '0.12-0.56 0.6-1.04'",
    }


def test_another_signer_makes_a_clip_anew_and_none_leaves_it_as_it_was(tmp_path):
    """A table that says no signer and no times has the digest that it had when there were no such columns."""
    builders.pose_file(tmp_path / "a.pose")

    def digest(**told: str) -> str:
        (tmp_path / "clips.jsonl").write_text(json.dumps({"id": "a", "pose": "a.pose", "gloss": "HELLO"} | told))
        return PoseFiles(PoseFilesConfig(source=str(tmp_path), table="clips.jsonl")).digest()

    assert len({digest(), digest(signer="anna"), digest(signer="bert"), digest(gloss_times="0-0.1")}) == 4
