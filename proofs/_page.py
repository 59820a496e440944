"""The page ``proofs/README.md``: what is shown, how strongly, and how to add a theorem."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lorasolve import symbolic
from lorasolve.symbolic import Fact
from lorasolve.symbolic.report import TheoremReport, strengths, summary
from proofs.facts import FACTS
from proofs.statements import CORRECTIONS, NOT_CHECKED, STATEMENTS

COMMAND = "python -m proofs --brief --page proofs/README.md --export proofs/proofs.json"

INTRODUCTION = """# Theorems, checked by machine

This page is generated: `{command}`.

Each module of this folder is one theorem: a docstring with its statement, assumptions, source, idea and users,
and a list of checks. `lorasolve prove` or `python -m proofs` checks all, `lorasolve prove NAME` or `python
proofs/NAME.py` one, `--json` prints a report for programs and `--latex FILE` writes the statements and proof
steps as a document. The exit code is 0 only if everything is proved and every false twin refuted, 1 otherwise,
2 for an unknown name.

| strength | meaning |
|---|---|
| PROVED | an identity, a sum of squares or a combination of the stated hypotheses, for matrices of every size |
| PROVED UNDER ... | the same, using the named classical facts, which are stated with references and not proved here |
| VERIFIED | exact rational arithmetic at the listed cases |
| SAMPLED | random search found no counterexample; never called a proof |

How a proof is believed: expressions are brought to a normal form (polynomials in noncommuting matrix symbols
over traces), where `lhs - rhs` must vanish. A second route that shares no code with it evaluates what was
written at random matrices of fractions. Each check has false twins (a sign, a constant, a dropped assumption, a
swapped transpose or symbol); for each of them the proof must fail *and* a concrete counterexample must be found
that satisfies all remaining assumptions.

In algebra every size means 0 too, of matrices without rows or columns: the rest of X beyond its r* largest singular
values where r = r*, say. Only a size in a denominator is at least 1, or one whose coefficient is non-negative for that
reason, such as m - 1, which no proof of this folder needs.

## The second checker, and what has to be trusted

`proofs.json` holds every check that is algebra as plain data: symbols with signs, shapes and symmetry, assumptions,
named inequalities with their sources, both sides, the terms of the proof, and a witness, values at which all
assumptions and hypotheses hold. `python -S proofs/verify.py` reads it and shows everything again: {verifier} lines of
Python that import `json`, `sys` and `fractions` and nothing of this package. `lorasolve prove` prints for each check
whether it agrees. To believe a line marked PROVED one has to trust Python's fractions and those {verifier} lines, and
to read the statement in `proofs.json`; the {checker} lines of `lorasolve/symbolic/` are then no longer in the way.

What it cannot see is a statement that says less than it did: a sign, a size or a hypothesis more. `proofs.json` pins
them, with what each theorem says in words, the names of its checks, and the sides and the cases of what is computed:
`lorasolve prove` fails, and says what changed, when a module of this folder states anything that differs from it. The
command above accepts the change, which then shows in the difference of the file. Both checkers refuse a claim that is
one expression twice: SymPy has then worked it out before it was written down. Checks that contain `exp`, `pi` or `cos`,
derivatives and integrals of such, exact computations case by case and random searches are not algebra; the second
checker is not asked about them.

Where a check uses a fact of this folder, it uses an instance of one of its schemas, built from side conditions: that
||G||_2 <= g, say. They are printed in its *assuming* line, with the fact in brackets and with the checks that they are
read off if there are any, whose assumptions are printed too. An inequality that only names a fact is refused. Both
checkers compare the instance with the schema, the schema with the check that shows it, and an inequality taken over
from another check with what that concludes, even where it is written in other symbols. Where expressions are put in the
place of symbols, they are put into the assumptions and hypotheses of that check too, and what a number stands for is an
assumption of everything that follows: the *assuming* line has all of it, compared by what it says and not by its name.
What remains for the reader is to read that line, and what a side condition means: that ||G||_2 <= g is the same as
G^T G = g^2 I - F^T F for some F, for instance, which is how the check behind the schema says it. In `proofs.json`
`said` tells which of the assumptions of that check each side condition stands for, and both checkers require all of
them. A check is PROVED when all facts it names are proved, and PROVED UNDER them otherwise.

The witness of a check satisfies its own assumptions and hypotheses. `lorasolve prove` looks for one at which that holds
too what is taken over with conclusions of others as far as it is about the numbers of the check, and at which a number
is not negative that stands for a sum of squares; what is false by the equations or by one inequality among it is
refused. No values are looked for at which all holds that is taken over, side conditions of facts, and that numbers are
what they stand for: whether all of an *assuming* line can hold at once is for the reader. So is whether what a check
says in words is its *claim*, the line below them.

