"""What is worth saying of an adapter beside its verdict: its configuration, its factors, its base, and its run."""

from __future__ import annotations

from collections import Counter

from .._support.text import counted
from .checkpoint import OPTIMIZER_FILES, TrainerState
from .config import AdapterConfig
from .decay import Decay
from .folder import UnreadableError
from .layers import Adapter
from .report import LayerReport, modules_text


def remarks_on(
    adapter: Adapter, layers: list[LayerReport], trainer: TrainerState | None, decay: Decay, frozen: str | None
) -> tuple[str, ...]:
    """Return all remarks on an adapter that was read.

    Parameters
    ----------
    adapter, layers
        The files, and what was measured of the layers.
    trainer : TrainerState or None
        The trainer's log, if there is one.
    decay
        What is known of the weight decay.
    frozen : str or None
        The factor that was not trained, where that was given.
    """
    given = [] if frozen is None else [f"{frozen} was not trained, as given: what was is the other factor alone"]
    log = [] if trainer is None else _on_the_log(trainer, decay)
    return (
        *given,
        *_on_the_configuration(adapter, layers),
        *_on_the_magnitudes(adapter, layers),
        *_on_the_factors(adapter, layers),
        *_on_the_base(layers),
        *log,
    )


def _on_the_configuration(adapter: Adapter, layers: list[LayerReport]) -> list[str]:
    """Return what the configuration leaves open, and what of it is unusual."""
    remarks = list(dict.fromkeys(remark for config in adapter.configs.values() for remark in config.remarks))
    if adapter.taken_scalings:
        remarks.append(
            f"no scaling is stored for {counted(adapter.taken_scalings, 'module')}: 1 is taken, as diffusers does when "
            "it loads this; a run with another one had updates that many times as large"
        )
    negative = sum(layer.facts.scale < 0 for layer in layers)
    if negative:
        remarks.append(
            f"the scaling is negative in {counted(negative, 'layer')} (lora_alpha below 0): the update is subtracted; "
            "norms and penalties go by its size"
        )
    doubtful = [module for module in adapter.entries if _is_doubtful(*adapter.config_of(module))]
    if doubtful:
        remarks.append(
            f"several keys of alpha_pattern match {modules_text(doubtful)}: the first is taken, as by PEFT when it "
            "loads this; the run may have had another alpha there, since PEFT sorts the keys when it saves"
        )
    return remarks


def _is_doubtful(config: AdapterConfig | None, module: str) -> bool:
    """Return whether the order of the patterns decides about a module's scaling."""
    if config is None:
        return False
    try:
        first, *others = config.alphas_of(module) or (None,)
    except UnreadableError:  # a pattern that is not evaluated: the layer is not usable, and says so
        return False
    return any(value != first for value in others)


def _on_the_magnitudes(adapter: Adapter, layers: list[LayerReport]) -> list[str]:
    """Return what DoRA leaves open, and where its magnitudes and the configuration contradict each other."""
    directions = sum(layer.facts.dora for layer in layers)
    remarks = []
    if directions:
        remarks.append(
            f"nothing is called loud in {counted(directions, 'layer')}: the rows of DoRA's weight have lengths of "
            "their own, so that a large direction is no large update"
        )
    if adapter.config is None:
        return remarks
    has = sum("magnitude" in entry.parts for entry in adapter.entries.values())
    if adapter.config.use_dora and has < len(adapter.entries):
        without = counted(len(adapter.entries) - has, "module")
        remarks.append(f"use_dora is set, but the magnitude is missing in {without}")
    if has and not adapter.config.use_dora:
        remarks.append(f"a magnitude of DoRA lies in {counted(has, 'module')}, but use_dora is not set")
    return remarks


