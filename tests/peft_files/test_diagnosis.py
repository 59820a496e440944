"""Verdicts, each on an adapter made to deserve it; what files cannot show is inconclusive."""

import copy
import dataclasses
import json
import re
from fractions import Fraction

import numpy as np
import pytest

from lorasolve.peft_files import (
    Decay,
    LayerFactors,
    UnreadableError,
    diagnose,
    explain_decay,
    facts_of,
    interfere,
    read,
    read_trainer_state,
    truncate,
)
from lorasolve.peft_files.diagnosis import family_scores
from lorasolve.peft_files.page import diagnosis_page
from lorasolve.peft_files.report import SORT_KEYS, LayerReport, diagnosis_text, layer_rows

R, LAYERS = 4, 12


def balanced(sigma, seed, m=20, n=16):
    """Return PEFT's pair (r, in), (out, r) of balanced factors; the scaling of the adapters here is 2."""
    rng = np.random.default_rng(seed)
    P = np.linalg.qr(rng.standard_normal((m, len(sigma))))[0]
    Q = np.linalg.qr(rng.standard_normal((n, len(sigma))))[0]
    root = np.sqrt(np.asarray(sigma) / 2)
    return (Q * root).T, P * root


def model(make, spectra, change=None):
    """Return the tensors of an adapter with one layer for each spectrum."""
    tensors = {}
    for k, sigma in enumerate(spectra):
        down, up = balanced(sigma, k)
        if change and k in change:
            down, up = change[k](down, up)
        tensors |= make.linear(f"h.{k}.q", down, up)
    return tensors


GOOD = [np.array([1 + 0.03 * k, 0.5, 1e-9, 1e-10]) for k in range(LAYERS)]
FULL = [np.array([1 + 0.03 * k, 0.5, 0.3, 0.2]) for k in range(LAYERS)]
L2 = Decay("l2", 0.01, "as given")


def test_low_rank_needs_l2_decay_balance_and_a_rank_below_r(tmp_path, make):
    folder = make.adapter(tmp_path / "good", model(make, GOOD))
    found = diagnose(folder, decay=L2)
    assert found.kind == "low_rank" and all(premise.holds for premise in found.premises)
    assert found.excess == 0
    for decay, word in (
        (Decay(), "not in the files"),
        (Decay("decoupled", 0.01), "no term"),
        (Decay("none"), "without"),
    ):
        other = diagnose(folder, decay=decay)
        assert other.kind == "inconclusive" and word in other.reason and other.excess is None
    mixed = diagnose(make.adapter(tmp_path / "mixed", model(make, [*GOOD[:6], *FULL[6:]])), decay=L2)
    assert [premise.holds for premise in mixed.premises if premise.name == "rank below r"] == [False]
    assert mixed.kind == "inconclusive"
    full = diagnose(make.adapter(tmp_path / "full", model(make, FULL)), decay=L2)
    assert full.kind == "inconclusive" and "whole rank r is used" in full.reason


@pytest.mark.parametrize("seed", [3, None])
def test_beside_a_setting_that_is_not_known_the_theorems_need_not_apply(tmp_path, make, seed):
    tensors = model(make, GOOD, {} if seed is None else {seed: lambda down, up: (2 * down, up / 2)})
    plain = diagnose(make.adapter(tmp_path, tensors, use_novelty=False, novelty_config=None), decay=L2)
    assert plain.kind == ("low_rank" if seed is None else "not_stationary") and plain.premises[-1].holds
    found = diagnose(make.adapter(tmp_path, tensors, use_novelty=True, novelty_config={"a": 1}), decay=L2)
    assert found.kind == "inconclusive" and "novelty_config, use_novelty" in found.reason
    assert found.premises[-1].holds is None and found.excess is None
    assert not found.with_finding("not_stationary")
    assert "not stationary" not in str(found) and "L is at least" not in str(found)
    # What is read of the factors stays.
    imbalances = [{layer.facts.module: layer.facts.imbalance for layer in one.layers} for one in (found, plain)]
    assert imbalances[0] == imbalances[1]


def test_dora_is_not_what_the_theorems_are_about(tmp_path, make):
    tensors = model(make, GOOD) | {"h.3.q.lora_magnitude_vector": np.ones(20, "f4")}
    found = diagnose(make.adapter(tmp_path, tensors, use_dora=True), decay=L2)
    assert found.kind == "inconclusive" and "DoRA" in found.reason and "directions only" in str(found)


@pytest.mark.parametrize(("config", "file"), [(True, True), (True, False), (False, True), (False, False)])
def test_dora_by_the_configuration_or_by_the_file(tmp_path, make, config, file):
    """Where they differ that is said; either way the products are no updates that one could certify."""
    tensors = model(make, GOOD)
    if file:
        tensors |= {f"base_model.model.h.{k}.q.lora_magnitude_vector": np.ones(20) for k in range(LAYERS)}
    found = diagnose(make.adapter(tmp_path, tensors, use_dora=config), decay=L2)
    assert found.kind == ("inconclusive" if config or file else "low_rank")
    (premise,) = [premise for premise in found.premises if premise.name == "the update is s A B^T"]
    assert premise.holds == (not (config or file))
    said = [remark for remark in found.remarks if "use_dora" in remark]
    assert len(said) == (config != file) and all("12 modules" in remark for remark in said)
    if config and file:
        one = diagnose(make.adapter(tmp_path, dict(list(tensors.items())[:-1]), use_dora=True))
        assert "use_dora is set, but the magnitude is missing in 1 module" in one.remarks


def test_of_adalora_it_is_not_known_whether_the_factors_are_balanced(tmp_path, make):
    """Its third factor changes what is stationary: nothing says that any two of the three are balanced."""
    tensors = {}
    for k in range(2):
        down, up = balanced(GOOD[k], k)
        name = f"base_model.model.h.{k}.q"
        tensors |= {f"{name}.lora_A": down, f"{name}.lora_B": 3.0 * up, f"{name}.lora_E": np.ones((4, 1))}
    folder = make.adapter(tmp_path, tensors, peft_type="ADALORA", init_r=4)
    found = diagnose(folder, decay=L2)
    assert found.kind == "inconclusive" and "third factor" in found.reason and not found.excess
    (premise,) = [premise for premise in found.premises if premise.name == "balanced factors"]
    assert premise.holds is None and "AdaLoRA" in premise.because
    (product,) = [premise for premise in found.premises if premise.name == "the update is s A B^T"]
    assert product.holds is False and product.because == "AdaLoRA in 2 layers: s A diag(E) B^T"
    assert "would save" not in str(found)


