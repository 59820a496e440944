"""The sharp threshold
===================

How badly conditioned must a quadratic be to make a given point spurious? Semidefinite programming, re-checked.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lorasolve import landscape


def run(quick: bool = False) -> dict[str, Any]:
    """Print the threshold at right angles for three lengths, and a small map over angle and length."""
    X_star = np.diag([1.0, 0.0])
    thresholds = {}
    for scale in (1.0, 0.4, 0.5):
        a = np.sqrt(scale) * np.array([[0.0], [1.0]])
        found = landscape.sharp_threshold(a, a, X_star)
        thresholds[scale] = found
        print(
            f"orthogonal, length {scale}: beta/alpha >= {found.kappa:.4f}, re-checked in "
            f"[{found.kappa_low:.4f}, {found.kappa_high:.4f}], feasible: {found.feasible}"
        )
    degrees, scales = ([60, 90], [0.5, 1.0]) if quick else ([30, 45, 60, 75, 90], [0.25, 0.5, 0.75, 1.0, 1.5])
    table = landscape.threshold_map(np.radians(degrees).tolist(), scales)
    print("\nangle  " + "".join(f"{scale:>9.2f}" for scale in scales))
    for angle, row in zip(degrees, table):
        print(f"{angle:5d}  " + "".join(f"{value:9.3f}" for value in row))
    return {"thresholds": thresholds, "map": table}


if __name__ == "__main__":
    run()
