"""The factored problem ``L(A, B) = f(s A B^T) + (lam/2)(||A||_F^2 + ||B||_F^2)`` and its convex counterpart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from .._support.files import PathLike
from .._support.keywords import names_settings
from .._support.origin import is_shipped
from .._support.text import component_text
from .._support.validate import (
    Array,
    as_array,
    as_float_array,
    as_integer,
    as_number,
    as_path,
    as_shape,
    require,
    shown,
)
from ..adapters import registry as adapter_registry
from ..adapters.base import Adapter, contradiction, split
from ..adapters.lora import LoRA
from ..dense import SQUARED, frobenius_norm
from ..linear_map import LinearMap
from ..low_rank import factor_singular_values
from ..objectives import DenseReference, as_objective, real_value
from ..objectives.base import Objective
from ..singular_triplets import top_singular
from . import sdpa
from .blocks import MultiObjective, OneBlock
from .natural_units import Units, gradient_at_zero, units, value_at_zero
from .pairs import Pairs


@names_settings
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
    shapes, ranks : tuple
        The same as ``shape`` and ``rank``, one entry for each matrix; so that whatever is written for
        :meth:`split_blocks` serves :class:`~lorasolve.MultiProblem` too.
    several : bool
        True for a :class:`~lorasolve.MultiProblem`.
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
    shapes: tuple[tuple[int, int], ...] = field(init=False)
    ranks: tuple[int, ...] = field(init=False)
    dtype: Any = field(init=False)
    scale: float = field(init=False)
    lam_effective: float = field(init=False)
    n_factor_parameters: int = field(init=False)
    size: int = field(init=False)
    trainable: Array | None = field(init=False)

    several: ClassVar[bool] = False

    if TYPE_CHECKING:
        # What the fields may be given as; the dataclass writes the constructor.
        def __init__(
            self, objective: Any, rank: SupportsIndex, lam: float = 0.0, adapter: str | Adapter = "lora"
        ) -> None: ...

    def __post_init__(self) -> None:
        objective = as_objective(self.objective)
        shape = objective.shape
        rank = as_integer(self.rank, "rank", 1, min(shape))
        lam = as_number(self.lam, "lam", 0.0)
        adapter = adapter_registry.make(self.adapter, "adapter")
        require(adapter.name, "adapter", adapter.refusal(objective))
        require(adapter.name, "adapter", contradiction(adapter, objective, rank))
        scale = adapter.scale_at(rank)
        if scale == 0.0 or not math.isfinite(lam / scale):
            raise ValueError(f"adapter: its scaling s = {scale:g} leaves lam/s, the weight of ||X||_*, no number")
        factors = sum(shape) * rank
        checked = dict(
            objective=objective,
            rank=rank,
            lam=lam,
            adapter=adapter,
            shape=shape,
            shapes=(shape,),
            ranks=(rank,),
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
            f"Problem({self.objective.label}, {m} x {n}, rank={self.rank}, lam={self.lam:g}, "
            f"adapter={component_text(self.adapter)!r}, {self.size} parameters)"
        )

    def replace(self, **changes: Any) -> Problem:
        """Return a problem with some of ``objective``, ``rank``, ``lam``, ``adapter`` changed."""
        return replace(self, **changes)

    def plain(self) -> Problem:
        """Return the same problem with every answer derived from the objective's dense level."""
        return self.replace(objective=DenseReference(self.objective))

    @property
    def loss(self) -> MultiObjective:
        """``f`` as a loss of a tuple of updates, one for each matrix."""
        return OneBlock(self.objective)

    def parts(self) -> tuple[Problem, ...]:
        """Return a problem for each matrix, the other updates at zero: what an init makes the start of each from."""
        return (self,)

    def alone(self, theta: Array) -> tuple[Problem, ...]:
        """Return the problem of each matrix with the others as they are."""
        return (self,)

    @property
    def summands(self) -> tuple[Problem, ...]:
        """The problem of each matrix, where the others do not matter."""
        return (self,)

    @cached_property
    def units(self) -> Units:
        """What tolerances on the gradient and the factors are relative to (``natural_units.py``)."""
        return units(self)

    @cached_property
    def value_at_zero(self) -> float:
        """``f(0)``, the loss of the frozen weights."""
        return value_at_zero(self)

    # ------------------------------------------------------------------ flat parameters
    def split(self, theta: Array) -> tuple[Array, Array, Array]:
        """Return views of ``theta``: ``A`` (m, r), ``B`` (n, r) and the adapter's further parameters."""
        return split(self._all_parameters(theta), self.shape, self.rank)

    def _all_parameters(self, theta: Array, argument: str = "theta") -> Array:
        """Refuse what is no vector of as many numbers; of a longer one the rest would be silently left out."""
        if not isinstance(theta, np.ndarray) or theta.shape != (self.size,):
            raise ValueError(f"{argument}: expected a vector of {self.size} parameters, got {shown(theta)}")
        return theta

    def split_blocks(self, theta: Array) -> tuple[tuple[Array, Array], ...]:
        """Return views ``(A_l, B_l)`` of ``theta``, one pair for each matrix."""
        return (self.split(theta)[:2],)

    def unpaired(self, factors: Pairs) -> tuple[Any, Any]:
        """Return pairs ``(A_l, B_l)`` as ``A`` and ``B``: arrays here, tuples of them for several matrices."""
        return factors[0]

    def join(self, A: ArrayLike, B: ArrayLike, extra: ArrayLike | None = None) -> Array:
        """Return the parameter vector made of checked factors (and the adapter's own start for the rest)."""
        ((A, B),) = self.checked_factors(A, B, self.dtype)
        if extra is None:
            extra = self.adapter.initial_extra(self.objective, A, B)
        elif self.size > self.n_factor_parameters:
            extra = as_float_array(extra, "extra", 1)
        extra = as_shape(as_array(extra, "extra"), "extra", (self.size - self.n_factor_parameters,))
        return np.concatenate([A.ravel(), B.ravel(), extra.astype(self.dtype)])

    def checked_factors(
        self, A: Any, B: Any, dtype: Any = None, names: tuple[str, str] = ("A", "B"), any_rank: bool = False
    ) -> tuple[tuple[Array, Array], ...]:
        """Return the pairs ``(A_l, B_l)`` of given factors, checked; with the rank of the problem or ``any_rank``."""
        return (checked_pair(A, B, self.shape, None if any_rank else self.rank, dtype, names),)

    def value_and_grad(self, theta: Array, grad: Array) -> float:
        """Write the gradient of ``L`` at ``theta`` into ``grad`` and return ``L(theta)``.

        A nonsmooth penalty of the adapter is part of the value, not of the gradient.
        """
        self._all_parameters(theta)
        self._all_parameters(grad, "grad")
        f = self.adapter.value_and_grad(self.objective, theta, self.rank, grad)
        if not isinstance(f, (float, Real)):  # of a float that is known five times as soon
            f = self._value_of(f)
        value = f + self.add_decay(theta, grad)
        if self.adapter.proximal:
            value += self.adapter.penalty(theta, self.shape, self.rank)
        return value

    def _value_of(self, given: Any) -> float:
        """Return what the adapter has returned as a number, or say whose answer it is that is none."""
        if is_shipped(type(self.adapter)):
            return real_value(given, self.objective.label, "factor_oracle")
        raise TypeError(f"adapter: {self.adapter.name}.value_and_grad returned {shown(given)}, expected the value of f")

    def stationarity(self, theta: Array, grad: Array) -> float:
        """Return ``||grad L||_2`` from the gradient at ``theta``.

        Where the adapter has a nonsmooth penalty, ``grad`` is that of the smooth part, and the length of a
        proximal-gradient step over its size is returned, for steps of size 1 over the slope of :attr:`units`: zero
        exactly at stationary points.
        """
        self._all_parameters(grad, "grad")
        if self.adapter.proximal:
            step = 1.0 / (self.units.slope or 1.0)
            moved = theta - step * grad
            self.adapter.prox(moved, self.shape, self.rank, step)
            grad = (theta - moved) / step
        length = math.sqrt(float(np.vdot(grad, grad)))
        # A gradient is not 0 where no more than its squares are.
        return frobenius_norm(grad) if length <= SQUARED[grad.dtype] else length

    def add_decay(self, theta: Array, grad: Array) -> float:
        """Add the gradient of the weight decay to ``grad`` and return its value."""
        if not self.lam:
            return 0.0
        count = self.n_factor_parameters
        factors = theta[:count]
        if self.objective.kernels.threaded and grad.flags.c_contiguous and grad.dtype == factors.dtype:
            # One pass; and a BLAS call here would leave threads spinning against the compiled oracle called next.
            from ..kernels.factors import add_decay

            factors = np.require(factors, requirements=["C", "W"])
            square = add_decay(factors.dtype.type(self.lam), factors, grad[:count])[0]
        else:
            grad[:count] += self.lam * factors
            square = np.vdot(factors, factors)
        if self.trainable is not None:
            grad[~self.trainable] = 0.0
        return 0.5 * self.lam * float(square)

    def prox(self, theta: Array, step: float) -> None:
        """Replace ``theta`` by the proximal map of ``step`` times the adapter's penalty there, in place."""
        self.adapter.prox(theta, self.shape, self.rank, step)

    def gradient_operators(self, theta: Array) -> tuple[LinearMap, ...]:
        """Return the gradient of ``f`` at the update of each matrix, in float64 (adapters with ``X = s A B^T``)."""
        return self.loss.gradient_operators(self._scaled(self.split_blocks(theta)))

    def sampled_smoothness(self, theta: Array) -> float:
        """Return the largest curvature of ``f`` found at ``theta`` (SAMPLED: a lower bound on its smoothness)."""
        return self.loss.sampled_smoothness(self._scaled(self.split_blocks(theta)))

    def value_noise(self, theta: Array) -> float:
        """Return what the loss states of the rounding errors of its values; 0 where the update is not ``s A B^T``."""
        if not self.adapter.low_rank:
            return 0.0
        return self.loss.rounding_noise(self._scaled(self.split_blocks(theta))).value

    def hessian_at(self, theta: Array) -> Callable[[Array], Array]:
        """Return what multiplies flat directions by the Hessian of ``L`` at ``theta`` (adapters with ``X = s A B^T``).

        What all products share, as the gradient, is computed once: ``theta`` must stay as it is.
        """
        self.require_low_rank("hessian_at")
        product = self.loss.hessian_at(self._scaled(self.split_blocks(theta)))

        def of_direction(direction: Array) -> Array:
            self._all_parameters(direction, "direction")
            products = product(self._scaled(self.split_blocks(direction)))
            flat = np.concatenate([part.ravel() for HB, HtA in products for part in (self.scale * HB, HtA)])
            return flat + self.lam * direction[: self.n_factor_parameters]

        return of_direction

    def hessian_product(self, theta: Array, direction: Array) -> Array:
        """Return one product of :meth:`hessian_at`."""
        return self.hessian_at(theta)(direction)

    def _scaled(self, factors: Pairs) -> Pairs:
        return factors if self.scale == 1.0 else [(self.scale * A, B) for A, B in factors]

    def update(self, theta: Array) -> Array:
        """Return the update ``X`` (m, n) that ``theta`` stands for."""
        return self.adapter.update(self.objective, self._all_parameters(theta), self.rank)

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
        theta = flat(self.checked_factors(A, B))
        direction = flat(self.checked_factors(U, V, names=("U", "V")))
        return self.split(self.hessian_product(theta, direction))[:2]

    def checked_updates(self, X: Any, name: str = "X") -> tuple[Array, ...]:
        """Return the update of each matrix, checked, in float64."""
        return (as_shape(as_float_array(X, name, 2, np.float64), name, self.shape),)

    def convex_value(self, X: Any) -> float:
        """Return ``F(X) = f(X) + (lam/s) ||X||_*`` for an update ``X`` (m, n)."""
        updates = self.checked_updates(X)
        norms = (float(np.linalg.svd(x, compute_uv=False).sum()) for x in updates)
        f = self.loss.checked_value_and_grad(updates)[0]
        return f + self.lam_effective * sum(norms) if self.lam else f

    def factored_convex_value(self, A: ArrayLike, B: ArrayLike) -> float:
        """Return ``F(s A B^T)`` from factors alone, which may have any number of columns."""
        pairs = self._scaled(self.checked_factors(A, B, any_rank=True))
        return self.loss.factor_value(pairs) + self.lam_effective * nuclear_norm(pairs)

    def one_matrix_refusal(self) -> str | None:
        """Return why what works on one matrix does not apply, or None if it does."""
        return f"works on one matrix, and this problem has {len(self.shapes)}" if self.several else None

    def require_one_matrix(self, what: str) -> None:
        """Refuse problems of several matrices."""
        reason = self.one_matrix_refusal()
        if reason is not None:
            raise ValueError(f"{what}: {reason}")

    def critical_lam(self) -> float:
        """Return ``s ||grad f(0)||_2``, the least ``lam`` at which ``X = 0`` minimises ``F`` for convex ``f``.

        A weight decay to begin with is a tenth of it, which is what the command line takes.
        """
        return float(self.scale * max(top_singular(G).values[0] for G in gradient_at_zero(self)))

    def to_sdpa(self, path: PathLike) -> None:
        """Write ``min f(X) + (lam/s) ||X||_*`` as a semidefinite program in the SDPA sparse format, for any SDP solver.

        Parameters
        ----------
        path : path
            The file, usually ``NAME.dat-s``. What CSDP writes for it is read by
            :func:`~lorasolve.convex.read_sdpa_solution`.

        Raises
        ------
        ValueError
            Unless ``f`` is least squares of one matrix that can be written down as data, and ``lam > 0``, and for a
            loss of your own whose ``description()`` cannot be evaluated or is another loss than ``value_and_grad``.
        TypeError
            If that ``description()`` is none.
        OSError
            If the file cannot be written.
        """
        self.require_one_matrix("to_sdpa")
        self.require_low_rank("to_sdpa")
        path = as_path(path, "path")
        try:
            sdpa.write_sdpa(path, self.objective, self.lam_effective)
        except (TypeError, ValueError) as error:
            raise type(error)(f"to_sdpa: {error}") from error

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


def nuclear_norm(factors: Pairs) -> float:
    """Return ``sum_l ||A_l B_l^T||_*``."""
    return sum(float(factor_singular_values(A, B).sum()) for A, B in factors)


def checked_pair(
    A: Any, B: Any, shape: tuple[int, int], rank: int | None, dtype: Any, names: tuple[str, str]
) -> tuple[Array, Array]:
    """Return float factors of an update of a shape with a number of columns, by default that of ``A``."""
    A, B = (as_float_array(factor, name, 2, dtype) for factor, name in zip((A, B), names))
    columns = A.shape[1] if rank is None else rank
    return as_shape(A, names[0], (shape[0], columns)), as_shape(B, names[1], (shape[1], columns))


def flat(factors: Pairs) -> Array:
    """Return the parameter vector of pairs ``(A_l, B_l)``."""
    return np.concatenate([part.ravel() for pair in factors for part in pair])
