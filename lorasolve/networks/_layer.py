"""A weight of a network that is adapted: its shape, how it is stored, and what its layer computes.

In a layer ``y = W x + s B_file A_file x`` with ``lora_A`` of shape (r, in) and ``lora_B`` of shape (out, r). Here
``A = lora_B`` (m, r) and ``B = lora_A^T`` (n, r), so that the weight is ``W + s A B^T`` and the user's weight decay is
``(lam/2)(||A||^2 + ||B||^2)`` as it stands. An embedding is such a layer of one-hot inputs: ``n`` is the size of the
vocabulary, and its weight is stored as (in, out). A convolution is one of patches: ``n`` is the number of inputs times
that of the kernel's entries, ``lora_A`` is (r, in, k, k) and ``lora_B`` (out, r, 1, 1).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._support.validate import Array
from ..dense import DENSE_LIMIT
from ..linear_map import LinearMap
from ..singular_triplets import top_singular
from ._torch import require_torch, whole

# Residual, relative to the value, to which the norm of a large weight is found.
NORM_TOL = 1e-3


@dataclass(frozen=True)
class AdaptedLayer:
    """A linear layer, embedding or convolution whose weight, as a matrix, is ``W + scale A B^T``.

    Attributes
    ----------
    name, weight : str
        Path of the layer, and of its frozen weight, in the model.
    module : torch.nn.Module
        What computes with ``W``.
    scale : float
        ``s``, in PEFT ``alpha/r`` or ``alpha/sqrt(r)``.
    lora_A, lora_B : torch.Tensor or None
        The trained factors (r, in) and (out, r), a convolution's with the axes of its kernel behind; None for a plain
        layer.
    off : str or None
        Path of ``lora_B`` in the model: with zeros there the layer computes ``W x`` alone.
    moved_by : str or None
        The initialization of PEFT that changed ``W``, as PiSSA and OLoRA do: the update is no change of the original
        weight then. None for the others.
    kept : str or None
        The factor that the initialization of PEFT leaves as it starts, ``"lora_B"`` of MiCA; None for the others.
    magnitude : torch.Tensor or None
        The lengths, ``out`` of them, that DoRA gives the rows of ``W + scale A B^T``; None without it.
    invoked : bool
        Whether the update acts after invocation tokens alone, as aLoRA's does.
    compressed : bool
        Whether training takes another gradient of ``lora_A``, that of compressed inputs, as VeLoRA does.
    within : tuple of (torch.Tensor, tuple)
        Of a parameter that ``target_parameters`` of PEFT adapts, or of an expert's part of one: the parameters of the
        model that ``lora_B`` and ``lora_A`` are parts of, each with the indices of that part. The module is one that
        holds the weight then, and no part of the model. Empty for layers.
    expert : bool
        Whether the weight is a part of a stack, which the model has in the place of ``weight``.
    swapped : bool
        Whether such a weight is stored as (inputs, outputs).
    """

    name: str
    weight: str
    module: Any = field(repr=False)
    scale: float = 1.0
    lora_A: Any = field(default=None, repr=False)
    lora_B: Any = field(default=None, repr=False)
    off: str | None = None
    moved_by: str | None = None
    kept: str | None = None
    magnitude: Any = field(default=None, repr=False)
    invoked: bool = False
    compressed: bool = False
    within: tuple[tuple[Any, Any], ...] = field(default=(), repr=False)
    expert: bool = False
    swapped: bool = False

    @property
    def turned(self) -> bool:
        """Whether the weight is stored as (inputs, outputs)."""
        return self.swapped or _is_turned(self.module)

    @property
    def held(self) -> tuple[tuple[Any, Any], ...]:
        """The parameters of the model that hold ``lora_B`` and ``lora_A``, each with the indices of its part."""
        return self.within or ((self.lora_B, ...), (self.lora_A, ...))

    @property
    def kernel(self) -> tuple[int, ...]:
        """The axes of a convolution's kernel; empty for other layers."""
        weight = getattr(self.module, "weight", None)  # some quantised layers have none
        return () if weight is None else tuple(weight.shape[2:])

    @property
    def shape(self) -> tuple[int, int]:
        """``(m, n)``: outputs and inputs."""
        rows, columns, *kernel = self.module.weight.shape
        return (int(columns), int(rows)) if self.turned else (int(rows), int(columns) * math.prod(kernel))

    @property
    def still(self) -> int | None:
        """The input of an embedding whose row of the weight no gradient moves, its padding index; None without one."""
        index = self.module.padding_idx if self.looks_up else None
        return None if index is None else index % len(self.module.weight)

    @property
    def looks_up(self) -> bool:
        """Whether the layer is an embedding, which is given the numbers of its inputs."""
        return isinstance(self.module, require_torch().nn.Embedding)

    def as_weight(self, matrix: Any) -> Any:
        """Return a matrix of the update's shape in that of the stored weight."""
        return (matrix.T if self.turned else matrix).reshape(tuple(self.module.weight.shape))

    def as_matrix(self, weight: Any) -> Any:
        """Return the inverse of :meth:`as_weight`."""
        return weight.T if self.turned else weight.reshape(len(weight), -1)

    def inputs(self, given: Any) -> Any:
        """Return what the layer multiplies by its weight: vectors of ``n`` entries along the last axis."""
        torch = require_torch()
        if self.looks_up:
            known = torch.arange(self.shape[1], device=given.device)
            return (given[..., None] == known) & (given[..., None] != (-1 if self.still is None else self.still))
        if not self.kernel:
            return given
        # Convolved with each entry of a kernel by itself.
        n = self.shape[1]
        entries = torch.eye(n, dtype=given.dtype, device=given.device).reshape(n, *self.module.weight.shape[1:])
        return self.outputs(self.module._conv_forward(given, entries, None))

    def outputs(self, found: Any) -> Any:
        """Return what the layer computes, vectors of ``m`` entries, with these along the last axis."""
        return found.movedim(-1 - len(self.kernel), -1) if self.kernel else found

    def computed(self, weight: Any) -> Any:
        """Return what the layer computes with at a weight ``W + s X``, in the place of ``W`` and without factors.

        The row of the padding index is that of ``W``; the rows of DoRA have their own lengths, which its layer measures
        and leaves as they are then, up to the sign.
        """
        if self.magnitude is not None:
            rows = self.as_matrix(weight)
            lengths = self.magnitude.detach().flatten().to(rows.dtype).abs()
            return self.as_weight(rows * (lengths / rows.norm(dim=1))[:, None])
        if self.still is None:
            return weight
        row = self.module.weight.detach()[self.still : self.still + 1].to(weight.dtype)
        return require_torch().cat([weight[: self.still], row, weight[self.still + 1 :]])

    @property
    def base_norm(self) -> float | None:
        """``||W||_2``; None where nothing says what update is large: the start changed ``W``, it is 0, or of DoRA."""
        if self.moved_by is not None or self.magnitude is not None:
            return None
        W = self._numbers()
        if not W.isfinite().all():
            raise ValueError(f"model: {self.name}: expected a weight of finite numbers, got one with others")
        return _spectral_norm(self.as_matrix(W)) or None

    @property
    def over_zero(self) -> bool:
        """Whether ``W = 0``, as of layers that begin at zero."""
        return not self._numbers().any()

    def _numbers(self) -> Any:
        """Return ``W`` in float32 or float64: of numbers of eight bits torch cannot tell whether they are finite."""
        torch = require_torch()
        W = whole(self.module.weight.detach())
        return W.to(torch.float64 if W.dtype == torch.float64 else torch.float32)

    @property
    def factors(self) -> tuple[Array, Array]:
        """``A`` (m, r) and ``B`` (n, r), copied in float64."""
        A, B = (part.detach().flatten(1).double().cpu().numpy() for part in (self.lora_B, self.lora_A))
        return np.array(A, order="C"), np.array(B.T, order="C")


