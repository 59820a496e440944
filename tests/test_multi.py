"""Several matrices: derivatives by differences, the separable case in closed form, the network's two layers."""

import numpy as np
import pytest

from lorasolve import MultiProblem, StoppingRule, certify, check_objective, solve
from lorasolve.multi import BlockDiagonal, BlockView, MultiObjective, TwoLayerPair
from lorasolve.objectives import Denoising, LinearFineTuning, TwoLayer


class TwoTargets(MultiObjective):
    """``||X_1 - M_1||^2/2 + ||X_2 - M_2||^2/2``: convex, separable, solved by soft-thresholding each block."""

    convex = True
    smoothness = 1.0
    lower_bound = 0.0

    def __init__(self, M1, M2):
        self.M = (M1, M2)
        self.shapes = (M1.shape, M2.shape)

    def value_and_grad(self, X):
        E = tuple(x - m for x, m in zip(X, self.M))
        return 0.5 * sum(float(np.sum(e * e)) for e in E), E


@pytest.fixture
def targets():
    rng = np.random.default_rng(0)
    return TwoTargets(rng.standard_normal((5, 4)), rng.standard_normal((3, 6)))


def network(name="tanh", seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((4, 3), (2, 4), (3, 12), (2, 12))
    return TwoLayerPair(*(rng.standard_normal(shape) for shape in shapes), name)


def random_factors(problem, seed=1):
    rng = np.random.default_rng(seed)
    return tuple(
        (rng.standard_normal((m, r)), rng.standard_normal((n, r))) for (m, n), r in zip(problem.shapes, problem.ranks)
    )


def updates(factors):
    return [A @ B.T for A, B in factors]


def flat(pairs):
    return np.concatenate([part.ravel() for pair in pairs for part in pair])


def moved(factors, directions, t):
    return tuple((A + t * U, B + t * V) for (A, B), (U, V) in zip(factors, directions))


@pytest.mark.parametrize("name", ["tanh", "softplus", "gelu"])
def test_derivatives_of_the_pair_agree_with_differences(name):
    problem = MultiProblem(network(name), ranks=(2, 1), lam=0.3)
    factors, directions = random_factors(problem), random_factors(problem, 2)
    h = 1e-5
    plus, minus = moved(factors, directions, h), moved(factors, directions, -h)
    slope = (problem.value(plus) - problem.value(minus)) / (2 * h)
    assert float(flat(problem.grad(factors)) @ flat(directions)) == pytest.approx(slope, rel=1e-7)
    change = (flat(problem.grad(plus)) - flat(problem.grad(minus))) / (2 * h)
    np.testing.assert_allclose(flat(problem.hvp(factors, directions)), change, rtol=1e-6, atol=1e-6)


def test_value_is_the_networks_error_plus_the_decay():
    rng = np.random.default_rng(0)
    W, V, Z, Y = (rng.standard_normal(shape) for shape in ((4, 3), (2, 4), (3, 12), (2, 12)))
    problem = MultiProblem(TwoLayerPair(W, V, Z, Y), ranks=1, lam=0.2)
    ((A1, B1), (A2, B2)) = factors = random_factors(problem)
    error = (V + A2 @ B2.T) @ np.tanh((W + A1 @ B1.T) @ Z) - Y
    decay = sum(float(np.sum(part**2)) for pair in factors for part in pair)
    assert problem.value(factors) == pytest.approx(float(np.sum(error**2)) / 24 + 0.1 * decay, rel=1e-13)
    rmse = problem.objective.metrics(updates(factors))["rmse"]
    assert rmse == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-13)


def test_every_claim_of_the_joint_objective_holds(targets):
    for objective in (targets, network(), network("relu")):
        report = check_objective(BlockDiagonal(objective))
        assert report.ok, str(report)


def test_the_default_hessian_product_agrees_with_the_exact_one():
    pair = network()
    rng = np.random.default_rng(3)
    X, D = ([rng.standard_normal(shape) for shape in pair.shapes] for _ in range(2))
    for given, exact in zip(MultiObjective.hessian_product(pair, X, D), pair.hessian_product(X, D)):
        np.testing.assert_allclose(given, exact, atol=1e-8)


