"""The rate of gradient descent on LoRA's factors, without a bound on the factors.

Source: S. Mu and D. Klabjan, "On the Convergence Rate of LoRA Gradient Descent", arXiv:2512.18248 (version 3), of which
the abstract was at hand; the rate that is measured is derived. Proof module: proofs/descent_rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._support.validate import Array
from ..engine import solve
from ..inits.gaussian import Gaussian
from ..monitor import Intermediate, StoppingRule
from ..objectives.denoising import Denoising
from ..objectives.softmax import Softmax
from ..optimizers.base import Optimizer, State
from ..optimizers.gd import GD
from ..problem import Problem
from ..status import Status
from .base import COLOURS, Claim, PaperClaims, first_seeds, largest, least, mean_and_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHAPE, _RANK = (8, 12), 3
# Seeds of a full run and of a quick one.
_SEEDS = (10, 3)


@dataclass(frozen=True)
class CurrentStep(Optimizer):
    """Gradient descent with the step of proofs/descent_rate, from the value and the factors at each point.

    It needs a smoothness constant and a lower bound of ``f``.
    """

    name = "current_step"
    summary = "theta <- theta - grad L(theta)/K(theta)"

    def init(self, problem: Problem, theta: Array, rng: np.random.Generator) -> State:
        """Return the state that evaluates ``theta`` first."""
        return State(theta.copy(), theta.copy())

    def update(self, problem: Problem, state: State, value: float, grad: Array) -> None:
        """Accept the trial and step on."""
        state.theta = state.trial
        state.step = 1.0 / steepness(problem, value, float(state.theta @ state.theta))
        state.trial = state.theta - state.step * grad


def steepness(problem: Problem, value: float, square: float) -> float:
    """Return ``K = sqrt(2 beta (L - inf f)) + lam + (9/4) beta |theta|^2``, the inverse of the step."""
    beta, low = _facts(problem)
    return float(np.sqrt(2.0 * beta * max(value - low, 0.0)) + problem.lam + 2.25 * beta * square)


def bound(problem: Problem, value: float, square: float, k: Array) -> Array:
    """Return the bound of proofs/descent_rate on the least squared gradient in ``k`` steps from a start.

    Parameters
    ----------
    problem : Problem
        With a smoothness constant and a lower bound of ``f``.
    value, square : float
        ``L`` and ``|theta|^2`` at the start.
    k : ndarray
        Numbers of steps, at least 1.
    """
    beta, low = _facts(problem)
    delta = value - low
    a, b = np.sqrt(2.0 * beta * delta) + problem.lam + 4.5 * beta * square, 9.0 * beta * delta
    return np.asarray(delta * (a + np.sqrt(a * a + 2.0 * b * k)) / k)


def _facts(problem: Problem) -> tuple[float, float]:
    facts = problem.objective.facts
    assert facts.smoothness is not None and facts.lower_bound is not None
    return facts.smoothness, facts.lower_bound


def problems(seed: int) -> dict[str, Problem]:
    """Return a target of full rank, where factors stay bounded, and classes that can be told apart, where they grow."""
    m, n = _SHAPE
    rng = np.random.default_rng(seed)
    target, Z = rng.standard_normal((m, n)), rng.standard_normal((n, n))
    classes = rng.permutation(np.arange(n) % m)
    objectives = {"denoising": Denoising(target), "softmax, separable": Softmax(np.zeros((m, n)), Z, classes)}
    return {name: Problem(objective, _RANK) for name, objective in objectives.items()}


def courses(seeds: int, max_iter: int) -> dict[str, list[dict[str, Any]]]:
    """Return by loss and seed what gradient descent with the current step does, ``lam = 0``.

    The least squared gradient so far over the bound, after 1, 10, 100, ... steps, and the bound over the squared
    gradient at the start; how many times as long the factors are at the end; the largest rise of ``L`` in a step,
    relative.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in range(seeds):
        for name, problem in problems(seed).items():
            found.setdefault(name, []).append(_course(problem, seed, max_iter))
    return found


def _course(problem: Problem, seed: int, max_iter: int) -> dict[str, Any]:
    values, squares, lengths = [], [], []

    def watch(now: Intermediate) -> None:
        values.append(now.value)
        squares.append(now.grad_norm**2)
        lengths.append(float(now.theta @ now.theta))

    solve(problem, CurrentStep(), Gaussian(0.3), seed=seed, stop=StoppingRule(max_iter, grad_tol=0.0), callback=watch)
    counts = 10.0 ** np.arange(int(np.log10(len(squares))) + 1)
    so_far = np.minimum.accumulate(squares)[counts.astype(int) - 1]
    bounds = bound(problem, values[0], lengths[0], counts)
    return {
        "shares": (so_far / bounds).tolist(),
        "bounds": (bounds / squares[0]).tolist(),
        "growth": float(np.sqrt(lengths[-1] / lengths[0])),
        "rise": float(np.max(np.diff(values)) / values[0]),
    }


