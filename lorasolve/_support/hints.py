"""What messages advise, said for Python and for the command line."""

from __future__ import annotations

from typing import NamedTuple


class Hint(NamedTuple):
    """A piece of advice in the words of each; an empty one is left out."""

    python: str
    command: str


MORE_ITERATIONS = Hint("raise max_iter or continue with init=result", "raise --max-iter")
MORE_TIME = Hint("raise time_limit or continue with init=result", "raise --time-limit")
ALONE_MORE_TIME = Hint("raise time_limit", "raise --time-limit")
OR_START = Hint(" or continue with start=result", "")
OTHER_START = Hint("Try init=", "Try --init ")
MANY_STARTS = Hint(", or see where many starts end: landscape.census(problem, 20)", "")
CERTIFY = "; certify the point to see how good it is"
SAYS_OF_RANKS = Hint("landscape.verdict says", "'lorasolve verdict' says of a result saved by 'lorasolve solve --out'")


def on_the_command_line(message: str) -> str:
    """Return a message of Python with the advice that the command line can follow."""
    for hint in (MORE_ITERATIONS, MORE_TIME, ALONE_MORE_TIME, OR_START, OTHER_START, MANY_STARTS, SAYS_OF_RANKS):
        message = message.replace(*hint)
    return message
