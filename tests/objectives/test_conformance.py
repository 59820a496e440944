"""Every objective of the folder passes the checks of what it states, in its types, and in the interface's corners.

What an objective lacks to be tested at all is one failure, of tests/checks/test_registries.py.
"""

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse

from lorasolve import check_objective, objectives
from lorasolve.checks import readiness
from lorasolve.objectives import DenseReference, registry
from lorasolve.objectives.base import Shifted

OBJECTIVES = [name for name, cls in registry.classes().items() if readiness(cls).ok]


@pytest.fixture(params=OBJECTIVES)
def cls(request):
    return registry.classes()[request.param]


def example(cls, seed=0, dtype="float64"):
    """Return the class's example; an objective of float64 only need not take the type."""
    rng = np.random.default_rng(seed)
    return cls.example(rng) if dtype == "float64" else cls.example(rng, np.dtype(dtype))


@pytest.fixture
def single(cls):
    """The example in float32, where the class states that it serves that type."""
    if "float32" not in cls.dtypes:
        pytest.skip(f"{cls.__name__} serves {', '.join(cls.dtypes)} only")
    return example(cls, dtype="float32")


@pytest.mark.parametrize("seed", [0, 1])
def test_no_check_fails(cls, seed):
    assert "float64" in cls.dtypes
    for dtype in cls.dtypes:
        objective = example(cls, seed, dtype)
        assert objective.dtype == dtype
        report = check_objective(objective, seed)
        assert report.ok, str(report)


def test_answers_in_several_threads_are_those_in_one(cls):
    """Memory that calls write to is no other call's: values and gradients of Softmax were mixtures of two points."""
    objective = example(cls)
    rng = np.random.default_rng(1)
    m, n = objective.shape
    points = [(rng.standard_normal((m, r)), rng.standard_normal((n, r))) for r in (1, 2, 2, 2, 3, 2) * 50]

    def answer(point):
        GB, GtA = np.empty_like(point[0]), np.empty_like(point[1])
        return objective.factor_oracle(*point, GB, GtA), GB.tobytes(), GtA.tobytes()

    alone = list(map(answer, points))
    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-6)
        with ThreadPoolExecutor(6) as threads:
            assert list(threads.map(answer, points)) == alone
    finally:
        sys.setswitchinterval(before)


def test_no_check_fails_far_from_or_near_zero(cls):
    for scale in (0.1, 5.0):
        report = check_objective(example(cls), rng=2, scale=scale)
        assert report.ok, str(report)


def test_the_generic_merge_agrees_with_the_objectives_own(cls):
    objective = example(cls)
    rng = np.random.default_rng(1)
    update, X, D = (rng.standard_normal(objective.shape) for _ in range(3))
    generic, own = Shifted(objective, update), objective.merged(update)
    assert generic.value_and_grad(X)[0] == pytest.approx(own.value_and_grad(X)[0], rel=1e-12)
    np.testing.assert_allclose(generic.value_and_grad(X)[1], own.value_and_grad(X)[1], atol=1e-12)
    np.testing.assert_allclose(generic.hessian_product(X, D), own.hessian_product(X, D), atol=1e-11)


def test_the_generic_merge_and_the_plain_twin_keep_every_statement(cls):
    objective = example(cls)
    update = np.random.default_rng(1).standard_normal(objective.shape)
    for wrapped in (Shifted(objective, update), DenseReference(objective)):
        report = check_objective(wrapped)
        assert report.ok, str(report)


def test_the_example_is_not_square_and_is_drawn_from_the_generator(cls):
    objective = example(cls)
    m, n = objective.shape
    assert m != n
    X = np.zeros((m, n))
    assert objective.value_and_grad(X)[0] == example(cls).value_and_grad(X)[0]
    assert objective.value_and_grad(X)[0] != example(cls, 1).value_and_grad(X)[0]


def test_the_listing_has_one_line_for_each(cls):
    assert cls.summary and "\n" not in cls.summary
    assert cls.name == cls.name.lower()


