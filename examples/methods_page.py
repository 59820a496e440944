"""Run all methods side by side, and write docs/methods.md."""

from __future__ import annotations

import argparse
import pathlib
import runpy

import lorasolve as ls
from lorasolve.papers._side_by_side import side_by_side
from lorasolve.plotting import save_figure, side_by_side_figure
from lorasolve.tasks import digits_task

FOLDER = pathlib.Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "methods.md"


def page(quick: bool) -> str:
    """Return the page."""
    flag = "" if quick else " --full"
    lines = ["# All methods side by side", "", f"Written by `python examples/methods_page.py{flag}`."]
    return "\n".join([*lines, *side_by_side_sections(quick)]) + "\n"


def side_by_side_sections(quick: bool) -> list[str]:
    """Return the tables of all methods on the digits job and on an anisotropic regression, and save the figures."""
    budget, seeds = (100, 2) if quick else (1000, 5)
    task = digits_task()
    digits = ls.Problem(task.objective, task.rank, task.lam)
    anisotropic = runpy.run_path(str(FOLDER / "all_methods.py"))["anisotropic_problem"]()
    flag = "" if quick else " --full"
    lines = [
        "",
        f"Same start (the LoRA start where the method admits it), {budget} oracle calls, {seeds} seeds. The step size "
        "of each method is chosen on the first seed, from its default in factors of 4 until neither neighbour is "
        "better. *Missing* is the share of the decrease from `f(0)` to the minimum of `f + weight ||X||_*` that is "
        "missing at the end; that minimum is the convex optimum of the method's own penalty, and only a lower bound "
        "for `dora`, `softmax_gates` and `beam`, whose penalties are not convex. `adamw` does not minimise the "
        "penalized objective. Methods that merge run without decay. An oracle call of `sgd` sees one batch. Seconds "
        "are those of one run, compilation apart.",
    ]
    for name, title, command, outcome in (
        (
            "digits",
            task.title,
            f"lorasolve compare --methods all --budget {budget} --seeds {seeds}",
            side_by_side(digits, budget, range(seeds), task.metrics),
        ),
        (
            "anisotropic",
            "anisotropic regression, 20 x 16",
            f"python examples/all_methods.py{flag}",
            side_by_side(anisotropic, budget, range(seeds)),
        ),
    ):
        save_figure(PAGE.parent / f"methods_{name}.png", side_by_side_figure(outcome, title))
        lines += ["", f"## {title}", "", f"`{command}`", "", "```", outcome.table(), "```", ""]
        lines += [f"![{title}](methods_{name}.png)"]
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the larger experiments")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(quick=not parser.parse_args().full), encoding="utf-8")
    print(f"written: {PAGE.relative_to(FOLDER.parent)}")
