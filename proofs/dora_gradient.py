"""DoRA: exact and detached gradients, and what they share.

Statement
---------
For a column v of V = W0 + gamma A B^T, c = |v|, magnitude w, adapted column (w/c) v, g the gradient of f there and
q = <g, v>/c:

    dL/dw = q,    grad_v L = F = (w/c)(g - (q/c) v),    detached: D = (w/c) g,    D - F = (q w/c^2) v.

F is orthogonal to v, <F, D> = |F|^2, and |D - F| = |q w|/c: the joint stationary points in (A, B, w) of the exact
and the detached scheme coincide, because dL/dw = 0 means q = 0. The detached step can ascend: an exact rational
instance. The adapted weights are W0 diag(d) + Y with rank Y <= r.

Assumptions
-----------
c > 0 for every column. The projector acts column by column; the formula printed with one matrix V is false.

Source
------
Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", ICML 2024. The shared stationary points, the ascending
instance and the description of the image are derived here.

Idea
----
phi = w <g, v>/c satisfies phi^2 |v|^2 = w^2 <g, v>^2, a polynomial identity: its derivative along u gives the
derivative of phi without differentiating a root.

Checks
------
column_gradient : PROVED
magnitude_gradient : PROVED
no_radial_part : PROVED
detached_difference : PROVED
descent_in_direction_space : PROVED
shared_stationary_points : PROVED
factor_gradients : PROVED
drift_of_norms : PROVED
image : PROVED
column_norm : PROVED
axis : PROVED
detached_step_ascends : VERIFIED
literal_projector_is_wrong : VERIFIED

Used by
-------
lorasolve/adapters/dora.py, lorasolve/papers/dora.py
"""

from fractions import Fraction
from random import Random

from lorasolve.symbolic import (
    Exact,
    Identity,
    Theorem,
    Values,
    assume,
    derivative,
    dims,
    dropped,
    inner,
    matrix,
    mutant,
    run_module,
    scalars,
    square,
    tr,
    vector,
    zeros,
)
from lorasolve.symbolic import rational as ra

m, n, r = dims("m n r")
(w, change), (c, gamma, d) = scalars("w delta", real=True), scalars("c gamma d")
v, u, g, w0, y, b = vector("v", m), vector("u", m), vector("g", m), vector("w0", m), vector("y", m), vector("b", r)
A, B, U, V = matrix("A", m, r), matrix("B", n, r), matrix("U", m, r), matrix("V", n, r)
FM, W0 = matrix("F", m, n), matrix("W0", m, n)


def _length(values: Values, rng: Random) -> None:
    unit = ra.random_orthonormal(rng, len(values["v"]), 1)
    values["v"] = ra.scale(values[c], unit)


NORM = assume("|v| = c", (square(v), c**2), impose=_length)
q = tr(g.T @ v) / c
F = w / c * (g - q / c * v)
D = w / c * g
phi, phi_along_u = w * q, inner(F, u)
p = scalars("p", real=True)
VELOCITY = -(gamma**2) * (FM @ B @ B.T + A @ A.T @ FM)


def _instance(first: str, second: str, detached: bool, expected: str) -> tuple[bool, str]:
    """Return the derivative of the loss along the exact or the detached step in (A, B, w) at the rational instance."""
    w0_value, a_value, b_value = [Fraction(0), Fraction(-1, 10)], [Fraction(10), Fraction(1)], Fraction(1, 10)
    gradient = [Fraction(first), Fraction(second)]
    column = [x + b_value * y for x, y in zip(w0_value, a_value)]
    length = Fraction(1)
    assert sum(x * x for x in column) == length**2
    radial = sum(x * y for x, y in zip(gradient, column)) / length
    exact = [x - radial * y for x, y in zip(gradient, column)]
    step = gradient if detached else exact
    in_a = [-x * b_value for x in step]
    in_b = -sum(x * y for x, y in zip(step, a_value))
    rate = sum(x * b_value * s for x, s in zip(exact, in_a)) + in_b * sum(x * y for x, y in zip(exact, a_value))
    rate -= radial**2
    return rate == Fraction(expected), f"dL/dt = {rate}"


