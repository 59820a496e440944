"""The second checker: it shares no code, accepts what is committed, and refuses what is false or was tampered with."""

from __future__ import annotations

import ast
import copy
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import sympy

import proofs
from lorasolve.symbolic import Identity, Inequality, ScalarCheck, Square, dims, discover, inner, matrix, scalars, square
from lorasolve.symbolic.export import ExportError, differences, record
from proofs import verify

FOLDER = Path(next(iter(proofs.__path__)))
CHECKER, DATA = FOLDER / "verify.py", FOLDER / "proofs.json"
THEOREMS = discover(proofs)
CORRUPTIONS = 500


@pytest.fixture(scope="module")
def pinned():
    return json.loads(DATA.read_text(encoding="utf-8"))


def test_it_is_short_and_imports_nothing_of_the_package():
    text = CHECKER.read_text(encoding="utf-8")
    imported = [n for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for n in node.names]
    imported += [node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    assert len(text.splitlines()) <= 400
    assert {getattr(name, "name", name) for name in imported} == {"json", "sys", "fractions"}


def test_it_runs_alone_and_accepts_everything(tmp_path, pinned):
    for file in (CHECKER, DATA):
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-S", "-I", str(tmp_path / "verify.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    accepted = f"{len(pinned['checks'])} of {len(pinned['checks'])} checks accepted"
    assert f"{accepted}, {len(pinned['not_exported'])} not judged" in done.stdout


def test_a_size_may_be_0_wherever_nothing_is_divided_by_it(pinned, monkeypatch):
    """For r = r* the rest of X has no columns, and where all singular values are large there are no small ones."""
    sign_of, refused = verify.Algebra.sign_of, {}

    def sign_with_sizes_of_0(self, what, exponent):
        is_size = what[0] == "s" and self.signs[what[1]] == "dimension"
        return (0 if exponent > 0 else -9) if is_size else sign_of(self, what, exponent)

    monkeypatch.setattr(verify.Algebra, "sign_of", sign_with_sizes_of_0)
    monkeypatch.setattr(verify.Algebra, "from_one", lambda self, polynomial: polynomial)
    for check in pinned["checks"]:
        try:
            verify.shown(check)
        except ValueError as error:
            refused[check["id"]] = str(error)
    assert set(refused.values()) == {"a denominator may vanish"}
    empty = {"theorem1", "theorem2", "theorem2_joint", "theorem3", "theorem_b", "eckart_young", "stationary_structure"}
    assert empty & {name.split(".")[0] for name in refused} == set()
    assert {name for name in refused if name.startswith("lemma_a.")} == {"lemma_a.lower_mean"}  # the mean of no values


m, n = dims("m n")
t, A = scalars("t"), matrix("A", m, n)
s, (x, y, z) = scalars("s"), scalars("x y z", real=True)


def both_show(check):
    """Return what the engine and the second checker say of a check."""
    try:
        second = verify.shown(json.loads(json.dumps(record("t.c", check, {})))) is None
    except (ExportError, ValueError):
        second = False
    return check.prove().holds, second


@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        (1, m),
        (2, m + n),
        (m, m * n),
        (m + n, m * n + 1),  # (m - 1) (n - 1) >= 0
        (m + n, 2 * m * n),  # m (n - 1) + n (m - 1) >= 0
        (1 / m, 1),
        (1 / m**2, 1 / m),
        (1 / (m + n - 1), 1),
        (1 / (m + n), sympy.Rational(1, 2)),
        (t, t * m),
        (1, m + t),
    ],
)
def test_sizes_are_at_least_1_for_both_checkers(lhs, rhs):
    assert both_show(ScalarCheck("c", "", lhs, rhs, relation="<=")) == (True, True)


def test_a_coefficient_may_need_that_a_size_is_at_least_1():
    for factor in (m - 1, m + n - 2, 1 - 1 / m):
        larger = Inequality("c", "", square(A), (1 + factor) * square(A), proof=[factor * Square(A)])
        assert both_show(larger) == (True, True)


w, q, B = scalars("w", real=True, nonzero=True), scalars("q", nonnegative=True), matrix("B", m, n)


