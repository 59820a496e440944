"""LoRA in the NTK regime: rank bounds, the spurious minimum below them, certificates, and how claims are judged."""

import numpy as np
import pytest
from scipy.optimize import minimize

import lorasolve as ls
from lorasolve.objectives import NTK
from lorasolve.optimizers import GD
from lorasolve.papers import lora_ntk
from lorasolve.papers.rac_lora import PaperExample


def nuclear(X):
    return np.linalg.svd(X, compute_uv=False).sum()


def rank(X):
    s = np.linalg.svd(X, compute_uv=False)
    return int(np.sum(s > 1e-8 * s[0]))


def test_rank_bounds_by_enumeration():
    for count in range(1, 200):
        r = lora_ntk.rank_bound(count)
        assert r * (r + 1) // 2 <= count < (r + 1) * (r + 2) // 2
        assert lora_ntk.sufficient_rank(count) == r + 1


@pytest.mark.parametrize("count", [1, 3, 5, 6, 10, 15, 20, 30])
def test_reduction_of_an_optimum_reaches_the_bound_at_no_cost(count):
    lam = 0.3
    objective, X = lora_ntk.degenerate_optimum((14, 12), 8, count, lam, np.random.default_rng(count))
    value = objective.value_and_grad(X)[0] + lam * nuclear(X)
    assert lora_ntk.gap_certificate(objective, X, lam) < 5e-12 * value  # the start is optimal
    reduced = lora_ntk.reduce_rank(X, objective.scalar_features())
    assert rank(reduced) == min(8, lora_ntk.rank_bound(count))
    after = objective.value_and_grad(reduced)[0] + lam * nuclear(reduced)
    assert abs(after - value) <= 1e-12


@pytest.mark.parametrize("count", [4, 9])
def test_reduction_of_any_matrix_keeps_the_products_and_lowers_the_nuclear_norm(count):
    rng = np.random.default_rng(0)
    X, features = rng.standard_normal((14, 12)), rng.standard_normal((count, 14, 12))
    reduced = lora_ntk.reduce_rank(X, features)
    assert rank(reduced) <= lora_ntk.rank_bound(count)
    products = np.einsum("pmn,mn->p", features, X)
    np.testing.assert_allclose(np.einsum("pmn,mn->p", features, reduced), products, atol=1e-10)
    assert nuclear(reduced) < 0.7 * nuclear(X)


def test_softmax_counts_differences_only():
    rng = np.random.default_rng(3)
    objective = NTK(rng.standard_normal((5, 4, 9, 8)), rng.integers(0, 4, 5), "softmax")
    assert lora_ntk.effective_count(objective) == 15
    X = rng.standard_normal((9, 8))
    reduced = lora_ntk.reduce_rank(X, objective.scalar_features())
    assert rank(reduced) == 5
    assert objective.value_and_grad(reduced)[0] == pytest.approx(objective.value_and_grad(X)[0], abs=1e-12)
    same = np.tile(rng.standard_normal((1, 1, 4, 3)), (6, 1, 1, 1))
    assert lora_ntk.effective_count(NTK(same, np.zeros((6, 1)))) == 1


@pytest.mark.parametrize(("loss", "K", "N"), [("square", 1, 5), ("logistic", 1, 9), ("softmax", 3, 4)])
def test_no_failure_above_the_bound(loss, K, N):
    rng = np.random.default_rng(1)
    targets = {
        "square": 2.0 * rng.standard_normal((N, K)),
        "logistic": np.where(rng.random((N, K)) < 0.5, -1.0, 1.0),
        "softmax": rng.integers(0, K, N),
    }[loss]
    objective = NTK(rng.standard_normal((N, K, 8, 7)), targets, loss)
    lam = 0.05
    r = lora_ntk.sufficient_rank(lora_ntk.effective_count(objective))
    p = ls.Problem(objective, r, lam)
    best = ls.solve_convex(p, route="prox").fun
    for _ in range(8):
        P = lora_ntk.random_perturbation(15, 1e-9, rng)
        run = lora_ntk.solve_landscape(p, P, rng)
        assert run.fun <= best + 1e-7
        assert run.gap < 1e-5
        assert run.smallest_singular < 1e-3
        assert run.smallest_eigenvalue > -1e-5