def test_oracle_answers_in_the_type_of_the_data(single):
    objective = single
    m, n = objective.shape
    A, B = np.ones((m, 2), np.float32), np.ones((n, 2), np.float32)
    GB, GtA = np.empty_like(A), np.empty_like(B)
    assert isinstance(objective.factor_oracle(A, B, GB, GtA), float)
    assert objective.gradient_operator(A, B).to_dense().dtype == np.float64
    assert objective.merged(np.zeros((m, n))).dtype == np.float32


def test_a_look_says_what_oracle_and_operator_say(cls):
    objective, rng = example(cls), np.random.default_rng(7)
    m, n = objective.shape
    A, B = rng.standard_normal((m, 2)), rng.standard_normal((n, 2))
    f, GB, GtA, operator = objective.oracle_and_operator(A, B)
    expected, G = objective.value_and_grad(A @ B.T)
    assert f == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(operator.to_dense(), G, atol=1e-12 * np.abs(G).max())
    np.testing.assert_allclose(GB, G @ B, atol=1e-11 * np.abs(G).max())
    np.testing.assert_allclose(GtA, G.T @ A, atol=1e-11 * np.abs(G).max())


def test_an_objective_of_float64_is_its_own_float64_twin(cls):
    objective = example(cls)
    assert objective.in_float64() is objective


def test_the_float64_twin_is_the_same_function_of_the_same_data(single):
    objective = single
    twin = objective.in_float64()
    assert (twin.dtype, objective.dtype) == (np.float64, np.float32)
    assert twin.in_float64() is twin
    X = np.random.default_rng(1).standard_normal(objective.shape)
    f, G = objective.value_and_grad(X.astype(np.float32))
    f_twin, G_twin = twin.value_and_grad(X)
    assert f_twin == pytest.approx(f, rel=1e-5)
    np.testing.assert_allclose(G_twin, G, atol=1e-5 * np.abs(G_twin).max())
    # Nothing is rounded to float32 on the way: both levels agree to the last digits.
    A, R = np.linalg.qr(X)
    B = np.ascontiguousarray(R.T)
    GB, GtA = np.empty_like(A), np.empty_like(B)
    assert twin.factor_oracle(A, B, GB, GtA) == pytest.approx(f_twin, rel=1e-13)
    np.testing.assert_allclose(GB, G_twin @ B, atol=1e-12 * np.linalg.norm(G_twin) * np.linalg.norm(B))
    shifted = Shifted(objective, 0.1 * X).in_float64().value_and_grad(X)[0]
    assert shifted == pytest.approx(twin.value_and_grad(1.1 * X)[0], rel=1e-12)
    assert check_objective(twin).ok


def test_another_shape_than_that_of_the_update_is_refused_by_every_answer(cls):
    objective = example(cls)
    m, n = objective.shape
    X = np.ones((m, n))
    for wrong in (X.T, X[:1], X[0], X[:, :1], 0.0, np.ones((m + 1, n))):
        for call in (
            lambda given: objective.value_and_grad(given),
            lambda given: objective.hessian_product(X, given),
            lambda given: objective.metrics(given),
            lambda given: objective.merged(given),
            lambda given: objective.value_and_grad(X=given),
            lambda given: objective.hessian_product(X, D=given),
            lambda given: objective.metrics(X=given),
            lambda given: objective.merged(update=given),
        ):
            with pytest.raises(ValueError, match=r"(X|D|update): expected (shape|2 dimensions)"):
                call(wrong)
    with pytest.raises(TypeError, match="X: expected real numbers, got an array of dtype complex128"):
        objective.value_and_grad(1j * X)


def test_factors_of_other_shapes_are_refused_by_every_answer(cls):
    objective = example(cls)
    m, n = objective.shape
    A, B = np.ones((m, 2)), np.ones((n, 2))
    calls = [
        lambda A, B: objective.factor_value(A, B),
        lambda A, B: objective.factor_hvp(A, B, A, B),
        lambda A, B: objective.curvature_along(A, B, A),
        lambda A, B: objective.gradient_operator(A, B),
        lambda A, B: objective.oracle_and_operator(A, B),
        lambda A, B: objective.factor_value(A=A, B=B),
        lambda A, B: objective.factor_hvp(A, V=B, U=A, B=B),
        lambda A, B: objective.curvature_along(U=A, B=B, A=A),
        lambda A, B: objective.gradient_operator(A=A, B=B),
    ]
    for wrong, name in (((B, A), "A"), ((A.T, B), "A"), ((A, B[:, :1]), "B"), ((A, B[:-1]), "B"), ((A[0], B), "A")):
        for call in calls:
            with pytest.raises(ValueError, match=f"{name}: expected (shape|2 dimensions)"):
                call(*wrong)


