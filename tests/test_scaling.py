"""Data in other units are the same problem: every answer is the same, up to the units."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve import landscape
from lorasolve.multi import MultiProblem, Separable, TwoLayerPair
from lorasolve.objectives import (
    Denoising,
    LinearFineTuning,
    MatrixCompletion,
    MatrixSensing,
    Objective,
    Softmax,
)
from lorasolve.optimizers import GD, Adam

UNITS = [1e-9, 1e9]
GRADIENT = ["gd", "gd_backtracking", "heavy_ball", "nesterov", "scaled_gd", "lora_pro", "proximal_gd"]
METHODS = [*GRADIENT, "lbfgs", "trust_ncg"]
# These two take thousands of iterations to converge; their first ones are compared.
SLOW = ["lora_plus", "adam"]
STOP, SHORT = ls.StoppingRule(max_iter=5000), ls.StoppingRule(max_iter=300)


class InUnits(Objective):
    """``c f(X/t)``, with what is known about ``f`` in the same units."""

    def __init__(self, inner, c, t):
        self.inner, self.c, self.t = inner, c, t
        self.shape, self.dtype = inner.shape, inner.dtype
        self.convex = inner.facts.convex
        self.has_hessian = inner.facts.has_hessian
        self.lower_bound = None if inner.facts.lower_bound is None else c * inner.facts.lower_bound
        self.smoothness = None if inner.facts.smoothness is None else c / t**2 * inner.facts.smoothness

    def value_and_grad(self, X):
        f, G = self.inner.value_and_grad(X / self.t)
        return self.c * f, self.c / self.t * G

    def hessian_product(self, X, D):
        return self.c / self.t**2 * self.inner.hessian_product(X / self.t, D)


class UserLoss(Objective):
    """A smooth non-quadratic loss that states nothing and has no Hessian products."""

    shape = (6, 5)
    M = np.random.default_rng(8).standard_normal((6, 2)) @ np.random.default_rng(9).standard_normal((2, 5))

    def value_and_grad(self, X):
        R = X - self.M
        root = np.sqrt(1.0 + R**2)
        return float(np.sum(root)), R / root


def _sensing(maps, X):
    return MatrixSensing(maps, np.einsum("kij,ij->k", maps, X)), 2.0


def _objectives():
    rng = np.random.default_rng(0)
    g = rng.standard_normal
    low = 3.0 * g((6, 2)) @ g((2, 5))
    rows, cols = np.nonzero(np.ones((6, 5)) - np.eye(6, 5))
    return {
        "denoising": (Denoising(low + 0.1 * g((6, 5))), 0.5),
        "linear": (LinearFineTuning(g((6, 5)), g((5, 40)), g((6, 40))), 0.1),
        "sensing": _sensing(g((90, 6, 5)), low),
        "completion": (MatrixCompletion(rows, cols, low[rows, cols], (6, 5)), 0.8),
        "softmax": (Softmax(g((6, 5)), g((5, 60)), rng.integers(0, 6, 60)), 0.05),
        "user": (UserLoss(), 0.3),
    }


OBJECTIVES = _objectives()
# What is left of a power of both units shows at two of these at least.
CELLS = [(c, t) for c in UNITS for t in UNITS]


def problem_in(name, c, t):
    objective, lam = OBJECTIVES[name]
    return ls.Problem(InUnits(objective, c, t), 3, c / t * lam)


def start_in(t, seed=1, size=0.5):
    rng = np.random.default_rng(seed)
    return tuple(size * math.sqrt(t) * rng.standard_normal((k, 3)) for k in (6, 5))


def in_units(method, c, t):
    """Adam's two constants are lengths of a step and of a gradient, so they change with the units."""
    if method == "adam":
        return ls.Method(Adam(0.05 * math.sqrt(t), eps=1e-8 * c / math.sqrt(t)), "cosine")
    return method


def far(X, Y):
    return float(np.linalg.norm(X - Y) / np.linalg.norm(Y))


@pytest.mark.parametrize("method", [*METHODS, *SLOW])
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_a_run_is_the_same_in_all_units(name, method):
    stop = SHORT if method in SLOW else STOP
    plain = ls.solve(problem_in(name, 1.0, 1.0), in_units(method, 1.0, 1.0), start_in(1.0), stop=stop)
    if method not in SLOW:
        assert plain.status is ls.Status.CONVERGED and plain.nit > 3
    for c, t in CELLS:
        run = ls.solve(problem_in(name, c, t), in_units(method, c, t), start_in(t), stop=stop)
        assert run.status is plain.status, (c, t)
        assert abs(run.nit - plain.nit) <= 2, (c, t)
        assert far(run.X / t, plain.X) < 1e-6, (c, t)
        assert run.fun / c == pytest.approx(plain.fun, rel=1e-9), (c, t)


def data_in(name, unit):
    """Return a problem with its data in other units: the update is measured in them, the loss in their square."""
    rng = np.random.default_rng(5)
    g = rng.standard_normal
    low = g((6, 2)) @ g((2, 5))
    rows, cols = np.nonzero(np.ones((6, 5)) - np.eye(6, 5))
    Z, maps = g((5, 40)), g((90, 6, 5))
    Y = (low + np.ones((6, 5))) @ Z + 0.1 * g((6, 40))
    objective, lam = {
        "denoising": lambda: (Denoising(unit * low), 0.3),
        "linear": lambda: (LinearFineTuning(unit * np.ones((6, 5)), Z, unit * Y), 0.1),
        "sensing": lambda: (MatrixSensing(maps, unit * np.einsum("kij,ij->k", maps, low)), 0.3),
        "completion": lambda: (MatrixCompletion(rows, cols, unit * low[rows, cols], (6, 5)), 0.3),
    }[name]()
    return ls.Problem(objective, 3, unit * lam)


