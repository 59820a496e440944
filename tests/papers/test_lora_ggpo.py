"""LoRA-GGPO: curvature, excess risk and noise in closed form, and how its claims are judged."""

from types import SimpleNamespace

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import Problem, StoppingRule, solve
from lorasolve.objectives import Denoising
from lorasolve.optimizers import MGPO, Adam
from lorasolve.papers import lora_ggpo


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_curvature_at_zero_residual(scale):
    rng = np.random.default_rng(2)
    A, B = rng.standard_normal((7, 3)), rng.standard_normal((6, 3))
    p = ls.Problem(Denoising(scale * A @ B.T), 3, adapter=ls.adapters.LoRA(alpha=3 * scale))
    exact = lora_ggpo.curvature_at_zero_residual(A, B, scale)
    assert lora_ggpo.largest_curvature(p, A, B) == pytest.approx(exact, rel=1e-8)
    H = np.zeros((39, 39))  # dense, by differences of the gradient
    theta = p.join(A, B)
    plus, minus = np.empty_like(theta), np.empty_like(theta)
    for k, e in enumerate(np.eye(39)):
        p.value_and_grad(theta + 1e-6 * e, plus)
        p.value_and_grad(theta - 1e-6 * e, minus)
        H[k] = (plus - minus) / 2e-6
    assert np.linalg.eigvalsh(H)[-1] == pytest.approx(exact, rel=1e-6)


def test_small_problem_uses_the_dense_hessian():
    p = ls.Problem(Denoising(np.array([[2.0]])), 1)
    a = np.array([[np.sqrt(2.0)]])
    assert lora_ggpo.largest_curvature(p, a, a) == pytest.approx(4.0)


class Cap:
    """``-||X - M||_F^2/2``: at X = M no direction of the factors rises, and some fall steeply."""

    def __init__(self, M):
        self.M, self.shape = M, M.shape

    def value_and_grad(self, X):
        E = X - self.M
        return -0.5 * float(np.sum(E * E)), -E

    def hessian_product(self, X, D):
        return -D


@pytest.mark.parametrize("shape", [(3, 2), (9, 8)])  # by the dense Hessian, and by its products
def test_the_largest_curvature_is_not_the_largest_in_size(shape):
    rng = np.random.default_rng(3)
    A, B = rng.standard_normal((shape[0], 2)), rng.standard_normal((shape[1], 2))
    assert lora_ggpo.largest_curvature(ls.Problem(Cap(A @ B.T), 2), A, B) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize(("samples", "rank", "ridge"), [(60, 8, 0.0), (60, 3, 0.0), (22, 8, 0.0), (22, 3, 0.2)])
def test_the_excess_risk_is_that_of_reduced_rank_regression(monkeypatch, samples, rank, ridge):
    """Another route: ridge as further samples, ordinary least squares, and the main directions of its fit."""
    found = lora_ggpo.excess_risk(samples, rank, ridge, 7)
    monkeypatch.setattr(lora_ggpo, "LinearFineTuning", lambda _, Z, Y: (Z, Y))
    truth, (Z, Y) = lora_ggpo.noisy_regression(samples, 7)
    Z, Y = np.hstack([Z, np.sqrt(samples * ridge) * np.eye(30)]), np.hstack([Y, np.zeros((8, 30))])
    ordinary = Y @ np.linalg.pinv(Z)
    U = np.linalg.svd(ordinary @ Z)[0][:, :rank]
    assert found == pytest.approx(0.5 * np.sum((U @ U.T @ ordinary - truth) ** 2), rel=1e-8)


def test_the_noise_of_the_regression_has_a_variance_of_a_quarter():
    problems = [lora_ggpo.noisy_regression(50, seed) for seed in range(40)]
    values = [objective.value_and_grad(truth)[0] for truth, objective in problems]
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values) - 8 * 0.25 / 2) < 3 * error < 0.1


