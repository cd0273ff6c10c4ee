import numpy as np
import pytest

from ms2sl.metrics.retrieval import median_rank, ranks, recall_at


def unit(n: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_every_vector_finds_itself():
    x = unit(50)
    assert recall_at(1, ranks(x, x)) == 100


def test_ranks_by_hand():
    gallery = np.eye(3)
    queries = np.array([[0.6, 0.8, 0], [0, 1, 0], [0.48, 0.64, 0.6]])
    assert ranks(queries, gallery).tolist() == [2, 1, 2]
    assert recall_at(1, ranks(queries, gallery)) == pytest.approx(100 / 3)
    assert recall_at(2, ranks(queries, gallery)) == 100


def test_strangers_score_chance():
    n = 1000
    assert recall_at(1, ranks(unit(n, seed=1), unit(n, seed=2))) < 1
    assert np.median(ranks(unit(n, seed=1), unit(n, seed=2))) == pytest.approx(n / 2, rel=0.15)


@pytest.mark.parametrize("dim", [1, 16, 256])
def test_constant_embeddings_find_nothing(dim):
    same = np.repeat(unit(1, dim), 200, axis=0)
    assert recall_at(1, ranks(same, same)) == 0
    assert recall_at(10, ranks(unit(200, dim) if dim > 1 else same, same)) == 0
    assert (ranks(same, same) == 200).all()


def test_broken_embeddings_find_nothing():
    broken = np.full((10, 4), np.nan)
    assert recall_at(1, ranks(broken, broken)) == 0
    assert recall_at(5, ranks(unit(10, 4), broken)) == 0


def test_median_rank_by_hand():
    gallery = np.eye(4)
    queries = gallery[[0, 1, 2, 3]].copy()
    queries[3] = [0.6, 0.5, 0.4, 0.3]  # its own is the last of four
    queries[2] = [0.0, 0.9, 0.4, 0.0]  # its own is the second
    assert ranks(queries, gallery).tolist() == [1, 1, 2, 4]
    assert median_rank(ranks(queries, gallery)) == 1.5


@pytest.mark.parametrize("compared", [1, 100, 1000])
def test_ranks_are_the_same_however_many_are_compared_at_a_time(compared):
    queries, gallery = unit(50, seed=1), unit(50, seed=2)
    assert ranks(queries, gallery, compared).tolist() == ranks(queries, gallery).tolist()
