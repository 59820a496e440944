"""Losses of several updates ``X = (X_1, .., X_L)``, one matrix each, and a loss of one update seen as such.

Whatever treats one and several matrices alike (the certificate, the convex routes, the landscape) asks a
:class:`MultiObjective`, through factors given as a sequence of pairs ``(A_l, B_l)``, ``X_l = A_l B_l^T``. No
block-diagonal matrix is ever formed: memory and time are the sum of the blocks'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .._support.origin import is_shipped
from .._support.time_limit import is_over
from .._support.validate import (
    Array,
    as_float_array,
    as_instance,
    as_integer,
    as_iterable,
    as_shape,
    shown,
)
from ..linear_map import LinearMap
from ..objectives import (
    POWER_STEPS,
    DenseReference,
    Facts,
    Kernels,
    ShownPrecision,
    UserObjective,
    checked_curvature,
    complete_products,
    difference_step,
    estimate_smoothness,
    factored,
    falling_length,
    length_of,
    no_batches,
    own_matrix,
    real_value,
)
from ..objectives.base import Objective, Rounding, Shifted, Wrapper, allowance
from .nearby import Nearby, by_increments
from .pairs import Matrices, Pairs, joint_inner, joint_norm

# Multiplies directions (U_l, V_l) by the Hessian of a loss in the factors.
PairsProduct = Callable[[Pairs], tuple[tuple[Array, Array], ...]]

# Matrices whose sizes differ by no more share the step of a difference: its error grows with the square of the step.
SPREAD = 10.0


class OnLine(NamedTuple):
    """The value at a point of a line, the derivative there, and what its rounding errors are relative to."""

    value: float
    slope: float
    size: float


class MultiObjective(ShownPrecision):
    """Base class of smooth losses of several updates. All that must be written is ``shapes`` and ``value_and_grad``.

    Facts are stated as for an :class:`~lorasolve.objectives.Objective`, about ``f`` as a function of all updates
    jointly.

    Attributes
    ----------
    shapes : tuple of (int, int)
        ``(m_l, n_l)`` of each update.
    dtype : numpy dtype
        The type of the factors.
    decoupled : bool
        True if ``f`` is a sum of losses of one update each, so that constants of each of them are joint constants.
    by_formula : bool
        True if the facts follow from a formula that this very class evaluates on numbers of its own, so that nothing
        is taken for granted that another object states. A subclass has to say so itself.
    """

    shapes: tuple[tuple[int, int], ...]
    decoupled: bool = False
    by_formula: bool = False

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        complete_products(cls, 1)

    @property
    def facts(self) -> Facts:
        """What is known about ``f``, collected from the attributes that state it."""
        return Facts.stated_by(self)

    @property
    def kernels(self) -> Kernels:
        """Compiled loops take one matrix; a loss of several states only whether its oracle runs on Numba's threads."""
        return Kernels()

    @property
    def label(self) -> str:
        """What messages call the loss: the name of its class."""
        return type(self).__name__

    # ------------------------------------------------------------------ dense level
    def value_and_grad(self, X: Matrices) -> tuple[float, tuple[Array, ...]]:
        """Return ``f(X_1, .., X_L)`` and its gradients, one for each update."""
        raise NotImplementedError

    def checked_value_and_grad(self, X: Matrices) -> tuple[float, tuple[Array, ...]]:
        """Return what :meth:`value_and_grad` does, checked, the gradients in arrays that later calls leave alone."""
        answer = self.value_and_grad(self._own_copies(X))
        if not (isinstance(answer, tuple) and len(answer) == 2):
            expected = "(float, (G_1, .., G_L))"
            raise TypeError(f"objective: {self.label}.value_and_grad must return {expected}, got {type(answer)}")
        value, G = real_value(answer[0], self.label), self._own_matrices(answer[1], "value_and_grad", "gradient")
        self._note(X, answer[0], G)
        return value, G

    def _own_copies(self, X: Matrices) -> Matrices:
        """Return what a method may write to, as users do to their arguments."""
        return [x.copy() for x in X] if is_of_a_user(self) else X

    def _own_matrices(self, given: Any, method: str, what: str) -> tuple[Array, ...]:
        """Return the matrices that a method has returned, one for each update, checked and copied."""
        listed = isinstance(given, (tuple, list, np.ndarray))
        if not listed or len(given) != len(self.shapes):
            expected = f"expected {len(self.shapes)} {what}s, one for each update"
            got = str(len(given)) if listed else shown(given)
            raise ValueError(f"objective: {self.label}.{method}: {expected}, got {got}")
        return tuple(
            own_matrix(M, self.label, method, f"{what} in X[{k}]", (m, n))
            for k, (M, (m, n)) in enumerate(zip(given, self.shapes))
        )

    def along(self, X: Matrices, D: Matrices) -> Callable[[float], OnLine] | None:
        """Return ``f`` on the line ``X + t D`` as a function of ``t``, if that takes less than gradients."""
        return None

    def hessian_product(self, X: Matrices, D: Matrices) -> tuple[Array, ...]:
        """Return the Hessian at ``X`` times the direction ``D``; by default from central differences of the gradients.

        Matrices of one size share a step. Nothing tells one in small units from one that tends to 0 in the units of
        the others, so a loss of matrices in units of their own should state the product.
        """
        return self._differences_at(X)(D)

    def _differences_at(self, X: Matrices) -> Callable[[Matrices], tuple[Array, ...]]:
        """Return what multiplies by the Hessian at ``X`` by differences, whose length is found once."""
        length = self._natural_length(min(joint_norm([x]) for x in X))
        return lambda D: self._difference_product(X, D, length)

    def checked_hessian_product(self, X: Matrices, D: Matrices) -> tuple[Array, ...]:
        """Return what :meth:`hessian_product` does, checked, in arrays that later calls leave alone."""
        product = self.hessian_product(self._own_copies(X), self._own_copies(D))
        return self._own_matrices(product, "hessian_product", "product")

    @property
    def differenced(self) -> bool:
        """Whether ``hessian_product`` is a difference of gradients, which loses a third of the digits."""
        return type(self).hessian_product is MultiObjective.hessian_product

    def _natural_length(self, least: float = 0.0) -> float:
        zeros = [np.zeros(shape, self.dtype) for shape in self.shapes]
        f, G = self.checked_value_and_grad(zeros)

        def value(X: Matrices) -> float:
            return self.checked_value_and_grad([x.astype(self.dtype, copy=False) for x in X])[0]

        return falling_length(value, zeros, f, G, length_of(f, joint_norm(G)), least)

    def _difference_product(self, X: Matrices, D: Matrices, length: float, share: float = 1.0) -> tuple[Array, ...]:
        """Return the product by differences over a share of the usual step, which is one for matrices of one size."""
        products = [np.zeros(shape) for shape in self.shapes]
        for chosen in _of_one_size([max(length, joint_norm([x])) for x in X]):
            part = [d if k in chosen else np.zeros_like(d) for k, d in enumerate(D)]
            distance = joint_norm(part)
            if distance == 0.0:
                continue
            h = share * difference_step(length, joint_norm([X[k] for k in chosen]), distance, self.precision)
            plus = self.checked_value_and_grad([x + h * d for x, d in zip(X, part)])[1]
            minus = self.checked_value_and_grad([x - h * d for x, d in zip(X, part)])[1]
            for product, p, q in zip(products, plus, minus):
                product += (p - q) / (2.0 * h)
        return tuple(products)

    # ------------------------------------------------------------------ factor level
    def factor_oracle(self, factors: Pairs, grads: Pairs) -> float:
        """Write ``G_l B_l`` and ``G_l^T A_l`` of each block into ``grads`` and return ``f``."""
        f, G = self.checked_value_and_grad([A @ B.T for A, B in factors])
        for g, (A, B), (GB, GtA) in zip(G, factors, grads):
            np.matmul(g, B, out=GB)
            np.matmul(g.T, A, out=GtA)
        return f

    def factor_value(self, factors: Pairs) -> float:
        """Return ``f(A_1 B_1^T, .., A_L B_L^T)``."""
        return self.factor_oracle(factors, [(np.empty_like(A), np.empty_like(B)) for A, B in factors])

    def hessian_at(self, factors: Pairs) -> PairsProduct:
        """Return the derivative of ``(G_l B_l, G_l^T A_l)`` as a function of directions ``(U_l, V_l)``, with couplings.

        What all directions share, as the ``G_l``, is computed once.
        """
        X = [A @ B.T for A, B in factors]
        G = self.checked_value_and_grad(X)[1]
        differenced = type(self).hessian_product is MultiObjective.hessian_product
        times = self._differences_at(X) if differenced else partial(self.checked_hessian_product, X)

        def product(directions: Pairs) -> tuple[tuple[Array, Array], ...]:
            H = times([U @ B.T + A @ V.T for (A, B), (U, V) in zip(factors, directions)])
            return tuple((h @ B + g @ V, h.T @ A + g.T @ U) for g, h, (A, B), (U, V) in zip(G, H, factors, directions))

        return product

    def factor_hvp(self, factors: Pairs, directions: Pairs) -> tuple[tuple[Array, Array], ...]:
        """Return one product of :meth:`hessian_at`; a class that writes either has the other from it."""
        return MultiObjective.hessian_at(self, factors)(directions)

    def factor_diagonal(self, factors: Pairs) -> tuple[tuple[Array, Array], ...]:
        """Estimate the diagonal of the Hessian in each factor, all >= 0 (a scaling for solvers).

        By default from one random direction ``U_l B_l^T`` in all blocks at once, as for one matrix.
        """
        rng = np.random.default_rng(0)
        directions = [(rng.standard_normal(A.shape).astype(A.dtype, copy=False), np.zeros_like(B)) for A, B in factors]
        found = []
        for (A, B), (U, _), (HB, _) in zip(factors, directions, self.factor_hvp(factors, directions)):
            length = float(np.vdot(U @ (B.T @ B), U))
            c = max(float(np.vdot(U, HB)), 0.0) / length if length > 0.0 else 0.0
            on_A = np.broadcast_to(c * np.sum(B * B, axis=0), A.shape)
            found.append((on_A, np.broadcast_to(c * np.sum(A * A, axis=0), B.shape)))
        return tuple(found)

    def gradient_operators(self, factors: Pairs) -> tuple[LinearMap, ...]:
        """Return the gradient of each block as a ``LinearMap``, in float64."""
        G = self.checked_value_and_grad([A @ B.T for A, B in factors])[1]
        return tuple(LinearMap.from_dense(g.astype(np.float64, copy=False)) for g in G)

    def oracle_and_operators(self, factors: Pairs) -> tuple[float, Pairs, tuple[LinearMap, ...]]:
        """Return what :meth:`factor_oracle` and :meth:`gradient_operators` do: ``f``, the products, the gradients."""
        products = [(np.empty_like(A), np.empty_like(B)) for A, B in factors]
        f = self.factor_oracle(factors, products)
        return f, products, self.gradient_operators(factors)

    def sampled_smoothness(self, factors: Pairs) -> float:
        """Estimate the largest Hessian eigenvalue by power iteration on differences (SAMPLED: a lower bound)."""
        X = [(A @ B.T).astype(np.float64) for A, B in factors]
        rng = np.random.default_rng(0)
        D: Matrices = [rng.standard_normal(shape) for shape in self.shapes]
        value = 0.0
        natural = self._natural_length()
        for _ in range(POWER_STEPS):
            length = joint_norm(D)
            D = [d / length for d in D]
            H = self._difference_product(X, D, natural)
            value = abs(joint_inner(D, H))
            if is_over() or not any(np.any(h) for h in H):
                break
            D = H
        return checked_curvature(value, X)

    def rounding_noise(self, factors: Pairs) -> Rounding:
        """Return the sizes of the rounding errors in ``f`` and its gradients at factors.

        By default values are taken to be made of numbers of their own size and of the size of ``|f(0)|``.
        """
        return Rounding(allowance(self.precision) * abs(self.factor_value(self.zeros())), 0.0)

    def zeros(self) -> list[tuple[Array, Array]]:
        """Return factors of one column whose updates are zero."""
        return [(np.zeros((m, 1), self.dtype), np.zeros((n, 1), self.dtype)) for m, n in self.shapes]

    # ------------------------------------------------------------------ others
    def conjugate(self, Y: Matrices) -> float | None:
        """Return ``f*(Y)``, the supremum of ``sum_l <X_l, Y_l> - f(X)``, where it has a formula."""
        return None

    @property
    def states_conjugate(self) -> bool:
        """Whether ``conjugate`` may have an answer."""
        return type(self).conjugate is not MultiObjective.conjugate

    def refuse_changed_samples(self) -> None:
        """Refuse arrays of the caller that were written to since something was formed of them; by default none are."""

    def in_float64(self) -> MultiObjective:
        """Return the same ``f`` evaluated in float64; itself by default."""
        return self

    def in_float32(self) -> MultiObjective | None:
        """Return the same ``f`` in float32 for rough descents, where its oracle is faster; None by default."""
        return None

    def nearby(self) -> Nearby:
        """Return what answers one run, whose points are near one another; by default exact answers."""
        return self.exactly()

    def exactly(self) -> Nearby:
        """Return the same where every answer is to be exact."""
        return Nearby(self.oracle_and_operators, self.factor_value, self.factor_oracle)

    def sample_batch(self, index: Array) -> MultiObjective:
        """Return the loss restricted to the samples ``index``."""
        raise NotImplementedError(f"{type(self).__name__} is not a mean over samples")

    def batch_refusal(self) -> str | None:
        """Return why no batches of samples can be drawn, or None if they can."""
        return no_batches(self.label, self.facts, type(self).sample_batch is not MultiObjective.sample_batch)

    def block(self, index: int, X: Matrices) -> Objective:
        """Return the loss of one update with the others fixed at ``X`` (the l-th diagonal block of the Hessian)."""
        return BlockView(self, index, X)

    def metrics(self, X: Matrices) -> dict[str, float]:
        """Return named measures of quality."""
        return {}


