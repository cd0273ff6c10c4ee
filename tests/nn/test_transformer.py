import torch

from ms2sl.nn.transformer import BUCKETS_PER_SIDE, Attention, Block, Pool, length_mask, relative_buckets


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


def test_pooling_gives_a_unit_vector_that_knows_nothing_of_padding():
    torch.manual_seed(0)
    pool, tokens = Pool(16, 8), torch.randn(2, 5, 16)
    full = pool(tokens, length_mask(torch.tensor([5, 5]), 5))
    padded = pool(torch.cat([tokens, torch.randn(2, 4, 16)], dim=1), length_mask(torch.tensor([5, 5]), 9))
    assert torch.allclose(full.norm(dim=-1), torch.ones(2))
    assert torch.allclose(full, padded, atol=1e-6)
