"""What each method is judged against: the optimum of what it minimises, and nothing where that is not known."""

import math
import types
from dataclasses import replace

import numpy as np
import pytest

import lorasolve as ls
from lorasolve import Method
from lorasolve.adapters import DoRA, LoRA, SoftmaxGates, SoRA
from lorasolve.adapters import registry as adapter_registry
from lorasolve.comparison import all_methods, target_of
from lorasolve.comparison.targets import Optima, Target
from lorasolve.comparison.tuning import choose_step
from lorasolve.objectives import LinearFineTuning
from lorasolve.optimizers import AdamW
from lorasolve.optimizers import registry as optimizer_registry
from lorasolve.schedules import registry as schedule_registry


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    Z = np.sqrt(np.geomspace(1.0, 0.1, 6))[:, None] * rng.standard_normal((6, 60))
    W0 = rng.standard_normal((7, 6))
    return ls.Problem(LinearFineTuning(W0, Z, (W0 + np.outer(np.ones(7), np.ones(6))) @ Z), 3, 0.05)


@pytest.fixture(scope="module")
def everything(problem):
    return ls.compare(problem, "all", seeds=2, budget=80, tune=True)


def rows_by_method(comparison):
    return {row.method.split(":step_size")[0].split("+")[0]: row for row in comparison.rows}


def test_every_component_takes_part(problem):
    texts = " ".join(str(method) for method in all_methods(problem))
    shown_by_others = {"proximal_gd", "sparsify"}
    for registry in (optimizer_registry, adapter_registry, schedule_registry):
        for name in set(registry.classes()) - shown_by_others:
            if name not in ("als",):
                assert name in texts, name


@pytest.mark.parametrize(
    ("method", "weight"),
    [
        ("gd", 0.05),
        (Method("gd", adapter=LoRA(alpha=6.0)), 0.025),
        (Method("proximal_gd", adapter=SoRA(0.4, "unit_columns"), init="gaussian", lam=0.0), 0.4),
        ("gd+periodic/lam=0", 0.0),
        ("gd/lam=0", None),
        ("gd+periodic", None),
        ("gd~pissa", 0.05),
        ("gd~lora_ga/lam=0", None),
        (Method("gd", adapter=SoftmaxGates()), None),
        (Method("gd", adapter=DoRA()), None),
        (Method("gd", adapter=LoRA(frozen="A")), None),
        ("adamw", None),
    ],
)
def test_what_a_method_minimises(problem, method, weight):
    target = target_of(Method.of(method), problem)
    assert target.weight == weight and target.beside == ("pissa" in str(method) or "lora_ga" in str(method))


def test_a_start_within_the_weight_is_not_held_against_the_nuclear_norm_of_the_update(problem):
    """Its decay is ``lam ||X - M||_*`` with what it has merged: a quarter below the optimum it had missed -0.08 of."""
    whole = problem.replace(rank=6)
    named = ls.compare(whole, ["lbfgs", "lbfgs~pissa", "lbfgs~milora"])
    given = ls.compare(whole, "lbfgs", init="pissa")
    earlier = ls.compare(whole, "lbfgs", init=given.results[0])
    rows = [*zip(named.rows[1:], named.results[1:]), (given.rows[0], given.results[0])]
    for row, result in [*rows, (earlier.rows[0], earlier.results[0])]:
        X, M = result.X, result.merged
        least = whole.objective.value_and_grad(X)[0] + 0.05 * np.linalg.svd(X - M, compute_uv=False).sum()
        assert row.objective == pytest.approx(least, rel=1e-6)
        assert row.minimises.startswith("f + 0.05 ||X - M||_*, M merged by ") and row.minimises != named.minimises
        # Of full rank it ends at the optimum of what it minimises.
        assert abs(row.suboptimality) < 1e-9 and abs(row.missing[0]) < 1e-9 and row.is_global is False
    assert named.best() == 0 and given.best() is None
    # From factors that are given nothing is merged, and a problem that holds what was merged is its own.
    assert target_of(Method.parse("gd~pissa/lam=0"), whole).beside
    A, B = named.results[0].A, named.results[0].B
    assert ls.compare(whole, "lbfgs~pissa", init=(A, B)).best() == 0
    assert ls.compare(given.results[0].problem, "lbfgs", init=given.results[0]).best() == 0


@pytest.fixture(scope="module")
def isotropic():
    """``f = ||W0 + X - T||^2/2``, as the samples are orthonormal directions: optima are soft-thresholded by hand."""
    rng = np.random.default_rng(5)
    W0, T = rng.standard_normal((7, 5)), rng.standard_normal((7, 5))
    Z = np.sqrt(40) * np.linalg.qr(rng.standard_normal((40, 5)))[0].T
    return ls.Problem(LinearFineTuning(W0, Z, T @ Z), 5, 0.4), W0, T