## The third judge

`lorasolve prove --coq DIR` writes each check that the second checker is asked about and that contains neither a
derivative nor a bilinear form as a lemma of Coq with MathComp, for matrices of every size over any real field, with a
generated proof. The statement is read back from what was written and compared with `proofs.json`. `lorasolve prove
--coq-check` has the kernel of Coq judge the lemmas one by one, each within 60 s of CPU time, and says at its end how
many are accepted, which are refused or not judged in time, how many checks are no lemma and why, and the CPU time.
"""

WRITING = """## Writing a new theorem

Copy the template to `proofs/YOUR_NAME.py`, change it, and run it. Nothing else is edited: the folder is the
index, and the command at the top of this page writes the theorem's line. The sections of the docstring and the
strengths under *Checks* are compared with what actually happens.

```python
{template}```

Building blocks: `dims`, `scalars`, `matrix`, `vector` declare symbols; `A @ B`, `A.T`, `inner`, `square`
(squared Frobenius norm), `tr`, `gradient`, `derivative` build expressions; `Form` is an abstract symmetric
bilinear form such as a Hessian. Assumptions are `define`, `named`, `orthonormal`, `annihilated`, `inverse`, or
`assume(name, (left, right), ..., impose=...)`: rewrite rules from left to right, and a function that makes
random rational values satisfy them. State what others are built from first, because they are imposed in order.

A single identity needs no module:

```python
from lorasolve.symbolic import Identity, dims, inner, matrix, square

m, n = dims("m n")
A, B = matrix("A", m, n), matrix("B", m, n)
print(Identity("expand", "||A + B||^2", square(A + B), square(A) + 2 * inner(A, B) + square(B)).prove())
```

prints `Outcome(holds=True, detail='normal form of lhs - rhs: 0')`. With a `THEOREM` in it a file anywhere is checked
like those of this folder, by both checkers: `lorasolve prove FILE.py`. A statement that fails at an example which the
search finds is marked REFUTED, with the example; one that is only not proved is marked NOT SHOWN.

- `Identity(name, says, lhs, rhs)`: the two sides are equal.
- `SumOfSquares(name, says, lhs, rhs, proof=[...])`: `rhs - lhs` is the given sum of `coefficient *
  Square(...)`.
- `Inequality(name, says, lhs, rhs, proof=[...])`: the same, also with named inequalities: `hypothesis(...)`,
  `equation(...)`, an instance of a fact such as `DUAL_NORM.instance("pairing", SPECTRAL(G, g), NUCLEAR(X, nu))` (see
  `facts.py`), or `other_check.conclusion()`, which carries the facts used there; `conclusion(lhs, rhs, where=...,
  put=...)` says it in other symbols. The other check has to be listed here or in a theorem of `Theorem(...,
  uses=(...))`, it has to hold, and what it assumes has to be assumed here too, unless it is listed in
  `under=(other_check,)`: then its assumptions are printed as this one's.
- `ScalarCheck`, `Exact`, `Sampled`: SymPy expressions, rational cases, random search. Where values are put into a
  claim write an `Identity` with `given=(define(x, value),)`, and `Derivative`, `Integral`, `Subs` for what SymPy would
  work out at once: a claim has to be there to be checked. `<=` is shown by the signs of symbols, by one bound for
  each function of numbers, such as `exp(u) >= 1 + u`, and in both cases of `|u|`, `Max` and `Min`, with what
  each says of `u` and `v`.

What of the statement no check shows (a decomposition exists, a limit, an induction) is declared in `Theorem(...,
prose={{"what": ("check", ...)}})`, each with the checks beside which it stands; `prose={{}}` says that nothing is left.

