"""Stages of full unloading against the singular values of the target."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from lorasolve.papers import periodic_lora, registry


def test_residuals_are_the_tails_of_the_singular_values():
    values = np.linalg.svd(np.random.default_rng(0).standard_normal((12, 10)), compute_uv=False)
    stages = periodic_lora.stages(3)
    assert len(stages) == 3
    for stage, (rank, residual, tail) in enumerate(stages, 1):
        assert rank == 2 * stage
        assert tail == pytest.approx(np.linalg.norm(values[2 * stage :]), rel=1e-12)
        assert residual == pytest.approx(tail, rel=1e-8)


def test_with_decay_the_rank_of_the_stages_decides_whether_the_limit_is_the_convex_optimum():
    limits = periodic_lora.decayed_limits(0.3, 4)
    (below, above), (reaching, _) = (limits[f"anisotropic, rank {rank} of 4"] for rank in (1, 4))
    assert below > 1e-4 and abs(reaching) < 1e-10
    assert above > 0.01  # four stages of rank 1 are not the limit
    # The optimum for the identity: the singular values of the target less lam, of which 4 stages of rank 1 keep 4.
    sigma = np.linalg.svd(np.random.default_rng(1).standard_normal((12, 10)), compute_uv=False)
    kept = np.maximum(sigma - 0.3, 0.0)
    best = 0.5 * np.sum((sigma - kept) ** 2) + 0.3 * kept.sum()
    kept[4:] = 0.0
    reached = 0.5 * np.sum((sigma - kept) ** 2) + 0.3 * kept.sum()
    assert limits["isotropic, rank 1 of 9"] == pytest.approx([reached / best - 1.0, sigma[4] / 0.3 - 1.0], rel=1e-7)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_the_linear_rule_jumps_by_the_product_of_the_shares(fraction):
    jumps = periodic_lora.unload_jumps(fraction)
    assert jumps["linear"] == pytest.approx(fraction * (1 - fraction), rel=1e-12)
    assert jumps["root"] < 1e-14 and jumps["unloaded"] == pytest.approx(fraction, rel=1e-12)


def found(**changed):
    """Return numbers that fulfil every claim, with some of them changed."""
    numbers = {
        "stages": [(rank, 1.0, 1.0) for rank in (2, 4, 6, 8, 10, 10)],
        "losses": {"LoRA": 24.6, "PeriodicLoRA": 0.0, "floor": 24.6},
        "jumps": {"root": 1e-16, "linear": 0.09, "unloaded": 0.1},
        "limits": {"isotropic": [0.0, 0.0], "rank 1": [8e-4, 1e-9], "rank 4": [0.0, -1e-9]},
    }
    return numbers | changed


@pytest.mark.parametrize(
    ("changed", "refuted"),
    [
        ({}, []),
        ({"stages": [(rank, float("nan"), 1.0) for rank in (2, 4, 6, 8, 10, 10)]}, [0]),
        ({"losses": {"LoRA": 25.0, "PeriodicLoRA": 0.0, "floor": 24.6}}, [1]),  # LoRA has not come to its least loss
        ({"jumps": {"root": 0.0, "linear": 0.09, "unloaded": 0.0}}, [2]),  # nothing unloaded, nothing changed
        ({"limits": {"isotropic": [0.0, 0.0], "rank 1": [8e-4, 1e-2], "rank 4": [0.0, 0.0]}}, [3]),  # on its way
        ({"limits": {"isotropic": [-0.1, 0.0], "rank 1": [8e-4, 0.0], "rank 4": [0.0, 0.0]}}, [3]),
    ],
)
def test_each_half_of_a_claim_is_judged(changed, refuted):
    claims = periodic_lora.PeriodicLoRAClaims().judge(found(**changed))
    assert [k for k, claim in enumerate(claims) if not claim.holds] == refuted


@pytest.mark.parametrize("least", [-5.6e-16, 0.0, 1.1e-15])
def test_an_excess_that_has_no_logarithm_is_drawn_where_the_axis_says(least):
    """By rounding it may be 0 or less: the picture showed one of 1e-17 that was never measured."""
    limits = {"isotropic": [least, 0.0], "anisotropic, below": [8e-4, 0.0], "anisotropic, reaching": [3e-15, 0.0]}
    found = {"stages": [[2, 7.0, 7.0]], "limits": limits}
    figure = Figure()
    registry.classes()["periodic_lora"]().picture(found, figure)
    axis = figure.axes[1]
    (line,) = axis.get_lines()
    assert list(line.get_ydata()) == [max(least, 1e-17), 8e-4, 3e-15]
    assert axis.get_ylabel().endswith("\n(0 and less drawn as 1e-17)") == (least <= 0.0)
