"""Several matrices: derivatives by differences, the separable case in closed form, the network's two layers."""

import re
import tracemalloc

import numpy as np
import pytest
import scipy.linalg

import lorasolve as ls
from lorasolve import Method, MultiProblem, StoppingRule, certify, check_objective, solve, solve_convex
from lorasolve.convex import registry as routes
from lorasolve.inits import registry as inits
from lorasolve.low_rank import numerical_rank
from lorasolve.multi import BlockView, MultiObjective, Separable, TwoLayerPair
from lorasolve.objectives import Denoising, Huber, LinearFineTuning, Objective, TwoLayer
from lorasolve.objectives.base import Rounding
from lorasolve.optimizers import registry as optimizers
from lorasolve.schedules import registry as schedules


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


class Reusing(MultiObjective):
    """A loss that writes every answer into the same arrays."""

    convex, lower_bound = True, 0.0

    def __init__(self, inner):
        self.inner, self.shapes = inner, inner.shapes
        self.arrays = [np.empty(shape) for shape in inner.shapes]

    def _written(self, matrices):
        for array, M in zip(self.arrays, matrices):
            array[:] = M
        return tuple(self.arrays)

    def value_and_grad(self, X):
        f, G = self.inner.value_and_grad(X)
        return f, self._written(G)


class ReusingProducts(Reusing):
    def hessian_product(self, X, D):
        return self._written(self.inner.hessian_product(X, D))


@pytest.fixture
def targets():
    rng = np.random.default_rng(0)
    return TwoTargets(rng.standard_normal((5, 4)), rng.standard_normal((3, 6)))


