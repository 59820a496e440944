"""The limit of the theorem on transformers: stationary points of one network that are told apart by each other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ._minilm import missing_torch
from .base import COLOURS, Axes, Cell, Claim, Experiment, Record, text_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RANK, _LAM = 4, 0.02
_STARTS = (("zero", 0, 0.0), ("small", 0, 0.1), ("large", 1, 1.0))


class TransformerStarts(Experiment):
    """A random BERT of two layers, query and value adapted, full-batch L-BFGS from several starts.

    Each end is judged on its own, then again with the others known: a point that a better one refutes was as
    stationary, as rank-deficient and as dual feasible as that one. Labels are those of the same network with a hidden
    rank-one change in every adapted weight.
    """

    name = "transformer_starts"
    summary = "a tiny transformer from three starts: rank-deficient second-order points that are not global"
    seeds = "network and data 0; starts 0-1"
    size = (9.0, 4.0)
    axis_meanings = {"hidden": "width of the transformer", "sequences": "how many sequences to train on"}

    def missing(self) -> str | None:
        """Return what is needed and not there."""
        return missing_torch()

    def axes(self, quick: bool) -> Axes:
        """Return single values, which make one cell: the ends are held against each other."""
        if quick:
            return {"hidden": 16, "sequences": 32, "calls": 400, "second": False}
        return {"hidden": 32, "sequences": 64, "calls": 1500, "second": True}

    def run(self, cell: Cell) -> Record:
        """Train from all starts, judge each end alone and among the others."""
        from ..engine import solve
        from ..monitor import StoppingRule
        from ..multi import MultiProblem
        from ..networks.gradients import Network
        from ..networks.judge import NetworkVerdict, judge
        from ..networks.losses import CrossEntropy
        from ..networks.tangent import two_points

        model, batches = _task(cell["hidden"], cell["sequences"])
        layers = ("query", "value")
        network = Network(model, CrossEntropy(), batches, layers=layers)
        problem = MultiProblem(network, _RANK, _LAM)
        verdicts: list[NetworkVerdict] = []
        seconds = []
        for _, seed, std in _STARTS:
            began = time.process_time()
            stop = StoppingRule(max_iter=cell["calls"], grad_tol=1e-10, max_calls=cell["calls"])
            end = solve(problem, "lbfgs", problem.unpaired(_start(network.shapes, seed, std)), stop=stop)
            verdicts.append(
                judge(
                    model,
                    CrossEntropy(),
                    batches,
                    _LAM,
                    layers=layers,
                    factors=list(zip(end.A, end.B)),
                    tangent_solve=True,
                    second=cell["second"],
                )
            )
            seconds.append(time.process_time() - began)
        among = []
        for k, verdict in enumerate(verdicts):
            others = [other for j, other in enumerate(verdicts) if j != k and other.certificate is not None]
            among.append(
                judge(model, CrossEntropy(), batches, _LAM, layers=layers, factors=verdict.factors, others=others).kind
            )
        pairs = []
        for k, first in enumerate(verdicts):
            for j in range(k):
                one, other = verdicts[j].certificate, first.certificate
                if one is not None and other is not None:
                    found = two_points(one, other)
                    pairs.append({"pair": [j, k], "quotient": found.quotient, "distance": found.distance})
        return {"ends": [_end(v) for v in verdicts], "among": among, "pairs": pairs, "cpu": seconds}

    def table(self, records: list[Record]) -> str:
        """Return one row a start."""
        (record,) = records
        rows = []
        for (name, seed, std), end, kind, cpu in zip(_STARTS, record["ends"], record["among"], record["cpu"]):
            rows.append(
                [
                    f"{name} (N(0, {std:g}^2), seed {seed})" if std else f"{name} (PEFT, seed {seed})",
                    f"{end['F']:.6f}",
                    ",".join(map(str, end["ranks"])),
                    f"{end['dual_norm']:.6f}",
                    f"{end['stationarity']:.0e}",
                    f"{end['gap']:.0e}",
                    "-" if end["curvature"] is None else f"{end['curvature']:+.1e}",
                    end["kind"],
                    kind,
                    f"{cpu:.0f}",
                ]
            )
        header = ["start", "F", f"ranks of {_RANK}", "||G||/lam", "grad", "gap", "curvature", "alone"]
        lines = [text_table([*header, "with the others", "CPU s"], rows)]
        lines += [
            f"points {p['pair'][0] + 1} and {p['pair'][1] + 1}: <G1 - G2, X1 - X2>/||X1 - X2||^2 = "
            f"{p['quotient']:+.2e} at distance {p['distance']:.2f}"
            for p in record["pairs"]
        ]
        lines.append(
            "grad: over lam ||theta||; gap: of the solved tangent problem, of F. A quotient <= 0 proves that restricted"
            "\nconvexity, which the theorem assumes, fails between the two points."
        )
        return "\n".join(lines)

    def claims(self, records: list[Record]) -> list[Claim]:
        """Return what the theorem would exclude, were its premise true of this network."""
        (record,) = records
        alone = [end["kind"] for end in record["ends"]]
        fooled = [k for k, kind in enumerate(record["among"]) if kind == "refuted" and alone[k] == "tangent_optimal"]
        worst = min((p["quotient"] for p in record["pairs"]), default=0.0)
        return [
            Claim(
                "a rank-deficient, dual feasible second-order point is global (Theorem 2): on a transformer only where "
                "restricted convexity holds, which two stationary points of different value refute",
                "holds with correction",
                f"{len(fooled)} of {len(alone)} ends are tangent-optimal alone and refuted by another; smallest "
                f"quotient {worst:.1e}",
                bool(fooled) and worst < 0.0,
            )
        ]

    def draw(self, records: list[Record], figure: Figure) -> None:
        """Draw value against rank, and the quotients."""
        (record,) = records
        left, right = figure.subplots(1, 2)
        for k, ((name, seed, _), end, kind) in enumerate(zip(_STARTS, record["ends"], record["among"])):
            label = f"{name} {seed}: {kind}"
            left.plot(sum(end["ranks"]), end["F"], "o", color=COLOURS[k], ms=15 - 4 * k, label=label)  # ends may be one
        left.set(xlabel="sum of the ranks", ylabel="F", title="ends of three starts")
        left.legend(fontsize=8)
        names = [f"{p['pair'][0] + 1}, {p['pair'][1] + 1}" for p in record["pairs"]]
        right.bar(names, [p["quotient"] for p in record["pairs"]], color=COLOURS[1])
        right.axhline(0.0, color="black", lw=0.8)
        right.set(xlabel="points", title="<G1 - G2, X1 - X2>/||X1 - X2||^2")


def _end(verdict: Any) -> Record:
    found = verdict.certificate
    return {
        "kind": verdict.kind,
        "F": found.F,
        "ranks": [layer.rank for layer in found.layers],
        "dual_norm": found.dual_norm,
        "stationarity": found.stationarity,
        "gap": verdict.relative_gap,
        "curvature": None if verdict.second is None else verdict.second.smallest,
    }


def _start(shapes: Any, seed: int, std: float) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    if std:
        return [(std * rng.standard_normal((m, _RANK)), std * rng.standard_normal((n, _RANK))) for m, n in shapes]
    return [(np.zeros((m, _RANK)), rng.uniform(-1.0, 1.0, (n, _RANK)) / np.sqrt(n)) for m, n in shapes]


def _task(hidden: int, n: int) -> tuple[Any, list[Any]]:
    """Return a random BERT with two outputs and batches labelled by a changed copy of itself."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60,
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=16,
        num_labels=2,
        initializer_range=0.3,
        attn_implementation="eager",
    )
    model = BertForSequenceClassification(config).double().eval().requires_grad_(False)
    rng = np.random.default_rng(0)
    ids = torch.tensor(rng.integers(5, 60, (n, 8)))
    mask = torch.ones_like(ids)
    adapted = [m for k, m in model.named_modules() if k.rpartition(".")[2] in ("query", "value")]
    changes = [
        torch.tensor(np.outer(rng.standard_normal(hidden), rng.standard_normal(hidden)) / np.sqrt(hidden))
        for _ in adapted
    ]
    with torch.no_grad():
        for module, change in zip(adapted, changes):
            module.weight += change
        z = model(input_ids=ids, attention_mask=mask).logits
        for module, change in zip(adapted, changes):
            module.weight -= change
    margin = z[:, 1] - z[:, 0]
    labels = (margin > margin.median()).long()
    return model, [{"input_ids": ids, "attention_mask": mask, "labels": labels}]
