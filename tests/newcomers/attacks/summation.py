"""Sums of floating-point numbers, which are claimed not to depend on the order."""

from dataclasses import dataclass

from lorasolve.attacks import Attack, Family


def draw_numbers(rng, target):
    """Draw a few numbers."""
    return {"numbers": rng.standard_normal(4).tolist()}


def judge_order(target, numbers):
    """Compare the sums from both ends."""
    forward, backward = sum(numbers), sum(reversed(numbers))
    return {} if forward == backward else {"the order does not matter": f"{forward!r} and {backward!r}"}


@dataclass(frozen=True)
class SummationAttack(Attack):
    """Sums from both ends. The subject plays no part."""

    name = "summation"
    summary = "summation: the sum of a few numbers does not depend on their order"

    def families(self):
        """Return one family."""
        return (Family("numbers", draw_numbers, judge_order, axes={"numbers": ("number",)}),)