@pytest.mark.parametrize("size", [0.01, 0.0])
def test_a_frozen_factor_refutes_nothing(tmp_path, make, size):
    """MiCA of PEFT trains ``lora_A`` alone, beside orthonormal columns: ``A = 0`` or any other may be stationary."""
    change = {k: lambda down, up: (size * down, np.linalg.qr(up)[0]) for k in range(LAYERS)}
    tensors = model(make, GOOD, change)
    mica = diagnose(make.adapter(tmp_path / "mica", tensors, init_lora_weights="mica"), decay=L2)
    plain = diagnose(make.adapter(tmp_path / "plain", tensors), decay=L2)
    assert plain.with_finding("not_stationary") and plain.excess > 0.0
    assert not mica.with_finding("not_stationary") and mica.excess == 0.0 and "L is at least" not in str(mica)
    assert any("lora_B was not trained" in remark for remark in mica.remarks)
    assert [premise.holds for premise in mica.premises if premise.name == "balanced factors"] == [None]
    assert mica.kind == ("inconclusive" if size else "untrained")
    assert not any(layer["both_trained"] for layer in mica.to_dict()["layers"])


@pytest.mark.parametrize("frozen", ["lora_A", "lora_B"])
def test_a_factor_that_is_said_to_be_frozen_refutes_nothing(tmp_path, make, frozen):
    """LoRA-FA trains ``lora_B`` alone: ``lam B + G^T A = 0`` at any ``A``, and files do not show which run it was."""
    tensors = model(make, GOOD, {k: lambda down, up: (4 * down, up / 4) for k in range(LAYERS)})
    folder = make.adapter(tmp_path, tensors)
    for decay in (L2, None):
        said = str(diagnose(folder, decay=decay))
        assert said.count("of two trained factors") == (2 if decay else 1)
    found = diagnose(folder, decay=L2, frozen=frozen)
    assert found.kind == "inconclusive" and "a frozen factor changes" in found.reason
    assert found.excess == 0.0 and "L is at least" not in str(found)
    assert any(remark.startswith(f"{frozen} was not trained") for remark in found.remarks)
    assert [premise.holds for premise in found.premises if premise.name == "balanced factors"] == [None]
    with pytest.raises(ValueError, match="frozen: expected 'lora_A' or 'lora_B', got 'A'"):
        diagnose(folder, frozen="A")


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_rounding_of_balanced_factors_of_any_size_is_no_excess(tmp_path, make, size):
    """With the rows of one factor in another order as the other both Gram matrices are the same, number for number."""
    tensors = {}
    for k in range(LAYERS):
        up = size * np.random.default_rng(k).standard_normal((20, R))
        tensors |= make.linear(f"h.{k}.q", up[::-1].T.copy(), up)
    found = diagnose(make.adapter(tmp_path, tensors), decay=L2)
    assert found.wasted < 1e-14 * found.penalty and found.excess == 0.0


def test_unbalanced_factors_refute_stationarity_with_a_bound(tmp_path, make):
    tensors = model(make, GOOD, {3: lambda down, up: (2 * down, up / 2)})
    found = diagnose(make.adapter(tmp_path, tensors), decay=L2)
    assert found.kind == "not_stationary" and found.with_finding("not_stationary") == ("h.3.q",)
    # (t^2 + 1/t^2)/2 - 1 of the penalty of balanced factors, which is ||X||_*/s.
    assert found.excess == pytest.approx(0.01 * (4.25 / 2 - 1) * GOOD[3].sum() / 2)
    imbalance = (4 - 1 / 4) / (4 + 1 / 4) * np.linalg.norm(GOOD[3]) / GOOD[3].sum()
    assert f"the imbalance is up to {imbalance:.2g} in h.3.q of 12" in found.reason
    # What is printed is a bound too.
    for lam in (0.01, 0.0113, 0.0127, 0.0137, 0.0149, 0.0163):
        found = diagnose(tmp_path, decay=Decay("l2", lam, "a test"))
        (least,) = re.findall(r"L is at least (\S+) above", str(found))
        assert 0.999 * Fraction(found.excess) < Fraction(least) <= Fraction(found.excess)
    unknown = diagnose(tmp_path)
    assert unknown.kind == "inconclusive"
    (balance,) = [premise for premise in unknown.premises if premise.name == "balanced factors"]
    assert balance.holds is False and "any one l2 decay of two" in balance.because


@pytest.mark.parametrize(("size", "kind"), [(1e-6, "low_rank"), (1e-2, "not_stationary")])
def test_what_is_left_of_a_layer_that_decayed_refutes_nothing(tmp_path, make, size, kind):
    # L-BFGS leaves remains of 1e-6 of no balance in a layer of rank 0 of an optimum.
    def remains(down, up):
        rng = np.random.default_rng(0)
        return size * rng.standard_normal(down.shape), 0.1 * size * rng.standard_normal(up.shape)

    found = diagnose(make.adapter(tmp_path, model(make, GOOD, {3: remains})), decay=L2)
    assert found.kind == kind
    (layer,) = [layer for layer in found.layers if layer.facts.module == "h.3.q"]
    assert (layer.facts.rank, layer.facts.vanished) == ((0, True) if kind == "low_rank" else (R, False))
    assert ("all but vanished in 1 layer:" in str(found)) == layer.facts.vanished
    (balance,) = [premise for premise in found.premises if premise.name == "balanced factors"]
    assert balance.holds is layer.facts.vanished


@pytest.mark.parametrize(("roundoff", "unbalanced"), [(2.0**-4, False), (2.0**-24, True)])
def test_an_imbalance_within_rounding_is_none(roundoff, unbalanced):
    """``||A|| / ||B|| = sqrt 1.1``: in 8-bit floats that may be rounding, in 32-bit ones not."""
    P, Q = (np.linalg.qr(np.random.default_rng(n).standard_normal((n, 1)))[0] for n in (9, 7))
    report = LayerReport(facts_of(LayerFactors("q", np.sqrt(1.1) * P, Q, 1.0, "linear", False, roundoff)))
    assert 0.01 < report.facts.imbalance < 0.1 and report.unbalanced is unbalanced


