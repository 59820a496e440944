"""What a digest sees of data, settings and code, and with it which losses and measures are the same."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import enum
import functools
import importlib.util
import os
import pathlib
import pickle
import random
import sys
import types
import weakref

import numba
import numpy as np
import pytest
import scipy.sparse
import scipy.special
from grids import Point, Shifted, Slotted, objectives, remembering
from harness import python

import lorasolve as ls
from lorasolve._support.digest import digest, digest_of_code
from lorasolve.studies.descriptions import method_text


def test_a_digest_sees_data_settings_and_code_and_nothing_else():
    for name, cls in ls.objectives.registry.classes().items():
        one, same, other = (cls.example(np.random.default_rng(seed)) for seed in (0, 0, 1))
        before = digest(one)
        assert before == digest(same) != digest(other), name
        problem = ls.Problem(one, 2, 0.1)
        ls.solve(problem, "gd", stop=ls.StoppingRule(max_iter=3))
        problem.objective.facts  # noqa: B018
        assert digest(one) == before, f"{name} remembers something that not_data does not name"
    make = {}
    for power in (2, 3):
        exec(f"def f(X):\n    return X ** {power}", scope := {"__name__": "__main__"})
        make[power] = digest(scope["f"])
    assert make[2] != make[3]
    # What each function is given counts, wherever in memory the list of it is put.
    given = [[functools.partial(np.add, first), functools.partial(np.add, last)] for first, last in ((1, 2), (1, 3))]
    assert digest(given[0]) != digest(given[1])
    assert digest([1, 2.0]) == digest((1, 2)) != digest([1, 2.5])
    assert digest(Shifted(1.0)) == digest(Shifted(1.0)) != digest(Shifted(2.0))
    holder = Shifted()
    before = digest(holder)
    holder.value_and_grad(np.zeros((6, 5)))
    assert holder.calls == 1 and digest(holder) == before
    with open(os.devnull) as holder.source, pytest.raises(TypeError, match=r"the value.source is a"):
        digest(holder)


class Constant:
    """Its attributes are the objects that stand in its code, until it is copied."""

    def __init__(self):
        self.pair, self.kinds = (1.5, (2, "a")), frozenset((1, 2))

    def both(self):
        return self.pair == (1.5, (2, "a")), 1 in {1, 2}


def test_a_digest_sees_neither_what_a_class_repeats_of_its_base_nor_constants_that_are_not_used():
    """Copies in other processes are without the first, and may hold the second in another order."""

    class Base:
        def step(self):
            return 1.0

    def other(self):
        return 2.0

    plain, repeating, overriding = (type("Own", (Base,), given) for given in ({}, {"step": Base.step}, {"step": other}))
    assert digest(plain) == digest(repeating) != digest(overriding)

    def code_with(*unused):
        code = other.__code__
        return types.FunctionType(code.replace(co_consts=(*code.co_consts, *unused)), other.__globals__)

    assert digest(code_with()) == digest(code_with("a", "b")) == digest(code_with("b", "a"))


def test_slices_are_known_by_their_ends_in_data_and_in_code():
    """Python 3.14 makes constants of those in code, of which earlier ones read the ends."""
    assert digest(slice(1, 3)) == digest(slice(1.0, 3)) != digest(slice(1, 3, 1))
    assert digest(slice(0, np.array([2]))) != digest(slice(0, np.array([3])))
    for known in (digest, digest_of_code):
        one, same, other, both = (known(code) for code in SLICED)
        assert one == same
        assert len({one, other, both}) == 3


SLICED = (lambda X: X[1:3], lambda X: X[1:3], lambda X: X[1:4], lambda X: X[1:3, ::2])


def test_annotations_are_no_code():
    """Python 3.14 makes a function of them, whose variables are all that the class holds."""

    def made(text):
        scope = {"__name__": "elsewhere"}
        code = f"class Loss:\n    {text}\n    def value(self): return self.slope"
        exec(compile(code, "elsewhere.py", "exec", dont_inherit=True), scope)
        return digest(scope["Loss"])

    assert made("slope = 2.0") == made("slope: float = 2.0") != made("slope: float = 3.0")


def test_equal_content_has_equal_digests_whatever_of_it_is_one_object():
    """A worker has the code and its constants by name, and a copy of the object."""
    one = Constant()
    constants = [constant for entry in (Constant.__init__, Constant.both) for constant in entry.__code__.co_consts]
    assert any(constant is one.pair for constant in constants)
    assert digest(pickle.loads(pickle.dumps(one))) == digest(one)
    one.pair = (1.5, (2, "b"))
    assert digest(one) != digest(Constant())
    row, slope = [1.0, 2.0], functools.partial(np.add, 1)
    assert digest([row, row, {"same": row}]) == digest([list(row), list(row), {"same": list(row)}])
    assert digest([slope, slope]) == digest([slope, functools.partial(np.add, 1)])
    around = [1.0]
    around.append(around)
    assert digest(around) == digest(copy.deepcopy(around)) != digest([1.0, [1.0]])


def test_a_digest_sees_the_code_of_other_modules_that_is_called(tmp_path, monkeypatch):
    """However long the chain of calls is, and also where the calls go round in a circle."""
    found = []
    for last in ("x", "2 * x", "x"):
        for number in range(400):
            name = f"link_{number}_for_test"
            monkeypatch.setitem(sys.modules, name, module := types.ModuleType(name))
            module.__file__ = str(tmp_path / f"{name}.py")
            calls = f"link_{number - 1}_for_test.f(x)" if number else f"{last} if x else link_399_for_test.f"
            exec(f"HELD = []\ndef f(x):\n    HELD.append(x)\n    return {calls}", vars(module))
            if number:
                setattr(module, f"link_{number - 1}_for_test", sys.modules[f"link_{number - 1}_for_test"])
        sys.modules["link_0_for_test"].link_399_for_test = sys.modules["link_399_for_test"]
        exec("def f(x):\n    return link_399_for_test.f(x)", scope := {"link_399_for_test": module})
        before = digest(scope["f"])
        assert scope["f"](1) == eval(last, {"x": 1}) and digest(scope["f"]) == before
        found.append(before)
    assert found[0] == found[2] != found[1]


def test_modules_that_the_function_around_a_measure_imports_are_known_by_the_code_that_it_calls(tmp_path, monkeypatch):
    """As where all of a script is in its function main; that its measure calls numpy was refused."""
    marks = []
    for factor in ("1.0", "2.0", "1.0"):
        monkeypatch.setitem(sys.modules, "helper_for_test", module := types.ModuleType("helper_for_test"))
        module.__file__ = str(tmp_path / "helper_for_test.py")
        exec(f"def scaled(x):\n    return {factor} * x\ndef other(x):\n    return {factor}", vars(module))

        def main():
            import helper_for_test
            import numpy as np

            def size(problem, result):
                return [helper_for_test.scaled(np.linalg.norm(factors, 2)) for factors in (result.A, result.B)]

            def ones(problem, result):
                return float(np.ones(3).sum())

            return ls.Study(ls.Problem(Shifted(), 1, 0.1), {"seed": [0]}, "lbfgs", {"size": size, "ones": ones})

        marks.append(main().fixed()["measures"])
    assert marks[0] == marks[2] and marks[0]["size"] != marks[1]["size"] and marks[0]["ones"] == marks[1]["ones"]
    (row,) = main().run(tmp_path / "runs", "loky", 1).rows()
    assert row["ones"] == 3.0 and row["size"][0] == pytest.approx(row["size"][1])


OWN = """
import numpy as np
from math import tau

