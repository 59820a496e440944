"""What ``optimizer.pt`` of a checkpoint says about the decay that a run applied; read with ``weights_only``."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from .._support.files import PathLike
from .._support.text import for_json
from .._support.validate import as_path, shown
from ..peft_files.checkpoint import optimizer_file
from ._torch import require_torch

# No learning rate, decay or number of steps is above.
MOST = 1e100
# What torch's SGD writes, from torch 2.3 on, beside its momentum and dampening.
_OF_SGD = {"nesterov", "maximize", "foreach", "differentiable", "fused"}
# What transformers' Adafactor writes. With either of the first two its steps go by the size of the tensor, or by their
# own number, and so does its decay.
_OF_ADAFACTOR = {"scale_parameter", "relative_step", "clip_threshold", "decay_rate", "warmup_init"}
# What those write that decay beside the gradient and do not say so: this one, torch's Adafactor, its Muon, and those of
# bitsandbytes that keep two states (Adam, AdamW, LAMB, AdEMAMix), and PEFT's for LoRA-FA, whose second name of the
# scalings is the older one.
_DECOUPLED = (
    _OF_ADAFACTOR,
    {"beta2_decay", "d"},
    {"ns_coefficients", "ns_steps"},
    {"t_alpha", "t_beta3"},
    {"correct_bias", "names", "scaling_factors"},
    {"correct_bias", "names", "scaling_factor"},
)
# Where bitsandbytes writes what it keeps of a tensor.
_OF_BITSANDBYTES = "__bnb_optimizer_quant_state__"
# What those of torch write that add their decay to the gradient and do not say so: RMSprop, Adagrad, Adadelta, ASGD.
# Those of others of these names lack the last of the keys, or say by one of their own that they decouple it.
_OF_ASGD = {"lambd", "t0", "differentiable"}
_COUPLED = (
    {"centered", "alpha", "differentiable"},
    {"lr_decay", "initial_accumulator_value", "differentiable"},
    {"rho", "differentiable"},
    _OF_ASGD,
)
# All that torch's Adamax writes of a group, which adds its decay too: none of these keys is its own.
_OF_ADAMAX = {"lr", "betas", "eps", "weight_decay", "foreach", "maximize", "differentiable", "capturable"}
# What is written beside that: tensors and their names, and the learning rate before a schedule.
_BESIDE = {"params", "param_names", "initial_lr"}
# Second moments of gradients, as Adam, RMSprop (with Adadelta), Adagrad, bitsandbytes and PEFT's LoRA-FA call them, the
# largest that Adamax has in their place, and what is smoothed of gradients themselves.
_SECOND_MOMENTS = ("exp_avg_sq", "square_avg", "sum", "state2", "exp_avg_sq_B", "exp_inf")
_SMOOTHED = ("exp_avg", "momentum_buffer", "exp_avg_B")
# What optimizers keep in the shape of a tensor; Adafactor only of vectors.
_OF_ITS_SHAPE = ("exp_avg", "momentum_buffer", *_SECOND_MOMENTS, "ax", "state1")


@dataclass(frozen=True)
class GroupDecay:
    """One parameter group of an optimizer.

    Attributes
    ----------
    n_parameters : int
        Tensors in the group.
    lr : float or None
        The learning rate at the time of the checkpoint; None where steps have another size, as those of Adafactor with
        ``relative_step`` or ``scale_parameter``.
    weight_decay : float
        The decay at that time; that of torch's ASGD is its ``weight_decay`` and ``lambd`` together.
    full_lr : float or None
        The learning rate before any schedule, where a scheduler of torch has noted it, else ``lr``. At the end of a
        run with a schedule ``lr`` is 0.
    horizon : float
        ``1/(full_lr weight_decay)``, the steps after which decoupled decay alone would have shrunk a weight by ``e``
        at the full learning rate; infinite without decay or a learning rate. That of torch's SGD is
        ``(1 - momentum)/(1 - dampening)`` times as long.
    decoupled : bool or None
        Whether the decay is applied beside the gradient (AdamW) or as a part of it (Adam, SGD), where the file says so.
    momentum : float or None
        Of torch's SGD, whose steps are along the gradient or a running mean of it; None for other optimizers.
    of_vectors : bool
        Whether all its tensors are known to be vectors, by what the optimizer keeps of their gradients: biases and
        norms, and no factors.
    """

    n_parameters: int
    lr: float | None
    weight_decay: float
    full_lr: float | None
    horizon: float
    decoupled: bool | None
    momentum: float | None
    of_vectors: bool = False


@dataclass(frozen=True)
class OptimizerState:
    """What an optimizer's state says about a run.

    Attributes
    ----------
    groups : tuple of GroupDecay
        Learning rates and decays.
    steps : int or None
        The most steps that a tensor has seen.
    adaptive : bool
        Whether second moments are kept (Adam, RMSprop and their kin), so that a decay setting may be decoupled from the
        loss.
    smoothed_gradients : tuple of float
        Length of the smoothed gradient (``exp_avg``, or the momentum) of each tensor, in the file's order.
    """

    groups: tuple[GroupDecay, ...]
    steps: int | None
    adaptive: bool
    smoothed_gradients: tuple[float, ...]

    @property
    def horizon(self) -> float:
        """The shortest decay horizon of all groups with tensors."""
        return min((group.horizon for group in self._told), default=math.inf)

    @property
    def decay_kind(self) -> str:
        """``"none"``, ``"decoupled"``, ``"l2"`` or ``"unknown"``.

        ``"l2"`` only if all tensors have the same decay: the theorems need one ``lam`` on both factors. Groups without
        tensors do not count, nor do those of vectors beside others: the Trainer of transformers decays no biases.
        """
        groups = self._of_factors
        kinds = {group.decoupled for group in groups if group.weight_decay > 0.0}
        if groups and not kinds:
            return "none"
        if kinds == {True}:
            return "decoupled"
        return "l2" if kinds == {False} and self.weight_decay is not None else "unknown"

    @property
    def weight_decay(self) -> float | None:
        """The decay of all tensors but vectors beside them, None if it differs or there is none."""
        decays = {group.weight_decay for group in self._of_factors}
        return (decays.pop() or None) if len(decays) == 1 else None

    @property
    def _of_factors(self) -> tuple[GroupDecay, ...]:
        """The groups that may hold factors: where all are of vectors, as sharding may have flattened them, all."""
        with_tensors = tuple(group for group in self.groups if group.n_parameters)
        return tuple(group for group in with_tensors if not group.of_vectors) or with_tensors

    @property
    def _told(self) -> tuple[GroupDecay, ...]:
        """The groups to speak of; all of them where none says which tensors it has."""
        return self._of_factors or self.groups

    def __str__(self) -> str:
        decays = {group.weight_decay for group in self._told}
        others = {group.weight_decay for group in self.groups if group.of_vectors} - decays
        beside = f" ({_listed(others)} on vectors, as biases are)" if others else ""
        steps = "unknown" if self.steps is None else str(self.steps)
        text = f"weight decay {_listed(decays)}{beside}; steps {steps}"
        if math.isfinite(self.horizon):
            text += f"; {self._horizon_in_words()}"
        elif any(group.lr is None and group.weight_decay for group in self._told):
            text += "; the optimizer makes steps of a size of its own: how much decay that makes is not known"
        elif self.decay_kind != "none":
            text += "; the learning rate is 0 here and was not noted before: how much decay it makes is not known"
        else:
            text += "; no decay was applied by the optimizer: no statement about optimality rests on it"
        if self.decay_kind == "decoupled":
            text += "; it is decoupled, as AdamW's is, and is not the penalty of the theorem"
        elif self.decay_kind == "unknown" and self.weight_decay is None:
            text += "; it is not one decay on all tensors, as the theorem needs"
        return text

    def _horizon_in_words(self) -> str:
        """Return the horizon, and how much of it was done, as far as it is known that the decay acts at that rate."""
        decaying = [group for group in self._told if group.weight_decay > 0.0]
        if all(group.decoupled is False and group.momentum is None for group in decaying):
            return "it is a part of the gradient, which this optimizer scales by a size of its own: it has no horizon"
        with_momentum = any(group.momentum for group in decaying)
        formula = "(1 - momentum)/((1 - dampening) lr wd)" if with_momentum else "1/(lr wd)"
        text = f"decay horizon {formula} = {self.horizon:.3g} steps at the full lr"
        if not all(group.decoupled or group.momentum is not None for group in decaying):
            return f"{text} if it is decoupled"
        return text if self.steps is None else f"{text}, at most {self.steps / self.horizon:.2g} of it done"

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain JSON-ready values; infinite horizons become None, as do lengths that are NaN."""
        return dict(for_json(asdict(self) | {"horizon": self.horizon}))


