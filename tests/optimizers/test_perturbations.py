"""Methods that perturb the weight: their rules by hand, what they leave alone, and what they are without noise."""

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.objectives import Denoising, LinearFineTuning, Logistic
from lorasolve.optimizers import GD, GGPO, MGPO, SAM, FlatLoRA, MGPOTrainer, WeightNoise
from lorasolve.optimizers.ggpo import row_scales, surrogate
from lorasolve.optimizers.mgpo import weight_velocity

EVERY = [WeightNoise, GGPO, FlatLoRA, MGPO, MGPOTrainer, SAM]


def regression(m=6, n=8, N=30, seed=0):
    rng = np.random.default_rng(seed)
    return LinearFineTuning(rng.standard_normal((m, n)), rng.standard_normal((n, N)), rng.standard_normal((m, N)))


def logistic(m=4, n=5, N=20, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random((m, N)) < 0.5, -1.0, 1.0)
    return Logistic(rng.standard_normal((m, n)), 2.0 * rng.standard_normal((n, N)), labels)


class Quadratic3:
    """``sum w_i x_i^2 / 2`` of a 3 x 1 matrix."""

    shape = (3, 1)
    weights = np.array([[1.0], [2.0], [5.0]])

    def value_and_grad(self, X):
        return 0.5 * float(np.sum(self.weights * X * X)), self.weights * X


def vector_problem():
    """A plain quadratic in three parameters: B = 1 is frozen."""
    return ls.Problem(Quadratic3(), 1, adapter=ls.adapters.LoRA(frozen="B"))


VECTOR_START = (np.array([[1.0], [1.0], [1.0]]), np.array([[1.0]]))


@pytest.mark.parametrize("cls", EVERY)
def test_no_perturbation_is_the_method_underneath(cls):
    settings = {"rho": 0.0} if issubclass(cls, (MGPO, SAM)) else {"sigma": 0.0}
    if cls is GGPO:
        settings["beta"] = 0.0
    p = ls.Problem(regression(), 2, 0.05)
    stop = ls.StoppingRule(50, 0.0)
    for base, plain in (("gd", GD(0.01)), ("adam", ls.optimizers.Adam(0.01))):
        end = ls.solve(p, cls(step_size=0.01, base=base, **settings), stop=stop)
        np.testing.assert_allclose(end.theta, ls.solve(p, plain, stop=stop).theta, atol=1e-12)


@pytest.mark.parametrize("cls", EVERY)
def test_the_frozen_weight_is_never_written(cls):
    f = regression()
    before = f.W0.copy()
    ls.solve(ls.Problem(f, 2), cls(), stop=ls.StoppingRule(30))
    assert (before == f.W0).all()


def test_scales_of_the_three_rules():
    W, G = np.array([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]]), np.array([[0.0, 2.0], [1.0, 0.0], [0.0, 0.5]])
    sigma, beta = 0.5, 0.1
    np.testing.assert_allclose(
        row_scales(W, G, sigma, beta), [np.sqrt(0.125 * 25.4), np.sqrt(0.125 * 1.1), np.sqrt(0.125 * 0.025)]
    )
    np.testing.assert_allclose(
        row_scales(W, G, sigma, beta, "kohya"), np.array([2.5 + 0.4, 0.5 + 0.1, 0.025]) / np.sqrt(3)
    )
    np.testing.assert_allclose(
        row_scales(W, G, sigma, beta, "kohya_linear"), np.array([2.5 + 0.2, 0.5 + 0.1, 0.05]) / np.sqrt(3)
    )


def test_ggpo_uses_the_whole_weight_and_the_last_gradient():
    f = regression()
    p = ls.Problem(f, 2, adapter=ls.adapters.LoRA(alpha=4.0))
    optimizer = GGPO(0.01, "gd", sigma=0.4, beta=0.3)
    rng = np.random.default_rng(0)
    theta = p.join(rng.standard_normal((6, 2)), rng.standard_normal((8, 2)))
    state = optimizer.init(p, theta, np.random.default_rng(7))
    grad = np.empty_like(theta)
    optimizer.update(p, state, optimizer.evaluate(p, state, grad), grad)
    first = f.value_and_grad(p.update(theta))[1]
    np.testing.assert_allclose(grad[:12].reshape(6, 2), 2.0 * first @ p.split(theta)[1], atol=1e-12)  # no noise yet
    X = p.update(state.trial)
    W = f.W0 + X
    # the exact row norms have the cross term that the implementations drop
    dropped = np.sum(f.W0**2, axis=1) + np.sum(X**2, axis=1)
    assert np.abs(np.sum(W**2, axis=1) - dropped).max() > 0.1 * dropped.max()
    scales = np.sqrt(0.16 / 8 * (np.sum(W**2, axis=1) + 0.3 * np.sum(first**2, axis=1)))
    E = scales[:, None] * np.random.default_rng(7).standard_normal((6, 8))
    optimizer.evaluate(p, state, grad)
    G = f.value_and_grad(X + E)[1]
    np.testing.assert_allclose(grad[:12].reshape(6, 2), 2.0 * G @ p.split(state.trial)[1], atol=1e-12)
    np.testing.assert_allclose(state.memory["gradient"], G, atol=1e-12)


