"""Adapters of lower rank: the best approximation of every update, and what it loses, exactly."""

from __future__ import annotations

import math
import pathlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.files import PathLike, Write, write_together
from .._support.text import counted, for_json
from .._support.threads import blas_threads
from .._support.validate import Array, as_integer, as_number, as_path
from ..io import to_json
from ..low_rank import balanced, factor_singular_values, factor_svd
from .config import CONFIG, AdapterConfig, pattern_value
from .diffusers import METADATA, as_metadata
from .folder import UnreadableError
from .layers import WEIGHTS, Adapter, LayerFactors, LayerTensors, read
from .safetensors import StoredTensor, encoded, tensor_writer

# Truncated factors are not multiples of anything: 8-bit floats would lose more than the truncation.
_WIDER = {"F8_E4M3": "F32", "F8_E5M2": "F32"}


@dataclass(frozen=True)
class TruncatedLayer:
    """What became of one update ``X``.

    Attributes
    ----------
    module : str
        Its module.
    r_before, r : int
        Columns of the factors before and after.
    spectral_loss, frobenius_loss : float
        ``||X - X'||_2`` and ``||X - X'||_F`` with the update ``X'`` that was written, its rounding included.
    relative_loss : float
        ``||X - X'||_F/||X||_F``; 0 for ``X = 0``.
    dora : bool
        Whether these are losses of the direction ``W0 + X`` of DoRA before it is normalized, not of the weight.
    """

    module: str
    r_before: int
    r: int
    spectral_loss: float
    frobenius_loss: float
    relative_loss: float
    dora: bool


@dataclass(frozen=True)
class Truncation:
    """A truncated adapter.

    Attributes
    ----------
    layers : tuple of TruncatedLayer
        Each layer, in the order of the file.
    out : Path
        The folder that was written.
    bytes_before, bytes_after : int
        Size of all tensors.
    """

    layers: tuple[TruncatedLayer, ...]
    out: pathlib.Path
    bytes_before: int
    bytes_after: int

    def __repr__(self) -> str:
        return (
            f"Truncation({str(self.out)!r}: {counted(len(self.layers), 'layer')}, "
            f"||X - X'||_F = {self.frobenius_loss:.5g}, {self.bytes_before} -> {self.bytes_after} bytes)"
        )

    @property
    def frobenius_loss(self) -> float:
        """The loss of all updates together."""
        return math.sqrt(sum(layer.frobenius_loss**2 for layer in self.layers))

    def to_dict(self) -> dict[str, object]:
        """Return all numbers as plain values."""
        found = {
            "out": str(self.out),
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "frobenius_loss": self.frobenius_loss,
            "layers": [vars(layer) for layer in self.layers],
        }
        return dict(for_json(found))


def truncate(path: PathLike, out: PathLike, *, rank: int | None = None, error: float | None = None) -> Truncation:
    """Write an adapter whose updates are the best approximations of lower rank (Eckart and Young).

    Scalings stay what they are, factors are balanced, and what is no factor is copied. No base model is needed, since
    ``W0`` cancels in the difference. Where the initialization changed ``W0`` (PiSSA, OLoRA, ...) PEFT does that again
    at the lower rank, and it does not cancel; such an adapter is refused.

    Parameters
    ----------
    path : path
        As for :func:`~lorasolve.peft_files.read`.
    out : path
        The folder to write; it must not exist or be empty.
    rank : int, optional
        The largest rank of any layer.
    error : float, optional
        Instead: the largest ``||X - X'||_F/||X||_F`` of any layer before rounding; each layer gets its own rank.

    Raises
    ------
    UnreadableError
        If the adapter, or one of its layers, cannot be read, is of AdaLoRA, or its initialization changed the base
        weight.
    ValueError
        If not exactly one of ``rank`` and ``error`` is given, or ``out`` is in use.
    """
    if (rank is None) == (error is None):
        raise ValueError("rank, error: expected exactly one of them")
    if rank is not None:
        rank = as_integer(rank, "rank", 1)
    if error is not None:
        error = as_number(error, "error", 0.0, 1.0)
    out = pathlib.Path(as_path(out, "out"))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out: {out} exists and is not an empty folder")
    adapter = read(path)
    adapter.refuse_moved_base()
    if any(config.peft_type == "ADALORA" for config in adapter.configs.values()):
        raise UnreadableError("AdaLoRA adapters have three factors and are not truncated")
    tensors = {name: adapter.file.stored(name) for name in adapter.skipped}
    layers: list[TruncatedLayer] = []
    settings: dict[str, dict[str, tuple[int, float]]] = {part: {} for part in adapter.configs}
    with blas_threads(1):
        ranks = _new_ranks(adapter, rank, error)
        for entry in adapter.entries.values():
            before = adapter.factors(entry.module)
            k = ranks[entry.module]
            kept = {name: adapter.file.stored(name) for name in entry.parts.values()}
            after = before
            if k < before[0].A.shape[1]:
                kept |= _packed(adapter, entry, [_truncated(layer, k) for layer in before], before[0].scale)
                after = [_as_written(layer, kept, entry, e, len(before), k) for e, layer in enumerate(before)]
            tensors |= kept
            layers += [_loss(*pair) for pair in zip(before, after)]
            part, names = _names(adapter, entry.module)
            if part in settings:
                settings[part] |= dict.fromkeys(names, (k, before[0].scale))
    _write(out, adapter, tensors, settings)
    sizes = (info.stop - info.start for info in adapter.file.tensors.values())
    return Truncation(tuple(layers), out, sum(sizes), sum(tensor.data.size for tensor in tensors.values()))


