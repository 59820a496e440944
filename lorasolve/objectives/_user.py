"""A loss of a user: any object with ``shape`` and ``value_and_grad``, and whatever else it states."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from .._support.validate import Array, as_float_array, as_matrix_shape, as_number, as_shape, as_text, shown
from ..linear_map import LinearMap
from ._answers import own_matrix, real_value
from ._facts import Facts, no_batches
from ._kernels import Kernels
from .base import Objective, PairProduct, Rounding


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
            losses = "; losses of a matrix M are ls.objectives.Denoising(M) and, where entries are missing, "
            remedy = f"{losses}MatrixCompletion.from_dense(M)" if getattr(user, "ndim", 0) == 2 else ""
            raise TypeError(f"{argument}: {type(user).__name__} has no method value_and_grad(X) -> (float, G){remedy}")
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
        """Those of the user's object, if it has any; what else it calls kernels, as of a convolution, is its own."""
        own = getattr(self.user, "kernels", None)
        return own if isinstance(own, Kernels) else Kernels()

    def domain(self, X: Array) -> bool:
        """Call the user's function, if there is one, and check what it returns."""
        own = getattr(self.user, "domain", None)
        answer = True if own is None else own(X.copy())
        if not isinstance(answer, bool | np.bool_):
            raise TypeError(f"objective: {self.label}.domain must return True or False, got {shown(answer)}")
        return bool(answer)

    def metrics(self, X: Array) -> dict[str, float]:
        """Call the user's function, if there is one, and check what it returns."""
        own = getattr(self.user, "metrics", super().metrics)
        answer = own(X.copy())
        if not isinstance(answer, dict) or not all(
            isinstance(name, str) and isinstance(value, Real) for name, value in answer.items()
        ):
            raise TypeError(f"objective: {self.label}.metrics must return names with numbers, got {shown(answer)}")
        return {name: float(value) for name, value in answer.items()}

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Call the user's function and check what it returns; outside the domain the value is infinite."""
        return self._answer(X.copy())

    def _dense_oracle(self, A: Array, B: Array) -> tuple[float, Array]:
        return self._answer(A @ B.T)

    def _answer(self, X: Array) -> tuple[float, Array]:
        """Return the checked answer at an array that nobody else holds: users write to their argument."""
        if not self.domain(X):
            return math.inf, np.zeros(self.shape)
        answer = self.user.value_and_grad(X)
        if not (isinstance(answer, tuple) and len(answer) == 2):
            got = f"{len(answer)} values" if isinstance(answer, tuple) else shown(answer)
            raise TypeError(f"objective: {self.label}.value_and_grad must return (float, G), got {got}")
        G = own_matrix(answer[1], self.label, "value_and_grad", "gradient", self.shape)
        value = real_value(answer[0], self.label)
        self._note([X], answer[0], [G])
        return value, G

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Call the user's function, if there is one, and check what it returns."""
        if self.differenced:
            return super().hessian_product(X, D)
        H = own_matrix(
            self.user.hessian_product(X.copy(), D.copy()), self.label, "hessian_product", "product", self.shape
        )
        if not np.isfinite(H).all() and np.isfinite(X).all() and np.isfinite(D).all():
            raise ValueError(f"objective: {self.label}.hessian_product returned a product that is not finite")
        return H

    def _products_at(self, X: Array) -> Callable[[Array], Array]:
        return self._differences_at(X) if self.differenced else partial(self.hessian_product, X)

    def hessian_at(self, A: Array, B: Array) -> PairProduct:
        """Call the user's function, if there is one, or the one that multiplies at a point."""
        own, single = (getattr(self.user, name, None) for name in ("hessian_at", "factor_hvp"))
        if own is not None:
            product: PairProduct = own(A.copy(), B.copy())
            if not callable(product):
                expected = "expected a function of (U, V)"
                raise TypeError(f"objective: {self.label}.hessian_at returned {shown(product)}, {expected}")
            return product
        return super().hessian_at(A, B) if single is None else partial(single, A.copy(), B.copy())

    def gradient_operator(self, A: Array, B: Array) -> LinearMap:
        """Call the user's function, if there is one; what it returns is checked."""
        if self._forms_gradient:
            return super().gradient_operator(A, B)
        return self.user.gradient_operator(A.copy(), B.copy())

    @property
    def _forms_gradient(self) -> bool:
        """Whether the user has not written ``gradient_operator``."""
        return getattr(self.user, "gradient_operator", None) is None

    def sample_batch(self, index: Array) -> Objective:
        """Call the user's function; what it returns may be a plain object too."""
        own = getattr(self.user, "sample_batch", None)
        if own is None:
            return super().sample_batch(index)
        whole = self.facts.n_samples
        made = own(index)
        if made is self.user and len(index) != whole:
            raise self._made_nothing("sample_batch")
        return self._made_by("sample_batch", made)

    def merged(self, update: Array) -> Objective:
        """Call the user's function, if there is one; what it returns may be a plain object too."""
        own = getattr(self.user, "merged", None)
        if own is None:
            return super().merged(update)
        made = own(update.copy())
        if made is self.user and np.any(update):
            raise self._made_nothing("merged")
        return self._made_by("merged", made)

    def in_float64(self) -> Objective:
        """Call the user's function, if there is one; what it returns may be a plain object too."""
        own = getattr(self.user, "in_float64", None)
        return self if own is None else self._made_by("in_float64", own())

    def in_float32(self) -> Objective | None:
        """Call the user's function, if there is one; what it returns may be a plain object too."""
        own = getattr(self.user, "in_float32", None)
        made = None if own is None else own()
        return None if made is None else self._made_by("in_float32", made)

    def _made_nothing(self, method: str) -> ValueError:
        """Return what is to be said of a method that has changed the user's object instead of making another one."""
        expected = "expected another one that leaves it as it is"
        return ValueError(f"objective: {self.label}.{method} returned the loss itself, {expected}")

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
        value = None if own is None else own(Y.copy())
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
        given, name = own(A.copy(), B.copy()), f"objective: {self.label}.rounding_noise"
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
    as_matrix_shape(getattr(made, "shape", None), f"{argument}: {made.label}.shape")
    Facts.refuse_misspelt(objective)
    _ = made.facts  # refuses what is no fact
    return made


def as_held_out(objective: Any, shape: tuple[int, int]) -> Objective:
    """Return the loss on held-out data as an :class:`Objective` of the shape of the loss that is trained on."""
    made = as_objective(objective, "held_out")
    if made.shape != shape:
        raise ValueError(f"held_out: expected an objective of shape {shape}, got one of shape {made.shape}")
    return made
