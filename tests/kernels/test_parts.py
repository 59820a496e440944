"""The parallel loop that all kernels share."""

from collections import namedtuple

import numba
import numpy as np
import pytest

from lorasolve.kernels.jit import kernel
from lorasolve.kernels.parts import each_part

Pair = namedtuple("Pair", "first second")


@kernel(inner=True, symbol=True)
def _body(out, matrix, plus, times, sizes, pair, t):
    out[t] += times * matrix[t, sizes[1]] + (pair.first[t] if plus else pair.second)


@kernel()
def _all(out, matrix, plus, times, pair):
    each_part(_body, out.size, (out, matrix, plus, times, (4, 2), pair))


@kernel()
def _twice(out, matrix, plus, times, pair):
    for _ in range(2):
        each_part(_body, out.size, (out, matrix, plus, times, (4, 1), pair))
        each_part(_body, out.size - 1, (out, matrix, not plus, 3.0, (0, 2), pair))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
@pytest.mark.parametrize("plus", [True, False])
def test_each_part_is_done_once_with_arguments_of_every_kind(threads, count, plus):
    threads = min(threads, numba.config.NUMBA_NUM_THREADS)
    before = numba.get_num_threads()
    rng = np.random.default_rng(count)
    matrix, first = rng.standard_normal((count, 3)), rng.standard_normal(count)
    pair, added = Pair(first, 7.0), first if plus else np.full(count, 7.0)
    other = np.full(count, 7.0) if plus else first
    try:
        numba.set_num_threads(threads)
        out = np.zeros(count)
        _all(out, matrix, plus, 2.5, pair)
        np.testing.assert_allclose(out, 2.5 * matrix[:, 2] + added, rtol=1e-14)
        if count:
            out[:] = 0.0
            _twice(out, matrix, plus, 2.5, pair)
            expected = 2.5 * matrix[:, 1] + added
            expected[:-1] += (3.0 * matrix[:, 2] + other)[:-1]
            np.testing.assert_allclose(out, 2.0 * expected, rtol=1e-13, atol=1e-13)
    finally:
        numba.set_num_threads(before)


@kernel(inner=True, symbol=True)
def _failing(out, where, t):
    if t == where:
        raise ValueError("nothing the caller sees")
    out[t] = 1.0


@kernel()
def _fails(out, where):
    each_part(_failing, out.size, (out, where))


def test_a_part_that_fails_is_an_error():
    out = np.zeros(5)
    _fails(out, 7)
    assert (out == 1.0).all()
    with pytest.raises(RuntimeError, match="a part of a parallel loop failed"):
        _fails(out, 3)
