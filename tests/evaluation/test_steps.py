import io
import time
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from ms2sl.data.skeleton_registry import HOLISTIC_49X2 as SKELETON
from ms2sl.data.types import Poses, Utterance
from ms2sl.evaluation.aggregation import Result, Score
from ms2sl.evaluation.steps import Point, latency, steps_plot, steps_table
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems.back_translation import Reading
from ms2sl.systems.ms2sl.producer import MS2SLProducer

UTTERANCES = [Utterance(text, text=text) for text in ("cab", "bad", "dig", "deaf", "cage", "fed", "gig")]


class Sleeper:
    """Is slow with an utterance that it hears for the first time, and with its longest ones always."""

    name = "sleeper"

    def __init__(self):
        self.asked: list[str] = []

    def produce(self, utterances: Sequence[Utterance], *, seed: int) -> list[Poses]:
        said = utterances[0].id
        time.sleep(0.2 if said not in self.asked else 0.1 if said in ("deaf", "cage") else 0.02)
        self.asked.append(said)
        return [Poses(np.zeros((1, SKELETON.n_joints, 2), np.float32), np.ones((1, SKELETON.n_joints), np.float32), 25.0)] * len(utterances)


def point(steps: int, error: float, seconds: float, low: float | None = None) -> Point:
    exact = {"hand_dtw": 0.125, "amplitude": 0.75, "jerk": 1.5}
    scores = {name: Score(value, value, value, (value,)) for name, value in exact.items()}
    decisive = ("letter_error", "word_error", "bleu_4")
    scores |= {name: Score(error, error - 2 if low is None else low, error + 3, (error,)) for name in decisive}
    return Point(steps, Result("ms2sl", "text", scores), seconds)


POINTS = [point(1, 30.0, 0.01), point(4, 12.34, 0.0256), point(16, 11.0, 0.1)]
CEILING = point(1, 5.0, 0.0).result


def pixels(picture: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_latency_is_the_median_of_utterances_of_each_its_fastest():
    sleeper = Sleeper()
    assert 0.02 <= latency(sleeper, UTTERANCES) < 0.1
    assert sleeper.asked == [said for said in ("cab", "bad", "dig", "deaf", "cage") for _ in range(3)]


def test_more_steps_take_longer(tiny_checkpoint):
    quick, slow = (latency(MS2SLProducer.load(tiny_checkpoint, options=Sampling(steps=steps)), UTTERANCES) for steps in (1, 40))
    assert 0 < quick < slow


def test_cells_of_the_table():
    assert steps_table(POINTS, reads="letters") == [
        ("steps", "from", "letter error %", "95 %", "hand DTW", "speed ratio", "jerk", "ms an utterance"),
        ("1", "text", "30.0", "28.0 to 33.0", "0.125", "0.75", "1.50", "10"),
        ("4", "text", "12.3", "10.3 to 15.3", "0.125", "0.75", "1.50", "26"),
        ("16", "text", "11.0", "9.0 to 14.0", "0.125", "0.75", "1.50", "100"),
    ]
    assert steps_table(POINTS, reads="sentences")[0][2] == "BLEU-4"


@pytest.mark.parametrize("reads", get_args(Reading))
def test_the_plot_is_a_picture_with_something_on_it(reads):
    picture = pixels(steps_plot(POINTS, CEILING, reads))
    height, width, _ = picture.shape
    assert width > 3 * height > 600
    for third in np.split(picture[:, : width - width % 3], 3, axis=1):
        assert 0.01 < (third < 250).any(axis=2).mean() < 0.5
        assert len(np.unique(third.reshape(-1, 3), axis=0)) > 10


def test_the_plot_shows_the_points():
    drawn = [pixels(steps_plot(points, CEILING, "letters")) for points in (POINTS, POINTS, [*POINTS[:2], point(16, 20.0, 0.1)])]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_one_point_and_a_score_without_interval_can_be_plotted():
    assert pixels(steps_plot([point(8, 12.0, 0.05, low=np.nan)], CEILING, "letters")).std() > 0


def test_an_interval_that_misses_its_value_by_rounding_can_be_plotted():
    assert pixels(steps_plot([point(8, 12.0, 0.05, low=12.0 + 1e-14)], CEILING, "letters")).std() > 0
