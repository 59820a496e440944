"""The protocol: what follows from ``value_and_grad`` alone, users' plain objects, the registry."""

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import MultiProblem, Problem, objectives
from lorasolve.linear_map import LinearMap
from lorasolve.multi import MultiObjective, Separable
from lorasolve.objectives import DenseReference, Facts, Objective, UserObjective, as_objective, estimate_smoothness
from lorasolve.objectives.base import Shifted


class Quartic:
    """``sum X^4 / 4``: gradient ``X^3``, Hessian ``3 X^2``."""

    shape = (3, 2)

    def value_and_grad(self, X):
        return 0.25 * float(np.sum(X**4)), X**3


@pytest.fixture
def quartic():
    return as_objective(Quartic())


@pytest.fixture
def factors():
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal((k, 2)) for k in (3, 2, 3, 2))


def test_a_plain_user_object_gets_every_level(quartic, factors):
    A, B, U, V = factors
    X = A @ B.T
    GB, GtA = np.empty_like(A), np.empty_like(B)
    assert quartic.factor_oracle(A, B, GB, GtA) == pytest.approx(0.25 * np.sum(X**4), rel=1e-15)
    np.testing.assert_allclose(GB, X**3 @ B)
    np.testing.assert_allclose(GtA, (X**3).T @ A)
    assert quartic.factor_value(A, B) == pytest.approx(0.25 * np.sum(X**4), rel=1e-15)
    H = 3 * X**2 * (U @ B.T + A @ V.T)
    first, second = quartic.factor_hvp(A, B, U, V)
    np.testing.assert_allclose(first, H @ B + X**3 @ V, atol=1e-7)
    np.testing.assert_allclose(second, H.T @ A + (X**3).T @ U, atol=1e-7)
    np.testing.assert_allclose(quartic.gradient_operator(A, B).to_dense(), X**3)


class OneProduct(Quartic):
    """Multiplies by the Hessian at factors itself, three times too long, so that it is seen who was asked."""

    def factor_hvp(self, A, B, U, V):
        return 3.0 * U, 3.0 * V


class ManyProducts(Quartic):
    def hessian_at(self, A, B):
        return lambda U, V: (3.0 * U, 3.0 * V)


@pytest.mark.parametrize("user", [OneProduct, ManyProducts])
@pytest.mark.parametrize("inherits", [False, True])
def test_of_products_at_factors_one_is_written_and_the_others_follow(user, inherits, factors):
    loss = type(user.__name__, (user, ls.objectives.Objective), {})() if inherits else as_objective(user())
    A, B, U, V = factors
    problem = ls.Problem(loss, 2, 0.5)
    for found in (
        loss.factor_hvp(A, B, U, V),
        loss.hessian_at(A, B)(U, V),
        problem.loss.hessian_at([(A, B)])([(U, V)])[0],
    ):
        np.testing.assert_array_equal(np.vstack(found), 3.0 * np.vstack([U, V]))
    np.testing.assert_allclose(np.vstack(problem.hvp(A, B, U, V)), 3.5 * np.vstack([U, V]))


def test_an_overridden_product_may_ask_the_one_above_it(factors):
    class Twice(ls.objectives.Denoising):
        def factor_hvp(self, A, B, U, V):
            return tuple(2.0 * part for part in super().factor_hvp(A, B, U, V))

    A, B, U, V = factors
    plain, twice = (cls(np.arange(6.0).reshape(3, 2)) for cls in (ls.objectives.Denoising, Twice))
    for part, other in zip(plain.factor_hvp(A, B, U, V), twice.hessian_at(A, B)(U, V)):
        np.testing.assert_allclose(2.0 * part, other, rtol=1e-14)


def test_products_at_factors_that_are_no_function_are_refused(factors):
    user = Quartic()
    user.hessian_at = lambda A, B: (A, B)
    with pytest.raises(TypeError, match=r"Quartic\.hessian_at returned .*, expected a function of \(U, V\)"):
        as_objective(user).hessian_at(*factors[:2])


