"""A census of critical points
===========================

Two measurements of a 2 x 2 matrix: a spurious minimum at rank 1, none at rank 2. A census of 40 starts a scale.
"""

from __future__ import annotations

from typing import Any

import lorasolve as ls
from lorasolve import landscape


def run(quick: bool = False) -> dict[str, Any]:
    """Count where L-BFGS ends."""
    f = landscape.instances.two_by_two()
    found = {}
    for rank in (1, 2):
        problem = ls.Problem(f, rank=rank, lam=f.lam)
        found[rank] = landscape.census(problem, 15 if quick else 40, scales=(0.3, 3.0))
        print(f"rank {rank}\n{found[rank]}\n")
    return found


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "papers/init_bias.png"
