"""How adapters of one base model interfere when they are added: overlap, rank and norms of the sum, exactly."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._support.files import PathLike
from .._support.text import counted, for_json
from .._support.threads import blas_threads
from .._support.validate import Array, as_iterable, as_path
from ..low_rank import RANK_TOL, factor_singular_values, truncated_svd
from .folder import UnreadableError, printable
from .layers import Adapter, LayerFactors, read


@dataclass(frozen=True, eq=False)
class SharedModule:
    """One module that several adapters change.

    Attributes
    ----------
    module : str
        Its name.
    adapters : tuple of int
        Which adapters have it, counted from 0.
    frobenius, ranks : tuple
        ``||X_i||_F`` and the numerical rank of each of their updates.
    cosines : ndarray, shape (k, k)
        ``<X_i, X_j>/(||X_i||_F ||X_j||_F)``; 0 where an update is 0.
    left, right : ndarray, shape (k, k)
        Mean squared cosine of the principal angles between the column (row) spaces of two updates: 1 if the smaller
        lies in the larger, 0 if they are orthogonal.
    sum_rank : int
        Numerical rank of the sum, counted against the norms of the updates, so that what cancels is 0; the sum of
        ``ranks`` if nothing is shared.
    sum_spectral, sum_frobenius, sum_nuclear : float
        Norms of the sum.
    dora : bool
        Whether one of them is DoRA's, whose update only gives the direction of the weight.
    """

    module: str
    adapters: tuple[int, ...]
    frobenius: tuple[float, ...]
    ranks: tuple[int, ...]
    cosines: Array
    left: Array
    right: Array
    sum_rank: int
    sum_spectral: float
    sum_frobenius: float
    sum_nuclear: float
    dora: bool

    @property
    def largest_cosine(self) -> float:
        """The cosine of largest size between two different updates, with its sign."""
        off = self.cosines[~np.eye(len(self.cosines), dtype=bool)]
        return float(off[np.argmax(np.abs(off))])

    @property
    def amplification(self) -> float:
        """``||sum X_i||_F`` over ``sqrt(sum ||X_i||_F^2)``: 1 for orthogonal updates, less where they cancel."""
        apart = math.hypot(*self.frobenius)
        return self.sum_frobenius / apart if apart else 1.0

    def to_dict(self) -> dict[str, object]:
        """Return all numbers as plain values."""
        return dict(for_json(vars(self) | {"largest_cosine": self.largest_cosine, "amplification": self.amplification}))


@dataclass(frozen=True)
class Interference:
    """Several adapters beside each other.

    Attributes
    ----------
    names : tuple of str
        The adapters.
    modules : tuple of SharedModule
        The modules that at least two of them change, largest cosine first.
    alone : tuple of int
        How many modules only one adapter changes, for each adapter.
    """

    names: tuple[str, ...]
    modules: tuple[SharedModule, ...]
    alone: tuple[int, ...]

    def __repr__(self) -> str:
        largest = f", largest cosine {self.modules[0].largest_cosine:.3g}" if self.modules else ""
        return f"Interference({len(self.names)} adapters: {counted(len(self.modules), 'shared module')}{largest})"

    def to_dict(self) -> dict[str, object]:
        """Return all numbers as plain values."""
        modules = [module.to_dict() for module in self.modules]
        return dict(for_json({"adapters": self.names, "alone": self.alone, "modules": modules}))


def interfere(paths: Sequence[PathLike]) -> Interference:
    """Compare the updates of adapters module by module.

    Parameters
    ----------
    paths : sequence of paths
        At least two adapters, as for :func:`~lorasolve.peft_files.read`.

    Raises
    ------
    UnreadableError
        If an adapter cannot be read, a layer of it is unusable, its initialization changed the base weight, or two
        adapters give one module different shapes.
    ValueError
        If fewer than two are given.

    Notes
    -----
    Everything follows from the factors: with ``A = [s_1 A_1, s_2 A_2, ...]`` and ``B = [B_1, B_2, ...]`` the sum is
    ``A B^T``, whose singular values a QR factorization of both gives, and ``<X_i, X_j> = s_i s_j tr((A_i^T A_j)
    (B_j^T B_i))``. No m x n matrix is formed.
    """
    paths = [as_path(path, "paths") for path in as_iterable(paths, "paths")]
    if len(paths) < 2:
        raise ValueError(f"paths: expected at least two adapters, got {len(paths)}")
    adapters = [read(path) for path in paths]
    for adapter in adapters:
        adapter.refuse_moved_base()
    holders: dict[str, list[int]] = {}
    for k, adapter in enumerate(adapters):
        for module in adapter.entries:
            holders.setdefault(module, []).append(k)
    shared: list[SharedModule] = []
    with blas_threads(1):
        for module, which in holders.items():
            if len(which) > 1:
                shared += _module(module, which, [adapters[k] for k in which])
    shared.sort(key=lambda one: -abs(one.largest_cosine))
    alone = [sum(which == [k] for which in holders.values()) for k in range(len(adapters))]
    return Interference(tuple(str(pathlib.Path(path)) for path in paths), tuple(shared), tuple(alone))


def _module(module: str, which: Sequence[int], adapters: Sequence[Adapter]) -> list[SharedModule]:
    """Return the comparison of one module, or one for each of its experts."""
    stacks = [adapter.factors(module) for adapter in adapters]
    if len({len(stack) for stack in stacks}) > 1:
        raise UnreadableError(f"{printable(module)}: the adapters have different numbers of experts")
    return [_compared(tuple(which), layers) for layers in zip(*stacks)]


def _compared(which: tuple[int, ...], layers: Sequence[LayerFactors]) -> SharedModule:
    if len({layer.shape for layer in layers}) > 1:
        shapes = ", ".join(str(layer.shape) for layer in layers)
        raise UnreadableError(f"{printable(layers[0].module)}: the updates have different shapes: {shapes}")
    k, tol = len(layers), max(RANK_TOL, *(2 * layer.roundoff for layer in layers))
    bases = [truncated_svd(layer.scale * layer.A, layer.B, tol) for layer in layers]
    norms = [float(np.linalg.norm(sigma)) for _, sigma, _ in bases]
    inner, left, right = np.zeros((k, k)), np.zeros((k, k)), np.zeros((k, k))
    for i, (P, s, Q) in enumerate(bases):
        for j, (U, t, V) in enumerate(bases):
            on_left, on_right = P.T @ U, Q.T @ V
            inner[i, j] = s @ (on_left * on_right) @ t
            small = max(min(P.shape[1], U.shape[1]), 1)
            left[i, j], right[i, j] = np.sum(on_left**2) / small, np.sum(on_right**2) / small
    size = np.outer(norms, norms)
    total = factor_singular_values(
        np.hstack([layer.scale * layer.A for layer in layers]), np.hstack([layer.B for layer in layers])
    )
    # Not the norm of the sum: where the updates cancel, that is rounding.
    largest = sum(float(sigma.max(initial=0.0)) for _, sigma, _ in bases)
    return SharedModule(
        module=layers[0].module,
        adapters=which,
        frobenius=tuple(norms),
        ranks=tuple(len(sigma) for _, sigma, _ in bases),
        cosines=np.divide(inner, size, out=np.zeros((k, k)), where=size > 0),
        left=left,
        right=right,
        sum_rank=int(np.count_nonzero(total > tol * largest)),
        sum_spectral=float(total[0]),
        sum_frobenius=float(np.linalg.norm(total)),
        sum_nuclear=float(total.sum()),
        dora=any(layer.dora for layer in layers),
    )