def _on_the_factors(adapter: Adapter, layers: list[LayerReport]) -> list[str]:
    """Return which factors or columns are zero or nearly, and which are as they were at the start."""
    remarks = []
    empty = sum(layer.facts.empty for layer in layers)
    if empty:
        remarks.append(f"both factors are zero in {counted(empty, 'layer')}: gradient descent cannot leave that")
    vanished = sum(layer.facts.vanished and not layer.facts.empty for layer in layers)
    if vanished:
        remarks.append(
            f"both factors have all but vanished in {counted(vanished, 'layer')}: rank 0, no balance to speak of"
        )
    dead = sum(layer.facts.dead_columns > 0 and not layer.facts.empty for layer in layers)
    if dead:
        remarks.append(
            f"columns that are zero in both factors, in {counted(dead, 'layer')}: gradient descent cannot revive them"
        )
    at_start = sum(layer.facts.start_range <= 1 and layer.facts.kind != "embedding" for layer in layers)
    if at_start and adapter.config and adapter.config.initialization == "default":
        remarks.append(f"in {counted(at_start, 'layer')} every entry of lora_A is within the range of its random start")
    return remarks


def _on_the_base(layers: list[LayerReport]) -> list[str]:
    """Return which layers were not held against the base weights, and why."""
    missing = Counter(layer.no_base for layer in layers if layer.no_base)
    remarks = [
        f"no ratio to the base weight in {counted(count, 'layer')}: {why}" for why, count in sorted(missing.items())
    ]
    held = [layer.base for layer in layers if layer.base is not None and layer.base.ratio > 0.0]
    turned = sum(base.alignment_left is None for base in held)
    if turned:
        remarks.append(
            f"no alignment with the base weight in {counted(turned, 'layer')}: square, and fan_in_fan_out in the "
            "configuration is not how the base stores all of its weights"
        )
    return remarks


def _on_the_log(trainer: TrainerState, decay: Decay) -> list[str]:
    """Return what the trainer's log tells of the run."""
    remarks = []
    size = f", largest step size logged {trainer.largest_step_size:g}" if trainer.largest_step_size else ""
    remarks.append(f"trainer's log: {trainer.steps} steps{size}{_rose(trainer.first_loss, trainer.last_loss)}")
    read = decay.source.startswith(tuple(f"from {name}" for name in OPTIMIZER_FILES))
    # What an optimizer's state says of the decay has the horizon of that optimizer, which momentum shortens.
    if decay.lam and trainer.largest_step_size and trainer.steps and not read:
        horizon = 1 / (decay.lam * trainer.largest_step_size)
        # Step sizes fall along a schedule: how much of the decay was applied is not in the log.
        times = f"the run has {trainer.steps / horizon:.2g} times as many"
        # What decay of the loss does under Adam does not go by its rate.
        steps = "steps" if decay.kind == "decoupled" else "steps of gradient descent (Adam has no such horizon)"
        remarks.append(f"decay horizon 1/(lr wd) = {horizon:.3g} {steps} at the largest step size logged; {times}")
    if trainer.zero_gradients:
        remarks.append(
            f"trainer's log: the gradient norm is 0 in {trainer.zero_gradients} entries: nothing was trained there"
        )
    if trainer.non_finite_gradients:
        remarks.append(f"trainer's log: {trainer.non_finite_gradients} gradient norms are not finite")
    if trainer.non_finite_losses:
        remarks.append(f"trainer's log: {trainer.non_finite_losses} losses are not finite")
    if trainer.first_non_finite is not None:
        last = trainer.last_finite
        before = "nothing was logged before" if last is None else f"what was logged at step {last} is finite"
        remarks.append(f"trainer's log: the first that is not finite is of step {trainer.first_non_finite}; {before}")
    if trainer.optimizer_saved and decay.kind == "unknown" and not read:
        remarks.append(
            "the optimizer's state lies beside it and holds the weight decay: --optimizer-state reads it with torch"
        )
    return remarks


def _rose(first: float | None, last: float | None) -> str:
    """Return that the loss rose, if it did by as much as is shown: that of a minibatch is never the same twice."""
    if first is None or last is None or last <= first or f"{first:.4g}" == f"{last:.4g}":
        return ""
    return f"; the loss rose from {first:.4g} to {last:.4g}"
