import json
from dataclasses import replace

import numpy as np
import pytest

from ms2sl.data.dataset import Dataset
from ms2sl.data.skeleton_registry import HOLISTIC_49X2 as SKELETON
from ms2sl.data.types import Clip, Poses
from ms2sl.evaluation.clip_metrics import measure
from ms2sl.evaluation.judged_clips import chosen_clips
from ms2sl.metrics.motion import dtw_mje, hand_dtw, jerk, joint_dtw, movement, wrist_distance
from ms2sl.metrics.text import bleu, bleu_of_counts, letter_error_rate, rouge_l, word_error_rate
from ms2sl.systems import back_translation


@pytest.fixture(scope="module")
def clips(tiny_dataset) -> list[Clip]:
    return chosen_clips(Dataset(tiny_dataset), "test", 6)


@pytest.fixture(scope="module")
def reader(tiny_recogniser) -> back_translation.BackTranslator:
    return back_translation.load(tiny_recogniser)


@pytest.fixture(scope="module")
def exchanged(clips) -> list[Poses]:
    """What somebody else signed: the clip after each."""
    return [clip.poses for clip in clips[1:] + clips[:1]]


@pytest.fixture(scope="module")
def rows(clips, exchanged, reader) -> list[dict]:
    return measure(clips, exchanged, reader, SKELETON)


def test_the_real_clips_are_at_no_distance_from_themselves(clips, reader):
    for clip, row in zip(clips, measure(clips, [clip.poses for clip in clips], reader, SKELETON), strict=True):
        for distance in ("hand_dtw", "body_dtw", "mje_sum"):
            assert row[distance] == pytest.approx(0, abs=1e-5)
        assert (row["id"], row["text"], row["letters"]) == (clip.id, clip.text, len(clip.text))
        assert row["seconds"] == pytest.approx(clip.poses.n_frames / 12.5)


def test_motion_is_what_the_metrics_say_of_each_clip_alone(clips, exchanged, rows):
    body = SKELETON.part("body")
    for clip, poses, row in zip(clips, exchanged, rows, strict=True):
        assert row["hand_dtw"] == pytest.approx(hand_dtw([poses], [clip.poses], SKELETON)[0], rel=1e-6)
        assert row["body_dtw"] == pytest.approx(joint_dtw([poses], [clip.poses], body)[0], rel=1e-6)
        assert row["mje_sum"] / row["mje_count"] == pytest.approx(dtw_mje([poses], [clip.poses]), rel=1e-6)
        assert row["speed"] == movement(poses, SKELETON)
        assert row["jerk"] == jerk(poses, SKELETON)
        assert row["way"] == wrist_distance(poses, SKELETON).tolist()
        for part in ("body", "left_hand", "right_hand"):
            assert row[f"speed_{part}"] == movement(poses, SKELETON, part)
    assert min(row["hand_dtw"] for row in rows) > 0


def test_what_is_read_is_scored_as_the_metrics_score_it_alone(rows):
    assert any(row["read"] for row in rows)
    for row in rows:
        pair = [row["read"]], [row["text"]]
        assert 100 * row["letter_edits"] / row["letters"] == pytest.approx(letter_error_rate(*pair))
        assert 100 * row["word_edits"] / row["words"] == pytest.approx(word_error_rate(*pair))
        assert row["rouge_l"] == pytest.approx(rouge_l(*pair))
        for order in (1, 4):
            assert bleu_of_counts(np.array(row["bleu"]), order) == pytest.approx(bleu(*pair, order))


@pytest.mark.parametrize("kind", ["tiny_recogniser", "tiny_translator"])
def test_either_reader_reads_each_clip_as_it_would_alone(clips, exchanged, kind, request):
    reader = back_translation.load(request.getfixturevalue(kind))
    for clip, poses, row in zip(clips, exchanged, measure(clips, exchanged, reader, SKELETON), strict=True):
        assert row["read"] == reader.read([poses])[0]
        assert row["log_likelihood"] == pytest.approx(reader.likelihoods([poses], [clip.text])[0], abs=1e-4)
        np.testing.assert_allclose(row["state"], reader.embeddings([poses])[0], atol=1e-4)


def test_rows_come_in_the_order_of_the_clips(clips, exchanged, reader, rows):
    backwards = measure(clips[::-1], exchanged[::-1], reader, SKELETON)[::-1]
    assert [row["id"] for row in rows] == [clip.id for clip in clips]
    for one, other in zip(rows, backwards, strict=True):
        assert one["id"] == other["id"]
        assert one["hand_dtw"] == pytest.approx(other["hand_dtw"], rel=1e-6)
        assert one["log_likelihood"] == pytest.approx(other["log_likelihood"], abs=1e-4)


def test_texts_are_compared_plain(clips, exchanged, reader, rows):
    loud = [replace(clip, text=f"  {clip.text.upper()} ") for clip in clips]
    for one, other in zip(rows, measure(loud, exchanged, reader, SKELETON), strict=True):
        assert [one[key] for key in ("text", "letter_edits", "letters", "bleu")] == [
            other[key] for key in ("text", "letter_edits", "letters", "bleu")
        ]


def test_a_real_clip_without_hands_has_no_hand_dtw_but_all_else(clips, exchanged, reader):
    seen = clips[0].poses.confidence.copy()
    seen[:, SKELETON.hands] = 0
    hidden = replace(clips[0], poses=Poses(clips[0].poses.joints, seen, clips[0].poses.fps))
    bare, whole = measure([hidden, *clips[1:]], exchanged, reader, SKELETON)[:2]
    assert np.isnan(bare["hand_dtw"])
    assert np.isfinite([bare["body_dtw"], bare["mje_sum"], bare["speed"], whole["hand_dtw"]]).all()


def test_rows_are_plain_values(rows):
    assert json.loads(json.dumps(rows)) == rows
