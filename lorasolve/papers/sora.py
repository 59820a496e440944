"""SoRA in closed form: what its penalty is for the update, and the exact optima to hold a run against.

Source: the structure of arXiv 2311.11696 worked out for matrix objectives (derived, not stated in the paper).
Everything is for the scale ``s = 1``. Proof module: proofs/sora.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .._support.validate import Array, as_float_array, as_instance, as_integer, as_number
from ..adapters.sora import SoRA, released_threshold
from ..convex import solve_convex
from ..engine import solve
from ..method import Method
from ..monitor import Intermediate, StoppingRule
from ..objectives.denoising import Denoising
from ..problem import Problem
from ..result import Result
from ..schedules.sparsify import Sparsify
from .base import COLOURS, Claim, PaperClaims, first_seeds, largest, least

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def schatten_half_penalty(X: Array, gate_penalty: float, lam: float) -> float:
    """Return ``2 sqrt(gate_penalty lam) sum sqrt(sigma_i(X))``.

    This is the least of ``gate_penalty ||g||_1 + (lam/2)(||A||_F^2 + ||B||_F^2)`` over ``A diag(g) B^T = X``
    (with at least ``rank X`` gates).
    """
    gate_penalty, lam = as_number(gate_penalty, "gate_penalty", 0.0), as_number(lam, "lam", 0.0)
    return 2.0 * float(np.sqrt(gate_penalty * lam) * np.sum(np.sqrt(compact_svd(X)[1])))


def compact_svd(X: Array) -> tuple[Array, Array, Array]:
    """Return the SVD without the singular values that are rounding errors (their roots would not be small)."""
    X = as_float_array(X, "X", 2)
    U, sigma, Vt = np.linalg.svd(X, full_matrices=False)
    kept = sigma > np.finfo(float).eps * max(X.shape) * sigma[0]
    return U[:, kept], sigma[kept], Vt[kept].T


def half_threshold(sigma: ArrayLike, weight: float) -> Array:
    """Return the minimisers over ``x >= 0`` of ``(x - sigma)^2/2 + weight sqrt(x)`` for each entry of ``sigma`` (k,).

    Zero for ``sigma <= (3/2) weight^(2/3)``, where the value jumps to ``weight^(2/3)``.
    """
    sigma, weight = as_float_array(sigma, "sigma", 1, np.float64), as_number(weight, "weight", 0.0)
    return _larger_stationary_points(sigma, weight, 1.5 * weight ** (2.0 / 3.0))


def local_minimisers(sigma: ArrayLike, weight: float) -> Array:
    """Return the positive local minimisers of ``(x - sigma)^2/2 + weight sqrt(x)``, zero where there is none.

    There is one for ``sigma > 3 (weight/4)^(2/3)``; up to ``(3/2) weight^(2/3)`` zero is better.
    """
    sigma, weight = as_float_array(sigma, "sigma", 1, np.float64), as_number(weight, "weight", 0.0)
    return _larger_stationary_points(sigma, weight, 3.0 * (0.25 * weight) ** (2.0 / 3.0))


def _larger_stationary_points(sigma: Array, weight: float, above: float) -> Array:
    x = np.zeros_like(sigma)
    large = sigma > above
    s = sigma[large]
    # At the least value that has a stationary point the quotient is 1, and by rounding more.
    angle = np.arccos(np.minimum(3.0 * (0.25 * weight) ** (2.0 / 3.0) / s, 1.0) ** 1.5)
    x[large] = (2.0 / 3.0) * s * (1.0 + np.cos(2.0 * np.pi / 3.0 - 2.0 * angle / 3.0))
    return x


@dataclass(frozen=True)
class GateOptimum:
    """The global optimum of a gate problem: the update (m, n), the objective and the number of open gates."""

    X: Array
    fun: float
    gates: int


def half_threshold_optimum(T: ArrayLike, gate_penalty: float, lam: float, rank: int | None = None) -> GateOptimum:
    """Return the global optimum of ``||A diag(g) B^T - T||_F^2/2 + gate_penalty ||g||_1 + (lam/2)(||A||^2 + ||B||^2)``.

    Half-thresholding of the singular values of ``T``, at most ``rank`` of them kept.
    """
    T = as_float_array(T, "T", 2)
    gate_penalty = as_number(gate_penalty, "gate_penalty", 0.0, open_low=True)
    lam = as_number(lam, "lam", 0.0, open_low=True)
    if rank is not None:
        as_integer(rank, "rank", 0)
    U, sigma, Vt = np.linalg.svd(T, full_matrices=False)
    weight = 2.0 * np.sqrt(gate_penalty * lam)
    x = half_threshold(sigma, weight)
    x[len(x) if rank is None else rank :] = 0.0
    fun = float(np.sum(0.5 * (x - sigma) ** 2 + weight * np.sqrt(x)))
    return GateOptimum((U * x) @ Vt, fun, int(np.count_nonzero(x)))


def open_gates(result: Result) -> int:
    """Return the number of nonzero gates of a SoRA run: the rank it chose."""
    gates = as_instance(result, "result", Result).problem.split(result.theta)[2]
    return int(np.count_nonzero(gates))


# ---------------------------------------------------------------------- claims
_SHAPE, _GATES, _PENALTY, _DECAY = (20, 16), 12, 0.5, 0.1
# Seeds of a full run and of a quick one, and the first start of those with AdamW.
_SEEDS, _FIRST_START = (10, 3), 100


def _target(seed: int) -> Array:
    """Return a 20 x 16 matrix with 12 singular values from 4 to 0.1."""
    rng = np.random.default_rng(seed)
    U = np.linalg.qr(rng.standard_normal((_SHAPE[0], _GATES)))[0]
    V = np.linalg.qr(rng.standard_normal((_SHAPE[1], _GATES)))[0]
    return (U * np.linspace(4.0, 0.1, _GATES)) @ V.T


def dead_zone(xi: float = 1.0) -> tuple[float, float]:
    """Return the largest entry the released map sets to zero, and the smallest value it lets through above it."""
    xi = as_number(xi, "xi", 0.0, open_low=True)
    grid = np.linspace(0.0, 4.0 * xi, 400_002)
    image = released_threshold(grid, xi)
    zeroed = grid[image == 0.0].max()
    return float(zeroed), float(image[grid > zeroed].min())


def rank_selection(seeds: int) -> dict[str, list[tuple[float, int, float]]]:
    """Return objective, open gates and excess of the penalty from two starts, on ridge SoRA.

    The excess is over the Schatten-1/2 penalty of the end's own update, the least that its gates and factors can cost,
    and relative to it.
    """
    runs: dict[str, list[tuple[float, int, float]]] = {"lora start": [], "singular vectors": []}
    stop = StoppingRule(max_iter=5_000, grad_tol=1e-7)
    for seed in range(seeds):
        T = _target(seed)
        problem = Problem(Denoising(T), _GATES, _DECAY, adapter=SoRA(_PENALTY))
        U, _, Vt = np.linalg.svd(T, full_matrices=False)
        open_at_start = np.arange(_GATES) < half_threshold_optimum(T, _PENALTY, _DECAY).gates
        gain = np.where(open_at_start, 2.0, 0.0)
        informed = (U[:, :_GATES] * gain, Vt[:_GATES].T * gain)
        for label, init in (("lora start", "lora"), ("singular vectors", informed)):
            result = solve(problem, "proximal_gd", init, seed, stop=stop)
            paid = result.fun - 0.5 * float(np.sum((result.X - T) ** 2))
            excess = paid / schatten_half_penalty(result.X, _PENALTY, _DECAY) - 1.0
            runs[label].append((result.fun, open_gates(result), excess))
    return runs


def unit_columns(seed: int) -> tuple[Result, float]:
    """Return a run with unit columns and revival, and the convex optimum of the nuclear norm."""
    T = _target(seed)
    rng = np.random.default_rng(seed)
    start = (rng.standard_normal((_SHAPE[0], _GATES)), rng.standard_normal((_SHAPE[1], _GATES)))
    problem = Problem(Denoising(T), _GATES, adapter=SoRA(_PENALTY, "unit_columns"))
    stop = StoppingRule(max_iter=20_000, grad_tol=1e-8)
    result = solve(problem, "proximal_gd+revive", start, stop=stop)
    return result, solve_convex(Problem(Denoising(T), _GATES, _PENALTY), route="prox").fun


def memorisation(penalties: Sequence[float], seed: int) -> list[tuple[float, int, float, float]]:
    """Return penalty, open gates, training and test loss along the sparsifying schedule (noisy low-rank target)."""
    rng = np.random.default_rng(seed)
    clean = rng.standard_normal((_SHAPE[0], 3)) @ rng.standard_normal((3, _SHAPE[1]))
    noisy = clean + 0.7 * rng.standard_normal(_SHAPE)
    problem = Problem(Denoising(noisy), _GATES, _DECAY, adapter=SoRA(penalties[0]))
    last: dict[float, tuple[int, float, float]] = {}

    def watch(now: Intermediate) -> None:
        X = now.problem.update(now.theta)
        gates = int(np.count_nonzero(now.problem.split(now.theta)[2]))
        losses = (0.5 * float(np.sum((X - noisy) ** 2)), 0.5 * float(np.sum((X - clean) ** 2)))
        adapter = now.problem.adapter
        assert isinstance(adapter, SoRA)
        last[adapter.gate_penalty] = (gates, *losses)

    stop = StoppingRule(max_iter=1500 * len(penalties), grad_tol=1e-6)
    method = Method("proximal_gd", Sparsify(tuple(penalties)))
    solve(problem, method, seed=seed, stop=stop, callback=watch)
    return [(penalty, *last[penalty]) for penalty in penalties]


def closed_form() -> dict[str, float]:
    """Return objective and number of gates of the closed-form optimum, whose value all targets of one spectrum share.

    Beside it those of the local minimum at which every component stays open that can.
    """
    T = _target(0)
    optimum = half_threshold_optimum(T, _PENALTY, _DECAY)
    sigma, weight = np.linalg.svd(T, compute_uv=False), 2.0 * np.sqrt(_PENALTY * _DECAY)
    x = local_minimisers(sigma, weight)
    local = float(np.sum(0.5 * (x - sigma) ** 2 + weight * np.sqrt(x)))
    return {"fun": optimum.fun, "gates": optimum.gates, "local": local, "open": int(np.count_nonzero(x))}


def rescaled(factor: float) -> dict[str, float]:
    """Return what is left of the penalty when the factors grow and the gates shrink, and how far the update moves."""
    problem = Problem(Denoising(_target(0)), _GATES, adapter=SoRA(_PENALTY))
    rng = np.random.default_rng(0)
    A, B, g = (rng.standard_normal(size) for size in ((_SHAPE[0], _GATES), (_SHAPE[1], _GATES), _GATES))
    thetas = [np.concatenate([(c * A).ravel(), (c * B).ravel(), g / c**2]) for c in (1.0, factor)]
    X, moved = (problem.update(theta) for theta in thetas)
    penalties = [problem.adapter.penalty(theta, problem.shape, _GATES) for theta in thetas]
    return {
        "left": penalties[1] / penalties[0],
        "moved": float(np.linalg.norm(moved - X) / np.linalg.norm(X)),
    }


def distances_to_the_convex_optimum(seeds: int) -> list[float]:
    """Return the relative distance of the runs with unit columns to the nuclear-norm optimum."""
    ends = [unit_columns(seed) for seed in range(seeds)]
    return [abs(result.fun - best) / best for result, best in ends]


def trained_as_released(penalties: Sequence[float], seeds: int) -> list[tuple[float, list[int], int]]:
    """Return penalty, the gates of each seed left open by AdamW with the threshold, and those open at the optimum.

    Unit columns, where the problem is that of the nuclear norm: the optimum keeps what lies above the penalty. The
    target of seed k is met from start ``_FIRST_START + k``, so that no start is drawn with its target's numbers.
    """
    rows = []
    stop = StoppingRule(max_iter=4000, grad_tol=0.0)
    optimizer = "proximal_adamw:weight_decay=0.0+cosine"
    for penalty in penalties:
        adapter = SoRA(penalty, "unit_columns")
        problems = [Problem(Denoising(_target(seed)), _GATES, adapter=adapter) for seed in range(seeds)]
        ends = [
            solve(problem, optimizer, "gaussian", _FIRST_START + seed, stop=stop)
            for seed, problem in enumerate(problems)
        ]
        optimal = int(np.sum(compact_svd(_target(0))[1] > penalty))
        rows.append((penalty, [open_gates(end) for end in ends], optimal))
    return rows


class SoRAClaims(PaperClaims):
    """What the gate penalty means for the update, and what the released threshold does."""

    name = "sora"
    paper = "SoRA (arXiv 2311.11696)"
    summary = "what the gate penalty means for the update, and what the released threshold does"
    seeds = f"{first_seeds(*_SEEDS)}; starts with AdamW {_FIRST_START} + seed"
    size = (8.0, 3.8)
    axis_meanings = {"penalties": "weights of the penalty on the gate"}
    parts = {
        "released": trained_as_released,
        "optimum": closed_form,
        "runs": rank_selection,
        "convex": distances_to_the_convex_optimum,
        "rescaled": rescaled,
        "curve": memorisation,
        "dead_zone": dead_zone,
    }

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return fewer seeds for a quick run."""
        seeds = {"seeds": _SEEDS[quick]}
        curve = {"penalties": [0.01, 20.0, 60.0, 120.0, 400.0], "seed": 0}
        released = {"penalties": [0.9, 2.0] if quick else [0.3, 0.9, 1.5, 2.0]} | seeds
        return {"runs": seeds, "convex": seeds, "curve": curve, "released": released, "rescaled": {"factor": 100.0}}

    def report(self, found: dict[str, Any]) -> str:
        """Return the gaps of both starts to the closed form, and the course of the sparsifying schedule."""
        best, gates = found["optimum"]["fun"], found["optimum"]["gates"]
        lines = [f"Ridge SoRA on a 20 x 16 target: closed form {best:.6f} with {gates} of {_GATES} gates"]
        for label, ends in found["runs"].items():
            gap = [fun - best for fun, _, _ in ends]
            counts = [count for _, count, _ in ends]
            lines.append(f"  {label:<17} gap to the closed form {least(gap):.2e} to {largest(gap):.2e}, gates {counts}")
        lines.append("Sparsifying schedule on a noisy rank-3 target: penalty, open gates, training loss, test loss")
        for penalty, count, train, test in found["curve"]:
            lines.append(f"  {penalty:6.2f}  {count:3d}  {train:9.3f}  {test:9.3f}")
        lines.append("Unit columns: penalty, open gates after AdamW with the threshold, at the optimum")
        lines += [f"  {penalty:6.2f}  {adam}  {optimal:3d}" for penalty, adam, optimal in found["released"]]
        return "\n".join(lines)

    def picture(self, found: dict[str, Any], figure: Figure) -> None:
        """Draw the course of the sparsifying schedule, and the gates that two optimizers leave open."""
        left, right = figure.subplots(1, 2)
        penalties, counts, training, test = zip(*found["curve"])
        left.semilogx(penalties, training, "o-", color=COLOURS[0], label="training loss")
        left.semilogx(penalties, test, "s-", color=COLOURS[1], label="test loss")
        left.semilogx(penalties, counts, "d:", color=COLOURS[2], label="open gates")
        left.set(title="Raising the threshold", xlabel="gate penalty", ylabel="loss, and number of open gates")
        penalties, adam, optimal = zip(*sorted(found["released"]))
        spread = np.linspace(-0.04, 0.04, len(adam[0]))
        for k, counts in enumerate(zip(*adam)):
            label = "AdamW and threshold, each seed" if k == 0 else None
            right.plot(np.array(penalties) + spread[k], counts, "o", color=COLOURS[0], ms=4, label=label)
        right.plot(penalties, optimal, "s-", color=COLOURS[1], label="optimum")
        right.set(title="Unit columns", xlabel="gate penalty", ylabel="open gates", ylim=(-0.5, _GATES + 1))
        for ax in (left, right):
            ax.grid(alpha=0.25)
        left.legend(fontsize=8)
        right.legend(fontsize=8, loc="center left")

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        # The axis may have others, at which the optimum has no gate or all of them.
        own = self.settings(False)["released"]["penalties"]
        return [
            _sparse_in_rank(found["runs"], found["optimum"], largest(found["convex"]), found["rescaled"]),
            _gates_choose_the_rank(found["runs"]["lora start"], found["optimum"]),
            _soft_threshold(*found["dead_zone"]),
            _threshold_trades(found["curve"]),
            _release_trains_the_same([each for each in found["released"] if each[0] in own]),
            Claim(
                "better benchmark scores with 70 % of the parameters and of the time", "not at matrix scale", "-", True
            ),
        ]


