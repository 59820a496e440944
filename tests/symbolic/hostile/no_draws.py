"""A search without draws."""

from lorasolve.symbolic import Sampled, mutant

REFUSED = r"no examples are drawn"

CHECKS = (
    Sampled(
        "nothing",
        "-1 >= 0.",
        lambda rng: -1.0,
        draws=0,
        mutants=(
            mutant("constant", "-2", margin=lambda rng: -2.0),
            mutant("sign", "-3", margin=lambda rng: -3.0, draws=1),
        ),
    ),
)
