"""Reports: what counts as a failure, and what an exception inside a check becomes."""

import signal

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.adapters import Adapter
from lorasolve.checks.base import Checked, CheckReport, run_checks
from lorasolve.convex import ConvexRoute
from lorasolve.inits import Init
from lorasolve.objectives import Objective
from lorasolve.optimizers import Optimizer


def test_a_numpy_boolean_counts_like_its_own():
    report = CheckReport(
        "x", tuple(Checked(str(k), holds, "") for k, holds in enumerate((np.False_, np.True_, None, False)))
    )
    assert [check.holds for check in report.checks] == [False, True, None, False]
    assert [check.name for check in report.failures] == ["0", "3"]
    assert not report.ok
    assert str(report).splitlines() == ["x: 2 checks WRONG", "WRONG  0  ", "ok     1  ", "-      2  ", "WRONG  3  "]


def test_a_part_without_what_makes_it_one_fails_its_check_in_words() -> None:
    """What has to be written is no optional fact: "no check failed" would be said of a loss without values."""
    loss = type("Loss", (Objective,), {"shape": (4, 3)})()
    optimizer, init = type("Steps", (Optimizer,), {"name": "steps"})(), type("Begin", (Init,), {"name": "begin"})()
    adapter, route = type("Gate", (Adapter,), {"name": "gate"})(), type("Way", (ConvexRoute,), {"name": "way"})()
    for report, words in (
        (ls.check_objective(loss), "raised TypeError: Loss does not define value_and_grad(X)"),
        (ls.check_optimizer(optimizer), "raised TypeError: Steps does not define update(problem, state, value, grad)"),
        (ls.check_init(init), "raised TypeError: Begin does not define start(problem, rng)"),
        (ls.check_adapter(adapter), "raised TypeError: Gate does not define update(objective, theta, rank)"),
        (ls.check_convex(route), "raised TypeError: Way does not define run(problem, tol, report)"),
    ):
        assert not report.ok and words in str(report)
    with pytest.raises(TypeError, match="Steps does not define update"):
        ls.solve(ls.Problem(ls.objectives.Denoising(np.eye(3)), 2, 0.1), optimizer)


@pytest.mark.parametrize(
    ("check", "name", "subject"),
    [
        (ls.check_optimizer, "gd:step_size=0.01", "GD"),
        (ls.check_adapter, "lora:alpha=4", "LoRA"),
        (ls.check_init, "spectral", "Spectral"),
        (ls.check_schedule, "cosine", "Cosine"),
        (ls.check_convex, "closed_form", "ClosedForm"),
        (ls.check_executor, "serial", "Serial"),
        (ls.check_attack, "objective:huber", "Objective"),
    ],
)
def test_a_component_is_named_as_everywhere_else(check, name, subject) -> None:
    assert check(name).subject.startswith(subject)
    with pytest.raises(ValueError, match=r"unknown .* 'nonesuch'"):
        check("nonesuch")
    with pytest.raises(TypeError, match=r"^\w+: expected "):
        check(3)


def test_an_exception_is_a_failure_and_what_is_not_implemented_is_not():
    def half(bench):
        yield Checked("first", True, "")
        raise KeyError("missing")

    def absent(bench):
        raise NotImplementedError("no such thing")
        yield

    report = run_checks(
        "x", None, {"half": half, "absent": absent, "last": lambda bench: iter([Checked("last", True, "")])}
    )
    assert [(check.name, check.holds) for check in report.checks] == [
        ("first", True),
        ("half", False),
        ("absent", None),
        ("last", True),
    ]
    assert report.checks[1].detail == "raised KeyError: 'missing'"
    assert report.checks[2].detail == "not stated: no such thing"


def test_ctrl_c_in_a_run_of_a_check_ends_all_checks():
    problem = ls.Problem(ls.objectives.Denoising(np.eye(3)), 2, 0.1)
    after = []

    def runs(bench):
        stop = ls.StoppingRule(max_iter=50)
        ended = ls.solve(problem, "gd", stop=stop, callback=lambda now: signal.raise_signal(signal.SIGINT))
        yield Checked("interrupted", False, ended.status.label)

    def last(bench):
        after.append(bench)
        yield Checked("last", True, "")

    with pytest.raises(KeyboardInterrupt):
        run_checks("x", None, {"runs": runs, "last": last})
    assert not after
