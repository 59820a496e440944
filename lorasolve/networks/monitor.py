"""Reads factors and gradients while a network trains: is it stationary, balanced, loud, or no longer finite?

With ``X = s A B^T`` and ``G = df/dW``, never formed, ``dA = s G B`` and ``dB = s G^T A`` are the gradients that
training leaves in ``lora_B`` and ``lora_A``; both ``<A, dA>`` and ``<B, dB>`` are ``<G, X>``.
"""

from __future__ import annotations

import json
import math
import statistics
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .._support.files import PathLike, text_writer, write_atomically
from .._support.text import for_json
from .._support.validate import as_flag, as_instance, as_integer, as_number, as_text, shown
from ._torch import as_model, require_torch, whole
from .adapted import AdaptedLayer, left_out_by_fast_path, watched_layers, without_ratio
from .optimizer_state import decays_beside_the_gradient
from .training_objective import in_short

# Singular values above this share of the largest are counted as rank.
RANK_TOL = 1e-3
# Weights of a penalty that explain in two layers why the two inner products differ are one up to this share.
ONE_PENALTY = 1e-2
# Readings in a row of which most layers that break the identity do so by one penalty: fewer are chance.
PENALTY_READINGS = 3
# So many readings, and this share of all, at which no factor has moved since the one before are told: a schedule begins
# and ends with a step of length 0.
STANDING, STANDING_SHARE = 3, 0.25
# Relative difference of the two inner products beyond rounding in float32.
MISMATCH = 1e-4
# Gradients of this share of the length to which they are clipped, or more, are taken to have been longer. In half
# precision clipping rounds their length, the quotient and each product: so many last places may be missing.
CLIPPED, CLIPPED_PLACES = 0.999, 3.0


@dataclass(frozen=True)
class LayerReading:
    """One layer at one step; None where it does not apply or nothing finite is there.

    Attributes
    ----------
    finite : bool
        Whether factors and gradients are.
    spectral, nuclear : float or None
        ``||X||_2`` and ``||X||_*`` of ``X = s A B^T``.
    rank : int or None
        Singular values above 1e-3 of the largest.
    balance : float or None
        ``||A^T A - B^T B||_F / (||A||_F^2 + ||B||_F^2)``; zero at every stationary point with weight decay.
    wasted : float or None
        ``(||A||^2 + ||B||^2)/2 - ||X||_*/s >= 0``: ``lam`` times it is a proven part of ``L - min L``
        (proofs/nuclear_norm_variational).
    grad : float or None
        Length of the gradient in both factors, as training left it.
    stationarity : float or None
        ``||(dA + lam A, dB + lam B)|| / (lam ||(A, B)||)``.
    lam_hat : float or None
        ``-(<A, dA> + <B, dB>)/(||A||^2 + ||B||^2)``: the decay for which the point would be stationary along itself.
    mismatch : float or None
        ``|<A, dA> - <B, dB>|`` relative to the larger: zero for gradients of a function of ``X`` alone.
    """

    finite: bool
    spectral: float | None = None
    nuclear: float | None = None
    rank: int | None = None
    balance: float | None = None
    wasted: float | None = None
    grad: float | None = None
    stationarity: float | None = None
    lam_hat: float | None = None
    mismatch: float | None = None


