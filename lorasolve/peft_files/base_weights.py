"""The frozen weights beside an adapter: how large the update is against them, and along which of their directions."""

from __future__ import annotations

import math
import pathlib
import re
from dataclasses import dataclass
from functools import partial

import numpy as np

from .._support.files import PathLike
from .._support.text import for_json
from .._support.validate import Array, as_path
from ..dense import DENSE_LIMIT
from ..linear_map import LinearMap
from ..low_rank import factor_svd
from ..singular_triplets import spectral_norm_estimate
from .codes import Coded
from .experts import of_expert
from .folder import UnreadableError, inside, printable, read_json, require_there
from .layers import LayerFactors
from .quantised import NAMES, coded
from .safetensors import ROUNDOFF, TensorFile, TensorInfo

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
# Files that say how weights were quantised, and under what key; None for all of the file.
_CONFIGURATIONS = {"config.json": "quantization_config", "quantize_config.json": None, "quant_config.json": None}
_INDEX_LIMIT = 16 * 2**20
# One weight matrix as float32 takes 1 GB at this many entries.
_WEIGHT_LIMIT = 2**28
# Kinds of layers whose weights nobody stores as (inputs, outputs).
STORED_ONE_WAY = ("embedding", "convolution")


@dataclass(frozen=True)
class BaseFacts:
    """An update beside its frozen weight ``W``.

    Attributes
    ----------
    spectral, frobenius : float
        ``||W||_2`` and ``||W||_F``. Beyond 250000 entries the first is estimated by power iteration, from below.
    ratio : float
        ``||X||_2/||W||_2``; where ``||W||_2`` is estimated it errs upwards.
    alignment_left, alignment_right : float or None
        ``sqrt(m) ||W^T X||_F/(||W||_F ||X||_F)`` and ``sqrt(n) ||W X^T||_F/(||W||_F ||X||_F)``: how strongly ``W`` acts
        on the directions that the update writes to and reads from, against a random direction. Above 1 the update lies
        in leading directions of ``W`` (as PiSSA starts), below 1 in minor ones (as MiLoRA starts), 1 is no preference.
        None where ``W`` is square and not known to be stored as (outputs, inputs) or the other way round, and of an
        update that is zero.
    """

    spectral: float
    frobenius: float
    ratio: float
    alignment_left: float | None
    alignment_right: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Return all numbers."""
        return dict(for_json(vars(self)))


class BaseWeights:
    """The weights of a base model: one safetensors file, or a folder with one or with an index of several.

    Parameters
    ----------
    path : path
        The file or the folder. Of a folder only files that lie in it are read, whatever its index says.

    Raises
    ------
    UnreadableError
        If nothing readable is there, or the index names a file outside of the folder.
    """

    def __init__(self, path: PathLike) -> None:
        path = pathlib.Path(as_path(path, "base"))
        require_there(path)
        # The file of each tensor.
        self._files: dict[str, TensorFile] = {}
        self._folder = path if path.is_dir() else None
        if not path.is_dir():
            self._add(TensorFile(path))
        elif (path / _INDEX).exists():
            table = read_json(inside(path, _INDEX), _INDEX_LIMIT).get("weight_map")
            if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
                raise UnreadableError(f"{path / _INDEX}: expected an object 'weight_map' from tensors to file names")
            for name in sorted(set(table.values())):
                self._add(TensorFile(inside(path, name)))
        elif (path / _SINGLE).exists():
            self._add(TensorFile(inside(path, _SINGLE)))
        else:
            raise UnreadableError(f"{path}: holds neither {_SINGLE} nor {_INDEX}")

    def _add(self, file: TensorFile) -> None:
        self._files.update(dict.fromkeys(file.tensors, file))

    def turned(self) -> set[bool]:
        """Return how weights that are not square are stored, by their biases: True for (inputs, outputs)."""
        found = set()
        for name in self._files:
            bias = f"{name.removesuffix('.weight')}.bias"
            if not name.endswith(".weight") or bias not in self._files:
                continue
            shape, length = self._info(name).shape, self._info(bias).shape
            if len(shape) == 2 and shape[0] != shape[1] and length in (shape[:1], shape[1:]):
                found.add(length == shape[1:])
        return found

    def is_turned(self, layer: LayerFactors) -> bool | None:
        """Return whether a layer's weight is stored as (inputs, outputs); None where it is square, so that both fit.

        Raises
        ------
        UnreadableError
            If there is none under that name, or of another shape or kind.
        """
        stored, one_way = self._stored(layer)
        shape = stored.shape
        if math.prod(shape) > _WEIGHT_LIMIT or len(shape) < 2:
            raise UnreadableError(f"the base weight has the shape {shape}")
        flat = (shape[0], math.prod(shape[1:]))
        if layer.shape not in (flat, flat[::-1]):
            raise UnreadableError(f"the base weight has the shape {shape}, the update {layer.shape}")
        if flat[0] == flat[1]:
            return False if one_way else None
        return layer.shape != flat

    def weight_of(self, layer: LayerFactors, fan_in_fan_out: bool) -> Array:
        """Return the weight of a layer's module as a float32 matrix of the update's shape.

        The shape says whether it is turned; where it is square, ``fan_in_fan_out`` does.

        Raises
        ------
        UnreadableError
            If there is none under that name, or of another shape or kind.
        """
        turned = self.is_turned(layer)
        stored, _ = self._stored(layer)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite then is said of the numbers
            W = stored.numbers()
        W = W.reshape(len(W), -1)
        return W.T if turned or (turned is None and fan_in_fan_out) else W

    def _stored(self, layer: LayerFactors) -> tuple[Coded, bool]:
        """Return the weight of a layer as it is stored, and whether its rows are known to be outputs."""
        if layer.kind == "expert":
            module, _, number = layer.module.rpartition("[")
            names = self._tensors_of(re.sub(r"(\.base_layer)+$", "", module))
            return of_expert(self._files, names, layer.shape, int(number.removesuffix("]")))
        name = self._name(layer.module)
        codes = coded(self._files, name, layer.shape, self._settings)
        if codes is not None:
            return codes, True
        numbers = partial(self._files[name].read, name, np.float32)
        return Coded(self._shape(name), numbers), layer.kind in STORED_ONE_WAY

    def _tensors_of(self, module: str) -> list[str]:
        """Return the tensors right in a module; one of the two names may have more words in front."""
        words = module.split(".")
        for first in range(len(words)):
            found = [name for name in self._files if name.rpartition(".")[0] == ".".join(words[first:])]
            if found:
                return found
        return [name for name in self._files if name.rpartition(".")[0].endswith(f".{module}")]

    def _shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a weight that is stored as numbers."""
        info = self._info(name)
        if info.dtype not in ROUNDOFF:
            raise UnreadableError(f"the base weight is stored as {info.dtype} (quantized?)")
        scales = self._scales(name) if info.dtype.startswith("F8") else []
        if scales:
            raise UnreadableError(f"the base weight is quantized: {info.dtype} times its {printable(scales[0], 40)}")
        return info.shape

    def _scales(self, weight: str) -> list[str]:
        """Return what lies beside a weight to be multiplied with it, in each file by another name."""
        prefix = weight.removesuffix("weight")
        beside = (name.removeprefix(prefix) for name in self._files if name.startswith(prefix))
        return sorted(name for name in beside if "scale" in name)

    def _info(self, name: str) -> TensorInfo:
        return self._files[name].tensors[name]

    def _settings(self) -> dict[str, object]:
        """Return what the folder says of how its weights were quantised."""
        if self._folder is None:
            raise UnreadableError(
                "the base weight is quantized, and only the configuration beside it says how; give its folder"
            )
        for name, key in _CONFIGURATIONS.items():
            if (self._folder / name).exists():
                document = read_json(inside(self._folder, name))
                found = document if key is None else document.get(key)
                if isinstance(found, dict):
                    return found
        raise UnreadableError(
            f"the base weight is quantized, and no configuration says how ({', '.join(_CONFIGURATIONS)})"
        )

    def _name(self, module: str) -> str:
        """Return the tensor of a module; one of the two names may have more words in front (``model.``)."""
        several = False
        for part in NAMES:
            words = f"{module}.{part}".split(".")
            for first in range(len(words) - 1):
                name = ".".join(words[first:])
                if name in self._files:
                    return name
            ending = "." + ".".join(words)
            found = [name for name in self._files if name.endswith(ending)]
            if len(found) == 1:
                return found[0]
            several |= len(found) > 1
        raise UnreadableError("several base weights of this name" if several else "no base weight of this name")


