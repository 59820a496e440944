"""The rank that is recommended, against the optima of closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from path_problems import denoising

import lorasolve as ls
from lorasolve.multi import Separable
from lorasolve.objectives import Denoising, LinearFineTuning, MatrixSensing
from lorasolve.studies import lam_path


def test_the_recommended_rank_is_that_of_the_optimum():
    for lam, rank in ((0.4, 4), (1.0, 3), (2.5, 2), (4.0, 1)):
        choice = ls.recommend_rank(denoising().replace(lam=lam))
        assert (choice.at_least, choice.at_most, choice.rank, choice.lam) == (rank, rank, rank, lam)
        assert f"rank {rank} at lam = {lam:g}" in str(choice) and str(choice.level) == "RIGOROUS"
    zero = ls.recommend_rank(denoising().replace(lam=9.0))
    assert (zero.at_most, zero.rank) == (0, 1)


def test_a_rank_that_one_optimum_decides_is_not_looked_at_more_closely(monkeypatch):
    tolerances = []

    def solve(problem, route, tol, **options):
        tolerances.append(tol)
        return ls.solve_convex(problem, route, tol, **options)

    monkeypatch.setattr("lorasolve.studies.rank_choice.solve_convex", solve)
    assert ls.recommend_rank(denoising().replace(lam=1.0)).at_most == 3
    assert len(tolerances) == 1


def test_the_gap_is_made_smaller_while_that_narrows_the_interval_of_the_rank():
    """A gap of half the range leaves 3 or more; that of another route to 1e-8 leaves no doubt about 6."""
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((8, 40)) / np.sqrt(40)
    target = rng.standard_normal((10, 3)) @ rng.standard_normal((3, 8)) @ Z
    objective = LinearFineTuning(np.zeros((10, 8)), Z, target + 0.1 * rng.standard_normal((10, 40)))
    problem = ls.Problem(objective, 3, 0.004)
    rough = ls.solve_convex(problem, "factored", 0.9).certificate
    assert (rough.rank_at_least, rough.rank_at_most) == (3, None)
    choice = ls.recommend_rank(problem, 0.9)
    assert choice.at_least == choice.at_most == ls.solve_convex(problem, "prox", 1e-8).rank == 6


def test_a_recommended_rank_belongs_to_the_scale_that_another_rank_changes():
    """The optimum of denoising has as many columns as singular values above lam/s, here 5, 4, 3, 2, 1, 0.5."""
    objective = Denoising(np.diag([5.0, 4.0, 3.0, 2.0, 1.0, 0.5]))
    choice = ls.recommend_rank(ls.Problem(objective, 6, 2.5, "lora:alpha=6.0"))
    assert choice.rank == 3
    assert "at lam = 2.5 and s = 1 (which is 2 at that rank: change alpha with it)" in str(choice)
    # With the same alpha lam/s is 1.25, and four singular values are above; with alpha = 3 there are three again.
    for alpha, needed in ((6.0, 4), (3.0, 3)):
        problem = ls.Problem(objective, 3, 2.5, f"lora:alpha={alpha}")
        assert ls.solve_convex(problem).rank == needed
    assert "at lam = 2.5:" in str(ls.recommend_rank(problem))


@pytest.mark.parametrize("seed", range(3))
def test_a_bound_on_the_rank_is_kept_where_smaller_gaps_are_not_reached(seed):
    """Nothing bounds the rank of sensing from below, so that the gap is made smaller until precision ends."""
    rng = np.random.default_rng(seed)
    M, X = rng.standard_normal((900, 40, 40)), rng.standard_normal((40, 3)) @ rng.standard_normal((3, 40))
    problem = ls.Problem(MatrixSensing(M, np.tensordot(M, X, 2) + rng.standard_normal(900)), 4, 1.0)
    assert ls.solve_convex(problem, tol=1e-9).certificate.rank_at_most == 3
    choice = ls.recommend_rank(problem)
    assert (choice.at_least, choice.at_most, choice.upper_known) == (0, 3, True)


def test_what_is_said_of_the_ranks_of_several_optima_holds_for_each_of_them():
    found = ls.path(denoising(), [4.0, 1.0])
    assert [lam_path.rank_text([point]) for point in found.points] == ["1", "3"]
    assert lam_path.rank_text(found.points) == "1 to 3 (1 to 3 found)"


def test_a_rank_that_is_not_certified_is_called_found():
    class Mine:
        shape = (4, 3)
        convex, lower_bound = True, 0.0

        def value_and_grad(self, X):
            return 0.5 * float(((X - np.eye(4, 3) * 2) ** 2).sum()), X - np.eye(4, 3) * 2

    choice = ls.recommend_rank(ls.Problem(Mine(), 1, 0.5))
    assert choice.rank == 3 and not choice.upper_known and "rank 3 at lam = 0.5: found, not certified" in str(choice)
    # All singular values are 2.
    nothing = ls.recommend_rank(ls.Problem(Mine(), 1, 3.0))
    assert nothing.found == 0 and "rank 1 at lam = 3: X = 0 was found, not certified" in str(nothing)


def test_a_recommended_rank_is_not_below_the_one_proved():
    """The optimum has the singular values 1 and 1e-6, and 0 at the tie with lam, which leaves no bound from above."""
    choice = ls.recommend_rank(ls.Problem(Denoising(np.diag([2.0, 1.000001, 1.0])), 1, 1.0))
    assert (choice.at_least, choice.found, choice.upper_known) == (2, 1, False)
    assert choice.rank == 2
    assert str(choice).startswith("rank 2 at lam = 1: 1 found, not certified; the optimum has rank >= 2 (no bound from")


def test_no_rank_is_recommended_beside_a_frozen_factor():
    """Updates beside a frozen A are in its span: with columns (1, 0, 0) and (0, 1, 0) none is near diag(0, 0, 5)."""
    problem = ls.Problem(Denoising(np.diag([0.0, 0.0, 5.0])), 2, 1.0, "lora:frozen=A")
    with pytest.raises(ValueError, match=r"^problem: expected factors .* 'lora:frozen=A'$"):
        ls.recommend_rank(problem)
    assert ls.recommend_rank(problem.replace(adapter="lora")).rank == 1


def test_why_nothing_bounds_a_rank_is_said_as_it_is():
    """The smoothness of denoising is known, and its gap is as small as one likes."""
    single = denoising()
    several = ls.MultiProblem(Separable([single.objective] * 2), 1, 1.0)
    for problem, why in ((single.replace(lam=0.0), "without decay"), (several, "for one matrix only")):
        choice = ls.recommend_rank(problem)
        assert not choice.upper_known and why in str(choice) and "smoothness" not in str(choice)
