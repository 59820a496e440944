"""Weight decay as trainers apply it, and the ``lam`` of the theorems that it stands for, if any."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np

from .._support.keywords import suggest
from .._support.text import for_json
from .._support.validate import MOST_ROWS, as_choice, as_flag, as_integer, as_number, as_text

KINDS = ("l2", "decoupled", "none", "unknown")
SCHEDULES = ("constant", "linear", "cosine")

# What `weight_decay` means by the optimizer's name, as PyTorch, bitsandbytes and transformers define it. ASGD is not
# among them: it adds a decay of its own (``lambd``) to that.
_COUPLED = ("sgd", "adam", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "radam")
_DECOUPLED = ("adamw", "ademamix", "lion", "adafactor", "muon", "stable_adamw", "schedule_free_adamw")
_PLAIN = ("sgd",)  # steps by a multiple of the gradient
_LORA_PLUS = ("loraplus", "lora_plus")
OPTIMIZERS = (*_COUPLED, *_DECOUPLED, *_LORA_PLUS)
# transformers appends who implements an optimizer: adamw_torch_fused, paged_adamw_8bit.
_IMPLEMENTATIONS = {"torch", "fused", "hf", "8bit", "32bit", "4bit", "bnb", "xla", "apex", "npu", "anyprecision"}


@dataclass(frozen=True)
class Decay:
    """What is known of the weight decay on the factors.

    Parameters
    ----------
    kind : str
        ``"l2"`` (part of the loss: ``(lam/2)(||A||^2 + ||B||^2)``), ``"decoupled"`` (AdamW), ``"none"`` or
        ``"unknown"``.
    lam : float, optional
        Its size on the factors as stored, where it is known.
    source : str
        Where that is known from; without it "as given", of an unknown kind that the files do not say.
    """

    kind: str = "unknown"
    lam: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        as_text(self.source, "source")
        as_choice(self.kind, "kind", KINDS)
        if not self.source:
            told = "these files do not say" if self.kind == "unknown" else "as given"
            object.__setattr__(self, "source", told)
        if self.lam is not None:
            as_number(self.lam, "lam", 0.0, open_low=self.kind == "l2")
            if self.kind in ("none", "unknown") and self.lam > 0:
                raise ValueError(f"lam: {float(self.lam):g} contradicts a weight decay of kind {self.kind!r}")


@dataclass(frozen=True)
class DecayExplanation:
    """What a weight decay does to LoRA factors.

    Attributes
    ----------
    decay : Decay
        Its kind, and ``lam`` on the factors for l2.
    optimizer : str
        As given.
    step_size, weight_decay : float
        As given.
    steps : int
        As given.
    schedule : str
        As given.
    scale : float
        ``s = alpha/r``, or ``alpha/sqrt(r)`` with rsLoRA.
    lam_nuclear : float, optional
        ``lam/s``, what multiplies ``||X||_*`` in the convex counterpart; None without an l2 term.
    horizon : float, optional
        Steps ``1/(step_size weight_decay)`` in which decay alone shrinks a factor by ``e``; None without decay, and for
        an l2 term that an adaptive optimizer divides by its own scale.
    shrinkage : float, optional
        By what factor ``||A||`` and ``||B||`` would shrink over all steps if the gradient were zero; None likewise.
    why : str
        The reason in a sentence or two.
    """

    decay: Decay
    optimizer: str
    step_size: float
    weight_decay: float
    steps: int
    schedule: str
    scale: float
    lam_nuclear: float | None
    horizon: float | None
    shrinkage: float | None
    why: str

    def to_dict(self) -> dict[str, object]:
        """Return all fields as plain values."""
        fields = {key: value for key, value in vars(self).items() if key != "decay"}
        return dict(for_json({"kind": self.decay.kind, "lam": self.decay.lam} | fields))

    def __str__(self) -> str:
        applied = f"lam = {self.decay.lam:g} on the factors" if self.decay.kind == "l2" else "lam: none"
        lines = [f"{applied} ({self.why})"]
        if self.lam_nuclear is not None:
            lines.append(
                f"  in the convex counterpart: (lam/s) ||X||_* with s = {self.scale:g}, so {self.lam_nuclear:g} ||X||_*"
                "; twice the alpha halves it"
            )
        if self.decay.lam is not None:
            lines.append(
                "  beside the loss that is differentiated: where that is k times the mean of the samples, as gradients "
                f"accumulated over k batches without a division are, it is lam = {self.decay.lam:g}/k of the mean"
            )
        if self.horizon is not None:
            lines.append(
                f"  decay horizon 1/(lr wd) = {self.horizon:.4g} steps at the full step size; the run has {self.steps} "
                f"({self.schedule} schedule)"
            )
        if self.shrinkage is not None:
            lines.append(
                f"  without any gradient ||A|| and ||B|| would end at {self.shrinkage:.4g} of their size, and X at "
                f"{self.shrinkage**2:.4g}"
            )
        if self.decay.kind != "l2":
            lines.append(
                "  the theorems on (lam/2)(||A||^2 + ||B||^2) say nothing about this run; to have that term, add it to "
                f"the loss: lam = {self.scale:g} c gives c ||X||_*"
            )
        return "\n".join(lines)


def explain_decay(
    optimizer: str,
    step_size: float,
    weight_decay: float,
    *,
    alpha: float,
    rank: int,
    steps: int,
    rslora: bool = False,
    schedule: str = "constant",
) -> DecayExplanation:
    """Say which ``lam`` an optimizer's weight decay applies to LoRA factors, or that it applies none.

    Parameters
    ----------
    optimizer : str
        A name as PyTorch or transformers have it, for example ``"adamw_torch"`` or ``"sgd"``.
    step_size, weight_decay : float
        Learning rate (at its largest) and weight decay.
    alpha, rank : float and int
        Of the adapter.
    steps : int
        Length of the run.
    rslora : bool
        Whether ``s = alpha/sqrt(r)``.
    schedule : str
        ``"constant"``, or ``"linear"`` or ``"cosine"`` down to 0.

    Raises
    ------
    ValueError
        For an optimizer whose decay is not known here, or a number out of its range.

    Notes
    -----
    l2 decay is the term ``(lam/2)(||A||^2 + ||B||^2)`` of the loss, whose least value for a given ``X = s A B^T`` is
    ``(lam/s) ||X||_*`` (Srebro et al. 2004; ``proofs/nuclear_norm_variational.py``). Decoupled decay is no term of any
    loss: where Adam's steps end, entries obey ``g/(|g| + eps) = -weight_decay theta``, the stationary points of ``f``
    in the box ``|theta| <= 1/weight_decay`` (Xie and Li, ICML 2024, arXiv:2404.04454).
    """
    step_size = as_number(step_size, "step_size", 0.0, open_low=True)
    weight_decay = as_number(weight_decay, "weight_decay", 0.0)
    alpha = as_number(alpha, "alpha", 0.0, open_low=True)
    rank = as_integer(rank, "rank", 1, MOST_ROWS)
    steps = as_integer(steps, "steps", 1, 10**8)
    as_flag(rslora, "rslora")
    as_text(optimizer, "optimizer")
    as_choice(schedule, "schedule", SCHEDULES)
    if step_size * weight_decay >= 1:
        raise ValueError(
            f"step_size, weight_decay: their product {step_size * weight_decay:g} is 1 or more: a step overshoots 0"
        )
    name = _plain_name(optimizer)
    scale = alpha / math.sqrt(rank) if rslora else alpha / rank
    kind, why = _kind_of(name, weight_decay)
    lam = weight_decay if kind == "l2" else None
    rate = step_size * weight_decay
    # A product that vanishes in double precision decays nothing, and has no inverse.
    shrinks = rate > sys.float_info.min and (kind == "decoupled" or (kind == "l2" and name in _PLAIN))
    return DecayExplanation(
        decay=Decay(kind, lam, f"explained from {optimizer}"),
        optimizer=optimizer,
        step_size=step_size,
        weight_decay=weight_decay,
        steps=steps,
        schedule=schedule,
        scale=scale,
        lam_nuclear=None if lam is None else lam / scale,
        horizon=1 / rate if shrinks else None,
        shrinkage=_shrinkage(rate, steps, schedule) if shrinks else None,
        why=why,
    )


def _plain_name(optimizer: str) -> str:
    """Return the name of the method without that of its implementation."""
    words = as_text(optimizer, "optimizer").lower().replace("-", "_").removeprefix("paged_").split("_")
    while len(words) > 1 and words[-1] in _IMPLEMENTATIONS:
        words.pop()
    name = "_".join(words)
    other = "bnb" in optimizer.lower() or "bit" in optimizer.lower()
    if name not in OPTIMIZERS or (other and name in _COUPLED):
        raise ValueError(
            f"optimizer: the weight decay of {optimizer!r} is not known here.{suggest(name, list(OPTIMIZERS))}"
        )
    return name


def _kind_of(name: str, weight_decay: float) -> tuple[str, str]:
    """Return the kind of decay and the reason."""
    if name in _LORA_PLUS:
        return "none", (
            "create_loraplus_optimizer takes its decay from loraplus_weight_decay, which is 0 unless it is set; the "
            "trainer's weight_decay is dropped"
        )
    if weight_decay == 0:
        return "none", "weight_decay is 0, as it is by default in transformers' TrainingArguments"
    if name in _DECOUPLED:
        return "decoupled", (
            f"{name} shrinks the factors beside the gradient step; the theorems need g + lam theta = 0 where a run "
            "comes to rest, with one lam for all entries, and that is not where it does"
        )
    adaptive = "" if name in _PLAIN else "; how fast it acts depends on the optimizer's scaling of each entry"
    return "l2", f"{name} adds weight_decay times the factors to the gradient, which is the l2 term{adaptive}"


def _shrinkage(rate: float, steps: int, schedule: str) -> float:
    """Return the product of ``1 - rate_t`` over the steps of a schedule, the first of which has the full rate."""
    if schedule == "constant":
        return math.exp(steps * math.log1p(-rate))
    count = min(steps, 10_000)
    # Of more steps as many are taken, each in the middle of those that it stands for.
    progress = (np.arange(count) + 0.5 * (1 - count / steps)) / count
    shape = 1 - progress if schedule == "linear" else (1 + np.cos(np.pi * progress)) / 2
    return math.exp(steps * float(np.mean(np.log1p(-rate * shape))))
