"""The token form of a network, collected batch by batch: one backward pass for each output, and one more."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .._support.validate import Array
from ..objectives import output_losses
from ..problem.pairs import Pairs, joint_norm
from ._torch import backward, require_torch
from .gradients import Network
from .losses import NO_LABEL, OutputLoss, as_classified, as_outputs, as_regressed
from .token_ntk import LayerTokens, TokenNTK

# Relative difference between the gradients of the network and of its linearisation that rounding explains, and between
# derivatives along a direction and those backwards.
AGREEMENT = {"float64": 1e-8, "float32": 1e-3}


class NoTokenForm(ValueError):
    """A network has no token form, or one that takes more memory than it may."""


def _as_rows(outputs: Any) -> Any:
    """Return outputs if they are one number or one row a sample."""
    if as_outputs(outputs).ndim not in (1, 2):
        raise ValueError(
            f"loss: the token form needs outputs (n, K), got shape {tuple(outputs.shape)}; "
            "LinearizedNetwork(network, factors) takes others"
        )
    return outputs


class Collected:
    """Tokens, outputs and targets of the batches so far.

    With random weights of the outputs, and the derivatives of the outputs so weighted by the network itself.
    """

    def __init__(self, network: Network, memory: float) -> None:
        self.network, self.memory = network, memory
        self.tokens: list[list[LayerTokens]] = [[] for _ in network.layers]
        self.outputs: list[Array] = []
        self.targets: list[Array] = []
        self.rng = np.random.default_rng()  # a verdict rests on it
        self.weights: list[Array] = []
        self.weighted = [np.zeros(shape) for shape in network.shapes]
        self.samples = 0
        self.nbytes = 0

    def add(self, batch: Any, loss: OutputLoss, leaves: Sequence[Any]) -> None:
        """Run a batch forwards once, and backwards once for each output and once more."""
        with _seen(self.network) as calls:
            z = _as_rows(loss.outputs(self.network.model, batch))
        n = len(z)
        numbers = require_torch().arange(n, device=z.device)
        if loss.kind == "softmax":
            z, targets = as_classified(z, loss.targets(batch))
            labelled = targets != NO_LABEL
            # A sample without a label has no number.
            numbers = (labelled.cumsum(0) - 1).where(labelled, -1)
            z, targets = (z[:, :-1] - z[:, -1:])[labelled], targets[labelled]
        else:
            z, targets = as_regressed(z, loss.targets(batch))
        outs = [out for layer in calls for _, out in layer]
        signals = [self._backward(z[:, k], outs) for k in range(z.shape[1])]
        position = 0
        for index, (layer, seen) in enumerate(zip(self.network.layers, calls)):
            for given, out in seen:
                inputs, outputs = layer.inputs(given.detach()), layer.outputs(out)
                if inputs.shape[:-1] != outputs.shape[:-1] or len(outputs) != n:
                    raise NoTokenForm(
                        f"model: {layer.name} sees {tuple(given.shape)} for {n} samples; the first axis has to "
                        "be that of the samples"
                    )
                self._keep(index, inputs, [layer.outputs(signal[position]) for signal in signals], numbers)
                position += 1
        self._weigh(z, leaves)
        self.outputs.append(z.detach().double().cpu().numpy())
        self.targets.append(targets.detach().cpu().numpy())
        self.samples += len(z)

    def _weigh(self, z: Any, leaves: Sequence[Any]) -> None:
        """Add the derivatives of the outputs with random weights."""
        weights = self.rng.standard_normal(tuple(z.shape))
        found = backward(z, leaves, weights=require_torch().as_tensor(weights, dtype=z.dtype, device=z.device))
        for layer, part, so_far in zip(self.network.layers, found, self.weighted):
            if part is not None:
                so_far += layer.scale * layer.as_matrix(part.double().cpu().numpy())
        self.weights.append(weights)

    @staticmethod
    def _backward(output: Any, outs: list[Any]) -> tuple[Any, ...]:
        torch = require_torch()
        found = backward(output.sum(), outs, keep=True) if outs else ()
        return tuple(torch.zeros_like(out) if d is None else d for d, out in zip(found, outs))

    def _keep(self, index: int, given: Any, signals: list[Any], numbers: Any) -> None:
        """Add the tokens of one call of a layer; those that no output depends on, padding, are left out."""
        torch = require_torch()
        d = torch.stack([s.reshape(-1, s.shape[-1]) for s in signals], dim=1)
        h = given.reshape(-1, given.shape[-1])
        per_sample = math.prod(given.shape[1:-1])
        owner = numbers.to(h.device).repeat_interleave(per_sample)
        kept = (d != 0).flatten(1).any(1) & (owner >= 0)
        part = LayerTokens(
            self.network.layers[index].scale * d[kept].double().cpu().numpy(),
            h[kept].double().cpu().numpy(),
            owner[kept].cpu().numpy() + self.samples,
        )
        self.nbytes += part.nbytes
        if self.nbytes > self.memory:
            raise NoTokenForm(
                f"memory: the tokens of {self.samples + len(given)} samples take {self.nbytes / 1e9:.2g} GB already, "
                f"more than {self.memory / 1e9:.2g} GB"
            )
        self.tokens[index].append(part)

    def linear_part(self, kind: output_losses.Loss) -> TokenNTK:
        """Return the linearisation with offset 0."""
        layers = []
        for layer, parts in zip(self.network.layers, self.tokens):
            if any(part.owner.size for part in parts):
                joined = LayerTokens(*(np.concatenate(column) for column in zip(*parts)))
            else:
                # No output depends on the layer (it never runs, or below a head of zeros): one token that says so.
                m, n = layer.shape
                signals = np.zeros((1, self.outputs[0].shape[1], m))
                joined = LayerTokens(signals, np.zeros((1, n)), np.zeros(1, int))
            # A layer that runs twice in a forward pass brings its samples twice.
            order = np.argsort(joined.owner, kind="stable")
            layers.append(LayerTokens(*(column[order] for column in joined)))
        offset = np.zeros((self.samples, self.outputs[0].shape[1]))
        targets = np.concatenate(self.targets)
        if kind == "square":
            targets = targets.astype(np.float64).reshape(offset.shape)
        return TokenNTK(layers, offset, targets, kind, exact_to=self.network.precision)


@contextlib.contextmanager
def _seen(network: Network) -> Iterator[list[list[tuple[Any, Any]]]]:
    """Collect input and output of each call of the adapted layers within the block."""
    calls: list[list[tuple[Any, Any]]] = [[] for _ in network.layers]
    hooks = [
        layer.module.register_forward_hook(lambda _, given, out, seen=seen: seen.append((given[0], out)))
        for layer, seen in zip(network.layers, calls)
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def require_agreement(network: Network, ntk: TokenNTK, factors: Pairs, collected: Collected) -> None:
    """Refuse a linearisation whose value, or derivative of the outputs, is not the network's.

    That of the loss would be rounding where all data are fitted.
    """
    f, ours = network.value(factors), ntk.factor_value(factors)
    found = ntk.from_outputs(np.concatenate(collected.weights))
    wrong = joint_norm([one - other for one, other in zip(found, collected.weighted)])
    off = wrong / (joint_norm(collected.weighted) or 1.0)
    allowed = AGREEMENT[network.precision]
    lengths = np.square(np.concatenate(collected.outputs)).sum(1)
    if off > allowed or abs(f - ours) > allowed * max(abs(f), 1e-12, allowed * float(lengths.mean())):
        network.require_same_data(factors)
        what = f"the derivatives of its outputs and those of its token form differ by {off:.1e}, relatively"
        if off <= allowed:
            what = f"its loss is {f:.6g}, and that of its token form {ours:.6g}"
        raise NoTokenForm(
            f"model: {what}; samples of a batch interact (batch norm?), or an adapted weight is used outside of its "
            "layer"
        )
