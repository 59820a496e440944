"""What the closed forms of papers are given wrongly: refused by the argument's name, with what is accepted."""

import math

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.objectives import Denoising, TwoLayer
from lorasolve.papers import (
    beam_lora,
    expressive_power,
    init_bias,
    learns_less,
    lora_ggpo,
    lora_ntk,
    lora_pro,
    rac_lora,
    sora,
)

EYE = np.eye(3)
PAIR = learns_less.Pair(EYE, 2.0 * EYE, EYE, EYE)
PROBLEM = ls.Problem(Denoising(EYE), 2, 0.5)

# Functions, and what they are given rightly.
FORMS = [
    (rac_lora.sketch_eigenvalue, {"shape": (5, 4), "rank": 2, "side": "left", "probability": 0.5}),
    (rac_lora.isotropic_factor, {"eigenvalue": 0.5, "step": 0.5, "smoothness": 1.0}),
    (
        rac_lora.stationarity_bound,
        {"gap": 1.0, "eigenvalue": 0.5, "step": 0.5, "blocks": 3, "smoothness": 1.0, "noise": 0.1},
    ),
    (
        rac_lora.gap_bound,
        {"gap": 1.0, "eigenvalue": 0.5, "step": 0.5, "blocks": 3, "smoothness": 1.0, "pl": 0.5, "noise": 0.1},
    ),
    (
        rac_lora.noisy_isotropic_step,
        {"gap": 1.0, "eigenvalue": 0.5, "step": 0.5, "smoothness": 1.0, "noise": 0.1},
    ),
    (
        rac_lora.reshuffled_epoch,
        {"gap": 1.0, "eigenvalue": 0.5, "step": 0.5, "samples": 3, "smoothness": 1.0, "noise": 0.1},
    ),
    (
        rac_lora.federated_mean_gap,
        {
            "gap": 1.0,
            "eigenvalue": 0.5,
            "step": 0.5,
            "local": 2,
            "clients": 4,
            "taking_part": 2,
            "smoothness": 1.0,
            "noise": 0.1,
        },
    ),
    (
        rac_lora.federated_block,
        {"gradients": [lambda W: W], "W": EYE, "A": EYE[:, :2], "step": 0.5, "local": 2},
    ),
    (learns_less.Pair, {"W_s": EYE, "W_t": EYE, "C_s": EYE, "C_t": EYE}),
    (PAIR.front_point, {"mu": 1.0}),
    (PAIR.least_forgetting, {"target_loss": 1.0}),
    (PAIR.best_of_rank, {"rank": 1}),
    (PAIR.sample, {"count": 4, "noise": 0.1, "rng": 0}),
    (learns_less.isotropic_pair, {"m": 3, "n": 4, "rank": 2, "size": 1.0, "rng": 0}),
    (learns_less.isotropic_forgetting, {"energy": 2.0, "target_loss": 1.0}),
    (learns_less.r90, {"X": EYE, "share": 0.5}),
    (learns_less.stable_rank, {"X": EYE}),
    (learns_less.gaussian_r90_fraction, {"share": 0.5, "power": 1}),
    (learns_less.spectrum_shift, {"n": 4, "c": 0.5}),
    (learns_less.first_step_size, {"m": 4, "rank": 2, "step": 0.5, "scale": 2.0, "std": 0.5}),
    (lora_ntk.gap_certificate, {"objective": Denoising(EYE), "X": EYE, "lam": 0.5}),
    (lora_ntk.reduce_rank, {"X": EYE, "features": np.ones((2, 3, 3)), "tol": 1e-9}),
    (lora_ntk.rank_bound, {"count": 3}),
    (lora_ntk.sufficient_rank, {"count": 3}),
    (lora_ntk.random_perturbation, {"size": 3, "norm": 1.0, "rng": 0}),
    (
        lora_ntk.solve_landscape,
        {"problem": PROBLEM, "perturbation": np.eye(6), "rng": 0, "std": 1.0, "max_iter": 3},
    ),
    (lora_ntk.degenerate_optimum, {"shape": (4, 3), "rank": 2, "count": 5, "lam": 0.1, "rng": 0}),
    (beam_lora.term_norms, {"A": EYE, "B": EYE}),
    (beam_lora.dispersion, {"importances": np.ones(3)}),
    (beam_lora.in_gauge, {"X": EYE, "Q": EYE}),
    (beam_lora.hadamard, {"r": 2}),
    (beam_lora.pruning_error, {"A": EYE, "B": EYE, "removed": 1}),
    (beam_lora.gated_decay, {"X": EYE, "lam": 0.5, "gates": 3}),
    (beam_lora.svd_gauge, {"A": EYE, "B": EYE}),
    (lora_ggpo.curvature_at_zero_residual, {"A": EYE, "B": EYE, "scale": 1.0}),
    (lora_ggpo.largest_curvature, {"problem": PROBLEM, "A": EYE[:, :2], "B": EYE[:, :2]}),
    (sora.schatten_half_penalty, {"X": EYE, "gate_penalty": 0.5, "lam": 0.5}),
    (sora.half_threshold, {"sigma": np.ones(3), "weight": 0.5}),
    (sora.half_threshold_optimum, {"T": EYE, "gate_penalty": 0.5, "lam": 0.5, "rank": 2}),
    (sora.dead_zone, {"xi": 1.0}),
    (lora_pro.tangent_projection, {"G": EYE, "A": EYE[:, :2], "B": EYE[:, :2]}),
    (init_bias.wilson, {"hits": 2, "runs": 5, "z": 1.96}),
    (expressive_power.mean_squared_error_bounds, {"residual": EYE, "second_moment": EYE}),
]
# None of the forms takes these, be it in place of a number, a whole number, an array or a text.
NEVER = ["three", None, True, math.nan, 1.0 + 1.0j, [[1.0], [2.0, 3.0]], np.full((3, 3), math.nan), np.ones((0, 3))]