def test_products_at_one_point_share_its_gradient(factors):
    class Differenced(Quartic):
        calls = 0

        def value_and_grad(self, X):
            self.calls += 1
            return super().value_and_grad(X)

    class Counting(Differenced):
        def hessian_product(self, X, D):
            return 3 * X**2 * D

    for user, each in ((Counting(), 0), (Differenced(), 2)):
        problem = ls.Problem(user, 2, 0.1)
        multiply, before = problem.hessian_at(problem.join(*factors[:2])), user.calls
        for _ in range(5):
            multiply(problem.join(*factors[2:]))
        assert user.calls == before + 5 * each


@pytest.mark.parametrize(
    ("name", "given"), [("increments", np.ones(3)), ("metrics", ["rmse"]), ("description", "X^4/4")]
)
def test_data_under_the_name_of_a_method_are_refused(name, given):
    user = Quartic()
    setattr(user, name, given)
    with pytest.raises(TypeError, match=rf"Quartic\.{name}: expected a method, got"):
        as_objective(user)
    setattr(user, name, None)  # as if it were not stated
    user.convex, user.lower_bound = True, 0.0
    assert ls.solve_convex(ls.Problem(user, 2, 1.0)).fun == 0.0


def test_a_frozen_weight_and_rounding_errors_that_are_none_are_refused_by_name(quartic):
    m, n = quartic.shape

    class Weighted:
        shape, convex, lower_bound = quartic.shape, True, 0.0
        value_and_grad = staticmethod(quartic.value_and_grad)
        W0 = np.ones((m, n)).tolist()
        errors = (1e-12, 1e-12)

        def rounding_noise(self, A, B):
            return self.errors

    loss = as_objective(Weighted())
    np.testing.assert_array_equal(loss.W0, np.ones((m, n)))
    assert ls.solve(ls.Problem(Weighted(), 1, adapter="dora"), init="gaussian", stop=ls.StoppingRule(3)).nit == 3
    assert loss.rounding_noise(np.ones((m, 1)), np.ones((n, 1))) == (1e-12, 1e-12)
    for given, error in ((np.ones((n, m)), ValueError), ("W0", TypeError)):
        Weighted.W0 = given
        with pytest.raises(error, match=r"Weighted\.W0: expected"):
            as_objective(Weighted())
    for given, error in ((1e-12, TypeError), ((1.0, -1.0), ValueError), ((None, 1.0), TypeError)):
        Weighted.errors, Weighted.W0 = given, None
        with pytest.raises(error, match=r"Weighted\.rounding_noise"):
            ls.certify(ls.Problem(Weighted(), 1, 0.1), (np.ones((m, 1)), np.ones((n, 1))))


def test_default_hessian_product_is_accurate(quartic):
    rng = np.random.default_rng(1)
    X, D = rng.standard_normal((3, 2)), rng.standard_normal((3, 2))
    np.testing.assert_allclose(quartic.hessian_product(X, D), 3 * X**2 * D, rtol=1e-8, atol=1e-9)
    np.testing.assert_array_equal(quartic.hessian_product(X, 0 * D), 0 * D)


def test_default_hessian_product_suits_float32():
    class Single(Quartic):
        dtype = np.float32

        def value_and_grad(self, X):
            X = X.astype(np.float32)
            return 0.25 * float(np.sum(X**4)), X**3

    rng = np.random.default_rng(1)
    X, D = rng.standard_normal((3, 2)), rng.standard_normal((3, 2))
    difference = as_objective(Single()).hessian_product(X, D) - 3 * X**2 * D
    assert np.linalg.norm(difference) < 2e-3 * np.linalg.norm(3 * X**2 * D)


@pytest.mark.parametrize("own", [3, [np.eye(3)], {"size": 5}])
def test_what_a_user_calls_kernels_is_none_of_compiled_loops(own):
    class Convolved(Quartic):
        kernels = own

    X = np.ones((3, 2))
    assert ls.solve(ls.Problem(Convolved(), 2, 0.1), "lbfgs", (X, np.ones((2, 2)))).success


def test_nothing_is_claimed_for_a_plain_user_object(quartic):
    assert quartic.facts == Facts() == Facts(None, False, None, None, True, None, False)
    assert quartic.W0 is quartic.minimizer(0.0, 1) is None
    assert quartic.kernels.data(1, 1) is quartic.kernels.mixed(1, 1) is quartic.kernels.take(1)[1] is None
    assert quartic.kernels.quadratic() is None and not quartic.kernels.threaded
    for missing in (
        lambda: quartic.minimize_over_A(np.ones((2, 1)), 0.1),
        lambda: quartic.minimize_over_B(np.ones((3, 1)), 0.1),
        lambda: quartic.sample_batch([0]),
        lambda: quartic.cvxpy_expression(None),
        lambda: Objective.example(np.random.default_rng(0)),
    ):
        with pytest.raises(NotImplementedError, match=r"Objective|Quartic"):
            missing()