def test_blocks_of_the_network_are_the_single_matrix_objectives():
    pair = network()
    rng = np.random.default_rng(4)
    X = [rng.standard_normal(shape) for shape in pair.shapes]
    assert isinstance(pair.block(0, X), TwoLayer)
    assert isinstance(pair.block(1, X), LinearFineTuning)
    f, G = pair.value_and_grad(X)
    for k in (0, 1):
        block, generic = pair.block(k, X), BlockView(pair, k, X)
        D = rng.standard_normal(pair.shapes[k])
        for view in (block, generic):
            assert view.value_and_grad(X[k])[0] == pytest.approx(f, rel=1e-12)
            np.testing.assert_allclose(view.value_and_grad(X[k])[1], G[k], atol=1e-12)
        np.testing.assert_allclose(block.hessian_product(X[k], D), generic.hessian_product(X[k], D), atol=1e-12)
        assert check_objective(generic).ok


def test_block_problem_sees_the_diagonal_block_of_the_hessian():
    problem = MultiProblem(network(), ranks=(2, 1), lam=0.3)
    factors, directions = random_factors(problem), random_factors(problem, 2)
    for k in (0, 1):
        only = tuple(
            (U, V) if j == k else (0 * U, 0 * V) for j, (U, V) in enumerate(directions)
        )
        expected = problem.hvp(factors, only)[k]
        block = problem.block_problem(k, updates(factors))
        for given, wanted in zip(block.hvp(*factors[k], *directions[k]), expected):
            np.testing.assert_allclose(given, wanted, atol=1e-11)
        for given, wanted in zip(block.grad(*factors[k]), problem.grad(factors)[k]):
            np.testing.assert_allclose(given, wanted, atol=1e-12)


def soft_thresholded(M, lam):
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    return P * np.maximum(s - lam, 0.0) @ Qt


@pytest.mark.parametrize("optimizer", ["gd", "lbfgs", "trust_ncg", "nesterov"])
def test_separable_problem_reaches_each_blocks_closed_form_and_is_certified(targets, optimizer):
    problem = MultiProblem(targets, ranks=(4, 3), lam=0.7)
    result = problem.solve(optimizer, stop=StoppingRule(grad_tol=1e-10, max_iter=20_000))
    assert result.success, result.message
    for X, M in zip(updates(problem.split(result.A, result.B)), targets.M):
        np.testing.assert_allclose(X, soft_thresholded(M, 0.7), atol=1e-8)
    certificate = certify(problem.joint, result)
    assert certificate.is_global is True
    singles = [np.linalg.svd(A @ B.T, compute_uv=False).sum() for A, B in problem.split(result.A, result.B)]
    assert certificate.nuclear_norm == pytest.approx(sum(singles), rel=1e-10)


def test_the_joint_route_without_the_fast_path_gives_the_same(targets):
    problem = MultiProblem(targets, ranks=2, lam=0.7)
    stop = StoppingRule(max_iter=50)
    fast, plain = (problem.solve("gd", stop=stop, engine=engine) for engine in ("compiled", "interpreted"))
    np.testing.assert_allclose(fast.X, plain.X, atol=1e-12)


def test_network_reaches_a_stationary_point_with_every_block_balanced():
    problem = MultiProblem(network(), ranks=(2, 2), lam=0.05)
    result = problem.solve("lbfgs", seed=1, stop=StoppingRule(grad_tol=1e-10))
    pairs = problem.split(result.A, result.B)
    assert np.linalg.norm(flat(problem.grad(pairs))) < 1e-8
    for A, B in pairs:  # A^T A = B^T B at every stationary point with lam > 0, block by block
        np.testing.assert_allclose(A.T @ A, B.T @ B, atol=1e-7)
    assert certify(problem.joint, result).is_global is None


@pytest.mark.parametrize("optimizer", ["gd", "adamw", "gd_backtracking", "lora_plus", "sgd"])
def test_optimizers_keep_the_factors_block_diagonal(optimizer):
    problem = MultiProblem(network(), ranks=(2, 1), lam=0.05)
    result = problem.solve(optimizer, init="gaussian", stop=StoppingRule(max_iter=30))
    mask = problem.joint.trainable
    assert not result.theta[~mask].any()
    assert result.theta[mask].all()
    start = problem.value(problem.start("gaussian", np.random.default_rng(0)))
    assert result.fun < start


