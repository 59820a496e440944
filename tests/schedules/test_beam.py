"""BeamLoRA's events: what pruning and each expansion do to the update and the loss, and the released run."""

from itertools import pairwise

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.adapters import SoftmaxGates
from lorasolve.objectives import Denoising
from lorasolve.schedules import Beam, Stage, beam
from lorasolve.schedules.beam import beyond_top_p, importance, kept_share, prune_and_expand, to_svd_gauge


def problem(r=6, tau=0.5, seed=0):
    return ls.Problem(Denoising(np.random.default_rng(seed).standard_normal((9, 8))), r, 0.0, SoftmaxGates(tau))


def parameters(p, seed=1):
    return np.random.default_rng(seed).standard_normal(p.size)


def pruned_update(p, theta, worst):
    """``X`` without the pruned terms, weights of the others unchanged."""
    A, B, z = p.split(theta)
    w = p.adapter.weights(z)
    w[worst] = 0.0
    return A @ np.diag(w) @ B.T


def test_top_p_prunes_the_element_that_crosses():
    scores = np.array([0.2, 4.0, 1.0, 2.8, 2.0])  # sorted: 4, 2.8, 2, 1, 0.2 of 10
    np.testing.assert_array_equal(beyond_top_p(scores, 0.95), [2, 0])
    np.testing.assert_array_equal(beyond_top_p(scores, 0.85), [4, 2, 0])
    assert beyond_top_p(scores, 1.0).size == 0
    kept = np.setdiff1d(np.arange(5), beyond_top_p(scores, 0.7))
    assert scores[kept].sum() <= 0.7 * scores.sum()
    # all equal: ties decide, one of eight goes
    np.testing.assert_array_equal(beyond_top_p(np.ones(8), 0.95), [7])


def test_threshold_rises_from_the_first_share_to_one():
    assert kept_share(0.95, 0.0) == pytest.approx(0.95)
    assert kept_share(0.95, 0.5) == pytest.approx(0.975)
    assert kept_share(0.95, 1.0) == kept_share(0.95, 2.0) == 1.0
    assert kept_share(0.95, 1 / 8) == pytest.approx(0.9519, abs=5e-5)  # the first of eight events, as documented
    with pytest.raises(ValueError, match="events"):
        Beam(events=1)  # its one event, the last, would keep everything


@pytest.mark.parametrize(("share", "pruned"), [(0.999, 1), (0.99, 2), (0.8, 3)])
def test_preserving_expansion_leaves_the_pruned_update_exactly(share, pruned):
    p = problem()
    theta = parameters(p)
    scores = importance(p, theta, "gate")
    worst = beyond_top_p(scores, share)[::-1][:3]
    assert len(worst) == pruned  # of six: where all are pruned or copied, any change of all logits is none
    settings = Beam(kept=0.8, expand="preserving", jitter=0.3)
    after = prune_and_expand(p, theta, theta, share, settings, np.random.default_rng(0))
    np.testing.assert_allclose(p.update(after), pruned_update(p, theta, worst), atol=1e-13)
    A, B, _ = p.split(after)
    assert np.linalg.matrix_rank(A) == p.rank  # the jitter separates the copies
    for k in worst:
        twin = next(j for j in range(p.rank) if j != k and np.array_equal(B[:, j], B[:, k]))
        apart, middle = np.linalg.norm(A[:, k] - A[:, twin]), np.linalg.norm(A[:, k] + A[:, twin])
        assert apart == pytest.approx(0.3 * middle, rel=1e-12)


def test_paper_expansion_makes_the_loss_jump_and_preserving_only_prunes():
    p = problem()
    theta = parameters(p)
    worst = beyond_top_p(importance(p, theta, "gate"), 0.8)[::-1][:3]
    jump = {}
    for expand in ("paper", "preserving", "reseed"):
        after = prune_and_expand(p, theta, theta, 0.8, Beam(expand=expand), np.random.default_rng(0))
        jump[expand] = np.linalg.norm(p.update(after) - pruned_update(p, theta, worst))
    assert jump["preserving"] < 1e-12
    assert jump["paper"] > 0.1


def test_paper_expansion_copies_the_snapshot_and_averages_the_logits():
    p = problem()
    theta, snapshot = parameters(p, 1), parameters(p, 2)
    scores = importance(p, theta, "gate")
    worst, best = int(np.argmin(scores)), int(np.argmax(scores))
    share = 1.0 - 0.5 * scores[worst] / scores.sum()  # only the last one crosses
    after = prune_and_expand(p, theta, snapshot, share, Beam(), np.random.default_rng(0))
    A, B, z = p.split(after)
    old_A, old_B, _ = p.split(snapshot)
    np.testing.assert_array_equal(A[:, worst], old_A[:, best])
    np.testing.assert_array_equal(B[:, worst], old_B[:, best])
    before = p.split(theta)[2]
    assert z[worst] == z[best] == 0.5 * (before[worst] + before[best])
    untouched = [k for k in range(p.rank) if k != worst]
    np.testing.assert_array_equal(A[:, untouched], p.split(theta)[0][:, untouched])


