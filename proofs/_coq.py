"""The exported checks as lemmas of Coq with MathComp, whose kernel is the third judge.

Each record of ``proofs.json`` becomes one closed lemma over any real field: sizes are natural numbers, matrices
``'M[R]_(m, n)``, signs, assumptions and named inequalities are hypotheses, and the statement is printed as it is
written. The proof is generated: a matrix is multiplied out by a term that follows its structure, each trace and each
word that an assumption rewrites gets its own equation, in the order in which they depend on each other, and what is
left is closed by `ring`, `field` or by the signs of the terms. A proof that is wrong is refused by the kernel; only the
statement has to be read, and ``_coq_reader.py`` reads it back.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

from proofs import verify

HEADER = """From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp.algebra_tactics Require Import ring lra.
Require Import Base.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.Theory.
Local Open Scope ring_scope.
"""

NAME = re.compile(r"(?!abs_)\w+|\|\w+\|", re.ASCII)  # of a symbol that has one in Coq, and no two have the same one
AT_ONCE = 12  # words into which a trace is expanded in one step

Word = tuple[tuple[str, bool], ...]


class CoqError(Exception):
    """A check has no lemma, for the reason given."""


def lemma(check: Mapping[str, Any]) -> str:
    """Return one check as a lemma with its proof."""
    return Lemma(without_roots(check)).text()


def without_roots(check: Mapping[str, Any]) -> dict[str, Any]:
    """Return a check in which each root is a symbol whose square is defined to be what it is the root of.

    The root of a size is a number and no size, which would say that the size is a square; a root is no other symbol.
    """
    written = json.dumps(check, ensure_ascii=False)
    taken = {*check["scalars"], *check["matrices"], *check["forms"]}
    for name in sorted(set(re.findall(r"sqrt\((\w+)\)", written)) & check["scalars"].keys()):
        root = f"root_{name}"
        while root in taken:
            root += "_"
        written = written.replace(f"sqrt({name})", root)
        result = json.loads(written)
        sign = result["scalars"][name]
        result["scalars"][root] = "positive" if sign == "dimension" else sign
        result["assumptions"].append({"name": f"root of {name}", "equations": [[name, f"{root}^2"]]})
        written = json.dumps(result, ensure_ascii=False)
    return json.loads(written)


def identifier(kind: str, name: str) -> str:
    """Return a symbol of a check as a name of Coq."""
    return kind + (f"abs_{name.strip('|')}" if name[0] == "|" else name)


def numeral(value: int) -> str:
    """Return a whole number, in thousands because Coq counts in ones."""
    if value < 0:
        return f"(- {numeral(-value)})"
    if value < 1000:
        return str(value) if value < 2 else f"{value}%:R"
    rest = f" + {numeral(value % 1000)}" if value % 1000 else ""
    return f"({numeral(value // 1000)} * 1000%:R{rest})"


class Lemma:
    """One check on its way to a lemma: its trees, what they mean, and the equations shown so far."""

    def __init__(self, check: dict[str, Any]) -> None:
        odd = sorted(name for kind in verify.SYMBOLS for name in check[kind] if not NAME.fullmatch(name))
        if odd:
            raise CoqError(f"the name {odd[0]}")
        self.check = check
        self.algebra: Any = verify.Algebra(check)
        self.equations = [[verify.read(side) for side in pair] for a in check["assumptions"] for pair in a["equations"]]
        self.steps: list[str] = []
        self.known: dict[Any, str] = {}
        self.rules: list[tuple[str, str, Any]] = []
        self.trace_rules: dict[Any, tuple[str, Any, Any]] = {}
        self.literal = False  # defined scalars are put in everywhere but in the statement
        self.sizes = {name for name, sign in check["scalars"].items() if sign == "dimension"}
        self.field = bool(re.search(r"/|\^-", json.dumps([check[k] for k in ("lhs", "rhs", "assumptions")])))
        self.field = self.field or "/" in json.dumps([check.get("premises"), check.get("proof"), check.get("sign")])

    # Printing
    def size(self, tree: Any) -> str:
        """Return the size of a matrix as a natural number."""
        if isinstance(tree, Fraction) and tree.denominator == 1:
            return str(tree.numerator)
        if isinstance(tree, str) and tree in self.sizes:
            return identifier("d_", tree)
        if isinstance(tree, tuple) and tree[0] in "+*":
            return f"({self.size(tree[1])} {tree[0]} {self.size(tree[2])})%N"
        raise CoqError("a size that is no sum or product of sizes")

    def is_matrix(self, tree: Any) -> bool:
        """Whether a tree is a matrix."""
        return self.algebra.value(tree)[0] is not None

    def show(self, tree: Any) -> str:
        """Return a tree as it is written."""
        if isinstance(tree, Fraction):
            return numeral(tree.numerator)
        if isinstance(tree, str):
            if tree in self.check["matrices"]:
                return identifier("M_", tree)
            if tree in self.sizes:
                return f"{identifier('d_', tree)}%:R"
            defined = not self.literal and tree in self.algebra.meaning
            return self.show(self.algebra.meaning[tree]) if defined else identifier("s_", tree)
        operation, *parts = tree
        if operation == "call":
            return self.show_call(*parts)
        if operation == "T":
            return f"{self.show(parts[0])}^T"
        if operation == "^":
            power = f"({self.show(parts[0])} ^+ {abs(parts[1])})"
            return power if parts[1] > 0 else f"{power}^-1"
        left, right = map(self.show, parts)
        if operation in "+-":
            return f"({left} {operation} {right})"
        first, second = (self.is_matrix(part) for part in parts)
        if operation == "/":
            return f"({right}^-1 *: {left})" if first else f"({left} / {right})"
        if parts[0] == -1:
            return f"(- {right})"
        if first and not second:
            return f"({right} *: {left})"
        return f"({left} {'*m' if first else '*:' if second else '*'} {right})"

    def show_call(self, name: str, *parts: Any) -> str:
        """Return a trace, an identity or a matrix of zeros."""
        if name == "tr":
            return f"\\tr {self.show(parts[0])}"
        if name == "id":
            return f"(1%:M : 'M[R]_{self.size(parts[0])})"
        if name == "zero":
            return f"(0 : 'M[R]_({self.size(parts[0])}, {self.size(parts[1])}))"
        raise CoqError("a derivative" if name in ("diff", "grad") else "a bilinear form")

    def word(self, word: Word) -> str:
        """Return a word, from left to right."""
        return " *m ".join(identifier("M_", name) + "^T" * turned for name, turned in word) if word else "1%:M"

    def unknown(self, what: Any, exponent: Any) -> str:
        """Return a power of an unknown."""
        if what[0] == "s":
            base = self.show(what[1])
        elif what[0] == "tr":
            base = f"\\tr ({self.word(what[1])})"
        else:
            base = f"{self.polynomial(self.algebra.quotients[what[1]])}^-1"
        base = base if exponent > 0 else f"{base}^-1"
        return base if abs(exponent) == 1 else f"({base} ^+ {abs(exponent)})"

    def polynomial(self, polynomial: Any) -> str:
        """Return a scalar in normal form."""
        terms = []
        for key, value in polynomial.items():
            factors = [self.unknown(*power) for power in key]
            number = numeral(value.numerator) + (f" / {numeral(value.denominator)}" if value.denominator > 1 else "")
            terms.append(" * ".join([f"({number})"] * (value != 1 or not factors) + factors))
        return f"({' + '.join(terms)})" if terms else "0"

    def matrix(self, shape: Any, polynomial: Any) -> str:
        """Return a matrix in normal form."""
        rows, cols = (self.polynomial_size(dim) for dim in shape)
        parts = [f"{self.polynomial(c)} *: {self.factor(word, rows)}" for word, c in self.by_word(polynomial).items()]
        return f"({' + '.join(parts) or '0'} : 'M[R]_({rows}, {cols}))"

    def factor(self, word: Any, rows: str) -> str:
        """Return a word of a long sum, the identity with its size: Coq tells apart what it finds in two ways."""
        return f"({self.word(word)})" if word else f"(1%:M : 'M[R]_({rows}))"

    def polynomial_size(self, polynomial: Any) -> str:
        """Return a size in normal form as a natural number."""
        terms = []
        for key, value in polynomial.items():
            if value.denominator > 1 or any(u[0] != "s" or u[1] not in self.sizes or e < 1 for u, e in key):
                return "_"
            factors = [identifier("d_", u[1]) for u, e in key for _ in range(int(e))]
            terms.append(" * ".join([str(value.numerator)] * (value != 1 or not factors) + factors))
        return f"({' + '.join(terms)})%N" if len(terms) > 1 or "*" in terms[0] else terms[0]

    def by_word(self, matrix: Any) -> dict[Word, Any]:
        """Return the coefficients of a matrix."""
        found: dict[Word, Any] = {}
        for word, c in verify.words(matrix):
            found[word] = verify.plus(found.get(word, {}), c)
        return found

    # Words as Coq expands them
    def letters(self, tree: Any) -> set[Word]:
        """Return the words of a matrix after expansion, before anything is turned, cut or rewritten."""
        if isinstance(tree, str):
            return {((tree, False),)}
        operation, *parts = tree
        if operation == "T":
            return {self.algebra.flip(word) for word in self.letters(parts[0])}
        if operation == "call":
            return {()} if parts[0] == "id" else set()
        matrices = [part for part in parts if self.is_matrix(part)]
        if operation in "+-":
            return self.letters(parts[0]) | self.letters(parts[1])
        if len(matrices) == 1:
            return self.letters(matrices[0])
        return {v + w for v in self.letters(parts[0]) for w in self.letters(parts[1])}

    def name(self, kind: str) -> str:
        """Return a new name for an equation."""
        return f"{kind}{len(self.steps)}"

    def step(self, kind: str, statement: str, proof: str) -> str:
        """Add an equation with its proof and return its name."""
        name = self.name(kind)
        self.steps.append(f"have {name} : {statement}.\n  {{ {proof} }}")
        return name

    def show_normal(self, traces: Iterable[Word], words: Iterable[Word] = ()) -> None:
        """Show the normal forms of traces and words, which CLOSE and MATRIX find by their looks."""
        for word in sorted(set(traces)):
            self.trace_equation(word)
        for word in sorted(set(words)):
            self.word_equation(word)

    def turned(self, word: Word, other: Word) -> str:
        """Return the proof that a cyclic word and another have the same trace."""
        for v, first in ((word, ""), (self.algebra.flip(word), "flip")):
            for i in range(len(v)):
                if v[i:] + v[:i] == other:
                    parts = f"(A := {self.word(v[:i])}) (B := {self.word(v[i:])})"
                    turn = f"apply: (turn {parts}); rewrite ?mulmxA //" if i else "by []"
                    flip = f"exact: (flip {self.transposed(word)})"
                    return f"transitivity (\\tr ({self.word(v)})); [{flip} | {turn}]" if first else turn
        raise CoqError("words that are not turned into each other")

    def transposed(self, word: Word) -> str:
        """Return the proof that a word, transposed, is the word of its letters transposed from right to left."""
        letters: list[Any] = [("T", name) if turned else name for name, turned in word]
        return f"(one_word {self.built(functools.reduce(lambda v, w: ('*', v, w), letters), True)})"

    def trace_equation(self, word: Word) -> None:
        """Show what the trace of a word is, unless it is itself."""
        if ("tr", word) in self.known or not word:
            return
        self.known["tr", word] = ""
        algebra = self.algebra
        rows = algebra.shapes[word[0][0]][word[0][1]]
        plain = algebra.trace(rows, verify.unknown("word", word))
        reduced = algebra.reduced(plain)
        starts = [i for i, (name, turned) in enumerate(word) if algebra.shapes[name][turned] == verify.ONE]
        if len(starts) > 1:
            proof = self.cut(word, starts)
        else:
            ((((_, cycle), _),),) = plain
            if cycle == word and reduced == plain:
                return
            if cycle == word:
                proof = self.rewritten_trace(word)
            else:
                self.show_normal([cycle])
                proof = f"transitivity (\\tr ({self.word(cycle)})); [{self.turned(word, cycle)} | CLOSE]"
        self.step("T", f"\\tr ({self.word(word)}) = {self.polynomial(reduced)}", proof + ".")

    def cut(self, word: Word, starts: list[int]) -> str:
        """Return the proof that a trace is a product of scalars."""
        turned = word[starts[0] :] + word[: starts[0]]
        ends = [i - starts[0] for i in starts[1:]] + [len(word)]
        parts = [turned[i:j] for i, j in zip([0, *ends[:-1]], ends, strict=True)]
        product = " *m ".join(f"({self.word(part)})" for part in parts)
        start = f"transitivity (\\tr ({self.word(turned)})); [{self.turned(word, turned)} | ]; " if starts[0] else ""
        same = f"transitivity (\\tr ({product})); [by rewrite ?mulmxA | ]; "
        self.show_normal(parts)
        return f"{start}{same}rewrite ?cut_trace; CLOSE"

    def rewritten_trace(self, word: Word) -> str:
        """Return the proof of what an assumption makes of the trace of a cyclic word."""
        if ("tr", word) in self.trace_rules:
            name, inside, right = self.trace_rules["tr", word]
            (literal,) = self.letters(inside)
            by = f"by rewrite {name}" if not self.is_matrix(right) else f"exact: (congr1 (fun Z => \\tr Z) {name})"
            right = ("call", "tr", right) if self.is_matrix(right) else right
            turn = self.turned(word, literal)
            back = f"transitivity (\\tr ({self.word(literal)})); [{turn} | by rewrite ?mulmxA]"
            last = f"transitivity ({self.show(right)} : R); [{by} | {self.closing(right)}]"
            return f"transitivity (\\tr {self.show(inside)}); [{back} | {last}]"
        for (left, _, _), (_, name, right) in zip(self.algebra.rules, self.rules, strict=True):
            for i in range(len(word)):
                turned = word[i:] + word[:i]
                if turned[: len(left)] == left:
                    rest = turned[len(left) :]
                    tail = f" *m {self.word(rest)}" if rest else ""
                    turn = self.turned(word, turned)
                    start = f"transitivity (\\tr ({self.word(turned)})); [{turn} | ]; " if i else ""
                    show = f"transitivity (\\tr (({self.word(left)}){tail})); [by rewrite ?mulmxA | ]; "
                    new = f"transitivity (\\tr ({self.show(right)}{tail})); "
                    new += f"[exact: (congr1 (fun Z => \\tr (Z{tail})) {name}) | ]; "
                    self.show_normal(v + rest for v in self.letters(right))
                    self.multiply_out(right)
                    built = f"refine (etrans (trace_sum {self.followed(self.built(right), rest)}) _); listed"
                    return f"{start}{show}{new}{built}; CLOSE"
        raise CoqError("a trace that no assumption rewrites")

    def word_equation(self, word: Word) -> None:
        """Show what a word is, unless it is itself."""
        if ("word", word) in self.known or not word:
            return
        self.known["word", word] = ""
        algebra = self.algebra
        rows = algebra.shapes[word[0][0]][word[0][1]]
        cols = algebra.shapes[word[-1][0]][not word[-1][1]]
        reduced = algebra.reduced(algebra.word(rows, word))
        if reduced == verify.unknown("word", word):
            return
        bounds = [rows, *(algebra.shapes[name][not turned] for name, turned in word)]
        thin = [i for i, dim in enumerate(bounds) if dim == verify.ONE]
        if len(thin) > 1:
            scalars = [word[i:j] for i, j in pairwise(thin)]
            parts = [part for part in (word[: thin[0]], *scalars, word[thin[-1] :]) if part]
            product = " *m ".join(f"({self.word(part)})" for part in parts)
            kept = word[: thin[0]] + word[thin[-1] :]
            self.show_normal(scalars, [kept])
            last = "" if kept else f"rewrite [{self.word(parts[-1])}]one_by_one; "
            proof = f"transitivity ({product}); [by rewrite ?mulmxA | ]; {last}rewrite ?cut_right ?cut_left; "
            proof += "EXPAND; split_traces; MATRIX"
        else:
            proof = self.rewritten_word(word)
        self.step("W", f"{self.word(word)} = {self.matrix((rows, cols), reduced)}", proof + ".")

    def rewritten_word(self, word: Word) -> str:
        """Return the proof of what an assumption makes of a word."""
        for (left, _, _), (_, name, right) in zip(self.algebra.rules, self.rules, strict=True):
            for i in range(len(word) - len(left) + 1):
                if word[i : i + len(left)] == left:
                    first, last = word[:i], word[i + len(left) :]
                    head = f"{self.word(first)} *m " if first else ""
                    tail = f" *m {self.word(last)}" if last else ""
                    self.show_normal((), {first + v + last for v in self.letters(right)})
                    self.multiply_out(right)
                    built = self.followed(self.built(right, False, self.followed("", first)), last)
                    return (
                        f"transitivity ({head}({self.word(left)}){tail}); [by rewrite ?mulmxA | ]; "
                        f"transitivity ({head}{self.show(right)}{tail}); "
                        f"[exact: (congr1 (fun Z => {head}Z{tail}) {name}) | ]; "
                        f"refine (etrans {built} _); listed; MATRIX"
                    )
        raise CoqError("a word that no assumption rewrites")

    # Statement and proof
    def closing(self, *trees: Any) -> str:
        """Return the proof of an equation between scalars: each of its traces is multiplied out by itself."""
        self.multiply_out(*trees)
        return "CLOSE"

    def multiply_out(self, *trees: Any) -> None:
        """Show what all traces in trees are that are in no other."""
        for tree in trees:
            for whole in self.whole_traces(tree):
                self.whole_trace(whole)

    def whole_traces(self, tree: Any) -> list[Any]:
        """Return the traces in a tree that are in no other."""
        if not isinstance(tree, tuple):
            return []
        if tree[:2] == ("call", "tr"):
            return [tree]
        return [whole for part in tree[1:] for whole in self.whole_traces(part)]

    def whole_trace(self, tree: Any) -> None:
        """Show what a trace is when it is multiplied out."""
        if tree not in self.known:
            inside = tree[2]
            product = isinstance(inside, tuple) and inside[0] == "*" and all(map(self.is_matrix, inside[1:]))
            if product and self.count(inside) > AT_ONCE:
                proof = self.by_rows(*inside[1:])
            else:
                self.multiply_out(inside)
                self.show_normal(self.letters(inside))
                proof = f"refine (etrans (trace_sum {self.built(inside)}) _); listed; CLOSE"
            value = self.polynomial(self.algebra.reduced(self.algebra.scalar(tree)))
            self.known[tree] = self.step("U", f"{self.show(tree)} = {value} :> R", f"{proof}.")

    def count(self, tree: Any) -> int:
        """Return into how many words a matrix is expanded."""
        if isinstance(tree, str) or tree[0] == "call":
            return 1
        matrices = [self.count(part) for part in tree[1:] if self.is_matrix(part)]
        return sum(matrices) if tree[0] in "+-" else math.prod(matrices)

    def by_rows(self, left: Any, right: Any) -> str:
        """Return the proof of what the trace of a long product is: each word on the left meets the right by itself.

        Rewriting goes through the whole goal at each step, so that few long goals cost more than many short ones.
        """
        (shape, first), (inner, second) = map(self.normal_matrix, (left, right))
        by, other = self.matrix_equation(right), self.show(right)
        for word in self.by_word(first):
            start, on_left = self.algebra.word(shape[0], word), self.factor(word, self.polynomial_size(shape[0]))
            value = self.algebra.trace(shape[0], self.algebra.product(shape[0], start, second))
            self.show_normal(word + after for after in self.by_word(second))
            proof = f"transitivity (\\tr ({on_left} *m {self.matrix(inner, second)})); "
            proof += f"[exact: (congr1 (fun Z => \\tr ({on_left} *m Z)) {by}) | ]; "
            before = self.followed("", word) or "(l_one _ _)"
            proof += f"refine (etrans (trace_sum {self.built_normal(second, before)}) _); listed; CLOSE."
            reduced = self.polynomial(self.algebra.reduced(value))
            self.step("V", f"\\tr ({on_left} *m {other}) = {reduced} :> R", proof)
        start = f"transitivity (\\tr ({self.matrix(shape, first)} *m {other})); "
        start += f"[exact: (congr1 (fun Z => \\tr (Z *m {other})) {self.matrix_equation(left)}) | ]; "
        return f"{start}rows; CLOSE"

    def built_normal(self, matrix: Any, before: str) -> str:
        """Return the proof that a matrix in normal form, behind another with its proof, is a sum of words."""
        parts = []
        for word, c in self.by_word(matrix).items():
            inside = before
            for i, letter in enumerate(word):
                inside = self.followed(inside, (letter,))
                inside = f"(m_mul {inside})" if i else inside
            parts.append(f"(m_scale {self.polynomial(c)} {inside if word else f'(m_one {before})'})")
        return functools.reduce(lambda first, second: f"(m_add {first} {second})", parts) if parts else "(m_zero _ _)"

    def built(self, tree: Any, turned: bool = False, before: str = "") -> str:
        """Return the proof that a matrix, turned or not, perhaps behind another with its proof, is a sum of words."""
        kind, turn = "m" if before else "l", "T" * turned
        if isinstance(tree, str):
            if turned and self.check["matrices"][tree][2:]:
                return f"({kind}_same {identifier('Y_', tree)} {self.built(tree, False, before)})"
            return self.followed(before, ((tree, turned),))
        operation, *parts = tree
        if operation == "T":
            inside = self.built(parts[0], not turned, before)
            return f"({kind}_TT {inside})" if turned else inside
        if operation == "call":
            if parts[0] == "id":
                return f"({kind}_one{turn} {before or '_ _'})"
            return f"({kind}_zero{turn} {'_ _' if before else '_ _ _'})"
        if operation in "+-":
            first, second = (self.built(part, turned, before) for part in parts)
            return f"({kind}_{'add' if operation == '+' else 'sub'}{turn} {first} {second})"
        matrices = [part for part in parts if self.is_matrix(part)]
        if len(matrices) == 2:
            first, second = matrices[::-1] if turned else matrices
            whole = self.built(second, turned, self.built(first, turned, before))
            return f"({kind}_mul{turn} {whole})" if before or turned else whole
        (inside,) = (self.built(part, turned, before) for part in matrices)
        (scalar,) = (part for part in parts if not self.is_matrix(part))
        if operation == "*" and parts[0] == -1:
            return f"({kind}_opp{turn} {inside})"
        return f"({kind}_scale{turn} ({self.show(scalar)}{'^-1' * (operation == '/')}) {inside})"

    def followed(self, proof: str, word: Word) -> str:
        """Return the proof that a matrix, if any, followed by a word is a sum of words, from that for the matrix."""
        for name, turned in word:
            letter = f"({identifier('M_', name)}{'^T' * turned})"
            proof = f"({'m' if proof else 'l'}_letter {letter} {proof})"
        return proof

    def normal_matrix(self, tree: Any) -> tuple[Any, Any]:
        """Return the shape of a matrix, and its normal form."""
        shape, value = self.algebra.value(tree)
        return shape, self.algebra.reduced(value)

    def matrix_equation(self, tree: Any) -> str:
        """Show what a matrix is when it is multiplied out, and return the name of the equation."""
        if ("matrix", tree) not in self.known:
            self.multiply_out(tree)
            self.show_normal((), self.letters(tree))
            proof = f"refine (etrans {self.built(tree)} _); listed; MATRIX."
            statement = f"{self.show(tree)} = {self.matrix(*self.normal_matrix(tree))}"
            self.known["matrix", tree] = self.step("X", statement, proof)
        return self.known["matrix", tree]

    def assume(self) -> None:
        """Make the equations of the assumptions hypotheses, and show what they say about single words."""
        for i, (left, right) in enumerate(self.equations):
            name = f"H{i}"
            if left in self.algebra.signs:
                self.steps.append(f"rewrite ?{name}." if left in self.sizes else f"subst {identifier('s_', left)}.")
                continue
            shape, value = self.algebra.value(left)
            if shape is None or shape == (verify.ONE, verify.ONE):
                value = self.algebra.trace(verify.ONE, value) if shape else value
                (((what, _),),) = value
                inside = left if shape else left[2]
                self.trace_rules[what] = (name, inside, right)
                continue
            (word,) = self.letters(left)
            shown, by = self.word(word), self.show(right)
            proof = f"transitivity {self.show(left)}; [by rewrite ?mulmxA | exact: {name}]."
            rule = self.step("R", f"{shown} = {by}", proof)
            flipped = self.algebra.flip(word)
            proof = f"exact: (etrans (esym {self.transposed(word)}) (congr1 (fun Z => Z^T) {rule}))."
            other = self.step("R", f"{self.word(flipped)} = {by}^T", proof)
            self.rules += [(shown, rule, right), (self.word(flipped), other, ("T", right))]

    def nonnegative(self, tree: Any) -> str:
        """Return the proof that a tree is non-negative, by its structure."""
        operation, *parts = tree if isinstance(tree, tuple) else ("",)
        if operation == "^" and parts[1] == 2:
            return "exact: sqr_ge0"
        by = {"*": "mulr_ge0", "+": "addr_ge0", "/": "divr_ge0"}.get(operation)
        if by and tree[1] != -1 and all(map(self.algebra.nonnegative, parts)):
            return f"apply: {by}; [{self.nonnegative(parts[0])} | {self.nonnegative(parts[1])}]"
        reduced = self.algebra.reduced(self.algebra.scalar(tree))
        bottom = []
        for i, divisor in enumerate(self.algebra.quotients):
            top = max((exponent for exponent, _ in verify.split(reduced, ("inv", i))), default=0)
            bottom += [f" / ({self.polynomial(divisor)} ^+ {top})"] if top else []
        plain = self.polynomial(self.algebra.cleared(reduced) if bottom else reduced) + "".join(bottom)
        expanded = f"(have -> : {self.show(tree)} = {plain} :> R by {self.closing(tree)}); nonnegative"
        ways = ["nonnegative", expanded]  # what has a minus sign takes long to fail as it is written
        return f"first [ {' | '.join(reversed(ways) if ' - ' in self.show(tree) else ways)} ]"

    def text(self) -> str:
        """Return the lemma."""
        check, trees = self.check, [verify.read(self.check["lhs"]), verify.read(self.check["rhs"])]
        self.literal = True
        statement = self.statement()
        self.literal = False
        self.assume()
        proof = self.equal(*trees) if check["relation"] == "==" else self.bounded(*trees)
        script = self.finished("\n".join([*self.steps, proof]))
        says = re.sub(r'[*"()\n]', " ", check["says"])
        name = re.sub(r"\W", "_", check["id"].rpartition(".")[2])
        return f"(* {says} *)\nLemma {name} {statement}.\nProof.\n{script}\nQed.\n"

    def statement(self) -> str:
        """Return what the lemma is about, what it assumes and what it concludes."""
        hypotheses = []
        for i, (left, right) in enumerate(self.equations):
            trace = "\\tr " * (self.is_matrix(left) and not self.is_matrix(right))
            kind = "" if self.is_matrix(right) else " :> R"
            hypotheses.append(f"(H{i} : {trace}{self.show(left)} = {self.show(right)}{kind})")
        for i, premise in enumerate(self.check.get("premises", {}).values()):
            hypotheses.append(f"(P{i} : {self.relation(premise)})")
        for i, divisor in enumerate(self.check["nonzero"]):
            hypotheses.append(f"(N{i} : {self.show(verify.read(divisor))} != 0)")
        return "\n  ".join([*self.declarations(), *hypotheses]) + f" :\n  {self.relation(self.check)}"

    def relation(self, parts: Mapping[str, Any]) -> str:
        """Return an equation or inequality."""
        left, right = (verify.read(parts[side]) for side in ("lhs", "rhs"))
        kind = "" if self.is_matrix(left) else " :> R"
        return f"{self.show(left)} {'=' if parts['relation'] == '==' else '<='} {self.show(right)}{kind}"

    def equal(self, left: Any, right: Any) -> str:
        """Return the proof that two sides are equal."""
        if not self.is_matrix(left):
            return f"{self.closing(left, right)}."
        if self.algebra.value(left)[0] == (verify.ONE, verify.ONE):
            return f"apply: by_trace; {self.closing(('call', 'tr', left), ('call', 'tr', right))}."
        built = f"refine (etrans {self.built(left)} _); apply: esym; refine (etrans {self.built(right)} _); apply: esym"
        self.multiply_out(left, right)
        self.show_normal((), self.letters(left) | self.letters(right))
        return f"{built}; listed; MATRIX."

    def bounded(self, left: Any, right: Any) -> str:
        """Return the proof that one side is at most the other: the difference is a sum of non-negative terms."""
        terms, steps = [], []
        if self.check["kind"] == "scalar":
            sign = verify.read(self.check["sign"])
            terms, steps = [sign], [f"have Q0 : 0 <= {self.show(sign)} :> R.\n  {{ {self.nonnegative(sign)}. }}"]
        names = list(self.check.get("premises", {}))
        for i, term in enumerate(self.check.get("proof", [])):
            tree = verify.read(term["coefficient"])
            taken = [f["premise"] for f in term["factors"] if "premise" in f]
            used = [(names.index(name), self.check["premises"][name]) for name in taken]
            factors = [(("-", verify.read(p["rhs"]), verify.read(p["lhs"])), f"exact: gap_ge0 P{k}") for k, p in used]
            for of in [verify.read(f["square"]) for f in term["factors"] if "square" in f]:
                square = ("call", "tr", ("*", ("T", of), of)) if self.is_matrix(of) else ("^", of, 2)
                factors.append((square, "exact: square_ge0" if self.is_matrix(of) else "exact: sqr_ge0"))
            equal = [k for k, p in used if p["relation"] == "=="]
            proof = f"rewrite ?P{equal[0]} subrr ?mulr0 ?mul0r //" if equal else self.nonnegative(tree)
            for factor, by in factors:
                tree = ("*", tree, factor)
                proof = proof if equal else f"apply: mulr_ge0; [{proof} | {by}]"
            shown = self.product(tree)
            terms.append(tree)
            steps.append(f"have Q{i} : 0 <= {shown} :> R.\n  {{ {proof}. }}")
        total: Any = terms[0] if terms else Fraction(0)
        for term in terms[1:]:
            total = ("+", total, term)
        gap = f"{self.show(right)} - {self.show(left)}"
        shown = " + ".join(self.product(term) for term in terms) or "0"
        steps.append(f"have E : {gap} = {shown} :> R.\n  {{ {self.closing(left, right, total)}. }}")
        together = "Q0" if terms else "lexx 0"
        for i in range(1, len(terms)):
            together = f"(addr_ge0 {together} Q{i})"
        return "\n".join([*steps, f"by apply: by_gap; rewrite E; exact: {together}."])

    def product(self, tree: Any) -> str:
        """Return a term of a proof as it is multiplied out."""
        if isinstance(tree, tuple) and tree[0] == "*" and tree[1] == -1:
            return f"(- {self.show(tree[2])})"
        return self.show(tree)

    def declarations(self) -> list[str]:
        """Return the symbols with their signs, shapes and symmetry."""
        check = self.check
        if check["forms"]:
            raise CoqError("a bilinear form")
        if check.get("bounds") or isinstance(check.get("sign"), list):
            raise CoqError("a bound or a case of a function")
        scalars = [name for name in check["scalars"] if name not in self.sizes]
        found = ["(R : realFieldType)"]
        found += [f"({' '.join(identifier('d_', name) for name in sorted(self.sizes))} : nat)"] * bool(self.sizes)
        found += [f"({' '.join(identifier('s_', name) for name in scalars)} : R)"] * bool(scalars)
        for name, shape in check["matrices"].items():
            rows, cols = (self.size(verify.read(dim)) for dim in shape[:2])
            found.append(f"({identifier('M_', name)} : 'M[R]_({rows}, {cols}))")
        found += [f"({identifier('z_', name)} : (0 < {identifier('d_', name)})%N)" for name in sorted(self.sizes)]
        for name in scalars:
            sign = {"positive": "0 <", "nonnegative": "0 <="}.get(check["scalars"][name])
            found += [f"({identifier('z_', name)} : {sign} {identifier('s_', name)})"] if sign else []
        symmetric = [name for name, shape in check["matrices"].items() if shape[2:]]
        return found + [f"({identifier('Y_', n)} : {identifier('M_', n)}^T = {identifier('M_', n)})" for n in symmetric]

    def finished(self, script: str) -> str:
        """Put in the tactics that depend on the symbols and on whether there are quotients."""
        symmetric = [identifier("Y_", name) for name, shape in self.check["matrices"].items() if shape[2:]]
        expand = f"repeat progress (expand_once; rewrite ?({', '.join(symmetric)}))" if symmetric else "expand"
        sizes = "".join(f"rewrite ?H{i}; " for i, (left, _) in enumerate(self.equations) if left in self.sizes)
        kind = "field" if self.field else "ring"
        script = script.replace("EXPAND", expand).replace("MATRIX", f"entries; {sizes}by_{kind}")
        return script.replace("CLOSE", f"values; forget_traces; {sizes}by_{kind}")
