"""Shrinking and scripts: small failing instances, exact numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorasolve.attacks import Family
from lorasolve.attacks._script import literal, replay, write_script
from lorasolve.attacks._shrink import shrink

FAMILY = Family(
    "matrices",
    draw=lambda rng, target: {},
    judge=lambda target: {},
    axes={"M": ("m", "n"), "w": ("n",)},
    least={"count": 2},
    simpler={"dtype": ("float64", "float32")},
)


def large() -> dict:
    rng = np.random.default_rng(0)
    M = rng.standard_normal((7, 5))
    M[4, 2] = 31.4159
    return {"M": M.tolist(), "w": rng.random(5).tolist(), "count": 37, "dtype": "float32", "lam": 0.123456789}


def test_everything_that_does_not_matter_goes() -> None:
    def fails(instance: dict) -> bool:
        fits = np.shape(instance["M"])[1] == len(instance["w"])
        return fits and np.max(instance["M"]) > 30 and instance["count"] >= 5

    small = shrink(FAMILY, large(), fails, 5000)
    assert small == {"M": [[31.0]], "w": [0.0], "count": 5, "dtype": "float64", "lam": 1.0}


def test_what_matters_stays() -> None:
    instance = large()
    assert shrink(FAMILY, instance, lambda candidate: candidate == instance, 5000) == instance

    def fails(candidate: dict) -> bool:
        return np.shape(candidate["M"]) == (7, 5) and candidate["dtype"] == "float32" and candidate["lam"] < 0.5

    small = shrink(FAMILY, instance, fails, 5000)
    assert np.shape(small["M"]) == (7, 5) and small["dtype"] == "float32" and small["lam"] == 0.1


@pytest.mark.parametrize("limit", [0, 1, 17])
def test_calls_are_bounded(limit) -> None:
    calls = []

    def fails(candidate: dict) -> bool:
        calls.append(candidate)
        return True

    shrink(FAMILY, large(), fails, limit)
    assert len(calls) <= limit


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_written_exactly(value) -> None:
    back = eval(literal(value), {"fromhex": float.fromhex})
    assert back == value and math.copysign(1.0, back) == math.copysign(1.0, value)


def test_lists_and_texts_are_written_exactly() -> None:
    value = [[1.0, math.pi], [-0.1, 1e-300]]
    assert eval(literal(value), {"fromhex": float.fromhex}) == value
    assert [eval(literal(v)) for v in (3, True, "a'b", None)] == [3, True, "a'b", None]


def test_a_script_that_no_longer_fails_is_not_a_reproduction() -> None:
    assert replay("raise SystemExit(True)") == replay("raise SystemExit(1)") == "exit"
    assert replay("raise SystemExit(False)") is replay("x = 1") is None
    assert replay("1/0") == "raised ZeroDivisionError: division by zero"


def test_a_script_holds_all_that_the_judge_uses() -> None:
    from lorasolve.attacks._points import judge_weighted

    instance = dict(weights=[1.0], diagonal=[math.pi], x=[0.0], off=0.0, lam=0.1, states=True)
    script = write_script(judge_weighted, "lorasolve.certify", "t", "c", "e", instance)
    for part in ("class Weighted", "def held_against", "def thresholded", "import mpmath\n", "import numpy as np\n"):
        assert script.count(part) == 1
    assert 'diagonal=[fromhex("0x1.921fb54442d18p+1")]' in script
    assert "lorasolve.attacks" not in script
    compile(script, "script", "exec")
