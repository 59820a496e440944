"""What the cells of the main paper's experiments measure, each against an independent route or made-up ends."""

from types import SimpleNamespace

import numpy as np
import pytest

from lorasolve.landscape import Constants, instances
from lorasolve.papers import figure2, registry
from lorasolve.papers._network import network_task
from lorasolve.problem import Problem
from lorasolve.tasks import load_digits


def verdicts(kinds, seen):
    """Return a judge that says these kinds in turn, the second one against a theorem, and keeps what it is asked."""
    said = iter(enumerate(kinds))

    def judge(problem, end, X_star, constants=None, *, tol):
        k, kind = next(said)
        seen.append((problem, X_star))
        return SimpleNamespace(kind=kind, contradictions=["a", "b"] if k == 1 else [])

    return judge


KINDS = ["global", "spurious", "saddle", "global", "global"]


@pytest.mark.parametrize("r", [1, 2])
def test_init_bias_counts_ends_at_three_times_the_boundary_of_the_sharp_instance(monkeypatch, r):
    seen = []
    monkeypatch.setattr("lorasolve.landscape.verdict", verdicts(KINDS, seen))
    starts = []
    monkeypatch.setattr("lorasolve.papers.init_bias.descend", lambda problem, scale, seed: starts.append((scale, seed)))
    found = registry.classes()["init_bias"]().run({"r": r, "lam": 0.1, "scale": 0.3, "runs": 5})
    assert starts == [(0.3, seed) for seed in range(5)]
    assert found == {"global": 3, "spurious": 1, "unfinished": 1}
    problem, X_star = seen[0]
    boundary = 1 + 2 * np.sqrt(r)
    same = instances.sharp(r, 1, r + 1, r + 1, 3 * boundary, 0.1)
    np.testing.assert_allclose(X_star, same.X_star)
    X = np.random.default_rng(0).standard_normal((r + 1, r + 1))
    assert problem.objective.value_and_grad(X)[0] == pytest.approx(same.value_and_grad(X)[0])
    assert (problem.rank, problem.lam) == (r, 0.1)


def test_phase_diagrams_count_spurious_and_unfinished_ends_and_contradictions(monkeypatch):
    monkeypatch.setattr("lorasolve.landscape.verdict", verdicts(["global", *KINDS], []))
    monkeypatch.setattr("lorasolve.papers._phase.descend", lambda problem, scale, seed: None)
    cell = {"r": 1, "r_star": 1, "kappa": 9.0, "scale": 1.0, "runs": 5}
    found = registry.classes()["sharp"]().run(cell)
    assert (found["spurious"], found["unfinished"], found["contradictions"]) == (0.2, 1, 2)
    assert found["point"] == "global"


def test_theorems_are_held_against_ends_under_restricted_strong_convexity(monkeypatch):
    """On the whole space alpha is 0 there, which no theorem applies to: none could be contradicted."""
    experiment = registry.classes()["restricted"]()
    cell = {"r": 2, "r_star": 1, "times": 5.0, "scale": 10.0, "runs": 5}
    found = experiment.run(cell)
    assert found["spurious"] > 0.0 == found["contradictions"]
    make = experiment.instance

    def with_false_constants(r, r_star, times):
        instance = make(r, r_star, times)
        instance.constants = Constants.exact(1.0, 1.1, r, whole_space=True)  # a special regime, with a spurious point
        return instance

    monkeypatch.setattr(experiment, "instance", with_false_constants)
    assert experiment.run(cell)["contradictions"] > 0


