"""Every optimizer on every adapter under every schedule: it runs, or it is refused with the reason."""

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import adapters, optimizers, schedules
from lorasolve.adapters import DoRA
from lorasolve.objectives import LinearFineTuning

RULE = ls.StoppingRule(max_iter=12)
MOVE_ALONG_THE_GRADIENT = ["adam", "adamw", "gd", "heavy_ball", "lora_plus", "nesterov", "sgd"]
FACTOR_METHODS = {"als", "lora_pro", "scaled_gd", "trust_ncg"}
DRIVEN = {"lbfgs", "trust_ncg"}
SEARCH_A_STEP = {"gd_backtracking", "lbfgs", "proximal_gd"}
STEPLESS = FACTOR_METHODS - {"lora_pro", "scaled_gd"} | {"gd_backtracking", "lbfgs"}


def problem(adapter, lam=0.0):
    rng = np.random.default_rng(0)
    objective = LinearFineTuning(*(rng.standard_normal(size) for size in ((6, 5), (5, 40), (6, 40))))
    return ls.Problem(objective, 2, lam, adapter)


def outcome(adapter, optimizer, schedule, lam=0.0):
    """Return the result, or the text of the refusal."""
    try:
        return ls.solve(problem(adapter, lam), ls.Method(optimizer, () if schedule is None else schedule), stop=RULE)
    except ValueError as refusal:
        return str(refusal)


@pytest.mark.parametrize("optimizer", list(optimizers.registry.classes()))
@pytest.mark.parametrize("adapter", list(adapters.registry.classes()))
def test_runs_or_gives_a_reason(optimizer, adapter):
    for schedule in (None, *schedules.registry.classes()):
        end = outcome(adapter, optimizer, schedule)
        if isinstance(end, str):
            assert any(word in end for word in ("optimizer", "schedule", "adapter", "needs", "step_size"))
            assert len(end) > 40
        else:
            assert end.nit >= 1 and np.isfinite(end.fun)


@pytest.mark.parametrize("optimizer", [*MOVE_ALONG_THE_GRADIENT, *sorted(FACTOR_METHODS | SEARCH_A_STEP)])
@pytest.mark.parametrize("adapter", ["lora", "dora", DoRA(axis=0, detach=True)])
def test_what_is_refused_for_lora_and_dora(optimizer, adapter):
    for schedule in (None, "periodic", "cosine", ["periodic", "warmup", "cosine"]):
        refused = adapter != "lora" and optimizer in FACTOR_METHODS
        refused |= isinstance(adapter, DoRA) and optimizer in SEARCH_A_STEP
        refused |= schedule is not None and optimizer in DRIVEN
        refused |= schedule not in (None, "periodic") and optimizer in STEPLESS
        end = outcome(adapter, optimizer, schedule, lam=0.05)
        assert isinstance(end, str) == refused, (schedule, end)
