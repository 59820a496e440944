"""lorasolve: did low-rank adaptation reach the global optimum, and how do you know?

Orientation, once and for all: the update is ``X = A B^T`` with ``A`` of shape ``(m, r)`` and ``B`` of shape
``(n, r)``; the adapted weight is ``W = W0 + s X``. The factored problem is
``min f(A B^T) + (lam/2)(||A||_F^2 + ||B||_F^2)``, and its convex counterpart is ``min f(X) + lam ||X||_*``.

Importing the package loads NumPy only; Numba, SciPy, cvxpy, SymPy and Matplotlib are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from . import (
        adapters,
        convex,
        executors,
        inits,
        io,
        landscape,
        networks,
        objectives,
        optimizers,
        peft_files,
        plotting,
        schedules,
        studies,
        symbolic,
        tasks,
    )
    from ._threads import set_threads
    from .certificates import Certificate, certify
    from .checks import check_adapter, check_convex, check_init, check_objective, check_optimizer, check_schedule
    from .comparison import Comparison, compare
    from .convex import ConvexResult, solve_convex
    from .engine import solve
    from .landscape import verdict
    from .method import Method
    from .monitor import StoppingRule
    from .multi import MultiProblem
    from .problem import Problem
    from .result import Result
    from .status import Status
    from .studies import Runs, Study, cross_validate, path, recommend_rank
    from .sweep import solve_batch

_ATTRIBUTES = {
    "set_threads": "._threads",
    "Certificate": ".certificates",
    "certify": ".certificates",
    "check_adapter": ".checks",
    "check_convex": ".checks",
    "check_init": ".checks",
    "check_objective": ".checks",
    "check_optimizer": ".checks",
    "check_schedule": ".checks",
    "Comparison": ".comparison",
    "compare": ".comparison",
    "ConvexResult": ".convex",
    "solve_convex": ".convex",
    "Method": ".method",
    "StoppingRule": ".monitor",
    "cross_validate": ".studies",
    "path": ".studies",
    "recommend_rank": ".studies",
    "solve": ".engine",
    "MultiProblem": ".multi",
    "Problem": ".problem",
    "Result": ".result",
    "Runs": ".studies",
    "Status": ".status",
    "Study": ".studies",
    "solve_batch": ".sweep",
    "verdict": ".landscape",
}
_MODULES = (
    "adapters",
    "convex",
    "executors",
    "inits",
    "io",
    "landscape",
    "networks",
    "objectives",
    "optimizers",
    "peft_files",
    "plotting",
    "schedules",
    "studies",
    "symbolic",
    "tasks",
)

__all__ = sorted([*_ATTRIBUTES, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _ATTRIBUTES:
        return getattr(importlib.import_module(_ATTRIBUTES[name], __name__), name)
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