@pytest.mark.parametrize("name", ["denoising", "linear", "sensing", "completion"])
@pytest.mark.parametrize("method", ["gd", "als", "lbfgs", "gd:step"])
def test_data_in_other_units(name, method):
    """The compiled loops, the batched ones and the closed forms, on data of 1e-9 to 1e9."""

    def run(unit, engine="compiled"):
        problem = data_in(name, unit)
        # The curvature in the factors has the units of the data.
        step = (0.12 if name == "linear" else 0.03) / unit
        chosen = ls.optimizers.GD(step_size=step) if method == "gd:step" else method
        if engine == "batch":
            return ls.solve_batch(problem, chosen, [start_in(unit)] * 2, stop=STOP).result(1)
        return ls.solve(problem, chosen, start_in(unit), stop=STOP, engine=engine)

    plain = run(1.0)
    assert plain.status is ls.Status.CONVERGED and plain.nit > 3
    engines = {"als": ["compiled"], "gd:step": ["compiled", "interpreted", "batch"]}.get(
        method, ["compiled", "interpreted"]
    )
    for unit in UNITS:
        for engine in engines:
            result = run(unit, engine)
            assert result.status is plain.status, (unit, engine)
            assert abs(result.nit - plain.nit) <= 2, (unit, engine)
            assert far(result.X / unit, plain.X) < 1e-6, (unit, engine)


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_verdicts_are_the_same_in_all_units(name):
    def kinds(c, t):
        problem = problem_in(name, c, t)
        start = start_in(t)
        far_off = ls.solve(problem, "gd", start, stop=ls.StoppingRule(max_iter=5))
        end = ls.solve(problem, "lbfgs", start)
        # One column less, then a column of zeros: a saddle point where the missing rank is wanted.
        less = ls.solve(problem.replace(rank=1), "lbfgs", tuple(part[:, :1] for part in start))
        padded = tuple(np.pad(part, ((0, 0), (0, 2))) for part in (less.A, less.B))
        zero = tuple(np.zeros((k, 3)) for k in (6, 5))
        out = landscape.escape(problem, zero)
        assert out.fun / c == pytest.approx(end.fun / c, rel=1e-8)
        points = [(far_off.A, far_off.B), (end.A, end.B), padded, zero]
        verdicts = [landscape.verdict(problem, point) for point in points]
        assert not any(verdict.contradictions for verdict in verdicts)
        seconds = [landscape.second_order(problem, *point) for point in points[1:]]
        return [str(verdict.kind) for verdict in verdicts], [bool(second.is_sosp) for second in seconds]

    plain = kinds(1.0, 1.0)
    assert plain[0][0] == "not_converged" and plain[0][1] in ("global", "inconclusive")
    assert plain[0][2:] == ["saddle", "saddle"]
    for c, t in CELLS:
        assert kinds(c, t) == plain, (c, t)


@pytest.mark.parametrize("route", ["factored", "prox"])
@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "user"])
def test_convex_optima_are_the_same_in_all_units(name, route):
    plain = ls.solve_convex(problem_in(name, 1.0, 1.0), route=route)
    for c, t in CELLS:
        optimum = ls.solve_convex(problem_in(name, c, t), route=route)
        assert optimum.fun / c == pytest.approx(plain.fun, rel=2e-9), (c, t)
        assert optimum.gap / c <= 1e-9 * max(plain.fun, OBJECTIVES[name][0].value_and_grad(np.zeros((6, 5)))[0]), (c, t)
        assert far(optimum.X / t, plain.X) < 1e-4, (c, t)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lam", [1.05, 2.0, 30.0])
def test_runs_whose_optimum_is_zero_converge_in_all_units(method, lam):
    """Above the critical decay theta tends to 0 and the terms of the gradient never cancel."""
    M = np.random.default_rng(3).standard_normal((6, 5))
    M /= np.linalg.norm(M, 2)
    iterations = []
    for c, t in [(1.0, 1.0), *CELLS]:
        problem = ls.Problem(InUnits(Denoising(M), c, t), 3, c / t * lam)
        result = ls.solve(problem, method, start_in(t), stop=STOP)
        assert result.status is ls.Status.CONVERGED, (c, t)
        # The rule: grad <= 1e-8 g theta_0; and the smallest curvature at 0 is (lam - 1) c/t.
        slope = (lam + 1.0) * c / t
        natural = math.sqrt((lam + 1.0) * t)
        assert np.linalg.norm(result.theta) <= 1.01e-8 * slope * natural / ((lam - 1.0) * c / t), (c, t)
        assert ls.solve(problem, method, result, stop=STOP).nit == 0
        iterations.append(result.nit)
    assert max(iterations) - min(iterations) <= 2


@pytest.mark.parametrize("size", [1e-3, 1e-9, 1e-20])
@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_small_factors_are_no_solution_below_the_critical_decay(size, lam):
    """At theta ~ 0 the gradient is as small as one likes, and the point is a saddle."""
    problem = ls.Problem(Denoising(np.diag([3.0, 2.0, 1.0])), 2, lam)
    start = tuple(size * np.random.default_rng(k).standard_normal((3, 2)) for k in (1, 2))
    for method in METHODS:
        result = ls.solve(problem, method, start)
        assert result.status is ls.Status.CONVERGED and result.nit > 5, method
        assert_allclose(np.linalg.svd(result.X)[1], [3.0 - lam, 2.0 - lam, 0.0], atol=1e-6, err_msg=method)


@pytest.mark.parametrize("name", list(OBJECTIVES))
@pytest.mark.parametrize("method", ["gd", "lbfgs", "nesterov"])
def test_what_has_converged_has_converged(name, method):
    """The rule does not depend on the start: from a far start and from the end of another run it is the same."""
    problem = problem_in(name, 1.0, 1.0)
    for start in (start_in(1.0), start_in(1.0, size=5.0), start_in(1.0, size=1e-4)):
        result = ls.solve(problem, method, start, stop=ls.StoppingRule(max_iter=20_000))
        assert result.status is ls.Status.CONVERGED
        again = ls.solve(problem, "gd", result)
        assert again.status is ls.Status.CONVERGED and again.nit == 0


def test_the_rule_is_what_it_says():
    """||grad L|| <= tol (lam + s ||G(0)||_2) ||theta||, every term by hand."""
    M = np.random.default_rng(4).standard_normal((6, 5))
    problem = ls.Problem(Denoising(M), 3, 0.7, ls.adapters.LoRA(alpha=6.0))
    slope = 0.7 + 2.0 * np.linalg.norm(M, 2)
    assert 0.95 * slope <= problem.units.slope <= slope * (1.0 + 1e-12)
    assert problem.units.floor == 0.0
    start = start_in(1.0)
    for tol in (1e-2, 1e-5, 1e-9):
        shares = []

        def watch(point, shares=shares):
            G = 2.0 * point.A @ point.B.T - M
            grad = [2.0 * G @ point.B + 0.7 * point.A, 2.0 * G.T @ point.A + 0.7 * point.B]
            norm, size = (math.hypot(*map(np.linalg.norm, parts)) for parts in (grad, (point.A, point.B)))
            shares.append(norm / (problem.units.slope * size))

        result = ls.solve(problem, "gd", start, stop=ls.StoppingRule(grad_tol=tol), callback=watch)
        assert result.status is ls.Status.CONVERGED
        assert shares[-1] <= tol < min(shares[:-1])


