"""Which sentences and layers of MiniLM are taken; without its weights, on sentences of the test's own."""

from __future__ import annotations

import pytest

from lorasolve.papers import _minilm, registry


def tokenizer(texts):
    return {"input_ids": [[len(text)] * 6 for text in texts]}


@pytest.fixture
def graded(monkeypatch):
    """Ten sentences of each sign, and as many of no clear one."""
    rows = [(f"{sign} {k}", grade) for k in range(10) for sign, grade in (("up", 2.0), ("down", -2.0), ("flat", 0.5))]
    monkeypatch.setattr(_minilm, "sentences", lambda: rows)
    return rows


@pytest.mark.parametrize(("n_train", "n_test"), [(2, 4), (3, 6), (5, 10), (6, 12), (2, 18)])
def test_as_many_sentences_are_taken_as_are_asked_for(graded, n_train, n_test):
    train, test = _minilm._chosen(tokenizer, n_train, n_test)
    assert (len(train), len(test)) == (n_train, n_test)
    assert {label for _, label in train} == {0, 1}


def test_more_sentences_than_there_are_and_single_ones_are_refused(graded):
    with pytest.raises(ValueError, match="sentences: expected at most 20 to train and to test on, got 7 and 14"):
        _minilm._chosen(tokenizer, 7, 14)
    with pytest.raises(ValueError, match="sentences: expected an integer >= 2, got 1"):
        _minilm._chosen(tokenizer, 1, 2)


def test_the_last_layers_are_no_more_than_there_are():
    assert [_minilm._first(6, last) for last in (1, 2, 6)] == [5, 4, 0]
    for last in (7, 99, 0, -1):
        with pytest.raises(ValueError, match=f"last: expected an integer from 1 to 6, got {last}"):
            _minilm._first(6, last)


# ---------------------------------------------------------------------- claims
def end(start, kind, ranks, norm, stationarity=4e-4):
    return {"start": start, "kind": kind, "ranks": ranks, "dual_norm": norm, "stationarity": stationarity}


STATIONARY = end("zero 0", "tangent_optimal", [1, 0, 2], 1.00001)


@pytest.mark.parametrize(
    ("records", "holds"),
    [
        (
            [STATIONARY, end("zero 1", "not_converged", [1, 8, 2], 1.2, 0.2), end("large 0", "loud", [8, 8, 8], 9.0)],
            True,
        ),
        # Within the tolerance of its solved tangent problem, and steps remain.
        ([STATIONARY, end("zero 1", "tangent_optimal", [1, 0, 2], 1.0294, 6e-2)], True),
        ([STATIONARY, end("zero 1", "rank_too_small", [8, 8, 8], 1.2)], False),
        ([STATIONARY, end("zero 1", "inconclusive", [1, 0, 2], 1.05)], False),
        ([STATIONARY, end("zero 1", "tangent_optimal", [1, 0, 2], float("nan"))], False),
        ([STATIONARY, end("zero 1", "tangent_optimal", [0, 0, 0], 0.5)], False),  # where it started
        ([end("zero 0", "not_converged", [0, 0, 0], 7.0, 1.0)], None),
    ],
)
def test_every_run_from_zero_that_ends_is_judged_and_others_are_counted(records, holds):
    claims = registry.classes()["minilm"]().claims(records)
    assert [claim.holds for claim in claims] == ([] if holds is None else [holds])
    assert all(f"of {sum(r['start'] != 'large 0' for r in records)} runs end" in claim.measured for claim in claims)


@pytest.mark.parametrize("kind", ["tangent_optimal", "not_converged"])
@pytest.mark.parametrize(
    ("totals", "holds"), [([1, 3], True), ([1, 1], False), ([3, 1], False), ([1, 4, 3], False), ([0, 16], False)]
)
def test_the_rank_has_to_fall_with_the_decay(totals, holds, kind):
    records = [
        {"lam": 0.1 / 10**k, "kind": kind, "ranks": [total // 2, total - total // 2]} for k, total in enumerate(totals)
    ]
    (claim,) = registry.classes()["minilm_rank"]().claims(records)
    assert claim.holds == holds and claim.measured.count(kind) == len(totals)


@pytest.mark.parametrize("ranks", [[[0, 0], [0, 0]], [[8, 8], [8, 8]], [[8, 2], [8, 8]]])
def test_runs_that_do_not_move_or_stop_early_do_not_have_the_ranks_of_the_end_of_training(ranks):
    """Of the last layer, 32 sentences, lam = 0.1 and 0.01: after 3 evaluations 8,8 and 8,8, after 12 8,2 and 8,8."""
    records = [{"lam": 0.1 / 10**k, "kind": "not_converged", "ranks": each} for k, each in enumerate(ranks)]
    assert not registry.classes()["minilm_rank"]().claims(records)[0].holds


def course(start, *points):
    keys = ("loss", "rank", "nuclear_norm", "train", "test")
    return {"start": start, "course": [dict(zip(keys, point)) for point in points]}


NULL, LOUD = (0.17, 0.0, 0.0, 1.0, 0.8), (90.0, 8.0, 5000.0, 0.7, 0.5)


@pytest.mark.parametrize(
    ("zero", "large", "holds"),
    [
        ((0.03, 4.8, 2.5, 1.0, 0.76), (13.9, 8.0, 1380.0, 1.0, 0.54), True),
        (NULL, LOUD, False),  # no run moves
        (NULL, (13.9, 8.0, 1380.0, 1.0, 0.54), False),
        ((0.03, 4.8, 2.5, 1.0, 0.76), (60.0, 8.0, 3000.0, 0.8, 0.5), False),  # stopped early
        ((0.03, 4.8, 2.5, 1.0, 0.76), (0.1, 4.8, 1380.0, 1.0, 0.54), False),
        ((0.03, 4.8, 2.5, 1.0, 0.76), (0.1, 8.0, 4.0, 1.0, 0.54), False),
    ],
)
def test_starts_are_told_apart_by_runs_that_have_learnt(zero, large, holds):
    records = [course("zero", NULL, NULL, zero), course("small", NULL, zero), course("large", LOUD, LOUD, large)]
    (claim,) = registry.classes()["minilm_starts"]().claims(records)
    assert claim.holds == holds


@pytest.mark.parametrize(
    ("alpha", "beta", "searched", "holds"),
    [
        ([4e-3, 2e-3, 2e-4], [0.09, 0.45, 0.3], 98.0, True),
        ([4e-3, 2e-3, -2e-4], [0.09, 0.45, 0.3], 98.0, False),  # as the paper says
        ([4e-3, -2e-3, 2e-4], [0.09, 0.45, 0.3], 98.0, False),
        ([4e-3, 2e-3, 4e-3], [0.09, 0.45, 0.3], 98.0, False),  # does not fall
        ([4e-3, 2e-3, 2e-4], [0.09, 0.45, 0.3], 0.4, False),  # as far as search
        ([4e-3, float("nan"), 2e-4], [0.09, 0.45, 0.3], 98.0, False),
    ],
)
def test_monte_carlo_is_held_against_search_on_minilm(alpha, beta, searched, holds):
    keys = ("r", "alpha_sampled", "beta_sampled", "alpha_searched", "beta_searched")
    rows = zip((1, 8, 64), alpha, beta, (-0.2, -4.0, -4.0), (searched, 135.0, 135.0))
    (claim,) = registry.classes()["minilm_constants"]().claims([dict(zip(keys, row)) for row in reversed([*rows])])
    assert claim.holds == holds
