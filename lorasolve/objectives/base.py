"""What an objective is: the smooth loss ``f`` of the update ``X``.

All that must be written is ``shape`` and ``value_and_grad(X)``. The rest is optional: facts, which certificates and
derived step sizes rest on (``_facts.py``); faster answers at the level of the factors, where no m x n matrix is
formed; compiled kernels (``_kernels.py``). Whatever is missing is derived, or refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .._support.origin import is_shipped
from .._support.validate import Array
from ..dense import frobenius_norm
from ..linear_map import LinearMap
from ._answers import ShownPrecision, real_value
from ._description import Description
from ._differences import difference_product, factored, natural_length
from ._facts import Facts, no_batches
from ._increments import Increments
from ._kernels import Kernels
from ._products import complete_products
from ._shapes import check_shapes

# Multiplies a direction (U, V) by the Hessian of ``f(A B^T)`` in the factors.
PairProduct = Callable[[Array, Array], tuple[Array, Array]]


class Rounding(NamedTuple):
    """Sizes of the rounding errors in ``f`` and, in norm, in its gradient, beyond those of their own size."""

    value: float
    gradient: float


def allowance(dtype: np.dtype | type | str) -> float:
    """Return what rounding errors are taken to be relative to the numbers that a value is made of."""
    return 8.0 * float(np.finfo(dtype).eps)


class ObservedPart(NamedTuple):
    """A loss without the rows and columns that it does not see, and the numbers of those that it does."""

    objective: Objective
    rows: Array
    cols: Array


class Objective(ShownPrecision):
    """Base class of all objectives. A new one writes four things:

    1. ``shape``: the tuple ``(m, n)``, on the class or set by the constructor;
    2. ``value_and_grad(X)``, which returns ``f(X)`` and its gradient;
    3. what is known about ``f``, as plain attributes: ``convex = True``, ``lower_bound = 0.0``, ... (all of them under
       :class:`~lorasolve.objectives.Facts`; whoever uses an objective reads ``objective.facts.convex``);
    4. for an objective of the package's folder ``name``, ``summary`` and ``example(rng)``, a small random instance that
       the tests are run on.

    Optional levels, each with a default: ``hessian_product`` (a difference of gradients); ``factor_oracle`` and the
    other ``factor_...`` answers at ``X = A B^T``, ``hessian_at``, ``gradient_operator``, ``oracle_and_operator`` and
    ``curvature_along`` (derived from the dense level); ``in_float64`` and ``dtypes`` (float64 only);
    ``merged`` (a shift); ``domain`` (everywhere); ``minimizer``, ``least_values`` and ``conjugate`` (none);
    ``rounding_noise`` (that of numbers of the size of ``f``);
    ``sample_batch``, ``minimize_over_A``, ``minimize_over_B``, ``cvxpy_expression``, ``description`` (refused);
    ``metrics`` (none); ``kernels`` and ``increments`` (none).

    Attributes
    ----------
    shape : tuple of int
        ``(m, n)``, the shape of the update.
    dtype : numpy dtype
        The type of the factors that the oracle works with, float64 by default.
    dtypes : tuple of str
        The types that the class serves. One that lists ``"float32"`` too takes a second argument in
        ``example(rng, dtype)`` and overrides ``in_float64``.
    W0 : ndarray of shape (m, n) or None
        The frozen weight, for objectives that have one.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    dtypes: ClassVar[tuple[str, ...]] = ("float64",)
    shape: tuple[int, int]
    W0: Array | None = None

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        complete_products(cls, 2)
        check_shapes(cls)

    def __repr__(self) -> str:
        shape = getattr(self, "shape", None)
        return f"{self.label}({shape[0]} x {shape[1]})" if shape else object.__repr__(self)

    # ------------------------------------------------------------------ what a new objective writes
    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(X)`` and ``G = grad f(X)`` (m, n), an array that later calls leave alone."""
        raise TypeError(f"{type(self).__name__} does not define value_and_grad(X)")

    @property
    def facts(self) -> Facts:
        """What is known about ``f``, collected from the attributes that state it; never out of date, never kept."""
        return Facts.stated_by(self)

    @property
    def label(self) -> str:
        """What messages call the objective: the name of its class, for a user's plain object that of the user's."""
        return type(self).__name__

    def domain(self, X: Array) -> bool:
        """Return whether ``f(X)`` is finite; everywhere by default.

        The domain is convex and contains ``X = 0``, the frozen weight. A plain object is asked for values in its domain
        only; a subclass returns an infinite value elsewhere. Methods reject such trials.
        """
        return True

    @classmethod
    def example(cls, rng: np.random.Generator, dtype: Any = np.float64) -> Objective:
        """Return a small random instance with ``m != n``, in one of the types of ``dtypes``.

        The conformance tests build every objective of the folder this way, so a new objective is tested without
        editing a list. A class that serves float64 only may leave the second argument out.
        """
        raise NotImplementedError(
            f"{cls.__name__} offers no example; write a classmethod example(rng) that returns a small random instance"
        )

    # ------------------------------------------------------------------ dense level
    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``hess f(X)[D]`` (m, n); by default a central difference of the gradient.

        Its relative error is about ``eps^(2/3)`` (4e-11 in float64) times the third derivative, in the unit of ``X``
        that ``|f(0)|/||G(0)||`` is; where ``f`` is a large constant, a power of ten shorter, so far as it falls.
        """
        return self._differences_at(X)(D)

    def _differences_at(self, X: Array) -> Callable[[Array], Array]:
        """Return what multiplies by the Hessian at ``X`` by differences, whose length is found once."""
        length = natural_length(self, frobenius_norm(X))
        return lambda D: difference_product(self, X, D, length)

    def _products_at(self, X: Array) -> Callable[[Array], Array]:
        """Return what multiplies by the Hessian at ``X``."""
        differenced = type(self).hessian_product is Objective.hessian_product
        return self._differences_at(X) if differenced else partial(self.hessian_product, X)

    @property
    def differenced(self) -> bool:
        """Whether ``hessian_product`` is a difference of gradients, which loses a third of the digits."""
        return type(self).hessian_product is Objective.hessian_product

    # ------------------------------------------------------------------ factor level
    def _dense_oracle(self, A: Array, B: Array) -> tuple[float, Array]:
        """Return ``f`` and ``G`` at ``X = A B^T`` from the dense level, and remember of which precision they are."""
        X = A @ B.T
        f, G = self.value_and_grad(X)
        if not is_shipped(type(self)):
            # A user may write every gradient into one array.
            G = np.array(G)
        self._note([X], f, [G])
        return real_value(f, self.label), G

    def factor_oracle(self, A: Array, B: Array, GB: Array, GtA: Array) -> float:
        """Write ``G B`` (m, r) and ``G^T A`` (n, r) at ``X = A B^T`` into the two arrays and return ``f``."""
        f, G = self._dense_oracle(A, B)
        np.matmul(G, B, out=GB)
        np.matmul(G.T, A, out=GtA)
        return f

    def factor_value(self, A: Array, B: Array) -> float:
        """Return ``f(A B^T)``."""
        return real_value(self.factor_oracle(A, B, np.empty_like(A), np.empty_like(B)), self.label, "factor_oracle")

    def hessian_at(self, A: Array, B: Array) -> PairProduct:
        """Return the derivative of ``(G B, G^T A)`` as a function of the direction ``(U, V)``.

        That returns ``H B + G V`` (m, r) and ``H^T A + G^T U`` (n, r) with ``H = hess f(A B^T)[U B^T + A V^T]``: the
        Hessian of ``f(A B^T)`` as a function of the factors (main paper, section 1; proofs/factor_derivatives). What
        all directions share, as ``G``, is computed once.
        """
        X = A @ B.T
        G, times = self._dense_oracle(A, B)[1], self._products_at(X)

        def product(U: Array, V: Array) -> tuple[Array, Array]:
            H = times(U @ B.T + A @ V.T)
            return H @ B + G @ V, H.T @ A + G.T @ U

        return product

    def factor_hvp(self, A: Array, B: Array, U: Array, V: Array) -> tuple[Array, Array]:
        """Return one product of :meth:`hessian_at`; a class that writes either has the other from it."""
        return Objective.hessian_at(self, A, B)(U, V)

    def factor_diagonal(self, A: Array, B: Array) -> tuple[Array, Array]:
        """Estimate the diagonal of the Hessian of ``f(A B^T)`` in ``A`` (m, r) and in ``B`` (n, r), all >= 0.

        A scaling for solvers, so it need not be exact. By default ``c ||b_p||^2`` and ``c ||a_p||^2`` for column p,
        with ``c`` the curvature of ``f`` along one random direction ``U B^T``.
        """
        U = np.random.default_rng(0).standard_normal(A.shape).astype(A.dtype, copy=False)
        length = float(np.vdot(U @ (B.T @ B), U))
        c = max(self.curvature_along(A, B, U), 0.0) / length if length > 0.0 else 0.0
        on_A = np.broadcast_to(c * np.sum(B * B, axis=0), A.shape)
        return on_A, np.broadcast_to(c * np.sum(A * A, axis=0), B.shape)

    def curvature_along(self, A: Array, B: Array, U: Array) -> float:
        """Return ``<D, hess f(A B^T)[D]>`` for ``D = U B^T``."""
        return float(np.vdot(U, self.factor_hvp(A, B, U, np.zeros_like(B))[0]))

    def gradient_operator(self, A: Array, B: Array) -> LinearMap:
        """Return ``G = grad f(A B^T)`` as a ``LinearMap``, in float64."""
        return LinearMap.from_dense(self._dense_oracle(A, B)[1].astype(np.float64, copy=False))

    def oracle_and_operator(self, A: Array, B: Array) -> tuple[float, Array, Array, LinearMap]:
        """Return what :meth:`factor_oracle` and :meth:`gradient_operator` do, ``f``, ``G B``, ``G^T A`` and ``G``.

        By default one after the other, unless ``G`` is formed anyway.
        """
        if self._forms_gradient:
            f, G = self._dense_oracle(A, B)
            return f, G @ B, G.T @ A, LinearMap.from_dense(G.astype(np.float64, copy=False))
        GB, GtA = np.empty_like(A), np.empty_like(B)
        f = real_value(self.factor_oracle(A, B, GB, GtA), self.label, "factor_oracle")
        return f, GB, GtA, self.gradient_operator(A, B)

    @property
    def _forms_gradient(self) -> bool:
        """Whether ``gradient_operator`` is derived from the dense level."""
        return type(self).gradient_operator is Objective.gradient_operator

    @property
    def kernels(self) -> Kernels:
        """The compiled answers, none by default."""
        return Kernels()

    # ------------------------------------------------------------------ what some methods need
    def minimize_over_A(self, B: Array, lam: float) -> Array:
        """Return the minimiser over ``A`` of ``f(A B^T) + (lam/2) ||A||_F^2`` (least squares only)."""
        raise NotImplementedError(f"{self.label} has no closed form for one factor")

    def minimize_over_B(self, A: Array, lam: float) -> Array:
        """Return the minimiser over ``B`` of ``f(A B^T) + (lam/2) ||B||_F^2`` (least squares only)."""
        raise NotImplementedError(f"{self.label} has no closed form for one factor")

    def minimizer(self, lam: float, rank: int) -> tuple[Array, Array] | None:
        """Return the minimiser of ``f(X) + lam ||X||_*`` where it has a formula, or None.

        For ``lam = 0`` it is the minimiser over ``rank X <= rank``; for ``lam > 0`` the rank plays no part.

        Returns
        -------
        tuple of ndarray or None
            Balanced float64 factors ``A`` (m, k), ``B`` (n, k) of the minimiser ``A B^T``, ``k >= 1``.
        """
        return None

    def least_values(self, rank: int) -> tuple[float, float] | None:
        """Return bounds of the least value of ``f`` over ``rank X <= rank``, or None.

        By default the value at :meth:`minimizer`, less and plus its rounding errors; an objective overrides this where
        its formula may lose digits.
        """
        found = self.minimizer(0.0, rank)
        if found is None:
            return None
        # What it says of itself at factors is another answer, which nobody has looked at there.
        f, noise = self._dense_oracle(*found)[0], self.rounding_noise(*found).value
        return f - noise, f + noise

    def conjugate(self, Y: Array) -> float | None:
        """Return ``f*(Y) = sup_X <X, Y> - f(X)`` where it has a formula (infinite where there is no bound), or None.

        With it a certificate needs no ``lower_bound``: ``F* >= -f*(Y)`` for every ``Y`` with ``||Y||_2 <= lam``.
        """
        return None

    @property
    def states_conjugate(self) -> bool:
        """Whether ``conjugate`` may have an answer; else no gradient is formed for it, which may be too large."""
        return type(self).conjugate is not Objective.conjugate

    def sample_batch(self, index: Array) -> Objective:
        """Return the objective restricted to the samples ``index`` (an unbiased estimate of ``f``)."""
        raise NotImplementedError(f"{self.label} is not a mean over samples")

    def batch_refusal(self) -> str | None:
        """Return why no batches of samples can be drawn, or None if they can."""
        return no_batches(self.label, self.facts, type(self).sample_batch is not Objective.sample_batch)

    def refuse_changed_samples(self) -> None:
        """Refuse arrays of the caller that were written to since something was formed of them; by default none are."""

    def merged(self, update: Array) -> Objective:
        """Return the objective ``X -> f(update + X)``, that is with ``update`` merged into the frozen weight."""
        return Shifted(self, update)

    def in_float64(self) -> Objective:
        """Return the same ``f`` on the same data, evaluated in float64; itself by default.

        An objective of float64 needs nothing else. Certificates and convex optima are more accurate than float32
        arithmetic; a float32 objective that does not override this is certified to the accuracy of float32 only.
        """
        return self

    def rounding_noise(self, A: Array, B: Array) -> Rounding:
        """Return the sizes of the rounding errors in ``f(A B^T)`` and its gradient.

        By default ``f(A B^T)`` is taken to be made of numbers of its own size and of the size of ``|f(0)|``. An
        objective whose values are differences of larger terms overrides this.
        """
        m, n = self.shape
        at_zero = self.factor_value(np.zeros((m, 1), self.dtype), np.zeros((n, 1), self.dtype))
        return Rounding(allowance(self.precision) * abs(real_value(at_zero, self.label, "factor_value")), 0.0)

    def in_float32(self) -> Objective | None:
        """Return the same ``f`` in float32 for rough descents, where its factor oracle is faster; None by default."""
        return None

    def observed_part(self) -> ObservedPart | None:
        """Return the same ``f`` of the rows and columns that it sees, None if that is nearly all or not known."""
        return None

    def increments(self) -> Increments | None:
        """Return a faster factor oracle for one run, whose errors vanish as its points converge; None by default."""
        return None

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``f(X)`` as a cvxpy expression of the m x n variable ``X`` (convex objectives only)."""
        raise NotImplementedError(f"{self.label} states no cvxpy expression")

    def description(self) -> Description:
        """Return what ``f`` is made of, exactly and as plain data, for certificates and files that others read."""
        raise NotImplementedError(f"{self.label} states no description of f as plain data")

    def metrics(self, X: Array) -> dict[str, float]:
        """Return named measures of quality at the update ``X`` (m, n), for example the accuracy."""
        return {}

    def factor_metrics(self, A: Array, B: Array) -> dict[str, float]:
        """Return :meth:`metrics` at ``A B^T``; losses that need no ``X`` (m, n) for them override this."""
        return self.metrics(A @ B.T)


check_shapes(Objective)


class Wrapper:
    """What a loss that asks another one says of itself: facts, name, precision and abilities are those of the other."""

    objective: Any

    @property
    def facts(self) -> Facts:
        """Those of the objective."""
        return self.objective.facts

    @property
    def label(self) -> str:
        """That of the objective."""
        return self.objective.label

    @property
    def precision(self) -> str:
        """That of the objective."""
        return self.objective.precision

    @property
    def differenced(self) -> bool:
        """That of the objective."""
        return self.objective.differenced

    @property
    def states_conjugate(self) -> bool:
        """That of the objective."""
        return self.objective.states_conjugate

    def _note(self, X: Sequence[Array], value: Any, G: Sequence[Array]) -> None:
        """Leave it to the objective: what the wrapper has answered is its answer."""
        self.objective._note(X, value, G)


class Shifted(Wrapper, Objective):
    """``X -> f(offset + X)``: the generic form of merging an update into the frozen weight."""

    def __init__(self, objective: Objective, offset: Array) -> None:
        self.objective = objective
        self.offset = offset
        self.shape = objective.shape
        self.dtype = objective.dtype
        self.W0 = None if objective.W0 is None else objective.W0 + offset

    @property
    def facts(self) -> Facts:
        """Those of the inner objective, except that one factor has no closed form."""
        return self.objective.facts.replace(minimizes_factors=False)

    def domain(self, X: Array) -> bool:
        """Return whether ``f(offset + X)`` is finite."""
        return self.objective.domain(self.offset + X)

    def conjugate(self, Y: Array) -> float | None:
        """Return ``f*(Y) - <offset, Y>``."""
        value = self.objective.conjugate(Y)
        return None if value is None else value - float(np.vdot(self.offset, Y))

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(offset + X)`` and its gradient."""
        f, G = self.objective.value_and_grad(self.offset + X)
        return f, G.copy()

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``hess f(offset + X)[D]``."""
        return self.objective.hessian_product(self.offset + X, D)

    def sample_batch(self, index: Array) -> Objective:
        """Return the shifted objective on the samples ``index``."""
        return Shifted(self.objective.sample_batch(index), self.offset)

    def batch_refusal(self) -> str | None:
        """Return that of the inner objective."""
        return self.objective.batch_refusal()

    def merged(self, update: Array) -> Objective:
        """Return ``X -> f(offset + update + X)``."""
        return self.objective.merged(self.offset + update)

    def in_float64(self) -> Objective:
        """Return the inner objective in float64, shifted."""
        return Shifted(self.objective.in_float64(), self.offset)

    def rounding_noise(self, A: Array, B: Array) -> Rounding:
        """Return those of the inner objective at ``offset + A B^T``, where its terms may cancel."""
        return self.objective.rounding_noise(*factored(self.offset + A @ B.T))

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``f(offset + X)`` as a cvxpy expression."""
        return self.objective.cvxpy_expression(self.offset + X)

    def description(self) -> Description:
        """Return that of the inner objective with ``X0 = offset``, where it has none of its own."""
        inner = self.objective.description()
        if inner.X0 is not None:
            raise NotImplementedError("Shifted: the inner objective has a frozen weight, and the sum would be rounded")
        return replace(inner, X0=self.offset.astype(np.float64, copy=False))

    def metrics(self, X: Array) -> dict[str, float]:
        """Return the metrics of the inner objective at ``offset + X``."""
        return self.objective.metrics(self.offset + X)