def test_lists_matrices_of_numpy_and_integers_are_answered_as_arrays_are(cls):
    objective = example(cls)
    X = np.arange(np.prod(objective.shape)).reshape(objective.shape) % 3 - 1
    f, G = objective.value_and_grad(X.astype(float))
    for same in (X, X.tolist(), X.view(np.matrix), np.asfortranarray(X.astype(float))):
        value, gradient = objective.value_and_grad(same)
        assert value == pytest.approx(f, rel=1e-14)
        assert type(gradient) is np.ndarray
        np.testing.assert_allclose(gradient, G, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda objective: pickle.loads(pickle.dumps(objective))])
def test_a_copy_of_an_objective_in_use_answers_as_it_does(cls, duplicate):
    """One of dense measurements answered for the point before: its scratch memory was no longer shared by its views."""
    objective, rng = example(cls), np.random.default_rng(1)
    m, n = objective.shape
    (A, B), (C, D) = ((rng.standard_normal((m, 2)), rng.standard_normal((n, 2))) for _ in range(2))
    objective.factor_oracle(A, B, np.empty_like(A), np.empty_like(B))
    GD, GtC = np.empty_like(C), np.empty_like(D)
    f = duplicate(objective).factor_oracle(C, D, GD, GtC)
    expected, G = objective.value_and_grad(C @ D.T)
    assert f == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(GD, G @ D, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(GtC, G.T @ C, rtol=1e-9, atol=1e-11)


def test_what_a_loss_fits_is_its_own():
    """Arrays of the caller, who may write to them: values had changed with these, and closed forms had not."""
    rng = np.random.default_rng(0)
    M, Z, V, features = (rng.standard_normal(shape) for shape in ((4, 3), (3, 9), (2, 4), (9, 2, 4, 3)))
    Y, signs, labels, y, X = M @ Z, np.sign(M @ Z), (M @ Z).argmax(axis=0), rng.standard_normal(9), np.ones((4, 3))
    a, b, sparse = (
        features[:, 0, :, 0].copy(),
        features[:, 0, 0].copy(),
        scipy.sparse.csr_matrix(features[:, 0].reshape(9, 12)),
    )
    responses, outputs, classes = V @ Y, rng.standard_normal((9, 2)), labels % 2
    made = [
        (lambda: objectives.Denoising(M), M),
        (lambda: objectives.Huber(M), M),
        (lambda: objectives.MatrixSensing(features[:, 0], y), y),
        (lambda: objectives.MatrixSensing((a, b), y), a),
        (lambda: objectives.MatrixSensing((a, b), y), b),
        (lambda: objectives.MatrixSensing(sparse, y, (4, 3)), sparse.data),
        (lambda: objectives.LinearFineTuning(X, Z, Y), Y),
        (lambda: objectives.Logistic(X, Z, signs), signs),
        (lambda: objectives.Softmax(X, Z, labels), labels),
        (lambda: objectives.TwoLayer(X, V, Z, responses), responses),
        (lambda: objectives.TwoLayer(X, V, Z, responses), V),
        (lambda: objectives.NTK(features, outputs), outputs),
        (lambda: objectives.NTK(features, classes, "softmax", offset=outputs), outputs),
        (lambda: objectives.NTK(features, classes, "softmax"), classes),
    ]
    for make, given in made:
        loss, kept = make(), given.copy()
        (value, gradient), metrics = loss.value_and_grad(X), loss.metrics(X)
        given[:] = -1
        assert (loss.value_and_grad(X)[0], loss.metrics(X)) == (value, metrics)
        np.testing.assert_array_equal(loss.value_and_grad(X)[1], gradient)
        given[:] = kept