def _sparse_in_rank(
    runs: dict[str, list[Any]], optimum: dict[str, float], above: float, free: dict[str, float]
) -> Claim:
    """Judge what the penalty amounts to: at the ends of runs, with unit columns, and without size control."""
    paid = [excess for ends in runs.values() for _, _, excess in ends]
    informed = largest([abs(fun - optimum["fun"]) for fun, _, _ in runs["singular vectors"]])
    return Claim(
        "an l1 penalty on the gates makes the update sparse in rank; correction: with weight decay it is a "
        "Schatten-1/2 penalty, with unit columns the nuclear norm, without size control nothing",
        "holds with correction",
        "penalty at the end of each run over the Schatten-1/2 penalty of its update: "
        f"1 + {least(paid):.0e} to 1 + {largest(paid):.0e}; distance to the half-threshold optimum "
        f"{informed:.1e}; to the convex optimum {above:.1e} (relative); without size control "
        f"{free['left']:.0e} of the penalty is left at the same update ({free['moved']:.0e})",
        # No factors of an update cost less than its Schatten-1/2 penalty.
        -1e-12 < least(paid) <= largest(paid) < 1e-3
        and informed < 1e-8
        and above < 1e-7
        and free["left"] < 1e-3
        and free["moved"] < 1e-12,
    )