@pytest.mark.parametrize("size", [1e-9, 1e-6, 1e6, 1e9])
@pytest.mark.parametrize("method", [*METHODS, "als", "adam", "gd:step_size={}"])
def test_without_decay_no_run_has_converged_where_factors_of_different_lengths_hide_a_gradient(method, size):
    """The start does not scale with the data; what has converged is the best approximation of rank 2."""
    M = np.random.default_rng(0).standard_normal((8, 6))
    best = 0.5 * float((np.linalg.svd(M, compute_uv=False)[2:] ** 2).sum())
    problem = ls.Problem(Denoising(size * M), 2, 0.0)
    method = method.format(0.1 / max(size, 1.0))
    alone = ls.solve(problem, method, stop=STOP)
    batched = ls.solve_batch(problem, method, stop=STOP).result(0)
    for run in (alone, batched):
        assert not run.success or run.fun / size**2 == pytest.approx(best, rel=1e-6)
    assert batched.status is alone.status and batched.fun == pytest.approx(alone.fun, rel=1e-9, abs=0.0)


def test_of_the_gradient_of_the_shorter_factor_nothing_is_hidden_by_the_longer_one():
    """With A of length 1, B of length 1e9 and G of length 1, ``||G^T A||`` is 1e-9 of ``||theta||``, and all of G."""

    class Line(Objective):
        """``(x - 1)^2/2`` of the first entry; the second changes nothing."""

        shape, convex, lower_bound, smoothness = (2, 2), True, 0.0, 1.0

        def value_and_grad(self, X):
            G = np.zeros((2, 2))
            G[0, 0] = X[0, 0] - 1.0
            return 0.5 * G[0, 0] ** 2, G

    problem = ls.Problem(Line(), 1)
    start = np.array([[1.0], [0.0]]), np.array([[0.0], [1e9]])
    assert ls.solve(problem, "gd", init=start, stop=ls.StoppingRule(max_iter=1)).status is ls.Status.ITERATION_LIMIT
    there = np.array([[1.0], [0.0]]), np.array([[1.0], [1e9]])
    assert ls.solve(problem, "gd", init=there, stop=ls.StoppingRule(max_iter=1)).status is ls.Status.CONVERGED


@pytest.mark.parametrize("ratio", [1e-8, 1e-4, 1e4, 1e8])
@pytest.mark.parametrize("lam", [1e-12, 1e-6])
def test_a_point_whose_factors_hide_a_gradient_is_not_judged_as_a_stationary_one(lam, ratio):
    """A is given and B the best for it, so that ``G^T A = 0``; ``G B`` is no small part of ``||G|| ||B||``."""
    rng = np.random.default_rng(1)
    M = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 5))
    A = rng.standard_normal((6, 2))
    B = np.linalg.lstsq(A, M, rcond=None)[0].T
    G = A @ B.T - M
    assert np.linalg.norm(G.T @ A) < 1e-12 and np.linalg.norm(G @ B) > 0.1 * np.linalg.norm(G) * np.linalg.norm(B)
    problem = ls.Problem(Denoising(M), 2, lam)
    found = landscape.verdict(problem, (A / ratio, B * ratio))
    assert found.kind == "not_converged" and not found.stationarity.is_fosp
    assert next(premise for premise in found.premises if premise.id == "first_order").holds is False


def _two_matrices(c, t, share):
    """Denoising of two matrices, the second in other units, each with the least value and the size of its decrease."""
    first, second = (np.random.default_rng(k).standard_normal(shape) for k, shape in ((5, (8, 7)), (6, (7, 6))))
    lam = share * min(np.linalg.norm(M, 2) * slope for M, slope in ((first, 1.0), (second, c / t)))
    problem = MultiProblem(Separable([Denoising(first), InUnits(Denoising(second), c, t)]), [7, 6], lam)
    known = []
    for M, c_own, t_own in ((first, 1.0, 1.0), (second, c, t)):
        s, weight = np.linalg.svd(M, compute_uv=False), lam * t_own / c_own
        z = np.maximum(s - weight, 0.0)
        least = c_own * (0.5 * np.sum((z - s) ** 2) + weight * np.sum(z))
        known.append((least, 0.5 * c_own * np.sum(s**2) - least))
    return problem, known


@pytest.mark.parametrize("share", [0.0, 0.1])
@pytest.mark.parametrize(
    ("c", "t"), [(1.0, 1e-8), (1.0, 1e8), (1e-4, 1e4), (1e4, 1e-4), (1e-8, 1.0), (1e8, 1.0), (1e8, 1e4), (1e-4, 1.0)]
)
@pytest.mark.parametrize("method", ["lbfgs", "nesterov"])
def test_of_several_matrices_in_different_units_none_is_hidden_by_the_others(method, c, t, share):
    """Soft thresholding of each is the optimum; what has converged has all of the decrease of every matrix."""
    problem, known = _two_matrices(c, t, share)
    result = ls.solve(problem, method, stop=ls.StoppingRule(max_iter=1500))
    values = [
        part.value_and_grad(X)[0] + problem.lam * np.linalg.svd(X, compute_uv=False).sum()
        for part, X in zip(problem.objective.parts, result.X)
    ]
    missing = [(value - least) / decrease for value, (least, decrease) in zip(values, known)]
    assert not result.success or max(missing) < 1e-6
    assert max(missing) < 1e-3 or not landscape.verdict(problem, result).stationarity.is_fosp


@pytest.mark.parametrize("c", [0.01, 0.1, 10.0, 100.0])
def test_lbfgs_works_in_the_units_of_each_of_several_matrices(c):
    """With ``c`` times the second loss the problem is about as hard as with the loss itself."""
    first, second = _two_matrices(1.0, 1.0, 0.0)[0].objective.parts
    calls = {}
    for factor in (1.0, c):
        problem = MultiProblem(Separable([first, InUnits(second, factor, 1.0)]), [7, 6])
        result = ls.solve(problem, "lbfgs")
        assert result.success and result.fun < 1e-12 * problem.value_at_zero
        calls[factor] = result.nfev
    assert calls[c] < 2 * calls[1.0]


@pytest.mark.parametrize("seed", [1, 3])
def test_units_of_each_matrix_keep_a_problem_in_single_precision(seed):
    """Trust radii in double would shrink through hundreds of steps that the factors do not show."""
    targets = (factor * np.random.default_rng(2 * seed + k).standard_normal((9, 8)) for k, factor in enumerate((1, 10)))
    parts = [Denoising(target.astype(np.float32)) for target in targets]
    result = ls.solve(MultiProblem(Separable(parts), [3, 3], 0.1), "trust_ncg")
    least = 0.0
    for part in parts:
        s = np.linalg.svd(part.M.astype(np.float64), compute_uv=False)
        z = np.where(np.arange(s.size) < 3, np.maximum(s - 0.1, 0.0), 0.0)
        least += 0.5 * np.sum((s - z) ** 2) + 0.1 * np.sum(z)
    assert result.fun == pytest.approx(least, rel=1e-5) and result.nit < 100