class OneBlock(Wrapper, MultiObjective):
    """A loss of one update as a loss of a tuple of one; every answer is the objective's own."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.shapes = (objective.shape,)
        self.dtype = objective.dtype

    def conjugate(self, Y: Matrices) -> float | None:
        """Ask the objective."""
        return self.objective.conjugate(Y[0])

    def value_and_grad(self, X: Matrices) -> tuple[float, tuple[Array, ...]]:
        """Return ``f(X_1)`` and its gradient."""
        f, G = self.objective.value_and_grad(X[0])
        return f, (G,)

    def hessian_product(self, X: Matrices, D: Matrices) -> tuple[Array, ...]:
        """Return the objective's Hessian product."""
        return (self.objective.hessian_product(X[0], D[0]),)

    def factor_oracle(self, factors: Pairs, grads: Pairs) -> float:
        """Ask the objective's factor oracle."""
        return real_value(self.objective.factor_oracle(*factors[0], *grads[0]), self.label, "factor_oracle")

    def rounding_noise(self, factors: Pairs) -> Rounding:
        """Ask the objective."""
        return self.objective.rounding_noise(*factors[0])

    def factor_value(self, factors: Pairs) -> float:
        """Ask the objective."""
        return real_value(self.objective.factor_value(*factors[0]), self.label, "factor_value")

    def hessian_at(self, factors: Pairs) -> PairsProduct:
        """Ask the objective."""
        product = self.objective.hessian_at(*factors[0])
        return lambda directions: (product(*directions[0]),)

    def factor_diagonal(self, factors: Pairs) -> tuple[tuple[Array, Array], ...]:
        """Ask the objective."""
        return (self.objective.factor_diagonal(*factors[0]),)

    def gradient_operators(self, factors: Pairs) -> tuple[LinearMap, ...]:
        """Ask the objective."""
        return (self.objective.gradient_operator(*factors[0]),)

    def oracle_and_operators(self, factors: Pairs) -> tuple[float, Pairs, tuple[LinearMap, ...]]:
        """Ask the objective."""
        f, GB, GtA, G = self.objective.oracle_and_operator(*factors[0])
        return real_value(f, self.label, "oracle_and_operator"), [(GB, GtA)], (G,)

    def refuse_changed_samples(self) -> None:
        """Ask the objective."""
        self.objective.refuse_changed_samples()

    def in_float64(self) -> MultiObjective:
        """Ask the objective."""
        return OneBlock(self.objective.in_float64())

    def in_float32(self) -> MultiObjective | None:
        """Ask the objective."""
        single = self.objective.in_float32()
        return None if single is None else OneBlock(single)

    def nearby(self) -> Nearby:
        """Ask the objective."""
        increments = self.objective.increments()
        return self.exactly() if increments is None else by_increments(increments)

    def sampled_smoothness(self, factors: Pairs) -> float:
        """Ask the objective."""
        return estimate_smoothness(self.objective, *factors[0])

    def block(self, index: int, X: Matrices) -> Objective:
        """Return the objective."""
        return self.objective