def test_reseeding_adds_the_direction_of_the_gradient():
    T = np.diag([5.0, 4.0, 3.0, 2.0])
    p = ls.Problem(Denoising(T), 2, 0.0, SoftmaxGates(1.0))
    A = np.zeros((4, 2))
    A[0, 0], A[0, 1] = 2.0, 0.1
    theta = p.join(A, A)
    after = prune_and_expand(p, theta, theta, 0.9, Beam(expand="reseed", importance="norm"), np.random.default_rng(0))
    new = p.split(after)
    np.testing.assert_array_equal(new[0][:, 1], 0.0)
    direction = new[1][:, 1] / np.linalg.norm(new[1][:, 1])
    np.testing.assert_allclose(np.abs(direction), [0, 1, 0, 0], atol=1e-12)  # the largest residual


def test_reseeding_looks_at_the_gradient_of_the_pruned_update_with_its_scaling():
    p = problem().replace(adapter=SoftmaxGates(0.5, alpha=18.0))
    theta = parameters(p)
    A, B, z = p.split(theta)
    weights = p.adapter.weights(z)
    worst = int(np.argmin(weights))
    after = prune_and_expand(p, theta, theta, 0.999, Beam(expand="reseed"), np.random.default_rng(0))
    left = np.delete(np.arange(p.rank), worst)
    X = 3.0 * (A[:, left] * weights[left]) @ B[:, left].T  # s = alpha/r
    direction = np.linalg.svd(p.objective.value_and_grad(X)[1])[2][0]
    new = p.split(after)[1][:, worst]
    np.testing.assert_allclose(np.abs(new @ direction), np.linalg.norm(new), rtol=1e-9)


def test_svd_gauge_keeps_the_update_and_prunes_optimally():
    p = problem(r=4)
    theta = parameters(p)
    X = p.update(theta)
    gauged = theta.copy()
    to_svd_gauge(p, gauged)
    np.testing.assert_allclose(p.update(gauged), X, atol=1e-13)
    values = np.linalg.svd(X, compute_uv=False)[:4]
    np.testing.assert_allclose(importance(p, gauged, "norm"), values, atol=1e-12)
    worst = [2, 3]
    error = np.linalg.norm(X - pruned_update(p, gauged, worst))
    assert error == pytest.approx(np.linalg.norm(values[2:]), rel=1e-12)  # Eckart-Young


def test_pruning_by_singular_values_leaves_the_best_update_of_a_lower_rank():
    p, settings = problem(r=4), Beam(importance="svd", expand="none")
    theta, snapshot = parameters(p), parameters(p, seed=2)
    P, s, Qt = np.linalg.svd(p.update(theta), full_matrices=False)
    kept = 1.0 - 0.5 * s[3] / s[:4].sum()  # the last one crosses it
    after = prune_and_expand(p, theta, snapshot, kept, settings, np.random.default_rng(0))
    np.testing.assert_allclose(p.update(after), (P[:, :3] * s[:3]) @ Qt[:3], atol=1e-12)
    assert prune_and_expand(p, theta, snapshot, 1.0, settings, np.random.default_rng(0)) is None


def test_reseeded_columns_have_the_lengths_of_the_best_ones():
    p = problem()
    theta = parameters(p)
    after = prune_and_expand(p, theta, theta, 0.3, Beam(expand="reseed", importance="norm"), np.random.default_rng(0))
    order = np.argsort(-importance(p, theta, "norm"))
    best, worst = order[:3], order[3:]  # half of them at most
    B = p.split(after)[1]
    lengths = [sorted(np.linalg.norm(B[:, columns], axis=0)) for columns in (best, worst)]
    np.testing.assert_allclose(*lengths, rtol=1e-12)


