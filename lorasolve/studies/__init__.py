"""Studies: grids of runs that survive whatever happens to the processes that do them."""

from .runs import Runs
from .store import Damage, Store, StoreError
from .study import Study

__all__ = ["Damage", "Runs", "Store", "StoreError", "Study"]
