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
    from . import adapters as adapters
    from . import attacks as attacks
    from . import certificates as certificates
    from . import checks as checks
    from . import comparison as comparison
    from . import convex as convex
    from . import executors as executors
    from . import inits as inits
    from . import io as io
    from . import landscape as landscape
    from . import models as models
    from . import multi as multi
    from . import networks as networks
    from . import objectives as objectives
    from . import optimizers as optimizers
    from . import papers as papers
    from . import peft_files as peft_files
    from . import plotting as plotting
    from . import schedules as schedules
    from . import studies as studies
    from . import symbolic as symbolic
    from . import tasks as tasks
    from ._support.threads import set_threads as set_threads
    from .certificates import Certificate as Certificate
    from .certificates import certify as certify
    from .certificates import certify_batch as certify_batch
    from .checks import check_adapter as check_adapter
    from .checks import check_attack as check_attack
    from .checks import check_convex as check_convex
    from .checks import check_executor as check_executor
    from .checks import check_init as check_init
    from .checks import check_objective as check_objective
    from .checks import check_optimizer as check_optimizer
    from .checks import check_schedule as check_schedule
    from .comparison import Comparison as Comparison
    from .comparison import compare as compare
    from .convex import ConvexResult as ConvexResult
    from .convex import solve_convex as solve_convex
    from .engine import solve as solve
    from .landscape import verdict as verdict
    from .method import Method as Method
    from .monitor import Intermediate as Intermediate
    from .monitor import StoppingRule as StoppingRule
    from .multi import MultiProblem as MultiProblem
    from .problem import Problem as Problem
    from .result import Result as Result
    from .result import SolveError as SolveError
    from .status import Status as Status
    from .studies import Runs as Runs
    from .studies import Study as Study
    from .studies import cross_validate as cross_validate
    from .studies import path as path
    from .studies import recommend_rank as recommend_rank
    from .sweep import solve_batch as solve_batch

_ATTRIBUTES = {
    "set_threads": "._support.threads",
    "Certificate": ".certificates",
    "certify": ".certificates",
    "certify_batch": ".certificates",
    "check_adapter": ".checks",
    "check_attack": ".checks",
    "check_convex": ".checks",
    "check_executor": ".checks",
    "check_init": ".checks",
    "check_objective": ".checks",
    "check_optimizer": ".checks",
    "check_schedule": ".checks",
    "Comparison": ".comparison",
    "compare": ".comparison",
    "ConvexResult": ".convex",
    "solve_convex": ".convex",
    "Method": ".method",
    "Intermediate": ".monitor",
    "StoppingRule": ".monitor",
    "cross_validate": ".studies",
    "path": ".studies",
    "recommend_rank": ".studies",
    "solve": ".engine",
    "MultiProblem": ".multi",
    "Problem": ".problem",
    "Result": ".result",
    "Runs": ".studies",
    "SolveError": ".result",
    "Status": ".status",
    "Study": ".studies",
    "solve_batch": ".sweep",
    "verdict": ".landscape",
}
_MODULES = (
    "adapters",
    "attacks",
    "certificates",
    "checks",
    "comparison",
    "convex",
    "executors",
    "inits",
    "io",
    "landscape",
    "models",
    "multi",
    "networks",
    "objectives",
    "optimizers",
    "papers",
    "peft_files",
    "plotting",
    "schedules",
    "studies",
    "symbolic",
    "tasks",
)

if not TYPE_CHECKING:  # type checkers read the imports above, and tell a name that there is not
    __all__ = sorted([*_ATTRIBUTES, *_MODULES])

    def __getattr__(name: str) -> Any:
        if name in _ATTRIBUTES:
            return getattr(importlib.import_module(_ATTRIBUTES[name], __name__), name)
        if name in _MODULES:
            return importlib.import_module(f".{name}", __name__)
        from ._support.keywords import did_you_mean

        hint = "" if name.startswith("_") else did_you_mean(name, __all__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{hint}")

    def __dir__() -> list[str]:
        return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
