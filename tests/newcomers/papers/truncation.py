"""The truncated SVD is the nearest matrix of its rank.

Source: C. Eckart, G. Young, Psychometrika 1 (1936).
"""

import numpy as np

from lorasolve.papers import Claim, PaperClaims


def excesses(seeds):
    """Return by seed how much farther a random matrix of rank 2 is from a random matrix than its truncation."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        M, near = rng.standard_normal((6, 5)), rng.standard_normal((6, 2)) @ rng.standard_normal((2, 5))
        found.append(float(np.linalg.norm(M - near) - np.linalg.norm(np.linalg.svd(M)[1][2:])))
    return found


class TruncationClaims(PaperClaims):
    """The one claim."""

    name = "truncation"
    paper = "Eckart and Young (Psychometrika 1)"
    summary = "distances of random matrices of rank 2 beside that of the truncation"
    seeds = "0-9 (quick: 0-2)"
    size = (6.0, 3.8)
    parts = {"excesses": excesses}

    def settings(self, quick):
        """Return fewer seeds for a quick run."""
        return {"excesses": {"seeds": 3 if quick else 10}}

    def report(self, found):
        """Return the least excess."""
        return f"least excess {min(found['excesses']):.3f}"

    def picture(self, found, figure):
        """Draw the excesses."""
        figure.subplots().plot(found["excesses"], "o")

    def judge(self, found):
        """Return the claim beside the least excess."""
        least = min(found["excesses"])
        return [Claim("no matrix of rank 2 is nearer", "confirmed", f"least excess {least:.3f}", least >= 0.0)]