CURVATURE = {scalar}
TABLE = {table}
HELD = {{"rows": [1, np.float32(2.0)], "kinds": {{"b", "a"}}, "M": np.ones(2)}}
COUNT = {count}
ASKED, KNOWN = {memory}
SPACE = object()

def curvature():
    global COUNT
    COUNT += 1
    ASKED.append(COUNT)
    KNOWN[COUNT] = KNOWN.get(COUNT - 1, 0) + len(ASKED)
    return CURVATURE * TABLE["slope"][0] * HELD["M"].sum() / 2.0

class Own:
    shape, convex, lower_bound = (6, 5), True, 0.0
    ROWS = {rows}
    SEEN = {seen}
    not_data = ("SEEN",)

    def value_and_grad(self, X):
        SPACE, __name__
        c = curvature() * self.ROWS[0]
        return 0.5 * c * float(((X - 1.0) ** 2).sum()), c * (X - 1.0)
"""


def own(scalar=1.0, table="{'slope': [1.0]}", rows="[1.0]", count=0, seen="[]", memory="[], {}", name="__main__"):
    text = OWN.format(scalar=scalar, table=table, rows=rows, count=count, seen=seen, memory=memory)
    exec(text, scope := {"__name__": name})
    return scope["Own"]()


def test_a_digest_sees_the_plain_data_of_code_and_not_what_it_writes():
    before = digest(own())
    for same in ({}, {"count": 7}, {"seen": "[1]"}, {"memory": "[1], {1: 2}"}, {"name": "other"}):
        assert digest(own(**same)) == before, same
    asked = own()
    asked.value_and_grad(np.ones((6, 5)))
    assert digest(asked) == before
    changed = [own(scalar=2.0), own(table="{'slope': [2.0]}"), own(rows="[2.0]"), own(rows="{2.0}")]
    assert len({before, *map(digest, changed)}) == 5


def test_names_without_the_comma_of_a_tuple_are_refused():
    """Each letter was a name: an attribute ``m`` that holds data was left out, and its change kept the old runs."""
    loss = types.SimpleNamespace(m=1.0, memory=[], not_data=("memory"))
    with pytest.raises(TypeError, match=r"not_data: expected a tuple of names, got 'memory'; \('memory',\) is one"):
        digest(loss)


def tells_apart(code, **names):
    """Whether what code calls ``g`` has one digest for one slope and another for another."""
    made = []
    for slope in (1, 1, 3):
        exec(code(slope), scope := {"__name__": "__main__", **names})
        made.append(digest(scope["g"]))
    return made[0] == made[1] != made[2]


TABLES = {
    "a dict": "T = {'one': f, None: [1.0]}\ndef g(x): return T['one'](x)",
    "its own names": "T = {'one': f, 'two': h} if SLOPE == 1 else {'one': h, 'two': f}\ndef g(x): return T['one'](x)",
    "a list of pairs": "T = [(1.0, f), (2.0, h)]\ndef g(x): return T[0][1](x)",
    "a class in a class": "class g:\n    class settings:\n        slope = SLOPE",
    "a table in a class": "class g:\n    kinds = {'one': f}",
    "an enumeration": "class E(enum.Enum):\n    ONE, TWO = SLOPE, 2\ndef g(x): return E.ONE.value * x",
}


@pytest.mark.parametrize("table", TABLES)
def test_a_digest_sees_functions_and_classes_that_a_module_keeps_in_tables(table):
    def code(slope):
        return f"def f(x): return {slope} * x\ndef h(x): return -x\nSLOPE = {slope}\n{TABLES[table]}"

    assert tells_apart(code, enum=enum)


COMPILED = {
    "compiled": "f = numba.njit(f)\ndef g(x): return f(x)",
    "remembering": "f = functools.cache(f)\ndef g(x): return f(x)",
    "around": "def make():\n    h = numba.njit(f)\n    return lambda x: h(x)\ng = make()",
    "in a table": "T = {'f': functools.cache(f)}\ndef g(x): return T['f'](x)",
    "in a class": "class g:\n    h = functools.lru_cache(maxsize=2)(f)",
    "in a module": "module.f = numba.njit(f)\ndef g(x): return module.f(x)",
    "entry by entry": "f = numba.vectorize(f)\ndef g(x): return f(x)",
    "entry by entry, held": "class C: pass\ng = C()\ng.f = numba.vectorize(['float64(float64)'])(f)",
    "entry by entry in Python": "f = np.vectorize(f)\ndef g(x): return f(x)",
    "in part": "f = functools.partial(f)\ndef g(): return f()",
    "a method in a table": "class C:\n    h = f\nT = {'f': C().h}\ndef g(): return T['f']()",
    "of an object": "class C:\n    h = f\nm = C().h\ndef g(): return m()",
    "with neighbours": "f = numba.stencil(f)\ndef g(x): return f(x)",
    "with neighbours, held": "class C: pass\ng = C()\ng.f = numba.stencil(f)",
    "chosen by class": "h = functools.singledispatch(lambda x: x)\nh.register(float, f)\ndef g(x): return h(x)",
    "chosen otherwise": "f = functools.singledispatch(f)\ndef g(x): return f(x)",
}


@pytest.mark.parametrize("where", COMPILED)
def test_a_digest_sees_what_is_compiled_or_remembers_as_it_is_written(where):
    def code(slope):
        return f"module = types.ModuleType('module')\ndef f(x): return {slope} * x\n{COMPILED[where]}"

    assert tells_apart(code, functools=functools, numba=numba, np=np, types=types)


OBJECTS = {
    "called": "c = C(SLOPE)\ndef g(x): return c(x)",
    "asked": "c = C(SLOPE)\ndef g(x): return c.times(x)",
    "its code": "class D(C):\n    def times(self, x): return CODE * x\nc = D(1.0)\ndef g(x): return c.times(x)",
    "a record": "@dataclass\nclass D:\n    a: int\n    def own(self): return CODE\nc = D(1)\ndef g(x): return c.own()",
    "in a table": "T = {'c': C(SLOPE)}\ndef g(x): return T['c'](x)",
    "in a class": "class g:\n    c = C(SLOPE)",
    "by its method": "times = C(SLOPE).times\ndef g(x): return times(x)",
    "an enumeration": "class E(enum.Enum):\n    ONE, TWO = 1, 3\nc = E(SLOPE)\ndef g(x): return c.value * x",
}


@pytest.mark.parametrize("where", OBJECTS)
def test_a_digest_sees_the_code_and_the_settings_of_objects_that_code_reads_by_name(where):
    """What they remember of what they did is none of these."""
    made = []
    for slope in (1, 1, 3):
        scope = {"__name__": "__main__", "SLOPE": slope, "enum": enum, "dataclass": dataclasses.dataclass}
        code = (
            "class C:\n"
            "    def __init__(self, slope): self.slope, self.calls, self.seen = slope, 0, []\n"
            "    def __call__(self, x): return self.times(x)\n"
            "    def times(self, x):\n"
            "        self.calls += 1\n"
            "        self.seen.append(x)\n"
            "        return self.slope * x\n"
        )
        exec(code + OBJECTS[where].replace("CODE", str(slope)), scope)
        before = digest(scope["g"])
        if where in ("called", "asked", "in a table", "by its method"):
            scope["g"](2.0)
        assert digest(scope["g"]) == before
        made.append(before)
    assert made[0] == made[1] != made[2]


def test_what_functions_of_a_module_set_of_an_object_is_none_of_its_settings():
    """But what those of other modules set, of objects of theirs, says nothing about it."""
    made = []
    for slope, calls in ((1, 0), (1, 5), (3, 0)):
        scope = {"__name__": "__main__", "other": others_slope}
        code = (
            "class C:\n"
            "    def __init__(self, slope): self.slope, self.calls = slope, 0\n"
            f"c = C({slope})\n"
            "def done(): c.calls = 1\n"
            "def g(x): return c.slope * x"
        )
        exec(code, scope)
        scope["c"].calls = calls
        made.append(digest(scope["g"]))
    assert made[0] == made[1] != made[2]


def others_slope(thing):
    thing.slope = 0


def test_of_an_object_that_answers_to_any_name_count_its_own_attributes():
    made = []
    for slope, memory in ((1, 1), (1, 2), (3, 1)):
        code = (
            "class C:\n"
            "    not_data = ('memory',)\n"
            "    def __init__(self, slope, memory): self.slope, self.memory = slope, memory\n"
            "    def __getattr__(self, name): return None\n"
            f"c = C({slope}, {memory})\n"
            "def g(x): return c.slope * x"
        )
        exec(code, scope := {"__name__": "__main__"})
        made.append(digest(scope["g"]))
    assert made[0] == made[1] != made[2]
    exec(code.replace("    not_data = ('memory',)\n", ""), scope := {"__name__": "__main__"})
    assert digest(scope["g"]) not in made


@pytest.mark.parametrize(
    "reads",
    [
        "f = functools.partial(h, SLOPE)\ndef g(x): return f(x)",
        "class g:\n    f = functools.partialmethod(h, SLOPE)",
        "class g:\n    f = functools.partialmethod(h, x=SLOPE)",
        "class g:\n    f = staticmethod(functools.partial(h, SLOPE))",
    ],
)
def test_a_digest_sees_what_a_partial_function_is_given(reads):
    """As the method of a class it was seen without: a study went on with runs of other settings."""

    def code(slope):
        return f"def h(a, x): return a * x\n{reads.replace('SLOPE', str(slope))}"

    assert tells_apart(code, functools=functools)


@pytest.mark.parametrize("code", ["g = h", "def g(x): return h(x)", "class g:\n    f = h"])
def test_a_ufunc_that_no_package_has_is_not_taken_for_another_of_its_name(code):
    """Those of ``numpy.frompyfunc`` are called after their functions, as all lambdas are."""
    exec(code, scope := {"__name__": "__main__", "h": np.frompyfunc(lambda x: 2 * x, 1, 1)})
    with pytest.raises(TypeError, match=r"is a ufunc '<lambda> \(vectorized\)', whose content cannot be read"):
        digest(scope["g"])
    for known in (np.square, np.strings.str_len, scipy.special.expit):
        exec(code, scope := {"__name__": "__main__", "h": known})
        digest(scope["g"])


def test_tables_that_other_modules_fill_say_nothing_about_code():
    """What has been imported by now differs from process to process; in what order entries came does not count."""

    def made(entries):
        exec(
            "def f(x): return x\ndef h(x): return 2 * x\ndef g(x): return T['f'](x)", scope := {"__name__": "__main__"}
        )
        scope["T"] = {name: scope.get(name, thing) for name, thing in entries.items()}
        scope["T"]["T"] = scope["T"]
        return digest(scope["g"])

    other = types.FunctionType((lambda x: 5 * x).__code__, {"__name__": "other"})
    before = made({"f": None, "h": None})
    assert before == made({"h": None, "other": other, "f": None, digest: other}) != made({"h": None})


RECORDS = {
    "namespace": "types.SimpleNamespace(slope=SLOPE)",
    "arguments": "argparse.Namespace(slope=SLOPE, out=None)",
    "dataclass": "Settings(SLOPE)",
    "nested": "types.SimpleNamespace(inner=Settings(Settings([SLOPE])))",
    "sparse": "scipy.sparse.csr_array([[SLOPE, 0.0]])",
}


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize(
    "statement", ["return C.slope", "x.slope += C.slope", "C.slope += 1", "C.slope = x", "del C.slope"]
)
def test_a_digest_sees_records_of_plain_data_that_code_reads_and_does_not_fill(record, statement):
    """Of the code of a dataclass too, which may read its own instance."""
    made = []
    for slope in (1.0, 1.0, 3.0):
        names = {
            "types": types,
            "argparse": argparse,
            "dataclass": dataclasses.dataclass,
            "scipy": scipy,
            "SLOPE": slope,
        }
        code = "@dataclass\nclass Settings:\n    slope: float\n    def own(self): return C"
        exec(f"{code}\nC = {RECORDS[record]}\ndef f(x):\n    {statement}", scope := names | {"__name__": "__main__"})
        made.append(digest(scope["f"]))
    assert made[0] == made[1]
    assert (made[0] == made[2]) == statement.replace("del ", "").startswith("C.")


@pytest.mark.parametrize("code", ["args.slope * x", "args.slope + (lambda: args.slope)()", "vars(args)", "args.own()"])
def test_of_a_record_counts_what_is_read_of_it(code):
    """The number of workers that a script is given makes no other runs."""
    kinds = {}
    for name, given in {"one": (1.0, 2), "workers": (1.0, 4), "slope": (3.0, 2)}.items():
        scope = {"args": argparse.Namespace(slope=given[0], workers=given[1]), "__name__": "__main__"}
        exec(f"def f(x):\n    return {code}", scope)
        kinds[name] = digest(scope["f"])
    assert kinds["one"] != kinds["slope"]
    assert (kinds["one"] == kinds["workers"]) == code.startswith("args.slope")


def test_a_loss_with_a_namespace_of_settings_is_known_by_these(tmp_path):
    """The optimum of ``||X - t||^2/2 + lam ||X||_*`` at a constant t: one singular value, ``t sqrt(30) - lam``."""
    for target in (1.0, 3.0):
        loss = Shifted(target)
        loss.settings = types.SimpleNamespace(target=target)
        (record,) = ls.Study(ls.Problem(loss, 2, 0.5), {"seed": [0]}, "lbfgs").run(tmp_path / "runs", "serial")
        assert record["result"]["fun"] == pytest.approx(0.5 * target * np.sqrt(30.0) - 0.125, rel=1e-9)
    assert digest(types.SimpleNamespace(target=1.0)) != digest(types.SimpleNamespace(target=3.0))


WRITES = ("C.append(x)", "C[k] = x", "C[f(k, x)] = k", "C[k] += x", "C[k][x] = 1", "C[k].add(x)", "del C[k]")


READS = ("x[k] = C", "x[C[k]] = 1", "x[k] += C[k]", "x.append(C)", "x[k] = x if C else k", "x[k] = f(C, x)", "k = C[k]")


COPIES = ("C.copy().pop()", "C[k].copy().pop()", "(C + x).pop()", "C[1:].pop()", "C[x:k:1].pop()", "C.copy()[k] = x")


OTHERS = ("f(C).pop()", "C.get(k=x).pop()", "C.get(*x).pop()", "x[C if k else 1] = k")


@pytest.mark.parametrize("statement", WRITES + READS + COPIES + OTHERS)
def test_what_a_function_fills_is_no_data(statement):
    made = []
    for content in ("[1]", "[2]", "'a/3'", "'a/4'", "(1, 2)", "(1, 3)", "([1],)", "([2],)"):
        exec(f"def f(x, k):\n    {statement}\nC = {content}", scope := {})
        made.append(digest(scope["f"]))
    pairs = dict(zip(("list", "text", "numbers", "tuple of lists"), zip(made[::2], made[1::2])))
    unseen = {kind for kind, (one, other) in pairs.items() if one == other}
    # Texts and tuples of numbers cannot be filled, whatever the methods of the same names do with them.
    assert unseen == ({"list", "tuple of lists"} if statement in WRITES else set())


@pytest.mark.parametrize("cycle", ["C['self'] = C", "C['list'] = [1, (C, 2)]", "C['key'] = {1: {2: C}}"])
def test_data_that_hold_themselves_are_none_that_a_digest_sees(cycle):
    """As an object that is read by name; what occurs twice but not within itself is data."""
    twice = "T = [0]; D = {'one': T, 'other': (T, [T])}"
    made = []
    for slope in (1, 1, 2):
        exec(f"C = {{}}; {cycle}; {twice}; T[0] = {slope}\ndef f(x):\n    return len(C), D", scope := {})
        made.append(digest(scope["f"]))
    assert made[0] == made[1] != made[2]


def test_what_objects_note_of_themselves_is_no_content():
    """Flags that SciPy finds out, the text and the hash of a path (another in every process), and times of runs."""
    one, other = (scipy.sparse.random(20, 30, 0.2, format="csr", random_state=0) for _ in range(2))
    before = digest(one)
    assert one.has_canonical_format and one.has_sorted_indices
    assert digest(one) == before == digest(other) != digest(2.0 * other)
    assert digest(pathlib.Path("figures")) != digest(pathlib.Path("tables"))
    path = pathlib.Path("figures")
    hash(path)
    program = "import pathlib; from lorasolve._support.digest import digest; print(digest(pathlib.Path('figures')))"
    assert python(program).communicate(timeout=60)[0].strip() == digest(path) == digest(pathlib.Path("figures"))
    problem = ls.Problem(objectives()["denoising"], 2, 0.1)
    stop = ls.StoppingRule(max_iter=5)
    for make in (
        ls.solve_convex,
        lambda problem: ls.solve(problem, "lbfgs", seed=1, stop=stop),
        lambda problem: ls.compare(problem, ["gd", "lbfgs"], stop=stop),
        lambda problem: ls.certify_batch([problem] * 2, [(np.ones((6, 2)), np.ones((5, 2)))] * 2),
    ):
        assert digest(make(problem)) == digest(make(problem)) != digest(make(problem.replace(lam=0.2)))


def test_a_problem_of_sparse_data_that_was_solved_is_the_same():
    data = scipy.sparse.random(20, 30, 0.2, format="csr", random_state=0)
    problem = ls.Problem(ls.objectives.MatrixSensing(data, np.ones(20), (6, 5)), 2, 0.01)
    keys = ls.Study(problem, {"seed": range(3)}, "lbfgs").keys()
    ls.solve_convex(problem)
    assert ls.Study(problem, {"seed": range(3)}, "lbfgs").keys() == keys


def test_a_measure_that_remembers_is_what_it_was_at_first(tmp_path):
    for backend in ("serial", "loky"):
        study = remembering(4)
        runs = study.run(tmp_path / backend, backend)
        assert len(runs) == len(study.runs(tmp_path / backend)) == len(ls.Runs.read(tmp_path / backend)) == 4
        # The optimum of the matrix of ones: one singular value, sqrt(30) - 0.1.
        assert {round(record["result"]["measures"]["excess"], 6) for record in runs} == {0.0}
    before = study.keys()
    study.measures = {"excess": len}
    assert not before & study.keys()


class Hidden:
    __slots__ = ("__held", "__weakref__")

    def __init__(self, held):
        self.__held = held


class Short(Hidden):
    __slots__ = "scale"

    def __init__(self, scale):
        super().__init__(None)
        self.scale = scale


def extended(base, entries, attribute=None, power=1):
    """Return a value of a class that extends a container, with a method of its own."""
    scope = {"base": base, "__name__": "__main__"}
    exec(f"class Own(base):\n    def power(self):\n        return {power}", scope)
    value = entries.view(scope["Own"]) if base is np.ndarray else scope["Own"](entries)
    if attribute is not None:
        value.attribute = attribute
    return value


def labelled(level):
    return enum.Enum("Level", {"LOW": level}).LOW


def structured(*names):
    return np.zeros(2, [(name, float) for name in names])


UNLIKE = {
    "a private slot": (Hidden, [(1.0,), (2.0,)]),
    "a slot named by a text": (Short, [(1.0,), (2.0,)]),
    "random numbers of Python": (random.Random, [(1,), (2,)]),
    "a member of an enumeration": (labelled, [(1,), (2,)]),
    "the sign of zero": (float, [(0.0,), (-0.0,)]),
    "the sign of a constant": (lambda text: eval(f"lambda x: x * {text}", {}), [("0.0",), ("(-0.0)",)]),
    "names of fields": (structured, [("a", "b"), ("c", "d"), ("b", "a")]),
    "names of fields of one entry": (lambda *names: structured(*names)[0], [("a", "b"), ("c", "d")]),
    "types of fields": (lambda kind: np.dtype([("a", kind)]), [(np.int64,), (np.float64,)]),
    "what is masked": (lambda mask: np.ma.array([1.0, 1e20], mask=mask), [([0, 0],), ([0, 1],)]),
} | {
    f"a kind of {base.__name__}": (
        functools.partial(extended, base),
        [(entries,), (entries, 1), (entries, 2), (entries, 2, 3), (other, 2, 3)],
    )
    for base, entries, other in (
        (dict, {1: 2}, {1: 3}),
        (list, [1], [2]),
        (tuple, (1,), (2,)),
        (set, {1}, {2}),
        (frozenset, {1}, {2}),
        (np.ndarray, np.ones(2), np.zeros(2)),
    )
}


@pytest.mark.parametrize("what", UNLIKE)
def test_a_digest_sees_what_containers_and_slots_hold(what):
    make, different = UNLIKE[what]
    assert [digest(make(*given)) for given in different] == [digest(make(*given)) for given in different]
    assert len({digest(make(*given)) for given in different}) == len(different)


def test_who_refers_to_an_object_is_no_content_of_it():
    one, seen = Hidden(1.0), weakref.WeakKeyDictionary()
    before = digest(one)
    seen[one] = True
    assert digest(one) == before


@pytest.mark.parametrize("kind", [Point, Slotted])
def test_losses_of_slots_and_tuples_are_known_by_what_they_hold(tmp_path, kind):
    """The optimum of ``||X - t||^2/2 + lam ||X||_*`` at a constant t: one singular value, ``t sqrt(30) - lam``."""
    for target in (1.0, 3.0):
        study = ls.Study(ls.Problem(kind(target), 2, 0.5), {"seed": [0]}, "lbfgs")
        for backend in ("loky", "serial"):
            (record,) = study.run(tmp_path / "runs", backend, n_jobs=1)
            assert record["result"]["fun"] == pytest.approx(0.5 * target * np.sqrt(30.0) - 0.125, rel=1e-9)
    assert len(ls.Runs.read(tmp_path / "runs")) == 2


OWN_STEPS = """
from dataclasses import dataclass
from lorasolve.optimizers import GD

