import math

import pytest
import torch

from ms2sl.systems.ms2sl.condition_encoders import NEAR, Condition, ConditionEncoder, GaussianUpsampler, expected_frames
from tests.conftest import BYTES, LOG_MEL


def condition(durations, deviation=-1.0, tokens=None) -> Condition:
    n = len(durations)
    tokens = torch.eye(n, 16)[None] if tokens is None else tokens
    mask = torch.ones(1, n, dtype=torch.bool)
    return Condition(tokens, mask, torch.tensor([durations]).log(), torch.zeros(1, 4), torch.tensor(deviation))


def test_durations_add_up_to_the_length():
    assert condition([7.0] * 9).log_length.exp().item() == pytest.approx(63, rel=1e-5)


def test_the_expected_length_is_the_mean_of_the_log_normal():
    expected = torch.distributions.LogNormal(math.log(20), math.exp(-0.7)).mean
    assert expected_frames([condition([5.0, 15.0], deviation=-0.7)]).item() == pytest.approx(expected.item(), rel=1e-5)


def test_of_two_conditions_the_surer_one_decides_the_length():
    one, sure = condition([10.0], deviation=-0.5), condition([20.0], deviation=-5.0)
    assert expected_frames([one, sure]).item() == pytest.approx(20, rel=0.01)
    assert expected_frames([one, one]).item() == pytest.approx(expected_frames([one]).item(), rel=1e-6)


def test_the_likelihood_of_a_length_is_that_of_a_normal_distribution_of_its_log():
    nll = condition([5.0, 15.0], deviation=-0.7).length_nll(torch.tensor([31]))
    normal = torch.distributions.Normal(math.log(20), math.exp(-0.7))
    assert nll.item() == pytest.approx(-normal.log_prob(torch.tensor(31.0).log()).item() - math.log(2 * math.pi) / 2, rel=1e-4)


def test_a_masked_token_takes_no_time():
    one = condition([5.0, 5.0, 5.0])
    one.mask[0, 2] = False
    assert one.log_length.exp().item() == pytest.approx(10, rel=1e-5)


def test_tokens_lie_along_the_frames_in_proportion_to_their_durations():
    """Tokens of 10 and 30 frames, shown in 80: the first holds frames 0–20, the second 20–80."""
    aligner = GaussianUpsampler(16)
    torch.nn.init.eye_(aligner.value.weight)
    torch.nn.init.zeros_(aligner.value.bias)
    torch.nn.init.zeros_(aligner.offset.weight)
    torch.nn.init.zeros_(aligner.offset.bias)
    torch.nn.init.zeros_(aligner.near.weight)
    torch.nn.init.zeros_(aligner.near.bias)
    aligner.scales.data.fill_(math.log(0.5))
    marks = torch.zeros(1, 2, 16)
    marks[0, 0], marks[0, 1] = 1.0, -1.0
    times = torch.arange(80) + 0.5
    along = aligner(condition([10.0, 30.0], tokens=marks), torch.tensor([80]), times)[0, :, 0]
    assert (along[:20] > 0.99).all()
    crossing = int((along > 0).sum())
    assert 28 <= crossing <= 31  # half way between the centres 10 and 50
    assert (along[35:] < -0.99).all()


def test_padding_of_the_input_changes_nothing():
    torch.manual_seed(0)
    encoder = ConditionEncoder(LOG_MEL, 16, 2, 1, 8, 0.0, 12.5).eval()
    x = torch.randn(1, 83, 80)
    short = encoder(x, torch.tensor([83]))
    long = encoder(torch.cat([x, torch.randn(1, 77, 80)], dim=1), torch.tensor([83]))
    n = int(short.mask.sum())
    assert n == 11  # 83 frames at 100 Hz, thinned by 8
    assert int(long.mask.sum()) == n
    assert torch.allclose(short.tokens[:, :n], long.tokens[:, :n], atol=1e-5)
    assert torch.allclose(short.embedding, long.embedding, atol=1e-5)
    assert torch.allclose(short.log_length, long.log_length, atol=1e-5)


