"""Studies: grids of runs that survive whatever happens to the processes that do them, and paths over ``lam``."""

from .calls import Calls, CellError, Kept
from .lam_path import Path, path
from .rank_choice import RankChoice, recommend_rank
from .runs import Runs
from .store import Damage, Store, StoreError
from .study import Study
from .validation import Validation, cross_validate

__all__ = [
    "Calls",
    "CellError",
    "Damage",
    "Kept",
    "Path",
    "RankChoice",
    "Runs",
    "Store",
    "StoreError",
    "Study",
    "Validation",
    "cross_validate",
    "path",
    "recommend_rank",
]
