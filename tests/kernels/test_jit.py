"""What kernels count, and what they may make."""

import numba
import numpy as np
import pytest
from numba.core.caching import NullCache

from lorasolve.kernels.jit import kernel


@kernel(allocates=True)
def _counting(pair, x):
    for k in range(x.size):
        left, right = pair
        x[k] = left[k] + right[k]


@kernel()
def _not_counting(pair, x):
    for k in range(x.size):
        left, right = pair
        x[k] = left[k] + right[k]


@kernel()
def _making(x):
    y = np.empty_like(x)
    for k in range(x.size):
        y[k] = x[k]
    return y.sum()


def _counts(dispatcher) -> bool:
    (found,) = dispatcher.overloads.values()
    return "NRT_" in found.library.get_asm_str()


@pytest.mark.parametrize(("each", "counts"), [(_counting, True), (_not_counting, False)], ids=["arrays", "none"])
def test_only_a_kernel_that_makes_arrays_counts_references(each, counts, monkeypatch):
    # Machine code from the disk cannot be read.
    monkeypatch.setattr(each, "_cache", NullCache())
    pair, x = (np.arange(4.0), np.ones(4)), np.empty(4)
    each(pair, x)
    np.testing.assert_array_equal(x, np.arange(4.0) + 1.0)
    assert _counts(each) == counts


def test_a_kernel_that_makes_arrays_has_to_say_so():
    with pytest.raises(numba.core.errors.NumbaError):
        _making(np.arange(4.0))
