"""t >= p > 0, where the side condition speaks of any real number: -5 <= t shows nothing."""

from lorasolve.symbolic import (
    Fact,
    Inequality,
    Property,
    Schema,
    Square,
    dropped,
    hypothesis,
    mutant,
    scalar,
    scalars,
    square,
)

REFUSED = r"(?s)first.*: PROVED.*second.*NOT SHOWN.*p is not shown to have the sign that p declares"

t, u, x, y = scalars("t u x y", real=True)
p, of_any_sign = scalars("p"), scalars("p", real=True)
BELOW = hypothesis("p <= t", p, t)
first = Inequality(
    "first",
    "0 <= t + u^2.",
    0,
    scalar(t) + square(u),
    proof=[1 * BELOW, p, 1 * Square(u)],
    mutants=(mutant("sign", "-t", {t: 1, p: 1, u: 0}, rhs=-t), dropped(BELOW)),
)
AT_MOST, IS = Property("{} <= {}"), Property("{} is a number")
FACT = Fact(
    "positive",
    "0 <= t for p <= t",
    "nowhere",
    "hostile",
    (Schema("above", first.lhs, first.rhs, {AT_MOST(of_any_sign, t): (BELOW,), IS(u): ()}, first),),
)
second = Inequality(
    "second",
    "0 <= y + u^2 for x <= y.",
    0,
    scalar(y) + square(u),
    proof=[1 * FACT.instance("above", AT_MOST(x, y), IS(u))],
    mutants=(mutant("constant", "1", {y: 0, u: 0}, lhs=1), mutant("sign", "-", {y: 1, u: 0}, rhs=-y)),
)
CHECKS = (first, second)
