"""Points without a certificate are refuted by a better point, and only by one that really is better."""

import json

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import landscape
from lorasolve.cli import main
from lorasolve.io import save_result
from lorasolve.landscape import witness
from lorasolve.linear_map import LinearMap
from lorasolve.multi import MultiObjective, Separable

from .double_well import DoubleWell, factors_of

RANKS = [(1, 1), (2, 1), (4, 1), (3, 2), (4, 2)]


class PseudoHuber(MultiObjective):
    """``sum_l a_l c_l^2 (sqrt(1 + ((X_l - Y_l)/c_l)^2) - 1)``: convex; its curvature is positive everywhere."""

    convex, lower_bound = True, 0.0

    def __init__(self, units):
        rng = np.random.default_rng(3)
        self.units = units
        self.Y = [unit * rng.standard_normal(shape) for unit, shape in zip(units, [(6, 4), (5, 4)])]
        self.shapes = tuple(Y.shape for Y in self.Y)

    def value_and_grad(self, X):
        value, G = 0.0, []
        for x, Y, unit in zip(X, self.Y, self.units):
            c = 0.5 * unit
            q = np.sqrt(1.0 + ((x - Y) / c) ** 2)
            value += c * c / unit * float(np.sum(q - 1.0))
            G.append((x - Y) / q / unit)
        return value, tuple(G)


class WithHessian(PseudoHuber):
    """Its curvature in closed form."""

    def hessian_product(self, X, D):
        return tuple(
            d / (1.0 + ((x - Y) / (0.5 * unit)) ** 2) ** 1.5 / unit for x, Y, unit, d in zip(X, self.Y, self.units, D)
        )


def test_a_saddle_that_only_differences_of_gradients_see_is_none():
    """One step of differences serves both matrices, the units of which are a million times apart."""
    units = (1e3, 1e-3)
    exact = ls.MultiProblem(WithHessian(units), 2, 0.3)
    result = ls.solve(exact, "lbfgs")
    assert landscape.second_order(exact, result.A, result.B).is_sosp
    problem = ls.MultiProblem(PseudoHuber(units), 2, 0.3)
    assert not landscape.second_order(problem, result.A, result.B).is_sosp
    found = landscape.verdict(problem, (result.A, result.B))
    assert found.kind == "inconclusive"
    assert found.reason.endswith("lower: give PseudoHuber a hessian_product")
    assert next(premise.holds for premise in found.premises if premise.id == "second_order") is None


@pytest.mark.parametrize("units", [(1e3, 1e-3), (1.0, 1e-6)])
@pytest.mark.parametrize(("off", "further"), [(1e-8, ""), (3e-5, ", or continue the run")])
def test_what_only_differences_see_says_no_more_of_a_point_that_is_not_quite_an_optimum(units, off, further):
    """It was "not converged", which no run mends: the curvature stays what differences with one step make of it."""
    exact = ls.MultiProblem(WithHessian(units), 2, 0.6)
    result = ls.solve(exact, "lbfgs", stop=ls.StoppingRule(grad_tol=1e-11, max_iter=20_000))
    A, B = [*result.A], [*result.B]
    A[1], B[1] = A[1] * (1.0 + off), B[1] * (1.0 + off)
    assert landscape.second_order(exact, A, B).smallest > 0.0
    found = landscape.verdict(ls.MultiProblem(PseudoHuber(units), 2, 0.6), (A, B))
    assert found.kind == "inconclusive"
    assert found.reason.endswith(f"lower: give PseudoHuber a hessian_product{further}")
    assert next(premise.holds for premise in found.premises if premise.id == "second_order") is None


