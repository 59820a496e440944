"""``adapter_config.json``: what kind of adapter it is, and each layer's rank and scaling."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from .._support.files import PathLike
from .._support.validate import as_text
from .folder import UnreadableError, inside, printable, read_json

CONFIG = "adapter_config.json"

# PEFT's defaults for what a configuration leaves out.
_RANK, _ALPHA, _INITIAL_RANK = 8, 8.0, 12

# Settings under which the update is not the scaled product of the two stored factors.
_OTHER_UPDATE = {
    "use_qalora": "QALoRA pools the input before the first factor",
    "use_bdlora": "BD-LoRA factors are block-diagonal pieces",
    "kasa_config": "KaSA has a third factor and changes the base weight",
    "monteclora_config": "MonteCLoRA mixes the factors with samples",
}
# Settings that change what the model computes, but not the update of each weight.
_REMARKS = {
    "alora_invocation_tokens": "aLoRA: the update acts only after its invocation tokens",
    "layer_replication": "layer_replication: one base weight serves several layers",
    "arrow_config": "Arrow: the update is routed among several adapters",
    "ensure_weight_tying": "ensure_weight_tying: tied layers share their factors, which are counted in each of them "
    "(not those of PEFT 0.18, which leaves them apart)",
    "velora_config": "VeLoRA: in training the gradient of lora_A was that of compressed inputs, so that a run that has "
    "come to rest need not be stationary",
    "trainable_token_indices": "trainable_token_indices: rows of the embedding were trained in full",
}
# Initializations that move the base weight, so that the product is not the change from the original one.
_MOVES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_WITHOUT_EFFECT = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "beta1", "beta2", "bias", "corda_config", "deltaT",
    "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights",
    "init_r", "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha", "lora_bias", "lora_dropout",
    "lora_ga_config", "megatron_config", "megatron_core", "modules_to_save", "orth_reg_weight", "peft_type",
    "peft_version", "qalora_group_size", "r", "rank_pattern", "revision", "runtime_config", "target_modules",
    "target_parameters", "target_r", "task_type", "tfinal", "tinit", "total_step", "use_dora", "use_rslora",
}  # fmt: skip

_PATTERN_LENGTH = 1000
_MODULE_LENGTH = 300
_REPEATS = 2


@dataclass(frozen=True)
class AdapterConfig:
    """What a configuration says about the factors.

    Attributes
    ----------
    peft_type : str
        ``"LORA"`` or ``"ADALORA"``.
    rank : int
        ``r``; for AdaLoRA the initial rank.
    alpha : float
        ``lora_alpha``.
    use_rslora, use_dora, fan_in_fan_out : bool
        As in PEFT.
    rank_pattern, alpha_pattern : dict
        Exceptions for modules that a pattern names.
    initialization : str
        ``init_lora_weights``, ``"default"`` for True.
    target_parameters : tuple of str
        Parameters that are adapted beside modules; their factors may hold several experts.
    unknown : tuple of str
        Settings in use that are not known here: the update may be another than the scaled product.
    remarks : tuple of str
        What a reader should know beside the numbers.
    document : dict
        The whole file.
    """

    peft_type: str
    rank: int
    alpha: float
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool = False
    rank_pattern: dict[str, Any] = field(default_factory=dict)
    alpha_pattern: dict[str, Any] = field(default_factory=dict)
    initialization: str = "default"
    target_parameters: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def moves_base(self) -> bool:
        """Whether the initialization changed the base weight."""
        return moves_base(self.initialization)

    @property
    def replicates(self) -> bool:
        """Whether layers of the base model stand several times, so that its names are those of other layers."""
        return bool(self.document.get("layer_replication"))

    @property
    def trains_both(self) -> bool:
        """Whether no factor is known to be frozen."""
        return not keeps_lora_B(self.initialization)

    def trains_in_full(self, tensor: str) -> bool:
        """Return whether a tensor beside the factors is known to be trained."""
        modules = self.document.get("modules_to_save")
        listed = modules if isinstance(modules, list) else []
        bias = tensor.endswith(".bias") and self.document.get("bias", "none") != "none"
        return bias or "trainable_tokens" in tensor or any(f".{module}." in f".{tensor}" for module in listed)

    def names_of(self, module: str) -> tuple[str, ...]:
        """Return what patterns call a module: its name, or those of its parameters where they are targeted.

        PEFT saves the factors of a parameter under the name of its module, so that only the targets tell its own.
        """
        owner = as_text(module, "module").replace(".base_layer", "")
        found = []
        for target in sorted(self.target_parameters):
            place, _, parameter = target.rpartition(".")
            if not place:
                found += [owner, f"{owner}.{parameter}"]
            elif owner == place or owner.endswith(f".{place}"):
                found.append(f"{owner}.{parameter}")
        return tuple(dict.fromkeys(found)) or (module,)

    def _value_of(self, table: dict[str, Any], module: str, default: Any) -> Any:
        values = [pattern_value(table, name, default) for name in self.names_of(module)]
        if any(value != values[0] for value in values):
            names = ", ".join(printable(name, 60) for name in self.names_of(module))
            raise UnreadableError(
                f"the patterns give {names} different values, and the file does not say which of them this is"
            )
        return values[0]

    def rank_of(self, module: str) -> int:
        """Return the rank of a module's factors; raise if what a pattern gives is no rank."""
        value = self._value_of(self.rank_pattern, module, self.rank)
        return _rank(value, f"rank_pattern for {printable(module)}")

    def states_rank_of(self, module: str) -> bool:
        """Return whether the rank of a module's factors is stated, by ``r`` or a pattern, and not PEFT's default."""
        return "r" in self.document or self._value_of(self.rank_pattern, module, None) is not None

    def scale_of(self, module: str) -> float:
        """Return ``s`` in ``W = W0 + s A B^T``: ``alpha/r``, or ``alpha/sqrt(r)`` for rsLoRA."""
        rank = self.rank_of(module)
        value = self._value_of(self.alpha_pattern, module, self.alpha)
        alpha = _alpha(value, f"alpha_pattern for {printable(module)}")
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank

    def alphas_of(self, module: str) -> tuple[Any, ...]:
        """Return the values of all patterns that match a module: the first is taken, and PEFT saves them sorted."""
        names = self.names_of(module)
        return tuple(v for key, v in self.alpha_pattern.items() if any(_matches(key, name) for name in names))


