"""An independent reader of certificates: the loss that a document defines, its point, and how good points can be.

Nothing here is shared with the package or with the checker. Values of ``F`` are computed from exact fractions with 50
digits; better points are looked for by a plain proximal gradient method.
"""

from __future__ import annotations

import base64
import contextlib
import struct
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np

DIGITS = 50


class Reading:
    """A document's problem and point, as exact fractions."""

    def __init__(self, document: dict[str, Any]) -> None:
        problem, point = document["problem"], document["point"]
        self.m, self.n = problem["shape"]
        self.lam, self.divide_by = Fraction(problem["lam"]), problem["divide_by"]
        self.kind = problem["loss"]["kind"]
        self.X0 = [Fraction(0)] * (self.m * self.n)
        self.labels: list[Any] = []
        if document["arithmetic"] == "exact":
            (p, q), (a, b) = problem["exponents"], point["exponents"]
            self.rows = [[(k, v * Fraction(2) ** p) for k, v in output] for output in problem["outputs"]]
            self.shifts = [[y * Fraction(2) ** q for y in problem["targets"]]]
            A, B = ([[x * Fraction(2) ** e for x in row] for row in point[key]] for key, e in (("A", a), ("B", b)))
        else:
            self.rows = self._rows(problem["map"])
            self.shifts = [numbers(shift) for shift in problem["shifts"]]
            A, B = (matrix(point[key]) for key in ("A", "B"))
            if "X0" in problem:
                self.X0 = numbers(problem["X0"])
            if "labels" in problem["loss"]:
                labels = problem["loss"]["labels"]
                self.labels = labels if isinstance(labels, list) else numbers(labels)
            if "delta" in problem["loss"]:
                self.delta = abs(numbers(problem["loss"]["delta"])[0])
        self.X = [sum((x * y for x, y in zip(row, other)), Fraction(0)) for row in A for other in B]

    def _rows(self, form: dict[str, Any]) -> list[list[tuple[int, Fraction]]]:
        m, n = self.m, self.n
        if form["kind"] == "matrix":
            Z = matrix(form["Z"])
            k = len(Z)
            return [[(i * k + j, Z[j][s]) for j in range(k)] for i in range(m * n // k) for s in range(len(Z[0]))]
        if form["kind"] == "outer":
            a, b = matrix(form["a"]), matrix(form["b"])
            return [[(i * n + j, u[i] * v[j]) for i in range(m) for j in range(n)] for u, v in zip(a, b)]
        rows: list[list[tuple[int, Fraction]]] = [[] for _ in range(form["outputs"])]
        for output, entry, value in zip(form["output"], form["entry"], numbers(form["values"])):
            rows[output].append((entry, value))
        return rows

    # ------------------------------------------------------------------ exact values
    def outputs(self, X: list[Fraction]) -> list[Fraction]:
        W = [x + y for x, y in zip(X, self.X0)]
        z = [sum((v * W[k] for k, v in row), Fraction(0)) for row in self.rows]
        for shift in self.shifts:
            z = [x - y for x, y in zip(z, shift)]
        return z

    def f(self, X: list[Fraction]) -> mp.mpf:
        z = self.outputs(X)
        if self.kind == "square":
            return real(sum((t * t for t in z), Fraction(0)) / 2) / self.divide_by
        if self.kind == "huber":
            d = self.delta
            return real(sum((t * t / 2 if abs(t) <= d else d * abs(t) - d * d / 2) for t in z)) / self.divide_by
        if self.kind == "logistic":
            return mp.fsum(mp.log1p(mp.exp(real(-y * t))) for y, t in zip(self.labels, z)) / self.divide_by
        N = len(self.labels)
        columns = [[real(t) for t in z[i::N]] for i in range(N)]
        each = (mp.log(mp.fsum(map(mp.exp, s))) - s[label] for s, label in zip(columns, self.labels))
        return mp.fsum(each) / self.divide_by

    def F(self, X: list[Fraction]) -> mp.mpf:
        with mp.workdps(DIGITS):
            X_mp = mp.matrix(self.m, self.n)
            for k, x in enumerate(X):
                X_mp[k // self.n, k % self.n] = real(x)
            tall = X_mp if self.m >= self.n else X_mp.T
            return self.f(X) + real(self.lam) * mp.fsum(mp.svd_r(tall, compute_uv=False))

    # ------------------------------------------------------------------ better points
    def good_point(self, steps: int = 400) -> list[Fraction]:
        """Return a point near the optimum, by accelerated proximal gradient steps in floating point."""
        M = np.zeros((len(self.rows), self.m * self.n))
        for i, row in enumerate(self.rows):
            for k, v in row:
                M[i, k] += float(v)
        at_zero = np.array([float(t) for t in self.outputs([Fraction(0)] * (self.m * self.n))])
        curvature = {"square": 1.0, "huber": 1.0, "logistic": 0.25, "softmax": 0.5}[self.kind]
        beta = (curvature * np.linalg.norm(M, 2) ** 2 / self.divide_by) or 1.0
        X = Y = np.zeros((self.m, self.n))
        t = 1.0
        for _ in range(steps):
            G = (M.T @ self._slope(M @ Y.ravel() + at_zero)).reshape(X.shape) / self.divide_by
            P, s, Q = np.linalg.svd(Y - G / beta, full_matrices=False)
            new = (P * np.maximum(s - float(self.lam) / beta, 0.0)) @ Q
            t_new = 0.5 + np.sqrt(0.25 + t * t)
            Y = new + (t - 1.0) / t_new * (new - X)
            X, t = new, t_new
        return [Fraction(float(x)) for x in X.ravel()]

    def _slope(self, z: np.ndarray) -> np.ndarray:
        if self.kind == "square":
            return z
        if self.kind == "huber":
            return np.clip(z, -float(self.delta), float(self.delta))
        if self.kind == "logistic":
            y = np.array([float(label) for label in self.labels])
            return -y * 0.5 * (1.0 - np.tanh(0.5 * y * z))
        s = z.reshape(-1, len(self.labels))
        P = np.exp(s - s.max(axis=0))
        P /= P.sum(axis=0)
        P[self.labels, np.arange(len(self.labels))] -= 1.0
        return P.ravel()

    def disproves(self, gap: Fraction) -> bool:
        """Return whether a better point is known by more than ``gap``: ``F(X) - F(Y) > gap``, to 45 digits."""
        value = self.F(self.X)
        points = [self.X, [Fraction(0)] * len(self.X)]
        # A corrupted document may have numbers beyond the range of floating point.
        with contextlib.suppress(ValueError, OverflowError, ZeroDivisionError, np.linalg.LinAlgError):
            points.append(self.good_point())
        with mp.workdps(DIGITS):
            return bool(value * (1 - mp.mpf(10) ** -45) - min(self.F(X) for X in points) > real(gap))


def real(x: Fraction | int) -> mp.mpf:
    return mp.mpf(Fraction(x).numerator) / Fraction(x).denominator


def numbers(given: dict[str, Any]) -> list[Fraction]:
    data = base64.b64decode(given["float64"])
    return [Fraction(x) for x in struct.unpack(f"<{len(data) // 8}d", data)]


def matrix(given: dict[str, Any]) -> list[list[Fraction]]:
    flat, width = numbers(given), given["shape"][1]
    return [flat[k : k + width] for k in range(0, len(flat), width)]