def read_optimizer_state(path: PathLike) -> OptimizerState:
    """Read the optimizer's state of a checkpoint without running anything that it contains.

    Parameters
    ----------
    path : path
        The folder, in which it is ``optimizer.pt`` or ``optimizer.bin``, or the file.

    Raises
    ------
    ImportError
        Without torch.
    OSError
        If there is no such file.
    ValueError
        For a file that ``torch.load(weights_only=True)`` refuses, or that is no optimizer's state: without groups, or
        with a learning rate or decay that is no number.
    """
    torch = require_torch()
    path = pathlib.Path(as_path(path, "path"))
    file = path / optimizer_file(path) if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file}: there is no such file")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file raises
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{file}: is not readable as plain tensors: {first}") from None
    if not isinstance(state, dict) or not isinstance(state.get("param_groups"), list) or not state["param_groups"]:
        raise ValueError(f"{file}: is no optimizer's state (it has no param_groups)")
    states = state.get("state")
    given = states.items() if isinstance(states, dict) else ()
    by_key = {key: _flat(entry) for key, entry in given if isinstance(entry, dict)}
    entries = list(by_key.values())
    vectors = {key for key, entry in by_key.items() if _is_of_vector(entry)}
    groups = tuple(_group(group, file, vectors) for group in state["param_groups"])
    steps = [float(entry["step"]) for entry in entries if _is_number(entry.get("step"))]
    moments = [next((entry[key] for key in _SMOOTHED if key in entry), None) for entry in entries]
    lengths = tuple(
        float(m.to(torch.promote_types(m.dtype, torch.float64)).norm())
        for m in moments
        if isinstance(m, torch.Tensor) and not m.is_meta
    )
    return OptimizerState(
        groups=groups,
        steps=int(max(steps)) if steps else None,
        adaptive=any(key in entry for entry in entries for key in _SECOND_MOMENTS),
        smoothed_gradients=lengths,
    )


