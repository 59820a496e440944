"""A step size that falls in stairs."""

from dataclasses import dataclass

from lorasolve.schedules import Schedule


@dataclass(frozen=True)
class Staircase(Schedule):
    """Step factor ``decay^k`` in the k-th part of the run.

    Parameters
    ----------
    parts : int
        Number of stairs.
    decay : float
        Factor from one to the next.
    """

    parts: int = 4
    decay: float = 0.5

    name = "staircase"
    summary = "step size falls by a factor a few times along the run"
    scales_steps = True

    def step_factor(self, iteration, stage_iteration, max_iter):
        """Return the factor for the next step."""
        return self.decay ** min(self.parts * iteration // max_iter, self.parts - 1)