def test_the_loss_along_the_course_is_that_of_the_problem():
    task, rng = network_task(50, 32, classes=5), np.random.default_rng(0)
    A, B = rng.standard_normal((32, 8)), rng.standard_normal((64, 8))
    found = figure2._measure(task, A, B)
    assert found["loss"] == pytest.approx(Problem(task.objective, 8, 0.01).value(A, B))
    values = np.linalg.svd(A @ B.T, compute_uv=False)[:8]
    expected = {"sigma_r": values[-1], "norm": np.sqrt(np.sum(values**2)), "nuclear_norm": values.sum()}
    assert {key: found[key] for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rank", "norm", "accuracy", "loud"),
    [(8, 9.0, 0.7, True), (7, 9.0, 0.7, False), (8, 7.9, 0.7, False), (8, 9.0, 0.9, False)],
)
def test_a_failure_is_loud_with_full_rank_twice_the_norm_and_less_accuracy(rank, norm, accuracy, loud):
    zero = [{"nuclear_norm": n, "accuracy": a} for n, a in ((3.0, 0.8), (4.0, 0.85), (5.0, 0.9))]
    record = {"budget": {"rank": rank, "nuclear_norm": norm, "accuracy": accuracy}}
    assert figure2._fails_loudly(record, zero) == loud


def test_the_network_moves_to_images_that_are_turned():
    """Training and test images are columns of digits, each turned by 90 degrees; none is in both."""
    task = network_task(20, 16)
    images, labels = load_digits()
    upright = {image.tobytes() for image in images.reshape(len(images), -1)}
    turned = {np.rot90(image).ravel().tobytes(): label for image, label in zip(images, labels)}
    columns = [column.tobytes() for column in np.hstack([task.objective.Z, task.Z_test]).T]
    assert all(column in turned for column in columns)
    assert sum(column in upright for column in columns) < 0.01 * len(columns)
    said = [turned[column] for column in columns[20:]]
    assert list(task.labels_test) == said
    assert len(set(columns[:20]) & set(columns[20:])) == 0


def test_the_network_is_told_by_its_best_start(monkeypatch):
    ends = [(2.0, 3), (1.0, 1), (3.0, 2)]

    def solve(problem, method, init, seed, stop):
        assert (problem.lam, problem.rank) == (0.2, 32)  # of full rank: no other minimum is due to the rank
        fun, rank = ends[seed]
        X = np.zeros(problem.shape)
        X[:rank, :rank] = np.eye(rank)
        return SimpleNamespace(fun=fun, X=X, status=SimpleNamespace(label=f"start {seed}"))

    monkeypatch.setattr("lorasolve.engine.solve", solve)
    found = registry.classes()["table1"]().run({"objective": "two-layer network", "lam": 0.2, "starts": 3})
    assert (found["rank"], found["nuclear_norm"], found["known"]) == (1, 1.0, "best of 3 starts, start 1")


def test_the_rank_at_the_end_of_sgd_is_to_a_tenth_of_the_norm(monkeypatch):
    """Of singular values 10, 3 and 1 two are needed: 1 is less than a tenth of the norm 10.49, and sqrt 10 is more."""

    def solve(problem, method, init, seed, stop):
        assert (problem.lam, method.step_size, method.batch_size) == (cell["lam"], 0.15, 2)
        X = np.zeros(problem.shape)
        X[[0, 1, 2], [0, 1, 2]] = 10.0, 3.0, 1.0
        return SimpleNamespace(X=X, status=SimpleNamespace(label="iteration limit"))

    monkeypatch.setattr("lorasolve.engine.solve", solve)
    cell = {"batch": 2, "step": 0.15, "lam": 1.0, "runs": 1}
    found = registry.classes()["lemma1"]().run(cell)
    assert (found["ranks"], found["steps"], found["vacuous"], found["status"]) == ([2], 2000, False, "ended")
    assert found["bound"] == pytest.approx(2 * np.log(40) / np.log(1 / 0.85))
    cell["lam"] = 0.8  # 57.7: more than the 50 of full rank
    assert registry.classes()["lemma1"]().run(cell)["vacuous"]


def ends(*losses_and_ranks):
    return [
        {"lam": lam, "start": start, "loss": loss, "norms": [1.0, 1.0], "ranks": ranks, "second_order": True}
        for lam, start, loss, ranks in losses_and_ranks
    ]


