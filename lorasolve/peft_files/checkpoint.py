"""What a trainer's checkpoint says without torch: ``trainer_state.json``."""

from __future__ import annotations

import math
import pathlib
from dataclasses import dataclass
from typing import Any

from .._support.files import PathLike
from .._support.validate import as_path
from .folder import inside, read_json

STATE = "trainer_state.json"
# The optimizer's state, as the Trainer saves it, and as accelerate does and the Trainer where FSDP gathers it.
OPTIMIZER_FILES = ("optimizer.pt", "optimizer.bin")
# What a long run logs.
_LIMIT = 8 * 2**20
_LOSSES = ("loss", "train_loss", "eval_loss")


@dataclass(frozen=True)
class TrainerState:
    """Facts from the log of transformers' Trainer. (The weight decay is not among them.)

    Attributes
    ----------
    steps : int
        Optimizer steps taken.
    largest_step_size : float, optional
        The largest learning rate logged.
    first_loss, last_loss : float, optional
        Training losses logged that are finite.
    zero_gradients, non_finite_gradients : int
        How many logged gradient norms are 0, or not finite.
    non_finite_losses : int
        How many logged losses are not finite, those of evaluations included. The Trainer hides those of training unless
        ``logging_nan_inf_filter`` is off.
    first_non_finite, last_finite : int, optional
        Step of the first entry with one of these that is not finite, and of the last entry before it. It may have begun
        at any step between them.
    optimizer_saved : bool
        Whether the optimizer's state lies beside it, which holds weight decay and smoothed gradients and needs torch.
    """

    steps: int
    largest_step_size: float | None
    first_loss: float | None
    last_loss: float | None
    zero_gradients: int
    non_finite_gradients: int
    non_finite_losses: int
    first_non_finite: int | None
    last_finite: int | None
    optimizer_saved: bool


def read_trainer_state(folder: PathLike) -> TrainerState | None:
    """Return what a checkpoint's log says, None where there is none.

    Raises
    ------
    UnreadableError
        If there is one and it is malformed.
    """
    folder = pathlib.Path(as_path(folder, "folder"))
    if not (folder / STATE).exists():
        return None
    document = read_json(inside(folder, STATE), _LIMIT)
    log = document.get("log_history")
    rows = [row for row in log if isinstance(row, dict)] if isinstance(log, list) else []

    def logged(key: str) -> list[float]:
        return [float(row[key]) for row in rows if isinstance(row.get(key), int | float) and abs(row[key]) < 1e300]

    def all_logged(key: str) -> list[float]:
        return [float(row[key]) for row in rows if isinstance(row.get(key), float)]

    losses, norms = logged("loss"), all_logged("grad_norm")
    last_finite, first_non_finite = _where_it_broke(rows)
    return TrainerState(
        steps=_count(document.get("global_step")) or 0,
        largest_step_size=max(logged("learning_rate"), default=None),
        first_loss=losses[0] if losses else None,
        last_loss=losses[-1] if losses else None,
        zero_gradients=sum(value == 0 for value in norms),
        non_finite_gradients=sum(not math.isfinite(value) for value in norms),
        non_finite_losses=sum(not math.isfinite(value) for key in _LOSSES for value in all_logged(key)),
        first_non_finite=first_non_finite,
        last_finite=last_finite,
        optimizer_saved=(folder / optimizer_file(folder)).exists(),
    )


def _where_it_broke(rows: list[dict[str, Any]]) -> tuple[int | None, int | None]:
    """Return the steps of the last entry before the first that is not finite, and of that one."""
    before = None
    for row in rows:
        step = _count(row.get("step"))
        if step is None:
            continue
        values = [row[key] for key in ("grad_norm", *_LOSSES) if isinstance(row.get(key), float)]
        if not all(map(math.isfinite, values)):
            return before, step
        before = step if values else before
    return None, None


def _count(value: Any) -> int | None:
    """Return a number of steps, None for what is none."""
    return value if type(value) is int and 0 <= value < 2**63 else None


def optimizer_file(folder: PathLike) -> str:
    """Return the name of the optimizer's state in a checkpoint, the usual one where there is none."""
    folder = pathlib.Path(as_path(folder, "folder"))
    return next((name for name in OPTIMIZER_FILES if (folder / name).exists()), OPTIMIZER_FILES[0])
