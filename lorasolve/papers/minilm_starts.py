"""Figure 2 on a transformer: zero, small and large starts within a training budget."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _minilm
from .base import COLOURS, Axes, Cell, Claim, Record, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RANK, _LAM, _STEP = 8, 0.01, 5e-3
# Standard deviations of the starting factors; 0 is PEFT's start.
_SCALES = {"zero": 0.0, "small": 0.01, "large": 0.5}
_EVERY = 10


class MiniLMStarts(_minilm.OnMiniLM):
    """Full-batch Adam with the penalty in the loss, on query and value of every layer of MiniLM."""

    name = "minilm_starts"
    summary = "MiniLM, query and value of its last layers: zero, small and large starts with test accuracy (Figure 2)"
    seeds = "data 0; start 0"
    size = (13.0, 4.2)

    def axes(self, quick: bool) -> Axes:
        """Return starts, and the size of the task and the budget that they share."""
        if quick:
            return {"start": ["zero", "large"], "last": 1, "sentences": 32, "iterations": 30}
        return {"start": list(_SCALES), "last": 6, "sentences": 64, "iterations": 200}

    def run(self, cell: Cell) -> Record:
        """Train from one start, record the course."""
        from ..engine import solve
        from ..monitor import StoppingRule
        from ..multi import MultiProblem
        from ..optimizers.adam import Adam

        task = _minilm.whole_task(cell["sentences"], cell["last"])
        network = task.network()
        problem = MultiProblem(network, _RANK, _LAM)
        std = _SCALES[cell["start"]]
        start = _minilm.gaussian_start(network, _RANK, 0, std) if std else _minilm.peft_start(network, _RANK, 0)
        course: list[dict[str, Any]] = []

        def record(point: Any) -> None:
            if point.nit % _EVERY == 0 or point.nit == cell["iterations"]:
                pairs = list(zip(point.A, point.B))
                course.append({"iteration": point.nit, "loss": point.value} | _measure(task, network, pairs))

        began = time.process_time()
        stop = StoppingRule(max_iter=cell["iterations"], grad_tol=0.0)
        solve(problem, Adam(step_size=_STEP), problem.unpaired(start), stop=stop, callback=record)
        return {"course": course, "base": task.base_accuracy, "cpu": time.process_time() - began}

    def table(self, records: list[Record]) -> str:
        """Return one row a start."""
        rows = []
        for r in records:
            end = r["course"][-1]
            rows.append(
                [
                    f"{r['start']} ({_SCALES[r['start']]:g})",
                    f"{end['loss']:.4f}",
                    f"{end['rank']:.1f}",
                    f"{end['nuclear_norm']:.3g}",
                    f"{end['train']:.3f}",
                    f"{end['test']:.3f}",
                    f"{r['cpu']:.0f}",
                ]
            )
        header = ["start", "L", f"mean rank (above {_minilm.RANK_TOL:g})", "||X||_*", "train", "test", "CPU s"]
        last = records[0]["course"][-1]["iteration"]
        return text_table(header, rows) + (
            f"\nafter {last} steps of Adam, lam = {_LAM} in the loss, on the last {records[0]['last']} of six layers; "
            f"test accuracy without an\nupdate {records[0]['base']:.3f}."
        )

    def claims(self, records: list[Record]) -> list[Claim]:
        """Return what the paper's figure says of ranks and norms; one seed and few sentences do not judge accuracy."""
        courses = {r["start"]: r["course"] for r in records}
        if not {"zero", "large"} <= set(courses):
            return []
        (before, *_, zero), (start, *_, large) = courses["zero"], courses["large"]
        return [
            Claim(
                "from a large start training ends at higher rank and norm than from zero",
                "confirmed",
                f"rank {zero['rank']:.1f} against {large['rank']:.1f}, nuclear norm {zero['nuclear_norm']:.3g} against "
                f"{large['nuclear_norm']:.3g}, test accuracy {zero['test']:.3f} against {large['test']:.3f}; loss from "
                f"zero {before['loss']:.3g} to {zero['loss']:.3g}, training accuracy from the large start "
                f"{start['train']:.3f} to {large['train']:.3f}",
                large["rank"] > zero["rank"]
                and large["nuclear_norm"] > 2.0 * zero["nuclear_norm"]
                # Runs that do not move are as far apart: the zero start tells all sentences apart, the large one not.
                and zero["loss"] < 0.5 * before["loss"]
                and large["train"] == 1.0 > start["train"],
            )
        ]

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw loss, rank and test accuracy along training."""
        quantities = [
            ("loss", "training loss L", "log"),
            ("rank", f"mean rank (above {_minilm.RANK_TOL:g} of the largest)", "linear"),
            ("test", "test accuracy", "linear"),
        ]
        for ax, (key, title, scale) in zip(figure.subplots(1, 3), quantities):
            for k, r in enumerate(records):
                x, y = [p["iteration"] for p in r["course"]], [p[key] for p in r["course"]]
                label = f"{r['start']} ({_SCALES[r['start']]:g})"
                ax.plot(x, y, color=COLOURS[k], lw=1.8, label=label)
            ax.set(xlabel="steps of Adam", title=title, yscale=scale)
            ax.grid(alpha=0.25)
            ax.legend(title="start (std)", fontsize=8)


def _measure(task: _minilm.SentenceTask, network: Any, pairs: Any) -> dict[str, float]:
    """Return mean rank, nuclear norm and accuracies."""
    from ..low_rank import factor_svd, numerical_rank

    values = [factor_svd(A, B)[1] for A, B in pairs]
    return {
        "rank": float(np.mean([numerical_rank(s, _minilm.RANK_TOL) for s in values])),
        "nuclear_norm": float(sum(s.sum() for s in values)),
        "train": task.accuracy(network, pairs, task.train),
        "test": task.accuracy(network, pairs, task.test),
    }
