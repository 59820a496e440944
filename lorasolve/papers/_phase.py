"""Phase diagrams of gradient descent on instances with a spurious point in closed form."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .._support.validate import Array, as_integer
from ..low_rank import balanced
from .base import Axes, Cell, Claim, Experiment, Record, distinct, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..landscape.constants import Constants
    from ..landscape.instances import RestrictedInstance, SharpInstance, TwoConstantInstance
    from ..problem import Problem
    from ..result import Result


def descend(problem: Problem, scale: float, seed: int) -> Result:
    """Run gradient descent from Gaussian factors, then L-BFGS from its end to convergence.

    Gradient descent settles the basin; the continuation only spares its slow end, where the optimum is degenerate
    or the factors are badly balanced.
    """
    from ..engine import solve
    from ..inits.gaussian import Gaussian
    from ..monitor import StoppingRule

    end = solve(problem, "gd", init=Gaussian(std=scale), seed=seed, stop=StoppingRule(max_iter=1000, grad_tol=1e-6))
    return solve(problem, "lbfgs", init=(end.A, end.B), stop=StoppingRule(max_iter=5000, grad_tol=1e-8))


def ends(
    instance: SharpInstance | RestrictedInstance | TwoConstantInstance, cell: Cell, constants: Constants | None = None
) -> Record:
    """Run gradient descent from every seed of a cell, ``lam = 0``, and judge every end and the closed-form point.

    Without ``constants`` the theorems are held against the ends with those of the whole space.
    """
    from ..landscape import verdict
    from ..problem import Problem

    problem = Problem(instance, rank=cell["r"])
    point = verdict(problem, _factors(instance.X_spurious, cell["r"]), instance.X_star, constants, tol=1e-5)
    judged = [
        verdict(problem, descend(problem, cell["scale"], seed), instance.X_star, constants, tol=1e-5)
        for seed in range(cell["runs"])
    ]
    kinds = [each.kind for each in judged]
    return {
        "spurious": kinds.count("spurious") / len(kinds),
        "unfinished": len(kinds) - kinds.count("spurious") - kinds.count("global"),
        "contradictions": sum(len(each.contradictions) for each in [point, *judged]),
        "point": point.kind,
        "norm": float(np.linalg.norm(instance.X_spurious) / np.linalg.norm(instance.X_star)),
    }


def _factors(X: Array, rank: int) -> tuple[Array, Array]:
    P, s, Qt = np.linalg.svd(X, full_matrices=False)
    return balanced(P[:, :rank], s[:rank], Qt[:rank].T)


def ranks(records: list[Record]) -> list[tuple[int, int]]:
    """Return the pairs ``(r, r*)`` in their order."""
    return list(dict.fromkeys((record["r"], record["r_star"]) for record in records))


def matching(records: list[Record], **where: float) -> list[Record]:
    """Return the records with the given settings."""
    return [record for record in records if all(record[key] == value for key, value in where.items())]


def ratio(r: int, r_star: int) -> str:
    """Return ``r/r*`` as text."""
    return f"{r}/{r_star}" if r % r_star else f"{r // r_star}"


def table_of_ends(
    records: list[Record],
    axis: str,
    about: Mapping[str, Callable[[Record], str]],
    beside: Mapping[str, Callable[[Record], str]],
    note: str,
) -> str:
    """Return the share of spurious ends, a row per rank and value of an axis and a column per scale.

    ``about`` and ``beside`` are further columns in front and at the end, by their headings.
    """
    rows = []
    for (r, r_star), value in itertools.product(ranks(records), distinct(records, axis)):
        mine = matching(records, r=r, r_star=r_star, **{axis: value})
        rows.append(
            [
                ratio(r, r_star),
                *(write(mine[0]) for write in about.values()),
                *(f"{record['spurious']:.2f}" for record in mine),
                str(sum(record["unfinished"] for record in mine)),
                f"{mine[0]['norm']:.3f}",
                *(write(mine[0]) for write in beside.values()),
            ]
        )
    scales = [f"s={scale:.2g}" for scale in distinct(records, "scale")]
    text = text_table(["r/r*", *about, *scales, "unfinished", "||X_s||", *beside], rows)
    wrong = sum(record["contradictions"] for record in records)
    return (
        f"share of runs ending spurious, by initialization scale s ({records[0]['runs']} runs each)\n{text}\n"
        f"{note} Contradictions of a theorem: {wrong}."
    )


def claim_of_ends(records: list[Record], statement: str, below: Callable[[Record], bool]) -> Claim:
    """Return the claim that spurious points exist on one side of a boundary only, ``below`` which a theorem has none.

    Of the closed-form point it is a claim about each cell: runs end at such points in some cells only, and do not show
    where the boundary is. No end may contradict a theorem either, and hardly any run may be unfinished, which is no end
    on either side.
    """
    wrong, unfinished = (sum(record[key] for record in records) for key in ("contradictions", "unfinished"))
    found, runs, cells, points = [0, 0], [0, 0], [0, 0], [0, 0]
    for record in records:
        side = int(not below(record))
        cells[side] += 1
        points[side] += record["point"] == "spurious"
        runs[side] += record["runs"]
        found[side] += round(record["spurious"] * record["runs"])
    shown = [
        ", ".join(f"{name} {k} of {of}" for name, k, of in zip(("below", "at it and beyond"), counts, all_of) if of)
        for counts, all_of in ((points, cells), (found, runs))
    ]
    return Claim(
        statement,
        "confirmed",
        f"cells whose closed-form point is spurious: {shown[0]}; runs that end spurious: {shown[1]}; unfinished: "
        f"{unfinished}; contradictions of a theorem: {wrong}",
        points == [0, cells[1]] and found[0] == 0 < found[1] and wrong == 0 and 100 * unfinished < sum(runs),
    )


class AtBoundary(Experiment):
    """Where gradient descent ends on instances of a theorem, over multiples of the constant at which it is sharp.

    Attributes
    ----------
    boundary, statement : str
        That value of ``beta2``, as a formula; the curvatures are at least ``alpha = 1``. What the theorem says of it.
    multiples : list of float
        The multiples of it, half of them for a quick run.
    """

    boundary: ClassVar[str] = ""
    statement: ClassVar[str] = ""
    multiples: ClassVar[list[float]] = []
    seeds = "run k at a scale: default_rng(k)"
    size = (10.5, 4.2)

    def instance(self, r: int, r_star: int, times: float) -> RestrictedInstance | TwoConstantInstance:
        """Return the instance of the least size."""
        raise NotImplementedError

    def axes(self, quick: bool) -> Axes:
        """Return ranks, multiples of the boundary, scales and the number of runs of each cell."""
        return {
            "r": [1, 2, 4],
            "r_star": [1],
            "times": self.multiples[::2] if quick else self.multiples,
            "scale": [float(x) for x in np.geomspace(0.01, 10.0, 3 if quick else 6)],
            "runs": 3 if quick else 10,
        }

    def fits(self, cell: Cell) -> bool:
        """Whether the minimizer can be reached."""
        return bool(cell["r_star"] <= cell["r"])

    def run(self, cell: Cell) -> Record:
        """Run gradient descent from every seed, and judge every end."""
        r, r_star = cell["r"], as_integer(cell["r_star"], "r_star", 1)
        instance = self.instance(r, r_star, cell["times"])
        return ends(instance, cell, instance.constants) | {"beta2": instance.beta2}

    def table(self, records: list[Record]) -> str:
        """Return one row per rank and multiple of the boundary."""
        about = {"times": "{times:g}".format_map, "beta2": "{beta2:.2f}".format_map}
        note = f"alpha = 1; times 1 is the boundary, {self.boundary}; norms in units of ||X*||."
        return table_of_ends(records, "times", about, {}, note)

    def claims(self, records: list[Record]) -> list[Claim]:
        """Return the theorem held against the ends."""
        return [claim_of_ends(records, self.statement, lambda record: bool(record["times"] < 1.0))]

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw one map per rank: each row a multiple of the boundary, which is row 1."""
        pairs = ranks(records)
        axes = np.atleast_1d(figure.subplots(1, len(pairs), sharey=True))
        times, scales = distinct(records, "times"), distinct(records, "scale")
        for ax, (r, r_star) in zip(axes, pairs):
            shares = np.array([[e["spurious"] for e in matching(records, r=r, r_star=r_star, times=t)] for t in times])
            image = ax.imshow(shares, vmin=0.0, vmax=1.0, cmap="Oranges", origin="lower", aspect="auto")
            ax.set(title=f"r/r* = {ratio(r, r_star)}", xlabel="initialization scale")
            ax.set_xticks(range(len(scales)), [f"{each:.2g}" for each in scales])
            ax.set_yticks(range(len(times)), [f"{each:g}" for each in times])
        axes[0].set_ylabel(f"beta2 in units of {self.boundary}")
        figure.colorbar(image, ax=list(axes), label="share of runs ending spurious", shrink=0.9)
