"""Check a certificate of global optimality: ``python check_certificate.py proof.json``. Needs nothing of lorasolve.

Claim: ``F(X) - inf F <= gap`` over all m x n matrices, at ``X = A B^T``, for ``F = f + lam ||.||_*`` and
``f(X) = (1/D) sum loss(map(X0 + X) - shifts)``. Only the data, the point and ``c`` are taken from the file: ``f`` and
``G = grad f(X)`` are computed here. Every ``c >= 0`` with ``c ||G||_2 <= lam`` makes a true bound (Fenchel),
``(1 - c)^p f(X) + lam (||A||_F^2 + ||B||_F^2) / 2 + c <G, X>``: with p = 2 for "least squares" (the square loss), with
p = 1 and c <= 1 for "convex" (every loss here is convex and >= 0). "exact": integers and fractions, standard library.
"binary64": NumPy, every rounding error counted. What is taken on trust is printed; what would not be read is refused.
Exit code: 0 accepted, 1 refused, 2 no certificate.
"""

import base64
import hashlib
import json
import math
import re
import sys
from decimal import ROUND_CEILING, Context
from fractions import Fraction
from typing import Any

np: Any = None  # loaded for binary64 only
U, TINY, mul = 2.0**-53, 2.0**-600, int.__mul__
TRUST = {"exact": "Python's integers", "binary64": "rounding to nearest, products of matrices as sums of products, "
    "Higham's bound for Cholesky, exp within 8 units in the last place, log within a factor of 1 + 2^-31"}

class Refused(Exception):
    """What is raised for a certificate that does not prove its claim."""

def require(holds: Any, reason: str, error: type[Exception] = ValueError) -> Any:  # always None
    if not holds:
        raise error(reason)

def fields(part: Any, names: str, optional: str = "") -> Any:
    odd = {*names.split()} ^ {*part} - {*optional.split()}
    return require(not odd, f"fields that are missing, or that nothing is made of: {', '.join(sorted(odd))}") or part

def number(text: Any) -> Fraction:
    fits = isinstance(text, str) and len(text) <= 4000 and re.fullmatch(r"-?[0-9]+(/[1-9][0-9]*)?", text)
    return require(fits, f"expected a fraction 'p/q', got {str(text)[:40]!r}") or Fraction(text)

def integers(values: Any, exponent: Any) -> list[int]:
    fits = isinstance(values, list) and all(type(k) is int for k in [exponent, *values]) and abs(exponent) <= 9000
    return require(fits, "expected integers and the exponent of a power of two that multiplies them") or values

