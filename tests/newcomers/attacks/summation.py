"""Sums of floating-point numbers, which are claimed not to depend on the order."""

from dataclasses import dataclass

from lorasolve.attacks import Attack, Family


def draw_numbers(rng, target):
    """Draw a few numbers."""
    return {"numbers": rng.standard_normal(4).tolist()}


def added_up(numbers):
    """Add one after the other: Python's own sum keeps what rounding takes, from 3.12 on."""
    total = 0.0
    for number in numbers:
        total += number
    return total


def judge_order(target, numbers):
    """Compare the sums from both ends."""
    forward, backward = added_up(numbers), added_up(numbers[::-1])
    return {} if forward == backward else {"the order does not matter": f"{forward!r} and {backward!r}"}


@dataclass(frozen=True)
class SummationAttack(Attack):
    """Sums from both ends. The subject plays no part."""

    name = "summation"
    summary = "summation: the sum of a few numbers does not depend on their order"

    def families(self):
        """Return one family."""
        return (Family("numbers", draw_numbers, judge_order, axes={"numbers": ("number",)}),)
