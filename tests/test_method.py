"""A way to run as a value: its text form and back, what it refuses, and what it runs."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lorasolve as ls
from lorasolve import adapters, inits, optimizers, schedules
from lorasolve._support.text import marked_parts, parse_value, value_text
from lorasolve.adapters import DoRA, LoRA, SoRA
from lorasolve.objectives import Denoising, LinearFineTuning
from lorasolve.optimizers import GD, Adam
from lorasolve.optimizers.base import DrivenOptimizer
from lorasolve.schedules import Cosine, Periodic, Schedule, Sparsify

REGISTRIES = {"optimizer": optimizers, "schedules": schedules, "adapter": adapters, "init": inits}


# ---------------------------------------------------------------------- text
def numbers(cls: type, entry: dataclasses.Field) -> st.SearchStrategy:
    """Return values for a setting, by its type and default; the class itself says which ones it accepts."""
    hint = typing.get_type_hints(cls)[entry.name]
    choices = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return st.sampled_from(choices)
    kinds = choices if type(None) in choices else (hint,)
    found = []
    for kind in kinds:
        if typing.get_origin(kind) is typing.Literal:
            found.append(st.sampled_from(typing.get_args(kind)))
        elif kind is type(None):
            found.append(st.none())
        elif kind is bool:
            found.append(st.booleans())
        elif kind is int:
            found.append(st.integers(0, 10**9))
        elif kind is float:
            found.append(st.floats(0.0, 1.0) | st.floats(1e-300, 1e300) | st.sampled_from([1e16, 1e-5, 2.0, 5e-324]))
        elif typing.get_origin(kind) is tuple:
            found.append(st.lists(st.floats(0.0, 1e20), min_size=1, max_size=4, unique=True).map(sorted).map(tuple))
        else:
            found.append(st.just(entry.default))
    return st.one_of(found)


@st.composite
def components(draw: st.DrawFn, folder: typing.Any) -> typing.Any:
    cls = draw(st.sampled_from(list(folder.registry.classes().values())))
    chosen = {entry.name: draw(numbers(cls, entry)) for entry in dataclasses.fields(cls) if draw(st.booleans())}
    try:
        return cls(**chosen)
    except ValueError:
        # Values that do not go together are drawn again one by one, and the component keeps those it accepts.
        made = cls()
        for name, value in chosen.items():
            try:
                made = dataclasses.replace(made, **{name: value})
            except ValueError:
                continue
        return made


@st.composite
def methods(draw: st.DrawFn) -> ls.Method:
    return ls.Method(
        draw(components(optimizers)),
        draw(st.lists(components(schedules), max_size=3)),
        draw(st.none() | components(adapters)),
        draw(components(inits)),
        draw(st.none() | st.floats(0.0, 1e30)),
    )


@settings(max_examples=400, deadline=None)
@given(methods())
def test_text_and_back(method: ls.Method) -> None:
    text = str(method)
    again = ls.Method.parse(text)
    assert again == method
    assert str(again) == text
    for name in ("optimizer", "adapter", "init"):
        assert type(getattr(again, name)) is type(getattr(method, name))


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3).map(tuple),
        max_leaves=6,
    )
)
def test_any_setting_and_back(value: object) -> None:
    text = value_text(value)
    assert parse_value(text) == value
    # The marks between the parts of a method are safe inside a setting.
    marked = list(marked_parts(f"odd:anything={text}+next", "+@~/"))
    assert marked == [("", f"odd:anything={text}"), ("+", "next")]


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("gd", ls.Method()),
        ("adam:step_size=0.1+cosine", ls.Method(Adam(0.1), Cosine())),
        (
            "gd+periodic:period=50@lora:alpha=16.0~gaussian:std=0.2/lam=0.0",
            ls.Method("gd", Periodic(50), LoRA(16.0), inits.Gaussian(0.2), 0.0),
        ),
        ("gd:step_size=1e16", ls.Method(GD(1e16))),
        ("proximal_gd+sparsify:penalties=(0.0,0.5)@sora", ls.Method("proximal_gd", Sparsify((0.0, 0.5)), "sora")),
        ("gd+sparsify:penalties=(0.5,)@sora", ls.Method("gd", [Sparsify((0.5,))], "sora")),
        ("nesterov:restart=None", ls.Method(optimizers.Nesterov(restart=None))),
        ("gd@lora:frozen=A", ls.Method(adapter=LoRA(frozen="A"))),
    ],
)
def test_examples_of_the_text(text: str, method: ls.Method) -> None:
    assert str(method) == text
    assert ls.Method.parse(text) == method


def test_a_plus_in_an_exponent_begins_no_schedule() -> None:
    given = "adam:step_size=1e+2,beta1=5.E-01+cosine/lam=2.5E+3"
    assert ls.Method.parse(given) == ls.Method(Adam(100.0, beta1=0.5), Cosine(), lam=2500.0)
    assert ls.Method.parse(f"gd:step_size={1e20}+cosine") == ls.Method(GD(1e20), Cosine())
    with pytest.raises(TypeError, match=r"step_size: expected a finite number in .*, got '1e'"):
        ls.Method.parse("gd:step_size=1e+cosine")
    for given in (None, 3, b"gd", GD()):
        with pytest.raises(TypeError, match="text: expected a text, got "):
            ls.Method.parse(given)


def test_defaults_are_left_out_and_numpy_numbers_are_plain() -> None:
    assert str(ls.Method(GD(np.float64(0.25)), Periodic(np.int64(250)))) == "gd:step_size=0.25+periodic"
    assert ls.Method.parse(" gd : step_size = 0.5 + warmup : steps = 3 ~ gaussian ") == ls.Method(
        GD(0.5), schedules.WarmUp(3), init="gaussian"
    )
    # The order of what follows the optimizer is free, but for the schedules among themselves.
    assert ls.Method.parse("gd/lam=1~gaussian@dora+cosine") == ls.Method.parse("gd+cosine@dora~gaussian/lam=1")


def test_settings_that_no_text_says_are_shown_by_class_and_content() -> None:
    @dataclasses.dataclass(frozen=True)
    class Odd(GD):
        """Gradient descent with settings of any kind."""

        held: typing.Any = dataclasses.field(default_factory=lambda: np.arange(3.0))
        name = "odd"

    assert str(ls.Method(Odd(held=np.arange(3.0)))) == str(ls.Method(Odd())) == "odd"
    texts = {str(ls.Method(Odd(held=value))) for value in (np.arange(4.0), np.ones(3), (np.ones(3), 1), {1}, {2}, 3.0)}
    assert len(texts) == 6 and "odd:held=3.0" in texts
    assert all(
        text.startswith(("odd:held=<ndarray ", "odd:held=(<ndarray ", "odd:held=<set "))
        for text in texts - {"odd:held=3.0"}
    )
    assert str(ls.Method(Odd(held={"a": [1, 2.5]}))) == "odd:held={'a': [1, 2.5]}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gradient", ["optimizer: unknown optimizer 'gradient'", "Accepted: adam"]),
        ("nestrov", ["Did you mean 'nesterov'"]),
        ("gd+cosin", ["schedule: unknown schedule 'cosin'", "Did you mean 'cosine'"]),
        ("gd@lorra", ["adapter: unknown adapter 'lorra'", "Did you mean 'lora'"]),
        ("gd~gausian", ["init: unknown init 'gausian'", "Did you mean 'gaussian'"]),
        ("gd:stepsize=1", ["optimizer: gd has no setting 'stepsize'", "Did you mean 'step_size'"]),
        ("gd:step_size=0", ["optimizer: step_size: expected a finite number in (0, inf), got 0.0"]),
        ("gd:step_size=1,step_size=2", ["optimizer: gd is given the setting 'step_size' twice"]),
        ("gd:", ["gd has no setting ''"]),
        ("gd:step_size", ["gd is given the setting 'step_size' without a value (write step_size=value)"]),
        ("", ["unknown optimizer ''"]),
        ("gd,lbfgs", ["names several; give them one by one, as --methods gd lbfgs or ['gd', 'lbfgs']"]),
        ("gd adam:step_size=1+cosine", ["--methods gd adam:step_size=1+cosine or "]),
        ("gd+", ["unknown schedule ''"]),
        ("gd@lora@dora", ["adapter: is given twice"]),
        ("gd/lam=-1", ["lam: expected a finite number in [0, inf), got -1.0"]),
        ("gd/lambda=1", ["lam: expected 'lam=VALUE' after '/', got 'lambda=1'"]),
        ("gd/lam=1/lam=2", ["lam: is given twice"]),
    ],
)
def test_parse_says_which_part_is_wrong(text: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        ls.Method.parse(text)
    for word in [repr(text), *words, "(written OPTIMIZER[:key=value,...][+SCHEDULE"]:
        assert word in str(caught.value)


def test_wrong_types() -> None:
    with pytest.raises(TypeError, match="optimizer: step_size: expected a finite number"):
        ls.Method.parse("gd:step_size=fast")
    with pytest.raises(TypeError, match="lam: expected a finite number"):
        ls.Method.parse("gd/lam=little")
    with pytest.raises(TypeError, match="optimizer: expected the name of an optimizer or an instance of Optimizer"):
        ls.Method(Cosine())
    with pytest.raises(TypeError, match="schedule: expected the name of a schedule"):
        ls.Method("gd", [GD()])
    with pytest.raises(TypeError, match="method: expected a Method, an Optimizer or a text OPTIMIZER"):
        ls.solve(problem(), {"optimizer": "gd"})
    with pytest.raises(TypeError, match=r"method: expected a Method, .*, got the class GD"):
        ls.solve(problem(), GD)
    with pytest.raises(TypeError, match=r"optimizer: expected the name of an optimizer .*, got the class GD"):
        ls.Method(GD)


# ---------------------------------------------------------------------- on a problem
def problem(lam: float = 0.1, adapter: object = "lora", dtype: type = np.float64) -> ls.Problem:
    rng = np.random.default_rng(0)
    data = (rng.standard_normal(size).astype(dtype) for size in ((6, 5), (5, 40), (6, 40)))
    return ls.Problem(LinearFineTuning(*data), 2, lam, adapter)


def denoising(lam: float = 0.1) -> ls.Problem:
    return ls.Problem(Denoising(np.random.default_rng(0).standard_normal((6, 5))), 2, lam)


REFUSED = [
    ("gd@dora", denoising(), "adapter 'dora': it needs an objective with a frozen weight"),
    ("als", ls.Problem(ls.objectives.Huber(np.eye(4), 1.0), 2), "optimizer 'als': it minimises one factor at a time"),
    ("als@dora", problem(), "optimizer 'als': needs an adapter with X = s A B"),
    ("sgd", denoising(), "optimizer 'sgd': it draws mini-batches"),
    ("lora_pro@lora:frozen=A", problem(), "optimizer 'lora_pro': it moves both factors together"),
    ("lbfgs@dora:detach=True", problem(), "optimizer 'lbfgs': it compares values along its steps"),
    ("gd@sora", problem(), "optimizer 'gd': the penalty of 'sora' needs a proximal step"),
    ("proximal_gd@sora:variant=released", problem(), "optimizer 'proximal_gd': the threshold of this 'sora'"),
    ("lbfgs+periodic", problem(), "schedule 'periodic': the optimizer 'lbfgs' owns its loop"),
    ("als+cosine", problem(), "schedule 'cosine': it scales a step size, and 'als' has none to scale"),
    ("gd+beam", problem(), "schedule 'beam': it needs the adapter 'softmax_gates', got 'lora'"),
    ("gd+revive", problem(), "schedule 'revive': it needs the gates of the adapter 'sora'"),
    ("gd+sparsify@softmax_gates", problem(), "schedule 'sparsify': it needs the gates of the adapter 'sora'"),
    ("gd+rac_chain", problem(), "schedule 'rac_chain': it minimises f itself and needs lam = 0, got 0.1"),
    ("gd+cosine+cola", problem(), "schedule 'cola': it minimises f itself and needs lam = 0"),
    ("gd+periodic@lora:frozen=A", problem(), "schedule 'periodic': it restarts both factors"),
    ("gd+periodic:restart=gradient@dora", problem(), "schedule 'periodic': needs an adapter with X = s A B"),
    ("gd~pissa", denoising(), "init 'pissa': it needs an objective with a frozen weight"),
    ("gd@lora:frozen=B", problem(), "init 'lora': it starts at B = 0, and the factor B is frozen"),
    ("proximal_gd@sora:variant=unit_columns", problem(), "init 'lora': it starts at B = 0, and 'sora' needs nonzero"),
]


@pytest.mark.parametrize(("text", "given", "reason"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refusals_are_asked_and_nothing_is_run(text: str, given: ls.Problem, reason: str, monkeypatch) -> None:
    method = ls.Method.parse(text)
    calls = []
    monkeypatch.setattr(type(given.objective), "value_and_grad", lambda self, X: calls.append("dense"))
    monkeypatch.setattr(type(given.objective), "factor_oracle", lambda self, *_: calls.append("factors"))
    said = method.refusal(given)
    assert said is not None and said.startswith(reason)
    with pytest.raises(ValueError) as caught:
        ls.solve(given, method)
    assert str(caught.value) == f"method: {text!r} cannot be used here: {said}"
    assert calls == []


def test_what_is_refused_for_one_problem_runs_on_another() -> None:
    rule = ls.StoppingRule(max_iter=3)
    for text in ("als", "sgd", "gd@dora", "gd+rac_chain/lam=0", "gd~pissa", "proximal_gd@sora"):
        assert ls.Method.parse(text).refusal(problem()) is None
        assert ls.solve(problem(), text, stop=rule).nit >= 1


@pytest.mark.parametrize("made", [None, (np.ones((6, 2)), np.ones((5, 2)))], ids=["nothing", "a tuple"])
def test_an_init_that_returns_no_start_is_refused_by_name(made: object) -> None:
    @dataclass(frozen=True)
    class Own(ls.inits.Init):
        name, summary = "own", "planted"

        def start(self, problem: ls.Problem, rng: np.random.Generator) -> object:  # type: ignore[override]
            return made

    with pytest.raises(TypeError, match=r"^init: start of 'own': expected a Start, got"):
        ls.solve(problem(), ls.Method("gd", init=Own()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"A": None}, "A: expected real numbers, got None"),
        ({"B": np.ones((5, 3))}, "B: expected shape (5, 2), got (5, 3)"),
        ({"A": np.full((6, 2), np.nan)}, "A: has non-finite entries"),
        ({"merged": np.ones((2, 2))}, "merged: expected shape (6, 5), got (2, 2)"),
        ({"merged": "x"}, "merged: expected real numbers, got 'x'"),
    ],
)
def test_a_start_that_does_not_fit_is_refused_by_the_name_of_its_init(wrong, message) -> None:
    """The errors named A and B, which the caller had not given, or an update."""

    @dataclass(frozen=True)
    class Own(ls.inits.Init):
        name, summary = "own", "planted"

        def start(self, problem, rng):
            return ls.inits.Start(**({"A": np.ones((6, 2)), "B": np.ones((5, 2))} | wrong))

    given = ls.Problem(Denoising(np.eye(6, 5)), 2, 0.1)
    with pytest.raises((TypeError, ValueError)) as caught:
        ls.solve(given, ls.Method("gd", init=Own()))
    assert str(caught.value).startswith(f"init: start of 'own': {message}")


def test_the_init_is_not_asked_where_factors_are_given() -> None:
    method, start = ls.Method.parse("gd@lora:frozen=B"), (np.zeros((6, 2)), np.ones((5, 2)))
    assert method.refusal(problem()) is not None
    assert method.refusal(problem(), draws_start=False) is None
    result = ls.solve(problem(), method, start, stop=ls.StoppingRule(max_iter=3))
    assert result.started_from == "given"
    assert np.array_equal(result.B, start[1])


def test_a_method_that_merges_needs_an_optimizer_for_what_is_left() -> None:
    """Minimising one factor in closed form is lost when the loss is shifted in the generic way."""

    class Shrinking(Denoising):
        W0 = np.ones((6, 5))
        merged = ls.objectives.Objective.merged

    given = ls.Problem(Shrinking(np.random.default_rng(0).standard_normal((6, 5))), 2, 0.1)
    assert ls.Method("als").refusal(given) is None
    for text in ("als+periodic", "als~pissa"):
        reason = ls.Method.parse(text).refusal(given)
        assert reason is not None and reason.startswith("optimizer 'als', after a merge into the frozen weight: it ")


def test_the_problem_that_a_method_runs() -> None:
    given = problem()
    assert ls.Method("gd").problem(given) is given
    assert ls.Method("gd", lam=0.1, adapter="lora").problem(given) is given
    own = ls.Method("gd", adapter=LoRA(alpha=4.0), lam=0.0).problem(given)
    assert (own.lam, own.scale, own.rank) == (0.0, 2.0, 2)
    assert own.objective is given.objective
    result = ls.solve(given, "gd@lora:alpha=4.0/lam=0", stop=ls.StoppingRule(max_iter=4))
    assert (result.problem.lam, result.problem.adapter) == (0.0, LoRA(alpha=4.0))
    np.testing.assert_allclose(result.X, 2.0 * result.A @ result.B.T)
    assert str(result.method) == "gd@lora:alpha=4.0/lam=0.0"


def test_text_optimizer_and_method_run_alike() -> None:
    rule = ls.StoppingRule(max_iter=20)
    ends = [
        ls.solve(problem(), way, seed=3, stop=rule).theta
        for way in ("gd:step_size=0.05", GD(0.05), ls.Method(GD(0.05)), ls.Method("gd:step_size=0.05"))
    ]
    assert all(np.array_equal(end, ends[0]) for end in ends)
    assert not np.array_equal(ends[0], ls.solve(problem(), GD(0.04), seed=3, stop=rule).theta)


def test_an_init_replaces_that_of_the_method() -> None:
    rule = ls.StoppingRule(max_iter=3)
    method = ls.Method("gd", init="gaussian")
    first, second = ls.solve(problem(), method, stop=rule), ls.solve(problem(), method, "balanced:scale=0.5", stop=rule)
    assert (first.started_from, str(first.method)) == ("gaussian", "gd~gaussian")
    assert (second.started_from, str(second.method)) == ("balanced", "gd~balanced:scale=0.5")


def test_start_is_the_inits_and_then_the_schedules() -> None:
    given = problem(lam=0.0)
    rng = np.random.default_rng(5)
    expected = inits.Gaussian().start(given, rng)
    stage = ls.Method("gd", init="gaussian").start(given, np.random.default_rng(5))
    np.testing.assert_array_equal(stage.theta, given.join(expected.A, expected.B))
    # A random chain replaces one factor by zero and freezes the other one, an orthonormal frame.
    chain = ls.Method("gd", "rac_chain", init="gaussian").start(given, np.random.default_rng(5))
    A, B, _ = chain.problem.split(chain.theta)
    frozen, trained = (A, B) if chain.problem.adapter.frozen == "A" else (B, A)
    np.testing.assert_allclose(frozen.T @ frozen, np.eye(2), atol=1e-12)
    assert not trained.any()
    with pytest.raises(ValueError, match="A = B = 0 is a stationary point"):
        ls.solve(given, "gd", (np.zeros((6, 2)), np.zeros((5, 2))))


def test_step_sizes() -> None:
    given = problem()
    assert not ls.Method("lbfgs").has_step
    with pytest.raises(ValueError, match="'lbfgs' has no step size"):
        ls.Method("lbfgs").with_step(0.1)
    method = ls.Method("gd", "cosine", DoRA(), "gaussian", 0.2)
    assert method.with_step(0.25) == ls.Method(GD(0.25), "cosine", DoRA(), "gaussian", 0.2)
    assert ls.Method("adam").default_step(given, np.random.default_rng(0)) == 0.01
    assert method.with_step(0.25).default_step(given, np.random.default_rng(0)) == 0.25
    for step in ("x", None, -1.0, np.nan):  # steps were tuned from there, in powers of 4 of -1 too
        odd = type("Odd", (GD,), {"name": "odd", "default_step": lambda self, problem, theta, step=step: step})()
        with pytest.raises(
            (TypeError, ValueError), match=r"^method: what odd\.default_step returns: expected a finite"
        ):
            ls.Method(odd).default_step(given, np.random.default_rng(0))
    start = inits.LoRAStart().start(given, np.random.default_rng(4))
    expected = GD().default_step(given, given.join(start.A, start.B))
    assert ls.Method("gd").default_step(given, np.random.default_rng(4)) == expected


def test_a_batch_takes_methods() -> None:
    rule = ls.StoppingRule(max_iter=30)
    ways = ["gd:step_size=0.05", ls.Method(GD(0.05), lam=0.0), "gd:step_size=0.05+cosine", "adam", GD(0.02)]
    batch = ls.solve_batch(problem(), ways, seed=2, stop=rule)
    assert batch.compiled.tolist() == [True, True, False, False, True]
    for k, way in enumerate(ways):
        single = ls.solve(problem(), way, seed=2, stop=rule)
        np.testing.assert_allclose(batch.A[k], single.A, atol=1e-10)
        again = batch.result(k)
        assert (again.method, again.started_from, again.problem.lam) == (single.method, "lora", single.problem.lam)
    with pytest.raises(ValueError, match="init 'pissa': it needs an objective with a frozen weight"):
        ls.solve_batch(denoising(), ["gd", "gd~pissa"])


def test_an_earlier_result_is_continued_by_another_method() -> None:
    rule = ls.StoppingRule(max_iter=12)
    first = ls.solve(problem(), "gd+periodic:period=5", stop=rule)
    assert first.merged is not None
    second = ls.solve(problem(), "lbfgs/lam=0", first, stop=rule)
    assert second.problem.lam == 0.0
    np.testing.assert_array_equal(second.merged, first.merged)
    # Without decay the loss can only fall from where the first run left it.
    assert second.fun < first.problem.objective.value_and_grad(first.problem.update(first.theta))[0]


def test_sora_unit_columns_from_a_gaussian_start() -> None:
    method = ls.Method("proximal_gd", "revive", SoRA(0.1, "unit_columns"), "gaussian", lam=0.0)
    assert method.refusal(problem()) is None
    assert ls.solve(problem(), method, stop=ls.StoppingRule(max_iter=5)).nit == 5


@pytest.mark.parametrize("given", [None, (np.ones((6, 2)), np.ones((5, 2)))])
def test_a_schedule_of_yours_that_returns_no_stage_is_named(given):
    """What was said was that a tuple has no attribute 'problem'."""

    class MySchedule(Schedule):
        name = "mine"

        def start(self, stage, rng):
            return given

    problem = ls.Problem(ls.objectives.Denoising(np.eye(6, 5)), 2, 0.1)
    with pytest.raises(TypeError, match="schedule: start of 'mine': expected a Stage"):
        ls.solve(problem, ls.Method("gd", schedules=(MySchedule(),)))


@pytest.mark.parametrize("when", ["start", "transition"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"problem": None}, "stage.problem: expected a Problem, got None"),
        ({"theta": [1.0] * 22}, "stage.theta: expected a vector of 22 parameters in floating point, got [1.0, "),
        ({"theta": np.ones(3)}, "stage.theta: expected a vector of 22 parameters in floating point, got an array of"),
        ({"merged": np.ones((2, 2))}, "stage.merged: expected None or an array of shape (6, 5) in floating point, got"),
        ({"memory": None}, "stage.memory: expected a dict, got None"),
    ],
)
def test_a_stage_of_a_users_schedule_that_is_none_is_named_where_it_is_made(when, wrong, message):
    """From a start there were errors about an attribute of None; a wrong update ended when the result was stored."""

    @dataclass(frozen=True)
    class Own(Schedule):
        name = "own"
        has_stages = True

        def is_boundary(self, stage_iteration, max_iter):
            return True

    def made(self, stage, rng):
        return dataclasses.replace(stage, **wrong)

    setattr(Own, when, made)
    problem = ls.Problem(ls.objectives.Denoising(np.eye(6, 5)), 2, 0.5)
    with pytest.raises((TypeError, ValueError)) as caught:
        ls.solve(problem, ls.Method("gd", Own()), stop=ls.StoppingRule(max_iter=5))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("name", "given"), [("unseen_gradient", "x"), ("unseen_gradient", None), ("stage_refusal", 1)])
def test_what_a_users_part_says_of_stages_is_named_where_it_is_no_answer(name, given):
    @dataclass(frozen=True)
    class Own(Schedule):
        name = "own"
        has_stages = True

        def transition(self, stage, rng):
            return dataclasses.replace(stage, theta=stage.theta * 1.0)

    @dataclass(frozen=True)
    class Mine(GD):
        name = "mine"

    setattr(Own if name == "unseen_gradient" else Mine, name, lambda *_: given)
    problem = ls.Problem(ls.objectives.Denoising(np.eye(4)), 2, 0.5)
    with pytest.raises(TypeError, match=f"^(schedule|optimizer).*: ({name} of 'own'|refusal returned 1)"):
        ls.solve(problem, ls.Method(Mine(), Own()), stop=ls.StoppingRule(max_iter=2000))


@pytest.mark.parametrize("last", [lambda z: None, lambda z: z[:3], lambda z: (z, 0.0), list])
def test_a_descent_of_yours_that_returns_no_iterate_is_named(last):
    """What was said was that a float cannot be multiplied by None."""

    class MyDescent(DrivenOptimizer):
        name = "mine"

        def descend(self, function, z, product, accept):
            return last(z)

    problem = ls.Problem(ls.objectives.Denoising(np.eye(6, 5)), 2, 0.1)
    with pytest.raises(TypeError, match=r"optimizer: what MyDescent\.descend returns: expected the last iterate"):
        ls.solve(problem, MyDescent(), "gaussian")
