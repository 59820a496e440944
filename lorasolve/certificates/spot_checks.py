"""What a user states about ``f`` is tested where a certificate uses it: convexity, the gradient, the lower bound.

Everything that a certificate of a user's loss says rests on ``f(Y) >= f(X) + <G, Y - X>`` for all ``Y``. It is
evaluated at ``Y = 0``, at the better point if one was found, and at small and large steps from ``X`` along the
gradient, a random direction and single entries, to both sides: for convex ``f`` the slope ``<G, D>`` lies between the
two difference quotients for every step, so a gradient that is off by a factor violates it at a small one. It is asked
between these points too, and where ``f`` is least curved near ``X``, away from it and near 0: a run ends where ``f`` is
bent upwards, convex or not. Kinks downwards, as in a network of rectified units, which is bent upwards between them,
are looked for by bisection of a few lines. A stated lower bound is looked for where a convex ``f`` is least, by a short
descent of ``f`` alone from ``X``. A violation voids the certificate. That none was found proves nothing, and the
certificate goes on naming what it assumes. What else a loss may answer and state is tested in ``contradictions`` and
``stated_bounds``.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._support.validate import Array
from ..multi import Separable
from ..objectives import difference_step
from ..problem.blocks import MultiObjective, OneBlock, OnLine, is_of_a_user, speaker
from ..problem.pairs import Matrices, joint_inner, joint_norm
from . import _oracles
from .probes import Evaluated, length_at, lengths_at, natural_length_at, of_length, random_direction, share_lost

# Steps to both sides of a point, small and large, as shares of its length.
STEPS = (10.0, 1.0, 0.1, 1e-2, 1e-4, 1e-6)
# A point this much nearer to 0 than f is long is 0.
VANISHED = 1e-10
# Lines along one entry of X, on which nothing makes up for a loss that is not convex in this entry.
ENTRIES, ENTRY_STEPS = 3, (10.0, 1.0, 0.1)
# How near to a point, as a share of the length, the least curvature is looked for.
NEAR = 1e-2
# It is that of combinations of so many directions, two gradients each, which are kept: for losses of more parameters
# they would take too much memory. What is left of one that those before span, relative to it.
LEAST_STEPS, MOST_PARAMETERS, SPANNED = 8, 2**16, 1e-8
# Lines that are bisected beside that from 0 to X, and how often: to about 1e-4 of the length. Of networks of six
# rectified units on 8, 30 and 200 samples everything else misses a quarter, a third and nine of ten; one line shows
# 78%, all and 94% of them.
BISECTED, HALVINGS = 2, 14
# What a slope has to fall by there, as a share of the length of gradients: on a line close points of a convex loss show
# the rounding of its values, which may be more than most (a softmax of tiny probabilities); slopes show nothing then.
FALLEN = 1e-8
# Gradients that the descent below a stated lower bound may ask for: about as many as the other points together.
DESCENT = 20

# By identity, because a user's object need not be hashable; entries go with their objects.
_passed: dict[int, weakref.ref[Any]] = {}


def note_passed(given: Any) -> None:
    """Remember that an objective has passed ``check_objective``; objects without weak references are not remembered."""
    given = speaker(given)
    key = id(given)
    try:
        _passed[key] = weakref.ref(given, lambda _: _passed.pop(key, None))
    except TypeError:
        return


def has_passed(given: Any) -> bool:
    """Return whether an objective has passed ``check_objective``."""
    given = speaker(given)
    reference = _passed.get(id(given))
    return reference is not None and reference() is given


def needed(loss: MultiObjective) -> bool:
    """Return whether the facts of a loss are claims: those with a proved oracle, or by their formula, are none."""
    if not isinstance(loss, OneBlock):
        return not ("by_formula" in vars(type(loss)) and loss.by_formula)
    return _oracles.claim(loss.objective) is not None or _oracles.refusal(loss.objective) is not None


def test_of(loss: MultiObjective) -> str:
    """Return the name of the test of everything that a loss states; of several matrices each block is tested."""
    return "check_objective" if isinstance(loss, OneBlock) else "check_objective on each block(k, X)"


def assumption(loss: MultiObjective) -> str:
    """Return what is taken for granted about a loss, as one clause."""
    whose, facts, own = speaker(loss), loss.facts, is_of_a_user(loss)
    name = "your f" if own else "f"
    stated_convex = [f"{name} is convex", "its gradient right"]
    parts = stated_convex if facts.convex is True else [f"the gradient of {name} is right"]
    if facts.lower_bound is not None:
        parts.append("lower_bound below all its values")
    if facts.least_squares:
        parts.append("a least-squares loss")
    if loss.states_conjugate and own:
        parts.append("its conjugate right")
    test = test_of(loss)
    tested = "check_objective has passed" if has_passed(whose) else f"spot-checked only; {test} tests more"
    before = ", ".join(parts[:-1])
    return f"{before} and {parts[-1]} ({tested})" if before else f"{parts[-1]} ({tested})"


# At points far away losses overflow, and of what is no number nothing is concluded.
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def violation(loss: MultiObjective, X: Matrices, better: Matrices | None) -> str | None:
    """Return how the loss contradicts what it states, or None if no contradiction was found.

    Of a sum of losses of one matrix each every part is asked by itself, in its own units.
    """
    whose = speaker(loss)
    # What a user calls the parts of a loss may be anything.
    for k, own in enumerate(whose.parts if isinstance(whose, Separable) else ()):
        part = OneBlock(own)
        found = violation(part, [X[k]], None if better is None else [better[k]]) if needed(part) else None
        if found is not None:
            return f"{found} in matrix {k + 1}"
    claims = _Claims(loss, [np.asarray(x, dtype=np.float64) for x in X])
    found = claims.at("0", claims.zero)
    if found is None and better is not None:
        found = claims.at_point("a better point", [np.asarray(y, dtype=np.float64) for y in better])
    lengths = lengths_at(loss, claims.here, better)
    natural = natural_length_at(loss, claims.zero, lengths[0] / VANISHED)
    if lengths[0] < VANISHED * natural:  # the end of a run to 0, within which nothing is seen
        lengths = [natural]
    for length in lengths:
        found = found or claims.around(length)
    # The package's own losses have theirs from their formula.
    if found is None and loss.facts.lower_bound is not None and is_of_a_user(loss):
        found = claims.on_descent(lengths[-1])
    if found is None and loss.facts.least_squares:
        return _not_quadratic(loss, claims.X, claims.here, claims.eps * claims.made_of)
    return found


def _in_line(D: Sequence[Array]) -> Array:
    """Return the entries of all matrices one after the other."""
    return np.concatenate([d.ravel() for d in D])


class _Claims:
    """What a loss states, against what it answers at ``X`` and elsewhere."""

    def __init__(self, loss: MultiObjective, X: list[Array]) -> None:
        self.loss, self.X = loss, X
        self.eps = share_lost(loss)
        self.here, self.zero = Evaluated(loss, X), Evaluated(loss, [0.0 * x for x in X])
        self.made_of = max(abs(self.here.f), abs(self.zero.f))
        self.slope, self.length = joint_norm(self.here.G), joint_norm(X)

    def around(self, length: float) -> str | None:
        """Return a contradiction on lines of a length through ``X``, or where ``f`` is least curved as near as that."""
        found = self.on_line("G", self.here.G, length)
        found = found or self.on_line("a random direction", random_direction(self.X), length)
        for _ in range(ENTRIES):
            found = found or self.on_line(*_entry(self.X), length, ENTRY_STEPS)
        found = found or self.on_bisection("0 - X", [-x for x in self.X], (0.0, 1.0))
        for _ in range(BISECTED):
            ends = (-1.0, 1.0)
            found = found or self.on_bisection("a random direction", of_length(length, random_direction(self.X)), ends)
        if sum(x.size for x in self.X) <= MOST_PARAMETERS:
            for name, base, share in (("X", self.X, NEAR), ("X", self.X, 1.0), ("0", self.zero.X, NEAR)):
                found = found or self.on_curvature(name, base, share * length, length)
        return found

    def at_point(self, name: str, Y: Sequence[Array]) -> str | None:
        """Return a contradiction at a point."""
        return self.at(name, Evaluated(self.loss, Y))

    def at(self, name: str, there: Evaluated) -> str | None:
        """Return a contradiction at a point that has been evaluated."""
        if not math.isfinite(there.f):
            return None
        D = [y - x for x, y in zip(self.X, there.X)]
        noise = self._noise(there.f, joint_norm(there.G), joint_norm(D))
        wrong = _fenchel(self.loss, there, noise)
        if wrong is not None:
            return (
                f"states a conjugate that violates f(Y) + f*(G) = <G, Y> at Y = {name} by {wrong:.2g}, or its values "
                "are rounded more than its rounding_noise says"
            )
        return self._unlike_convex(name, there.X, there.f, joint_inner(self.here.G, D), joint_inner(there.G, D), noise)

    def on_line(self, name: str, D: Sequence[Array], length: float, steps: Sequence[float] = STEPS) -> str | None:
        """Return a contradiction at small and large steps from ``X`` to both sides, or between two of these points."""
        size = joint_norm(D)
        if size == 0.0:
            return None
        line = None if self.loss.states_conjugate else self.loss.along(self.X, D)
        visited: list[_Visited] = []
        for t in (sign * step * length / size for step in steps for sign in (1.0, -1.0)):
            here = f"X {'+' if t > 0 else '-'} {abs(t):.2g} times {name}"
            answer, found = self._visit(here, t, D, size) if line is None else self._look(here, t, D, size, line(t))
            if found is not None:
                return found
            if not (math.isfinite(answer.value) and math.isfinite(answer.size)):
                continue
            for other in visited:
                found = self._between(D, size, other, _Visited(here, t, answer))
                if found is not None:
                    return found
            visited.append(_Visited(here, t, answer))
        return None

    def on_bisection(self, name: str, D: Sequence[Array], ends: tuple[float, float]) -> str | None:
        """Return a contradiction between two points of ``X + t D``, the interval between which is halved.

        Each time that half is kept over which the slope rises less: where ``f`` is bent downwards at all on the line,
        the slope falls in the end.
        """
        size = joint_norm(D)
        if size == 0.0:
            return None
        line = self.loss.along(self.X, D) or (lambda t: self._on_line(t, D, size))

        def visited(t: float) -> _Visited:
            return _Visited(f"X {'+' if t > 0 else '-'} {abs(t):.6g} times {name}", t, line(t))

        low, high = map(visited, ends)
        for _ in range(HALVINGS):
            if not all(math.isfinite(end.answer.value) and math.isfinite(end.answer.size) for end in (low, high)):
                return None
            found = self._fallen(D, size, low, high)
            if found is not None:
                return found
            middle = visited(0.5 * (low.t + high.t))
            falls = middle.answer.slope - low.answer.slope < high.answer.slope - middle.answer.slope
            low, high = (low, middle) if falls else (middle, high)
        return self._fallen(D, size, low, high)

    def _fallen(self, D: Sequence[Array], size: float, low: _Visited, high: _Visited) -> str | None:
        """Return how two points of a line contradict convexity by their values, where their slopes do so too."""
        fallen = low.answer.slope - high.answer.slope
        return self._between(D, size, low, high) if fallen > FALLEN * (low.answer.size + high.answer.size) else None

    def _on_line(self, t: float, D: Sequence[Array], size: float) -> OnLine:
        """Return what the loss answers at ``X + t D``."""
        there = Evaluated(self.loss, [x + t * d for x, d in zip(self.X, D)])
        return OnLine(there.f, joint_inner(there.G, D), joint_norm(there.G) * size)

    def _visit(self, name: str, t: float, D: Sequence[Array], size: float) -> tuple[OnLine, str | None]:
        """Return the answer at a point of a line, and a contradiction between it and that at ``X``."""
        there = Evaluated(self.loss, [x + t * d for x, d in zip(self.X, D)])
        return OnLine(there.f, joint_inner(there.G, D), joint_norm(there.G) * size), self.at(name, there)

    def _look(self, name: str, t: float, D: Sequence[Array], size: float, there: OnLine) -> tuple[OnLine, str | None]:
        """Return the same where the loss answers for the line as a whole."""
        noise = self._noise(there.value, there.size / size, abs(t) * size)
        Y = [x + t * d for x, d in zip(self.X, D)]
        slope = joint_inner(self.here.G, D)
        return there, self._unlike_convex(name, Y, there.value, t * slope, t * there.slope, noise)

    def _between(self, D: Sequence[Array], size: float, first: _Visited, second: _Visited) -> str | None:
        """Return how the values and slopes at two points of a line are not those of a convex loss."""
        (f, slope, norm), (f_there, slope_there, norm_there) = first.answer, second.answer
        apart, farthest = second.t - first.t, max(abs(first.t), abs(second.t)) * size
        short = max(f + apart * slope - f_there, f_there - apart * slope_there - f)
        noise = self._noise(max(abs(f), abs(f_there)), (norm + norm_there) / size, farthest)
        if short <= noise:
            return None
        ends = ([x + end.t * d for x, d in zip(self.X, D)] for end in (first, second))
        if short <= noise + self._noise_of_terms(*ends):
            return None
        return _not_convex(f"{second.name}, seen from {first.name}, by {short:.2g}")

    def on_curvature(self, name: str, base: Sequence[Array], distance: float, length: float) -> str | None:
        """Return a contradiction between gradients close together, along the line on which ``f`` is least curved.

        That line is looked for with the steps of Lanczos from a random one. Where gradients jump they find another one,
        and on any line those of a convex loss do not turn back.
        """
        Y = [x + step for x, step in zip(base, of_length(distance, random_direction(base)))]
        d = _in_line(random_direction(Y))
        basis, core = np.empty((0, d.size)), np.zeros((LEAST_STEPS, LEAST_STEPS))
        size = float(np.linalg.norm(d))
        while len(basis) < LEAST_STEPS and float(np.linalg.norm(d)) > SPANNED * size:
            basis = np.vstack([basis, d / np.linalg.norm(d)])
            d, noise = self._curvature_along(Y, basis[-1], length)
            if not math.isfinite(noise):
                return None
            size, k = float(np.linalg.norm(d)), len(basis)
            core[:k, k - 1] = basis @ d
            for _ in range(2):  # once more, against the loss of orthogonality
                d = d - basis.T @ (basis @ d)
        k = len(basis)
        least = np.linalg.eigh(core[:k, :k], UPLO="U")[1][:, 0] @ basis
        product, noise = self._curvature_along(Y, least, length)
        curvature = float(least @ product)
        if curvature < -noise and curvature < -noise - self._jump(Y, length):
            return _not_convex(f"{name} + {distance:.2g} in a random direction, where a curvature is {curvature:.2g}")
        return None

    def _jump(self, Y: Sequence[Array], length: float) -> float:
        """Return the curvature that rounding makes where gradients jump, as at a kink: ``Y`` is rounded as data are.

        Only asked for where it matters, as it takes evaluations of the loss.
        """
        size = self.eps * max(joint_norm(Y), natural_length_at(self.loss, self.zero))
        if size == 0.0:
            return 0.0
        ends = []
        for _ in range(2):
            step = of_length(size, random_direction(Y))
            ends.append(Evaluated(self.loss, [y + s for y, s in zip(Y, step)]))
        change = joint_norm([g - h for g, h in zip(*(end.G for end in ends))])
        return change / difference_step(length, joint_norm(Y), 1.0, self.loss.precision)

    def _curvature_along(self, Y: Sequence[Array], d: Array, length: float) -> tuple[Array, float]:
        """Return the change of the gradient along a unit direction, by its length, and the rounding errors of that."""
        cuts = np.cumsum([y.size for y in Y])[:-1]
        D = [part.reshape(y.shape) for part, y in zip(np.split(d, cuts), Y)]
        h = difference_step(length, joint_norm(Y), 1.0, self.loss.precision)
        change, largest = np.zeros_like(d), max(self.slope, joint_norm(self.zero.G))
        for t in (h, -h):
            end = Evaluated(self.loss, [y + t * u for y, u in zip(Y, D)])
            if not math.isfinite(end.f):  # outside of the domain
                return change, math.inf
            largest = max(largest, joint_norm(end.G))
            change += _in_line(end.G) / (2.0 * t)
        noise = self.eps * largest + self.loss.rounding_noise([(y, np.eye(y.shape[1])) for y in Y]).gradient
        return change, noise / h

    def on_descent(self, length: float) -> str | None:
        """Return a contradiction at points of a descent of ``f`` from ``X``, the first step of which has a length.

        The steps are those of Barzilai and Borwein (IMA J. Numer. Anal. 8, 1988, their (5)): two points and no
        constant of ``f`` are needed, and for quadratic functions they fall almost as fast as conjugate gradients.
        """
        at = self.here
        square = joint_inner(at.G, at.G)
        step = length / math.sqrt(square) if square > 0.0 else 0.0
        for _ in range(DESCENT):
            if not 0.0 < step < math.inf:
                break
            there = Evaluated(self.loss, [x - step * g for x, g in zip(at.X, at.G)])
            if not math.isfinite(there.f):  # outside of the domain
                step *= 0.1
                continue
            found = self.at("a point that descent of f reaches", there)
            if found is not None:
                return found
            # How much shorter the gradient has become along itself; where it has not f is linear, and falls on.
            change = square - joint_inner(at.G, there.G)
            step *= square / change if change > 0.0 else 10.0
            at, square = there, joint_inner(there.G, there.G)
        return None

    def _noise(self, value: float, slope: float, distance: float) -> float:
        """Return what rounding may do to a value, and to slopes over a distance from ``X``."""
        return self.eps * (max(self.made_of, abs(value)) + (self.slope + slope) * (distance + self.length * 1e-2))

    def _noise_of_terms(self, X: Sequence[Array], Y: Sequence[Array]) -> float:
        """Return what rounding may do to the values at two points, and to slopes between them, beyond their size.

        Values and gradients may be differences of larger terms, as those in Gram form are.
        """
        here, there = (self.loss.rounding_noise([(x, np.eye(x.shape[1])) for x in Z]) for Z in (X, Y))
        distance = sum(float(np.linalg.norm(y - x)) for x, y in zip(X, Y))
        return here.value + there.value + (here.gradient + there.gradient) * distance

    def _unlike_convex(
        self, name: str, Y: Sequence[Array], value: float, slope: float, slope_there: float, noise: float
    ) -> str | None:
        """Return how a value at ``Y`` and the slopes in ``Y - X`` at both points are not those of a convex loss."""
        short = max(self.here.f + slope - value, value - slope_there - self.here.f)
        least = self.loss.facts.lower_bound
        below = -math.inf if least is None else least - value
        if max(short, below) <= noise:
            return None
        # Only asked for where it matters, as it may take evaluations of the loss.
        noise += self._noise_of_terms(self.X, Y)
        if short > noise:
            return _not_convex(f"{name} by {short:.2g}")
        if below > noise:
            return f"has the value {value:.6g} at Y = {name}, below the lower_bound {least:.6g} it states"
        return None


class _Visited(NamedTuple):
    """A point of a line: its name, where it is, and what the loss answers there."""

    name: str
    t: float
    answer: OnLine


def _not_convex(where: str) -> str:
    """Return the text of a violation of convexity at a point, with its size."""
    other = "its gradient is wrong, or its values are rounded more than its rounding_noise says"
    return f"violates convexity at Y = {where}, or {other}"


def _entry(X: Sequence[Array]) -> tuple[str, list[Array]]:
    """Return the direction of a random entry, with its name."""
    rng = np.random.default_rng()
    D = [np.zeros(x.shape) for x in X]
    k = int(rng.integers(len(X)))
    i, j = (int(rng.integers(size)) for size in X[k].shape)
    D[k][i, j] = 1.0
    return f"entry ({i}, {j}){f' of matrix {k + 1}' if len(X) > 1 else ''}", D


def _fenchel(loss: MultiObjective, at: Evaluated, noise: float) -> float | None:
    """Return by how much Fenchel's equality is violated at a point where that is more than rounding."""
    dual = loss.conjugate(at.G)
    if dual is None:
        return None
    inner = joint_inner(at.G, at.X)
    off = abs(at.f + dual - inner)
    rounding = share_lost(loss) * (abs(dual) + abs(inner))
    if off <= noise + rounding:
        return None
    # Only asked for where it matters, as it may take evaluations of the loss.
    of_terms = loss.rounding_noise([(x, np.eye(x.shape[1])) for x in at.X])
    rounding += of_terms.value + of_terms.gradient * joint_norm(at.X)
    return None if off <= noise + rounding else off


def _not_quadratic(loss: MultiObjective, X: Sequence[Array], at: Evaluated, noise: float) -> str | None:
    """Return the text of a violation if third differences of ``f`` do not vanish."""
    D = random_direction(X)
    t = length_at(loss, at, None) / joint_norm(D)
    values = [Evaluated(loss, [x + k * t * d for x, d in zip(X, D)]).f for k in (-1, 1, 2)]
    third = values[2] - 3.0 * values[1] + 3.0 * at.f - values[0]
    if abs(third) > 8.0 * (noise + share_lost(loss) * max(map(abs, values))):
        return f"states least_squares but its third difference along a random direction is {third:.2g}"
    return None