def test_each_snapshot_is_followed_by_an_event_that_keeps_more_than_the_one_before(monkeypatch):
    shares = []

    def noted(problem, theta, snapshot, share, *rest):
        shares.append(share)

    monkeypatch.setattr(beam, "prune_and_expand", noted)
    p = problem()
    stage, schedule = Stage(p, parameters(p)), Beam(events=4, kept=0.6)
    for _ in range(11):
        stage = schedule.transition(stage, np.random.default_rng(0))
    expected = [1.0 - 0.4 * (1.0 + np.cos(np.pi * k / 4)) / 2.0 for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(shares, expected, rtol=1e-12)
    # Eight boundaries, from the first to the last event, are in the first two thirds of a run.
    boundaries = [k for k in range(1, 1200) if schedule.is_boundary(k, 1200)]
    assert boundaries[:8] == [100, 200, 300, 400, 500, 600, 700, 800]


def released(T, theta, r, steps, lr, tau, events, first):
    """The released method with plain steps on ``||X - T||^2/2``, in numbers; returns the counts of pruned terms too."""
    m, n = T.shape
    A, B, z = theta[: m * r].reshape(m, r), theta[m * r : (m + n) * r].reshape(n, r), theta[(m + n) * r :]
    A, B, z, rng = A.copy(), B.copy(), z.copy(), np.random.default_rng(0)
    half, pruned = steps // (3 * events), []
    for t in range(steps):
        w = r * np.exp(z / tau) / np.sum(np.exp(z / tau))
        if t and t % half == 0 and t < 2 * events * half and (t // half) % 2:
            old_A, old_B = A.copy(), B.copy()
        elif t and t % half == 0 and t <= 2 * events * half:
            p = 1 - (1 - first) * (1 + np.cos(np.pi * (t // half) / 2 / events)) / 2
            order, total, worst = sorted(range(r), key=lambda k: -w[k]), 0.0, []
            for k in order:
                total += w[k]
                if p < 1 and total > p * r:
                    worst.insert(0, k)
            worst = worst[: r // 2]
            pruned.append(len(worst))
            for k, at in zip(worst, rng.permutation(len(worst)) if worst else ()):
                best = order[at]
                A[:, k], B[:, k] = old_A[:, best], old_B[:, best]
                z[k] = z[best] = (z[k] + z[best]) / 2
            w = r * np.exp(z / tau) / np.sum(np.exp(z / tau))
        G = A @ np.diag(w) @ B.T - T
        c = np.array([A[:, k] @ G @ B[:, k] for k in range(r)])
        slopes = w / tau * (c - w @ c / r)
        A, B, z = A - lr * G @ B @ np.diag(w), B - lr * G.T @ A @ np.diag(w), z - lr * slopes
    return np.concatenate([A.ravel(), B.ravel(), z]), pruned


@pytest.mark.parametrize(("first", "steps"), [(0.95, 48), (0.5, 48), (0.5, 61)])
def test_a_run_is_the_released_one_with_its_events_in_the_first_two_thirds(first, steps):
    T = np.random.default_rng(2).standard_normal((5, 4))
    p = ls.Problem(Denoising(T), 4, 0.0, SoftmaxGates(0.5))
    A, B = (np.random.default_rng(k).standard_normal((size, 4)) for k, size in enumerate(T.shape))
    method = ls.Method(ls.optimizers.GD(0.02), Beam(events=4, kept=first))
    end = ls.solve(p, method, (A, B), stop=ls.StoppingRule(steps, grad_tol=0.0))
    expected, pruned = released(T, p.join(A, B), 4, steps, 0.02, 0.5, 4, first)
    assert pruned == ([1, 1, 1, 0] if first == 0.95 else [2, 2, 1, 0])
    A, B, z = p.split(expected)
    np.testing.assert_allclose(end.A, A, atol=1e-12)
    np.testing.assert_allclose(end.B, B, atol=1e-12)
    np.testing.assert_allclose(end.X, A @ np.diag(p.adapter.weights(z)) @ B.T, atol=1e-12)


@pytest.mark.parametrize("expand", ["paper", "preserving", "reseed", "none"])
@pytest.mark.parametrize("kind", ["gate", "norm", "svd"])
def test_runs_with_every_option_and_stops_changing_after_the_last_event(expand, kind):
    p = problem(r=4)
    adapters, thetas = [], []

    def watch(now):
        adapters.append(now.problem)
        thetas.append(now.theta.copy())

    schedule = Beam(events=3, kept=0.6, importance=kind, expand=expand)
    end = ls.solve(p, ls.Method("adam", schedule), stop=ls.StoppingRule(600, 0.0), callback=watch)
    assert np.isfinite(end.fun)
    steps = [np.linalg.norm(b - a) for a, b in pairwise(thetas[402:])]
    assert max(steps) < 0.2  # plain Adam steps of 0.01 an entry, no event in the last third
    assert end.nit == 600


def test_refusals():
    with pytest.raises(ValueError, match="softmax_gates"):
        ls.solve(problem().replace(adapter="lora"), "gd+beam")
    with pytest.raises(ValueError, match="expand"):
        Beam(expand="papers")
    with pytest.raises(ValueError, match="importance"):
        Beam(importance="gates")
    for name, value in (("kept", 1.1), ("kept", -0.1), ("jitter", -0.01)):
        with pytest.raises(ValueError, match=name):
            Beam(**{name: value})
