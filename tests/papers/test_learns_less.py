"""LoRA learns less: the front in closed form, ranks and step sizes by hand, and how its claims are judged."""

import numpy as np
import pytest
from scipy.optimize import minimize

import lorasolve as ls
from lorasolve.optimizers import GD
from lorasolve.papers import learns_less as lf
from lorasolve.problem import full_fine_tuning


def general_pair(m=7, n=6, seed=0):
    rng = np.random.default_rng(seed)
    moments = []
    for _ in range(2):
        root = rng.standard_normal((n, 2 * n))
        moments.append(root @ root.T / (2 * n) + 0.1 * np.eye(n))
    return lf.Pair(rng.standard_normal((m, n)), rng.standard_normal((m, n)), *moments)


@pytest.mark.parametrize("mu", [0.01, 1.0, 30.0])
def test_front_points_minimise_the_weighted_sum(mu):
    pair = general_pair()
    W = pair.front_point(mu)
    G = (W - pair.W_t) @ pair.C_t + mu * (W - pair.W_s) @ pair.C_s
    assert np.linalg.norm(G) < 1e-12 * (1 + mu)

    def total(w):
        return pair.target_loss(w.reshape(W.shape)) + mu * pair.forgetting(w.reshape(W.shape))

    best = minimize(total, np.zeros(W.size), method="BFGS", options={"gtol": 1e-9})
    assert total(W.ravel()) == pytest.approx(best.fun, abs=1e-8)


def test_nothing_lies_in_front_of_the_front():
    pair = general_pair()
    rng = np.random.default_rng(1)
    for _ in range(300):
        W = pair.W_s + rng.uniform(0, 1.5) * (pair.W_t - pair.W_s)
        W += 0.3 * rng.standard_normal() * rng.standard_normal((7, 6))
        assert pair.forgetting(W) >= pair.least_forgetting(pair.target_loss(W)) - 1e-9
    for mu in (0.1, 2.0):
        W = pair.front_point(mu)
        assert pair.forgetting(W) == pytest.approx(pair.least_forgetting(pair.target_loss(W)), rel=1e-8)
    assert pair.least_forgetting(pair.target_loss(pair.W_s)) == 0.0


@pytest.mark.parametrize("rank", [1, 3])
def test_best_update_of_a_rank_agrees_with_descent(rank):
    pair = general_pair()
    X, loss = pair.best_of_rank(rank)
    assert np.linalg.matrix_rank(X) == rank
    assert pair.target_loss(pair.W_s + X) == pytest.approx(loss, rel=1e-11)

    def function(z):
        A, B = z[: 7 * rank].reshape(7, rank), z[7 * rank :].reshape(6, rank)
        return pair.target_loss(pair.W_s + A @ B.T)

    rng = np.random.default_rng(0)
    ends = [minimize(function, rng.standard_normal(13 * rank), method="BFGS").fun for _ in range(4)]
    assert min(ends) == pytest.approx(loss, abs=1e-6)
    assert min(ends) >= loss - 1e-10


@pytest.mark.parametrize("rank", [1, 2, 4, 8])
def test_isotropic_trade_off(rank):
    rng = np.random.default_rng(0)
    D = rng.standard_normal((20, 16))
    pair = lf.Pair(np.zeros((20, 16)), D, np.eye(16), np.eye(16))
    X, loss = pair.best_of_rank(rank)
    energy = 0.5 * np.sum(D * D)
    front, lora = lf.isotropic_forgetting(energy, loss)
    assert pair.forgetting(X) == pytest.approx(lora, rel=1e-12)
    assert pair.least_forgetting(loss) == pytest.approx(front, rel=1e-9)
    assert front < lora
    s = 1 - np.sqrt(loss / energy)
    assert pair.target_loss(s * D) == pytest.approx(loss, rel=1e-12)
    assert pair.forgetting(s * D) == pytest.approx(front, rel=1e-12)


