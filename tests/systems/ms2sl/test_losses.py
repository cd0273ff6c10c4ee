import math

import pytest
import torch
from torch.nn import functional as F

from ms2sl.nn.losses import cosine_distance, ctc_loss, info_nce, masked_mean
from ms2sl.systems.ms2sl.losses import (
    FRAME_TEMPERATURE,
    FRAME_WEIGHT,
    bone_loss,
    frame_contrastive_loss,
    frame_delta_loss,
    joint_mse_loss,
    x0_mse_loss,
)


def test_a_mean_over_nothing_is_zero():
    assert masked_mean(torch.ones(3), torch.zeros(3, dtype=torch.bool)).item() == 0


def test_denoise_is_the_squared_error_of_what_is_known():
    predicted, target = torch.tensor([[[1.0, 100.0], [3.0, 5.0]]]), torch.tensor([[[0.0, 0.0], [1.0, 5.0]]])
    mask = torch.tensor([[[True, False], [True, True]]])
    assert x0_mse_loss(predicted, target, mask).item() == pytest.approx((1 + 4 + 0) / 3)


def test_unknown_features_get_no_gradient():
    predicted = torch.randn(1, 4, 3, requires_grad=True)
    mask = torch.rand(1, 4, 3) > 0.5
    x0_mse_loss(predicted, torch.randn(1, 4, 3), mask).backward()
    assert (predicted.grad[~mask] == 0).all()


def test_velocity_compares_differences_where_both_frames_are_known():
    predicted, target = torch.tensor([[[0.0], [2.0], [9.0]]]), torch.tensor([[[5.0], [6.0], [0.0]]])
    mask = torch.tensor([[[True], [True], [False]]])
    assert frame_delta_loss(predicted, target, mask).item() == pytest.approx((2 - 1) ** 2)


def test_position_is_the_squared_distance_of_seen_joints():
    predicted, target = torch.zeros(1, 1, 2, 2), torch.tensor([[[[3.0, 4.0], [9.0, 9.0]]]])
    assert joint_mse_loss(predicted, target, torch.tensor([[[True, False]]])).item() == pytest.approx(25)


def test_bone_compares_limb_lengths_alone():
    target = torch.tensor([[[[0.0, 0.0], [3.0, 4.0]]]])
    turned = torch.tensor([[[[1.0, 1.0], [1.0, 6.0]]]])
    longer = torch.tensor([[[[0.0, 0.0], [6.0, 8.0]]]])
    seen, limbs = torch.ones(1, 1, 2, dtype=torch.bool), torch.tensor([[0, 1]])
    assert bone_loss(turned, target, seen, limbs).item() == pytest.approx(0, abs=1e-4)
    assert bone_loss(longer, target, seen, limbs).item() == pytest.approx(5, abs=1e-4)


def test_info_nce_is_the_cross_entropy_of_the_rows_that_are_present():
    torch.manual_seed(0)
    a, b = F.normalize(torch.randn(6, 4), dim=-1), F.normalize(torch.randn(6, 4), dim=-1)
    present = torch.tensor([True, False, True, True, False, True])
    logits = 5 * a[present] @ b[present].T
    expected = (F.cross_entropy(logits, torch.arange(4)) + F.cross_entropy(logits.T, torch.arange(4))) / 2
    assert info_nce(a, b, present, torch.tensor(math.log(5))).item() == pytest.approx(expected.item(), rel=1e-5)


def test_info_nce_of_what_is_all_alike_is_the_log_of_the_number():
    same = F.normalize(torch.ones(8, 4), dim=-1)
    assert info_nce(same, same, torch.ones(8, dtype=torch.bool), torch.tensor(2.0)).item() == pytest.approx(math.log(8), rel=1e-5)


def test_info_nce_without_pairs_is_zero():
    assert info_nce(torch.ones(2, 4), torch.ones(2, 4), torch.zeros(2, dtype=torch.bool), torch.tensor(1.0)).item() == 0


def test_cosine_distance():
    a, b = torch.tensor([[1.0, 0], [1, 0], [1, 0]]), torch.tensor([[2.0, 0], [0, 3], [-1, 0]])
    assert cosine_distance(a, b, torch.tensor([True, True, False])).item() == pytest.approx(0.5)


def test_ctc_sums_over_all_alignments():
    """Two frames, one target letter: a-, -a and aa are right."""
    probability = torch.tensor([[0.6, 0.4], [0.3, 0.7]])
    expected = -math.log(0.6 * 0.7 + 0.4 * 0.3 + 0.6 * 0.3)
    loss = ctc_loss(probability.log()[None], torch.tensor([2]), torch.tensor([[0]]), torch.tensor([1]), torch.tensor([True]))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_ctc_leaves_out_rows_that_have_no_text():
    logits = torch.randn(2, 6, 3)
    targets, lengths = torch.tensor([[0, 1], [0, 0]]), torch.tensor([2, 0])
    one = ctc_loss(logits[:1], torch.tensor([6]), targets[:1], lengths[:1], torch.tensor([True]))
    assert ctc_loss(logits, torch.tensor([6, 6]), targets, lengths, torch.tensor([True, False])).item() == pytest.approx(
        one.item(), rel=1e-5
    )


