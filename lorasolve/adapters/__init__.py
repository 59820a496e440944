"""Adapters: how parameters make the update, one file each, found by this folder."""

from typing import TYPE_CHECKING, Any

from .._support.registry import Registry
from .base import Adapter as Adapter

registry: Registry[Adapter] = Registry(__name__, Adapter, "adapter")

if TYPE_CHECKING:  # what __getattr__ finds, by name: a type checker reads no folders
    from .dora import DoRA as DoRA
    from .lora import LoRA as LoRA
    from .polar import PoLAR as PoLAR
    from .softmax_gates import SoftmaxGates as SoftmaxGates
    from .sora import SoRA as SoRA
else:
    __all__ = ["Adapter", "registry"]


def __getattr__(name: str) -> Any:
    return registry.attribute(name)


def __dir__() -> list[str]:
    return registry.listing(globals())