def positive_semidefinite(W: list[list[int]], last: int = 1) -> bool:
    """Eliminate without fractions (Bareiss): no pivot may be negative, and a zero pivot needs a row of zeros."""
    while W:
        first, pivot = W[0], W[0][0]
        if pivot < 0 or (pivot == 0 and any(first)):
            return False
        W = [[(x * pivot - row[0] * y) // last if pivot else x for x, y in zip(row[1:], first[1:])] for row in W[1:]]
        last = pivot or last
    return True

def exact(problem: Any, point: Any, lam: Fraction, c: Fraction) -> tuple[Fraction, Fraction, Fraction]:
    """Return ``f(X)``, ``(||A||_F^2 + ||B||_F^2) / 2`` and ``<G, X>``; refuse unless ``c ||G||_2 <= lam``."""
    fields(problem, "lam shape divide_by loss exponents outputs targets")
    (m, n), (a, b), (p, q) = problem["shape"], fields(point, "A B exponents")["exponents"], problem["exponents"]
    A, B = ([integers(row, e) for row in point[key]] for key, e in (("A", a), ("B", b)))
    require(len(A) == m and len(B) == n and len({len(row) for row in A + B}) == 1, "the factors do not fit")
    X = [sum(map(mul, row, other)) for row in A for other in B]
    outputs, y = problem["outputs"], integers(integers(problem["targets"], q), p)
    require((type(outputs), len(outputs), problem["loss"]) == (list, len(y), {"kind": "square"}), "expected squares")
    for entry, value in (pair for output in outputs for pair in output):
        require(type(entry) is type(value) is int and 0 <= entry < m * n, "an output is no sum of entries")
    low = min(p + a + b, q)
    z = [(sum(v * X[k] for k, v in output) << p + a + b - low) - (t << q - low) for output, t in zip(outputs, y)]
    G, unit = [0] * (m * n), Fraction(2) ** (p + low) / problem["divide_by"]  # the gradient is unit * G
    for d, (k, v) in ((d, pair) for d, output in zip(z, outputs) for pair in output):
        G[k] += v * d
    if c:
        rows = [G[k * n : k * n + n] for k in range(m)] if m <= n else [G[k::n] for k in range(n)]
        square = (lam / (c * unit)) ** 2
        gram = [[(x is y) * square.numerator - square.denominator * sum(map(mul, x, y)) for y in rows] for x in rows]
        require(positive_semidefinite(gram), "c ||G||_2 exceeds lam", Refused)
    squares = (Fraction(4) ** e * sum(x * x for row in factor for x in row) for factor, e in ((A, a), (B, b)))
    f = Fraction(4) ** low * sum(map(mul, z, z)) / (2 * problem["divide_by"])
    return f, sum(squares, Fraction(0)) / 2, unit * Fraction(2) ** (a + b) * sum(map(mul, G, X))

def array(given: Any, *shape: int) -> Any:
    x = np.frombuffer(base64.b64decode(fields(given, "shape float64")["float64"], validate=True), "<f8").astype(float)
    fits = given["shape"] == list(shape) and x.size == math.prod(shape)
    return require(fits and (abs(x) < 2.0**300).all(), f"no array of shape {shape} below 2^300") or x.reshape(shape)

def positions(given: Any, limit: int) -> Any:
    fits = isinstance(given, list) and given and all(type(k) is int and 0 <= k < limit for k in given)
    return require(fits, f"expected a list of integers from 0 to {limit - 1}") or np.array(given)

def up(*terms: float) -> float:  # at least a sum of numbers >= 0 that have been rounded up to a hundred times
    bound = math.fsum(terms) * (1.0 + 2.0**-45) + TINY
    return require(bound < math.inf, "the numbers overflow in binary64", OverflowError) or bound

def size(x: Any) -> float:  # at least the Frobenius norm
    return up(math.sqrt(float((x * x).sum()) * (1.0 + 2.0 * (x.size + 8) * U) + x.size * 2.0**-1070))

def linear(form: Any, m: int, n: int) -> tuple[Any, Any, float, tuple[int, int], int]:
    """Return a map, its adjoint, a bound of its norm, how many terms the sums of either have, and how many outputs."""
    # The bound holds for the map of absolute values too, so rounding errs by at most (terms + 1) U norm ||.||.
    fields(form, {"matrix": "kind Z", "outer": "kind a b"}.get(form["kind"], "kind outputs output entry values"))
    if form["kind"] == "matrix":  # acting on the rows of X, or on all entries of X in one row
        (k, N), Z = form["Z"]["shape"], array(form["Z"], *form["Z"]["shape"])
        require(k in (n, m * n), "a map's matrix has the wrong shape")
        adjoint, count = (lambda d: d.reshape(-1, N) @ Z.T), m * n // k * N
        return lambda W: (W.reshape(-1, k) @ Z).ravel(), adjoint, size(Z), (k, N), count
    if form["kind"] == "outer":  # a_i^T X b_i
        a, b = (array(form[key], form["a"]["shape"][0], side) for key, side in (("a", m), ("b", n)))
        adjoint, norm = (lambda d: (d[:, None] * a).T @ b), up(size(a) * max(map(size, b)))
        return lambda W: (a @ W * b).sum(axis=1), adjoint, norm, (m + n + 2, len(a) + 2), len(a)
    require(form["kind"] == "entries", "unknown map")
    at, entry = positions(form["output"], form["outputs"]), positions(form["entry"], m * n)
    v, most = array(form["values"], len(entry)), (int(np.bincount(at).max()), int(np.bincount(entry).max()))
    schur = up(math.sqrt(np.bincount(at, abs(v)).max()) * math.sqrt(np.bincount(entry, abs(v)).max()) * (1 + 2.0**-25))
    adjoint = lambda d: np.bincount(entry, v * d[at], m * n)
    return lambda W: np.bincount(at, v * W.ravel()[entry], form["outputs"]), adjoint, schur, most, form["outputs"]

def loss(form: Any, z: Any, radius: float) -> tuple[float, Any, float]:
    """Return an upper bound of the losses, their derivative and the radius of that, for outputs within a radius."""
    kind, y = fields(form, {"square": "kind", "huber": "kind delta"}.get(form["kind"], "kind labels"))["kind"], 1.0
    if kind == "square":
        return up(up(size(z), radius) * up(size(z), radius) / 2), z, radius
    if kind == "huber":
        delta = abs(array(form["delta"], 1)[0])
        d = z.clip(-delta, delta)
        f = float((abs(d) * (abs(z) - abs(d) / 2)).sum()) * (1.0 + 2.0 * (z.size + 9) * U)
        return up(f, size(d) * radius, radius * radius), d, radius
    if kind == "logistic":  # two classes, with logits -y z and 0
        y = array(form["labels"], z.size)
        require((abs(y) == 1).all(), "a label is not -1 or 1")
        s, label = np.stack([-y * z, 0.0 * z]), np.ones(z.size, int)
    else:
        require(kind == "softmax" and z.size % len(form["labels"]) == 0, "unknown loss, or labels do not fit")
        s, label = z.reshape(-1, len(form["labels"])), positions(form["labels"], z.size // len(form["labels"]))
    (K, N), s, at = s.shape, s - s.max(axis=0), (label, np.arange(len(label)))
    P = np.exp(s) / np.exp(s).sum(axis=0)
    f = float((np.log(np.exp(s).sum(axis=0)) - s[at]).sum()) * (1.0 + 2.0**-29) + N * 2.0**-29
    wrong = up(size(U * ((50 + 3 * K) * P + 2)), radius / 2)  # the probabilities are 1/2-Lipschitz
    P[at] -= 1.0
    return up(f, math.sqrt(2.0 * N) * radius), -y * P[0] if kind == "logistic" else P.ravel(), wrong

def binary64(problem: Any, point: Any, lam: Fraction, c: Fraction) -> tuple[Fraction, Fraction, Fraction]:
    """Return upper bounds of what ``exact`` returns; refuse in the same case."""
    globals()["np"] = __import__("numpy")
    with np.errstate(all="ignore"):  # what overflows is refused
        fields(problem, "lam shape divide_by loss map shifts", "X0")
        (m, n), D, r = problem["shape"], problem["divide_by"], fields(point, "A B")["A"]["shape"][1]
        A, B = array(point["A"], m, r), array(point["B"], n, r)
        X, ab = A @ B.T + (array(problem["X0"], m, n) if "X0" in problem else 0.0), up(size(A) * size(B))
        measure, adjoint, norm, terms, count = linear(problem["map"], m, n)
        z, radius = measure(X), up((terms[0] + 1) * U * norm * size(X), norm * up((r + 1) * U * ab, U * size(X)))
        for shift in problem["shifts"]:
            z = z - array(shift, count)
            radius = up(radius, U * size(z))
        f, d, wrong = loss(problem["loss"], z, radius)
        G = adjoint(d).reshape(m, n) / float(D)
        radius = up((terms[1] + 1) * U * norm * size(d) / D, norm * wrong / D, 2 * U * size(G))  # D is rounded too
        if c:
            tall, k = (G if m >= n else G.T), min(m, n)
            level = min(max(lam / c - Fraction(radius), Fraction(0)), Fraction(2) ** 500)  # what is less proves more
            slack = up((max(m, n) + 2) * U * size(G) * size(G), (k + 5) * k * U * float(level) ** 2)
            try:
                np.linalg.cholesky((float(level**2) * (1.0 - 4.0 * U) - slack) * np.eye(k) - tall.T @ tall)
            except np.linalg.LinAlgError:
                require(False, "c ||G||_2 <= lam is not proved", Refused)
        inner = Fraction(up((n + 4) * U * up(size(G) * ab), radius * ab)) + Fraction(math.fsum((G @ B * A).ravel()))
        return Fraction(f) / D, Fraction(up(*(A * A).ravel(), *(B * B).ravel())) / 2, inner

def proved(document: Any) -> tuple[Fraction, Fraction]:  # bounds of ``F(X) - inf F`` and of ``F(X)``
    problem, c, lam = document["problem"], number(document["c"]), number(document["problem"]["lam"])
    fits = all(type(k) is int and k > 0 for k in [*problem["shape"], problem["divide_by"]])
    require(fits and len(problem["shape"]) == 2 and lam >= 0, "shape, divide_by or lam make no sense")
    square = document["inequality"] == "least squares"
    applies = problem["loss"]["kind"] == "square" if square else c <= 1 and document["inequality"] == "convex"
    require(c >= 0 and applies, "the inequality does not apply", Refused)
    f, norm, inner = {"exact": exact, "binary64": binary64}[document["arithmetic"]](problem, document["point"], lam, c)
    return (1 - c) ** (1 + square) * f + lam * norm + c * inner, f + lam * norm

def check(document: Any) -> str:
    """Return what a certificate proves, in words; raise ``Refused`` if that is not what it claims."""
    version = document.get("schema"), document.get("schema_version")
    require(version == ("lorasolve/certificate", 1), f"expected lorasolve/certificate, version 1, got {version}")
    fields(document, "schema schema_version arithmetic inequality problem point c gap", "lorasolve")
    (gap, value), claimed = proved(document), number(document["gap"])
    upper = [Context(k, ROUND_CEILING).divide(*x.as_integer_ratio()) for x, k in ((gap, 6), (claimed, 6), (value, 12))]
    require(gap <= claimed, f"a gap of {upper[1]:g} is claimed, {upper[0]:g} is proved", Refused)
    digest = hashlib.sha256(json.dumps(document["problem"], sort_keys=True).encode()).hexdigest()
    proof = f"F(X) - inf F <= {upper[1]:g} where F(X) <= {upper[2]:g}, by {document['arithmetic']}"
    return f"{proof} arithmetic, for the problem with SHA-256 {digest}; on trust: {TRUST[document['arithmetic']]}"

if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        require(len(sys.argv) == 2, f"expected one file, got {len(sys.argv) - 1}: python {sys.argv[0]} proof.json")
        with open(sys.argv[1], encoding="utf-8") as file:
            once = lambda pairs: require(len(dict(pairs)) == len(pairs), "a field is there twice") or dict(pairs)
            print("accepted:", check(json.load(file, object_pairs_hook=once)))
    except Exception as error:
        refused = isinstance(error, (Refused, OverflowError))
        said = f"malformed, by {error!r}" if isinstance(error, (LookupError, TypeError, AttributeError)) else str(error)
        sys.exit(print("refused:" if refused else "no certificate:", said or type(error).__name__) or 2 - refused)
