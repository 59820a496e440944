"""A fact that counts as proved by a check which rests on a fact that nobody proves."""

from lorasolve.symbolic import Fact, Inequality, Schema, dims, matrix, mutant, tr

REFUSED = r"check first, which shows negative, is PROVED UNDER a guess"

m = dims("m")
X = matrix("X", m, m)
AT = {X: [[-1]]}
TWINS = (mutant("constant", "tr X + 9", AT, lhs=tr(X) + 9), mutant("sign", "-tr X", AT, lhs=-tr(X)))
GUESS = Fact("a guess", "tr X <= 0", "nowhere", schemas=(Schema("negative", tr(X), 0, {}),))
first = Inequality("first", "tr X <= 0.", tr(X), 0, proof=[GUESS.instance("negative", X=X)], mutants=TWINS)
LAUNDERED = Fact("a proved one", "tr X <= 0", "nowhere", "first", (Schema("negative", tr(X), 0, {}, first),))
second = Inequality(
    "second", "2 tr X <= 0.", 2 * tr(X), 0, proof=[2 * LAUNDERED.instance("negative", X=X)], mutants=TWINS
)
CHECKS = (first, second)
