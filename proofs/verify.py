"""A second checker of the theorems, which imports nothing of the package: `python -S proofs/verify.py [proofs.json]`.

A check is accepted if what must vanish does; if each coefficient of its proof is non-negative by the signs of its
symbols, by BOUNDS, or in both CASES, and divides by nothing that may vanish; if each conclusion that it uses is another
accepted check, without a circle, whose assumptions it makes, or prints and lists in `under`, or a fact that one shows,
whose side conditions say all of these; if its label names the other facts; if all that it assumes holds at its witness.
"""
import json
import sys
from fractions import Fraction

NUMBERS = {"exp": 1, "log": 1, "cos": 1, "sin": 1, "Abs": 1, "Max": 2, "Min": 2}  # with how many arguments
FUNCTIONS = {**NUMBERS, "tr": 1, "id": 1, "zero": 2, "sqrt": 1, "grad": 2, "diff": None, "?": None}
BOUNDS = {"exp(u)", "exp(u)-1-u", "u-1-log(u)", "log(u)-1+1/u", "Abs(u)", "Abs(u)-u", "Abs(u)+u", "cos(u)-1+u^2/2"}
BOUNDS |= {"1-cos(u)", "1+cos(u)", "1-sin(u)", "1+sin(u)", "Max(u,v)-u", "Max(u,v)-v", "u-Min(u,v)", "v-Min(u,v)"}
SIGNS = {"positive": lambda x: x > 0, "nonnegative": lambda x: x >= 0, "real": lambda x: True}
SIGNS["dimension"], SEEN = lambda x: x >= 1 and x % 1 == 0, {"exact": "VERIFIED", "numeric": "SAMPLED"}
KINDS = {"identity": ("==",), "scalar": ("==", "<="), "implies": ("<=",), "sos": ("<=",)}
SYMBOLS, ONE, CASES = ("scalars", "matrices", "forms"), {(): 1}, {"Abs": "u -u", "Max": "u v", "Min": "u v"}
def require(condition, reason):
    if not condition: raise ValueError(reason)
def read(text):  # read ``a*(b + 1/2)^2 - tr(A^T*B)``; a tree is a Fraction, a name, or (operation, part, ...)
    left = [*"".join(f" {letter} " if letter in "()*+-/^," else letter for letter in text).split(), ""]
    def fail(): raise ValueError(f"cannot read {text!r} at {left[0]!r}")
    def take(*wanted): return left.pop(0) if left[0] in wanted else None
    def chain(signs, part):
        tree = part()
        while sign := take(*signs): tree = (sign, tree, part())
        return tree
    def digits(): return int(left.pop(0)) if left[0].isdigit() and left[1] != "^" else fail()
    def listed(): return [chain("+-", product), *(listed() if take(",") else [])]
    def product(): return ("*", Fraction(-1), product()) if take("-") else chain("*/", power)
    def power():
        if not left[0].isdigit() and left[0][:1] in ")*+-/^,.0123456789": fail()
        tree = Fraction(token) if (token := left.pop(0)).isdigit() else token
        if token == "(" or take("("):
            tree = ("call", token, *listed()) if token != "(" else chain("+-", product)
            if not take(")"): fail()
        while take("^"): tree = ("T", tree) if take("T") else ("^", tree, -digits() if take("-") else digits())
        return tree
    return (chain("+-", product), (left == [""] and text.isascii() and text.isprintable()) or fail())[0]
def names_in(e): return {e} if isinstance(e, str) else set().union(*map(names_in, e[1:] if type(e) is tuple else ()))
def powered(tree): return tree[1:] if type(tree) is tuple and tree[0] == "^" and tree[2] > 0 else (tree, 1)
def sides(part): return read(part["lhs"]), read(part["rhs"])
# Polynomials: {monomial: int or Fraction}; a monomial is a sorted tuple of (unknown, exponent). In a matrix each has
# one unknown ("word", letters), a letter being (name, transposed); the others commute with it. An int divides no int.
def added(parts):
    result = {}
    for key, value in (item for part in parts for item in part.items()): result[key] = result.get(key, 0) + value
    return {key: value for key, value in result.items() if value}
def plus(a, b, factor=1): return added((a, {key: factor * value for key, value in b.items()}))
def times(a, b):
    products = ((added((dict(k), dict(q))), v * w) for k, v in a.items() for q, w in b.items())
    return added({tuple(sorted(powers.items())): value} for powers, value in products)
