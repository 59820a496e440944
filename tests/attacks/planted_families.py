"""Families with ordinary faults, and a right one, for the adversary's own tests."""

from __future__ import annotations

import numpy as np

CLAIM = "no number is above 0.5"
LIMIT = float("inf")
LEVELS = np.array([0.5])
CALLS = []
ELSEWHERE = np.random.default_rng(0)


def draw(rng, target):
    return {"x": rng.random(4).tolist()}


def draw_array(rng, target):
    return {"x": rng.random(4)}


def draw_numpy_integer(rng, target):
    return {"x": rng.random(4).tolist(), "k": rng.integers(5)}


def draw_ragged(rng, target):
    return {"x": [[0.7], [0.1, 0.2]]}


def draw_nothing(rng, target):
    return None


def draw_wrongly(rng, target):
    raise ZeroDivisionError("no instance")


def draw_infinite(rng, target):
    return {"x": [float("inf"), float("nan")]}


def draw_the_same(rng, target):
    return {"x": [0.1, 0.2]}


def draw_from_elsewhere(rng, target):
    return {"x": ELSEWHERE.random(4).tolist()}


def draw_from_the_global_generator(rng, target):
    return {"x": np.random.random(4).tolist()}  # noqa: NPY002


def judge_every_second_time(target, x):
    CALLS.append(x)
    return {CLAIM: "this time"} if len(CALLS) % 2 else {}


def judge(target, x, k=0):
    return {CLAIM: f"{max(x)}"} if max(x) > 0.5 else {}


def judge_and_write(target, x):
    x.sort()
    return {CLAIM: "the last one"} if x.pop() > 0.5 else {}


def judge_with_infinity(target, x):
    return {CLAIM: f"{max(x)}"} if 0.5 < max(x) < LIMIT else {}


def judge_with_an_array(target, x):
    return {CLAIM: f"{max(x)}"} if max(x) > LEVELS[0] else {}


def judge_now_and_then(target, x):
    CALLS.append(x)
    return {CLAIM: "this time"} if len(CALLS) % 50 == 3 else {}


def judge_by_truth_value(target, x):
    return max(x) <= 0.5


def judge_by_list(target, x):
    return [CLAIM] if max(x) > 0.5 else []


def judge_something_else(target, y):
    return {}


def made_judge(level):
    def judge(target, x):
        return {CLAIM: f"{max(x)}"} if max(x) > level else {}

    return judge
