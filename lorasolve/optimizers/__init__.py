"""Optimizers: one file each, found by this folder (see ``base.py`` for the protocol)."""

from typing import TYPE_CHECKING, Any

from .._support.registry import Registry
from ._perturbed import Perturbed as Perturbed
from .base import Optimizer as Optimizer

registry: Registry[Optimizer] = Registry(__name__, Optimizer, "optimizer")

if TYPE_CHECKING:  # what __getattr__ finds, by name: a type checker reads no folders
    from .adam import Adam as Adam
    from .adamw import AdamW as AdamW
    from .als import ALS as ALS
    from .alt_lora import AltLoRA as AltLoRA
    from .flat_lora import FlatLoRA as FlatLoRA
    from .gd import GD as GD
    from .gd_backtracking import GDBacktracking as GDBacktracking
    from .gd_mixed import MixedGD as MixedGD
    from .ggpo import GGPO as GGPO
    from .heavy_ball import HeavyBall as HeavyBall
    from .lbfgs import LBFGS as LBFGS
    from .lora_plus import LoRAPlus as LoRAPlus
    from .lora_plus_adam import LoRAPlusAdam as LoRAPlusAdam
    from .lora_pro import LoRAPro as LoRAPro
    from .lora_pro_adamw import LoRAProAdamW as LoRAProAdamW
    from .lora_pro_adamw_full import LoRAProAdamWFull as LoRAProAdamWFull
    from .lora_rite import LoRARITE as LoRARITE
    from .mgpo import MGPO as MGPO
    from .mgpo_trainer import MGPOTrainer as MGPOTrainer
    from .muon import Muon as Muon
    from .nesterov import Nesterov as Nesterov
    from .proximal_adamw import ProximalAdamW as ProximalAdamW
    from .proximal_gd import ProximalGD as ProximalGD
    from .riemannian import Riemannian as Riemannian
    from .riemannion import Riemannion as Riemannion
    from .sam import SAM as SAM
    from .scaled_gd import ScaledGD as ScaledGD
    from .sgd import SGD as SGD
    from .trust_ncg import TrustNCG as TrustNCG
    from .weight_noise import WeightNoise as WeightNoise
else:
    __all__ = ["Optimizer", "registry"]


def __getattr__(name: str) -> Any:
    return registry.attribute(name)


def __dir__() -> list[str]:
    return registry.listing(globals())
