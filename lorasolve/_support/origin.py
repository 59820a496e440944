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


# Packages of this project.
OWN = ("lorasolve", "proofs")
# What a file of Python is called that a user names as ``FILE.py:NAME``, while it is run.
NAMED_FILE = "__study__"
# Files of these folders that came with the package: what results rest on without being asked for proof, and what its
# version stands for. What else lies there, a user has put there: it is tested and known by its code like any other.
SHIPPED = {
    "lorasolve.objectives": "completion denoising huber linear logistic ntk sensing softmax two_layer",
    "lorasolve.adapters": "dora lora polar softmax_gates sora",
    "lorasolve.convex": "closed_form cvxpy factored prox",
    "lorasolve.optimizers": (
        "adam adamw als alt_lora flat_lora gd gd_backtracking gd_mixed ggpo heavy_ball lbfgs lora_plus "
        "lora_plus_adam lora_pro lora_pro_adamw lora_pro_adamw_full lora_rite mgpo mgpo_trainer muon nesterov "
        "proximal_adamw proximal_gd riemannian riemannion sam scaled_gd sgd trust_ncg weight_noise"
    ),
    "lorasolve.schedules": "beam cola cosine galore golore periodic rac_chain revive sparsify warmup",
    "lorasolve.inits": "balanced eva gaussian lora lora_ga milora olora pissa spectral",
    "lorasolve.papers": (
        "alt_lora beam_lora dora expressive_power figure2 galore init_bias learning_rate learns_less lemma1 "
        "lora_gd lora_ggpo lora_ntk lora_pro lora_rite many_matrices minilm minilm_constants minilm_rank "
        "minilm_starts muon periodic_lora polar rac_lora restricted sharp sora special_regime table1 table2 "
        "transformer_starts two_constants"
    ),
    "lorasolve.commands": (
        "attack certify cite compare complete convex diagnose explain info interfere list path predict prove "
        "recommend reproduce solve study truncate verdict warm"
    ),
    "lorasolve.executors": "dask loky serial slurm",
    "lorasolve.attacks": "certify certify_claims objective optimizer step",
}


def of_package(thing: Any) -> bool:
    """Whether a class, function or module came with this package, whose version stands for it."""
    return _came_with(module_name(thing))


@functools.cache
def _came_with(name: str) -> bool:
    """Whether the package brought the module of a name."""
    folder, _, file = name.rpartition(".")
    helps = file.startswith("_") or file == "base"
    shipped = helps or folder not in SHIPPED or file in SHIPPED[folder].split()
    return name.partition(".")[0] in OWN and shipped


def is_shipped(owner: type) -> bool:
    """Whether a class of losses, adapters or convex routes came with the package, and was not put into it."""
    # Losses of attacks stand for those of users, and are these in the scripts.
    return of_package(owner) and not owner.__module__.startswith("lorasolve.attacks.")


def installed(thing: Any) -> bool:
    """Whether a class, function or module comes with an installed package, as this one, and not from a user's file."""
    name = module_name(thing)
    if name.partition(".")[0] in OWN:
        return of_package(thing)
    module = sys.modules.get(name)
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
