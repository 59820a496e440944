"""One parallel loop for all kernels, since Numba compiles each loop of its own for a third of a second.

``each_part(body, count, arguments)`` runs ``body(*arguments, t)`` for each part ``t`` of the work on Numba's threads.
The body is a kernel with a symbol (``_symbols.py``). What is compiled at each place is a function of LLVM that takes
the arguments out of memory and calls the body; its address and that of the arguments are all that the loop gets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.core.funcdesc import ExternalFunctionDescriptor

from .jit import kernel
from .simd_llvm import intrinsic

_ADDRESS = ir.IntType(8).as_pointer()
_PART = ir.FunctionType(ir.VoidType(), [_ADDRESS, ir.IntType(64)])


@intrinsic
def _call(typingctx, function, arguments, t):
    """Call the function at an address for one part."""

    def generate(context, builder, signature, args):
        function, arguments, t = args
        builder.call(builder.inttoptr(function, _PART.as_pointer()), [builder.inttoptr(arguments, _ADDRESS), t])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@kernel(inner=True, symbol=True, parallel=True)
def _run(function, arguments, count):
    for t in prange(count):
        # The index of a parallel loop has a type of its own.
        _call(function, arguments, np.int64(t))


@intrinsic
def each_part(typingctx, body, count, arguments):
    """Call ``body(*arguments, t)`` for ``t`` from 0 to ``count - 1`` on Numba's threads; nothing is returned.

    A RuntimeError says that a part has failed, which no body does unless there is no memory left for its scratch.
    """
    given = arguments.types
    taken = tuple(map(types.unliteral, given))
    run, part = (_run, (types.intp,) * 3), (body.dispatcher, (*taken, types.intp))
    for dispatcher, kinds in (run, part):
        dispatcher.compile(kinds)

    def generate(context, builder, signature, args):
        values = cgutils.unpack_tuple(builder, args[2])
        values = [context.cast(builder, *which) for which in zip(values, given, taken)]
        values.insert(0, cgutils.false_bit)
        held = cgutils.alloca_once(builder, ir.LiteralStructType([value.type for value in values]))
        for k, value in enumerate(values):
            builder.store(value, cgutils.gep_inbounds(builder, held, 0, k))
        function = _taking_from(held.type, context, builder.module, part)
        addresses = [builder.ptrtoint(address, ir.IntType(64)) for address in (function, held)]
        _call_by_symbol(context, builder, run, [*addresses, args[1]])
        failed = builder.load(cgutils.gep_inbounds(builder, held, 0, 0))
        with cgutils.if_unlikely(builder, failed):
            context.call_conv.return_user_exc(builder, RuntimeError, ("a part of a parallel loop failed: no memory?",))
        return context.get_dummy_value()

    return types.void(body, types.intp, arguments), generate


def _taking_from(held: Any, context: Any, module: Any, part: Any) -> Any:
    """Return a function that takes the arguments of a part out of memory of this type, and calls its body.

    In front of them is whether any part has failed.
    """
    function = ir.Function(module, _PART, module.get_unique_name("part"))
    function.linkage = "internal"
    builder = ir.IRBuilder(function.append_basic_block())
    place, t = builder.bitcast(function.args[0], held), function.args[1]
    failed, *fields = (cgutils.gep_inbounds(builder, place, 0, k) for k in range(len(held.pointee.elements)))
    status = _call_by_symbol(context, builder, part, [*map(builder.load, fields), t])
    with cgutils.if_unlikely(builder, status.is_error):
        builder.store(cgutils.true_bit, failed)
    builder.ret_void()
    return function


def _call_by_symbol(context: Any, builder: Any, kernel: Any, values: list[Any]) -> Any:
    """Call a dispatcher's kernel for arguments of these types, which is compiled; return its status."""
    dispatcher, kinds = kernel
    symbol = dispatcher.get_overload(kinds)
    compiled = dispatcher.overloads[kinds].fndesc
    descriptor = ExternalFunctionDescriptor(symbol, compiled.restype, compiled.argtypes)
    function = context.declare_function(builder.module, descriptor)
    status, _ = context.call_conv.call_function(builder, function, compiled.restype, compiled.argtypes, values)
    return status
