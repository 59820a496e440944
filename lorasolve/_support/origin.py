"""Where code comes from: this package, an installed one or a user's file; and what is behind what is compiled."""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

import numpy as np

# What functools.cache and functools.lru_cache make of a function.
REMEMBERS = type(functools.cache(abs))
# Set for classes that are written in Python; others keep their content where it cannot be read.
HEAP_TYPE = 1 << 9


def of_package(thing: Any) -> bool:
    """Whether a class, function or module is one of this package, whose version stands for it."""
    return module_name(thing).partition(".")[0] in ("lorasolve", "proofs")


def installed(thing: Any) -> bool:
    """Whether a class, function or module comes with an installed package, as this one, and not from a user's file."""
    if of_package(thing):
        return True
    module = sys.modules.get(module_name(thing))
    if module is None or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None)
    return file is None or "site-packages" in file or file.startswith(f"{sys.base_prefix}/lib/python")


def is_of_users(value: Any) -> bool:
    """Whether a value is an object of a class that is written in Python and not of an installed package."""
    kind = type(value)
    return bool(kind.__flags__ & HEAP_TYPE) and not isinstance(value, (type, types.ModuleType)) and not installed(kind)


def module_name(thing: Any) -> str:
    """Return the name of a module, or of that in which a class or function was made."""
    return str(getattr(thing, "__name__" if isinstance(thing, types.ModuleType) else "__module__", None) or "")


def code_by_name(thing: Any) -> Any:
    """Return the class or function of a user's module that other processes import to have a thing; None if none."""
    if isinstance(thing, functools.partial):
        return code_by_name(thing.func)
    if isinstance(thing, types.MethodType):
        return code_by_name(thing.__func__)
    code = thing if isinstance(thing, (type, types.FunctionType)) else type(thing)
    module = sys.modules.get(code.__module__)
    by_name = module is not None and getattr(module, code.__qualname__, None) is code
    return code if by_name and code.__module__ != "__main__" and not installed(code) else None


def in_python(value: Any) -> Any:
    """Return the function in Python of one that is compiled, remembers or is bound, as by numba.njit, functools.cache.

    So are those of numba.vectorize, numba.stencil and numpy.vectorize, functools.partial and methods of objects.
    """
    if isinstance(value, type):
        return value
    if isinstance(value, functools.partial):
        return in_python(value.func)
    if isinstance(value, types.MethodType):
        return value.__func__
    written: Any
    if isinstance(value, np.vectorize):
        written = value.pyfunc
    elif isinstance(value, REMEMBERS):
        written = value.__wrapped__
    elif type(value).__name__ == "StencilFunc":
        written = value.kernel_ir.func_id.func
    else:
        written = getattr(getattr(value, "_dispatcher", value), "py_func", None)
    return written if isinstance(written, types.FunctionType) else value


def registered(function: types.FunctionType) -> list[tuple[str, types.FunctionType]]:
    """Return what functools.singledispatch chooses from, with the names of the classes; of others nothing."""
    found = getattr(function, "registry", None)
    if not isinstance(found, types.MappingProxyType):
        return []
    names = {f"{kind.__module__}.{kind.__qualname__}": in_python(chosen) for kind, chosen in found.items()}
    return sorted((name, chosen) for name, chosen in names.items() if isinstance(chosen, types.FunctionType))


def is_compiled(value: Any) -> bool:
    """Whether a value is a function in compiled code."""
    # The last are what numba.vectorize, numba.guvectorize and numba.stencil return.
    return (
        isinstance(value, (types.BuiltinFunctionType, np.ufunc))
        or hasattr(value, "py_func")
        or type(value).__name__ in ("DUFunc", "GUFunc", "StencilFunc")
    )
