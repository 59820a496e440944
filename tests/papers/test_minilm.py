"""Which sentences and layers of MiniLM are taken; without its weights, on sentences of the test's own."""

from __future__ import annotations

import pytest

from lorasolve.papers import _minilm


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
    train, test = _minilm._chosen(tokenizer, n_train, n_test, 0)
    assert (len(train), len(test)) == (n_train, n_test)
    assert {label for _, label in train} == {0, 1}


def test_more_sentences_than_there_are_and_single_ones_are_refused(graded):
    with pytest.raises(ValueError, match="sentences: expected at most 20 to train and to test on, got 7 and 14"):
        _minilm._chosen(tokenizer, 7, 14, 0)
    with pytest.raises(ValueError, match="sentences: expected an integer >= 2, got 1"):
        _minilm._chosen(tokenizer, 1, 2, 0)


def test_the_last_layers_are_no_more_than_there_are():
    assert [_minilm._first(6, last) for last in (1, 2, 6)] == [5, 4, 0]
    for last in (7, 99, 0, -1):
        with pytest.raises(ValueError, match=f"last: expected an integer from 1 to 6, got {last}"):
            _minilm._first(6, last)