class BlockView(Objective):
    """The loss of one update while the others keep their values."""

    def __init__(self, objective: MultiObjective, index: int, X: Matrices) -> None:
        self.objective = as_instance(objective, "objective", MultiObjective)
        self.index = as_integer(index, "index", 0, len(objective.shapes) - 1)
        X = list(as_iterable(X, "X"))
        if len(X) != len(objective.shapes):
            raise ValueError(f"X: expected {len(objective.shapes)} updates, got {len(X)}")
        self.others = [
            as_shape(as_float_array(x, f"X[{k}]", 2), f"X[{k}]", shape)
            for k, (x, shape) in enumerate(zip(X, objective.shapes))
        ]
        self.shape = objective.shapes[index]
        self.dtype = objective.dtype

    @property
    def facts(self) -> Facts:
        """Those of the whole, which hold for one update alone; but that may be convex where the whole is not."""
        facts = self.objective.facts
        return facts.replace(convex=facts.convex or None)

    @property
    def label(self) -> str:
        """That of the whole."""
        return self.objective.label

    @property
    def precision(self) -> str:
        """That of the whole."""
        return self.objective.precision

    def _with(self, X: Array) -> list[Array]:
        return [X if k == self.index else other for k, other in enumerate(self.others)]

    def value_and_grad(self, X: Array) -> tuple[float, Array]:
        """Return ``f`` with this update set to ``X``, and the gradient in it."""
        f, G = self.objective.checked_value_and_grad(self._with(X))
        return f, G[self.index]

    def hessian_product(self, X: Array, D: Array) -> Array:
        """Return the diagonal block of the Hessian times ``D``."""
        direction = [D if k == self.index else np.zeros(shape) for k, shape in enumerate(self.objective.shapes)]
        return self.objective.checked_hessian_product(self._with(X), direction)[self.index]

    @property
    def differenced(self) -> bool:
        """That of the whole."""
        return self.objective.differenced

    def rounding_noise(self, A: Array, B: Array) -> Rounding:
        """Return those of the whole with this update set to ``A B^T``."""
        return self.objective.rounding_noise([factored(X) for X in self._with(A @ B.T)])

    def in_float64(self) -> Objective:
        """Return the block of the whole in float64, with the other updates at the same values."""
        whole = self.objective.in_float64()
        return self if whole is self.objective else BlockView(whole, self.index, self.others)

    def sample_batch(self, index: Array) -> Objective:
        """Return the block of the batch, with the other updates at the same values."""
        return BlockView(self.objective.sample_batch(index), self.index, self.others)

    def batch_refusal(self) -> str | None:
        """Return that of the whole."""
        return self.objective.batch_refusal()

    def metrics(self, X: Array) -> dict[str, float]:
        """Return the metrics of the whole with this update set to ``X``."""
        return self.objective.metrics(self._with(X))