def test_surrogate_is_the_velocity_of_the_weight_and_not_the_gradient():
    f = regression()
    p = ls.Problem(f, 2, adapter=ls.adapters.LoRA(alpha=4.0))
    rng = np.random.default_rng(0)
    theta = p.join(2 * rng.standard_normal((6, 2)), 2 * rng.standard_normal((8, 2)))
    grad = np.empty_like(theta)
    p.value_and_grad(theta, grad)
    G = f.value_and_grad(p.update(theta))[1]
    S = surrogate(p, theta, G)
    np.testing.assert_allclose(S, weight_velocity(p, theta, grad), atol=1e-10 * np.abs(S).max())
    h = 1e-7
    flow = (p.update(theta - h * grad) - p.update(theta)) / h
    np.testing.assert_allclose(-S, flow, atol=1e-4 * np.abs(S).max())
    assert np.linalg.norm(S - G) > 5 * np.linalg.norm(G)


@pytest.mark.parametrize(("make", "unbiased"), [(regression, True), (logistic, False)])
def test_weight_noise_is_unbiased_exactly_for_quadratics(make, unbiased):
    f = make()
    rng = np.random.default_rng(3)
    X = rng.standard_normal(f.shape)
    G = f.value_and_grad(X)[1]
    worst = 0.0
    for _ in range(20):
        E = rng.standard_normal(f.shape)
        pair = 0.5 * (f.value_and_grad(X + E)[1] + f.value_and_grad(X - E)[1])
        worst = max(worst, float(np.linalg.norm(pair - G) / np.linalg.norm(G)))
    assert (worst < 1e-13) == unbiased
    assert unbiased or worst > 1e-2


def test_mgpo_perturbation_by_hand():
    p = vector_problem()
    optimizer = MGPO(0.1, "gd", rho=0.3, mu=0.5, beta=0.25)
    theta = p.join(*VECTOR_START)
    state = optimizer.init(p, theta, np.random.default_rng(0))
    grad = np.empty_like(theta)
    w = np.array([1.0, 2.0, 5.0])
    x = np.ones(3)
    g = w * x
    optimizer.update(p, state, optimizer.evaluate(p, state, grad), grad)
    np.testing.assert_allclose(grad[:3], g)
    x = x - 0.1 * g
    v, mean = g.copy(), np.linalg.norm(g)
    for _ in range(4):
        g = w * (x + 0.3 * v / np.linalg.norm(v) / mean)
        optimizer.update(p, state, optimizer.evaluate(p, state, grad), grad)
        np.testing.assert_allclose(grad[:3], g, rtol=1e-13)
        x = x - 0.1 * g
        v, mean = 0.5 * v + g, 0.25 * mean + 0.75 * np.linalg.norm(g)
        np.testing.assert_allclose(state.trial[:3], x, rtol=1e-13)


def floor(rho, **settings):
    """Return the gradient norm at which the run settles (mean over its last part)."""
    norms = []

    def watch(now):
        G = now.problem.objective.value_and_grad(now.problem.update(now.theta))[1]
        norms.append(float(np.linalg.norm(G)))

    optimizer = MGPO(0.05, "gd", rho=rho, **settings)
    stop = ls.StoppingRule(max_iter=6000, grad_tol=0.0)
    ls.solve(vector_problem(), optimizer, VECTOR_START, stop=stop, callback=watch)
    return float(np.exp(np.mean(np.log(norms[-1000:]))))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scope", ["global", "factor"])
def test_without_a_gradient_mgpo_stays_where_it_is(scope):
    p = ls.Problem(ls.objectives.Denoising(np.zeros((3, 2))), 1)
    start = np.zeros((3, 1)), np.ones((2, 1))
    found = ls.solve(p, ls.optimizers.MGPO(scope=scope), start, stop=ls.StoppingRule(5))
    assert found.status is not ls.Status.DIVERGED and found.fun == 0.0
    np.testing.assert_array_equal(found.B, start[1])


def test_mgpo_floor_is_proportional_to_the_root_of_rho_and_the_sign_matters():
    plus = [floor(rho) for rho in (1e-6, 1e-4, 1e-2)]
    exponents = np.diff(np.log10(plus)) / 2
    np.testing.assert_allclose(exponents, 0.5, atol=0.01)
    minus = floor(1e-4, sign=-1)
    clamped = floor(1e-4, sign=-1, clamp=10.0)
    assert plus[1] > 5 * minus
    assert clamped < minus
    without = floor(1e-4, normalize=False)
    assert without < 0.2 * plus[1]  # a floor of order rho


