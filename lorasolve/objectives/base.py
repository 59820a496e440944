"""What an objective is: the smooth loss ``f`` of the update ``X``, at three levels of detail.

1. *Dense*: ``value_and_grad(X)``. This is all a user must write.
2. *Factors*: ``factor_oracle(A, B, GB, GtA)`` and ``factor_hvp(A, B, U, V)`` work on ``X = A B^T`` without an
   m x n matrix where the structure of ``f`` allows; by default they are derived from the dense level.
3. *Facts*: convexity, smoothness, a lower bound, a cvxpy expression. What is not known is ``None``, and whatever
   relies on it then says so.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .._validate import Array, as_number
from ..linear_map import LinearMap


class Objective:
    """Base class of all objectives (see the module docstring for the three levels).

    Attributes
    ----------
    shape : tuple of int
        ``(m, n)``, the shape of the update.
    dtype : numpy dtype
        float64 or float32: the type of the factors the oracle works with.
    convex : bool or None
        Whether ``f`` is convex; None if unknown.
    least_squares : bool
        True if ``f(X) - lower_bound = ||linear(X) - y||^2 / 2`` for some linear map and some ``y``. Then the
        Hessian is constant and the certificate is tighter.
    smoothness : float or None
        A number ``beta`` with ``||grad f(X) - grad f(Y)||_F <= beta ||X - Y||_F`` for all ``X``, ``Y``.
    lower_bound : float or None
        A number below every value of ``f``.
    has_hessian : bool
        False if :meth:`hessian_product` refuses to answer because ``f`` is not twice differentiable.
    n_samples : int or None
        Number of samples, for objectives that are means over samples.
    minimizes_factors : bool
        Whether :meth:`minimize_over_A` and :meth:`minimize_over_B` answer.
    compiled_oracle : bool
        Whether :meth:`factor_oracle` runs on Numba's threads, so that BLAS should keep to one.
    W0 : ndarray of shape (m, n) or None
        The frozen weight, for objectives that have one.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    shape: tuple[int, int]
    dtype: Any = np.dtype(np.float64)
    convex: bool | None = None
    least_squares: bool = False
    smoothness: float | None = None
    lower_bound: float | None = None
    has_hessian: bool = True
    n_samples: int | None = None
    W0: Array | None = None
    minimizes_factors: bool = False
    compiled_oracle: bool = False
    _oracle_data: Any = None

    @classmethod
    def example(cls, rng: np.random.Generator, dtype: Any = np.float64) -> Objective:
        """Return a small random instance with ``m != n`` in the given type.

        The conformance tests build every objective of the folder this way, so a new objective is tested without
        editing a list.
        """
        raise NotImplementedError(f"{cls.__name__} offers no example")

    # ------------------------------------------------------------------ dense level
    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(X)`` and ``G = grad f(X)`` (m, n)."""
        raise NotImplementedError

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``hess f(X)[D]`` (m, n); by default a central difference of the gradient.

        Its relative error is about ``eps^(2/3)`` (4e-11 in float64) times the third derivative.
        """
        scale = float(np.linalg.norm(D))
        if scale == 0.0:
            return np.zeros_like(D)
        h = float(np.finfo(self.dtype).eps) ** (1 / 3) * max(1.0, float(np.linalg.norm(X))) / scale
        return (self.value_and_grad(X + h * D)[1] - self.value_and_grad(X - h * D)[1]) / (2.0 * h)

    # ------------------------------------------------------------------ factor level
    def factor_oracle(self, A: Array, B: Array, GB: Array, GtA: Array) -> float:
        """Write ``G B`` (m, r) and ``G^T A`` (n, r) at ``X = A B^T`` into the two arrays and return ``f``."""
        f, G = self.value_and_grad(A @ B.T)
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
        U = np.random.default_rng(0).standard_normal(A.shape)
        HB, _ = self.factor_hvp(A, B, U, np.zeros_like(B))
        length = float(np.vdot(U @ (B.T @ B), U))
        c = max(float(np.vdot(U, HB)), 0.0) / length if length > 0.0 else 0.0
        on_A = np.broadcast_to(c * np.sum(B * B, axis=0), A.shape)
        return on_A, np.broadcast_to(c * np.sum(A * A, axis=0), B.shape)

    def gradient_operator(self, A: Array, B: Array) -> LinearMap:
        """Return ``G = grad f(A B^T)`` as a :class:`~lorasolve.linear_map.LinearMap`, in float64."""
        return LinearMap.from_dense(self.value_and_grad(A @ B.T)[1].astype(np.float64, copy=False))

    def kernel_data(self, rank: int, threads: int) -> Any:
        """Return the data of a compiled oracle (``lorasolve/kernels/oracle.py``) for factors of a rank.

        It is a NamedTuple that belongs to one run, because it holds scratch memory. None where there is no
        compiled oracle, or where this one would not be faster than :meth:`factor_oracle`.
        """
        return None

    def oracle_data(self, rank: int) -> Any:
        """Return kernel data for single calls, kept from call to call.

        Its scratch memory is in use only while a kernel runs, so that calls can share it.
        """
        from .._threads import kernel_threads

        key = (rank, kernel_threads())
        if self._oracle_data is None or self._oracle_data[0] != key:
            self._oracle_data = (key, self.kernel_data(*key))
        return self._oracle_data[1]

    def quadratic(self) -> Any:
        """Return the coefficients of a quadratic ``f`` for batched runs (``lorasolve/kernels/batch.py``), or None."""
        return None

    def mixed_kernel_data(self, rank: int, threads: int) -> Any:
        """Return the same for float32 increments with exact float64 refreshes, or None."""
        return None

    # ------------------------------------------------------------------ what some methods need
    def minimize_over_A(self, B: Array, lam: float) -> Array:
        """Return the minimiser over ``A`` of ``f(A B^T) + (lam/2) ||A||_F^2`` (least squares only)."""
        raise NotImplementedError(f"{type(self).__name__} has no closed form for one factor")

    def minimize_over_B(self, A: Array, lam: float) -> Array:
        """Return the minimiser over ``B`` of ``f(A B^T) + (lam/2) ||B||_F^2`` (least squares only)."""
        raise NotImplementedError(f"{type(self).__name__} has no closed form for one factor")

    def sample_batch(self, index: Array) -> Objective:
        """Return the objective restricted to the samples ``index`` (an unbiased estimate of ``f``)."""
        raise NotImplementedError(f"{type(self).__name__} is not a mean over samples")

    def merged(self, update: Array) -> Objective:
        """Return the objective ``X -> f(update + X)``, that is with ``update`` merged into the frozen weight."""
        return Shifted(self, update)

    def in_float64(self) -> Objective:
        """Return the same ``f`` on the same data, evaluated in float64; itself by default.

        Certificates and convex optima are more accurate than float32 arithmetic; a float32 objective that does not
        override this is certified to the accuracy of float32 only.
        """
        return self

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``f(X)`` as a cvxpy expression of the m x n variable ``X`` (convex objectives only)."""
        raise NotImplementedError(f"{type(self).__name__} states no cvxpy expression")

    def metrics(self, X: Array) -> dict[str, float]:
        """Return named measures of quality at the update ``X`` (m, n), for example the accuracy."""
        return {}


class Shifted(Objective):
    """``X -> f(offset + X)``: the generic form of merging an update into the frozen weight."""

    def __init__(self, objective: Objective, offset: Array) -> None:
        self.objective = objective
        self.offset = offset
        self.shape = objective.shape
        self.dtype = objective.dtype
        self.convex = objective.convex
        self.least_squares = objective.least_squares
        self.smoothness = objective.smoothness
        self.lower_bound = objective.lower_bound
        self.has_hessian = objective.has_hessian
        self.n_samples = objective.n_samples
        self.W0 = None if objective.W0 is None else objective.W0 + offset

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f(offset + X)`` and its gradient."""
        return self.objective.value_and_grad(self.offset + X)

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return ``hess f(offset + X)[D]``."""
        return self.objective.hessian_product(self.offset + X, D)

    def sample_batch(self, index: Array) -> Objective:
        """Return the shifted objective on the samples ``index``."""
        return Shifted(self.objective.sample_batch(index), self.offset)

    def merged(self, update: Array) -> Objective:
        """Return ``X -> f(offset + update + X)``."""
        return self.objective.merged(self.offset + update)

    def in_float64(self) -> Objective:
        """Return the inner objective in float64, shifted."""
        return Shifted(self.objective.in_float64(), self.offset)

    def cvxpy_expression(self, X: Any) -> Any:
        """Return ``f(offset + X)`` as a cvxpy expression."""
        return self.objective.cvxpy_expression(self.offset + X)

    def metrics(self, X: Array) -> dict[str, float]:
        """Return the metrics of the inner objective at ``offset + X``."""
        return self.objective.metrics(self.offset + X)


class UserObjective(Objective):
    """A user's object with ``shape`` and ``value_and_grad(X) -> (float, G)``, and whatever else it states.

    Every attribute or method of the base class that the user's object has is used in place of the default.
    """

    def __init__(self, user: Any) -> None:
        shape = getattr(user, "shape", None)
        if not (isinstance(shape, tuple) and len(shape) == 2 and all(int(k) >= 1 for k in shape)):
            raise TypeError(
                "objective: expected an object with `shape` = (m, n) and `value_and_grad(X) -> (float, G)`, "
                f"got {type(user).__name__} with shape {shape!r}"
            )
        if not callable(getattr(user, "value_and_grad", None)):
            raise TypeError(f"objective: {type(user).__name__} has no method value_and_grad(X) -> (float, G)")
        self.user = user
        self.shape = (int(shape[0]), int(shape[1]))
        for attribute in dir(Objective):
            own = attribute.startswith("_") or attribute in ("shape", "value_and_grad")
            if not own and hasattr(user, attribute):
                setattr(self, attribute, getattr(user, attribute))
        self.dtype = np.dtype(self.dtype)
        self.minimizes_factors = hasattr(user, "minimize_over_A") and hasattr(user, "minimize_over_B")

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Call the user's function and check what it returns."""
        answer = self.user.value_and_grad(X)
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise TypeError(
                f"objective: {type(self.user).__name__}.value_and_grad must return (float, G), got {type(answer)}"
            )
        G = np.asarray(answer[1])
        if G.shape != self.shape:
            raise ValueError(
                f"objective: {type(self.user).__name__}.value_and_grad returned a gradient of shape {G.shape}, "
                f"expected {self.shape}"
            )
        return float(answer[0]), G