def test_the_size_of_a_layer_that_cannot_be_read_is_not_known(tmp_path, make):
    tensors = model(make, FULL)
    assert diagnose(make.adapter(tmp_path / "all", tensors)).magnitude_known
    del tensors["base_model.model.h.3.q.lora_B.weight"]
    found = diagnose(make.adapter(tmp_path / "one less", tensors))
    assert [layer.module for layer in found.unusable] == ["h.3.q"]
    assert all(layer.magnitude_known for layer in found.layers) and not found.magnitude_known
    (product,) = [premise for premise in found.premises if premise.name == "the update is s A B^T"]
    assert product.holds is False and "1 layer not usable" in product.because


def test_loud_needs_both_halves(tmp_path, make):
    large_full, large_low = [list(FULL) for _ in range(2)]
    large_full[5] = 100 * FULL[5]
    found = diagnose(make.adapter(tmp_path / "a", model(make, large_full)))
    assert found.kind == "loud" and found.with_finding("loud") == ("h.5.q",) and found.layers[0].facts.module == "h.5.q"
    assert found.layers[0].z > 6
    large_low[5] = np.array([100.0, 90.0, 1e-9, 1e-9])
    low = diagnose(make.adapter(tmp_path / "b", model(make, large_low)))
    assert low.kind == "inconclusive" and low.layers[0].z > 6
    full = diagnose(make.adapter(tmp_path / "c", model(make, FULL)))
    assert full.kind == "inconclusive" and full.magnitude_known


def test_spiked(tmp_path, make):
    spectra = list(GOOD)
    spectra[7] = np.array([100.0, 0.5, 1e-9, 1e-9])
    folder = make.adapter(tmp_path, model(make, spectra))
    found = diagnose(folder)
    assert found.kind == "spiked" and found.with_finding("spiked") == ("h.7.q",) and not found.with_finding("loud")
    assert "good case" not in found.reason
    known = diagnose(folder, decay=L2)  # a large update of rank one is a stationary point of some loss
    assert known.kind == "spiked" and ". Otherwise balanced and of lower rank than r in every layer" in known.reason


def test_untrained_layers(tmp_path, make):
    tensors = model(make, GOOD, {2: lambda down, up: (down, 0 * up)})
    found = diagnose(make.adapter(tmp_path / "one", tensors), decay=L2)
    assert found.kind == "untrained" and found.with_finding("untrained") == ("h.2.q",)
    assert "random start" not in " ".join(found.remarks)
    start = {k: lambda down, up: (down / 4, 0 * up) for k in range(LAYERS)}
    found = diagnose(make.adapter(tmp_path / "all", model(make, GOOD, start)))
    assert found.kind == "untrained" and "12 layers of 12" in found.reason
    assert "random start" in " ".join(found.remarks)


def test_empty_layers_are_remarked_and_are_no_finding(tmp_path, make):
    tensors = model(make, GOOD, {2: lambda down, up: (0 * down, 0 * up)})
    found = diagnose(make.adapter(tmp_path, tensors), decay=L2)
    assert found.kind == "low_rank" and "both factors are zero in 1 layer:" in " ".join(found.remarks)
    nothing = {k: lambda down, up: (0 * down, 0 * up) for k in range(LAYERS)}
    found = diagnose(make.adapter(tmp_path / "all", model(make, GOOD, nothing)), decay=L2)
    # Stationary for any data, and so no sign of a good end.
    assert found.kind == "inconclusive" and found.reason.startswith("all factors are zero")


def test_non_finite_comes_first(tmp_path, make):
    def broken(down, up):
        down = down.copy()
        down[0, 0] = np.nan
        return down, up

    spectra = list(FULL)
    spectra[5] = 100 * FULL[5]
    found = diagnose(make.adapter(tmp_path, model(make, spectra, {1: broken})))
    assert found.kind == "non_finite" and "h.1.q" in found.reason and found.with_finding("loud") == ("h.5.q",)


def test_a_magnitude_or_a_scaling_that_is_not_finite_is_named(tmp_path, make):
    beside = {f"base_model.model.h.{k}.q.lora_magnitude_vector": np.ones(20) for k in range(LAYERS)}
    beside["base_model.model.h.7.q.lora_magnitude_vector"][3] = np.inf
    found = diagnose(make.adapter(tmp_path / "dora", model(make, GOOD) | beside))
    assert found.kind == "non_finite" and "h.7.q" in found.reason and len(found.layers) == LAYERS - 1
    pair = {"q.lora_down.weight": np.ones((2, 3)), "q.lora_up.weight": np.ones((4, 2))}
    make.file(tmp_path / "s.safetensors", pair | {"q.alpha": np.array(np.inf)})
    assert diagnose(tmp_path / "s.safetensors").kind == "non_finite"


def test_what_a_negative_scaling_is_said_to_be(tmp_path, make):
    """The facts of a scaling and of its negative are those of ``X`` and ``-X``."""
    facts = {}
    for alpha in (8, -8):
        found = diagnose(make.adapter(tmp_path / str(alpha), model(make, FULL), lora_alpha=alpha), decay=L2)
        assert any("negative in 12 layers" in remark for remark in found.remarks) == (alpha < 0)
        facts[alpha] = [layer.to_dict() | {"scale": None} for layer in found.layers], found.kind, found.excess
    assert str(facts[8]) == str(facts[-8])
    mixed = diagnose(make.adapter(tmp_path / "one", model(make, FULL), alpha_pattern={"h.3.q": -8}))
    assert "the scaling is negative in 1 layer (lora_alpha below 0)" in " ".join(mixed.remarks)


def test_why_a_layer_cannot_be_used_is_in_the_verdict(tmp_path, make):
    """Also where no layer is listed; and where none was read nothing that is asked for would settle it."""
    found = diagnose(make.adapter(tmp_path / "all", model(make, GOOD), r=8))
    why = "the factors have rank 4, the configuration says 8"
    assert found.reason == f"12 layers could not be used, the first: h.0.q: {why}" and found.settles == ()
    text = diagnosis_text(found, 0)
    assert "cannot be used (" not in text and why in text
    found = diagnose(make.adapter(tmp_path / "one", model(make, GOOD), rank_pattern={"h.5.q": 8}))
    assert found.reason == f"1 layer could not be used: h.5.q: {why}" and found.settles