@pytest.mark.parametrize(
    "check",
    [
        Identity("c", "", square(x * A) / x**2, square(A)),
        Identity("c", "", square(q * A) / (x * q**2), square(A) / x),
        Identity("c", "", square(w * A) / w**2, square(A)),
        Identity("c", "", square(A) / (w * (s + t)), square(A) / (w * s + w * t)),
        Identity("c", "", square(A / (x + y)), square(A) / (x + y) ** 2),
        Identity("c", "", (x + y) * square(A) / (x + y) ** 3, square(A / (x + y))),
        ScalarCheck("c", "", 2, w**2 + 1 / w**2, relation="<="),
        Inequality("c", "", 2 * inner(A, B), w**2 * square(A) + square(B) / w**2, proof=[Square(w * A - B / w)]),
    ],
)
def test_powers_and_products_of_what_is_not_0_are_not_0_for_both_checkers(check):
    assert both_show(check) == (True, True)


def test_a_positive_denominator_is_seen_beside_one_of_any_sign():
    """Where all are positive they are multiplied out; here the sign is that of each term."""
    other = A / (w * s + w * t)
    terms = [1 / (s + t) * Square(A), Square(other)]
    sum_ = Inequality("c", "", 0, 1 / (s + t) * square(A) + square(other), proof=terms)
    said = json.loads(json.dumps(record("t.c", sum_, {})))
    assert verify.shown(said) is None
    said["proof"][0]["coefficient"] = "2/(s + t) - 1/(s + t)"
    assert verify.shown(said) is None
    said["proof"][0]["coefficient"] = "1/(s + t) - 2/(s + t)"
    with pytest.raises(ValueError, match="may be negative"):
        verify.shown(said)


@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        (2, m),  # fails at m = 1
        (m, 1),
        (m * n, m + n - 1),  # fails at m = n = 2
        (m, n),
        (1, t),  # t > 0 is no size
        (m, t * m),
        (1, t * m),
        (1, 1 / m),
        (sympy.sqrt(m), 1),
        (2 * m, m**2),
    ],
)
def test_neither_checker_takes_a_size_for_more_than_1_or_a_number_for_a_size(lhs, rhs):
    assert both_show(ScalarCheck("c", "", lhs, rhs, relation="<=")) == (False, False)


def prox(at, threshold, far, z):
    """Return what soft thresholding minimises, at its value, and at any other point."""
    near = sympy.Max(far - threshold, 0)
    return (near - far) ** 2 / 2 + t * near, (z - at) ** 2 / 2 + t * abs(z)


POSITIVE, SHRUNK, HUBER = sympy.Max(x, 0), sympy.Max(s - t, 0), sympy.Min(abs(x), 1)
SQUARES_OR_LINES = HUBER * (2 * abs(x) - HUBER) / 2
# What needs that x >= y where Max(x, y) = x.
TRUE_IN_CASES = [
    prox(s, t, s, x),
    prox(y, t, abs(y), x),
    (x * y, abs(x) * abs(y)),
    (abs(x * y), abs(x) * abs(y)),
    (sympy.Min(x, y), (x + y) / 2),
    (2 * s * t / (s + t), sympy.Max(s, t)),
    ((POSITIVE - sympy.Max(y, 0)) ** 2, (x - y) * (POSITIVE - sympy.Max(y, 0))),  # firmly nonexpansive
    (abs(POSITIVE - sympy.Max(y, 0)), abs(x - y)),
    (abs(abs(x) - abs(y)), abs(x - y)),
    (SHRUNK**2, (s - t) * SHRUNK),
    (SQUARES_OR_LINES, x**2 / 2),
    (SQUARES_OR_LINES, abs(x)),
    (sympy.Max(m, n), m + n - 1),
    (t * sympy.Max(x, y), sympy.Max(t * x, t * y)),
]
FALSE_IN_CASES = [
    prox(s, 2 * t, s, x),  # fails at x = s - t > t
    prox(y, t, y, x),  # at y = -2 t, x = -t
    (abs(x) * abs(y), x * y),
    (x * y, abs(x)),
    ((x + y) / 2, sympy.Min(x, y)),
    (sympy.Max(s, t), 2 * s * t / (s + t)),
    ((x - y) ** 2, (x - y) * (POSITIVE - sympy.Max(y, 0))),
    (abs(x - y), abs(POSITIVE - sympy.Max(y, 0))),
    ((s - t) * SHRUNK, SHRUNK**2 - 1),
    (SHRUNK + t, s),  # at s < t
    (x**2 / 2, SQUARES_OR_LINES),
    (SQUARES_OR_LINES, abs(x) / 2),
    (sympy.Max(m, n), m + n - 2),
    (sympy.Max(x * t, y * t), x * sympy.Max(t, y)),
]