def test_a_matrix_that_tends_to_zero_beside_another_converges():
    """The optimum of the first is zero, with and without a stated smoothness."""
    stated, other = Denoising(0.01 * np.eye(6, 5)), Denoising(np.diag([5.0, 4.0, 3.0]))
    silent = InUnits(stated, 1.0, 1.0)
    silent.smoothness = None
    for first in (stated, silent):
        result = ls.solve(MultiProblem(Separable([first, other]), [2, 2], 1.0), "gd_backtracking")
        assert result.success and np.linalg.norm(result.X[0]) < 1e-8
        assert_allclose(np.linalg.svd(result.X[1])[1], [4.0, 3.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_what_one_of_several_matrices_is_held_against_is_its_own(order):
    """The first tends to 0, the second is far from its optimum in large units, the third in its optimum and huge."""
    huge = 1e12
    parts = [InUnits(Denoising(0.01 * np.eye(4)), 1.0, 1.0), Denoising(np.diag([3.0, 2.0, 0.0, 0.0]))]
    parts.append(Denoising(np.diag([huge, 1.0, 1.0, 1.0])))
    parts[0].smoothness = None
    tiny, far, end = 1e-3 * np.eye(4, 1), np.eye(4, 1)[::-1], math.sqrt(huge - 1.0) * np.eye(4, 1)
    for second, hidden in ((far, True), (math.sqrt(2.0) * np.eye(4, 1), False)):
        factors = [(tiny, tiny), (second, second), (end, end)]
        problem = MultiProblem(Separable([parts[k] for k in order]), 1, 1.0)
        found = landscape.stationarity(problem, *zip(*[factors[k] for k in order]))
        assert found.grad_norm < found.limit and found.is_fosp is not hidden


def _soft_thresholded(matrices, lam):
    """Balanced factors of each matrix with its singular values less ``lam``, in units of its own."""
    for M, t in matrices:
        U, s, Vt = np.linalg.svd(M, full_matrices=False)
        root = np.sqrt(np.maximum(s * t - lam, 0.0))
        yield U * root, Vt.T * root


@pytest.mark.parametrize(("c", "t"), [(1e-4, 1e-8), (1e4, 1e8)])
@pytest.mark.parametrize("off", [0, 1])
def test_matrices_whose_slopes_and_lengths_make_up_for_each_other_hide_nothing(c, t, off):
    """Factors 1e4 as long with 1e-4 of the slope: terms of the same size, held against a product 1e4 as large."""
    first, second = (np.random.default_rng(k).standard_normal(shape) for k, shape in ((5, (8, 7)), (6, (7, 6))))
    problem = MultiProblem(Separable([Denoising(first), InUnits(Denoising(second), c, t)]), [7, 6], 0.0)
    factors = list(_soft_thresholded([(first, 1.0), (second, t)], 0.0))
    assert landscape.stationarity(problem, *zip(*factors)).is_fosp
    A, B = factors[off]
    factors[off] = 1.003 * A, B
    assert not landscape.stationarity(problem, *zip(*factors)).is_fosp


def test_a_matrix_that_only_seems_to_tend_to_zero_is_not_measured_by_its_natural_size():
    """Near the saddle point at 0: a norm of 1.005 lam that 29 values of 0.99 lam hide from power iteration."""
    first, second = np.diag([1.005] + [0.99] * 29), np.diag([100.0, 50.0])
    near = 1e-3 * np.eye(30, 1)
    assert not landscape.stationarity(ls.Problem(Denoising(first), 1, 1.0), near, near).is_fosp
    problem = MultiProblem(Separable([Denoising(first), Denoising(second)]), [1, 2], 1.0)
    (optimum,) = _soft_thresholded([(second, 1.0)], 1.0)
    assert not landscape.stationarity(problem, *zip((near, near), optimum)).is_fosp
    zero = np.zeros((30, 1))
    assert landscape.stationarity(problem, *zip((zero, zero), optimum)).is_fosp


@pytest.mark.parametrize(("size", "stationary"), [(1e-4, False), (1e-9, True)])
def test_a_matrix_that_tends_to_zero_beside_a_long_one_is_judged_as_alone(size, stationary):
    little, large, near = 0.01 * np.eye(3, 2), np.diag([1e6, 5e5]), (size * np.eye(3, 1), size * np.eye(2, 1))
    assert landscape.stationarity(ls.Problem(Denoising(little), 1, 1.0), *near).is_fosp == stationary
    problem = MultiProblem(Separable([Denoising(little), Denoising(large)]), [1, 2], 1.0)
    (optimum,) = _soft_thresholded([(large, 1.0)], 1.0)
    assert landscape.stationarity(problem, *zip(near, optimum)).is_fosp == stationary


def test_of_a_matrix_that_changes_nothing_the_decay_alone_is_a_unit():
    """Its factors come to 0 with decay, and may be anything small without."""
    near, large = (1e-2 * np.eye(3, 1), 1e-2 * np.eye(2, 1)), np.diag([1e6, 5e5])
    parts = Separable([Denoising(np.zeros((3, 2))), Denoising(large)])
    for lam in (0.0, 1.0):
        (optimum,) = _soft_thresholded([(large, 1.0)], lam)
        assert landscape.stationarity(MultiProblem(parts, [1, 2], lam), *zip(near, optimum)).is_fosp == (lam == 0.0)


def test_a_short_factor_hides_nothing_where_every_matrix_has_one():
    """Of diag(5, 4) the first value is fitted; the second is in the gradient of the long factor alone."""
    M, long, short = np.diag([5.0, 4.0]), np.diag([1e4, 0.0]), np.diag([5e-4, 1e-3])
    assert not landscape.stationarity(ls.Problem(Denoising(M), 2), long, short).is_fosp
    problem = MultiProblem(Separable([Denoising(M), Denoising(M)]), [2, 2])
    assert not landscape.stationarity(problem, (long, long), (short, short)).is_fosp


def test_a_matrix_that_tends_to_zero_where_nothing_is_curved_is_measured_by_all_lengths():
    """No smoothness is stated, and with what is sampled at 0 all factors would be short beside the natural size."""

    class Quartic(Objective):
        def __init__(self, C):
            self.C, self.shape, self.convex = C, C.shape, True

        def value_and_grad(self, X):
            return float(np.sum(X**4) / 4 - np.sum(self.C * X)), X**3 - self.C

    problem = MultiProblem(Separable([Quartic(np.zeros((4, 3))), Quartic(np.diag([1e6 + 1, 8e6 + 1]))]), [1, 2], 1.0)
    optimum = np.diag(np.sqrt([100.0, 200.0]))  # where x^3 = c - lam
    for size, stationary in ((1e-8, True), (0.1, False)):
        near = size * np.eye(4, 1), size * np.eye(3, 1)
        assert landscape.stationarity(problem, *zip(near, (optimum, optimum))).is_fosp == stationary


def test_a_layer_whose_gradient_is_tiny_before_training_converges():
    """The second layer is 1e-9 at first, so the first one's gradient says nothing about its units in the end."""
    rng = np.random.default_rng(3)
    W, V = rng.standard_normal((6, 5)), 1e-9 * rng.standard_normal((3, 6))
    pair = TwoLayerPair(W, V, rng.standard_normal((5, 8)), rng.standard_normal((3, 8)))
    problem = MultiProblem(pair, [5, 3], 0.0)
    assert problem.units.slopes[0] < 1e-7 * problem.units.slopes[1]
    result = ls.solve(problem, "lbfgs", stop=ls.StoppingRule(max_iter=20_000))
    assert result.success and result.fun < 1e-12


def test_without_decay_and_gradient_at_zero_the_start_is_the_unit():
    """f(X) = ||X||^2/2 from c times a start: theta tends to 0 like 1/sqrt(k), and the share falls by theta^2."""
    problem = ls.Problem(Denoising(np.zeros((4, 3))), 2, 0.0)
    A, B = (np.random.default_rng(k).standard_normal((n, 2)) for k, n in ((1, 4), (2, 3)))
    stop = ls.StoppingRule(grad_tol=1e-3)
    ends = [ls.solve(problem, "gd", (size * A, size * B), stop=stop) for size in (1.0, 1e-4, 1e4)]
    assert {end.status for end in ends} == {ls.Status.CONVERGED}
    assert max(end.nit for end in ends) - min(end.nit for end in ends) <= 2
    batch = ls.solve_batch(problem, "gd:step_size=0.2", [(A, B)] * 2, stop=stop)
    alone = ls.solve(problem, "gd:step_size=0.2", (A, B), stop=stop)
    assert batch.compiled.all() and list(batch.nit) == [alone.nit] * 2


def test_float32_reaches_what_its_rounding_allows():
    f = Denoising(np.random.default_rng(4).standard_normal((6, 5)).astype(np.float32))
    for unit in UNITS:
        problem = ls.Problem(Denoising(np.float32(unit) * f.M), 3, 0.7 * unit)
        start = tuple(part.astype(np.float32) for part in start_in(unit))
        # Methods that compare values see the root of the rounding of L in their gradients.
        for method, tol in (("gd", 3e-4), ("nesterov", 3e-4), ("lbfgs", 1e-6)):
            end = ls.solve(problem, method, start, stop=ls.StoppingRule(grad_tol=tol))
            assert end.status is ls.Status.CONVERGED, (unit, method)
        assert ls.solve(problem, "gd", start, stop=ls.StoppingRule(grad_tol=1e-12)).status is ls.Status.STALLED


def test_units_of_a_loss_that_is_not_defined_at_zero():
    class Log(Objective):
        shape = (3, 2)
        smoothness = 10.0

        def value_and_grad(self, X):
            if not X.any():
                return math.nan, np.full(X.shape, math.nan)
            return 0.5 * float(np.sum((X - 1.0) ** 2)), X - 1.0

    problem = ls.Problem(Log(), 2, 0.1)
    assert problem.units == (0.0, 0.0, False, (0.0,), 0.0)
    assert ls.solve(problem, "gd_backtracking", "gaussian").status is ls.Status.CONVERGED


@pytest.mark.parametrize("method", ["gd@dora", "gd@softmax_gates", "proximal_gd@sora", "proximal_gd@sora:dead"])
def test_adapters_with_further_parameters_take_any_unit_of_the_loss(method):
    rng = np.random.default_rng(6)
    # A large penalty, and all gates die; the factors are then drawn to zero by their decay alone.
    penalty = 30.0 if method.endswith("dead") else 0.3
    # The others take long to converge; their first iterations are compared.
    stop = ls.StoppingRule(max_iter=20_000 if "sora" in method else 300, grad_tol=1e-6)
    target = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 5))
    start = tuple(rng.standard_normal((k, 3)) for k in (6, 5))

    def run(c):
        optimizer, _, name = method.partition("@")
        adapter = ls.adapters.SoRA(gate_penalty=c * penalty) if "sora" in name else name
        objective = LinearFineTuning(np.ones((6, 5)), math.sqrt(5.0 * c) * np.eye(5), math.sqrt(5.0 * c) * target)
        problem = ls.Problem(objective, 3, 0.5 * c, adapter)
        return ls.solve(problem, optimizer, start, stop=stop)

    plain = run(1.0)
    assert plain.status is ls.Status.CONVERGED or "sora" not in method
    assert plain.nit > 3
    assert bool(np.linalg.norm(plain.X) > 0.1) is not method.endswith("dead")
    for c in UNITS:
        result = run(c)
        assert result.status is plain.status, c
        assert abs(result.nit - plain.nit) <= 2, c
        assert np.linalg.norm(result.X - plain.X) <= 1e-6 * np.linalg.norm(target), c


