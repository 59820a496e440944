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


def test_with_decay_the_rank_of_the_stages_decides_whether_the_limit_is_the_convex_optimum():
    limits = periodic_lora.decayed_limits(0.3, 4)
    below, reaching = (limits[f"anisotropic, rank {rank} of 4"] for rank in (1, 4))
    assert below > 1e-4 and abs(reaching) < 1e-10
    # The optimum for the identity: the singular values of the target less lam, of which 4 stages of rank 1 keep 4.
    sigma = np.linalg.svd(np.random.default_rng(1).standard_normal((12, 10)), compute_uv=False)
    kept = np.maximum(sigma - 0.3, 0.0)
    best = 0.5 * np.sum((sigma - kept) ** 2) + 0.3 * kept.sum()
    kept[4:] = 0.0
    reached = 0.5 * np.sum((sigma - kept) ** 2) + 0.3 * kept.sum()
    assert limits["isotropic, rank 1 of 9"] == pytest.approx(reached / best - 1.0, rel=1e-7)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_the_linear_rule_jumps_by_the_product_of_the_shares(fraction):
    jumps = periodic_lora.unload_jumps(fraction)
    assert jumps["linear"] == pytest.approx(fraction * (1 - fraction), rel=1e-12)
    assert jumps["root"] < 1e-14