def network(name="tanh", seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((4, 3), (2, 4), (3, 12), (2, 12))
    return TwoLayerPair(*(rng.standard_normal(shape) for shape in shapes), name)


def random_theta(problem, seed=1):
    return np.random.default_rng(seed).standard_normal(problem.size)


def grad_of(problem, theta):
    grad = np.empty_like(theta)
    problem.value_and_grad(theta, grad)
    return grad


class Embedded(Objective):
    """The same loss of one block-diagonal matrix: the dense way, to compare with."""

    def __init__(self, objective):
        self.objective, self.shapes = objective, objective.shapes
        self.shape = (sum(m for m, _ in self.shapes), sum(n for _, n in self.shapes))
        for fact in ("convex", "smoothness", "lower_bound", "least_squares", "has_hessian", "n_samples"):
            setattr(self, fact, getattr(objective.facts, fact))

    def _blocks(self, X):
        rows, columns = (np.cumsum([0, *sizes]) for sizes in zip(*self.shapes))
        return [X[i : i + m, j : j + n] for i, j, (m, n) in zip(rows, columns, self.shapes)]

    def value_and_grad(self, X):
        f, G = self.objective.value_and_grad(self._blocks(X))
        return f, scipy.linalg.block_diag(*G)

    def hessian_product(self, X, D):
        return scipy.linalg.block_diag(*self.objective.hessian_product(self._blocks(X), self._blocks(D)))

    def sample_batch(self, index):
        return Embedded(self.objective.sample_batch(index))


def embedded(problem):
    return ls.Problem(Embedded(problem.objective), rank=sum(problem.ranks), lam=problem.lam)


def embed(problem, theta):
    A, B, _ = problem.split(theta)
    return scipy.linalg.block_diag(*A), scipy.linalg.block_diag(*B)


class WritesToItsArguments(TwoTargets):
    def value_and_grad(self, X):
        for x, m in zip(X, self.M):
            x -= m
        return 0.5 * sum(float(np.sum(x * x)) for x in X), tuple(X)


def test_a_loss_that_writes_to_its_arguments_is_judged_as_one_that_does_not():
    """For ``lam = 1`` singular values shrink by 1."""
    loss = WritesToItsArguments(np.diag([4.0, 3.0]), np.diag([3.0, 2.0]))
    stars = np.diag([3.0, 2.0]), np.diag([2.0, 1.0])
    roots = [np.sqrt(X)[:, :1] for X in stars]
    problem = MultiProblem(loss, (1, 1), 1.0)
    found = ls.verdict(problem, (roots, roots), X_star=stars)
    assert np.array_equal(stars[0], np.diag([3.0, 2.0])) and np.array_equal(stars[1], np.diag([2.0, 1.0]))
    # From the definition of F.
    optimum = sum(0.5 * float(((X - M) ** 2).sum()) + float(np.trace(X)) for X, M in zip(stars, loss.M))
    assert problem.convex_value(list(stars)) == pytest.approx(optimum)
    assert found.kind == "inconclusive" and f"above F(X*) by {found.certificate.value - optimum:.3g}" in found.reason


@pytest.mark.parametrize("name", ["tanh", "softplus", "gelu"])
def test_derivatives_of_the_pair_agree_with_differences(name):
    problem = MultiProblem(network(name), ranks=(2, 1), lam=0.3)
    theta, direction = random_theta(problem), random_theta(problem, 2)
    h = 1e-5
    plus, minus = theta + h * direction, theta - h * direction
    slope = (problem.value(*problem.split(plus)[:2]) - problem.value(*problem.split(minus)[:2])) / (2 * h)
    assert float(grad_of(problem, theta) @ direction) == pytest.approx(slope, rel=1e-7)
    change = (grad_of(problem, plus) - grad_of(problem, minus)) / (2 * h)
    np.testing.assert_allclose(problem.hessian_product(theta, direction), change, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("objective", [network(), Separable([Huber.example(np.random.default_rng(k)) for k in (1, 2)])])
def test_blocks_are_the_block_diagonal_problem_without_its_zeros(objective):
    """Value, gradient, Hessian, curvature bound and certificate against one dense block-diagonal matrix."""
    from lorasolve.optimizers.base import curvature_bound

    problem = MultiProblem(objective, ranks=(2, 1), lam=0.3)
    whole = embedded(problem)
    theta, direction = random_theta(problem), random_theta(problem, 2)
    A, B = embed(problem, theta)
    assert problem.value(*problem.split(theta)[:2]) == pytest.approx(whole.value(A, B), rel=1e-13)
    for given, wanted in zip(embed(problem, grad_of(problem, theta)), whole.grad(A, B)):
        np.testing.assert_allclose(given, wanted, atol=1e-12)
    product = whole.hvp(A, B, *embed(problem, direction))
    for given, wanted in zip(embed(problem, problem.hessian_product(theta, direction)), product):
        np.testing.assert_allclose(given, wanted, atol=1e-12)
    # Both estimate ||G||_2 by a few power iterations.
    assert curvature_bound(problem, theta, 2.0) <= 1.01 * curvature_bound(whole, whole.join(A, B), 2.0)
    H = np.array([problem.hessian_product(theta, unit) for unit in np.eye(problem.size)])
    if objective.facts.smoothness is not None:
        bound = curvature_bound(problem, theta, objective.facts.smoothness)
        assert bound >= 0.95 * np.abs(np.linalg.eigvalsh(H)).max()  # ||G||_2 is estimated from below
    mine, theirs = certify(problem, problem.split(theta)[:2]), certify(whole, (A, B))
    for name in ("value", "gap", "dual_norm", "stationarity", "balance", "factor_gap", "rank", "nuclear_norm"):
        assert getattr(mine, name) == pytest.approx(getattr(theirs, name), rel=1e-9), name
    np.testing.assert_allclose(mine.singular_values, theirs.singular_values, atol=1e-12)
    assert mine.is_global == theirs.is_global
    assert mine.gap_at_least <= theirs.gap * (1.0 + 1e-9)


def test_value_is_the_networks_error_plus_the_decay():
    rng = np.random.default_rng(0)
    W, V, Z, Y = (rng.standard_normal(shape) for shape in ((4, 3), (2, 4), (3, 12), (2, 12)))
    problem = MultiProblem(TwoLayerPair(W, V, Z, Y), ranks=1, lam=0.2)
    theta = random_theta(problem)
    X1, X2 = problem.update(theta)
    error = (V + X2) @ np.tanh((W + X1) @ Z) - Y
    value = float(np.sum(error**2)) / 24 + 0.1 * float(theta @ theta)
    assert problem.value(*problem.split(theta)[:2]) == pytest.approx(value, rel=1e-13)
    rmse = problem.objective.metrics((X1, X2))["rmse"]
    assert rmse == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-13)


def test_every_claim_of_the_joint_objective_holds(targets):
    for objective in (targets, network(), network("relu")):
        report = check_objective(Embedded(objective))
        assert report.ok, str(report)


def test_a_sum_of_losses_states_what_its_parts_allow():
    rng = np.random.default_rng(0)
    linear, huber, user = LinearFineTuning.example(rng), Huber.example(rng), TwoLayer.example(rng)
    facts = Separable([linear, Denoising(np.ones((3, 2)))]).facts
    assert (facts.convex, facts.least_squares) == (True, True)
    assert facts.smoothness == max(linear.facts.smoothness, 1.0)
    assert facts.lower_bound == linear.facts.lower_bound + 0.0
    assert Separable([linear, huber]).facts.least_squares is False
    facts = Separable([linear, user]).facts
    assert (facts.convex, facts.smoothness) == (None, None)
    with pytest.raises(ValueError, match="parts: expected losses of one dtype"):
        Separable([Denoising(np.ones((3, 2))), Denoising(np.ones((3, 2), dtype=np.float32))])


def test_the_default_diagonal_is_that_of_the_hessian_where_curvature_is_the_same_in_all_directions():
    """``c/2 ||X - M||^2`` bends by ``c ||b_k||^2`` in each entry of column k of A."""

    class Bowls(MultiObjective):
        shapes, dtype = ((4, 3), (2, 5)), np.dtype(float)

        def value_and_grad(self, X):
            return sum(1.5 * float(np.sum((x - 1.0) ** 2)) for x in X), tuple(3.0 * (x - 1.0) for x in X)

    factors = [(np.arange(1.0, 9.0).reshape(4, 2), np.ones((3, 2))), (np.ones((2, 2)), np.arange(10.0).reshape(5, 2))]
    for (A, B), (on_A, on_B) in zip(factors, Bowls().factor_diagonal(factors)):
        np.testing.assert_allclose(on_A, np.broadcast_to(3.0 * (B**2).sum(axis=0), A.shape), rtol=1e-6)
        np.testing.assert_allclose(on_B, np.broadcast_to(3.0 * (A**2).sum(axis=0), B.shape), rtol=1e-6)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_sum_of_losses_is_as_inexact_as_its_parts_together(swapped):
    """The gradient of a sum is that of each part on its own matrix; only values are added."""
    fine, rough = Denoising(np.eye(3)), Denoising(1e6 * np.eye(3))
    fine.rounding_noise = lambda A, B: Rounding(1e-15, 1e-16)
    rough.rounding_noise = lambda A, B: Rounding(1e-3, 1e-10)
    parts = [rough, fine] if swapped else [fine, rough]
    found = Separable(parts).rounding_noise([(np.ones((3, 1)), np.ones((3, 1)))] * 2)
    assert found == Rounding(1e-15 + 1e-3, 1e-10)


def test_a_sum_of_losses_with_conjugates_is_certified_by_them():
    class Unbounded:
        """``<W, X> + ||X||_F^2/2`` for a ``W`` that does not say from where on: only its conjugate bounds it."""

        convex = True

        def __init__(self, W):
            self.W, self.shape = W, W.shape

        def value_and_grad(self, X):
            return float(np.vdot(self.W, X)) + 0.5 * float(np.vdot(X, X)), self.W + X

        def conjugate(self, Y):
            return 0.5 * float(np.vdot(Y - self.W, Y - self.W))

    parts = [Unbounded(np.random.default_rng(k).standard_normal(shape)) for k, shape in enumerate([(4, 3), (3, 5)])]
    # The minimizer of each is -W with singular values less lam, and of the sum both.
    svds = [np.linalg.svd(-part.W, full_matrices=False) for part in parts]
    A, B = (tuple(each) for each in zip(*((U * np.maximum(s - 0.5, 0.0), Vt.T) for U, s, Vt in svds)))
    certificate = certify(MultiProblem(Separable(parts), ranks=3, lam=0.5), (A, B))
    assert certificate.is_global and 0.0 <= certificate.gap < 1e-12
    assert certificate.value == pytest.approx(sum(-0.5 * np.sum(np.maximum(s - 0.5, 0.0) ** 2) for _, s, _ in svds))
    huber = Huber.example(np.random.default_rng(0))
    assert not Separable([parts[0], huber]).states_conjugate
    assert Separable([parts[0], huber]).conjugate([parts[0].W, np.zeros(huber.shape)]) is None


def test_least_squares_reaches_the_certificate():
    """A joint loss that states least_squares gets the tighter bound of least squares."""
    rng = np.random.default_rng(0)
    problem = MultiProblem(Separable([LinearFineTuning.example(rng) for _ in range(2)]), ranks=2, lam=0.1)
    certificate = certify(problem, problem.split(random_theta(problem))[:2])
    assert certificate.formula == "Fenchel, least squares"


def test_the_default_hessian_product_agrees_with_the_exact_one():
    pair = network()
    rng = np.random.default_rng(3)
    X, D = ([rng.standard_normal(shape) for shape in pair.shapes] for _ in range(2))
    for given, exact in zip(MultiObjective.hessian_product(pair, X, D), pair.hessian_product(X, D), strict=True):
        np.testing.assert_allclose(given, exact, atol=1e-8)


@pytest.mark.parametrize("unit", [1.0, 1e2, 1e5, 1e8])
def test_the_default_hessian_product_takes_a_step_for_each_unit(unit):
    """The Hessian of ``log cosh`` is ``1/cosh^2``, and one step for both matrices leaves the curved part of one."""

    class InUnits(MultiObjective):
        shapes = ((4, 3), (3, 2))

        def value_and_grad(self, X):
            G = [np.tanh(X[0]), np.tanh(X[1] / unit) / unit]
            return float(np.log(np.cosh(X[0])).sum() + np.log(np.cosh(X[1] / unit)).sum()), G

    rng = np.random.default_rng(0)
    X, D = ([rng.standard_normal((4, 3)), unit * rng.standard_normal((3, 2))] for _ in range(2))
    exact = D[0] / np.cosh(X[0]) ** 2, D[1] / np.cosh(X[1] / unit) ** 2 / unit**2
    for direction in ([D[0], 0.0 * D[1]], [D[0], D[1] / unit], D):
        found = InUnits().hessian_product(X, direction)
        np.testing.assert_allclose(found[0], exact[0], rtol=1e-7)
        np.testing.assert_allclose(found[1], exact[1] * direction[1] / D[1], rtol=1e-7)


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
    theta, direction = random_theta(problem), random_theta(problem, 2)
    factors, moves = problem.split_blocks(theta), problem.split_blocks(direction)
    for k in (0, 1):
        only = np.zeros_like(direction)
        for part, move in zip(problem.split_blocks(only)[k], moves[k]):
            part[:] = move
        expected = problem.split_blocks(problem.hessian_product(theta, only))[k]
        block = problem.block_problem(k, problem.update(theta))
        for given, wanted in zip(block.hvp(*factors[k], *moves[k]), expected, strict=True):
            np.testing.assert_allclose(given, wanted, atol=1e-11)
        for given, wanted in zip(
            block.grad(*factors[k]), problem.split_blocks(grad_of(problem, theta))[k], strict=True
        ):
            np.testing.assert_allclose(given, wanted, atol=1e-12)


def soft_thresholded(M, lam):
    P, s, Qt = np.linalg.svd(M, full_matrices=False)
    return P * np.maximum(s - lam, 0.0) @ Qt


# What works on one matrix says so; everything else is a loop over vectors and has to run.
ONE_MATRIX = {
    "als", "alt_lora", "flat_lora", "ggpo", "lora_pro", "lora_pro_adamw", "lora_pro_adamw_full", "lora_rite",
    "mgpo_trainer", "riemannian", "riemannion", "scaled_gd", "weight_noise",
}  # fmt: skip
# Starts that read a frozen weight or inputs, of which a network of several matrices has none to show.
ONE_WEIGHT = {"eva", "lora_ga", "milora", "olora", "pissa"}


@pytest.mark.parametrize("name", sorted(optimizers.classes()))
def test_each_optimizer_runs_on_several_matrices_or_says_why_not(name):
    problem = MultiProblem(network(), ranks=(2, 1), lam=0.05)
    refusal = Method(name).refusal(problem)
    if name in ONE_MATRIX:
        assert refusal is not None
        with pytest.raises(ValueError, match=f"optimizer '{name}': "):
            solve(problem, name, "gaussian")
        return
    assert refusal is None
    result = solve(problem, name, "gaussian", stop=StoppingRule(max_iter=40))
    assert len(result.A) == 2 and result.A[0].shape == (4, 2) and result.B[1].shape == (4, 1)
    assert result.fun < problem.value(*problem.split(Method(name, init="gaussian").start(problem, rng()).theta)[:2])


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", sorted(schedules.classes()))
def test_each_schedule_runs_on_several_matrices_or_says_why_not(name):
    problem = MultiProblem(network(), ranks=(2, 1))
    refusal = Method("gd", name).refusal(problem)
    assert (refusal is None) == (not schedules.classes()[name].has_stages), refusal
    assert refusal is None or name not in ("cosine", "warmup")
    if refusal is None:
        assert solve(problem, f"gd+{name}", stop=StoppingRule(max_iter=5)).nit == 5
    else:
        # The schedule at fault, and why: not its adapter or its weight decay, which are checked as well.
        with pytest.raises(ValueError, match=rf"'gd\+{name}.*schedule '{name}'.* works on one matrix, .* has 2"):
            solve(problem, f"gd+{name}")


@pytest.mark.parametrize("name", sorted(inits.classes()))
def test_each_init_starts_every_block_or_says_why_not(name, targets):
    problem = MultiProblem(targets, ranks=(2, 1))
    refusal = Method("gd", init=name).refusal(problem)
    assert (refusal is not None) == (name in ONE_WEIGHT)
    if refusal is None:
        theta = Method("gd", init=name).start(problem, rng()).theta
        assert all(A.any() for A, _ in problem.split_blocks(theta))


def test_a_list_of_pairs_is_a_point_as_the_two_sequences_are(targets):
    problem = MultiProblem(targets, ranks=(4, 3), lam=0.7)
    result = solve(problem, "lbfgs", stop=StoppingRule(grad_tol=1e-10))
    pairs = list(zip(result.A, result.B))
    again = solve(problem, "gd", pairs, stop=StoppingRule(max_iter=1))
    assert again.trace.value[0] == pytest.approx(result.fun, rel=1e-12)
    assert certify(problem, pairs).value == certify(problem, (result.A, result.B)).value
    assert ls.landscape.verdict(problem, pairs).kind == "global"


def test_pairs_in_a_tuple_are_refused_by_name_where_their_shapes_or_their_number_tell():
    rng = np.random.default_rng(0)
    for shapes, words in (
        ([(4, 3), (5, 2)], "expected tuples of arrays, got two pairs; give pairs in a list"),
        ([(4, 4)] * 3, "expected pairs (A, B) in a list, got them in a tuple"),
    ):
        problem = MultiProblem(Separable([Denoising(rng.standard_normal(shape)) for shape in shapes]), 2, 0.1)
        pairs = tuple((rng.standard_normal((m, 2)), rng.standard_normal((n, 2))) for m, n in shapes)
        for judge in (certify, ls.verdict, lambda problem, start: ls.solve(problem, "gd", start)):
            with pytest.raises(ValueError, match=re.escape(words)):
                judge(problem, pairs)
    with pytest.raises(ValueError, match=r"^start: expected pairs"):
        ls.solve_convex(problem, start=pairs)


class Table:
    """What holds numbers and is no array, as a data frame or a tensor."""

    def __init__(self, M):
        self.M = M

    def __array__(self, dtype=None, copy=None):
        return np.array(self.M, dtype)


@pytest.mark.parametrize("of_them", [tuple, list])
def test_updates_of_two_matrices_are_a_point_whatever_holds_their_numbers(targets, of_them):
    """A tuple of two data frames was taken for the factors ``A`` and ``B``, and refused as such; not one of three."""
    problem = MultiProblem(targets, ranks=1, lam=0.2)
    X = [0.5 * M for M in targets.M]
    value = sum(np.sum(x * x) / 2 + 0.2 * np.linalg.norm(x, "nuc") for x in X)
    assert certify(problem, of_them(Table(x) for x in X)).value == pytest.approx(value, rel=1e-12)
    factors = [scipy.linalg.svd(x, full_matrices=False) for x in X]
    A, B = tuple(U * s for U, s, _ in factors), tuple(Vt.T for *_, Vt in factors)
    assert problem.factored_convex_value(A, B) == pytest.approx(value, rel=1e-12)


def test_the_factors_of_a_result_of_several_matrices_are_a_start_and_a_point(targets):
    """They were None, and a run from them began at the default start without a word."""
    problem = MultiProblem(targets, ranks=(4, 3), lam=0.7)
    result = solve(problem, "lbfgs", stop=StoppingRule(grad_tol=1e-10))
    for A, B, X in zip(*result.factors, result.X, strict=True):
        np.testing.assert_allclose(A @ B.T, X, atol=1e-12)
    again = solve(problem, "gd", result.factors, stop=StoppingRule(max_iter=1))
    assert again.started_from == "given" and again.trace.value[0] == pytest.approx(result.fun, rel=1e-12)
    best = solve_convex(problem)
    for found in (result, best):
        assert certify(problem, found.factors).is_global is True


@pytest.mark.parametrize("optimizer", ["gd", "lbfgs", "trust_ncg", "nesterov"])
def test_separable_problem_reaches_each_blocks_closed_form_and_is_certified(targets, optimizer):
    problem = MultiProblem(targets, ranks=(4, 3), lam=0.7)
    result = solve(problem, optimizer, stop=StoppingRule(grad_tol=1e-10, max_iter=20_000))
    assert result.success, result.message
    for X, M in zip(result.X, targets.M):
        np.testing.assert_allclose(X, soft_thresholded(M, 0.7), atol=1e-8)
    certificate = certify(problem, result)
    assert certificate.is_global is True
    singles = [np.linalg.svd(X, compute_uv=False).sum() for X in result.X]
    assert certificate.nuclear_norm == pytest.approx(sum(singles), rel=1e-10)
    assert certify(problem, list(result.X)).gap == pytest.approx(certificate.gap, abs=1e-9)
    assert certify(problem, result.X).is_global is True  # two arrays: the updates, not the factors of one matrix
    assert solve(problem, optimizer, init=result).nit == 0


@pytest.mark.parametrize("name", sorted(routes.classes()))
def test_each_convex_route_finds_the_optimum_of_several_matrices_or_says_why_not(targets, name):
    problem = MultiProblem(targets, ranks=1, lam=0.7)
    if not routes.classes()[name].takes_several:
        assert name not in ("factored", "prox")
        with pytest.raises(ValueError, match="it works on one matrix, and this problem has 2"):
            solve_convex(problem, name)
        return
    found = solve_convex(problem, name, tol=1e-10)
    assert found.success and found.gap <= 1e-10 * found.fun
    for X, M in zip(found.X, targets.M):
        np.testing.assert_allclose(X, soft_thresholded(M, 0.7), atol=1e-5)
    values = [np.linalg.svd(soft_thresholded(M, 0.7), compute_uv=False) for M in targets.M]
    assert found.rank == sum(numerical_rank(s) for s in values)


def test_a_matrix_that_is_switched_off_has_no_rank_in_certificate_and_verdict():
    """With ``lam`` above all singular values of the second target its update is 0; what a descent leaves is noise."""
    rng = np.random.default_rng(0)
    M = rng.standard_normal((8, 6))
    kept = np.count_nonzero(np.linalg.svd(M, compute_uv=False) > 0.5)
    problem = MultiProblem(Separable([Denoising(M), Denoising(0.1 * M)]), (6, 6), 0.5)
    assert np.linalg.norm(0.1 * M, 2) < 0.5
    result = solve(problem, "lbfgs", seed=0)
    assert 0.0 < np.linalg.norm(result.X[1]) < 1e-12
    assert certify(problem, result).rank == ls.landscape.verdict(problem, result).stationarity.rank == kept


def test_convex_routes_agree_where_the_matrices_are_coupled():
    """Least squares in the sum of two products: no block has the optimum of its own problem."""

    class Sum(MultiObjective):
        shapes = ((5, 4), (5, 3))
        convex, lower_bound, least_squares = True, 0.0, True

        def __init__(self):
            generator = np.random.default_rng(0)
            self.Z = [generator.standard_normal((n, 9)) for _, n in self.shapes]
            self.Y = generator.standard_normal((5, 9))

        def value_and_grad(self, X):
            R = X[0] @ self.Z[0] + X[1] @ self.Z[1] - self.Y
            return 0.5 * float(np.sum(R * R)), tuple(R @ z.T for z in self.Z)

    problem = MultiProblem(Sum(), ranks=3, lam=2.0)
    found = solve_convex(problem, tol=1e-9, cross_check=True)
    assert found.route == "factored" and found.cross_check["route"] == "prox"
    assert abs(found.cross_check["relative_difference"]) < 1e-8
    assert found.success
    assert certify(embedded(problem), scipy.linalg.block_diag(*found.X)).relative_gap < 1e-6


def test_the_joint_route_without_the_fast_path_gives_the_same():
    generator = np.random.default_rng(0)
    problem = MultiProblem(Separable([LinearFineTuning.example(generator) for _ in range(3)]), ranks=2, lam=0.7)
    stop = StoppingRule(max_iter=50)
    fast, plain = (solve(problem, "gd", stop=stop, engine=engine) for engine in ("compiled", "interpreted"))
    np.testing.assert_allclose(fast.theta, plain.theta, atol=1e-12)


def test_network_reaches_a_stationary_point_with_every_block_balanced():
    problem = MultiProblem(network(), ranks=(2, 2), lam=0.05)
    result = solve(problem, "lbfgs", seed=1, stop=StoppingRule(grad_tol=1e-10))
    assert np.linalg.norm(grad_of(problem, result.theta)) < 1e-8
    for A, B in zip(result.A, result.B):  # A^T A = B^T B at every stationary point with lam > 0, block by block
        np.testing.assert_allclose(A.T @ A, B.T @ B, atol=1e-7)
    assert certify(problem, result).is_global is None


def test_the_start_of_each_block_is_its_own(targets):
    problem = MultiProblem(targets, ranks=(2, 1), lam=0.1)
    A, B, _ = problem.split(Method("gd").start(problem, rng()).theta)
    assert A[0].shape == (5, 2) and A[1].shape == (3, 1)
    assert not B[0].any() and not B[1].any()
    given = solve(problem, "gd", init=(A, B), stop=StoppingRule(max_iter=3))
    named = solve(problem, "gd", init="lora", seed=0, stop=StoppingRule(max_iter=3))
    np.testing.assert_array_equal(given.theta, named.theta)


def test_one_block_is_the_ordinary_problem():
    M = np.random.default_rng(0).standard_normal((5, 4))
    multi = MultiProblem(Separable([Denoising(M)]), ranks=2, lam=0.5)
    single = ls.Problem(Denoising(M), 2, 0.5)
    stop = StoppingRule(max_iter=20)
    first, second = (solve(problem, "gd", "gaussian", seed=3, stop=stop) for problem in (multi, single))
    np.testing.assert_allclose(first.theta, second.theta, atol=1e-12)
    assert certify(multi, first).gap == pytest.approx(certify(single, second).gap, rel=1e-9)
    assert solve_convex(multi).fun == pytest.approx(solve_convex(single, "factored").fun, rel=1e-9)
    assert ls.landscape.verdict(multi, first).kind == ls.landscape.verdict(single, second).kind


def test_memory_is_the_sum_of_the_blocks():
    """Twelve blocks of 96 x 96 hold less than one matrix of the block-diagonal problem (1152 x 1152, 10.6 MB)."""
    generator = np.random.default_rng(0)
    parts = [Denoising(generator.standard_normal((96, 96))) for _ in range(12)]
    problem = MultiProblem(Separable(parts), ranks=4, lam=10.0)

    def solved_and_judged(max_iter: int) -> None:
        result = solve(problem, "gd", stop=StoppingRule(max_iter=max_iter))
        certify(problem, result)
        ls.landscape.second_order(problem, result.A, result.B)

    solved_and_judged(2)  # what is imported and compiled is no memory of the blocks
    tracemalloc.start()
    solved_and_judged(30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * (12 * 96) ** 2


def test_batches_average_to_the_whole():
    pair = network()
    X = [np.ones(shape) for shape in pair.shapes]
    parts = [pair.sample_batch(np.arange(k, 12, 3)).value_and_grad(X)[0] for k in range(3)]
    assert np.mean(parts) == pytest.approx(pair.value_and_grad(X)[0], rel=1e-13)


def test_a_loss_may_write_every_gradient_into_one_array(targets):
    """Differences of its gradients were zero: a strict minimum was called a saddle, and the certificate was wrong."""
    problem = MultiProblem(Reusing(targets), ranks=(4, 3), lam=0.7)
    result = solve(problem, "lbfgs", stop=StoppingRule(grad_tol=1e-10))
    optimum = [soft_thresholded(M, 0.7) for M in targets.M]
    for X, best in zip(result.X, optimum):
        np.testing.assert_allclose(X, best, atol=1e-6)
    assert ls.landscape.verdict(problem, result).kind == "global"
    for X, best in zip(solve_convex(problem, "prox", tol=1e-10).X, optimum):
        np.testing.assert_allclose(X, best, atol=1e-5)
    block = problem.block(0, [np.zeros(shape) for shape in problem.shapes])
    X, D = np.random.default_rng(0).standard_normal((2, *problem.shapes[0]))
    kept = block.value_and_grad(X)[1]
    np.testing.assert_allclose(block.hessian_product(X, D), D, atol=1e-8)  # the Hessian of ||X - M||^2/2
    np.testing.assert_array_equal(kept, X - targets.M[0])


@pytest.mark.parametrize("kind", [Reusing, ReusingProducts])
def test_second_order_answers_of_reused_arrays_are_those_of_the_loss(kind):
    net = network()
    plain, reusing = (MultiProblem(loss, ranks=2, lam=0.1) for loss in (net, kind(net)))
    theta, direction = random_theta(plain), random_theta(plain, 2)
    expected = plain.hessian_product(theta, direction)
    np.testing.assert_allclose(reusing.hessian_product(theta, direction), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda f, G: (f, G[:1]), ValueError, "value_and_grad: expected 2 gradients, one for each update, got 1"),
        (lambda f, G: (f, None), ValueError, "expected 2 gradients, one for each update, got None"),
        (lambda f, G: (f, (G[0].T, G[1])), ValueError, r"gradient in X\[0\] of shape \(4, 5\), expected \(5, 4\)"),
        (lambda f, G: (f, (G[0], G[1][:1])), ValueError, r"gradient in X\[1\] of shape \(1, 6\), expected \(3, 6\)"),
        (lambda f, G: (f, (G[0], 1j * G[1])), TypeError, r"gradient in X\[1\] of type complex128, expected real"),
        (lambda f, G: f, TypeError, r"Spoilt.value_and_grad must return \(float, \(G_1, .., G_L\)\)"),
        (lambda f, G: (np.array([f]), G), TypeError, "returned the value .*, expected a real number"),
        (lambda f, G: (f + 0j, G), TypeError, "returned the value .*, expected a real number"),
    ],
)
def test_a_wrong_answer_of_a_loss_of_several_is_named(targets, spoil, error, words):
    class Spoilt(TwoTargets):
        def value_and_grad(self, X):
            return spoil(*super().value_and_grad(X))

    problem = MultiProblem(Spoilt(*targets.M), ranks=1, lam=0.5)
    ones = [np.ones((m, 1)) for m, _ in problem.shapes], [np.ones((n, 1)) for _, n in problem.shapes]
    for call in (
        lambda: solve(problem, "lbfgs"),
        lambda: solve(problem, "lbfgs", engine="interpreted"),
        lambda: certify(problem, ones),
        lambda: solve_convex(problem, "prox"),
        lambda: problem.convex_value([np.ones(shape) for shape in problem.shapes]),
        lambda: problem.hessian_product(np.ones(problem.size), np.ones(problem.size)),
    ):
        with pytest.raises(error, match=words):
            call()