def test_perturbation_costs_at_most_the_bound():
    rng = np.random.default_rng(2)
    objective = NTK(rng.standard_normal((1, 5, 8, 7)), 3.0 * rng.standard_normal((1, 5)))
    p = ls.Problem(objective, 3, 0.1)
    convex = ls.solve_convex(p, route="prox")
    for norm in (1e-3, 1e-2, 1e-1):
        run = lora_ntk.solve_landscape(p, lora_ntk.random_perturbation(15, norm, rng), rng)
        assert p.value(run.A, run.B) - convex.fun <= 2 * norm * nuclear(convex.X) + 1e-8
        assert run.smallest_singular < 1e-4  # the mechanism: Z is rank deficient


def test_explicit_spurious_minimum():
    p = lora_ntk.spurious_example()
    a = np.array([[2.3732442888285552], [-1.0354774318136677]])
    b = np.array([[-2.4103302438442042], [0.9459440162420536]])
    X = a @ b.T
    by_hand = 0.5 * (X[1, 0] + X[1, 1] - 2) ** 2 + 0.5 * (X[0, 1] - X[1, 0]) ** 2
    assert p.objective.value_and_grad(X)[0] == pytest.approx(by_hand, rel=1e-14)
    assert p.value(a, b) == pytest.approx(0.81888620817193, abs=1e-13)
    assert np.linalg.norm(np.concatenate([part.ravel() for part in p.grad(a, b)])) < 1e-12
    H = np.stack([np.concatenate([q.ravel() for q in p.hvp(a, b, e[:2, None], e[2:, None])]) for e in np.eye(4)])
    np.testing.assert_allclose(np.linalg.eigvalsh(H), [0.2, 0.43718, 0.68400, 16.7767], rtol=2e-5)
    convex = ls.solve_convex(ls.Problem(p.objective, 2, 0.1), route="prox")
    assert convex.fun == pytest.approx(0.16141813425418, abs=1e-9)
    assert ls.certify(p, (a, b)).is_global is False


def test_spurious_minimum_is_met_by_random_starts_but_not_by_the_lora_start_nor_at_rank_two():
    p = lora_ntk.spurious_example()

    def function(theta):
        grad = np.empty_like(theta)
        return p.value_and_grad(theta, grad), grad

    rng = np.random.default_rng(0)
    ends = [minimize(function, 2 * rng.standard_normal(4), jac=True, method="BFGS").fun for _ in range(100)]
    spurious = np.abs(np.array(ends) - 0.81888620817193) < 1e-6
    assert 5 <= spurious.sum() <= 40
    assert (np.abs(np.array(ends)[~spurious] - 0.16141813425418) < 1e-6).all()
    stop = ls.StoppingRule(20_000, 1e-8)
    for seed in range(20):
        end = ls.solve(p, GD(0.05), seed=seed, stop=stop)
        assert end.fun == pytest.approx(0.16141813425418, abs=1e-8)
    two = p.replace(rank=2)
    for _ in range(20):
        run = lora_ntk.solve_landscape(two, lora_ntk.random_perturbation(4, 1e-9, rng), rng, std=2.0)
        assert run.fun == pytest.approx(0.16141813425418, abs=1e-6)


def test_failure_map_is_empty_where_the_theorem_speaks():
    ranks, counts = [1, 2, 3], [2, 5]
    shares = lora_ntk.failure_map((6, 5), ranks, counts, instances=3, starts=4, lam=0.1, seed=0)
    for i, r in enumerate(ranks):
        for j, count in enumerate(counts):
            if r * (r + 1) // 2 > count:
                assert shares[i, j] == 0.0
    wide = lora_ntk.failure_map((6, 5), [1], [9], instances=3, starts=4, lam=0.1, seed=0)
    assert wide[0, 0] > 0.1