def test_samples_without_batches_are_refused_by_name_before_anything_is_run():
    class Means(Quartic):
        n_samples = 3
        convex, lower_bound = True, 0.0

    class Derived(Objective):
        shape, n_samples = (3, 2), 3

        def value_and_grad(self, X):
            return 0.5 * float((X**2).sum()), X

    class Whole(Means):
        def sample_batch(self, index):
            return Quartic()

    ls.solve(ls.Problem(Whole(), 1, 0.1), "sgd", stop=ls.StoppingRule(max_iter=2))
    for loss in (Means(), Derived(), as_objective(Means()).merged(np.zeros((3, 2)))):
        problem = ls.Problem(loss, 1)
        for method, engine in (("sgd", "compiled"), ("sgd", "interpreted"), ("gd+galore:batch_size=1", "compiled")):
            with pytest.raises(ValueError, match=r"(Means|Derived) states n_samples and has no sample_batch\(index\)"):
                ls.solve(problem, method, engine=engine)
    with pytest.raises(ValueError, match=r"problem: Means states n_samples .*; give held_out"):
        ls.cross_validate(ls.Problem(Means(), 1, 0.1), [0.1], folds=2)


def test_what_a_user_object_states_is_used():
    class Stated(Quartic):
        convex = True
        lower_bound = -1.0
        dtype = "float64"

        def hessian_product(self, X, D):
            return 3 * X**2 * D

        def metrics(self, X):
            return {"largest": float(X.max())}

    objective = as_objective(Stated())
    assert objective.facts.convex is True
    assert objective.facts.lower_bound == -1.0
    assert objective.dtype == np.float64
    X = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(objective.hessian_product(X, X), 3 * X**3)
    assert objective.metrics(X) == {"largest": 5.0}


def test_an_objective_is_used_as_it_is():
    objective = objectives.Denoising(np.eye(2))
    assert as_objective(objective) is objective


@pytest.mark.parametrize("shape", [None, (3,), (0, 2), [3, 2], (3, 2, 1)])
def test_a_user_object_without_a_shape_is_refused(shape):
    user = Quartic()
    user.shape = shape
    with pytest.raises(TypeError, match=r"objective: expected an object with `shape`"):
        as_objective(user)


@pytest.mark.parametrize("shape", [None, (3,), (0, 2), [3, 2], (3, 2, 1), (3.0, 2), np.array([3, 2])])
def test_a_subclass_without_a_shape_is_refused_by_its_name(shape):
    class Shapeless(Objective):
        def value_and_grad(self, X):
            return 0.0, 0.0 * X

    objective = Shapeless()
    if shape is not None:
        objective.shape = shape
    with pytest.raises((TypeError, ValueError), match=r"^objective: Shapeless.shape: expected a"):
        ls.Problem(objective, 1)


def test_a_user_object_without_an_oracle_is_refused():
    class Empty:
        shape = (2, 2)

    with pytest.raises(TypeError, match=r"ndarray has no method value_and_grad.*Denoising\(M\)"):
        ls.Problem(np.eye(3), 2)
    with pytest.raises(TypeError, match=r"Empty has no method value_and_grad\(X\) -> \(float, G\)$"):
        as_objective(Empty())
    with pytest.raises(TypeError, match=r"expected an object such as Quartic\(\.\.\.\), got the class"):
        as_objective(Quartic)


