"""The factored problem ``L(A, B) = f(s A B^T) + (lam/2)(||A||_F^2 + ||B||_F^2)`` and its convex counterpart."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ._validate import Array, as_float_array, as_integer, as_number, as_shape, require
from .adapters import registry as adapter_registry
from .adapters.base import Adapter, split
from .adapters.lora import LoRA
from .linear_map import factor_singular_values
from .objectives.base import DenseReference, Objective, as_objective


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """An objective, an adapter, a rank and a weight decay.

    A problem is a value: its fields cannot be assigned, :meth:`replace` makes another one. Two problems are equal only
    if they are the same object, because two losses cannot be compared.

    Parameters
    ----------
    objective : Objective or object
        The loss ``f`` of the update; any object with ``shape`` and ``value_and_grad(X) -> (float, G)`` works.
    rank : int
        Number of columns ``r`` of both factors, from 1 to ``min(m, n)``.
    lam : float
        Weight decay, >= 0.
    adapter : str or Adapter
        How parameters make the update, ``"lora"`` by default. Scaling and a frozen factor are options of
        ``lorasolve.adapters.LoRA``.

    Attributes
    ----------
    objective, rank, lam, adapter
        As given, checked.
    shape : tuple of int
        ``(m, n)``.
    dtype : numpy dtype
        The type of the factors.
    scale : float
        The factor ``s`` of the adapter.
    lam_effective : float
        ``lam / s``: the weight of ``||X||_*`` that the decay of unscaled factors amounts to.
    n_factor_parameters, size : int
        Number of parameters in both factors, and with the adapter's own.
    trainable : ndarray of bool or None
        Which parameters are trained, None for all.

    Raises
    ------
    dataclasses.FrozenInstanceError
        On an attempt to assign a field.
    ValueError, TypeError
        For a rank outside 1..min(m, n), a negative or non-finite ``lam``, or an adapter that the objective does
        not support.

    Notes
    -----
    Source: main paper, section 1 (derivatives; proofs/factor_derivatives) and section 2 (weight decay is the
    nuclear norm; proofs/nuclear_norm_variational).
    """

    objective: Objective
    rank: int
    lam: float = 0.0
    adapter: Adapter = "lora"  # type: ignore[assignment]
    shape: tuple[int, int] = field(init=False)
    dtype: Any = field(init=False)
    scale: float = field(init=False)
    lam_effective: float = field(init=False)
    n_factor_parameters: int = field(init=False)
    size: int = field(init=False)
    trainable: Array | None = field(init=False)

    if TYPE_CHECKING:
        # What the fields may be given as; the dataclass writes the constructor.
        def __init__(
            self, objective: Any, rank: int, lam: float = 0.0, adapter: str | Adapter = "lora"
        ) -> None: ...

    def __post_init__(self) -> None:
        objective = as_objective(self.objective)
        shape = objective.shape
        rank = as_integer(self.rank, "rank", 1, min(shape))
        lam = as_number(self.lam, "lam", 0.0)
        adapter = adapter_registry.make(self.adapter, "adapter")
        require(adapter.name, "adapter", adapter.refusal(objective))
        scale = adapter.scale_at(rank)
        factors = sum(shape) * rank
        checked = dict(
            objective=objective,
            rank=rank,
            lam=lam,
            adapter=adapter,
            shape=shape,
            dtype=objective.dtype,
            scale=scale,
            lam_effective=lam / scale,
            n_factor_parameters=factors,
            size=factors + adapter.n_extra(shape, rank),
            trainable=adapter.trainable(shape, rank),
        )
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        m, n = self.shape
        return (
            f"Problem({type(self.objective).__name__}, {m} x {n}, rank={self.rank}, lam={self.lam:g}, "
            f"adapter={self.adapter.name!r}, {self.size} parameters)"
        )

    def replace(self, **changes: Any) -> Problem:
        """Return a problem with some of ``objective``, ``rank``, ``lam``, ``adapter`` changed."""
        return replace(self, **changes)

    def plain(self) -> Problem:
        """Return the same problem with every answer derived from the objective's dense level."""
        return self.replace(objective=DenseReference(self.objective))

    # ------------------------------------------------------------------ flat parameters
    def split(self, theta: Array) -> tuple[Array, Array, Array]:
        """Return views of ``theta``: ``A`` (m, r), ``B`` (n, r) and the adapter's further parameters."""
        return split(theta, self.shape, self.rank)

    def join(self, A: ArrayLike, B: ArrayLike, extra: ArrayLike | None = None) -> Array:
        """Return the parameter vector made of checked factors (and the adapter's own start for the rest)."""
        m, n = self.shape
        A = as_shape(as_float_array(A, "A", 2, self.dtype), "A", (m, self.rank))
        B = as_shape(as_float_array(B, "B", 2, self.dtype), "B", (n, self.rank))
        if extra is None:
            extra = self.adapter.initial_extra(self.objective, A, B)
        return np.concatenate([A.ravel(), B.ravel(), np.asarray(extra, dtype=self.dtype)])

    def value_and_grad(self, theta: Array, grad: Array) -> float:
        """Write the gradient of ``L`` at ``theta`` into ``grad`` and return ``L(theta)``.

        A nonsmooth penalty of the adapter is part of the value, not of the gradient.
        """
        value = self.adapter.value_and_grad(self.objective, theta, self.rank, grad) + self.add_decay(theta, grad)
        if self.adapter.proximal:
            value += self.adapter.penalty(theta, self.shape, self.rank)
        return value

    def stationarity(self, theta: Array, grad: Array) -> float:
        """Return ``||grad L||_2`` from the gradient at ``theta``.

        Where the adapter has a nonsmooth penalty, ``grad`` is that of the smooth part, and the length of a
        proximal-gradient step of size 1 is returned: zero exactly at stationary points.
        """
        if self.adapter.proximal:
            moved = theta - grad
            self.adapter.prox(moved, self.shape, self.rank, 1.0)
            grad = theta - moved
        return math.sqrt(float(np.vdot(grad, grad)))

    def add_decay(self, theta: Array, grad: Array) -> float:
        """Add the gradient of the weight decay to ``grad`` and return its value."""
        if not self.lam:
            return 0.0
        count = self.n_factor_parameters
        factors = theta[:count]
        if self.objective.kernels.threaded and grad.flags.c_contiguous and grad.dtype == factors.dtype:
            # One pass; and a BLAS call here would leave threads spinning against the compiled oracle called next.
            from .kernels.factors import add_decay

            factors = np.require(factors, requirements=["C", "W"])
            square = add_decay(factors.dtype.type(self.lam), factors, grad[:count])[0]
        else:
            grad[:count] += self.lam * factors
            square = np.vdot(factors, factors)
        if self.trainable is not None:
            grad[~self.trainable] = 0.0
        return 0.5 * self.lam * float(square)

    def update(self, theta: Array) -> Array:
        """Return the update ``X`` (m, n) that ``theta`` stands for."""
        return self.adapter.update(self.objective, theta, self.rank)

    # ------------------------------------------------------------------ factors
    def value(self, A: ArrayLike, B: ArrayLike) -> float:
        """Return ``L(A, B)``."""
        theta = self.join(A, B)
        return self.value_and_grad(theta, np.empty_like(theta))

    def grad(self, A: ArrayLike, B: ArrayLike) -> tuple[Array, Array]:
        """Return ``grad_A L = s G B + lam A`` (m, r) and ``grad_B L = s G^T A + lam B`` (n, r)."""
        theta = self.join(A, B)
        grad = np.empty_like(theta)
        self.value_and_grad(theta, grad)
        return self.split(grad)[:2]

    def hvp(self, A: ArrayLike, B: ArrayLike, U: ArrayLike, V: ArrayLike) -> tuple[Array, Array]:
        """Return the Hessian of ``L`` at ``(A, B)`` times the direction ``(U, V)``.

        Its inner product with ``(U, V)`` is ``hess f[D, D] + 2 <G, U V^T> + lam (||U||^2 + ||V||^2)``,
        ``D = U B^T + A V^T`` for ``s = 1`` (main paper, section 1; proofs/factor_derivatives).
        """
        self.require_low_rank("hvp")
        m, n = self.shape
        A = as_shape(as_float_array(A, "A", 2), "A", (m, self.rank))
        B = as_shape(as_float_array(B, "B", 2), "B", (n, self.rank))
        U = as_shape(as_float_array(U, "U", 2), "U", (m, self.rank))
        V = as_shape(as_float_array(V, "V", 2), "V", (n, self.rank))
        s = self.scale
        HB, HtA = self.objective.factor_hvp(s * A, B, s * U, V)
        return s * HB + self.lam * U, HtA + self.lam * V

    def convex_value(self, X: ArrayLike) -> float:
        """Return ``F(X) = f(X) + (lam/s) ||X||_*`` for an update ``X`` (m, n)."""
        X = as_shape(as_float_array(X, "X", 2), "X", self.shape)
        nuclear = float(np.linalg.svd(X, compute_uv=False).sum()) if self.lam else 0.0
        return float(self.objective.value_and_grad(X)[0]) + self.lam_effective * nuclear

    def factored_convex_value(self, A: Array, B: Array) -> float:
        """Return ``F(s A B^T)`` from the factors alone."""
        nuclear = self.scale * float(factor_singular_values(A, B).sum())
        return self.objective.factor_value(self.scale * A, B) + self.lam_effective * nuclear

    def low_rank_refusal(self) -> str | None:
        """Return why what needs ``X = s A B^T`` does not apply, or None if it does."""
        if self.adapter.low_rank:
            return None
        return (
            f"needs an adapter with X = s A B^T (for example 'lora'); the update of {self.adapter.name!r} is not of "
            "this form"
        )

    def require_low_rank(self, what: str) -> None:
        """Refuse adapters whose update is not ``s A B^T``."""
        reason = self.low_rank_refusal()
        if reason is not None:
            raise ValueError(f"{what}: {reason}")


def full_fine_tuning(objective: Objective) -> tuple[Problem, tuple[Array, Array]]:
    """Return full fine-tuning as a problem, and its start ``X = 0``.

    The factor of the smaller side is the identity and frozen, so gradient descent on the other one is gradient
    descent on the whole update.
    """
    m, n = objective.shape
    k = min(m, n)
    problem = Problem(objective, k, adapter=LoRA(frozen="A" if m <= n else "B"))
    return problem, (np.eye(m, k), np.zeros((n, k))) if m <= n else (np.zeros((m, k)), np.eye(n, k))