def _literal(per_column: bool) -> tuple[bool, str]:
    """Compare the projected gradient with the derivative of <G, normalized columns>, for two columns."""
    columns = [[Fraction(3), Fraction(4)], [Fraction(5), Fraction(12)]]
    lengths = [Fraction(5), Fraction(13)]
    gradients = [[Fraction(1), Fraction(2)], [Fraction(-1), Fraction(3)]]
    direction = [Fraction(1), Fraction(0)]
    true = sum(
        sum(x * y for x, y in zip(g, direction)) / s
        - sum(x * y for x, y in zip(g, col)) * sum(x * y for x, y in zip(col, direction)) / s**3
        for g, col, s in zip(gradients, columns, lengths)
    )
    value = Fraction(0)
    for g, col, s in zip(gradients, columns, lengths):
        spanned = [(col, s)] if per_column else [(other, s) for other in columns]
        projected = list(g)
        for other, scale in spanned:
            factor = sum(x * y for x, y in zip(other, g)) / scale**2
            projected = [x - factor * y for x, y in zip(projected, other)]
        value += sum(x * y for x, y in zip(projected, direction)) / s
    normalized = all(sum(x * x for x in col) == s**2 for col, s in zip(columns, lengths))
    return value == true and normalized, f"formula {value}, derivative {true}"


def _negated(run: bool) -> tuple[bool, str]:
    holds, shown = _literal(run)
    return not holds, shown


