"""What can be said of an adapter from its files: facts, premises, and a verdict that is usually "inconclusive"."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import replace

from .._support.files import PathLike
from .._support.text import counted
from .._support.threads import blas_threads
from .._support.validate import as_choice, as_instance, as_path
from .base_weights import STORED_ONE_WAY, BaseWeights, base_facts
from .checkpoint import read_trainer_state
from .decay import Decay
from .facts import FULL_RANK, LayerFacts, facts_of
from .folder import UnreadableError, printable
from .layers import Adapter, UnusableLayer, read
from .remarks import remarks_on
from .report import FINDINGS, IMBALANCE, PRODUCT, Diagnosis, FilePremise, LayerReport, modules_text

# From how many trained layers on a family has a usual magnitude.
FAMILY_SIZE = 8
# A median deviation below this share of the median would make a family of nearly equal layers cry wolf.
_LEAST_DEVIATION = 0.05
# sigma_1/sigma_2 of a layer that one direction carries.
SPIKE = 10.0
FACTORS = ("lora_A", "lora_B")


def diagnose(
    path: PathLike, *, base: PathLike | None = None, decay: Decay | None = None, frozen: str | None = None
) -> Diagnosis:
    """Say what an adapter's files show.

    Parameters
    ----------
    path : path
        As for :func:`~lorasolve.peft_files.read`; a trainer's checkpoint with an adapter in it is one too.
    base : path, optional
        The frozen weights: a safetensors file, or a folder with ``model.safetensors`` or its index.
    decay : Decay, optional
        What is known of the weight decay of the run; the files do not hold it.
    frozen : {"lora_A", "lora_B"}, optional
        The factor that the run did not train, as LoRA-FA does not train ``lora_A``; the files do not say that either.

    Raises
    ------
    UnreadableError
        If the adapter or the base cannot be read; the message names file and tensor.
    OSError
        If a file cannot be opened.

    Notes
    -----
    The verdicts, in the order in which they are given:

    - ``non_finite``: a factor holds NaN or infinity.
    - ``loud``: a layer uses its whole rank *and* is out of proportion, which is how the failures of Kim, Kim and Ryu
      (ICML 2025, theorem 1) look. Both halves or no verdict. Never of DoRA, whose products are directions.
    - ``spiked``: a layer is out of proportion and one direction carries it; never of DoRA.
    - ``untrained``: a layer's update is zero up to rounding and its factors are not both, as at the start of a run.
    - ``not_stationary``: under one l2 decay of two trained factors every stationary point is balanced
      (``proofs/stationary_structure.py``), and this one is not; ``L`` is at least ``lam`` times the wasted penalty
      above its minimum.
    - ``low_rank``: under l2 decay, balanced, of rank below ``r`` in every layer, not zero in all, as in the good case.
    - ``inconclusive``: everything else.
    """
    decay = Decay() if decay is None else as_instance(decay, "decay", Decay)
    if frozen is not None:
        as_choice(frozen, "frozen", FACTORS)
    adapter = read(path)
    weights = None if base is None else BaseWeights(as_path(base, "base"))
    trainer = read_trainer_state(path) if adapter.config is not None else None
    layers, unusable = _measured(adapter, weights, both_trained=frozen is None)
    product = _product(layers, unusable, adapter.unknown_settings)
    layers = _judged(layers, decay, product)
    kind, reason = _verdict(layers, unusable, decay, product)
    return Diagnosis(
        kind=kind,
        reason=reason,
        title=_title(adapter),
        premises=(*_premises(layers, decay, product), product),
        remarks=remarks_on(adapter, layers, trainer, decay, frozen),
        settles=_settles(kind, layers, decay, base is not None),
        layers=tuple(layers),
        unusable=tuple(unusable),
        skipped=adapter.skipped,
        decay=decay,
        trainer=trainer,
    )


def _measured(
    adapter: Adapter, weights: BaseWeights | None, *, both_trained: bool
) -> tuple[list[LayerReport], list[UnusableLayer]]:
    """Read the layers one at a time and keep their numbers."""
    layers: list[LayerReport] = []
    unusable: list[UnusableLayer] = []
    # PEFT saves one fan_in_fan_out for all layers, that of the last one: weights that are not square tell whether it
    # is that of all.
    said = adapter.config is not None and adapter.config.fan_in_fan_out
    ways = set() if weights is None else weights.turned()
    square: list[int] = []
    unknown: list[int] = []  # experts, which linear layers say nothing of
    # The matrices are thin: threads of BLAS would cost more than they bring.
    with blas_threads(1):
        for layer in adapter.layers():
            if isinstance(layer, UnusableLayer):
                unusable.append(layer)
                continue
            layer = replace(layer, both_trained=layer.both_trained and both_trained)
            report = LayerReport(facts_of(layer))
            if weights is not None:
                config, _ = adapter.config_of(layer.module)
                try:
                    if config is not None and config.moves_base:
                        raise UnreadableError("the initialization changed the base weight, so there is no ratio to it")
                    if config is not None and config.replicates:
                        raise UnreadableError("layer_replication counts the layers anew, so the base has other numbers")
                    turned = weights.is_turned(layer)
                    if turned is None:
                        (unknown if layer.kind == "expert" else square).append(len(layers))
                    elif layer.kind not in (*STORED_ONE_WAY, "expert"):
                        ways.add(turned)
                    report = replace(report, base=base_facts(layer, weights.weight_of(layer, said)))
                except UnreadableError as error:
                    report = replace(report, no_base=str(error))
            layers.append(report)
    for k in unknown + ([] if ways <= {said} else square):
        base = layers[k].base
        if base is not None:
            layers[k] = replace(layers[k], base=replace(base, alignment_left=None, alignment_right=None))
    return layers, unusable


def _judged(layers: list[LayerReport], decay: Decay, product: FilePremise) -> list[LayerReport]:
    """Add to each layer its place in its family and its findings; return the worst first."""
    scores = family_scores([layer.facts for layer in layers])
    judged = []
    for layer in layers:
        layer = replace(layer, z=scores.get(layer.facts.module))
        judged.append(replace(layer, findings=tuple(_findings(layer, decay, product))))
    return sorted(judged, key=_badness)


def family_scores(facts: Iterable[LayerFacts]) -> dict[str, float]:
    """Return, by module, how far ``||X||_2`` is from its family's median, in robust standard deviations."""
    families: dict[str, list[LayerFacts]] = {}
    for layer in facts:
        if not layer.null:
            families.setdefault(layer.family, []).append(layer)
    scores = {}
    for members in families.values():
        if len(members) < FAMILY_SIZE:
            continue
        center = statistics.median(layer.spectral for layer in members)
        spread = statistics.median(abs(layer.spectral - center) for layer in members)
        unit = 1.4826 * max(spread, _LEAST_DEVIATION * center)
        scores.update({layer.module: (layer.spectral - center) / unit for layer in members})
    return scores