def test_the_rise_is_the_most_above_what_the_loss_had_fallen_to(monkeypatch):
    def run(problem, optimizer, seed, stop, callback):
        for value in (4.0, 2.0, 3.0, 1.0, 1.5):
            callback(SimpleNamespace(theta=value))

    monkeypatch.setattr(lora_ggpo, "solve", run)
    problem = SimpleNamespace(size=1, value_and_grad=lambda theta, grad: theta)
    assert lora_ggpo._rise(problem, None, 0) == 0.25


def test_the_largest_ratio_of_a_run_is_that_of_every_iteration(monkeypatch):
    """Dense Hessians in NumPy: of every tenth iteration the largest ratio was 0.89, in place of 0.95."""
    step, run, points = 0.22, lora_ggpo.solve, []

    def watched(problem, *args, callback, **options):
        def both(now):
            points.append((now.A.copy(), now.B.copy(), problem.objective.value_and_grad(now.A @ now.B.T)[1]))
            callback(now)

        return run(problem, *args, callback=both, **options)

    monkeypatch.setattr(lora_ggpo, "solve", watched)
    largest = lora_ggpo.bump(step, 8)[0]

    def ratio(A, B, G):
        hessian = []
        for unit in np.eye(560):
            U, V = unit[:320].reshape(40, 8), unit[320:].reshape(30, 8)
            D = U @ B.T + A @ V.T
            hessian.append(np.concatenate([(D @ B + G @ V).ravel(), (D.T @ A + G.T @ U).ravel()]))
        return 0.5 * step * np.linalg.eigvalsh(hessian)[-1]

    # It is largest where the loss falls fastest, before the tenth iteration.
    assert largest == pytest.approx(max(ratio(*point) for point in points[:10]), rel=1e-9)


def courses(**changed):
    """Return what the parts find, with the rise of a method at a setting changed."""
    settings = {"0.1, 2": 0.0, "0.1, 10": 0.0, "0.5, 2": 0.05, "0.5, 10": 0.6}
    made = {name: dict(settings) for name in ("LoRA", "MGPO", "MGPO trainer", "GGPO")}
    made["MGPO"]["0.1, 2"] = 0.04
    for name, rises in changed.items():
        made[name.replace("_", " ")].update(rises)
    risks = {"1, 0.0": [5, 5, 9, 5, 4], "3, 0.0": [5, 5, 30, 5, 1]}
    risks |= {"8, 0.0": [5, 6, 99, 5, 1], "8, 0.2": [5, 4, 3, 2, 1]}
    return {
        "descents": {name: {key: [rise, rise] for key, rise in rises.items()} for name, rises in made.items()},
        "ends": ended(MGPO=[1.0, 1.2], random=[2.9, 2.9]),
        "bias": {"quadratic": 1e-16, "logistic": 0.2},
        "floors": {"+": [1e-3, 1e-2, 1e-1], "-": [1e-4, 1e-3, 1e-2]},
        "bumps": [(0.8, 0.0), (1.2, 0.01), (2.0, np.nan)],
        "near": [False, False, True, True],
        "risks": risks,
        "noisy": noisy(7.0, 1.0),
    }


def ended(*, MGPO, random):
    """Return ends at points of given curvature, and of 3 for other methods, which LoRA has at their losses too."""
    names = ("LoRA", "MGPO", lora_ggpo._RANDOM, "other sign", "MGPO trainer", "GGPO")
    found = {name: {"loss": [0.5, 0.5], "curvature": [3.0, 3.1], lora_ggpo._MATCHED: [3.0, 3.1]} for name in names}
    found["MGPO"]["curvature"], found[lora_ggpo._RANDOM]["curvature"] = MGPO, random
    return found


def noisy(at_the_peak, away):
    return {"30": [[9.0] * 2, [at_the_peak] * 2], "60": [[1.0] * 2, [away] * 2]}