@pytest.mark.parametrize("answer", ["0.5", [0.5], {"error": "small"}, {"errors": np.zeros(2)}, {1: 0.5}])
def test_metrics_of_a_user_are_names_with_numbers(answer):
    user = Quartic()
    user.metrics = lambda X: answer
    with pytest.raises(TypeError, match=r"Quartic\.metrics must return names with numbers, got"):
        as_objective(user).metrics(np.zeros((3, 2)))
    user.metrics = lambda X: {"share": np.float32(0.5), "count": 3}
    assert as_objective(user).metrics(np.zeros((3, 2))) == {"share": 0.5, "count": 3.0}


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (1.0, TypeError, r"must return \(float, G\), got 1.0"),
        (None, TypeError, r"must return \(float, G\), got None"),
        ((1.0, np.zeros((3, 2)), {}), TypeError, r"must return \(float, G\), got 3 values"),
        ((1.0, np.zeros((2, 3))), ValueError, r"gradient of shape \(2, 3\), expected \(3, 2\)"),
        ((1.0, [[1.0], [1.0, 2.0]]), ValueError, "objective: the gradient of Wrong: expected an array"),
        ((1.0, np.ma.masked_array(np.ones((3, 2)), True)), ValueError, "the gradient of Wrong: is a masked array"),
        ((np.ma.masked, np.ones((3, 2))), TypeError, "returned the value an array of shape"),
    ],
)
def test_a_wrong_answer_of_a_user_object_is_named(answer, error, words):
    class Wrong(Quartic):
        def value_and_grad(self, X):
            return answer

    with pytest.raises(error, match=words):
        UserObjective(Wrong()).value_and_grad(np.zeros((3, 2)))


@pytest.mark.parametrize("base", [object, Objective])
@pytest.mark.parametrize("answer", [None, "x", 1j, np.ones(2)])
@pytest.mark.parametrize("method", ["factor_value", "factor_oracle"])
def test_an_answer_at_factors_that_is_no_number_is_named(method, answer, base):
    """It had ended in an error of Python, or one that named the adapter."""

    class Mine(base):
        shape, convex, lower_bound = (3, 2), True, 0.0

        def value_and_grad(self, X):
            return 0.5 * float(np.sum((X - 1.0) ** 2)), X - 1.0

    setattr(Mine, method, lambda self, *factors: answer)
    problem, ones = ls.Problem(Mine(), 1, 0.1), (np.ones((3, 1)), np.ones((2, 1)))
    asked = [ls.certify, ls.landscape.verdict, lambda problem, _: ls.solve_convex(problem)]
    if method == "factor_oracle":
        asked.append(lambda problem, start: ls.solve(problem, "gd", init=start))
    said = rf"objective: Mine\.{method} returned the value .*, expected a real number"
    for ask in asked:
        with pytest.raises(TypeError, match=said):
            ask(problem, ones)


def test_a_user_object_may_write_every_gradient_into_one_array():
    """Differences of its gradients were zero, and bounds came from the gradient at another point."""

    class Reusing(Quartic):
        convex, lower_bound = True, 0.0

        def __init__(self):
            self.G = np.empty((3, 2))

        def value_and_grad(self, X):
            f, self.G[:] = super().value_and_grad(X)
            return f, self.G

    X, D = np.random.default_rng(0).standard_normal((2, 3, 2))
    reusing, plain = as_objective(Reusing()), as_objective(Quartic())
    np.testing.assert_array_equal(reusing.hessian_product(X, D), plain.hessian_product(X, D))
    kept = reusing.value_and_grad(X)[1]
    reusing.value_and_grad(D)
    np.testing.assert_array_equal(kept, plain.value_and_grad(X)[1])


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda H: None, ValueError, r"Wrong.hessian_product returned a product of shape \(\), expected \(3, 2\)"),
        (lambda H: 0.0, ValueError, r"Wrong.hessian_product returned a product of shape \(\), expected \(3, 2\)"),
        (lambda H: H.T, ValueError, r"Wrong.hessian_product returned a product of shape \(2, 3\), expected \(3, 2\)"),
        (lambda H: 1j * H, TypeError, "Wrong.hessian_product returned a product of type complex128"),
        (lambda H: np.nan * H, ValueError, "Wrong.hessian_product returned a product that is not finite"),
    ],
)
def test_a_wrong_hessian_product_of_a_user_object_is_named(factors, spoil, error, words):
    class Wrong(Quartic):
        def hessian_product(self, X, D):
            return spoil(3 * X**2 * D)

    problem = ls.Problem(Wrong(), 2, 0.1)
    for call in (
        lambda: ls.solve(problem, "trust_ncg"),
        lambda: ls.landscape.second_order(problem, *factors[:2]),
        lambda: ls.landscape.second_order(ls.Problem(as_objective(Wrong()).merged(np.ones((3, 2))), 2), *factors[:2]),
    ):
        with pytest.raises(error, match=words):
            call()


