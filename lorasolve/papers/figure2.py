"""Figure 2: zero and small random starts against large ones, on a two-layer network and the digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._network import network_task
from .base import (
    COLOURS,
    Axes,
    Cell,
    Claim,
    Experiment,
    Record,
    distinct,
    is_above_zero,
    largest,
    least,
    mean_and_error,
    text_table,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RANK, _LAM, _STEP = 8, 0.01, 0.1
# The budget ends runs long before small singular values have vanished.
_RANK_TOL = 1e-2
# Logarithmic axes have no zero: what is less is drawn here.
_FLOOR = 1e-6
# Standard deviations of the starting factors.
_SCALES = {"zero": 0.0, "small": 0.01, "medium": 0.3, "large": 3.0, "huge": 10.0}


class Figure2(Experiment):
    """Gradient descent for a training budget, then L-BFGS to convergence from where it ended.

    The budget is what a training run has; the continuation tells a slow run from a spurious minimum.
    """

    name = "figure2"
    summary = "two-layer network, r = 8, lam = 0.01: zero, small and large starts along the run"
    seeds = "data 0; runs 0-19 (quick: 0-2)"
    size = (13.0, 7.0)

    def axes(self, quick: bool) -> Axes:
        """Return starts, seeds and the budget."""
        return {"start": list(_SCALES), "seed": list(range(3 if quick else 20)), "iterations": 3000}

    def run(self, cell: Cell) -> Record:
        """Train, record the course, then continue to convergence."""
        from ..engine import solve
        from ..inits.gaussian import Gaussian
        from ..landscape import second_order
        from ..monitor import StoppingRule
        from ..optimizers.gd import GD
        from ..problem import Problem

        task = network_task(50, 32, classes=5)
        problem = Problem(task.objective, rank=_RANK, lam=_LAM)
        course: list[dict[str, float]] = []

        def record(point: Any) -> None:
            if point.nit % 50 == 0 or point.nit == cell["iterations"]:
                course.append({"iteration": point.nit} | _measure(task, point.A, point.B))

        scale = _SCALES[cell["start"]]
        init: Any = Gaussian(std=scale) if scale else "lora"
        stop = StoppingRule(max_iter=cell["iterations"], grad_tol=0.0)
        end = solve(problem, GD(step_size=_STEP), init=init, seed=cell["seed"], stop=stop, callback=record)
        finer = StoppingRule(max_iter=20_000, grad_tol=1e-7)
        final = solve(problem, "lbfgs", init=(end.A, end.B), stop=finer)
        second = second_order(problem, final.A, final.B, tol=1e-5)
        return {
            "status": end.status.label,
            "budget": _measure(task, end.A, end.B) | {"loss": end.fun, "grad_norm": end.grad_norm},
            "converged": _measure(task, final.A, final.B) | {"loss": final.fun, "grad_norm": final.grad_norm},
            "second_order": second.is_sosp,
            "course": course,
        }

    def table(self, records: list[Record]) -> str:
        """Return one row per start: medians at the end of the budget and after convergence."""
        best = min(r["converged"]["loss"] for r in records)
        zero = [r["budget"] for r in records if r["start"] == "zero"]
        rows = []
        for name in distinct(records, "start"):
            mine = [r for r in records if r["start"] == name]
            budget, final = ({k: [r[when][k] for r in mine] for k in mine[0][when]} for when in ("budget", "converged"))
            fails = f"{sum(_fails_loudly(r, zero) for r in mine)}/{len(mine)}" if zero else "-"
            rows.append(
                [
                    f"{name} ({_SCALES[name]:g})",
                    f"{np.median(budget['loss']):.4f}",
                    f"{np.median(budget['rank']):.0f}",
                    f"{np.median(budget['sigma_r']):.3f}",
                    f"{np.median(budget['nuclear_norm']):.2f}",
                    f"{np.median(budget['train']):.3f}",
                    f"{np.median(budget['accuracy']):.3f}",
                    fails,
                    f"{np.median(final['loss']):.4f}",
                    f"{np.median(final['rank']):.0f}",
                    f"{np.median(final['nuclear_norm']):.2f}",
                    f"{np.median(final['accuracy']):.3f}",
                    f"{sum(v <= 1.01 * best for v in final['loss'])}/{len(mine)}",
                ]
            )
        header = ["start", "loss", "rank", "sigma_r", "||X||_*", "train", "test", "fails loudly"]
        header += ["| loss", "rank", "||X||_*", "test", "best loss"]
        second = sum(r["second_order"] for r in records)
        return (
            "medians after the training budget of gradient descent | after continuing to convergence\n"
            + f"(rank: singular values above {_RANK_TOL:.0e} of the largest; train, test: accuracies)\n"
            + text_table(header, rows)
            + "\nfails loudly: rank r, nuclear norm above twice and accuracy below the median of the zero start. best "
            f"loss: within 1 % of\nthe lowest loss found. After convergence {second} of {len(records)} ends are "
            "second-order stationary. Where the continuation\nlowers norm and rank, the loud failure was a run too "
            "short for its weight decay, not a spurious minimum."
        )

    def claims(self, records: list[Record]) -> list[Claim]:
        """Return what the figure and Theorem 1 say of the ends, held against them."""
        found = [_gentle([r for r in records if r["start"] in ("zero", "small")])]
        # With another budget the same start may come down to the low rank.
        if records[0]["iterations"] == self.axes(quick=False)["iterations"]:
            found.append(_loud(*([r for r in records if r["start"] == start] for start in ("zero", "huge"))))
        return [*found, _dichotomy(records)]

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw the course of one seed per start, and all ends."""
        axes = figure.subplots(2, 3)
        quantities = [
            ("loss", "training loss L", True),
            ("accuracy", "test accuracy", False),
            ("rank", f"rank of X (above {_RANK_TOL:g} of the largest)", False),
            ("sigma_r", f"singular value {_RANK} of X\n(0 drawn as {_FLOOR:g})", True),
            ("nuclear_norm", f"nuclear norm ||X||_*\n(0 drawn as {_FLOOR:g})", True),
        ]
        names = distinct(records, "start")
        for ax, (key, quantity, logarithmic) in zip(axes.flat, quantities):
            for k, name in enumerate(names):
                course = next(r["course"] for r in records if r["start"] == name and r["course"])
                std = _SCALES[name]
                label = f"{name}, std {std:g}" if std else f"{name} (B = 0, as in LoRA)"
                x, y = [max(p["iteration"], 1) for p in course], [p[key] for p in course]
                ax.plot(x, np.maximum(y, _FLOOR) if logarithmic else y, color=COLOURS[k], lw=1.8, label=label)
            ax.set_yscale("log" if logarithmic else "linear")
            ax.set(xlabel="iteration of gradient descent", ylabel=quantity)
            ax.grid(alpha=0.25)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        title = f"start of both factors (lines: seed {records[0]['seed']})"
        figure.legend(handles, labels, loc="outside lower center", ncols=len(names), title=title)
        ax = axes.flat[-1]
        for k, name in enumerate(names):
            mine = [r for r in records if r["start"] == name]
            for when, marker in (("budget", "o"), ("converged", "x")):
                x, y = [r[when]["nuclear_norm"] for r in mine], [r[when]["accuracy"] for r in mine]
                ax.plot(x, y, marker, color=COLOURS[k], ms=6, alpha=0.7)
        ax.plot([], [], "o", color="grey", label="after the budget")
        ax.plot([], [], "x", color="grey", label="after convergence")
        ax.set(xscale="log", xlabel="nuclear norm ||X||_*", ylabel="test accuracy", title="ends of all seeds")
        ax.legend(fontsize=8)
        ax.grid(alpha=0.25)


