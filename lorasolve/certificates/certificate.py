"""What is known about the global optimality of a point, as an object that says it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .._known import Known
from .._support.equality import ComparedByValue
from .._support.files import PathLike
from .._support.text import at_most, for_json, number
from .._support.truth import MoreThanYesOrNo
from ..low_rank import RANK_TOL
from ..problem import Problem
from .documents import BITS, Arithmetic, write
from .duality import Parts


@dataclass(frozen=True, repr=False, eq=False)
class Certificate(ComparedByValue, MoreThanYesOrNo):
    """What is known about the global optimality of a point; compared by value, but for the problem and the point.

    Attributes
    ----------
    value : float
        ``F(X) = f(X) + lam ||X||_*`` at the point.
    gap : float
        Upper bound on ``F(X) - min F``, known as ``level`` says (infinite if there is none). By a closed form, for
        ``lam = 0``, and then like ``dual_value`` about the least value at the problem's rank.
    gap_at_least : float
        Lower bound on ``F(X) - min F``, from a better point that was found (0 if none was looked for): proved if
        ``level`` is RIGOROUS, otherwise less the rounding errors of both values.
    relative_gap : float
        ``gap / (|f(X)| + lam ||X||_*)``, which is ``gap / F(X)`` where ``f >= 0``; for ``lam = 0``, where the optimum
        may be 0, ``gap / max(|f(X)|, |f(0)|)``. Where these are 0, relative to the lower bound of ``f``.
    dual_value : float
        A number below the optimum, ``F(X) - gap`` rounded down: proved if ``level`` is RIGOROUS, otherwise less the
        allowance for rounding.
    dual_norm : float
        An upper bound of ``||G||_2 / lam``, as sharp as the certificate needs it: at a stationary point, at most 1
        exactly if the point is globally optimal. Of ``G`` as evaluated, unless ``level`` is RIGOROUS.
    stationarity : float
        ``||grad L||_2`` at the factors (at balanced factors if only ``X`` was given).
    balance : float
        ``||A^T A - B^T B||_F``; zero at every stationary point with ``lam > 0``.
    factor_gap : float
        ``L(A, B) - F(X)``, the part of the penalty that balancing would remove. Like the two before NaN where the
        adapter's update is not ``s A B^T``.
    rank, nuclear_norm, sigma_r, singular_values
        Of the update, for several matrices of all together (``rank`` is then the sum of theirs, each counted above
        ``rank_tol`` times the largest of all); ``sigma_r`` is the smallest singular value that the given factors allow
        for. Plain floating-point numbers.
    rank_at_least, rank_at_most : int or None
        Bounds on the rank of every minimizer, known like ``gap`` and from the stated smoothness (``ranks``); None if
        nothing is known.
    is_global : bool or None
        True: within ``tol`` of the optimum. False: a point better by more than ``tol`` is known. None: unknown.
    reason : str
        Why, in one sentence.
    level : Known
        How ``gap`` and ``is_global`` are known. RIGOROUS: a proof about the stored numbers with every rounding error
        counted. CERTIFIED: the formula in floating point with an allowance for rounding. SAMPLED: the same with a norm
        that random starts may have missed, with probability ``failure_probability`` at most.
    refers_to : str
        Which data the statement is about.
    assumptions : tuple of str
        What it rests on.
    failure_probability : float
        Over the certificate's own random numbers; 0 unless SAMPLED.
    formula : str
        Which bound was used, or why there is none.
    parts : Parts or None
        The numbers in the formula; None where none was used.
    tol : float
        The relative accuracy that ``is_global`` refers to.
    rank_tol : float
        Singular values above this fraction of the largest are counted in ``rank``.
    problem, point
        What the certificate is about, as it was given but in float64.
    """

    _condition = "is_global"

    value: float
    gap: float
    gap_at_least: float
    relative_gap: float
    dual_value: float
    dual_norm: float
    stationarity: float
    balance: float
    factor_gap: float
    rank: int
    nuclear_norm: float
    sigma_r: float
    singular_values: list[float]
    rank_at_least: int | None
    rank_at_most: int | None
    is_global: bool | None
    reason: str
    level: Known
    refers_to: str
    assumptions: tuple[str, ...]
    failure_probability: float
    formula: str
    parts: Parts | None
    tol: float
    problem: Problem = field(compare=False)
    point: Any = field(compare=False)
    rank_tol: float = RANK_TOL

    def to_dict(self) -> dict[str, Any]:
        """Return the fields but the problem and the point as plain JSON-ready values."""
        found = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        del found["problem"], found["point"]
        found |= {"level": str(self.level), "parts": None if self.parts is None else asdict(self.parts)}
        return dict(for_json(found))

    def save(self, path: PathLike, *, arithmetic: Arithmetic = "auto", bits: int = BITS) -> dict[str, Any]:
        """Write a proof with its data, for ``check_certificate.py``, which accepts or refuses it without lorasolve.

        Parameters
        ----------
        path : path
            The file, written whole or not at all; the suffix ``.json`` is not added.
        arithmetic, bits
            As for :func:`lorasolve.certificates.document`.

        Returns
        -------
        dict
            The document written. Its point are balanced factors of this one, rounded, and its gap the one proved for
            them: least squares up to 30 x 30 in exact arithmetic, others with rounding counted.

        Raises
        ------
        NotImplementedError
            If the objective states no description of ``f`` as data.
        ValueError
            If nothing can be proved at the point, and for several matrices.
        """
        return write(path, self.problem, self.point, arithmetic=arithmetic, bits=bits)

    def _answer(self) -> str:
        return {True: "yes", False: "no", None: "unknown"}[self.is_global]

    def __repr__(self) -> str:
        known = f"relative gap <= {at_most(self.relative_gap, '.3g')}, {self.level}"
        gap = known if self.relative_gap < math.inf else "no gap known"
        return (
            f"Certificate(global optimum: {self._answer()}, F = {number(self.value, '.10g')}, {gap}, rank {self.rank})"
        )

    def __str__(self) -> str:
        answer = f"global optimum: {self._answer()} ({self.reason})\n"
        rank = f"  rank {self.rank} (above {self.rank_tol:.0e} of the largest{self._ranks()})"
        if not self.problem.adapter.low_rank:
            return f"{answer}{rank}, ||X||_* = {self.nuclear_norm:.6g}"
        dual = f"||G||_2/lam <= {at_most(self.dual_norm, '.12g')}, " if self.problem.lam > 0.0 else ""
        return (
            f"{answer}  F(X) = {number(self.value, '.12g')}, gap <= {at_most(self.gap, '.3g')} "
            f"(relative {at_most(self.relative_gap, '.3g')}), {self.level}: {self.formula}\n"
            f"  {dual}||grad L|| = {self.stationarity:.3g}, "
            f"balance {self.balance:.3g}, L - F = {number(self.factor_gap, '.3g')}\n"
            f"{rank}, ||X||_* = {self.nuclear_norm:.6g}, sigma_r = {self.sigma_r:.3g}"
            + "".join(f"\n  assuming {text}" for text in self.assumptions)
        )

    def _ranks(self) -> str:
        """Return what is known about the rank of the optimum, as the end of a parenthesis."""
        low, high = self.rank_at_least, self.rank_at_most
        if low is None and high is None:
            return ""
        if low == high or high == 0:
            return f"; the optimum has rank {high}"
        ends = [f">= {low}" if low is not None else "", f"<= {high}" if high is not None else ""]
        return f"; the optimum has rank {' and '.join(end for end in ends if end)}"
