"""What an objective is: the smooth loss ``f`` of the update ``X``.

All that must be written is ``shape`` and ``value_and_grad(X)``. The rest is optional: facts, which certificates and
derived step sizes rest on (``_facts.py``); faster answers at the level of the factors, where no m x n matrix is
formed; compiled kernels (``_kernels.py``). Whatever is missing is derived, or refused with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .._nearby import Increments
from .._validate import Array, as_array, as_float_array, as_matrix_shape, as_number, as_shape, as_text, shown
from ..linear_map import LinearMap, frobenius_norm
from ._description import Description
from ._facts import Facts
from ._kernels import Kernels

# Of the mantissa of a float32, and how many of them tell it from a number that happens to be one.
FLOAT32_BITS, MANY_BITS = 24, 20
# The share of its terms that a number of float64 has so many bits left of, after cancellation.
LEFT = 2.0 ** (FLOAT32_BITS - 53)
# Of power iterations for the largest curvature at a point.
POWER_STEPS = 20


class Rounding(NamedTuple):
    """Sizes of the rounding errors in ``f`` and, in norm, in its gradient, beyond those of their own size."""

    value: float
    gradient: float


class ShownPrecision:
    """What calls of a loss have shown of the precision that it computes in."""

    dtype: Any = np.dtype(np.float64)

    # What calls have shown (_digest.py).
    not_data: ClassVar[tuple[str, ...]] = ("_roughest",)
    _roughest: np.dtype[Any] | None = None

    @property
    def precision(self) -> str:
        """The type to whose precision values and gradients are exact: that of the factors, or what they showed so far.

        Seen where the factor level is derived from the dense level.
        """
        return np.dtype(self.dtype if self._roughest is None else self._roughest).name

    def _note(self, X: Sequence[Array], value: Any, G: Sequence[Array]) -> None:
        """Remember of which precision an answer was."""
        known = np.dtype(self.precision)
        found = roughest(known, X, value, G)
        if found != known:
            vars(self)["_roughest"] = found  # of a frozen dataclass too


class Objective(ShownPrecision):
    """Base class of all objectives. A new one writes four things:

    1. ``shape``: the tuple ``(m, n)``, on the class or set by the constructor;
    2. ``value_and_grad(X)``, which returns ``f(X)`` and its gradient;
    3. what is known about ``f``, as plain attributes: ``convex = True``, ``lower_bound = 0.0``, ... (all of them under
       :class:`~lorasolve.objectives.Facts`; whoever uses an objective reads ``objective.facts.convex``);
    4. for an objective of the package's folder ``name``, ``summary`` and ``example(rng)``, a small random instance that
       the tests are run on.

    Optional levels, each with a default: ``hessian_product`` (a difference of gradients); ``factor_oracle`` and the
    other ``factor_...`` answers at ``X = A B^T``, ``gradient_operator``, ``oracle_and_operator`` and
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
        that ``|f(0)|/||G(0)||`` is. Where ``f`` is a large constant and little else, that is too long a one.
        """
        return difference_product(self, X, D, natural_length(self))

    @property
    def differenced(self) -> bool:
        """Whether ``hessian_product`` is a difference of gradients, which loses a third of the digits."""
        return type(self).hessian_product is Objective.hessian_product

    # ------------------------------------------------------------------ factor level
    def _dense_oracle(self, A: Array, B: Array) -> tuple[float, Array]:
        """Return ``f`` and ``G`` at ``X = A B^T`` from the dense level, and remember of which precision they are."""
        X = A @ B.T
        f, G = self.value_and_grad(X)
        self._note([X], f, [G])
        return f, G

    def factor_oracle(self, A: Array, B: Array, GB: Array, GtA: Array) -> float:
        """Write ``G B`` (m, r) and ``G^T A`` (n, r) at ``X = A B^T`` into the two arrays and return ``f``."""
        f, G = self._dense_oracle(A, B)
        np.matmul(G, B, out=GB)
        np.matmul(G.T, A, out=GtA)
        return f

    def factor_value(self, A: Array, B: Array) -> float:
        """Return ``f(A B^T)``."""
        return self.factor_oracle(A, B, np.empty_like(A), np.empty_like(B))

    def factor_hvp(self, A: Array, B: Array, U: Array, V: Array) -> tuple[Array, Array]:
        """Derivative of ``(G B, G^T A)`` in direction ``(U, V)``.

        Returns ``H B + G V`` (m, r) and ``H^T A + G^T U`` (n, r) with ``H = hess f(A B^T)[U B^T + A V^T]``: the
        Hessian of ``f(A B^T)`` as a function of the factors (main paper, section 1; proofs/factor_derivatives).
        """
        X = A @ B.T
        G = self.value_and_grad(X)[1]
        H = self.hessian_product(X, U @ B.T + A @ V.T)
        return H @ B + G @ V, H.T @ A + G.T @ U

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
        if type(self).gradient_operator is Objective.gradient_operator:
            f, G = self._dense_oracle(A, B)
            return f, G @ B, G.T @ A, LinearMap.from_dense(G.astype(np.float64, copy=False))
        GB, GtA = np.empty_like(A), np.empty_like(B)
        f = self.factor_oracle(A, B, GB, GtA)
        return f, GB, GtA, self.gradient_operator(A, B)

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
        f, noise = self.factor_value(*found), self.rounding_noise(*found).value
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
        return Rounding(8.0 * float(np.finfo(self.precision).eps) * abs(at_zero), 0.0)

    def in_float32(self) -> Objective | None:
        """Return the same ``f`` in float32 for rough descents, where its factor oracle is faster; None by default."""
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


class Wrapper:
    """Facts, name and precision of a loss that asks another one: those of the other."""

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

    @property
    def states_conjugate(self) -> bool:
        """Whether the inner objective's ``conjugate`` may have an answer."""
        return self.objective.states_conjugate

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(offset + X)`` and its gradient."""
        return self.objective.value_and_grad(self.offset + X)

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``hess f(offset + X)[D]``."""
        return self.objective.hessian_product(self.offset + X, D)

    @property
    def differenced(self) -> bool:
        """That of the inner objective."""
        return self.objective.differenced

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


