"""LoRA on a real transformer: MiniLM on graded sentences, trained to stationarity and judged."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _minilm
from ._minilm import sentences as sentences
from .base import COLOURS, Axes, Cell, Claim, Record, largest, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RANK, _LAM = 8, 0.01
# Seed and standard deviation of each start; 0 is PEFT's.
_STARTS = {"zero 0": (0, 0.0), "zero 1": (1, 0.0), "zero 2": (2, 0.0), "large 0": (0, 0.5)}
# Between points of the course a certificate is made, at the price of a gradient.
_EVERY = 20


class MiniLM(_minilm.OnMiniLM):
    """Full-batch L-BFGS on the query and value weights of the last layers, from the start of PEFT and from a large one.

    What is shown at the end is the verdict of :func:`lorasolve.networks.judge`, and test accuracy beside it: a better
    optimum of the training objective is not a better model.
    """

    name = "minilm"
    summary = "MiniLM, query and value of its last layers, r = 8, lam = 0.01: is the trained network an optimum?"
    seeds = "data 0; starts 0-2 (quick: 0)"
    size = (13.0, 4.2)

    def axes(self, quick: bool) -> Axes:
        """Return starts, the size of the task and the budget that they share, and whether to search for curvature."""
        if quick:
            return {"start": [next(iter(_STARTS))], "last": 1, "sentences": 32, "calls": 60, "second": False}
        return {"start": list(_STARTS), "last": 2, "sentences": 128, "calls": 300, "second": False}

    def run(self, cell: Cell) -> Record:
        """Train from one start, record the course, judge the end."""
        from ..engine import solve
        from ..monitor import StoppingRule
        from ..multi import MultiProblem
        from ..networks.judge import judge
        from ..networks.tangent import tangent_certificate

        task = _minilm.make_task(cell["sentences"], 2 * cell["sentences"], cell["last"])
        network = task.network()
        problem = MultiProblem(network, _RANK, _LAM)
        seed, std = _STARTS[cell["start"]]
        start = _minilm.gaussian_start(network, _RANK, seed, std) if std else _minilm.peft_start(network, _RANK, seed)
        course: list[dict[str, Any]] = []

        def record(point: Any) -> None:
            if point.nit % _EVERY:
                return
            pairs = list(zip(point.A, point.B))
            found = tangent_certificate(*network.value_and_gradients(pairs), pairs, _LAM)
            course.append(
                {
                    "calls": point.nfev,
                    "F": found.F,
                    "f": found.f,
                    "ranks": [layer.rank for layer in found.layers],
                    "gap": found.relative_gap,
                    "dual_norm": found.dual_norm,
                }
            )

        began = time.process_time()
        stop = StoppingRule(max_iter=cell["calls"], grad_tol=1e-9, max_calls=cell["calls"])
        end = solve(problem, "lbfgs", problem.unpaired(start), stop=stop, callback=record)
        trained = time.process_time() - began
        pairs = list(zip(end.A, end.B))
        began = time.process_time()
        tangent_certificate(*network.value_and_gradients(pairs), pairs, _LAM)
        one_certificate = time.process_time() - began
        verdict = judge(
            network.model,
            network.loss_of_samples,
            task.train,
            _LAM,
            layers=("query", "value"),
            factors=pairs,
            tangent_solve=True,
            second=cell["second"],
        )
        found = verdict.certificate
        assert found is not None
        return {
            "kind": verdict.kind,
            "reason": verdict.reason,
            "verdict": str(verdict),
            "F": found.F,
            "f": found.f,
            "ranks": [layer.rank for layer in found.layers],
            "dual_norm": found.dual_norm,
            "outside": max(layer.outside for layer in found.layers),
            "stationarity": found.stationarity,
            "gap": found.relative_gap,
            "curvature": None if verdict.second is None else verdict.second.smallest,
            "solved_gap": None if verdict.solved is None else verdict.solved.relative_gap,
            "train": task.accuracy(network, pairs, task.train),
            "test": task.accuracy(network, pairs, task.test),
            "base": task.base_accuracy,
            "calls": cell["calls"],
            "nfev": end.nfev,
            "cpu": trained,
            "certificate_cpu": one_certificate,
            "course": course,
        }

    def table(self, records: list[Record]) -> str:
        """Return one row a start, and what the first verdict says."""
        rows = [
            [
                r["start"],
                f"{r['F']:.7f}",
                f"{r['f']:.4f}",
                ",".join(map(str, r["ranks"])),
                f"{r['dual_norm']:.5f}",
                f"{r['outside']:.3f}",
                f"{r['stationarity']:.1e}",
                f"{r['gap']:.1e}",
                "-" if r["solved_gap"] is None else f"{r['solved_gap']:.1e}",
                "-" if r["curvature"] is None else f"{r['curvature']:+.1e}",
                f"{r['train']:.3f}",
                f"{r['test']:.3f}",
                f"{r['nfev']}",
                f"{r['cpu']:.0f}",
                r["kind"],
            ]
            for r in records
        ]
        header = ["start", "F", "f", f"ranks of {_RANK}", "||G||/lam", "outside", "grad", "gap", "solved", "curvature"]
        header += ["train", "test", "evaluations", "CPU s", "verdict"]
        first = records[0]
        return (
            text_table(header, rows)
            + f"\nthe last {first['last']} of six layers; base test accuracy {first['base']:.3f}; one certificate takes"
            f" {first['certificate_cpu']:.2f} CPU s. grad: over lam\n||theta||; gap: from one gradient, solved: of the "
            "solved tangent problem, both of F. An optimum of the training\nobjective is no better model.\n\n"
            + first["verdict"]
        )

    def claims(self, records: list[Record]) -> list[Claim]:
        """Return what the main paper says about the ranks, held against the runs from zero.

        A gap within the tolerance of a verdict is no end: the gradient says whether steps remain.
        """
        from ..networks.decisions import STATIONARY

        zero = [r for r in records if r["start"].startswith("zero")]
        done = [r for r in zero if r["stationarity"] <= STATIONARY]
        if not done:
            return []
        ranks, norm = [max(r["ranks"]) for r in done], largest([r["dual_norm"] for r in done])
        return [
            Claim(
                "from the usual start training ends rank-deficient in every layer and dual feasible, once it ends",
                "confirmed",
                f"{len(done)} of {len(zero)} runs end within their evaluations: ranks up to {max(ranks)} of {_RANK}, "
                f"||G||_2/lam up to {norm:.4f}",
                # Of rank 0 is where the run started.
                min(ranks) > 0 and max(ranks) < _RANK and norm < 1.01,
            )
        ]

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw loss, rank and gap along training."""
        axes = figure.subplots(1, 3)
        quantities = [
            ("F", "F = f + lam ||X||_*", lambda point: point["F"]),
            ("rank", f"sum of the ranks (of {_RANK} a layer)", lambda point: float(np.sum(point["ranks"]))),
            ("gap", "tangent gap, of F (one gradient)", lambda point: max(point["gap"], 1e-12)),
        ]
        for ax, (key, title, read) in zip(axes, quantities):
            for k, record in enumerate(records):
                x = [point["calls"] for point in record["course"]]
                y = [read(point) for point in record["course"]]
                ax.plot(x, y, color=COLOURS[k % len(COLOURS)], lw=1.8, label=record["start"])
            ax.set(xlabel="evaluations of the data set", title=title, yscale="linear" if key == "rank" else "log")
            ax.grid(alpha=0.25)
        axes[0].legend(title="start", fontsize=8)
