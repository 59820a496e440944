"""Lists of recommendations
========================

The best predictions do not make the best lists: the error of predictions, and the share of hits in lists of ten, by
what means are taken off first. On your ratings (``python examples/recommendations.py FILE LAM``) or on synthetic ones.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from lorasolve.io import Ratings, read_ratings
from lorasolve.models import CompletionModel, fit_completion

COUNT = 10
LIKED = 4.0


@dataclass(frozen=True)
class Entries:
    """Ratings by their labels."""

    users: np.ndarray
    items: np.ndarray
    stars: np.ndarray

    def liked(self) -> set[tuple[object, object]]:
        """Return who likes what."""
        likes = self.stars >= LIKED
        return set(zip(self.users[likes].tolist(), self.items[likes].tolist()))


def synthetic(n_users: int, n_items: int) -> Ratings:
    """Return ratings from 1 to 5: few items are rated often and most a few times, and what is liked is rated more."""
    rng = np.random.default_rng(0)
    popular = rng.standard_normal(n_items)
    taste = 0.5 * rng.standard_normal((n_users, 2)) @ rng.standard_normal((2, n_items))
    stars = np.clip(np.rint(3.0 + 0.3 * popular + taste + 0.8 * rng.standard_normal(taste.shape)), 1, 5)
    users, items = np.nonzero(rng.random(taste.shape) < 0.015 * np.exp(1.8 * popular + 0.3 * taste))
    return Ratings.from_labels(users, items, stars[users, items])


def hold_out(ratings: Ratings, seed: int = 0) -> tuple[Entries, Entries]:
    """Return nine tenths of the ratings, and the tenth that is held out."""
    users, items = ratings.row_labels[ratings.rows], ratings.col_labels[ratings.cols]
    order = np.random.default_rng(seed).permutation(len(ratings.values))
    parts = np.split(order, [len(order) // 10])
    held, train = (Entries(users[part], items[part], ratings.values[part]) for part in parts)
    return train, held


def hits(users: np.ndarray, items: np.ndarray, held: Entries) -> float:
    """Return the share of recommendations that are held out, and that their user likes."""
    liked = held.liked()
    return sum(pair in liked for pair in zip(users.tolist(), items.tolist())) / len(users)


def most_rated(model: CompletionModel, train: Entries) -> tuple[np.ndarray, np.ndarray]:
    """Return for each user the items that are rated most, but for those that the user has rated."""
    items, counts = np.unique(train.items, return_counts=True)
    by_count = items[np.argsort(-counts, kind="stable")].tolist()
    rated: dict[object, set[object]] = {user: set() for user in model.row_labels.tolist()}
    for user, item in zip(train.users.tolist(), train.items.tolist()):
        rated[user].add(item)
    pairs = [(user, item) for user in rated for item in [i for i in by_count if i not in rated[user]][:COUNT]]
    users, best = zip(*pairs)
    return np.array(users), np.array(best)


def compare_means(ratings: Ratings, lam: float) -> dict[str, tuple[float, float]]:
    """Return and print the error of predictions and the share of hits of each kind of means."""
    train, held = hold_out(ratings)
    fitted = Ratings.from_labels(train.users, train.items, train.stars)
    found = {}
    for means in ("both", "rows", "global"):
        model = fit_completion(fitted, lam, means).model
        error = float(np.sqrt(np.mean((model.predict(held.users, held.items) - held.stars) ** 2)))
        users, items, _ = model.best_columns(model.row_labels, COUNT, without=(train.users, train.items))
        found[f"--means {means}"] = error, hits(users, items, held)
    found["the items rated most"] = np.nan, hits(*most_rated(model, train), held)
    print(f"{len(train.stars)} ratings, {len(held.stars)} held out, lam = {lam:g}")
    print(f"{'':22}{'error':>8}  hits in lists of ten")
    for name, (error, share) in found.items():
        print(f"{name:22}{'' if np.isnan(error) else f'{error:.3f}':>8}  {share:.3f}")
    return found


def run(quick: bool = False) -> dict[str, tuple[float, float]]:
    """Compare lists of synthetic ratings."""
    return compare_means(synthetic(*((200, 300) if quick else (900, 1600))), lam=4.0 if quick else 8.0)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        run()
    elif len(sys.argv) == 3:
        compare_means(read_ratings(sys.argv[1]), float(sys.argv[2]))
    else:
        sys.exit(f"expected FILE and LAM, or nothing, got {' '.join(sys.argv[1:])}")
