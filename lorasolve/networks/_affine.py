"""What torch's operations show of outputs: whether they are affine in the adapted weights, and of which precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# Operations that are linear in each argument by itself.
_LINEAR = {
    *("addmm", "mm", "bmm", "linear", "t", "transpose", "view", "_unsafe_view", "_reshape_alias", "alias", "expand"),
    *("_to_copy", "clone", "neg", "unsqueeze", "squeeze", "permute", "sum", "mean", "mul", "convolution"),
}
# Those that are linear in the first argument, the others fixed.
_LINEAR_IN_FIRST = {"slice", "select", "index", "embedding", "div"}
# Those that are linear in all arguments together.
_SUMS = {"add", "sub", "add_", "sub_", "cat"}
# Methods of tensors that hand their numbers to Python or another library by no operation of torch.
_LEAVING = ("tolist", "numpy", "__array__", "__dlpack__", "__repr__", "data_ptr")


def is_affine(outputs: Callable[[Sequence[Any]], Any], weights: Sequence[Any]) -> bool:
    """Return whether ``outputs(weights)`` is shown to be affine in the weights, everything else being fixed.

    Every operation on what depends on the weights is looked at, whether or not a gradient flows through it: masks,
    indices and detached factors that were computed from the weights are among them. Operations that are not known to be
    linear, products of two factors that both depend on the weights, and numbers that are given to Python answer no.
    """
    followed, found = _follow(outputs, weights)
    return followed.affine and followed.holds(found)


def floating_types(outputs: Callable[[Sequence[Any]], Any], weights: Sequence[Any]) -> set[Any]:
    """Return the floating types of everything that ``outputs(weights)`` makes of the weights on its way."""
    return _follow(outputs, weights)[0].types


def _follow(outputs: Callable[[Sequence[Any]], Any], weights: Sequence[Any]) -> tuple[_Followed, Any]:
    from torch import Tensor
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    followed = _Followed(weights)
    leaving = {getattr(Tensor, name) for name in _LEAVING}

    class Mode(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return followed.run(func, args, kwargs or {})

    class Exits(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            # What Python makes of the numbers nobody sees.
            followed.affine &= not (func in leaving and followed.holds(args[0]))
            return func(*args, **(kwargs or {}))

    with Exits(), Mode():
        found = outputs(weights)
    return followed, found


class _Followed:
    """What depends on the weights, by the memory that holds it, and whether it is affine in them so far."""

    def __init__(self, weights: Iterable[Any]) -> None:
        self.affine = True
        self.types: set[Any] = set()
        # The storages are kept, so that none of their addresses is given out again.
        self.dependent: dict[int, Any] = {}
        self._add(weights)

    def _add(self, tensors: Iterable[Any]) -> None:
        for tensor in tensors:
            self.dependent[tensor.untyped_storage()._cdata] = tensor.untyped_storage()

    def holds(self, value: Any) -> bool:
        """Return whether a value is a tensor that depends on the weights."""
        return hasattr(value, "untyped_storage") and value.untyped_storage()._cdata in self.dependent

    def run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an operation, and follow what it makes."""
        from torch.utils._pytree import tree_leaves

        given = [value for value in tree_leaves((args, kwargs)) if self.holds(value)]
        found = func(*args, **kwargs)
        if given:
            made = [value for value in tree_leaves(found) if hasattr(value, "untyped_storage")]
            # A division that rounds has the name of one that does not.
            exact = kwargs.get("rounding_mode") is None and all(value.is_floating_point() for value in made)
            self.affine &= exact and self._linear(func.overloadpacket.__name__, args, len(given))
            self.types |= {value.dtype for value in made if value.is_floating_point()}
            self._add(made)
        return found

    def _linear(self, name: str, args: Sequence[Any], count: int) -> bool:
        if name in _SUMS:
            return True
        return count == 1 and (name in _LINEAR or (name in _LINEAR_IN_FIRST and self.holds(args[0])))