def test_a_user_object_may_write_every_hessian_product_into_one_array():
    class Reusing(Quartic):
        H = np.empty((3, 2))

        def hessian_product(self, X, D):
            self.H[:] = 3 * X**2 * D
            return self.H

    objective = as_objective(Reusing())
    X, D, E = np.random.default_rng(0).standard_normal((3, 3, 2))
    first, second = objective.hessian_product(X, D), objective.hessian_product(X, E)
    np.testing.assert_array_equal(first, 3 * X**2 * D)
    np.testing.assert_array_equal(second, 3 * X**2 * E)
    assert ls.check_objective(Reusing()).ok


class Regression:
    """``LinearFineTuning`` as a plain object whose methods return plain objects."""

    convex, lower_bound = True, 0.0

    def __init__(self, W, Z, Y, dtype=np.float64):
        self.W, self.Z, self.Y, self.dtype = W, Z, Y, dtype
        self.shape, self.n_samples = W.shape, Z.shape[1]
        self.smoothness = np.linalg.norm(Z, 2) ** 2 / Z.shape[1]

    def value_and_grad(self, X):
        E = ((self.W + X) @ self.Z - self.Y).astype(self.dtype)
        return 0.5 * float(np.sum(E * E)) / self.n_samples, E @ self.Z.T.astype(self.dtype) / self.n_samples

    def sample_batch(self, index):
        return Regression(self.W, self.Z[:, index], self.Y[:, index], self.dtype)

    def merged(self, update):
        return Regression(self.W + update, self.Z, self.Y, self.dtype)

    def in_float64(self):
        return Regression(self.W, self.Z, self.Y)


def test_the_methods_of_a_plain_object_may_return_plain_objects():
    rng = np.random.default_rng(0)
    data = [rng.standard_normal(shape) for shape in ((3, 5), (5, 40), (3, 40))]
    assert ls.check_objective(Regression(*data)).ok
    plain, built_in = (ls.Problem(f, 2, 0.05) for f in (Regression(*data), objectives.LinearFineTuning(*data)))
    for method in ("sgd", "gd+periodic:period=5", "sgd+periodic:period=5"):
        mine, theirs = (ls.solve(p, method, stop=ls.StoppingRule(max_iter=12)) for p in (plain, built_in))
        np.testing.assert_allclose(mine.X, theirs.X, rtol=1e-9, atol=1e-10)
    mine, theirs = (ls.cross_validate(p, [0.1, 0.01], 3) for p in (plain, built_in))
    np.testing.assert_allclose(mine.errors, theirs.errors, rtol=1e-3)
    single = ls.Problem(Regression(*data, np.float32), 2, 0.05)
    point = rng.standard_normal((3, 2)), rng.standard_normal((5, 2))
    assert ls.certify(single, point).value == pytest.approx(ls.certify(built_in, point).value, rel=1e-14)


@pytest.mark.parametrize(("method", "run"), [("sample_batch", "sgd"), ("merged", "gd+periodic:period=5")])
def test_a_method_that_changes_the_loss_instead_of_making_another_is_refused(method, run):
    """The loss that a certificate asks afterwards would be another one than that of the problem."""

    def in_place(self, argument):
        vars(self).update(vars(getattr(Regression, method)(self, argument)))
        return self

    rng = np.random.default_rng(0)
    data = [rng.standard_normal(shape) for shape in ((3, 5), (5, 40), (3, 40))]
    loss = type("InPlace", (Regression,), {method: in_place})(*data)
    with pytest.raises(ValueError, match=rf"objective: InPlace\.{method} returned the loss itself, expected another"):
        ls.solve(ls.Problem(loss, 2, 0.05), run, stop=ls.StoppingRule(max_iter=12))


