"""What every optimizer must do, whatever it is: those of the folder, and the example in docs/extend.md."""

import pathlib
import re
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import lorasolve as ls
from lorasolve.adapters import registry as adapters
from lorasolve.checks import readiness
from lorasolve.objectives import Denoising, LinearFineTuning
from lorasolve.optimizers import registry
from lorasolve.result import SolveError


def example_of_the_docs():
    """Return the optimizer that docs/extend.md shows, from its own code block."""
    page = (pathlib.Path(__file__).parents[2] / "docs" / "extend.md").read_text()
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "(Optimizer):" in b)
    names = {"__name__": "example_of_the_docs"}
    exec(block, names)
    (cls,) = (v for v in names.values() if isinstance(v, type) and v.__module__ == names["__name__"])
    return cls


METHODS = {cls.name: cls for cls in [*registry.classes().values(), example_of_the_docs()] if readiness(cls).ok}
NAMES = list(METHODS)
# Their step is derived unless one is given; where a given one is too large, the derived one is suggested.
DERIVE_THEIR_STEP = [
    name for name, cls in METHODS.items() if cls.takes_step_factor and getattr(cls(), "step_size", 0.0) is None
]


def data(m=6, n=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, n)), rng.standard_normal((n, 40)), rng.standard_normal((m, 40))


def problem(m=6, n=4, rank=2, lam=0.1):
    return ls.Problem(LinearFineTuning(*data(m, n)), rank, lam)


def start(m=6, n=4, rank=2, seed=5):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, rank)), rng.standard_normal((n, rank))


def by_hand(A, B, lam):
    """Return L and its gradient from the definition, without the package."""
    W0, Z, Y = data(A.shape[0], B.shape[0])
    residual = (W0 + A @ B.T) @ Z - Y
    G = residual @ Z.T / Z.shape[1]
    value = np.sum(residual**2) / (2 * Z.shape[1]) + 0.5 * lam * (np.sum(A**2) + np.sum(B**2))
    return value, np.concatenate([(G @ B + lam * A).ravel(), (G.T @ A + lam * B).ravel()])


@pytest.mark.parametrize("name", NAMES)
def test_fields_of_the_result(name):
    A0, B0 = start()
    first = by_hand(A0, B0, 0.1)
    result = ls.solve(problem(), METHODS[name](), (A0, B0), seed=3, stop=ls.StoppingRule(max_iter=60))
    value, grad = by_hand(result.A, result.B, 0.1)
    assert_allclose(result.fun, value, rtol=1e-12)
    assert_allclose(result.grad_norm, np.linalg.norm(grad), rtol=1e-7, atol=1e-12)
    assert_allclose(result.X, result.A @ result.B.T, atol=1e-14)
    assert value < first[0]
    assert (result.method, result.started_from, result.seed) == (ls.Method(METHODS[name]()), "given", 3)
    assert result.message.startswith(name)
    assert isinstance(result.status, ls.Status) and result.success == result.status.success
    assert 1 <= result.nit <= 60 and result.nfev >= result.nit
    assert result.seconds >= 0 and result.compile_seconds >= 0

    trace = result.trace
    assert (trace.iteration[0], trace.iteration[-1]) == (0, result.nit)
    assert len(set(map(len, trace.to_dict().values()))) == 1
    assert np.all(np.diff(trace.iteration) > 0) and np.all(np.diff(trace.seconds) >= 0)
    if not METHODS[name].stochastic:
        assert_allclose((trace.value[0], trace.grad_norm[0]), (first[0], np.linalg.norm(first[1])), rtol=1e-10)
        assert_allclose(trace.value[-1], value, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_scipy_fields_and_status(name):
    result = ls.solve(problem(), METHODS[name](), stop=ls.StoppingRule(max_iter=3))
    other = result.to_scipy()
    assert_array_equal(other.x, result.theta)
    assert_allclose(other.jac, by_hand(result.A, result.B, 0.1)[1], atol=1e-12)
    assert (other.nit, other.nfev, other.fun) == (result.nit, result.nfev, result.fun)
    assert (other.status, other.success) == (result.status.code, result.success)
    if result.success:
        assert result.raise_for_status() is result
    else:
        with pytest.raises(SolveError, match=name):
            result.raise_for_status()


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name):
    rule = ls.StoppingRule(max_iter=20)
    first, again, other = (ls.solve(problem(), METHODS[name](), seed=seed, stop=rule) for seed in (1, 1, 2))
    assert_array_equal(first.theta, again.theta)
    assert first.trace.value == again.trace.value
    assert not np.array_equal(first.theta, other.theta)


