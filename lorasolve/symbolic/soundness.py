"""What a statement may be written with: real symbols, exact numbers, defined quotients, one name for one thing.

The normal form calculates with symbols as with real numbers, and the examples are drawn as the symbols declare. What
would make one of the two untrue is found here, as a sentence that says what it is, or None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import combinations
from typing import Any

import sympy

from lorasolve.symbolic import expression as ex
from lorasolve.symbolic.normal import is_zero, normal_form
from lorasolve.symbolic.positivity import from_one, provably_nonnegative

# What texts of expressions can be told apart by, in words and formulas too; what begins with a digit is a number there.
NAME = re.compile(r"(?!\d)[\w'.:\[\]]+|\|(?!\d)\w+\|", re.ASCII)
SIGNS = frozenset({"real", "positive", "nonnegative", "nonzero", "integer"})
# What a SymPy expression may be made of. Sums and products with a symbol for an end are not: where nothing is left to
# add, SymPy takes terms away, which no example shows.
ACCEPTED = (
    *(sympy.Symbol, sympy.Number, sympy.NumberSymbol, sympy.Add, sympy.Mul, sympy.Pow, sympy.Tuple),
    *(sympy.exp, sympy.log, sympy.cos, sympy.sin, sympy.Abs, sympy.Min, sympy.Max),
    *(sympy.Derivative, sympy.Integral, sympy.Subs),
)
# What a symbol may not be called: texts tell a function from it by nothing else.
FUNCTIONS = frozenset({"tr", "id", "zero", "grad", "diff", "sqrt"}) | {f.__name__ for f in ACCEPTED}
# Numbers with names, which a symbol may bear too.
CONSTANTS = sympy.NumberSymbol
INFINITE = (sympy.nan, sympy.zoo, sympy.oo, -sympy.oo)


def values_in(exprs: Iterable[ex.Expr]) -> Iterator[Any]:
    """Yield the SymPy expressions that occur, dimensions included."""
    for expr in exprs:
        for node in expr.walk():
            if isinstance(node, ex.Constant):
                yield node.value
            elif isinstance(node, ex.MatrixExpr):
                yield sympy.sympify(node.rows)
                yield sympy.sympify(node.cols)


def fault_of_symbols(exprs: Iterable[ex.Expr]) -> str | None:
    """Refuse symbols that are not real, that declare what no example is drawn for, or that share a printed name.

    A size that need not be a positive integer is refused too: an identity matrix of m - n rows would show n <= m.
    """
    exprs = list(exprs)
    values = set(values_in(exprs))
    numbers = {symbol for value in values for symbol in value.free_symbols}
    owners: dict[str, Any] = {str(constant): constant for value in values for constant in value.atoms(CONSTANTS)}
    for symbol, name in [*_named(exprs), *((symbol, str(symbol)) for symbol in numbers)]:
        if not NAME.fullmatch(name):
            return (
                f"the symbol {name!r} is not called by a name: letters of ASCII, digits and _ ' . : [ ], "
                "no digit at the front, or one in bars as |a|"
            )
        if name in FUNCTIONS:
            return f"the symbol {name} is called like a function"
        if owners.setdefault(name, symbol) != symbol:
            return f"two different symbols are printed {name}"
    for symbol in numbers:
        declared = {key for key, value in symbol._assumptions_orig.items() if value} - {"commutative"}
        if symbol.is_real is not True:
            return f"symbol {symbol} is not declared real"
        if declared - SIGNS or any(value is False for value in symbol._assumptions_orig.values()):
            return f"symbol {symbol} declares {symbol._assumptions_orig}; accepted: {', '.join(sorted(SIGNS))}"
    odd = sorted(str(size) for size in _sizes(exprs) if not (size.is_integer and size.is_positive))
    return f"the size {odd[0]} is not shown to be a positive integer" if odd else None


def _sizes(exprs: Iterable[ex.Expr]) -> set[Any]:
    """Return the numbers of rows and columns that occur in expressions."""
    found = set()
    for node in (node for expr in exprs for node in expr.walk()):
        sized = node.form if isinstance(node, ex.FormValue) else node
        if isinstance(sized, ex.MatrixExpr | ex.Form):
            found |= {sized.rows, sized.cols}
    return {sympy.sympify(size) for size in found}


def _named(exprs: Iterable[ex.Expr]) -> Iterator[tuple[Any, str]]:
    """Yield what makes one matrix or form another, with its name."""
    for expr in exprs:
        for node in expr.walk():
            if isinstance(node, ex.Symbol):
                yield ("matrix", node.rows, node.cols, node.symmetric), node.name
            elif isinstance(node, ex.FormValue):
                yield ("form", node.form.rows, node.form.cols), node.form.name


def fault_of_value(value: Any) -> str | None:
    """Refuse a SymPy expression that is not exact or not real."""
    return _fault_over(value, frozenset(value.atoms(sympy.Symbol)))


@cache
def _fault_over(value: Any, symbols: frozenset[Any]) -> str | None:
    """Do so once for each choice of symbols: two of SymPy's Subs are equal whatever is declared of what they put."""
    if value.has(sympy.Float):
        return f"{value} contains a floating point number"
    if value.has(*INFINITE):
        return f"{value} is not a number"
    # From the inside: the sign of what is around it is looked for at numbers; SymPy compares none that are not real.
    for node in sympy.postorder_traversal(value):
        if node is sympy.I or node.is_imaginary:
            return f"{value} is not real"
        if node.is_Pow and not node.exp.is_integer and not provably_nonnegative(node.base):
            return f"{node} need not be real: {node.base} is not provably non-negative"
        if isinstance(node, sympy.log) and not node.args[0].is_positive:
            return f"{node} need not be real: {node.args[0]} is not provably positive"
        if isinstance(node, sympy.Subs) and len(node.variables) > 1 and node.point.free_symbols & {*node.variables}:
            return f"{node} does not say which is put first"
        bound = node.bound_symbols if isinstance(node, sympy.Integral | sympy.Subs) else ()
        signed = [symbol for symbol in bound if symbol.is_nonnegative or symbol.is_nonzero or symbol.is_integer]
        if signed:
            return f"{node} runs over values of {signed[0]} that need not be as that declares"
        whole = [symbol for symbol in node.variables if symbol.is_integer] if isinstance(node, sympy.Derivative) else []
        if whole:
            return f"{node} is one along the whole number {whole[0]}, between whose values nothing is declared"
        poles = denominators(node.function) if isinstance(node, sympy.Integral) else []
        if poles:
            return f"{node} may run over a pole: {poles[0]} is not provably other than zero"
        kinks = _kinks(node) if isinstance(node, sympy.Integral | sympy.Derivative) else []
        if kinks:
            return f"{node} may run over a kink: {kinks[0]} is not provably other than zero"
        if not isinstance(node, ACCEPTED):
            return f"{node} is nothing that is known to be real and exact here"
        if isinstance(node, sympy.Integral) and any(len(limit) != 3 for limit in node.limits):
            return f"{node} has no ends, so that a constant is left open"
    return None


