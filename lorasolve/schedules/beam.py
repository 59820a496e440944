"""BeamLoRA: prune the least important rank-one terms and let the most important ones take their place."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np

from .._support.validate import Array, as_choice, as_integer, as_number
from ..adapters.softmax_gates import SoftmaxGates
from ..low_rank import balanced, factor_svd
from ..problem import Problem
from ..singular_triplets import top_singular
from .base import Schedule, Stage

Importance = Literal["gate", "norm", "svd"]
Expand = Literal["paper", "preserving", "reseed", "none"]


@dataclass(frozen=True)
class Beam(Schedule):
    """Prune and expand at evenly spaced events in the first two thirds of the run.

    At an event the terms are ordered by importance; those at and beyond the position where the running sum exceeds
    ``p`` times the total are pruned, at most half of them, and each takes over a copy of one of the most important
    terms (random pairing). Between events a snapshot is kept; ``p`` rises from ``kept`` to 1, so that pruning is
    strongest at the start.

    Parameters
    ----------
    events : int
        Number of events, at least 2: the last one keeps everything.
    kept : float
        Where the share of the importance that is kept starts from, ``p = 1 - (1 - kept)(1 + cos(pi k/events))/2`` at
        event ``k = 1, 2, ..``: the first of eight events keeps 0.9519 for 0.95, the last one everything.
    importance : {"gate", "norm", "svd"}
        ``gate``: the weight ``w_k`` (the paper). ``norm``: ``w_k ||a_k|| ||b_k||``. ``svd``: rotate the factors to
        the balanced SVD gauge first, where the importances are the singular values and pruning is optimal
        (Eckart-Young).
    expand : {"paper", "preserving", "reseed", "none"}
        ``paper``: copy the snapshot of the better term, both logits become their mean. ``preserving``: split the
        better term in two equal halves and renormalise, which leaves the pruned ``X`` exactly as it is, and move
        the copies apart by a random amount that cancels. ``reseed``: ``a = 0`` and ``b`` a top right singular
        vector of ``G``, the only expansion that adds a direction. ``none``: prune only.
    jitter : float
        Relative size of what separates the copies of ``preserving``.

    Notes
    -----
    Source: arXiv 2502.13604 and its released code. Departures: one matrix at a time (the release pools the scores
    of all modules); at most half of the terms are pruned, so that none of those copied is itself pruned (the release
    has no such cap for this rule); events are counted instead of a period of steps; the optimizer starts anew after an
    event that changed something (in the release the copied optimizer state is written into a temporary and lost, only
    the gates' state is reset).

    What is known (derived; proofs/beam_lora, :mod:`lorasolve.papers.beam_lora`):

    - importance is a gauge choice: ``(A Q, B Q)`` gives the same ``X`` and other importances, majorised by the
      singular values; in one gauge all are equal;
    - the mean of two logits is the geometric mean of the weights, so ``paper`` loses mass: the better a term was,
      the more it is weakened, and ``f`` jumps;
    - exact copies with equal logits never separate, and an ungated balanced copy does nothing under plain gradient
      descent: gains can only come from the gates, from Adam or from the snapshot;
    - the representable updates are those of LoRA: no gain on one noiseless matrix, and with noise that of pruning.
    """

    events: int = 8
    kept: float = 0.95
    importance: Importance = "gate"
    expand: Expand = "paper"
    jitter: float = 0.1

    name = "beam"
    summary = "BeamLoRA: prune the least important terms, expand the best (needs the adapter softmax_gates)"
    has_stages = True

    def __post_init__(self) -> None:
        as_integer(self.events, "events", 2)
        as_number(self.kept, "kept", 0.0, 1.0)
        as_number(self.jitter, "jitter", 0.0)
        as_choice(self.importance, "importance", ("gate", "norm", "svd"))
        as_choice(self.expand, "expand", EXPANSIONS)

    @classmethod
    def showcase(cls, problem: Problem) -> str:
        """Return gradient descent on the gates that it prunes."""
        return f"gd+{cls.name}@softmax_gates"

    @property
    def keeps_weight(self) -> bool:
        """False: what is pruned is lost, and what is copied counts twice."""
        return False

    def refusal(self, problem: Problem) -> str | None:
        """Return the reason to refuse adapters without softmax gates, or None."""
        if isinstance(problem.adapter, SoftmaxGates):
            return None
        return f"it needs the adapter 'softmax_gates', got {problem.adapter.name!r}"

    def is_boundary(self, stage_iteration: int, max_iter: int) -> bool:
        """Return True at snapshots and events: every half period."""
        return stage_iteration % max(1, max_iter // (3 * self.events)) == 0

    def transition(self, stage: Stage, rng: np.random.Generator) -> Stage:
        """Take a snapshot, or prune and expand if one has been taken; after the last event do nothing."""
        done = stage.memory.get("events", 0)
        if done >= self.events:
            return stage
        if "snapshot" not in stage.memory:
            return stage.remember(snapshot=stage.theta.copy())
        snapshot = stage.memory["snapshot"]
        memory = {key: value for key, value in stage.memory.items() if key != "snapshot"} | {"events": done + 1}
        stage = replace(stage, memory=memory)
        theta = prune_and_expand(
            stage.problem, stage.theta, snapshot, kept_share(self.kept, (done + 1) / self.events), self, rng
        )
        return stage if theta is None else replace(stage, theta=theta)


def kept_share(first: float, progress: float) -> float:
    """Return ``p`` at a progress in [0, 1]: ``1 - (1 - first)(1 + cos(pi progress))/2``, and 1 from there on."""
    return 1.0 - (1.0 - first) * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


def beyond_top_p(scores: Array, p: float) -> Array:
    """Return the indices of the scores at and beyond the position where the running sum exceeds ``p`` of the total.

    Best first. The element that crosses the threshold is among them, unlike in nucleus sampling, so that the kept
    share is at most ``p``; for ``p = 1`` none is returned. Scores of several matrices may be pooled.
    """
    if p >= 1.0:
        return np.empty(0, dtype=np.intp)
    order = np.argsort(-scores, kind="stable")
    return order[np.cumsum(scores[order]) > p * scores.sum()]


def prune_and_expand(
    problem: Problem, theta: Array, snapshot: Array, p: float, settings: Beam, rng: np.random.Generator
) -> Array | None:
    """Return the parameters after one event, or None if nothing is pruned."""
    theta = theta.copy()
    if settings.importance == "svd":
        to_svd_gauge(problem, theta)
        snapshot = snapshot.copy()
        to_svd_gauge(problem, snapshot)
    scores = importance(problem, theta, settings.importance)
    worst = beyond_top_p(scores, p)[::-1][: problem.rank // 2]
    if not worst.size:
        return None
    best = rng.permutation(np.argsort(-scores, kind="stable")[: worst.size])
    EXPANSIONS[settings.expand](problem, theta, snapshot, worst, best, settings.jitter, rng)
    return theta


def importance(problem: Problem, theta: Array, kind: Importance) -> Array:
    """Return the importance (r,) of each term: its weight, or its Frobenius norm ``w_k ||a_k|| ||b_k||``."""
    A, B, z = problem.split(theta)
    weights = cast(SoftmaxGates, problem.adapter).weights(z)
    if kind == "gate":
        return weights
    return weights * np.linalg.norm(A, axis=0) * np.linalg.norm(B, axis=0)


def to_svd_gauge(problem: Problem, theta: Array) -> None:
    """Replace the factors by the balanced SVD of the same ``X`` and all logits by 0, in place."""
    A, B, z = problem.split(theta)
    weights = cast(SoftmaxGates, problem.adapter).weights(z)
    new_A, new_B = balanced(*factor_svd(A * weights, B))
    A[:], B[:], z[:] = new_A, new_B, 0.0


Expansion = Callable[[Problem, Array, Array, Array, Array, float, np.random.Generator], None]


def _expand_paper(
    problem: Problem, theta: Array, snapshot: Array, worst: Array, best: Array, jitter: float, rng: np.random.Generator
) -> None:
    A, B, z = problem.split(theta)
    old_A, old_B, _ = problem.split(snapshot)
    A[:, worst], B[:, worst] = old_A[:, best], old_B[:, best]
    z[best] = z[worst] = 0.5 * (z[best] + z[worst])


def _expand_preserving(
    problem: Problem, theta: Array, snapshot: Array, worst: Array, best: Array, jitter: float, rng: np.random.Generator
) -> None:
    A, B, z = problem.split(theta)
    adapter = cast(SoftmaxGates, problem.adapter)
    lost = float(adapter.weights(z)[worst].sum()) / problem.rank
    z[best] -= adapter.tau * math.log(2.0)
    A[:, worst], B[:, worst], z[worst] = A[:, best], B[:, best], z[best]
    A *= 1.0 - lost
    apart = rng.standard_normal((A.shape[0], worst.size))
    apart *= jitter * np.linalg.norm(A[:, best], axis=0) / np.linalg.norm(apart, axis=0)
    A[:, best] += apart
    A[:, worst] -= apart


def _expand_reseed(
    problem: Problem, theta: Array, snapshot: Array, worst: Array, best: Array, jitter: float, rng: np.random.Generator
) -> None:
    _expand_none(problem, theta, snapshot, worst, best, jitter, rng)
    A, B, z = problem.split(theta)
    weights = cast(SoftmaxGates, problem.adapter).weights(z)
    G = problem.objective.gradient_operator(problem.scale * A * weights, B)
    B[:, worst] = top_singular(G, worst.size).V * np.linalg.norm(B[:, best], axis=0)


def _expand_none(
    problem: Problem, theta: Array, snapshot: Array, worst: Array, best: Array, jitter: float, rng: np.random.Generator
) -> None:
    A, B, _ = problem.split(theta)
    A[:, worst] = 0.0
    B[:, worst] = 0.0


EXPANSIONS: dict[Expand, Expansion] = {
    "paper": _expand_paper,
    "preserving": _expand_preserving,
    "reseed": _expand_reseed,
    "none": _expand_none,
}