def test_families_are_held_apart_and_small_ones_say_nothing(tmp_path, make):
    tensors = model(make, FULL)
    for k in range(3):
        tensors |= make.linear(f"h.{k}.mlp", *balanced(1000 * FULL[k], 50 + k))
    found = diagnose(make.adapter(tmp_path, tensors))
    assert found.kind == "inconclusive" and not found.magnitude_known
    assert {layer.facts.family for layer in found.layers if layer.z is None} == {"h.*.mlp"}
    assert any("--base" in needed for needed in found.settles)
    # From eight layers on there is a usual size.
    for count, known in ((7, False), (8, True)):
        found = diagnose(make.adapter(tmp_path / str(count), model(make, FULL[:count])))
        assert found.magnitude_known == known and (found.layers[0].z is not None) == known


def test_layers_of_other_work_are_not_out_of_proportion(tmp_path, make):
    """Few layers of cross attention beside many of self attention, with larger updates as is usual."""
    tensors = {}
    for k in range(LAYERS):
        tensors |= make.linear(f"blocks.{k}.attn1.to_q", *balanced(FULL[k], k))
    for k in range(4):
        tensors |= make.linear(f"blocks.{k}.attn2.to_q", *balanced(9.0 * FULL[k], k))
    found = diagnose(make.adapter(tmp_path, tensors))
    assert found.kind == "inconclusive" and not found.with_finding("loud")
    assert {layer.facts.family for layer in found.layers} == {"blocks.*.attn1.to_q", "blocks.*.attn2.to_q"}
    assert [layer.z is None for layer in found.layers if "attn2" in layer.facts.module] == [True] * 4


def test_scores_are_robust_deviations(tmp_path, make):
    facts = [layer.facts for layer in diagnose(make.adapter(tmp_path, model(make, FULL))).layers]
    values = np.array([layer.spectral for layer in facts])
    center = np.median(values)
    unit = 1.4826 * max(np.median(np.abs(values - center)), 0.05 * center)
    scores = family_scores(facts)
    np.testing.assert_allclose([scores[layer.module] for layer in facts], (values - center) / unit)


# ---------------------------------------------------------------------- the frozen weights
def weights(make, scale=1.0, count=LAYERS):
    rng = np.random.default_rng(9)
    return {f"model.h.{k}.q.weight": scale * rng.standard_normal((20, 16)).astype("f4") for k in range(count)}


def test_a_large_direction_of_dora_is_no_large_update(tmp_path, make):
    """The rows of its weight have lengths of their own: with those of W it moves by 2 ||W||_F at most."""
    W, lengths = weights(make, 0.01), {}
    spectra = [FULL[k] * (100.0 if k == 3 else 1.0) for k in range(LAYERS)]
    for k, sigma in enumerate(spectra):
        dense = W[f"model.h.{k}.q.weight"].astype(float)
        down, up = balanced(sigma, k)
        direction = dense + 2.0 * up @ down
        rows = np.linalg.norm(dense, axis=1)
        lengths[f"base_model.model.h.{k}.q.lora_magnitude_vector"] = rows.astype("f4")
        moved = direction * (rows / np.linalg.norm(direction, axis=1))[:, None]
        assert np.linalg.norm(moved - dense) <= 2.0 * np.linalg.norm(dense) < sigma[0]
    tensors = model(make, spectra)
    make.file(tmp_path / "w.safetensors", W)
    for base in (tmp_path / "w.safetensors", None):
        assert diagnose(make.adapter(tmp_path / "lora", tensors), base=base).kind == "loud"
        found = diagnose(make.adapter(tmp_path / "dora", tensors | lengths, use_dora=True), base=base)
        assert found.kind == "inconclusive" and not found.magnitude_known
        assert any("nothing is called loud in 12 layers" in remark for remark in found.remarks)
        assert not any("--base" in needed for needed in found.settles)


def test_ratios_to_the_frozen_weights(tmp_path, make):
    folder, W = make.adapter(tmp_path / "a", model(make, FULL)), weights(make)
    make.file(tmp_path / "base.safetensors", W)
    found = diagnose(folder, base=tmp_path / "base.safetensors")
    for layer in found.layers:
        dense = W[f"model.{layer.facts.module}.weight"].astype(float)
        X = self_made(folder, make, layer.facts.module)
        assert layer.base.spectral == pytest.approx(np.linalg.norm(dense, 2), rel=1e-6)
        assert layer.base.ratio == pytest.approx(np.linalg.norm(X, 2) / np.linalg.norm(dense, 2), rel=1e-6)
        unit = np.linalg.norm(dense) * np.linalg.norm(X)
        left, right = np.sqrt(20) * np.linalg.norm(dense.T @ X), 4 * np.linalg.norm(dense @ X.T)
        assert layer.base.alignment_left == pytest.approx(left / unit, rel=1e-5)
        assert layer.base.alignment_right == pytest.approx(right / unit, rel=1e-5)
    assert found.kind == "inconclusive"
    make.file(tmp_path / "small.safetensors", weights(make, 0.01))
    assert diagnose(folder, base=tmp_path / "small.safetensors").kind == "loud"
    # An update is loud from the norm of its weight on, and the least of these ratios is 1.1 and 0.9.
    for times, kind in ((1.1, "loud"), (0.9, "inconclusive")):
        scaled = {}
        for layer in found.layers:
            name = f"model.{layer.facts.module}.weight"
            scaled[name] = (W[name] * layer.base.ratio / times).astype("f4")
        make.file(tmp_path / f"{kind}.safetensors", scaled)
        assert diagnose(folder, base=tmp_path / f"{kind}.safetensors").kind == kind


def self_made(folder, make, module):
    down, up = balanced(FULL[int(module.split(".")[1])], int(module.split(".")[1]))
    return 2 * up @ down


def test_alignment_tells_leading_from_minor_directions(tmp_path, make):
    """PiSSA starts from the leading singular vectors of the weight, MiLoRA from the least."""
    rng = np.random.default_rng(0)
    P, Q = np.linalg.qr(rng.standard_normal((20, 16)))[0], np.linalg.qr(rng.standard_normal((16, 16)))[0]
    sigma = np.geomspace(10, 0.01, 16)
    make.file(tmp_path / "w.safetensors", {"q.weight": (P * sigma) @ Q.T})
    for name, part, low, high in (("pissa", slice(0, 4), 1.5, 4.0), ("milora", slice(12, 16), 0.0, 0.05)):
        tensors = make.linear("m.q", Q[:, part].T.copy(), P[:, part].copy())
        (layer,) = diagnose(make.adapter(tmp_path / name, tensors), base=tmp_path / "w.safetensors").layers
        assert low <= layer.base.alignment_left <= high and low <= layer.base.alignment_right <= high