def by_name(layers: Sequence[AdaptedLayer], weights: Sequence[Any]) -> dict[str, Any]:
    """Return what layers compute with by the names of their weights in the model, that of experts as one stack."""
    found: dict[str, Any] = {}
    stacks: dict[str, list[Any]] = {}
    for layer, weight in zip(layers, weights):
        if layer.expert:
            stacks.setdefault(layer.weight, []).append(weight)
        else:
            found[layer.weight] = weight
    return found | {name: require_torch().stack(parts) for name, parts in stacks.items()}


def _spectral_norm(W: Any) -> float:
    """Return ``||W||_2``: of a large matrix from below, to ``NORM_TOL`` squared or so, by products alone.

    A singular value decomposition of 4096 x 4096 numbers takes 13 s, and a model has many of them.
    """
    torch = require_torch()
    if W.numel() <= DENSE_LIMIT:
        return float(torch.linalg.matrix_norm(W, 2))

    def product(M: Any) -> Callable[[Array], Array]:
        return lambda V: (M @ torch.as_tensor(V, dtype=M.dtype, device=M.device)).cpu().numpy()

    operator = LinearMap((len(W), W.shape[1]), product(W), product(W.T))
    # A start of its own, as a verdict rests on it.
    return float(top_singular(operator, tol=NORM_TOL, rng=np.random.default_rng()).values[0])


def is_linear(module: Any) -> bool:
    """Return whether a module is a layer whose output is known to be linear in its weight."""
    nn = require_torch().nn
    return isinstance(module, nn.Linear | nn.Embedding | nn.Conv1d | nn.Conv2d | nn.Conv3d) or _is_turned(module)


def _is_turned(base: Any) -> bool:
    """Return whether a weight is (in, out): of an embedding, or of GPT-2's layer, which transformers calls Conv1D."""
    known = sys.modules.get("transformers.pytorch_utils")
    return isinstance(base, require_torch().nn.Embedding) or (known is not None and isinstance(base, known.Conv1D))