def test_ranks_of_many_matrices_are_those_of_the_best_end():
    records = ends(
        (0.01, "zero", 0.2, [8, 6]), (0.01, "zero", 0.3, [1, 1]), (0.01, "large", 0.21, [8, 8]),
        (0.1, "zero", 0.5, [1, 1]), (0.1, "zero", 0.6, [8, 8]), (0.1, "large", 0.499, [2, 1]),
    )  # fmt: skip
    ranks, _, _, dichotomy = registry.classes()["many_matrices"]().claims(records)
    assert ranks.holds and "lam = 0.01: ranks [8, 6]; lam = 0.1: ranks [2, 1]" in ranks.measured
    # More than 1 % above the best one: 0.3, 0.21 and 0.6, of which two have a block of full rank.
    assert dichotomy.holds and "3 second-order ends more than 1 % above the best one, 2 with" in dichotomy.measured


def test_a_decay_at_which_nothing_is_learnt_is_none_that_the_claims_on_many_matrices_speak_of():
    rows = [(0.01, [8, 6], 0.2), (0.1, [2, 1], 0.5)]
    records = ends(*[(lam, start, loss * more, ranks) for lam, ranks, loss in rows for start, more in STARTS])
    records[1]["norms"] = records[3]["norms"] = [2.0, 2.0]
    records *= 2  # another seed, whose mean has an error
    claims = registry.classes()["many_matrices"]().claims
    before = [claim.holds for claim in claims(records)[:3]]
    beyond = ends((5.0, "zero", 1.0, [0, 0]), (5.0, "large", 1.0, [0, 0]))
    assert before == [claim.holds for claim in claims(records + beyond)[:3]] == [True, True, True]


STARTS = (("zero", 1.0), ("large", 1.1))


def ranks_of_table1(softmax, network, known="RIGOROUS, relative gap 1e-08"):
    """Return records at three of the quick run's decays: the first two, and one above a hundredth."""
    lams = registry.classes()["table1"]().axes(True)["lam"]
    rows = [("softmax head", softmax), ("two-layer network", network)]
    return [
        {"objective": name, "lam": lam, "rank": rank, "known": known}
        for name, ranks in rows
        for lam, rank in zip((lams[0], lams[3], lams[6]), ranks)
    ]


@pytest.mark.parametrize(
    ("softmax", "network", "known", "holds"),
    [
        ([9, 9, 5], [30, 20, 6], "RIGOROUS, relative gap 1e-08", True),
        ([9, 9, 9], [30, 20, 6], "RIGOROUS, relative gap 1e-08", False),  # does not fall
        ([9, 9, 5], [20, 30, 6], "RIGOROUS, relative gap 1e-08", False),  # rises on the way
        ([8, 7, 5], [30, 20, 6], "RIGOROUS, relative gap 1e-08", False),  # as low at 1e-4
        ([9, 9, 5], [30, 20, 10], "RIGOROUS, relative gap 1e-08", False),  # never as low
        ([9, 9, 5], [30, 20, 6], "unknown, relative gap 1e-01", False),
    ],
)
def test_ranks_have_to_fall_to_a_lora_rank_beyond_where_the_paper_says(softmax, network, known, holds):
    (claim,) = registry.classes()["table1"]().claims(ranks_of_table1(softmax, network, known))
    assert claim.holds == holds


@pytest.mark.parametrize(
    ("ranks", "bounds", "holds"),
    [
        ([4, 2, 1], [240.0, 60.0, 40.0], True),
        ([50, 49, 45], [240.0, 60.0, 40.0], False),  # above the bound
        ([4, 2, 4], [240.0, 60.0, 40.0], False),
        ([4, 2, 1], [240.0, 160.0, 60.0], False),  # nowhere does it say anything
        ([4, 2, 1], [49.0, 48.0, 40.0], False),  # it does everywhere
    ],
)
def test_lemma_1_is_judged_where_its_bound_is_below_the_full_rank(ranks, bounds, holds):
    records = [
        {
            "batch": 2,
            "step": 0.15,
            "lam": lam,
            "ranks": [rank],
            "bound": bound,
            "vacuous": bound >= 50,
            "status": "ended",
        }
        for lam, rank, bound in zip((0.3, 0.6, 1.0), ranks, bounds)
    ]
    beyond = records[-1] | {"lam": 7.0, "ranks": [50]}
    (claim,) = registry.classes()["lemma1"]().claims([*records, beyond])
    assert claim.holds == holds
    (claim,) = registry.classes()["lemma1"]().claims([records[0] | {"status": "diverged"}, *records[1:]])
    assert not claim.holds


