"""The checks of arguments: what each refuses, in words that name the argument, and what it lets pass unchanged."""

from __future__ import annotations

import decimal

import numpy as np
import pytest
import scipy.sparse

import lorasolve as ls
from lorasolve import models
from lorasolve._support import validate as v

HUGE = 10**400


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (lambda x: v.as_array(x, "M"), np.ma.masked_array([1.0, 2.0], [0, 1]), "M: is a masked array"),
        (lambda x: v.as_array(x, "M"), [np.ma.masked_array([1.0], [1])], "M: is a masked array"),
        (lambda x: v.as_array(x, "M"), [[1.0], [1.0, 2.0]], "M: expected an array, got"),
        (lambda x: v.as_float_array(x, "M", 1), [HUGE], "M: expected real numbers, got an array of dtype object"),
        (lambda x: v.as_float_array(x, "M", 1), [1 + 2j], "M: expected real numbers"),
        (lambda x: v.as_float_array(x, "M", 1, np.float32), [1e300], "M: has non-finite entries"),
        (lambda x: v.as_float_array(x, "M", 2), np.ones((0, 3)), r"M: is empty \(shape \(0, 3\)\)"),
        (lambda x: v.as_index_array(x, "rows", 3), [True, False], "rows: expected integers"),
        (lambda x: v.as_index_array(x, "rows", 3), [0, -1], r"rows: expected integers from 0 to 2, got -1 at \[1\]"),
        (lambda x: v.as_float_array(x, "M", 1), [decimal.Decimal(1), 2], r"M: .* numpy.asarray\(..., dtype=float"),
        (
            lambda x: v.as_float_array(ls.solve_convex(_problem()), "X_star", 2),
            None,
            r"X_star: expected real numbers, got ConvexResult.* \(its attribute X is an array\)",
        ),
        (lambda x: v.as_float_array(x, "M", 2), scipy.sparse.eye(9).tocsr(), r"a csr.* of shape \(9, 9\) .*toarray"),
        (lambda x: v.as_index_array(x, "labels", 3), np.array([0.0, 2.0]), r"labels: expected integers.*astype\(int\)"),
        (lambda x: v.as_index_array(x, "labels", 3), np.array(["a", "b"]), "labels: expected integers.*numpy.unique"),
        (lambda x: v.as_index_array(x, "labels", 3), np.array([0.5, 2.0]), "labels: .* array of dtype float64$"),
        (lambda x: v.as_signs(x, "labels", (1, 2), float), [[1, 0]], r"labels: expected -1 or \+1, got 0 .*2\*y - 1"),
        (lambda x: v.as_signs(x, "labels", (1, 2), float), [[1, 2]], r"labels: expected -1 or \+1, got 2 at \[0, 1\]$"),
        (lambda x: v.as_matrix_shape(x, "shape"), (4.7, 3.2), "shape: expected an integer"),
        (lambda x: v.as_matrix_shape(x, "shape"), (10**12, 3), "shape: expected an integer from 1 to 100000000"),
        (lambda x: v.as_partial_matrix(x, "M"), [["1.0"]], "M: expected real numbers, got an array of dtype <U3"),
        (lambda x: v.as_partial_matrix(x, "M"), [["1.0", 2]], "M: expected real numbers"),
        (lambda x: v.as_partial_matrix(x, "M"), np.array([["1.0", None]], object), "M: expected real numbers"),
        (lambda x: v.as_partial_matrix(x, "M"), np.array([[True, None]], object), "M: expected real numbers"),
        (lambda x: v.as_partial_matrix(x, "M"), np.zeros((2, 2), "M8[s]"), "M: expected real numbers"),
        (lambda x: v.as_partial_matrix(x, "M"), np.zeros((2, 2), [("a", float)]), "M: expected real numbers"),
        (lambda x: v.as_partial_matrix(x, "M"), [[1.0, HUGE]], "M: has a number beyond the range of float64"),
        (
            lambda x: v.as_partial_matrix(x, "M"),
            np.ma.masked_array([[1.0, np.inf]], [[True, False]]),
            r"M: has infinite entries, the first at \[0, 1\]",
        ),
        (lambda x: v.as_number(x, "lam"), np.timedelta64(1, "s"), "lam: expected a finite number"),
        (lambda x: v.as_integer(x, "rank", 1), np.timedelta64(1, "s"), "rank: expected an integer >= 1, got"),
        (lambda x: v.as_generator(x, "rng"), np.timedelta64(1, "s"), "rng: expected a seed"),
        (lambda x: v.as_number(x, "lam"), HUGE, "lam: expected a finite number"),
        (lambda x: v.as_number(10**5000, "lam"), None, "lam: expected a finite number"),
        (lambda x: v.as_integer(10**5000, "n", 1, 9), None, "n: expected an integer from 1 to 9"),
        (lambda x: v.as_flag(x, "tune"), 1, "tune: expected True or False, got 1"),
        (lambda x: v.as_choice(10**5000, "mode", ("a", "b")), None, "mode: expected 'a' or 'b'"),
        (lambda x: v.as_choice(x, "sign", (1, -1)), True, "sign: expected 1 or -1, got True"),
        (lambda x: v.as_callable(x, "callback"), 7, "callback: expected a function, got 7"),
        (lambda x: v.as_callable(x, "loss"), ls.objectives.Denoising, "loss: .* a function, got the class Denoising"),
        (lambda x: v.as_float_array(x, "M", 2), "M.npy", "M: expected real numbers, got 'M.npy'"),
        (lambda x: v.as_partial_matrix(x, "M"), "M.npy", "M: expected real numbers, got 'M.npy'"),
        (lambda x: v.as_matrix_shape(x, "shape"), [4, 3], r"shape: expected a tuple \(m, n\) of .*, got \[4, 3\]"),
        (lambda x: v.as_iterable(x, "seeds"), np.array(3), "seeds: expected a list of one value or several, got"),
        (lambda x: v.as_generator(x, "rng"), "abc", "rng: expected a seed"),
        (lambda x: v.as_generator(x, "rng"), -1, r"rng: expected a seed \(an integer >= 0\)"),
        (lambda x: v.as_path(x, "path"), "a\0b", "path: expected a path"),
        (lambda x: v.as_instance(x, "problem", ls.Problem), object(), "problem: expected a Problem, got an object of"),
    ],
)
def test_refusals_name_the_argument(check, value, message) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        check(value)