class Quartic:
    """``f = sum X^4/4``: its curvature vanishes at 0 and nowhere else, and it states no smoothness."""

    shape = (3, 2)
    convex, lower_bound = True, 0.0

    def value_and_grad(self, X):
        return 0.25 * float(np.sum(X**4)), X**3


@pytest.mark.parametrize("method", ["gd", "scaled_gd", "lbfgs"])
def test_a_curvature_that_vanishes_at_zero_lends_no_tolerance(method):
    """The smoothness sampled at 0 would make the natural length, and with it the tolerance, as large as one likes."""
    problem = ls.Problem(Quartic(), 1, 1.0)
    result = ls.solve(problem, method, (np.zeros((3, 1)), np.ones((2, 1))))
    assert result.success
    assert result.grad_norm <= 1.01e-8 * math.sqrt(2.0) and np.linalg.norm(result.theta) <= 1e-7
    half_way = 1e-3 * np.ones((3, 1)), 1e-3 * np.ones((2, 1))
    assert not landscape.stationarity(problem, *half_way).is_fosp


# ---------------------------------------------------------------------- where squares leave the range of numbers
OPTIMUM = np.random.default_rng(3).standard_normal((6, 5))


def far_off(c, dtype=np.float64):
    """Return ``||X - c M||^2/2`` with ``lam = c/10``, factors at its scale, and the optimum: a soft threshold."""
    rng, root = np.random.default_rng(4), math.sqrt(c)
    start = tuple((root * rng.standard_normal((k, 2))).astype(dtype) for k in (6, 5))
    kept = np.linalg.svd(OPTIMUM, compute_uv=False)
    left = np.concatenate([np.full(2, 0.1), kept[2:]])
    problem = ls.Problem(Denoising((c * OPTIMUM).astype(dtype)), 2, 0.1 * c)
    return problem, start, 0.5 * np.sum(left**2) + 0.1 * np.sum(kept[:2] - 0.1)