def test_transposed_weights_and_large_ones(tmp_path, make):
    rng = np.random.default_rng(0)
    W = rng.standard_normal((520, 500)).astype("f4")  # beyond what is decomposed in full
    down, up = make.pair(0, out=520, inner=500)
    folder = make.adapter(tmp_path / "a", make.linear("m.q", down, up), fan_in_fan_out=True)
    make.file(tmp_path / "w.safetensors", {"q.weight": np.ascontiguousarray(W.T)})
    (layer,) = diagnose(folder, base=tmp_path / "w.safetensors").layers
    true = np.linalg.norm(W.astype(float), 2)
    assert 0.9 * true <= layer.base.spectral <= true * (1 + 1e-5)
    assert layer.base.frobenius == pytest.approx(np.linalg.norm(W.astype(float)), rel=1e-5)


def aligned(W, X):
    unit = np.linalg.norm(W) * np.linalg.norm(X)
    return np.sqrt(len(X)) * np.linalg.norm(W.T @ X) / unit, np.sqrt(len(X.T)) * np.linalg.norm(W @ X.T) / unit


@pytest.mark.parametrize(
    ("stored", "saved", "known"),
    [
        # How those that are not square are stored; what the configuration says; whether that tells of the square one.
        ("turned", True, True),
        ("plain", False, True),
        ("turned", False, False),
        ("plain", True, False),
        ("both", True, False),
        ("both", False, False),
        ("turned without biases", True, True),
        ("turned without biases", False, False),
        ("not adapted", True, True),
        ("not adapted", False, False),
        ("square alone", True, True),
        ("square alone", False, True),
    ],
)
def test_a_square_weight_is_aligned_only_where_it_is_known_how_it_is_stored(tmp_path, make, stored, saved, known):
    """PEFT saves one fan_in_fan_out for all layers: that of the last one, GPT-2's head for example."""
    rng = np.random.default_rng(1)
    shapes = {"q": (8, 8), "up": (20, 8), "down": (8, 20)}
    pairs = {name: make.pair(k, *shape) for k, (name, shape) in enumerate(shapes.items())}
    dense = {name: rng.standard_normal((len(up), len(down.T))) for name, (down, up) in pairs.items()}
    turned = {"q": saved, "up": stored != "plain", "down": stored not in ("plain", "both")}
    tensors = {f"{name}.weight": np.ascontiguousarray(W.T if turned[name] else W) for name, W in dense.items()}
    if "alone" not in stored and "without" not in stored:
        tensors |= {f"{name}.bias": np.ones(len(W)) for name, W in dense.items()}
    make.file(tmp_path / "w.safetensors", tensors)
    which = ["q"] if stored in ("not adapted", "square alone") else list(shapes)
    factors = {key: value for name in which for key, value in make.linear(name, *pairs[name]).items()}
    found = diagnose(make.adapter(tmp_path / "a", factors, fan_in_fan_out=saved), base=tmp_path / "w.safetensors")
    assert len(found.layers) == len(which)
    for layer in found.layers:
        name = layer.facts.module
        X = 2 * pairs[name][1].astype(float) @ pairs[name][0]
        assert layer.base.ratio == pytest.approx(np.linalg.norm(X, 2) / np.linalg.norm(dense[name], 2), rel=1e-5)
        got = (layer.base.alignment_left, layer.base.alignment_right)
        expected = aligned(dense[name], X) if known or name != "q" else (None, None)
        assert got == (expected if None in expected else pytest.approx(expected, rel=1e-4))
    assert ("no alignment with the base weight in 1 layer: square" in str(found)) == (not known)
    assert json.dumps(found.to_dict(), default=str, allow_nan=False)


def test_an_update_of_zero_has_no_alignment_with_its_weight(tmp_path, make):
    """It was told to be 0, as of an update in directions on which the weight does not act."""
    (down, up), rng = make.pair(0), np.random.default_rng(1)
    tensors = make.linear("q", down, up) | make.linear("v", down, np.zeros_like(up))
    make.file(tmp_path / "w.safetensors", {f"{name}.weight": rng.standard_normal((9, 7)) for name in "qv"})
    found = diagnose(make.adapter(tmp_path / "a", tensors), base=tmp_path / "w.safetensors")
    base = {layer.facts.module: layer.base.to_dict() for layer in found.layers}
    assert (base["v"]["ratio"], base["v"]["alignment_left"], base["v"]["alignment_right"]) == (0.0, None, None)
    assert min(base["q"]["alignment_left"], base["q"]["alignment_right"]) > 0.0
    assert "no alignment" not in str(found) and json.dumps(found.to_dict(), default=str, allow_nan=False)


def test_embeddings_and_convolutions_are_never_turned(tmp_path, make):
    rng = np.random.default_rng(1)
    tensors, bases, updates = {}, {}, {}
    for name, rows, columns in (("e", 30, 8), ("f", 8, 8)):
        A, B = rng.standard_normal((4, rows)), rng.standard_normal((columns, 4))
        tensors |= {f"base_model.model.{name}.lora_embedding_A": A, f"base_model.model.{name}.lora_embedding_B": B}
        bases[name], updates[name] = rng.standard_normal((rows, columns)), 2 * A.T @ B.T
    down, up = rng.standard_normal((4, 2, 2, 2)), rng.standard_normal((8, 4, 1, 1))
    tensors |= make.linear("conv", down, up)
    bases["conv"], updates["conv"] = rng.standard_normal((8, 2, 2, 2)), 2 * up[..., 0, 0] @ down.reshape(4, 8)
    make.file(tmp_path / "w.safetensors", {f"{name}.weight": W for name, W in bases.items()})
    folder = make.adapter(tmp_path / "a", tensors, fan_in_fan_out=True)
    layers = diagnose(folder, base=tmp_path / "w.safetensors").layers
    for layer in layers:
        X = updates[layer.facts.module]
        expected = aligned(bases[layer.facts.module].reshape(X.shape), X)
        assert (layer.base.alignment_left, layer.base.alignment_right) == pytest.approx(expected, rel=1e-4)
    assert len(layers) == 3