def unknown(*what, exponent=1): return {((what, exponent),): 1} if exponent else ONE
def split(p, what): return ((dict(k).get(what, 0), {tuple(u for u in k if u[0] != what): v}) for k, v in p.items())
def words(matrix):  # yield (word, coefficient) for each term of a matrix
    for key, value in matrix.items():
        yield next(u[1] for u, _ in key if u[0] == "word"), {tuple(p for p in key if p[0][0] != "word"): value}
class Algebra:
    """The symbols of one check, their signs, shapes and assumptions, and how to calculate with them."""
    def __init__(self, check):
        self.signs, self.matrices, self.forms = parts = [{**check[kind]} for kind in SYMBOLS]
        require(len({*FUNCTIONS}.union(*parts)) == sum(map(len, (FUNCTIONS, *parts))), "a name has two meanings")
        fit = all(read(n) == n for part in parts for n in part) and {*self.signs.values()} <= {*SIGNS}
        equations = [[read(side) for side in pair] for a in check["assumptions"] for pair in a["equations"]]
        self.quotients, self.divided, self.nonzero, self.rules, self.gaps = [], [], [], [], []
        self.known, self.moved, self.steps, said = {}, {}, 0, [entry(part)[0] for part in check.get("assumed", ())]
        self.ties = equations + [e for w in said for e in ([(0, ("", *w[1:]))], relations(w))[not w[0].strip("= ")]]
        self.meaning = {left: right for left, right in equations if left in self.signs}
        require(len(self.meaning) == sum(e[0] in self.signs for e in equations), "a scalar is defined twice")
        require(names_in(("", *self.meaning.values())) <= {*self.signs, "sqrt"}, "a scalar is defined by a matrix")
        spaces = [*self.matrices.items(), *self.forms.items()]
        self.shapes = {name: tuple(self.scalar(read(d)) for d in shape[:2]) for name, shape in spaces}
        fit &= all(s[2:] in ([], ["symmetric"] * (s[0] == s[1])) for _, s in spaces)
        require(fit and all(self.is_size(read(d)) for _, s in spaces for d in s[:2]), "no name, sign or shape of sizes")
        self.nonzero = [self.scalar(powered(read(text))[0]) for text in check["nonzero"]]
        for a, b in (e for e in equations if e[0] not in self.signs): self.assume(*self.value(a), *self.value(b))
    def is_size(self, tree):  # whether a tree is made of dimensions and positive integers, by sums and products
        if isinstance(tree, tuple): return tree[0] in ("+", "*") and all(map(self.is_size, tree[1:]))
        return self.signs.get(tree) == "dimension" or (isinstance(tree, Fraction) and SIGNS["dimension"](tree))
    def sign_of(self, what, exponent):  # 1 for positive, 0 for non-negative, -9 for not known
        said = {"s": self.signs.get(what[1]), "more": "nonnegative", "f": what[1]}.get(what[0])
        pos = said in ("positive", "dimension", "exp") or (what[0] == "inv" and self.sign(self.quotients[what[1]]) == 1)
        return 1 if pos else 0 if (said == "nonnegative" and exponent > 0) or exponent % 2 == 0 else -9
    def sign(self, p):
        signs = [min([1 if value > 0 else -9, *(self.sign_of(*u) for u in key)]) for key, value in p.items()]
        return max(signs, default=0) if -9 not in signs else self.sign(q) if (q := self.from_one(p)) != p else -9
    def from_one(self, p):  # put 1 + what is not negative in the place of each size
        for size in [("s", name) for name, sign in self.signs.items() if sign == "dimension"]:
            if not any(e % 1 for e, _ in split(p, size)): p = self.put(p, size, plus(ONE, unknown("more", *size)), 1)
        return p
    def nonnegative(self, tree):  # by its structure, or expanded over a positive denominator
        operation, *parts = tree if isinstance(tree, tuple) else ("",)
        sides = parts[:1] == ["tr"] and parts[1][:1] == ("*",) and (parts[1][1:], parts[1][:0:-1])
        square = (operation == "^" and parts[1] == 2) or any(turned == ("T", side) for turned, side in sides or ())
        if square or (operation in ("*", "+", "/") and all(map(self.nonnegative, parts))): return True
        p = self.reduced(self.scalar(tree))
        return self.sign(self.cleared(p) if all(self.sign(q) == 1 for q in self.quotients) else p) >= 0
    def fits(self, tree, sign):  # whether what stands in the place of a symbol is what that is declared to be
        if type(sign) is list: return not sign[2:] or (isinstance(tree, str) and bool(self.matrices.get(tree, "")[2:]))
        v, at = self.reduced(self.scalar(tree)), lambda u, e: e > 0 == e % 1 and self.signs.get(u[1]) == "dimension"
        whole = sign != "dimension" or all(c % 1 == 0 and all(at(*power) for power in key) for key, c in v.items())
        return {"real": True, "nonnegative": self.nonnegative(tree)}.get(sign, whole and self.sign(v) == 1)
    def inverse(self, polynomial):
        require(all(u[0] in ("s", "inv", "f") for key in polynomial for u, _ in key), "a trace in a denominator")
        parts = [{((u, 1),): 1} for key in polynomial for u, _ in key] if len(polynomial) == 1 else [polynomial]
        for both in ((p, plus({}, p, -1)) for p in parts):
            require(both[0] and any(self.sign(p) == 1 or p in self.nonzero for p in both), "a denominator may vanish")
            self.divided += [p for p in both if p in self.nonzero and p not in self.divided]
        if len(polynomial) == 1 and all(u[0] == "s" for key in polynomial for u, _ in key):
            return {tuple((u, -e) for u, e in key): Fraction(1) / value for key, value in polynomial.items()}
        if polynomial not in self.quotients: self.quotients.append(polynomial)
        return unknown("inv", self.quotients.index(polynomial))
    def raised(self, p, e):
        return self.raised(self.inverse(p), -e) if e < 0 else times(p, self.raised(p, e - 1)) if e else ONE
    def put(self, polynomial, what, by, power):  # put by^power for an unknown, and multiply by what that divides by
        parts = [(power * exponent, rest) for exponent, rest in split(polynomial, what)]
        least = min([0, *(exponent for exponent, _ in parts)])
        return added(times(rest, self.raised(by, exponent - least)) for exponent, rest in parts)
    def cleared(self, polynomial):  # multiply by the denominators: zero exactly if the polynomial is
        for i, by in reversed(list(enumerate(self.quotients))): polynomial = self.put(polynomial, ("inv", i), by, -1)
        return polynomial
    def flip(self, word): return tuple((name, t if self.matrices[name][2:] else not t) for name, t in reversed(word))
    def turns(self, word): return [w[i:] + w[:i] for w in (word, self.flip(word)) for i in range(len(word))]
    def word(self, rows, word):  # as a matrix; what stands between two passages through dimension one is a scalar
        bounds = [rows, *(self.shapes[name][not turned] for name, turned in word)]
        thin, result = [i for i, dim in enumerate(bounds) if dim == ONE], ONE
        for start, stop in zip(thin, thin[1:]): result = times(result, unknown("tr", min(self.turns(word[start:stop]))))
        return times(result, unknown("word", word[: thin[0]] + word[thin[-1] :] if len(thin) > 1 else word))
    def product(self, rows, a, *others):
        for b in others: a = added(times(times(c, d), self.word(rows, v + w)) for v, c in words(a) for w, d in words(b))
        return a
    def transposed(self, matrix): return added(times(c, unknown("word", self.flip(word))) for word, c in words(matrix))
    def trace(self, dim, matrix): return added(times(c, self.traced(w) if w else dim) for w, c in words(matrix))
    def traced(self, word):  # return the trace of a word, in parts if it passes through dimension one
        thin = [w for w in self.turns(word) if self.shapes[w[0][0]][w[0][1]] == ONE]
        return dict(words(self.word(ONE, thin[0]))).popitem()[1] if thin else unknown("tr", min(self.turns(word)))
    def form(self, of, a, b):
        return added(times(times(c, d), unknown("form", of, *sorted((v, w)))) for v, c in words(a) for w, d in words(b))
    def scalar(self, tree, shape=None):
        return require((v := self.value(tree))[0] == shape, "a matrix of another shape, or where a scalar is") or v[1]
    def value(self, tree):  # return (shape, polynomial) of a tree; the shape of a scalar is None
        if isinstance(tree, Fraction): return None, plus({}, {(): tree if tree % 1 else int(tree)})
        if isinstance(tree, str):
            if tree in self.signs:
                return self.value(self.meaning[tree]) if tree in self.meaning else (None, unknown("s", tree))
            require(tree in self.matrices, f"{tree} is not declared")
            return self.shapes[tree], plus(self.word(self.shapes[tree][0], ((tree, False),)), self.moved.get(tree, {}))
        if tree[0] in ("call", "^"):
            return self.call(*tree[1:]) if tree[0] == "call" else (None, self.raised(self.scalar(tree[1]), tree[2]))
        shape, a = self.value(tree[1])
        if tree[0] == "T": return shape[::-1], self.transposed(a)
        if tree[0] == "/": return shape, times(a, self.raised(self.scalar(powered(tree[2])[0]), -powered(tree[2])[1]))
        other, b = self.value(tree[2])
        require(tree[0] == "*" or shape == other, "a sum of different shapes")
        if tree[0] != "*": return shape, plus(a, b, 1 if tree[0] == "+" else -1)
        if not shape or not other: return shape or other, times(a, b)
        require(shape[1] == other[0], "a product whose shapes do not fit")
        return (shape[0], other[1]), self.product(shape[0], a, b)
    def call(self, name, *parts):
        require(FUNCTIONS.get(name) in (None, len(parts)), f"{name} has {len(parts)} arguments")
        if name == "sqrt":
            require({*parts} & self.signs.keys() - self.meaning and self.signs[parts[0]] != "real", "no root of that")
            return None, unknown("s", *parts, exponent=Fraction(1, 2))
        if name in ("grad", "diff"): return (self.gradient if name == "grad" else self.derivative)(*parts)
        if name in self.forms: return None, self.form(name, *(self.scalar(part, self.shapes[name]) for part in parts))
        shapes, values = zip(*map(self.value, parts))
        require(name != "tr" or (shapes[0] and shapes[0][0] == shapes[0][1]), "the trace of what is not square")
        if name == "tr": return None, self.trace(shapes[0][0], values[0])
        if name in NUMBERS:  # known by what it is of
            require(not self.matrices and (name != "log" or self.sign(values[0]) == 1), f"no {name} of that")
            return None, unknown("f", name, *sorted(repr(sorted(value.items())) for value in values))
        require(name in ("id", "zero") and all(map(self.is_size, parts)), f"{name} is no function of these")
        return (values[0], values[-1]), self.word(values[0], ()) if name == "id" else {}
    def tied(self, moving):  # what moves and what the assumptions tie to it: a definition only the name that it defines
        sizes = {u[1] for shape in self.shapes.values() for dim in shape for key in dim for u, _ in key}
        for a, *_, b in self.ties * len(self.ties):
            names = names_in(("", a, b)) - FUNCTIONS.keys() - sizes
            if names - {a} & moving: moving = moving | (names & {a} or names)
        return moving
    def derivative(self, tree, order, *pairs):  # return order! times the part of step^order after X -> X + step E
        step, before, self.steps = ("step", self.steps), self.moved, self.steps + 1
        along = dict(zip(pairs[::2], pairs[1::2], strict=True))
        require(2 * len(along) == len(pairs) > 0 and along.keys() <= self.matrices.keys(), "only matrices move, once")
        require(not self.tied({*along}) & names_in(tree) - along.keys(), "a derivative holds fixed what moves with it")
        moves = {name: times(unknown(*step), self.scalar(by, self.shapes[name])) for name, by in along.items()}
        require(all(self.transposed(by) == by for n, by in moves.items() if self.matrices[n][2:]), "no symmetric step")
        self.moved = before | {name: plus(move, before.get(name, {})) for name, move in moves.items()}
        (shape, value), self.moved = self.value(tree), before
        for factor in range(2, order.numerator + 1): value = plus({}, value, factor)  # a name has no numerator
        return shape, added(rest for exponent, rest in split(value, step) if exponent == order)
    def gradient(self, tree, name):  # return the Y whose product tr(E^T Y) with any E is the derivative along E
        self.matrices["?"], self.shapes["?"], result = self.matrices[name][:2], self.shapes[name], {}
        for key, value in self.scalar(("call", "diff", tree, 1, name, "?")).items():
            (what,) = [u for u, _ in key if u[0] == "tr" and "?" in dict(u[1])]
            (turned,) = {w for w in self.turns(what[1]) if w[0] == ("?", True)}
            part = times(unknown(*what, exponent=-1), self.word(self.shapes[name][0], turned[1:]))
            result = plus(result, times({key: value}, part))
        return self.matrices.pop("?") and (self.shapes[name], result)
    def assume(self, shape, left, other, right):  # read an assumption as a rule, from left to right
        if shape == (ONE, ONE) and other in (None, shape):
            left, right, shape, other = self.trace(ONE, left), self.trace(ONE, right) if other else right, None, None
        require(shape == other and list(left.values()) == [1], "an assumption is not word = matrix of its shape")
        (((what, exponent), *rest),) = left
        require(not rest and exponent == 1 and what[0] in ("tr", "word") and what[1], "an assumption rewrites one word")
        gap = plus(left, right, -1)
        self.known |= {what: right} if what[0] == "tr" else {}
        self.gaps.append(self.trace(shape[1], self.product(shape[1], self.transposed(gap), gap)) if shape else gap)
        if shape: self.rules += [(what[1], shape, right), (self.flip(what[1]), shape[::-1], self.transposed(right))]
    def rewritten(self, what):  # return what an unknown becomes by the first assumption that applies, or None
        for i, word in enumerate(what[2:] if what[0] == "form" else ()):
            if (new := self.rewritten(("word", word))) is not None:
                return self.form(what[1], new, unknown("word", what[3 - i]))
        for left, (rows, _), right in self.rules if what[0] in ("word", "tr") else ():
            word, size = what[1], len(left)
            for i, turned in enumerate(word[i:] + word[:i] for i in range(len(word))):
                if what[0] == "tr" and turned[:size] == left:
                    return self.trace(rows, self.product(rows, right, unknown("word", turned[size:])))
                if what[0] == "word" and word[i : i + size] == left:
                    before, after = unknown("word", word[:i]), unknown("word", word[i + size :])
                    return self.product(self.shapes[word[0][0]][word[0][1]], before, right, after)
    def reduced(self, polynomial):
        for _ in range(400):
            here = {u for key in polynomial for u, _ in key}
            self.known |= {u: self.rewritten(u) for u in here - self.known.keys()}
            if (what := next((u for u in sorted(here) if self.known[u] is not None), None)) is None: return polynomial
            polynomial = added(times(rest, self.raised(self.known[what], e)) for e, rest in split(polynomial, what))
        raise ValueError("the assumptions rewrite without end")
    def vanishes(self, tree): return not self.cleared(self.reduced(self.value(tree)[1]))
    def multiplied(self, word, values):  # return a word at a witness
        matrix, *others = [list(zip(*values[name])) if turned else values[name] for name, turned in word]
        for b in others: matrix = [[sum(x * y for x, y in zip(row, c)) for c in zip(*b)] for row in matrix]
        return matrix
    def number(self, what, values):
        if what[0] in ("s", "inv"):
            return values[what[1]] if what[0] == "s" else Fraction(1) / self.at(self.quotients[what[1]], values)
        if what[0] == "tr": return sum(row[i] for i, row in enumerate(self.multiplied(what[1], values)))
        a, b = (self.multiplied(word, values) for word in what[2:])
        return sum(weight * inner(m, a) * inner(m, b) for weight, m in values[what[1]])
    def at(self, polynomial, values): return sum(self.term_at(*term, values) for term in polynomial.items())
    def term_at(self, key, value, values):
        return self.term_at(key[1:], value * power(self.number(key[0][0], values), key[0][1]), values) if key else value
    def witness(self, values, premises):  # require that declarations, assumptions and hypotheses hold at given values
        for n, s in self.signs.items(): require(SIGNS[s](values[n]) and self.at(self.scalar(n), values) == values[n], n)
        for name, shape in self.matrices.items():
            rows, flipped = values[name], [list(column) for column in zip(*values[name])]
            fits = [len(rows), *{*map(len, rows)}] == [self.at(dim, values) for dim in self.shapes[name]]
            require(fits and (not shape[2:] or flipped == rows), f"the witness of {name} has another shape")
        require(not any(self.at(gap, values) for gap in self.gaps), "an assumption fails at the witness")
        require(all(self.at(divisor, values) for divisor in self.nonzero), "a denominator vanishes at the witness")
        gaps = [(p["relation"], self.at(self.scalar(("-", *sides(p)[::-1])), values)) for p in premises.values()]
        require(all({"==": gap == 0, "<=": gap >= 0}[of] for of, gap in gaps), "a hypothesis fails at the witness")
