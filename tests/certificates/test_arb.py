"""Larger cases than rational arithmetic allows, judged by Arb in a process of its own."""

import json
import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.certificates import _oracles, rigorous, rigorous_bound
from lorasolve.certificates.balls import Ball
from lorasolve.certificates.norms import Gram
from lorasolve.objectives import LinearFineTuning, Logistic, Softmax

JUDGE = pathlib.Path(__file__).with_name("judge_in_arb.py")


def judged(cases):
    """What the judge finds wrong in each case."""
    done = subprocess.run([sys.executable, str(JUDGE)], input=json.dumps(cases), capture_output=True, text=True)
    if "No module named 'flint'" in done.stderr:
        pytest.skip("python-flint is not installed (pip install python-flint)")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def hexed(array):
    return [[float(value).hex() for value in row] for row in array]


def clustered(rng, n):
    """A matrix as at an optimum: five singular values 1 and the rest below."""
    G = rng.standard_normal((n, n)) * (0.9 / (2.0 * math.sqrt(n)))
    P, Q = (np.linalg.qr(rng.standard_normal((n, 5)))[0] for _ in range(2))
    G -= P @ (P.T @ G)
    G -= (G @ Q) @ Q.T
    return G + P @ Q.T


def norm_case(G, bound):
    return {"kind": "norm", "G": hexed(G), "bounds": {"norm": float(bound).hex()}}


def test_norms_of_fifty_rows():
    rng = np.random.default_rng(0)
    cases = []
    for G in (rng.standard_normal((50, 40)), clustered(rng, 45), np.outer(rng.random(40), rng.random(30))):
        for trust in ("lapack", "gemm"):
            for level in (None, 1.0):
                cases.append(norm_case(G, Gram(Ball(G), trust).norm(level)))
    assert judged(cases) == [[]] * len(cases)
    # The judge objects to a norm that is too small by 1e-13.
    G = rng.standard_normal((50, 40))
    assert judged([norm_case(G, np.linalg.norm(G, 2) * (1.0 - 1e-13))]) == [["norm"]]


def model_case(rng, kind):
    m, n, N, r = 8, 10, 50, 3
    W0, Z = rng.standard_normal((m, n)), rng.standard_normal((n, N)) * 10.0 ** rng.uniform(-2.0, 1.0)
    A, B = rng.standard_normal((m, r)), rng.standard_normal((n, r)) * 10.0 ** rng.uniform(-3.0, 1.0)
    targets = {
        "linear": rng.standard_normal((m, N)),
        "softmax": rng.integers(0, m, N),
        "logistic": rng.choice([-1.0, 1.0], (m, N)),
    }[kind]
    objective = {"linear": LinearFineTuning, "softmax": Softmax, "logistic": Logistic}[kind](W0, Z, targets)
    problem = ls.Problem(objective, r, 0.1)
    parts = rigorous_bound(problem, (A, B)).parts
    A, B, _ = rigorous.point_factors(problem, (A, B))
    mid = _oracles.ball_oracle(objective, A, B).gradient.mid
    bounds = dict(
        f_low=parts.f_low, f_high=parts.f_high, radius=parts.radius, inner=parts.inner_high, norm=parts.norm_high
    )
    case = dict(kind=kind, A=hexed(A), B=hexed(B), W0=hexed(W0), Z=hexed(Z), mid=hexed(mid))
    case |= {"Y": hexed(targets)} if kind == "linear" else {"labels": targets.tolist()}
    return case | {"bounds": {name: value.hex() for name, value in bounds.items()}}


@pytest.mark.parametrize("kind", ["linear", "softmax", "logistic"])
def test_losses_of_models(kind):
    rng = np.random.default_rng(1)
    cases = [model_case(rng, kind) for _ in range(6)]
    assert judged(cases) == [[]] * len(cases)
    # Without the radius, and with a value above the interval, the judge objects.
    broken = json.loads(json.dumps(cases[0]))
    broken["bounds"] |= {"radius": (0.0).hex(), "f_high": broken["bounds"]["f_low"]}
    assert judged([broken]) == [["f", "radius"]]
