"""SoRA (arXiv 2311.11696): what the gate penalty means for the update, and what the released threshold does."""

from __future__ import annotations

import argparse

import numpy as np

import lorasolve as ls
from lorasolve.adapters import SoRA
from lorasolve.adapters.sora import released_threshold
from lorasolve.monitor import Intermediate
from lorasolve.objectives import Denoising
from lorasolve.papers.claims import Claim, print_claims
from lorasolve.papers.sora import half_threshold_optimum, open_gates
from lorasolve.schedules import Sparsify

SHAPE, GATES, PENALTY, DECAY = (20, 16), 12, 0.5, 0.1


def target(seed: int) -> np.ndarray:
    """Return a 20 x 16 matrix with 12 singular values from 4 to 0.1."""
    rng = np.random.default_rng(seed)
    U = np.linalg.qr(rng.standard_normal((SHAPE[0], GATES)))[0]
    V = np.linalg.qr(rng.standard_normal((SHAPE[1], GATES)))[0]
    return (U * np.linspace(4.0, 0.1, GATES)) @ V.T


def dead_zone(xi: float = 1.0) -> tuple[float, float]:
    """Return the largest entry the released map sets to zero, and the smallest value it lets through above it."""
    grid = np.linspace(0.0, 4.0 * xi, 400_002)
    image = released_threshold(grid, xi)
    zeroed = grid[image == 0.0].max()
    return float(zeroed), float(image[grid > zeroed].min())


def rank_selection(seeds: int) -> dict[str, list[tuple[float, int]]]:
    """Return objective and number of open gates from two starts, on ridge SoRA."""
    runs: dict[str, list[tuple[float, int]]] = {"lora start": [], "singular vectors": []}
    stop = ls.StoppingRule(max_iter=5_000, grad_tol=1e-7)
    for seed in range(seeds):
        T = target(seed)
        problem = ls.Problem(Denoising(T), GATES, DECAY, adapter=SoRA(PENALTY))
        U, _, Vt = np.linalg.svd(T, full_matrices=False)
        open_at_start = np.arange(GATES) < half_threshold_optimum(T, PENALTY, DECAY).gates
        informed = (U[:, :GATES] * np.where(open_at_start, 2.0, 0.0), Vt[:GATES].T * np.where(open_at_start, 2.0, 0.0))
        for label, init in (("lora start", "lora"), ("singular vectors", informed)):
            result = ls.solve(problem, "proximal_gd", init, seed, stop=stop)
            runs[label].append((result.fun, open_gates(result)))
    return runs


def unit_columns(seed: int) -> tuple[ls.Result, float]:
    """Return a run with unit columns and revival, and the convex optimum of the nuclear norm."""
    T = target(seed)
    rng = np.random.default_rng(seed)
    start = tuple(rng.standard_normal((rows, GATES)) for rows in SHAPE)
    problem = ls.Problem(Denoising(T), GATES, adapter=SoRA(PENALTY, "unit_columns"))
    stop = ls.StoppingRule(max_iter=20_000, grad_tol=1e-8)
    result = ls.solve(problem, "proximal_gd+revive", start, stop=stop)
    return result, ls.solve_convex(ls.Problem(Denoising(T), GATES, PENALTY), method="prox").fun


def memorisation(penalties: tuple[float, ...], seed: int) -> list[tuple[float, int, float, float]]:
    """Return penalty, open gates, training and test loss along the sparsifying schedule (noisy low-rank target)."""
    rng = np.random.default_rng(seed)
    clean = rng.standard_normal((SHAPE[0], 3)) @ rng.standard_normal((3, SHAPE[1]))
    noisy = clean + 0.7 * rng.standard_normal(SHAPE)
    problem = ls.Problem(Denoising(noisy), GATES, DECAY, adapter=SoRA(penalties[0]))
    last: dict[float, tuple[int, float, float]] = {}

    def watch(now: Intermediate) -> None:
        X = now.problem.update(now.theta)
        gates = int(np.count_nonzero(now.problem.split(now.theta)[2]))
        losses = (0.5 * float(np.sum((X - noisy) ** 2)), 0.5 * float(np.sum((X - clean) ** 2)))
        last[now.problem.adapter.gate_penalty] = (gates, *losses)

    stop = ls.StoppingRule(max_iter=1500 * len(penalties), grad_tol=1e-6)
    ls.solve(problem, ls.Method("proximal_gd", Sparsify(penalties)), seed=seed, stop=stop, callback=watch)
    return [(penalty, *last[penalty]) for penalty in penalties]


def run(quick: bool = True) -> dict[str, object]:
    """Print the claims beside what was measured and return the numbers."""
    seeds = 3 if quick else 10
    runs = rank_selection(seeds)
    optimum = half_threshold_optimum(target(0), PENALTY, DECAY)
    print(f"Ridge SoRA on a 20 x 16 target: closed form {optimum.fun:.6f} with {optimum.gates} of {GATES} gates")
    for label, ends in runs.items():
        gap = [fun - optimum.fun for fun, _ in ends]
        print(f"  {label:<17} gap to the closed form {min(gap):.2e} to {max(gap):.2e}, gates {[k for _, k in ends]}")
    curve = memorisation((0.01, 20.0, 60.0, 120.0, 400.0), seed=0)
    print("Sparsifying schedule on a noisy rank-3 target: penalty, open gates, training loss, test loss")
    for penalty, gates, train, test in curve:
        print(f"  {penalty:6.2f}  {gates:3d}  {train:9.3f}  {test:9.3f}")
    convex = [unit_columns(seed) for seed in range(seeds)]
    above = max(abs(result.fun - best) / best for result, best in convex)
    zeroed, jump = dead_zone()
    informed = max(fun - optimum.fun for fun, _ in runs["singular vectors"])
    lora = min(fun - optimum.fun for fun, _ in runs["lora start"])
    training = [train for _, _, train, _ in curve]
    counts = [gates for _, gates, _, _ in curve]
    claims = [
        Claim(
            "an l1 penalty on the gates makes the update sparse in rank; correction: with weight decay it is a "
            "Schatten-1/2 penalty, with unit columns the nuclear norm, without size control nothing",
            "holds with correction",
            f"distance to the half-threshold optimum {informed:.1e}; to the convex optimum {above:.1e} (relative)",
            informed < 1e-8 and above < 1e-7,
        ),
        Claim(
            "the gates choose the rank; correction: from a LoRA start the choice is a heuristic (closed gates never "
            "reopen, and components below the threshold can be local minima that stay open)",
            "holds with correction",
            f"smallest gap to the closed form {lora:.3f}, gates {[k for _, k in runs['lora start']]} against "
            f"{optimum.gates}",
            lora > 1e-3,
        ),
        Claim(
            "the released update is the soft threshold; correction: its dead zone is twice as wide, with a jump",
            "holds with correction",
            f"zero up to {zeroed:.4f} xi, then at least {jump:.4f} xi",
            abs(zeroed - 2.0) < 1e-4 and abs(jump - 1.0) < 1e-4,
        ),
        Claim(
            "raising the threshold trades memorisation for sparsity",
            "confirmed",
            f"gates {counts}, training loss {training[0]:.2f} to {training[-1]:.2f}",
            counts == sorted(counts, reverse=True) and training == sorted(training) and counts[-1] < counts[0],
        ),
        Claim("better benchmark scores with 70 % of the parameters and of the time", "not at matrix scale", "-", True),
    ]
    print_claims("SoRA, arXiv 2311.11696", claims)
    return {"runs": runs, "optimum": optimum, "convex gap": above, "curve": curve, "claims": claims}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="more seeds")
    run(quick=not parser.parse_args().full)
