"""The instance on which the detached direction ascends, by hand; the other numbers are held by the claims."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from lorasolve.papers import dora


def test_rates_of_change_by_the_chain_rule():
    """At v = (1, 0), c = w = 1, g = (-1/2, 1): q = -1/2, exactly F = (0, 1) per entry of V, detached D = (-1/2, 1)."""
    A, B, q = (10.0, 1.0), 0.1, -0.5
    exact, detached = ((F[0] * B, F[1] * B, F[0] * A[0] + F[1] * A[1], q) for F in ((0.0, 1.0), (-0.5, 1.0)))
    rates = dora.rates_of_change()
    assert rates["exact"] == pytest.approx(-sum(x * x for x in exact), rel=1e-14)
    assert rates["detached"] == pytest.approx(-sum(x * y for x, y in zip(exact, detached)), rel=1e-14)


def found(losses=(0.0, 2.75), perturbed=(0.9, 0.9, 0.9, 0.9)):
    """Return numbers that fulfil every claim, with the losses of DoRA and LoRA and the correlations of one kind."""
    rows = {"perturbed": perturbed, "norms kept": (0.0, 0.8, 0.9, 0.9), "direction or norm": (-0.8, -0.8, -0.5, -0.6)}
    return {
        "errors": {"by column": 1e-9, "one matrix": 1.0},
        "rates": {"exact": -1.26, "detached": 3.74},
        "losses": {"DoRA": losses[0], "LoRA": losses[1], "least": 2.75},
        "correlations": {kind: {k: [v] for k, v in zip(dora.METHODS, row)} for kind, row in rows.items()},
    }


@pytest.mark.parametrize(
    ("changed", "refuted"),
    [
        ({}, []),
        ({"losses": (0.0, 3.0)}, [3]),  # LoRA has not come to its least loss
        ({"losses": (2.0, 2.75)}, [3]),
        ({"perturbed": (0.9, float("nan"), 0.9, 0.9)}, [0]),  # a method that changed nothing
    ],
)
def test_each_half_of_a_claim_is_judged(changed, refuted):
    claims = dora.DoRAClaims().judge(found(**changed))
    assert [k for k, claim in enumerate(claims) if not claim.holds] == refuted


def test_the_bars_are_the_standard_errors_that_are_printed():
    """Of correlations 0.6, 0.8 and 1.0 the deviation is 0.2: 0.1155 of their mean."""
    numbers = found()
    for table in numbers["correlations"].values():
        for name in table:
            table[name] = [0.6, 0.8, 1.0]
    figure = Figure()
    dora.DoRAClaims().picture(numbers, figure)
    (bars,) = figure.axes[0].containers[0].lines[2]
    for (_, low), (_, high) in bars.get_segments():
        assert (low, high) == pytest.approx((0.8 - 0.2 / 3**0.5, 0.8 + 0.2 / 3**0.5))
    assert "0.80 +- 0.12" in dora.DoRAClaims().report(numbers)
    assert "standard errors" in figure.legends[0].get_title().get_text()


def test_the_least_loss_of_lora_is_eckart_youngs_and_rescaled_columns_are_within_dora():
    """From the same draws: the columns' scales undone, the change of rank 2 is left."""
    rng = np.random.default_rng(2)
    W0 = rng.standard_normal((10, 10))
    change = rng.standard_normal((10, 2)) @ rng.standard_normal((2, 10)) / np.sqrt(10)
    scales = rng.uniform(0.5, 1.5, 10)
    gap = W0 * (scales - 1.0) + change
    tail = 0.5 * np.sum(np.linalg.eigvalsh(gap.T @ gap)[:-2])
    ends = dora.losses(2, 3000)
    assert ends["least"] == pytest.approx(tail, rel=1e-10) and ends["LoRA"] == pytest.approx(tail, rel=1e-6)
    assert 0.0 <= ends["DoRA"] < 1e-6


def test_the_methods_are_what_they_are_called():
    """A detached norm leaves the radial part in: its derivative along the weight itself does not vanish."""
    W0 = np.array([[3.0], [4.0]])
    for name, radial in (("DoRA", False), ("DoRA, norm detached", True)):
        problem = dora.Problem(dora._Linear(W0, W0), 1, adapter=dora.METHODS[name])
        grad = np.empty(4)
        problem.value_and_grad(np.array([0.0, 0.0, 1.0, 5.0]), grad)
        assert (abs(grad[:2] @ W0[:, 0]) > 1.0) == radial
    assert dora.METHODS["full"] is None and dora.METHODS["LoRA"].name == "lora"


def test_a_column_of_zeros_has_a_length_and_no_direction():
    """A quarter turn of one column of three; one that stays 0, and one that grows from 0 to the length 5."""
    W0 = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    W = np.array([[0.0, 0.0, 3.0], [2.0, 0.0, 4.0]])
    assert dora.changes(W, W0) == pytest.approx((1.0, 2.0))  # (1)/1 and (1 + 0 + 5)/3
    assert dora.changes(W0, W) == pytest.approx((1.0, 2.0))
    assert dora.changes(W0, W0) == (0.0, 0.0)
    direction, length = dora.changes(W[:, 1:], W0[:, 1:])
    assert np.isnan(direction) and length == 2.5


def test_changes_are_those_of_weights_of_one_shape():
    with pytest.raises(ValueError, match=r"W: expected shape \(2, 3\), got \(2, 1\)"):
        dora.changes(np.ones((2, 1)), np.ones((2, 3)))