@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        (sympy.log(t), t - 1),
        (1 - 1 / t, sympy.log(t)),
        (t - s, t * sympy.log(t / s)),  # a term of a relative entropy
        (sympy.log(m), m - 1),
        (0, sympy.log(m)),
        (1 + x, sympy.exp(x)),
        (2 + x, sympy.exp(sympy.exp(x))),
        (0, sympy.log(1 + sympy.exp(x))),
        (y, sympy.Max(0, y)),
        (sympy.Min(x, y), sympy.Max(x, y)),
        (x + y, abs(x) + abs(y)),
        (-x, abs(x)),
        (sympy.cos(x * y), 1),
        (-1, sympy.sin(x)),
        (1 - x**2 / 2, sympy.cos(x)),
        (sympy.cos(x) ** 2, 1),
        (abs(x + y), abs(x) + abs(y)),
        (abs(x) - abs(y), abs(x - y)),
        (abs(x + y + z), abs(x) + abs(y) + abs(z)),
        (x, sympy.Max(z, y, x)),
        (sympy.Max(x, y), sympy.Max(x, y, z)),
        (sympy.Max(0, x + y), sympy.Max(0, x) + sympy.Max(0, y)),
        (sympy.Max(x, y) + sympy.Min(x, y), x + y),
        (sympy.Min(x, y) - sympy.Min(x, z), sympy.Max(0, y - z)),
        ((abs(x) + abs(y)) ** 2, 2 * x**2 + 2 * y**2),
        (abs(x * y), (x**2 + y**2) / 2),
        (abs(x), sympy.Max(x, -x)),
        (x**2, (abs(x) + abs(y)) ** 2),
        (sympy.sqrt(t * s), (t + s) / 2),
        (1 + x, sympy.exp(abs(x))),
        *TRUE_IN_CASES,
    ],
)
def test_both_checkers_know_bounds_of_functions(lhs, rhs):
    assert both_show(ScalarCheck("c", "", lhs, rhs, relation="<=")) == (True, True)


@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        (sympy.log(t), t - 2),  # fails at t = 1, as the next two
        (1 - 1 / t, sympy.log(t) / 2 - 1),
        (sympy.log(2 * t), t - 1),
        (1 + x + x**2, sympy.exp(x)),  # fails at x = 1
        (sympy.exp(x), 1 + x),
        (abs(x), x),
        (abs(x + y), x + y),
        (sympy.Max(x, y), x),
        (x, sympy.Min(x, y)),
        (0, x * sympy.Max(x, y)),
        (sympy.cos(x), sympy.Rational(1, 2)),
        (1 - x**2 / 3, sympy.cos(x)),  # fails at x = 1/2
        (x, sympy.sin(x)),
        (sympy.cos(x) ** 2, sympy.Rational(1, 2)),
        (abs(x) + abs(y), abs(x + y)),
        (abs(x) - abs(y), x - y),
        (x, sympy.Min(x, y, z)),
        (sympy.Max(0, x) + sympy.Max(0, y), sympy.Max(0, x + y)),
        (x + y, sympy.Max(x, y)),
        ((abs(x) + abs(y)) ** 2, x**2 + y**2),
        (sympy.sqrt(t * s), t / 2 + s / 3),
        (0, sympy.Integral(sympy.exp(sympy.sin(x)), (x, 1, 0))),  # of what is positive, from above to below
        (1 + 2 * abs(x), sympy.exp(abs(x))),
        *FALSE_IN_CASES,
    ],
)
def test_neither_checker_takes_a_bound_for_more_than_it_is(lhs, rhs):
    assert both_show(ScalarCheck("c", "", lhs, rhs, relation="<=")) == (False, False)


