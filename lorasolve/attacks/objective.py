"""An objective's stated facts, attacked by optimisation: extreme curvature over directions and points, descent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import objectives
from .._support.keywords import suggest
from .._support.validate import Array
from ..objectives import as_objective
from ..objectives.base import Objective
from .base import Attack, Failures, Family, Instance
from .certify import imported

# Curvature and values are compared up to this, relative to their sizes, in float64.
TOL = 1e-6

# Steps of Lanczos for an extreme direction, and moves of the point after it.
LANCZOS = 12
MOVES = 6


def made(name: str, seed: int) -> Objective:
    """Return the example of a registered objective, or of a class ``package.Class`` (without one, its instance)."""
    known = objectives.registry.classes()
    if name not in known and "." not in name:
        raise ValueError(f"target: unknown objective {name!r}.{suggest(name, [*known, 'package.Class'])}")
    cls = known[name] if name in known else imported(name)
    try:
        instance = cls.example(np.random.default_rng(seed)) if hasattr(cls, "example") else cls()
    except Exception as error:
        raise ValueError(
            f"target: expected a class with example(rng), or one that needs no arguments, got {name!r}: "
            f"{type(error).__name__}: {error}"
        ) from error
    return as_objective(instance)


def judge_curvature(name: str, seed: int, X: list[list[float]], D: list[list[float]]) -> Failures:
    """Compare the change of the gradient from ``X`` to ``X + D`` with what convexity and smoothness allow."""
    f = made(name, seed)
    at, direction = np.array(X), np.array(D)
    G, moved = f.value_and_grad(at)[1], f.value_and_grad(at + direction)[1]
    square, change = float(np.vdot(direction, direction)), float(np.vdot(moved - G, direction))
    noise = 1e-12 * (float(np.linalg.norm(G)) + float(np.linalg.norm(moved))) * square**0.5
    failures: dict[str, str] = {}
    stated = f.facts.convex or f.facts.least_squares or f.facts.smoothness is not None
    if square == 0.0 or not stated:
        return None
    shown = f"<grad f(X + D) - grad f(X), D>/||D||^2 = {change / square:.9g}"
    beta = f.facts.smoothness
    largest = float(np.linalg.norm(moved - G)) * square**0.5
    if f.facts.convex and change < -noise - TOL * largest:
        failures["f is convex"] = shown
    if beta is not None and largest > (1.0 + TOL) * beta * square + noise:
        failures["the gradient is Lipschitz with the stated smoothness"] = (
            f"||grad f(X + D) - grad f(X)||/||D|| = {largest / square:.9g}, stated {beta:.9g}"
        )
    if f.facts.least_squares:
        back = f.value_and_grad(at - direction)[1]
        bent = float(np.linalg.norm(moved - 2.0 * G + back))
        if bent > noise / square**0.5 * 1e2 + TOL * (largest / square**0.5):
            failures["f is a least-squares function"] = f"second difference of the gradient {bent:.3g}"
    return failures


def judge_rank_one(name: str, seed: int, X: list[list[float]], u: list[float], v: list[float]) -> Failures:
    """Compare the change of the gradient from ``X`` to ``X + u v^T`` with what is stated along matrices of rank one."""
    f = made(name, seed)
    beta = f.facts.rank_one_smoothness
    at, D = np.array(X), np.outer(u, v)
    square = float(np.vdot(D, D))
    if beta is None or square == 0.0:
        return None
    G, moved = f.value_and_grad(at)[1], f.value_and_grad(at + D)[1]
    noise = 1e-12 * (float(np.linalg.norm(G)) + float(np.linalg.norm(moved))) * square**0.5
    change = float(np.vdot(moved - G, D))
    if change <= (1.0 + TOL) * beta * square + noise:
        return {}
    shown = f"<grad f(X + u v^T) - grad f(X), u v^T>/||u v^T||^2 = {change / square:.9g}, stated {beta:.9g}"
    return {"f curves along matrices of rank one as little as stated": shown}


def judge_value(name: str, seed: int, X: list[list[float]]) -> Failures:
    """Compare the value at ``X`` with the stated lower bound."""
    f = made(name, seed)
    bound = f.facts.lower_bound
    value = f.value_and_grad(np.array(X))[0]
    size = abs(value) + abs(f.value_and_grad(np.zeros(f.shape))[0])
    if bound is None:
        return None
    if value >= bound - 1e-10 * size:
        return {}
    return {"f is at least its lower bound": f"f(X) = {value!r}, stated {bound!r}"}


def draw_curvature(rng: np.random.Generator, name: str) -> Instance:
    """Return a point and a direction of extreme curvature: Lanczos from a fresh start, then moves of the point."""
    seed, X, f = _start(rng, name)
    lowest = bool(rng.random() < 0.5) and f.facts.convex is True
    value, D = _extreme(f, X, rng, lowest)
    size = float(np.linalg.norm(X))
    for _ in range(MOVES):
        moved = X + size * 10.0 ** rng.uniform(-2, 0.5) * rng.standard_normal(X.shape) / X.size**0.5
        other, direction = _extreme(f, moved, rng, lowest)
        if (other < value) if lowest else (other > value):
            X, value, D = moved, other, direction
    length = float(10.0 ** rng.uniform(-4, 1)) * max(size, 1e-3)
    return dict(seed=seed, X=X.tolist(), D=(length * D).tolist())


def draw_rank_one(rng: np.random.Generator, name: str) -> Instance:
    """Return a point and vectors along whose product it curves much: each pair is the top one of ``hess f[u v^T]``."""
    seed, X, f = _start(rng, name)
    D = rng.standard_normal(X.shape)
    for _ in range(LANCZOS):
        U, _, Vt = np.linalg.svd(D)
        D = _hessian(f, X, np.outer(U[:, 0], Vt[0]).ravel()).reshape(X.shape)
    length = float(10.0 ** rng.uniform(-4, 1)) * max(float(np.linalg.norm(X)), 1e-3)
    return dict(seed=seed, X=X.tolist(), u=(length * U[:, 0]).tolist(), v=Vt[0].tolist())


def draw_value(rng: np.random.Generator, name: str) -> Instance:
    """Return where descent from a random point ends."""
    from scipy.optimize import minimize

    seed, X, f = _start(rng, name)

    def oracle(x: Array) -> tuple[float, Array]:
        value, G = f.value_and_grad(x.reshape(X.shape))
        return value, G.ravel()

    end = minimize(oracle, X.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": 0.0, "ftol": 0.0})
    return dict(seed=seed, X=end.x.reshape(X.shape).tolist())


def _start(rng: np.random.Generator, name: str) -> tuple[int, Array, Objective]:
    seed = int(rng.integers(1000))
    f = made(name, seed)
    return seed, 10.0 ** rng.uniform(-3, 2) * rng.standard_normal(f.shape), f


def _extreme(f: Objective, X: Array, rng: np.random.Generator, lowest: bool) -> tuple[float, Array]:
    """Return the smallest or largest Ritz value of the Hessian at ``X`` from a random start, and its direction."""
    basis = np.empty((0, X.size))
    images = np.empty((0, X.size))
    direction = rng.standard_normal(X.size)
    for _ in range(min(LANCZOS, X.size)):
        for _ in range(2):  # once more, against the loss of orthogonality
            direction = direction - basis.T @ (basis @ direction)
        length = float(np.linalg.norm(direction))
        if not length > 1e-12:
            break
        basis = np.vstack([basis, direction / length])
        images = np.vstack([images, _hessian(f, X, basis[-1])])
        direction = images[-1]
    values, vectors = np.linalg.eigh(basis @ images.T)
    index = 0 if lowest else int(np.argmax(np.abs(values)))
    return float(values[index] if lowest else abs(values[index])), (basis.T @ vectors[:, index]).reshape(X.shape)


def _hessian(f: Objective, X: Array, direction: Array) -> Array:
    """Return the Hessian times a direction by a difference of gradients: a stated Hessian may be wrong itself."""
    h = 1e-5 * max(1.0, float(np.linalg.norm(X)))
    D = direction.reshape(X.shape)
    return ((f.value_and_grad(X + h * D)[1] - f.value_and_grad(X - h * D)[1]) / (2.0 * h)).ravel()


@dataclass(frozen=True)
class ObjectiveAttack(Attack):
    """The facts ``convex``, ``smoothness``, ``rank_one_smoothness``, ``least_squares`` and ``lower_bound``.

    Parameters
    ----------
    subject : str
        A registered objective, or a class ``package.Class``; instances come from its ``example``.
    """

    name = "objective"
    summary = "objective:NAME or objective:package.Class: its facts, convex to lower_bound"

    def target(self) -> str:
        """Return the name, after a look whether it exists."""
        made(self.subject, 0)
        return self.subject

    def families(self) -> tuple[Family, ...]:
        """Return extreme curvature, that along matrices of rank one, and descent below the bound."""
        return (
            Family("curvature", draw_curvature, judge_curvature, least={"seed": 0}),
            Family("rank one", draw_rank_one, judge_rank_one, least={"seed": 0}),
            Family("descent", draw_value, judge_value, least={"seed": 0}),
        )
