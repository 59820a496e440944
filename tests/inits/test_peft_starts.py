"""Starts against what PEFT 0.21.2 made of the same weight, gradient and inputs (``tests/data/peft_starts.json``).

The file was written by PEFT itself: ``get_peft_model`` on a linear layer of 5 inputs and 7 outputs, r = 2, alpha = 3,
with ``init_lora_weights`` "pissa", "olora" and "lora_ga" (the gradient attached to the layer), and its
``IncrementalPCA`` for EVA, in 32 bits and rounded to six digits. Their ``lora_B`` is our ``A``, ``lora_A`` our ``B^T``.
"""

import json
import pathlib

import numpy as np
import pytest
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve import inits
from lorasolve.adapters import LoRA
from lorasolve.objectives import Denoising, LinearFineTuning, Objective
from lorasolve.objectives.base import Shifted

MADE = json.loads((pathlib.Path(__file__).parents[1] / "data" / "peft_starts.json").read_text())
W0, G, Z = (np.array(MADE[name]) for name in ("W0", "G", "Z"))
RANK = 2
GA = [key for key in MADE if key.startswith("lora_ga")]


class Weighted(Objective):
    """A loss with PEFT's frozen weight, its gradient at it, and its inputs."""

    shape = W0.shape
    convex = True

    def __init__(self):
        self.W0, self.Z = W0, Z

    def value_and_grad(self, X):
        return float(np.vdot(G, X)) + 0.5 * float(np.vdot(X, X)), G + X


PROBLEM = ls.Problem(Weighted(), RANK, adapter=LoRA(alpha=MADE["alpha"]))


def signs(found, expected):
    """Return +-1 for each column, which singular vectors leave open."""
    return np.sign(np.sum(found * expected, axis=0))


@pytest.mark.parametrize("key", ["pissa", "olora", *GA])
def test_it_is_what_peft_makes(key):
    name, *settings = key.split()
    init = inits.registry.classes()[name](**dict(zip(("direction", "scale"), settings)))
    start = init.start(PROBLEM, np.random.default_rng(0))
    theirs_A, theirs_B = np.array(MADE[key]["lora_A"]).T, np.array(MADE[key]["lora_B"])
    for found, expected in ((start.A, theirs_B), (start.B, theirs_A)):
        flips = 1.0 if name == "olora" else signs(found, expected)
        # PEFT finds the largest singular value of W0 by a random sketch, too small by up to 2.3 % here.
        assert_allclose(found * flips, expected, atol=2e-5, rtol=3e-2 if "weight_svd" in key else 0.0)
    # Signs cancel in the product where both factors come from the same triplets, not in LoRA-GA.
    weight = np.array(MADE[key]["weight"])
    if name != "lora_ga":
        assert_allclose(W0 + start.merged, weight, atol=2e-5)
    assert_allclose(start.merged + PROBLEM.scale * start.A @ start.B.T, 0.0, atol=1e-14)


@pytest.mark.parametrize("whiten", [False, True])
def test_eva_has_the_principal_directions_of_the_inputs(whiten):
    start = inits.EVA(whiten=whiten).start(PROBLEM, np.random.default_rng(0))
    values = np.array(MADE["eva"]["singular_values"]) if whiten else np.ones(RANK)
    assert_allclose(start.B, (np.array(MADE["eva"]["components"]) / np.sqrt(values)[:, None]).T, atol=2e-5)
    assert not start.A.any()


@pytest.mark.parametrize("objective", [PROBLEM.plain().objective, Shifted(Weighted(), np.ones(W0.shape))])
def test_eva_sees_the_inputs_of_a_loss_behind_its_plain_twin_or_a_merged_update(objective):
    start = inits.EVA().start(PROBLEM.replace(objective=objective), np.random.default_rng(0))
    assert_allclose(start.B, np.array(MADE["eva"]["components"]).T, atol=2e-5)
    fast, plain = (ls.solve(PROBLEM, "gd~eva", engine=engine) for engine in ("compiled", "interpreted"))
    assert_allclose(plain.fun, fast.fun, rtol=1e-9)


