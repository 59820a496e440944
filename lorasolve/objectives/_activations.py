"""Activation functions with their exact first and second derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._support.keywords import suggest
from .._support.validate import Array, shown

Function = Callable[[Array], Array]


@dataclass(frozen=True)
class Activation:
    """An elementwise function and its derivatives; ``second`` raises where ``twice_differentiable`` is False."""

    name: str
    value: Function
    first: Function
    second: Function
    twice_differentiable: bool = True


def activation(name: str) -> Activation:
    """Return the activation of that name.

    Raises
    ------
    ValueError
        If there is none; the message lists what is accepted.
    """
    for known in _ALL:
        if isinstance(name, str) and known.name == name:
            return known
    raise ValueError(f"activation: unknown activation {shown(name)}.{suggest(str(name), [a.name for a in _ALL])}")


def _sigmoid(h: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * h))


def _tanh_first(h: Array) -> Array:
    return 1.0 - np.tanh(h) ** 2


def _tanh_second(h: Array) -> Array:
    t = np.tanh(h)
    return -2.0 * t * (1.0 - t * t)


def _softplus(h: Array) -> Array:
    return np.maximum(h, 0.0) + np.log1p(np.exp(-np.abs(h)))


def _softplus_second(h: Array) -> Array:
    s = _sigmoid(h)
    return s * (1.0 - s)


def _normal_distribution(h: Array) -> Array:
    from scipy.special import ndtr

    return np.asarray(ndtr(h))


def _normal_density(h: Array) -> Array:
    return np.exp(-0.5 * h * h) / math.sqrt(2.0 * math.pi)


def _gelu(h: Array) -> Array:
    return h * _normal_distribution(h)


def _gelu_first(h: Array) -> Array:
    return _normal_distribution(h) + h * _normal_density(h)


def _gelu_second(h: Array) -> Array:
    return (2.0 - h * h) * _normal_density(h)


def _relu(h: Array) -> Array:
    return np.maximum(h, 0.0)


def _relu_first(h: Array) -> Array:
    return (h > 0.0).astype(h.dtype)


def _relu_second(h: Array) -> Array:
    raise ValueError(
        "activation: 'relu' has no second derivative at 0 and a zero one elsewhere, so Hessian products and "
        "second-order stationarity would say nothing about f; use 'softplus', 'gelu' or 'tanh'"
    )


_ALL = (
    Activation("tanh", np.tanh, _tanh_first, _tanh_second),
    Activation("softplus", _softplus, _sigmoid, _softplus_second),
    Activation("gelu", _gelu, _gelu_first, _gelu_second),
    Activation("relu", _relu, _relu_first, _relu_second, twice_differentiable=False),
)
