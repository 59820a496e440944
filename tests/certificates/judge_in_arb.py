"""A judge in ball arithmetic (python-flint), run as a process of its own: reads cases, prints what is wrong.

With python-flint importable SymPy changes its ground types, so nothing else may be imported beside it.
"""

import json
import sys

from flint import arb, arb_mat, ctx

ctx.prec = 400


def matrix(rows):
    return arb_mat([[arb(float.fromhex(value)) for value in row] for row in rows])


def positive_definite(W):
    """True only if proved, by elimination on the lower triangle."""
    n = W.nrows()
    L = [[W[i, j] for j in range(i + 1)] for i in range(n)]
    for j in range(n):
        if not L[j][j] > 0:
            return False
        column = [L[i][j] for i in range(j + 1, n)]
        for i in range(j + 1, n):
            share = L[i][j] / L[j][j]
            for k in range(j + 1, i + 1):
                L[i][k] -= share * column[k - j - 1]
    return True


def norm_below(G, bound):
    """True only if ``||G||_2 < bound (1 + 2^-300)`` is proved."""
    W = -(G.transpose() * G)
    square = bound * bound * (1 + arb(2) ** -300) + arb(2) ** -390
    return positive_definite(
        arb_mat([[W[i, j] + (square if i == j else 0) for j in range(W.ncols())] for i in range(W.nrows())])
    )


def outputs_derivative(kind, s, labels):
    K, N = s.nrows(), s.ncols()
    D = [[None] * N for _ in range(K)]
    value = arb(0)
    for i in range(N):
        if kind == "softmax":
            e = [s[c, i].exp() for c in range(K)]
            total = sum(e, arb(0))
            value += total.log() - s[labels[i], i]
            for c in range(K):
                D[c][i] = (e[c] / total - (1 if c == labels[i] else 0)) / N
        else:
            for c in range(K):
                y = int(labels[c][i])
                value += (1 + (-y * s[c, i]).exp()).log()
                D[c][i] = -y / (1 + (y * s[c, i]).exp()) / N
    return value / N, arb_mat(D)


def violations(case):
    """Names of the numbers of a case that are not proved to be right."""
    kind = case["kind"]
    number = {name: arb(float.fromhex(value)) for name, value in case["bounds"].items()}
    if kind == "norm":
        return [] if norm_below(matrix(case["G"]), number["norm"]) else ["norm"]
    A, B, W0, Z = (matrix(case[name]) for name in ("A", "B", "W0", "Z"))
    X = A * B.transpose()
    s = (W0 + X) * Z
    if kind == "linear":
        R = s - matrix(case["Y"])
        value = sum((R[i, j] ** 2 for i in range(R.nrows()) for j in range(R.ncols())), arb(0)) / (2 * R.ncols())
        G = R * Z.transpose() * (1 / arb(R.ncols()))
    else:
        value, D = outputs_derivative(kind, s, case["labels"])
        G = D * Z.transpose()
    mid = matrix(case["mid"])
    cells = [(i, j) for i in range(G.nrows()) for j in range(G.ncols())]
    distance = sum(((G[i, j] - mid[i, j]) ** 2 for i, j in cells), arb(0)).sqrt()
    inner = sum((G[i, j] * X[i, j] for i, j in cells), arb(0))
    holds = {
        "f": number["f_low"] <= value and value <= number["f_high"],
        "radius": distance <= number["radius"],
        "inner": inner <= number["inner"],
        "norm": norm_below(G if G.ncols() <= G.nrows() else G.transpose(), number["norm"]),
    }
    return [name for name, held in holds.items() if not held]


if __name__ == "__main__":
    json.dump([violations(case) for case in json.load(sys.stdin)], sys.stdout)