def test_sharded_bases_stay_in_their_folder(tmp_path, make):
    folder, W = make.adapter(tmp_path / "a", model(make, FULL)), weights(make)
    base = tmp_path / "base"
    base.mkdir()
    names = sorted(W)
    parts = {"one.safetensors": names[:5], "two.safetensors": names[5:]}
    for name, keys in parts.items():
        make.file(base / name, {key: W[key] for key in keys})
    table = {key: name for name, keys in parts.items() for key in keys}

    def index(weight_map):
        (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    index(table)
    assert all(layer.base for layer in diagnose(folder, base=base).layers)
    make.file(tmp_path / "outside.safetensors", W)
    for name in (
        "../outside.safetensors",
        str(tmp_path / "outside.safetensors"),
        "..",
        "",
        "a/../one.safetensors",
        "x\0y",
    ):
        index(table | {names[0]: name})
        with pytest.raises(UnreadableError, match="leads out of the folder"):
            diagnose(folder, base=base)
    (base / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")
    index(table | {names[0]: "link.safetensors"})
    with pytest.raises(UnreadableError, match="leads out of the folder"):
        diagnose(folder, base=base)
    index({names[0]: 3})
    with pytest.raises(UnreadableError, match="weight_map"):
        diagnose(folder, base=base)


EIGHT = ("F8_E4M3", np.full((20, 16), 0x38, "u1"))  # ones


def test_8_bit_weights_without_a_scale_beside_them_are_what_they_say(tmp_path, make):
    folder = make.adapter(tmp_path / "a", model(make, FULL[:1]))
    # The scale is that of another layer.
    make.file(tmp_path / "base.safetensors", {"h.0.q.weight": EIGHT, "h.0.qk.weight_scale": np.ones(1)})
    (layer,) = diagnose(folder, base=tmp_path / "base.safetensors").layers
    assert layer.base.spectral == pytest.approx(np.sqrt(20 * 16), rel=1e-6)


def test_the_size_of_a_weight_whose_squares_overflow_in_float32_is_known(tmp_path, make):
    folder = make.adapter(tmp_path / "a", model(make, FULL[:1]))
    make.file(tmp_path / "base.safetensors", {"h.0.q.weight": np.full((20, 16), 1e25, "f4")})
    (layer,) = diagnose(folder, base=tmp_path / "base.safetensors").layers
    assert layer.base.frobenius == pytest.approx(np.sqrt(20 * 16) * 1e25, rel=1e-6)


@pytest.mark.parametrize(
    ("tensors", "config", "message"),
    [
        ({"h.0.q.weight": np.ones((3, 3))}, {}, "the base weight has the shape"),
        ({"other.weight": np.ones((20, 16))}, {}, "no base weight of this name"),
        ({"a.h.0.q.weight": np.ones((20, 16)), "b.h.0.q.weight": np.ones((20, 16))}, {}, "several base weights"),
        ({"h.0.q.weight": np.ones((20, 16), "i4")}, {}, "quantized"),
        ({"h.0.q.weight": ("U32", np.ones((20, 2), "u4")), "h.0.q.scales": np.ones(20)}, {}, "quantized"),
        (
            {"h.0.q.weight": EIGHT, "h.0.q.weight_scale": np.ones(()), "h.0.q.weight_scale_2": np.ones(())},
            {},
            "times its weight_scale",
        ),
        ({"h.0.q.weight": EIGHT, "h.0.q.scale_weight": np.ones(())}, {}, "times its scale_weight"),
        ({"h.0.q.weight": np.zeros((20, 16))}, {}, "zero or has non-finite"),
        ({"h.0.q.weight": np.full((20, 16), np.nan)}, {}, "zero or has non-finite"),
        ({"h.0.q.weight": np.ones((20, 16))}, {"init_lora_weights": "pissa"}, "changed the base weight"),
        ({"h.0.q.weight": np.ones((20, 16))}, {"init_lora_weights": "olora"}, "changed the base weight"),
        ({"h.0.q.weight": np.ones((20, 16))}, {"layer_replication": [[0, 2], [1, 3]]}, "counts the layers anew"),
    ],
)
def test_layers_without_a_ratio_say_why(tmp_path, make, tensors, config, message):
    folder = make.adapter(tmp_path / "a", model(make, FULL[:1]), **config)
    make.file(tmp_path / "base.safetensors", tensors)
    (layer,) = diagnose(folder, base=tmp_path / "base.safetensors").layers
    assert layer.base is None and message in layer.no_base


@pytest.mark.parametrize(("alphas", "doubtful"), [((2, 3), True), ((2, 2), False)])
def test_patterns_whose_order_decides_about_a_scaling_are_remarked(tmp_path, make, alphas, doubtful):
    tensors = make.linear("h.0.q", *make.pair(0))
    found = diagnose(make.adapter(tmp_path, tensors, alpha_pattern=dict(zip(("q", "h.0.q"), alphas))))
    assert any("several keys of alpha_pattern match h.0.q" in remark for remark in found.remarks) == doubtful
    assert found.layers[0].to_dict()["lam_factor"] == 4 / 2  # r = 4


# ---------------------------------------------------------------------- checkpoints
@pytest.mark.parametrize("name", ["optimizer.pt", "optimizer.bin"])
def test_what_a_checkpoint_says_without_torch(tmp_path, make, name):
    folder = make.adapter(tmp_path, model(make, GOOD))
    log = [{"step": 1, "loss": 2.0, "learning_rate": 2e-4, "grad_norm": 0.0}, {"step": 2, "grad_norm": float("nan")}, 3]
    log += [{"step": 3, "grad_norm": float("inf")}, {"step": 4, "grad_norm": 1.5}]
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 5000, "log_history": log}))
    assert "--optimizer-state" not in " ".join(diagnose(folder).remarks)
    (folder / name).write_bytes(b"never opened")
    found = diagnose(folder, decay=Decay("decoupled", 0.01))
    text = " ".join(found.remarks)
    times = "5e+05 steps at the largest step size logged; the run has 0.01 times as many"
    assert found.trainer.steps == 5000 and times in text
    assert "gradient norm is 0 in 1" in text and "2 gradient norms are not finite" in text
    # Adam divides a decay that is a part of the gradient: 1/(lr wd) is that of gradient descent then.
    of_loss = " ".join(diagnose(folder, decay=Decay("l2", 0.01)).remarks)
    assert "5e+05 steps of gradient descent (Adam has no such horizon) at the largest step size logged" in of_loss
    # The horizon of SGD with momentum is shorter by 1 - momentum, which its own state tells: one number is enough.
    formula = "(1 - momentum)/((1 - dampening) lr wd)"
    saved = f"from {name}: weight decay 0.01; decay horizon {formula} = 5e+04 steps at the full lr"
    assert str(diagnose(folder, decay=Decay("l2", 0.01, saved))).count("decay horizon") == 1
    # Where the decay is known, from there or as given, nobody has to look.
    assert "--optimizer-state" not in text and "--optimizer-state" in " ".join(diagnose(folder).remarks)
    # Nor where it was looked for there and one lam was not found.
    looked = diagnose(folder, decay=Decay("unknown", None, f"from {name}: weight decay 0, 0.01"))
    assert "--optimizer-state" not in " ".join(looked.remarks)
    (folder / "trainer_state.json").write_text("[")
    with pytest.raises(UnreadableError, match="trainer_state"):
        diagnose(folder)