def root(x): return require((y := Fraction(*(round(p**0.5) for p in x.as_integer_ratio()))) ** 2 == x, "no root") or y
def power(x, exponent): return root(x) ** int(2 * exponent) if exponent % 1 else x**exponent
def inner(a, b): return sum(x * y for p, q in zip(a, b) for x, y in zip(p, q))
def exact(value): return list(map(exact, value)) if isinstance(value, list) else Fraction(value)
def shown(check):  # require that a check follows from its own assumptions and premises
    algebra, premises = Algebra(check), check.get("premises", {})
    rest, rests, relation = ("-", *sides(check)[::-1]), [], check["relation"]
    require(relation in KINDS[check["kind"]] and {*rest[1:]} not in map(set, (rest[1:2], *algebra.ties)), "no claim")
    for t in (*algebra.meaning, *(s for part in (check, *premises.values()) for s in sides(part))): algebra.value(t)
    algebra.nonzero = algebra.divided  # the proof divides by what the statement divides by, and by what never vanishes
    if check["kind"] == "scalar" and relation == "<=":
        gaps = {gap: put(read(bound), dict(zip("uv", map(read, of)))) for gap, (bound, *of) in check["bounds"].items()}
        other, taken = {of[0] for of in check["bounds"].values()} - BOUNDS, {*FUNCTIONS}.union(*map(check.get, SYMBOLS))
        require(not other | gaps.keys() & taken, "that is no bound, or its name is taken")
        algebra.signs = {**algebra.signs, **dict.fromkeys(gaps, "nonnegative")}
        ways = cases(("", rest, *gaps.values()), check["sign"])  # a gap is what its bound is in each case
        rests = [("-", claim, put(sign, dict(zip(gaps, at)))) for (_, claim, *at), sign in ways]
        require(all(algebra.nonnegative(sign) for _, sign in ways), "no provable sign")
    said = [zip(sides(p), sides(check)) for p in premises.values() if not p["source"] and not p["facts"]]
    require(not any(all(algebra.vanishes(("-", *pair)) for pair in two) for two in said), "a hypothesis is the claim")
    for term in check.get("proof", []) if relation == "<=" else ():
        tree, used = read(term["coefficient"]), [premises[f["premise"]] for f in term["factors"] if "premise" in f]
        require(check["kind"] != "sos" or not used, "not only squares")
        require(any(p["relation"] == "==" for p in used) or algebra.nonnegative(tree), f"{term} may be negative")
        for p in used: tree = ("*", tree, ("-", *sides(p)[::-1]))
        for of in [read(factor["square"]) for factor in term["factors"] if "square" in factor]:
            tree = ("*", tree, ("call", "tr", ("*", ("T", of), of)) if algebra.value(of)[0] else ("^", of, 2))
        rest = ("-", rest, tree)
    require(all(map(algebra.vanishes, rests or [rest])), "what has to vanish does not")
    if premises or check["assumptions"]:
        algebra.witness({n: exact(v) for n, v in (check.get("witness") or require(0, "no witness")).items()}, premises)
