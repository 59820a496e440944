"""The landscape of ``L(A, B)``: global minimum, or failing loudly? The theorems as functions.

``judge`` decides what a point is. It asks ``first_order`` and ``curvature``, of a curvature below zero
``negative_curvature`` whether that is real; ``minimizer`` is what is known of ``X*``, ``strong_convexity`` what the
constants bound (``constants``, ``known_constants``, ``restricted``), ``premises`` what the theorems say (``theorems``,
``regimes``), and ``witness`` looks for a better point. ``unsettled`` says what is left to do, ``report`` all of it.
``canonical`` is the form in which points are judged. ``escapes`` leaves saddles, ``multistart`` counts where runs end,
``threshold`` and ``instances`` are about where the theorems are sharp.

Nothing here loads SciPy, cvxpy or Matplotlib before it is used.
"""

from . import instances
from .bounds import effective_rank, magnitude_bound, sgd_rank_bound
from .canonical import DivergedError
from .constants import Constants
from .curvature import SecondOrder, second_order
from .escapes import escape
from .first_order import Stationarity, stationarity
from .judge import verdict
from .multistart import Census, census
from .regimes import Regime, regime
from .report import Premise, Verdict
from .restricted import restricted_constants
from .threshold import Threshold, sharp_threshold, threshold_map
from .witness import Witness

__all__ = [
    "Census",
    "Constants",
    "DivergedError",
    "Premise",
    "Regime",
    "SecondOrder",
    "Stationarity",
    "Threshold",
    "Verdict",
    "Witness",
    "census",
    "effective_rank",
    "escape",
    "instances",
    "magnitude_bound",
    "regime",
    "restricted_constants",
    "second_order",
    "sgd_rank_bound",
    "sharp_threshold",
    "stationarity",
    "threshold_map",
    "verdict",
]