def test_the_start_of_each_block_is_its_own(targets):
    problem = MultiProblem(targets, ranks=(2, 1), lam=0.1)
    (A1, B1), (A2, B2) = problem.start("lora", np.random.default_rng(0))
    assert A1.shape == (5, 2) and A2.shape == (3, 1)
    assert not B1.any() and not B2.any()
    given = problem.solve("gd", init=((A1, B1), (A2, B2)), stop=StoppingRule(max_iter=3))
    named = problem.solve("gd", init="lora", seed=0, stop=StoppingRule(max_iter=3))
    np.testing.assert_array_equal(given.theta, named.theta)


def test_one_block_is_the_ordinary_problem():
    M = np.random.default_rng(0).standard_normal((5, 4))

    class One(MultiObjective):
        shapes = ((5, 4),)
        convex, smoothness, lower_bound = True, 1.0, 0.0

        def value_and_grad(self, X):
            f, G = Denoising(M).value_and_grad(X[0])
            return f, (G,)

    multi = MultiProblem(One(), ranks=2, lam=0.5)
    ((A, B),) = multi.start("gaussian", np.random.default_rng(3))
    single = multi.joint.replace(objective=Denoising(M), adapter="lora")
    stop = StoppingRule(max_iter=20)
    first = multi.solve("gd", init=((A, B),), stop=stop)
    np.testing.assert_allclose(first.X, solve(single, "gd", init=(A, B), stop=stop).X, atol=1e-12)


def test_batches_average_to_the_whole():
    pair = network()
    X = [np.ones(shape) for shape in pair.shapes]
    parts = [pair.sample_batch(np.arange(k, 12, 3)).value_and_grad(X)[0] for k in range(3)]
    assert np.mean(parts) == pytest.approx(pair.value_and_grad(X)[0], rel=1e-13)


def test_bad_input_is_named(targets):
    with pytest.raises(ValueError, match="ranks: expected one number or 2, got 3"):
        MultiProblem(targets, ranks=(1, 2, 3))
    with pytest.raises(ValueError, match=r"ranks\[1\]: expected an integer from 1 to 3, got 4"):
        MultiProblem(targets, ranks=4)
    with pytest.raises(TypeError, match=r"ranks\[0\]: expected an integer"):
        MultiProblem(targets, ranks=1.5)
    with pytest.raises(ValueError, match="lam: expected"):
        MultiProblem(targets, ranks=1, lam=-1.0)
    with pytest.raises(TypeError, match="objective: expected a MultiObjective, got Denoising"):
        MultiProblem(Denoising(np.eye(2)), ranks=1)
    problem = MultiProblem(targets, ranks=1, lam=0.1)
    (pair, other) = random_factors(problem)
    with pytest.raises(ValueError, match="factors: expected 2 pairs"):
        problem.value((pair,))
    with pytest.raises(ValueError, match=r"A\[0\]: expected shape \(5, 1\), got \(3, 1\)"):
        problem.value((other, pair))
    with pytest.raises(ValueError, match=r"B\[1\]: has non-finite entries"):
        problem.value((pair, (other[0], np.nan * other[1])))
    with pytest.raises(ValueError, match="index: expected an integer from 0 to 1"):
        problem.block(2, updates((pair, other)))
    with pytest.raises(ValueError, match=r"X: expected 2 updates, got 1"):
        problem.block(0, updates((pair,)))
    with pytest.raises(ValueError, match=r"X\[1\]: expected shape \(3, 6\)"):
        problem.block(0, [np.zeros((5, 4)), np.zeros((6, 3))])
    with pytest.raises(ValueError, match="A = B = 0 is a stationary point"):
        problem.solve(init=tuple((0 * A, 0 * B) for A, B in (pair, other)))


def test_the_networks_shapes_are_checked():
    W, V, Z, Y = np.zeros((4, 3)), np.zeros((2, 4)), np.ones((3, 5)), np.zeros((2, 5))
    with pytest.raises(ValueError, match=r"Y: expected shape \(2, 5\)"):
        TwoLayerPair(W, V, Z, Y[:, :4])
    with pytest.raises(ValueError, match="activation: unknown activation 'sine'"):
        TwoLayerPair(W, V, Z, Y, "sine")