def entry(part, puts=()):  # return what an entry of `assumed` says after {symbol: text}, and what its name contains
    kind, by = "{} is {}" if "meaning" in part else part["kind"], {key: read(text) for key, text in dict(puts).items()}
    name = filled(kind, *part["texts"]) if "{" in kind else part["name"].split(" (")[0]
    return (part["kind"], *(put(read(text), by) for text in part["texts"])), "" if by and "{" in kind else name
def filled(kind, *texts):  # words with texts in the places of {}, and brackets around a sum that would come apart
    ends = [piece.strip() for piece in f"|{kind}|".split("{}")]
    held = [kind == "{} is {}" or (a[-1:] in {*"|(<>=,"} and b[:1] in {*"|)<>=,"}) for a, b in zip(ends, ends[1:])]
    return kind.format(*(t if h or not {"+", "-"} & {*t.split()} else f"({t})" for t, h in zip(texts, held)))
def relations(what): return set() if "{" in what[0] else set(zip(what[1::2], what[0].split(), what[2::2]))
def put(e, by): return by[e] if e in by else (e[0], *(put(t, by) for t in e[1:])) if isinstance(e, tuple) else e
def cases(claim, sign):  # return what a claim is with each of the two in the place of a function that is one, and signs
    if isinstance(sign, str): return [(claim, read(sign))]
    called = read(sign[0])
    ways = zip((put(read(by), dict(zip("uv", called[2:]))) for by in CASES[called[1]].split()), sign[1:], strict=True)
    return sum((cases(put(claim, {called: by}), part) for by, part in ways), [])