@pytest.mark.parametrize("lam", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
@pytest.mark.parametrize("name", NAMES)
def test_rank_one_and_no_decay(name, shape, lam):
    A0, B0 = start(*shape, rank=1)
    result = ls.solve(problem(*shape, rank=1, lam=lam), METHODS[name](), (A0, B0), stop=ls.StoppingRule(max_iter=200))
    assert result.A.shape == (shape[0], 1) and result.B.shape == (shape[1], 1)
    value = by_hand(result.A, result.B, lam)[0]
    assert_allclose(result.fun, value, rtol=1e-12)
    assert value < by_hand(A0, B0, lam)[0]


@pytest.mark.parametrize("name", NAMES)
def test_non_finite_start_is_refused(name):
    A, B = start()
    A[1, 1] = np.nan
    with pytest.raises(ValueError, match=r"A: has non-finite entries, the first at \[1, 1\]"):
        ls.solve(problem(), METHODS[name](), (A, B))


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_callback_can_stop(name, raises):
    def callback(state):
        if state.nit == 3:
            if raises:
                raise StopIteration
            return True
        return None

    result = ls.solve(problem(), METHODS[name](), callback=callback)
    assert result.status is ls.Status.STOPPED_BY_CALLBACK
    assert result.nit == 3 and result.trace.iteration[-1] == 3


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupt_keeps_the_last_accepted_point(name):
    seen = []

    def callback(state):
        seen.append(state.theta.copy())
        if state.nit == 3:
            raise KeyboardInterrupt

    result = ls.solve(problem(), METHODS[name](), callback=callback)
    assert result.status is ls.Status.INTERRUPTED
    assert len(seen) == 4
    assert_array_equal(result.theta, seen[-1])


@pytest.mark.parametrize("name", NAMES)
def test_time_limit(name):
    result = ls.solve(
        problem(), METHODS[name](), stop=ls.StoppingRule(time_limit=0.02), callback=lambda state: time.sleep(0.011)
    )
    assert result.status is ls.Status.TIME_LIMIT
    assert np.isfinite(result.fun)


@pytest.mark.parametrize("name", NAMES)
def test_target(name):
    A0, B0 = start()
    target = 0.7 * by_hand(A0, B0, 0.1)[0]
    result = ls.solve(problem(), METHODS[name](), (A0, B0), stop=ls.StoppingRule(target=target))
    assert result.status is ls.Status.TARGET_REACHED and result.success
    if not METHODS[name].stochastic:
        assert result.fun <= target
        assert min(result.trace.value[:-1]) > target


# gd_mixed trades accuracy in mid-run for speed; tests/kernels compares it with gd at the end of a run.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "gd_mixed"])
def test_engines_agree(name):
    rule = ls.StoppingRule(max_iter=12)
    compiled, plain = (
        ls.solve(problem(), METHODS[name](), start(), stop=rule, engine=engine)
        for engine in ("compiled", "interpreted")
    )
    assert (compiled.nit, compiled.nfev) == (plain.nit, plain.nfev)
    assert_allclose(compiled.theta, plain.theta, rtol=1e-10, atol=1e-10)
    assert_allclose(compiled.trace.value, plain.trace.value, rtol=1e-10)


@pytest.mark.parametrize("name", DERIVE_THEIR_STEP)
def test_too_large_a_step_diverges_and_a_better_one_is_suggested(name):
    cls = METHODS[name]
    rule = ls.StoppingRule(max_iter=2000)
    result = ls.solve(problem(), cls(step_size=100.0), start(), stop=rule)
    assert result.status is ls.Status.DIVERGED
    assert np.isfinite(result.theta).all() and np.isfinite(result.trace.value).all()
    suggested = float(result.message.split("at most ")[1].split(",")[0])
    again = ls.solve(problem(), cls(step_size=suggested), start(), stop=rule)
    assert again.status is not ls.Status.DIVERGED
    assert again.fun < by_hand(*start(), 0.1)[0]


@pytest.mark.parametrize("name", ["alt_lora", "gd", "lora_pro", "lora_pro_adamw", "lora_rite", "scaled_gd"])
@pytest.mark.parametrize("step", [1e100, 1e200])
@pytest.mark.parametrize("seed", range(3))
def test_a_step_that_overflows_ends_the_run_where_it_was(name, step, seed):
    """Some methods decompose the trial, which is not finite, or whose products are not."""
    loss = Denoising(np.random.default_rng(seed).standard_normal((8, 6)))
    method, rule = METHODS[name](step_size=step), ls.StoppingRule(max_iter=200)
    result = ls.solve(ls.Problem(loss, 3, 0.0), method, "gaussian", seed=seed, stop=rule)
    assert result.status is ls.Status.DIVERGED and not result.success
    assert np.isfinite(result.theta).all() and np.isfinite(result.trace.value).all()


@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_float32(name):
    W0, Z, Y = (array.astype(np.float32) for array in data())
    objective = LinearFineTuning(W0, Z, Y)
    A0, B0 = start()
    result = ls.solve(ls.Problem(objective, 2, 0.1), METHODS[name](), (A0, B0), stop=ls.StoppingRule(max_iter=50))
    assert result.theta.dtype == np.float32
    assert by_hand(result.A.astype(float), result.B.astype(float), 0.1)[0] < by_hand(A0, B0, 0.1)[0]


@pytest.mark.parametrize("adapter", [name for name, cls in adapters.classes().items() if not cls.low_rank])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_derived_step_is_that_of_the_largest_curvature_in_both_precisions(adapter, dtype):
    """The Hessian of the whole loss, column by column, from gradients in float64."""
    problems = [ls.Problem(LinearFineTuning(*(a.astype(t) for a in data())), 2, 0.1, adapter) for t in (dtype, float)]
    theta = ls.Method("gd", init="balanced").start(problems[1], np.random.default_rng(0)).theta
    grads = np.empty((2, theta.size, theta.size))
    for k, e in enumerate(1e-5 * np.eye(theta.size)):
        problems[1].value_and_grad(theta + e, grads[0, k])
        problems[1].value_and_grad(theta - e, grads[1, k])
    largest = np.abs(np.linalg.eigvals((grads[0] - grads[1]) / 2e-5)).max()
    step = ls.optimizers.GD().default_step(problems[0], theta.astype(dtype))
    assert 0.995 <= 2.0 * step * largest <= 1.2
    end = ls.solve(problems[0], "proximal_gd", "balanced", stop=ls.StoppingRule(max_iter=30))
    assert end.theta.dtype == dtype and end.fun < end.trace.value[0]


# Their first step balances the factors, and leaves X where it is.
BALANCING = ("lora_pro", "riemannian", "riemannion")


@pytest.mark.parametrize("name", NAMES)
def test_a_schedule_scales_the_step_or_is_refused(name):
    ends = []
    for schedule in (None, ls.schedules.WarmUp(steps=10), ls.schedules.WarmUp(steps=20)):
        if schedule is not None and not METHODS[name].takes_step_factor:
            with pytest.raises(ValueError, match=r"schedule 'warmup': .*(owns its loop|has none to scale)"):
                ls.solve(problem(), ls.Method(METHODS[name](), schedule), start())
            continue
        method = ls.Method(METHODS[name](), () if schedule is None else schedule)
        ends.append(ls.solve(problem(), method, start(), stop=ls.StoppingRule(max_iter=1)))
    moves = [np.linalg.norm(end.theta - np.concatenate([part.ravel() for part in start()])) for end in ends]
    if len(moves) == 3 and name not in BALANCING:
        assert_allclose(moves[1:], [moves[0] / 10, moves[0] / 20], rtol=1e-6)


@pytest.mark.parametrize("name", BALANCING)
def test_a_schedule_scales_the_step_after_the_factors_are_balanced(name):
    """The second step is 2/1000 or 2/2000 of a whole one: of the move of X it is the part of first order."""
    X, moves = start()[0] @ start()[1].T, []
    for steps in (1000, 2000):
        method = ls.Method(METHODS[name](), ls.schedules.WarmUp(steps=steps))
        moves.append(np.linalg.norm(ls.solve(problem(), method, start(), stop=ls.StoppingRule(max_iter=2)).X - X))
    assert moves[1] > 1e-6 and moves[0] == pytest.approx(2 * moves[1], rel=1e-3)


def test_a_method_that_does_not_say_that_it_reads_the_factor_is_refused():
    class Deaf(ls.optimizers.Optimizer):
        name = "deaf"

        def update(self, problem, state, value, grad):
            state.theta, state.trial = state.trial, state.trial - 0.01 * grad

    assert ls.solve(problem(), Deaf(), stop=ls.StoppingRule(max_iter=5)).nit == 5
    with pytest.raises(ValueError, match=r"it scales a step size, and 'deaf' has none to scale .*takes_step_factor"):
        ls.solve(problem(), ls.Method(Deaf(), "cosine"))
