"""Reads the statement of a lemma of Coq back and compares it with the exported check: what was proved is what is meant.

It knows only the few forms in which ``_coq.py`` prints, shares nothing with it, and compares values: a side as it is
written in the lemma minus the side as it is written in ``proofs.json`` has to vanish, before any assumption is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from proofs import verify

TOKEN = re.compile(r"1%:M : 'M\[R\]_|0 : 'M\[R\]_|'M\[R\]_|\d+%:R|\\tr|\*m|\*:|\^\+|\^-1|\^T|%:R|%N|!=|<=|:>|[\w]+|\S")
SIGNS = {"0 <": "positive", "0 <=": "nonnegative"}


class Statement:
    """A statement as it is read: symbols, hypotheses and conclusion."""

    def __init__(self, text: str) -> None:
        self.scalars: dict[str, str] = {}
        self.matrices: dict[str, list[str]] = {}
        self.hypotheses: dict[str, tuple[Any, str, Any]] = {}
        binders, conclusion = text.rsplit(" :\n", 1)
        for binder in _groups(binders):
            names, _, kind = binder.partition(" : ")
            self._bind(names.split(), kind)
        self.conclusion = relation(conclusion.strip().rstrip("."))

    def _bind(self, names: list[str], kind: str) -> None:
        if kind in ("realFieldType", "nat", "R"):
            self.scalars |= {_plain(name): {"nat": "dimension", "R": "real"}[kind] for name in names if name != "R"}
        elif kind.startswith("'M[R]_("):
            self.matrices |= {_plain(name): [_size(part) for part in kind[7:-1].split(", ")] for name in names}
        elif names[0][:2] == "z_":
            positive = re.fullmatch(rf"0 (<=?) s_{re.escape(names[0][2:])}", kind)
            if positive:
                self.scalars[_plain(names[0])] = SIGNS[f"0 {positive[1]}"]
            elif kind != f"(0 < d_{names[0][2:]})%N":
                raise ValueError(f"a sign {kind!r}")
        elif names[0][:2] == "Y_":
            name = names[0][2:]
            if kind != f"M_{name}^T = M_{name}":
                raise ValueError(f"a symmetry {kind!r}")
            self.matrices[_plain(names[0])].append("symmetric")
        else:
            self.hypotheses[names[0]] = relation(kind)


def differences(text: str, check: Mapping[str, Any]) -> list[str]:
    """Return where the statement of a lemma differs from a check; `check` has no roots left."""
    read, found = Statement(text), []
    if read.scalars != check["scalars"]:
        found.append(f"signs {read.scalars}")
    if read.matrices != check["matrices"]:
        found.append(f"matrices {read.matrices}")
    plain = verify.Algebra({**check, "assumptions": []})
    wanted = [(f"H{i}", left, "=", right) for i, (left, right) in enumerate(_equations(check))]
    premises = list(check.get("premises", {}).values())
    wanted += [(f"P{i}", p["lhs"], _sign(p["relation"]), p["rhs"]) for i, p in enumerate(premises)]
    wanted += [(f"N{i}", divisor, "!=", "0") for i, divisor in enumerate(check["nonzero"])]
    if read.hypotheses.keys() != {name for name, *_ in wanted}:
        found.append(f"hypotheses {', '.join(read.hypotheses)}")
    pairs = [(name, read.hypotheses.get(name), rest) for name, *rest in wanted]
    pairs.append(("conclusion", read.conclusion, [check["lhs"], _sign(check["relation"]), check["rhs"]]))
    for name, shown, (left, sign, right) in pairs:
        agrees = shown is not None and shown[1] == sign
        if shown is None or not agrees or not (_same(plain, shown[0], left) and _same(plain, shown[2], right)):
            found.append(f"{name}: {left} {sign} {right}")
    return found


def _equations(check: Mapping[str, Any]) -> list[list[str]]:
    return [pair for assumption in check["assumptions"] for pair in assumption["equations"]]


def _sign(relation: str) -> str:
    return "=" if relation == "==" else relation


def _same(algebra: Any, shown: Any, written: str) -> bool:
    shape: Any
    shape, value = algebra.value(verify.read(written))
    other, read = algebra.value(shown)
    if shape and other is None:  # a 1 x 1 matrix that equals a scalar is printed as its trace
        shape, value = other, algebra.trace(shape[0], value)
    return shape == other and not algebra.cleared(verify.plus(value, read, -1))


def _plain(name: str) -> str:
    kept = name[2:]
    return f"|{kept[4:]}|" if kept.startswith("abs_") else kept


def _size(text: str) -> str:
    return re.sub(r"\bd_", "", text.removesuffix("%N").strip("()"))


def _groups(text: str) -> list[str]:
    """Split ``(a) (b : (c))`` at the outer brackets."""
    found, depth, start = [], 0, 0
    for i, sign in enumerate(text):
        if sign == "(":
            start, depth = (i + 1, 1) if depth == 0 else (start, depth + 1)
        elif sign == ")":
            depth -= 1
            if depth == 0:
                found.append(text[start:i])
    return found


def relation(text: str) -> tuple[Any, str, Any]:
    """Read an equation or inequality."""
    reader = _Reader(TOKEN.findall(text))
    left = reader.chain()
    sign = reader.next()
    right = reader.chain()
    if reader.left and reader.left != [":>", "R"]:
        raise ValueError(f"cannot read {text!r} at {reader.left}")
    return left, sign, right


class _Reader:
    """Turns tokens into the trees of ``verify.py``."""

    def __init__(self, left: list[str]) -> None:
        self.left = left

    def next(self, *wanted: str) -> str:
        token = self.left.pop(0)
        if wanted and token not in wanted:
            raise ValueError(f"expected {wanted[0]!r}, found {token!r}")
        return token

    def chain(self) -> Any:
        tree = self.unary()
        while self.left and self.left[0] in ("+", "-", "*", "/", "*m", "*:"):
            sign = self.next()
            tree = ({"*m": "*", "*:": "*"}.get(sign, sign), tree, self.unary())
        return tree

    def unary(self) -> Any:
        if self.left[0] == "-":
            self.next()
            return ("*", Fraction(-1), self.unary())
        if self.left[0] == "\\tr":
            self.next()
            return ("call", "tr", self.unary())
        tree = self.atom()
        while self.left and self.left[0] in ("^T", "^-1", "^+", "%:R", "%N"):
            sign = self.next()
            if sign == "^T":
                tree = ("T", tree)
            elif sign == "^-1":
                tree = ("^", tree, -1)
            elif sign == "^+":
                tree = ("^", tree, int(self.next()))
        return tree

    def atom(self) -> Any:
        token = self.next()
        if token == "(" and self.left[0].startswith(("1%:M", "0 :")):
            return self.constant()
        if token == "(":
            tree = self.chain()
            self.next(")")
            return tree
        number = re.fullmatch(r"(\d+)(%:R)?", token)
        return Fraction(number[1]) if number else _plain(token)

    def constant(self) -> Any:
        name = "id" if self.next().startswith("1") else "zero"
        if self.left[0] != "(":
            sizes = [self.atom()]
        else:
            self.next("(")
            sizes = [self.chain()]
            while self.left[0] == ",":
                self.next(",")
                sizes.append(self.chain())
            self.next(")")
            if self.left[0] == "%N":
                self.next()
        self.next(")")
        return ("call", name, *sizes)