def test_ctc_is_that_of_torch_a_target_token():
    torch.manual_seed(0)
    logits, targets = torch.randn(3, 9, 5), torch.randint(4, (3, 4))
    n_tokens, n_targets = torch.tensor([9, 7, 8]), torch.tensor([4, 2, 3])
    each = F.ctc_loss(logits.log_softmax(-1).transpose(0, 1), targets, n_tokens, n_targets, blank=4, reduction="none")
    expected = (each / n_targets).mean().item()
    assert ctc_loss(logits, n_tokens, targets, n_targets, torch.ones(3, dtype=torch.bool)).item() == pytest.approx(expected, rel=1e-5)


def test_frames_agree_best_with_themselves():
    frames, mask = torch.eye(6)[None], torch.ones(1, 6, dtype=torch.bool)
    expected = FRAME_WEIGHT * math.log(1 + 5 * math.exp(-1 / FRAME_TEMPERATURE))
    assert frame_contrastive_loss(frames, frames, mask).item() == pytest.approx(expected, rel=1e-3)
    assert frame_contrastive_loss(frames.roll(1, dims=1), frames, mask) > 1 + FRAME_WEIGHT / FRAME_TEMPERATURE * 0.99


def test_the_teacher_does_not_learn_from_the_student():
    student, teacher = torch.randn(2, 5, 4, requires_grad=True), torch.randn(2, 5, 4, requires_grad=True)
    frame_contrastive_loss(student, teacher, torch.ones(2, 5, dtype=torch.bool)).backward()
    assert teacher.grad is None
    assert student.grad.any()


def test_frames_of_the_teacher_beyond_the_end_are_nothing_to_tell_from():
    torch.manual_seed(0)
    student, teacher, mask = torch.randn(1, 6, 4), torch.randn(1, 6, 4), torch.arange(6)[None] < 4
    within = frame_contrastive_loss(student[:, :4], teacher[:, :4], mask[:, :4])
    assert frame_contrastive_loss(student, teacher, mask).item() == pytest.approx(within.item(), rel=1e-5)


LIMBS = torch.tensor([[0, 1], [1, 2]])
# Each term as a function of a prediction and the mask of what is present, with the shapes of both.
MASKED = {
    "x0_mse": (lambda x, mask: x0_mse_loss(x, torch.ones_like(x), mask), (2, 6, 3), (2, 6, 3)),
    "frame_delta": (lambda x, mask: frame_delta_loss(x, torch.ones_like(x), mask), (2, 6, 3), (2, 6, 3)),
    "joint_mse": (lambda x, mask: joint_mse_loss(x, torch.ones_like(x), mask), (2, 6, 3, 2), (2, 6, 3)),
    "bone": (lambda x, mask: bone_loss(x, torch.ones_like(x), mask, LIMBS), (2, 6, 3, 2), (2, 6, 3)),
    "info_nce": (lambda x, mask: info_nce(x, torch.ones_like(x).cumsum(0), mask, torch.tensor(0.5)), (6, 4), (6,)),
    "cosine": (lambda x, mask: cosine_distance(x, torch.ones_like(x), mask), (2, 6, 4), (2, 6)),
    "frame_contrastive": (lambda x, mask: frame_contrastive_loss(x, torch.ones_like(x).cumsum(1).cos(), mask), (2, 6, 4), (2, 6)),
    "ctc": (
        lambda x, mask: ctc_loss(x, torch.full((6,), 5), torch.tensor([[0, 1]] * 6), torch.full((6,), 2), mask),
        (6, 5, 4),
        (6,),
    ),
}


@pytest.mark.parametrize("name", MASKED)
def test_what_is_absent_has_neither_influence_nor_gradient(name):
    term, shape, mask_shape = MASKED[name]
    torch.manual_seed(0)
    mask = torch.rand(mask_shape) < 0.7
    absent = ~mask.view(*mask_shape, *[1] * (len(shape) - len(mask_shape))).expand(shape)
    assert absent.any()
    x = torch.randn(shape, requires_grad=True)
    loss = term(x, mask)
    loss.backward()
    assert x.grad.any()
    assert not x.grad[absent].any()
    assert term(torch.where(absent, torch.full_like(x, 7.0), x), mask).item() == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("name", MASKED)
def test_a_batch_that_lacks_all_a_term_needs_costs_nothing_and_teaches_nothing(name):
    term, shape, mask_shape = MASKED[name]
    x = torch.randn(shape, requires_grad=True)
    loss = term(x, torch.zeros(mask_shape, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert not x.grad.any()


@pytest.mark.parametrize("name", MASKED)
def test_under_autocast_a_loss_is_what_it_is_without(name):
    term, shape, mask_shape = MASKED[name]
    torch.manual_seed(0)
    x, mask = torch.randn(shape), torch.rand(mask_shape) < 0.7
    expected = term(x, mask)
    with torch.autocast("cpu", torch.bfloat16):
        loss = term(x, mask)
    assert loss.dtype == torch.float32
    assert loss.item() == expected.item()
