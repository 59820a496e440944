"""What is to be done at a point that is loud or not stationary, and from what it may come."""

from __future__ import annotations

import numpy as np

from ..problem.pairs import joint_norm
from ._evidence import Evidence
from ._stored import coarse_factors, rounded_at_random
from .training_objective import dropout_of, half_frozen

# A run that is worse than no update by less than this share has just begun, and at a loud point more is left to gain.
LOUD_GAP = 0.1
# Another lam that leaves less than this share of the gradient, and of its own penalty's, is told as what a run may have
# had.
EXPLAINED = 0.1
# A gradient up to so many times as long as what rounding of the stored factors makes of it may be that.
ROUNDING = 3.0


def how_loud(evidence: Evidence, loud: str) -> str:
    """Return whether a loud point failed, or stands on its way."""
    worse = _worse_than_no_update(evidence)
    if worse:
        return f"failed loudly: {loud}. {worse}{_of_another_lam(evidence)}"
    if evidence.objective.has_penalty:
        return f"loud so far: {loud}. {what_next(evidence)}"
    return (
        f"loud: {loud}. f is {evidence.found.f:.6g}, and {evidence.without_update:.6g} without any update; whether it "
        "failed only new data can say"
    )


def _worse_than_no_update(evidence: Evidence) -> str:
    """Return by what the model without any update is better, and what to do then; empty if it is not."""
    if any(layer.moved_by is not None or layer.magnitude is not None for layer in evidence.network.layers):
        return ""  # without updates these weights are not the model that was there before
    base, found = evidence.without_update, evidence.found
    name, value = ("F", found.F) if evidence.objective.has_penalty else ("f", found.f)
    # A little above it is a run that has just begun: what it will gain is paid for first.
    if not value - base > LOUD_GAP * abs(base):
        return ""
    above = f"{name} is above the f = {base:.6g} of the model without any update"
    if found.f < base:
        return (
            f"{above}, though f itself is lower: the penalty of these updates is more than they gain. The learning "
            "rate or the start was large, or the run had another penalty than lam (none, a decoupled decay, one on "
            "one factor). Begin again with a smaller learning rate or start, and with lam in the loss, rather than "
            "go on from here"
        )
    return (
        f"{above}: the run diverged, or its start was large. Begin again with a smaller learning rate or start, "
        "rather than go on from here"
    )


def what_next(evidence: Evidence) -> str:
    """Return what to do at a point that is not stationary."""
    steps = "More steps of full-batch training remain"
    dropped = dropout_of(evidence.network)
    if dropped:
        steps += f", in evaluation mode: with the dropout of training mode ({dropped}) the objective is another"
    elif evidence.network.off_in_training:
        steps += ", in evaluation mode: in training mode the model computes something else"
    if any(layer.compressed for layer in evidence.network.layers):
        steps = "More steps with VeLoRA, whose gradient is that of compressed inputs, need not end that"
    if half_frozen(evidence.network):
        steps = "With one factor frozen, more steps need not end that"
    why = _worse_than_no_update(evidence) or _of_stored_factors(evidence) or steps
    return why + _of_another_lam(evidence)


def _of_stored_factors(evidence: Evidence) -> str:
    """Return what to do where the precision in which the factors are stored explains the gradient; else empty."""
    kinds = coarse_factors(evidence.network, evidence.point)
    if not kinds:
        return ""
    # The same in all processes.
    moved = rounded_at_random(evidence.network, evidence.point, np.random.default_rng(0))
    _, G = evidence.network.value_and_gradients(moved)
    lam, found = evidence.lam, evidence.found
    changes = [
        (g @ V + lam * U - g0 @ B - lam * A, g.T @ U + lam * V - g0.T @ A - lam * B)
        for g, (U, V), g0, (A, B) in zip(G, moved, found.gradients, evidence.point)
    ]
    change = joint_norm([part for pair in changes for part in pair])
    if found.grad_norm > ROUNDING * change:
        return ""
    return (
        f"The factors are stored in {kinds}, whose rounding alone makes gradients of {change:.2g}, and this one is "
        f"{found.grad_norm:.2g}: go on with factors in float32 "
        "(PEFT keeps them so unless autocast_adapter_dtype=False)"
    )


def _of_another_lam(evidence: Evidence) -> str:
    """Return for which other lam the point is nearly stationary; empty if for none, or without a penalty."""
    found = evidence.found
    lam = found.lam_hat
    if not evidence.objective.has_penalty or lam == 0.0:
        return ""
    size, given = lam * evidence.size, max(layer.stationarity for layer in found.layers)
    left = max(found.gradient_lengths(lam))
    if left > EXPLAINED * min(size, given):
        return ""
    return (
        f". For lam = {lam:.3g} in place of {evidence.lam:.3g} the factors are all but stationary (the gradient is "
        f"{left / size:.2g} of lam ||theta||): judge with that if the run had it. A penalty without its 1/2 is "
        "twice the lam, and a decay d beside k times the mean loss (summed, or accumulated without a division) is "
        "lam = d/k"
    )