def test_the_softmax_head_learns_nothing_from_the_spectral_norm_of_its_first_gradient_on():
    """At no update the subgradients of lam ||.||_* are the matrices of spectral norm up to lam."""
    from lorasolve.tasks import digits_task

    objective = digits_task().objective
    last = np.linalg.norm(objective.value_and_grad(np.zeros(objective.shape))[1], 2)
    ranks = [
        registry.classes()["table1"]().run({"objective": "softmax head", "lam": times * last})["rank"]
        for times in (0.7, 1.01)
    ]
    assert ranks[0] > 0 == ranks[1]


def test_the_starts_and_decays_of_many_matrices_are_those_of_the_cell(monkeypatch):
    seen = []

    def solve(problem, method, init, seed, stop):
        seen.append((getattr(init, "std", init), problem.lam, seed))
        X = tuple(np.diag([3.0, 2.0, 1e-5, *[0.0] * 20])[:m, :n] for m, n in problem.shapes)
        return SimpleNamespace(X=X, A=None, B=None, fun=1.0)

    monkeypatch.setattr("lorasolve.engine.solve", solve)
    monkeypatch.setattr("lorasolve.landscape.second_order", lambda *_, tol: SimpleNamespace(is_sosp=True))
    for start in ("zero", "small", "large"):
        found = registry.classes()["many_matrices"]().run({"lam": 0.03, "start": start, "seed": 4})
        assert found["ranks"] == [2, 2] and found["norms"] == pytest.approx([5.00001, 5.00001])
    assert seen == [("lora", 0.03, 4), (0.01, 0.03, 4), (3.0, 0.03, 4)]


def training(start, budget, converged, second_order=True, iterations=3000):
    """Return records of three seeds: loss, rank, nuclear norm, training and test accuracy after the budget, and beyond
    it loss, rank and nuclear norm."""
    keys = ("loss", "rank", "nuclear_norm", "train", "accuracy")
    return [
        {
            "start": start,
            "seed": seed,
            "iterations": iterations,
            "budget": dict(zip(keys, budget)),
            "converged": dict(zip(keys, converged)),
            "second_order": second_order,
        }
        for seed in range(3)
    ]


LOW = (0.050, 5, 4.0)
GOOD, LOUD = (0.051, 6, 4.1, 1.0, 0.9), (1.0, 8, 80.0, 1.0, 0.7)
NO_UPDATE, FULL, UNDEFINED = (0.8, 0, 0.0, 0.2, 0.2), (0.051, 8, 4.1, 1.0, 0.9), (np.nan, 6, 4.1, 1.0, 0.9)


@pytest.mark.parametrize(
    ("zero", "huge", "holds"),
    [
        (training("zero", GOOD, LOW), training("huge", LOUD, (0.055, 5, 4.3)), (True, True, True)),
        # Runs that do not move, whose continuation does not either, or does.
        (training("zero", NO_UPDATE, (0.8, 0, 0.0), False), training("huge", LOUD, LOW), (False, False, False)),
        (training("zero", NO_UPDATE, LOW), training("huge", LOUD, (0.055, 5, 4.3)), (False, False, True)),
        (training("zero", GOOD, LOW), training("huge", (400.0, 8, 3e4, 0.06, 0.05), LOW), (True, False, False)),
        # Stopped early: the training images are not told apart yet, or the loss is far above where it goes.
        (training("zero", GOOD, LOW), training("huge", (5.0, 8, 300.0, 0.5, 0.3), LOW), (True, False, False)),
        (training("zero", (0.06, 6, 4.1, 1.0, 0.9), LOW), training("huge", LOUD, LOW), (False, True, False)),
        # As good a test accuracy, short, or of low rank: no loud failure; and one that stays where it is.
        (training("zero", GOOD, LOW), training("huge", (1.0, 8, 80.0, 1.0, 0.9), LOW), (True, False, False)),
        (training("zero", GOOD, LOW), training("huge", (1.0, 8, 8.0, 1.0, 0.7), LOW), (True, False, False)),
        (training("zero", GOOD, LOW), training("huge", (1.0, 7, 80.0, 1.0, 0.7), LOW), (True, False, False)),
        (training("zero", GOOD, LOW), training("huge", LOUD, (0.9, 8, 80.0)), (True, False, False)),
        # Zero starts of full rank, and runs without a value.
        (training("zero", FULL, (0.05, 8, 4.0)), training("huge", LOUD, LOW), (False, True, False)),
        (training("zero", UNDEFINED, (np.nan, 5, 4.0)), training("huge", LOUD, LOW), (False, True, False)),
        (training("zero", GOOD, LOW), training("huge", (1.0, 8, np.nan, 1.0, np.nan), LOW), (True, False, False)),
    ],
)  # fmt: skip
def test_a_loud_failure_has_learnt_and_a_low_rank_minimum_is_one(zero, huge, holds):
    gentle, loud, dichotomy = registry.classes()["figure2"]().claims(zero + huge)
    assert (gentle.holds, loud.holds, dichotomy.holds) == holds


