import math
import textwrap

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.adapters import DoRA, LoRA, SoftmaxGates, SoRA
from lorasolve.objectives import LinearFineTuning
from lorasolve.optimizers import registry as optimizer_registry
from lorasolve.papers import _side_by_side as sbs


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    Z = np.sqrt(np.geomspace(1.0, 0.1, 6))[:, None] * rng.standard_normal((6, 60))
    W0 = rng.standard_normal((7, 6))
    return ls.Problem(LinearFineTuning(W0, Z, (W0 + np.outer(np.ones(7), np.ones(6))) @ Z), 3, 0.05)


@pytest.fixture(scope="module")
def outcome(problem):
    return sbs.side_by_side(problem, 80, (0, 1))


def test_every_component_takes_part(problem):
    methods = sbs.all_methods(problem)
    assert {"gd", "adam", "lbfgs", "sgd", "lora_pro", "ggpo", "mgpo", "sam", "flat_lora"} <= set(methods)
    assert {"dora", "sora", "softmax_gates", "beam", "rac_chain", "cola", "periodic", "asymmetric lora"} <= set(methods)
    assert methods["rac_chain"].lam == methods["periodic"].lam == 0.0
    assert [sbs.reference_weight(methods[label], problem) for label in ("sora", "gd")] == [0.05, 0.05]
    assert methods["beam"].adapter.name == "softmax_gates"


@pytest.mark.parametrize(
    ("adapter", "lam"),
    [(LoRA(alpha=6.0), 0.3), (SoftmaxGates(0.7, alpha=6.0), 0.3), (SoRA(0.4, "unit_columns", alpha=6.0), 0.0),
     (SoRA(0.4), 0.3), (DoRA(), 0.3)],
)  # fmt: skip
def test_the_penalty_is_never_below_its_nuclear_weight(problem, adapter, lam):
    p = ls.Problem(problem.objective, 3, lam, adapter)
    weight = adapter.nuclear_weight(lam, 3)
    rng = np.random.default_rng(1)
    grad = np.empty(p.size)
    for _ in range(200):
        theta = rng.standard_normal(p.size)
        X = p.update(theta)
        penalty = p.value_and_grad(theta, grad) - p.objective.value_and_grad(X)[0]
        assert penalty >= weight * np.linalg.svd(X, compute_uv=False).sum() - 1e-9


def test_nothing_ends_below_its_reference(outcome):
    for line in outcome.lines:
        assert line.missing.min() > -1e-9, line.label
    best = min(float(np.median(line.missing)) for line in outcome.lines)
    assert best < 1e-10


def test_references_by_other_routes(problem, outcome):
    by_label = {line.label: line for line in outcome.lines}
    convex = ls.solve_convex(problem.replace(rank=6), method="prox").fun
    assert by_label["gd"].reference == pytest.approx(convex, rel=1e-6)
    f = problem.objective
    exact = np.linalg.lstsq(f.S, f.C.T, rcond=None)[0].T
    assert by_label["rac_chain"].reference == pytest.approx(f.value_and_grad(exact)[0], abs=1e-9)


def test_budget_is_kept(outcome):
    for line in outcome.lines:
        assert line.oracle_calls <= 80 + 60, line.label  # a line search under way may end first
        assert line.compile_seconds >= 0.0
        assert line.missing.shape == (2,)


def test_chosen_step_is_no_worse_than_its_neighbours(problem):
    step, calls = sbs.choose_step(ls.Method("gd"), problem, 40, 0)
    assert calls > 2 * 20  # the chosen one and both neighbours, the diverging ones cut short
    values = []
    for factor in (0.25, 1.0, 4.0):
        stop = ls.StoppingRule(max_iter=39, grad_tol=0.0)
        end = ls.solve(problem, ls.optimizers.GD(step * factor), stop=stop)
        values.append(math.inf if end.status is ls.Status.DIVERGED else end.fun)
    assert values[1] <= min(values) * (1 + 1e-12)


def test_table_and_document(outcome):
    table = outcome.table()
    assert len(table.splitlines()) == len(outcome.lines) + 1
    import json

    assert json.loads(json.dumps(outcome.to_dict()))["budget"] == 80


def test_a_new_method_is_one_file(problem, tmp_path, monkeypatch):
    (tmp_path / "sign_descent.py").write_text(
        textwrap.dedent(
            '''
            """Sign descent."""
            from dataclasses import dataclass
            import numpy as np
            from lorasolve.optimizers.base import Optimizer

            @dataclass(frozen=True)
            class SignDescent(Optimizer):
                """theta <- theta - step * sign(gradient)."""

                step_size: float = 0.01
                name = "sign_descent"
                summary = "steps of one length in every entry"

                def update(self, problem, state, value, grad):
                    state.theta, state.trial = state.trial, state.theta
                    np.sign(grad, out=state.trial)
                    state.trial *= -self.step_size
                    state.trial += state.theta
            '''
        )
    )
    import lorasolve.optimizers as folder

    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path)])
    monkeypatch.setattr(optimizer_registry, "_complete", False)
    line = sbs.side_by_side(problem, 100, (0,), names=["sign_descent"]).lines[0]
    assert 0.0 < line.missing[0] < 0.5
    assert line.step_size is not None


def test_unknown_names_are_refused(problem):
    with pytest.raises(ValueError, match="Accepted"):
        sbs.side_by_side(problem, 50, names=["nothing"])


def test_command_writes_table_and_figure(tmp_path, capsys):
    from lorasolve.cli import main

    arguments = ["--methods", "all", "--budget", "12", "--seeds", "1", "--out", str(tmp_path / "all")]
    assert main(["compare", *arguments]) == 0
    assert "rac_chain" in capsys.readouterr().out
    assert (tmp_path / "all.json").stat().st_size > 1000
    assert (tmp_path / "all.png").stat().st_size > 10_000
