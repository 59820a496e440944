"""What a user's loss answers beside ``value_and_grad`` is held against it: in float64, at factors, of the Hessian."""

from __future__ import annotations

import math

import numpy as np

from .._support.validate import Array
from ..multi import Separable
from ..objectives import difference_step, length_of
from ..problem.blocks import MultiObjective, OneBlock, is_of_a_user, speaker
from ..problem.pairs import Pairs, joint_norm
from .probes import Evaluated, natural_length_at, of_length, random_direction, share_lost

# Share by which a product with the Hessian may differ from a difference of gradients, which a bend nearby may change.
HESSIAN = 0.1


def refuse_another_loss(loss: MultiObjective, double: MultiObjective, factors: Pairs) -> None:
    """Refuse what a user's ``in_float64`` has returned where its value is that of another loss."""
    if not is_of_a_user(loss) or speaker(double) is speaker(loss):
        return
    X = [A @ B.T for A, B in factors]
    here, there, zero = Evaluated(loss, X), Evaluated(double, X), Evaluated(loss, [0.0 * x for x in X])
    off = abs(here.f - there.f)
    noise = share_lost(loss) * max(abs(here.f), abs(zero.f))
    if noise < off < math.inf:
        name = f"objective: {loss.label}.in_float64"
        raise ValueError(f"{name}: expected the same loss, got one whose value at this point differs by {off:.3g}")


def contradicted_factors(loss: MultiObjective, factors: Pairs) -> str | None:
    """Return how a user's answers at the level of factors differ from those of ``value_and_grad``, or None."""
    if not is_of_a_user(loss):
        return None
    X = [A @ B.T for A, B in factors]
    here, zero = Evaluated(loss, X), Evaluated(loss, [0.0 * x for x in X])
    f, products, operators = loss.oracle_and_operators(factors)
    eps, rounding = share_lost(loss), loss.rounding_noise(factors)
    values = f, loss.factor_value(factors)
    if {math.isfinite(value) for value in (here.f, *values)} == {True, False}:  # one of them knows its domain
        return "has a finite value at factors or by value_and_grad, and not by both"
    off = max(abs(value - here.f) for value in values)
    if off > eps * max(abs(here.f), abs(zero.f)) + rounding.value:
        return f"differs by {off:.2g} between its value at factors and value_and_grad"
    noise = eps * max(joint_norm(here.G), joint_norm(zero.G)) + rounding.gradient
    columns = random_direction([B[:, :1] for _, B in factors])
    for G, M, (GB, GtA), (A, B), v in zip(here.G, operators, products, factors, columns):
        for found, exact, right in ((GB, G @ B, B), (GtA, G.T @ A, A), (M.matmat(v), G @ v, v)):
            off, length = float(np.linalg.norm(found - exact)), float(np.linalg.norm(right))
            if off > noise * length and off > (noise + _rounded_in_X(loss, here)) * length:
                return f"differs by {off:.2g} between a product with its gradient at factors and value_and_grad"
    return None


def _rounded_in_X(loss: MultiObjective, at: Evaluated) -> float:
    """Return by how much a gradient changes as rounding of ``X`` may change it: in float32, say, and of short tails."""
    rng, eps = np.random.default_rng(), share_lost(loss)
    beside = Evaluated(loss, [x * (1.0 + eps * rng.choice([-1.0, 1.0], x.shape)) for x in at.X])
    return joint_norm([g - h for g, h in zip(beside.G, at.G)])


def contradicted_hessian(loss: MultiObjective, factors: Pairs, directions: Pairs) -> str | None:
    """Return how the Hessian products that a user states differ from differences of gradients, or None.

    Those at factors are compared, which are made of the dense ones or stated too, along given directions and along
    random ones, in float64: differences in float32 take steps over which the Hessian changes. Steps are small beside
    the factors of every matrix that they move. Of a sum of losses of one matrix each every part is asked by itself:
    one may state its Hessian where another does not, or be in other units.
    """
    whose = speaker(loss)
    if type(whose) is Separable:
        for k, (part, pair, direction) in enumerate(zip(whose.parts, factors, directions)):
            text = contradicted_hessian(OneBlock(part), [pair], [direction])
            if text is not None:
                return f"{text} in matrix {k + 1}"
        return None
    if loss.differenced or loss.precision != "float64" or not is_of_a_user(loss):
        return None
    here, zero = (Evaluated(loss, [t * A @ B.T for A, B in factors]) for t in (1.0, 0.0))
    sizes = [joint_norm(pair) for pair in factors]
    fall = natural_length_at(loss, zero) * joint_norm(zero.G)
    lengths = [math.sqrt(length_of(fall, float(np.linalg.norm(g)))) for g in zero.G]
    error = share_lost(loss) * max(joint_norm(here.G), joint_norm(zero.G))
    random = []
    for own, pair in zip(zip(lengths, sizes), factors):
        U, V = of_length(max(own) or 1.0, random_direction(pair))
        random.append((U, V))
    product = loss.hessian_at(factors)
    for pairs in (directions, random):
        moves = [joint_norm(pair) for pair in pairs]
        if not any(moves):  # a direction in other parts of a sum
            continue
        of_matrices = zip(lengths, sizes, moves)
        h = min(difference_step(own, size, move, loss.precision) for own, size, move in of_matrices if move > 0.0)
        stated = _flat(product(pairs))
        found = _difference_of_gradients(loss, factors, pairs, h)
        if found is None:
            return None
        off, most = _apart(stated, found), max(joint_norm(stated), joint_norm(found))
        noise = error * (math.hypot(*sizes) + h * math.hypot(*moves)) / h
        if off <= HESSIAN * most + noise:
            continue
        # Where the Hessian vanishes the difference is made of terms of higher order, which a shorter step changes.
        nearer = _difference_of_gradients(loss, factors, pairs, 0.5 * h)
        if nearer is not None and off > HESSIAN * most + 3.0 * noise + 2.0 * _apart(found, nearer):
            return f"states Hessian products that differ from its gradients by {off / most:.2g} of their size"
    return None


def _difference_of_gradients(loss: MultiObjective, factors: Pairs, directions: Pairs, h: float) -> list[Array] | None:
    """Return the derivative of the gradients in factors by a central difference, or None outside of the domain."""
    ends = []
    for t in (h, -h):
        moved = [(A + t * U, B + t * V) for (A, B), (U, V) in zip(factors, directions)]
        there = Evaluated(loss, [A @ B.T for A, B in moved])
        if not math.isfinite(there.f):
            return None
        ends.append(_flat([(g @ B, g.T @ A) for g, (A, B) in zip(there.G, moved)]))
    return [(p - q) / (2.0 * h) for p, q in zip(*ends)]


def _apart(first: list[Array], second: list[Array]) -> float:
    """Return the distance of two lists of matrices."""
    return joint_norm([p - q for p, q in zip(first, second)])


def _flat(pairs: Pairs) -> list[Array]:
    """Return the factors of pairs one after the other."""
    return [factor for pair in pairs for factor in pair]
