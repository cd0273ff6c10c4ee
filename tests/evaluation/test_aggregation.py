import weakref

import numpy as np
import pytest
import sacrebleu

from ms2sl.evaluation import aggregation
from ms2sl.evaluation.aggregation import resampling, summarise
from ms2sl.metrics.text import bleu, bleu_counts, chrf

TEXTS = ["the rain falls in the south", "snow in the north tonight", "it is dry and warm again", "the wind blows from the west"]
READ = ["the rain falls in the north", "snow in the north", "it is dry and warm again", "rain"]


def measures(n: int, **columns) -> dict[str, np.ndarray]:
    """Columns of ``n`` clips that are all alike, but for those given."""
    rng = np.random.default_rng(0)
    found = {
        "read": ["a b"] * n,
        "text": ["a b"] * n,
        "letters": np.full(n, 3),
        "letter_edits": np.zeros(n),
        "words": np.full(n, 2),
        "word_edits": np.zeros(n),
        "rouge_l": np.full(n, 100.0),
        "hand_dtw": np.full(n, 0.5),
        "body_dtw": np.full(n, 0.25),
        "mje_sum": np.full(n, 6.0),
        "mje_count": np.full(n, 12.0),
        "seconds": np.full(n, 2.0),
        "speed": np.full(n, 1.5),
        "speed_body": np.full(n, 0.5),
        "jerk": np.full(n, 80.0),
        "way": np.full((n, 2), 4.0),
        "log_likelihood": np.full(n, -1.0),
        "diversity": np.full(n, np.nan),
        "state": rng.normal(size=(n, 3)),
        "failed": np.array([""] * n),
    } | columns
    found |= {"bleu": bleu_counts(found["read"], found["text"])}
    return {name: np.array(column) for name, column in found.items()}


def score(mine: dict, real: dict | None = None, name: str = "letter_error"):
    return summarise("somebody", "text", [mine], real or measures(len(mine["seconds"]))).scores[name]


def test_letter_error_pools_letters():
    mine = measures(2, letter_edits=[2, 0], letters=[2, 8])
    assert score(mine).value == pytest.approx(20)
    assert score(measures(2, word_edits=[3, 1], words=[4, 12]), name="word_error").value == pytest.approx(25)
    assert score(measures(2, mje_sum=[3, 1], mje_count=[2, 8]), name="dtw_mje").value == pytest.approx(0.4)


def test_amplitude_and_jerk_are_ratios_of_means():
    real = measures(2, speed=[1.0, 3.0], jerk=[10.0, 30.0], speed_body=[2.0, 2.0])
    mine = measures(2, speed=[2.0, 0.0], jerk=[60.0, 0.0], speed_body=[1.0, 0.0])
    assert score(mine, real, "amplitude").value == pytest.approx(2 / 4)
    assert score(mine, real, "jerk").value == pytest.approx(60 / 40)
    assert score(mine, real, "amplitude_body").value == pytest.approx(1 / 4)


def test_length_is_the_mean_of_ratios():
    assert score(measures(2, seconds=[2.0, 4.0]), measures(2, seconds=[1.0, 8.0]), "length").value == pytest.approx((2 + 0.5) / 2)


def test_distance_is_the_mean_over_wrists_of_their_share_of_the_real_way():
    real, mine = measures(2, way=[[1.0, 10.0], [3.0, 10.0]]), measures(2, way=[[2.0, 5.0], [0.0, 5.0]])
    assert score(mine, real, "distance").value == pytest.approx((2 / 4 + 10 / 20) / 2)


def test_a_wrist_that_never_moves_in_real_signing_is_left_out_of_the_distance():
    real, mine = measures(2, way=[[0.0, 10.0], [0.0, 10.0]]), measures(2, way=[[7.0, 5.0], [7.0, 10.0]])
    assert score(mine, real, "distance").value == pytest.approx(0.75)


def test_a_wrist_that_moves_in_one_clip_alone_leaves_an_interval():
    real = measures(3, way=[[0.0, 10.0], [2.0, 10.0], [0.0, 10.0]])
    distance = score(measures(3, way=[[1.0, 5.0], [3.0, 20.0], [5.0, 5.0]]), real, "distance")
    assert distance.value == pytest.approx((9 / 2 + 30 / 30) / 2)
    assert np.isfinite([distance.low, distance.high]).all(), "draws without that clip say nothing"
    assert distance.low < distance.value < distance.high


