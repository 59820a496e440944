"""Run the example of every paper and write docs/methods.md: claim, status, what was measured, command."""

from __future__ import annotations

import argparse
import contextlib
import io
import pathlib
import runpy

from lorasolve.methods.claims import markdown_rows

FOLDER = pathlib.Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "methods.md"


def page(quick: bool) -> str:
    """Return the page."""
    flag = "" if quick else " --full"
    lines = [
        "# The related methods: what their papers claim, and what was measured",
        "",
        f"Written by `python examples/methods_page.py{flag}`. *confirmed*: the numbers agree with the claim. *holds "
        "with correction*: the claim as usually stated is false or incomplete, the corrected one agrees. *not at matrix "
        "scale*: large-model results that no matrix problem can decide. What a check refutes would be listed as *NOT "
        "REPRODUCED*. All numbers are SAMPLED on the sizes that the commands print; what is proved is in `proofs/`.",
    ]
    for path in sorted(FOLDER.glob("method_*.py")):
        namespace = runpy.run_path(str(path))
        with contextlib.redirect_stdout(io.StringIO()):
            claims = namespace["run"](quick=quick)["claims"]
        title = namespace["__doc__"].strip().splitlines()[0]
        rows = markdown_rows(f"python examples/{path.name}{flag}", claims)
        lines += ["", f"## {title}", "", "| claim | status | measured | command |", "| --- | --- | --- | --- |", *rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the larger experiments")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(quick=not parser.parse_args().full), encoding="utf-8")
    print(f"written: {PAGE.relative_to(FOLDER.parent)}")
