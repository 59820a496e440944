"""AdamW followed by the adapter's threshold, as SoRA is trained."""

from __future__ import annotations

from dataclasses import dataclass

from .._support.validate import Array
from ..adapters.sora import unit_columns
from ..problem import Problem
from .adam import AdamState
from .adamw import AdamW
from .base import Optimizer


@dataclass(frozen=True)
class ProximalAdamW(AdamW):
    """AdamW's step in factors and gates, then the adapter's threshold on the gates.

    With ``SoRA(variant="paper")`` gates are soft-thresholded at ``step * gate_penalty``; with ``"released"`` the map of
    the release is applied at ``gate_penalty`` itself, whatever the step.

    **It does not minimise** ``L``: Adam divides the gradient of a gate by its own size and leaves the penalty as it is,
    so that an open gate rests only where ``c/(|c| + eps) = -gate_penalty sign(g)``, ``c`` its gradient: for
    ``gate_penalty < 1`` where ``|c| = eps gate_penalty/(1 - gate_penalty)``, next to nothing. The penalty speeds gates
    to zero and holds those there whose gradient averages out; it does not weigh them against the loss.

    Parameters
    ----------
    step_size, beta1, beta2, eps, weight_decay
        As for :class:`~lorasolve.optimizers.AdamW`; the decay is of the factors.

    Notes
    -----
    Source: N. Ding et al., SoRA (arXiv:2311.11696), and its released code, whose ``eps`` is added before the bias
    correction. :class:`~lorasolve.optimizers.ProximalGD` is the paper's own iteration, which minimises ``L``.
    """

    name = "proximal_adamw"
    summary = "AdamW, then the adapter's threshold on its gates, as SoRA is released (does not minimise L)"
    own_aim = "f with a gate penalty that Adam rescales"
    takes_prox = True
    stall_hint = "; use 'proximal_gd' to minimise L"

    @classmethod
    def showcase(cls, problem: Problem) -> str | None:
        """Return unit columns with the problem's decay as gate penalty, as proximal gradient descent is shown.

        Gates start at zero, where a run that closes them would end at once: the schedule ``revive`` opens them.
        """
        return f"{cls.name}+revive+cosine@{unit_columns(problem)}"

    def residual(self, problem: Problem, theta: Array) -> float:
        """Return how far ``theta`` is from the stationary points of ``L``."""
        return Optimizer.residual(self, problem, theta)

    def update(self, problem: Problem, state: AdamState, value: float, grad: Array) -> None:
        """Accept the trial, take AdamW's step, and apply the threshold."""
        super().update(problem, state, value, grad)
        problem.prox(state.trial, state.step * state.step_factor)