@pytest.mark.parametrize(("r", "r_star"), RANKS)
@pytest.mark.parametrize("factor", [1.0, 1.2, 3.0, 10.0])
def test_the_sharp_instance_without_decay_is_refuted_without_its_minimizer(r, r_star, factor):
    kappa = factor * (1.0 + 2.0 * np.sqrt(r / r_star))
    instance = landscape.instances.sharp(r, r_star, r + r_star + 1, r + r_star, kappa)
    problem = ls.Problem(instance, rank=r)
    assert landscape.verdict(problem, instance.stationary_factors()).kind == "inconclusive"
    judged = landscape.verdict(problem, instance.stationary_factors(), search=True)
    assert (judged.kind, judged.basis) == ("spurious", "witness")
    witness = judged.witness
    assert witness.A.shape[1] == r
    value = instance.value_and_grad(witness.A @ witness.B.T)[0]
    assert value == pytest.approx(witness.value, abs=1e-14)
    above = instance.value_and_grad(instance.X_spurious)[0] - value
    assert above - 1e-12 <= witness.better_by <= above
    assert witness.better_by <= instance.gap
    assert f"a point better by {witness.better_by:.6g} of rank {witness.rank} is known" in str(judged)
    json.dumps(judged.to_dict(), allow_nan=False)


@pytest.mark.parametrize("lam", [0.0, 0.05])
@pytest.mark.parametrize("alpha", [None, 4.0])
def test_a_non_convex_loss_is_refuted_at_its_worse_minimum_only(lam, alpha):
    f = DoubleWell()
    problem = ls.Problem(f, 1, lam, ls.adapters.LoRA(alpha=alpha))
    better, worse = (f.minimum(side, problem.lam_effective) for side in (-1, 1))
    root = np.sqrt(problem.scale)
    at = {x: tuple(part / root for part in factors_of(x)) for x in (better, worse)}
    assert landscape.verdict(problem, at[worse]).kind == "inconclusive"
    judged = landscape.verdict(problem, at[worse], search=2)
    assert judged.kind == "spurious"
    A, B = judged.witness.A, judged.witness.B
    assert problem.scale * (A @ B.T).item() == pytest.approx(better, abs=1e-6)
    assert problem.value(A, B) == pytest.approx(judged.witness.value, abs=1e-12)
    judged = landscape.verdict(problem, at[better], search=True)
    assert judged.kind == "inconclusive"
    assert judged.witness is None
    assert "found no better point" in judged.reason


def test_a_difference_within_the_rounding_noise_refutes_nothing():
    # 2 eps |f| is 4e-4 here, more than the 6e-5 between the two minima.
    f = DoubleWell(size=1e-4, offset=1e12)
    problem = ls.Problem(f, 1)
    judged = landscape.verdict(problem, factors_of(f.minimum(1)), tol=1e-20, search=True)
    assert judged.witness is None
    assert judged.kind != "spurious"


class LongWayDown:
    """``1/log(e + x)``, ``x`` the entry (0, 0), where that is positive, and beyond ``bottom`` more: flat slopes."""

    shape, lower_bound = (2, 2), 0.0

    def __init__(self, bottom):
        self.bottom = bottom

    def value_and_grad(self, X):
        x, G = float(X[0, 0]), np.zeros(self.shape)
        u, slope = (np.e + x, 1.0) if x > 0.0 else (np.e + np.expm1(x), np.exp(x))
        beyond = max(x - self.bottom, 0.0)
        G[0, 0] = beyond - slope / (u * np.log(u) ** 2)
        return 1.0 / float(np.log(u)) + 0.5 * beyond**2, G


@pytest.mark.parametrize("x", [1e5, 1e6])
@pytest.mark.parametrize("scaling", [1.0, 16.0])
@pytest.mark.parametrize("bottom", [1e10, np.inf])
def test_a_point_on_a_flat_slope_is_not_spurious(x, scaling, bottom):
    problem = ls.Problem(LongWayDown(bottom), 1, 0.0, ls.adapters.LoRA(alpha=scaling))
    factor = np.array([[np.sqrt(x / scaling)], [0.0]])
    # It falls all the way, to a minimizer or to an infimum that is not attained.
    values = [problem.objective.value_and_grad(np.diag([t, 0.0]))[0] for t in np.geomspace(x, 1e10)]
    assert np.all(np.diff(values) < 0.0) and values[-1] < 0.7 * values[0]
    known = {"search": 2} if bottom == np.inf else {"X_star": np.diag([bottom, 0.0])}
    judged = landscape.verdict(problem, (factor, factor), **known)
    assert judged.stationarity.is_fosp and judged.second_order.is_sosp
    assert judged.kind == "not_converged" and "better by" in judged.reason