CHECKS = (
    Identity(
        "column_gradient",
        "The derivative of phi = w <g, v>/|v| along u is <F, u>: from phi^2 |v|^2 = w^2 <g, v>^2.",
        derivative(square(w * inner(g, v)), {v: u}),
        2 * phi * phi_along_u * square(v) + phi**2 * derivative(square(v), {v: u}),
        given=(NORM,),
        mutants=(
            mutant("sign", "F with + v", rhs=2 * phi * inner(w / c * (g + q / c * v), u) * square(v)),
            mutant(
                "constant", "the detached gradient", rhs=2 * phi * inner(D, u) * square(v) + 2 * phi**2 * inner(v, u)
            ),
        ),
    ),
    Identity(
        "magnitude_gradient",
        "dL/dw = <g, v>/c = q: a change delta of w changes the column w v/c by delta v/c, and <g, .> by delta q.",
        tr(g.T @ ((w + change) / c * v - w / c * v)),
        change * q,
        mutants=(
            mutant("constant", "2 q", rhs=2 * change * q),
            mutant("sign", "-q", rhs=-1 * change * q),
            mutant("constant", "v, not the unit vector v/c", lhs=tr(g.T @ ((w + change) * v - w * v))),
        ),
    ),
    Identity(
        "no_radial_part",
        "v^T F = 0.",
        v.T @ F,
        zeros(1, 1),
        given=(NORM,),
        mutants=(
            mutant("sign", "F with + v", lhs=v.T @ (w / c * (g + q / c * v))),
            mutant("constant", "half the radial part", lhs=v.T @ (w / c * (g - q / (2 * c) * v))),
            dropped(NORM),
        ),
    ),
    Identity(
        "detached_difference",
        "D - F = (q w/c^2) v, purely radial.",
        D - F,
        w / c**2 * q * v,
        mutants=(
            mutant("sign", "-(q w/c^2) v", rhs=-w / c**2 * q * v),
            mutant("constant", "(q w/c) v", rhs=w / c * q * v),
        ),
    ),
    Identity(
        "descent_in_direction_space",
        "<F, D> = |F|^2: with V free the detached direction never ascends.",
        inner(F, D),
        square(F),
        given=(NORM,),
        mutants=(
            mutant("constant", "|D|^2", rhs=square(D)),
            mutant("sign", "-|F|^2", rhs=-square(F)),
            dropped(NORM),
        ),
    ),
    Identity(
        "shared_stationary_points",
        "|D - F|^2 = w^2 q^2/c^2: where dL/dw = q = 0 the two schemes agree.",
        square(D - F),
        w**2 / c**2 * q**2,
        given=(NORM,),
        mutants=(
            mutant("constant", "w^2 q^2", rhs=w**2 * q**2),
            mutant("sign", "D + F", lhs=square(D + F)),
            dropped(NORM),
        ),
    ),
    Identity(
        "factor_gradients",
        "grad_A = gamma F B, grad_B = gamma F^T A for the matrix F of the columns.",
        inner(FM, gamma * (U @ B.T + A @ V.T)),
        inner(gamma * FM @ B, U) + inner(gamma * FM.T @ A, V),
        mutants=(
            mutant("constant", "without gamma", rhs=inner(FM @ B, U) + inner(FM.T @ A, V)),
            mutant("sign", "-grad_B", rhs=inner(gamma * FM @ B, U) - inner(gamma * FM.T @ A, V)),
        ),
    ),
    Identity(
        "drift_of_norms",
        "Along the flow dV/dt = -gamma^2 (F B B^T + A A^T F): not a multiple of F, so the norms of the columns drift.",
        gamma * derivative(A @ B.T, {A: -gamma * FM @ B, B: -gamma * FM.T @ A}),
        VELOCITY,
        mutants=(
            mutant("constant", "-F: the norms would be kept", rhs=-FM),
            mutant("swapped symbols", "A A^T F twice", rhs=-2 * gamma**2 * A @ A.T @ FM),
        ),
    ),
    Identity(
        "image",
        "v = w0 + y/d, w = c d: the adapted column (w/c) v is d w0 + y.",
        (c * d) / c * (w0 + y / d),
        d * w0 + y,
        mutants=(
            mutant("constant", "d w0 + d y", rhs=d * w0 + d * y),
            mutant("sign", "d w0 - y", rhs=d * w0 - y),
        ),
    ),
    Identity(
        "column_norm",
        "|w0 + gamma A b|^2 = |w0|^2 + 2 gamma <A^T w0, b> + gamma^2 b^T A^T A b: norms without forming V.",
        square(w0 + gamma * A @ b),
        square(w0) + 2 * gamma * inner(A.T @ w0, b) + gamma**2 * tr(b.T @ A.T @ A @ b),
        mutants=(
            mutant("dropped assumption", "without the cross term", rhs=square(w0) + gamma**2 * square(A @ b)),
            mutant(
                "constant",
                "the cross term once",
                rhs=square(w0) + gamma * inner(A.T @ w0, b) + gamma**2 * square(A @ b),
            ),
        ),
    ),
    Identity(
        "axis",
        "Rows of V are columns of V^T = W0^T + gamma B A^T: axis 1 on W is axis 0 on W^T with A and B exchanged.",
        (W0 + gamma * A @ B.T).T,
        W0.T + gamma * B @ A.T,
        mutants=(
            mutant("sign", "W0^T - gamma B A^T", rhs=W0.T - gamma * B @ A.T),
            mutant("constant", "2 gamma", rhs=W0.T + 2 * gamma * B @ A.T),
        ),
    ),
    Exact(
        "detached_step_ascends",
        "W0 = (0, -1/10), A = (10, 1), B = 1/10, f = -W1/2 + W2: dL/dt is 187/50 detached and -63/50 exact.",
        _instance,
        (("-1/2", "1", True, "187/50"), ("-1/2", "1", False, "-63/50")),
        mutants=(
            mutant("sign", "the detached step descends", run=lambda a, b, det, e: _instance(a, b, det, "-63/50")),
            mutant("constant", "f = W2", run=lambda a, b, det, e: _instance("0", "1", det, e)),
        ),
    ),
    Exact(
        "literal_projector_is_wrong",
        "With two columns the projector per column gives the derivative, I - V V^T/c^2 with the whole V does not.",
        lambda per_column: _literal(True) if per_column else _negated(False),
        ((True,), (False,)),
        mutants=(
            mutant("swapped symbols", "the whole V in the projector", run=lambda per_column: _literal(False)),
            mutant("sign", "the per-column projector fails", run=lambda per_column: _negated(True)),
        ),
    ),
)

PROSE = {
    "the derivative of phi where phi = 0, by continuity": ("column_gradient",),
    "all columns, one at a time": ("column_gradient", "detached_difference", "shared_stationary_points", "image"),
}

THEOREM = Theorem(__doc__, CHECKS, prose=PROSE)

if __name__ == "__main__":
    raise SystemExit(run_module("dora_gradient", THEOREM))
