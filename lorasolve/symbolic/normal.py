"""The normal form: polynomials in noncommuting matrix symbols over the ring of traces.

A matrix expression becomes a sum of words (products of symbols and transposed symbols) whose coefficients are
trace polynomials; a trace polynomial is a sum of products of traces of cyclic words, each kept in one
representative of its class under rotation and transposition. A word that passes twice through dimension one
contains a scalar, which is pulled out. For free symbols and symbolic dimensions two expressions are equal in
all dimensions exactly when their normal forms agree; rewrite rules add assumptions such as ``P^T P = I``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import sympy
from sympy.polys.fields import FracField

from lorasolve.symbolic import expression as ex

MAX_REWRITES = 100  # one after the other, of the same word
KEPT = 50_000  # forms and coefficients that are remembered


class Letter(NamedTuple):
    """A matrix symbol inside a word."""

    name: str
    rows: Any
    cols: Any
    symmetric: bool


class Factor(NamedTuple):
    """A letter, or its transpose."""

    letter: Letter
    transposed: bool

    @property
    def rows(self) -> Any:
        """Number of rows."""
        return self.letter.cols if self.transposed else self.letter.rows

    @property
    def cols(self) -> Any:
        """Number of columns."""
        return self.letter.rows if self.transposed else self.letter.cols

    def flipped(self) -> Factor:
        """Return the transpose."""
        return self if self.letter.symmetric else Factor(self.letter, not self.transposed)

    def __str__(self) -> str:
        return self.letter.name + ("^T" if self.transposed else "")


Word: TypeAlias = tuple[Factor, ...]


class TraceAtom(NamedTuple):
    """The trace of a cyclic word."""

    word: Word

    def __str__(self) -> str:
        return f"tr({' '.join(map(str, self.word))})"


class FormAtom(NamedTuple):
    """The value of a symmetric bilinear form at two words."""

    form: str
    rows: Any
    cols: Any
    left: Word
    right: Word

    def __str__(self) -> str:
        return f"{self.form}[{' '.join(map(str, self.left)) or 'I'}, {' '.join(map(str, self.right)) or 'I'}]"


Atom: TypeAlias = TraceAtom | FormAtom
Monomial: TypeAlias = tuple[Atom, ...]


class TracePolynomial:
    """A polynomial in traces with SymPy coefficients."""

    def __init__(self, terms: Mapping[Monomial, Any] | None = None) -> None:
        self.terms: dict[Monomial, Any] = {key: c for key, c in (terms or {}).items() if c != 0}

    @classmethod
    def constant(cls, value: Any) -> TracePolynomial:
        """Return a SymPy expression as a polynomial."""
        return cls({(): sympy.sympify(value)})

    @classmethod
    def atom(cls, atom: Atom) -> TracePolynomial:
        """Return a single trace or form."""
        return cls({(atom,): sympy.Integer(1)})

    def __add__(self, other: TracePolynomial) -> TracePolynomial:
        terms = dict(self.terms)
        for key, c in other.terms.items():
            terms[key] = terms.get(key, sympy.Integer(0)) + c
        return TracePolynomial(terms)

    def __mul__(self, other: TracePolynomial) -> TracePolynomial:
        terms: dict[Monomial, Any] = {}
        for left, c in self.terms.items():
            for right, d in other.terms.items():
                key = tuple(sorted(left + right, key=_written))
                terms[key] = terms.get(key, sympy.Integer(0)) + c * d
        return TracePolynomial(terms)

    def simplified(self) -> TracePolynomial:
        """Return the same polynomial with every coefficient in lowest terms."""
        return TracePolynomial({key: lowest_terms(c) for key, c in self.terms.items()})

    def __str__(self) -> str:
        return " + ".join(_term(c, " ".join(map(str, key))) for key, c in self.terms.items()) or "0"


class MatrixPolynomial:
    """A sum of words with trace-polynomial coefficients."""

    def __init__(self, rows: Any, cols: Any, terms: Mapping[Word, TracePolynomial] | None = None) -> None:
        self.rows, self.cols = rows, cols
        self.terms: dict[Word, TracePolynomial] = {w: c for w, c in (terms or {}).items() if c.terms}

    @classmethod
    def word(cls, rows: Any, cols: Any, word: Word) -> MatrixPolynomial:
        """Return a single word, its one-dimensional parts pulled out as scalars."""
        bounds = [rows, *(factor.cols for factor in word)]
        thin = [position for position, dim in enumerate(bounds) if dim is sympy.S.One]
        coefficient = TracePolynomial.constant(1)
        if len(thin) > 1:
            for start, stop in pairwise(thin):
                coefficient = coefficient * TracePolynomial.atom(TraceAtom(canonical_cycle(word[start:stop])))
            word = word[: thin[0]] + word[thin[-1] :]
        return cls(rows, cols, {word: coefficient})

    def __add__(self, other: MatrixPolynomial) -> MatrixPolynomial:
        terms = dict(self.terms)
        for word, c in other.terms.items():
            terms[word] = terms[word] + c if word in terms else c
        return MatrixPolynomial(self.rows, self.cols, terms)

    def __matmul__(self, other: MatrixPolynomial) -> MatrixPolynomial:
        result = MatrixPolynomial(self.rows, other.cols)
        for left, c in self.terms.items():
            for right, d in other.terms.items():
                result = result + MatrixPolynomial.word(self.rows, other.cols, left + right).scaled(c * d)
        return result

    def scaled(self, factor: TracePolynomial) -> MatrixPolynomial:
        """Return the product with a scalar."""
        return MatrixPolynomial(self.rows, self.cols, {w: c * factor for w, c in self.terms.items()})

    def transposed(self) -> MatrixPolynomial:
        """Return the transpose."""
        return MatrixPolynomial(self.cols, self.rows, {flip(w): c for w, c in self.terms.items()})

    def trace(self) -> TracePolynomial:
        """Return the trace."""
        result = TracePolynomial()
        for word, c in self.terms.items():
            result = result + c * trace_of_word(word, self.rows)
        return result

    def simplified(self) -> MatrixPolynomial:
        """Return the same polynomial with every coefficient in lowest terms."""
        return MatrixPolynomial(self.rows, self.cols, {w: c.simplified() for w, c in self.terms.items()})

    def __str__(self) -> str:
        return " + ".join(f"({c}) {' '.join(map(str, w)) or 'I'}" for w, c in self.terms.items()) or "0"


@lru_cache(KEPT)
def _written(atom: Atom) -> str:
    return str(atom)


Polynomial: TypeAlias = TracePolynomial | MatrixPolynomial


def lowest_terms(coefficient: Any) -> Any:
    """Return a SymPy coefficient in a form that is 0 whenever it vanishes identically."""
    return coefficient if coefficient.is_Rational or coefficient.is_Symbol else _lowest_terms(coefficient)


@lru_cache(KEPT, typed=True)
def _lowest_terms(coefficient: Any) -> Any:
    if coefficient.is_polynomial():
        return sympy.expand(coefficient)
    with suppress(ValueError, ZeroDivisionError):  # it has a root or another function, or divides by what is 0
        # What `cancel` gives, in a fifth of its time.
        symbols = sorted(coefficient.free_symbols, key=sympy.default_sort_key)
        return FracField(symbols, sympy.ZZ).from_expr(coefficient).as_expr()
    reduced = sympy.cancel(sympy.together(coefficient))
    return reduced if reduced.is_rational_function() else sympy.simplify(reduced)


def flip(word: Word) -> Word:
    """Return the transposed word."""
    return tuple(factor.flipped() for factor in reversed(word))


def canonical_cycle(word: Word) -> Word:
    """Return the representative of a cyclic word under rotation and transposition."""
    rotations = [w[i:] + w[:i] for w in (word, flip(word)) for i in range(len(word))]
    return min(rotations, key=lambda w: tuple((f.letter.name, f.transposed) for f in w))


def trace_of_word(word: Word, dim: Any) -> TracePolynomial:
    """Return the trace of a word as a product of traces, split where it passes through dimension one."""
    if not word:
        return TracePolynomial.constant(dim)
    for i, factor in enumerate(word):
        if factor.rows is sympy.S.One:
            return MatrixPolynomial.word(sympy.Integer(1), sympy.Integer(1), word[i:] + word[:i]).terms[()]
    return TracePolynomial.atom(TraceAtom(canonical_cycle(word)))


class EndlessRules(RuntimeError):
    """Rewrite rules were applied one after the other and always one more applied."""


class Rule(NamedTuple):
    """Replace a word by a matrix polynomial."""

    word: Word
    by: MatrixPolynomial


class Rules:
    """Rewrite rules: assumptions of a theorem, read from left to right.

    A matrix rule also holds transposed. Scalar symbols are substituted in the coefficients.
    """

    def __init__(self, equations: Iterable[tuple[Any, Any]] = ()) -> None:
        self.matrix_rules: list[Rule] = []
        self.trace_rules: dict[Word, TracePolynomial] = {}
        self.scalar_rules: dict[Any, Any] = {}
        self._words: dict[tuple[Word, Any, Any], MatrixPolynomial] = {}
        self._atoms: dict[Atom, TracePolynomial] = {}
        for left, right in equations:
            self._add(left, right)

    def _add(self, left: Any, right: Any) -> None:
        if isinstance(left, sympy.Symbol):
            self.scalar_rules[left] = sympy.sympify(right)
            return
        pattern = raw_normal_form(ex.as_expr(left))
        if isinstance(pattern, MatrixPolynomial) and (pattern.rows, pattern.cols) == (1, 1):
            pattern, right = pattern.trace(), ex.tr(right) if isinstance(right, ex.MatrixExpr) else right
        if len(pattern.terms) != 1:
            raise _no_rule(pattern)
        if isinstance(pattern, TracePolynomial):
            ((atoms, coefficient),) = pattern.terms.items()
            if coefficient != 1 or len(atoms) != 1 or not isinstance(atoms[0], TraceAtom):
                raise _no_rule(pattern)
            self.trace_rules[atoms[0].word] = _as_trace(raw_normal_form(ex.scalar(right)))
            return
        ((word, factor),) = pattern.terms.items()
        if str(factor) != "1" or not word:
            raise _no_rule(pattern)
        by = _as_matrix(raw_normal_form(right))
        self.matrix_rules.append(Rule(word, by))
        if flip(word) != word:
            self.matrix_rules.append(Rule(flip(word), by.transposed()))

    def apply(self, polynomial: Any) -> Any:
        """Rewrite until no rule applies."""
        return self._substituted(self._rewritten(polynomial, 0)).simplified()

    def _rewritten(self, polynomial: Any, depth: int) -> Any:
        if not (self.matrix_rules or self.trace_rules):
            return polynomial
        if depth > MAX_REWRITES:
            raise EndlessRules(f"the rules did not come to an end within {MAX_REWRITES} rewrites")
        if isinstance(polynomial, MatrixPolynomial):
            result = MatrixPolynomial(polynomial.rows, polynomial.cols)
            for word, coefficient in polynomial.terms.items():
                new = self._of_word(word, polynomial.rows, polynomial.cols, depth)
                result = result + new.scaled(self._rewritten(coefficient, depth))
            return result
        total = TracePolynomial()
        for monomial, coefficient in polynomial.terms.items():
            product = TracePolynomial.constant(coefficient)
            for atom in monomial:
                product = product * self._of_atom(atom, depth)
            total = total + product
        return total

    def _of_word(self, word: Word, rows: Any, cols: Any, depth: int) -> MatrixPolynomial:
        """Return what the rules make of a word in the end."""
        key = word, rows, cols
        if key not in self._words:
            new = self._rewrite_word(word, rows, cols)
            whole = MatrixPolynomial.word(rows, cols, word)
            self._words[key] = whole if new is None else self._rewritten(new, depth + 1)
        return self._words[key]

    def _of_atom(self, atom: Atom, depth: int) -> TracePolynomial:
        """Return what the rules make of a trace or the value of a form in the end."""
        if atom not in self._atoms:
            new = self._rewrite_atom(atom)
            self._atoms[atom] = TracePolynomial.atom(atom) if new is None else self._rewritten(new, depth + 1)
        return self._atoms[atom]

    def _rewrite_atom(self, atom: Atom) -> TracePolynomial | None:
        if isinstance(atom, FormAtom):
            left = self._rewrite_word(atom.left, atom.rows, atom.cols)
            right = self._rewrite_word(atom.right, atom.rows, atom.cols)
            if left is None and right is None:
                return None
            whole = MatrixPolynomial.word
            return form_value(
                atom.form,
                whole(atom.rows, atom.cols, atom.left) if left is None else left,
                whole(atom.rows, atom.cols, atom.right) if right is None else right,
            )
        if atom.word in self.trace_rules:
            return self.trace_rules[atom.word]
        for rule in self.matrix_rules:
            size = len(rule.word)
            for i in range(len(atom.word)):
                turned = atom.word[i:] + atom.word[:i]
                if turned[:size] == rule.word:
                    rest = MatrixPolynomial.word(rule.by.cols, rule.by.rows, turned[size:])
                    return (rule.by @ rest).trace()
        return None

    def _rewrite_word(self, word: Word, rows: Any, cols: Any) -> MatrixPolynomial | None:
        for rule in self.matrix_rules:
            size = len(rule.word)
            for i in range(len(word) - size + 1):
                if word[i : i + size] == rule.word:
                    before = MatrixPolynomial.word(rows, rule.by.rows, word[:i])
                    after = MatrixPolynomial.word(rule.by.cols, cols, word[i + size :])
                    return before @ rule.by @ after
        return None

    def _substituted(self, polynomial: Any) -> Any:
        if not self.scalar_rules:
            return polynomial
        if isinstance(polynomial, MatrixPolynomial):
            terms = {word: self._substituted(c) for word, c in polynomial.terms.items()}
            return MatrixPolynomial(polynomial.rows, polynomial.cols, terms)
        replaced = {}
        for monomial, coefficient in polynomial.terms.items():
            for symbol, value in self.scalar_rules.items():
                coefficient = coefficient.subs(symbol, value)
            replaced[monomial] = coefficient
        return TracePolynomial(replaced)


def _no_rule(pattern: Polynomial) -> ValueError:
    wanted = "a scalar symbol, a single trace or a product of matrix symbols"
    return ValueError(f"the left side of an assumption must be {wanted}, got {pattern}")


@lru_cache(KEPT)
def rules_of(equations: tuple[tuple[Any, Any], ...]) -> Rules:
    """Return the rules that equations say; the same equations give the same object, which remembers what it did."""
    return Rules(equations)


def form_value(name: str, left: MatrixPolynomial, right: MatrixPolynomial) -> TracePolynomial:
    """Return a symmetric bilinear form expanded over the words of its arguments."""
    result = TracePolynomial()
    for v, c in left.terms.items():
        for w, d in right.terms.items():
            first, second = sorted((v, w), key=lambda word: tuple(map(str, word)))
            atom = FormAtom(name, left.rows, left.cols, first, second)
            result = result + c * d * TracePolynomial.atom(atom)
    return result


def normal_form(expr: ex.Expr, rules: Rules | None = None) -> Polynomial:
    """Return the normal form of an expression under rewrite rules."""
    polynomial = raw_normal_form(expr)
    return (rules or Rules()).apply(polynomial)


def is_zero(polynomial: Polynomial) -> bool:
    """Whether a simplified normal form is empty."""
    return not polynomial.terms


def raw_normal_form(expr: ex.Expr) -> Polynomial:
    """Return the normal form before any rule is applied."""
    if isinstance(expr, ex.MatrixExpr):
        return _matrix_form(expr)
    if isinstance(expr, ex.ScalarExpr):
        return _scalar_form(expr)
    raise TypeError(f"expected a matrix or scalar expression, got {type(expr).__name__}")


@lru_cache(KEPT)
def _matrix_form(expr: ex.MatrixExpr) -> MatrixPolynomial:
    match expr:
        case ex.Symbol():
            letter = Letter(expr.name, expr.rows, expr.cols, expr.symmetric)
            return MatrixPolynomial.word(expr.rows, expr.cols, (Factor(letter, False),))
        case ex.IdentityMatrix():
            return MatrixPolynomial.word(expr.rows, expr.cols, ())
        case ex.Zero():
            return MatrixPolynomial(expr.rows, expr.cols)
        case ex.Sum():
            return _as_matrix(raw_normal_form(expr.children[0])) + _as_matrix(raw_normal_form(expr.children[1]))
        case ex.Product():
            return _matrix_form(expr.children[0]) @ _matrix_form(expr.children[1])
        case ex.Transpose():
            return _matrix_form(expr.children[0]).transposed()
        case ex.Scaled():
            return _matrix_form(expr.children[1]).scaled(_scalar_form(expr.children[0]))
        case ex.Gradient():
            return _gradient(_scalar_form(expr.children[0]), expr.symbol)
        case ex.MatrixDerivative():
            polynomial = _matrix_form(expr.children[0])
            for _ in range(expr.order):
                polynomial = _derivative_matrix(polynomial, _directions(expr.along, expr.order))
            return polynomial
    raise TypeError(f"no normal form for {type(expr).__name__}")


@lru_cache(KEPT)
def _scalar_form(expr: ex.ScalarExpr) -> TracePolynomial:
    match expr:
        case ex.Constant():
            return TracePolynomial.constant(expr.value)
        case ex.ScalarTrace():
            return _matrix_form(expr.children[0]).trace()
        case ex.ScalarSum():
            return _as_trace(raw_normal_form(expr.children[0])) + _as_trace(raw_normal_form(expr.children[1]))
        case ex.ScalarProduct():
            return _scalar_form(expr.children[0]) * _scalar_form(expr.children[1])
        case ex.FormValue():
            return form_value(expr.form.name, _matrix_form(expr.children[0]), _matrix_form(expr.children[1]))
        case ex.ScalarDerivative():
            polynomial = _scalar_form(expr.children[0])
            for _ in range(expr.order):
                polynomial = _derivative_trace(polynomial, _directions(expr.along, expr.order))
            return polynomial
    raise TypeError(f"no normal form for {type(expr).__name__}")


def _directions(along: Mapping[ex.Symbol, ex.MatrixExpr], order: int) -> dict[str, MatrixPolynomial]:
    moving = {symbol.name for symbol in along}
    inside = {node.name for by in along.values() for node in by.walk() if isinstance(node, ex.Symbol)}
    if order > 1 and moving & inside:
        raise ValueError(f"a derivative of order {order} along what contains {', '.join(moving & inside)}, which moves")
    return {symbol.name: _matrix_form(direction) for symbol, direction in along.items()}


def _moved(factor: Factor, along: Mapping[str, MatrixPolynomial]) -> MatrixPolynomial:
    direction = along[factor.letter.name]
    return direction.transposed() if factor.transposed else direction


def _derivative_word(word: Word, rows: Any, cols: Any, along: Mapping[str, MatrixPolynomial]) -> MatrixPolynomial:
    result = MatrixPolynomial(rows, cols)
    for i, factor in enumerate(word):
        if factor.letter.name in along:
            before = MatrixPolynomial.word(rows, factor.rows, word[:i])
            after = MatrixPolynomial.word(factor.cols, cols, word[i + 1 :])
            result = result + before @ _moved(factor, along) @ after
    return result


def _derivative_matrix(polynomial: MatrixPolynomial, along: Mapping[str, MatrixPolynomial]) -> MatrixPolynomial:
    result = MatrixPolynomial(polynomial.rows, polynomial.cols)
    for word, coefficient in polynomial.terms.items():
        whole = MatrixPolynomial.word(polynomial.rows, polynomial.cols, word)
        result = result + whole.scaled(_derivative_trace(coefficient, along))
        result = result + _derivative_word(word, polynomial.rows, polynomial.cols, along).scaled(coefficient)
    return result


def _derivative_trace(polynomial: TracePolynomial, along: Mapping[str, MatrixPolynomial]) -> TracePolynomial:
    result = TracePolynomial()
    for monomial, coefficient in polynomial.terms.items():
        for i, atom in enumerate(monomial):
            rest = TracePolynomial({monomial[:i] + monomial[i + 1 :]: coefficient})
            result = result + rest * _derivative_atom(atom, along)
    return result


def _derivative_atom(atom: Atom, along: Mapping[str, MatrixPolynomial]) -> TracePolynomial:
    if isinstance(atom, TraceAtom):
        dim = atom.word[0].rows
        return _derivative_word(atom.word, dim, dim, along).trace()
    left = MatrixPolynomial.word(atom.rows, atom.cols, atom.left)
    right = MatrixPolynomial.word(atom.rows, atom.cols, atom.right)
    moved_left = _derivative_word(atom.left, atom.rows, atom.cols, along)
    moved_right = _derivative_word(atom.right, atom.rows, atom.cols, along)
    return form_value(atom.form, moved_left, right) + form_value(atom.form, left, moved_right)


def _gradient(polynomial: TracePolynomial, symbol: ex.Symbol) -> MatrixPolynomial:
    result = MatrixPolynomial(symbol.rows, symbol.cols)
    for monomial, coefficient in polynomial.terms.items():
        for i, atom in enumerate(monomial):
            rest = TracePolynomial({monomial[:i] + monomial[i + 1 :]: coefficient})
            result = result + _gradient_atom(atom, symbol).scaled(rest)
    return result


def _gradient_atom(atom: Atom, symbol: ex.Symbol) -> MatrixPolynomial:
    if isinstance(atom, FormAtom):
        raise NotImplementedError(f"the gradient of the abstract form {atom.form} has no word; use derivative()")
    result = MatrixPolynomial(symbol.rows, symbol.cols)
    for i, factor in enumerate(atom.word):
        if factor.letter.name == symbol.name:
            rest = MatrixPolynomial.word(factor.cols, factor.rows, atom.word[i + 1 :] + atom.word[:i])
            result = result + (rest if factor.transposed else rest.transposed())
    return result


def _as_matrix(polynomial: Polynomial) -> MatrixPolynomial:
    assert isinstance(polynomial, MatrixPolynomial)
    return polynomial


def _as_trace(polynomial: Polynomial) -> TracePolynomial:
    assert isinstance(polynomial, TracePolynomial)
    return polynomial


def _term(coefficient: Any, monomial: str) -> str:
    if not monomial:
        return str(coefficient)
    return monomial if coefficient == 1 else f"({coefficient}) {monomial}"