def test_what_was_given_is_shown_in_a_few_lines_however_much_it_is() -> None:
    batches = [{name: Long() for name in ("input_ids", "labels", "mask")} for _ in range(40)]
    assert len(repr(batches)) > 10_000
    with pytest.raises(TypeError) as caught:
        v.as_callable(batches, "loss")
    assert (
        str(caught.value).startswith("loss: expected a function, got [{'input_ids': tensor(")
        and len(str(caught.value)) < 400
    )
    assert v.shown([1.0, "a"]) == "[1.0, 'a']"
    # A loss may state its shape wrongly, and modules have functions of that name.
    for shape, words in (((2, 30), "a Long of shape (2, 30)"), (6, "tensor([1.0"), (np.shape, "tensor([1.0")):
        given = Long()
        given.shape = shape
        assert v.shown(given).startswith(words)


class Long:
    """Shows itself in many numbers, as a tensor does."""

    shape: object = None

    def __repr__(self) -> str:
        return f"tensor({[1.0] * 60})"


def test_what_is_valid_is_not_changed() -> None:
    plain = np.arange(6.0).reshape(2, 3)
    for given in (plain.tolist(), np.asfortranarray(plain), plain.astype(">f8"), np.ma.masked_array(plain)):
        found = v.as_float_array(given, "M", 2)
        assert found.flags.c_contiguous and found.dtype == np.float64
        assert np.array_equal(found, plain)
    for given, kept in ((np.float16, np.float64), (np.float32, np.float32), (np.longdouble, np.float64)):
        assert v.as_float_array(plain.astype(given), "M", 2).dtype == kept
    every_second = np.arange(6, dtype=np.int32)[::2]
    index = v.as_index_array(every_second, "rows", 5)
    assert index.dtype == np.int64 and index.flags.c_contiguous and index.tolist() == [0, 2, 4]
    weight = v.as_frozen_weight(plain, np.float64)
    plain[0, 0] = 9.0
    assert weight[0, 0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        weight[0, 0] = 1.0
    assert v.as_flag(np.True_, "tune") is True
    assert v.as_integer(np.int64(3), "n", 1) == 3


@pytest.mark.parametrize("open_low", [False, True])
@pytest.mark.parametrize("open_high", [False, True])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-2.0, np.inf), (-np.inf, 3.0), (-np.inf, np.inf)])
def test_a_number_is_accepted_where_it_lies_in_the_interval_that_is_stated(low, high, open_low, open_high) -> None:
    with pytest.raises(ValueError) as caught:
        v.as_number(np.nan, "lam", low, high, open_low=open_low, open_high=open_high)
    stated = str(caught.value).removeprefix("lam: expected a finite number").removesuffix(", got nan")
    left, right = (stated[4], stated[-1]) if stated else "()"
    assert stated in ("", f" in {left}{low:g}, {high:g}{right}")
    assert bool(stated) == np.isfinite([low, high]).any()
    assert left == ("(" if open_low or np.isinf(low) else "[")
    assert right == (")" if open_high or np.isinf(high) else "]")
    for number in (-np.inf, -9.0, 9.0, np.inf, low, high, np.nextafter(low, 9.0), np.nextafter(high, -9.0)):
        inside = (low < number or (left == "[" and number == low)) and (
            number < high or (right == "]" and number == high)
        )
        if inside and np.isfinite(number):
            assert v.as_number(number, "lam", low, high, open_low=open_low, open_high=open_high) == number
        else:
            with pytest.raises(ValueError, match="lam: expected a finite number"):
                v.as_number(number, "lam", low, high, open_low=open_low, open_high=open_high)