@pytest.mark.parametrize(
    ("losses", "rose"),
    [([0.5, 9.25], True), ([9.25, 0.5], False), ([3.7231, 3.7234], False), ([0.5], False), ([], False)],
)
def test_a_training_loss_that_rose_is_remarked(tmp_path, make, losses, rose):
    folder = make.adapter(tmp_path, model(make, GOOD))
    log = [{"step": k, "loss": loss} for k, loss in enumerate(losses)]
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 20, "log_history": log}))
    (said,) = [remark for remark in diagnose(folder).remarks if remark.startswith("trainer's log")]
    assert said == f"trainer's log: 20 steps{'; the loss rose from 0.5 to 9.25' if rose else ''}"


def test_of_a_log_the_first_and_last_loss_of_training_and_the_largest_step_size_are_taken(tmp_path):
    # Up and down again, as with warmup; the last rows are an evaluation and the summary that ends a run.
    log = [{"loss": loss, "learning_rate": rate} for loss, rate in ((2.5, 1e-5), (1.75, 3e-5), (1.25, 2e-5))]
    log += [{"loss": float("nan"), "learning_rate": 1e-5}, {"eval_loss": 0.5}, {"train_loss": 1.8, "step": 4}]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"global_step": 4, "log_history": log}))
    found = read_trainer_state(tmp_path)
    assert (found.first_loss, found.last_loss, found.largest_step_size) == (2.5, 1.25, 3e-5)
    assert found.non_finite_losses == 1
    # A loss that is an integer is one.
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": [{"loss": 3}, {"step": 2}]}))
    found = read_trainer_state(tmp_path)
    assert (found.first_loss, found.last_loss, found.largest_step_size) == (3.0, 3.0, None)


def test_losses_of_a_log_that_are_not_finite_are_counted(tmp_path, make):
    """The Trainer hides those of training; one of an evaluation is all that is left to see then."""
    folder = make.adapter(tmp_path, model(make, GOOD))
    log = [{"loss": 2.0}, {"loss": 0.0}, {"eval_loss": float("nan")}, {"eval_loss": float("inf")}, {"eval_loss": 1.0}]
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 4, "log_history": log}))
    assert "trainer's log: 2 losses are not finite" in diagnose(folder).remarks


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ([(5, 0.1), (10, 0.2), (12, None), (15, np.nan), (20, np.nan)], "15; what was logged at step 10 is"),
        ([(5, float("inf")), (10, 0.2)], "5; nothing was logged before"),
        ([(None, np.nan), ("x", 0.2)], None),
        ([(5, 0.1)], None),
    ],
)
def test_where_a_run_broke_is_told(tmp_path, make, log, said):
    """Checkpoints up to the step before are those to go back to."""
    folder = make.adapter(tmp_path, model(make, GOOD))
    rows = [{"step": step} | ({} if norm is None else {"loss": 0.0, "grad_norm": norm}) for step, norm in log]
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 20, "log_history": rows}))
    found = [remark for remark in diagnose(folder).remarks if "the first that is not finite" in remark]
    assert len(found) == (said is not None)
    assert not found or found[0].startswith(f"trainer's log: the first that is not finite is of step {said}")


# ---------------------------------------------------------------------- reports
def everything(tmp_path, make):
    tensors = model(make, FULL, {3: lambda down, up: (down, 0 * up)})
    tensors |= {"classifier.weight": np.ones((2, 2)), "h.99\x1b[2Jq.lora_A.weight": np.ones((4, 4))}
    tensors |= make.linear('<script>alert("x")</script>\x1b[31m', *balanced(FULL[0], 77))
    return diagnose(make.adapter(tmp_path, tensors), decay=L2)


def test_no_report_says_global_or_lets_a_name_act(tmp_path, make):
    found = everything(tmp_path, make)
    page, text = diagnosis_page(found, "<script>"), str(found)
    for report in (page, text, json.dumps(found.to_dict(), default=str)):
        assert "global" not in report.lower() and "classifier.weight" in report
    assert "\x1b" not in page + text and "<script" not in page and "&lt;script&gt;" in page
    for loads in ("http://", "https://", "src=", "url(", "@import", "<link"):
        assert loads not in page
    assert page.count("<figure>") == len({layer.facts.family for layer in found.layers if layer.facts.spectral})


def test_the_page_draws_one_row_for_each_layer(tmp_path, make):
    page = diagnosis_page(diagnose(make.adapter(tmp_path, model(make, GOOD))), "mine")
    assert page.count("<title>h.") == LAYERS
    # Two singular values of four are zero up to the precision of the file: grey.
    assert page.count('fill="#e4e4e4"') == 2 * LAYERS


def test_the_colour_of_a_verdict_is_its_mood(tmp_path, make):
    found = diagnose(make.adapter(tmp_path, model(make, GOOD)), decay=L2)
    for kind in ("low_rank", "inconclusive", "non_finite", "untrained", "loud", "spiked", "not_stationary"):
        page = diagnosis_page(dataclasses.replace(found, kind=kind), "mine")
        (mood,) = re.findall(r'<div class="(verdict[^"]*)"><b>', page)
        rule = re.escape("." + ".".join(mood.split()))
        red, green = (int(text, 16) for text in re.search(rule + r" {[^#]*#(..)(..)..;", page).groups())
        # Green is good, red is bad, and amber, which has much of both, neither.
        assert (green > 1.5 * red, red > 1.5 * green) == (kind == "low_rank", kind not in ("low_rank", "inconclusive"))
        assert set(re.findall(r'fill="(#......)"/></g>', page)) == {"#5a6373"}
    marked = [dataclasses.replace(layer, findings=("loud",)) for layer in found.layers[:1]]
    page = diagnosis_page(dataclasses.replace(found, layers=(*marked, *found.layers[1:])), "mine")
    bars = re.findall(r'fill="(#......)"/></g>', page)
    assert bars.count("#b3261e") == 1 and bars.count("#5a6373") == LAYERS - 1


