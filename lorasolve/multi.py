"""Several adapted matrices at once: one loss of a tuple ``X = (X_1, .., X_L)``, as Theorem 2 needs it.

A tuple of updates is a block-diagonal update: its nuclear norm is the sum of the blocks', the spectral norm of its
gradient the largest of the blocks', and block-diagonal factors multiply block by block. So the joint problem is an
ordinary :class:`~lorasolve.Problem` over block-diagonal factors, and every optimizer, the certificate and the
second-order products apply to it unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._validate import Array, as_float_array, as_integer, as_shape
from .adapters.base import split
from .adapters.lora import LoRA
from .engine import solve
from .inits import Init
from .inits import registry as init_registry
from .method import Method
from .objectives._facts import Facts, refuse_misspelt
from .objectives.base import Objective
from .objectives.linear import LinearFineTuning
from .objectives.two_layer import TwoLayer
from .optimizers import Optimizer
from .problem import Problem
from .result import Result

Shape = tuple[int, int]
Matrices = Sequence[Array]
Factors = Sequence[tuple[ArrayLike, ArrayLike]]


class MultiObjective:
    """Base class of smooth losses of several updates.

    Attributes
    ----------
    shapes : tuple of (int, int)
        ``(m_l, n_l)`` of each update.
    dtype
        As in :class:`~lorasolve.objectives.Objective`. Facts are stated as there, of ``f`` as a function of all
        updates jointly.
    """

    shapes: tuple[Shape, ...]
    dtype: Any = np.dtype(np.float64)

    @property
    def facts(self) -> Facts:
        """What is known about ``f``, collected from the attributes that state it."""
        return Facts.stated_by(self)

    def value_and_grad(self, X: Matrices) -> tuple[float, tuple[Array, ...]]:
        """Return ``f(X_1, .., X_L)`` and its gradients, one for each update."""
        raise NotImplementedError

    def hessian_product(self, X: Matrices, D: Matrices) -> tuple[Array, ...]:
        """Return the Hessian at ``X`` times the direction ``D``; by default a difference of gradients."""
        joint = BlockDiagonal(self)
        return joint.blocks(Objective.hessian_product(joint, joint.embed(X), joint.embed(D)))

    def sample_batch(self, index: Array) -> MultiObjective:
        """Return the loss restricted to the samples ``index``."""
        raise NotImplementedError(f"{type(self).__name__} is not a mean over samples")

    def block(self, index: int, X: Matrices) -> Objective:
        """Return the loss of one update with the others fixed at ``X`` (the l-th diagonal block of the Hessian)."""
        return BlockView(self, index, X)

    def metrics(self, X: Matrices) -> dict[str, float]:
        """Return named measures of quality."""
        return {}


class BlockView(Objective):
    """The loss of one update while the others keep their values."""

    def __init__(self, objective: MultiObjective, index: int, X: Matrices) -> None:
        self.objective = objective
        self.index = as_integer(index, "index", 0, len(objective.shapes) - 1)
        if len(X) != len(objective.shapes):
            raise ValueError(f"X: expected {len(objective.shapes)} updates, got {len(X)}")
        self.others = [
            as_shape(np.asarray(x), f"X[{k}]", shape) for k, (x, shape) in enumerate(zip(X, objective.shapes))
        ]
        self.shape = objective.shapes[index]
        self.dtype = objective.dtype

    @property
    def facts(self) -> Facts:
        """Those of the whole: each holds for the loss restricted to one update."""
        return self.objective.facts

    def _with(self, X: Array) -> list[Array]:
        return [X if k == self.index else other for k, other in enumerate(self.others)]

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f`` with this update set to ``X``, and the gradient in it."""
        f, G = self.objective.value_and_grad(self._with(X))
        return f, G[self.index]

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return the diagonal block of the Hessian times ``D``."""
        direction = [D if k == self.index else np.zeros(shape) for k, shape in enumerate(self.objective.shapes)]
        return self.objective.hessian_product(self._with(X), direction)[self.index]

    def sample_batch(self, index: Array) -> Objective:
        """Return the block of the batch, with the other updates at the same values."""
        return BlockView(self.objective.sample_batch(index), self.index, self.others)

    def metrics(self, X: Array) -> dict[str, float]:
        """Return the metrics of the whole with this update set to ``X``."""
        return self.objective.metrics(self._with(X))


class BlockDiagonal(Objective):
    """A loss of several updates as a loss of the block-diagonal matrix made of them.

    Entries outside the diagonal blocks have no influence. ``blocks`` reads the updates, ``embed`` writes them.
    """

    def __init__(self, objective: MultiObjective) -> None:
        self.objective = objective
        self.shapes = objective.shapes
        self.shape = (sum(m for m, _ in self.shapes), sum(n for _, n in self.shapes))
        self.dtype = objective.dtype

    @property
    def facts(self) -> Facts:
        """Those of the inner loss: reading the diagonal blocks is linear and shortens nothing else."""
        return self.objective.facts

    def blocks(self, X: Array) -> tuple[Array, ...]:
        """Return views of the diagonal blocks of ``X``."""
        return _diagonal_blocks(X, self.shapes)

    def embed(self, X: Matrices) -> Array:
        """Return the block-diagonal matrix with the blocks ``X``."""
        return _block_diagonal(X, self.shapes)

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f`` of the diagonal blocks and the block-diagonal gradient."""
        f, G = self.objective.value_and_grad(self.blocks(X))
        return f, self.embed(G)

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return the block-diagonal Hessian product."""
        return self.embed(self.objective.hessian_product(self.blocks(X), self.blocks(D)))

    def sample_batch(self, index: Array) -> Objective:
        """Return the batch of the inner loss."""
        return BlockDiagonal(self.objective.sample_batch(index))

    def metrics(self, X: Array) -> dict[str, float]:
        """Return the metrics of the inner loss."""
        return self.objective.metrics(self.blocks(X))


@dataclass(frozen=True)
class BlockLoRA(LoRA):
    """LoRA with block-diagonal factors.

    Outside the blocks the factors are zero and stay so: products of block-diagonal matrices are block-diagonal, the
    gradient's included.
    """

    shapes: tuple[Shape, ...] = ()
    ranks: tuple[int, ...] = ()

    name = "block_lora"
    summary = "X = A B^T with block-diagonal factors, for several matrices at once"

    def trainable(self, shape: tuple[int, int], rank: int) -> Array | None:
        """Return the mask of the diagonal blocks."""
        mask = np.zeros(sum(shape) * rank, dtype=bool)
        A, B, _ = split(mask, shape, rank)
        for part, side in ((A, 0), (B, 1)):
            for block in _diagonal_blocks(part, [(dims[side], r) for dims, r in zip(self.shapes, self.ranks)]):
                block[:] = True
        return mask


class MultiProblem:
    """``L(A_1, B_1, .., A_L, B_L) = f(A_1 B_1^T, .., A_L B_L^T) + (lam/2) sum_l (||A_l||_F^2 + ||B_l||_F^2)``.

    Parameters
    ----------
    objective : MultiObjective
        The loss of all updates.
    ranks : int or sequence of int
        LoRA rank of each update, from 1 to ``min(m_l, n_l)``; one number serves all.
    lam : float
        Weight decay, >= 0.

    Attributes
    ----------
    joint : Problem
        The same problem over block-diagonal factors, for :func:`lorasolve.solve`, :func:`lorasolve.certify` and
        whatever else takes a problem.

    Raises
    ------
    ValueError, TypeError
        For a number of ranks other than the number of updates, a rank out of range, a bad ``lam``.

    Notes
    -----
    Source: main paper, Theorem 2. Its block constants ``alpha_l``, ``beta_l`` are those of :meth:`block`.
    """

    def __init__(self, objective: MultiObjective, ranks: int | Sequence[int], lam: float = 0.0) -> None:
        if not isinstance(objective, MultiObjective):
            raise TypeError(f"objective: expected a MultiObjective, got {type(objective).__name__}")
        refuse_misspelt(objective)
        self.objective = objective
        self.shapes = objective.shapes
        given = list(ranks) if isinstance(ranks, (list, tuple, np.ndarray)) else [ranks] * len(self.shapes)
        if len(given) != len(self.shapes):
            raise ValueError(f"ranks: expected one number or {len(self.shapes)}, got {len(given)}")
        self.ranks = tuple(
            as_integer(r, f"ranks[{k}]", 1, min(shape)) for k, (r, shape) in enumerate(zip(given, self.shapes))
        )
        adapter = BlockLoRA(shapes=self.shapes, ranks=self.ranks)
        self.joint = Problem(BlockDiagonal(objective), sum(self.ranks), lam, adapter)
        self.lam = self.joint.lam
        self.left = [(m, r) for (m, _), r in zip(self.shapes, self.ranks)]
        self.right = [(n, r) for (_, n), r in zip(self.shapes, self.ranks)]

    def __repr__(self) -> str:
        blocks = ", ".join(f"{m} x {n} rank {r}" for (m, n), r in zip(self.shapes, self.ranks))
        return f"MultiProblem({type(self.objective).__name__}, [{blocks}], lam={self.lam:g})"

    # ------------------------------------------------------------------ block-diagonal factors and back
    def join(self, factors: Factors) -> tuple[Array, Array]:
        """Return the block-diagonal factors made of checked pairs ``(A_l, B_l)``."""
        if len(factors) != len(self.shapes):
            raise ValueError(f"factors: expected {len(self.shapes)} pairs (A_l, B_l), got {len(factors)}")
        As, Bs = [], []
        for k, (A, B) in enumerate(factors):
            As.append(as_shape(as_float_array(A, f"A[{k}]", 2), f"A[{k}]", self.left[k]))
            Bs.append(as_shape(as_float_array(B, f"B[{k}]", 2), f"B[{k}]", self.right[k]))
        return _block_diagonal(As, self.left), _block_diagonal(Bs, self.right)

    def split(self, A: Array, B: Array) -> tuple[tuple[Array, Array], ...]:
        """Return views ``(A_l, B_l)`` of block-diagonal factors, for example of ``result.A, result.B``."""
        return tuple(zip(_diagonal_blocks(A, self.left), _diagonal_blocks(B, self.right)))

    # ------------------------------------------------------------------ the problem in factors
    def value(self, factors: Factors) -> float:
        """Return ``L`` at the pairs ``(A_l, B_l)``."""
        return self.joint.value(*self.join(factors))

    def grad(self, factors: Factors) -> tuple[tuple[Array, Array], ...]:
        """Return ``(G_l B_l + lam A_l, G_l^T A_l + lam B_l)`` for each block."""
        return self.split(*self.joint.grad(*self.join(factors)))

    def hvp(self, factors: Factors, directions: Factors) -> tuple[tuple[Array, Array], ...]:
        """Return the Hessian of ``L``, couplings between blocks included, times directions ``(U_l, V_l)``."""
        return self.split(*self.joint.hvp(*self.join(factors), *self.join(directions)))

    def block(self, index: int, X: Matrices) -> Objective:
        """Return ``f`` as a function of the update ``X[index]`` with the others fixed at ``X``."""
        return self.objective.block(as_integer(index, "index", 0, len(self.shapes) - 1), X)

    def block_problem(self, index: int, X: Matrices) -> Problem:
        """Return the single-matrix problem of one block with the others fixed at ``X``.

        A second-order stationary point of the whole is one of every block problem.
        """
        return Problem(self.block(index, X), self.ranks[index], self.lam)

    def start(self, init: str | Init, rng: np.random.Generator) -> tuple[tuple[Array, Array], ...]:
        """Return the factors that an init gives to each block with all other updates zero."""
        maker = init_registry.make(init, "init")
        zeros = [np.zeros(shape, self.joint.dtype) for shape in self.shapes]
        starts = [maker.start(self.block_problem(k, zeros), rng) for k in range(len(self.shapes))]
        if any(start.merged is not None for start in starts):
            raise ValueError(f"init: {maker.name!r} changes the frozen weight, which several matrices do not support")
        return tuple((start.A, start.B) for start in starts)

    def solve(
        self,
        method: str | Optimizer | Method = "gd",
        init: str | Init | Factors | None = None,
        seed: int = 0,
        **options: Any,
    ) -> Result:
        """Minimise ``L`` with :func:`lorasolve.solve` on the joint problem.

        Parameters
        ----------
        method : str, Optimizer or Method
            As in :func:`lorasolve.solve`.
        init : str, Init or sequence of pairs, optional
            Replaces the method's init, which is applied to each block; or the pairs ``(A_l, B_l)``.
        seed, **options
            As in :func:`lorasolve.solve`.

        Returns
        -------
        Result
            Of the joint problem; :meth:`split` turns ``result.A, result.B`` into pairs.
        """
        method = Method.of(method)
        init = method.init if init is None else init
        if isinstance(init, (str, Init)):
            init = self.start(init, np.random.default_rng(seed))
        return solve(self.joint, method, self.join(init), seed, **options)


class TwoLayerPair(MultiObjective):
    """A two-layer network with both layers adapted: ``f(X_1, X_2) = ||(V + X_2) phi((W + X_1) Z) - Y||_F^2 / (2N)``.

    Not convex. With the first layer fixed it is least squares in the second; with the second fixed it is
    :class:`~lorasolve.objectives.TwoLayer` in the first. :meth:`block` returns exactly these.

    Parameters
    ----------
    W : array_like of shape (m, n)
        First layer.
    V : array_like of shape (p, m)
        Second layer.
    Z : array_like of shape (n, N)
        Inputs, one sample per column.
    Y : array_like of shape (p, N)
        Responses.
    activation : {"tanh", "softplus", "gelu", "relu"}
        ``phi``; relu has no second-order answers.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not match, empty or non-finite data, an unknown activation.
    """

    lower_bound = 0.0
    n_samples: int

    def __init__(self, W: ArrayLike, V: ArrayLike, Z: ArrayLike, Y: ArrayLike, activation: str = "tanh") -> None:
        first = TwoLayer(W, V, Z, Y, activation)
        self.W, self.V, self.Z, self.Y = first.W0, first.V, first.Z, first.targets
        self.activation = first.activation
        self.shapes = (first.shape, (self.V.shape[0], self.V.shape[1]))
        self.dtype = first.dtype
        self.has_hessian = first.has_hessian
        self.n_samples = first.n_samples

    def value_and_grad(self, X: Matrices) -> tuple[float, tuple[Array, ...]]:
        """Return the squared error and its gradients by back-propagation."""
        h = (self.W + X[0]) @ self.Z
        hidden = self.activation.value(h)
        V = self.V + X[1]
        E = V @ hidden - self.Y
        R = E / self.n_samples
        first = (self.activation.first(h) * (V.T @ R)) @ self.Z.T
        return 0.5 * float(np.vdot(E, R)), (first, R @ hidden.T)

    def hessian_product(self, X: Matrices, D: Matrices) -> tuple[Array, ...]:
        """Return the exact Hessian product, the coupling of the layers included."""
        h = (self.W + X[0]) @ self.Z
        hidden, slope, bend = self.activation.value(h), self.activation.first(h), self.activation.second(h)
        V = self.V + X[1]
        R = (V @ hidden - self.Y) / self.n_samples
        dh = D[0] @ self.Z
        d_hidden = slope * dh
        dR = (V @ d_hidden + D[1] @ hidden) / self.n_samples
        first = bend * dh * (V.T @ R) + slope * (D[1].T @ R + V.T @ dR)
        return first @ self.Z.T, dR @ hidden.T + R @ d_hidden.T

    def block(self, index: int, X: Matrices) -> Objective:
        """Return the network as a function of its first layer (index 0), or least squares in its second (1)."""
        if as_integer(index, "index", 0, 1) == 0:
            return TwoLayer(self.W, self.V + X[1], self.Z, self.Y, self.activation.name)
        return LinearFineTuning(self.V, self.activation.value((self.W + X[0]) @ self.Z), self.Y)

    def sample_batch(self, index: Array) -> MultiObjective:
        """Return the mean over the samples ``index``."""
        return TwoLayerPair(self.W, self.V, self.Z[:, index], self.Y[:, index], self.activation.name)

    def metrics(self, X: Matrices) -> dict[str, float]:
        """Return the root mean squared error over all responses."""
        f = self.value_and_grad(X)[0]
        return {"rmse": float(np.sqrt(2.0 * f * self.n_samples / self.Y.size))}


def _diagonal_blocks(X: Array, shapes: Sequence[Shape]) -> tuple[Array, ...]:
    """Return views of the diagonal blocks of the given shapes."""
    rows = np.cumsum([0, *(m for m, _ in shapes)])
    columns = np.cumsum([0, *(n for _, n in shapes)])
    return tuple(X[i : i + m, j : j + n] for i, j, (m, n) in zip(rows, columns, shapes))


def _block_diagonal(X: Matrices, shapes: Sequence[Shape]) -> Array:
    """Return the block-diagonal matrix of the given blocks."""
    whole = np.zeros((sum(m for m, _ in shapes), sum(n for _, n in shapes)), np.result_type(*X))
    for view, block in zip(_diagonal_blocks(whole, shapes), X):
        view[:] = block
    return whole
