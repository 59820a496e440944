"""The API campaign: calls of every public name with arguments derived from its signature, one or two of them hostile.

A call has to end in one of three ways: the answer is right by another route, the call is refused in words that name
the argument, or an exception of the user's own comes through. No hang, no crash, no warning from inside.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import importlib
import inspect
import io
import math
import os
import re
import shutil
import signal
import sys
import time
import traceback
import types
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
from values import KINDS, LAM, NEW, OBJECTIVES, TAKEN, Hostile, Omitted, Own, kind_of, problem, target, valid

import lorasolve as ls

SECONDS = 10
# Names whose every call takes long are drawn less often.
SLOW = 0.3


# ---------------------------------------------------------------------- what is public
# Beside what the front door offers. Estimators for scikit-learn check nothing before they are fitted, as it wants.
FURTHER = ("attacks", "certificates", "checks", "comparison", "models", "multi", "tables")


def public() -> dict[str, Callable[..., Any]]:
    """Return everything that can be called and is reached by ``lorasolve.__all__`` or documented beside it, by name."""
    found: dict[str, Callable[..., Any]] = {}
    for name in ls.__all__:
        _collect(name, getattr(ls, name), found)
    for name in FURTHER:
        _collect(name, importlib.import_module(f"lorasolve.{name}"), found)
    return found


def _collect(name: str, value: Any, found: dict[str, Callable[..., Any]]) -> None:
    if isinstance(value, types.ModuleType):
        own = [k for k, v in vars(value).items() if not k.startswith("_") and _defined_in(v, value)]
        for inner in getattr(value, "__all__", own):
            if inner == "registry":
                for cls in value.registry.classes().values():
                    found[f"{name}.{cls.__name__}"] = cls
            else:
                _collect(f"{name}.{inner}", getattr(value, inner), found)
    elif (inspect.isroutine(value) or isinstance(value, type)) and not _is_base(value):
        found[name] = value


def _defined_in(value: Any, module: types.ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _is_base(value: Any) -> bool:
    """Whether a class is there to be inherited from, or an enumeration: neither is called with arguments."""
    return isinstance(value, type) and (
        inspect.isabstract(value)
        or issubclass(value, Exception)
        or hasattr(value, "__members__")
        or not inspect.signature(value).parameters
    )


def is_record(function: Any) -> bool:
    """Whether calling it only keeps what is given: a dataclass that checks nothing because the package makes it."""
    return (
        dataclasses.is_dataclass(function)
        and function.__dataclass_params__.init  # type: ignore[attr-defined]
        and not hasattr(function, "__post_init__")
    )


# ---------------------------------------------------------------------- one call
class Hung(BaseException):
    """The call took longer than it may."""


def _alarm(number: int, frame: Any) -> None:
    raise Hung


@dataclasses.dataclass
class Outcome:
    """How a call ended: ``fault`` is empty if as it should."""

    fault: str = ""
    answer: Any = None
    refused: bool = False


def call(function: Callable[..., Any], arguments: dict[str, Any], names: list[str], fates: list[str]) -> Outcome:
    """Call and judge; ``names`` are the arguments that were changed, ``fates`` what has to become of them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                answer = function(**arguments)
        except Hung:
            return Outcome("HUNG")
        except Own:
            return Outcome("" if "own" in fates else "the user's exception out of nowhere")
        except (ValueError, TypeError) as error:
            signal.setitimer(signal.ITIMER_REAL, 0)
            return _refusal(error, names, fates)
        except MemoryError:
            return Outcome(refused=True)
        except ImportError as error:
            said = "pip install " in str(error)
            return Outcome(refused=True) if said else Outcome(f"ImportError: {error}")
        except NotImplementedError as error:
            return Outcome(refused=True) if str(error) else Outcome("NotImplementedError without words")
        except Exception as error:
            return Outcome(f"{type(error).__name__}: {str(error)[:150]} {_place(error)}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            shutil.rmtree(NEW, ignore_errors=True)
    if "refuse" in fates:
        return Outcome("accepted")
    inside = [w for w in caught if "lorasolve" in w.filename and not issubclass(w.category, UserWarning)]
    if inside:
        where = inside[0]
        return Outcome(f"warning from inside: {where.message} ({os.path.basename(where.filename)}:{where.lineno})")
    return Outcome(answer=answer)


def _place(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"({os.path.basename(last.filename)}:{last.lineno})"


def _refusal(error: Exception, names: list[str], fates: list[str]) -> Outcome:
    text = str(error)
    if not any(re.search(rf"(?<![A-Za-z]){name}", text) for name in names):
        return Outcome(f"does not name it: {type(error).__name__}: {text[:160]} {_place(error)}")
    if "same" in fates and len(fates) == 1:
        return Outcome(f"refused what is valid: {text[:150]}")
    return Outcome(refused=True)


# ---------------------------------------------------------------------- right by another route
def wrong(name: str, function: Any, arguments: dict[str, Any], answer: Any) -> str:
    """Return what is wrong with an answer by formulas that share nothing with the package, or an empty text."""
    if is_record(function):
        kept = all(getattr(answer, key) is value for key, value in arguments.items())
        return "" if kept else "a record does not keep what it is given"
    if isinstance(answer, ls.Result) and isinstance(arguments.get("problem"), ls.Problem):
        return _wrong_result(answer)
    if isinstance(answer, ls.ConvexResult):
        F = _optimum(target(), arguments["problem"].lam)
        return "" if abs(answer.fun - F) <= 1e-6 * (1 + abs(F)) or not answer.success else f"F* = {answer.fun}, not {F}"
    if isinstance(answer, ls.Certificate) and answer.is_global:
        F = _optimum(target(), arguments["problem"].lam)
        return "" if answer.value - F <= answer.gap + 1e-9 * (1 + abs(F)) else "a false certificate"
    if isinstance(answer, ls.objectives.Objective):
        return _wrong_objective(name, arguments, answer)
    return ""


def _optimum(M: np.ndarray, lam: float) -> float:
    """Minimum of ``||X - M||^2/2 + lam ||X||_*``: singular values are moved towards zero by ``lam``."""
    s = np.linalg.svd(M, compute_uv=False)
    kept = np.maximum(s - lam, 0.0)
    return float(0.5 * ((kept - s) ** 2).sum() + lam * kept.sum())


def _wrong_result(answer: ls.Result) -> str:
    if not isinstance(answer.problem.objective, ls.objectives.Denoising) or answer.problem.adapter.name != "lora":
        return ""
    M, A, B = answer.problem.objective.M, answer.A, answer.B
    with np.errstate(all="ignore"):
        f = 0.5 * float(((answer.problem.scale * A @ B.T - M).astype(float) ** 2).sum())
        L = f + 0.5 * answer.problem.lam * float((A.astype(float) ** 2).sum() + (B.astype(float) ** 2).sum())
    if not math.isfinite(L):
        return ""
    return "" if abs(answer.fun - L) <= 1e-5 * abs(L) + 1e-12 else f"L = {answer.fun}, not {L}"


def _wrong_objective(name: str, arguments: dict[str, Any], answer: Any) -> str:
    """Compare values at one point with the definitions of the losses."""
    if name.rpartition(".")[2] not in FORMULAS:
        return ""
    with np.errstate(all="ignore"):
        given = {k: np.asarray(v, float) if not isinstance(v, (str, float, tuple)) else v for k, v in arguments.items()}
        X = np.linspace(-1.0, 1.0, math.prod(answer.shape)).reshape(answer.shape)
        expected = FORMULAS[name.rpartition(".")[2]](X, **given)
        found = answer.value_and_grad(X.astype(answer.dtype))[0]
    if not math.isfinite(expected):
        return ""
    # Single precision, and cancellation in expanded squares.
    return "" if abs(found - expected) <= 1e-4 * abs(expected) + 1e-9 else f"f = {found}, not {expected}"


def _huber(X: np.ndarray, M: np.ndarray, delta: float = 1.0) -> float:
    E = np.abs(X - M)
    return float(np.where(delta >= E, 0.5 * E**2, delta * (E - 0.5 * delta)).sum())


def _softmax(X: np.ndarray, W0: np.ndarray, Z: np.ndarray, labels: np.ndarray) -> float:
    z = (W0 + X) @ Z
    z = z - z.max(axis=0)
    chosen = z[labels.astype(int), np.arange(z.shape[1])]
    return float(np.mean(np.log(np.exp(z).sum(axis=0)) - chosen))


FORMULAS: dict[str, Callable[..., float]] = {
    "Denoising": lambda X, M: 0.5 * float(((X - M) ** 2).sum()),
    "Huber": _huber,
    "Softmax": _softmax,
    "MatrixCompletion": lambda X, rows, cols, values, shape: (
        0.5 * float(((X[rows.astype(int), cols.astype(int)] - values) ** 2).sum())
    ),
    "LinearFineTuning": lambda X, W0, Z, Y: float(((((W0 + X) @ Z) - Y) ** 2).sum()) / (2 * Z.shape[1]),
    "MatrixSensing": lambda X, measurements, y, shape=None: float(
        ((np.einsum("kij,ij->k", measurements, X) - y) ** 2).sum() / (2 * len(y))
    ),
}


def differs(a: Any, b: Any, depth: int = 0) -> bool:
    """Whether two answers to the same question differ, times and random numbers aside."""
    if depth > 4 or isinstance(a, (str, type(None), bool)):
        return False
    if isinstance(a, (int, float, np.generic, np.ndarray)) and isinstance(b, (int, float, np.generic, np.ndarray)):
        if np.asarray(a).dtype.kind not in "fiub":
            return False
        x, y = np.asarray(a, float), np.asarray(b, float)
        return x.shape != y.shape or not np.allclose(x, y, rtol=1e-4, atol=1e-7, equal_nan=True)
    if isinstance(a, dict):
        return a.keys() != b.keys() or any(differs(a[k], b[k], depth + 1) for k in a if "seconds" not in str(k))
    if isinstance(a, (list, tuple)):
        return len(a) != len(b) or any(differs(x, y, depth + 1) for x, y in zip(a, b))
    if isinstance(a, ls.Result):
        return differs((a.fun, a.A, a.B), (b.fun, b.A, b.B))
    return False


# ---------------------------------------------------------------------- the campaign
def _valid_call(name: str, parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    arguments = {}
    for key, parameter in parameters.items():
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            with contextlib.suppress(Omitted):
                arguments[key] = valid(key, parameter, name)
    return arguments


class Campaign:
    """All public names with their valid calls."""

    def __init__(self) -> None:
        self.functions = public()
        self.bases: dict[str, tuple[dict[str, Any], Any]] = {}
        self.without: list[str] = []
        self.weights: list[str] = []
        self.faults: list[str] = []
        for name, function in self.functions.items():
            parameters = inspect.signature(function).parameters
            try:
                arguments = _valid_call(name, parameters)
            except (LookupError, ImportError):  # none is known, or it needs torch
                self.without.append(name)
                continue
            began = time.perf_counter()
            outcome = call(function, arguments, [*parameters], [])
            self.bases[name] = (arguments, None if outcome.fault or outcome.refused else outcome.answer)
            if outcome.fault or outcome.refused:
                self.without.append(name)
            if arguments:
                self.weights += [name] * (1 if time.perf_counter() - began > SLOW else 8)

    def cases(self) -> st.SearchStrategy[Any]:
        """A public name, one or two of its parameters, and a change of each."""

        def changes(name: str) -> st.SearchStrategy[Any]:
            parameters = inspect.signature(self.functions[name]).parameters
            one = st.sampled_from(sorted(self.bases[name][0])).flatmap(
                lambda key: st.tuples(st.just(key), st.integers(0, len(KINDS[kind_of(parameters[key])]) - 1))
            )
            return st.tuples(st.just(name), st.lists(one, min_size=1, max_size=2, unique_by=lambda pair: pair[0]))

        users = st.tuples(
            st.just("a user's objective"),
            st.tuples(
                st.sampled_from(range(len(OBJECTIVES))), st.sampled_from(sorted(ls.optimizers.registry.classes()))
            ),
        )
        named = st.sampled_from(self.weights).flatmap(changes)
        return st.one_of(*([named] * 9), users)

    def run(self, case: Any) -> tuple[str, str]:
        """Return the case in words and what is wrong with its outcome."""
        name, chosen = case
        if name == "a user's objective":
            return self._user(*chosen)
        function = self.functions[name]
        parameters = inspect.signature(function).parameters
        base, base_answer = self.bases[name]
        arguments, fates, words = dict(base), [], []
        for key, index in chosen:
            change = KINDS[kind_of(parameters[key])][index]
            try:
                arguments[key] = change.make(base[key])
            except Exception:
                continue  # there is no such change of a value that is None
            fate = "any" if (name, key, change.label) in TAKEN else change.fate
            if fate == "none":
                fate = "any" if "None" in str(parameters[key].annotation) else "refuse"
            if fate == "same" and (base[key] is None or base_answer is None):
                fate = "any"
            fates.append(fate)
            words.append(f"{key}={change.label}")
        words_text = f"{name}({', '.join(words)})"
        if not fates:
            return words_text, ""
        if is_record(function):
            fates = ["any"]
        # Errors about a file or about named data call it as the caller does.
        given = [re.escape(str(v)) for v in arguments.values() if isinstance(v, (str, os.PathLike)) and str(v)]
        # Of several schedules an error means one.
        outcome = call(function, arguments, [*(key.rstrip("s") for key in parameters), *given], fates)
        if outcome.fault:
            return words_text, outcome.fault
        if outcome.refused:
            return words_text, ""
        fault = wrong(name, function, arguments, outcome.answer)
        if not fault and set(fates) == {"same"} and base_answer is not None and differs(outcome.answer, base_answer):
            fault = "another answer to the same question"
        return words_text, fault

    def _user(self, index: int, method: str) -> tuple[str, str]:
        label, answer, fate = OBJECTIVES[index]
        words = f"solve(objective that answers: {label}, method={method})"

        def solve() -> Any:
            return ls.solve(ls.Problem(Hostile(answer), 2, LAM), method, stop=ls.StoppingRule(max_iter=200))

        outcome = call(lambda: solve(), {}, ["objective", "method", "optimizer"], [fate])
        if outcome.fault == "accepted" and outcome.answer is None:
            return words, outcome.fault
        return words, outcome.fault


def main() -> int:
    """Run the campaign and print its figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--only", help="only names that match this")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    signal.signal(signal.SIGALRM, _alarm)
    problem()
    began = time.perf_counter()
    campaign = Campaign()
    if args.only:
        campaign.weights = [name for name in campaign.weights if re.search(args.only, name)]
    tried = hung = 0
    faults: dict[str, list[str]] = collections.defaultdict(list)

    @hypothesis.seed(args.seed)
    @hypothesis.settings(
        max_examples=args.cases,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(campaign.cases())
    def draw(case: Any) -> None:
        nonlocal tried, hung
        tried += 1
        if args.verbose:
            print(case, file=sys.stderr, flush=True)
        words, fault = campaign.run(case)
        if fault:
            hung += fault == "HUNG"
            faults[fault].append(words)

    draw()
    for fault, where in sorted(faults.items(), key=lambda item: -len(item[1])):
        print(f"{len(where)} x {fault}\n    {'; '.join(sorted(set(where))[: 60 if fault == 'accepted' else 4])}")
    unknown = ", ".join(campaign.without)
    print(f"no valid call is known of {len(campaign.without)} of {len(campaign.functions)} names: {unknown}")
    wrongs = sum(map(len, faults.values())) - hung
    seconds = time.perf_counter() - began
    print(f"api: {tried} tried, {wrongs} wrong, {hung} hung, 0 lost (seed {args.seed}, {seconds:.0f} s)")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
