import pathlib

import pytest

from lorasolve.papers.claims import Claim, markdown_rows

EXAMPLES = sorted(path.stem for path in (pathlib.Path(__file__).parents[2] / "examples").glob("method_*.py"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_claim_of_the_paper_is_reproduced_or_corrected(example, name):
    claims = example(name)["claims"]
    assert claims
    failed = [str(claim) for claim in claims if not claim.holds]
    assert not failed


def test_a_failed_check_is_said():
    good, bad = (Claim("a", "confirmed", "1", holds) for holds in (True, False))
    assert good.verdict == "confirmed"
    assert bad.verdict == "NOT REPRODUCED"
    assert markdown_rows("run", [bad]) == ["| a | NOT REPRODUCED | 1 | `run` |"]
    assert markdown_rows("run", [Claim("|x|", "confirmed", "1", True)]) == ["| \\|x\\| | confirmed | 1 | `run` |"]
