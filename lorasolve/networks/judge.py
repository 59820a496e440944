"""What is this trained network? One verdict, premises first; "global" only where the loss is convex in the updates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from .._support.validate import as_choice, as_flag, as_integer, as_iterable, as_number, shown
from ..problem.pairs import Pairs, as_finite_pairs, as_pairs
from ._evidence import Evidence
from ._torch import differentiating, processes
from .affine_outputs import outputs_are_affine
from .decisions import of_further_evidence, of_one_gradient
from .gradients import Network
from .linearize import require_outputs
from .training_objective import DECAYS, Decay, TrainingObjective, as_convexity
from .verdict import NetworkVerdict

# Relative gap to which the tangent problem is solved, and away from stationarity, where it takes longest, the share of
# the tolerance.
SHARP, ROUGH = 1e-7, 0.1


@differentiating
def judge(
    model: Any,
    loss: Any,
    batches: Iterable[Any],
    lam: float,
    *,
    lam_kind: Decay = "l2",
    convex_loss: bool | None = None,
    lower_bound: float = 0.0,
    tangent_solve: bool = False,
    time_limit: float | None = None,
    second: bool = False,
    max_products: int = 600,
    others: Sequence[NetworkVerdict | Pairs] = (),
    factors: Pairs | None = None,
    layers: str | Sequence[str] | None = None,
    adapter: str | None = None,
    dtype: Any = "float64",
    tol: float = 1e-3,
    progress: bool = False,
) -> NetworkVerdict:
    """Say what the trained updates of a network are, from one pass over the data behind one that tries the layers.

    Where they are not stationary, or loud, a second pass without them, forwards only, says whether they are worse than
    none.

    Parameters
    ----------
    model : torch.nn.Module
        With LoRA layers (of PEFT or one's own), or with ``layers`` and ``factors`` given.
    loss : callable
        ``loss(model, batch)`` returns one loss a sample; :class:`CrossEntropy` and :class:`SquareLoss` also show the
        outputs.
    batches : iterable
        The training set in full; it has to bear several passes, with the same samples in each. With
        torch.distributed, the share of this process.
    lam : float
        Weight decay in ``mean loss + (lam/2) sum (||lora_A||^2 + ||lora_B||^2)``.
    lam_kind : {"l2", "decoupled", "none"}
        How the run applied it. Only a penalty in the loss makes the statements of this function apply.
    convex_loss : bool, optional
        Whether the loss is convex in the outputs of the network, which an :class:`OutputLoss` is unless this says that
        it is not. Of another loss nothing is known where this does not say so: there is no gap then, as where it is not
        convex, and nothing is optimal.
    lower_bound : float
        A number below every loss. Where a loss of the data is below it, there is no gap.
    tangent_solve : bool
        Solve the tangent problem too, for the sharp gap; away from stationarity to a tenth of ``tol``. Ctrl-C ends that
        early, and the verdict says what was known then.
    time_limit : float, optional
        Seconds after which the solution of the tangent problem ends, in the same way.
    second : bool
        Search the Hessian of the objective for negative curvature. A product with it takes two to three gradients.
        Ctrl-C ends the search alone.
    max_products : int
        At most so many of them, at least 50; the search ends earlier where it has its answer.
    others : sequence of NetworkVerdict or of factors
        Points of other runs of this network: a better one refutes this one.
    factors : sequence of (A_l, B_l), optional
        The point, ``X_l = A_l B_l^T`` unscaled (``A = lora_B``, ``B = lora_A^T``); by default what the model holds.
    layers, adapter
        See :func:`adapted_layers`.
    dtype : {"float64", "float32"}
        In which the network is evaluated. Gaps below about 1e-3 need float64.
    tol : float
        Relative gap, below 1, up to which a point is called optimal in the tangent problem, or is global.
    progress : bool
        Show a progress line while the data are gone through, the network is linearised, its tangent problem solved and
        its curvature searched.

    Returns
    -------
    NetworkVerdict

    Raises
    ------
    ValueError, TypeError
        See :class:`Network`; for several processes with ``tangent_solve`` or ``second``, and for the latter in float32.

    Notes
    -----
    The first that applies: non-finite; loud (away from stationarity: full rank, ``||X||_2 > ||W||_2`` and a gap above
    0.1); no premise (no penalty in the loss); refuted or else inconclusive, where values of a batch contradict the
    gradient (tried in float64, along random directions, on the first 32 batches and fewer and fewer later ones); not
    converged; rank too small or saddle (``F`` falls to first order along a rank-one direction outside the spaces of the
    updates: rank too small where the layer has no empty column left for it); saddle (negative curvature); refuted;
    global; tangent-optimal. Source: main paper, sections 2 and 5 and Theorem 2; proofs/tangent_certificate.
    """
    lam = as_number(lam, "lam", 0.0)
    tol = as_number(tol, "tol", 0.0, 1.0, open_low=True, open_high=True)
    as_choice(lam_kind, "lam_kind", DECAYS)
    convex_loss = as_convexity(convex_loss, tangent_solve)
    as_flag(second, "second")
    as_flag(progress, "progress")
    max_products = as_integer(max_products, "max_products", 50)
    if time_limit is not None:
        time_limit = as_number(time_limit, "time_limit", 0.0, open_low=True)
    bound = as_number(lower_bound, "lower_bound")
    network = Network(model, loss, batches, layers=layers, adapter=adapter, dtype=dtype, lower_bound=bound)
    if tangent_solve:
        require_outputs(network)
    elif time_limit is not None:
        raise ValueError(f"time_limit: expected None without tangent_solve=True, got {time_limit:g}")
    if second:
        require_curvature(network)
    rivals = factors_of(others, network)
    point = network.point if factors is None else as_pairs(factors, "factors", network.shapes)
    if point is None:
        raise ValueError(
            "factors: expected the updates (A, B) of the plain layers that are named, got None; leave layers out to "
            "judge the LoRA layers of the model"
        )
    objective = TrainingObjective(network, lam, lam_kind, convex_loss, bound)
    evidence = Evidence(objective, point, tol, progress, time_limit)
    return _verdict(evidence, tangent_solve, max_products if second else None, rivals)


def factors_of(others: Sequence[NetworkVerdict | Pairs], network: Network) -> list[Pairs]:
    """Return the factors of other runs; a point that is not finite is no better one and left out."""
    found: list[Pairs] = []
    for k, one in enumerate(as_iterable(others, "others")):
        if not isinstance(one, (NetworkVerdict, list, tuple)):
            accepted = "a NetworkVerdict, such as the verdict of fine_tune, or a list of factors (A, B), one a layer"
            raise TypeError(f"others[{k}]: expected {accepted}, got {shown(one)}")
        if not isinstance(one, NetworkVerdict):
            found.append(as_finite_pairs(one, f"others[{k}]", network.shapes))
        elif one.certificate is not None:
            found.append(as_finite_pairs(one.factors, f"others[{k}]", network.shapes))
    return found


def require_curvature(network: Network) -> None:
    """Refuse a network whose curvature cannot be searched."""
    if network.precision != "float64":
        raise ValueError("second: expected a network that is evaluated in float64 throughout, got one in float32")
    if processes() > 1:
        raise ValueError("second: the search for negative curvature runs in one process, with all the data")


def _verdict(
    evidence: Evidence, tangent_solve: bool, max_products: int | None, rivals: Sequence[Pairs]
) -> NetworkVerdict:
    """Collect the evidence and decide."""
    objective, network, lam = evidence.objective, evidence.network, evidence.lam
    bad = evidence.look()
    if bad:
        return NetworkVerdict("non_finite", bad, None, objective.premises(), lam, None)
    found = evidence.found
    kind, reason, level = of_one_gradient(evidence, found.relative_gap)
    solved = searched = certificate = best = None
    # What is left to gain is a question of a point that is not stationary too.
    solving = tangent_solve and objective.has_penalty and not evidence.unbounded
    if solving or (not kind and (max_products is not None or rivals)):
        network.require_same_data(evidence.point, found.f)
    if solving:
        accuracy = SHARP if not kind else ROUGH * evidence.tol
        solved = evidence.unless_interrupted("the tangent problem", partial(evidence.solved, accuracy))
        gap = found.relative_gap if solved is None else min(found.relative_gap, solved.relative_gap)
        kind, reason, level = of_one_gradient(evidence, gap)
    if not kind:
        if max_products is not None and not evidence.fault:
            search = partial(evidence.second_order, max_products)
            searched = evidence.unless_interrupted("the search for negative curvature", search)
        # Where a loss overflows at finite factors the value is NaN, which no comparison leaves out by itself.
        best = min((value for value in map(evidence.value, rivals) if not math.isnan(value)), default=math.inf)
        if not evidence.unbounded and outputs_are_affine(network, evidence.point):
            certificate = evidence.certificate()
        kind, reason, level = of_further_evidence(evidence, solved, searched, best, certificate)
    return NetworkVerdict(
        kind,
        reason,
        level,
        (*objective.premises(), *evidence.how_searched(searched), *evidence.interrupted),
        lam,
        found,
        evidence.norms,
        solved,
        searched,
        certificate,
        best if best is not None and best < found.F else None,
    )