@pytest.mark.parametrize(
    ("lhs", "rhs", "sign"),
    [
        ("Abs(x)", "x", ["Abs(x)", "0"]),  # true in the case that is said
        ("Abs(x)", "x", ["Abs(x)", "0", "0"]),
        ("Abs(x)", "x", ["Abs(x)", "0", "2*x"]),  # what is left in the second case, which has no sign
        ("Abs(x)", "x", ["Abs(x)"]),
        ("Abs(x)", "x", []),
        ("cos(x)", "x", ["cos(x)", "0", "2*x^2"]),  # of no two values
        ("Max(x, y)", "x", ["Max(x, y)", "0", ["Abs(x)", "0", "0"]]),
        ("Max(x, y)", "y", ["Min(x, y)", "0", "0"]),
        ("2*x*Abs(y)", "x^2 + y^2", ["Abs(y)", "(x + y)^2", "(x - y)^2"]),  # true, and the cases in the other order
        ("Abs(x)", "Abs(y)", "0"),
        ("Max(x, 2*y)", "Max(x, y)", "0"),
    ],
)
def test_the_second_checker_wants_both_cases_of_a_function_that_has_two(lhs, rhs, sign):
    check = record("t.c", ScalarCheck("c", "", x + y, abs(x) + abs(y), relation="<="), {}) | {"bounds": {}}
    true = {"lhs": "2*x*Abs(y)", "rhs": "x^2 + y^2", "sign": ["Abs(y)", "(x - y)^2", "(x + y)^2"]}
    assert verify.shown(check | true) is None
    with pytest.raises((ValueError, KeyError, IndexError)):
        verify.shown(check | {"lhs": lhs, "rhs": rhs, "sign": sign})


def test_the_second_checker_takes_a_bound_for_what_it_is_in_each_case():
    check = record("t.c", ScalarCheck("c", "", x + y, abs(x) + abs(y), relation="<="), {})
    true = {"lhs": "Min(x, y)", "rhs": "x/2 + y/2", "sign": ["Min(x, y)", "a/2", "b/2"]}
    bounds = {"a": ["v-Min(u,v)", "x", "y"], "b": ["u-Min(u,v)", "x", "y"]}
    assert verify.shown(check | true | {"bounds": bounds}) is None
    for sign in (["Min(x, y)", "b/2", "a/2"], ["Min(x, y)", "b/2", "b/2"], "a/2", ["Min(x, y)", "-a/2", "b/2"]):
        with pytest.raises(ValueError, match=r"vanish|sign"):
            verify.shown(check | true | {"bounds": bounds, "sign": sign})


def test_no_check_is_accepted_without_an_assumption_that_it_makes(pinned):
    """Asked of the second checker, which knows nothing of what the engine calls idle."""
    checks = {check["id"]: check for check in pinned["checks"]}
    idle = []
    for check in pinned["checks"]:
        for part in check["assumptions"]:
            fewer = {key: [p for p in check[key] if p["name"] != part["name"]] for key in ("assumptions", "assumed")}
            with suppress(Exception):
                verify.shown(check | fewer)
                verify.sourced(check | fewer, checks, lambda name: None, pinned["facts"])
                idle.append((check["id"], part["name"]))
    assert idle == []


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{}", "[" * 100_000, '{"checks": 3}', '{"checks": [{"id": "\\ud800"}]}']
)
def test_what_is_no_document_of_theorems_is_told_in_one_line(tmp_path, text):
    path = tmp_path / "\u00e9.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-S", CHECKER, path], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (2, "", 1)
    assert done.stdout.startswith("no document of theorems: ")


