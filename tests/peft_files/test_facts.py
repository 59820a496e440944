"""Facts about a layer against dense matrices, closed forms and the theorems they come from."""

import math

import numpy as np
import pytest

from lorasolve.peft_files import LayerFactors, facts_of
from lorasolve.peft_files.facts import family_of


def layer(A, B, scale=1.0, kind="linear", roundoff=2.0**-24):
    return LayerFactors("m.layers.3.q", np.asarray(A, float), np.asarray(B, float), scale, kind, False, roundoff)


def with_spectrum(sigma, m=12, n=10, seed=0):
    """Return balanced factors of an update with given singular values."""
    rng = np.random.default_rng(seed)
    P = np.linalg.qr(rng.standard_normal((m, len(sigma))))[0]
    Q = np.linalg.qr(rng.standard_normal((n, len(sigma))))[0]
    return P * np.sqrt(sigma), Q * np.sqrt(sigma)


def test_norms_ranks_and_energy_of_a_known_spectrum():
    sigma = np.array([4.0, 2.0, 1.0, 1e-9])
    facts = facts_of(layer(*with_spectrum(sigma)))
    np.testing.assert_allclose(facts.sigma, sigma, rtol=1e-12, atol=1e-14)
    assert facts.spectral == pytest.approx(4) and facts.nuclear == pytest.approx(7)
    assert facts.frobenius == pytest.approx(math.sqrt(21)) and facts.stable_rank == pytest.approx(21 / 16)
    assert facts.rank == 3 and not facts.full_rank and facts.spike == pytest.approx(2)
    share = np.array([4, 2, 1]) / 7
    assert facts.effective_rank == pytest.approx(math.exp(-np.sum(share * np.log(share))))
    # 16/21 = 0.76, 20/21 = 0.95238, 1.
    assert [facts.energy_rank(level) for level in (0.7, 0.76, 0.77, 0.95, 0.96, 0.9999, 1.0)] == [1, 1, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("seed", range(5))
def test_random_factors_against_the_dense_matrix(seed):
    rng = np.random.default_rng(seed)
    m, n, r = rng.integers(1, 15, 3)
    A, B, scale = rng.standard_normal((m, r)), rng.standard_normal((n, r)), -rng.random() - 0.1
    facts = facts_of(layer(A, B, scale))
    sigma = np.linalg.svd(scale * A @ B.T, compute_uv=False)
    np.testing.assert_allclose(facts.sigma, sigma[: len(facts.sigma)], rtol=1e-9, atol=1e-12)
    assert facts.penalty == pytest.approx((np.sum(A**2) + np.sum(B**2)) / 2)
    # tr A^T A + tr B^T B >= 2 ||A B^T||_*, and the difference does not depend on the scaling.
    assert facts.wasted == pytest.approx(facts.penalty - np.linalg.norm(A @ B.T, "nuc"), abs=1e-9)
    assert facts.imbalance == pytest.approx(np.linalg.norm(A.T @ A - B.T @ B) / (2 * facts.penalty))


def test_a_share_of_the_energy_is_one() -> None:
    facts = facts_of(LayerFactors("m", np.eye(3), np.eye(3), 1.0, "linear", False, 0.0))
    for share in (-0.1, 1.1, np.nan, None, "0.9"):
        with pytest.raises((ValueError, TypeError), match=r"share: expected a finite number in \[0, 1\]"):
            facts.energy_rank(share)


@pytest.mark.parametrize(("share", "vanished"), [(0.9, True), (1.1, False)])
def test_a_layer_has_vanished_below_a_share_of_what_each_column_has_at_the_start(share, vanished):
    """At PEFT's start a column has the penalty 1/6; the limit is 1e-8 for each of the four."""
    A, B = with_spectrum([1.0, 1.0, 1.0, 1.0])  # of the penalty 4
    size = math.sqrt(share * 1e-8)
    facts = facts_of(layer(size * A, size * B))
    assert facts.penalty == pytest.approx(4e-8 * share)
    assert (facts.vanished, facts.rank, facts.full_rank) == (vanished, 0 if vanished else 4, not vanished)


def test_a_layer_with_one_dead_column_is_not_empty():
    A, B = with_spectrum([3.0, 1.0, 0.5])
    A[:, 1] = B[:, 1] = 0.0
    facts = facts_of(layer(A, B))
    assert (facts.dead_columns, facts.empty, facts.rank) == (1, False, 2)
    start = facts_of(layer(0.0 * A, B))
    assert start.untrained and not start.empty
    nothing = facts_of(layer(0.0 * A, 0.0 * B))
    assert nothing.empty and not nothing.untrained


def test_balanced_factors_waste_nothing_and_others_do():
    A, B = with_spectrum([3.0, 1.0, 0.5])
    facts = facts_of(layer(A, B))
    assert facts.imbalance == pytest.approx(0, abs=1e-14) and facts.wasted == pytest.approx(0, abs=1e-13)
    stretched = facts_of(layer(2 * A, B / 2))
    np.testing.assert_allclose(stretched.sigma, facts.sigma)
    # The penalty of (t A, B/t) with balanced A, B is (t^2 + 1/t^2)/2 of theirs.
    assert stretched.wasted == pytest.approx(4.5 * (4.25 / 2 - 1))
    assert stretched.imbalance == pytest.approx((4 - 1 / 4) * math.sqrt(10.25) / (4.25 * 4.5))


def test_the_wasted_penalty_bounds_the_objective_for_any_data():
    """``L(A, B) - L(balanced) = lam w`` for a loss that sees only the product, so ``L - min L >= lam w``."""
    rng = np.random.default_rng(3)
    target, lam, scale = rng.standard_normal((8, 6)), 0.3, 2.0
    A, B = rng.standard_normal((8, 3)), rng.standard_normal((6, 3))

    def L(A, B):
        return np.sum((scale * A @ B.T - target) ** 2) / 2 + lam / 2 * (np.sum(A**2) + np.sum(B**2))

    P, s, Qt = np.linalg.svd(A @ B.T)
    balanced = P[:, :3] * np.sqrt(s[:3]), Qt[:3].T * np.sqrt(s[:3])
    assert L(A, B) - L(*balanced) == pytest.approx(lam * facts_of(layer(A, B, scale)).wasted)
    # min F = sum over the singular values of the target of the scalar problem, in closed form.
    slope = lam / scale
    values = np.linalg.svd(target, compute_uv=False)
    kept = np.maximum(values - slope, 0)
    least = np.sum(np.minimum(values, slope) ** 2) / 2 + slope * kept.sum()
    assert L(A, B) - least >= lam * facts_of(layer(A, B, scale)).wasted


def test_states():
    A, B = with_spectrum([1.0, 0.5])
    untrained, empty = facts_of(layer(0 * A, B)), facts_of(layer(0 * A, 0 * B))
    assert untrained.untrained and not untrained.empty and untrained.imbalance is None and untrained.rank == 0
    assert empty.empty and not empty.untrained and empty.dead_columns == 2 and empty.effective_rank == 0
    assert empty.wasted == 0 and untrained.wasted == pytest.approx(untrained.penalty)
    apart = facts_of(layer(A * [1, 0], B * [0, 1]))  # neither factor is zero, and their product is
    assert apart.untrained and apart.wasted == pytest.approx(apart.penalty)
    padded = facts_of(layer(np.c_[A, 0 * A], np.c_[B, 0 * B]))
    assert padded.dead_columns == 2 and padded.rank == 2 and not padded.full_rank
    for facts in (untrained, empty):
        assert facts.energy_rank(0.9) == 0 and facts.tail == 0 and not facts.full_rank


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("r", [4, 64])
def test_columns_that_cancel_up_to_rounding_are_no_update(dtype, r):
    """``A B^T = 0`` by orthogonal halves, as PEFT starts with ``"orthogonal"``; a step away it is one."""
    rng = np.random.default_rng(r)
    Q = np.linalg.qr(rng.standard_normal((r, r)))[0]
    A, B = (0.1 * rng.standard_normal((200, r // 2)) @ half.T for half in (Q[:, ::2], Q[:, 1::2]))
    stored = [np.asarray(factor, dtype) for factor in (A, B)]
    facts = facts_of(layer(*stored, scale=2.0, roundoff=np.finfo(dtype).eps / 2))
    assert 0.0 < facts.spectral <= facts.rounding and facts.untrained
    assert facts.rank == facts.effective_rank == 0 and not facts.full_rank and facts.imbalance is None
    # The bound on what balanced factors save is that of the stored numbers all the same.
    assert facts.wasted == pytest.approx(facts.penalty - facts.nuclear / 2.0, rel=1e-15)
    moved = facts_of(layer(A, B + 0.2 * A, scale=2.0, roundoff=np.finfo(dtype).eps / 2))
    assert not moved.untrained and moved.rank == r // 2


def test_the_range_of_the_default_start():
    """PEFT draws lora_A uniformly with ``kaiming_uniform(a=sqrt 5)``: within ``1/sqrt(in)``."""
    B = np.random.default_rng(0).uniform(-1, 1, (400, 8)) / math.sqrt(400)
    assert 0.99 < facts_of(layer(np.zeros((5, 8)), B)).start_range <= 1
    assert facts_of(layer(np.zeros((5, 8)), 1.5 * B)).start_range > 1


def test_rounding_is_not_rank():
    """Factors of rank 2 stored in bfloat16 have four directions, two of which are rounding."""
    A, B = with_spectrum([1.0, 0.7], 300, 200)
    mix = np.random.default_rng(1).standard_normal((2, 4))
    A, B = A @ mix, B @ np.linalg.pinv(mix).T
    rounded = [(x.astype("f4").view(np.uint32) & 0xFFFF0000).view("f4") for x in (A, B)]
    facts = facts_of(layer(*rounded, roundoff=2.0**-8))
    assert facts.sigma[2] / facts.sigma[0] > 1e-6 and facts.rank == 2 and not facts.full_rank


def test_a_small_value_is_a_full_rank_only_where_rounding_is_smaller():
    """2e-3 of the largest is below what bfloat16 may have made of nothing, and far above that of float32."""
    A, B = with_spectrum([1.0, 2e-3])
    for roundoff, rank in ((2.0**-8, 1), (2.0**-24, 2)):
        facts = facts_of(layer(A, B, roundoff=roundoff))
        assert facts.rank == rank and facts.full_rank is (rank == 2)


def test_families():
    assert family_of("h.12.attn.q_proj") == "h.*.attn.q_proj" == family_of("h.3.attn.q_proj")
    assert family_of("h.1.mlp.experts[17]") == "h.*.mlp.experts[*]"
    assert family_of("h.1.attn.v_proj") != family_of("h.1.attn.q_proj")
    # A number within a word is another layer's work, not its depth: self and cross attention, both layers of an MLP.
    assert family_of("down_blocks_0_attentions_11_attn1_to_q") == "down_blocks_*_attentions_*_attn1_to_q"
    assert family_of("h.3.mlp.fc1") == "h.*.mlp.fc1" and family_of("7.fc2") == "*.fc2"