def whole(part): return {**part, **{kind: {**part.get("symbols", part)[kind], **part[kind]} for kind in SYMBOLS}}
def says(p, own, source, known, reason):  # require that p after `where` is its source after `put`, as `known` assumes
    where, puts = ({name: read(text) for name, text in p.get(key, {}).items()} for key in ("where", "put"))
    declared, source = {kind: {} for kind in SYMBOLS}, whole(source)
    for part, gone in ((own, ()), (source, puts), (p.get("symbols", {}), {})):
        for kind, name in ((k, name) for k in declared for name in part.get(k, {}).keys() - gone):
            require(declared[kind].setdefault(name, part[kind][name]) == part[kind][name], f"{name} is another symbol")
    algebra = Algebra({**declared, **{key: known.get(key, []) for key in ("assumptions", "nonzero")}})
    for part, by, stated in (way for way in ((own, where, p), (source, puts, source)) if way[1]):
        taken = [tree for a in stated.get("assumed", ()) for tree in entry(a)[0][1:] if names_in(tree) & by.keys()]
        require(not names_in(("", *sides(stated), *taken)) & {"grad", "diff"}, "nothing is put into a derivative")
        for name, said in ((n, {**part["forms"], **part["matrices"], **part["scalars"]}[n]) for n in by):
            require(algebra.fits(by[name], said), f"{by[name]} is not as {name} is declared")
        for name, shape in {**part["matrices"], **part["forms"]}.items():
            there = algebra.shapes.get(by.get(name, name)) or algebra.value(by[name])[0]
            require(there == tuple(algebra.scalar(put(read(d), by)) for d in shape[:2]), f"{name} has another shape")
    more = {*source.get("nonzero", [])}.difference([] if puts else own.get("nonzero", []))
    require(not more, f"it rests on more: {more}")
    same = all(algebra.vanishes(("-", put(a, where), put(b, puts))) for a, b in zip(sides(p), sides(source)))
    require(same and p["relation"] == source["relation"], reason)
