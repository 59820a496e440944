"""Every claim is reproduced or corrected, a failed check is said, and the page lists what the papers' modules state."""

import json
import math
import pathlib
import re

import numpy as np
import pytest

from lorasolve.commands._paper_page import index, markdown_rows, page, write_pages
from lorasolve.commands._reproduction import reproduce
from lorasolve.papers import Claim, Experiment, PaperClaims, registry
from lorasolve.papers.base import is_above_zero, standard_error

NAMES = [name for name, cls in registry.classes().items() if issubclass(cls, PaperClaims)]
DOCS = pathlib.Path(__file__).parents[2] / "docs"
PAPERS = sorted({cls.page() for cls in registry.classes().values()})


@pytest.mark.parametrize("name", NAMES)
def test_every_claim_of_the_paper_is_reproduced_or_corrected_and_on_its_page(reproduced, name):
    """In one test, so that parallel runs reproduce a paper once."""
    found = reproduced(name)
    assert found.claims and found.ok
    assert [claim.statement for claim in found.claims if not claim.holds] == []
    text = (DOCS / "papers" / f"{name}.md").read_text(encoding="utf-8")
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| ")][2:]
    command = f"`lorasolve reproduce {name} --pages docs/papers`"
    assert [row[:2] for row in rows] == [
        [claim.statement.replace("|", "\\|"), claim.status] for claim in found.claims
    ], f"run: {command}"
    assert command in text


def test_the_table_of_rac_lora(reproduced):
    (gaps,) = (record["found"] for record in reproduced("rac_lora").records if record["part"] == "gaps")
    large, small = gaps["1/L"], gaps["0.2/L"]
    assert np.median(large["LoRA"]) == pytest.approx(0.28889, abs=5e-6)
    assert np.median(small["LoRA"]) == pytest.approx(0.28889, abs=5e-6)
    assert large["COLA, fresh A"] == [None, None]  # diverged: JSON has no infinity
    assert max(small["COLA, fresh A"]) < 1e-8
    assert max(large["RAC-LoRA"]) < 1e-12
    assert min(large["AsymmLoRA"]) > 0.1


@pytest.mark.parametrize("name", PAPERS)
def test_each_paper_has_a_page_with_its_figures(name):
    text = (DOCS / "papers" / f"{name}.md").read_text(encoding="utf-8")
    mine = [cls for cls in registry.classes().values() if cls.page() == name]
    assert text.startswith(f"# {mine[0].paper}\n") and "NOT REPRODUCED" not in text and "--quick" not in text
    # What needs more than the default install is on the page of whoever has it.
    for cls in (cls for cls in mine if cls.missing is Experiment.missing):
        assert cls.size is not None
        assert f"`lorasolve reproduce {cls.name} --pages docs/papers` (seeds: {cls.seeds})" in text
        assert f"]({cls.name}.png)" in text
        assert (DOCS / "papers" / f"{cls.name}.png").exists()


def test_the_list_of_papers_is_what_there_is():
    assert (DOCS / "papers.md").read_text(encoding="utf-8") == index("papers")


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
    assert {path.name for path in tmp_path.iterdir()} == {"halves-quick.json", "store"}
    text = page([found], "docs/papers")
    assert text.startswith("# Arithmetic") and "`lorasolve reproduce halves --quick --pages docs/papers`" in text
    assert "| half of 2 is 1 | confirmed | 1.0 |" in text and "```\nhalf 1.0\n```" in text
    written = write_pages(tmp_path / "papers", [found])
    assert [path.name for path in written] == ["halves.md", "papers.md"]
    assert written[1].read_text() == index("papers")


def test_a_page_keeps_the_sections_of_what_was_not_run(tmp_path):
    """One experiment replaced by another run of it; a section that belongs to no experiment goes."""
    before = (DOCS / "papers" / "main_paper.md").read_text()
    sections = before.split("\n## ")
    found = reproduce(Halves(), tmp_path, quick=True)
    kept = page([found], "docs/papers", before + "\n## nobody's\n\ntext\n").split("\n## ")
    assert kept[1:-1] == [text.rstrip("\n") + "\n" for text in sections[1:]] and "halves" in kept[-1]
    again = page([found], "docs/papers", "\n## ".join(kept))
    assert again == "\n## ".join(kept)


def test_a_page_names_the_experiments_that_it_lacks(tmp_path):
    """Those of networks were in the list of papers, whose link leads to a page without them."""

    class OfMainPaper(Halves):
        page = classmethod(lambda cls: "main_paper")

    found = reproduce(OfMainPaper(), tmp_path, quick=True)
    named = re.findall(r"`lorasolve reproduce (\w+)`", page([found], "docs/papers").split("\n## ")[0])
    assert named == [cls.name for cls in registry.classes().values() if cls.page() == "main_paper"]
    written = (DOCS / "papers" / "main_paper.md").read_text()
    lacking = [name for name in named if f"`lorasolve reproduce {name} --pages" not in written]
    for text in (written, page([found], "docs/papers", written)):
        assert re.findall(r"`lorasolve reproduce (\w+)`", text.split("\n## ")[0]) == lacking


def test_norm_bars_are_escaped_in_the_page():
    assert markdown_rows([Claim("|x|", "confirmed", "1", True)]) == ["| \\|x\\| | confirmed | 1 |"]


def test_the_error_of_a_mean_is_that_of_its_mean():
    """Of means of four draws of known deviation, by the spread of very many of them; of one value there is none."""
    draws = np.random.default_rng(0).normal(5.0, 3.0, (20_000, 4))
    spread = np.std(np.mean(draws, axis=1))
    assert np.sqrt(np.mean(standard_error(draws, axis=1) ** 2)) == pytest.approx(spread, rel=0.02)
    assert standard_error([[1.0, 5.0], [3.0, 5.0]]).tolist() == [1.0, 0.0]  # deviations sqrt 2 and 0, over sqrt 2
    assert np.isnan(standard_error([[1.0, 2.0]])).tolist() == [True, True] and np.isnan(standard_error([1.0]))
    assert not is_above_zero([1.0])


def test_a_mean_is_above_zero_by_two_of_its_errors() -> None:
    # Of 1 - s, 1, 1 + s the standard deviation is s: above zero for 2 s / sqrt(3) < 1, s < 0.866.
    assert is_above_zero([0.2, 1.0, 1.8]) and not is_above_zero([0.1, 1.0, 1.9])
    assert not is_above_zero([-1.0, -1.1]) and not is_above_zero([1.0, 1.0, np.nan])