class LoRAMonitor:
    """Watches the LoRA layers of a model; call :meth:`step` after ``backward()`` and before the optimizer's step.

    Parameters
    ----------
    lam : float, optional
        The weight decay of the objective; None: no stationarity, ``lam_hat`` only. The gradients in the model are
        taken to be those of the loss without the penalty (``warnings`` says when they are not).
    every : int
        Read every so many steps, from the first on.
    base : torch.nn.Module, optional
        The model that :meth:`step` is given, for ``||W_l||_2`` of its frozen weights: a layer whose update grows beyond
        ``ratio`` times it stops the run as loud. There is no such stop, as ``warnings`` says, where PEFT's
        initialization changed the weight (PiSSA, OLoRA, ...), or it is zero. Of a model with quantised weights give
        ``dequantize(model)``, or none.
    ratio : float
        See ``base``.
    full_batch : bool
        Whether the gradients are those of the whole data set. Else stationarity is that of the noise of a minibatch
        too, and :meth:`to_dict` says so.
    adapter : str, optional
        Which adapter of PEFT, where there are several.

    Attributes
    ----------
    history : list of (int, dict)
        Steps and the :class:`LayerReading` of each layer.
    reason : str or None
        Why the run should stop.
    skipped : list of int
        Steps that a scaler of the loss leaves out, as gradients overflow at its scale.
    clipped : list of int
        Steps whose gradients were clipped before they were read: their ``grad``, ``stationarity`` and ``lam_hat`` are
        not known.
    warnings : list of str
        What was noticed beside, each once.
    seconds : float
        Time spent in reading.
    """

    def __init__(
        self,
        lam: float | None = None,
        *,
        every: int = 1,
        base: Any = None,
        ratio: float = 1.0,
        full_batch: bool = False,
        adapter: str | None = None,
    ) -> None:
        torch = require_torch()
        self.lam = None if lam is None else as_number(lam, "lam", 0.0)
        self.every = as_integer(every, "every", 1)
        self.ratio = as_number(ratio, "ratio", 0.0, open_low=True)
        self.full_batch = as_flag(full_batch, "full_batch")
        self.adapter = None if adapter is None else as_text(adapter, "adapter")
        base = None if base is None else as_instance(base, "base", torch.nn.Module)
        try:
            layers = () if base is None else watched_layers(base, adapter, weights=True)
        except (ValueError, TypeError) as error:
            # Layers say "model" of what they are read off, which is the base here.
            raise type(error)(f"base: {str(error).removeprefix('model: ')}") from None
        self.base_norms = {layer.name: layer.base_norm for layer in layers}
        self.steps = 0
        self.history: list[tuple[int, dict[str, LayerReading]]] = []
        self.reason: str | None = None
        self.skipped: list[int] = []
        self.clipped: list[int] = []
        self._standing = 0
        self._penalties: list[float] = []
        self._told_penalty = False
        missing = without_ratio(layers)
        self.warnings: list[str] = [missing] if missing else []
        self.seconds = 0.0

    def __repr__(self) -> str:
        told = f", {len(self.warnings)} warnings" if self.warnings else ""
        last = f", the last at step {self.history[-1][0]} of {self.steps}" if self.history else ""
        return f"LoRAMonitor({self.reason or 'no reason to stop'}: {len(self.history)} readings{last}{told})"

    def step(self, model: Any, scaler: Any = None, clipped_to: float | None = None) -> str | None:
        """Read the layers; return a reason to stop, or None.

        Parameters
        ----------
        model : torch.nn.Module
            The model.
        scaler : torch.amp.GradScaler, optional
            What scales the loss; the gradients are to be those after its ``unscale_(optimizer)``, and else of them
            ``grad``, ``stationarity`` and ``lam_hat`` are not known. It leaves out steps whose gradients are not finite
            and lowers its scale: no reason to stop before that is down to 1.
        clipped_to : float, optional
            The length to which the gradients of all parameters together were clipped before, where they were longer;
            better read before they are.

        Returns
        -------
        str or None

        Raises
        ------
        ValueError, TypeError
            If ``base`` was another model: it lacks layers of this one; for a model that :func:`adapted_layers` refuses
            for its factors, and a scaler that is none. Such a step is not counted.
        """
        if scaler is not None and not (hasattr(scaler, "is_enabled") and hasattr(scaler, "get_scale")):
            raise TypeError(f"scaler: expected a torch.amp.GradScaler or None, got {shown(scaler)}")
        if clipped_to is not None:
            clipped_to = as_number(clipped_to, "clipped_to", 0.0, open_low=True)
        if self.history and self.steps % self.every:
            self.steps += 1
            return self.reason
        began = time.perf_counter()
        readings = {}
        layers = watched_layers(model, self.adapter)
        self._require_base_of(layers)
        self.steps += 1
        overflow = False
        broken = []
        clipped, scaled = clipped_to is not None and _were_clipped(model, clipped_to), _has_yet_to_unscale(scaler)
        for layer in layers:
            reading, penalty = _read(layer, self.lam)
            if clipped or scaled:
                reading, penalty = replace(reading, grad=None, stationarity=None, lam_hat=None), None
            readings[layer.name] = reading
            broken += [] if penalty is None else [penalty]
            if not reading.finite and reading.spectral is not None and _leaves_out(scaler):
                overflow = True
            else:
                self.reason = self.reason or self._reason(layer.name, reading)
        self._notice_penalty(broken)
        self._notice_what_is_left_out(model, layers, readings)
        self._notice_standing_still(readings)
        if clipped:
            self.clipped.append(self.steps)
            self._warn(
                f"gradients were clipped to the length {clipped_to:g} before they were read: grad, stationarity and "
                "lam_hat of such steps are not known, see clipped"
            )
        if scaled:
            self._warn(
                "the scaler of the loss has not unscaled the gradients: grad, stationarity and lam_hat of such steps "
                "are not known; call scaler.unscale_(optimizer) before step (the Trainer does so where it clips, with "
                "a max_grad_norm above 0)"
            )
        if overflow:
            self.skipped.append(self.steps)
            self._warn("gradients overflow at the scale of the loss, and its scaler leaves the steps out: see skipped")
        self.history.append((self.steps, readings))
        self.seconds += time.perf_counter() - began
        return self.reason

    def _resume(self, steps: int) -> None:
        """Count on from a checkpoint after so many steps, without what was read of later ones, which are undone."""
        self.steps = steps
        self.history = [(step, readings) for step, readings in self.history if step <= steps]
        self.skipped, self.clipped = ([k for k in taken if k <= steps] for taken in (self.skipped, self.clipped))

    def _require_base_of(self, layers: Sequence[AdaptedLayer]) -> None:
        """Refuse layers that the base, where one was given, does not have."""
        strange = [layer.name for layer in layers if self.base_norms and layer.name not in self.base_norms]
        if strange:
            raise ValueError(
                f"base: expected the model that step is given, got one without {len(strange)} of its {len(layers)} "
                f"LoRA layers, {strange[0]} for one; it has {next(iter(self.base_norms))}"
            )

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _notice_what_is_left_out(
        self, model: Any, layers: Sequence[AdaptedLayer], readings: dict[str, LayerReading]
    ) -> None:
        """Warn of layers without gradients, or with approximate ones, and of those that evaluations leave out."""
        zero = [name for name, reading in readings.items() if reading.spectral == 0.0 and reading.balance is None]
        if zero and not self.history:
            self._warn(
                f"both factors are zero in {in_short(zero)}: no gradient comes to either there, so training does not "
                "leave that; begin with one of them nonzero"
            )
        if _without_gradient([layer for layer in layers if layer.name not in zero]):
            self._warn(
                f"no gradient but zero had come to any of the {len(layers)} layers when they were read, though their "
                "factors are trained: step is to be called after backward() and before zero_grad(), with the model "
                "that is trained (and gradient checkpointing may need enable_input_require_grads())"
            )
        compressed = [layer.name for layer in layers if layer.compressed]
        if compressed:
            self._warn(
                "VeLoRA takes gradients of lora_A of compressed inputs: grad, stationarity and lam_hat are those of "
                f"its run, not of the loss, in {in_short(compressed)}"
            )
        left_out = [] if self.history else left_out_by_fast_path(as_model(model), layers)
        if left_out:
            self._warn(
                "evaluations may be those of the base model: in evaluation mode within no_grad torch's fast path "
                f"leaves out the updates of {in_short(left_out)}; torch.backends.mha.set_fastpath_enabled(False) ends "
                "that"
            )

    def _notice_standing_still(self, readings: dict[str, LayerReading]) -> None:
        """Warn where readings come between steps of the optimizer, as of gradients that are still accumulated."""
        last = self.history[-1][1] if self.history else {}
        pairs = [(last.get(name), reading) for name, reading in readings.items()]
        # A step whose gradients are not finite is left out, and rightly so.
        self._standing += all(old is not None and old.finite and _has_stayed(old, new) for old, new in pairs)
        if self._standing >= max(STANDING, STANDING_SHARE * (len(self.history) + 1)):
            self._warn(
                "the factors are often what they were at the reading before: step is to be called once for each step "
                "of the optimizer, before it and after the last backward() of those that are accumulated (or the steps "
                "are below the precision of the factors, or of length 0)"
            )

    def _notice_penalty(self, broken: Sequence[float]) -> None:
        """Warn of a penalty in the gradients, given the weights that explain the inner products where they differ."""
        weight = statistics.median_low(broken) if broken else 0.0
        agreeing = sum(abs(each - weight) < ONE_PENALTY * abs(each) for each in broken)
        # In bfloat16 rounding breaks the identity too, and of one layer any difference is that of some penalty.
        several = len(broken) > 1 or (self.lam and abs(weight - self.lam) < ONE_PENALTY * weight)
        if weight <= 0.0 or 2 * agreeing <= len(broken) or not several:
            self._penalties = []
            return
        self._penalties = [*self._penalties, weight][-PENALTY_READINGS:]
        least, most = min(self._penalties), max(self._penalties)
        if len(self._penalties) < PENALTY_READINGS or most - least > 2.0 * ONE_PENALTY * most or self._told_penalty:
            return
        self._told_penalty = True
        self._warn(
            f"the gradients already contain the weight decay, of about {weight:.3g}: the penalty is in the loss that "
            "was differentiated, so lam must not be added again (stationarity and lam_hat are off)"
        )

    def _notice_decay(self, model: Any, optimizer: Any) -> None:
        """Warn of a decay of the optimizer that is not the penalty of weight ``lam`` on the factors."""
        groups = getattr(optimizer, "param_groups", ())
        layers = watched_layers(model, self.adapter)
        factors = {id(part) for layer in layers for part in (layer.lora_A, layer.lora_B)}
        own = [group for group in groups if any(id(part) in factors for part in group["params"])]
        decays = sorted({float(group.get("weight_decay") or 0.0) for group in own})
        beside = decays_beside_the_gradient(own or groups)  # none where sharding has flattened them
        if beside is False and not _is_of_torch(optimizer):
            beside = None
        if beside:
            self._warn(
                "the weight decay of the optimizer is decoupled, as AdamW's is, and no penalty in the loss: the run "
                "does not come to rest where stationarity vanishes and lam_hat is lam (one with a penalty in the loss "
                "does, or with an optimizer that adds its decay to the gradient, as SGD)"
            )
        elif decays and decays != [self.lam]:
            found = ", ".join(f"{decay:g}" for decay in decays)
            self._warn(
                f"lam is {self.lam:g}, and the weight decay of the optimizer on the factors is {found}: unless the "
                "loss has the rest of the penalty, the run does not come to rest where stationarity vanishes"
            )
        elif beside is None:
            self._warn(
                "whether the weight decay of the optimizer is a part of the gradient, so a penalty of weight lam, "
                "or decoupled, as Lion's is, or added to a gradient that is scaled before, as by PEFT's Riemannian "
                "preconditioner, its settings do not say: stationarity and lam_hat are those of a penalty"
            )

    def _reason(self, name: str, reading: LayerReading) -> str | None:
        if not reading.finite:
            return f"step {self.steps}: {name} has non-finite factors or gradients"
        base = self.base_norms.get(name)
        if base is not None and reading.spectral is not None and reading.spectral > self.ratio * base:
            return (
                f"step {self.steps}: loud: {name} has ||X||_2 = {reading.spectral:.3g}, more than {self.ratio:g} "
                f"||W||_2 = {self.ratio * base:.3g} (give a larger ratio, or no base, where the weights are small, as "
                "those of a network that was never trained)"
            )
        return None

    @property
    def lam_hat(self) -> float | None:
        """The median over the layers of ``lam_hat`` at the last reading."""
        readings = self.history[-1][1].values() if self.history else ()
        found = [r.lam_hat for r in readings if r.lam_hat is not None]
        return statistics.median(found) if found else None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON-ready values."""
        found = {
            "lam": self.lam,
            "gradients": "full batch" if self.full_batch else "minibatch: stationarity includes its noise",
            "steps": self.steps,
            "reason": self.reason,
            "skipped": list(self.skipped),
            "clipped": list(self.clipped),
            "warnings": list(self.warnings),
            "seconds": self.seconds,
            "base_norms": dict(self.base_norms),
            "history": [
                {"step": step, "layers": {name: asdict(reading) for name, reading in readings.items()}}
                for step, readings in self.history
            ],
        }
        return dict(for_json(found))

    def save(self, path: PathLike) -> None:
        """Write :meth:`to_dict` as JSON, whole or not at all."""
        write_atomically(path, text_writer(json.dumps(self.to_dict(), indent=1, allow_nan=False)))


def _has_stayed(old: LayerReading, new: LayerReading) -> bool:
    """Whether the factors of a layer are the same at two readings, by what is computed of them alone."""
    return (old.spectral, old.nuclear, old.wasted) == (new.spectral, new.nuclear, new.wasted)


def _leaves_out(scaler: Any) -> bool:
    """Whether there is a scaler, which leaves out steps that are not finite, and its scale may have made them so."""
    return scaler is not None and scaler.is_enabled() and scaler.get_scale() > 1.0


def _has_yet_to_unscale(scaler: Any) -> bool:
    """Whether gradients are those of a loss times a scale, as far as the scaler keeps what it has unscaled."""
    states = getattr(scaler, "_per_optimizer_states", None)
    if states is None or not scaler.is_enabled() or scaler.get_scale() == 1.0:
        return False
    return not any(state["stage"].name == "UNSCALED" for state in states.values())


def _is_of_torch(optimizer: Any) -> bool:
    """Whether an optimizer is one of torch's own, and no class made of it, which may scale its gradients before."""
    while hasattr(optimizer, "optimizer"):  # accelerate's wrapper
        optimizer = optimizer.optimizer
    return type(optimizer).__module__.startswith("torch.optim.")


