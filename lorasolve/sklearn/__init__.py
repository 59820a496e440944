"""Estimators for scikit-learn, which is an extra: ``pip install 'lorasolve[sklearn]'``."""

try:
    import sklearn  # noqa: F401
except ImportError:
    raise ImportError("lorasolve.sklearn needs scikit-learn: pip install 'lorasolve[sklearn]'") from None

from .completion import LowRankCompletion
from .regression import NuclearNormRegression, ReducedRankRegression

__all__ = ["LowRankCompletion", "NuclearNormRegression", "ReducedRankRegression"]
