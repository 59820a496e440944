"""How a benchmark item lists the programs it compares."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# What a sample did: seconds per unit of work, and a value that all peers of an item must agree on.
Sample = tuple[float, float]


def threads() -> int:
    """Return how many threads this process was given, for programs that are told so by an argument."""
    return int(os.environ["OMP_NUM_THREADS"])


@dataclass(frozen=True)
class Peer:
    """One program on one item.

    Attributes
    ----------
    name : str
        As printed.
    prepare : callable
        ``prepare(quick)`` builds the data and returns a function that takes one sample.
    threads : int
        Threads allowed (all pools).
    needs : str
        Module that must be importable, else the peer is skipped and the table says so.
    ours : bool
        Whether this is the row that ratios are taken against.
    goal : tuple of float, optional
        The ratio to this peer that must be reached, and the one aimed at.
    repeats : int
        Most samples taken (slow peers get fewer).
    checked : bool
        Whether its value must agree with the others' (False for programs that minimise something else).
    full_only : bool
        Left out with ``--quick``.
    limit_part : float
        The part of the item's limit that holds for this program (below 1 where it reads fewer bytes, or multiplies in
        single precision).
    """

    name: str
    prepare: Callable[[bool], Callable[[], Sample]]
    threads: int = 2
    needs: str = "numpy"
    ours: bool = False
    goal: tuple[float, float] | None = None
    repeats: int = 5
    checked: bool = True
    full_only: bool = False
    limit_part: float = 1.0


@dataclass
class Item:
    """One kind of work and the programs that do it.

    ``seconds`` are what may be taken by the first lorasolve row at most, and what is aimed at.
    """

    key: str
    title: str
    peers: list[Peer] = field(default_factory=list)
    rtol: float = 1e-6
    limit: Callable[[dict[str, float]], float] | None = None
    limit_text: str = ""
    remark: str = ""
    seconds: tuple[float, float] | None = None

    def peer(self, name: str, **options: Any) -> Callable[[Any], Any]:
        """Register the decorated ``prepare`` function."""

        def register(prepare: Any) -> Any:
            self.peers.append(Peer(name, prepare, **options))
            return prepare

        return register


def timed(
    work: Callable[[], Any],
    check: Callable[[Any], float],
    units: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Callable[[], Sample]:
    """Return a sampler that times ``work`` (repeated up to 0.15 s) and checks what it returned, untimed."""

    def sample() -> Sample:
        repeats, started = 0, clock()
        while repeats == 0 or clock() - started < 0.15:
            answer = work()
            repeats += 1
        seconds = (clock() - started) / repeats
        return seconds / units, check(answer)

    return sample
