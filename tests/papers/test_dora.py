"""The instance on which the detached direction ascends, by hand; the other numbers are held by the claims."""

import pytest

from lorasolve.papers import dora


def test_rates_of_change_by_the_chain_rule():
    """At v = (1, 0), c = w = 1, g = (-1/2, 1): q = -1/2, exactly F = (0, 1) per entry of V, detached D = (-1/2, 1)."""
    A, B, q = (10.0, 1.0), 0.1, -0.5
    exact, detached = ((F[0] * B, F[1] * B, F[0] * A[0] + F[1] * A[1], q) for F in ((0.0, 1.0), (-0.5, 1.0)))
    rates = dora.rates_of_change()
    assert rates["exact"] == pytest.approx(-sum(x * x for x in exact), rel=1e-14)
    assert rates["detached"] == pytest.approx(-sum(x * y for x, y in zip(exact, detached)), rel=1e-14)
