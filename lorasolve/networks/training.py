"""Full-batch training of the factors to stationarity, and a verdict on where it ended."""

from __future__ import annotations

import contextlib
import pathlib
import time
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from .._support.files import PathLike, require_writable, write_atomically
from .._support.hints import CERTIFY, MANY_STARTS
from .._support.validate import as_flag, as_float_array, as_integer, as_iterable, as_number, as_path
from ..engine import solve
from ..monitor import StoppingRule
from ..multi import MultiProblem
from ..problem.pairs import Pairs, unlisted
from ..result import Result
from ..status import Status
from ._torch import differentiating, require_torch
from .adapted import narrowed
from .gradients import Network
from .judge import factors_of, judge, require_curvature
from .linearize import require_outputs
from .training_objective import as_convexity, in_short
from .verdict import NetworkVerdict

# Seconds from one checkpoint to the next.
SAVE_EVERY = 30.0


@dataclass(frozen=True, eq=False)
class FineTuned:
    """The end of a full-batch run.

    Attributes
    ----------
    verdict : NetworkVerdict
        What the end is.
    result : Result
        The run: why it stopped, its trace.
    factors : sequence of (A_l, B_l)
        The trained factors, ``A = lora_B`` and ``B = lora_A^T``, in the precision in which the model holds them.
    """

    verdict: NetworkVerdict
    result: Result = field(repr=False)
    factors: Pairs = field(repr=False)

    def __str__(self) -> str:
        return f"{self.result.message}\n{self.verdict}"


@differentiating
def fine_tune(
    model: Any,
    loss: Any,
    batches: Iterable[Any],
    lam: float,
    *,
    rank: int | None = None,
    init: str | tuple[Any, Any] | None = None,
    seed: int = 0,
    max_calls: int = 1000,
    grad_tol: float = 1e-8,
    checkpoint: PathLike | None = None,
    progress: bool = False,
    layers: str | Sequence[str] | None = None,
    adapter: str | None = None,
    dtype: Any = "float64",
    convex_loss: bool | None = None,
    tangent_solve: bool = False,
    second: bool = False,
    others: Sequence[NetworkVerdict | Pairs] = (),
    tol: float = 1e-3,
) -> FineTuned:
    """Minimise ``mean loss + (lam/2) sum (||lora_A||^2 + ||lora_B||^2)`` over the whole data set by L-BFGS, and judge.

    Parameters
    ----------
    model, loss, batches, lam
        As for :func:`judge`.
    rank : int, optional
        For a plain model with ``layers``; a model with LoRA layers brings its own.
    init : str or (A, B), optional
        Where to start: an init of ``lorasolve list``, or factors, one array a layer, or a list of pairs such as
        ``factors`` of what is returned. By default the factors that the model holds, and ``"lora"`` for a plain model.
    seed : int
        Of a named init.
    max_calls : int
        Most evaluations of the data set.
    grad_tol : float
        As for :class:`~lorasolve.StoppingRule`.
    checkpoint : path, optional
        Where the factors are kept during the run; a run that finds the file of an earlier one goes on from there,
        wherever ``init`` or the model would begin, and says so in its message.
    progress : bool
        Show a progress line.
    layers, adapter, dtype, convex_loss, tangent_solve, second, others, tol
        As for :func:`judge`.

    Returns
    -------
    FineTuned
        The trained factors are also put into the LoRA layers of the model, where it has some, and judged as these
        hold them: in bfloat16 that is another point. Where only the trained point shows that ``tangent_solve`` or
        ``second`` is refused, the verdict is one without them, and the last of its premises says why.

    Raises
    ------
    ValueError, TypeError
        See :class:`Network`; for a checkpoint of another problem, and for LoRA layers with a frozen factor.
    OSError
        For a checkpoint that cannot be written, before the training where that shows; after it the model is trained
        all the same.

    Warns
    -----
    RuntimeWarning
        Where only that is found after the training of a plain model, whose factors are in what is returned alone.
    """
    lam = as_number(lam, "lam", 0.0)
    tol = as_number(tol, "tol", 0.0, 1.0, open_low=True, open_high=True)
    max_calls = as_integer(max_calls, "max_calls", 1)
    seed = as_integer(seed, "seed", 0)
    if layers is not None and not isinstance(layers, str):
        layers = tuple(as_iterable(layers, "layers"))  # they are gone through again at the end
    path = None if checkpoint is None else pathlib.Path(as_path(checkpoint, "checkpoint"))
    if path is not None and not path.exists():
        require_writable(path, "checkpoint")
    network = Network(model, loss, batches, layers=layers, adapter=adapter, dtype=dtype)
    convex_loss = as_convexity(convex_loss, tangent_solve)
    if tangent_solve:
        require_outputs(network)
    if as_flag(second, "second"):
        require_curvature(network)
    rivals = factors_of(others, network)
    held = network.point
    if held is not None:
        _refuse_frozen(network)
    ranks = _ranks(network, held, rank)
    network.require_same_data(network.zeros() if held is None else held)
    problem = MultiProblem(network, ranks, lam)
    resumed = path is not None and path.exists()
    start = _start(problem, init, path, network, held)
    saver = None if path is None else _Saver(path, problem)
    stop = StoppingRule(max_iter=max_calls, grad_tol=grad_tol, max_calls=max_calls)
    result = solve(problem, "lbfgs", start, seed, stop=stop, callback=saver, progress=progress)
    result.message = _how_it_ended(result, max_calls, path is not None, held is not None)
    if resumed:  # neither init nor the model says then where it began
        result.message += f"; the run went on from the factors in {path}"
    factors: Pairs = list(zip(result.A, result.B))
    if held is not None:
        factors = _put(network, factors)
    if saver is not None:  # last: where the disk is full the model has been trained all the same
        saver.end(result.theta, in_model=held is not None)
    judged = partial(
        judge,
        model,
        loss,
        batches,
        lam,
        layers=layers,
        adapter=adapter,
        dtype=dtype,
        convex_loss=convex_loss,
        factors=factors,
        others=rivals,
        tol=tol,
        progress=progress,
    )
    return FineTuned(_verdict(judged, tangent_solve=tangent_solve, second=second), result, factors)