A mutant is `mutant(kind, change, field=value)` or `dropped(assumption)`; one mutant of each check edits only the
statement, so that its counterexample shows that the hypotheses can hold. An assumption in `given` that no step of the
proof needs has to be left out. What symbols declare is printed in the *where* line, sizes and signs above all: `tr A B
= tr A tr B` holds for matrices of one entry, and in `tr X = x` with `x > 0` the sign is a hypothesis about X. Symbols
are real, numbers exact, nothing in a proof may be divided by what can vanish, no derivative or integral may run over a
kink (`|x|` at 0), what SymPy makes of an integral is held against quadrature, and no derivative may hold fixed what the
assumptions tie to a symbol that moves (`A` where `A = P T` and `T` moves): otherwise the check is refused, with the
reason. If the random search finds no counterexample, give one as a dictionary from symbols to values; it is verified
exactly.
"""


def page(reports: Sequence[TheoremReport]) -> str:
    """Return the page as Markdown: theorems of the paper in its order, then the others by name."""
    reports = sorted(reports, key=_place)
    template = (Path(__file__).parent / "_template.py").read_text(encoding="utf-8")
    parts = [
        INTRODUCTION.format(**_trusted()),
        f"{summary(reports)}.\n",
        "## The theorems\n",
        _theorems(reports),
        "## The paper, statement by statement\n",
        "J. Kim, J. Kim, E. K. Ryu, ICML 2025 (arXiv:2502.09376), sections as numbered in `statements.py`.\n",
        _statements(reports),
        "Not checked at all:\n",
        "\n".join(f"- {what}: {why}" for what, why in NOT_CHECKED.items()) + "\n",
        "## What remains prose\n",
        "Steps that no check shows, as each module declares them (`prose`), with the checks beside which they stand.\n",
        _prose(reports),
        "## Corrections and sharpenings found on the way\n",
        "\n".join(f"- **{where}** ({module}): {what}" for where, module, what in CORRECTIONS) + "\n",
        "## Classical facts\n",
        "\n".join(_fact(fact) for fact in FACTS) + "\n",
        WRITING.format(template=template),
    ]
    return "\n".join(parts)


def _trusted() -> dict[str, object]:
    """Return what the introduction says in numbers: lines of the second checker and of the first."""
    sources = Path(symbolic.__file__).parent.glob("*.py")
    first = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in sources)
    second = len((Path(__file__).parent / "verify.py").read_text(encoding="utf-8").splitlines())
    return {"command": COMMAND, "verifier": second, "checker": first}


def _fact(fact: Fact) -> str:
    """Return a classical fact as a line: its statement, reference, and where it is proved."""
    proof = f"proved in `{fact.proved_by}`" if fact.proved_by else "not proved here"
    return f"- **{fact.name}** ({proof}): {fact.statement} ({fact.reference})"


def _place(report: TheoremReport) -> tuple[int, str]:
    """Return the position of a theorem: that of the first statement of the paper it covers, then its name."""
    order = list(STATEMENTS)
    covered = [order.index(check.paper) for check in report.checks if check.paper in STATEMENTS]
    return min(covered, default=len(order)), report.name


def _theorems(reports: Sequence[TheoremReport]) -> str:
    rows = ["| theorem | checks | strengths | mutants refuted | CPU seconds |", "|---|---|---|---|---|"]
    for report in reports:
        refuted = sum(twin.refuted for check in report.checks for twin in check.mutants)
        rows.append(
            f"| [`{report.name}`]({report.name}.py): {_cell(report.title)} | {len(report.checks)} "
            f"| {strengths(report.checks)} | {refuted} of {report.mutants} | {report.seconds:.1f} |"
        )
    return "\n".join(rows) + "\n"


def _statements(reports: Sequence[TheoremReport]) -> str:
    rows = ["| statement | checks | strengths | mutants | remains prose |", "|---|---|---|---|---|"]
    for key, meaning in STATEMENTS.items():
        found = [(report, check) for report in reports for check in report.checks if check.paper == key]
        names = ", ".join(f"`{report.name}.{check.name}`" for report, check in found)
        checks = [check for _, check in found]
        # In the order in which the modules declare it, each step once.
        left = dict.fromkeys(
            says
            for report in reports
            for says, beside in (report.prose or {}).items()
            if any(of is report and check.name in beside for of, check in found)
        )
        rows.append(
            f"| {_cell(key)}: {_cell(meaning)} | {names} | {strengths(checks)} "
            f"| {sum(len(check.mutants) for check in checks)} | {_cell('; '.join(left) or 'nothing')} |"
        )
    return "\n".join(rows) + "\n"


def _prose(reports: Sequence[TheoremReport]) -> str:
    """Return for each theorem what of it no check shows, as its module declares it."""
    rows = ["| theorem | remains prose | beside |", "|---|---|---|"]
    for report in reports:
        if report.prose is None:
            raise ValueError(f"proofs/{report.name}.py: Theorem(..., prose=...) has to say what remains prose")
        for says, beside in report.prose.items() or [("nothing", [])]:
            rows.append(f"| `{report.name}` | {_cell(says)} | {', '.join(f'`{name}`' for name in beside)} |")
    return "\n".join(rows) + "\n"


def _cell(words: str) -> str:
    return words.replace("|", "\\|")
