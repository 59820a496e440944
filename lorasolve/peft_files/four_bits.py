"""Weights of floats of four bits (E2M1), two a byte, with scales of blocks of inputs beside them: NVFP4 and MXFP4.

Beside the codes of a module, (outputs, inputs/2) bytes with the lower bits first, lies ``weight_scale``. In NVFP4 it
has a float of eight bits for each 16 inputs, and all are divided by ``weight_global_scale``, where compressed-tensors
wrote them (``weight_packed``), or multiplied by ``weight_scale_2``, where ModelOpt did (``weight``); others that use
the names of the latter keep the scales in an order of their own. In MXFP4, of compressed-tensors, it has an exponent
for each 32.
"""

from __future__ import annotations

from collections.abc import Mapping

from .._support.validate import Array
from .codes import Coded, Settings, beside, check, e2m1, numbers_of, powers
from .folder import UnreadableError, printable
from .safetensors import TensorFile

_PACKED = "weight_packed"
_MODELOPT = "modelopt"
_DIVISOR, _FACTOR = "weight_global_scale", "weight_scale_2"
# Inputs that have a scale in common.
_NVFP4, _MXFP4 = 16, 32
_EXPONENTS = ("F8_E8M0", "U8")


def is_in_pairs(files: Mapping[str, TensorFile], name: str) -> bool:
    """Return whether bytes are two floats of four bits each, by their name and what lies beside them."""
    return name.endswith(_PACKED) or beside(name, "weight", _FACTOR) in files


def of_pairs(files: Mapping[str, TensorFile], name: str, settings: Settings) -> Coded:
    """Return a weight in NVFP4 or MXFP4."""
    shape = files[name].tensors[name].shape
    if len(shape) != 2 or 0 in shape:
        raise UnreadableError(f"the base weight is quantized, of the shape {shape}")
    if not name.endswith(_PACKED) and (method := settings().get("quant_method")) != _MODELOPT:
        raise UnreadableError(
            f"the base weight is quantized by {printable(method, 40)}; two codes a byte beside a {_FACTOR} are read "
            f"where they are of {_MODELOPT}"
        )
    m, n = shape[0], 2 * shape[1]
    own = _PACKED if name.endswith(_PACKED) else "weight"
    scales, other = beside(name, own, "weight_scale"), beside(name, own, _DIVISOR if own == _PACKED else _FACTOR)
    info = files[scales].tensors[scales] if scales in files else None
    exponents = info is not None and info.dtype in _EXPONENTS and other not in files
    block = _MXFP4 if exponents else _NVFP4
    if info is None or n % block or info.shape != (m, n // block):
        found = "is missing" if info is None else f"has the shape {info.shape}"
        raise UnreadableError(
            f"the base weight is quantized, and {printable(scales)} {found}; expected a scale for each {block} of {n} "
            f"inputs of {m} outputs"
        )
    if not exponents:
        check(files, scales, m * n // block)
        check(files, other, 1)

    def sizes() -> Array:
        if exponents:
            return powers(files[scales].stored(scales).data)
        found, whole = numbers_of(files, scales), numbers_of(files, other).reshape(())
        return found / whole if own == _PACKED else found * whole

    def numbers() -> Array:
        found = e2m1(files[name].stored(name).data).reshape(m, -1, block)
        found *= sizes().reshape(m, -1, 1)
        return found.reshape(m, n)

    return Coded((m, n), numbers)
