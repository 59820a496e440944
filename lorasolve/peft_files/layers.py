"""From tensors to layers: which tensors are the factors of which module, and what the update is.

Orientation is that of the package: ``A`` (m, r), ``B`` (n, r), update ``X = s A B^T``, weight ``W0 + X``. PEFT's
``lora_B.weight`` is ``A`` and its ``lora_A.weight`` is ``B^T``.
"""

from __future__ import annotations

import math
import pathlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .._support.files import PathLike
from .._support.text import counted
from .._support.validate import Array, as_instance, as_path
from .config import CONFIG, AdapterConfig, read_config
from .diffusers import configs_in, in_one_word, is_of_diffusers
from .folder import UnreadableError, inside, natural, printable, read_json, require_there
from .mlx import WEIGHTS as WEIGHTS_OF_MLX
from .mlx import MLXFile, config_of, has_names_of_mlx, is_of_mlx
from .safetensors import ROUNDOFF, TensorFile

WEIGHTS = "adapter_model.safetensors"

# Names that end a module's name, and what each tensor is: the factor with the outputs, the one with the inputs, ...
PARTS = {
    "lora_B": "A",
    "lora_A": "B",
    "lora_up": "A",
    "lora_down": "B",
    "lora_embedding_A": "A",
    "lora_embedding_B": "B",
    "lora_E": "E",
    "lora_magnitude_vector": "magnitude",
    "dora_scale": "magnitude",
    "alpha": "alpha",
    "lora_mid": "middle",
}
_FOREIGN = (
    "hada_w", "lokr_w", "vera_lambda", "vblora", "oft_", "boft_", "ia3_", "prompt_embeddings", "randlora", "fourierft",
    "hra_", "poly_lora", "lora_diag", "lora.down.", "lora.up.", "lora_linear_layer.", ".lora_a", ".lora_b",
)  # fmt: skip

_OTHER_KIND = "an adapter of another kind"
_IN_FULL = "trained in full, not of low rank"
# PEFT saves embeddings whose vocabulary was enlarged, trained or not.
_WHOLE = "saved in full; the configuration does not name it as trained"
_BASE = "a base weight, saved beside its factors"

# The files of a base model, or of one that an adapter was merged into.
_OF_MODELS = r"model(-\d+-of-\d+)?\.safetensors"
# An adapter above the max_shard_size of transformers, which saves it in parts.
_SHARDS = r"adapter_model-\d+-of-\d+\.safetensors"
# At most so many folders or files are named.
_LISTED = 8
# Entries of one factor: 0.5 GB as float64, a vocabulary of 260000 at rank 256.
_FACTOR_LIMIT = 2**26
# More than float32 holds, and squares of products of three such factors are finite in float64.
_ENTRY_LIMIT = 1e40