def test_runs_are_trapped_at_rank_one_and_not_where_the_rank_bound_holds():
    """r(m + n) - r^2 = 10 > 1.35 * 7 at r = 1, where runs end apart; 4 * 5/2 = 10 > 7 at r = 4, where none may."""
    (at_one,) = lora_ntk.trapped_shares((6, 5), 1, [7], 2, 4, 0.1, seed=0)
    (at_four,) = lora_ntk.trapped_shares((6, 5), 4, [7], 2, 3, 0.1, seed=0)
    assert at_one > 0.0 and at_four == 0.0


def test_the_certificate_bounds_the_gap_everywhere_and_is_exact_where_it_is_known():
    """f = (x - 2)^2/2 of a 1 x 1 weight, lam = 1/2: the minimum is 7/8 at 3/2."""
    objective = NTK(np.ones((1, 1, 1, 1)), np.array([[2.0]]))
    for x in (-1.0, 0.0, 1.0, 1.5, 2.0, 3.0):
        excess = max(0.0, abs(x - 2.0) - 0.5)  # of the gradient over lam
        value = 0.5 * (x - 2.0) ** 2 + 0.5 * abs(x)
        bound = lora_ntk.gap_certificate(objective, np.array([[x]]), 0.5)
        assert bound == pytest.approx((x - 2.0) * x + 0.5 * abs(x) + 2.0 * excess * value, abs=1e-14)
        assert bound >= value - 0.875 - 1e-14
    rng = np.random.default_rng(4)
    objective = NTK(rng.standard_normal((1, 5, 4, 3)), 3.0 * rng.standard_normal((1, 5)))
    best = ls.solve_convex(ls.Problem(objective, 3, 0.2), tol=1e-10).fun
    for _ in range(20):
        X = rng.exponential() * rng.standard_normal((4, 3))
        assert lora_ntk.gap_certificate(objective, X, 0.2) >= objective.value_and_grad(X)[0] + 0.2 * nuclear(X) - best


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, 1.2])
def test_the_certificate_of_a_loss_below_zero_bounds_the_gap(share):
    """<M o X, X> + <1, X> of RAC-LoRA's example, entry by entry: its minimum is -2.025, and at X = 0 it is 0."""
    objective, lam = PaperExample(), 0.1
    best = ls.solve_convex(ls.Problem(objective, 3, lam), tol=1e-10)
    X = share * objective.X_star
    gap = objective.value_and_grad(X)[0] + lam * nuclear(X) - best.fun
    assert 0.001 < gap <= lora_ntk.gap_certificate(objective, X, lam)


def test_a_run_on_the_landscape_ends_where_the_perturbed_objective_is_stationary():
    """S Z = 0 with S = [[lam I, G], [G^T, lam I]] + 2 P is the equation of a stationary point."""
    rng = np.random.default_rng(5)
    objective = NTK(rng.standard_normal((1, 3, 5, 4)), 3.0 * rng.standard_normal((1, 3)))
    P = lora_ntk.random_perturbation(9, 0.3, rng)
    assert np.linalg.norm(P, 2) == pytest.approx(0.3) and np.linalg.eigvalsh(P)[0] > -1e-12
    run = lora_ntk.solve_landscape(ls.Problem(objective, 2, 0.1), P, rng)
    G = objective.value_and_grad(run.A @ run.B.T)[1]
    S = np.block([[0.1 * np.eye(5), G], [G.T, 0.1 * np.eye(4)]]) + 2.0 * P
    Z = np.vstack([run.A, run.B])
    assert np.linalg.norm(S @ Z) == pytest.approx(run.grad_norm, abs=1e-9) and run.grad_norm < 1e-6
    assert run.smallest_eigenvalue == pytest.approx(np.linalg.eigvalsh(S)[0], abs=1e-12)
    values = np.linalg.svd(Z, compute_uv=False)
    assert run.smallest_singular == pytest.approx(values[1] / values[0], abs=1e-12)


def test_a_scale_of_the_adapter_is_refused_where_its_update_is_taken_for_the_product():
    p = lora_ntk.spurious_example()
    scaled = p.replace(adapter=ls.adapters.LoRA(alpha=2.0))
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="solve_landscape: needs an adapter of scale 1, got 2"):
        lora_ntk.solve_landscape(scaled, np.zeros((4, 4)), rng)