def moves_base(init_lora_weights: Any) -> bool:
    """Return whether an initialization of PEFT changes the base weight: the update is no change of the original one."""
    return isinstance(init_lora_weights, str) and init_lora_weights.lower().startswith(_MOVES_BASE)


def is_lost_in_loading(init_lora_weights: Any) -> bool:
    """Return whether PEFT changes the base weight where a run starts, and not where it loads the factors: LoRA-GA."""
    return isinstance(init_lora_weights, str) and init_lora_weights.lower() == "lora_ga"


def keeps_lora_B(init_lora_weights: Any) -> bool:
    """Return whether an initialization of PEFT leaves ``lora_B`` as it starts and trains ``lora_A`` alone, as MiCA."""
    return isinstance(init_lora_weights, str) and init_lora_weights.lower() == "mica"


def read_config(folder: PathLike) -> AdapterConfig:
    """Read the configuration of an adapter's folder.

    Raises
    ------
    UnreadableError
        If it is malformed, or is of an adapter without an update of the form ``s A B^T``.
    OSError
        If there is none.
    """
    path = inside(folder, CONFIG)
    return as_config(read_json(path), str(path))


def as_config(document: dict[str, Any], source: str) -> AdapterConfig:
    """Return the configuration that a document holds.

    Raises
    ------
    UnreadableError
        As by :func:`read_config`; the message names the source.
    """
    kind = document.get("peft_type")
    if kind not in ("LORA", "ADALORA"):
        raise UnreadableError(
            f"{source}: peft_type {printable(repr(kind))} has no update s A B^T to read; accepted: LORA, ADALORA"
        )
    for key, why in _OTHER_UPDATE.items():
        if document.get(key):
            raise UnreadableError(f"{source}: {key} is set, and {why}: the update is not s A B^T")
    try:
        return _checked(kind, document)
    except UnreadableError as error:
        raise UnreadableError(f"{source}: {error}") from None