@pytest.mark.parametrize("method", ["lbfgs~pissa", "lbfgs~milora", "lbfgs~pissa@lora:alpha=10"])
@pytest.mark.parametrize("lam", [0.4, 0.0])
def test_a_start_within_the_weight_is_held_against_the_optimum_beside_what_it_merged(isotropic, method, lam, tmp_path):
    """Whether PiSSA had ended at the optimum of what it minimises, nothing said."""
    problem, W0, T = isotropic
    if lam == 0.0:
        problem = problem.replace(rank=2)
    problem = problem.replace(lam=lam)
    # Well before the optimum, so that some of the decrease is missing.
    found = ls.compare(problem, method, 2, stop=ls.StoppingRule(max_iter=2), store=tmp_path / "runs")
    (row,), (result,) = found.rows, found.results
    U, values, Vt = np.linalg.svd(W0, full_matrices=False)
    moved = slice(problem.rank) if "pissa" in method else slice(-problem.rank, None)
    M = -(U[:, moved] * values[moved]) @ Vt[moved]
    np.testing.assert_allclose(result.merged, M, atol=1e-9)
    # The update beside M is soft-thresholded, and cut off at the rank where there is no decay.
    s = np.linalg.svd(T - W0 - M, compute_uv=False)
    weight = lam / result.problem.scale
    kept = np.maximum(s - weight, 0.0) if lam else np.where(np.arange(5) < problem.rank, s, 0.0)
    least = 0.5 * ((s - kept) ** 2).sum() + weight * kept.sum()
    assert row.reference == pytest.approx(least, rel=1e-6)
    at_frozen_weight = 0.5 * ((T - W0) ** 2).sum() + weight * values[moved].sum()
    missing = [(run.fun - least) / (at_frozen_weight - least) for run in found.runs[0]]
    assert row.missing == pytest.approx(missing, rel=1e-4) and max(missing) > 1e-3


def test_what_different_runs_have_merged_has_different_least_values(isotropic):
    """Singular values ``s`` of ``T - W0 - M`` cost ``s^2/2`` up to the weight ``w``, and ``w s - w^2/2`` beyond."""
    problem, W0, T = isotropic
    optima, beside = Optima(problem), Target("beside M, merged by an earlier run", weight=0.4, beside=True)
    ended = ls.solve(problem, "gd", stop=ls.StoppingRule(max_iter=1))
    for share in (0.0, 0.9):
        M = share * (T - W0)
        s = np.linalg.svd(T - W0 - M, compute_uv=False)
        least = np.where(s <= 0.4, 0.5 * s**2, 0.4 * s - 0.08).sum()
        assert optima.of(beside, [replace(ended, merged=M)]) == pytest.approx(least, rel=1e-6)


def test_a_loss_that_states_no_lower_bound_has_the_least_value_that_is_found():
    class Raised(ls.objectives.Denoising):
        lower_bound = None

        def value_and_grad(self, X):
            value, G = super().value_and_grad(X)
            return value + 3.0, G

    assert Optima(ls.Problem(Raised(np.eye(3)), 1)).of(Target("f", 0.0)) == pytest.approx(3.0, rel=1e-12)


def test_no_least_value_is_known_beside_updates_that_differ_between_starts(problem):
    (row,) = ls.compare(problem, "lbfgs~lora_ga:direction='random'", 2).rows
    assert row.minimises.startswith("f + 0.05 ||X - M||_*") and row.reference is row.missing is None
    (row,) = ls.compare(problem, "lbfgs~lora_ga:direction='random'", 1).rows
    assert row.reference is not None