@pytest.mark.parametrize("method", [*METHODS, "als"])
@pytest.mark.parametrize(("dtype", "c"), [(np.float32, 1e-15), (np.float64, 1e-120), (np.float64, 1e-150)])
def test_a_gradient_whose_squares_underflow_is_not_zero(dtype, c, method):
    problem, start, optimum = far_off(c, dtype)
    result = ls.solve(problem, method, start)
    value = 0.5 * np.sum((result.X.astype(float) / c - OPTIMUM) ** 2)
    value += 0.05 * (np.sum((result.A / math.sqrt(c)) ** 2) + np.sum((result.B / math.sqrt(c)) ** 2))
    assert value == pytest.approx(optimum, rel=1e-5)
    lengths = [np.linalg.norm(part.astype(float) / c**1.5) for part in problem.grad(result.A, result.B)]
    assert result.grad_norm == pytest.approx(c**1.5 * np.hypot(*lengths), rel=1e-5, abs=0.0)


@pytest.mark.parametrize(("dtype", "c"), [(np.float32, 1e-15), (np.float64, 1e-120)])
def test_runs_in_blocks_do_not_take_squares_that_underflow_for_zero_either(dtype, c):
    problem, start, optimum = far_off(c, dtype)
    batch = ls.solve_batch(problem, GD(step_size=0.1 / c), [start] * 3)
    assert batch.fun / c / c == pytest.approx(optimum, rel=1e-5)


@pytest.mark.parametrize("c", [1e-150, 1e-120, 1e-80, 1.0, 1e80, 1e150])
def test_the_slope_of_a_problem_is_that_of_the_largest_singular_value_in_all_units(c):
    problem, _, _ = far_off(c)
    largest = np.linalg.norm(OPTIMUM, 2)
    assert 0.1 + 0.9 * largest <= problem.units.slope / c <= (0.1 + largest) * (1 + 1e-12)


@pytest.mark.parametrize("method", ["gd", "lbfgs"])
def test_of_a_start_that_is_beyond_the_numbers_no_step_size_is_blamed(method):
    problem, start, _ = far_off(1e120)
    result = ls.solve(problem, method, start)
    assert result.status is ls.Status.DIVERGED
    assert "at the start; give the data other units" in result.message and "step" not in result.message


@pytest.mark.parametrize(("dtype", "c"), [(np.float64, 1e-170), (np.float64, 1e-300), (np.float32, 1e-30)])
@pytest.mark.parametrize("method", ["gd", "lbfgs", "gd_backtracking", "adam"])
def test_data_whose_squares_underflow_are_refused_by_a_run(method, dtype, c):
    problem = ls.Problem(Denoising((c * OPTIMUM).astype(dtype)), 2, 0.1 * c)
    with pytest.raises(ValueError, match=rf"^problem: f underflows in {np.dtype(dtype)}.*give the data other units"):
        ls.solve(problem, method, "gaussian:std=1e-86" if dtype is np.float64 else "lora")


class OfAUser:
    """``||X - M||^2/2``, of which no smoothness is stated."""

    convex, lower_bound, shape = True, 0.0, OPTIMUM.shape

    def __init__(self, M):
        self.M = M

    def value_and_grad(self, X):
        return 0.5 * float(np.sum((X - self.M) ** 2)), X - self.M


def test_a_users_loss_whose_values_underflow_is_refused_and_one_that_is_0_somewhere_is_not():
    with pytest.raises(ValueError, match="f underflows"):
        ls.solve(ls.Problem(OfAUser(1e-170 * OPTIMUM), 2, 1e-171), "lbfgs")

    class Shifted(OfAUser):
        lower_bound = None

        def value_and_grad(self, X):
            return 0.5 * float(np.sum(X * (X - 2.0 * self.M))), X - self.M

    assert ls.solve(ls.Problem(Shifted(OPTIMUM), 2, 0.1), "lbfgs").success


@pytest.mark.parametrize(
    ("dtype", "c", "words"),
    [
        (np.float64, 1e150, "squares of gradients overflow in float64: give the data other units"),
        (np.float32, 1e12, "squares of gradients overflow in float32: give the data other units or float64"),
    ],
)
@pytest.mark.parametrize("method", ["gd", "gd_backtracking", "adam"])
def test_no_step_size_or_method_is_blamed_for_data_whose_gradients_overflow(method, dtype, c, words):
    problem = ls.Problem(Denoising((c * OPTIMUM).astype(dtype)), 2, 0.1 * c)
    result = ls.solve(problem, method)  # from small factors, where all is finite
    assert result.status in (ls.Status.DIVERGED, ls.Status.STALLED)
    assert result.message.endswith(words) and "step" not in result.message


@pytest.mark.parametrize(("dtype", "c"), [(np.float64, 1e100), (np.float64, 1e-140), (np.float32, 1e-10)])
def test_data_within_the_range_are_not_refused(dtype, c):
    problem = ls.Problem(Denoising((c * OPTIMUM).astype(dtype)), 2, 0.1 * c)
    result = ls.solve(problem, "lbfgs", f"gaussian:std={c**0.5:.1g}")
    assert result.fun / c / c == pytest.approx(far_off(1.0)[2], rel=1e-5)
    assert "other units" not in result.message


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("share", [2.0, 1e3, 1e6, 1e13, 1e20])
@pytest.mark.parametrize("method", ["gd", "adam", "lbfgs", "nesterov"])
def test_a_weight_far_beyond_the_gradient_makes_no_spurious_minimum(method, share, stated):
    """Factors were held against a length that grows with lam, so that runs converged where they started.

    From lam = ||M||_2 on 0 is the only stationary point, and L there is ||M||_F^2 / 2.
    """
    M = np.random.default_rng(0).standard_normal((5, 4))
    f = Denoising(M)
    if not stated:
        f = SimpleNamespace(shape=f.shape, value_and_grad=f.value_and_grad, convex=True, lower_bound=0.0)
    problem = ls.Problem(f, 4, share * float(np.linalg.norm(M, 2)))
    for init in (None, "gaussian"):
        result = ls.solve(problem, method, init=init)
        judged = ls.verdict(problem, result)
        assert judged.contradictions == () and judged.kind == "global"
        assert result.fun == pytest.approx(0.5 * np.sum(M**2), rel=1e-9)