def _listed(decays: Collection[float]) -> str:
    return ", ".join(f"{decay:g}" for decay in sorted(decays))


def _flat(entry: dict[Any, Any]) -> dict[Any, Any]:
    """Return what is kept of a tensor without a part of its own for some of it."""
    part = entry.get(_OF_BITSANDBYTES)
    return entry | part if isinstance(part, dict) else entry


def _is_of_vector(entry: dict[Any, Any]) -> bool:
    """Return whether what is kept of a tensor's gradient, which has its shape, is a vector."""
    kept = next((entry[key] for key in _OF_ITS_SHAPE if key in entry), None)
    return isinstance(kept, require_torch().Tensor) and kept.ndim < 2


def _is_number(value: Any) -> bool:
    """Return whether a value is a number that is not negative, as all are that are read here."""
    torch = require_torch()
    if isinstance(value, torch.Tensor):
        if value.numel() != 1 or value.is_complex() or value.is_meta:
            return False
        value = value.item()
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= MOST


def _group(group: Any, file: pathlib.Path, vectors: Collection[Any]) -> GroupDecay:
    own_steps = _is_adafactor(group) and bool(group["relative_step"] or group["scale_parameter"])
    if not isinstance(group, dict) or not (own_steps or _is_number(group.get("lr"))):
        raise ValueError(f"{file}: is no optimizer's state (a group has no learning rate)")
    lr = None if own_steps else float(group["lr"])
    full_lr = float(group["initial_lr"]) if not own_steps and _is_number(group.get("initial_lr")) else lr
    stated = group.get("weight_decay")
    if stated is not None and not _is_number(stated):
        raise ValueError(f"{file}: expected a weight_decay that is a number >= 0, got {shown(stated)}")
    decay = 0.0 if stated is None else float(stated)
    if _is_of(group, _OF_ASGD) and _is_number(group["lambd"]):
        decay += float(group["lambd"])
    params = group["params"] if isinstance(group.get("params"), list) else []
    stated_momentum = _momentum(group)
    momentum, ahead = (None, 1.0) if stated_momentum is None else stated_momentum
    rate = 0.0 if full_lr is None else ahead * full_lr * decay
    return GroupDecay(
        n_parameters=len(params),
        lr=lr,
        weight_decay=decay,
        full_lr=full_lr,
        horizon=1.0 / rate if rate > 0.0 else math.inf,
        decoupled=_decoupled(group),
        momentum=momentum,
        of_vectors=bool(params) and all(isinstance(key, int | str) and key in vectors for key in params),
    )


def _is_adafactor(group: Any) -> bool:
    return isinstance(group, dict) and group.keys() >= _OF_ADAFACTOR


def _is_of(group: dict[str, Any], keys: set[str]) -> bool:
    """Return whether a group has the keys of an optimizer of torch, and none that says that its decay is decoupled."""
    return group.keys() >= keys and not any("decouple" in str(key) for key in group)


def _momentum(group: dict[str, Any]) -> tuple[float, float] | None:
    """Return the momentum of torch's SGD, and how many times the gradient its steps are where that stays the same.

    None for other optimizers. SGD as others have it may decouple the decay: it says so by a key of its own
    (``weight_decouple``), or not at all, and lacks keys of torch's then (the SGDW of timm).
    """
    settings = [group.get(key) for key in ("momentum", "dampening")]
    if not _is_of(group, _OF_SGD) or not all(map(_is_number, settings)):
        return None
    momentum, dampening = map(float, settings)  # type: ignore[arg-type]
    if momentum == 0.0:  # SGD keeps no mean of gradients then, and dampens none
        return momentum, 1.0
    if momentum >= 1.0 or dampening >= 1.0:  # gradients after the first count for nothing, or are climbed
        return None
    return momentum, (1.0 - dampening) / (1.0 - momentum)


def decays_beside_the_gradient(groups: Iterable[dict[str, Any]]) -> bool | None:
    """Return whether a decay of an optimizer's groups is decoupled from the gradient; None where that is not known."""
    kinds = {_decoupled(group) for group in groups if group.get("weight_decay")}
    return True if True in kinds else None if None in kinds else False


def _decoupled(group: dict[str, Any]) -> bool | None:
    """Return what the settings say: the Adam family of PyTorch states it, its others show it by their keys."""
    stated = group.get("decoupled_weight_decay")
    if isinstance(stated, bool):
        return stated
    if any(group.keys() >= keys for keys in _DECOUPLED):
        return True
    added = _momentum(group) is not None or any(_is_of(group, keys) for keys in _COUPLED)
    added = added or group.keys() - _BESIDE == _OF_ADAMAX
    return False if added else None
