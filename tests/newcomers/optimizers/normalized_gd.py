"""Gradient descent with steps of a given length."""

from dataclasses import dataclass

import numpy as np

from lorasolve.optimizers import Optimizer


@dataclass(frozen=True)
class NormalizedGD(Optimizer):
    """``theta <- theta - step * grad / ||grad||``.

    Parameters
    ----------
    step_size : float
        Length of a step.

    Notes
    -----
    Fixed points: the stationary points of ``L``; at a constant step the iterates circle around them.
    """

    step_size: float = 0.05

    name = "normalized_gd"
    summary = "steps of a given length along the gradient"
    takes_step_factor = True

    def default_step(self, problem, theta):
        """Return the step in use."""
        return self.step_size

    def update(self, problem, state, value, grad):
        """Accept the trial and step on."""
        state.theta = state.trial
        length = self.step_size * state.step_factor
        state.trial = state.theta - length / (float(np.linalg.norm(grad)) or 1.0) * grad