def instance(p, check, schema, judge):  # require that p is an instance of a schema; yield its side conditions
    require(names_in(("", *sides(schema))) <= {*p["put"], *FUNCTIONS}, "a symbol of the schema has no value")
    says(p, whole(check), {**schema, **schema["symbols"]}, check, f"that is not {p['schema']}")
    for name, what in schema["read"].items(): yield {"kind": "{} is read as " + what, "texts": [p["put"][name]]}
    for (template, *parts), by in zip(schema["sides"], p["by"], strict=True):
        require(not any(map(judge, by)), f"{by} do not pass, off which {template} is read")
        yield {"kind": template, "texts": [p["put"][part] if names_in(read(part)) else part for part in parts]}
def sourced(check, checks, judge, facts):  # require that what it takes from others is theirs, and printed if assumed
    algebra, premises, used, known, inherited = Algebra(full := whole(check)), check.get("premises", {}), [], set(), []
    for text in (text for part in check["assumed"] for text in part["texts"]): algebra.value(read(text))
    stated = ((a["name"], a["equations"]) for a in check["assumptions"])
    own = [{"name": name, "kind": " ".join("==" for _ in pairs), "texts": sum(pairs, [])} for name, pairs in stated]
    for name, p in premises.items():
        own += [{"kind": "==", "texts": pair, "meaning": True} for pair in p.get("where", {}).items()]
        if p["source"]:
            source = require(not judge(p["source"]), f"{p['source']}, which it uses, is refused") or checks[p["source"]]
            says(p, full, source, {} if p.get("put") else source, f"{p['source']} does not say that")
            require({*source["facts"]} <= {*p["facts"]}, "it rests on more")
            inherited += [(part, p.get("put", {}), p["source"]) for part in source["assumed"]]
        elif p["facts"]:
            own += instance(p, check, facts[p["facts"][0]][3][p["schema"]], judge)
            for by in (checks[name] for names in p["by"] for name in names):
                says(by, full, by, by, "its symbols are others")
                used, inherited = used + by["facts"], inherited + [(part, (), None) for part in by["assumed"]]
            known.add((read(p["lhs"]), p["relation"], read(p["rhs"])))
        else: own.append({"name": name, "kind": p["relation"], "texts": [p["lhs"], p["rhs"]]})
    said, printed = dict(map(entry, own[::-1])), dict(map(entry, check["assumed"]))
    known, ours, listed = known.union(*map(relations, said)), {*said}, {None, *check["under"]}
    require(listed <= {None, *(p["source"] for p in premises.values())}, "`under` lists what it does not use")
    for what, name, source in ((*entry(part, puts), source) for part, puts, source in inherited):
        made = "{" not in what[0] and all(r in known or (r[0] == r[2] and r[1] == "==") for r in relations(what))
        require(made or what in ours or source in listed, f"it assumes what {source} does, which `under` does not list")
        if not made: said.setdefault(what, name)
    require(said.keys() == printed.keys(), f"what it assumes is not what it prints: {said.keys() ^ printed.keys()}")
    right = {p["name"] for p in check["assumed"] if all(names[entry(p)[0]] in p["name"] for names in (said, printed))}
    require(len(right) == len(said), "an assumption is renamed, or two have one name")
    require({*sum((p["facts"] for p in premises.values()), used)} == {*check["facts"]}, "the label is not what is used")
