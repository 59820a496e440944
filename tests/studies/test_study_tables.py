"""Tables of a study: their rows, columns and numbers."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import re
import tracemalloc

import numpy as np
import pytest
from grids import Shifted
from numpy.testing import assert_array_equal

import lorasolve as ls
from lorasolve.studies import Calls, Store
from lorasolve.studies._solves import Solver
from lorasolve.studies._work import Chunk
from lorasolve.studies.records import RESERVED


def test_tables(whole, tmp_path):
    _, runs = whole
    lines = runs.table().splitlines()
    assert lines[0].split()[:7] == ["objective", "rank", "lam", "runs", "failed", "converged", "fun"]
    assert len(lines) == 1 + 18
    rows = list(csv.DictReader(io.StringIO(runs.to_csv(tmp_path / "runs.csv"))))
    assert len(rows) == 72 and (tmp_path / "runs.csv").read_text() == runs.to_csv()
    cell = [float(r["fun"]) for r in rows if (r["objective"], r["rank"], r["lam"]) == ("own", "3", "0.5")]
    line = next(line.split() for line in lines if line.split()[:3] == ["own", "3", "0.5"])
    assert float(line[6]) == pytest.approx(np.median(cell), rel=1e-3)
    latex = runs.to_latex(by=["objective"])
    assert latex.count(r"\\") == 4 and r"certify.is\_global" in latex
    with pytest.raises(ValueError, match="by: no axis is called 'lamb'"):
        runs.table(by=["lamb"])
    # The cells of the text, read back out of the other forms.
    heads, *cells = (re.split(r"\s{2,}", line.strip()) for line in lines)
    markdown = runs.to_markdown(tmp_path / "table.md").splitlines()
    assert (tmp_path / "table.md").read_text().splitlines() == markdown
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in (markdown[0], *markdown[2:])] == [
        heads, *cells,
    ]  # fmt: skip
    assert re.findall(r"<t[hd] [^>]*>(.*?)</t[hd]>", runs._repr_html_()) == [*heads, *itertools.chain(*cells)]
    assert runs.to_markdown(by=["objective"]).count("\n") == 2 + 3
    pytest.importorskip("pandas")
    frame = runs.to_pandas()
    assert frame.columns.tolist() == list(rows[0]) and frame["key"].tolist() == [row["key"] for row in rows]
    assert frame["fun"].dropna().tolist() == [float(row["fun"]) for row in rows if row["fun"]]


def test_a_table_for_a_paper_has_the_columns_that_are_asked_for(whole):
    """They were ten, with names as wide as a column of a paper; those beside the headlines were in no table."""
    _, runs = whole
    wanted = ["certify.sigma_r", "fun", "runs", "seconds", "certify.is_global"]
    rows = list(csv.DictReader(io.StringIO(runs.to_csv())))
    lines = [line.split() for line in runs.table(by=["objective"], columns=wanted).splitlines()]
    assert lines[0] == ["objective", *wanted]
    for name, *found in lines[1:]:
        own = [row for row in rows if row["objective"] == name]
        for text, column in zip(found[:2] + found[3:4], ("certify.sigma_r", "fun", "seconds")):
            values = [float(row[column]) for row in own if row[column]]
            assert text == "-" if not values else float(text) == pytest.approx(np.median(values), rel=1e-3)
        assert int(found[2]) == len(own)
        answers = [row["certify.is_global"] for row in own if row["certify.is_global"]]
        assert float(found[4]) == pytest.approx(np.mean([answer == "True" for answer in answers]), abs=5e-3)
    latex = runs.to_latex(by=["objective"], columns=["fun"])
    assert latex.splitlines()[2] == r"objective & fun \\" and latex.count("&") == len(lines)
    assert runs.to_markdown(columns=["fun"]).splitlines()[0].count("|") == 5
    with pytest.raises(ValueError, match=r"columns: no column is called 'funn'\. Did you mean 'fun'\?"):
        runs.table(columns=["funn"])
    with pytest.raises(TypeError, match="columns: expected"):
        runs.table(columns="fun")


def test_lines_are_in_the_order_of_cells_and_columns_in_one_order(tmp_path):
    """Whatever is finished first, and whatever the measure says of it."""

    def so(problem, result):
        return {"one": 1} if problem.lam == 0.5 else {"two": 2}

    axes = {"lam": [-1.0, 0.5, 0.2], "seed": [1, 0]}
    runs = ls.Study(ls.Problem(Shifted(), 1, 0.1), axes, "lbfgs", measure=so).run(tmp_path, "serial")
    head, *lines = csv.reader(io.StringIO(runs.to_csv()))
    ends = ["status", "fun", "grad_norm", "nit", "nfev"]
    assert head == ["key", "lam", "seed", *ends, "so.one", "so.two", "seconds", "error"]
    cells = [(str(lam), str(seed)) for lam in (-1.0, 0.2, 0.5) for seed in (0, 1)]
    assert [(lam, seed) for _, lam, seed, *_ in lines] == cells
    assert [(str(row["lam"]), str(row["seed"])) for row in runs.sorted_rows()] == cells


def test_a_measure_that_is_a_list_is_summed_up_by_its_length_and_kept_whole(tmp_path):
    """The singular values of the optimum, and a mapping within a mapping, as JSON in CSV."""

    def found(problem, result):
        return {"spectrum": np.arange(1.0, 4.0) / problem.lam, "nested": {"more": {"a": None}}}

    runs = ls.Study(ls.Problem(Shifted(), 1, 0.1), {"lam": [0.5], "seed": [0, 1]}, "lbfgs", measure=found)
    runs = runs.run(tmp_path, "serial")
    head, line = (re.split(r"\s{2,}", text) for text in runs.table().splitlines())
    assert dict(zip(head, line))["found.spectrum"] == "list of 3"
    for row in csv.DictReader(io.StringIO(runs.to_csv())):
        assert json.loads(row["found.spectrum"]) == [2.0, 4.0, 6.0]
        assert json.loads(row["found.nested"]) == {"more": {"a": None}}


def test_a_report_of_which_nothing_would_be_kept_is_an_error_and_zero_has_no_sign(tmp_path):
    pandas = pytest.importorskip("pandas")
    problem, axes = ls.Problem(Shifted(), 1, 0.1), {"seed": [0]}
    found = {
        "frame": lambda problem, result: pandas.DataFrame({"value": [1.0, 2.0]}),
        "row": lambda problem, result: pandas.Series([1.0, 2.0]),
    }
    (failed,) = ls.Study(problem, axes, "lbfgs", measure=found).run(tmp_path, "serial").failed
    assert "measure 'frame': TypeError: expected a report of numbers" in failed["result"]["error"]
    assert failed["result"]["measures"] == {"row": {"0": 1.0, "1": 2.0}}
    zero = ls.Study(problem, axes, "lbfgs", measure={"zero": lambda problem, result: -0.0}).run(tmp_path, "serial")
    assert zero.table().split()[-1] == "0"


def test_keys_of_a_measure_that_are_one_text_are_an_error_that_names_them(tmp_path):
    """JSON has texts as keys: of two equal ones an entry would be lost."""
    problem, axes = ls.Problem(Shifted(), 1, 0.1), {"seed": [0]}
    apart = ls.Study(problem, axes, "lbfgs", measure={"found": lambda problem, result: {1: 10.0, 2: 20.0}})
    (row,) = apart.run(tmp_path, "serial").rows()
    assert (row["found.1"], row["found.2"]) == (10.0, 20.0)
    alike = ls.Study(problem, axes, "lbfgs", measure={"found": lambda problem, result: {1: 10.0, "1": 20.0}})
    (failed,) = alike.run(tmp_path, "serial").failed
    assert "measure 'found': ValueError" in failed["result"]["error"] and "1, '1'" in failed["result"]["error"]
    with pytest.raises(ValueError, match="keys that differ as texts, got 1, '1'"):
        Calls("keys", len, [{"n": {1: 10.0, "1": 20.0}}])


def test_a_table_of_several_studies_has_the_axes_of_all(tmp_path):
    """The optimum of ``||X - 1||^2/2 + lam ||X||_*`` is ``lam sqrt(30) - lam^2/2``."""

    def problem(rank=2, lam=0.5):
        return ls.Problem(Shifted(), rank, 3.0 if lam is None else lam)

    for axes in ({"seed": [0, 1]}, {"rank": [1], "lam": [2.0]}, {"lam": [None, 1.0], "seed": [0]}):
        ls.Study(problem, axes, "lbfgs").run(tmp_path / "runs", "serial")
    runs = ls.Runs.read(tmp_path / "runs")
    values = {lam: f"{lam * np.sqrt(30.0) - lam**2 / 2.0:.4g}" for lam in (0.5, 1.0, 2.0, 3.0)}
    lines = {tuple(line.split()[:-1]) for line in runs.table(["lam", "rank"]).splitlines()}
    assert lines == {
        ("lam", "rank", "runs", "failed", "converged", "fun"),
        ("-", "-", "2", "0", "1.00", values[0.5]),
        ("1", "-", "1", "0", "1.00", values[1.0]),
        ("2", "1", "1", "0", "1.00", values[2.0]),
        ("None", "-", "1", "0", "1.00", values[3.0]),
    }
    assert {line.split()[0] for line in runs.table(["rank"]).splitlines()} == {"rank", "-", "1"}
    with pytest.raises(ValueError, match="by: no axis is called 'kappa'"):
        runs.table(["kappa"])


def test_runs_that_differ_in_no_axis_are_not_summed_up(tmp_path):
    """Tables had given the median of both methods, and called it two runs of one."""
    problem = ls.Problem(Shifted(), 2, 0.5)
    ls.Study(problem, {"lam": [0.5, 1.0]}, "lbfgs").run(tmp_path, "serial")
    runs = ls.Runs.read(tmp_path)
    before = runs.table()
    study = ls.Study(problem, {"lam": [1.0]}, "gd", stop={"max_iter": 3})
    (line,) = study.run(tmp_path, "serial").table().splitlines()[1:]
    assert line.split()[:4] == ["1", "1", "0", "0.00"]
    message = r"holds several runs of the cell lam = 1, which differ in what is no axis, .* runs\(store\) of a study"
    for summary in (runs.table, runs.to_latex, runs.to_markdown, lambda: runs.phase("lam", "lam", "mean of fun")):
        with pytest.raises(ValueError, match=message):
            summary()
    assert len(list(runs.rows())) == 3 == runs.to_csv().count("\n") - 1
    assert ls.Study(problem, {"lam": [0.5, 1.0]}, "lbfgs").runs(tmp_path).table() == before


def test_names_of_axes_are_texts(whole):
    _, runs = whole
    for by in ("lam", 7, np.array(1.0)):
        with pytest.raises(TypeError, match="by: expected a list of one value or several"):
            runs.table(by)
    with pytest.raises(TypeError, match="by: expected a text, got 1"):
        runs.table([1])
    with pytest.raises(TypeError, match="phase: expected a text, got None"):
        runs.phase(None, "lam", "mean of fun")
    assert runs.table(name for name in ("lam", "rank")) == runs.table(["lam", "rank"])


def test_columns_are_all_there_and_failures_are_counted_from_results(tmp_path):
    """What a study refuses to be called may stand in the store of an earlier version."""

    def far(problem, result):
        return float(result.fun)

    study = ls.Study(ls.Problem(Shifted(), 1, 0.1), {"seed": range(2)}, "lbfgs", measure=far)
    (row, _) = study.run(tmp_path / "named", "serial").rows()
    assert set(RESERVED) - set(row) == {"error", "runs", "failed", "converged"} and row["far"] == row["fun"]
    study.measures = {"error": far, "status": far}
    line = study.run(tmp_path / "runs", "serial").table().splitlines()[1].split()
    assert line[:3] == ["2", "0", "1.00"]


def test_tables_show_counts_with_all_their_digits(tmp_path):
    measures = {"calls": lambda problem, result: 1234567, "large": lambda problem, result: 1e20}
    study = ls.Study(ls.Problem(Shifted(), 1, 0.1), {"seed": range(2)}, "lbfgs", measure=measures)
    assert study.run(tmp_path / "runs", "serial").table().splitlines()[1].split()[-2:] == ["1234567", "1e+20"]
    # The median of two counts may be half of one, and has five digits from 9999.5 on.
    measures = {"calls": lambda problem, result: 9999.5, "fewer": lambda problem, result: 9999.4}
    study = ls.Study(study.problem, {"seed": range(2)}, "lbfgs", measure=measures)
    assert study.run(tmp_path / "half", "serial").table().splitlines()[1].split()[-2:] == ["10000", "9999"]


def test_one_and_true_are_two_values_of_an_axis(tmp_path):
    """The optimum of ``||X - 1||^2/2 + lam ||X||_*``: ``lam sqrt(30) - lam^2/2``, lam 2 where the value is True."""
    study = ls.Study(
        lambda flag: ls.Problem(Shifted(), 2, 2.0 if flag is True else 1.0), {"flag": [1, True], "seed": [0]}, "lbfgs"
    )
    one, other = np.sqrt(30.0) - 0.5, 2.0 * np.sqrt(30.0) - 2.0
    for flag, value in ((1, one), (1.0, one), (np.int64(1), one), (True, other), (np.True_, other)):
        assert study.repeat(flag=flag, seed=0).fun == pytest.approx(value)
    runs = study.run(tmp_path / "runs", "serial")
    assert [line.split()[:2] for line in runs.table().splitlines()[1:]] == [["1", "1"], ["True", "1"]]
    xs, _, found = runs.phase("flag", "seed", "mean of fun", html=tmp_path / "phase.html")
    assert list(map(str, xs)) == ["1", "True"] and found == pytest.approx(np.array([[one, other]]))
    # What has only one of them has it by the other too.
    assert ls.Study(study.problem, {"flag": [False, True]}, "lbfgs").repeat(flag=1).fun == pytest.approx(other)
    with pytest.raises(ValueError, match=r"axes: lam: holds 1\.0 twice"):
        ls.Study(ls.Problem(Shifted(), 2), {"lam": [1, 1.0]})


def test_rows_have_one_order_and_a_name_of_their_own(tmp_path):
    study = ls.Study(
        lambda at: ls.Problem(Shifted(), 1, 0.1),
        {"at": ["b", None, 100001, 0.5, "a", 100002, True], "lam": [1.00001, 1.00002]},
        lambda lam: ls.Method("lbfgs", lam=lam),
        stop=ls.StoppingRule(max_iter=2),
    )
    tables = []
    for name, indices in (("forth", range(14)), ("back", reversed(range(14)))):
        Store(tmp_path / name, create=True)
        worker = Solver(study, tmp_path / name, threads=1)
        for index in indices:
            worker(Chunk(f"alone-{index}", np.array([index]), 60.0))
        runs = study.runs(tmp_path / name)
        tables.append(
            ([line.split()[:3] for line in runs.table().splitlines()[1:]], runs.phase("lam", "at", "min of nit"))
        )
    (rows, forth), (others, back) = tables
    names = ["0.5", "True", "100001", "100002", "a", "b", "None"]
    assert rows == others == [[at, lam, "1"] for at in names for lam in ("1.00001", "1.00002")]
    assert forth[:2] == back[:2] == ([1.00001, 1.00002], [0.5, True, 100001, 100002, "a", "b", None])
    assert_array_equal(forth[2], back[2])


def test_measures_beyond_a_double(tmp_path):
    measures = {
        "huge": lambda problem, result: -(10**400),
        "long": lambda problem, result: np.longdouble(1.0) / 3.0,
        "several": lambda problem, result: {"long": np.longdouble("nan")},
    }
    study = ls.Study(ls.Problem(Shifted(), 1, 0.1), {"seed": range(2)}, "lbfgs", measure=measures)
    runs = study.run(tmp_path / "runs", "serial")
    (found, _) = (record["result"]["measures"] for record in runs)
    assert found == {"huge": -(10**400), "long": 1.0 / 3.0, "several": {"long": None}}
    assert runs.table().splitlines()[1].split()[-3:] == ["-inf", "0.3333", "-"]
    _, _, found = runs.phase("seed", "seed", "mean of huge", html=tmp_path / "phase.html")
    assert found[0, 0] == -np.inf


def test_tables_and_phase_diagrams_keep_little_of_a_run(tmp_path):
    """Of many runs whose measure says much; a store in which each line stands once more under many keys."""

    def much(problem, result):
        return {"rank": 1} | {f"entry{k}": f"a text of some length, number {k}" for k in range(400)}

    study = ls.Study(ls.Problem(Shifted(), 1, 0.1), {"seed": [0]}, "lbfgs", measure=much)
    runs = study.run(tmp_path, "serial")
    (shard,) = runs.store.shards()
    _, _, text = shard.read_bytes().rstrip(b"\n").split(b" ", 2)
    many = 500
    with open(shard, "ab") as file:
        for k in range(many):
            body = f"{k:032x} ".encode() + text
            file.write(hashlib.blake2b(body, digest_size=8).hexdigest().encode() + b" " + body + b"\n")
    copies = ls.Runs.read(tmp_path)
    assert len(copies) == many + 1
    for show in (copies.table, lambda: copies.phase("seed", "seed", "mean of much.rank")):
        tracemalloc.start()
        try:
            show()
            assert tracemalloc.get_traced_memory()[1] < many * len(text) / 10
        finally:
            tracemalloc.stop()


def test_a_table_says_what_is_global_where_a_verdict_and_a_certificate_differ(tmp_path):
    """Below the rank of the optimum the best point of the rank is global of a problem, and not of the convex one."""
    s, lam = np.array([5.0, 4.0, 3.0]), 0.5
    study = ls.Study(
        problem=lambda rank: ls.Problem(ls.objectives.Denoising(np.diag(s)), rank=rank, lam=lam),
        axes={"rank": [1, 3]},
        method="lbfgs",
        measure=[ls.certify, ls.verdict],
    )
    lines = study.run(tmp_path / "runs", "serial").table().splitlines()
    heads, below, whole = (re.split(r"\s{2,}", line.strip()) for line in lines[:3])
    asked = [heads.index(name) for name in ("fun", "certify.is_global", "verdict.kind")]
    # Singular values that are kept shrink by lam, the others are left over (Eckart, Young and Mirsky).
    least = lam * s[0] - lam**2 / 2 + (s[1:] ** 2).sum() / 2
    assert [below[k] for k in asked] == [f"{least:.4g}", "0.00", "global"]
    assert [whole[k] for k in asked][1:] == ["1.00", "global"]
    of_a_verdict = "verdict.kind global: F is least at the rank of the run"
    assert lines[3:] == [f"({of_a_verdict}; certify.is_global: least at any rank, to its tolerance)"]
    assert len(study.runs(tmp_path / "runs").to_markdown().splitlines()) == 2 + 2
    ranks = ls.Study(study.problem, {"rank": [3]}, "lbfgs", measure=[ls.certify, ls.verdict])
    assert len(ranks.run(tmp_path / "whole", "serial").table().splitlines()) == 1 + 1
