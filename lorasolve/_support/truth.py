"""Answers that are more than yes or no."""

from __future__ import annotations

from typing import ClassVar, NoReturn


class MoreThanYesOrNo:
    """Refuses to be a condition, which would hold whatever the answer is, as in ``if certify(problem, result):``.

    ``_condition`` is the attribute to ask in its place.
    """

    _condition: ClassVar[str]

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__}: as a condition it would always hold; ask its .{self._condition}")