def _how_it_ended(result: Result, max_calls: int, on_disk: bool, in_model: bool) -> str:
    """Return the message of a run; that of the engine speaks of a problem, and of an end that is not judged."""
    if result.status not in (Status.CALL_LIMIT, Status.ITERATION_LIMIT):
        return result.message.replace(CERTIFY, "").replace(MANY_STARTS.python, "")
    end = "the same checkpoint" if on_disk else "the same model" if in_model else "init=(result.A, result.B)"
    return (
        f"lbfgs: the limit of {max_calls} evaluations of the data was reached; raise max_calls, or call again with "
        f"{end} to go on from there"
    )


def _verdict(judged: Callable[..., NetworkVerdict], **asked: bool) -> NetworkVerdict:
    """Return the verdict; training is dear, what only the trained point shows to be impossible is left out of it."""
    try:
        return judged(**asked)
    except ValueError as error:
        found = judged()
        return replace(found, premises=(*found.premises, f"left out of the judgement, because refused: {error}"))


def _refuse_frozen(network: Network) -> None:
    frozen = [layer.name for layer in network.layers if not (layer.lora_A.requires_grad and layer.lora_B.requires_grad)]
    if frozen:
        raise ValueError(
            f"model: {in_short(frozen)}: expected factors that are trained (requires_grad_(True), is_trainable=True "
            "where PEFT loads an adapter), got frozen ones"
        )


def _start(
    problem: MultiProblem, init: Any, checkpoint: pathlib.Path | None, network: Network, held: Pairs | None
) -> Any:
    """Return what a run starts from: a checkpoint, what is given, the factors of the model, or ``"lora"``."""
    init = unlisted(init, "init")
    if isinstance(init, tuple) and len(init) == 2:  # refused if it does not fit, resumed or not
        init = problem.unpaired(narrowed(problem.checked_factors(*init, np.float64, any_rank=True)))
    if checkpoint is not None and checkpoint.exists():
        return _resumed(checkpoint, problem)
    if init is None and held is not None:
        return problem.unpaired(narrowed(_finite(network, held)))
    return "lora" if init is None else init


