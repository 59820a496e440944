"""Why a run stopped, and what to do next."""

from __future__ import annotations

import enum

from ._support.hints import CERTIFY, MORE_ITERATIONS, MORE_TIME


class Status(enum.Enum):
    """Why a run stopped. ``code`` is stable and documented; 0 and 1 count as success."""

    CONVERGED = (0, "the gradient norm is below its tolerance")
    TARGET_REACHED = (1, "the objective reached the target value")
    ITERATION_LIMIT = (2, f"the iteration limit was reached; {MORE_ITERATIONS.python}")
    STALLED = (3, f"no further decrease was found{CERTIFY}")
    TIME_LIMIT = (4, f"the time limit was reached; {MORE_TIME.python}")
    STOPPED_BY_CALLBACK = (5, "the callback asked to stop; continue with init=result")
    INTERRUPTED = (6, "interrupted by Ctrl-C or SIGTERM; the last accepted point is kept")
    DIVERGED = (7, "the iterates left the finite numbers")
    CALL_LIMIT = (8, "the limit on oracle calls was reached; raise max_calls or try another method")
    INCONSISTENT = (9, "values and gradients disagree: run check_objective")

    def __init__(self, code: int, advice: str) -> None:
        self.code = code
        self.advice = advice

    @property
    def success(self) -> bool:
        """Whether the run ended where it was asked to end."""
        return self in (Status.CONVERGED, Status.TARGET_REACHED)

    @property
    def label(self) -> str:
        """The status in words, as printed in tables."""
        return self.name.lower().replace("_", " ")