def _new_ranks(adapter: Adapter, rank: int | None, error: float | None) -> dict[str, int]:
    """Return the new rank of every module; experts share one, and so do parameters that a configuration cannot part."""
    shared: dict[tuple[str, tuple[str, ...]], int] = {}
    names = {module: _names(adapter, module) for module in adapter.entries}
    for module, key in names.items():
        for layer in adapter.factors(module):
            k = rank if error is None else _rank_for(factor_singular_values(layer.A, layer.B), error)
            shared[key] = max(shared.get(key, 1), min(k or 1, layer.A.shape[1]))
    return {module: shared[key] for module, key in names.items()}


def _names(adapter: Adapter, module: str) -> tuple[str, tuple[str, ...]]:
    """Return of which configuration a module is, and what its patterns call it."""
    config, name = adapter.config_of(module)
    return module.removesuffix(name).rstrip("."), (name,) if config is None else config.names_of(name)


def _rank_for(sigma: Array, error: float) -> int:
    """Return the least ``k`` with ``sum_{i > k} sigma_i^2 <= error^2 sum_i sigma_i^2``."""
    if sigma[0] == 0.0:
        return 1
    squares = (sigma / sigma[0]) ** 2
    left = np.append(np.cumsum(squares[::-1])[::-1], 0.0)  # after k terms
    return int(np.argmax(left <= error**2 * left[0]))


def _truncated(layer: LayerFactors, k: int) -> tuple[Array, Array]:
    """Return balanced factors of the best approximation of rank k; an update that is zero keeps its start."""
    P, sigma, Q = factor_svd(layer.A, layer.B)
    if sigma[0] == 0.0:
        return layer.A[:, :k], layer.B[:, :k]
    A, B = balanced(P[:, :k], sigma[:k], Q[:, :k])
    short = k - A.shape[1]  # where k exceeds a side of the matrix
    return np.pad(A, ((0, 0), (0, short))), np.pad(B, ((0, 0), (0, short)))


def _packed(
    adapter: Adapter, entry: LayerTensors, pairs: Sequence[tuple[Array, Array]], scale: float
) -> dict[str, StoredTensor]:
    """Return the tensors of a module in the layout they had."""
    k, experts = pairs[0][0].shape[1], len(pairs)
    A = np.empty((pairs[0][0].shape[0], k * experts))
    for e, (left, _) in enumerate(pairs):
        A[:, e::experts] = left
    B = np.concatenate([right for _, right in pairs], axis=1)
    old = {part: adapter.file.tensors[entry.parts[part]] for part in "AB"}
    # PEFT's lora_A is (r, in, ...), its lora_B (out, r, ...); of an embedding the first is the one with the rows of X.
    first, second = ("A", "B") if entry.embedding else ("B", "A")
    matrices = {"A": A, "B": B}
    shapes = {
        first: (k * experts, *old[first].shape[1:]),
        second: (old[second].shape[0], k * experts, *old[second].shape[2:]),
    }
    found = {}
    for part in "AB":
        M = matrices[part].T if part == first else matrices[part]
        dtype = _WIDER.get(old[part].dtype, old[part].dtype)
        found[entry.parts[part]] = encoded(M.reshape(shapes[part]), dtype)
    if "alpha" in entry.parts:
        found[entry.parts["alpha"]] = encoded(np.array(scale * k), "F32")
    return found


