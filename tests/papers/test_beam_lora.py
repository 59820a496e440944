"""BeamLoRA: importances, gauges and gated decay in closed form, and how its claims are judged."""

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


def found(**changed):
    """Return numbers that fulfil every claim, with some of them changed."""
    course = [[(0.3, 0.5), (0.2, 0.8), (0.1, 1.0), (0.1, 1.0)], [(0.31, 0.5), (0.2, 0.8), (0.1, 1.0), (0.1, 1.0)]]
    errors = [[0.5, 0.7, 0.4], [0.51, 0.7, 0.4]]
    few = {"LoRA": [4.6, 4.7], "paper": [4.4, 4.5], "none": [2.5, 2.6]}
    many = {"LoRA": [3.6, 3.7], "paper": [7.3, 7.5], "none": [21.0, 21.5]}
    numbers = {
        "over_time": {"gd": course, "adam": course},
        "gauges": {"SVD": 0.4, "random": 0.5, "Hadamard": 0.6},
        "hadamard": 1e-16,
        "pruned": {"gd": {"2": errors}, "adam": {"2": errors}},
        "moved": {"paper": 0.4, "preserving": 1e-16, "mass": 0.9, "open": 8},
        "risks": {"few noisy samples": few, "many samples, short run": many},
        "decayed": [(1e-14, 0.75), (0.0, 0.99)],
    }
    return numbers | changed


BACKWARDS = [[0.7, 0.5, 0.4], [0.7, 0.51, 0.4]]
SMALL = [[0.1, 0.7, 0.05], [0.11, 0.7, 0.05]]
FLAT = [[(0.1, 0.5), (0.2, 0.8), (0.1, 1.0), (0.1, 1.0)], [(0.12, 0.5), (0.2, 0.8), (0.1, 1.0), (0.1, 1.0)]]


@pytest.mark.parametrize(
    ("changed", "refuted"),
    [
        ({}, []),
        ({"over_time": {"gd": FLAT, "adam": FLAT}}, [0]),  # nothing beyond the error
        ({"pruned": {"gd": {"2": BACKWARDS}, "adam": {"2": found()["pruned"]["adam"]["2"]}}}, [1]),
        ({"pruned": {"gd": {"2": SMALL}, "adam": {"2": found()["pruned"]["adam"]["2"]}}}, []),  # of Adam is spoken
        ({"pruned": {"gd": {"2": found()["pruned"]["gd"]["2"]}, "adam": {"2": SMALL}}}, [1]),
        ({"hadamard": 0.1}, [2]),
        ({"gauges": {"SVD": 0.5, "random": 0.4, "Hadamard": 0.6}}, [2]),
        ({"gauges": {"SVD": 0.4, "random": 0.5, "Hadamard": np.nan}}, [2]),
        ({"pruned": {name: {"2": [[0.5, 0.7, 0.6]] * 2} for name in ("gd", "adam")}}, [2]),
        ({"moved": {"paper": 0.4, "preserving": 0.0, "mass": 0.9, "open": 6}}, [3]),  # pruned and not expanded
        ({"moved": {"paper": 0.4, "preserving": 0.0, "mass": 1.0, "open": 8}}, [3]),
        ({"decayed": [(0.01, 0.75)]}, [5]),  # factors that have not come to rest
        ({"decayed": [(-0.01, 0.75)]}, [5]),  # cheaper than the least
        ({"decayed": [(0.0, 0.75), (0.0, 1.0)]}, [5]),  # what LoRA pays
    ],
)
def test_each_half_of_a_claim_is_judged(changed, refuted):
    claims = beam_lora.BeamLoRAClaims().judge(found(**changed))
    assert [k for k, claim in enumerate(claims) if not claim.holds] == refuted


@pytest.mark.parametrize(("alone", "holds"), [(2.4, True), (4.4, False)])
def test_pruning_alone_is_judged_by_how_many_times_smaller_the_risks_are(alone, holds):
    """One of 17 seeds in which it went wrong, 14.1 against 4.6, made the claim not reproduced."""
    lora = np.linspace(4.1, 5.1, 17)
    few = {"LoRA": lora, "paper": lora - 0.14, "none": [14.1, *np.linspace(0.9, 1.1, 16) * alone]}
    risks = found()["risks"] | {"few noisy samples": few}
    assert beam_lora.BeamLoRAClaims().judge(found(risks=risks))[4].holds == holds


def test_gated_factors_that_came_to_rest_pay_the_least_that_their_update_costs():
    """The ends have three or four terms: equal ones of three of four gates would pay 3/4 of the nuclear norm."""
    ((paid, share),) = beam_lora.decayed(1)
    assert abs(paid) < 1e-9 and 0.7 < share < 1.0


def test_an_event_that_only_prunes_is_no_exact_split(monkeypatch):
    exact = beam_lora.event()
    assert exact["preserving"] < 1e-12 and exact["open"] == 8
    monkeypatch.setitem(beam_lora.EXPANSIONS, "preserving", beam_lora.EXPANSIONS["none"])
    pruned = beam_lora.event()
    assert pruned["open"] < 8
    assert not beam_lora.BeamLoRAClaims().judge(found(moved=pruned))[3].holds


def test_the_mass_that_averaging_leaves_is_that_of_geometric_means(monkeypatch):
    """Pairs of the event, seen by an expansion that only records them; the weights are exp(z/tau)."""
    weights = []

    def record(problem, theta, snapshot, worst, best, jitter, rng):
        z = problem.split(theta)[2]
        a, b = np.exp(z[worst] / problem.adapter.tau), np.exp(z[best] / problem.adapter.tau)
        weights.append((np.sum(a + b), np.sum(2.0 * np.sqrt(a * b))))
        z[best] = z[worst] = 0.5 * (z[best] + z[worst])

    monkeypatch.setitem(beam_lora.EXPANSIONS, "paper", record)
    mass = beam_lora.event()["mass"]
    assert mass == pytest.approx(weights[0][1] / weights[0][0], rel=1e-12)


def test_dispersion_has_no_unit():
    assert beam_lora.dispersion(np.array([1.0, 3.0])) == pytest.approx(0.5)  # 1 over 2
    assert beam_lora.dispersion(np.array([10.0, 30.0])) == pytest.approx(0.5)