class DenseReference(Objective):
    """The plain twin of an objective: every factor-level answer derived from ``value_and_grad(X)``.

    Used by ``engine="interpreted"`` and by the tests, so that each fast path is compared with a second route.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        for attribute in (
            "shape",
            "dtype",
            "convex",
            "least_squares",
            "smoothness",
            "lower_bound",
            "has_hessian",
            "n_samples",
            "minimizes_factors",
            "W0",
        ):
            setattr(self, attribute, getattr(objective, attribute))
        self.value_and_grad = objective.value_and_grad  # type: ignore[method-assign]
        self.hessian_product = objective.hessian_product  # type: ignore[method-assign]
        self.minimize_over_A = objective.minimize_over_A  # type: ignore[method-assign]
        self.minimize_over_B = objective.minimize_over_B  # type: ignore[method-assign]
        self.metrics = objective.metrics  # type: ignore[method-assign]

    def sample_batch(self, index: Array) -> Objective:
        """Return the plain twin of the batch."""
        return DenseReference(self.objective.sample_batch(index))

    def merged(self, update: Array) -> Objective:
        """Return the plain twin of the merged objective."""
        return DenseReference(self.objective.merged(update))

    def in_float64(self) -> Objective:
        """Return the plain twin of the objective in float64."""
        return DenseReference(self.objective.in_float64())


def as_objective(given: Any) -> Objective:
    """Return ``given`` as an :class:`Objective`, wrapping a user's plain object.

    Raises
    ------
    TypeError
        If the object has no ``shape`` or no ``value_and_grad``.
    """
    return given if isinstance(given, Objective) else UserObjective(given)


def estimate_smoothness(objective: Objective, A: Array, B: Array, iterations: int = 20) -> float:
    """Estimate the largest Hessian eigenvalue at ``X = A B^T`` by power iteration (SAMPLED: a lower bound).

    Hessian products are differences of gradients, so objectives without a Hessian are served too.
    """
    X = (A @ B.T).astype(np.float64)
    D = np.random.default_rng(0).standard_normal(objective.shape)
    value = 0.0
    for _ in range(iterations):
        D /= np.linalg.norm(D)
        H = Objective.hessian_product(objective, X, D)
        value = abs(float(np.sum(D * H)))
        if not np.any(H):
            break
        D = H
    return as_number(value, "objective: curvature at the start", 0.0)


def rounding_noise(objective: Objective) -> float:
    """Return the size of rounding errors in values of ``f``, with ``|f(0)|`` as the size of what they are made of."""
    m, n = objective.shape
    zeros = np.zeros((m, 1), dtype=objective.dtype), np.zeros((n, 1), dtype=objective.dtype)
    return 8.0 * float(np.finfo(objective.dtype).eps) * abs(objective.factor_value(*zeros))
