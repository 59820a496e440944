"""DoRA: its gradient column by column, what detaching the norm costs, and what the magnitudes can represent.

Source: Liu et al., "DoRA", arXiv 2402.09353 (ICML 2024); the corrections are derived. Proof module:
proofs/dora_gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validate import Array, as_float_array, as_shape
from ..adapters.base import Adapter
from ..adapters.dora import DoRA
from ..adapters.lora import LoRA
from ..engine import solve
from ..monitor import Intermediate, StoppingRule
from ..objectives.linear import LinearFineTuning
from ..optimizers.adam import Adam
from ..problem import Problem, full_fine_tuning
from .base import COLOURS, Claim, PaperClaims, largest, least, mean_and_error, standard_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The correlations of (dD, dM) over layers and checkpoints of VL-BART in the paper.
PUBLISHED = {"full": -0.62, "LoRA": 0.83, "DoRA": -0.31}


class _Linear:
    """``f(W0 + X) = <C, W0 + X>``: the loss whose gradient is known."""

    def __init__(self, W0: Array, C: Array) -> None:
        self.W0, self.C, self.shape = W0, C, W0.shape

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return the loss and ``C``."""
        return float(np.vdot(self.C, self.W0 + X)), self.C.copy()


def gradient_errors(seed: int = 0) -> dict[str, float]:
    """Return the relative errors, against central differences, of the gradient in ``A`` and of the printed formula."""
    rng = np.random.default_rng(seed)
    m, n, r = 7, 5, 2
    W0, C = rng.standard_normal((m, n)), rng.standard_normal((m, n))
    problem = Problem(_Linear(W0, C), r, adapter=DoRA(axis=0))
    A, B, w = rng.standard_normal((m, r)), rng.standard_normal((n, r)), rng.standard_normal(n)
    theta = np.concatenate([A.ravel(), B.ravel(), w])
    unused = np.empty_like(theta)
    h, numeric = 1e-6, np.empty(m * r)
    for k in range(m * r):
        step = np.zeros_like(theta)
        step[k] = h
        rise = problem.value_and_grad(theta + step, unused) - problem.value_and_grad(theta - step, unused)
        numeric[k] = rise / (2.0 * h)
    exact = np.empty_like(theta)
    problem.value_and_grad(theta, exact)
    V = W0 + A @ B.T
    c = np.linalg.norm(V, axis=0)
    printed = ((np.eye(m) - V @ V.T / np.sum(c**2)) @ C * (w / c)) @ B
    size = np.linalg.norm(numeric)
    return {
        "by column": float(np.linalg.norm(exact[: m * r] - numeric) / size),
        "one matrix": float(np.linalg.norm(printed.ravel() - numeric) / size),
    }


def rates_of_change() -> dict[str, float]:
    """Return ``dL/dt`` along minus the exact and minus the detached direction, on an instance in exact numbers."""
    W0, C = np.array([[0.0], [-0.1]]), np.array([[-0.5], [1.0]])
    theta = np.array([10.0, 1.0, 0.1, 1.0])
    exact, detached = np.empty(4), np.empty(4)
    for detach, grad in ((False, exact), (True, detached)):
        Problem(_Linear(W0, C), 1, adapter=DoRA(axis=0, detach=detach)).value_and_grad(theta, grad)
    return {"exact": -float(exact @ exact), "detached": -float(exact @ detached)}


def losses(rank: int, max_iter: int) -> dict[str, float]:
    """Return the losses of DoRA and LoRA on a rescaled weight plus a change of the same rank, and LoRA's least one."""
    rng = np.random.default_rng(2)
    m = n = 10
    W0 = rng.standard_normal((m, n))
    change = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n)) / np.sqrt(n)
    target = W0 * rng.uniform(0.5, 1.5, n) + change
    objective = LinearFineTuning(W0, np.sqrt(n) * np.eye(n), np.sqrt(n) * target)
    stop = StoppingRule(max_iter, grad_tol=1e-9)
    ends = {
        name: solve(Problem(objective, rank, adapter=adapter), "lbfgs", stop=stop).fun
        for name, adapter in (("DoRA", DoRA(axis=0)), ("LoRA", "lora"))
    }
    tail = np.linalg.svd(target - W0, compute_uv=False)[rank:]
    return ends | {"least": 0.5 * float(np.sum(tail**2))}