def test_a_loud_failure_is_claimed_of_the_budget_that_it_was_seen_at():
    records = training("zero", GOOD, LOW, iterations=50_000) + training("huge", GOOD, LOW, iterations=50_000)
    assert ["loudly" in claim.statement for claim in registry.classes()["figure2"]().claims(records)] == [False, False]


def test_the_accuracy_in_training_is_that_on_the_images_of_the_loss():
    task = network_task(50, 32, classes=5)
    f, X = task.objective, np.random.default_rng(0).standard_normal((32, 64))
    said = [int(np.argmax(f.V @ np.tanh((f.W0 + X) @ column))) for column in f.Z.T]
    assert task.train_accuracy(X) == np.mean([f.targets[k, j] for j, k in enumerate(said)])


def ends_by_scale(small, big, decayed, unfinished=0, runs=100):
    """Return records with these numbers of global ends at the least and the largest scale, a pair by rank, and with
    these numbers of spurious ends at the largest lam."""
    found = []
    for k, r in enumerate((1, 2)):
        for lam in (0.0, 0.3):
            for scale, hits in ((0.01, small[k]), (10.0, big[k])):
                known = runs - hits if lam == 0.0 else decayed[k]
                counts = {"global": runs - known, "spurious": known, "unfinished": unfinished}
                found.append({"r": r, "lam": lam, "scale": scale, "runs": runs} | counts)
    return found


@pytest.mark.parametrize(
    ("records", "holds"),
    [
        (ends_by_scale((80, 100), (60, 64), (30, 18)), (True, True)),
        (ends_by_scale((80, 100), (60, 64), (30, 18), unfinished=1), (False, False)),
        # The mean over two ranks and lams of 6 and 3 more of 100 is 0.045, its error 0.048.
        (ends_by_scale((66, 67), (60, 64), (37, 35)), (False, True)),
        (ends_by_scale((60, 64), (80, 100), (30, 18)), (False, True)),
        # Decay halves the spurious ends and more, or leaves none.
        (ends_by_scale((80, 100), (60, 64), (10, 5)), (True, False)),
        (ends_by_scale((80, 100), (60, 64), (0, 0)), (True, False)),
        # 5 of 20 runs with decay: their share is above zero by its errors, that of 1 of 20 at one rank alone is not.
        (ends_by_scale((16, 16), (14, 14), (5, 5), runs=20), (False, True)),
        (ends_by_scale((20, 20), (20, 18), (0, 1), runs=20), (False, False)),
        # No run moved.
        ([record | {"global": 0, "spurious": 0, "unfinished": 100} for record in ends_by_scale((1, 1), (0, 0), (1, 1))],
         (False, False)),
    ],
)  # fmt: skip
def test_small_starts_and_weight_decay_are_judged_by_finished_ends_and_their_errors(records, holds):
    small, decay = registry.classes()["init_bias"]().claims(records)
    assert (small.holds, decay.holds) == holds