def test_full_fine_tuning_is_gradient_descent_on_the_update():
    for m, n in ((4, 6), (6, 4)):
        pair = general_pair(m, n)
        objective = pair.sample(50, 0.5, np.random.default_rng(1))
        problem, start = full_fine_tuning(objective)
        end = ls.solve(problem, GD(0.05), start, stop=ls.StoppingRule(40, 0.0))
        X = np.zeros((m, n))
        for _ in range(40):
            X = X - 0.05 * objective.value_and_grad(X)[1]
        np.testing.assert_allclose(end.X, X, atol=1e-12)


def test_gaussian_reference():
    assert lf.gaussian_r90_fraction() == pytest.approx(0.5098, abs=5e-5)
    assert lf.gaussian_r90_fraction(power=1) == pytest.approx(0.672, abs=1e-3)
    X = np.random.default_rng(0).standard_normal((400, 400))
    assert lf.r90(X) / 400 == pytest.approx(0.5098, abs=0.01)


def test_rank_measures_by_hand():
    X = np.diag([3.0, 2.0, 1.0, 0.0])
    assert lf.r90(X) == 2  # 9 + 4 = 13 of 14
    assert lf.r90(X, 0.5) == 1
    assert lf.stable_rank(X) == pytest.approx(14 / 9)
    assert lf.r90(np.zeros((3, 3))) == 0


@pytest.mark.parametrize(("c", "law"), [(1e-3, 0), (1e-2, 0), (1.0, 1), (2.0, 1)])
def test_spectrum_laws(c, law):
    rng = np.random.default_rng(0)
    n = 400
    A, B = rng.standard_normal((2, n, n))
    moved = np.mean(np.abs(np.linalg.svd(A + c * B, compute_uv=False) - np.linalg.svd(A, compute_uv=False)))
    predicted = lf.spectrum_shift(n, c)[law]
    # small c: a mean of n values |N(0, 1)| c, relative standard error sqrt(pi/2 - 1)/sqrt(n) = 0.038
    assert moved == pytest.approx(predicted, rel=3 * 0.038)


@pytest.mark.parametrize(("rank", "scale"), [(4, 2.0), (16, 0.5), (64, 1.0)])
def test_first_step_size(rank, scale):
    rng = np.random.default_rng(0)
    m, n = 32, 24
    G = rng.standard_normal((m, n))
    ratios = []
    for _ in range(400):
        A = 0.3 * rng.standard_normal((m, rank))
        ratios.append(np.sum((0.01 * scale**2 * A @ (A.T @ G)) ** 2) / np.sum(G * G))
    error = np.std(ratios) / np.sqrt(len(ratios))
    assert abs(np.mean(ratios) - lf.first_step_size(m, rank, 0.01, scale, 0.3) ** 2) < 4 * error


def test_harness_runs_variants_and_keeps_the_best_step():
    rng = np.random.default_rng(0)
    pair = lf.isotropic_pair(8, 10, 2, 1.5, rng)
    objective = pair.sample(60, 0.1, rng)
    course = lf.run_course(pair, "LoRA", ls.Problem(objective, 2), step_sizes=[1e-4, 0.1], max_iter=400)
    assert course.step_size == 0.1
    assert course.checkpoints[0].iteration == 0 and course.checkpoints[0].forgetting == 0.0
    assert course.end.target_loss < 0.1 * course.checkpoints[0].target_loss
    rac = lf.run_course(pair, "RAC", ls.Problem(objective, 2), max_iter=400, method=ls.Method(GD(0.5), "rac_chain"))
    assert rac.end.target_loss < 0.1 * rac.checkpoints[0].target_loss
    assert all(point.behind_front > -1e-9 for point in [*course.checkpoints, *rac.checkpoints])
    assert course.forgetting_at(course.end.target_loss) is not None and course.forgetting_at(0.0) is None