def test_the_optimum_of_rank_r_is_not_refuted():
    rng = np.random.default_rng(0)
    P, Q = (np.linalg.qr(rng.standard_normal((n, 4)))[0] for n in (6, 5))
    s = np.array([4.0, 3.0, 2.0, 1.0])
    problem = ls.Problem(ls.objectives.Denoising((P * s) @ Q.T), rank=2, lam=0.3)
    root = np.sqrt(s[:2] - 0.3)
    point = (P[:, :2] * root, Q[:, :2] * root)
    assert landscape.verdict(problem, point, search=True).kind == "global"
    # Constants that are about X* alone say nothing of the best point of a lower rank.
    judged = landscape.verdict(problem, point, constants=landscape.Constants.exact(1.0, 1.0, 2), search=True)
    assert judged.kind == "inconclusive"
    assert judged.witness is None


def test_several_matrices_are_refuted_by_all_of_them():
    parts = [landscape.instances.sharp(1, 1, 3, 2, kappa) for kappa in (5.0, 8.0)]
    problem = ls.MultiProblem(Separable(parts), ranks=1)
    points = [part.stationary_factors() for part in parts]
    judged = landscape.verdict(problem, (tuple(A for A, _ in points), tuple(B for _, B in points)), search=True)
    assert judged.kind == "spurious"
    value = sum(part.value_and_grad(A @ B.T)[0] for part, A, B in zip(parts, judged.witness.A, judged.witness.B))
    assert value == pytest.approx(judged.witness.value, abs=1e-12)


def test_bad_numbers_of_starts_are_refused():
    f = DoubleWell()
    problem = ls.Problem(f, 1)
    for search in (-1, 0, 1.5, "yes"):
        with pytest.raises((ValueError, TypeError), match="search"):
            landscape.verdict(problem, factors_of(1.0), search=search)


def test_the_command_line_searches_when_asked(tmp_path, capsys):
    # The sharp instance as a sensing problem: the measurements are the rows of the root of its Hessian.
    instance = landscape.instances.sharp(1, 1, 3, 2, 5.0)
    n = instance.N.ravel()
    root = np.sqrt(5.0) * (np.eye(6) - np.outer(n, n)) + np.outer(n, n)
    data = {"measurements": root.reshape(6, 3, 2), "y": root @ instance.X_star.ravel()}
    problem = ls.Problem(ls.objectives.MatrixSensing(**data), rank=1)
    result = ls.solve(problem, "lbfgs", init=instance.stationary_factors())
    path = str(tmp_path / "trapped.npz")
    save_result(path, problem, result, data)
    assert main(["verdict", path]) == 3
    capsys.readouterr()
    for arguments in (["--search"], ["--search", "2"]):
        assert main(["verdict", path, *arguments]) == 1
        assert "verdict: spurious" in capsys.readouterr().out
    # Not that of a run without --search: some of what is tried needs no random start.
    assert main(["verdict", path, "--search", "0"]) == 2
    captured = capsys.readouterr()
    assert not captured.out and "--search: expected an integer >= 1, got 0" in captured.err
    assert main(["verdict", path, "--search", "--json"]) == 1
    witness = json.loads(capsys.readouterr().out)["verdict"]["witness"]
    X = np.array(witness["A"]) @ np.array(witness["B"]).T
    assert np.sum((root @ (X - instance.X_star).ravel()) ** 2) / 12 == pytest.approx(witness["value"], abs=1e-12)


def test_a_step_of_factors_is_the_best_of_its_rank_where_nothing_is_formed():
    """Beyond the size that is decomposed as a whole, products from both sides have to be those of one matrix."""
    rng = np.random.default_rng(0)
    G = rng.standard_normal((260, 300)) / 50.0 + 3.0 * np.outer(
        *(rng.standard_normal(n) / np.sqrt(n) for n in (260, 300))
    )
    A, B = rng.standard_normal((260, 2)) / 16.0, rng.standard_normal((300, 2)) / 16.0
    found, other = witness._step(LinearMap.from_dense(G), (A, B), 0.5, 0.2)
    P, s, Qt = np.linalg.svd(A @ B.T - 0.5 * G, full_matrices=False)
    np.testing.assert_allclose(found @ other.T, (P[:, :2] * (s[:2] - 0.1)) @ Qt[:2], atol=1e-6)