def test_a_loss_of_several_is_checked_block_by_block(targets):
    with pytest.raises(TypeError, match=r"check_objective\(loss.block\(k, X\)\)"):
        check_objective(targets)
    X = [np.ones(shape) for shape in targets.shapes]
    assert check_objective(targets.block(1, X)).ok

    class Wrong(TwoTargets):
        def value_and_grad(self, X):
            f, G = super().value_and_grad(X)
            return f, (1.1 * G[0], G[1])

    wrong = Wrong(*targets.M)
    assert not check_objective(wrong.block(0, X)).ok
    assert check_objective(wrong.block(1, X)).ok
    zeros = [np.zeros((m, 1)) for m, _ in wrong.shapes], [np.zeros((n, 1)) for _, n in wrong.shapes]
    certificate = certify(MultiProblem(wrong, ranks=1, lam=10.0), zeros)
    assert certificate.is_global is None
    assert certificate.reason.endswith("run check_objective on each block(k, X)")
    assert any("check_objective on each block(k, X) tests more" in text for text in certificate.assumptions)


def test_bad_input_is_named(targets):
    with pytest.raises(ValueError, match="ranks: expected one number or 2, got 3"):
        MultiProblem(targets, ranks=(1, 2, 3))
    assert MultiProblem(targets, ranks=np.array([1, 2])).ranks == MultiProblem(targets, ranks=(1, 2)).ranks == (1, 2)
    with pytest.raises(ValueError, match=r"ranks\[1\]: expected an integer from 1 to 3, got 4"):
        MultiProblem(targets, ranks=4)
    with pytest.raises(TypeError, match=r"ranks\[0\]: expected an integer"):
        MultiProblem(targets, ranks=1.5)
    with pytest.raises(ValueError, match="lam: expected"):
        MultiProblem(targets, ranks=1, lam=-1.0)
    with pytest.raises(TypeError, match="objective: expected a MultiObjective, got Denoising"):
        MultiProblem(Denoising(np.eye(2)), ranks=1)
    problem = MultiProblem(targets, ranks=1, lam=0.1)
    A, B, _ = problem.split(random_theta(problem))
    with pytest.raises(ValueError, match="A: expected 2 arrays, one for each matrix, got 1 entries"):
        problem.value(A[:1], B)
    with pytest.raises(ValueError, match="B: expected 2 arrays, one for each matrix, got ndarray"):
        problem.value(A, B[0])
    with pytest.raises(ValueError, match=r"A\[0\]: expected shape \(5, 1\), got \(3, 1\)"):
        problem.value(A[::-1], B[::-1])
    with pytest.raises(ValueError, match=r"B\[1\]: has non-finite entries"):
        problem.value(A, (B[0], np.nan * B[1]))
    with pytest.raises(ValueError, match="index: expected an integer from 0 to 1"):
        problem.block(2, problem.update(problem.join(A, B)))
    with pytest.raises(ValueError, match=r"X: expected 2 arrays, one for each matrix, got 1 entries"):
        problem.block(0, [np.zeros((5, 4))])
    with pytest.raises(ValueError, match=r"X\[1\]: expected shape \(3, 6\)"):
        problem.block(0, [np.zeros((5, 4)), np.zeros((6, 3))])
    apart = Separable([Denoising(np.zeros(shape)) for shape in problem.shapes])
    with pytest.raises(ValueError, match="X: expected 2 arrays, one for each matrix, got float"):
        MultiProblem(apart, problem.ranks).block_problem(0, 1.5)
    with pytest.raises(ValueError, match="A: expected 2 arrays, one for each matrix, got 1 entries"):
        problem.factored_convex_value(A[:1], B)
    with pytest.raises(ValueError, match="A = B = 0 is a stationary point"):
        solve(problem, init=([0 * part for part in A], [0 * part for part in B]))
    with pytest.raises(ValueError, match="adapter 'sora'"):
        solve(problem, "gd@sora")
    with pytest.raises(ValueError, match="adapter 'lora': with settings it works on one matrix"):
        solve(problem, "gd@lora:alpha=2")
    with pytest.raises(AttributeError, match=r"shape: works on one matrix, and this problem has 2.*see shapes"):
        problem.shape  # noqa: B018


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"shapes": None}, r"Told\.shapes: expected a tuple of pairs \(m, n\), one for each update, got None"),
        ({"shapes": ()}, r"Told\.shapes: expected a tuple of pairs \(m, n\), one for each update, got \(\)"),
        ({"shapes": (3, 3)}, r"Told\.shapes\[0\]: expected a tuple \(m, n\) of integers .*, got 3"),
        ({"shapes": ((3, 3), (3, 2.5))}, r"Told\.shapes\[1\]: expected an integer from 1 to .*, got 2\.5"),
        ({"shapes": ((0, 3), (2, 2))}, r"Told\.shapes\[0\]: expected an integer from 1 to .*, got 0"),
        ({"dtype": "float16"}, r"Told\.dtype: expected float64 or float32, got float16"),
        ({"dtype": "double trouble"}, r"Told\.dtype: expected a type, got 'double trouble'"),
    ],
)
def test_what_a_loss_of_several_states_of_itself_is_checked(stated, words):
    """Shapes of fractions and none at all were accepted; the others ended in an AttributeError or a KeyError."""
    told = type("Told", (TwoTargets,), {"shapes": ((3, 3), (2, 2)), "__init__": lambda self: None} | stated)
    with pytest.raises((TypeError, ValueError), match=f"^objective: {words}"):
        MultiProblem(told(), ranks=1)