def test_layers_are_listed_by_the_number_that_is_asked_for_the_largest_first(tmp_path, make):
    rng = np.random.default_rng(11)
    tensors, weight, numbers = {}, {}, {}
    for k in range(LAYERS):
        down, up = balanced(rng.uniform(0.5, 2.0) * rng.uniform(0.3, 0.9) ** np.arange(R), k)
        tilt, W = rng.uniform(1.2, 3.0), rng.standard_normal((20, 16)) * rng.uniform(1, 5)
        down, up = down * tilt, up / tilt
        tensors |= make.linear(f"h.{k}.q", down, up)
        weight[f"model.h.{k}.q.weight"] = W
        sigma = np.linalg.svd(2 * up @ down, compute_uv=False)[:R]
        share, penalty = sigma / sigma.sum(), np.sum(down**2) + np.sum(up**2)
        numbers[f"h.{k}.q"] = {
            "spectral": sigma[0],
            "nuclear": sigma.sum(),
            "rank": -share @ np.log(share),
            "imbalance": np.linalg.norm(up.T @ up - down @ down.T) / penalty,
            "wasted": penalty / 2 - sigma.sum() / 2,
            "z": sigma[0],  # all are of one family
            "ratio": sigma[0] / np.linalg.norm(W, 2),
        }
    make.file(tmp_path / "base.safetensors", weight)
    found = diagnose(make.adapter(tmp_path / "a", tensors), base=tmp_path / "base.safetensors")
    assert set(SORT_KEYS) == set(numbers["h.0.q"])
    orders = set()
    for key in SORT_KEYS:
        listed = diagnosis_text(found, LAYERS, key).split(f"layers, by {key} first")[1]
        order = tuple(re.findall(r"^ *(h\.\d+\.q)", listed, re.MULTILINE))
        assert order == tuple(sorted(numbers, key=lambda name: -numbers[name][key]))
        orders.add(order)
    assert len(orders) == len(SORT_KEYS) - 1


def test_a_layer_just_below_the_median_has_no_minus_zero(tmp_path, make):
    found = diagnose(make.adapter(tmp_path, model(make, GOOD)))
    layer = dataclasses.replace(found.layers[0], z=-0.01)
    assert "0.0" in layer_rows([layer])[1] and "-0.0" not in layer_rows([layer])[1]


def test_the_page_says_what_each_column_is(tmp_path, make):
    page = diagnosis_page(diagnose(make.adapter(tmp_path, model(make, GOOD))), "mine")
    for column in ("rank:", "eff.:", "s1/s2:", "sr/s1:", "imbal.:", "z:", "/||W||:", "wasted:"):
        assert column in page


def test_a_decay_that_is_given_is_not_said_to_be_in_no_file(tmp_path, make):
    folder = make.adapter(tmp_path, make.linear("fc", *make.pair(0)))
    given = {
        Decay("l2", 0.01): "holds (lam = 0.01, as given)",
        Decay("none"): "fails (none, as given)",
        Decay("decoupled"): "fails (decoupled, as given)",
        Decay("decoupled", 0.01): "fails (decoupled, as given; its size 0.01 plays no part)",
    }
    for decay, words in given.items():
        assert f"premise l2 decay of the factors: {words}" in str(diagnose(folder, decay=decay))
    assert "premise l2 decay of the factors: not known (these files do not say)" in str(diagnose(folder))


@pytest.mark.parametrize(
    ("kind", "lam"), [("l3", None), ("l2", 0.0), ("l2", -1.0), ("none", 0.1), ("unknown", 0.1), ("l2", float("nan"))]
)
def test_decay_is_checked(kind, lam):
    with pytest.raises(ValueError, match=r"kind|lam"):
        Decay(kind, lam)


def test_outcomes_show_what_they_say_in_a_line(tmp_path, make):
    """A session showed every field of every layer; an adapter compared with itself has cosines 1."""
    folder = make.adapter(tmp_path / "good", model(make, GOOD))
    assert repr(diagnose(folder, decay=L2)).startswith("Diagnosis(low_rank: ")
    assert repr(read(folder)) == f"Adapter({str(read(folder).file.path)!r}: {LAYERS} layers, 0 other tensors)"
    assert repr(interfere([folder, folder])) == f"Interference(2 adapters: {LAYERS} shared modules, largest cosine 1)"
    lower = truncate(folder, tmp_path / "lower", rank=2)
    assert repr(lower).startswith(f"Truncation({str(tmp_path / 'lower')!r}: {LAYERS} layers, ||X - X'||_F = ")
    layer = next(iter(read(folder).layers()))
    assert "array" not in repr(layer) and "array" not in repr(facts_of(layer)) and layer != copy.copy(layer)


def test_documents_come_back_from_json_as_they_were(make, tmp_path):
    """Of rank 1 there is no second singular value to hold against the first, and JSON has no infinity."""
    layers = {f"layer.{k}.q": make.pair(k, r=1) for k in range(8)}
    tensors = {name: part for module, pair in layers.items() for name, part in make.linear(module, *pair).items()}
    one = make.adapter(tmp_path / "one", tensors, r=1)
    two = make.adapter(tmp_path / "two", tensors, r=1, lora_alpha=16)
    base = {f"{module}.weight": np.eye(9, 7, dtype=np.float32) for module in layers}
    make.file(tmp_path / "model.safetensors", base)
    decay = Decay("l2", 0.1)
    diagnosis = diagnose(one, base=tmp_path / "model.safetensors", decay=decay)
    truncation = truncate(two, tmp_path / "out", rank=1)
    explained = explain_decay("sgd", 0.1, 0.1, alpha=8, rank=1, steps=3)
    documents = [each.to_dict() for each in (diagnosis, truncation, interfere([one, two]), explained)]
    for document in documents:
        assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert all(layer["sigma_1_over_sigma_2"] is None for layer in documents[0]["layers"])
    documents[0]["decay"]["lam"] = documents[1]["layers"][0]["r"] = None
    assert decay.lam == 0.1 and truncation.layers[0].r == 1
