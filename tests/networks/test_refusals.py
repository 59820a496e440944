"""What is given wrongly to the parts of ``networks`` that need NumPy only: refused by the argument's name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lorasolve.networks import LayerTokens, TokenNTK, solve_tangent, tangent_certificate

PAIR = np.ones((3, 1)), np.ones((2, 1))


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"factors": [1.0]}, TypeError, r"factors\[0\]: expected a pair"),
        ({"factors": 5}, TypeError, "factors: expected"),
        ({"factors": []}, ValueError, "factors: expected at least one pair"),
        ({"factors": [(np.ones((3, 1)), np.ones((2, 2)))]}, ValueError, r"factors\[0\]: expected shapes"),
        ({"factors": [(np.ones((3, 1)) + 1j, np.ones((2, 1)))]}, TypeError, r"factors\[0\]: expected real numbers"),
        ({"factors": [(np.full((3, 1), np.nan), np.ones((2, 1)))]}, ValueError, r"factors\[0\].A: has non-finite"),
        ({"names": 0}, TypeError, "names: expected"),
        ({"names": [0]}, TypeError, "names: expected a text"),
        ({"names": ["one", "two"]}, ValueError, "names: expected one for each of 1 layers"),
        ({"dtype": dict}, ValueError, "dtype: expected 'float64' or 'float32'"),
        ({"lower_bound": None}, TypeError, "lower_bound: expected a finite number"),
    ],
)
def test_of_a_tangent_certificate(changed: dict[str, Any], error: type[Exception], words: str) -> None:
    arguments: dict[str, Any] = {"f": 1.0, "gradients": [np.ones((3, 2))], "factors": [PAIR], "lam": 0.1}
    tangent_certificate(**arguments)
    with pytest.raises(error, match=words):
        tangent_certificate(**(arguments | changed))


def test_of_a_token_form() -> None:
    tokens = LayerTokens(np.ones((4, 1, 3)), np.ones((4, 2)), np.arange(4))
    for targets in (np.ma.masked_array([0, 1, 0, 1], [True, False, False, False]), [[0], [1, 2]]):
        with pytest.raises(ValueError, match="targets: "):
            TokenNTK([tokens], np.zeros((4, 1)), targets)
    ntk = TokenNTK([tokens], np.zeros((4, 1)), [0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"factors: expected factors of updates of shapes \[\(3, 2\)\]"):
        solve_tangent(ntk, [(np.ones((2, 1)), np.ones((3, 1)))], 0.1)


@pytest.mark.parametrize("kind", [np.uint64, np.uint8, np.int32])
def test_tokens_that_are_not_sorted_are_refused_whatever_counts_their_samples(kind: Any) -> None:
    rng = np.random.default_rng(0)
    signals, inputs = rng.standard_normal((4, 1, 3)), rng.standard_normal((4, 2))
    order = [2, 0, 3, 1]
    with pytest.raises(ValueError, match=r"layers\[0\].owner: expected sample numbers in ascending order"):
        TokenNTK([LayerTokens(signals[order], inputs[order], np.array(order, kind))], np.zeros((4, 1)), [0, 1, 0, 1])
    ntk = TokenNTK([LayerTokens(signals, inputs, np.arange(4, dtype=kind))], np.zeros((4, 1)), [0, 1, 0, 1])
    X = rng.standard_normal((3, 2))
    margins = np.array([1, -1, 1, -1]) * np.einsum("tm,mn,tn->t", signals[:, 0], X, inputs)
    assert ntk.value_and_grad([X])[0] == pytest.approx(np.log1p(np.exp(-margins)).mean(), rel=1e-14)
