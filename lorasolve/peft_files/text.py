"""A diagnosis as text: verdict, premises, families, and the worst layers first."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .._support.text import at_least
from ..tables import aligned
from .folder import printable

if TYPE_CHECKING:
    from .diagnosis import Diagnosis, LayerReport

SORT_KEYS: dict[str, Callable[[LayerReport], float]] = {
    "spectral": lambda layer: -layer.facts.spectral,
    "nuclear": lambda layer: -layer.facts.nuclear,
    "rank": lambda layer: -layer.facts.effective_rank,
    "imbalance": lambda layer: -(layer.facts.imbalance or 0.0),
    "wasted": lambda layer: -(layer.facts.wasted or 0.0),
    "z": lambda layer: -(layer.z or 0.0),
    "ratio": lambda layer: -(layer.base.ratio if layer.base else 0.0),
}


def diagnosis_text(diagnosis: Diagnosis, count: int = 10, sort: str = "worst") -> str:
    """Return the report.

    Parameters
    ----------
    diagnosis : Diagnosis
        What to report.
    count : int
        How many layers to list.
    sort : str
        A key of ``SORT_KEYS``, or ``"worst"`` for those with findings first.
    """
    lines = [
        f"verdict: {diagnosis.kind.replace('_', ' ')} ({diagnosis.reason})",
        f"  adapter: {diagnosis.title}",
        f"  {_counts(diagnosis)}",
        *(f"  {premise}" for premise in diagnosis.premises),
        *(f"  {line}" for line in (*penalty_lines(diagnosis), *base_lines(diagnosis))),
        *(f"  remark: {remark}" for remark in diagnosis.remarks),
        *(f"  would settle it: {needed}" for needed in diagnosis.settles),
    ]
    if diagnosis.layers:
        order = list(diagnosis.layers) if sort == "worst" else sorted(diagnosis.layers, key=SORT_KEYS[sort])
        shown = order[:count]
        head = f"layers, {'worst' if sort == 'worst' else f'by {sort}'} first ({len(shown)} of {len(order)}):"
        lines += ["", _table(family_rows(diagnosis)), *(["", head, _table(layer_rows(shown))] if shown else ())]
    if diagnosis.unusable and count:
        lines += ["", f"layers that cannot be used ({len(diagnosis.unusable)}):"]
        lines += [
            f"  {printable(layer.module)}: {printable(layer.reason, 400)}" for layer in diagnosis.unusable[:count]
        ]
    if diagnosis.skipped and count:
        lines += ["", f"tensors that are no factors ({len(diagnosis.skipped)}):"]
        lines += [f"  {printable(name)}: {why}" for name, why in list(diagnosis.skipped.items())[:count]]
    return "\n".join(lines)


def _counts(diagnosis: Diagnosis) -> str:
    families = len({layer.facts.family for layer in diagnosis.layers})
    trained = sum(not layer.facts.null for layer in diagnosis.layers)
    return (
        f"layers: {len(diagnosis.layers)} read ({trained} with an update, {families} "
        f"{'family' if families == 1 else 'families'}), "
        f"{len(diagnosis.unusable)} not usable; other tensors: {len(diagnosis.skipped)}"
    )


def penalty_lines(diagnosis: Diagnosis) -> list[str]:
    """Return what the factors' penalty is, what of it is wasted, and what that proves about ``L``."""
    # Beside a third or a frozen factor it is not known what is wasted.
    if not diagnosis.penalty or all(layer.facts.wasted is None for layer in diagnosis.layers):
        return []
    share = diagnosis.wasted / diagnosis.penalty
    line = (
        f"penalty (||A||^2 + ||B||^2)/2 = {diagnosis.penalty:.5g}, of which {diagnosis.wasted:.5g} ({share:.1%}) "
        "balanced factors of the same updates would save"
    )
    if not diagnosis.excess:
        return [line]
    least = at_least(diagnosis.excess, ".5g")
    return [line, f"so L is at least {least} above its minimum, whatever the data are (lam times that)"]


def base_lines(diagnosis: Diagnosis) -> list[str]:
    """Return how the updates lie beside the frozen weights."""
    known = [layer.base for layer in diagnosis.layers if layer.base and not layer.facts.null]
    if not known:
        return []
    ratios = [base.ratio for base in known]
    left, right = (_median([getattr(base, f"alignment_{side}") for base in known], ".2f") for side in ("left", "right"))
    return [
        f"||X||_2/||W||_2: median {statistics.median(ratios):.3g}, largest {max(ratios):.3g}, in {counted(len(known))}",
        f"alignment with W, median: {left} of outputs, {right} of inputs (1: none preferred)",
    ]


def counted(number: int, noun: str = "layer") -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def modules_text(names: list[str]) -> str:
    """Return the one module of a list by its name, of several how many there are."""
    return printable(names[0], 80) if len(names) == 1 else counted(len(names))


# ---------------------------------------------------------------------- tables
def family_rows(diagnosis: Diagnosis) -> list[list[str]]:
    """Return a table of the families, its head first."""
    families: dict[str, list[LayerReport]] = {}
    for layer in diagnosis.layers:
        families.setdefault(layer.facts.family, []).append(layer)
    rows = [["family", "layers", "r", "s", "||X||_2 (median, max)", "rank", "eff. rank", "imbalance", "wasted"]]
    for family, members in sorted(families.items()):
        facts = [layer.facts for layer in members]
        top = [f.spectral for f in facts]
        rows.append(
            [
                printable(family, 60),
                str(len(facts)),
                _span([f.r for f in facts], "d"),
                _span([f.scale for f in facts], ".3g"),
                f"{statistics.median(top):.3g}, {max(top):.3g}",
                _span([f.rank for f in facts], "d"),
                f"{statistics.median(f.effective_rank for f in facts):.1f}",
                _median([f.imbalance for f in facts]),
                _median([None if f.wasted is None or not f.penalty else f.wasted / f.penalty for f in facts], ".0%"),
            ]
        )
    return rows


def layer_rows(layers: Sequence[LayerReport]) -> list[list[str]]:
    """Return a table of layers, its head first."""
    rows = [
        [
            "layer",
            "shape",
            "r",
            "||X||_2",
            "||X||_*",
            "rank",
            "eff.",
            "s1/s2",
            "sr/s1",
            "imbal.",
            "z",
            "/||W||",
            "finding",
        ]
    ]
    for layer in layers:
        f = layer.facts
        rows.append(
            [
                printable(f.module, 60),
                f"{f.shape[0]}x{f.shape[1]}",
                str(f.r),
                f"{f.spectral:.3g}",
                f"{f.nuclear:.3g}",
                str(f.rank),
                f"{f.effective_rank:.1f}",
                "-" if f.null else f"{f.spike:.3g}",
                "-" if f.null else f"{f.tail:.1e}",
                "-" if f.imbalance is None else f"{f.imbalance:.2g}",
                "-" if layer.z is None else f"{layer.z:z.1f}",
                "-" if layer.base is None else f"{layer.base.ratio:.3g}",
                ", ".join(finding.replace("_", " ") for finding in layer.findings)
                or ("empty" if f.empty else "vanished" if f.vanished else "DoRA" if f.dora else "-"),
            ]
        )
    return rows


def _table(rows: list[list[str]]) -> str:
    """Return the rows as text; the first and the last column to the left, numbers to the right."""
    return aligned(rows, [True, *[False] * (len(rows[0]) - 2), True])


def _span(values: Sequence[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low}-{high}"


def _median(values: Sequence[float | None], form: str = ".2g") -> str:
    known = [value for value in values if value is not None]
    return format(statistics.median(known), form) if known else "-"