def test_a_generator_is_kept_and_a_seed_makes_one() -> None:
    given = np.random.default_rng(3)
    assert v.as_generator(given, "rng") is given
    assert v.as_generator(3, "rng").random() == given.random()


def test_what_is_not_observed_becomes_nan() -> None:
    hidden = np.ma.masked_array([[1, 7], [2, 3]], [[False, True], [False, False]])
    for given in ([[1, None], [2, 3]], [[decimal.Decimal(1), np.nan], [2, 3]], hidden):
        found = v.as_partial_matrix(given, "M")
        np.testing.assert_array_equal(found, [[1.0, np.nan], [2.0, 3.0]])
    assert hidden.data[0, 1] == 7


def test_nullable_columns_are_the_numbers_that_they_hold() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.5, 2.5], "b": [3, 4]})
    nullable = frame.convert_dtypes()
    assert nullable.to_numpy().dtype == object
    found = v.as_float_array(nullable, "M", 2)
    assert found.dtype == np.float64
    assert np.array_equal(found, frame.to_numpy())
    big = pandas.Series([2**53 + 1, 5], dtype="Int64")
    assert v.as_index_array(big, "rows", 2**60).tolist() == [2**53 + 1, 5]
    missing = pandas.DataFrame({"a": [1.0, None], "b": [3, 4]}).convert_dtypes()
    np.testing.assert_array_equal(v.as_partial_matrix(missing, "M"), [[1.0, 3.0], [np.nan, 4.0]])
    with pytest.raises(ValueError, match=r"M: has non-finite entries, the first at \[1, 0\]"):
        v.as_float_array(missing, "M", 2)
    with pytest.raises(TypeError, match=r"M: expected real numbers, got a DataFrame of shape \(1, 2\)"):
        v.as_float_array(pandas.DataFrame({"a": [1.0], "b": ["x"]}), "M", 2)


def test_settings_that_are_numbers_of_small_types_are_those_of_python() -> None:
    problem = ls.Problem(ls.objectives.Denoising(np.diag([3.0, 2.0, 1.0, 0.5])), 2, 0.1)
    stop = ls.StoppingRule(max_iter=150)
    for plain, small in (
        (ls.optimizers.LBFGS(20), ls.optimizers.LBFGS(np.uint8(20))),  # 2 * 20 n numbers overflowed, and the memory
        (ls.optimizers.Adam(beta1=0.5, beta2=0.75), ls.optimizers.Adam(beta1=np.float16(0.5), beta2=np.float32(0.75))),
        (ls.optimizers.AdamW(0.5), ls.optimizers.AdamW(np.longdouble(0.5))),
        (ls.Method("gd", ls.schedules.WarmUp(100)), ls.Method("gd", ls.schedules.WarmUp(np.int8(100)))),
    ):
        expected, found = ls.solve(problem, plain, stop=stop), ls.solve(problem, small, stop=stop)
        np.testing.assert_array_equal(found.theta, expected.theta)
        assert str(found.method) == str(expected.method)
    rule = ls.StoppingRule(max_iter=np.int8(100), grad_tol=np.float16(0.5))
    assert (rule.max_iter, rule.calls, rule.grad_tol) == (100, 3000, 0.5)
    assert type(rule.max_iter) is int and type(rule.grad_tol) is float
    assert v.as_plain(np.True_) is True and v.as_plain("gd") == "gd"