def test_the_first_step_by_how_the_scale_depends_on_the_rank():
    """As said there: falling, falling like 1/sqrt(r) to a limit, growing. alpha = 2, std = 0.3, a step of 0.01."""
    m, limit = 4096, 0.01 * 2.0**2 * 0.3**2
    sizes = {power: [lf.first_step_size(m, r, 0.01, 2.0 / r**power, 0.3) for r in (1, 4, 16, 64)] for power in (1, 0.5)}
    assert np.all(np.diff(sizes[1]) < 0)
    np.testing.assert_allclose(sizes[0.5], [limit * np.sqrt(m / r) for r in (1, 4, 16, 64)], rtol=0.01)
    assert lf.first_step_size(m, 10**9, 0.01, 2.0 / np.sqrt(1e9), 0.3) == pytest.approx(limit, rel=1e-5)
    assert np.all(np.diff([lf.first_step_size(m, r, 0.01, 2.0, 0.3) for r in (1, 4, 16, 64)]) > 0)


def table(end, forgetting, best, at_the_same, r90=8.0, least=(21, 17, 11, 4, 0.1), apart=0.0):
    """Return the rows of ranks 1, 2, 4, 8 and full from columns, of two seeds, the second's rank 8 apart in all."""
    names = [*(f"LoRA r={r}" for r in (1, 2, 4, 8)), "full"]
    rows = zip(end, forgetting, best, [r90] * 5, at_the_same, least)
    keys = ("end", "forgetting", "best", "r90", "full at the same loss", "least")
    return {
        name: {key: [value, value + (apart if name == "LoRA r=8" else 0.0)] for key, value in zip(keys, row)}
        for name, row in zip(names, rows)
    }


def regimes(**changed):
    """Return tables that fulfil the claims on the regimes, with columns of some of them changed."""
    columns = {
        "A": ([21, 17, 11, 4, 0], [5, 9, 15, 22, 27], [21, 17, 11, 4, 0], [1, 2, 4, 11, 27]),
        "B": ([14, 6, 4, 9, 14], [14, 23, 30, 35, 40], [14, 6, 2, 3, 7], [4, 5, 6, 7, 40]),
        "C": ([22, 19, 15, 11, 13], [6, 10, 18, 28, 40], [22, 19, 15, 10, 7], [1, 1, 4, 8, 40]),
    }
    return {"tables": {name: table(*column, **changed.get(name, {})) for name, column in columns.items()}}


def swept(fixed, growing, apart=(0.0, 0.1)):
    """Return target losses of rank 8 by step, with alpha = 8 and alpha = 2r, of two seeds that are apart; the least
    is 4.3."""
    rules = {"alpha = 8": fixed, "alpha = 2r": growing, "alpha = 8, rsLoRA": growing}
    steps = ("0.003", "0.01", "0.03", "0.1", "0.3")
    losses = {
        rule: {step: [[22.0, value + more] for more in apart] for step, value in zip(steps, values)}
        for rule, values in rules.items()
    }
    return {"losses": losses, "least": [[22.0, 4.3 + more] for more in apart]}


def found(**changed):
    """Return numbers that fulfil every claim, with some of them changed."""
    rival = {"LoRA": [15.0, 16.0], "full": [4.0, 3.0], "decay 0.0001": [4.0, 3.0], "dropout 0.05": [4.0, 3.0]}
    rival |= {"decay 0.3": [4.0, 3.0], "dropout 0.5": [7.0, np.nan]}
    numbers = {
        **regimes(),
        "laws": {"0.001": [8e-4, 8e-4, 1e-5], "0.01": [8e-3, 8e-3, 1e-3], "0.3": [1.2, 0.2, 1.2], "1.0": [11, 0.8, 11]},
        "square": [1000, 0.51],
        "front": [-1e-15, 1e-12, 1e-12],
        "without_noise": [3.0, 2.0],
        "rivals": {"LoRA r=1": rival, "LoRA r=4": rival},
        "sweeps": swept([14.0, 5.0, 4.5, 4.4, 4.6], [11.0, 5.0, 4.5, 4.4, 4.6]),
    }
    return numbers | changed


# No run has come to its best before the end.
STOPPED = table([22, 19, 15, 10, 7], [6, 10, 18, 28, 40], [22, 19, 15, 10, 7], [1, 1, 4, 8, 40])