@dataclass(frozen=True, eq=False)
class LayerFactors:
    """The factors of one update ``X = scale * A B^T``, as float64.

    Attributes
    ----------
    module : str
        The name of the module, with ``[e]`` appended for the expert ``e``.
    A, B : ndarray, shapes (m, r) and (n, r)
        The factors, as trained: the scaling is not in them.
    scale : float
        ``s``.
    kind : str
        ``"linear"``, ``"embedding"``, ``"convolution"``, ``"expert"`` or ``"adalora"`` (where ``A`` holds the third
        factor too).
    dora : bool
        Whether the update only gives the direction of the weight.
    roundoff : float
        The relative accuracy with which the factors are stored.
    both_trained : bool
        Whether no factor is known to have been frozen.
    """

    module: str
    A: Array = field(repr=False)
    B: Array = field(repr=False)
    scale: float
    kind: str
    dora: bool
    roundoff: float
    both_trained: bool = True

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the update; a convolution's is flattened to (out, in k k), an embedding's is (vocabulary, dim)."""
        return self.A.shape[0], self.B.shape[0]


@dataclass(frozen=True)
class UnusableLayer:
    """A layer without readable factors.

    Attributes
    ----------
    module : str
        Its name.
    reason : str
        What is wrong.
    non_finite : bool
        Whether a factor, or what scales it, holds NaN or infinity.
    """

    module: str
    reason: str
    non_finite: bool = False


@dataclass
class LayerTensors:
    """The names of a module's tensors in the file.

    Attributes
    ----------
    module : str
        The name of the module, without prefix and name of the adapter.
    parts : dict
        Tensor by part: ``"A"``, ``"B"``, ``"E"``, ``"magnitude"``, ``"alpha"``, ``"middle"``.
    embedding : bool
        Whether the factors are those of an embedding.
    repeated : bool
        Whether a part occurs twice.
    adapters : set of str
        The names of the adapters that the factors are of, ``""`` where a tensor's name has none.
    """

    module: str
    parts: dict[str, str] = field(default_factory=dict)
    embedding: bool = False
    repeated: bool = False
    adapters: set[str] = field(default_factory=set)


class Adapter:
    """An adapter on disk whose headers have been read; factors are read a layer at a time.

    Parameters
    ----------
    file : TensorFile
        The tensors.
    config : AdapterConfig, optional
        The configuration; without one (kohya's format, that of diffusers) scalings are in the file.

    Attributes
    ----------
    configs : dict
        All configurations by the first word of the names that they are of: ``{"": config}``, or those of the parts of a
        pipeline that diffusers keeps in the file.
    entries : dict
        ``LayerTensors`` by module.
    skipped : dict
        Why each other tensor is no factor.
    """

    def __init__(self, file: TensorFile, config: AdapterConfig | None) -> None:
        self.file = as_instance(file, "file", TensorFile)
        self.config = None if config is None else as_instance(config, "config", AdapterConfig)
        self.configs = configs_in(file.metadata, str(file.path)) if config is None else {"": config}
        self.entries: dict[str, LayerTensors] = {}
        self.skipped: dict[str, str] = {}
        for name in sorted(file.tensors):
            self._sort_in(name)
        foreign = (name for name, why in self.skipped.items() if why == _OTHER_KIND)
        others = {name.removeprefix("base_model.model.").rpartition(".")[0] for name in foreign}
        for module in [module for module, entry in self.entries.items() if not set(entry.parts) & {"A", "B"}]:
            # A parameter that happens to be called alpha, for example.
            names = self.entries.pop(module).parts.values()
            self.skipped |= {name: _OTHER_KIND if module in others else self._whole(name) for name in names}
        usable = any({"A", "B"} <= set(entry.parts) for entry in self.entries.values())
        if not usable:
            found = f"; there are {len(self.skipped)} others, of {_summary(self.skipped)}" if self.skipped else ""
            raise UnreadableError(f"{file.path}: holds no pair of LoRA factors{found}")

    def __repr__(self) -> str:
        others = counted(len(self.skipped), "other tensor")
        return f"Adapter({str(self.file.path)!r}: {counted(len(self.entries), 'layer')}, {others})"

    def config_of(self, module: str) -> tuple[AdapterConfig | None, str]:
        """Return the configuration that is a module's, None where there is none, and what it calls the module."""
        part, _, rest = module.partition(".")
        return (self.configs[part], rest) if rest and part in self.configs else (self.configs.get(""), module)

    @property
    def unknown_settings(self) -> tuple[str, ...]:
        """Settings in use that are not known here, so that the updates may be others than those that are read."""
        return tuple(dict.fromkeys(key for config in self.configs.values() for key in config.unknown))

    @property
    def taken_scalings(self) -> int:
        """Of how many modules no scaling is stored, so that it is taken to be 1, as diffusers and kohya's do."""
        without = (module for module in self.entries if self.config_of(module)[0] is None)
        return sum("alpha" not in self.entries[module].parts for module in without)

    def _sort_in(self, name: str) -> None:
        split = split_name(name if self.config is not None else in_one_word(name))
        if split is None:
            foreign, base = any(mark in name for mark in _FOREIGN), name.endswith(".base_layer.weight")
            self.skipped[name] = _OTHER_KIND if foreign else _BASE if base else self._whole(name)
            return
        module, part, adapter, rest = split
        if rest == "bias":
            self.skipped[name] = "a bias beside the factors"
            return
        entry = self.entries.setdefault(module, LayerTensors(module))
        entry.repeated |= PARTS[part] in entry.parts
        entry.embedding |= part.startswith("lora_embedding")
        entry.parts[PARTS[part]] = name
        if PARTS[part] in ("A", "B"):
            entry.adapters.add(adapter)

    def _whole(self, name: str) -> str:
        """Return what a tensor is that belongs to no factors: PEFT saves some that its configuration does not train."""
        return _IN_FULL if self.config is None or self.config.trains_in_full(name) else _WHOLE

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of the factors."""
        used = {
            self.file.tensors[entry.parts[k]].dtype for entry in self.entries.values() for k in "AB" if k in entry.parts
        }
        return tuple(sorted(used))

    def layers(self) -> Iterator[LayerFactors | UnusableLayer]:
        """Yield the layers in the order of their names, the experts of one module one by one."""
        for entry in self.entries.values():
            yield from self.layer(entry)

    def factors(self, module: str) -> list[LayerFactors]:
        """Return the update of one module, or one for each expert.

        Raises
        ------
        UnreadableError
            If one of them cannot be used.
        """
        found = []
        for layer in self.layer(self.entries[module]):
            if isinstance(layer, UnusableLayer):
                raise UnreadableError(f"{self.file.path}: {printable(layer.module)}: {layer.reason}")
            found.append(layer)
        return found

    def refuse_moved_base(self) -> None:
        """Raise unless the updates are changes of the original base weight.

        Raises
        ------
        UnreadableError
            If the initialization changed that weight too; the message says how PEFT converts such an adapter.
        """
        moving = [config.initialization for config in self.configs.values() if config.moves_base]
        if moving:
            raise UnreadableError(
                f"{self.file.path}: the initialization {printable(moving[0], 40)} changed the base "
                "weight, so the product of the factors is not the change from the original one. Convert the adapter "
                "first: PEFT's save_pretrained(..., path_initial_model_for_weight_conversion=...) makes plain LoRA of "
                "PiSSA, OLoRA, CorDA and LoRA-GA"
            )

    def layer(self, entry: LayerTensors) -> Iterator[LayerFactors | UnusableLayer]:
        """Yield the update of one module, or one for each expert; what cannot be used comes with the reason."""
        try:
            yield from self._factors(entry)
        except _NonFiniteError as error:
            yield UnusableLayer(entry.module, str(error), non_finite=True)
        except UnreadableError as error:
            yield UnusableLayer(entry.module, str(error))

    def _factors(self, entry: LayerTensors) -> Iterator[LayerFactors]:
        if entry.repeated:
            raise UnreadableError("a factor occurs twice in the file")
        if len(entry.adapters) > 1:
            names = " and ".join(repr(printable(name, 40)) for name in sorted(entry.adapters))
            raise UnreadableError(f"its factors are of two adapters, {names}")
        if "A" not in entry.parts or "B" not in entry.parts:
            raise UnreadableError(f"incomplete: only {printable(', '.join(sorted(entry.parts.values())))}")
        config, _ = self.config_of(entry.module)
        adaptive = config is not None and config.peft_type == "ADALORA"
        if adaptive != ("E" in entry.parts):
            kind = "no third factor (lora_E), which" if adaptive else "a third factor (lora_E), which only"
            raise UnreadableError(f"has {kind} an ADALORA configuration goes with")
        if "middle" in entry.parts:
            raise UnreadableError("has a third factor (lora_mid), which is not read")
        A, B = self._matrix(entry.parts["A"]), self._matrix(entry.parts["B"])
        if not entry.embedding:
            B = B.T
        else:
            A = A.T
        if A.shape[1] != B.shape[1]:
            raise UnreadableError(
                f"the factors' inner sizes {A.shape[1]} and {B.shape[1]} differ (a grouped convolution?)"
            )
        experts, scale = self._experts_and_scale(entry, A.shape[1])
        kind = self._kind(entry, experts)
        if kind == "adalora":
            A = A * self._vector(entry.parts["E"], A.shape[1])
        if "magnitude" in entry.parts:
            self._require_finite(entry.parts["magnitude"])
        dtypes = [self.file.tensors[entry.parts[part]].dtype for part in "AB"]
        dora = "magnitude" in entry.parts or (config is not None and config.use_dora)
        roundoff = max(ROUNDOFF[dtype] for dtype in dtypes)
        both = config is None or config.trains_both
        if experts == 1:
            yield LayerFactors(entry.module, A, B, scale, kind, dora, roundoff, both)
            return
        rank = A.shape[1] // experts
        for e in range(experts):
            # PEFT stacks experts differently on the two sides: grouped by expert in lora_A, interleaved in lora_B.
            pair = A[:, e::experts], B[:, e * rank : (e + 1) * rank]
            yield LayerFactors(f"{entry.module}[{e}]", *pair, scale, kind, dora, roundoff, both)

    def _kind(self, entry: LayerTensors, experts: int) -> str:
        if "E" in entry.parts:
            return "adalora"
        if entry.embedding:
            return "embedding"
        if len(self.file.tensors[entry.parts["B"]].shape) > 2:
            return "convolution"
        return "expert" if experts > 1 else "linear"

    def _matrix(self, name: str) -> Array:
        """Return a factor as a matrix; a convolution's trailing dimensions are flattened."""
        info = self.file.tensors[name]
        if info.dtype not in ROUNDOFF:
            raise UnreadableError(f"{_last(name)} holds {info.dtype}, not floating-point numbers")
        if len(info.shape) < 2 or info.size == 0:
            raise UnreadableError(f"{_last(name)} has the shape {info.shape}: not gathered before it was saved?")
        if info.size > _FACTOR_LIMIT:
            raise UnreadableError(f"{_last(name)} has {info.size} entries; up to {_FACTOR_LIMIT} are read")
        M = self.file.read(name).reshape(info.shape[0], -1)
        largest = max(M.max(), -M.min())
        if not np.isfinite(largest):
            raise _NonFiniteError(f"{_last(name)} has non-finite entries")
        if largest > _ENTRY_LIMIT:
            raise UnreadableError(f"{_last(name)} has entries up to {largest:.0e}, beyond {_ENTRY_LIMIT:.0e}")
        return M

    def _vector(self, name: str, length: int) -> Array:
        info = self.file.tensors[name]
        if info.dtype not in ROUNDOFF or info.size != length:
            raise UnreadableError(f"{_last(name)} has the shape {info.shape}, expected {length} numbers")
        values = self.file.read(name).ravel()
        if not np.isfinite(values).all():
            raise _NonFiniteError(f"{_last(name)} has non-finite entries")
        if np.abs(values).max() > _ENTRY_LIMIT:
            raise UnreadableError(f"{_last(name)} has entries beyond {_ENTRY_LIMIT:.0e}")
        return values

    def _require_finite(self, name: str) -> None:
        """Raise if a tensor beside the factors, DoRA's magnitude, holds NaN or infinity."""
        info = self.file.tensors[name]
        if info.dtype in ROUNDOFF and info.size <= _FACTOR_LIMIT and not np.isfinite(self.file.read(name)).all():
            raise _NonFiniteError(f"{_last(name)} has non-finite entries")

    def _experts_and_scale(self, entry: LayerTensors, inner: int) -> tuple[int, float]:
        """Return how many experts share the factors, and ``s``."""
        config, module = self.config_of(entry.module)
        if config is None:
            return 1, self._stored_scale(entry, inner)
        if config.peft_type == "ADALORA":
            # PEFT divides by the initial rank plus 1e-5, whichever directions were kept.
            alpha = config.alpha if config.alpha > 0 else config.rank
            if inner > config.rank:
                raise UnreadableError(f"the factors have rank {inner}, the configuration's init_r is {config.rank}")
            return 1, alpha / (config.rank + 1e-5)
        rank, scale = config.rank_of(module), config.scale_of(module)
        if inner == rank:
            return 1, scale
        parameters = config.names_of(module) != (module,)
        if parameters and inner % rank == 0:
            return inner // rank, scale
        told = "says" if config.states_rank_of(module) else "names no r, for which PEFT's default is"
        raise UnreadableError(f"the factors have rank {inner}, the configuration {told} {rank}")

    def _stored_scale(self, entry: LayerTensors, inner: int) -> float:
        """Return the scaling ``alpha/r`` of kohya and diffusers, 1 where no alpha is stored."""
        if "alpha" not in entry.parts:
            return 1.0
        name = entry.parts["alpha"]
        info = self.file.tensors[name]
        if info.size != 1 or (info.dtype not in ROUNDOFF and info.dtype[0] not in "IU"):
            raise UnreadableError(f"{_last(name)} is no single number ({info.dtype} of shape {info.shape})")
        alpha = float(self.file.read(name).ravel()[0])
        if not math.isfinite(alpha):
            raise _NonFiniteError(f"{_last(name)} is {alpha:g}, and with it the update")
        if not 1e-12 <= abs(alpha) <= 1e12:
            raise UnreadableError(f"{_last(name)} is {alpha:g}: expected a number other than 0, at most 1e12")
        return alpha / inner


class _NonFiniteError(UnreadableError):
    """A factor holds NaN or infinity, or what it is scaled by does."""


def _last(name: str) -> str:
    """Return the end of a tensor's name, after its module's."""
    split = split_name(name)
    return printable(name.removeprefix(f"base_model.model.{split[0]}.").removeprefix(f"{split[0]}.") if split else name)


def _summary(skipped: dict[str, str]) -> str:
    kinds = sorted(set(skipped.values()))
    return ", ".join(f"{kind} ({printable(next(k for k, v in skipped.items() if v == kind), 60)})" for kind in kinds)


def split_name(name: str) -> tuple[str, str, str, str] | None:
    """Return module, part, adapter and ending (``"weight"``, ``"bias"``, ``""``) of a tensor's name; None for no part.

    ``base_model.model.`` in front is left out, and the adapter ``""`` but behind the part, as live models have it.
    """
    words = name.removeprefix("base_model.model.").split(".")
    ending = words.pop() if words[-1] in ("weight", "bias") else ""
    for place in (len(words) - 1, len(words) - 2):  # the last word may be the name of the adapter
        if place > 0 and words[place] in PARTS:
            return ".".join(words[:place]), words[place], ".".join(words[place + 1 :]), ending
    return None


def read(path: PathLike) -> Adapter:
    """Read the headers of an adapter: a folder saved by PEFT or by mlx_lm, or one file in kohya's format.

    Parameters
    ----------
    path : path
        A folder with ``adapter_config.json`` and ``adapter_model.safetensors``, of mlx_lm ``adapters.safetensors``, or
        a ``.safetensors`` file: one whose names are ``lora_down``, ``lora_up`` and ``alpha``, or PEFT's with ``alpha``
        beside, or one of diffusers.

    Returns
    -------
    Adapter
        Its layers are read by :meth:`Adapter.layers`, one at a time.

    Raises
    ------
    UnreadableError
        If the adapter is malformed or of an unsupported kind; the message names file and tensor.
    OSError
        If a file is missing or cannot be opened.
    """
    path = pathlib.Path(as_path(path, "path"))
    require_there(path)
    if path.is_dir():
        return _read_folder(path)
    if path.name == CONFIG:
        raise UnreadableError(f"{path}: has no tensors: give the folder that holds it")
    file = TensorFile(path)
    if has_names_of_mlx(file.tensors):
        raise UnreadableError(
            f"{path}: has the names of mlx_lm, whose scaling is in {CONFIG}: give the folder that holds both"
        )
    adapter = Adapter(file, None)
    unscaled = [
        name for entry in adapter.entries.values() if "alpha" not in entry.parts for name in entry.parts.values()
    ]
    peft = [name for name in unscaled if ".lora_A." in name or ".lora_embedding_A" in name]
    if peft and not adapter.configs and not is_of_diffusers(peft):
        raise UnreadableError(
            f"{path}: has PEFT's names ({printable(peft[0], 80)}), whose scaling is in {CONFIG}, or in a tensor alpha "
            "beside them: give the folder that holds both"
        )
    return adapter


def _read_folder(path: pathlib.Path) -> Adapter:
    if (path / CONFIG).exists() and (path / WEIGHTS_OF_MLX).exists():
        document = read_json(inside(path, CONFIG))
        if is_of_mlx(document):
            return Adapter(MLXFile(inside(path, WEIGHTS_OF_MLX)), config_of(document, str(path / CONFIG)))
    if not (path / CONFIG).exists() or not (path / WEIGHTS).exists():
        raise UnreadableError(f"{path}: {_what_is_missing(path)}")
    return Adapter(TensorFile(inside(path, WEIGHTS)), read_config(path))


def _what_is_missing(path: pathlib.Path) -> str:
    """Say which file is missing, and where it might be."""
    if not (path / WEIGHTS).exists():
        if (path / "adapter_model.bin").exists():
            return (
                "adapter_model.bin is a pickle, which can run any code when it is opened, so it is not. Convert it "
                "where you trust it: load with PEFT, then save_pretrained(...), which writes safetensors"
            )
        nested = [child.parent.name for child in path.glob(f"*/{WEIGHTS}")]
        if nested:
            return f"holds no adapter itself; its folders do: {_listed(nested)}"
        others = [child.name for child in path.glob("*.safetensors")]
        if others and all(re.fullmatch(_OF_MODELS, name) for name in others):
            if any(_holds_factors(path, name) for name in others):
                return (
                    f"holds a whole model ({_listed(others)}) with the factors in it, as accelerate saves one, and no "
                    f"{CONFIG}, without which their scaling is not known: load it, and save the adapter alone with "
                    "PEFT's save_pretrained"
                )
            return (
                f"holds a whole model ({_listed(others)}) and no adapter: {WEIGHTS} is missing. merge_and_unload() "
                "leaves no factors to read; give the folder that the adapter itself was saved to"
            )
        if any(re.fullmatch(_SHARDS, name) for name in others):
            return (
                f"holds an adapter in shards ({_listed(others)}), which are not read; save it in one file, with a "
                "larger max_shard_size or from PEFT's model"
            )
        if others:
            return (
                f"{WEIGHTS} is missing; a file whose scaling is in itself, as kohya's, is given by its name: "
                f"{_listed(others)}"
            )
        return f"{WEIGHTS} is missing"
    return f"{CONFIG} is missing: without it the scaling of the update is not known"


def _holds_factors(folder: pathlib.Path, name: str) -> bool:
    """Return whether a file of a model has tensors that are named as factors are."""
    try:
        names = TensorFile(inside(folder, name)).tensors
    except (UnreadableError, OSError):
        return False
    return any(split is not None and PARTS[split[1]] in ("A", "B") for split in map(split_name, names))


def _listed(names: list[str]) -> str:
    """Return names in their order; of many the first and the last, which is a run's latest checkpoint."""
    shown = [printable(name, 60) for name in sorted(names, key=natural)]
    return ", ".join(shown if len(shown) <= _LISTED else [*shown[: _LISTED - 1], "...", shown[-1]])