def _findings(layer: LayerReport, decay: Decay, product: FilePremise) -> Iterable[str]:
    if layer.too_large and layer.facts.full_rank:
        yield "loud"
    if layer.too_large and layer.facts.spike >= SPIKE:
        yield "spiked"
    if layer.facts.untrained:
        yield "untrained"
    applies = decay.kind == "l2" and product.holds is not None
    if applies and (layer.unbalanced or (layer.facts.untrained and layer.facts.both_trained)):
        yield "not_stationary"


def _badness(layer: LayerReport) -> tuple[float, ...]:
    worst = min((FINDINGS.index(finding) for finding in layer.findings), default=len(FINDINGS))
    size = layer.base.ratio if layer.base else layer.z if layer.z is not None else 0.0
    return worst, -size, -layer.facts.spectral


# ---------------------------------------------------------------------- words
def _title(adapter: Adapter) -> str:
    dtypes = ", ".join(adapter.dtypes)
    config = adapter.config
    if config is None and adapter.configs:
        parts = (f"{part or 'one part'}: r {one.rank}, alpha {one.alpha:g}" for part, one in adapter.configs.items())
        return f"factors in the format of diffusers, {printable('; '.join(parts))}, {dtypes}"
    if config is None:
        scaling = "no scaling" if adapter.taken_scalings == len(adapter.entries) else "scaling"
        return f"factors in the format of kohya or diffusers, {scaling} stored in the file, {dtypes}"
    name = "AdaLoRA" if config.peft_type == "ADALORA" else "DoRA" if config.use_dora else "LoRA"
    name += " with rsLoRA scaling" if config.use_rslora else ""
    exceptions = " (with exceptions by pattern)" if config.rank_pattern or config.alpha_pattern else ""
    start = printable(config.initialization, 40)
    return f"{name}, r {config.rank}, alpha {config.alpha:g}{exceptions}, start {start}, {dtypes}"


