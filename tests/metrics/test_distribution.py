import numpy as np
import pytest

from ms2sl.metrics import distribution
from ms2sl.metrics.distribution import frechet_distance


def exactly(mean: np.ndarray, covariance: np.ndarray, n: int = 500) -> np.ndarray:
    """Samples with just this mean and covariance."""
    x = np.random.default_rng(0).normal(size=(n, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x @ np.linalg.cholesky(covariance).T + mean


def test_the_distance_between_gaussians_is_that_of_the_closed_form():
    # Covariances that commute: the distance is |μ₁ - μ₂|² + Σ (√λ₁ - √λ₂)²
    one = exactly(np.array([1.0, 2.0, 0.0]), np.diag([4.0, 1.0, 9.0]))
    other = exactly(np.array([0.0, 0.0, 2.0]), np.diag([1.0, 16.0, 9.0]))
    assert frechet_distance(one, other) == pytest.approx(1 + 4 + 4 + 1 + 9 + 0)
    assert frechet_distance(other, one) == pytest.approx(frechet_distance(one, other))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)


def test_it_agrees_with_the_matrix_square_root_where_covariances_do_not_commute():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(400, 5)) @ rng.normal(size=(5, 5)), rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)) + 1
    a, b = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    eigenvalues = np.linalg.eigvals(a @ b)  # tr √(ab) is the sum of the square roots of its eigenvalues
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * np.sqrt(eigenvalues).real.sum()
    assert frechet_distance(one, other) == pytest.approx(expected)


def test_it_is_the_same_however_many_embeddings_are_copied_at_a_time(monkeypatch):
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(100, 5)).astype(np.float32), rng.normal(1, 2, size=(90, 5)).astype(np.float32)
    whole = frechet_distance(one, other)
    assert whole == frechet_distance(one.astype(np.float64), other.astype(np.float64))
    monkeypatch.setattr(distribution, "TOGETHER", 7)
    assert frechet_distance(one, other) == pytest.approx(whole, rel=1e-9)