class UserObjective(Objective):
    """A user's object with ``shape`` and ``value_and_grad(X) -> (float, G)``, and whatever else it states.

    Every attribute or method of the base class that the user's object has is used in place of the default.
    """

    # What the user's object has under these names is of another meaning.
    not_data = Objective.not_data
    precision = Objective.precision

    def __init__(self, user: Any, argument: str = "objective") -> None:
        if isinstance(user, type):
            raise TypeError(f"{argument}: expected an object such as {user.__name__}(...), got the class")
        if isinstance(getattr(user, "objective", None), Objective) and hasattr(user, "lam"):
            raise TypeError(f"{argument}: expected a loss, got a problem; its loss is its attribute `objective`")
        try:
            self.shape = as_matrix_shape(getattr(user, "shape", None), "shape")
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{argument}: expected an object with `shape` = (m, n) and `value_and_grad(X) -> (float, G)`, "
                f"got {shown(user)} ({error})"
            ) from error
        if not callable(getattr(user, "value_and_grad", None)):
            raise TypeError(f"{argument}: {type(user).__name__} has no method value_and_grad(X) -> (float, G)")
        self.user = user
        if not callable(getattr(user, "domain", self.domain)):
            raise TypeError(f"objective: {self.label}.domain: expected a function of X that returns True or False")
        for attribute in dir(Objective):
            given = None if attribute.startswith("_") else getattr(user, attribute, None)
            if given is None or attribute == "shape":
                continue
            # Data under a name that is a method here would fail where that is first called, deep in a solver.
            if callable(getattr(Objective, attribute)) and not callable(given):
                raise TypeError(f"objective: {self.label}.{attribute}: expected a method, got {shown(given)}")
            if attribute not in vars(UserObjective):
                setattr(self, attribute, given)
        try:
            self.dtype = np.dtype(self.dtype)
        except TypeError as error:
            raise TypeError(f"{argument}: {type(user).__name__}.dtype: expected a type, got {self.dtype!r}") from error
        if self.dtype not in (np.float64, np.float32):
            raise TypeError(f"{argument}: {type(user).__name__}.dtype: expected float64 or float32, got {self.dtype}")
        if self.W0 is not None:
            name = f"objective: {self.label}.W0"
            self.W0 = as_shape(as_float_array(self.W0, name, 2, self.dtype), name, self.shape)
        if hasattr(user, "domain") and not self.domain(np.zeros(self.shape, self.dtype)):
            raise ValueError(
                f"objective: {self.label}.domain is False at X = 0, the frozen weight, which it must contain"
            )

    @property
    def facts(self) -> Facts:
        """What the user's object states; that it minimises one factor is seen from its methods."""
        closed = hasattr(self.user, "minimize_over_A") and hasattr(self.user, "minimize_over_B")
        return Facts.stated_by(self.user).replace(minimizes_factors=closed)

    @property
    def label(self) -> str:
        """The name of the user's class."""
        return type(self.user).__name__

    def batch_refusal(self) -> str | None:
        """Return why no batches can be drawn: what is missing of a number of samples and a method for them."""
        return no_batches(self.label, self.facts, callable(getattr(self.user, "sample_batch", None)))

    @property
    def kernels(self) -> Kernels:
        """Those of the user's object, if it has any."""
        return getattr(self.user, "kernels", Kernels())

    def domain(self, X: Array) -> bool:
        """Call the user's function, if there is one, and check what it returns."""
        own = getattr(self.user, "domain", super().domain)
        answer = own(X)
        if not isinstance(answer, bool | np.bool_):
            raise TypeError(f"objective: {self.label}.domain must return True or False, got {shown(answer)}")
        return bool(answer)

    def metrics(self, X: Array) -> dict[str, float]:
        """Call the user's function, if there is one, and check what it returns."""
        own = getattr(self.user, "metrics", super().metrics)
        answer = own(X)
        if not isinstance(answer, dict) or not all(
            isinstance(name, str) and isinstance(value, Real) for name, value in answer.items()
        ):
            raise TypeError(f"objective: {self.label}.metrics must return names with numbers, got {shown(answer)}")
        return {name: float(value) for name, value in answer.items()}

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Call the user's function and check what it returns; outside the domain the value is infinite."""
        if not self.domain(X):
            return math.inf, np.zeros(self.shape)
        answer = self.user.value_and_grad(X)
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise TypeError(f"objective: {self.label}.value_and_grad must return (float, G), got {type(answer)}")
        G = own_matrix(answer[1], self.label, "value_and_grad", "gradient", self.shape)
        value = real_value(answer[0], self.label)
        self._note([X], answer[0], [G])
        return value, G

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Call the user's function, if there is one, and check what it returns."""
        if self.differenced:
            return super().hessian_product(X, D)
        H = own_matrix(self.user.hessian_product(X, D), self.label, "hessian_product", "product", self.shape)
        if not np.isfinite(H).all() and np.isfinite(X).all() and np.isfinite(D).all():
            raise ValueError(f"objective: {self.label}.hessian_product returned a product that is not finite")
        return H

    def sample_batch(self, index: Array) -> Objective:
        """Call the user's function; what it returns may be a plain object too."""
        own = getattr(self.user, "sample_batch", None)
        return super().sample_batch(index) if own is None else self._made_by("sample_batch", own(index))

    def merged(self, update: Array) -> Objective:
        """Call the user's function, if there is one; what it returns may be a plain object too."""
        own = getattr(self.user, "merged", None)
        return super().merged(update) if own is None else self._made_by("merged", own(update))

    def in_float64(self) -> Objective:
        """Call the user's function, if there is one; what it returns may be a plain object too."""
        own = getattr(self.user, "in_float64", None)
        return self if own is None else self._made_by("in_float64", own())

    def in_float32(self) -> Objective | None:
        """Call the user's function, if there is one; what it returns may be a plain object too."""
        own = getattr(self.user, "in_float32", None)
        made = None if own is None else own()
        return None if made is None else self._made_by("in_float32", made)

    def _made_by(self, method: str, given: Any) -> Objective:
        """Return what a method of the user's object has made as an objective of the same shape."""
        made = as_objective(given, f"objective: {self.label}.{method}")
        if made.shape != self.shape:
            raise ValueError(
                f"objective: {self.label}.{method} returned a loss of shape {made.shape}, expected {self.shape}"
            )
        return made

    def conjugate(self, Y: Array) -> float | None:
        """Call the user's function, if there is one, and check what it returns."""
        own = getattr(self.user, "conjugate", None)
        value = None if own is None else own(Y)
        if value is not None and (np.ndim(value) != 0 or np.asarray(value).dtype.kind not in "fiu"):
            raise TypeError(
                f"objective: {self.label}.conjugate returned {shown(value)}, expected a real number or None"
            )
        return None if value is None else float(value)

    def rounding_noise(self, A: Array, B: Array) -> Rounding:
        """Call the user's function, if there is one, and check what it returns."""
        own = getattr(self.user, "rounding_noise", None)
        if own is None:
            return super().rounding_noise(A, B)
        given, name = own(A, B), f"objective: {self.label}.rounding_noise"
        if not isinstance(given, tuple) or len(given) != 2:
            raise TypeError(f"{name} returned {shown(given)}, expected a pair: the errors of f and of its gradient")
        return Rounding(*(as_number(error, name, 0.0) for error in given))

    @property
    def differenced(self) -> bool:
        """Whether the user has not written ``hessian_product``."""
        return not hasattr(self.user, "hessian_product")

    @property
    def states_conjugate(self) -> bool:
        """Whether the user has written ``conjugate``."""
        return getattr(self.user, "conjugate", None) is not None


