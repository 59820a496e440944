"""Kernels that their callers call by a symbol, instead of taking them in and optimising them once more.

Numba hands LLVM with every kernel all that it calls, and all of it is optimised again: a pass over the data that
compiles in half a second was compiled seven times on its way to a driver, in threads and without, with one oracle
around it and another. A kernel with a symbol is compiled once for each signature; the linker puts its address into its
callers. What is lost is that it is inlined, which matters to a pass that runs for microseconds not at all.

A compiled caller on disk names the symbols that it needs, so that they are there before it is loaded.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

from llvmlite import binding
from numba.core.funcdesc import ExternalFunctionDescriptor

PREFIX = "lorasolve:"


class Need(NamedTuple):
    """A symbol, the module and name of its kernel, and the types of its arguments."""

    symbol: str
    kernel: tuple[str, str]
    arguments: tuple[Any, ...]


# The kernels that have symbols, and what each symbol of this process stands for: it stays, for there may be callers,
# and one name always stands for the same code.
_kernels: weakref.WeakValueDictionary[tuple[str, str], Any] = weakref.WeakValueDictionary()
_published: dict[str, tuple[Need, Any]] = {}


def give_symbol(dispatcher: Any) -> None:
    """Let kernels that are compiled from now on call a dispatcher's kernels by their symbols."""
    _kernels[_name(dispatcher)] = dispatcher
    # Asked for when a caller is compiled, after the kernel itself: the key of what Numba puts in place of a call.
    dispatcher.get_overload = lambda arguments: _publish(dispatcher, arguments)


def needs(library: Any) -> list[Need]:
    """Return the symbols that a compiled library calls."""
    functions = library._final_module.functions
    return [_published[function.name][0] for function in functions if function.name.startswith(PREFIX)]


def provide(needed: list[Need]) -> bool:
    """Publish the symbols that a library on disk needs, before it is loaded; return whether all are there."""
    for need in needed:
        dispatcher = _kernels.get(need.kernel)
        if dispatcher is None:
            return False
        dispatcher.compile(need.arguments)
        if _publish(dispatcher, need.arguments) != need.symbol:
            return False
    return True


def _name(dispatcher: Any) -> tuple[str, str]:
    return dispatcher.py_func.__module__, dispatcher.py_func.__qualname__


def _publish(dispatcher: Any, arguments: tuple[Any, ...]) -> str:
    """Return the symbol of a compiled kernel, which is also the key under which Numba finds how to call it."""
    result = dispatcher.overloads[arguments]
    symbol = PREFIX + dispatcher._cache.name(arguments, result.codegen)
    if symbol not in _published:
        descriptor = result.fndesc
        binding.add_symbol(symbol, result.library.get_pointer_to_function(descriptor.llvm_func_name))
        dispatcher.targetctx.insert_user_function(
            symbol, ExternalFunctionDescriptor(symbol, descriptor.restype, descriptor.argtypes)
        )
        _published[symbol] = Need(symbol, _name(dispatcher), arguments), result
    return symbol