@pytest.mark.parametrize(
    ("adapter", "lam"),
    [(LoRA(), 0.3), (LoRA(alpha=6.0), 0.3), (SoftmaxGates(0.7, alpha=6.0), 0.3), (SoRA(0.4, "unit_columns"), 0.0),
     (SoRA(0.4, "unit_columns", 6.0), 0.0), (SoRA(0.4), 0.3), (DoRA(), 0.3)],
)  # fmt: skip
def test_the_penalty_is_never_below_its_nuclear_weight_and_attains_it_where_it_says_so(problem, adapter, lam):
    p = ls.Problem(problem.objective, 3, lam, adapter)
    weight = adapter.nuclear_weight(lam, 3)
    rng = np.random.default_rng(1)
    grad = np.empty(p.size)

    def excess(theta):
        X = p.update(theta)
        penalty = p.value_and_grad(theta, grad) - p.objective.value_and_grad(X)[0]
        return penalty - weight * np.linalg.svd(X, compute_uv=False).sum()

    assert min(excess(rng.standard_normal(p.size)) for _ in range(200)) >= -1e-9
    if adapter.has_nuclear_penalty:
        U, s, V = (
            np.linalg.qr(rng.standard_normal((7, 3)))[0],
            np.array([3.0, 2.0, 0.5]),
            np.linalg.qr(rng.standard_normal((6, 3)))[0],
        )
        gates = adapter.n_extra(p.shape, 3) > 0
        root = np.ones(3) if gates else np.sqrt(s)
        theta = p.join(U * root, V * root, s if gates else None)
        assert excess(theta) == pytest.approx(0.0, abs=1e-10)


def test_nothing_ends_below_its_reference(everything):
    judged = [row for row in everything.rows if row.reference is not None]
    assert len(judged) > 10
    for row in judged:
        assert min(row.missing) > -1e-9, row.method
        assert row.suboptimality > -1e-9, row.method


def test_references_by_other_routes(problem, everything):
    by_aim = {row.minimises: row for row in everything.rows}
    convex = ls.solve_convex(problem.replace(rank=6), route="prox").fun
    assert by_aim["f + 0.05 ||X||_*"].reference == pytest.approx(convex, rel=1e-6)
    f = problem.objective
    exact = np.linalg.lstsq(f.S, f.C.T, rcond=None)[0].T
    assert by_aim["f"].reference == pytest.approx(f.value_and_grad(exact)[0], abs=1e-9)


def test_other_penalties_stand_apart_without_a_reference(everything):
    own = everything.minimises
    for row in everything.rows:
        if any(name in row.method for name in ("dora", "softmax_gates", "adamw", "frozen=A")):
            assert row.minimises != own
            assert (row.reference, row.suboptimality, row.missing) == (None, None, None)
    text = everything.table()
    assert text.index("\nadamw") > text.index("least value not known")


def test_a_long_table_has_a_short_sentence(everything):
    text = everything.conclusion()
    assert text.count(".  ") == 0 and text.count(". ") <= 4 and "minimise something else." in text


def test_budget_and_seeds_are_kept(everything):
    assert everything.seeds == [0, 1]
    for row, runs in zip(everything.rows, everything.runs):
        assert len(runs) == 2
        assert row.oracle_calls <= 80, row.method
        assert sorted(run.seed for run in runs) == [0, 1]
        assert row.objective == min(run.fun for run in runs) or not math.isfinite(row.objective)


def test_chosen_step_is_no_worse_than_its_neighbours(problem):
    stop = ls.StoppingRule(max_iter=39, grad_tol=0.0)
    found = choose_step(Method("gd"), problem, lambda m: ls.solve(problem, m, stop=stop), np.random.default_rng(0))
    assert found.by == "objective"
    assert found.calls > 2 * 20  # the chosen one and both neighbours, the diverging ones cut short
    values = []
    for factor in (0.25, 1.0, 4.0):
        end = ls.solve(problem, ls.optimizers.GD(found.step_size * factor), stop=stop)
        values.append(math.inf if end.status is ls.Status.DIVERGED else end.fun)
    assert values[1] <= min(values) * (1 + 1e-12)


@pytest.mark.parametrize(
    ("wanted", "chosen", "calls"),
    [
        # Upward first: 0, 1, 2, 3 where 2 is best, and 1, 0, -1, -2, -3 where -2 is.
        (4.0**2, 2, 4),
        (4.0**-2, -2, 5),
        (1.0, 0, 3),
        (1e9, 6, 7),
        (1e-9, -6, 8),
        # Three steps diverge: 0, -1, -2 are tried, then -3 and, where it is worse, -4.
        (4.0**-3.2, -3, 5),
    ],
)
def test_steps_are_tried_in_factors_of_four_from_the_default_at_most_six_times_in_a_direction(wanted, chosen, calls):
    """Of runs whose end is a distance of the step from one that is wanted: each step is tried once."""
    problem = ls.Problem(ls.objectives.Denoising(np.diag([2.0, 1.0])), 1, 0.1)
    default = Method("gd").default_step(problem, np.random.default_rng(0))
    tried = []

    def run(method: Method):
        tried.append(method.optimizer.step_size / default)
        diverges = wanted == 4.0**-3.2 and tried[-1] > 4.0**-2.5
        status = ls.Status.DIVERGED if diverges else ls.Status.CONVERGED
        return types.SimpleNamespace(status=status, nfev=7, fun=abs(math.log(tried[-1] / wanted)))

    found = choose_step(Method("gd"), problem, run, np.random.default_rng(0))
    assert found.step_size / default == pytest.approx(4.0**chosen, rel=1e-12)
    assert found.calls == 7 * calls and len(tried) == calls
    powers = sorted(round(math.log(step, 4)) for step in tried)
    assert powers == list(range(powers[0], powers[0] + calls))


