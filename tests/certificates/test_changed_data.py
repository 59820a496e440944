"""Data that are changed in place after an objective was made of them."""

from fractions import Fraction

import numpy as np
import pytest

import lorasolve as ls
from lorasolve._known import Known
from lorasolve.certificates import certify
from lorasolve.multi import Separable


@pytest.mark.parametrize("kind", ["dense", "rank one", "small observations", "network"])
def test_rounding_errors_of_outputs_that_cancel_are_no_change_of_the_data(kind):
    """Fewer measurements than entries are met by an X that is not small, at which f is made of rounding errors."""
    rng = np.random.default_rng(0)
    M, a, b = rng.standard_normal((5, 3, 4)), rng.standard_normal((5, 3)), rng.standard_normal((5, 4))
    loss = {
        "dense": lambda: ls.objectives.MatrixSensing(M, np.zeros(5)),
        "rank one": lambda: ls.objectives.MatrixSensing((a, b), np.zeros(5)),
        "small observations": lambda: ls.objectives.MatrixSensing(M, np.full(5, 1e-9)),
        "network": lambda: ls.objectives.NTK(M[:, None], np.zeros((5, 1))),
    }[kind]()
    problem = ls.Problem(loss, 2)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        start = rng.standard_normal((3, 2)), rng.standard_normal((4, 2))
        run = ls.solve(problem, "lbfgs", start, stop=ls.StoppingRule(grad_tol=1e-10))
        certificate = certify(problem, run)
        if kind == "dense":
            X = [[sum(Fraction(p) * Fraction(q) for p, q in zip(x, y)) for y in run.B.tolist()] for x in run.A.tolist()]
            outputs = (sum(Fraction(g) * x for rows in zip(Mi, X) for g, x in zip(*rows)) for Mi in M.tolist())
            assert certificate.gap >= sum(output**2 for output in outputs) / 10


@pytest.mark.parametrize("loss", ["sensing", "ntk"])
@pytest.mark.parametrize("first", ["a certificate", "a run", "nothing"])
def test_measurements_that_are_changed_in_place_bound_no_rank_by_their_old_curvature(loss, first):
    """``||k X - Y||^2 / 24``, of which the optimum ``soft(Y, 12 lam/k)/k`` has rank 2: with ``k = 1`` kept, "<= 1"."""
    k, lam, least = 1000.0, 0.1, 1e-7
    cut = 12.0 * lam / k
    Y = np.zeros((4, 3))
    Y[0, 0], Y[1, 1] = 5.0, cut + k * least
    M = np.eye(12).reshape(12, 4, 3)
    made = {
        "sensing": lambda: ls.objectives.MatrixSensing(M, Y.ravel()),
        "ntk": lambda: ls.objectives.NTK(M[:, None], Y.reshape(12, 1)),
    }
    problem = ls.Problem(made[loss](), 3, lam)
    beside = np.zeros((4, 3))
    beside[0, 0], beside[1, 1] = (5.0 - cut) / k, 1.3 * least
    if first == "a certificate":
        assert ls.certify(problem, np.maximum(Y - 12.0 * lam, 0.0)).is_global
    elif first == "a run":
        ls.solve(problem, "gd", stop=ls.StoppingRule(max_iter=2))
    M *= k
    if first != "nothing":
        for refused in (lambda: ls.certify(problem, beside), lambda: ls.solve(problem, "gd")):
            with pytest.raises(ValueError, match="changed in place after it was made"):
                refused()
        problem = ls.Problem(made[loss](), 3, lam)
    certificate = ls.certify(problem, beside)
    assert certificate.is_global and certificate.level is Known.RIGOROUS
    assert certificate.rank_at_most is None or certificate.rank_at_most >= 2


def test_changed_samples_of_one_of_several_matrices_are_refused():
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((3, 30))
    losses = [ls.objectives.Softmax(np.ones((4, 3)), Z, rng.integers(0, 4, 30)), ls.objectives.Denoising(np.eye(4, 3))]
    problem = ls.MultiProblem(Separable(losses), 2, 0.1)
    result = ls.solve(problem, "lbfgs")
    Z *= 0.5
    for refused in (lambda: ls.certify(problem, result), lambda: ls.solve(problem, "lbfgs")):
        with pytest.raises(ValueError, match="the data of Softmax were changed in place after it was made"):
            refused()


@pytest.mark.parametrize("loss", ["linear", "softmax", "logistic"])
@pytest.mark.parametrize("change", [lambda Z: Z.__imul__(0.5), lambda Z: Z.__iadd__(1.0), lambda Z: Z.sort()])
def test_samples_that_are_changed_in_place_after_the_objective_was_made_are_refused(loss, change):
    """Runs went on with what was made of the samples, and proofs with the samples: a minimiser was RIGOROUSLY none."""
    rng = np.random.default_rng(0)
    W0, Z, Y = rng.standard_normal((4, 3)), rng.standard_normal((3, 30)), rng.standard_normal((4, 30))
    made = {
        "linear": lambda: ls.objectives.LinearFineTuning(W0, Z, Y),
        "softmax": lambda: ls.objectives.Softmax(W0, Z, Y.argmax(axis=0)),
        "logistic": lambda: ls.objectives.Logistic(W0, Z, np.sign(Y)),
    }
    problem = ls.Problem(made[loss](), 3, 0.01)
    stop = ls.StoppingRule(grad_tol=1e-10)
    result = ls.solve(problem, "lbfgs", stop=stop)
    assert ls.certify(problem, result).is_global is True
    change(Z)
    for judge in (ls.certify, ls.landscape.verdict):
        with pytest.raises(ValueError, match="changed in place after it was made"):
            judge(problem, result)
    if loss == "linear":  # made of Gram matrices alone, of which this is an optimum
        result = ls.solve(problem, "lbfgs", stop=stop)
        assert ls.certify(problem, result, rigorous=False).is_global
        with pytest.raises(ValueError, match="changed in place after it was made"):
            ls.certify(problem, result)
    else:
        with pytest.raises(ValueError, match="changed in place after it was made"):
            ls.certify(problem, result, rigorous=False)
        for engine in ("compiled", "interpreted"):
            with pytest.raises(ValueError, match="changed in place after it was made"):
                ls.solve(problem, "gd", engine=engine)
        with pytest.raises(ValueError, match="changed in place after it was made"):
            ls.solve_batch(problem, "gd")
    again = ls.Problem(made[loss](), 3, 0.01)
    assert ls.certify(again, ls.solve(again, "lbfgs", stop=stop)).is_global is True
