"""Optima by a closed form or another route, of problems that several tests certify."""

import warnings

import numpy as np

import lorasolve as ls
from lorasolve.objectives import Denoising, Huber, LinearFineTuning, Logistic, MatrixCompletion, MatrixSensing, Softmax

ROUNDING = 1e-13


def soft_threshold(M, lam):
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    return (P * np.maximum(s - lam, 0.0)) @ Qt


def denoising_optimum(M, lam):
    X = soft_threshold(M, lam)
    return 0.5 * np.sum((X - M) ** 2) + lam * np.linalg.norm(X, "nuc")


def by_clarabel(problem):
    """A value of F that some X attains, hence an upper bound of the optimum, by a solver of another kind."""
    import cvxpy

    X = cvxpy.Variable(problem.shape)
    task = cvxpy.Problem(
        cvxpy.Minimize(problem.objective.cvxpy_expression(X) + problem.lam_effective * cvxpy.normNuc(X))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": to 1e-9 in place of 1e-11
        task.solve(solver="CLARABEL", tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return problem.convex_value(X.value)


def objectives():
    rng = np.random.default_rng(2)
    M = rng.standard_normal((8, 2)) @ rng.standard_normal((2, 6)) + 0.1 * rng.standard_normal((8, 6))
    rows, cols = np.divmod(rng.choice(48, 30, replace=False), 6)
    Z = rng.standard_normal((6, 25))
    W0 = rng.standard_normal((8, 6))
    measurements = rng.standard_normal((40, 8, 6))
    return {
        "denoising": Denoising(M),
        "completion": MatrixCompletion(rows, cols, M[rows, cols], (8, 6)),
        "sensing": MatrixSensing(measurements, np.einsum("kij,ij->k", measurements, M)),
        "linear": LinearFineTuning(W0, Z, (W0 + M) @ Z),
        "huber": Huber(M, 0.5),
        "softmax": Softmax(W0, Z, rng.integers(0, 8, 25)),
        "logistic": Logistic(W0, Z, np.sign(rng.standard_normal((8, 25)))),
        "shifted": Softmax(W0, Z, rng.integers(0, 8, 25)).merged(0.1 * M),
    }


OBJECTIVES = objectives()
_optima = {}


def optimum(name, lam_effective):
    """The optimal value to 1e-8, and from above: closed form for denoising, Clarabel for the rest."""
    key = name, lam_effective
    if key not in _optima:
        objective = OBJECTIVES[name]
        if name == "denoising":
            _optima[key] = denoising_optimum(objective.M, lam_effective)
        else:
            _optima[key] = by_clarabel(ls.Problem(objective, 1, lam_effective))
    return _optima[key]


def nuclear(factors):
    """||A B^T||_*, from the small matrix between orthonormal bases."""
    R, S = (np.linalg.qr(factor)[1] for factor in factors)
    return np.linalg.norm(R @ S.T, "nuc")
