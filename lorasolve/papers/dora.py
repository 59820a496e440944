"""DoRA: its gradient column by column, what detaching the norm costs, and what the magnitudes can represent.

Source: Liu et al., "DoRA", arXiv 2402.09353 (ICML 2024); the corrections are derived. Proof module:
proofs/dora_gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._validate import Array
from ..adapters.dora import DoRA
from ..engine import solve
from ..monitor import StoppingRule
from ..objectives.linear import LinearFineTuning
from ..problem import Problem
from .base import Claim, PaperClaims


class _Linear:
    """``f(W0 + X) = <C, W0 + X>``: the loss whose gradient is known."""

    def __init__(self, W0: Array, C: Array) -> None:
        self.W0, self.C, self.shape = W0, C, W0.shape

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return the loss and ``C``."""
        return float(np.vdot(self.C, self.W0 + X)), self.C.copy()


def gradient_errors(seed: int = 0) -> dict[str, float]:
    """Return the relative errors, against central differences, of the gradient in ``A`` and of the printed formula."""
    rng = np.random.default_rng(seed)
    m, n, r = 7, 5, 2
    W0, C = rng.standard_normal((m, n)), rng.standard_normal((m, n))
    problem = Problem(_Linear(W0, C), r, adapter=DoRA(axis=0))
    A, B, w = rng.standard_normal((m, r)), rng.standard_normal((n, r)), rng.standard_normal(n)
    theta = np.concatenate([A.ravel(), B.ravel(), w])
    unused = np.empty_like(theta)
    h, numeric = 1e-6, np.empty(m * r)
    for k in range(m * r):
        step = np.zeros_like(theta)
        step[k] = h
        rise = problem.value_and_grad(theta + step, unused) - problem.value_and_grad(theta - step, unused)
        numeric[k] = rise / (2.0 * h)
    exact = np.empty_like(theta)
    problem.value_and_grad(theta, exact)
    V = W0 + A @ B.T
    c = np.linalg.norm(V, axis=0)
    printed = ((np.eye(m) - V @ V.T / np.sum(c**2)) @ C * (w / c)) @ B
    size = np.linalg.norm(numeric)
    return {
        "by column": float(np.linalg.norm(exact[: m * r] - numeric) / size),
        "one matrix": float(np.linalg.norm(printed.ravel() - numeric) / size),
    }


def rates_of_change() -> dict[str, float]:
    """Return ``dL/dt`` along minus the exact and minus the detached direction, on an instance in exact numbers."""
    W0, C = np.array([[0.0], [-0.1]]), np.array([[-0.5], [1.0]])
    theta = np.array([10.0, 1.0, 0.1, 1.0])
    exact, detached = np.empty(4), np.empty(4)
    for detach, grad in ((False, exact), (True, detached)):
        Problem(_Linear(W0, C), 1, adapter=DoRA(axis=0, detach=detach)).value_and_grad(theta, grad)
    return {"exact": -float(exact @ exact), "detached": -float(exact @ detached)}


def losses(rank: int, max_iter: int) -> dict[str, float]:
    """Return the losses of DoRA and LoRA on a rescaled weight plus a change of the same rank, and LoRA's least one."""
    rng = np.random.default_rng(2)
    m = n = 10
    W0 = rng.standard_normal((m, n))
    change = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n)) / np.sqrt(n)
    target = W0 * rng.uniform(0.5, 1.5, n) + change
    objective = LinearFineTuning(W0, np.sqrt(n) * np.eye(n), np.sqrt(n) * target)
    stop = StoppingRule(max_iter, grad_tol=1e-9)
    ends = {
        name: solve(Problem(objective, rank, adapter=adapter), "lbfgs", stop=stop).fun
        for name, adapter in (("DoRA", DoRA(axis=0)), ("LoRA", "lora"))
    }
    tail = np.linalg.svd(target - W0, compute_uv=False)[rank:]
    return ends | {"least": 0.5 * float(np.sum(tail**2))}


class DoRAClaims(PaperClaims):
    """The gradient, the detached norm, and the magnitudes."""

    name = "dora"
    paper = "DoRA (arXiv 2402.09353)"
    summary = "its gradient column by column, the detached norm, and what the magnitudes add"
    seeds = "0, 2"
    parts = {"errors": gradient_errors, "rates": rates_of_change, "losses": losses}

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return fewer steps for a quick run."""
        return {"losses": {"rank": 2, "max_iter": 3000 if quick else 20_000}}

    def report(self, found: dict[str, Any]) -> str:
        """Return the losses at equal rank."""
        shown = ", ".join(f"{name} {value:.3g}" for name, value in found["losses"].items())
        return f"Loss on a rescaled weight plus a change of rank 2 (10 x 10): {shown}"

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        errors, rates, reached = found["errors"], found["rates"], found["losses"]
        return [
            Claim(
                "the gradient is projected off the weight and scaled; correction: column by column, the formula "
                "printed with one projector for the whole matrix is false",
                "holds with correction",
                f"relative error {errors['by column']:.0e} by column, {errors['one matrix']:.2f} with one matrix",
                errors["by column"] < 1e-7 and errors["one matrix"] > 0.1,
            ),
            Claim(
                "the norm can be left out of the derivative; correction: the direction can then ascend",
                "holds with correction",
                f"dL/dt: exact {rates['exact']:.2f}, detached {rates['detached']:+.2f}",
                abs(rates["exact"] + 63 / 50) < 1e-12 and abs(rates["detached"] - 187 / 50) < 1e-12,
            ),
            Claim(
                "DoRA learns more than LoRA at equal rank: it rescales the columns of the frozen weight, which no "
                "low-rank update can",
                "confirmed",
                f"loss {reached['DoRA']:.1e} against {reached['LoRA']:.2f} (LoRA's least: {reached['least']:.2f})",
                reached["DoRA"] < 0.1 * reached["least"] and reached["LoRA"] >= 0.999999 * reached["least"],
            ),
            Claim("commonsense average 78.4 against 74.7 for LoRA (LLaMA 7B)", "not at matrix scale", "-", True),
        ]
