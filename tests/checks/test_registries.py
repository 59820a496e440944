"""Every component of the package passes the checks of its kind, and can be listed, tested and saved."""

import dataclasses
import inspect
from typing import ClassVar

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import adapters, attacks, convex, executors, inits, objectives, optimizers, schedules
from lorasolve.adapters import DoRA, LoRA, PoLAR, SoftmaxGates, SoRA
from lorasolve.checks import (
    check_adapter,
    check_convex,
    check_executor,
    check_init,
    check_optimizer,
    check_schedule,
    readiness,
)
from lorasolve.objectives import LinearFineTuning
from lorasolve.optimizers.base import DrivenOptimizer
from lorasolve.schedules import Beam, ChainOfLoRA, Periodic, RACChain

REGISTRIES = (objectives, adapters, optimizers, schedules, inits, convex, executors, attacks)
EVERY = {f"{r.__name__.split('.')[1]}-{n}": cls for r in REGISTRIES for n, cls in r.registry.classes().items()}


def of(package):
    """Return the classes of a folder that are ready to be checked; what the others lack is said by ``test_ready``."""
    return [cls for cls in package.registry.classes().values() if readiness(cls).ok]


@pytest.mark.parametrize("cls", EVERY.values(), ids=EVERY.keys())
def test_ready(cls):
    report = readiness(cls)
    assert report.ok, str(report)


@pytest.mark.parametrize(
    ("base", "methods"),
    [
        (adapters.Adapter, ["value_and_grad", "update"]),
        (optimizers.Optimizer, ["update"]),
        (DrivenOptimizer, ["descend"]),
        (inits.Init, ["start"]),
        (convex.ConvexRoute, ["run"]),
        (executors.Executor, ["open"]),
        (attacks.Attack, ["families"]),
    ],
)
def test_what_lacks_the_method_that_its_kind_calls_is_not_ready(base, methods):
    named = {"name": "unwritten", "summary": "unwritten and empty", "__doc__": "Nothing. Fixed points: none."}
    cls = dataclasses.dataclass(frozen=True)(type("Unwritten", (base,), named))
    asked = [
        f"write {name}({', '.join(list(inspect.signature(getattr(base, name)).parameters)[1:])})" for name in methods
    ]
    assert [check.detail.partition(" ->")[0] for check in readiness(cls).failures] == asked
    for name in methods:  # what says so where it is called all the same
        arguments = [None] * (len(inspect.signature(getattr(base, name)).parameters) - 1)
        with pytest.raises(TypeError, match=rf"Unwritten does not define {name}\("):
            getattr(cls(), name)(*arguments)


def test_settings_that_cannot_be_set_are_named():
    class Halved(schedules.Schedule):
        """Halves the step.

        Parameters
        ----------
        after : int
            When.
        """

        name, summary, scales_steps = "halved", "half the step", True
        after: int = 3
        kept: ClassVar[int] = 1

        def step_factor(self, k, k_stage, most):
            return 0.5 if k > self.after else 1.0

    with pytest.raises(TypeError, match="after"):
        Halved(after=4)
    (failure,) = readiness(Halved).failures
    assert failure.name == "made by name" and "@dataclass(frozen=True)" in failure.detail
    assert "without it after cannot be set" in failure.detail
    assert readiness(dataclasses.dataclass(frozen=True)(Halved)).ok


@pytest.mark.parametrize("cls", of(adapters), ids=lambda cls: cls.name)
def test_adapter(cls):
    for objective in (
        None,
        LinearFineTuning.example(np.random.default_rng(3)),
        LinearFineTuning.example(np.random.default_rng(4), np.float32),
    ):
        report = check_adapter(cls(), objective, rng=1)
        assert report.ok, str(report)


@pytest.mark.parametrize(
    "adapter",
    [
        LoRA(alpha=3.0),
        LoRA(alpha=3.0, rslora=True),
        LoRA(alpha=3.0, frozen="A"),
        LoRA(frozen="B"),
        DoRA(alpha=2.0, axis=0),
        DoRA(detach=True),
        DoRA(freeze_magnitude=True),
        PoLAR(alpha=3.0),
        SoftmaxGates(tau=0.3, alpha=3.0),
        SoRA(gate_seed=1, gate_penalty=0.3, alpha=2.0),
        SoRA(variant="unit_columns", alpha=3.0),
        SoRA(variant="released"),
        SoRA(variant="fixed_threshold"),
    ],
    ids=repr,
)
def test_adapter_with_settings(adapter):
    report = check_adapter(adapter)
    assert report.ok, str(report)


@pytest.mark.parametrize("cls", of(optimizers), ids=lambda cls: cls.name)
def test_optimizer(cls):
    for seed in (0, 1):
        report = check_optimizer(cls(), rng=seed)
        assert report.ok, str(report)


@pytest.mark.parametrize("cls", of(schedules), ids=lambda cls: cls.name)
def test_schedule(cls):
    report = check_schedule(cls())
    assert report.ok, str(report)


@pytest.mark.parametrize(
    "schedule",
    [
        Periodic(restart="gradient"),
        Periodic(unload_fraction=0.4),
        RACChain(side="mixed", resample=False),
        RACChain(side="right", sketch="coordinate"),
        ChainOfLoRA(resample=False),
        *(Beam(events=2, expand=expand) for expand in ("preserving", "reseed", "none")),
    ],
    ids=repr,
)
def test_schedule_with_settings(schedule):
    report = check_schedule(schedule)
    assert report.ok, str(report)


@pytest.mark.parametrize("cls", of(inits), ids=lambda cls: cls.name)
def test_init(cls):
    report = check_init(cls())
    assert report.ok, str(report)


@pytest.mark.parametrize("cls", of(convex), ids=lambda cls: cls.name)
def test_convex(cls):
    report = check_convex(cls())
    assert report.ok, str(report)


@pytest.mark.parametrize("cls", of(executors), ids=lambda cls: cls.name)
def test_executor(cls):
    if cls.name in ("dask", "slurm"):
        pytest.skip("needs more than the default install: tests/studies/test_clusters.py")
    report = check_executor(cls())
    assert report.ok, str(report)


def test_what_is_refused_is_said_before_anything_runs():
    bare = ls.Problem(type("Bare", (), {"shape": (3, 2), "value_and_grad": lambda self, X: (0.0, 0 * X)})(), 1)
    with pytest.raises(ValueError, match="optimizer: 'als' cannot be used here"):
        check_optimizer(optimizers.ALS(), bare)
    with pytest.raises(ValueError, match="adapter: 'dora' cannot be used here"):
        check_adapter(DoRA(), bare.objective)
    with pytest.raises(ValueError, match="init: 'pissa' cannot be used here"):
        check_init(inits.PiSSA(), bare)
    with pytest.raises(ValueError, match="schedule: 'beam' cannot be used here"):
        check_schedule(Beam(), bare)


def test_the_same_seed_gives_the_same_report():
    for report in (check_adapter, check_optimizer):
        component = LoRA() if report is check_adapter else optimizers.SGD()
        assert str(report(component, rng=5)) == str(report(component, rng=5))
