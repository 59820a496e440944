"""What batches show of a network before anything rests on it: its precision, noise, and layers that are others."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..problem.pairs import Pairs
from ._affine import floating_types
from ._as_read import Reader
from ._layer import by_name
from ._parts import is_of_vectors, shapes_of
from ._passes import with_trials
from ._torch import REPEATABLE, advising, name_of, require_torch
from ._training_mode import training_without_dropout
from .losses import CrossEntropy, as_the_model_means, plain_outputs, require_own_mean
from .tangent import ratio

if TYPE_CHECKING:
    from .gradients import Network


class Inspection:
    """Looks at a network on its batches, sets what they tell, and refuses what cannot be judged.

    Set are ``loss_of_samples`` in the form that is meant, ``labels_in_place``, ``below`` and ``off_in_training``.
    """

    def __init__(self, network: Network) -> None:
        self.network, self.given = network, network.loss_of_samples

    def of_all_batches(self) -> None:
        """Look at the first batch that has a loss, and at later ones."""
        base = self.network.tensors(self.network.zeros())
        first = self._first_batch(base)
        self._of_later_batches(base, first, self._of_first_batch(base, first))

    def _of_first_batch(self, base: dict[str, Any], first: Any) -> Reader | None:
        """Refuse what the first batch shows; return what holds layers against their factors."""
        network = self.network
        network.loss_of_samples = self._as_meant(first)
        network.labels_in_place = self._takes_labels_in_place(base, first)
        network.below = self._types_below(first)
        one, two = (network.losses(first, base) for _ in range(2))
        total, difference = abs(float(one.sum())), abs(float(one.sum() - two.sum()))
        if difference > REPEATABLE[network.precision] * max(total, 1e-30):
            raise ValueError(
                f"loss: two evaluations of the first batch differ by {difference:.2g} of {total:.4g}; dropout and "
                "other noise have to be off (the model is in evaluation mode; what else draws random numbers?)"
            )
        reader = None
        if network.point is not None:
            reader = Reader(network.layers, self._both_ways, one)
            reader.refuse_misread(first, reader.random_factors(), network.precision, "on the first batch")
            # What levels off, or begins, at large factors alone.
            held = "on the first batch with the factors that it holds"
            reader.refuse_misread(first, network.point, network.precision, held)
        network.off_in_training = self._off_in_training_mode(first, reader)
        return reader

    def _of_later_batches(self, base: dict[str, Any], first: Any, reader: Reader | None) -> None:
        """Refuse layers, and a loss, that are others on later batches: a branch for long inputs, padding left out.

        Casts of theirs count as those of the first do. All are tried of the first ones, and then fewer and fewer.
        """
        network = self.network
        for k, (batch, chosen) in enumerate(with_trials(network.batches), 1):
            if batch is first or not chosen:
                continue
            network.below = tuple(sorted({*network.below, *self._types_below(batch)}))
            if reader is not None:
                reader.refuse_misread(batch, reader.random_factors(), network.precision, f"on batch {k}")
            with require_torch().no_grad(), network.evaluating(base):
                require_own_mean(self.given, network.loss_of_samples, network.model, network.moved(batch))
        network.below = self._below_somewhere()

    def _first_batch(self, base: dict[str, Any]) -> Any:
        """Return the first batch that has a loss: nothing shows in one without samples or labels."""
        batches = iter(self.network.batches)
        for first in batches:
            rest = itertools.chain([first], batches)
            try:
                return next((batch for batch in rest if len(self.network.losses(batch, base))), first)
            except (IndexError, ValueError) as error:
                if isinstance(error, ValueError) and not is_of_vectors(first):
                    raise
                error.add_note(
                    f"The first batch holds {shapes_of(first)}. Each tensor of a batch has a first dimension of "
                    "samples (a DataLoader makes batches of the samples of a Dataset), and words have numbers that the "
                    "model knows."
                )
                raise
            except RuntimeError as error:
                error.add_note(
                    f"The network is evaluated in {name_of(self.network.torch_dtype)}: so are its parameters, buffers "
                    "and real inputs, and what the model or the loss holds beside these has to fit them. Where an "
                    "operation is lacking in that precision: the experts of a model of transformers do without it "
                    "after model.set_experts_implementation('eager'); dtype='float32' is the other way."
                )
                raise
        raise ValueError("batches: there are none")

    # ------------------------------------------------------------------ the loss
    @advising()
    def _as_meant(self, first: Any) -> Any:
        """Return the loss in the form that the model's own loss has, by the first batch that tells."""
        network = self.network
        leaves = [weight.requires_grad_() for weight in network.weights(network.zeros())]
        with network.evaluating(network.with_weights(leaves)):
            for batch in itertools.chain([first], network.batches):
                found = as_the_model_means(self.given, network.model, network.moved(batch))
                if found is not None:
                    return found
            losses = network.sample_losses(first)
        if len(losses) and losses.isfinite().all():
            raise ValueError(
                f"loss: expected the mean of {type(self.given).__name__} to be the model's own loss, which is not a "
                "number on any batch (no token has a label after it?); for another objective give "
                "loss(model, batch) -> one number a sample"
            )
        return self.given

    def _takes_labels_in_place(self, base: dict[str, Any], batch: Any) -> bool:
        """Return whether logits of tokens are compared with the label of the same token, not with that of the next."""
        network, loss = self.network, self.network.loss_of_samples
        if type(loss) is not CrossEntropy or loss.outputs is not plain_outputs:
            return False
        with require_torch().no_grad(), network.evaluating(base):
            return bool(loss.outputs(network.model, network.moved(batch)).ndim > 2)

    # ------------------------------------------------------------------ precision
    def _types_below(self, batch: Any) -> tuple[str, ...]:
        """Return the floating types of a lower precision through which the losses depend on the weights."""
        network, finfo = self.network, require_torch().finfo
        found = floating_types(network.losses_at(batch), network.weights(network.zeros()))
        eps = finfo(network.torch_dtype).eps
        return tuple(sorted(name_of(dtype) for dtype in found if finfo(dtype).eps > eps))

    def _below_somewhere(self) -> tuple[str, ...]:
        """Return ``below`` by the batches of all processes, which have to go the same way from here."""
        torch = require_torch()
        types = {kind for kind in vars(torch).values() if isinstance(kind, torch.dtype) and kind.is_floating_point}
        names = sorted(map(name_of, types))
        seen = self.network.over_processes(np.array([float(name in self.network.below) for name in names]))
        return tuple(name for name, count in zip(names, seen) if count)

    # ------------------------------------------------------------------ layers with their own factors
    def _off_in_training_mode(self, batch: Any, reader: Reader | None) -> float:
        """Return ``off_in_training``. Where updates are zero no noise or scale of theirs is seen."""
        network = self.network
        factors, chosen = ([], range(0)) if reader is None else (reader.random_factors(), range(len(network.layers)))
        tensors = self._with_own_factors(factors, chosen)
        expected = network.losses(batch, tensors)
        # What training mode writes to is no longer needed.
        written = {name: tensors[name].clone() for name, _ in network.model.named_buffers() if name in tensors}
        # It may need other inputs, or answer otherwise; nothing is known of it then.
        with contextlib.suppress(Exception), require_torch().no_grad(), network.evaluating({**tensors, **written}):
            with training_without_dropout(network.model):
                found = network.sample_losses(batch).double()
            off = ratio(float((found - expected).norm()), float(expected.norm()))
            return off if off > REPEATABLE[network.precision] else 0.0
        return 0.0

    def _both_ways(self, batch: Any, factors: Pairs, chosen: Sequence[int]) -> tuple[Any, Any]:
        """Return the losses of a batch with the factors of some layers in them, and with their products in the weights.

        The others have no update.
        """
        network, pairs = self.network, self.network.zeros()
        for k in chosen:
            pairs[k] = factors[k]
        own = self._with_own_factors(factors, chosen)
        return network.losses(batch, own), network.losses(batch, network.tensors(pairs))

    def _with_own_factors(self, factors: Pairs, chosen: Sequence[int]) -> dict[str, Any]:
        """Return all tensors of the network with factors in some layers, and without updates in the others."""
        torch, network = require_torch(), self.network
        weights = [layer.module.weight.detach().to(network.torch_dtype) for layer in network.layers]
        own = {**network.still, **by_name(network.layers, weights)}
        for k in chosen:
            for (whole, part), factor in zip(network.layers[k].held, (factors[k][0], factors[k][1].T)):
                name = self._names[id(whole)]
                if own[name] is network.still[name]:
                    own[name] = own[name].clone()
                there = own[name][part]
                there.copy_(torch.as_tensor(factor).reshape(there.shape))
        return own

    @cached_property
    def _names(self) -> dict[int, str]:
        """The names of the model's own parameters and buffers, by which they are."""
        model = self.network.model
        return {id(tensor): name for name, tensor in (*model.named_parameters(), *model.named_buffers())}