def test_clips_without_a_dtw_are_left_out():
    mine = measures(3, hand_dtw=[0.2, np.nan, 0.6], log_likelihood=[np.nan, -1.0, -2.0])
    assert score(mine, name="hand_dtw").value == pytest.approx(0.4)
    assert score(mine, name="log_likelihood").value == pytest.approx(-1.5)
    assert "hand_dtw" not in summarise("x", "", [measures(2, hand_dtw=[np.nan, np.nan])], measures(2)).scores


def test_bleu_of_summed_counts_is_bleu_of_the_corpus():
    mine = measures(4, read=READ, text=TEXTS)
    for order in (1, 2, 3, 4):
        assert score(mine, name=f"bleu_{order}").value == pytest.approx(bleu(READ, TEXTS, order))
    assert score(mine, name="bleu_4").value == pytest.approx(sacrebleu.raw_corpus_bleu(READ, [TEXTS], 0.0).score)
    assert score(mine, name="chrf").value == pytest.approx(chrf(READ, TEXTS))
    assert 0 < score(mine, name="bleu_4").value < 100


def test_bleu_is_resampled_as_the_bleu_of_the_clips_that_were_drawn():
    result = summarise("x", "text", [measures(4, read=READ, text=TEXTS)], measures(4))
    for counts, resampled in zip(next(resampling(4))[1:6].astype(int), result.resampled["bleu_2"], strict=False):
        assert resampled == pytest.approx(bleu(np.repeat(READ, counts).tolist(), np.repeat(TEXTS, counts).tolist(), 2))


def test_each_round_draws_as_many_clips_as_there_are():
    [drawn] = resampling(7)
    assert drawn.shape == (1001, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert (drawn[0] == 1).all()
    assert drawn[1:].mean(axis=0) == pytest.approx(np.ones(7), abs=0.15)


def test_rounds_are_the_same_however_many_are_drawn_at_a_time(monkeypatch):
    [drawn] = resampling(7)
    few = list(resampling(7, 7 * 100))
    assert [len(some) for some in few] == [96] * 10 + [41]
    assert np.array_equal(np.concatenate(few), drawn)
    mine = measures(20, letter_edits=np.random.default_rng(0).integers(0, 4, size=20), read=READ * 5, text=TEXTS * 5)
    whole = summarise("x", "", [mine], measures(20))
    monkeypatch.setattr(aggregation, "DRAWN", 64)
    for name, resampled in summarise("x", "", [mine], measures(20)).resampled.items():
        assert np.array_equal(resampled, whole.resampled[name]), name


def test_scores_are_those_of_all_rounds_at_once():
    """The numbers that an earlier way of resampling gave: one matrix of all rounds, drawn in one call."""
    rng = np.random.default_rng(3)
    mine = measures(50, letters=rng.integers(1, 9, size=50), letter_edits=rng.integers(0, 9, size=50), hand_dtw=rng.random(50))
    counts = np.zeros((1001, 50))
    np.add.at(counts, (np.arange(1, 1001)[:, None], np.random.default_rng(0).integers(50, size=(1000, 50))), 1)
    counts[0] = 1
    found = summarise("x", "", [mine], measures(50))
    shares = (counts @ (100 * mine["letter_edits"])) / (counts @ mine["letters"])
    assert np.array_equal(found.resampled["letter_error"], shares[1:])
    assert np.array_equal(found.resampled["hand_dtw"], ((counts @ mine["hand_dtw"]) / (counts @ np.ones(50)))[1:])
    assert found.scores["letter_error"].low == np.quantile(shares[1:], 0.025)


def test_one_seed_at_a_time_is_in_memory():
    held = []

    def by_seed():
        for edits in (0, 1, 3):
            assert not any(each() for each in held), "the seed before this one is let go"
            columns = Columns(measures(2, letter_edits=[edits, edits]))
            held.append(weakref.ref(columns))
            yield columns
            del columns

    assert summarise("x", "text", by_seed(), measures(2)).scores["letter_error"].seeds == pytest.approx((0, 100 / 3, 100))


class Columns(dict):
    """A dict that can be watched."""


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution_if_there_are_many_clips():
    values = np.random.default_rng(1).gamma(2, 10, size=1500)
    found, error = score(measures(1500, rouge_l=values), name="rouge_l"), values.std(ddof=1) / np.sqrt(1500)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.25 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.25 * error)


