"""What an adapter's files say: what a diagnosis holds of each layer and of all of them, and how it reads as text."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .._support.text import at_least, counted, for_json
from ..tables import aligned
from .base_weights import BaseFacts
from .checkpoint import TrainerState
from .decay import Decay
from .facts import LayerFacts
from .folder import printable
from .layers import UnusableLayer

# How far from its family's usual magnitude a layer stands out.
Z_LIMIT = 6.0
# Imbalance above this, or above what rounding explains, refutes stationarity under l2 decay.
IMBALANCE = 1e-2

# Share of the penalty by which rounding may have enlarged what is wasted of it: thousands of units in the last place.
_ROUNDING = 1e-12

# The premise that what is read of a layer is its update.
PRODUCT = "the update is s A B^T"

# From worst to best; what a layer has of these is in its findings.
FINDINGS = ("non_finite", "loud", "spiked", "untrained", "not_stationary")


@dataclass(frozen=True)
class LayerReport:
    """One layer of a diagnosis.

    Attributes
    ----------
    facts : LayerFacts
        From the factors.
    z : float, optional
        ``||X||_2`` against its family: distance from the median in robust standard deviations (1.4826 times the median
        absolute deviation, at least 5 % of the median). None in families of fewer than 8 trained layers.
    base : BaseFacts, optional
        With base weights.
    no_base : str
        Why there are no base facts.
    findings : tuple of str
        Of ``FINDINGS``.
    """

    facts: LayerFacts
    z: float | None = None
    base: BaseFacts | None = None
    no_base: str = ""
    findings: tuple[str, ...] = ()

    @property
    def magnitude_known(self) -> bool:
        """Whether anything says what size is usual here; of DoRA nothing does: a large direction is no large update."""
        return not self.facts.dora and (self.base is not None or self.z is not None)

    @property
    def too_large(self) -> bool:
        """The magnitude half of "loud": ``||X||_2 > ||W||_2``, or without base weights ``z > 6``."""
        if not self.magnitude_known:
            return False
        if self.base is not None:
            return self.base.ratio > 1
        return self.z is not None and self.z > Z_LIMIT

    @property
    def unbalanced(self) -> bool:
        """Whether the imbalance is more than tolerance and rounding explain."""
        imbalance = self.facts.imbalance
        return imbalance is not None and imbalance > max(IMBALANCE, self.facts.rank_tol)

    def to_dict(self) -> dict[str, object]:
        """Return all numbers as plain values."""
        base = self.base.to_dict() if self.base else None
        found = {"findings": self.findings, "z": self.z, "base": base, "no_base": self.no_base}
        return dict(for_json(found | self.facts.to_dict()))


@dataclass(frozen=True)
class FilePremise:
    """A premise of the theorems, as far as files show it.

    Attributes
    ----------
    name : str
        What has to hold.
    holds : bool, optional
        None if the files do not say.
    because : str
        The reason.
    """

    name: str
    holds: bool | None
    because: str

    def __str__(self) -> str:
        state = {True: "holds", False: "fails", None: "not known"}[self.holds]
        return f"premise {self.name}: {state} ({self.because})"


@dataclass(frozen=True)
class Diagnosis:
    """What an adapter's files say.

    Attributes
    ----------
    kind : str
        ``"non_finite"``, ``"loud"``, ``"spiked"``, ``"untrained"``, ``"not_stationary"``, ``"low_rank"`` or
        ``"inconclusive"``. Files without data never show that an optimum was reached.
    reason : str
        Why.
    title : str
        The adapter in a line.
    premises : tuple of FilePremise
        What the theorems need.
    remarks : tuple of str
        What else a reader should know.
    settles : tuple of str
        What would decide where this does not.
    layers : tuple of LayerReport
        All readable layers, worst first.
    unusable : tuple of UnusableLayer
        The others.
    skipped : dict
        Why each other tensor is no factor.
    decay : Decay
        What was known of the weight decay.
    trainer : TrainerState, optional
        What the trainer's log says.
    """

    kind: str
    reason: str
    title: str
    premises: tuple[FilePremise, ...]
    remarks: tuple[str, ...]
    settles: tuple[str, ...]
    layers: tuple[LayerReport, ...]
    unusable: tuple[UnusableLayer, ...]
    skipped: dict[str, str]
    decay: Decay
    trainer: TrainerState | None

    def __repr__(self) -> str:
        return f"Diagnosis({self.kind}: {self.reason}; {self.title}, {counted(len(self.layers), 'layer')})"

    def with_finding(self, finding: str) -> tuple[str, ...]:
        """Return the modules that have a finding."""
        if finding == "non_finite":
            return tuple(layer.module for layer in self.unusable if layer.non_finite)
        return tuple(layer.facts.module for layer in self.layers if finding in layer.findings)

    @property
    def magnitude_known(self) -> bool:
        """Whether every trained layer's size could be held against something."""
        return not self.unusable and all(layer.magnitude_known for layer in self.layers if not layer.facts.null)

    @property
    def wasted(self) -> float:
        """The sum of the wasted penalties; times ``lam`` it bounds ``L - min L`` from below under l2 decay."""
        return sum(layer.facts.wasted or 0.0 for layer in self.layers)

    @property
    def penalty(self) -> float:
        """The sum of the penalties that ``lam`` multiplies."""
        return sum(layer.facts.penalty for layer in self.layers)

    @property
    def excess(self) -> float | None:
        """``lam`` times the wasted penalty: ``L`` is at least this far above its minimum.

        None without l2 decay, and where it is not known that ``L`` is a function of the products.

        CERTIFIED: ``1e-12`` of the penalty is taken off for the rounding of QR, SVD and sums.
        """
        product = next(premise for premise in self.premises if premise.name == PRODUCT)
        if self.decay.kind != "l2" or not self.decay.lam or product.holds is None:
            return None
        return self.decay.lam * max(self.wasted - _ROUNDING * self.penalty, 0.0)

    def to_dict(self) -> dict[str, object]:
        """Return the diagnosis as plain values, without the singular vectors (which are not kept)."""
        found = {
            "kind": self.kind,
            "reason": self.reason,
            "adapter": self.title,
            "decay": vars(self.decay),
            "premises": [vars(premise) for premise in self.premises],
            "remarks": self.remarks,
            "settles": self.settles,
            "findings": {finding: self.with_finding(finding) for finding in FINDINGS},
            "magnitude_known": self.magnitude_known,
            "penalty": self.penalty,
            "wasted_penalty": self.wasted,
            "objective_excess": self.excess,
            "trainer": vars(self.trainer) if self.trainer else None,
            "layers": [layer.to_dict() for layer in self.layers],
            "unusable": [vars(layer) for layer in self.unusable],
            "skipped": {printable(name): why for name, why in self.skipped.items()},
        }
        return dict(for_json(found))

    def __str__(self) -> str:
        return diagnosis_text(self)


# ---------------------------------------------------------------------- as text
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
        f"||X||_2/||W||_2: median {statistics.median(ratios):.3g}, largest {max(ratios):.3g}, in "
        f"{counted(len(known), 'layer')}",
        f"alignment with W, median: {left} of outputs, {right} of inputs (1: none preferred)",
    ]


def modules_text(names: list[str]) -> str:
    """Return the one module of a list by its name, of several how many there are."""
    return printable(names[0], 80) if len(names) == 1 else counted(len(names), "layer")


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