def _gentle(records: list[Record]) -> Claim:
    ends = {key: [r["budget"][key] for r in records] for key in ("rank", "nuclear_norm", "train")}
    gap = float(np.mean([r["budget"]["loss"] / r["converged"]["loss"] - 1.0 for r in records]))
    return Claim(
        "zero and small random starts come to a low-rank minimum (Figure 2)",
        "confirmed",
        f"{len(records)} runs: after the budget ranks up to {max(ends['rank'])} of {_RANK}, nuclear norms up to "
        f"{largest(ends['nuclear_norm']):.2f}, least training accuracy {least(ends['train']):.3f}, loss on "
        f"average {gap:.1%} above that of the second-order point beyond",
        # A run that does not move stays at rank 0, and tells the training images apart no better than chance.
        least(ends["train"]) == 1.0 and largest(ends["rank"]) < _RANK and gap < 0.05 and _settles(records),
    )


def _loud(zero: list[Record], huge: list[Record]) -> Claim:
    ends = {key: [r["budget"][key] for r in huge] for key in ("rank", "nuclear_norm", "train")}
    # How much more accurate on the training images than on others, beside the same of zero starts.
    far, near = (np.array([r["budget"]["train"] - r["budget"]["accuracy"] for r in each]) for each in (huge, zero))
    middle = float(np.median(ends["train"]))
    short = largest([r["budget"]["nuclear_norm"] for r in zero])
    beyond = {key: largest([r["converged"][key] for r in huge]) for key in ("rank", "nuclear_norm")}
    return Claim(
        "a large random start comes to an end of high rank and norm that generalizes worse: it fails loudly (Figure "
        "2); correction: such an end is that of a training budget, no minimum: continued to convergence rank and norm "
        "come down to those of the other starts",
        "holds with correction",
        f"standard deviation {_SCALES['huge']:g}, after the budget: ranks from {min(ends['rank'])} on, nuclear norms "
        f"from {least(ends['nuclear_norm']):.1f} on (zero starts: up to {short:.2f}), median training accuracy "
        f"{middle:.3f}, training less test accuracy {mean_and_error(far)} (zero starts: {mean_and_error(near)}); at "
        f"the second-order points beyond: ranks up to {beyond['rank']:.0f}, nuclear norms up to "
        f"{beyond['nuclear_norm']:.2f}",
        # A run that does not move, or is stopped early, has such an end too, but has not learnt.
        middle > 0.9
        and least(ends["rank"]) == _RANK
        and least(ends["nuclear_norm"]) > 2.0 * short > beyond["nuclear_norm"]
        and is_above_zero(far - near)
        and _settles(huge),
    )


