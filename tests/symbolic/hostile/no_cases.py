"""A computation at no case."""

from lorasolve.symbolic import Exact, mutant

REFUSED = r"no cases"

CHECKS = (
    Exact(
        "nothing",
        "Every number is even.",
        lambda size: (size % 2 == 0, str(size)),
        (),
        mutants=(
            mutant("constant", "mod 3", run=lambda size: (False, "3"), cases=((1,),)),
            mutant("sign", "odd", run=lambda size: (False, "odd"), cases=((1,),)),
        ),
    ),
)