@pytest.mark.parametrize("method", ["sample_batch", "merged", "in_float64", "in_float32"])
def test_a_method_of_a_plain_object_that_returns_no_loss_of_its_shape_is_named(method):
    class Other(Quartic):
        shape = (2, 3)

    arguments = {"sample_batch": [np.arange(2)], "merged": [np.zeros((3, 2))]}.get(method, [])
    for made, error, words in (
        ("text", TypeError, f"objective: Wrong.{method}: expected an object with `shape`"),
        (Other(), ValueError, rf"objective: Wrong.{method} returned a loss of shape \(2, 3\), expected \(3, 2\)"),
    ):
        Wrong = type("Wrong", (Quartic,), {method: lambda self, *_, made=made: made})
        with pytest.raises(error, match=words):
            getattr(as_objective(Wrong()), method)(*arguments)


def test_merging_twice_adds_the_updates(quartic):
    rng = np.random.default_rng(2)
    first, second, X = (rng.standard_normal((3, 2)) for _ in range(3))
    merged = quartic.merged(first).merged(second)
    assert isinstance(merged, Shifted)
    assert merged.value_and_grad(X)[0] == pytest.approx(0.25 * np.sum((first + second + X) ** 4), rel=1e-13)


def test_the_plain_twin_ignores_the_fast_path():
    class Broken(Objective):
        shape = (2, 2)

        def value_and_grad(self, X):
            return 0.5 * float(np.sum(X * X)), X.copy()

        def factor_oracle(self, A, B, GB, GtA):
            raise AssertionError("the fast path was used")

    A = np.eye(2)
    assert DenseReference(Broken()).factor_oracle(A, A, np.empty((2, 2)), np.empty((2, 2))) == 1.0


def test_estimated_smoothness_approaches_the_largest_curvature():
    weights = np.diag([1.0, 2.0, 9.0])

    class Weighted:
        shape = (3, 2)

        def value_and_grad(self, X):
            return 0.5 * float(np.sum(X * (weights @ X))), weights @ X

    estimate = estimate_smoothness(as_objective(Weighted()), np.zeros((3, 1)), np.zeros((2, 1)))
    assert 8.99 < estimate <= 9.0 + 1e-6


@pytest.mark.parametrize(("X", "where"), [(0.0, "X = 0"), (2.0, "an X of length 4")])
def test_gradients_without_a_curvature_are_named_with_the_place(X, where):
    class Cracked:
        """Its gradient has a hole next to a point, where its value has none."""

        shape = (2, 2)
        convex = True
        lower_bound = 0.0

        def value_and_grad(self, Y):
            return 0.5 * float(np.sum(Y * Y)), np.where(Y == X, Y, np.nan)

    problem = Problem(Cracked(), rank=2, lam=0.1)
    with pytest.raises(ValueError, match=f"^objective: gradients of f next to {where} have entries that are"):
        problem.sampled_smoothness(problem.join(np.full((2, 2), X), np.full((2, 2), 0.5)))
    pair = MultiProblem(Separable([Cracked(), Cracked()]), 2, 0.1)
    point = [(np.full((2, 2), X), np.full((2, 2), 0.5))] * 2
    length = "X = 0" if X == 0.0 else "an X of length 5.66"  # sqrt(2) 4
    with pytest.raises(ValueError, match=f"^objective: gradients of f next to {length} have"):
        pair.loss.sampled_smoothness(point)


def test_the_registry_finds_the_folder_and_suggests_the_near_miss():
    classes = objectives.registry.classes()
    assert classes["softmax"] is objectives.Softmax
    assert "" not in classes
    with pytest.raises(ValueError, match=r"unknown objective 'sofmax'\. Did you mean 'softmax'\? Accepted: "):
        objectives.registry.make("sofmax", "objective")
    for given, nearest in (("Sofmax", "Softmax"), ("Completion", "MatrixCompletion")):
        with pytest.raises(AttributeError, match=rf"no attribute '{given}'\. Did you mean '{nearest}'\?$"):
            getattr(objectives, given)
    with pytest.raises(AttributeError, match=r"no attribute '_softmax'\.$"):
        _ = objectives._softmax