def test_a_second_file_is_not_passed_over_in_silence(tmp_path):
    done = subprocess.run([sys.executable, "-S", CHECKER, DATA, tmp_path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "no document of theorems: expected one file, got 2\n")


def test_what_is_not_exported_is_a_computation_or_contains_a_transcendental_function(pinned):
    reasons = Counter(reason.split()[0] for reason in pinned["not_exported"].values())
    assert reasons.keys() <= {"exact:", "numeric:", "contains"}
    named = {name: reason for name, reason in pinned["not_exported"].items() if reason.startswith("contains")}
    assert all(re.search(r"exp|cos|sin|pi", reason) for reason in named.values())


@pytest.mark.parametrize("name", THEOREMS)
def test_false_twins_are_refused(name, pinned):
    witnesses = {check["id"]: check.get("witness") for check in pinned["checks"]}
    for check in THEOREMS[name].checks:
        if not isinstance(check, Identity | Inequality | ScalarCheck) or f"{name}.{check.name}" not in witnesses:
            continue
        for twin in check.mutants[:2]:  # to make all into data takes as long as to prove the theorems
            try:
                false = record(f"{name}.{check.name}", check.mutated(twin), {})
            except ExportError:
                continue
            false["witness"] = witnesses[false["id"]]
            with pytest.raises(Exception) as reason:
                verify.shown(json.loads(json.dumps(false)))
            assert not (twin.of_statement and "witness" in str(reason.value)), (check.name, twin.change)


def test_an_instance_says_how_its_symbols_are_read_and_of_what_size_they_are(pinned):
    checks = {check["id"]: check for check in pinned["checks"]}
    needed = all_rested_on(checks["theorem1.best_approximation"], checks, pinned["facts"])
    few = {**pinned, "checks": [checks[name] for name in {"theorem1.best_approximation"} | needed]}
    assert set(verify.verdicts(few).values()) == {None}
    content = copy.deepcopy(few)
    (part,) = [p for c in content["checks"] if c["id"] == "theorem1.best_approximation" for p in c["premises"].values()]
    part["put"]["m"] = "r_star"
    assert "has another shape" in verify.verdicts(content)["theorem1.best_approximation"]
    content = copy.deepcopy(few)
    content["facts"]["Eckart-Young-Mirsky"][3]["closest"]["read"].pop("Y")
    assert "L*R^T" in verify.verdicts(content)["theorem1.best_approximation"]


def without_a_row(rows):
    return rows[:-1]


def with_a_short_row(rows):
    return [*rows[:-1], rows[-1][:-1]]


def without_symmetry(rows):
    return [[*row[:-1], f"{place}"] for place, row in enumerate(rows, start=7)]


def matrices_of_witness(check, symmetric):
    given = check.get("witness") or {}
    declared = [name for name, shape in check["matrices"].items() if bool(shape[2:]) == symmetric]
    return [name for name in declared if len(given.get(name, [])) > 1 and len(given[name][0]) > 1]


# What a symmetric matrix loses is seen by its symmetry too, so the lengths are those of one that need not be.
@pytest.mark.parametrize(
    ("change", "symmetric"), [(without_a_row, False), (with_a_short_row, False), (without_symmetry, True)]
)
def test_a_matrix_of_a_witness_has_the_shape_that_is_declared(pinned, change, symmetric):
    check = copy.deepcopy(next(check for check in pinned["checks"] if matrices_of_witness(check, symmetric)))
    verify.shown(check)
    name = matrices_of_witness(check, symmetric)[0]
    check["witness"][name] = change(check["witness"][name])
    with pytest.raises(ValueError, match=f"^the witness of {name} has another shape$"):
        verify.shown(check)


# Corruptions: an edit of one token of one field.
NUMBER, NAME = re.compile(r"\d+"), re.compile(r"[A-Za-z_]\w*")
SIGNS = ["real", "nonnegative", "positive", "dimension"]


def spots(value, path=()):
    """Yield the paths of all texts and lists of a record that carry meaning."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key not in ("says", "id"):
                yield from spots(part, (*path, key))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from spots(part, (*path, i))
        if value:
            yield (*path, "shorter")
    elif isinstance(value, str) or value is None:
        yield path


def put(check, path, change):
    *way, last = path
    for key in way:
        check = check[key]
    check[last] = change(check[last])


def corrupted(check, others, rng):
    """Return a check with one random edit, or None if the edit changed nothing."""
    result = copy.deepcopy(check)
    path = rng.choice(list(spots(check)))
    symbols = [*check["scalars"], *check["matrices"], *check["forms"]]

    def edit(text):
        if path[-1] == "source":
            return rng.choice([*others, None])
        if path[0] == "scalars":
            return rng.choice(SIGNS)
        if text == "symmetric":
            return "square"
        kinds = [(NUMBER, lambda m: str(int(m[0]) + rng.randint(1, 3))), (re.compile(r"\^T"), lambda m: "")]
        kinds += [(NAME, lambda m: rng.choice(symbols) if symbols else m[0])]
        kinds += [(re.compile(r"[+-]"), lambda m: "-" if m[0] == "+" else "+"), (re.compile(r"\*"), lambda m: "+")]
        pattern, by = rng.choice([kind for kind in kinds if kind[0].search(text or "")] or [kinds[2]])
        found = list(pattern.finditer(text or ""))
        if not found:
            return text
        at = rng.choice(found)
        return text[: at.start()] + by(at) + text[at.end() :]

    if path[-1] == "shorter":
        put(result, path[:-1], lambda part: [p for i, p in enumerate(part) if i != rng.randrange(len(part))])
    else:
        put(result, path, edit)
    return None if result == check else result


def same_value(check, before, after):
    algebra = verify.Algebra(check)
    try:
        return algebra.vanishes(("-", verify.read(before), verify.read(after)))
    except ValueError:  # different shapes
        return False


def claims(check):
    """Return the pairs of sides that a check assumes and concludes."""
    pairs = [pair for part in check["assumptions"] for pair in part["equations"]]
    parts = [check, *check.get("premises", {}).values()]
    return [*pairs, *([part["lhs"], part["rhs"]] for part in parts)], [part["relation"] for part in parts]


def weaker(old, new):
    """Whether a declared sign says no more than another."""
    return new == old or SIGNS.index(new) <= SIGNS.index(old) < 3


def harmless(before, after):
    """Whether an accepted edit leaves the claim as it was, or makes it stronger."""
    changed = {key for key in before if before[key] != after.get(key)}
    if changed <= {"witness", "proof", "sign", "bounds"}:
        return True  # the same claim, shown in another way
    if changed == {"scalars"}:
        return all(weaker(before["scalars"][name], after["scalars"][name]) for name in before["scalars"])
    if changed == {"matrices"}:
        return all(after["matrices"][name] in (shape, shape[:2]) for name, shape in before["matrices"].items())
    if changed == {"nonzero"}:
        return set(after["nonzero"]) <= set(before["nonzero"])
    (old, relations), (new, others) = claims(before), claims(after)
    if relations != others or not changed <= {"lhs", "rhs", "assumptions", "premises"}:
        return False
    if len(old) > len(new):
        return all(pair in old for pair in new)  # an equation less is assumed
    return all(same_value(before, a, b) for pair, edited in zip(old, new, strict=True) for a, b in zip(pair, edited))


def rested_on(check, facts):
    """Return the names of the checks that a check uses, those behind its facts and side conditions included."""
    found = set(check["under"])
    for premise in check.get("premises", {}).values():
        found |= {premise["source"]} - {None}
        found |= {name for by in premise.get("by", []) for name in by}
        found |= {s["source"] for fact in premise["facts"] for s in facts.get(fact, [{}] * 4)[3].values()} - {None}
    return found


def all_rested_on(check, checks, facts):
    """Return the same however far back."""
    needed = rested_on(check, facts)
    while more := {n for name in needed & checks.keys() for n in rested_on(checks[name], facts)} - needed:
        needed |= more
    return needed


def test_random_corruptions_are_refused_or_harmless_or_seen_in_the_comparison(pinned, monkeypatch):
    rng = random.Random(20251125)
    shown = verify.shown
    # What is not edited is accepted, as the test of the whole document says.
    monkeypatch.setattr(verify, "shown", lambda check: shown(check) if check is edited else None)
    checks = {check["id"]: check for check in pinned["checks"]}
    fate = Counter()
    while sum(fate.values()) < CORRUPTIONS:
        check = rng.choice(pinned["checks"])
        edited = corrupted(check, list(checks), rng)
        if edited is None:
            continue
        needed = all_rested_on(edited, checks, pinned["facts"])
        part = [edited, *(checks[name] for name in needed - {check["id"]} if name in checks)]
        accepted = verify.verdicts({**pinned, "checks": part})[check["id"]] is None
        if not accepted:
            fate["refused"] += 1
        elif harmless(check, edited):
            fate["harmless"] += 1
        else:
            found = differences({**pinned, "checks": [check]}, {**pinned, "checks": [edited]})
            assert found[check["id"]], (check["id"], edited)
            fate["compared"] += 1
    assert fate["refused"] > 0.8 * CORRUPTIONS