def test_files_for_others_are_of_one_matrix(targets, tmp_path):
    """They ended in an AttributeError."""
    problem = MultiProblem(targets, ranks=1, lam=0.1)
    certificate = certify(problem, [np.zeros(shape) for shape in problem.shapes])
    for name, write in {"to_sdpa": problem.to_sdpa, "certificates.document": certificate.save}.items():
        with pytest.raises(ValueError, match=f"^{name}: works on one matrix, and this problem has 2$"):
            write(tmp_path / "two")
    assert not list(tmp_path.iterdir())


def test_the_networks_shapes_are_checked():
    W, V, Z, Y = np.zeros((4, 3)), np.zeros((2, 4)), np.ones((3, 5)), np.zeros((2, 5))
    with pytest.raises(ValueError, match=r"Y: expected shape \(2, 5\)"):
        TwoLayerPair(W, V, Z, Y[:, :4])
    with pytest.raises(ValueError, match="activation: unknown activation 'sine'"):
        TwoLayerPair(W, V, Z, Y, "sine")


@pytest.mark.parametrize("unit", [1e155, 1e200, 1e-170, 1e-200])
def test_the_curvature_of_several_matrices_is_sampled_in_every_unit(unit):
    """It was 0 where squares of lengths underflow, and an error where they overflow."""

    class Rounded:
        """The sum of ``sqrt(M^2 + (X - M)^2)``: a length in its units, so that curvatures are inverse ones."""

        convex = True

        def __init__(self, M):
            self.M, self.shape = M, M.shape

        def value_and_grad(self, X):
            E = X - self.M
            size = np.hypot(self.M, E)
            return float(size.sum()), E / size

    M = np.random.default_rng(0).standard_normal((4, 3))

    def curvature(u):
        problem = MultiProblem(Separable([Rounded(u * M), Rounded(u * M[:3])]), 2, 0.5)
        return problem.loss.sampled_smoothness([(u * M, np.eye(3)), (u * M[:3], np.eye(3))])

    assert unit * curvature(unit) == pytest.approx(curvature(1.0), rel=1e-6)