@pytest.mark.parametrize("route", ["factored", "prox"])
def test_a_loss_that_writes_to_its_argument_is_answered_as_one_that_does_not(route):
    """The optimum is the soft-thresholded SVD; the second route had ended far from it, and a given X had changed."""

    class WritesToItsArgument:
        shape, convex, lower_bound = (3, 2), True, 0.0
        M = np.diag([3.0, 1.0, 0.0])[:, :2]

        def value_and_grad(self, X):
            X -= self.M
            return 0.5 * float(np.sum(X**2)), X

        def hessian_product(self, X, D):
            X *= 0.0
            return D

        def domain(self, X):
            X *= 0.0
            return True

        def metrics(self, X):
            X -= self.M
            return {"distance": float(np.linalg.norm(X))}

        def conjugate(self, Y):
            linear = float(np.sum(Y * self.M))
            Y *= Y
            return 0.5 * float(Y.sum()) + linear

    problem = ls.Problem(WritesToItsArgument(), 2, 0.5)
    found = ls.solve_convex(problem, route)
    assert found.success and found.fun == pytest.approx(0.5 * 3.0 + 0.5 * (0.25 + 0.25), rel=1e-8)
    X = np.ones((3, 2))
    f = 0.5 * (4.0 + 4.0 * 1.0)
    assert problem.convex_value(X) == pytest.approx(f + 0.5 * np.sqrt(6.0))
    assert problem.objective.value_and_grad(X)[0] == pytest.approx(f)
    problem.objective.hessian_product(X, X)
    # ``f*(Y) = ||Y||^2/2 + <Y, M>``.
    assert problem.objective.conjugate(X) == pytest.approx(0.5 * 6.0 + 4.0)
    assert problem.objective.metrics(X) == {"distance": pytest.approx(np.sqrt(4.0 + 4.0 * 1.0))}
    assert np.array_equal(X, np.ones((3, 2)))
    assert ls.verdict(problem, ls.solve(problem, "trust_ncg")).kind == "global"


class WritesToWhatItShares(objectives.Objective):
    """``||X - M||^2/2`` of a user, ``M = diag(3, 2)``, who writes to the argument or every gradient into one array."""

    shape = (2, 2)
    M = np.diag([3.0, 2.0])

    def __init__(self, in_place):
        self.in_place, self.kept = in_place, np.empty((2, 2))

    def value_and_grad(self, X):
        R = np.subtract(X, self.M, out=X if self.in_place else self.kept)
        return 0.5 * float((R**2).sum()), R


@pytest.mark.parametrize("in_place", [True, False])
def test_an_objective_that_writes_to_what_it_shares_is_judged_as_one_that_does_not(in_place):
    """For ``lam = 1`` the optimum is ``diag(2, 1)``, with ``F = 1 + 3``; of its first column ``F`` is 4.5."""
    X_star = np.diag([2.0, 1.0])
    for rank, kind in ((2, "global"), (1, "inconclusive")):
        problem = ls.Problem(WritesToWhatItShares(in_place), rank, 1.0)
        root = np.sqrt(X_star)[:, :rank]
        found = ls.verdict(problem, (root, root), X_star=X_star)
        assert found.kind == kind and np.array_equal(X_star, np.diag([2.0, 1.0]))
        assert found.certificate.value == pytest.approx(4.0 if rank == 2 else 4.5)
        assert found.second_order.smallest >= -1e-6
    assert problem.convex_value(X_star) == pytest.approx(4.0)


def test_a_sparse_gradient_is_refused_with_what_makes_an_array_of_it():
    sparse = pytest.importorskip("scipy.sparse")

    class SparseGradient:
        shape = (3, 2)

        def value_and_grad(self, X):
            return 0.0, sparse.csr_array(X)

    with pytest.raises(TypeError, match=r"SparseGradient\.value_and_grad returned a sparse gradient; \.toarray\(\)"):
        ls.Problem(SparseGradient(), 1).value(np.ones((3, 1)), np.ones((2, 1)))


class Squared:
    """``||X - 1||^2/2``, which gives its gradient as what it is told to."""

    shape, convex, lower_bound = (4, 3), True, 0.0

    def __init__(self, given):
        self.given, self.asked_dense = given, 0

    def value_and_grad(self, X):
        self.asked_dense += 1
        return 0.5 * float(((X - 1.0) ** 2).sum()), X - 1.0

    def gradient_operator(self, A, B):
        return self.given(A @ B.T - 1.0)


class SquaredObjective(Objective):
    """The same as a subclass."""

    shape, convex, lower_bound = Squared.shape, True, 0.0
    __init__, value_and_grad, gradient_operator = Squared.__init__, Squared.value_and_grad, Squared.gradient_operator


