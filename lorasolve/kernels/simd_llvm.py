"""Vectors of LLVM in Numba: their type, and the instructions that functions on them emit.

An intrinsic function of ``simd.py``, ``simd_words.py`` or ``simd_sums.py`` is written in two parts: what Numba asks for
its type, and what emits its code. The functions below are what the latter consist of; they run while a kernel is
compiled, and ``builder`` writes where they are called.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import models, register_model


def _features() -> frozenset[str]:
    """Return what kernels are compiled for: the features of this processor, or those of NUMBA_CPU_FEATURES."""
    stated = config.CPU_FEATURES  # type: ignore[attr-defined]  # which Numba sets as it is imported
    if stated is None:
        return frozenset(name for name, has in binding.get_host_cpu_features().items() if has)
    return frozenset(word[1:] for word in stated.split(",") if word.startswith("+"))


FEATURES = _features()
CACHE_LINE = 64
REGISTER_BYTES = 64 if "avx512f" in FEATURES else 32
I32 = ir.IntType(32)

# The decorated functions take one argument less than they are written with.
intrinsic: Any = numba_intrinsic


class Lanes(types.Type):
    """The Numba type of a vector of ``count`` numbers in registers."""

    def __init__(self, scalar: Any, count: int) -> None:
        self.scalar = scalar
        self.count = count
        super().__init__(name=f"Lanes({scalar}, {count})")

    @property
    def llvm(self) -> ir.VectorType:
        """The LLVM type."""
        return ir.VectorType(_element(self.scalar), self.count)

    @property
    def suffix(self) -> str:
        """The suffix of LLVM's intrinsic functions on this type."""
        return f"v{self.count}f{self.scalar.bitwidth}"


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


def register(scalar: Any) -> Lanes:
    """Return the type of as many numbers as one register holds."""
    return Lanes(scalar, 8 * REGISTER_BYTES // scalar.bitwidth)


def line(scalar: Any) -> Lanes:
    """Return the type of as many numbers as one cache line holds."""
    return Lanes(scalar, 8 * CACHE_LINE // scalar.bitwidth)


def _element(scalar: Any) -> Any:
    if scalar in (types.int16, types.int32):
        return ir.IntType(scalar.bitwidth)
    return ir.DoubleType() if scalar == types.float64 else ir.FloatType()


def pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    """Return the address of element ``offset`` of a contiguous array."""
    if array_type.layout != "C":
        raise TypeError(f"vector lanes need contiguous arrays, got layout {array_type.layout!r}")
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def call(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """Call an LLVM intrinsic function."""
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


def broadcast(builder: Any, number: Any, count: int) -> Any:
    """Return ``count`` lanes with ``number`` in each."""
    undefined = ir.Constant(ir.VectorType(number.type, count), ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, count), [0] * count))


def first_mask(builder: Any, number: Any, count: int) -> Any:
    """Return the mask of the first ``number`` lanes."""
    positions = ir.Constant(ir.VectorType(number.type, count), list(range(count)))
    return builder.icmp_signed("<", positions, broadcast(builder, number, count))


def emit_load(builder: Any, address: Any, lanes: Lanes) -> Any:
    """Load as many numbers as there are lanes."""
    vector = builder.load(builder.bitcast(address, lanes.llvm.as_pointer()))
    vector.align = lanes.scalar.bitwidth // 8
    return vector


def emit_store(builder: Any, vector: Any, address: Any, lanes: Lanes) -> None:
    """Write all lanes."""
    done = builder.store(vector, builder.bitcast(address, lanes.llvm.as_pointer()))
    done.align = lanes.scalar.bitwidth // 8


def emit_masked_load(builder: Any, address: Any, mask: Any, lanes: Lanes) -> Any:
    """Load the lanes in ``mask``, zeros elsewhere; nothing else is read."""
    address = builder.bitcast(address, lanes.llvm.as_pointer())
    align, zero = ir.Constant(I32, lanes.scalar.bitwidth // 8), ir.Constant(lanes.llvm, [0.0] * lanes.count)
    return call(builder, f"llvm.masked.load.{lanes.suffix}.p0", lanes.llvm, [address, align, mask, zero])


def emit_masked_store(builder: Any, vector: Any, address: Any, mask: Any, lanes: Lanes) -> None:
    """Write the lanes in ``mask`` only."""
    address = builder.bitcast(address, lanes.llvm.as_pointer())
    align = ir.Constant(I32, lanes.scalar.bitwidth // 8)
    call(builder, f"llvm.masked.store.{lanes.suffix}.p0", ir.VoidType(), [vector, address, align, mask])


def emit_prefetch(builder: Any, address: Any) -> None:
    """Ask for a number to be brought into the first cache level; any address is allowed."""
    address = builder.bitcast(address, ir.IntType(8).as_pointer())
    signature = ir.FunctionType(ir.VoidType(), [address.type, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
    builder.call(function, [address, *(ir.Constant(I32, k) for k in (0, 3, 1))])


def emit_sum(builder: Any, vector: Any, lanes: Lanes) -> Any:
    """Return the sum of all lanes, in any order."""
    number = _element(lanes.scalar)
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(number, [number, lanes.llvm]), f"llvm.vector.reduce.fadd.{lanes.suffix}"
    )
    return builder.call(function, [ir.Constant(number, 0.0), vector], fastmath=("reassoc", "nsz"))