def _having(layers: list[LayerReport]) -> dict[str, list[LayerReport]]:
    """Return the layers of each finding."""
    return {finding: [layer for layer in layers if finding in layer.findings] for finding in FINDINGS}


def _verdict(
    layers: list[LayerReport], unusable: list[UnusableLayer], decay: Decay, product: FilePremise
) -> tuple[str, str]:
    """Return the kind of verdict and its reason."""
    having = _having(layers)
    broken = [layer.module for layer in unusable if layer.non_finite]
    if broken:
        return "non_finite", f"NaN or infinity in {modules_text(broken)}"
    otherwise = _of_the_theorems(layers, unusable, decay, product)
    for kind, words in (
        ("loud", "the whole rank is used and the size is out of proportion"),
        ("spiked", f"out of proportion, and one direction carries it (sigma_1/sigma_2 >= {SPIKE:g})"),
    ):
        if having[kind]:
            where = modules_text([layer.facts.module for layer in having[kind]])
            in_spite = f". Otherwise {otherwise[1]}" if otherwise[0] == "low_rank" else ""
            return kind, f"{words} in {where}; worst: {_size(having[kind][0])}{in_spite}"
    return otherwise


def _of_the_theorems(
    layers: list[LayerReport], unusable: list[UnusableLayer], decay: Decay, product: FilePremise
) -> tuple[str, str]:
    """Return the kind of verdict where nothing is out of proportion, and its reason."""
    having = _having(layers)
    if having["untrained"]:
        names = [layer.facts.module for layer in having["untrained"]]
        return (
            "untrained",
            f"the update is zero up to rounding, though its factors are not, in {modules_text(names)} of {len(layers)}",
        )
    if having["not_stationary"]:
        imbalances = [layer.facts.imbalance or 0.0 for layer in having["not_stationary"]]
        names = [layer.facts.module for layer in having["not_stationary"]]
        return "not_stationary", (
            "with one l2 decay of two trained factors every stationary point has A^T A = B^T B; the imbalance is up to "
            f"{max(imbalances):.2g} in {modules_text(names)} of {len(layers)}"
        )
    if unusable:
        first = f"{printable(unusable[0].module, 80)}: {printable(unusable[0].reason, 400)}"
        which = ", the first" if len(unusable) > 1 else ""
        return "inconclusive", f"{counted(len(unusable), 'layer')} could not be used{which}: {first}"
    if decay.kind != "l2":
        return "inconclusive", {
            "decoupled": "decoupled decay is no term of the loss, so the theorems do not apply; the numbers are facts",
            "none": "without weight decay the theorems do not apply; the numbers are facts",
            "unknown": "whether the run had l2 decay is not in the files; the numbers are facts",
        }[decay.kind]
    if product.holds is None:
        return "inconclusive", f"{product.because}: the theorems need not apply"
    other = [layer.facts for layer in layers if layer.facts.kind == "adalora" or not layer.facts.both_trained]
    if other:
        return "inconclusive", f"{_other_conditions(other[0])} changes the conditions of the theorems"
    if all(layer.facts.empty for layer in layers):
        return "inconclusive", "all factors are zero, which gradient descent cannot leave, be it an optimum or not"
    full = [layer.facts.module for layer in layers if layer.facts.full_rank]
    if full:
        return "inconclusive", f"balanced, but the whole rank r is used in {modules_text(full)} of {len(layers)}"
    if any(layer.facts.dora for layer in layers):
        return (
            "inconclusive",
            "DoRA normalizes the weight, so its update is not the product that the theorems are about",
        )
    return "low_rank", (
        "balanced and of lower rank than r in every layer, as a stationary point under l2 decay is in the good case; "
        "whether the gradient agrees is not in the files"
    )


