"""SoRA: optima of gates in closed form and on grids, where training ends beside them, and how claims are judged."""

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.adapters import SoRA
from lorasolve.objectives import Denoising
from lorasolve.papers import sora
from lorasolve.schedules import Revive, Stage
from lorasolve.schedules.revive import revived


def with_spectrum(values, m=20, n=16, seed=0):
    rng = np.random.default_rng(seed)
    U = np.linalg.qr(rng.standard_normal((m, len(values))))[0]
    V = np.linalg.qr(rng.standard_normal((n, len(values))))[0]
    return (U * values) @ V.T


def test_ridge_penalty_is_attained_and_never_beaten():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((7, 3)) @ rng.standard_normal((3, 5))
    lam1, mu = 0.4, 0.3
    bound = sora.schatten_half_penalty(X, lam1, mu)

    def cost(A, B, g):
        np.testing.assert_allclose(A @ np.diag(g) @ B.T, X, atol=1e-10)
        return lam1 * np.abs(g).sum() + 0.5 * mu * (np.sum(A * A) + np.sum(B * B))

    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    U, s, V = U[:, :3], s[:3], Vt[:3].T
    square = np.sqrt(lam1 * s / mu)
    assert cost(U * np.sqrt(square), V * np.sqrt(square), s / square) == pytest.approx(bound, rel=1e-13)
    for _ in range(2000):
        Q = rng.standard_normal((3, 3))
        A, B = U * s @ Q, V @ np.linalg.inv(Q).T
        sizes = np.exp(rng.standard_normal((2, 3)))
        assert cost(A * sizes[0], B * sizes[1], 1 / (sizes[0] * sizes[1])) >= bound


def test_penalty_without_size_control_is_vacuous():
    p = ls.Problem(Denoising(np.eye(3)), 2, 0.0, adapter=SoRA(1.0))
    theta = np.random.default_rng(0).standard_normal(p.size)
    X, penalty = p.update(theta), p.adapter.penalty(theta, p.shape, 2)
    scaled = np.concatenate([10 * theta[:12], theta[12:] / 100])
    np.testing.assert_allclose(p.update(scaled), X, atol=1e-13)
    assert p.adapter.penalty(scaled, p.shape, 2) == pytest.approx(penalty / 100)


@pytest.mark.parametrize("weight", [0.3, 1.0, 2.0])
def test_half_threshold_against_a_grid(weight):
    grid = np.linspace(0, 6, 600_001)
    for sigma in np.linspace(0.05, 5.5, 40):
        values = 0.5 * (grid - sigma) ** 2 + weight * np.sqrt(grid)
        x = float(sora.half_threshold([sigma], weight)[0])
        assert 0.5 * (x - sigma) ** 2 + weight * np.sqrt(x) <= values.min() + 1e-12
    edge = 1.5 * weight ** (2 / 3)
    assert sora.half_threshold([edge * (1 - 1e-9)], weight)[0] == 0.0
    assert sora.half_threshold([edge * (1 + 1e-9)], weight)[0] == pytest.approx(weight ** (2 / 3), rel=1e-6)