SPURIOUS, GLOBAL = 0.81888620817193, 0.16141813425418
LORA, TWO = "LoRA start, r = 1", "random, r = 2"


@pytest.mark.parametrize(
    ("change", "refuted"),
    [
        ({}, None),
        ({"optima": [1e-12, 0.1]}, 0),  # no optimum
        ({"shares": [[0.1, 0.1, 0.7, 1.0], [0.0, 0.0, 0.0, 0.2], [0.0, 0.0, 0.0, 0.1]]}, None),  # r(r+1)/2 = KN
        ({"shares": [[0.1, 0.1, 0.7, 1.0], [0.0, 0.0, 0.1, 0.2], [0.0, 0.0, 0.0, 0.1]]}, 1),  # failures all outside
        ({"shares": [[0.0, 0.1, 0.7, 1.0], [0.0, 0.1, 0.0, 0.2], [0.0, 0.0, 0.0, 0.1]]}, 1),  # one inside
        ({"network": [6, {"4": -1e-3}]}, 1),  # below the optimum
        ({"spurious": {"random, r = 1": [SPURIOUS], LORA: [GLOBAL], TWO: [GLOBAL]}}, 2),  # no other value at rank one
        ({"spurious": {"random, r = 1": [SPURIOUS, GLOBAL], LORA: [GLOBAL, 1.3], TWO: [GLOBAL]}}, 2),  # unfinished
        ({"spurious": {"random, r = 1": [SPURIOUS, GLOBAL], LORA: [GLOBAL], TWO: [0.3]}}, 2),
        ({"threshold": [0.1, np.nan]}, 3),
    ],
)
def test_each_half_of_a_claim_is_judged(change, refuted):
    found = {
        "rows": [[1, 1, 1, 0.0]],
        "optima": [1e-12],
        "shares": [[0.0, 0.1, 0.7, 1.0], [0.0, 0.0, 0.0, 0.2], [0.0, 0.0, 0.0, 0.1]],
        "network": [6, {"4": 1e-9}],
        "spurious": {"random, r = 1": [SPURIOUS, GLOBAL], LORA: [GLOBAL], TWO: [GLOBAL]},
        "threshold": [0.0, 0.1, 0.2],
    }
    claims = lora_ntk.LoRANTKClaims().judge(found | change)
    assert [k for k, claim in enumerate(claims) if not claim.holds] == ([] if refuted is None else [refuted])


def test_trapped_are_runs_that_converged_above_what_another_start_reached(monkeypatch):
    from types import SimpleNamespace

    first = [(1.0, True), (1.5, True), (1.5, False), (1.00005, True)]
    ends = iter([*first, (2.0, True), (2.0, True), (2.1, True), (2.0, True)])
    monkeypatch.setattr(
        "lorasolve.papers._lora_ntk.solve",
        lambda *args, **settings: SimpleNamespace(**dict(zip(("fun", "success"), next(ends)))),
    )
    assert lora_ntk.trapped_shares((3, 2), 1, [2], 2, 4, 0.1, seed=0) == [2 / 8]


def test_a_run_fails_that_is_not_certified_and_ends_above_the_convex_optimum(monkeypatch):
    from types import SimpleNamespace

    found = iter([(2.0, 0.1), (2.0 * (1 + 1e-5), 0.1), (2.0 * (1 + 1e-5), 1e-7), (3.0, 1.0)])
    monkeypatch.setattr("lorasolve.convex.solve_convex", lambda *args, **settings: SimpleNamespace(fun=2.0))

    def run(*args, max_iter):
        assert max_iter >= 4000  # with 400 a slow run on the way to the optimum counts as failing
        return SimpleNamespace(**dict(zip(("fun", "gap"), next(found))))

    monkeypatch.setattr("lorasolve.papers._lora_ntk.solve_landscape", run)
    shares = lora_ntk.failure_map((3, 2), [1], [2], instances=2, starts=2, lam=0.1, seed=0)
    assert shares.tolist() == [[0.5]]