def _ranks(network: Network, held: Pairs | None, rank: int | None) -> list[int]:
    if held is None:
        if rank is None:
            raise ValueError("rank: has to be given for a model without LoRA layers")
        return [min(as_integer(rank, "rank", 1), *shape) for shape in network.shapes]
    own = [A.shape[1] for A, _ in held]
    if rank is not None and set(own) != {as_integer(rank, "rank", 1)}:
        raise ValueError(f"rank: the LoRA layers of the model have rank {sorted(set(own))}, got {rank}; leave it out")
    return [min(r, *shape) for r, shape in zip(own, network.shapes)]


def _finite(network: Network, held: Pairs) -> Pairs:
    """Return the factors that the layers hold if they are finite, to start from."""
    bad = [layer.name for layer, pair in zip(network.layers, held) if not all(np.isfinite(M).all() for M in pair)]
    if bad:
        raise ValueError(f"model: {', '.join(bad)}: expected factors of finite numbers to start from; or give init")
    return held


def _put(network: Network, factors: Pairs) -> Pairs:
    """Put factors into the first columns of the LoRA layers, and return what their precision leaves of them."""
    torch = require_torch()
    with torch.no_grad():
        for layer, (A, B) in zip(network.layers, factors):
            rank = A.shape[1]
            layer.lora_B.zero_()[:, :rank] = torch.as_tensor(A).reshape(-1, rank, *layer.lora_B.shape[2:])
            layer.lora_A.zero_()[:rank] = torch.as_tensor(B.T.copy()).reshape(rank, *layer.lora_A.shape[1:])
            if layer.still is not None:  # the loss does not see it, and the penalty is the less
                layer.lora_A[:, layer.still] = 0.0
    return [layer.factors for layer in network.layers]


class _Saver:
    """Keeps the parameters of a run on disk, every half minute."""

    def __init__(self, path: pathlib.Path, problem: MultiProblem) -> None:
        self.path, self.problem, self.saved = path, problem, time.perf_counter()

    def __call__(self, point: Any) -> None:
        if time.perf_counter() - self.saved > SAVE_EVERY:
            # The run goes on where the disk is full for a while; what is still wrong at its end is said there.
            with contextlib.suppress(OSError):
                self.save(point.theta)

    def save(self, theta: Any) -> None:
        """Write the parameters, with what they are parameters of."""
        fields = {"theta": theta, "lam": self.problem.lam, "shapes": self.problem.shapes, "ranks": self.problem.ranks}
        write_atomically(self.path, lambda file: np.savez(file, **fields))  # type: ignore[arg-type]
        self.saved = time.perf_counter()

    def end(self, theta: Any, in_model: bool) -> None:
        """Write the parameters of the end, which only what is returned has where the model does not hold them."""
        try:
            self.save(theta)
        except OSError as error:
            if in_model:
                raise
            text = f"checkpoint: the trained factors are not in {self.path}: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=4)  # of who called fine_tune, which is decorated


def _resumed(path: pathlib.Path, problem: MultiProblem) -> tuple[Any, Any]:
    """Return the factors of a checkpoint of the same problem."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            theta, lam, shapes, ranks = (stored[key] for key in ("theta", "lam", "shapes", "ranks"))
    # A TypeError where the file is a single array.
    except (OSError, TypeError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        # NumPy takes anything else for a pickle, and says how to trust it.
        known = isinstance(error, OSError) or zipfile.is_zipfile(path)
        why = error if known else "it is no .npz archive, as fine_tune writes it"
        raise ValueError(f"checkpoint: {path} cannot be read: {why}") from None
    same = shapes.tolist() == [list(s) for s in problem.shapes] and ranks.tolist() == list(problem.ranks)
    if not same or lam.tolist() != problem.lam or theta.shape != (problem.size,):
        raise ValueError(f"checkpoint: {path} is of another problem (shapes, ranks or lam differ)")
    A, B, _ = problem.split(as_float_array(theta, f"checkpoint: {path}", 1, np.float64))
    return A, B
