"""Tests of what an objective answers about matrices: a pure oracle whose gradients and Hessian products are right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._support.validate import Array
from ..objectives import roughest
from ._objective_bench import POINTS, Bench
from .base import EPS, Checked, relative

# A wrong gradient is compared with differences of values in so many entries at most.
ENTRIES = 400


def _pure(bench: Bench) -> Iterator[Checked]:
    """The oracle returns a finite (float, G), leaves X alone, and a later call leaves the first answer alone."""
    X = bench.matrix()
    X.flags.writeable = False
    value, G = bench.f.value_and_grad(X)
    first = G.copy()
    bench.f.value_and_grad(X + bench.matrix())
    kept = np.array_equal(first, G)
    again = bench.f.value_and_grad(X)
    precision = roughest(np.dtype(bench.f.precision), [X], value, [first])
    fine = {
        "finite": bool(np.isfinite(value) and np.isfinite(first).all()),
        "shape of G": G.shape == bench.f.shape,
        "repeatable": value == again[0] and np.array_equal(first, again[1]),
        "G kept by later calls": kept,
        # Certificates would count too small rounding errors, and differences of gradients take too short a step.
        "dtype": np.finfo(precision).eps <= bench.eps,
    }
    wrong = [name for name, good in fine.items() if not good]
    detail = f"violated: {', '.join(wrong)}" if wrong else "read-only X, 3 calls"
    if not fine["finite"]:
        detail += "; if f is not finite everywhere, state domain(X)"
    if not fine["dtype"]:
        computed = f"G is {precision}" if first.dtype == precision else f"f computes in {precision}"
        detail += f"; {computed}, so state dtype = np.float32"
    yield Checked("value_and_grad is pure", not wrong, detail)


def _arguments(bench: Bench) -> Iterator[Checked]:
    """Solvers and certificates go on with the arrays that they ask about."""
    f, wrong = bench.f, []
    methods: dict[str, Callable[[Array], Any]]
    methods = {"domain": f.domain, "conjugate": f.conjugate, "metrics": f.metrics, "merged": f.merged}
    if f.facts.has_hessian:
        methods["hessian_product"] = lambda X: f.hessian_product(X, X)
    for name, method in methods.items():
        X = bench.matrix()
        given = X.copy()
        method(given)
        if not np.array_equal(given, X):
            wrong.append(name)
    yield Checked("arguments are left alone", not wrong, ", ".join(wrong or methods))


def _order(steps: Array, remainders: Array, noise: Array, term: Array, tol: float) -> float:
    """Return the order in which a Taylor remainder vanishes; inf if it is lost in rounding or in ``tol`` of a term.

    The largest of the last three local slopes clear of rounding, because a remainder that changes sign between two
    steps has a local slope of its own, and of the least slope with which the next one is lost in rounding: past the
    last kink at which the derivative jumps it is steep, of a wrong derivative 1. Where the last term (the one with the
    derivative under test) is confirmed to ``tol`` at some step no slope is needed; a piecewise smooth loss has none.
    """
    usable = np.flatnonzero(remainders > noise)
    confirmed = bool(np.any(remainders + noise <= tol * term))
    if confirmed or len(usable) == 0 or usable[-1] == 0:
        return math.inf
    last = slice(max(usable[-1] - 3, 0), usable[-1] + 2)
    local = np.diff(np.log(np.maximum(remainders, noise)[last] + 1e-300)) / np.diff(np.log(steps[last]))
    return float(local.max())


def _shown(order: float) -> str:
    return "exact to tolerance" if order == math.inf else f"Taylor slope {order:.3f}"


def _taylor(bench: Bench) -> Iterator[Checked]:
    steps = 0.5 ** np.arange(1, 26)
    with_hessian = bench.f.facts.has_hessian
    orders: dict[str, list[float]] = {"gradient": [], "hessian": [], "hessian in gradients": []}
    asymmetry = 0.0
    for _ in range(POINTS):
        X, D, E = bench.matrix(), bench.matrix(), bench.matrix()
        f, G = bench.f.value_and_grad(X)
        H = bench.f.hessian_product(X, D) if with_hessian else np.zeros_like(G)
        GD, HDD = float(np.vdot(G, D)), float(np.vdot(H, D))
        rounding, off = bench.rounding(X, D), bench.product_noise(X, D, H) if with_hessian else 0.0
        moved = [bench.f.value_and_grad(X + t * D) for t in steps]
        values = np.array([value for value, _ in moved])
        linear, quadratic = steps * GD, 0.5 * steps**2 * HDD
        remainders = values - f - linear
        noise = rounding.value + steps * rounding.slope + 1e3 * EPS * (np.abs(values) + abs(f) + np.abs(linear))
        tol = bench.curvature_tol
        orders["gradient"].append(_order(steps, np.abs(remainders), noise, np.abs(linear), tol))
        if with_hessian:
            beyond = np.abs(remainders - quadratic)
            orders["hessian"].append(_order(steps, beyond, noise, np.abs(quadratic), tol))
            change = np.array([float(np.linalg.norm(near - G - t * H)) for t, (_, near) in zip(steps, moved)])
            length_H = float(np.linalg.norm(H))
            gradient_noise = rounding.gradient + 1e3 * EPS * (float(np.linalg.norm(G)) + steps * length_H) + steps * off
            orders["hessian in gradients"].append(_order(steps, change, gradient_noise, steps * length_H, tol))
            HE = bench.f.hessian_product(X, E)
            other, length_E = float(np.vdot(HE, D)), float(np.linalg.norm(E))
            noise_here = off * length_E + bench.product_noise(X, E, HE) * float(np.linalg.norm(D))
            apart = max(abs(float(np.vdot(H, E)) - other) - noise_here, 0.0)
            asymmetry = max(asymmetry, relative(apart, max(length_H * length_E, abs(other))))
    worst = {name: min(found, default=math.inf) for name, found in orders.items()}
    # A wrong derivative lowers the order by a whole unit.
    right = worst["gradient"] > 1.5
    detail = f"{_shown(worst['gradient'])} (expected 2)"
    yield Checked("gradient", right, detail if right else f"{detail}; {_entry_farthest_off(bench)}")
    if not with_hessian:
        yield Checked("hessian", None, "not stated: has_hessian is False")
        return
    # Where kinks of the gradient lie dense (Huber, many entries), its remainder is of order 3/2 and that of the
    # values erratic; a wrong Hessian gives order 1. So the gradients decide and the values are only shown.
    detail = f"gradients: {_shown(worst['hessian in gradients'])} (expected 2), values: {_shown(worst['hessian'])} (3)"
    yield Checked("hessian", worst["hessian in gradients"] > 1.25, detail)
    yield Checked(
        "hessian is symmetric", asymmetry <= bench.curvature_tol, f"relative asymmetry {asymmetry:.1e} beyond rounding"
    )


def _entry_farthest_off(bench: Bench) -> str:
    """Return the entry of a wrong gradient that is farthest from a central difference of values, and both numbers."""
    X = bench.matrix()
    G = bench.f.value_and_grad(X)[1]
    size = min(G.size, ENTRIES)
    step = bench.scale * bench.eps ** (1 / 3)
    found = []
    for flat in bench.rng.choice(G.size, size, replace=False):
        entry = np.unravel_index(flat, G.shape)
        ahead, behind = X.copy(), X.copy()
        ahead[entry] += step
        behind[entry] -= step
        slope = (bench.f.value_and_grad(ahead)[0] - bench.f.value_and_grad(behind)[0]) / (ahead[entry] - behind[entry])
        found.append((abs(slope - G[entry]), tuple(map(int, entry)), G[entry], slope))
    _, entry, stated, slope = max(found)
    return f"farthest off of {size} entries: G{list(entry)} = {stated:.6g}, a difference of values says {slope:.6g}"


CHECKS: dict[str, Callable[[Bench], Iterator[Checked]]] = {
    "value_and_grad": _pure,
    "arguments are left alone": _arguments,
    "gradient and hessian": _taylor,
}
