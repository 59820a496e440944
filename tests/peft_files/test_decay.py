"""What a weight decay means, against runs of the optimizers themselves."""

import math
import re

import numpy as np
import pytest

from lorasolve.peft_files import explain_decay

RUN = {"alpha": 16.0, "rank": 8, "steps": 5000}


@pytest.mark.parametrize(
    ("name", "weight_decay", "kind"),
    [
        ("sgd", 0.01, "l2"),
        ("adam", 0.01, "l2"),
        ("adamw", 0.01, "decoupled"),
        ("adamw_torch_fused", 0.01, "decoupled"),
        ("paged_adamw_8bit", 0.01, "decoupled"),
        ("paged_ademamix_8bit", 0.01, "decoupled"),
        ("AdamW", 0.01, "decoupled"),
        ("lion_32bit", 0.01, "decoupled"),
        ("adafactor", 0.01, "decoupled"),
        ("adamw", 0.0, "none"),
        ("sgd", 0.0, "none"),
        ("loraplus", 0.01, "none"),
    ],
)
def test_kinds(name, weight_decay, kind):
    found = explain_decay(name, 2e-4, weight_decay, **RUN)
    assert found.decay.kind == kind and (found.decay.lam is not None) == (kind == "l2")
    assert (found.lam_nuclear is not None) == (kind == "l2") and "lam" in str(found)


def test_the_nuclear_norm_pays_lam_over_s():
    """``(lam/2)(||A||^2 + ||B||^2)`` at balanced factors of ``X = s A B^T`` is ``(lam/s) ||X||_*``."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((9, 7))
    P, sigma, Qt = np.linalg.svd(X, full_matrices=False)
    for rslora in (False, True):
        found = explain_decay("sgd", 1e-2, 0.3, alpha=16, rank=7, steps=10, rslora=rslora)
        A, B = P * np.sqrt(sigma / found.scale), Qt.T * np.sqrt(sigma / found.scale)
        np.testing.assert_allclose(found.scale * A @ B.T, X, atol=1e-12)
        assert 0.3 / 2 * (np.sum(A**2) + np.sum(B**2)) == pytest.approx(found.lam_nuclear * sigma.sum())
        assert found.scale == pytest.approx(16 / math.sqrt(7) if rslora else 16 / 7)


@pytest.mark.parametrize(
    ("name", "optimizer", "step_size"),
    [
        ("sgd", "SGD", 0.1),
        ("adam", "Adam", 0.01),
        ("rmsprop", "RMSprop", 1e-3),
        ("adagrad", "Adagrad", 0.5),
        ("adadelta", "Adadelta", 1.0),
        ("adamax", "Adamax", 0.01),
        ("nadam", "NAdam", 0.01),
        ("radam", "RAdam", 0.01),
    ],
)
def test_the_lam_of_an_optimizer_is_the_one_at_which_it_rests(name, optimizer, step_size):
    """PyTorch's own: ``(x - 1)^2/2`` with a decay ends where ``1 - x = lam x``."""
    torch = pytest.importorskip("torch")
    lam = explain_decay(name, step_size, 0.3, **RUN).decay.lam
    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    method = getattr(torch.optim, optimizer)([x], lr=step_size, weight_decay=0.3)
    for _ in range(4000):
        x.grad = (x - 1.0).detach()
        method.step()
    assert (1.0 - float(x)) / float(x) == pytest.approx(lam, rel=1e-2)


def test_a_decay_that_is_more_than_the_one_given_is_not_told():
    """ASGD of PyTorch shrinks by its ``lambd`` besides: given 0.001, it rests at 0.0011."""
    with pytest.raises(ValueError, match="the weight decay of 'asgd' is not known here"):
        explain_decay("asgd", 0.05, 1e-3, **RUN)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_shrinkage_is_that_of_the_steps(schedule):
    """One number decayed step by step, ``theta <- (1 - lr_t wd) theta``."""
    steps, rate = 4000, 3e-4
    t = np.arange(steps) / steps
    shape = {"constant": np.ones(steps), "linear": 1 - t, "cosine": (1 + np.cos(np.pi * t)) / 2}[schedule]
    theta = np.prod(1 - rate * shape)
    found = explain_decay("adamw", 3e-2, 1e-2, alpha=1, rank=1, steps=steps, schedule=schedule)
    assert found.shrinkage == pytest.approx(theta, rel=2e-4) and found.horizon == pytest.approx(1 / rate)


