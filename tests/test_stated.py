"""What own components state and return: of the wrong kind it is refused by name, as any text would be true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.adapters import Adapter, LoRA
from lorasolve.attacks import Attack
from lorasolve.convex import ConvexRoute
from lorasolve.executors import Executor
from lorasolve.inits import Init
from lorasolve.optimizers import Optimizer
from lorasolve.schedules import Schedule

PROBLEM = ls.Problem(ls.objectives.Denoising(np.eye(4, 3)), rank=2, lam=0.1)
STOP = ls.StoppingRule(max_iter=20)


def optimizer(**attributes: Any) -> Optimizer:
    """Return gradient descent as a user writes it, with attributes and methods that the user got wrong."""

    @dataclass(frozen=True)
    class Mine(Optimizer):
        name, summary = "mine", "gradient descent"

        def update(self, problem: Any, state: Any, value: float, grad: Any) -> None:
            state.theta = state.trial
            state.trial = state.theta - 0.05 * grad

    for name, value in attributes.items():
        setattr(Mine, name, value)
    return Mine()


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"stochastic": "yes"}, "Mine.stochastic: expected True or False, got 'yes'"),
        ({"takes_step_factor": "no"}, "Mine.takes_step_factor: expected True or False, got 'no'"),
        ({"takes_prox": 1}, "Mine.takes_prox: expected True or False, got 1"),
        ({"keeps_stationary_points": None}, "Mine.keeps_stationary_points: expected True or False, got None"),
        ({"may_stall": "no"}, "Mine.may_stall: expected True or False, got 'no'"),
        ({"limit_hint": "lbfgs"}, "Mine.limit_hint: expected a tuple of texts, got 'lbfgs'"),
        ({"default_max_iter": 1e4}, "Mine.default_max_iter: expected an integer, got 10000.0"),
        ({"default_grad_tol": None}, "Mine.default_grad_tol: expected a number, got None"),
        ({"own_aim": None}, "Mine.own_aim: expected a text, got None"),
        ({"name": 3}, "Mine.name: expected a text, got 3"),
    ],
)
def test_an_optimizer_states_its_facts_in_their_kinds(stated: dict[str, Any], words: str) -> None:
    mine = optimizer(**stated)
    for ask in (
        lambda: ls.solve(PROBLEM, mine, stop=STOP),
        lambda: ls.Method(mine),
        lambda: ls.compare(PROBLEM, ["lbfgs", mine]),
        lambda: ls.check_optimizer(mine),
    ):
        with pytest.raises(TypeError) as caught:
            ask()
        assert words in str(caught.value)


def test_facts_of_numpy_are_facts() -> None:
    mine = optimizer(stochastic=np.False_, default_max_iter=np.int64(7), default_grad_tol=np.float32(0.5))
    assert ls.solve(PROBLEM, mine, init="gaussian", seed=0).nit <= 7
    assert ls.check_optimizer(mine).ok


CHECKS: dict[type, Any] = {
    Schedule: ls.check_schedule,
    Init: ls.check_init,
    Adapter: ls.check_adapter,
    ConvexRoute: ls.check_convex,
    Executor: ls.check_executor,
    Attack: ls.check_attack,
}


@pytest.mark.parametrize(
    ("base", "attribute", "given"),
    [
        (Schedule, "has_stages", "no"),
        (Schedule, "keeps_weight", "no"),
        (Init, "merges", 1),
        (Adapter, "low_rank", "no"),
        (Adapter, "exact_gradient", "no"),
        (Adapter, "requires", "W0"),
        (ConvexRoute, "takes_several", "no"),
        (Executor, "whole_shares", "no"),
        (Attack, "summary", None),
    ],
)
def test_so_do_all_components(base: Any, attribute: str, given: object) -> None:
    mine = dataclass(frozen=True)(type("Mine", (base,), {"name": "mine", attribute: given, "__module__": __name__}))
    with pytest.raises(TypeError, match=rf"Mine\.{attribute}: expected .*, got {given!r}"):
        CHECKS[base](mine())


@pytest.mark.parametrize("answer", [True, False, "", 3])
def test_a_refusal_is_none_or_a_reason(answer: object) -> None:
    """False would refuse every problem, for the reason False."""
    mine = optimizer(refusal=lambda self, problem: answer)
    with pytest.raises(TypeError, match=rf"refusal returned {answer!r}, expected None or a reason in words"):
        ls.solve(PROBLEM, mine, stop=STOP)
    adapter = type("Mine", (Adapter,), {"name": "mine", "refusal": lambda self, objective: answer})()
    with pytest.raises(TypeError, match="adapter: refusal returned "):
        ls.Problem(ls.objectives.Denoising(np.eye(3)), 1, 0.1, adapter=adapter)


@pytest.mark.parametrize(
    ("method", "answer", "words"),
    [
        ("scale_at", -1.0, r"scale_at returns: expected a finite number in \(0, inf\), got -1.0"),
        ("scale_at", None, r"scale_at returns: expected a finite number in \(0, inf\), got None"),
        ("nuclear_weight", -0.5, r"nuclear_weight returns: expected a finite number in \[0, inf\), got -0.5"),
        ("n_extra", 1.5, "n_extra returns: expected an integer >= 0, got 1.5"),
        ("initial_extra", np.ones(2), r"initial_extra returns: expected shape \(0,\), got \(2,\)"),
        ("trainable", np.ones(12), "trainable returns: expected None or 7 truth values, got an array of shape"),
        ("update", None, "update returns: expected real numbers, got None"),
        ("update", np.ones((3, 4)), r"update returns: expected shape \(4, 3\), got \(3, 4\)"),
    ],
)
def test_what_an_own_adapter_answers_is_of_its_kind(method: str, answer: object, words: str) -> None:
    """With a scaling of -1 the weight of ||X||_* is negative: runs grew to 1e155, and a certificate was about that."""
    given = {"name": "mine", "update": LoRA.update, method: lambda self, *arguments: answer}
    mine = type("Mine", (LoRA,), given)()
    with pytest.raises((TypeError, ValueError), match=rf"adapter: what mine\.{words}"):
        ls.Problem(ls.objectives.Denoising(np.eye(4, 3)), 1 if method == "trainable" else 2, 0.1, adapter=mine)


@pytest.mark.parametrize(
    ("method", "returned", "words"),
    [
        ("init", None, "method: what mine.init returns: expected a State, got None"),
        ("evaluate", None, "method: mine.evaluate returned None, expected the value of L as a number"),
        ("last_value_and_grad", None, "method: mine.last_value_and_grad returned None, expected the value of L"),
    ],
)
def test_methods_that_return_nothing_are_named(method: str, returned: object, words: str) -> None:
    mine = optimizer(**{method: lambda self, *arguments: returned})
    with pytest.raises(TypeError) as caught:
        ls.solve(PROBLEM, mine, init="gaussian", seed=0, stop=STOP)
    assert str(caught.value).startswith(words)


def test_a_hint_that_names_no_method_is_named() -> None:
    with pytest.raises(ValueError, match=r"method: mine\.limit_hint: method 'nope': optimizer: unknown optimizer"):
        ls.solve(PROBLEM, optimizer(limit_hint=("nope",)), init="gaussian", seed=0, stop=STOP)
