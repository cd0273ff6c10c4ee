import math

import pytest
import torch
from torch.nn import functional as F

from ms2sl.nn.transformer import BUCKETS_PER_SIDE, Attention, Block, Pool, attention, attention_by_hand, length_mask, relative_buckets

PRECISIONS = {torch.float32: 1e-5, torch.bfloat16: 2e-2}  # and how far results may be off, as a share of the largest


def test_near_offsets_have_buckets_of_their_own_and_far_ones_share():
    row = relative_buckets(1, 200, torch.device("cpu"))[0].tolist()
    assert row[:8] == [0, *(BUCKETS_PER_SIDE + i for i in range(1, 8))]
    assert row == sorted(row)
    assert row[-1] == 2 * BUCKETS_PER_SIDE - 1
    assert len(set(row[100:])) <= 2


def test_before_and_after_differ():
    buckets = relative_buckets(9, 9, torch.device("cpu"))
    assert torch.equal(buckets.T[buckets >= BUCKETS_PER_SIDE] + BUCKETS_PER_SIDE, buckets[buckets >= BUCKETS_PER_SIDE])


def test_padding_changes_nothing():
    torch.manual_seed(0)
    block = Block(16, 2, cross=True).eval()
    x, context = torch.randn(2, 5, 16), torch.randn(2, 3, 16)
    full = block(x, length_mask(torch.tensor([5, 5]), 5), context=context, context_mask=length_mask(torch.tensor([3, 3]), 3))
    padded_x = torch.cat([x, torch.randn(2, 4, 16)], dim=1)
    padded_context = torch.cat([context, torch.randn(2, 2, 16)], dim=1)
    mask, context_mask = length_mask(torch.tensor([5, 5]), 9), length_mask(torch.tensor([3, 3]), 5)
    padded = block(padded_x, mask, context=padded_context, context_mask=context_mask)
    assert torch.allclose(padded[:, :5], full, atol=1e-5)


def test_attention_agrees_with_torch():
    torch.manual_seed(0)
    own = Attention(16, 4, relative=False)
    other = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    other.in_proj_weight.data = torch.cat([own.query.weight, own.key_value.weight]).data
    other.in_proj_bias.data = torch.cat([own.query.bias, own.key_value.bias]).data
    other.out_proj = own.out
    x, mask = torch.randn(3, 7, 16), length_mask(torch.tensor([7, 4, 1]), 7)
    expected = other(x, x, x, key_padding_mask=~mask)[0]
    assert torch.allclose(own(x, mask), expected, atol=1e-5)


def attended(query, key, value, bias, mask) -> torch.Tensor:
    """The definition, clip by clip, over the keys that are there; zeros for a clip without any."""
    made = []
    for q, k, v, there in zip(query, key, value, mask, strict=True):
        scores = torch.einsum("hnd,hmd->hnm", q, k[:, there]) / math.sqrt(q.shape[-1])
        scores = scores if bias is None else scores + bias[:, :, there]
        shares = scores.exp() / scores.exp().sum(-1, keepdim=True)
        made.append(torch.einsum("hnm,hmd->hnd", shares, v[:, there]))
    return torch.stack(made)


def inputs(dtype: torch.dtype, biased: bool) -> list[torch.Tensor]:
    """query, key and value of 4 clips, 2 heads, 5 queries and 7 keys, and the bias if there is one."""
    torch.manual_seed(0)
    given = [torch.randn(4, 2, n, 8).to(dtype) for n in (5, 7, 7)] + [torch.randn(2, 5, 7)] * biased
    return [each.requires_grad_() for each in given]


MASK = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]]).bool()


def assert_near(found: list[torch.Tensor], expected: list[torch.Tensor], share: float) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=share * other.abs().max().item())


@pytest.mark.parametrize("biased", [True, False], ids=["self", "cross"])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_values_and_gradients_of_attention_are_those_of_its_definition(dtype, biased):
    given = inputs(dtype, biased)
    exact = [each.detach().double().requires_grad_() for each in given]
    upstream = torch.randn(4, 2, 5, 8).double() * MASK.any(dim=1)[:, None, None, None]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        made = attention(*given[:3], given[3] if biased else None, MASK)
    expected = attended(*exact[:3], exact[3] if biased else None, MASK)
    assert made.dtype == dtype
    assert_near([made[:3]], [expected[:3]], PRECISIONS[dtype])
    gradients = torch.autograd.grad(made, given, upstream.to(dtype))
    assert_near(gradients, torch.autograd.grad(expected, exact, upstream), PRECISIONS[dtype])


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_attention_by_hand_is_what_torch_computes(dtype):
    """Whichever of the two a device takes."""
    query, key, value, bias = given = inputs(dtype, biased=True)
    upstream, found = torch.randn(3, 2, 5, 8).to(dtype), []
    for way in (attention_by_hand, F.scaled_dot_product_attention):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            made = way(query, key, value, bias + torch.where(MASK, 0.0, -1e4)[:, None, None])[:3]
        found.append([made, *torch.autograd.grad(made, given, upstream)])
    assert_near(*found, PRECISIONS[dtype])


@pytest.mark.parametrize("biased", [True, False], ids=["self", "cross"])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_clip_without_keys_gives_finite_numbers(dtype, biased):
    given = inputs(dtype, biased)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        made = attention(*given[:3], given[3] if biased else None, MASK)
    gradients = torch.autograd.grad(made.sum(), given)
    assert all(each.isfinite().all() for each in (made, *gradients))


def test_pooling_gives_a_unit_vector_that_knows_nothing_of_padding():
    torch.manual_seed(0)
    pool, tokens = Pool(16, 8), torch.randn(2, 5, 16)
    full = pool(tokens, length_mask(torch.tensor([5, 5]), 5))
    padded = pool(torch.cat([tokens, torch.randn(2, 4, 16)], dim=1), length_mask(torch.tensor([5, 5]), 9))
    assert torch.allclose(full.norm(dim=-1), torch.ones(2))
    assert torch.allclose(full, padded, atol=1e-6)
