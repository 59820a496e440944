"""The page ``docs/papers.md``: what papers claim, and what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ._reproduce import Reproduction
from .base import Claim

COMMAND = "lorasolve reproduce --page docs/papers.md"

_INTRODUCTION = (
    "*confirmed*: the numbers agree with the claim. *holds with correction*: the claim as usually stated is false or "
    "incomplete, the corrected one agrees. *not at matrix scale*: large-model results that no matrix problem can "
    "decide. What a check refutes would be listed as *NOT REPRODUCED*. All numbers are SAMPLED on the sizes that the "
    "commands print; what is proved is in `proofs/`."
)


def page(found: Sequence[Reproduction]) -> str:
    """Return the page as Markdown, a section for each experiment that has claims."""
    quick = " --quick" if any(each.quick for each in found) else ""
    lines = [
        "# What the papers claim, and what was measured",
        "",
        f"Written by `{COMMAND}{quick}`. {_INTRODUCTION}",
    ]
    for each in found:
        if each.claims:
            command = f"lorasolve reproduce {each.experiment.name}{quick}"
            lines += ["", f"## {each.experiment.paper}: {each.experiment.summary}", ""]
            lines += ["| claim | status | measured | command |", "| --- | --- | --- | --- |"]
            lines += markdown_rows(command, each.claims)
    return "\n".join(lines) + "\n"


def markdown_rows(command: str, claims: Iterable[Claim]) -> list[str]:
    """Return one table row per claim: claim, status, measured, command; norm bars are escaped."""
    cells = ((claim.statement, claim.status, claim.measured, f"`{command}`") for claim in claims)
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