def _gates_choose_the_rank(ends: list[Any], optimum: dict[str, float]) -> Claim:
    """Judge the rank that runs from a LoRA start end with, beside that of the closed form."""
    gaps = [fun - optimum["fun"] for fun, _, _ in ends]
    stuck = [gap for gap, (_, gates, _) in zip(gaps, ends) if gates == optimum["open"]]
    local = optimum["local"] - optimum["fun"]
    return Claim(
        "the gates choose the rank; correction: from a LoRA start the choice is a heuristic (a closed gate "
        "cannot reopen once its columns have died, and components below the threshold can be local minima that "
        "stay open)",
        "holds with correction",
        f"gap to the closed form {least(gaps):.4f} to {largest(gaps):.4f}, gates "
        f"{[k for _, k, _ in ends]} against {optimum['gates']}; where all that can stay open do: "
        f"{local:.4f}, {optimum['open']} gates",
        local > 1e-3
        and optimum["open"] != optimum["gates"]
        # Most runs, not all: of many seeds some close the gates that the optimum closes.
        and 2 * len(stuck) > len(gaps)
        # A gap of another size would be that of a run which has not come to rest.
        and least(stuck) > 0.99 * local
        and -1e-9 < least(gaps) <= largest(gaps) < 1.05 * local,
    )