ARGUMENTS = [
    pytest.param(form, given, argument, id=f"{form.__name__}-{argument}") for form, given in FORMS for argument in given
]


@pytest.mark.parametrize(("form", "given", "argument"), ARGUMENTS)
def test_what_is_no_number_or_matrix_is_refused_by_name(form, given, argument):
    form(**given)
    optional = form is sora.half_threshold_optimum and argument == "rank"
    for wrong in NEVER:
        if wrong is None and optional:
            continue
        with pytest.raises((TypeError, ValueError), match=rf"^{argument}\b"):
            form(**(given | {argument: wrong}))


@pytest.mark.parametrize(
    ("form", "changed"),
    [
        (rac_lora.sketch_eigenvalue, {"rank": 0}),
        (rac_lora.sketch_eigenvalue, {"rank": 5}),
        (rac_lora.sketch_eigenvalue, {"probability": 1.5}),
        (rac_lora.isotropic_factor, {"eigenvalue": -0.5}),
        (rac_lora.isotropic_factor, {"smoothness": 0.0}),
        (rac_lora.stationarity_bound, {"step": 1.5}),
        (rac_lora.stationarity_bound, {"blocks": 0}),
        (rac_lora.gap_bound, {"pl": 2.0}),
        (rac_lora.gap_bound, {"gap": -1.0}),
        (rac_lora.reshuffled_epoch, {"samples": 0}),
        (rac_lora.federated_mean_gap, {"clients": 0}),
        (rac_lora.federated_mean_gap, {"taking_part": 5}),
        (rac_lora.federated_block, {"gradients": []}),
        (rac_lora.federated_block, {"A": np.ones((2, 2))}),
        (learns_less.Pair, {"C_t": np.ones((2, 2))}),
        # Second moments of fewer samples than inputs, and of none.
        (learns_less.Pair, {"C_t": np.ones((3, 3))}),
        (learns_less.Pair, {"C_s": np.triu(np.ones((3, 3)))}),
        (PAIR.best_of_rank, {"rank": 4}),
        (PAIR.front_point, {"mu": 0.0}),
        (learns_less.isotropic_pair, {"rank": 4}),
        (learns_less.isotropic_forgetting, {"energy": 0.0}),
        (learns_less.isotropic_forgetting, {"target_loss": 3.0}),
        (learns_less.r90, {"share": 1.5}),
        (learns_less.gaussian_r90_fraction, {"share": 1.0}),
        (learns_less.spectrum_shift, {"c": -1.0}),
        (learns_less.first_step_size, {"rank": -1}),
        (lora_ntk.gap_certificate, {"X": np.ones((2, 3))}),
        (lora_ntk.reduce_rank, {"features": np.ones((2, 3, 2))}),
        (lora_ntk.degenerate_optimum, {"rank": 4}),
        (beam_lora.term_norms, {"B": np.ones((3, 2))}),
        (beam_lora.pruning_error, {"removed": 4}),
        (beam_lora.in_gauge, {"Q": np.ones((3, 2))}),
        (beam_lora.in_gauge, {"Q": np.eye(4)}),
        (beam_lora.in_gauge, {"Q": 2.0 * EYE}),
        # Two columns make no matrix of rank three.
        (beam_lora.in_gauge, {"Q": np.eye(2)}),
        (beam_lora.gated_decay, {"gates": 0}),
        # Two terms make no matrix of rank three.
        (beam_lora.gated_decay, {"gates": 2}),
        (lora_ntk.gap_certificate, {"objective": TwoLayer.example(np.random.default_rng(0))}),
        (sora.schatten_half_penalty, {"lam": -1.0}),
        (sora.half_threshold, {"weight": -1.0}),
        (sora.dead_zone, {"xi": 0.0}),
        (lora_pro.tangent_projection, {"A": np.ones((2, 2))}),
        (init_bias.wilson, {"hits": 6}),
        (init_bias.wilson, {"runs": 0}),
        (expressive_power.mean_squared_error_bounds, {"second_moment": np.ones((2, 2))}),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(form, changed):
    given = next(given for other, given in FORMS if other == form)
    (argument,) = changed
    with pytest.raises(ValueError, match=rf"^{argument}\b.*(expected|is empty)"):
        form(**(given | changed))


def test_zeros_have_no_rank_and_no_dispersion_and_lose_nothing():
    assert learns_less.stable_rank(np.zeros((3, 2))) == 0.0
    assert beam_lora.dispersion(np.zeros(3)) == 0.0
    assert beam_lora.pruning_error(EYE, np.zeros((4, 3)), 2) == 0.0
    assert learns_less.stable_rank(1e-200 * np.diag([3.0, 2.0, 1.0])) == pytest.approx(14 / 9)
    assert learns_less.r90(1e-200 * np.diag([3.0, 2.0, 1.0])) == 2