def _problem() -> ls.Problem:
    return ls.Problem(ls.objectives.Denoising(np.diag([3.0, 1.0])), 1, 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ls.solve(_problem(), stop=5), "stop: expected a StoppingRule"),
        (lambda: ls.solve(_problem(), callback=5), "callback: expected a function"),
        (lambda: ls.solve(_problem(), seed="a"), "seed: expected an integer"),
        (lambda: ls.compare(_problem(), 7), "methods: expected"),
        (lambda: ls.compare(_problem(), ["gd"], reference=1.0), "reference: expected a ConvexResult"),
        (lambda: ls.certify(7, None), "problem: expected a Problem"),
        (lambda: ls.landscape.verdict(_problem(), ([[1.0]] * 2, [[1.0]] * 2), constants=3), "constants: expected"),
        (lambda: ls.set_threads(2**63), "n: expected an integer from 1 to 4096"),
        (lambda: ls.check_objective(_problem().objective, scale="abc"), "scale: expected a finite number"),
        (lambda: ls.adapters.LoRA(rslora="yes"), "rslora: expected True or False"),
        (lambda: ls.Problem(_problem(), 1), "objective: expected a loss, got a problem"),
        (lambda: ls.Problem(_problem().objective, 2, 0.5, "lora:alpha=5e-324"), "adapter: its scaling s = 0 leaves"),
        (lambda: ls.Problem(_problem().objective, 2, 1e300, "lora:alpha=1e-300"), "adapter: its scaling s = 5e-301"),
        (lambda: ls.inits.EVA(whiten="no"), "whiten: expected True or False, got 'no'"),
        (lambda: ls.optimizers.LBFGS(2**70), "maxcor: expected an integer from 1 to 10000"),
        (lambda: ls.optimizers.ALS(2**70), "memory: expected an integer from 0 to 10000"),
        (lambda: ls.check_objective(_problem()), "objective: expected a loss, got a problem"),
        (lambda: _problem().factored_convex_value(np.ones((3, 1)), np.ones((2, 1))), r"A: expected shape \(2, 1\)"),
        (lambda: _problem().factored_convex_value(np.ones((2, 1)), [[np.nan], [1.0]]), "B: has non-finite entries"),
        (lambda: _problem().to_sdpa(7), "path: expected a path"),
        (lambda: _problem().to_sdpa(""), "path: expected a path"),
        (lambda: ls.Method.parse("gd").refusal(7), "problem: expected a Problem, got 7"),
        (lambda: ls.Method.parse("gd").start(_problem(), 0), "rng: expected a Generator, got 0"),
        (lambda: ls.certificates.better_by(_problem(), np.eye(2), np.ones(2)), "better: expected 2 dimensions"),
        (lambda: ls.solve_batch([_problem()] * 2).result(-1), "k: expected an integer from 0 to 1, got -1"),
        (lambda: ls.solve_batch([_problem()] * 2).result(True), "k: expected an integer from 0 to 1, got True"),
        (lambda: ls.landscape.census(_problem(), 1, ()), "scales: expected at least one"),
        (lambda: ls.landscape.census(_problem(), 1, (0.1, 2, 0.1)), "scales: expected different scales, got 0.1 twice"),
        (lambda: ls.landscape.census(_problem(), 1).fraction("globl"), "kind: expected 'global'"),
        (lambda: ls.tasks.Task(_problem().objective, None, "", 1, {}).metrics(np.eye(3)), r"X: expected shape \(2"),
        (lambda: ls.landscape.Constants.exact("a", 2.0, 1), "rsc: expected a finite number, got 'a'"),
        (lambda: ls.landscape.Constants.exact(1.0, np.nan, 1), "rsm: expected a finite number, got nan"),
        (lambda: ls.landscape.Constants.exact(1.0, 2.0, True), "r: expected an integer >= 1, got True"),
        (lambda: ls.landscape.Constants.exact(1.0, 2.0, 1, "far"), "radius: expected a finite number"),
        (lambda: ls.landscape.Constants.exact(1.0, 2.0, 1, whole_space="no"), "whole_space: expected True or False"),
    ],
)
def test_public_functions_check_what_they_are_given(call, message) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ls.solve(_problem(), max_iter=5),
            r"solve: has no argument 'max_iter'. Write stop=StoppingRule\(max_ite",
        ),
        (lambda: ls.solve(_problem(), epochs=5), r"Write stop=StoppingRule\(max_iter=5\). Accepted: problem, method"),
        (lambda: ls.solve(_problem(), tol=1e-3), r"Write stop=StoppingRule\(grad_tol=0.001\)"),
        (lambda: ls.solve(_problem(), lr=0.1), "Write method='gd:step_size=0.1'"),
        (lambda: ls.solve(_problem(), random_state=1), "Did you mean 'seed'"),
        (lambda: ls.solve_batch(_problem(), rounds=5), r"Write stop=StoppingRule\(max_iter=5\)"),
        (lambda: ls.solve_convex(_problem(), rounds=5), "Write route='factored:max_rounds=5'"),
        (lambda: ls.compare(_problem(), ["gd"], max_iter=5), r"compare: .* Write stop=StoppingRule\(max_iter=5\)"),
        (lambda: ls.certify(_problem(), np.eye(2), tolerance=1), "certify: .* Did you mean 'tol'"),
        (lambda: ls.certify_batch(_problem(), [np.eye(2)], tolerance=1), "certify_batch: .* Did you mean 'tol'"),
        (lambda: ls.verdict(_problem(), np.eye(2), Xstar=1), "verdict: .* Did you mean 'X_star'"),
        (lambda: ls.landscape.census(_problem(), 1, n_starts=1), "census: .* Did you mean 'starts'"),
        (lambda: ls.path(_problem(), n_lams=3), "path: has no argument 'n_lams'. Did you mean 'lams'"),
        (lambda: ls.recommend_rank(_problem(), verbose=True), "recommend_rank: .* Did you mean 'progress'"),
        (lambda: ls.cross_validate(_problem(), fold=3), "cross_validate: has no argument 'fold'"),
        (lambda: models.fit_completion(None, lambda_=3.0), "fit_completion: .* Did you mean 'lam'"),
        (lambda: models.choose_completion(None, random_state=3), "choose_completion: .* Did you mean 'seed'"),
        (lambda: ls.Problem(_problem().objective, r=1), "Problem: has no argument 'r'. Did you mean 'rank'"),
        (lambda: _problem().replace(weight_decay=1.0), "Problem: .* Did you mean 'lam'"),
        (lambda: ls.MultiProblem(None, rank=1), "MultiProblem: .* Did you mean 'ranks'"),
        (lambda: ls.StoppingRule(max_iterations=5), "StoppingRule: .* Did you mean 'max_iter'"),
        (lambda: ls.Method("gd", schedule="cosine"), "Method: .* Did you mean 'schedules'"),
        (lambda: ls.Study(seeds=3), "Study: has no argument 'seeds'"),
        (lambda: ls.optimizers.GD(lr=0.1), r"GD: has no argument 'lr'. Did you mean 'step_size'\?"),
        (lambda: ls.adapters.LoRA(lora_alpha=16), "LoRA: has no argument 'lora_alpha'. Did you mean 'alpha'?"),
        (lambda: ls.convex.Factored(max_round=9), "Factored: has no argument 'max_round'. Did you mean 'max_rounds'?"),
        (lambda: ls.objectives.Denoising(np.eye(2), dtype=float), "Denoising: has no argument 'dtype'"),
        (lambda: ls.inits.PiSSA(rank=3), "PiSSA: has no argument 'rank'. It takes none"),
    ],
)
def test_a_keyword_of_another_library_is_answered_by_the_one_of_this_package(call, message) -> None:
    with pytest.raises(TypeError, match=message):
        call()


class Tracked:
    """A number as torch's tensors are whose gradients are tracked."""

    ndim = 0

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise RuntimeError("use detach()")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((1.0, None), "returned a gradient of shape"),
        ((1.0, np.ones((2, 2)) + 1j), "returned a gradient of type complex128"),
        ((1j, np.ones((2, 2))), "returned the value 1j, expected a real number"),
        ((Tracked(), np.ones((2, 2))), r"returned the value .*, expected a real number \(use detach\(\)\)"),
    ],
)
def test_a_user_objective_that_answers_wrongly_is_named(answer, message) -> None:
    class Mine:
        shape = (2, 2)

        def value_and_grad(self, X):
            return answer

    with pytest.raises((ValueError, TypeError), match=message):
        ls.solve(ls.Problem(Mine(), 1))