def _kinks(motion: Any) -> list[Any]:
    """Return what may vanish where an integral or a derivative runs, so that its function has no derivative there.

    SymPy differentiates ``|x|`` at 0 to 0, and integrates ``|cos x|`` from -1 to 1 to 0. What moves may be put in the
    place of another symbol inside.
    """
    moving = set(motion.variables).union(*(node.bound_symbols for node in motion.args[0].atoms(sympy.Subs)))
    parts = (node for node in sympy.preorder_traversal(motion.args[0]) if node.free_symbols & moving)
    found: list[Any] = []
    for node in parts:
        if isinstance(node, sympy.Min | sympy.Max):
            found += [left - right for left, right in combinations(node.args, 2)]
        elif isinstance(node, sympy.Abs) or (node.is_Pow and not node.exp.is_integer):
            found.append(node.args[0])
    return [value for value in found if value.free_symbols & moving and not _never_zero(value)]


def denominators(value: Any) -> list[Any]:
    """Return what a SymPy expression divides by and cannot be shown to be other than zero."""
    powers = (node for node in sympy.preorder_traversal(value) if node.is_Pow)
    return [node.base for node in powers if not (node.exp.is_nonnegative or _never_zero(node.base))]


def fault_of_quotients(value: Any) -> str | None:
    """Refuse a SymPy expression with a denominator that may vanish."""
    poles = denominators(value)
    return f"{value} may have a pole: {poles[0]} is not provably other than zero" if poles else None


def fault_of_named_sign(left: Any, right: Any) -> str | None:
    """Refuse ``trace = symbol`` where the symbol declares a sign that the trace need not have.

    A product of one entry, such as ``u^T v``, is named as its trace; what is but a symbol is defined.
    """
    if isinstance(left, ex.MatrixExpr) and not isinstance(left, ex.Symbol) and (left.rows, left.cols) == (1, 1):
        left, right = ex.tr(left), ex.tr(right) if isinstance(right, ex.MatrixExpr) else right
    if not isinstance(left, ex.ScalarExpr):
        return None
    terms = normal_form(ex.scalar(right)).terms
    value = terms.get((), sympy.Integer(0)) if set(terms) <= {()} else None
    if not isinstance(value, sympy.Basic) or all(symbol.is_integer for symbol in value.free_symbols):
        return None
    if not (provably_nonnegative(value) or provably_nonnegative(-value)):
        return None
    if provably_nonnegative(value) and is_square(left):
        return None
    return f"the sign that {value} declares is a hypothesis about what it names: declare it real and state that"