def test_the_interval_of_a_ratio_is_that_of_its_linearisation_if_there_are_many_clips():
    rng = np.random.default_rng(2)
    letters = rng.integers(1, 12, size=1500)
    edits = rng.binomial(letters, 0.3)
    ratio = edits.sum() / letters.sum()
    error = 100 * (edits - ratio * letters).std(ddof=1) / letters.mean() / np.sqrt(1500)
    found = score(measures(1500, letter_edits=edits, letters=letters))
    assert [found.value, found.low, found.high] == pytest.approx(
        [100 * ratio, 100 * ratio - 1.96 * error, 100 * ratio + 1.96 * error], abs=0.25 * error
    )


def test_clips_that_are_all_alike_leave_no_doubt():
    mine = measures(5, letter_edits=[1] * 5)
    for name in ("letter_error", "hand_dtw", "amplitude", "length", "distance", "bleu_1"):
        found = score(mine, name=name)
        assert found.high - found.low == pytest.approx(0, abs=1e-9)
        assert found.low == pytest.approx(found.value)


def test_a_result_is_no_better_than_itself():
    edits = np.random.default_rng(0).integers(0, 4, size=20)
    result = summarise("x", "", [measures(20, letter_edits=edits)], measures(20))
    gap = result.minus(result, "letter_error")
    assert (gap.value, gap.low, gap.high) == (0, 0, 0)
    assert result.scores["letter_error"].high - result.scores["letter_error"].low > 10


def test_differences_are_resampled_in_pairs():
    rouge = np.random.default_rng(0).uniform(0, 90, size=20)
    one, other = (summarise("x", "", [measures(20, rouge_l=values)], measures(20)) for values in (rouge + 10, rouge))
    gap = one.minus(other, "rouge_l")
    assert [gap.value, gap.low, gap.high] == pytest.approx([10, 10, 10])
    back = other.minus(one, "rouge_l")
    assert [back.value, back.low, back.high] == pytest.approx([-10, -10, -10])


def test_seeds_are_averaged_and_kept():
    by_seed = [measures(2, letter_edits=[edits, edits]) for edits in (0, 1, 3)]
    found = summarise("x", "text", by_seed, measures(2)).scores["letter_error"]
    assert found.seeds == pytest.approx((0, 100 / 3, 100))
    assert found.value == pytest.approx(np.mean(found.seeds))
    assert found.spread == pytest.approx(np.sqrt(((0 - 400 / 9) ** 2 + (300 / 9 - 400 / 9) ** 2 + (900 / 9 - 400 / 9) ** 2) / 2))
    assert score(by_seed[1]).spread == 0


def test_the_interval_is_of_the_mean_over_seeds():
    half, other_half = (measures(2, letter_edits=edits) for edits in ([3, 0], [0, 3]))
    found = summarise("x", "text", [half, other_half], measures(2)).scores["letter_error"]
    assert (found.value, found.low, found.high) == pytest.approx((50, 50, 50))
    assert score(half).low == 0


def test_diversity_is_known_with_several_seeds_alone():
    assert "diversity" not in summarise("x", "", [measures(2)], measures(2)).scores
    several = [measures(2, diversity=[0.1, 0.3])] * 2
    assert summarise("x", "", several, measures(2)).value("diversity") == pytest.approx(0.2)


def test_failures_are_counted():
    some = [measures(3, failed=reasons) for reasons in (["no z", "", ""], ["no z", "", "too long"])]
    assert summarise("x", "", some, measures(3)).failed == ("no z", "too long"), "once a clip, whatever the seeds"
    assert summarise("x", "", [measures(3)], measures(3)).failed == ()


def test_frechet_distance_is_zero_for_the_real_clips_and_the_square_of_a_shift():
    real = measures(40)
    assert score(real, real, "frechet").value == pytest.approx(0, abs=1e-6)
    moved = measures(40, state=real["state"] + np.array([3.0, 0.0, 4.0]))
    found = score(moved, real, "frechet")
    assert found.value == pytest.approx(25)
    assert np.isnan([found.low, found.high]).all()


def test_one_clip_has_no_distribution():
    assert np.isnan(score(measures(1), name="frechet").value)


def test_a_difference_without_resampling_has_no_interval():
    result = summarise("x", "", [measures(3)], measures(3))
    gap = result.minus(result, "chrf")
    assert gap.value == 0
    assert np.isnan([gap.low, gap.high]).all()


def test_a_result_is_called_by_its_name_and_what_it_hears():
    assert [summarise("x", modality, [measures(1)], measures(1)).label for modality in ("", "text")] == ["x", "x from text"]
