"""DoRA
====

DoRA's correlation of direction and length: its sign comes from the target, not from the method.
"""

from __future__ import annotations

from lorasolve.papers.dora import METHODS, PUBLISHED, TARGETS, correlations


def run(quick: bool = False) -> dict[str, dict[str, float]]:
    """Tune on three kinds of targets; return the correlation of the two changes by kind and method."""
    found = correlations(problems=6 if quick else 12, repeats=1)
    values = {kind: {name: table[name][0] for name in METHODS} for kind, table in found.items()}
    print(f"{'correlation of':20}" + "".join(f"  {name:>6}" for name in METHODS))
    for kind in TARGETS:
        print(f"{kind:20}" + "".join(f"  {values[kind][name]:+{max(6, len(name))}.2f}" for name in METHODS))
    print(f"{'published':20}" + "".join(f"  {value:+6.2f}" for value in PUBLISHED.values()))
    return values


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "papers/dora.png"