def fault_of_motion(
    exprs: Iterable[ex.Expr], equations: Iterable[tuple[Any, Any]], groups: Iterable[Iterable[Any]] = ()
) -> str | None:
    """Refuse a derivative of what the assumptions tie to a symbol that moves, because it would be held fixed.

    Equations tie, and so do `groups` of what is otherwise related: none of a group moves alone.

    The gradient of ``||A||^2`` in ``T`` where ``A = P T`` is one. An integral of ``x y`` over ``x`` where ``y = x``
    means a fixed ``y``, which SymPy would take for the variable as soon as it is put there.
    """
    exprs = list(exprs)
    motions = [motion for expr in exprs for motion in _motions(expr)]
    if not motions:
        return None
    ties = [_tie(ex.as_expr(left), ex.as_expr(right)) for left, right in equations]
    ties += [(names, names) for group in groups for names in [set().union(*(_names(ex.as_expr(e)) for e in group))]]
    # A size stays what it is, whatever moves.
    sizes = {str(symbol) for size in _sizes(exprs) for symbol in size.free_symbols}
    ties = [(before - sizes, after - sizes) for before, after in ties]
    for moving, names in motions:
        held = sorted(names & _tied(moving, ties) - moving)
        if held:
            return (
                f"a derivative or an integral along {', '.join(sorted(moving))} would hold {', '.join(held)} fixed, "
                "which the assumptions tie to it: write out what it stands for"
            )
    return None


def fault_of_directions(exprs: Iterable[ex.Expr]) -> str | None:
    """Refuse that a symmetric symbol moves along what is not: ``H^T``, which is read as ``H``, would move as that."""
    for node in (node for expr in exprs for node in expr.walk()):
        for symbol, by in node.along.items() if isinstance(node, ex.MatrixDerivative | ex.ScalarDerivative) else ():
            if symbol.symmetric and not is_zero(normal_form(by - by.T)):
                return f"{symbol.name} is symmetric, and a derivative moves it along what is not shown to be"
    return None


def _motions(expr: ex.Expr) -> Iterator[tuple[set[str], set[str]]]:
    """Yield for each derivative and integral in an expression the names of what moves, and those in its argument."""
    for node in expr.walk():
        if isinstance(node, ex.Gradient):
            yield {node.symbol.name}, _names(node.children[0])
        elif isinstance(node, ex.MatrixDerivative | ex.ScalarDerivative):
            yield {symbol.name for symbol in node.along}, _names(node.children[0])
        elif isinstance(node, ex.Constant):
            for part in node.value.atoms(sympy.Derivative, sympy.Integral, sympy.Subs):
                yield {str(symbol) for symbol in part.variables}, _names(ex.as_expr(part.args[0]))


def _tie(left: ex.Expr, right: ex.Expr) -> tuple[set[str], set[str]]:
    """Return what an equation depends on, and what changes with that: the name alone where it defines one."""
    names = _names(left) | _names(right)
    is_name = isinstance(left, ex.Symbol) or (isinstance(left, ex.Constant) and left.value.is_Symbol)
    return (_names(right), _names(left)) if is_name else (names, names)


def _tied(moving: set[str], ties: list[tuple[set[str], set[str]]]) -> set[str]:
    """Return what moves and what is tied to it, one through the other."""
    tied = set(moving)
    for _ in ties:
        tied = tied.union(*(after for before, after in ties if before & tied))
    return tied


def _names(expr: ex.Expr) -> set[str]:
    """Return the names of the matrices, the forms and the numbers of an expression."""
    values = [node.value for node in expr.walk() if isinstance(node, ex.Constant)]
    numbers = {str(symbol) for value in values for symbol in value.free_symbols}
    return numbers | {name for _, name in _named([expr])}


def is_square(value: ex.Expr) -> bool:
    """Whether a scalar is written ``tr(Y^T Y)`` or ``tr(Y Y^T)``."""
    if not isinstance(value, ex.ScalarTrace) or not isinstance(value.children[0], ex.Product):
        return False
    left, right = value.children[0].children
    pairs = ((left, right), (right, left))
    return any(isinstance(turned, ex.Transpose) and turned.children[0] is other for turned, other in pairs)


def is_sum_of_squares(value: Any) -> bool:
    """Whether a scalar is a sum of products of squares and of numbers that are not negative."""
    if isinstance(value, ex.ScalarSum | ex.ScalarProduct):
        return all(map(is_sum_of_squares, value.children))
    return provably_nonnegative(value.value) if isinstance(value, ex.Constant) else is_square(value)


@cache
def _never_zero(value: Any) -> bool:
    ways = (lambda same: same, sympy.factor, sympy.expand, lambda same: sympy.expand(from_one(same)))
    forms = (way(value) for way in ways)
    return any(form.is_positive or form.is_negative or form.is_nonzero for form in forms)