def verdicts(document):  # return for each exported check None if it is accepted, the reason if it is refused
    checks, facts, found, proofs = {check["id"]: check for check in document["checks"]}, document["facts"], {}, {}
    require(len(checks) == len(document["checks"]), "two checks have one name")
    def proved(fact):
        for part in facts[fact][3].values() if facts[fact][2] and fact not in proofs else ():
            require(part["source"].rpartition(".")[0] == facts[fact][2] and not judge(part["source"]), "no proof of it")
            check, own = whole(checks[part["source"]]), part["symbols"]
            back = {name: g for g, name in part["where"].items() if isinstance(read(name), str)}
            where = {g: text for g, text in part["where"].items() if text not in back}
            says({**part, "symbols": {}, "where": where, "put": back}, own, check, {} if back else check, "says less")
            names = [part["where"].get(g, g) for kind in SYMBOLS for g in own[kind]]
            held = [back.get(name, name) for kind in SYMBOLS for name in check[kind]]
            tied = {n for text in where.values() for n in names_in(read(text)) if own["scalars"].get(n) != "dimension"}
            require(not tied & {*names} and all(len({*n}) == len(n) for n in (names, held)), "symbols are one or tied")
            say = {n: f", {n} {w}" for k in SYMBOLS for n, s in check[k].items() for w in ([s], s[2:])[type(s) is list]}
            told = {(g, t + "".join(say[n] for n in sorted(names_in(read(t)) & {*say}))) for g, t in where.items()}
            mute = {a["name"] for a in check["assumed"]} - {*sum(part["said"], [])} | told - part["read"].items()
            require(not mute and check["strength"] == "PROVED", f"{check['strength']}, and nobody says {mute}")
        return proofs.setdefault(fact, bool(facts[fact][2] and facts[fact][3]))
    def judge(name):
        if name not in found:
            found[name] = "the proof goes in a circle"
            try:
                left = [fact for fact in checks[name]["facts"] if not proved(fact)]
                require(checks[name]["strength"] == "PROVED" + f" UNDER {', '.join(left)}" * bool(left), "the label")
                found[name] = shown(checks[name]) or sourced(checks[name], checks, judge, facts)
            except Exception as error: found[name] = told(error)
        return found[name]
    return {name: judge(name) for name in checks}