@pytest.mark.parametrize("kind", [Squared, SquaredObjective])
@pytest.mark.parametrize(
    ("given", "returned"),
    [
        (lambda G: G, "an array of shape"),
        (lambda G: None, "None, expected a lorasolve"),
        (lambda G: LinearMap.from_dense(G.T), r"a LinearMap of shape \(3, 4\), expected \(4, 3\)"),
    ],
)
def test_a_gradient_operator_that_returns_no_map_of_the_shape_is_refused_by_name(kind, given, returned):
    problem, factors = ls.Problem(kind(given), 2, 0.5), (np.ones((4, 2)), np.ones((3, 2)))
    told = rf"objective: {kind.__name__}\.gradient_operator returned {returned}"
    for judge in (ls.certify, ls.verdict):
        with pytest.raises((TypeError, ValueError), match=told):
            judge(problem, factors)


def test_the_gradient_operator_of_a_plain_object_is_used_beside_its_value(factors):
    """``G`` is formed for neither."""
    A, B = factors[0], factors[0]
    user = Squared(LinearMap.from_dense)
    user.shape = (3, 3)
    user.factor_oracle = lambda A, B, GB, GtA: 7.0
    f, _, _, G = as_objective(user).oracle_and_operator(A, B)
    np.testing.assert_array_equal(G.to_dense(), A @ B.T - 1.0)
    assert f == 7.0 and user.asked_dense == 0


@pytest.mark.parametrize("curvature", [1e-200, 1.0, 1e140])
def test_the_curvature_of_a_loss_is_estimated_in_any_unit(curvature):
    """Its square is no number, or 0, which was divided by."""

    class Weighted:
        shape = (3, 2)
        weights = curvature * np.arange(1.0, 7.0).reshape(3, 2)

        def value_and_grad(self, X):
            return 0.5 * float(np.sum(self.weights * X**2)), self.weights * X

    found = estimate_smoothness(as_objective(Weighted()), np.ones((3, 1)), np.ones((2, 1)))
    assert 5.0 * curvature < found < 6.0 * curvature * (1.0 + 1e-6)


@pytest.mark.parametrize("constant", [0.0, 1e6, 1e9, -1e12])
def test_a_constant_in_the_loss_makes_no_long_step_of_a_difference(constant):
    """``log cosh`` bends within a length of 1 of its minimum and nowhere else."""
    M, D = np.random.default_rng(7).standard_normal((2, 5, 4))

    class LogCosh:
        shape = M.shape

        def value_and_grad(self, X):
            return constant + float(np.log(np.cosh(X - M)).sum()), np.tanh(X - M)

    loss = as_objective(LogCosh())
    assert loss.hessian_product(0.0 * M, D) == pytest.approx(D / np.cosh(M) ** 2, rel=1e-6)
    zeros = np.zeros((5, 1)), np.zeros((4, 1))
    assert estimate_smoothness(loss, *zeros) == pytest.approx(1.0 / np.cosh(M).min() ** 2, rel=0.1)
    both = ls.MultiProblem(Coupled(M, constant), [1, 1], 0.1).loss
    H = both.checked_hessian_product([0.0 * M, 0.0 * M], [D, 0.0 * D])
    assert H[0] == pytest.approx(D / np.cosh(M) ** 2, rel=1e-6)


class Coupled(MultiObjective):
    """The sum of ``log cosh`` of the entries of ``X_1 + X_2 - M``, and a constant."""

    def __init__(self, M, constant):
        self.M, self.constant, self.shapes = M, constant, (M.shape, M.shape)

    def value_and_grad(self, X):
        E = X[0] + X[1] - self.M
        return self.constant + float(np.log(np.cosh(E)).sum()), (np.tanh(E), np.tanh(E))


def test_a_loss_that_is_not_finite_far_out_has_a_smoothness_where_its_constant_is_large():
    class Exponential:
        shape = (4, 3)

        def value_and_grad(self, X):
            return 1e9 + float(np.exp(-X).sum()), -np.exp(-X)

    problem = ls.Problem(Exponential(), 2, 1e3)
    result = ls.solve(problem, "lbfgs", seed=0)
    assert result.status is ls.Status.CONVERGED and np.abs(result.X).max() < 1e-6