def _were_clipped(model: Any, most: float) -> bool:
    """Whether the gradient in all parameters together is as long as clipping leaves a longer one."""
    grads = [part.grad for part in model.parameters() if part.grad is not None]
    eps = max((require_torch().finfo(grad.dtype).eps for grad in grads), default=0.0)
    length = math.hypot(*(float(whole(grad).double().norm()) for grad in grads))
    return length >= min(CLIPPED, 1.0 - CLIPPED_PLACES * eps) * most


def _without_gradient(layers: Sequence[AdaptedLayer]) -> bool:
    """Whether factors are trained and none of them has a gradient."""
    trained = [part for layer in layers for part in (layer.lora_B, layer.lora_A) if part.requires_grad]
    return bool(trained) and not any(part.grad is not None and whole(part.grad).any() for part in trained)


def _read(layer: AdaptedLayer, lam: float | None) -> tuple[LayerReading, float | None]:
    """Return the reading of a layer, and which weight of a penalty in the loss its gradients would have.

    The latter is None where they keep the identity of the two inner products, so that nothing seems to be added.
    """
    torch = require_torch()
    with torch.no_grad():
        A, B = (whole(part.detach()).flatten(1).double() for part in (layer.lora_B, layer.lora_A))
        B = B.T
        AtA, BtB = A.T @ A, B.T @ B
        square_A, square_B = float(AtA.trace()), float(BtB.trace())
        if not math.isfinite(square_A + square_B):
            return LayerReading(finite=False), None
        left, right = torch.linalg.qr(A).R, torch.linalg.qr(B).R
        values = abs(layer.scale) * torch.linalg.svdvals(left @ right.T)
        largest, nuclear, size = float(values[0]), float(values.sum()), square_A + square_B
        facts: dict[str, Any] = {
            "spectral": largest,
            "nuclear": nuclear,
            "rank": int((values > RANK_TOL * largest).sum()),
            "balance": float((AtA - BtB).norm()) / size if size > 0.0 else None,
            "wasted": 0.5 * size - nuclear / abs(layer.scale),
        }
        # A frozen factor has no gradient; that of the other may still be NaN.
        given = [part.grad for part in (layer.lora_B, layer.lora_A) if part.grad is not None]
        grads = [whole(part).flatten(1).double() for part in given]
        grad = math.hypot(*(float(part.norm()) for part in grads))
        if not math.isfinite(grad):
            return LayerReading(finite=False, **facts), None
        if len(grads) < 2:
            return LayerReading(finite=True, **facts), None
        dA, dB = grads[0], grads[1].T
        along_A, along_B = float((dA * A).sum()), float((dB * B).sum())
        difference, larger = along_A - along_B, max(abs(along_A), abs(along_B))
        facts["grad"] = grad
        facts["lam_hat"] = -(along_A + along_B) / size if size > 0.0 else None
        facts["mismatch"] = abs(difference) / larger if larger > 0.0 else None
        if lam and size > 0.0:
            rest = math.hypot(float((dA + lam * A).norm()), float((dB + lam * B).norm()))
            facts["stationarity"] = rest / (lam * math.sqrt(size))
        penalty = None
        if abs(difference) > MISMATCH * larger:
            # With a penalty in the loss the inner products differ by exactly its weight times this.
            squares = square_A - square_B
            penalty = difference / squares if squares else math.inf
        return LayerReading(finite=True, **facts), penalty