@dataclass(frozen=True)
class MySteps(GD):
    name = "my_steps"

    def longest(self):
        return {length}
"""


def test_a_part_that_a_user_has_put_into_a_folder_of_the_package_is_known_by_its_code(tmp_path, monkeypatch):
    """As ``docs/extend.md`` advises: after its code had changed a study had kept its old runs."""
    marks = []
    for k, length in enumerate((1, 1, 2)):
        file = tmp_path / f"{k}.py"
        file.write_text(OWN_STEPS.format(length=length))
        spec = importlib.util.spec_from_file_location("lorasolve.optimizers.my_steps", file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        marks.append(method_text(ls.Method.of(module.MySteps())))
    assert marks[0] == marks[1] != marks[2]
    assert method_text(ls.Method.of("gd")) == "gd"


@pytest.mark.parametrize("change", [{"scalar": 3.0}, {"table": "{'slope': [3.0]}"}, {"rows": "np.array([3.0])"}])
def test_a_constant_of_the_code_that_changes_is_another_run(tmp_path, change):
    """The optimum of ``c/2 ||X - 1||^2 + lam ||X||_*``: one singular value, ``sqrt(30) - lam/c``."""
    for c, loss in ((1.0, own()), (3.0, own(**change))):
        study = ls.Study(ls.Problem(loss, 2, 0.5), {"seed": [0]}, "lbfgs")
        (record,) = study.run(tmp_path / "runs", "serial")
        assert record["result"]["fun"] == pytest.approx(0.5 * np.sqrt(30.0) - 0.125 / c, rel=1e-9)
    assert len(ls.Runs.read(tmp_path / "runs")) == 2
