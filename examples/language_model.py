"""A language model
================

Did the fine-tune of a small language model end well? One gradient bounds what any update gains in the network
linearised at the end; solving that convex problem says what it is. It takes torch, transformers and PEFT:
``pip install -e '.[torch]'``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lorasolve.networks import CrossEntropy, NetworkVerdict, fine_tune, judge

LAYERS = 2


def language_model(rank: int) -> Any:
    """Return a Llama of 200 words and random weights, with LoRA on query and value."""
    import peft
    import torch
    import transformers

    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=200, hidden_size=32, intermediate_size=64, num_hidden_layers=LAYERS, num_attention_heads=4
        )
    )
    return peft.get_peft_model(model, peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj"]))


def sentences(count: int, length: int = 16) -> list[dict[str, Any]]:
    """Return sequences that count up by 1 to 3, in batches of 8, the first four words of each without labels."""
    import torch

    rng = np.random.default_rng(0)
    first, step = rng.integers(200, size=count), rng.integers(1, 4, size=count)
    words = torch.tensor((first[:, None] + step[:, None] * np.arange(length)) % 200)
    labels = words.clone()
    labels[:, :4] = -100
    return [{"input_ids": i, "labels": j} for i, j in zip(words.split(8), labels.split(8))]


def run(quick: bool = False) -> list[tuple[NetworkVerdict, NetworkVerdict]]:
    """Fine-tune at several lam and ranks; return the verdicts from one gradient and with the tangent problem solved."""
    cases = [(0.02, 4, 40)] if quick else [(0.02, 4, 200), (0.02, 8, 200), (0.04, 4, 200), (0.04, 8, 200)]
    batches = sentences(16 if quick else 32)
    print(
        " lam  rank  evaluations  gap from one gradient     solved  ranks needed    verdict solved, from one gradient"
    )
    found = []
    for lam, rank, evaluations in cases:
        model = language_model(rank)
        fine_tune(model, CrossEntropy(), batches, lam, max_calls=evaluations)
        alone = judge(model, CrossEntropy(), batches, lam)
        solved = judge(model, CrossEntropy(), batches, lam, tangent_solve=True)
        assert solved.solved is not None
        ranks = ",".join(map(str, solved.solved.ranks))
        print(
            f"{lam:4}  {rank:4}  {evaluations:11}  {alone.relative_gap:21.1e}  {solved.solved.relative_gap:9.1e}"
            f"  {ranks:14}  {solved.kind}, {alone.kind}"
        )
        found.append((alone, solved))
    return found


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)  # several wait for each other longer than they compute on matrices this small
    run()