def test_adamw_gets_the_step_that_serves_its_own_aim():
    """By the held-out loss where there are data, else by its own residual; never by the L that it does not minimise."""
    from lorasolve.tasks import digits_task

    task = digits_task()
    problem = ls.Problem(task.objective, 8, 0.05)
    by_quality = ls.compare(problem, "adamw", budget=200, tune=True, held_out=task.test).rows[0]
    by_residual = ls.compare(problem, "adamw", budget=200, tune=True).rows[0]
    assert (by_quality.step_by, by_residual.step_by) == ("held-out loss", "own residual")
    assert by_quality.quality["accuracy"] > 0.9


def test_adamw_residual_vanishes_at_kkt_points_of_the_box_and_nowhere_else():
    """f = ||X - M||^2 / 2 with rank 1 and M = 4 in 1 x 1: in the box |a|, |b| <= 1 (1, 1) is the KKT point."""
    problem = ls.Problem(ls.objectives.Denoising(np.array([[4.0]])), 1, 1.0)
    method = AdamW()
    assert method.residual(problem, np.array([1.0, 1.0])) == pytest.approx(0.0, abs=1e-12)
    for theta in ([0.5, 0.5], [1.0, 0.9], [-1.0, 1.0], [1.5, 1.0]):
        assert method.residual(problem, np.array(theta)) > 1e-3
    free = ls.Problem(ls.objectives.Denoising(np.array([[0.25]])), 1, 1.0)
    assert method.residual(free, np.array([0.5, 0.5])) == pytest.approx(0.0, abs=1e-12)


def test_what_other_aims_reach_is_said_in_the_sentence(problem):
    text = ls.compare(problem, ["lbfgs", "adamw"], budget=300).conclusion()
    assert text.startswith("Global optimum reached by 1 of 1 methods (lbfgs)")
    assert "adamw minimises f in the box |theta| <= 1/weight_decay and is not at the problem's optimum." in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"seeds": 0}, "seeds"), ({"seeds": []}, "is empty"), ({"seeds": [-1]}, "seeds"), ({"budget": 1}, "budget")],
)
def test_bad_numbers_are_named(problem, arguments, message):
    with pytest.raises(ValueError, match=message):
        ls.compare(problem, ["gd"], **arguments)


def test_command_writes_table_and_figure(tmp_path, capsys):
    from lorasolve.cli import main

    arguments = ["--methods", "all", "--budget", "12", "--seeds", "1", "--out", str(tmp_path / "all")]
    assert main(["compare", *arguments]) == 0
    assert "rac_chain" in capsys.readouterr().out
    assert (tmp_path / "all.json").stat().st_size > 1000
    assert (tmp_path / "all.png").stat().st_size > 10_000


def test_what_separable_data_are_judged_against_is_the_infimum_and_not_where_a_run_stopped():
    """Scaling a separating weight up lowers the loss for ever; with a mislabelled twin it has a minimum above 0."""
    Z = np.array([[1.0, -1.0, 0.2], [0.0, 0.3, -1.0]])
    separable = ls.objectives.Softmax(np.zeros((3, 2)), Z, np.array([0, 1, 2]))
    twins = ls.objectives.Softmax(np.zeros((3, 2)), np.repeat(Z, 2, axis=1), np.array([0, 1, 1, 1, 2, 2]))
    least = [Optima(ls.Problem(f, 2, 0.1)).of(Target("f", 0.0)) for f in (separable, twins)]
    assert least[0] == 0.0
    # Of the twins' pair one half of the labels is wrong whatever the weight; the other pairs can be right.
    assert least[1] == pytest.approx(2 * np.log(2.0) / 6, rel=1e-8)


@pytest.mark.parametrize("aim", [True, 3, None, ["f in a box"]])
def test_an_aim_that_is_no_text_is_refused(problem, aim):
    """The conclusion said that a method "minimises True"."""
    mine = type("Mine", (AdamW,), {"name": "mine", "own_aim": aim})
    with pytest.raises(TypeError, match=r"optimizer: Mine\.own_aim: expected a text, got"):
        ls.compare(problem, [mine(), "gd"], stop=ls.StoppingRule(max_iter=1))