def _dichotomy(records: list[Record]) -> Claim:
    best = least([r["converged"]["loss"] for r in records])
    above = [r for r in records if r["second_order"] and r["converged"]["loss"] > 1.01 * best]
    low = sum(r["converged"]["rank"] < _RANK for r in above)
    return Claim(
        "a second-order point is global or has rank r (Theorem 1); correction: given alpha > 0, which a network need "
        "not have (table2): here ends above the best one have low ranks",
        "holds with correction",
        f"{len(above)} of {len(records)} ends are second-order points more than 1 % above the best one, {low} of them "
        f"of lower rank than {_RANK}",
        low > 0,
    )


def _settles(records: list[Record]) -> bool:
    """Whether every run, continued, comes to a second-order point of low rank."""
    return all(r["second_order"] and r["converged"]["rank"] < _RANK for r in records)


def _fails_loudly(record: Record, zero: list[Record]) -> bool:
    """Whether the budget ends at rank r with a large norm and worse accuracy than the zero start."""
    norm, accuracy = (float(np.median([z[key] for z in zero])) for key in ("nuclear_norm", "accuracy"))
    end = record["budget"]
    return bool(end["rank"] == _RANK and end["nuclear_norm"] > 2.0 * norm and end["accuracy"] < accuracy)


def _measure(task: Any, A: np.ndarray, B: np.ndarray) -> dict[str, float]:
    from ..low_rank import factor_singular_values, numerical_rank

    X = A @ B.T
    values = factor_singular_values(A, B)
    f = task.objective.value_and_grad(X)[0]
    return {
        "loss": f + 0.5 * _LAM * float(np.vdot(A, A) + np.vdot(B, B)),
        "train": task.train_accuracy(X),
        "accuracy": task.test_accuracy(X),
        "rank": numerical_rank(values, _RANK_TOL) if values[0] > 1e-9 else 0,
        "sigma_r": float(values[_RANK - 1]),
        "norm": float(np.linalg.norm(values)),
        "nuclear_norm": float(values.sum()),
    }
