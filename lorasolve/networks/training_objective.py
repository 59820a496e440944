"""The objective that a trained network is judged by, what its caller states of it, and the premises in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Literal

from .._support.validate import as_flag
from ..peft_files.config import is_lost_in_loading
from ._torch import name_of, processes, require_torch
from .adapted import left_out_by_fast_path, tied_elsewhere, without_ratio
from .gradients import Network
from .losses import CrossEntropy, OutputLoss, SquareLoss

Decay = Literal["l2", "decoupled", "none"]
DECAYS = ("l2", "decoupled", "none")
# Tables of PEFT that hold, by adapter, what is trained beside the factors: modules in full, rows of an embedding, and
# the biases of lora_B.
_BESIDE = ("modules_to_save", "trainable_tokens_delta", "lora_B")
_FACTORS = ("lora_A", "lora_embedding_A")


def as_convexity(convex_loss: bool | None, tangent_solve: bool) -> bool | None:
    """Return what is stated of a loss, None for nothing; the tangent problem of one that is not convex is refused."""
    stated = None if convex_loss is None else as_flag(convex_loss, "convex_loss")
    if as_flag(tangent_solve, "tangent_solve") and stated is False:
        raise ValueError("tangent_solve: expected a loss that is convex in the outputs, got convex_loss=False")
    return stated


@dataclass(frozen=True)
class TrainingObjective:
    """The mean loss of a network and its decay, with what is stated of the loss: whether convex, and a lower bound.

    ``convex_loss`` is None where nothing is stated: an :class:`OutputLoss` is convex by what it is then, and of another
    loss it is not known.
    """

    network: Network
    lam: float
    lam_kind: Decay
    convex_loss: bool | None
    lower_bound: float

    @property
    def has_penalty(self) -> bool:
        """Whether the decay is a penalty in the loss."""
        return self.lam > 0.0 and self.lam_kind == "l2"

    @property
    def known_loss(self) -> bool:
        """Whether the loss is known to be convex in the outputs, and not only stated to be."""
        # What a subclass makes of its outputs is its own.
        return self.has_bound and type(self.network.loss_of_samples) in (CrossEntropy, SquareLoss)

    @property
    def has_bound(self) -> bool:
        """Whether the loss is convex in the outputs, by what it is or is stated to be, so that a gap is bounded."""
        if self.convex_loss is None:
            return isinstance(self.network.loss_of_samples, OutputLoss)
        return self.convex_loss

    def premises(self) -> tuple[str, ...]:
        """Return what a verdict about this objective rests on, in words."""
        network = self.network
        evaluated = name_of(network.torch_dtype)
        if network.below:
            evaluated += f" but in parts in {', '.join(network.below)}, by casts of its own"
        return (
            self._about_the_data(),
            self._about_the_decay(),
            self._about_the_loss(),
            "the outputs are differentiable in the weights at this point (not at the kink of a ReLU)",
            f"weights stored in {network.stored}, network evaluated in {evaluated}, sums in float64",
            *_about_the_loader(network),
            *_about_training_mode(network),
            *_about_the_weights(network),
            *_normalized_by_batch(network),
            *_about_the_factors(network),
        )

    def _about_the_data(self) -> str:
        """Return of what the loss is the mean, and how."""
        network = self.network
        samples = "" if network.n_samples is None else f", the mean loss of {network.n_samples} samples"
        if network.rows_a_number and samples:
            samples = f", the mean of {network.n_samples} batches of {network.rows_a_number[0]} rows, one number each"
        over = f", gathered over {processes()} processes" if processes() > 1 else ""
        form = getattr(network.loss_of_samples, "form", "")
        how = f", {form}, as in the model's own loss" if form else " as given"
        if network.labels_in_place:
            how = f", the logits of each token with the label at its own place,{how}"
        return f"the training objective{samples}{how}, each counted alike, in evaluation mode without dropout{over}"

    def _about_the_decay(self) -> str:
        """Return the penalty, and what it is on the updates of the weights; without one the decay."""
        if not self.has_penalty:
            return f"decay: {self.lam_kind}, lam = {self.lam:g}"
        layers = self.network.layers
        scales = sorted({layer.scale for layer in layers})
        shown, shares = (
            ", ".join(f"{number:.3g}" for number in numbers[:4]) + (", ..." if len(scales) > 4 else "")
            for numbers in (scales, [self.lam / abs(scale) for scale in scales])
        )
        update = "||s X||_*" if any(layer.magnitude is not None for layer in layers) else "||W - W0||_*"
        over_scale = "lam/|s|" if scales[0] < 0.0 else "lam/s"
        return (
            f"the penalty (lam/2)(||A||^2 + ||B||^2) with lam = {self.lam:g} is part of the loss (scaling {shown}: "
            f"{over_scale} = {shares} on {update})"
        )

    def _about_the_loss(self) -> str:
        """Return what is taken of the loss, and what of it the caller alone vouches for."""
        bound = f">= {self.lower_bound:g}"
        if self.convex_loss is None and not self.has_bound:
            return (
                f"stated by the caller: every loss is {bound}; nothing is stated of whether the loss is convex in the "
                "outputs (convex_loss=True or False), and there is no bound without that"
            )
        if not self.known_loss:
            convex = "convex" if self.has_bound else "not convex"
            return f"stated by the caller: the loss is {convex} in the outputs and {bound}"
        known = f"{type(self.network.loss_of_samples).__name__} is convex in the outputs and >= 0"
        return known if self.lower_bound <= 0.0 else f"{known}; stated by the caller: every loss is {bound}"


def _about_the_loader(network: Network) -> list[str]:
    """Return what is said of samples that a DataLoader leaves out of each pass, the same ones in all."""
    loader: Any = network.batches
    sampler = getattr(loader, "batch_sampler", None)
    if not isinstance(sampler, require_torch().utils.data.BatchSampler):
        return []
    # Nobody has to say how many there are.
    if not all(isinstance(each, Sized) for each in (sampler.sampler, loader.dataset)):
        return []
    there, whole = len(sampler.sampler), len(loader.dataset)
    dropped = there % sampler.batch_size if sampler.drop_last else 0
    said = {
        f"the DataLoader's sampler takes {there} of its data set's {whole} samples": there < whole and processes() == 1,
        f"the DataLoader drops the last {dropped} of {there} samples (drop_last)": dropped > 0,
    }
    return [f"the objective has not all the data: {text}" for text, holds in said.items() if holds]


def _about_training_mode(network: Network) -> list[str]:
    """Return what is said of a network that computes something else in training mode, its layers of dropout aside."""
    if not network.off_in_training:
        return []
    return [
        "in training mode the model computes something else, its layers of dropout aside (noise, a dropout of its own, "
        "another scale?), and the objective is that of evaluation mode: with random updates the losses of the first "
        f"batch are {network.off_in_training:.2g} of their length apart"
    ]


def _about_the_weights(network: Network) -> list[str]:
    """Return what is said of weights that the start of a run changed, or that are zero."""
    lines = [missing] if (missing := without_ratio(network.layers)) else []
    if any(is_lost_in_loading(layer.moved_by) for layer in network.layers):
        lines.append(
            "the model is the one that was trained with LoRA-GA, not one that PEFT loaded beside the original base "
            "weight, which it changes at the start of a run alone (convert the adapter as it is saved: "
            "path_initial_model_for_weight_conversion)"
        )
    return lines


def _about_the_factors(network: Network) -> list[str]:
    """Return what is held although training moves it, or moved although training holds it, and where."""
    layers = network.layers
    said = {
        "the row of the padding index stays what it is, as no gradient moves it, in": in_short(
            [layer.name for layer in layers if layer.still is not None]
        ),
        "the lengths that DoRA gives the rows of its weights stay what they are, and the gradient has the part of the "
        "norms that training leaves out (0 where the lengths are stationary):": in_short(
            [layer.name for layer in layers if layer.magnitude is not None]
        ),
        "the factors change these layers alone, until they are merged into tied weights:": in_short(
            tied_elsewhere(network.model, layers)
        ),
        "counted here as in training, though torch's fast path may leave them out in evaluation mode within no_grad "
        "(torch.backends.mha.set_fastpath_enabled(False) ends that): the updates of": in_short(
            left_out_by_fast_path(network.model, layers)
        ),
        "both factors are free in the objective, and its gradient counts both, though frozen:": half_frozen(network),
        "the gradient is exact, where VeLoRA takes that of compressed inputs in training, and comes to rest where that "
        "one vanishes:": in_short([layer.name for layer in layers if layer.compressed]),
        "held as they are, the updates of other adapters that are active:": in_short(sorted(_active_beside(network))),
        "held fixed here though trained:": _trained_beside(network),
    }
    return [f"{text} {names}" for text, names in said.items() if names]


def _normalized_by_batch(network: Network) -> list[str]:
    """Return what is said of normalizations over batches."""
    kind = require_torch().nn.modules.batchnorm._BatchNorm
    norms = {name: module for name, module in network.model.named_modules() if isinstance(module, kind)}
    running = in_short([name for name, module in norms.items() if module.running_mean is not None])
    together = in_short([name for name, module in norms.items() if module.running_mean is None])
    lines = [f"normalized by running averages, not by those of each batch as in training mode: {running}"]
    lines += [f"normalized over each batch, so that the objective is that of these batches: {together}"]
    return [line for line, names in zip(lines, (running, together)) if names]


def _trained_beside(network: Network) -> str:
    """Return which parameters are trained beside the factors, in short.

    Of a model that is loaded they may be frozen; that the judged adapter brings them is known then.
    """
    factors = {id(whole) for layer in network.layers for whole, _ in layer.held}
    if any(layer.lora_A is None for layer in network.layers):
        return ""
    brought = _brought_by_adapters(network)
    named = [(name, part) for name, part in network.model.named_parameters() if id(part) not in factors]
    return in_short([name for name, part in named if part.requires_grad or id(part) in brought])


def _active_beside(network: Network) -> set[str]:
    """Return the adapters of PEFT that are active beside the one that is judged."""
    ours = {id(whole) for layer in network.layers for whole, _ in layer.held}
    active = _of_active_adapters(network, _FACTORS)
    return {name for name, part in active if ours.isdisjoint(map(id, _parameters(part)))}


def _brought_by_adapters(network: Network) -> set[int]:
    """Return the parameters that the active adapters of PEFT have beside their weights of LoRA layers."""
    factors = {id(part.weight) for _, part in _of_active_adapters(network, ("lora_B",))}
    parts = (each for _, part in _of_active_adapters(network, _BESIDE) for each in _parameters(part))
    return {id(each) for each in parts} - factors


def _of_active_adapters(network: Network, keys: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield what the tables of PEFT of these names hold for active adapters, with the name of each."""
    nn = require_torch().nn
    for module in network.model.modules():
        tables = (getattr(module, key, None) for key in keys)
        for table in (table for table in tables if isinstance(table, nn.ModuleDict | nn.ParameterDict)):
            yield from ((name, table[name]) for name in getattr(module, "active_adapters", ()) if name in table)


def _parameters(part: Any) -> list[Any]:
    return list(part.parameters()) if isinstance(part, require_torch().nn.Module) else [part]


def half_frozen(network: Network) -> str:
    """Return which factors are frozen beside another that is trained, in short.

    A model that is loaded has both frozen; what its run left as it was its initialization tells alone.
    """
    names = []
    for layer in network.layers:
        trained = [part is not None and part.requires_grad for part in (layer.lora_A, layer.lora_B)]
        if trained[0] != trained[1]:
            names.append(f"{'lora_B' if trained[0] else 'lora_A'} of {layer.name}")
        elif layer.kept is not None:
            names.append(f"{layer.kept} of {layer.name}")
    return in_short(names)


def dropout_of(network: Network) -> str:
    """Return which modules drop entries in training mode, in short."""
    kind = require_torch().nn.modules.dropout._DropoutNd
    return in_short([name for name, module in network.model.named_modules() if isinstance(module, kind) and module.p])


def in_short(names: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
