"""Stages of full unloading against the singular values of the target."""

import numpy as np
import pytest

from lorasolve.papers import periodic_lora


def test_residuals_are_the_tails_of_the_singular_values():
    values = np.linalg.svd(np.random.default_rng(0).standard_normal((12, 10)), compute_uv=False)
    for stage, (rank, residual, tail) in enumerate(periodic_lora.stages(3), 1):
        assert rank == 2 * stage
        assert tail == pytest.approx(np.linalg.norm(values[2 * stage :]), rel=1e-12)
        assert residual == pytest.approx(tail, rel=1e-8)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_the_linear_rule_jumps_by_the_product_of_the_shares(fraction):
    jumps = periodic_lora.unload_jumps(fraction)
    assert jumps["linear"] == pytest.approx(fraction * (1 - fraction), rel=1e-12)
    assert jumps["root"] < 1e-14