def test_a_clip_without_the_modality_gives_one_finite_token():
    torch.manual_seed(0)
    encoder = ConditionEncoder(BYTES, 16, 2, 1, 8, 0.0, 12.5).eval()
    nothing = encoder(torch.zeros(1, 4, dtype=torch.long), torch.tensor([0]))
    assert nothing.mask.tolist() == [[True, False, False, False]]
    assert nothing.embedding.isfinite().all()
    assert nothing.log_length.isfinite().all()


def test_each_of_equally_long_tokens_lies_in_the_middle_of_its_share():
    """Token i of 4 in 80 frames has its centre at 80 (i + ½) / 4, where its mark is strongest."""
    aligner = GaussianUpsampler(16)
    torch.nn.init.eye_(aligner.value.weight)
    for unused in (aligner.value.bias, aligner.offset.weight, aligner.offset.bias, aligner.near.weight, aligner.near.bias):
        torch.nn.init.zeros_(unused)
    marks = torch.eye(4).repeat(1, 4)[None]  # each scale of the aligner shows a token in its own four features
    along = aligner(condition([6.0] * 4, tokens=marks), torch.tensor([80]), torch.arange(80) + 0.5)[0]
    shares = along.unflatten(1, (4, 4)).mean(1)
    centres = (shares * (torch.arange(80) + 0.5)[:, None]).sum(0) / shares.sum(0)
    assert centres.tolist() == pytest.approx([10, 30, 50, 70], abs=0.6)


def test_padding_of_condition_and_frames_does_not_move_the_alignment():
    torch.manual_seed(0)
    aligner, tokens = GaussianUpsampler(16), torch.randn(1, 3, 16)
    own = condition([4.0, 9.0, 7.0], tokens=tokens)
    padded = condition([4.0, 9.0, 7.0, 50.0, 2.0], tokens=torch.cat([tokens, torch.randn(1, 2, 16)], dim=1))
    padded.mask[0, 3:] = False
    n, times = torch.tensor([20]), torch.arange(40) + 0.5
    assert torch.allclose(aligner(own, n, times[:20]), aligner(padded, n, times)[:, :20], atol=1e-5)


def test_each_row_may_have_frames_of_its_own():
    torch.manual_seed(0)
    aligner, tokens = GaussianUpsampler(16), torch.randn(1, 3, 16)
    one, n = condition([4.0, 9.0, 7.0], tokens=tokens), torch.tensor([15, 90, 60])
    three = Condition(
        one.tokens.expand(3, -1, -1), one.mask.expand(3, -1), one.log_durations.expand(3, -1), one.embedding, one.log_deviation
    )
    times = torch.arange(24) + torch.tensor([[0.5], [0.5], [31.5]])
    together = aligner(three, n, times)
    for i in range(3):
        assert torch.allclose(together[i : i + 1], aligner(one, n[i : i + 1], times[i]), atol=1e-5)
    assert torch.allclose(aligner(three, n, times[0]), aligner(three, n, times[:1].expand(3, -1)))


@pytest.mark.parametrize("first", [0, 7, 30])
def test_a_part_of_the_frames_is_laid_out_as_in_the_whole(first):
    """But for its edges, where it cannot be compared with what is said just outside of it."""
    torch.manual_seed(0)
    aligner, own, n = GaussianUpsampler(16), condition([4.0, 9.0, 7.0], tokens=torch.randn(1, 3, 16)), torch.tensor([60])
    whole = aligner(own, n, torch.arange(64) + 0.5)
    part = aligner(own, n, (torch.arange(34) + 0.5 + first)[None])
    edge = NEAR // 2
    begin, end = (edge if first else 0), (34 if first == 30 else 34 - edge)
    assert torch.allclose(part[:, begin:end], whole[:, first + begin : first + end], atol=1e-5)
