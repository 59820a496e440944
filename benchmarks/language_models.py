"""CPU time of an evaluation of the tangent problem of a language model, in gradients of the network."""

from __future__ import annotations

import statistics
import time
import warnings
from typing import Any

import numpy as np

from lorasolve.networks import CrossEntropy, LinearizedNetwork, Network

ROUNDS = 9
# Kind, layers, hidden size, words, sequences, tokens of each.
MODELS = [("Llama", 2, 32, 200, 32, 16), ("Llama", 4, 64, 500, 32, 32), ("GPT-2", 6, 384, 4000, 8, 64)]


def language_model(kind: str, layers: int, width: int, words: int) -> Any:
    """Return a model of random weights with LoRA of rank 4."""
    import peft
    import transformers as tf

    if kind == "Llama":
        shape = {"intermediate_size": 2 * width, "num_hidden_layers": layers, "num_attention_heads": 4}
        model, names = tf.LlamaForCausalLM(tf.LlamaConfig(vocab_size=words, hidden_size=width, **shape)), "[qv]_proj"
    else:
        model, names = tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=words, n_embd=width, n_layer=layers)), "c_attn"
    given = {"target_modules": f".*{names}", "fan_in_fan_out": kind == "GPT-2"}
    return peft.get_peft_model(model, peft.LoraConfig(r=4, **given))


def seconds(loss: Any, X: list[np.ndarray]) -> float:
    """Return the median CPU time of value and gradient."""
    found = []
    for _ in range(ROUNDS):
        began = time.process_time()
        loss.value_and_grad(X)
        found.append(time.process_time() - began)
    return statistics.median(found)


if __name__ == "__main__":
    import torch
    import transformers

    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    print("model  layers  words  a gradient, s  an evaluation, gradients")
    for kind, layers, width, words, sequences, tokens in MODELS:
        ids = torch.tensor(np.random.default_rng(0).integers(words, size=(sequences, tokens)))
        batches = [{"input_ids": part, "labels": part} for part in ids.split(8)]
        network = Network(language_model(kind, layers, width, words), CrossEntropy(), batches)
        X = [0.01 * np.random.default_rng(1).standard_normal(shape) for shape in network.shapes]
        gradient, evaluation = (seconds(loss, X) for loss in (network, LinearizedNetwork(network, network.point)))
        print(f"{kind:5}  {layers:6}  {words:5}  {gradient:13.3f}  {evaluation / gradient:24.1f}")