def told(error): return str(error) if isinstance(error, ValueError | OSError) else f"it is malformed: {error!r}"
def once(pairs): return dict(pairs) if len(dict(pairs)) == len(pairs) else require(False, f"{pairs} has a field twice")
def main(*paths):
    require(len(paths) == 1, f"expected one file, got {len(paths)}")
    with open(paths[0], encoding="utf-8") as file: found = verdicts(data := json.load(file, object_pairs_hook=once))
    listed = {f"{name}.{check}" for name, theorem in data["theorems"].items() for check in theorem["checks"] or [""]}
    found |= {n: "the label" for n, c in data["computations"].items() if c["strength"] != SEEN.get(c["kind"], "PROVED")}
    found |= dict.fromkeys(listed ^ {*found, *data["not_exported"]}, "not both in the list of a theorem and there")
    refused = [ascii(f"REFUSED {name}: {reason}")[1:-1] for name, reason in found.items() if reason]
    judged = f"{len(found) - len(refused)} of {len(found)} checks accepted, {len(data['not_exported'])} not judged"
    print(*refused, judged, sep="\n")
    return int(bool(refused) or not found)
if __name__ == "__main__":
    try: sys.exit(main(*sys.argv[1:] or [__file__.replace("verify.py", "proofs.json")]))
    except Exception as error: sys.exit(print("no document of theorems:", ascii(told(error))[1:-1]) or 2)
