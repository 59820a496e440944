"""Every claim is reproduced or corrected, a failed check is said, and the page lists what the papers' modules state."""

import json
import math
import pathlib
import re

import pytest

from lorasolve.papers import Claim, PaperClaims, registry
from lorasolve.papers._page import COMMAND, markdown_rows, page
from lorasolve.papers._reproduce import reproduce

NAMES = [name for name, cls in registry.classes().items() if issubclass(cls, PaperClaims)]
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "papers.md"


@pytest.mark.parametrize("name", NAMES)
def test_every_claim_of_the_paper_is_reproduced_or_corrected(reproduced, name):
    found = reproduced(name)
    assert found.claims and found.ok
    assert [claim.statement for claim in found.claims if not claim.holds] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_the_claims_of_the_paper(reproduced, name):
    text = PAGE.read_text(encoding="utf-8")
    section = text.partition(f"## {registry.classes()[name].paper}: ")[2].partition("\n## ")[0]
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in section.splitlines() if line.startswith("| ")][2:]
    expected = [[claim.statement.replace("|", "\\|"), claim.status] for claim in reproduced(name).claims]
    assert [row[:2] for row in rows] == expected, f"run: {COMMAND}"
    assert {row[3] for row in rows} == {f"`lorasolve reproduce {name}`"}


class Halves(PaperClaims):
    """Halves of numbers, one of them undefined, one of them claimed wrongly."""

    name = "halves"
    paper = "Arithmetic"
    summary = "halves"
    seeds = "none"
    parts = {"half": lambda of: [of / 2, of / 4], "nothing": lambda: math.inf}

    def settings(self, quick):
        return {"half": {"of": 2.0 if quick else 4.0}}

    def report(self, found):
        return f"half {found['half'][0]}"

    def judge(self, found):
        return [
            Claim("half of 2 is 1", "confirmed", f"{found['half'][0]}", found["half"][0] == 1.0),
            Claim("what is undefined is small", "confirmed", "-", found["nothing"] < 1.0),
        ]


def test_claims_are_held_against_what_was_written(tmp_path):
    found = reproduce(Halves(), tmp_path, quick=True)
    assert [claim.status for claim in found.claims] == ["confirmed", "NOT REPRODUCED"] and not found.ok
    document = json.loads((tmp_path / "halves-quick.json").read_text())
    assert document["schema"] == "lorasolve/reproduce" and document["paper"] == "Arithmetic"
    assert [claim["holds"] for claim in document["claims"]] == [True, False]
    assert [record["found"] for record in document["records"]] == [[1.0, 0.5], None]
    assert "half 1.0" in str(found) and "[NOT REPRODUCED] what is undefined is small" in str(found)
    assert {path.name for path in tmp_path.iterdir()} == {"halves-quick.json"}
    text = page([found])
    assert "## Arithmetic: halves" in text
    assert "| half of 2 is 1 | confirmed | 1.0 | `lorasolve reproduce halves --quick` |" in text


def test_norm_bars_are_escaped_in_the_page():
    assert markdown_rows("run", [Claim("|x|", "confirmed", "1", True)]) == ["| \\|x\\| | confirmed | 1 | `run` |"]
