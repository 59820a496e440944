"""Accelerated alternating least squares."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve.objectives import MatrixCompletion
from lorasolve.optimizers import ALS


def problem():
    rng = np.random.default_rng(0)
    rows, cols = np.nonzero(rng.random((80, 50)) < 0.3)
    low_rank = rng.standard_normal((80, 3)) @ rng.standard_normal((3, 50))
    return ls.Problem(MatrixCompletion(rows, cols, low_rank[rows, cols], (80, 50)), 5, 0.5)


def test_acceleration_reaches_the_same_optimum_in_fewer_sweeps():
    stop = ls.StoppingRule(grad_tol=1e-9)
    plain, fast = (ls.solve(problem(), ALS(memory=memory), "spectral", stop=stop) for memory in (0, 6))
    assert plain.success and fast.success
    assert_allclose(fast.fun, plain.fun, rtol=1e-12)
    assert fast.nit < plain.nit / 2


def test_accelerated_values_never_rise():
    result = ls.solve(problem(), ALS(memory=4), "gaussian", stop=ls.StoppingRule(max_iter=60))
    assert np.all(np.diff(result.trace.value) <= 1e-12 * result.trace.value[0])
    assert result.nfev >= result.nit + 1


def test_memory_is_checked():
    with pytest.raises(ValueError, match="memory"):
        ALS(memory=-1)
