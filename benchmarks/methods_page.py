"""Run all methods side by side, and write docs/methods.md with its pictures: ``methods_page.py [--full]``."""

from __future__ import annotations

import argparse
import pathlib
import runpy

import lorasolve as ls
from lorasolve.plotting import comparison_figure, save_figure
from lorasolve.tasks import digits_task

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "methods.md"

INTRODUCTION = """\
# All methods side by side

Written by `python benchmarks/methods_page.py{flag}`.

Every optimizer, adapter and schedule as it wants to be shown, from the same starts (the LoRA start where the method
admits it), with {budget} oracle calls and {seeds} starts; a row shows the run of median objective. The step size of
each method is chosen on the first start, from its default in factors of 4 until neither neighbour is better: by the
final objective, or for methods that do not minimise `L` (`adamw`) by the loss on held-out data, or without such data by
their own residual. *Missing* is the share of the decrease from `f(0)` to the least value of what the method minimises
that is missing at the end (median, and range over the starts). Methods that minimise something else stand in blocks of
their own. An oracle call of `sgd` sees one batch. Seconds are those of one run, compilation apart. Last digits, and
where methods that amplify them end, differ from one processor to another.
"""


def page(quick: bool) -> str:
    """Return the page, and save its pictures."""
    budget, seeds = (100, 2) if quick else (1000, 5)
    flag = "" if quick else " --full"
    task = digits_task()
    digits = ls.Problem(task.objective, task.rank, task.lam)
    anisotropic = runpy.run_path(str(ROOT / "examples" / "all_methods.py"))["anisotropic_problem"]()
    command = f"lorasolve compare --methods all --budget {budget} --seeds {seeds} --tol 1e-8"
    parts = [INTRODUCTION.format(flag=flag, budget=budget, seeds=seeds)]
    for name, title, how, problem, held_out in (
        ("digits", task.title, command, digits, task.test),
        ("anisotropic", "anisotropic regression, 20 x 16", f"python examples/all_methods.py{flag}", anisotropic, None),
    ):
        outcome = ls.compare(problem, "all", seeds, budget, tune=True, held_out=held_out)
        save_figure(PAGE.parent / f"methods_{name}.png", comparison_figure(outcome, title))
        parts.append(f"## {title}\n\n`{how}`\n\n```\n{outcome}\n```\n\n![{title}](methods_{name}.png)\n")
    return "\n".join(parts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="1000 oracle calls and five starts")
    PAGE.write_text(page(quick=not parser.parse_args().full), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")