def far_starts(times: float, max_iter: int) -> dict[str, Any]:
    """Return how runs from factors ``times`` as long end: with the constant step that is safe at the start, and not.

    That is ``1/K`` at the shorter factors, from which it descends. Beside it the largest rise of ``L`` with the current
    step, relative.
    """
    problem = problems(0)["denoising"]
    near = Gaussian(0.3).start(problem, np.random.default_rng(0))
    theta = problem.join(near.A, near.B)
    value = problem.value(near.A, near.B)
    constant = GD(step_size=1.0 / steepness(problem, value, float(theta @ theta)))
    stop = StoppingRule(max_iter, grad_tol=0.0)
    far, values = (times * near.A, times * near.B), []
    solve(problem, CurrentStep(), far, stop=stop, callback=lambda now: values.append(now.value))
    ends = {
        "near": solve(problem, constant, (near.A, near.B), stop=stop),
        "far": solve(problem, constant, far, stop=stop),
    }
    return {
        "diverged": {name: end.status is Status.DIVERGED for name, end in ends.items()},
        "rise": float(np.max(np.diff(values)) / values[0]),
        "left": values[-1] / values[0],
    }


class LoRAGDClaims(PaperClaims):
    """The rate beside its bound, and that no constant step is safe."""

    name = "lora_gd"
    paper = "The Convergence Rate of LoRA Gradient Descent (arXiv 2512.18248)"
    summary = "how fast gradients vanish without a bound on the factors, and why no constant step is safe"
    seeds = first_seeds(*_SEEDS)
    size = (7.0, 4.2)
    axis_meanings = {"times": "how many times as long the factors of the far start are"}
    parts = {"courses": courses, "far": far_starts}

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return fewer seeds for a quick run."""
        return {
            "courses": {"seeds": _SEEDS[quick], "max_iter": 10_000},
            "far": {"times": 10.0, "max_iter": 100},
        }

    def report(self, found: dict[str, Any]) -> str:
        """Return the shares of the bound."""
        lines = ["Least squared gradient over its bound after 1, 10, 100, ... steps, largest over the seeds"]
        for name, runs in found["courses"].items():
            shares = [largest(values) for values in zip(*(run["shares"] for run in runs))]
            growth = mean_and_error([run["growth"] for run in runs], 2)
            lines.append(
                f"  {name:<20}" + "  ".join(f"{share:.1e}" for share in shares) + f"   factors {growth} times as long"
            )
        return "\n".join(lines)

    def picture(self, found: dict[str, Any], figure: Figure) -> None:
        """Draw the least squared gradients and their bounds, over that of the start."""
        ax = figure.subplots()
        for k, (name, runs) in enumerate(found["courses"].items()):
            for run in runs:
                counts, bounds = 10.0 ** np.arange(len(run["bounds"])), np.array(run["bounds"])
                first = run is runs[0]
                ax.loglog(counts, bounds * run["shares"], "o-", ms=3, lw=0.8, color=COLOURS[k],
                          label=name if first else None)  # fmt: skip
                ax.loglog(counts, bounds, ":", lw=1, color=COLOURS[k], label=f"{name}: bound" if first else None)
        ax.set(
            title="Gradient descent on the factors, lam = 0",
            xlabel="steps",
            ylabel="least squared gradient so far,\nover that of the start",
        )
        ax.grid(alpha=0.25)
        ax.legend(fontsize=8)

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        runs = [run for each in found["courses"].values() for run in each]
        apart, far = found["courses"]["softmax, separable"], found["far"]
        share, rise = largest([largest(run["shares"]) for run in runs]), largest([run["rise"] for run in runs])
        growth, last = least([run["growth"] for run in apart]), largest([run["bounds"][-1] for run in apart])
        return [
            Claim(
                "the least gradient norm of gradient descent on the factors is O(1/log T), with no bound on the "
                "factors (abstract); correction, sharper: its square is O(1/sqrt(T)), with steps from the value and "
                "the factors at each point (proofs/descent_rate)",
                "holds with correction",
                f"least squared gradient over the bound: at most {share:.2f}, in {len(runs)} runs; classes that can be "
                f"told apart: factors at least {growth:.1f} times as long at the end, where the bound is at most "
                f"{last:.2f} of the first squared gradient; largest rise of L in a step {rise:.0e} of the start",
                # A bound above the first gradient would say nothing of steps that go nowhere.
                share <= 1.0 and last < 1.0 and growth > 2.0 and rise < 1e-12,
            ),
            Claim(
                "the loss in the factors has no Lipschitz gradient: a constant step that is safe from one start is not "
                "from another, and the current one is",
                "confirmed",
                f"the step that is safe at the start: {_end(far['diverged']['near'])} from there, "
                f"{_end(far['diverged']['far'])} from factors ten times as long; the current step from those: largest "
                f"rise {far['rise']:.0e}, {far['left']:.1%} of L left",
                far["diverged"]["far"] and not far["diverged"]["near"] and far["rise"] <= 0.0 and far["left"] < 0.1,
            ),
        ]


def _end(diverged: bool) -> str:
    return "diverges" if diverged else "descends"