@pytest.mark.parametrize(("h", "step", "rho"), [(2.0, 0.05, 1e-3), (0.5, 1.0, 1e-2)])
def test_without_memory_mgpo_against_the_gradients_goes_to_and_fro(h, step, rho):
    """Not to ``|grad| = sqrt(rho h)``, where it would stand still if the perturbation were along its own gradient."""
    f = LinearFineTuning(np.zeros((1, 1)), np.full((1, 1), np.sqrt(h)), np.zeros((1, 1)))
    p = ls.Problem(f, 1, adapter=ls.adapters.LoRA(frozen="B"))
    slopes = []
    optimizer = MGPO(step, "gd", rho=rho, mu=0.0, beta=0.0, sign=-1)
    stop = ls.StoppingRule(max_iter=3000, grad_tol=0.0)
    ls.solve(p, optimizer, (np.ones((1, 1)), np.ones((1, 1))), stop=stop, callback=lambda now: slopes.append(h * now.A))
    g = np.sqrt(2 * rho * h / (2 - step * h))
    np.testing.assert_allclose(np.abs(slopes[-10:]), 0.5 * step * h * g, rtol=1e-6)
    np.testing.assert_allclose(slopes[-1], -slopes[-2], rtol=1e-6)


def test_radius_of_mgpo_is_not_scale_invariant():
    assert MGPO(rho=0.1).radius(4.0) == pytest.approx(0.025)
    assert MGPO(rho=0.1).radius(0.04) == pytest.approx(2.5)  # f divided by 100: radius times 100
    assert MGPOTrainer(rho=0.1).radius(0.04) == pytest.approx(1.0)
    assert MGPO(rho=0.1, normalize=False).radius(4.0) == 0.1


def test_trainer_perturbs_the_weight_against_the_momentum():
    f = regression()
    p = ls.Problem(f, 2)
    optimizer = MGPOTrainer(0.01, "gd", rho=0.2)
    rng = np.random.default_rng(0)
    theta = p.join(rng.standard_normal((6, 2)), rng.standard_normal((8, 2)))
    state = optimizer.init(p, theta, rng)
    grad = np.empty_like(theta)
    optimizer.update(p, state, optimizer.evaluate(p, state, grad), grad)
    v = grad.copy()
    mean = np.linalg.norm(weight_velocity(p, theta, v))
    M = weight_velocity(p, state.trial, v)
    E = -0.2 * M / np.linalg.norm(M) * min(1 / mean, 10.0)
    optimizer.evaluate(p, state, grad)
    G = f.value_and_grad(p.update(state.trial) + E)[1]
    np.testing.assert_allclose(grad[:12].reshape(6, 2), G @ p.split(state.trial)[1], atol=1e-12)


def test_sam_by_hand_with_two_gradients_each_step():
    p = vector_problem()
    end = ls.solve(p, SAM(0.1, "gd", rho=0.2), VECTOR_START, stop=ls.StoppingRule(3, 0.0))
    w, x = np.array([1.0, 2.0, 5.0]), np.ones(3)
    for _ in range(3):
        g = w * x
        x = x - 0.1 * w * (x + 0.2 * g / np.linalg.norm(g))
    np.testing.assert_allclose(end.A[:, 0], x, rtol=1e-13)
    assert end.nit == 3
    assert end.nfev == 7  # a point and its neighbour in each step, and the last point
    assert end.trace.value[0] == pytest.approx(4.0)  # values of the points themselves


def test_schedules_reach_the_method_underneath():
    p = ls.Problem(regression(), 2, 0.05)
    stop = ls.StoppingRule(300, 0.0)
    end = ls.solve(p, ls.Method(GGPO(0.02, "gd", sigma=0.0, beta=0.0), "cosine"), stop=stop)
    plain = ls.solve(p, ls.Method(GD(0.02), "cosine"), stop=stop)
    np.testing.assert_allclose(end.theta, plain.theta, atol=1e-12)


def test_refusals():
    with pytest.raises(ValueError, match="rule"):
        GGPO(rule="other")
    with pytest.raises(ValueError, match="sign"):
        MGPO(sign=0)
    with pytest.raises(ValueError, match="base"):
        SAM(base="lbfgs")
    p = ls.Problem(Denoising(np.eye(3)), 2, adapter="softmax_gates")
    for optimizer in ("ggpo", "weight_noise", "mgpo_trainer"):
        with pytest.raises(ValueError, match=optimizer):
            ls.solve(p, optimizer)
    ls.solve(p, "mgpo", stop=ls.StoppingRule(5))