@pytest.mark.parametrize(
    ("schedule", "at"), [("linear", lambda t: 1 - t), ("cosine", lambda t: np.cos(np.pi * t / 2) ** 2)]
)
@pytest.mark.parametrize(("steps", "step_size"), [(1, 0.5), (10, 0.5), (100, 0.1), (25_000, 1e-3)])
def test_the_first_of_the_steps_is_the_full_one(schedule, at, steps, step_size):
    """As transformers and PyTorch schedule: of few steps, or large ones, each counts."""
    theta = np.prod([1 - step_size * 0.5 * at(k / steps) for k in range(steps)])
    found = explain_decay("adamw", step_size, 0.5, alpha=1, rank=1, steps=steps, schedule=schedule)
    assert found.shrinkage == pytest.approx(theta, rel=1e-8)


def test_what_is_printed_of_a_decay_is_what_it_does():
    """Factors that shrink by q make an update that shrinks by q^2; ``lam = s c`` pays ``c ||X||_*``."""
    found = explain_decay("adamw", 1e-2, 1e-1, **RUN)
    factors, update = re.search(r"would end at (\S+) of their size, and X at (\S+)\n", str(found)).groups()
    assert float(factors) == pytest.approx(0.999**5000, rel=1e-3) and float(update) == pytest.approx(
        0.999**10000, rel=1e-3
    )
    (share,) = re.findall(r"lam = (\S+) c gives c \|\|X\|\|_\*", str(found))
    c = 0.7
    assert explain_decay("sgd", 1e-2, float(share) * c, **RUN).lam_nuclear == pytest.approx(c)
    # Adam divides the l2 term by a scale of its own: nothing says how fast it acts.
    adam = explain_decay("adam", 1e-2, 1e-1, **RUN)
    assert (adam.decay.kind, adam.horizon, adam.shrinkage) == ("l2", None, None)


def test_beside_gradients_that_are_added_up_a_decay_is_a_smaller_lam():
    """Descent on ``k (x - 1)^2/2`` with a decay rests where ``(x - 1)^2/2 + (lam/2) x^2`` does, at ``1/(1 + lam)``."""
    k, decay, x = 3, 0.3, 0.0
    for _ in range(2000):
        x -= 0.01 * (k * (x - 1.0) + decay * x)
    (told,) = re.findall(r"it is lam = (\S+)/k of the mean", str(explain_decay("sgd", 0.01, decay, **RUN)))
    assert x == pytest.approx(1.0 / (1.0 + float(told) / k), rel=1e-9)
    assert "/k" not in str(explain_decay("adamw", 0.01, decay, **RUN))


def test_where_adamw_rests_is_no_stationary_point_of_the_penalized_loss():
    """Adam with l2 and AdamW on ``f(x, y) = (x - 1)^2/2 + 50 (y - 1)^2``: the first ends at ``g = -lam theta``."""
    curvature, lam = np.array([1.0, 100.0]), 0.1

    def end(coupled):
        theta, first, second = np.zeros(2), np.zeros(2), np.zeros(2)
        for t in range(1, 60_001):
            step = 0.01 / t**0.5
            g = curvature * (theta - 1) + (lam * theta if coupled else 0)
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
            theta = (1 if coupled else 1 - step * lam) * theta
            theta = theta - step * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        return -curvature * (theta - 1) / theta

    np.testing.assert_allclose(end(coupled=True), [lam, lam], rtol=1e-2)
    apart = end(coupled=False)
    assert not np.allclose(apart, lam, rtol=0.5) and abs(apart).max() < lam / 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adm"}, "Did you mean 'adam'"),
        ({"optimizer": "adam_8bit"}, "not known here"),
        ({"step_size": 0.0}, "step_size"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"weight_decay": 5000.0}, "overshoots"),
        ({"alpha": 0.0}, "alpha"),
        ({"rank": 0}, "rank"),
        ({"rank": 10**400}, "rank"),
        ({"steps": 0}, "steps"),
        ({"schedule": "cosin"}, "'linear' or 'cosine', got 'cosin'"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        explain_decay(**({"optimizer": "adamw", "step_size": 2e-4, "weight_decay": 0.01} | RUN | change))


def test_a_decay_that_vanishes_in_double_precision_shrinks_nothing():
    found = explain_decay(**({"optimizer": "adamw", "step_size": 1e-200, "weight_decay": 1e-200} | RUN))
    assert (found.horizon, found.shrinkage) == (None, None)
