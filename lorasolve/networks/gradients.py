"""A network and its data as a loss of several updates: value and dense gradients, accumulated over batches.

Whatever takes a :class:`~lorasolve.MultiProblem` takes a network this way: L-BFGS, the second-order test, certificates
where the loss is convex in the updates. Products with the Hessian are derivatives of ``<G, D>`` by a second backward
pass through the first, exact to rounding.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .._support.validate import Array, as_array, as_callable, as_flag, as_iterable, as_number, shown
from ..objectives.base import Rounding
from ..problem.blocks import MultiObjective
from ..problem.pairs import Matrices, Pairs, as_pairs, joint_norm
from ._inspection import Inspection
from ._layer import by_name
from ._parts import lengths_of
from ._passes import TRIED, in_turn
from ._torch import (
    advising,
    as_model,
    as_torch_dtype,
    backward,
    evaluating,
    gathered,
    gradients_kept,
    moved,
    name_of,
    processes,
    reduced,
    require_torch,
    stand_ins,
    twice_differentiable,
)
from ._wrong_gradients import AGREES, SHORTER, fault_of_gradient, fault_of_repetition, lost_gradients
from .adapted import adapted_layers
from .losses import CrossEntropy, SquareLoss

# Relative difference of the mean losses of two passes over data in another order, with an absolute part for losses
# near 0.
SAME_DATA = {"float64": (1e-6, 1e-12), "float32": (1e-3, 1e-5)}
# Along how many directions a gradient must agree with the values of the first batch: one may lead across a kink, and
# along one a wrong gradient agrees by chance (one of which half is lost, along one of some 900).
AGREEING = 2


class Network(MultiObjective):
    """``f(X_1, .., X_L)``: the mean loss of a network over its data, with weights ``W_l + s_l X_l``.

    The updates are the unscaled products ``X_l = lora_B lora_A``, so that ``lam`` is the user's own weight decay also
    where the scalings of layers differ. The model runs in evaluation mode with other tensors in the place of its
    weights, and is left as it was.

    Parameters
    ----------
    model : torch.nn.Module
        See :func:`adapted_layers`; within DistributedDataParallel each process brings its share of the data.
    loss : callable
        ``loss(model, batch)`` returns one loss a sample, shape (n,); see :class:`CrossEntropy`. One number for each
        batch, shape (1,), counts as one sample: that is the mean over all rows if every batch has as many.
    batches : iterable
        The whole data set; gone through once for each evaluation. Tensors are moved to the model's device.
    layers, adapter
        See :func:`adapted_layers`.
    dtype : {"float64", "float32"}
        In which the network is evaluated, whatever the precision of the stored weights, and whatever the model itself
        casts to in between.
    convex : bool or None
        Whether ``f`` is convex in the updates. For a hidden layer it is not.
    lower_bound : float or None
        A number below every loss.

    Attributes
    ----------
    precision : str
        To which a value is exact: ``dtype``, or "float32" where ``below`` is not empty.
    below : tuple of str
        Floating types of a lower precision through which the losses depend on the weights all the same (compiled code,
        casts outside of torch's own functions), on the first batch or on later ones that were tried.
    still : dict
        All tensors of the model but the adapted weights, by name, in ``dtype``; no factor has an effect there.
    extremes : tuple of float
        The least and the largest loss of a sample, where the gradient was taken last.
    rounding : float
        What rounding of the losses of samples may do to their mean, where they may be larger than it; 0 if not asked.
    labels_in_place : bool
        Whether a :class:`CrossEntropy` compares logits of tokens with the label of the same token.
    rows_a_number : tuple of int or None
        Of how many rows, at least and at most, each batch has one loss, by the first pass; None where a loss is that of
        a sample.
    off_in_training : float
        How far the losses of the first batch with random updates are in training mode, without its layers of dropout,
        from those in evaluation mode, relatively; 0 where that is rounding, or the former cannot be had.
    differences : str or None
        Why Hessian products are differences of gradients here; None while they are exact.

    Raises
    ------
    ValueError, TypeError
        For layers that cannot be judged, data that are gone after one pass or others in the next, a loss that is not
        one number a sample, or is one for each batch where batches have unlike numbers of rows, two evaluations of one
        batch that differ, a :class:`CrossEntropy` or :class:`SquareLoss` that is not the model's own loss where that
        returns one, layers whose gradient is lost on the way, and layers that compute something else of their factors
        than ``W x + s A B^T x``, or DoRA's normalization of that, with their names.
    """

    def __init__(
        self,
        model: Any,
        loss: Any,
        batches: Iterable[Any],
        *,
        layers: str | Sequence[str] | None = None,
        adapter: str | None = None,
        dtype: Any = "float64",
        convex: bool | None = None,
        lower_bound: float | None = 0.0,
    ) -> None:
        self.model, self.loss_of_samples = as_model(model), as_callable(loss, "loss")
        torch = require_torch()
        if isinstance(batches, Iterator) or not isinstance(batches, Iterable):
            samples = isinstance(batches, torch.utils.data.Dataset)
            raise TypeError(
                "batches: expected what can be gone through more than once (a list, a DataLoader), got "
                f"{type(batches).__name__}{' (a DataLoader makes batches of its samples)' if samples else ''}"
            )
        if isinstance(batches, Mapping):  # one of transformers is no dict
            single = f"a single batch ({', '.join(map(str, batches))})"
            raise TypeError(f"batches: expected a list of batches or a DataLoader, got {single}; put it in a list")
        functional = getattr(loss, "__module__", None) == torch.nn.functional.__name__
        if functional or isinstance(loss, torch.nn.modules.loss._Loss):
            raise TypeError(
                f"loss: expected loss(model, batch), got {shown(loss)}, which is called with outputs and targets; take "
                "networks.CrossEntropy() or SquareLoss(), or a function of a model and a batch"
            )
        self.batches = as_iterable(batches, "batches")
        self.layers = adapted_layers(self.model, layers, adapter)
        self.torch_dtype = as_torch_dtype(dtype)
        self.dtype = np.dtype(np.float64)  # of the updates, the gradients and what is summed
        self.below: tuple[str, ...] = ()
        self.shapes = tuple(layer.shape for layer in self.layers)
        self.convex = None if convex is None else as_flag(convex, "convex")
        if lower_bound is not None:
            self.lower_bound = as_number(lower_bound, "lower_bound")
        self.n_samples: int | None = None
        self.labels_in_place = False
        self.off_in_training = 0.0
        self.rows_a_number: tuple[int, int] | None = None
        self._counted: set[tuple[int, ...]] = set()
        self.extremes = math.inf, -math.inf
        self.rounding = 0.0
        self.differences: str | None = None
        self._differentiated = self._second_pass_tried = False
        self._stored = {name_of(layer.module.weight.dtype) for layer in self.layers}
        # All batches share what makes normalized weights of the leaves: a backward pass may not take it apart.
        self._shares = any(layer.magnitude is not None for layer in self.layers)
        self.still = self._cast()
        Inspection(self).of_all_batches()

    @property
    def stored(self) -> str:
        """The precision of the stored weights."""
        return ", ".join(sorted(self._stored))

    @property
    def precision(self) -> str:
        """To which a value is exact."""
        return "float32" if self.below else name_of(self.torch_dtype)

    def _cast(self) -> dict[str, Any]:
        """Return all tensors of the model that stand still, in the precision of the evaluation."""
        torch = require_torch()
        still = stand_ins(self.model, self.torch_dtype, {layer.weight for layer in self.layers})
        # Zeros in lora_B are no update, unless lora_A holds what is no number.
        factors = {id(whole) for layer in self.layers if layer.lora_A is not None for whole, _ in layer.held}
        for name, tensor in self.model.named_parameters():
            if id(tensor) in factors and not still[name].isfinite().all():
                still[name] = torch.zeros_like(still[name])
        for layer in self.layers:
            if layer.off is not None:
                still[layer.off] = torch.zeros_like(still[layer.off])
        return still

    def losses(self, batch: Any, tensors: dict[str, Any]) -> Any:
        """Return the losses of a batch in float64, with given tensors in the network, and without a gradient."""
        with require_torch().no_grad(), self.evaluating(tensors):
            return self.sample_losses(batch).double()

    def losses_at(self, batch: Any) -> Callable[[Sequence[Any]], Any]:
        """Return the losses of a batch as a function of the adapted weights."""
        return lambda weights: self.losses(batch, self.with_weights(weights))

    @property
    def point(self) -> Pairs | None:
        """The factors that the model holds, None if it has no LoRA layers."""
        if any(layer.lora_A is None for layer in self.layers):
            return None
        return [layer.factors for layer in self.layers]

    # ------------------------------------------------------------------ evaluation
    def evaluating(self, tensors: dict[str, Any]) -> contextlib.AbstractContextManager[None]:
        """Return a context in which the model runs in evaluation mode and in ``dtype``, with other tensors."""
        return evaluating(self.model, tensors, self.torch_dtype)

    def weights(self, factors: Pairs) -> list[Any]:
        """Return ``W_l + s_l A_l B_l^T`` as new tensors."""
        steps = self.steps([A @ B.T for A, B in as_pairs(factors, "factors", self.shapes)])
        return [layer.module.weight.detach().to(self.torch_dtype) + step for layer, step in zip(self.layers, steps)]

    def steps(self, X: Matrices) -> list[Any]:
        """Return ``s_l X_l`` as tensors of the weights' shapes."""
        torch = require_torch()
        return [
            torch.as_tensor(layer.as_weight(layer.scale * x), dtype=self.torch_dtype, device=layer.module.weight.device)
            for layer, x in zip(self.layers, X)
        ]

    def tensors(self, factors: Pairs) -> dict[str, Any]:
        """Return all tensors of the network at updates ``A_l B_l^T``."""
        return self.with_weights(self.weights(factors))

    def with_weights(self, weights: Sequence[Any]) -> dict[str, Any]:
        """Return all tensors of the network with given adapted weights."""
        computed = [layer.computed(weight) for layer, weight in zip(self.layers, weights)]
        return {**self.still, **by_name(self.layers, computed)}

    def moved_batches(self) -> Iterator[Any]:
        """Yield the batches on the device of the network and in its precision."""
        for batch in self.batches:
            yield self.moved(batch)

    def moved(self, batch: Any) -> Any:
        """Return a batch on the device of the network and in its precision."""
        return moved(batch, self.torch_dtype, self.layers[0].module.weight.device)

    def sample_losses(self, batch: Any) -> Any:
        """Return the loss of each sample of a batch, checked."""
        torch = require_torch()
        losses = self.loss_of_samples(self.model, self.moved(batch))
        if not isinstance(losses, torch.Tensor) or losses.ndim != 1:
            got = f"shape {tuple(losses.shape)}" if isinstance(losses, torch.Tensor) else type(losses).__name__
            own = "; CrossEntropy() or SquareLoss() is the loss that a model returns" if got == "shape ()" else ""
            raise ValueError(f"loss: expected one loss a sample, shape (n,) (reduction='none'), got {got}{own}")
        if losses.is_complex():
            raise ValueError(f"loss: expected real numbers, got {losses.dtype}")
        if self.n_samples is None and len(losses):
            self._counted.add((len(losses), *sorted(lengths_of(batch))))
        return losses

    def _rows(self) -> tuple[int, int] | None:
        """Return :attr:`rows_a_number` by the batches of a pass, those of other processes included.

        A loss is that of a sample where some batch has several losses or tensors of unlike lengths, or none has several
        rows.
        """
        known = type(self.loss_of_samples) in (CrossEntropy, SquareLoss)
        several = known or any(len(each) != 2 or each[0] != 1 for each in self._counted)
        rows = [1] if several else [length for _, length in self._counted] or [0]
        told = gathered(self._on_device(np.array([int(several), min(rows), max(rows)]))).cpu().numpy()
        if told[:, 0].any():
            return None
        most = int(told[:, 2].max())
        # The least is not that of a process without samples.
        return (int(told[told[:, 2] > 0, 1].min()), most) if most > 1 else None

    def _refuse_unlike_means(self) -> None:
        """Refuse one number a batch where batches have unlike numbers of rows: their samples would count unequally."""
        least, most = self.rows_a_number or (1, 1)
        if least < most:
            raise ValueError(
                f"loss: expected one loss a sample, got one number for each batch, of {least} to {most} rows; as means "
                "they would give the samples of small batches more weight (reduction='none' keeps samples apart; where "
                "a batch is one sample, give its tensors a first dimension of length 1)"
            )

    def value(self, factors: Pairs) -> float:
        """Return ``f`` at updates ``A_l B_l^T``, without a gradient."""
        torch = require_torch()
        total = np.zeros(2)
        with torch.no_grad(), self.evaluating(self.tensors(factors)):
            for batch in self.batches:
                losses = self.sample_losses(batch)
                total += float(losses.double().sum()), len(losses)
        total = self.over_processes(total)
        self._count(int(total[1]))
        return float(total[0] / total[1])

    def require_same_data(self, factors: Pairs, f: float | None = None) -> None:
        """Refuse data of which a second pass has another mean loss at updates ``A_l B_l^T``; ``f``: that of one pass.

        Shuffled they are the same data, but not where a loader also drops the last batch, draws with replacement or
        augments. A list is the same in each pass.
        """
        if isinstance(self.batches, list | tuple):
            return
        one = self.value(factors) if f is None else f
        two = self.value(factors)
        share, absolute = SAME_DATA[self.precision]
        if abs(one - two) > share * abs(one) + absolute:
            raise ValueError(
                f"batches: expected the same samples in each pass, got mean losses of {one:.6g} and {two:.6g} in two "
                "(drop_last or sampling with replacement in a DataLoader, random augmentation? list(batches) keeps "
                "those of one pass)"
            )

    def value_and_grad(self, X: Matrices) -> tuple[float, tuple[Array, ...]]:
        """Return ``f`` and its gradient in each update, accumulated in float64."""
        return self.value_and_gradients([(x, np.eye(x.shape[1])) for x in self.as_updates(X, "X")])

    def as_updates(self, X: Matrices, argument: str) -> list[Array]:
        """Return a matrix for each layer, of its shape."""
        found = [as_array(x, f"{argument}[{k}]") for k, x in enumerate(as_iterable(X, argument))]
        shapes = [x.shape for x in found]
        if shapes != list(self.shapes):
            raise ValueError(f"{argument}: expected matrices of shapes {list(self.shapes)}, got {shapes}")
        return [x.astype(np.float64, copy=False) for x in found]

    def value_and_gradients(self, factors: Pairs) -> tuple[float, tuple[Array, ...]]:
        """Return the same at updates ``A_l B_l^T``."""
        return self._pass(factors, lambda batch, losses, leaves: None)

    def tested_value_and_gradients(
        self, factors: Pairs, *, progress: bool = False
    ) -> tuple[float, tuple[Array, ...], str | None]:
        """Return the same, and how the losses of a batch contradict their gradient, None if no batch was found to.

        Where a part is detached, rounded or differentiated by hand, what comes back is not the derivative. Two values
        along a random direction tell; in float32 these would be too rough, and another value at the point tells noise
        alone. A gradient may be wrong on some batches only (a branch for long inputs, a last batch of another size):
        they are tried in the same pass, the first ``TRIED`` and then fewer and fewer, the k-th with probability
        ``TRIED / k``. One takes two values and a direction, about as long as its gradient.
        """
        rng = np.random.default_rng()
        tried, fault = 0, None
        exact = self.precision == "float64"

        def attempt(batch: Any, losses: Any, leaves: Sequence[Any]) -> None:
            nonlocal tried, fault
            if fault is None and len(losses):
                tried += 1
                if rng.random() * tried < TRIED:
                    at = self.losses_at(batch)
                    wrong = fault_of_gradient(at, losses, leaves, AGREEING if tried == 1 else 1) if exact else None
                    if wrong is not None or not exact:
                        fault = fault_of_repetition(at, losses, leaves, self.precision) or wrong

        return *self._pass(factors, attempt, progress), fault

    @advising()
    def _pass(
        self, factors: Pairs, look: Callable[[Any, Any, Sequence[Any]], None], progress: bool = False
    ) -> tuple[float, tuple[Array, ...]]:
        """Return the mean loss and its gradients; ``look`` sees each batch, its losses, and leaves that hold theirs."""
        leaves = [weight.requires_grad_() for weight in self.weights(factors)]
        sums = [np.zeros(shape) for shape in self.shapes]
        total = np.zeros(2)
        self.extremes = math.inf, -math.inf
        with self.evaluating(self.with_weights(leaves)):
            for batch in in_turn(self.batches, self.batches, "gradient", progress):
                losses = self.sample_losses(batch)
                if len(losses):
                    least, most = (float(end) for end in losses.detach().aminmax())
                    self.extremes = min(self.extremes[0], least), max(self.extremes[1], most)
                with gradients_kept(losses, leaves):
                    backward(losses.sum(), keep=self._shares)
                total += float(losses.detach().double().sum()), len(losses)
                without = [k for k, leaf in enumerate(leaves) if leaf.grad is None]
                if without and not self._differentiated:
                    self._refuse_lost(batch, losses.detach().double(), leaves, without)
                look(batch, losses.detach(), leaves)
                for layer, leaf, so_far in zip(self.layers, leaves, sums):
                    if leaf.grad is not None:
                        so_far += layer.as_matrix(leaf.grad.double().cpu().numpy())
                        leaf.grad = None
        self._differentiated = True
        return self._mean(total, sums)

    def _refuse_lost(self, batch: Any, losses: Any, weights: Sequence[Any], without: Sequence[int]) -> None:
        lost = lost_gradients(self.losses_at(batch), losses, weights, without, self.precision)
        if lost:
            raise ValueError(
                f"model: the loss depends on the weight of {', '.join(self.layers[k].name for k in lost)}, and no "
                "gradient comes back to it (detached or rounded on the way, or under no_grad?)"
            )

    def hessian_product(self, X: Matrices, D: Matrices) -> tuple[Array, ...]:
        """Return the Hessian times a direction, as :meth:`gradients_and_products` does."""
        return self.gradients_and_products([(x, np.eye(x.shape[1])) for x in self.as_updates(X, "X")], D)[1]

    def factor_hvp(self, factors: Pairs, directions: Pairs) -> tuple[tuple[Array, Array], ...]:
        """Return the derivative of ``(G_l B_l, G_l^T A_l)`` in the directions ``(U_l, V_l)``, couplings included."""
        factors, directions = (
            as_pairs(pairs, name, self.shapes) for pairs, name in ((factors, "factors"), (directions, "directions"))
        )
        D = [U @ B.T + A @ V.T for (A, B), (U, V) in zip(factors, directions)]
        G, H = self.gradients_and_products(factors, D)
        return tuple((h @ B + g @ V, h.T @ A + g.T @ U) for g, h, (A, B), (U, V) in zip(G, H, factors, directions))

    def gradients_and_products(self, factors: Pairs, D: Matrices) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Return ``G_l`` at updates ``A_l B_l^T``, and the Hessian there times the direction ``D``.

        By a second backward pass, which is tried once, along a random direction, against a difference of gradients:
        torch lacks the second derivative of some operations, and of some it returns a wrong one without a word. There
        products are differences, and ``differences`` says why.
        """
        D = self.as_updates(D, "D")
        if not self._second_pass_tried:
            self.differences = self._fault_of_second_pass(factors)
            self._second_pass_tried = True
        if self.differences is None:
            return self._differentiated_twice(factors, D)
        return self.value_and_gradients(factors)[1], self._difference(factors, D)

    def _fault_of_second_pass(self, factors: Pairs) -> str | None:
        """Return what is wrong with second derivatives at a point, None if nothing."""
        if processes() > 1:  # each would try another direction
            return "several processes share the data"
        rng = np.random.default_rng()
        D = [rng.standard_normal(shape) for shape in self.shapes]
        try:
            found = self._differentiated_twice(factors, D)[1]
        except RuntimeError as error:
            return f"no second backward pass: {str(error).strip().splitlines()[0]}"
        if self.precision != "float64":  # differences would be too rough
            return None
        for shorter in range(SHORTER + 1):
            expected = self._difference(factors, D, 0.1**shorter)
            wrong, size = joint_norm([h - e for h, e in zip(found, expected)]), joint_norm(expected)
            if wrong <= AGREES * size:
                return None
        return f"a second backward pass is off by {wrong:.2g} of {size:.2g} from a difference of gradients"

    def _differentiated_twice(self, factors: Pairs, D: Matrices) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        leaves = [weight.requires_grad_() for weight in self.weights(factors)]
        along = self.steps(D)
        sums = [np.zeros(shape) for shape in self.shapes * 2]
        total = np.zeros(2)
        with self.evaluating(self.with_weights(leaves)), twice_differentiable():
            for batch in self.batches:
                losses = self.sample_losses(batch)
                total += float(losses.detach().double().sum()), len(losses)
                # A weight that the batch does not use has no gradient, and one that is constant no derivative.
                G = backward(losses.sum(), leaves, twice=True)
                slopes = [(g * d).sum() for g, d in zip(G, along) if g is not None]
                H = backward(sum(slopes), leaves, keep=self._shares) if slopes else G
                for layer, part, so_far in zip(itertools.cycle(self.layers), (*G, *H), sums):
                    if part is not None:
                        so_far += layer.as_matrix(part.detach().double().cpu().numpy())
        _, found = self._mean(total, sums)
        return found[: len(leaves)], found[len(leaves) :]

    def _difference(self, factors: Pairs, D: Matrices, share: float = 1.0) -> tuple[Array, ...]:
        return self._difference_product([A @ B.T for A, B in factors], D, self._natural_length(), share)

    def _mean(self, total: Array, sums: Sequence[Array]) -> tuple[float, tuple[Array, ...]]:
        """Return the mean loss and mean derivatives in the updates, one or more of each layer, over all processes."""
        flat = self.over_processes(np.concatenate([total, *(part.ravel() for part in sums)]))
        total, rest = flat[:2], np.split(flat[2:], np.cumsum([part.size for part in sums])[:-1])
        self._count(int(total[1]))
        means = tuple(
            layer.scale * part.reshape(like.shape) / total[1]
            for layer, part, like in zip(itertools.cycle(self.layers), rest, sums)
        )
        return float(total[0] / total[1]), means

    def _count(self, samples: int) -> None:
        """Keep the number of samples of the first pass, and refuse data of which another pass has others."""
        if self.n_samples is None:
            if next(iter(self.batches), None) is None:
                raise ValueError("batches: expected what can be gone through more than once, got none in a second pass")
            if not samples:
                raise ValueError("batches: expected samples with labels, got none that has one")
            self.rows_a_number = self._rows()
            self._refuse_unlike_means()
            self.n_samples = samples
        elif samples != self.n_samples:
            raise ValueError(
                f"batches: expected {self.n_samples} samples in each pass as in the first, got {samples} (drop_last, "
                "or masks or samples that are drawn anew, in a DataLoader? list(batches) keeps those of one pass)"
            )

    def factor_oracle(self, factors: Pairs, grads: Pairs) -> float:
        """Write ``G_l B_l`` and ``G_l^T A_l`` and return ``f``."""
        f, G = self.value_and_gradients(factors)
        for g, (A, B), (GB, GtA) in zip(G, factors, grads):
            np.matmul(g, B, out=GB)
            np.matmul(g.T, A, out=GtA)
        return f

    def factor_value(self, factors: Pairs) -> float:
        """Return ``f`` without a gradient."""
        return self.value(factors)

    def rounding_noise(self, factors: Pairs) -> Rounding:
        """Return the sizes of the rounding errors in ``f``: of its own size, and of losses that cancel in the mean."""
        value, gradient = super().rounding_noise(factors)
        return Rounding(max(value, self.rounding), gradient)

    def over_processes(self, numbers: Array) -> Array:
        """Return the sums of numbers over all processes."""
        return reduced(self._on_device(numbers)).cpu().numpy()  # type: ignore[no-any-return]

    def _on_device(self, numbers: Array) -> Any:
        return require_torch().as_tensor(numbers, device=self.layers[0].module.weight.device)

    @cached_property
    def _length(self) -> float:
        return super()._natural_length()

    def _natural_length(self, least: float = 0.0) -> float:
        return self._length