def base_facts(layer: LayerFactors, W: Array) -> BaseFacts:
    """Return an update's size and direction beside its frozen weight; the update is never formed.

    Raises
    ------
    UnreadableError
        If the weight holds non-finite entries, or is zero.
    """
    frobenius = math.sqrt(np.einsum("ij,ij->", W, W, dtype=np.float64))
    if not math.isfinite(frobenius) or frobenius == 0.0:
        raise UnreadableError("the base weight is zero or has non-finite entries")
    if W.size <= DENSE_LIMIT:
        spectral = float(np.linalg.norm(W.astype(np.float64), 2))
    else:
        products = (lambda V: W @ V.astype(W.dtype)), (lambda U: W.T @ U.astype(W.dtype))
        spectral = spectral_norm_estimate(LinearMap(layer.shape, *products))
    P, sigma, Q = factor_svd(layer.A, layer.B)
    length = float(np.linalg.norm(sigma))

    def alignment(M: Array, basis: Array) -> float | None:
        seen = float(np.linalg.norm((M @ basis.astype(W.dtype)) * sigma))
        return math.sqrt(len(basis)) * seen / (frobenius * length) if length else None

    return BaseFacts(
        spectral=spectral,
        frobenius=frobenius,
        ratio=abs(layer.scale) * float(sigma[0]) / spectral,
        alignment_left=alignment(W.T, P),
        alignment_right=alignment(W, Q),
    )
