"""What "RAC-LoRA" claims: the paper's failing example, the contraction factor of the chain, noise and clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .._support.validate import Array
from ..adapters.lora import LoRA
from ..engine import solve
from ..inits.lora import LoRAStart
from ..method import Method
from ..monitor import Intermediate, StoppingRule
from ..objectives.denoising import Denoising
from ..optimizers.gd import GD
from ..optimizers.sgd import SGD
from ..problem import Problem
from ..schedules import haar
from ..schedules.cola import ChainOfLoRA
from ..schedules.rac_chain import RACChain
from ..status import Status
from ._rac_lora import (
    Anchors,
    NoisyGradients,
    PaperExample,
    federated_block,
    federated_mean_gap,
    gap_bound,
    isotropic_factor,
    noisy_isotropic_step,
    reshuffled_epoch,
    sketch_eigenvalue,
    stationarity_bound,
)
from .base import COLOURS, Claim, PaperClaims, first_seeds, standard_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Anchors",
    "NoisyGradients",
    "PaperExample",
    "RACLoRAClaims",
    "all_gaps",
    "below_the_theorems",
    "contraction",
    "contractions",
    "federated",
    "federated_block",
    "federated_mean_gap",
    "gap_bound",
    "gaps_on_the_paper_example",
    "isotropic_factor",
    "noisy",
    "noisy_isotropic_step",
    "replaced",
    "reshuffled",
    "reshuffled_epoch",
    "sketch_eigenvalue",
    "stationarity_bound",
]

# Seeds and draws of a full run and of a quick one.
_SEEDS, _DRAWS, _EPOCHS, _CHAINS = (20, 2), (4000, 400), (1000, 100), (200, 40)
_BLOCKS = (1, 10, 100)
_NOISE, _NOISY_STEP, _NOISY_BLOCKS, _NOISY_RANKS = 4.0, 0.5, 60, (2, 4)
_EPOCH_STEP, _EPOCH_RANK = 0.3, 2


def reshuffled(draws: int) -> tuple[float, float, float]:
    """Return the expected gap after one epoch in one block, the mean of as many runs, and its standard error."""
    objective = _samples()
    method = Method(SGD(_EPOCH_STEP, batch_size=1), RACChain(inner=objective.n_samples, side="left"))
    stop = StoppingRule(max_iter=objective.n_samples, grad_tol=0.0)
    problem = Problem(objective, _EPOCH_RANK)
    ends = [solve(problem, method, seed=seed, stop=stop).fun - objective.lower_bound for seed in range(draws)]
    return _expected_epoch(False), float(np.mean(ends)), float(standard_error(ends))


def replaced() -> float:
    """Return the gap that is expected after the same epoch of samples with replacement."""
    return _expected_epoch(True)


def _samples() -> Anchors:
    return Anchors(np.random.default_rng(2).standard_normal((5, 8, 6)))


def _expected_epoch(replacement: bool) -> float:
    objective = _samples()
    gap = objective.value_and_grad(np.zeros(objective.shape))[0] - objective.lower_bound
    eigenvalue = sketch_eigenvalue(objective.shape, _EPOCH_RANK, "left")
    noise = 2.0 * objective.lower_bound
    return reshuffled_epoch(gap, eigenvalue, _EPOCH_STEP, objective.n_samples, 1.0, noise, replacement)


def federated(draws: int) -> dict[str, tuple[float, float, float]]:
    """Return the same for a federated block of four local steps, of all six clients and of two."""
    shape, rank, clients, step, local = (8, 6), 2, 6, 0.3, 4
    objective = Anchors(np.random.default_rng(3).standard_normal((clients, *shape)))
    gap = objective.value_and_grad(np.zeros(shape))[0] - objective.lower_bound
    eigenvalue = sketch_eigenvalue(shape, rank, "left")
    found = {}
    for part in (clients, 2):
        rng = np.random.default_rng(4)
        ends = []
        for _ in range(draws):
            chosen = rng.choice(clients, part, replace=False)
            gradients = [lambda W, M=objective.anchors[i]: W - M for i in chosen]
            W = federated_block(gradients, np.zeros(shape), haar(shape[0], rank, rng), step, local)
            ends.append(objective.value_and_grad(W)[0] - objective.lower_bound)
        noise = 2.0 * objective.lower_bound
        expected = federated_mean_gap(gap, eigenvalue, step, local, clients, part, 1.0, noise)
        found[f"{part} of {clients}"] = expected, float(np.mean(ends)), float(standard_error(ends))
    return found


def below_the_theorems(chains: int) -> list[dict[str, list[float]]]:
    """Return after 1, 10 and 100 blocks the gap and the mean squared gradient so far, and the bounds of both.

    On the paper's example with step 1/L; of either the mean over the chains, its standard error and the bound.
    """
    objective = PaperExample()
    problem, step = Problem(objective, rank=1), 1.0 / objective.smoothness
    eigenvalue = sketch_eigenvalue(objective.shape, 1)
    stop = StoppingRule(max_iter=_BLOCKS[-1], grad_tol=0.0)
    gaps, squares = np.empty((chains, _BLOCKS[-1] + 1)), np.empty((chains, _BLOCKS[-1] + 1))
    for seed in range(chains):

        def watch(now: Intermediate, seed: int = seed) -> None:
            # The objective of a block has what those before it merged.
            value, G = now.problem.objective.value_and_grad(now.problem.update(now.theta))
            gaps[seed, now.nit], squares[seed, now.nit] = value - objective.lower_bound, np.sum(G * G)

        solve(problem, Method(GD(step), RACChain(inner=1)), seed=seed, stop=stop, callback=watch)
    start = gaps[0, 0]
    found = []
    for T in _BLOCKS:
        so_far = squares[:, :T].mean(axis=1)
        bounds = (
            gap_bound(start, eigenvalue, step, T, objective.smoothness, objective.pl),
            stationarity_bound(start, eigenvalue, step, T, objective.smoothness),
        )
        found.append(
            {
                name: [float(np.mean(values)), float(standard_error(values)), bound]
                for name, values, bound in zip(("gap", "gradient"), (gaps[:, T], so_far), bounds)
            }
        )
    return found


def noisy(draws: int) -> dict[str, list[float]]:
    """Return by rank the expected gap after 60 blocks of one noisy step, its mean and standard error, and the bound."""
    M = np.random.default_rng(5).standard_normal((8, 6))
    start = 0.5 * float(np.sum(M * M))
    stop = StoppingRule(max_iter=_NOISY_BLOCKS, grad_tol=0.0)
    method = Method(GD(_NOISY_STEP), RACChain(inner=1, side="left"))
    found = {}
    for rank in _NOISY_RANKS:
        eigenvalue = sketch_eigenvalue(M.shape, rank, "left")
        expected = start
        for _ in range(_NOISY_BLOCKS):
            expected = noisy_isotropic_step(expected, eigenvalue, _NOISY_STEP, 1.0, _NOISE)
        # The noise is drawn by another generator than the sketches.
        ends = [
            solve(Problem(NoisyGradients(M, _NOISE, draws + seed), rank), method, seed=seed, stop=stop).fun
            for seed in range(draws)
        ]
        bound = gap_bound(start, eigenvalue, _NOISY_STEP, _NOISY_BLOCKS, 1.0, 1.0, _NOISE)
        found[str(rank)] = [expected, float(np.mean(ends)), float(standard_error(ends)), bound]
    return found


def gaps_on_the_paper_example(step: float, seeds: int) -> dict[str, list[float]]:
    """Return the gap of each method over the seeds (inf where it diverged), with steps of one size."""
    objective = PaperExample()
    problem = Problem(objective, rank=1)
    start = LoRAStart(std=1.0)
    runs = {
        "LoRA": Method(GD(step), init=start),
        "COLA, fresh A": Method(GD(step), ChainOfLoRA(std=1.0), init=start),
        "AsymmLoRA": Method(GD(step), adapter=LoRA(frozen="A"), init=start),
        "RAC-LoRA": Method(GD(step), RACChain(inner=1), init=start),
    }
    gaps: dict[str, list[float]] = {}
    for label, method in runs.items():
        max_iter = 20_000 if label.startswith("COLA") else int(100 / step)
        stop = StoppingRule(max_iter=max_iter, grad_tol=0.0)
        gaps[label] = []
        for seed in range(seeds):
            result = solve(problem, method, seed=seed, stop=stop)
            diverged = result.status is Status.DIVERGED
            gap = np.inf if diverged else objective.value_and_grad(result.X)[0] - objective.lower_bound
            gaps[label].append(gap)
    return gaps


def contraction(shape: tuple[int, int], rank: int, side: Literal["left", "right"], draws: int) -> tuple[float, float]:
    """Return the mean ratio of gaps in one block at step 1/L on an isotropic quadratic, and its standard error."""
    M = np.random.default_rng(1).standard_normal(shape)
    problem = Problem(Denoising(M), rank)
    stop = StoppingRule(max_iter=1, grad_tol=0.0)
    ratios = [
        solve(problem, Method(GD(1.0), RACChain(side=side)), seed=seed, stop=stop).fun / (0.5 * np.sum(M * M))
        for seed in range(draws)
    ]
    return float(np.mean(ratios)), float(standard_error(ratios))


def all_gaps(seeds: int) -> dict[str, dict[str, list[float]]]:
    """Return the gaps at the steps 1/L and 0.2/L."""
    return {label: gaps_on_the_paper_example(step, seeds) for label, step in (("1/L", 0.05), ("0.2/L", 0.01))}


def contractions(draws: int) -> dict[str, tuple[float, float, float]]:
    """Return the expected and the measured contraction with its standard error, by the side of the sketch."""
    shape, rank = (12, 8), 3
    sides: tuple[Literal["left", "right"], ...] = ("left", "right")
    expected = {side: isotropic_factor(sketch_eigenvalue(shape, rank, side), 1.0, 1.0) for side in sides}
    return {side: (expected[side], *contraction(shape, rank, side, draws)) for side in sides}


class RACLoRAClaims(PaperClaims):
    """The paper's failing example, and the contraction factor of the chain."""

    name = "rac_lora"
    paper = "RAC-LoRA (arXiv 2410.08305)"
    summary = "the paper's failing example, and the contraction factor of the chain"
    seeds = (
        f"gaps {first_seeds(*_SEEDS)}, bounds and noise {first_seeds(*_CHAINS)}, contraction {first_seeds(*_DRAWS)}, "
        f"reshuffling {first_seeds(*_EPOCHS)}, clients 4"
    )
    size = (8.0, 3.8)
    axis_meanings = {"chains": "chains of random projections", "draws": "random draws for each mean"}
    parts = {
        "gaps": all_gaps,
        "bounds": below_the_theorems,
        "noisy": noisy,
        "factors": contractions,
        "reshuffled": reshuffled,
        "replaced": replaced,
        "federated": federated,
    }

    def settings(self, quick: bool) -> dict[str, dict[str, Any]]:
        """Return fewer seeds and draws for a quick run."""
        return {
            "gaps": {"seeds": _SEEDS[quick]},
            "bounds": {"chains": _CHAINS[quick]},
            "noisy": {"draws": _CHAINS[quick]},
            "factors": {"draws": _DRAWS[quick]},
            "reshuffled": {"draws": _EPOCHS[quick]},
            "federated": {"draws": _DRAWS[quick]},
        }

    def report(self, found: dict[str, Any]) -> str:
        """Return the gaps of every method at both steps."""
        lines = ["The paper's 3 x 3 example, rank 1: gaps to f* over the seeds (rank-one matrices reach 0.28889)"]
        for label in found["gaps"]:
            for method, gaps in _gaps(found, label).items():
                diverged = f"diverged {np.isinf(gaps).sum()}/{len(gaps)}"
                lines.append(f"  step {label:>6}  {method:<14} median gap {np.median(gaps):10.3e}   {diverged}")
        lines.append("Chains on it, step 1/L: blocks, mean gap (bound), mean squared gradient so far (bound)")
        for T, row in zip(_BLOCKS, found["bounds"]):
            shown = "   ".join(f"{mean:.3e} +- {error:.0e} ({bound:.3e})" for mean, error, bound in row.values())
            lines.append(f"  {T:>4}  {shown}")
        return "\n".join(lines)

    def picture(self, found: dict[str, Any], figure: Figure) -> None:
        """Draw the gaps on the paper's example, and mean contractions beside the expected ones."""
        left, right = figure.subplots(1, 2)
        methods = list(found["gaps"]["1/L"])
        for k, label in enumerate(found["gaps"]):
            for j, gaps in enumerate(_gaps(found, label).values()):
                shown = np.clip(gaps, 1e-16, 1e3)
                left.semilogy(j + 0.2 * (k - 0.5) + 0.0 * shown, shown, "os"[k], color=COLOURS[k], ms=4,
                              label=f"step {label}" if j == 0 else None)  # fmt: skip
        left.set_xticks(range(len(methods)), methods, rotation=20)
        left.set(title="The 3 x 3 example", ylabel="gap (drawn at 1e3: diverged, at 1e-16: none)")
        rates = {"left": found["factors"]["left"], "right": found["factors"]["right"]}
        rates |= {"reshuffled": found["reshuffled"]} | {f"clients: {k}": v for k, v in found["federated"].items()}
        for j, (exact, mean, error) in enumerate(rates.values()):
            right.errorbar(j, mean / exact, 3.0 * error / exact, fmt="o", color=COLOURS[2])
        right.axhline(1.0, color="black", lw=1)
        right.set_xticks(range(len(rates)), list(rates), rotation=20)
        right.set(title="Mean gap over expected\n(bars: 3 standard errors)")
        for ax in (left, right):
            ax.grid(alpha=0.25)
        left.legend(fontsize=8)

    def judge(self, found: dict[str, Any]) -> list[Claim]:
        """Return the claims beside what was measured."""
        large, small, rates = _gaps(found, "1/L"), _gaps(found, "0.2/L"), found["factors"].items()
        rac, cola = float(large["RAC-LoRA"].max()), float(small["COLA, fresh A"].max())
        exact, mean, error = found["reshuffled"]
        shared = found["federated"]
        seeds, diverged = len(large["COLA, fresh A"]), int(np.isinf(large["COLA, fresh A"]).sum())
        return [
            Claim(
                "RAC-LoRA reaches the optimum where LoRA stops at the best rank-one matrix (gap 0.28889)",
                "confirmed",
                f"RAC gap {rac:.1e}, LoRA median gap {np.median(large['LoRA']):.5f}",
                rac < 1e-12 and abs(float(np.median(large["LoRA"])) - 0.28889) < 5e-6,
            ),
            Claim(
                "COLA fails on the same example; correction: it fails at the step 1/L and converges with a stable step",
                "holds with correction",
                f"step 1/L: {diverged} of {seeds} diverged; step 0.2/L: largest gap {cola:.1e}",
                diverged == seeds and cola < 1e-8,
            ),
            Claim(
                "the gap contracts by 1 - r/n per block; correction: r/m on the left side, r/n on the right",
                "holds with correction",
                "; ".join(
                    f"{side} {factor:.4f} +- {width:.4f}, expected {law:g}" for side, (law, factor, width) in rates
                ),
                all(abs(factor - law) < 3 * width for _, (law, factor, width) in rates),
            ),
            Claim(
                "random reshuffling: a rate in the epochs with a smaller noise floor than with replacement; exact for "
                "one Hessian (derived, the paper's constants were not at hand)",
                "holds with correction",
                f"mean gap after an epoch {mean:.4f} +- {error:.4f}, expected {exact:.4f}, with replacement "
                f"{found['replaced']:.4f}",
                abs(mean - exact) < 3 * error and mean + 3 * error < found["replaced"],
            ),
            Claim(
                "the federated variant has the chain's rate: with a shared frozen factor the mean of the products is "
                "the product of the mean; exact for one Hessian (derived)",
                "holds with correction",
                "mean gap after a block of four local steps: "
                + "; ".join(f"{k} clients {m:.4f} +- {e:.4f}, expected {x:.4f}" for k, (x, m, e) in shared.items()),
                # All clients leave no noise but the sketch's.
                all(abs(m - x) < 3 * e for x, m, e in shared.values()),
            ),
            Claim(
                "mean squared gradient and gap stay below the bounds of Theorems 5.3 and 5.5",
                "confirmed",
                "shares of the bounds, by blocks: "
                + "; ".join(
                    f"after {T}: gap {row['gap'][0] / row['gap'][2]:.1e}, gradient "
                    f"{row['gradient'][0] / row['gradient'][2]:.1e}"
                    for T, row in zip(_BLOCKS, found["bounds"])
                ),
                all(mean + 3 * error <= bound for row in found["bounds"] for mean, error, bound in row.values()),
            ),
            Claim(
                "with noisy gradients the chain comes down to a floor that the rank does not change; exact for one "
                "Hessian (derived)",
                "holds with correction",
                f"mean gap after {_NOISY_BLOCKS} blocks of one step: "
                + "; ".join(
                    f"rank {rank}: {mean:.4f} +- {error:.4f}, expected {exact:.4f}, bound {bound:.4f}"
                    for rank, (exact, mean, error, bound) in found["noisy"].items()
                ),
                all(
                    abs(mean - exact) < 3 * error and mean + 3 * error <= bound
                    for exact, mean, error, bound in found["noisy"].values()
                ),
            ),
        ]


def _gaps(found: dict[str, Any], step: str) -> dict[str, Array]:
    """Return the gaps of each method at a step; a run that diverged, stored as null, has an infinite one."""
    return {method: np.nan_to_num(gaps, nan=np.inf) for method, gaps in found["gaps"][step].items()}
