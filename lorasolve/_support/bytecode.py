"""What a function's bytecode shows: which names outside of it are read, and which it writes to.

And what of an object is set as it is made and by no other code.
"""

from __future__ import annotations

import dis
import itertools
import types
from typing import Any

from .contents import attributes_of, bare, can_be_filled, is_plain
from .origin import in_python, installed

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME")
# Methods that change a list, dict or set.
_CHANGES = {"add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update"}
# What makes an object.
_MAKERS = ("__new__", "__init__", "__post_init__")
# Steps that put another object in the place of what they take.
_MAKES = ("CALL", "CALL_KW", "CALL_FUNCTION_EX", "BINARY_OP", "BINARY_SLICE")


def names_read(code: types.CodeType, scope: dict[str, Any]) -> list[str]:
    """Return the global names that a function reads and does not write to, those of functions within it included."""
    steps = list(dis.get_instructions(code))
    reads = {step.argval for step in steps if step.opname in _LOADS}
    writes = {step.argval for step in steps if step.opname == "STORE_GLOBAL"}
    for k, step in enumerate(steps):
        if step.opname in _LOADS and can_be_filled(bare(scope.get(step.argval))) and _is_written(steps[k:]):
            writes.add(step.argval)
    functions = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return sorted(reads.union(*(names_read(function, scope) for function in functions)) - writes)


def attributes_read(code: types.CodeType, name: str) -> set[str]:
    """Return what code, that of functions within it included, reads of a global name; "" if it does anything else."""
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    found = {
        after.argval if after.opname == "LOAD_ATTR" else ""
        for step, after in itertools.pairwise(steps)
        if step.opname in _LOADS and step.argval == name
    }
    functions = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return found.union(*(attributes_read(function, name) for function in functions))


def read_from_modules(
    code: types.CodeType, scope: dict[str, Any], around: dict[str, types.ModuleType]
) -> list[tuple[str, Any]]:
    """Return classes and functions that a function reads of modules it knows by name, as ``module.name``.

    These are modules of its own ``scope``, and those that functions ``around`` it have imported.
    """
    found = {}
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for k, step in enumerate(steps):
        known = {"LOAD_DEREF": around}.get(step.opname, scope if step.opname in _LOADS else {})
        thing, names = known.get(step.argval), [step.argval]
        for after in steps[k + 1 :]:
            if not isinstance(thing, types.ModuleType) or after.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
                break
            thing = vars(thing).get(after.argval)
            names.append(after.argval)
        thing = in_python(thing)
        if len(names) > 1 and isinstance(thing, (type, types.FunctionType)):
            found[".".join(names)] = thing
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= dict(read_from_modules(constant, scope, around))
    return sorted(found.items())


def names_written(scope: dict[str, Any]) -> frozenset[str]:
    """Return the global names that some function of a module, or of a class there, writes to."""
    kinds = [thing for thing in scope.values() if isinstance(thing, type) and thing.__module__ == scope.get("__name__")]
    things = [*scope.values(), *(entry for kind in kinds for entry in vars(kind).values())]
    return frozenset(_stored(things, "STORE_GLOBAL"))


def settings_of(value: Any, scope: dict[str, Any]) -> dict[str, Any]:
    """Return the plain attributes that an object has from its making on: what other code sets may be memory.

    That is code of its class, and of the functions of a module, given by its global names.
    """
    classes = [vars(base) for base in type(value).__mro__ if not installed(base)]
    makers = [base[name] for base in classes for name in _MAKERS if name in base]
    others = [entry for base in classes for name, entry in base.items() if name not in _MAKERS]
    others += [thing for thing in scope.values() if getattr(thing, "__module__", None) == scope.get("__name__")]
    others += [part for entry in others if isinstance(entry, property) for part in (entry.fset, entry.fget)]
    state = attributes_of(value)
    # Not asked of the object, which may answer to any name.
    left_out = state.get("not_data", getattr(type(value), "not_data", ()))
    fixed = _stored(makers, "STORE_ATTR") - _stored(others, "STORE_ATTR") - {*left_out}
    return {
        name: state[name]
        for name in sorted(fixed & state.keys())
        if is_plain(state[name]) and not can_be_filled(state[name])
    }


def _stored(things: list[Any], step_name: str) -> set[str]:
    """Return the names that functions among things, those within them included, store to by steps of one kind."""
    codes = [thing.__code__ for thing in things if isinstance(thing, types.FunctionType)]
    found = set()
    while codes:
        code = codes.pop()
        found |= {step.argval for step in dis.get_instructions(code) if step.opname == step_name}
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return found


def _is_written(steps: list[dis.Instruction]) -> bool:
    """Whether what the first step loads is filled: by a method, as ``seen.append(x)``, or an item, ``cache[k] = x``.

    Or an attribute, ``seen.count += 1``.

    ``height`` is that of the stack, from what was loaded (1) on; where it falls below, that is gone. It is gone too
    where another object takes its place, as in ``seen.copy().pop()``, and where the code goes on elsewhere.
    """
    height = 1
    for before, step in itertools.pairwise(steps):
        if height == 1 and step.opname in ("LOAD_METHOD", "LOAD_ATTR") and step.argval in _CHANGES:
            return True
        # Of ``c[k] += x`` item and key were moved to the top of the stack.
        place = 3 if step.opname == "STORE_SLICE" or before.opname == "SWAP" else 2
        if height == place and step.opname in ("STORE_SUBSCR", "STORE_SLICE", "DELETE_SUBSCR"):
            return True
        if height == place - 1 and step.opname in ("STORE_ATTR", "DELETE_ATTR"):
            return True
        height += dis.stack_effect(step.opcode, step.arg, jump=False)
        is_part = before.opname == "BUILD_SLICE" or isinstance(before.argval, slice)
        # Python 3.14 counts taking an item among the operations.
        is_other = height == 1 and (is_part or (step.opname in _MAKES and step.argrepr != "[]"))
        if height < 1 or is_other or step.opname == "JUMP_FORWARD":
            return False
    return False
