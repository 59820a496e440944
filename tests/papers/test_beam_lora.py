import numpy as np
import pytest

import lorasolve as ls
from lorasolve.objectives import Denoising
from lorasolve.optimizers import GD
from lorasolve.papers import beam_lora


def matrix(r=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((9, r)) @ rng.standard_normal((r, 7))


def random_orthogonal(r, rng):
    return np.linalg.qr(rng.standard_normal((r, r)))[0]


def test_term_norms_are_frobenius_norms():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((6, 3)), rng.standard_normal((5, 3))
    exact = [np.linalg.norm(np.outer(A[:, k], B[:, k])) for k in range(3)]
    np.testing.assert_allclose(beam_lora.term_norms(A, B), exact, rtol=1e-14)


def test_importance_is_gauge_dependent_and_majorised_by_the_singular_values():
    X = matrix()
    values = np.linalg.svd(X, compute_uv=False)[:4]
    rng = np.random.default_rng(1)
    for _ in range(500):
        A, B = beam_lora.in_gauge(X, random_orthogonal(4, rng))
        np.testing.assert_allclose(A @ B.T, X, atol=1e-12)
        scores = np.sort(beam_lora.term_norms(A, B))[::-1]
        assert scores.sum() == pytest.approx(values.sum())
        assert (np.cumsum(scores) <= np.cumsum(values) + 1e-10).all()
    np.testing.assert_allclose(beam_lora.term_norms(*beam_lora.in_gauge(X, np.eye(4))), values, rtol=1e-12)
    equal = beam_lora.term_norms(*beam_lora.in_gauge(X, beam_lora.hadamard(4)))
    np.testing.assert_allclose(equal, values.mean(), rtol=1e-12)
    assert beam_lora.dispersion(equal) < 1e-12 < beam_lora.dispersion(values)


def test_balanced_gauge_is_recovered_and_prunes_optimally():
    rng = np.random.default_rng(2)
    A, B = rng.standard_normal((9, 7)), rng.standard_normal((7, 7))
    X = A @ B.T
    values = np.linalg.svd(X, compute_uv=False)
    gauged = beam_lora.svd_gauge(A, B)
    np.testing.assert_allclose(gauged[0] @ gauged[1].T, X, atol=1e-12)
    optimal = np.linalg.norm(values[-3:]) / np.linalg.norm(values)
    assert beam_lora.pruning_error(*gauged, 3) == pytest.approx(optimal, rel=1e-10)


def test_pruning_errors_are_ordered_by_gauge():
    rng = np.random.default_rng(5)
    X = rng.standard_normal((12, 8)) @ np.diag(2.0 ** -np.arange(8)) @ random_orthogonal(8, rng)
    best = beam_lora.pruning_error(*beam_lora.in_gauge(X, np.eye(8)), 4)
    middle = beam_lora.pruning_error(*beam_lora.in_gauge(X, random_orthogonal(8, np.random.default_rng(7))), 4)
    worst = beam_lora.pruning_error(*beam_lora.in_gauge(X, beam_lora.hadamard(8)), 4)
    assert best < middle < worst
    assert beam_lora.pruning_error(*beam_lora.in_gauge(X, np.eye(8)), 4, highest_first=True) > 0.9


def test_gated_decay_is_attained_and_never_beaten():
    X, lam, r = matrix(3), 0.7, 3
    bound = beam_lora.gated_decay(X, lam, r)
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    U, s, V = U[:, :3], s[:3], Vt[:3].T
    w = 3 * np.sqrt(s) / np.sqrt(s).sum()
    assert 0.5 * lam * 2 * np.sum(s / w) == pytest.approx(bound, rel=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        Q = rng.standard_normal((3, 3))
        A, B = U * s @ Q, V @ np.linalg.inv(Q).T
        w = rng.dirichlet(np.ones(3)) * r
        assert 0.5 * lam * (np.sum(A * A / w) + np.sum(B * B / w)) >= bound
    # one term may take all the budget: cheaper than the nuclear norm
    one = np.outer(np.ones(9), np.ones(7))
    assert beam_lora.gated_decay(one, 1.0, 4) == pytest.approx(np.linalg.norm(one) / 4)


def test_balanced_copy_is_a_no_op_for_gradient_descent_and_not_for_adam():
    # (a, 0) and (a, a)/sqrt 2 are related by an orthogonal mixing of the columns
    T = np.random.default_rng(0).standard_normal((6, 5))
    a, b = np.random.default_rng(1).standard_normal((6, 1)), np.random.default_rng(2).standard_normal((5, 1))
    pruned = (np.hstack([a, 0 * a]), np.hstack([b, 0 * b]))
    copied = (np.hstack([a, a]) / np.sqrt(2), np.hstack([b, b]) / np.sqrt(2))
    p = ls.Problem(Denoising(T), 2)
    stop = ls.StoppingRule(60, 0.0)
    ends = {
        name: [ls.solve(p, optimizer, start, stop=stop).X for start in (pruned, copied)]
        for name, optimizer in (("gd", GD(0.02)), ("adam", "adam"))
    }
    np.testing.assert_allclose(ends["gd"][0], ends["gd"][1], atol=1e-12)
    assert np.linalg.norm(ends["adam"][0] - ends["adam"][1]) > 1e-2


def test_hadamard_refuses_other_sizes():
    H = beam_lora.hadamard(8)
    np.testing.assert_allclose(H @ H.T, np.eye(8), atol=1e-15)
    with pytest.raises(ValueError, match="power of two"):
        beam_lora.hadamard(6)
