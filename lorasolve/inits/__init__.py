"""Initializations: one file each, found by this folder."""

from typing import TYPE_CHECKING, Any

from .._support.registry import Registry
from .base import Init as Init
from .base import Start as Start

registry: Registry[Init] = Registry(__name__, Init, "init")

if TYPE_CHECKING:  # what __getattr__ finds, by name: a type checker reads no folders
    from .balanced import Balanced as Balanced
    from .eva import EVA as EVA
    from .gaussian import Gaussian as Gaussian
    from .lora import LoRAStart as LoRAStart
    from .lora_ga import LoRAGA as LoRAGA
    from .milora import MiLoRA as MiLoRA
    from .olora import OLoRA as OLoRA
    from .pissa import PiSSA as PiSSA
    from .spectral import Spectral as Spectral
else:
    __all__ = ["Init", "Start", "registry"]


def __getattr__(name: str) -> Any:
    return registry.attribute(name)


def __dir__() -> list[str]:
    return registry.listing(globals())
