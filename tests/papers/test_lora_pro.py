"""The projection on the tangent space, held against least squares over all pairs of factor steps."""

import numpy as np
import pytest

from lorasolve.papers import lora_pro
from lorasolve.papers.lora_pro import tangent_projection


# Ranks of A and B; the start of LoRA has B = 0.
@pytest.mark.parametrize("ranks", [(3, 3), (2, 3), (1, 2), (3, 0)])
def test_the_projection_is_the_best_fit_by_factor_steps(ranks):
    rng = np.random.default_rng(0)
    m, n, r = 6, 5, 3
    A, B = (rng.standard_normal((rows, k)) @ rng.standard_normal((k, r)) for rows, k in zip((m, n), ranks))
    G = rng.standard_normal((m, n))
    columns = []
    for k in range((m + n) * r):
        step = np.zeros((m + n) * r)
        step[k] = 1.0
        dA, dB = step[: m * r].reshape(m, r), step[m * r :].reshape(n, r)
        columns.append((dA @ B.T + A @ dB.T).ravel())
    design = np.array(columns).T
    best = design @ np.linalg.lstsq(design, G.ravel(), rcond=None)[0]
    np.testing.assert_allclose(tangent_projection(G, A, B).ravel(), best, atol=1e-12)


def found(**changed):
    """Return numbers that fulfil every claim, with some of them changed."""
    modes = {"sylvester": 1e-6, "symmetric": 1.1e-6, "zero": 1.2e-6}
    numbers = {
        "effects": {
            "modes": modes,
            "missed by LoRA": 0.9,
            "missed": 0.7,
        },
        "iterations": {"gd": 4000.0, "lora_pro": 30.0},
        "adaptive": {"projection": 0.93, "adam": 0.81, "lora_pro_adamw": 0.83, "lora_pro_adamw_full": 0.79},
        "losses": losses(),
    }
    return numbers | changed


def losses(efficient=(3e-4, 2e-4), inside=True):
    rows = {
        "adam": (1e-3, 9e-4),
        "lora_pro_adamw": efficient,
        "lora_pro_adamw_full": (2e-4, 1e-4),
        "full": (5e-4, 4e-4),
    }
    return {name: [(value, inside) for value in values] for name, values in rows.items()}


ONE_STEP = found()["effects"] | {"modes": dict.fromkeys(("sylvester", "symmetric", "zero"), 1e-6)}
UNDEFINED = found()["effects"] | {"modes": {"sylvester": 1e-6, "symmetric": float("nan"), "zero": 1e-6}}


@pytest.mark.parametrize(
    ("changed", "refuted"),
    [
        ({}, []),
        ({"effects": ONE_STEP}, [1]),  # one and the same X in every mode
        ({"effects": UNDEFINED}, [1]),
        ({"iterations": {"gd": 4000.0, "lora_pro": float("nan")}}, [2]),  # ended above
        ({"adaptive": found()["adaptive"] | {"adam": 0.92}}, [3]),
        ({"losses": losses((3e-4, 2e-3))}, [4]),  # better on one, worse on the other
        ({"losses": losses(inside=False)}, [4]),
    ],
)
def test_each_half_of_a_claim_is_judged(changed, refuted):
    claims = lora_pro.LoRAProClaims().judge(found(**changed))
    assert [k for k, claim in enumerate(claims) if not claim.holds] == refuted


def test_iterations_are_counted_where_the_loss_is_reached():
    assert np.isnan(list(lora_pro.iterations(10.0, 1e-10, 3).values())).all()
    assert 10 < lora_pro.iterations(10.0, 1e-10, 100)["lora_pro"] < 100


def test_what_is_left_of_a_step_is_the_product_of_the_steps_of_the_factors():
    """Sylvester's are the least-squares solution of minimal norm, that of the pseudo-inverse; the others are not."""
    rng = np.random.default_rng(0)
    T = rng.standard_normal((20, 16))
    U, V = (np.linalg.qr(rng.standard_normal((rows, 4)))[0] for rows in (20, 16))
    A, B = (F * np.sqrt([4.0, 2.0, 1.0, 0.25]) for F in (U, V))
    # In row-major order: the effect of dA and of dB^T.
    effect = np.hstack([np.kron(np.eye(20), B), np.kron(A, np.eye(16))])
    step = np.linalg.pinv(effect, rcond=1e-10) @ (A @ B.T - T).ravel()
    product = np.linalg.norm(step[:80].reshape(20, 4) @ step[80:].reshape(4, 16))
    moved = lora_pro.effects(1e-4)["modes"]
    assert moved["sylvester"] == pytest.approx(1e-4 * product / np.linalg.norm(effect @ step), rel=1e-6)
    assert min(moved["symmetric"], moved["zero"]) > 1.01 * moved["sylvester"]
