import math
import random

import pytest

from ms2sl.training.divergence import Diverged, LossHistory


def report(history: LossHistory, losses) -> None:
    for step, loss in enumerate(losses, 1):
        history.check(step, loss, 1.0)


def learning(steps: int = 200, noise: float = 0.05) -> list[float]:
    """A loss that falls from 20 to 0.1, with noise in proportion."""
    rng = random.Random(0)
    return [(0.1 + 20 * math.exp(-step / 15)) * (1 + rng.uniform(-noise, noise)) for step in range(steps)]


@pytest.mark.parametrize("scale", [1e-3, 1, 1e4])
@pytest.mark.parametrize("shift", [0, -5, -0.36, 1000])
def test_neither_a_constant_nor_a_scale_decides_what_has_diverged(scale, shift):
    """A loss with a log-likelihood in it goes below zero: ten times the lowest means nothing there."""
    history = LossHistory()
    report(history, [scale * (loss + shift) for loss in learning()])
    history.check(201, scale * (15 + shift), 1.0)  # as bad as near the beginning: training may find its way back
    with pytest.raises(Diverged, match=r"the loss rose from .* by step 202; lower training\.learning_rate"):
        history.check(202, scale * (60 + shift), 1.0)


def test_a_loss_that_explodes_from_the_beginning_has_diverged():
    with pytest.raises(Diverged):
        report(LossHistory(), [20, 21, 20.5, 20.8, 20.1, 21.2, 20.4, 20.6, 80])


def test_a_loss_that_only_makes_noise_has_not_diverged():
    for seed in range(500):
        rng = random.Random(seed)
        report(LossHistory(), [rng.gauss(0, 1) for _ in range(60)])


def test_spikes_of_a_batch_of_hard_clips_have_not_diverged():
    losses = learning()
    losses[120] *= 10
    losses[180] *= 50
    report(LossHistory(), losses)


@pytest.mark.parametrize(
    ("loss", "norm", "what"),
    [(math.nan, 1.0, "loss became nan"), (math.inf, 1.0, "loss became inf"), (2.0, math.inf, "gradient became inf")],
)
def test_what_is_not_finite_is_called_what_it_is(loss, norm, what):
    with pytest.raises(Diverged, match=rf"the {what} by step 5; lower training\.learning_rate or look for broken clips"):
        LossHistory().check(5, loss, norm)


def test_a_history_that_was_stored_decides_alike():
    history = LossHistory()
    report(history, learning())
    assert LossHistory(**history.state()) == history
    assert LossHistory(**LossHistory().state()) == LossHistory()