def test_milora_moves_what_pissa_of_the_complementary_rank_leaves():
    minor = inits.MiLoRA().start(PROBLEM, np.random.default_rng(0))
    rest = ls.Problem(Weighted(), 5 - RANK, adapter=LoRA(alpha=MADE["alpha"]))
    major = inits.PiSSA().start(rest, np.random.default_rng(0))
    assert_allclose(minor.merged + major.merged, -W0, atol=1e-13)
    assert_allclose(np.linalg.norm(minor.merged, 2), np.linalg.svd(W0, compute_uv=False)[-RANK], rtol=1e-12)
    assert_allclose(minor.A.T @ minor.A, minor.B.T @ minor.B, atol=1e-13)


def test_the_first_step_from_lora_ga_moves_the_weight_along_the_leading_directions_of_the_gradient():
    start = inits.LoRAGA(scale="unit").start(PROBLEM, np.random.default_rng(0))
    moved = start.A @ start.A.T @ G + G @ start.B @ start.B.T
    U, _, Vt = np.linalg.svd(G)
    kept = U[:, : 2 * RANK] @ U[:, : 2 * RANK].T @ moved @ Vt[: 2 * RANK].T @ Vt[: 2 * RANK]
    assert_allclose(moved, kept, atol=1e-12)
    assert np.linalg.matrix_rank(moved) == 2 * RANK


def test_what_there_is_no_start_for_is_refused():
    bare = ls.Problem(Denoising(np.eye(4, 3)), 1)
    for init, words in ((inits.MiLoRA(), "frozen weight"), (inits.OLoRA(), "frozen weight"), (inits.EVA(), "inputs")):
        with pytest.raises(ValueError, match=words):
            ls.solve(bare, "gd", init)
    with pytest.raises(ValueError, match="2r singular vectors"):
        ls.solve(ls.Problem(Denoising(np.eye(4, 3)), 2), "gd", "lora_ga")
    assert ls.solve(ls.Problem(Denoising(np.eye(9, 4)), 2), "gd", "lora_ga").success
    with pytest.raises(ValueError, match="2r singular vectors of the gradient: 6 of 4"):
        ls.solve(ls.Problem(Denoising(np.eye(9, 4)), 3), "gd", "lora_ga")
    with pytest.raises(ValueError, match="weight_svd"):
        ls.solve(bare, "gd", inits.LoRAGA(scale="weight_svd"))
    low = np.ones((4, 3))
    with pytest.raises(ValueError, match="W0 is zero"):
        ls.solve(ls.Problem(LinearFineTuning(0.0 * low, np.eye(3), low), 1), "gd", "olora")
    with pytest.raises(ValueError, match="are zero"):
        ls.solve(ls.Problem(LinearFineTuning(np.eye(4, 3) * [1, 1, 0], np.eye(3), low), 1), "gd", "milora")
    rank_one = np.outer([0.3, -1.1, 0.7, 2.3], [1.3, 0.1, -0.6])  # what is left of it is 1e-17
    for unit in (1e-30, 1.0, 1e30):
        problem = ls.Problem(LinearFineTuning(unit * rank_one, np.eye(3), low), 2)
        assert "are zero" in inits.MiLoRA().refusal(problem)
        whole = LinearFineTuning(unit * (rank_one + np.eye(4, 3)), np.eye(3), low)
        assert inits.MiLoRA().refusal(ls.Problem(whole, 2)) is None
    frozen = ls.Problem(Weighted(), RANK, adapter=LoRA(frozen="A"))
    with pytest.raises(ValueError, match="factor A is frozen"):
        ls.solve(frozen, "gd", "eva")
    with pytest.raises(ValueError, match="vary in at least 2"):
        ls.solve(ls.Problem(LinearFineTuning(low, np.ones((3, 5)), np.ones((4, 5))), 2), "gd", "eva")
    for settings in ({"direction": "up"}, {"scale": "x"}, {"gamma": 0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            inits.LoRAGA(**settings)
