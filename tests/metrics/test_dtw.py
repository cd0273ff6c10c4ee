import numpy as np
import pytest

from ms2sl.metrics.dtw import dtw_paths

SHAPES = [(1, 1), (1, 7), (6, 1), (9, 14), (20, 11), (3, 3)]


def cheapest_by_loops(cost: np.ndarray) -> float:
    total = np.full((len(cost) + 1, len(cost[0]) + 1), np.inf)
    total[0, 0] = 0
    for i in range(len(cost)):
        for j in range(len(cost[0])):
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    return total[-1, -1]


def check(cost: np.ndarray, path: np.ndarray) -> None:
    """It is a path from corner to corner by allowed steps, and no other is cheaper."""
    assert cost[path[:, 0], path[:, 1]].sum() == pytest.approx(cheapest_by_loops(cost))
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [cost.shape[0] - 1, cost.shape[1] - 1]
    assert {tuple(step) for step in np.diff(path, axis=0).tolist()} <= {(1, 0), (0, 1), (1, 1)}


@pytest.mark.parametrize("shape", SHAPES)
def test_path_is_the_cheapest_and_monotone(shape):
    cost = np.random.default_rng(sum(shape)).random(shape)
    check(cost, dtw_paths([cost])[0])


def test_pairs_of_all_sizes_together_are_each_aligned_as_alone():
    rng = np.random.default_rng(0)
    costs = [rng.random(shape) for shape in SHAPES] + [rng.random(rng.integers(1, 30, 2)) for _ in range(80)]
    for cost, path in zip(costs, dtw_paths(costs), strict=True):
        check(cost, path)
        assert np.array_equal(path, dtw_paths([cost])[0])


def test_path_by_hand():
    cost = np.abs(np.array([0, 1, 2])[:, None] - np.array([0, 0, 1, 2])[None])
    assert dtw_paths([cost])[0].tolist() == [[0, 0], [0, 1], [1, 2], [2, 3]]


def test_without_pairs_there_are_no_paths():
    assert dtw_paths([]) == []