def with_rival(name, values):
    return {"rivals": {"LoRA r=4": found()["rivals"]["LoRA r=4"] | {name: values}}}


@pytest.mark.parametrize(
    ("changed", "refuted"),
    [
        ({}, []),
        (regimes(A={"apart": -20.0}), [0]),  # of one seed alone
        (regimes(A={"least": (21, 17, 11, 3, 0.1)}), [0]),  # stopped a third above the least of the rank
        (regimes(C={"apart": -6.0}), [2]),  # losses of rank 8 are 10 and 4, full's 7
        (regimes() | {"tables": regimes()["tables"] | {"C": STOPPED}}, [2]),
        ({"without_noise": [8.0, 8.0]}, [3]),  # of high rank without noise too
        ({"laws": found()["laws"] | {"0.01": [4e-3, 8e-3, 1e-3]}}, [4]),
        (with_rival("dropout 0.05", [4.0, np.nan]), [5]),
        (with_rival("full", [4.0, 17.0]), [5]),  # of one seed
        (with_rival("decay 0.3", [17.0, 17.0]), [5]),
        ({"front": [-1e-3, 1e-12, 1e-12]}, [6]),
        ({"front": [0.0, 1e-12, 0.1]}, [6]),
        ({"front": [1.0, 1.0, 1e-12]}, [6]),  # a front that nothing comes near
        ({"sweeps": swept([11.0, 5.0, 4.5, 4.4, 4.6], [11.0, 5.0, 4.5, 4.4, 4.6])}, [7]),  # no gain at the small step
        ({"sweeps": swept([14.0, 9.0, 6.0, 5.0, 5.5], [11.0, 5.0, 4.5, 4.4, 4.6])}, [7]),  # a gain with tuned steps
        ({"sweeps": swept([14.0, 5.0, 4.5, 4.5, 4.4], [11.0, 5.0, 4.5, 4.4, 4.6])}, [7]),  # still falling at the end
        ({"sweeps": swept([26.0] * 5, [26.0] * 5)}, [7]),  # nothing learns
        ({"sweeps": swept([14.0, 9.0, 8.0, 7.0, 9.0], [11.0, 9.0, 8.0, 7.0, 9.0])}, [7]),  # too short to learn
        ({"sweeps": swept([np.nan] * 5, [11.0, 5.0, 4.5, 4.4, 4.6])}, [7]),
    ],
)
def test_each_half_of_a_claim_is_judged(changed, refuted):
    claims = lf.LearnsLessClaims().judge(found(**changed))
    assert [k for k, claim in enumerate(claims) if not claim.holds] == refuted


def test_sweeps_are_told_beside_the_least_loss_of_the_rank_and_have_seeds_of_their_own():
    swept = lf.sweeps(2, 3)
    assert len(swept["least"]) == 2 and swept["losses"]
    for seed, values in enumerate(swept["least"]):
        rng = np.random.default_rng(seed)
        pair = lf.isotropic_pair(24, 32, 24, 1.5, rng)
        tails = np.linalg.svd(pair.W_t - pair.W_s, compute_uv=False) ** 2
        assert values == pytest.approx([0.5 * tails[r:].sum() for r in (1, 2, 4, 8)])  # Eckart-Young
    for rule in swept["losses"].values():
        for runs in rule.values():
            assert np.all(np.array(runs) >= swept["least"]) and np.all(np.array(runs)[0] != np.array(runs)[1])


def test_noise_alone_gives_the_change_of_full_fine_tuning_its_rank():
    """Gradient descent moves by D C_t times a polynomial of the samples' moments: by the rank of D without noise."""
    assert max(lf.without_noise(1, 50)) <= 3.0


def test_full_fine_tuning_ends_on_the_front():
    least, at_end, rehearsed = lf.behind_the_front(seed=1)
    assert abs(least) < 1e-8 and abs(at_end) < 1e-5 and rehearsed < 1e-8
