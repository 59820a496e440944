"""What compiled loops take from an objective."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from .._support.threads import kernel_threads
from .._support.validate import Array


class Kernels:
    """The compiled answers of an objective; this base class offers none.

    It holds the arrays that kernels read and not the objective, so that an objective is freed with its last user.

    Attributes
    ----------
    threaded : bool
        Whether the objective's ``factor_oracle`` runs on Numba's threads, so that BLAS should keep to one.
    """

    threaded: bool = False
    # Data that no call is using, each with the rank and the threads that it is for.
    _kept: list[tuple[tuple[int, int], Any]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is kept: in a copy its arrays would no longer be views of the same scratch memory."""
        return {**vars(self), "_kept": None}

    def data(self, rank: int, threads: int) -> Any:
        """Return the data of a compiled oracle (``lorasolve/kernels/oracle.py``) for factors of a rank.

        It is a NamedTuple that belongs to one run, because it holds scratch memory. None where there is no
        compiled oracle, or where this one would not be faster than ``factor_oracle``.
        """
        return None

    def mixed(self, rank: int, threads: int) -> Any:
        """Return the same for float32 increments with exact float64 refreshes, or None."""
        return None

    def increments(self, threads: int) -> Any:
        """Return the data of an oracle by increments, at any rank, that is faster than ``factor_oracle``, or None."""
        return None

    def rotates_after(self, rank: int) -> float:
        """Return how many iterations of a run take as long as to make :attr:`rotated`; infinite where it never pays."""
        return math.inf

    @property
    def rotated(self) -> Rotated:
        """The same in other bases, where products take less; kept for further runs."""
        raise NotImplementedError

    def take(self, rank: int) -> tuple[tuple[int, int], Any]:
        """Return the data for a single call, made or left by another, and what they are for.

        Loops that are divided among threads let other calls run meanwhile, and would write to the same scratch memory.
        """
        key = (rank, kernel_threads())
        try:
            kept = self._kept.pop() if self._kept else None
        except IndexError:  # another thread was faster
            kept = None
        return (key, self.data(*key)) if kept is None or kept[0] != key else kept

    def put_back(self, taken: tuple[tuple[int, int], Any]) -> None:
        """Leave to later calls what :meth:`take` has returned; what an error has held up is made anew."""
        if self._kept is None:
            self._kept = []
        self._kept.append(taken)

    def quadratic(self) -> Any:
        """Return the coefficients of a quadratic ``f`` for batched runs (``lorasolve/kernels/batch.py``), or None."""
        return None


class Rotated(NamedTuple):
    """The kernels of ``X -> f(U X V^T)`` with orthogonal ``U`` (m, m) and ``V`` (n, n).

    Gradient descent from ``(U^T A, V^T B)`` makes the iterates of that from ``(A, B)``, rotated.
    """

    kernels: Kernels
    U: Array
    V: Array