# What a method is to learn, and what that does to the columns.
TARGETS = {
    "perturbed": "independent\nentries",
    "norms kept": "columns turn,\nlengths stay",
    "direction or norm": "much of one,\nlittle of the other",
}
# How the update of each method is made; full tuning has a problem of its own. The release detaches the norm.
METHODS: dict[str, Adapter | None] = {
    "full": None,
    "LoRA": LoRA(),
    "DoRA": DoRA(axis=0),
    "DoRA, norm detached": DoRA(axis=0, detach=True),
}


def changes(W: Array, W0: Array) -> tuple[float, float]:
    """Return the mean change of direction, ``1 - cos``, and of length of the columns: the paper's ``dD`` and ``dM``.

    A column of zeros has a length and no direction, for which the paper's cosine is 0/0: ``dD`` is the mean over the
    columns that are zero in neither matrix, ``dM`` the mean over all.

    Parameters
    ----------
    W, W0
        The weight and the frozen one, both (m, n).

    Returns
    -------
    tuple of float
        ``dD``, NaN if no column has a direction in both matrices, and ``dM``.

    Raises
    ------
    ValueError, TypeError
        For anything but matrices of finite numbers of one shape.
    """
    W0 = as_float_array(W0, "W0", 2)
    W = as_shape(as_float_array(W, "W", 2), "W", W0.shape)
    lengths, before = np.linalg.norm(W, axis=0), np.linalg.norm(W0, axis=0)
    turned = np.minimum(lengths, before) > 0.0
    cosines = np.sum((W[:, turned] / lengths[turned]) * (W0[:, turned] / before[turned]), axis=0)
    direction = float(np.mean(1.0 - cosines)) if turned.any() else np.nan
    return direction, float(np.mean(np.abs(lengths - before)))