def test_flatness_is_told_at_one_loss(monkeypatch):
    """MGPO that stands still ends where LoRA starts: flatter than where LoRA ends, and no flatter than LoRA there."""
    methods = lora_ggpo._methods
    monkeypatch.setattr(lora_ggpo, "_methods", lambda step: methods(step) | {"MGPO": MGPO(1e-12)})
    found = lora_ggpo.ends(0.1, 2, 1)
    (still,), (lora,) = found["MGPO"]["curvature"], found["LoRA"]["curvature"]
    assert still < 0.5 * lora
    assert found["MGPO"][lora_ggpo._MATCHED] == pytest.approx([still], rel=0.1)


def flat_at_the_start():
    """What runs that do nothing find: LoRA ends at sharper points, and is as flat where its loss is theirs."""
    found = courses()["ends"]
    found["MGPO"] = {"loss": [2.5, 2.5], "curvature": [0.3, 0.3]}
    found["MGPO"][lora_ggpo._MATCHED] = [0.3, 0.3]
    return found


def test_random_directions_are_as_long_as_those_of_mgpo(monkeypatch):
    """At rho = 0 both are Adam; else the first perturbation is rho over the length of the first gradient."""
    problem = Problem(Denoising(np.arange(12.0).reshape(4, 3)), 2)
    points, value_and_grad = [], Problem.value_and_grad

    def watched(self, theta, grad):
        points.append(theta.copy())
        return value_and_grad(self, theta, grad)

    monkeypatch.setattr(Problem, "value_and_grad", watched)
    stop = StoppingRule(max_iter=2, grad_tol=0.0)
    seconds = {}
    for method in (Adam(0.1), MGPO(0.1), lora_ggpo._RandomDirections(0.1)):
        points.clear()
        solve(problem, method, seed=0, stop=stop)
        seconds[type(method)] = points[1]
    first = np.zeros(problem.size)
    value_and_grad(problem, points[0], first)
    moved = {kind: second - seconds[Adam] for kind, second in seconds.items()}
    lengths = [np.linalg.norm(moved[kind]) for kind in (MGPO, lora_ggpo._RandomDirections)]
    assert lengths == pytest.approx([0.05 / np.linalg.norm(first)] * 2)
    assert abs(np.vdot(*(moved[kind] for kind in (MGPO, lora_ggpo._RandomDirections)))) < 0.99 * lengths[0] ** 2


@pytest.mark.parametrize(
    ("found", "refuted"),
    [
        (courses(), []),
        (courses(LoRA={"0.1, 10": 0.2}), [0, 1]),  # it grows with the rank at the small step too
        (courses(LoRA={"0.5, 2": 0.7}), [0]),
        (courses(GGPO={"0.5, 10": 0.1}), [1]),  # one of the perturbations removes it
        (courses(MGPO={"0.1, 2": 0.0}), [1]),
        (courses() | {"bumps": [(0.8, 0.0), (0.9, 0.0)]}, [5]),  # no run above the threshold
        (courses() | {"bumps": [(0.8, 0.01), (1.2, 0.01)]}, [5]),
        (courses() | {"noisy": noisy(9.0, 1.0)}, [6]),  # no noise at all
        (courses() | {"noisy": noisy(7.0, 1.3)}, [6]),
        (courses() | {"noisy": {"30": [[9.0, 9.0], [4.0, 9.5]], "60": [[1.0] * 2] * 2}}, [6]),  # of one seed alone
        (courses(LoRA={"0.5, 2": 0.59}, MGPO={"0.5, 10": 0.6}), []),
        (courses() | {"ends": flat_at_the_start()}, [2]),
        (courses() | {"ends": ended(MGPO=[1.0, 1.2], random=[1.0, 1.2])}, [2]),  # any direction flattens as much
    ],
)
def test_each_half_of_a_claim_is_judged(found, refuted):
    claims = lora_ggpo.LoRAGGPOClaims().judge(found)
    assert [k for k, claim in enumerate(claims) if not claim.holds] == refuted