class PlainBlocks(Wrapper, MultiObjective):
    """The plain twin of a loss of several updates: every factor-level answer derived from its dense level."""

    def __init__(self, objective: MultiObjective) -> None:
        self.objective = objective
        self.shapes, self.dtype, self.decoupled = objective.shapes, objective.dtype, objective.decoupled

    def value_and_grad(self, X: Matrices) -> tuple[float, tuple[Array, ...]]:
        """Return the value and the gradients of the loss."""
        return self.objective.checked_value_and_grad(X)

    def hessian_product(self, X: Matrices, D: Matrices) -> tuple[Array, ...]:
        """Return the Hessian product of the loss."""
        return self.objective.hessian_product(X, D)

    def conjugate(self, Y: Matrices) -> float | None:
        """Return that of the loss."""
        return self.objective.conjugate(Y)

    def rounding_noise(self, factors: Pairs) -> Rounding:
        """Those of the loss, whose values these are."""
        return self.objective.rounding_noise(factors)

    def sample_batch(self, index: Array) -> MultiObjective:
        """Return the plain twin of the batch."""
        return PlainBlocks(self.objective.sample_batch(index))

    def batch_refusal(self) -> str | None:
        """Return that of the loss."""
        return self.objective.batch_refusal()

    def in_float64(self) -> MultiObjective:
        """Return the plain twin of the loss in float64."""
        return PlainBlocks(self.objective.in_float64())

    def block(self, index: int, X: Matrices) -> Objective:
        """Return the block of the loss."""
        return self.objective.block(index, X)

    def metrics(self, X: Matrices) -> dict[str, float]:
        """Return the metrics of the loss."""
        return self.objective.metrics(X)


def _of_one_size(sizes: Sequence[float]) -> list[list[int]]:
    """Return the indices of matrices in groups, whose sizes are at most ``SPREAD`` times the smallest among them."""
    groups: list[list[int]] = []
    for k in np.argsort(sizes, kind="stable").tolist():
        if groups and sizes[k] <= SPREAD * sizes[groups[-1][0]]:
            groups[-1].append(k)
        else:
            groups.append([k])
    return groups


def speaker(given: Any) -> Any:
    """Return the object that states the facts: a user's own within its wrappers."""
    while isinstance(given, DenseReference | Shifted | OneBlock | UserObjective):
        given = given.user if isinstance(given, UserObjective) else given.objective
    return given


def is_of_a_user(loss: Any) -> bool:
    """Return whether a loss, one that it is made from, or one of those that it adds up, is not of the package."""
    whose = speaker(loss)
    if isinstance(whose, BlockView | PlainBlocks):
        return is_of_a_user(whose.objective)
    return not is_shipped(type(whose)) or any(is_of_a_user(part) for part in getattr(whose, "parts", ()))