def _as_written(
    layer: LayerFactors, tensors: dict[str, StoredTensor], entry: LayerTensors, e: int, experts: int, k: int
) -> LayerFactors:
    """Return the factors that the written tensors hold for one expert, as float64."""
    A = tensors[entry.parts["A"]].decoded().astype(np.float64)
    B = tensors[entry.parts["B"]].decoded().astype(np.float64)
    A, B = A.reshape(A.shape[0], -1), B.reshape(B.shape[0], -1)
    A, B = (A.T, B) if entry.embedding else (A, B.T)
    return LayerFactors(
        layer.module, A[:, e::experts], B[:, e * k : (e + 1) * k], layer.scale, layer.kind, layer.dora, layer.roundoff
    )


def _loss(before: LayerFactors, after: LayerFactors) -> TruncatedLayer:
    """Return the norms of ``X - X'`` from a QR factorization of the factors side by side."""
    size = abs(before.scale) * float(np.linalg.norm(factor_singular_values(before.A, before.B)))
    spectral = frobenius = 0.0
    if after is not before:
        difference = factor_singular_values(np.hstack([before.A, after.A]), np.hstack([before.B, -after.B]))
        spectral = abs(before.scale) * float(difference[0])
        frobenius = abs(before.scale) * float(np.linalg.norm(difference))
    relative = frobenius / size if size else 0.0
    ranks = before.A.shape[1], after.A.shape[1]
    return TruncatedLayer(before.module, *ranks, spectral, frobenius, relative, before.dora)


# ---------------------------------------------------------------------- writing
def _write(
    out: pathlib.Path,
    adapter: Adapter,
    tensors: dict[str, StoredTensor],
    settings: dict[str, dict[str, tuple[int, float]]],
) -> None:
    """Write the adapter's files, all or none."""
    metadata = {key: value for key, value in adapter.file.metadata.items() if isinstance(value, str)}
    documents = {
        part: _document(adapter.configs[part], of_part) if of_part else adapter.configs[part].document
        for part, of_part in settings.items()
    }
    if adapter.config is None and documents:
        metadata[METADATA] = as_metadata(documents)
    name = WEIGHTS if adapter.config is not None else adapter.file.path.name
    writes: dict[PathLike, Write] = {out / name: tensor_writer(tensors, metadata or None)}
    if adapter.config is not None:
        text = (to_json(documents[""]) + "\n").encode()
        writes[out / CONFIG] = lambda file: file.write(text)
    write_together(writes)


def _document(config: AdapterConfig, settings: dict[str, tuple[int, float]]) -> dict[str, Any]:
    """Return the configuration under which every name has its new rank and its old scaling."""
    alphas = {module: scale * (math.sqrt(k) if config.use_rslora else k) for module, (k, scale) in settings.items()}
    (rank, _), *_ = Counter(k for k, _ in settings.values()).most_common(1)
    (alpha, _), *_ = Counter(alphas.values()).most_common(1)
    return config.document | {
        "r": rank,
        "lora_alpha": _as_integer_if_it_is_one(alpha),
        "rank_pattern": _pattern({module: k for module, (k, _) in settings.items()}, rank),
        "alpha_pattern": {key: _as_integer_if_it_is_one(value) for key, value in _pattern(alphas, alpha).items()},
    }


def _as_integer_if_it_is_one(value: float) -> float:
    return int(value) if value == int(value) else value


def _pattern(values: dict[str, Any], default: Any) -> dict[str, Any]:
    """Return a pattern table that gives every module its value: plain names, or anchored ones where those collide."""
    others = sorted((module for module in values if values[module] != default), key=len, reverse=True)
    plain = {module: values[module] for module in others}
    simple = all(re.fullmatch(r"[\w.\-]*", module) for module in others)
    if simple and all(pattern_value(plain, module, default) == value for module, value in values.items()):
        return plain
    return {f"^{re.escape(module)}": values[module] for module in others}
