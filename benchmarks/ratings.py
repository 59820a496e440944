"""Synthetic ratings in the shapes of the MovieLens sets, whose data may not be shipped: same sizes, similar spectra.

Users and items have long-tailed activity; a rating is a mean, two biases and a product of factors with a falling
spectrum, plus noise, rounded to 1..5. A tenth of the entries more than asked for is held out.

    python benchmarks/ratings.py 100k ratings.data

writes all entries, those held out among them, as a file that ``lorasolve`` reads.
"""

from __future__ import annotations

import argparse
import os
import pathlib
from typing import NamedTuple

import numpy as np

# Users, items, ratings.
SHAPES = {"100k": (943, 1682, 100_000), "1m": (6040, 3706, 1_000_000), "10m": (71_567, 10_681, 10_000_000)}
SEED = 17
DIRECTIONS = 200


class Entries(NamedTuple):
    """Positions and centred values."""

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray

    @property
    def nbytes(self) -> int:
        """Size of the three arrays."""
        return sum(array.nbytes for array in self)


class Ratings(NamedTuple):
    """Entries to fit, entries held out, and the shape."""

    train: Entries
    test: Entries
    shape: tuple[int, int]

    def rmse(self, A: np.ndarray, B: np.ndarray) -> float:
        """Return the root mean squared error of ``A B^T`` on the entries held out."""
        rows, cols, values = self.test
        step = 100_000
        parts = (slice(k, k + step) for k in range(0, values.size, step))
        errors = (np.einsum("ij,ij->i", A[rows[p]], B[cols[p]]) - values[p] for p in parts)
        return float(np.sqrt(sum(float(e @ e) for e in errors) / values.size))


def ratings(name: str) -> Ratings:
    """Return the ratings of one of ``SHAPES``."""
    m, n, count = SHAPES[name]
    rng = np.random.default_rng(SEED)
    place = _places(rng, m, n, count + count // 10)
    rows, cols = np.divmod(place, n)
    spectrum = 1.0 / np.arange(1.0, DIRECTIONS + 1) ** 0.7
    spectrum *= 0.6 / np.linalg.norm(spectrum)
    U, V = rng.standard_normal((m, DIRECTIONS)) * spectrum, rng.standard_normal((n, DIRECTIONS))
    values = 3.6 + 0.4 * rng.standard_normal(m)[rows] + 0.5 * rng.standard_normal(n)[cols]
    values += 0.8 * rng.standard_normal(place.size)
    for k in range(0, place.size, 100_000):
        part = slice(k, k + 100_000)
        values[part] += np.einsum("ij,ij->i", U[rows[part]], V[cols[part]])
    values = np.clip(np.rint(values), 1.0, 5.0)
    order = rng.permutation(place.size)
    train, test = order[:count], order[count:]
    mean = values[train].mean()
    fit, held = (Entries(rows[part], cols[part], values[part] - mean) for part in (train, test))
    return Ratings(fit, held, (m, n))


def movielens() -> Ratings:
    """Return MovieLens-100k, which everybody has to bring, in nine tenths to fit and one held out."""
    path = os.environ.get("LORASOLVE_MOVIELENS")
    if path is None:
        raise FileNotFoundError("set LORASOLVE_MOVIELENS to the file u.data of MovieLens-100k, which is not shipped")
    table = np.loadtxt(path, usecols=(0, 1, 2))
    table = table[np.random.default_rng(0).permutation(len(table))]
    rows, cols = table[:, :2].astype(int).T - 1
    count = int(0.9 * len(table))
    mean = table[:count, 2].mean()
    fit, held = (Entries(rows[part], cols[part], table[part, 2] - mean) for part in (slice(count), slice(count, None)))
    return Ratings(fit, held, SHAPES["100k"][:2])


def _places(rng: np.random.Generator, m: int, n: int, count: int) -> np.ndarray:
    """Return ``count`` distinct positions ``i n + j``, drawn with the users' and the items' activities."""
    users, items = (np.exp(sigma * rng.standard_normal(size)) for size, sigma in ((m, 1.0), (n, 1.3)))
    users, items = (np.cumsum(weight) / weight.sum() for weight in (users, items))
    found = np.empty(0, np.int64)
    while found.size < count:
        i = np.searchsorted(users, rng.random(count)).clip(max=m - 1)
        j = np.searchsorted(items, rng.random(count)).clip(max=n - 1)
        found = np.union1d(found, i * n + j)
    return rng.permutation(found)[:count]


def write(name: str, path: pathlib.Path) -> None:
    """Write the ratings of one of ``SHAPES``, a line an entry: user, item, rating around the mean."""
    lines = (f"{i}\t{j}\t{v:.6g}\n" for part in ratings(name)[:2] for i, j, v in zip(*part))
    path.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(SHAPES), help="the shape")
    parser.add_argument("path", type=pathlib.Path, help="where to write")
    given = parser.parse_args()
    write(given.name, given.path)