class DenseReference(Wrapper, Objective):
    """The plain twin of an objective: every factor-level answer derived from ``value_and_grad(X)``.

    Used by ``engine="interpreted"`` and by the tests, so that each fast path is compared with a second route.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.shape = objective.shape
        self.dtype = objective.dtype
        self.W0 = objective.W0
        self.value_and_grad = objective.value_and_grad  # type: ignore[method-assign]
        self.hessian_product = objective.hessian_product  # type: ignore[method-assign]
        self.minimize_over_A = objective.minimize_over_A  # type: ignore[method-assign]
        self.minimize_over_B = objective.minimize_over_B  # type: ignore[method-assign]
        self.minimizer = objective.minimizer  # type: ignore[method-assign]
        self.least_values = objective.least_values  # type: ignore[method-assign]
        self.domain = objective.domain  # type: ignore[method-assign]
        self.conjugate = objective.conjugate  # type: ignore[method-assign]
        self.rounding_noise = objective.rounding_noise  # type: ignore[method-assign]
        self.cvxpy_expression = objective.cvxpy_expression  # type: ignore[method-assign]
        self.description = objective.description  # type: ignore[method-assign]
        self.metrics = objective.metrics  # type: ignore[method-assign]

    @property
    def differenced(self) -> bool:
        """That of the objective."""
        return self.objective.differenced

    @property
    def states_conjugate(self) -> bool:
        """That of the objective."""
        return self.objective.states_conjugate

    def sample_batch(self, index: Array) -> Objective:
        """Return the plain twin of the batch."""
        return DenseReference(self.objective.sample_batch(index))

    def batch_refusal(self) -> str | None:
        """Return that of the objective."""
        return self.objective.batch_refusal()

    def merged(self, update: Array) -> Objective:
        """Return the plain twin of the merged objective."""
        return DenseReference(self.objective.merged(update))

    def in_float64(self) -> Objective:
        """Return the plain twin of the objective in float64."""
        return DenseReference(self.objective.in_float64())


def factored(X: Array) -> tuple[Array, Array]:
    """Return factors of ``X``, one of them an identity of the shorter side."""
    m, n = X.shape
    return (X, np.eye(n, dtype=X.dtype)) if n <= m else (np.eye(m, dtype=X.dtype), X.T)


def own_matrix(given: Any, label: str, method: str, what: str, shape: tuple[int, int]) -> Array:
    """Return the matrix that a method of a loss has returned, checked and copied.

    A user may write all of them into one array; two of them are compared all the time.
    """
    M = as_array(given, f"objective: the {what} of {label}").copy()
    if M.shape != shape:
        raise ValueError(f"objective: {label}.{method} returned a {what} of shape {M.shape}, expected {shape}")
    if M.dtype.kind not in "fiub":
        raise TypeError(f"objective: {label}.{method} returned a {what} of type {M.dtype}, expected real numbers")
    # No SVD takes longer numbers.
    return M.astype(np.float64) if M.dtype == np.longdouble else M


def roughest(known: np.dtype[Any], X: Sequence[Array], value: Any, G: Sequence[Array]) -> np.dtype[Any]:
    """Return the least exact of a type and of those that a loss has answered in at ``X``."""
    for dtype in (np.asarray(each).dtype for each in (value, *G)):
        if dtype != known and dtype.kind == "f" and np.finfo(dtype).eps > np.finfo(known).eps:
            known = dtype
    return np.dtype(np.float32) if known == np.float64 and _in_float32(X, float(value), G) else known


def _in_float32(X: Sequence[Array], value: float, G: Sequence[Array]) -> bool:
    """Whether an answer was computed in float32 and handed on in float64.

    Its numbers are numbers of float32 then, though ``X`` is not. Where ``f`` is computed in float64 and its gradient is
    not 0, its value is one by chance only. Numbers of few digits show nothing: what is left after cancellation has few,
    and what does not depend on all of ``X`` may have. Values alone and gradients alone show as little: near a minimum
    as many digits may be left of either, and a gradient may be constant.
    """
    mantissa = math.frexp(value)[0] if math.isfinite(value) else 0.0
    # First what costs nothing.
    if not math.ldexp(mantissa, FLOAT32_BITS).is_integer() or math.ldexp(mantissa, MANY_BITS).is_integer():
        return False
    if not all(_fits(g, FLOAT32_BITS) for g in G) or all(_fits(g, MANY_BITS) for g in G):
        return False
    # Entries of X on which f does not depend here show nothing, nor a change of f below its last digits.
    if not any(x.shape == g.shape and not _fits(x[g != 0.0], FLOAT32_BITS) for x, g in zip(X, G)):
        return False
    change = math.hypot(*map(frobenius_norm, G)) * math.hypot(*map(frobenius_norm, X))
    return LEFT * change <= abs(value) and LEFT * abs(value) <= change


def _fits(numbers: Array, bits: int) -> bool:
    """Whether all entries are finite and have mantissas of at most so many bits."""
    mantissas = np.ldexp(np.frexp(numbers)[0], bits)
    return bool(np.array_equal(mantissas, np.rint(mantissas))) and bool(np.isfinite(mantissas).all())


def real_value(given: Any, label: str) -> float:
    """Return the value that ``value_and_grad`` of a loss has returned, checked."""
    returned = f"objective: {label}.value_and_grad returned the value {shown(given)}, expected a real number"
    try:
        fits = np.ndim(given) == 0 and given is not np.ma.masked and np.asarray(given).dtype.kind in "fiub"
    except RuntimeError as error:  # of tensors that require gradients
        raise TypeError(f"{returned} ({error})") from error
    if not fits:
        raise TypeError(returned)
    return float(given)


def no_batches(label: str, facts: Facts, has_method: bool) -> str | None:
    """Return why a loss that has a method ``sample_batch`` or not gives no batches, or None if it does."""
    if facts.n_samples is None:
        return f"{label} is not a mean over samples (n_samples is None)"
    return None if has_method else f"{label} states n_samples and has no sample_batch(index)"


def as_objective(objective: Any, argument: str = "objective") -> Objective:
    """Return ``objective`` as an :class:`Objective`, wrapping a user's plain object; errors call it ``argument``.

    Raises
    ------
    TypeError
        If the object has no ``shape`` or no ``value_and_grad``, or states a fact of the wrong kind or under a
        misspelt name.
    ValueError
        If a stated fact is out of range.
    """
    if not as_text(argument, "argument"):
        raise ValueError("argument: expected a name, got ''")
    made = objective if isinstance(objective, Objective) else UserObjective(objective, argument)
    Facts.refuse_misspelt(objective)
    _ = made.facts  # refuses what is no fact
    return made


def as_held_out(objective: Any, shape: tuple[int, int]) -> Objective:
    """Return the loss on held-out data as an :class:`Objective` of the shape of the loss that is trained on."""
    made = as_objective(objective, "held_out")
    if made.shape != shape:
        raise ValueError(f"held_out: expected an objective of shape {shape}, got one of shape {made.shape}")
    return made


def natural_length(objective: Objective) -> float:
    """Return a length that changes with the units of ``X`` as ``X`` does.

    It is ``|f(0)|/||G(0)||_F``, 0 if that says nothing. To differences of gradients, points much nearer to 0 are 0.
    """
    f, G = objective.value_and_grad(np.zeros(objective.shape, objective.dtype))
    return length_of(float(f), float(np.linalg.norm(G)))


def length_of(f: float, slope: float) -> float:
    """Return ``|f|/slope``, and 0 where that is no number."""
    length = abs(f) / slope if slope > 0.0 else 0.0
    return length if math.isfinite(length) else 0.0


def difference_step(length: float, size: float, distance: float, dtype: Any) -> float:
    """Return ``h`` for central differences of gradients at a point of a size along a direction of a length.

    ``h ||D||`` is ``eps^(1/3)`` of the larger of the point's size and the natural length; where both are 0, of 1.
    """
    return float(np.finfo(dtype).eps) ** (1 / 3) * (max(length, size) or 1.0) / distance


def difference_product(objective: Objective, X: Array, D: Array, length: float) -> Array:
    """Return ``hess f(X)[D]`` by a central difference of the gradient; ``length`` is :func:`natural_length`."""
    distance = float(np.linalg.norm(D))
    if distance == 0.0:
        return np.zeros_like(D)
    h = difference_step(length, float(np.linalg.norm(X)), distance, objective.precision)
    return (objective.value_and_grad(X + h * D)[1] - objective.value_and_grad(X - h * D)[1]) / (2.0 * h)


def estimate_smoothness(objective: Objective, A: Array, B: Array) -> float:
    """Estimate the largest Hessian eigenvalue at ``X = A B^T`` by power iteration (SAMPLED: a lower bound).

    Hessian products are differences of gradients, so objectives without a Hessian are served too.
    """
    X = (A @ B.T).astype(np.float64)
    D = np.random.default_rng(0).standard_normal(objective.shape)
    value = 0.0
    length = natural_length(objective)
    for _ in range(POWER_STEPS):
        D /= np.linalg.norm(D)
        H = difference_product(objective, X, D, length)
        value = abs(float(np.sum(D * H)))
        if not np.any(H):
            break
        D = H
    return as_number(value, "objective: curvature at the start", 0.0)