def target(kind: str, size: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return a frozen weight (24, 24) and a tuned one: a perturbation of some size in [0, 1], of one of three kinds.

    ``perturbed``: independent entries; ``norms kept``: the same, columns rescaled to their old length; ``direction or
    norm``: much of one where there is little of the other.
    """
    n = 24
    W0 = rng.standard_normal((n, n))
    E = rng.standard_normal((n, n))
    if kind == "perturbed":
        return W0, W0 + size * E
    turned = W0 + (size if kind == "norms kept" else 1.0 - size) * E
    turned *= np.linalg.norm(W0, axis=0) / np.linalg.norm(turned, axis=0)
    return W0, turned if kind == "norms kept" else turned * (1.0 + size * rng.choice((-0.5, 0.5), n))


def correlations(problems: int, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Return by kind of target and method the correlation of ``dD`` and ``dM``, over problems and checkpoints.

    Full tuning, LoRA and DoRA, its norm in the derivative or not, of rank 4 by Adam at four checkpoints of each of
    ``problems`` targets of sizes in [0.2, 1]; one correlation for each of ``repeats`` sets of targets.
    """
    return {
        kind: {name: [_correlation(kind, name, problems, k) for k in range(repeats)] for name in METHODS}
        for kind in TARGETS
    }


def _correlation(kind: str, name: str, problems: int, repeat: int) -> float:
    points: list[tuple[float, float]] = []
    for k, size in enumerate(np.linspace(0.2, 1.0, problems)):
        W0, T = target(kind, float(size), np.random.default_rng(1000 * repeat + k))
        n = W0.shape[1]
        objective = LinearFineTuning(W0, np.sqrt(n) * np.eye(n), np.sqrt(n) * T)
        adapter = METHODS[name]
        problem, init = full_fine_tuning(objective) if adapter is None else (Problem(objective, 4, 0.0, adapter), None)

        def watch(now: Intermediate, W0: Array = W0) -> None:
            if now.nit in (25, 50, 100, 200):
                points.append(changes(W0 + now.problem.update(now.theta), W0))

        stop = StoppingRule(max_iter=200, grad_tol=0.0)
        solve(problem, Adam(0.02), init, seed=k, stop=stop, callback=watch)
    return float(np.corrcoef(np.array(points).T)[0, 1])


class DoRAClaims(PaperClaims):
    """The gradient, the detached norm, the magnitudes, and the changes of direction and length."""

    name = "dora"
    paper = "DoRA (arXiv 2402.09353)"
    summary = "its gradient column by column, the detached norm, and what the magnitudes add"
    seeds = "0, 2; sets of targets 0-4 (quick: 0)"
    size = (7.0, 5.4)
    axis_meanings = {"repeats": "sets of targets"}
    parts = {
        "errors": gradient_errors,
        "rates": rates_of_change,
        "losses": losses,
        "correlations": correlations,
    }

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return fewer steps for a quick run."""
        return {
            "losses": {"rank": 2, "max_iter": 3000 if quick else 20_000},
            "correlations": {"problems": 12, "repeats": 1 if quick else 5},
        }

    def report(self, found: dict[str, Any]) -> str:
        """Return the losses at equal rank."""
        shown = ", ".join(f"{name} {value:.3g}" for name, value in found["losses"].items())
        lines = [f"Loss on a rescaled weight plus a change of rank 2 (10 x 10): {shown}"]
        lines.append("Correlation of the changes of direction and length (24 x 24, r = 4, Adam): " + ", ".join(METHODS))
        for kind, table in found["correlations"].items():
            lines.append(f"  {kind:<18}" + "  ".join(mean_and_error(table[name], 2) for name in METHODS))
        return "\n".join(lines)

    def picture(self, found: dict[str, Any], figure: Figure) -> None:
        """Draw the correlations by kind of target, beside the paper's."""
        ax = figure.subplots()
        for k, name in enumerate(METHODS):
            values = [found["correlations"][kind][name] for kind in TARGETS]
            positions = np.arange(len(TARGETS)) + 0.15 * (k - 1.5)
            means, errors = np.mean(values, axis=1), standard_error(values, axis=1)
            ax.errorbar(positions, means, errors, fmt="osd^"[k], color=COLOURS[k],
                        label=name + (f" (paper {PUBLISHED[name]:+.2f})" if name in PUBLISHED else ""))  # fmt: skip
            if name in PUBLISHED:
                ax.axhline(PUBLISHED[name], color=COLOURS[k], ls=":", lw=1)
        ax.set_xticks(range(len(TARGETS)), [f"{kind}:\n{what}" for kind, what in TARGETS.items()])
        ax.set(
            title="Do columns that turn more also change more in length?",
            xlabel="what the method is to learn",
            ylim=(-1.1, 1.1),
            ylabel="correlation of the mean change of\ndirection and of length (dD, dM)",
        )
        ax.grid(alpha=0.25)
        figure.legend(
            loc="outside lower center", ncols=2, title="bars: standard errors; dotted: what the paper reports"
        )

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        errors, rates, reached = found["errors"], found["rates"], found["losses"]
        means = {k: {n: float(np.mean(v)) for n, v in table.items()} for k, table in found["correlations"].items()}
        return [
            Claim(
                "the correlation of the changes of direction and length tells methods apart: full tuning -0.62, LoRA "
                "+0.83, DoRA -0.31; correction: its sign comes from the target, the same for LoRA and DoRA, with the "
                "norm detached as released too, and for full tuning except where the target keeps the lengths: there "
                "its correlation is near 0 and theirs are positive",
                "holds with correction",
                f"{'; '.join(METHODS)}: "
                + "; ".join(
                    f"{kind} " + ", ".join(mean_and_error(table[name], 2) for name in METHODS)
                    for kind, table in found["correlations"].items()
                ),
                least(list(means["perturbed"].values())) > 0.5
                and largest(list(means["direction or norm"].values())) < 0.0
                and abs(means["norms kept"]["full"]) < 0.1
                and least([value for name, value in means["norms kept"].items() if name != "full"]) > 0.5,
            ),
            Claim(
                "the gradient is projected off the weight and scaled; correction: column by column, the formula "
                "printed with one projector for the whole matrix is false",
                "holds with correction",
                f"relative error {errors['by column']:.0e} by column, {errors['one matrix']:.2f} with one matrix",
                errors["by column"] < 1e-7 and errors["one matrix"] > 0.1,
            ),
            Claim(
                "the norm can be left out of the derivative; correction: the direction can then ascend",
                "holds with correction",
                f"dL/dt: exact {rates['exact']:.2f}, detached {rates['detached']:+.2f}",
                abs(rates["exact"] + 63 / 50) < 1e-12 and abs(rates["detached"] - 187 / 50) < 1e-12,
            ),
            Claim(
                "DoRA learns more than LoRA at equal rank: it rescales the columns of the frozen weight, which no "
                "low-rank update can",
                "confirmed",
                f"loss {reached['DoRA']:.1e} against {reached['LoRA']:.2f} (LoRA's least: {reached['least']:.2f})",
                reached["DoRA"] < 0.1 * reached["least"] and abs(reached["LoRA"] / reached["least"] - 1.0) < 1e-6,
            ),
            Claim("commonsense average 78.4 against 74.7 for LoRA (LLaMA 7B)", "not at matrix scale", "-", True),
        ]