@pytest.mark.parametrize("lam", [0.0, 1.0])
@pytest.mark.parametrize("several", [False, True])
def test_where_nothing_is_to_be_learnt_the_verdict_points_to_zero(lam, several):
    """``||X||^2/2`` is least at 0, and has no size that a gradient could be small beside."""
    loss = Denoising(np.zeros((4, 3)))
    problem = MultiProblem(Separable([loss, loss]), 2, lam) if several else ls.Problem(loss, 2, lam)
    result = ls.solve(problem, "gd_backtracking", "gaussian")
    found = landscape.verdict(problem, result)
    assert found.kind == "not_converged" and "X = 0 is optimal" in found.reason
    nothing = problem.split(np.zeros(problem.size))[:2]
    assert landscape.verdict(problem, nothing).kind == "global"


class Waves:
    """``c sum cos X``, not convex, with no gradient at 0: a local maximum of ``f`` there, and least at ``X = pi``."""

    shape = (5, 4)

    def __init__(self, c):
        self.c = c

    def value_and_grad(self, X):
        return self.c * float(np.sum(np.cos(X))), -self.c * np.sin(X)


@pytest.mark.parametrize("c", [1e-6, 1.0, 1e6])
def test_factors_that_tend_to_a_local_minimum_at_zero_are_not_told_to_go_on(c):
    """The curvature of ``L`` at 0 is lam; nothing at 0 says how small the factors of a run that goes there are."""
    problem = ls.Problem(Waves(c), 2, 0.1 * c)
    result = ls.solve(problem, "lbfgs")
    assert result.status is ls.Status.CONVERGED and np.linalg.norm(result.theta) < 1e-6
    found = landscape.verdict(problem, result)
    assert found.kind == "not_converged" and "continue" not in found.reason
    assert found.reason.endswith("which tend to 0; X = 0 is a local minimum: ask there, at factors of 0")
    there = landscape.verdict(problem, (np.zeros((5, 2)), np.zeros((4, 2))))
    assert there.kind == "inconclusive" and there.second_order.smallest == pytest.approx(0.1 * c)
    # Elsewhere the run has to go on.
    assert landscape.verdict(problem, (np.ones((5, 2)), np.ones((4, 2)))).reason.endswith("continue the run")


@pytest.mark.parametrize("c", [1e-6, 1.0, 1e6])
def test_a_minimum_is_stationary_where_the_gradient_at_zero_is_zero_and_nothing_decays(c):
    """The gradient was held against that at X = 0, which is 0."""
    problem = ls.Problem(Waves(c), 2)
    A, B = math.pi * np.eye(5, 2), np.zeros((4, 2))
    B[:, 0] = 1.0
    A[:, 0] = math.pi  # A B^T = pi in all entries, where f = -20 c is least
    A[:, 1] = 0.0
    found = landscape.verdict(problem, (A, B))
    assert found.kind == "inconclusive" and found.stationarity.is_fosp
    assert not landscape.stationarity(problem, 1.001 * A, B).is_fosp


def _missing(problem, matrices, result):
    """How much of the decrease each of several matrices is short of: L is ``c ||X/t - M||^2/2`` and the decay."""
    missing = []
    for (M, c, t), A, B in zip(matrices, result.A, result.B):
        s, weight = np.linalg.svd(M, compute_uv=False), problem.lam * t / c
        z = np.where(np.arange(s.size) < A.shape[1], np.maximum(s - weight, 0.0), 0.0)
        least = c * (0.5 * np.sum((z - s) ** 2) + weight * np.sum(z))
        value = 0.5 * c * np.sum((A @ B.T / t - M) ** 2) + 0.5 * problem.lam * (np.sum(A**2) + np.sum(B**2))
        missing.append((value - least) / (0.5 * c * np.sum(s**2)))
    return missing


WHOLE, TIED = np.diag([3.0, 2.0, 1.2, 0.7]), np.diag([2.0, 2.0, 1.0])