def _checked(kind: str, document: dict[str, Any]) -> AdapterConfig:
    adaptive = kind == "ADALORA"
    remarks = [text for key, text in _REMARKS.items() if document.get(key)]
    given = document.get("init_lora_weights", True)
    initialization = given.lower() if isinstance(given, str) else "default" if given is True else "none"
    if moves_base(initialization):
        remarks.append(
            f"initialization {printable(initialization)}: the product is not the change of the original base weight"
        )
    if is_lost_in_loading(initialization):
        remarks.append(
            "PEFT changed the base weight at the start of the run alone and does not as it loads this: the model that "
            "it loads is another than was trained, unless its base was saved as changed (convert the adapter as it is "
            "saved: path_initial_model_for_weight_conversion)"
        )
    if keeps_lora_B(initialization):
        remarks.append("initialization mica: lora_B was not trained, so factors need not be balanced anywhere")
    if "lora_alpha" not in document:
        remarks.append(f"lora_alpha is not in {CONFIG}: PEFT's default {_ALPHA:g} is taken")
    rank_key, default_rank = ("init_r", _INITIAL_RANK) if adaptive else ("r", _RANK)
    if rank_key not in document:
        remarks.append(f"{rank_key} is not in {CONFIG}: PEFT's default {default_rank} is taken")
    known = _WITHOUT_EFFECT | set(_REMARKS) | set(_OTHER_UPDATE)
    # In AdaLoRA's file the pattern lists which of the initial directions are kept.
    return AdapterConfig(
        peft_type=kind,
        rank=_rank(document.get(rank_key, default_rank), rank_key),
        alpha=_alpha(document.get("lora_alpha", _ALPHA), "lora_alpha"),
        use_rslora=_flag(document, "use_rslora"),
        use_dora=_flag(document, "use_dora"),
        fan_in_fan_out=_flag(document, "fan_in_fan_out"),
        rank_pattern={} if adaptive else _table(document, "rank_pattern"),
        alpha_pattern=_table(document, "alpha_pattern"),
        initialization=initialization,
        target_parameters=_names(document, "target_parameters"),
        unknown=tuple(sorted(key for key in document if key not in known and document[key])),
        remarks=tuple(remarks),
        document=document,
    )


def _rank(value: Any, name: str) -> int:
    if type(value) is not int or not 1 <= value <= 10**6:
        raise UnreadableError(f"{name}: expected an integer from 1 to 1000000, got {printable(repr(value), 60)}")
    return value


def _alpha(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-12 <= abs(value) <= 1e12:
        raise UnreadableError(f"{name}: expected a number other than 0, at most 1e12, got {printable(repr(value), 60)}")
    return float(value)


def _flag(document: dict[str, Any], key: str) -> bool:
    value = document.get(key)
    if value is not None and not isinstance(value, bool):
        raise UnreadableError(f"{key}: expected true or false, got {printable(repr(value), 60)}")
    return bool(value)


def _table(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    if value is not None and not isinstance(value, dict):
        raise UnreadableError(f"{key}: expected an object, got {printable(repr(value), 60)}")
    return dict(value or {})


def _names(document: dict[str, Any], key: str) -> tuple[str, ...]:
    value = document.get(key)
    if value is not None and not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        raise UnreadableError(f"{key}: expected a list of names, got {printable(repr(value), 60)}")
    return tuple(value or ())


# ---------------------------------------------------------------------- patterns
def pattern_value(table: dict[str, Any], module: str, default: Any) -> Any:
    """Return the value of the first pattern that is the module's name or matches its end after a dot (PEFT's rule).

    Raises
    ------
    UnreadableError
        If a pattern that might decide is not a regular expression, or one that could take very long to match.
    """
    for key, value in table.items():
        if _matches(key, module):
            return value
    return default


def _matches(pattern: str, module: str) -> bool:
    if re.fullmatch(r"[\w.\-]*", pattern):
        # A dot stands for any letter here too, as it does for PEFT.
        ending = module[len(module) - len(pattern) :]
        before = module[: len(module) - len(pattern)]
        same = len(ending) == len(pattern) and all(p in (".", letter) for p, letter in zip(pattern, ending))
        return same and (not before or before.endswith("."))
    refusal = _costs_too_much(pattern, module)
    if refusal:
        raise UnreadableError(f"the pattern {printable(pattern)!r} is not evaluated: {refusal}")
    try:
        return re.match(rf"(.*\.)?({pattern})$", module) is not None
    except (re.error, OverflowError, RecursionError) as error:
        raise UnreadableError(f"the pattern {printable(pattern)!r} is not a regular expression ({error})") from None


def _costs_too_much(pattern: str, module: str) -> str:
    """Say why matching might take very long: backtracking is polynomial of a degree that grows with each repeat."""
    if len(pattern) > _PATTERN_LENGTH:
        return f"it is longer than {_PATTERN_LENGTH} letters"
    if len(module) > _MODULE_LENGTH:
        return f"the module's name is longer than {_MODULE_LENGTH} letters"
    plain = re.sub(r"\\.|\[\^?\]?[^\]]*\]", "x", pattern)
    if re.search(r"\)[*+{]", plain):
        return "it repeats a group, which can take exponential time"
    if len(re.findall(r"[*+{]|(?<!\()\?", plain)) > _REPEATS:
        return f"it has more than {_REPEATS} repeats"
    return ""
