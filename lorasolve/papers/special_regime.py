"""Where linearized losses are in the special regime of Theorem 1, and where the theorem on the NTK regime speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._support.validate import as_integer
from ._lora_ntk import sufficient_rank
from .base import COLOURS, Axes, Cell, Claim, Experiment, Record, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE, _RANK, _LAM, _RADIUS = 6, 3, 0.02, 5.0
# Curvatures below this share of beta are rounding errors of those that cancel.
_ROUNDING = 1e-13
_SAMPLES = "KN (outputs x samples)"


class SpecialRegime(Experiment):
    """Restricted constants and ends of runs against the number of samples of a linearized loss.

    A loss that is linearized in the weight is least squares of ``<M_k, X>``: with ``KN`` outputs at rank ``r`` the
    theorem on the NTK regime (Jang, Lee, Ryu 2024) needs ``r(r+1)/2 > KN``. There ``r(m+n-r) > KN`` too, so that rank-r
    matrices next to ``X*`` fit the data as it does, and ``alpha <= 0``: Theorem 1 has no say. What both share is that
    a rank-deficient second-order point of a convex ``f`` is global.
    """

    name = "special_regime"
    summary = "linearized losses: restricted constants, regime and ends against the number of samples"
    seeds = "features 0-2; runs 0-19 (quick: features 0; runs 0-4)"
    size = (9.0, 4.0)
    axis_meanings = {"KN": "numbers of measurements: outputs times samples"}

    def axes(self, quick: bool) -> Axes:
        """Return numbers of samples, draws of the features and the number of starts of each cell."""
        draws, starts = (1, 5) if quick else (3, 20)
        return {"KN": [2, 5, 9, 36, 144, 4000], "seed": list(range(draws)), "starts": starts}

    def run(self, cell: Cell) -> Record:
        """Bound the constants, and count the random starts that end above the convex optimum."""
        from ..convex import solve_convex
        from ..engine import solve
        from ..inits.gaussian import Gaussian
        from ..landscape import restricted_constants
        from ..monitor import StoppingRule
        from ..objectives import MatrixSensing
        from ..problem import Problem

        rng = np.random.default_rng(as_integer(cell["seed"], "seed", 0))
        M = rng.standard_normal((as_integer(cell["KN"], "KN", 1), _SIZE, _SIZE))
        target = rng.standard_normal((_SIZE, 2)) @ rng.standard_normal((2, _SIZE)) / np.sqrt(_SIZE)
        objective = MatrixSensing(M, np.einsum("kij,ij->k", M, target))
        optimum = solve_convex(Problem(objective, _RANK, _LAM), tol=1e-10)
        found = restricted_constants(objective, optimum.X, _RANK, _RADIUS, by="quadratic", seed=0)
        problem = Problem(objective, _RANK, _LAM)
        stop = StoppingRule(max_iter=5000, grad_tol=1e-9)
        ends = [solve(problem, "lbfgs", Gaussian(std=1.0), seed=seed, stop=stop).fun for seed in range(cell["starts"])]
        # A run without a value has not come down to the optimum either.
        above = sum(not end <= optimum.fun + 1e-4 * max(optimum.fun, 1e-3) for end in ends)
        bounds = {key: getattr(found, key) for key in ("rsc_low", "rsc_high", "rsm_low", "rsm_high")}
        return bounds | {"above": above, "rank": optimum.rank}

    def table(self, records: list[Record]) -> str:
        """Return one row per number of samples and draw."""
        rows = [
            [
                str(r["KN"]),
                "yes" if _ntk_speaks(r) else "no",
                f"[{_alpha(r, 'low'):.3g}, {_alpha(r, 'high'):.3g}]",
                f"[{r['rsm_low']:.3g}, {r['rsm_high']:.3g}]",
                _regime(r),
                str(r["rank"]),
                f"{r['above']}/{r['starts']}",
            ]
            for r in records
        ]
        header = ["KN", "r(r+1)/2 > KN", "alpha in", "beta in", "2 alpha > beta", "r*", "ends above the optimum"]
        text = f"{_SIZE} x {_SIZE}, r = {_RANK}, lam = {_LAM}, D = {_RADIUS:g}\n{text_table(header, rows)}"
        if not any(map(_beyond, records)):
            return text
        return f"{text}\nWhere r* > {_RANK} no weight of rank {_RANK} reaches the optimum."

    def claims(self, records: list[Record]) -> list[Claim]:
        """Return the remark on linearized setups held against the constants."""
        guaranteed = [r for r in records if _ntk_speaks(r)]
        largest = max(r["KN"] for r in records)
        many = [r for r in records if r["KN"] == largest]
        return [
            Claim(
                "the special regime 2 alpha > beta includes setups where linearization holds, the NTK regime as a "
                "special case; correction: with many isotropic samples only. Where the NTK theorem itself speaks, "
                "r(r+1)/2 > KN, alpha <= 0, and neither theorem contains the other",
                "holds with correction",
                f"KN <= {max(r['KN'] for r in guaranteed)}: alpha at most "
                f"{max(_alpha(r, 'high') for r in guaranteed):.2g}; KN = {largest}: alpha at least "
                f"{min(r['rsc_low'] for r in many):.3f}, beta at most {max(r['rsm_high'] for r in many):.3f}; ends "
                f"above the optimum: {sum(r['above'] for r in [*guaranteed, *many])} of "
                f"{sum(r['starts'] for r in [*guaranteed, *many])}",
                all(r["rsc_high"] < 1e-6 for r in guaranteed)
                and all(_regime(r) == "yes" for r in many)
                and all(r["above"] == 0 for r in [*guaranteed, *many]),
            )
        ]

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw both constants, and the share of ends above the optimum, against the number of samples."""
        left, right = figure.subplots(1, 2)
        counts = [r["KN"] for r in records]
        for k, (constant, label) in enumerate((("rsc", "2 alpha"), ("rsm", "beta"))):
            factor = 2.0 if constant == "rsc" else 1.0
            for end, marker in (("low", "^"), ("high", "v")):
                values = [factor * r[f"{constant}_{end}"] for r in records]
                left.semilogx(counts, values, marker, color=COLOURS[k], label=f"{label}, {end} end")
        left.set(title="Special regime: 2 alpha above beta", xlabel=_SAMPLES, ylabel="curvature")
        for beyond, fill, label in ((False, "full", "r* <= r"), (True, "none", "r* > r: out of reach")):
            shown = [r for r in records if _beyond(r) is beyond]
            shares = [r["above"] / r["starts"] for r in shown]
            if shown:
                right.semilogx([r["KN"] for r in shown], shares, "o", color=COLOURS[2], fillstyle=fill, label=label)
        right.set(title="Ends above the convex optimum", xlabel=_SAMPLES, ylabel="share of random starts")
        for ax in (left, right):
            ax.axvline(_RANK * (_RANK + 1) / 2, color="black", ls="--", lw=1, label="KN = r(r+1)/2")
            ax.grid(alpha=0.25)
            ax.legend(fontsize=8)


def _beyond(record: Record) -> bool:
    """Whether the convex optimum has a larger rank than the factors."""
    return bool(record["rank"] > _RANK)


def _alpha(record: Record, end: str) -> float:
    """Return an end of the interval of ``alpha``, zero where it is a rounding error of curvatures of size ``beta``."""
    alpha: float = record[f"rsc_{end}"]
    return 0.0 if abs(alpha) <= _ROUNDING * record["rsm_high"] else alpha


def _ntk_speaks(record: Record) -> bool:
    return sufficient_rank(record["KN"]) <= _RANK


def _regime(record: Record) -> str:
    if 2.0 * record["rsc_low"] > record["rsm_high"]:
        return "yes"
    return "no" if 2.0 * record["rsc_high"] <= record["rsm_low"] else "unknown"