def _soft_threshold(zeroed: float, jump: float) -> Claim:
    """Judge the released update, from the end of its dead zone and the least value beyond it."""
    return Claim(
        "the released update is the soft threshold; correction: its dead zone is twice as wide, with a jump",
        "holds with correction",
        f"zero up to {zeroed:.4f} xi, then at least {jump:.4f} xi",
        abs(zeroed - 2.0) < 1e-4 and abs(jump - 1.0) < 1e-4,
    )


def _threshold_trades(curve: list[Any]) -> Claim:
    """Judge open gates and training loss along a rising threshold."""
    training = [train for _, _, train, _ in curve]
    counts = [gates for _, gates, _, _ in curve]
    return Claim(
        "raising the threshold trades memorisation for sparsity",
        "confirmed",
        f"gates {counts}, training loss {training[0]:.2f} to {training[-1]:.2f}",
        counts == sorted(counts, reverse=True)
        and training == sorted(training)
        and counts[-1] < counts[0]
        and training[-1] > training[0],
    )


def _release_trains_the_same(released: list[Any]) -> Claim:
    """Judge the open gates that AdamW leaves, by penalty and seed, beside those of the optimum."""
    return Claim(
        "the release trains the same problem with AdamW; correction: Adam rescales the loss's gradient and not "
        "the penalty, and on targets of one spectrum it leaves all gates open or none, none at penalties above "
        "1, where the optimum has some",
        "holds with correction",
        "; ".join(
            f"penalty {penalty:g}: {adam.count(_GATES)} of {len(adam)} seeds with all {_GATES} gates open, "
            f"{adam.count(0)} with none, {optimal} at the optimum"
            for penalty, adam, optimal in released
        ),
        all(
            0 < optimal < _GATES and set(adam) <= ({0, _GATES} if penalty < 1.0 else {0})
            for penalty, adam, optimal in released
        )
        # Gates that are closed whatever the penalty show nothing of it.
        and any(_GATES in adam for _, adam, _ in released),
    )