def _other_conditions(facts: LayerFacts) -> str:
    """Return what keeps a layer from the conditions for two trained factors."""
    return "AdaLoRA's third factor" if facts.kind == "adalora" else "a frozen factor"


def _size(layer: LayerReport) -> str:
    facts = layer.facts
    against = f"{layer.base.ratio:.3g} of ||W||_2" if layer.base else f"{layer.z:.1f} robust deviations in its family"
    return f"{printable(facts.module, 80)} with ||X||_2 = {facts.spectral:.3g}, {against}"


def _premises(layers: list[LayerReport], decay: Decay, product: FilePremise) -> tuple[FilePremise, ...]:
    l2 = {"l2": True, "unknown": None}.get(decay.kind, False)
    because = {
        "l2": f"lam = {decay.lam:g}, {decay.source}" if decay.lam else decay.source,
        "decoupled": f"decoupled, {decay.source}{_unused_size(decay)}",
        "none": f"none, {decay.source}",
        "unknown": decay.source,
    }[decay.kind]
    deficient = [layer for layer in layers if not layer.facts.full_rank]
    low = FilePremise(
        "rank below r",
        len(deficient) == len(layers) if layers else None,
        f"sigma_r <= {FULL_RANK:g} sigma_1 in {len(deficient)} of {len(layers)} layers",
    )
    return FilePremise("l2 decay of the factors", l2, because), _balance(layers, product), low


def _unused_size(decay: Decay) -> str:
    """Return that the size of a decoupled decay, where one is given, enters nothing here."""
    return f"; its size {decay.lam:g} plays no part" if decay.lam else ""


def _balance(layers: list[LayerReport], product: FilePremise) -> FilePremise:
    """Return whether the factors of layers with an update are balanced, as at stationary points under l2 decay."""
    trained = [layer for layer in layers if not (layer.facts.null or layer.facts.vanished)]
    unbalanced = [layer for layer in trained if layer.unbalanced]
    unknown = [layer for layer in trained if layer.facts.imbalance is None]
    if not trained:
        holds, because = None, "no layer has an update"
    elif unknown:
        other = _other_conditions(unknown[0].facts)
        where = f"in {len(unknown)} of {len(trained)} layers"
        holds, because = None, f"beside {other} stationary points need not have them, {where}"
    elif unbalanced:
        median = statistics.median(layer.facts.imbalance or 0.0 for layer in trained)
        where = f"in {len(unbalanced)} of {len(trained)} layers, median {median:.2g}"
        why = ": not stationary for any one l2 decay of two trained factors" if product.holds is not None else ""
        holds, because = False, f"imbalance above {IMBALANCE:g} {where}{why}"
    else:
        holds, because = True, f"imbalance at most {IMBALANCE:g}, or the rounding, in every layer"
    return FilePremise("balanced factors", holds, because)


def _product(layers: list[LayerReport], unusable: list[UnusableLayer], unknown: tuple[str, ...]) -> FilePremise:
    """Return whether the update is the product that the theorems are about."""
    if unknown:
        settings = ", ".join(printable(key, 40) for key in unknown[:8])
        return FilePremise(PRODUCT, None, f"settings that are not known here may change the update: {settings}")
    dora = sum(layer.facts.dora for layer in layers)
    third = sum(layer.facts.kind == "adalora" for layer in layers)
    if third:
        because = f"AdaLoRA in {counted(third, 'layer')}: s A diag(E) B^T"
    elif dora:
        because = f"DoRA in {counted(dora, 'layer')}: these are the directions only"
    else:
        because = f"{counted(len(unusable), 'layer')} not usable" if unusable else "in every layer"
    return FilePremise(PRODUCT, not (third or dora or unusable), because)


def _settles(kind: str, layers: list[LayerReport], decay: Decay, base_given: bool) -> tuple[str, ...]:
    if kind not in ("inconclusive", "low_rank") or not layers:
        return ()
    needed = []
    if decay.kind == "unknown":
        needed.append("the weight decay of the run: --weight-decay-kind l2|decoupled|none, and --lam for its size")
    if not base_given and not all(layer.magnitude_known or layer.facts.dora for layer in layers):
        needed.append("the frozen weights (--base): whether the updates are out of proportion")
    needed.append("model and data: the gradient of the loss at these weights says how far from stationary they are")
    return tuple(needed)