@pytest.mark.parametrize(("rank", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_the_number_of_gates_kept_is_checked(rank, error):
    T = np.diag([4.0, 3.0, 2.0])
    with pytest.raises(error, match="rank: expected an integer >= 0"):
        sora.half_threshold_optimum(T, 0.5, 0.1, rank)
    for k in range(5):
        assert sora.half_threshold_optimum(T, 0.5, 0.1, k).gates == min(k, 3)


def test_ridge_sora_reaches_the_closed_form_from_the_svd_and_not_from_the_lora_start():
    T = with_spectrum(np.linspace(4.0, 0.1, 12))
    optimum = sora.half_threshold_optimum(T, 0.5, 0.1)
    p = ls.Problem(Denoising(T), 12, 0.1, adapter=SoRA(0.5))
    stop = ls.StoppingRule(max_iter=20_000, grad_tol=1e-8)
    U, _, Vt = np.linalg.svd(T, full_matrices=False)
    # the start of the closed form's own components, other gates with columns of no size
    kept = np.arange(12) < optimum.gates
    A, B = U[:, :12] * np.where(kept, 2.0, 0.0), Vt[:12].T * np.where(kept, 2.0, 0.0)
    informed = ls.solve(p, "proximal_gd", init=(A, B), stop=stop)
    assert informed.fun == pytest.approx(optimum.fun, rel=1e-9)
    assert sora.open_gates(informed) == optimum.gates
    np.testing.assert_allclose(informed.X, optimum.X, atol=1e-5)
    lora = ls.solve(p, "proximal_gd", stop=stop)
    assert lora.fun > optimum.fun + 1e-2
    assert sora.open_gates(lora) != optimum.gates


def test_unit_column_sora_with_revival_is_the_nuclear_norm():
    T = with_spectrum(np.linspace(4.0, 0.1, 12))
    lam1, r = 0.8, 10
    rng = np.random.default_rng(3)
    start = (rng.standard_normal((20, r)), rng.standard_normal((16, r)))
    p = ls.Problem(Denoising(T), r, 0.0, adapter=SoRA(lam1, "unit_columns"))
    stop = ls.StoppingRule(20_000, 1e-9)
    result = ls.solve(p, "proximal_gd+revive", init=start, stop=stop)
    convex = ls.solve_convex(ls.Problem(Denoising(T), r, lam1), route="prox")
    assert result.success
    assert result.fun == pytest.approx(convex.fun, rel=1e-8)
    np.testing.assert_allclose(result.X, convex.X, atol=1e-3)
    assert sora.open_gates(result) == np.sum(np.linspace(4.0, 0.1, 12) > lam1)


@pytest.mark.parametrize("size", [0.3, 0.8, 3.0])
def test_revival_of_unit_columns_reaches_the_optimum_whatever_the_size_of_the_columns(size):
    M, penalty = np.random.default_rng(0).standard_normal((8, 6)), 2.5
    p = ls.Problem(Denoising(M), 4, 0.0, adapter=SoRA(penalty, "unit_columns"))
    end = ls.solve(p, f"proximal_gd+revive:size={size}~gaussian", stop=ls.StoppingRule(20_000, 1e-9))
    sigma = np.linalg.svd(M, compute_uv=False)
    kept = np.maximum(sigma - penalty, 0.0)
    assert end.success
    assert end.fun == pytest.approx(0.5 * np.sum((kept - sigma) ** 2) + penalty * kept.sum(), rel=1e-8)


@pytest.mark.parametrize(("size", "opens"), [(0.9, False), (1.1, True)])
def test_without_unit_columns_the_size_decides_whether_a_gate_opens(size, opens):
    # At X = 0 the gate's gradient is -size^2 ||T||_2.
    p = ls.Problem(Denoising(np.diag([3.0, 2.0, 0.0])), 1, 0.01, adapter=SoRA(3.0))
    theta = np.concatenate([np.ones(6), [0.0]])
    stage = Stage(p, theta)
    assert (Revive(size=size).transition(stage, np.random.default_rng(0)) is not stage) == opens


@pytest.mark.parametrize(("factor", "empty"), [(1.01, True), (0.99, False)])
def test_no_gate_is_globally_right_exactly_when_the_gradient_is_below_the_penalty(factor, empty):
    T = with_spectrum([3.0, 2.0, 1.0])
    rng = np.random.default_rng(0)
    start = (rng.standard_normal((20, 3)), rng.standard_normal((16, 3)))
    p = ls.Problem(Denoising(T), 3, 0.0, adapter=SoRA(3.0 * factor, "unit_columns"))
    end = ls.solve(p, "proximal_gd+revive", init=start, stop=ls.StoppingRule(5000, 1e-9))
    assert (sora.open_gates(end) == 0) == empty


def test_the_released_training_leaves_all_gates_or_none_on_the_seeds_tried():
    rows = sora.trained_as_released([0.9, 1.5], 3)
    assert [optimal for _, _, optimal in rows] == [int(np.sum(np.linspace(4.0, 0.1, 12) > p)) for p in (0.9, 1.5)]
    assert set(rows[0][1]) == {0, 12}  # which of the two depends on the seed
    assert set(rows[1][1]) == {0}


def test_runs_that_came_to_rest_pay_the_least_that_their_updates_cost_and_no_run_pays_less():
    """The Schatten-1/2 penalty of what half-thresholding leaves: 2 sqrt(0.05) sum sqrt(x)."""
    runs = sora.rank_selection(1)
    ((fun, _, informed),), ((_, _, lora),) = runs["singular vectors"], runs["lora start"]
    sigma = np.linspace(4.0, 0.1, 12)
    x = sora.half_threshold(sigma, 2 * np.sqrt(0.05))
    paid = fun - 0.5 * np.sum((x - sigma) ** 2)
    assert paid == pytest.approx(2 * np.sqrt(0.05) * np.sum(np.sqrt(x)), rel=1e-9)
    assert abs(informed) < 1e-9 and 0.0 < lora < 1e-3


FOUND = {
    "optimum": {"fun": 1.0, "gates": 9, "local": 1.5, "open": 10},
    "runs": {"lora start": [(1.51, 10, 1e-4)], "singular vectors": [(1.0, 9, 0.0)]},
    "convex": [0.0],
    "rescaled": {"left": 1e-4, "moved": 1e-16},
    "curve": [(0.1, 12, 1.0, 1.0), (1.0, 4, 2.0, 1.0)],
    "dead_zone": (2.0, 1.0),
    "released": [(0.9, [12, 0], 9), (2.0, [0, 0], 6)],
}


def ends(lora, informed=(1.0, 9), paid=0.0):
    return {"runs": {"lora start": [(*lora, paid)], "singular vectors": [(*informed, 0.0)]}}


@pytest.mark.parametrize(
    ("changed", "refuted"),
    [
        ({}, []),
        (ends((1.51, 10), (0.9, 9)), [0]),  # below the optimum
        (ends((1.51, 10), paid=0.01), [0]),  # gates and factors of other sizes than the update needs
        (ends((1.51, 10), paid=-0.01), [0]),  # cheaper than the least
        ({"convex": [0.0, float("nan")]}, [0]),
        ({"rescaled": {"left": 1.0, "moved": 0.0}}, [0]),
        ({"rescaled": {"left": 1e-4, "moved": 0.1}}, [0]),
        (ends((2.0, 10)), [1]),  # on its way
        (ends((1.0, 10)), [1]),
        (ends((1.51, 12)), [1]),
        ({"curve": [(0.1, 12, 1.0, 1.0), (1.0, 4, 1.0, 1.0)]}, [3]),  # sparsity for nothing
    ],
)
def test_each_half_of_a_claim_is_judged(changed, refuted):
    claims = sora.SoRAClaims().judge(FOUND | changed)
    assert [k for k, claim in enumerate(claims) if not claim.holds] == refuted


@pytest.mark.parametrize(
    ("runs", "holds"),
    [
        ([(1.51, 10), (1.51, 10), (1.02, 9)], True),  # one that closes what the optimum closes
        ([(1.51, 10), (1.51, 10), (0.9, 9)], False),  # below the optimum
        ([(1.51, 10), (1.02, 9), (1.02, 9)], False),  # most choose as the optimum does
        ([(1.51, 10), (1.51, 10), (float("nan"), 9)], False),
    ],
)
def test_the_choice_of_the_rank_is_judged_by_most_runs(runs, holds):
    """Of twenty seeds one closes the tenth gate: the claim was called not reproduced because of it."""
    found = FOUND | {"runs": FOUND["runs"] | {"lora start": [(*run, 0.0) for run in runs]}}
    assert sora.SoRAClaims().judge(found)[1].holds == holds


@pytest.mark.parametrize("weight", [0.3, 1.0, 2.0])
def test_local_minimisers_are_where_values_on_a_grid_have_a_positive_minimum(weight):
    grid = np.linspace(1e-3, 6, 60_001)
    edge = 3 * (weight / 4) ** (2 / 3)
    for sigma in [*np.linspace(0.05, 5.5, 40), edge * 0.99, edge * 1.02]:
        values = 0.5 * (grid - sigma) ** 2 + weight * np.sqrt(grid)
        lowest = grid[1:-1][(values[1:-1] < values[:-2]) & (values[1:-1] < values[2:])]
        assert sora.local_minimisers([sigma], weight)[0] == pytest.approx(*lowest if lowest.size else [0.0], abs=1e-4)


@pytest.mark.parametrize(
    ("rows", "holds"),
    [
        ([(0.9, [12, 0], 9), (2.0, [0, 0], 6)], True),
        ([(0.9, [12, 5], 9), (2.0, [0, 0], 6)], False),
        ([(0.9, [0, 0], 9), (2.0, [0, 0], 6)], False),  # gates that are always closed
        ([(0.9, [12, 12], 9), (2.0, [0, 12], 6)], False),
        # Above the largest value and below the least the optimum has no gate, or all: others that a user asks for.
        ([(100.0, [0, 0], 0), (0.9, [12, 0], 9), (2.0, [0, 0], 6), (0.01, [12, 12], 12)], True),
        ([(100.0, [0, 0], 0), (0.9, [12, 5], 9), (2.0, [0, 0], 6)], False),
    ],
)
def test_the_verdict_on_the_released_training_follows_from_every_seed(rows, holds):
    found = FOUND | {"released": rows}
    (claim,) = (claim for claim in sora.SoRAClaims().judge(found) if "AdamW" in claim.statement)
    assert claim.holds == holds


def test_revival_leaves_the_update_and_opens_on_the_largest_residual():
    T = np.diag([3.0, 2.0, 0.0])
    adapter = SoRA(0.1)
    p = ls.Problem(Denoising(T), 2, 0.01, adapter=adapter)
    theta = np.concatenate([np.array([[1.7, 0], [0, 0], [0, 0]]).ravel()] * 2 + [[1.0, 0.0]])
    seeded = revived(p.objective, adapter, theta, 2, 1.0, 0.1)
    np.testing.assert_array_equal(p.update(seeded), p.update(theta))
    grad = np.empty_like(theta)
    p.value_and_grad(seeded, grad)
    assert grad[-1] == pytest.approx(-2.0)  # minus the largest singular value of the residual
    assert revived(p.objective, adapter, theta, 2, 1.0, 2.1) is None


def test_memorisation_is_told_from_the_distance_to_what_is_clean():
    """No update is left by the largest penalty: the losses are the halves of the squared norms."""
    rng = np.random.default_rng(7)
    clean = rng.standard_normal((20, 3)) @ rng.standard_normal((3, 16))
    noisy = clean + 0.7 * rng.standard_normal((20, 16))
    _, (_, gates, training, test) = sora.memorisation([1.0, 1e6], 7)
    assert gates == 0
    assert (training, test) == pytest.approx((0.5 * np.sum(noisy**2), 0.5 * np.sum(clean**2)), rel=1e-6)


def test_half_thresholds_are_numbers_at_the_edge_and_at_any_size():
    """From its edge on there is a stationary point, a third of the edge there, and none is moved without a penalty."""
    for weight in np.random.default_rng(0).uniform(0.0, 5.0, 2000):
        edge = 3.0 * (0.25 * weight) ** (2 / 3)
        above = np.nextafter(edge, np.inf)
        assert sora.local_minimisers([above], weight)[0] == pytest.approx(edge / 3, rel=1e-6)
    np.testing.assert_allclose(sora.half_threshold([1e-250, 1e-100, 1.0], 0.0), [1e-250, 1e-100, 1.0], rtol=1e-15)
