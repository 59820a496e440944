"""A paper's claim beside what was measured, and the page that lists them all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

ClaimStatus = Literal["confirmed", "holds with correction", "not at matrix scale"]


@dataclass(frozen=True)
class Claim:
    """One claim of a paper and its fate.

    Attributes
    ----------
    statement : str
        What is claimed, with the correction where there is one.
    status : {"confirmed", "holds with correction", "not at matrix scale"}
        What the measurement shows if ``holds``.
    measured : str
        The numbers.
    holds : bool
        The outcome of the check on the measured numbers; False turns the status into "NOT REPRODUCED".
    """

    statement: str
    status: ClaimStatus
    measured: str
    holds: bool

    @property
    def verdict(self) -> str:
        """The status, or "NOT REPRODUCED" where the check failed."""
        return self.status if self.holds else "NOT REPRODUCED"

    def __str__(self) -> str:
        return f"[{self.verdict}] {self.statement}\n    measured: {self.measured}"


def print_claims(paper: str, claims: Iterable[Claim]) -> None:
    """Print a paper's claims beside what was measured."""
    print(paper)
    for claim in claims:
        print(f"  {claim}")


def markdown_rows(command: str, claims: Iterable[Claim]) -> list[str]:
    """Return one table row per claim: claim, status, measured, command; norm bars are escaped."""
    cells = ((claim.statement, claim.verdict, claim.measured, f"`{command}`") for claim in claims)
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