@pytest.mark.parametrize("method", ["lbfgs", "nesterov", "adam", "gd_backtracking"])
@pytest.mark.parametrize("silent", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize(
    ("matrices", "lam"),
    [
        # All tend to 0, at lengths of their own.
        ([(WHOLE, 1e-8, 1e8), (TIED, 1e8, 1e4)], 1e11),
        ([(WHOLE, 1e12, 1.0), (WHOLE, 1e-8, 1e-8)], 3e13),
        ([(TIED, 1e-12, 1e-12), (TIED, 1e12, 1e-4)], 3e19),
        ([(TIED, 1.0, 1e-12), (TIED, 1e12, 1.0)], 3e12),
        # One does, and the other does not.
        ([(WHOLE, 1e4, 1e-4), (TIED, 1e-12, 1e8)], 3e5),
        ([(WHOLE, 1.0, 1e-12), (TIED, 1e-12, 1e4)], 3e11),
    ],
)
def test_a_matrix_that_tends_to_zero_is_held_against_a_length_of_its_own(matrices, lam, silent, method):
    parts = [InUnits(Denoising(M), c, t) for M, c, t in matrices]
    for k in silent:
        parts[k].smoothness = None
    problem = MultiProblem(Separable(parts), [2, 2], lam)
    # By how a processor rounds, the fourth takes L-BFGS 600 to 1,100 iterations.
    result = ls.solve(problem, method, stop=ls.StoppingRule(max_iter=4000))
    missing = _missing(problem, matrices, result)
    assert not result.success or max(missing) < 1e-6
    # What L-BFGS cannot improve any more is an end, not a stall.
    assert method != "lbfgs" or silent or (result.success and landscape.verdict(problem, result).stationarity.is_fosp)


@pytest.mark.parametrize("times", [1e3, 1e4])
def test_a_run_that_has_converged_is_stationary_for_a_verdict_whatever_its_start(times):
    """Held against the start, the matrix that tends to 0 had ended a run that a verdict called not stationary."""
    parts = [InUnits(Denoising(np.diag(d)), c, 1.0) for d, c in (([3.0, 2.0], 1.0), ([1e3, 5e2], 1e-10))]
    for part in parts:
        part.smoothness = None
    problem, rng = MultiProblem(Separable(parts), 2, 1.0), np.random.default_rng(0)
    for _ in range(10):
        A, B = np.eye(2), times * rng.standard_normal((2, 2, 2))
        result = ls.solve(problem, "lbfgs", ((A, B[0]), (A, B[1])), stop=ls.StoppingRule(max_iter=5000))
        assert result.success and landscape.verdict(problem, result).stationarity.is_fosp


@pytest.mark.parametrize("unit", [1e-12, 1e-15])
def test_a_start_far_longer_than_the_data_is_no_measure_of_what_is_small(unit):
    """No smoothness is stated, and 0 is optimal: with the start for a length runs ended at up to 1.05 times f(0)."""
    M = OPTIMUM * unit / np.linalg.norm(OPTIMUM, 2)
    result = ls.solve(ls.Problem(OfAUser(M), 2, 1.1 * unit), "lbfgs")
    assert not result.success or result.fun == pytest.approx(0.5 * np.sum(M**2), rel=1e-9, abs=0.0)


@pytest.mark.parametrize("method", ["gd", "lbfgs", "gd_backtracking", "adam"])
@pytest.mark.parametrize("unit", [1e-20, 1e-30])
def test_a_start_far_longer_than_the_data_does_not_set_the_tolerance(unit, method):
    """Runs from factors of size 0.1 ended as converged at more than 1e17 times f(0), which X = 0 has."""
    problem = ls.Problem(Denoising(unit * OPTIMUM), 2, 0.1 * unit)
    rng = np.random.default_rng(1)
    start = tuple(0.1 * rng.standard_normal((side, 2)) for side in OPTIMUM.shape)
    result = ls.solve(problem, method, start)
    assert not result.success or result.fun <= 0.5 * np.sum((unit * OPTIMUM) ** 2)


def test_runs_in_blocks_from_a_start_far_longer_than_the_data_end_as_those_alone_do():
    problem = ls.Problem(Denoising(1e-20 * np.random.default_rng(0).standard_normal((8, 6))), 3, 3e-21)
    rng = np.random.default_rng(1)
    start = 0.1 * rng.standard_normal((8, 3)), 0.1 * rng.standard_normal((6, 3))
    stop = ls.StoppingRule(max_iter=3000)
    batch = ls.solve_batch(problem, GD(step_size=1.0), [start] * 2, stop=stop)
    assert batch.status.tolist() == [ls.Status.ITERATION_LIMIT] * 2 and (batch.fun > 1e10 * problem.value_at_zero).all()


@pytest.mark.parametrize("method", ["gd", "lbfgs", "nesterov"])
def test_a_matrix_without_data_does_not_set_the_tolerance_of_the_others(method):
    """Its gradient at the start, in units of its own, is beyond the slope of the problem by more than 1e15."""
    matrices = [(TIED, 1e12, 1.0), (np.zeros((3, 3)), 1e12, 1e-8)]
    parts = [InUnits(Denoising(M), c, t) for M, c, t in matrices]
    rng = np.random.default_rng(0)
    start = zip(*((rng.standard_normal((3, 2)), rng.standard_normal((3, 2))) for _ in range(2)))
    problem = MultiProblem(Separable(parts), 2, 2e11)
    result = ls.solve(problem, method, tuple(start), stop=ls.StoppingRule(max_iter=100))
    assert not result.success or _missing(problem, matrices[:1], result)[0] < 1e-6


@pytest.mark.parametrize("method", ["lbfgs", "gd_backtracking"])
def test_several_matrices_of_a_loss_that_is_undefined_at_zero_converge_as_one_does(method):
    """The least ``||X||^2/2 - log X_11 + lam ||X||_*`` is at ``x = (sqrt(lam^2 + 4) - lam)/2`` in the corner."""

    class Logarithm:
        shape = (3, 2)

        def value_and_grad(self, X):
            with np.errstate(divide="ignore", invalid="ignore"):
                G = X.copy()
                G[0, 0] -= 1.0 / X[0, 0]
                return 0.5 * float(np.sum(X * X)) - float(np.log(X[0, 0])), G

    lam, A, B = 0.1, np.eye(3, 2) + 0.1, np.eye(2) + 0.1
    x = 0.5 * (math.sqrt(lam**2 + 4.0) - lam)
    one = ls.solve(ls.Problem(Logarithm(), 2, lam), method, (A, B))
    least = 0.5 * x**2 - math.log(x) + lam * x
    assert one.status is ls.Status.CONVERGED and one.fun == pytest.approx(least, rel=1e-9)
    # Of ||X - M||^2/2 with the singular values 3 and 2 it is 3 lam + 2 lam - lam^2.
    other, others = Denoising(np.diag([3.0, 2.0, 0.0])[:, :2]), 5.0 * lam - lam**2
    for parts, expected in (
        ([Logarithm(), Logarithm()], 2.0 * least),
        ([Logarithm(), other], least + others),
        ([other, Logarithm()], least + others),
    ):
        several = ls.solve(MultiProblem(Separable(parts), 2, lam), method, ((A, A), (B, B)))
        assert several.status is ls.Status.CONVERGED and several.fun == pytest.approx(expected, rel=1e-9)
        assert several.problem.units.slopes == (0.0, 0.0)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_factors_of_no_update_are_no_minimum_in_any_unit_of_the_decay(unit):
    """``L = lam ||A||^2/2`` at B = 0 with nothing to learn, and its least value is 0."""
    problem = ls.Problem(Denoising(np.zeros((4, 3))), 2, 1e-12 * unit)
    assert landscape.verdict(problem, (np.ones((4, 2)), np.zeros((3, 2)))).kind == "not_converged"


@pytest.mark.parametrize(("c", "t"), [(1e-4, 1e-12), (1.0, 1e-4), (1.0, 1.0), (1e4, 1e8)])
@pytest.mark.parametrize("seed", range(3))
def test_a_matrix_next_to_its_optimum_is_no_saddle_in_units_of_its_own_and_one_at_a_saddle_is(c, t, seed):
    """The first is at its best of rank 1. The values 2, 2, 2, 1, 1 of the second are all wanted."""
    first, second, lam = np.diag([3.0, 1.5, 0.0, 0.0, 0.0]), np.diag([2.0, 2.0, 2.0, 1.0, 1.0]), 1e-7
    rng = np.random.default_rng(seed)
    parts = [InUnits(Denoising(first), 1.0, 1e4), InUnits(Denoising(second), c, t)]
    problem = MultiProblem(Separable(parts), [1, 5], lam)
    best = math.sqrt(1e4 * (3.0 - lam * 1e4)) * np.eye(5, 1)
    values = np.maximum(np.diag(second) - lam * t / c, 0.0)
    at = math.sqrt(t) * np.diag(np.sqrt(values))
    A, B = (at + 1e-6 * math.sqrt(t) * rng.standard_normal((5, 5)) for _ in range(2))
    near = landscape.verdict(problem, ((best, A), (best, B)))
    assert near.kind in ("not_converged", "inconclusive")
    missing = at.copy()
    missing[4, 4] = 0.0
    assert landscape.verdict(problem, ((best, missing), (best, missing))).kind == "saddle"
