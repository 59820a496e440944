"""Checks of arguments: every error names the argument, what was given and what is accepted."""

from __future__ import annotations

import decimal
import numbers
import os
import reprlib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

# More rows or columns than this are not taken from a stated shape: factors alone would not fit into memory.
MOST_ROWS = 100_000_000
T = TypeVar("T")
# More random draws than this are asked for by mistake.
MOST_DRAWS = 10_000_000

# Characters of what was given that are shown: a list of many tables of arrays would fill a page.
MOST_SHOWN = 300

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


def shown(value: object) -> str:
    """Return what was given in at most about a line, whatever it is."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    try:
        if isinstance(value, int):
            repr(value)  # refused where it is too long, of which Python 3.14 would show the place in memory
        text = _short.repr(value)
    except Exception:  # an integer too long to be written, or an object that cannot show itself
        text = ""
    plain = type(value).__repr__ is object.__repr__
    if plain or not text:
        return f"an object of type {type(value).__name__}"
    # Of a table, or another array, numbers say less than its shape; a long text has lost its line ends.
    shape = getattr(value, "shape", None)
    if isinstance(shape, Iterable) and ("\n" in text or _short.fillvalue in text):
        return f"{_article(type(value).__name__)} of shape {tuple(shape)}"
    line = " ".join(text.split()) if "\n" in text else text
    return line if len(line) <= MOST_SHOWN else f"{line[:MOST_SHOWN]} {_short.fillvalue}"


def as_array(value: Any, argument: str) -> Array:
    """Return ``value`` as an array of any type; refuse what an array would silently lose.

    That is the mask of a masked array, and the raggedness of nested lists. A mask that hides nothing is let pass.
    Numbers in nullable columns of pandas, which NumPy has as objects, become numbers, missing ones NaN.
    """
    refuse_masked(value, argument)
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # the last of tensors that require gradients
        raise ValueError(f"{argument}: expected an array, got {shown(value)} ({error})") from error
    return _nullable_numbers(value, array) if array.dtype == object else array


def _nullable_numbers(value: Any, array: Array) -> Array:
    """Return the numbers of a data frame or series whose columns all say that they hold numbers, else the array."""
    stated = getattr(value, "dtypes", None)  # of each column, of a series its only one
    types = list(stated) if isinstance(stated, Iterable) else [stated]
    if not types or any(getattr(kind, "kind", "O") not in "iufb" for kind in types):
        return array
    if value.isna().to_numpy().any():
        return value.to_numpy(dtype=np.float64, na_value=np.nan)
    common = np.result_type(*(getattr(kind, "numpy_dtype", kind) for kind in types))
    return value.to_numpy(dtype=common)


def _shown_type(value: object, array: Array) -> str:
    """Return what was given in place of numbers: the type of an array, or a text or what NumPy wrapped as an object."""
    data = isinstance(value, (np.ndarray, list, tuple))
    wrapped = array.dtype == object or isinstance(value, (str, bytes))
    return f"an array of dtype {array.dtype}" if data or not wrapped else shown(value)


def _remedy(value: object, array: Array) -> str:
    """Return how what is no array of numbers becomes one, if it can."""
    if hasattr(type(value), "X"):  # an outcome; on the class, as the matrix may be large
        return " (its attribute X is an array)"
    if hasattr(value, "toarray"):
        return " (sparse; .toarray() makes an array of it)"
    if array.dtype == object and array.ndim and all(_is_real(x) or isinstance(x, decimal.Decimal) for x in array.flat):
        return " (numbers kept as objects; numpy.asarray(..., dtype=float) converts them)"
    return ""


def refuse_masked(value: Any, argument: str) -> None:
    """Raise a ``ValueError`` for masked entries, which other libraries take at the values under the mask."""
    if _is_masked(value):
        raise ValueError(f"{argument}: is a masked array with masked entries, which have no value; fill or drop them")


def _is_masked(value: Any) -> bool:
    if isinstance(value, np.ma.MaskedArray):
        return bool(np.ma.getmaskarray(value).any())
    return isinstance(value, (list, tuple)) and any(_is_masked(entry) for entry in value)


def as_float_array(value: ArrayLike, argument: str, ndim: int, dtype: Any = None) -> Array:
    """Return ``value`` as a C-contiguous float array of dimension ``ndim`` (float32 stays float32).

    Integers and booleans are converted to float64; complex, object and text arrays are refused, as are masked and
    empty ones, and entries that are not finite in the wanted type or whose squares do not have a finite sum in float64.
    """
    array = as_array(value, argument)
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        got = f"{_shown_type(value, array)}{_remedy(value, array)}"
        raise TypeError(f"{argument}: expected real numbers, got {got}")
    if array.ndim != ndim:
        raise ValueError(f"{argument}: expected {ndim} dimension{'s' * (ndim != 1)}, got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{argument}: is empty (shape {array.shape})")
    if dtype is None:
        dtype = array.dtype if array.dtype in (np.float32, np.float64) else np.float64
    if array.dtype != dtype:
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.astype(dtype)
    converted = np.ascontiguousarray(array)
    flat = converted.reshape(-1)
    # Not by BLAS: a worker of its pool would go on spinning for a tenth of a second, against what comes next.
    squares = np.einsum("i,i->", flat, flat)
    if np.isfinite(squares):
        return converted
    finite = np.isfinite(converted)
    if finite.all():
        if converted.dtype == np.float32:  # with squares that float64 holds
            return converted
        raise ValueError(f"{argument}: its squares overflow in float64; give it other units")
    where = ", ".join(str(int(k)) for k in np.argwhere(~finite)[0])
    raise ValueError(f"{argument}: has non-finite entries, the first at [{where}]")


def as_own_array(value: ArrayLike, argument: str, ndim: int, dtype: Any = None) -> Array:
    """Return what :func:`as_float_array` does as a copy: who has given an array may write to it."""
    return as_float_array(value, argument, ndim, dtype).copy()


def as_frozen_weight(value: ArrayLike, dtype: Any) -> Array:
    """Return a copy of a weight that cannot be written to: its owner may merge an update into theirs in place."""
    weight = np.array(value, dtype)
    weight.flags.writeable = False
    return weight


def as_partial_matrix(value: Any, argument: str) -> Array:
    """Return a new float64 matrix with NaN for what is not observed: NaN, None and masked entries.

    Text, complex numbers and dates are refused, as are infinite entries.
    """
    masked = isinstance(value, np.ma.MaskedArray)
    array = as_array(value.data if masked else value, argument)
    if (
        array.dtype == object
        and array.ndim
        and all(entry is None or _is_real(entry) or isinstance(entry, decimal.Decimal) for entry in array.flat)
    ):
        try:
            array = array.astype(np.float64)
        except OverflowError as error:
            raise ValueError(f"{argument}: has a number beyond the range of float64") from error
    if array.dtype.kind not in "iubf":
        got = f"{_shown_type(value, array)}{_remedy(value, array)}"
        raise TypeError(f"{argument}: expected real numbers, got {got}")
    if array.ndim != 2:
        raise ValueError(f"{argument}: expected 2 dimensions, got shape {array.shape}")
    with np.errstate(over="ignore"):
        matrix = np.array(array, dtype=np.float64, order="C")
    if masked:
        matrix[np.ma.getmaskarray(value)] = np.nan
    infinite = np.argwhere(np.isinf(matrix))
    if infinite.size:
        where = ", ".join(str(int(k)) for k in infinite[0])
        raise ValueError(f"{argument}: has infinite entries, the first at [{where}]")
    return matrix


def _as_integers(array: Array) -> str:
    """Return how what is no array of integers becomes one, if it can."""
    if array.ndim == 1 and array.dtype.kind == "f" and np.array_equal(array, np.trunc(array)):
        return " (whole numbers; .astype(int) converts them)"
    return " (numpy.unique(..., return_inverse=True)[1] numbers them)" if array.dtype.kind in "UT" else ""


def as_index_array(value: ArrayLike, argument: str, high: int, count: int | None = None) -> Array:
    """Return ``value`` as an array of ``count`` (at least one) integers from 0 to ``high - 1``, booleans excluded."""
    array = as_array(value, argument)
    if array.size == 0:
        raise ValueError(f"{argument}: is empty (shape {array.shape})")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{argument}: expected integers, got {_shown_type(value, array)}{_as_integers(array)}")
    as_shape(array, argument, (array.size if count is None else count,))
    outside = np.flatnonzero((array < 0) | (array >= high))
    if outside.size:
        k = int(outside[0])
        raise ValueError(f"{argument}: expected integers from 0 to {high - 1}, got {array[k]} at [{k}]")
    return np.ascontiguousarray(array, dtype=np.int64)


def as_signs(value: ArrayLike, argument: str, shape: tuple[int, int], dtype: Any) -> Array:
    """Return ``value``, the labels of a logistic loss, as a float array of a shape with entries -1 and +1."""
    signs = as_shape(as_float_array(value, argument, 2, dtype), argument, shape)
    wrong = np.argwhere(np.abs(signs) != 1.0)
    if wrong.size:
        i, j = wrong[0]
        hint = " (2*y - 1 makes them of 0 and 1)" if np.isin(signs, (0.0, 1.0)).all() else ""
        raise ValueError(f"{argument}: expected -1 or +1, got {signs[i, j]:g} at [{i}, {j}]{hint}")
    return signs


def require(given: object, argument: str, refusal: str | None) -> None:
    """Raise a ``ValueError`` that names the argument and, as text, what was given if there is a refusal."""
    if as_refusal(refusal, argument) is not None:
        raise ValueError(f"{argument}: {shown(str(given))} cannot be used here: {refusal}")


def as_refusal(answer: Any, argument: str) -> str | None:
    """Return the answer of a ``refusal`` if it is None or a reason; False would refuse, and True say nothing."""
    if answer is None or (isinstance(answer, str) and answer.strip()):
        return answer
    raise TypeError(f"{argument}: refusal returned {shown(answer)}, expected None or a reason in words")


def as_shape(value: Array, argument: str, shape: tuple[int, ...]) -> Array:
    """Return ``value`` if it has exactly ``shape``."""
    if value.shape != shape:
        raise ValueError(f"{argument}: expected shape {shape}, got {value.shape}")
    return value


def is_floating(value: object, shape: tuple[int, ...]) -> bool:
    """Return whether ``value`` is an array of exactly ``shape`` of real numbers in floating point."""
    return isinstance(value, np.ndarray) and value.shape == shape and value.dtype.kind == "f"


def as_matrix_shape(value: Any, argument: str) -> tuple[int, int]:
    """Return ``value`` as a pair of positive integers ``(m, n)``; numbers with a fraction are not cut."""
    accepted = f"a tuple (m, n) of integers from 1 to {MOST_ROWS}"
    if not isinstance(value, tuple) or len(value) != 2:
        raise TypeError(f"{argument}: expected {accepted}, got {shown(value)}")
    m, n = (as_integer(entry, argument, 1, MOST_ROWS) for entry in value)
    return m, n


def _is_integral(value: object) -> bool:
    """Return whether a value is an integer: True and False are none, nor are time spans, which NumPy counts as such."""
    return isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.timedelta64))


def _is_real(value: object) -> bool:
    """Return whether a value is a real number, in the same sense."""
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.timedelta64))


def as_integer(value: Any, argument: str, low: int, high: int | None = None) -> int:
    """Return ``value`` as an ``int`` between ``low`` and ``high``, both included."""
    accepted = f"an integer >= {low}" if high is None else f"an integer from {low} to {high}"
    if not _is_integral(value):
        raise TypeError(f"{argument}: expected {accepted}, got {shown(value)}")
    number = int(value)
    if number < low or (high is not None and number > high):
        raise ValueError(f"{argument}: expected {accepted}, got {shown(number)}")
    return number


def as_number(
    value: Any,
    argument: str,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return ``value`` as a finite ``float`` in the stated interval."""
    left, right = ("(" if open_low or low == -np.inf else "["), (")" if open_high or high == np.inf else "]")
    accepted = "a finite number"
    if low > -np.inf or high < np.inf:
        accepted += f" in {left}{low:g}, {high:g}{right}"
    if not _is_real(value):
        raise TypeError(f"{argument}: expected {accepted}, got {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    below = number <= low if open_low else number < low
    above = number >= high if open_high else number > high
    if not np.isfinite(number) or below or above:
        raise ValueError(f"{argument}: expected {accepted}, got {shown(value if number == np.inf else number)}")
    return number


def as_plain(value: Any) -> Any:
    """Return a number or truth value of NumPy as Python's own, and anything else as it is.

    Arithmetic with a number of a small type overflows, or is rounded to that type.
    """
    if not isinstance(value, np.generic) or value.dtype.kind not in "biuf":
        return value
    return {"b": bool, "f": float}.get(value.dtype.kind, int)(value)


def is_flag(value: object) -> bool:
    """Return whether a value is True or False, of Python or of NumPy."""
    return isinstance(value, (bool, np.bool_))


def as_flag(value: Any, argument: str) -> bool:
    """Return ``value`` if it is True or False, of Python or of NumPy."""
    if not is_flag(value):
        raise TypeError(f"{argument}: expected True or False, got {shown(value)}")
    return bool(value)


def as_choice(value: Any, argument: str, choices: Iterable[Any]) -> Any:
    """Return ``value`` if it is one of the texts, numbers or None; True and False are no numbers."""
    accepted = list(choices)
    known = value is None or isinstance(value, str) or _is_integral(value)
    if not known or value not in accepted:
        *most, last = map(repr, accepted)
        text = f"{', '.join(most)} or {last}" if most else last
        raise ValueError(f"{argument}: expected {text}, got {shown(value)}")
    return value


def as_text(value: Any, argument: str) -> str:
    """Return ``value`` if it is a text."""
    if not isinstance(value, str):
        raise TypeError(f"{argument}: expected a text, got {shown(value)}")
    return value


def as_instance(value: Any, argument: str, kind: type[T] | tuple[type[T], ...]) -> T:
    """Return ``value`` if it is of the class, or of one of them."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds):
        raise TypeError(f"{argument}: expected {' or '.join(_article(k.__name__) for k in kinds)}, got {shown(value)}")
    return value


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def as_iterable(value: Any, argument: str) -> Iterable[Any]:
    """Return ``value`` if it is a collection of values and no text."""
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, dict)) or getattr(value, "ndim", 1) == 0:
        raise TypeError(f"{argument}: expected a list of one value or several, got {shown(value)}")
    return value


def as_callable(value: Any, argument: str) -> Callable[..., Any]:
    """Return ``value`` if it can be called and is no class."""
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"{argument}: expected a function, got {shown(value)}")
    return value


def as_generator(value: Any, argument: str) -> np.random.Generator:
    """Return a generator of random numbers: ``value`` itself, or one of the seed that it is."""
    if isinstance(value, np.random.Generator):
        return value
    if not _is_integral(value) or value < 0:
        raise TypeError(f"{argument}: expected a seed (an integer >= 0) or a numpy Generator, got {shown(value)}")
    return np.random.default_rng(int(value))


def as_path(value: Any, argument: str) -> str:
    """Return ``value`` if it is a path that the system can take, with the home directory for ``~`` as in shells."""
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        raise TypeError(f"{argument}: expected a path (text or os.PathLike), got {shown(value)}")
    text = str(os.fspath(value))
    if not text or "\0" in text:
        raise ValueError(f"{argument}: expected a path, got {shown(text)}")
    return os.path.expanduser(text)