def callback(monitor: LoRAMonitor) -> Any:
    """Return a callback for the ``Trainer`` of transformers that feeds a monitor and stops on its reason.

    The monitor reads before each optimizer step, after clipping (see ``clipped``), and counts on where the Trainer
    resumes, or behind the steps of a run before that it has watched; a run that begins is not stopped by the reason of
    one before it, unless that holds there too. A loss that is NaN is filtered from the Trainer's own logs, so the
    tensors themselves are tested. Where they are not finite the gradients are dropped, so that the optimizer does not
    write them into the factors, or left to the Trainer's scaler in mixed precision (give it a ``max_grad_norm`` above
    0: it unscales gradients to clip them). ``lora/max_spectral`` and ``lora/lam_hat`` of the last reading, and which
    step that is before (``lora/step``), are added to ``state.log_history``, and to the logs as the callbacks see them
    that stand after this one, the printed ones among them; those of TensorBoard and W&B stand before it.

    Raises
    ------
    ImportError
        Where transformers is missing.

    Warns
    -----
    RuntimeWarning
        During the run, of its reason to stop and of what else the monitor notices, each once.
    """
    as_instance(monitor, "monitor", LoRAMonitor)
    try:
        from transformers import TrainerCallback
    except ImportError:
        raise ImportError("networks.callback needs transformers: pip install 'lorasolve[torch]'") from None

    class MonitorCallback(TrainerCallback):  # type: ignore[misc]
        """Feeds a :class:`LoRAMonitor`."""

        def __init__(self) -> None:
            self.told: set[str] = set()
            self.decay_seen = False

        def _tell(self) -> None:
            stop = [] if monitor.reason is None else [f"the run is stopped: {monitor.reason}"]
            for text in (*monitor.warnings, *stop):
                if text not in self.told:
                    self.told.add(text)
                    warnings.warn(f"LoRAMonitor: {text}", RuntimeWarning, stacklevel=3)

        def on_train_begin(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            """Count the steps as the Trainer does, which may resume; the reason of an earlier run is past."""
            if state.global_step:
                monitor._resume(state.global_step)
            monitor.reason = None
            self.decay_seen = False

        def on_pre_optimizer_step(
            self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **kw: Any
        ) -> Any:
            """Read; ask the Trainer to stop where there is a reason, without a step that is not finite."""
            if monitor.lam and not self.decay_seen:
                monitor._notice_decay(model, optimizer)
                self.decay_seen = True
            scaler = getattr(optimizer, "scaler", None)
            most = getattr(args, "max_grad_norm", None) or 0.0
            if monitor.step(model, scaler, most if most > 0.0 else None):
                control.should_training_stop = True
            self._tell()
            # A scaler of gradients leaves such a step out itself, and fails where there are none.
            scaled = scaler is not None and scaler.is_enabled()
            step, readings = monitor.history[-1]
            broken = step == monitor.steps and not all(reading.finite for reading in readings.values())
            if broken and not scaled:
                model.zero_grad(set_to_none=True)
            return control

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kw: Any) -> None:
            """Add to what is logged."""
            if logs is None or not monitor.history:
                return
            step, readings = monitor.history[-1]
            found = {}
            largest = [r.spectral for r in readings.values() if r.spectral is not None]
            if largest:
                found["lora/max_spectral"] = max(largest)
            if monitor.lam_hat is not None:
                found["lora/lam_hat"] = monitor.lam_hat
            if found:  # with every > 1 they are as old as that
                found["lora/step"] = step
            # The Trainer has put a copy of the logs there already.
            for table in (logs, *state.log_history[-1:]):
                table.update(found)

    return MonitorCallback()
