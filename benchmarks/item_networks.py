"""S17: tangent problems of language models against gradients of them; S18: what a monitor adds to a step."""

from __future__ import annotations

import copy
import time
import warnings

import numpy as np
from peers import Item, timed

# Kind, layers, hidden size, words, sequences, tokens of each.
MODELS = [("Llama", 2, 32, 200, 32, 16), ("Llama", 4, 64, 500, 32, 32), ("GPT-2", 6, 384, 4000, 8, 64)]
# Outputs and inputs of a layer, and its rank.
LAYERS = [(384, 8), (1024, 16), (4096, 16)]


def language_model(kind, layers, width, words):
    """Return a model of random weights with LoRA of rank 4, as PEFT starts it."""
    import peft
    import torch
    import transformers as tf

    torch.manual_seed(0)
    if kind == "Llama":
        shape = {"intermediate_size": 2 * width, "num_hidden_layers": layers, "num_attention_heads": 4}
        model, names = tf.LlamaForCausalLM(tf.LlamaConfig(vocab_size=words, hidden_size=width, **shape)), "[qv]_proj"
    else:
        model, names = tf.GPT2LMHeadModel(tf.GPT2Config(vocab_size=words, n_embd=width, n_layer=layers)), "c_attn"
    given = {"target_modules": f".*{names}", "fan_in_fan_out": kind == "GPT-2"}
    return peft.get_peft_model(model, peft.LoraConfig(r=4, **given))


def network(kind, layers, width, words, sequences, tokens):
    """Return such a model with sequences of random words, eight in a batch."""
    import torch
    import transformers as tf

    from lorasolve.networks import CrossEntropy, Network

    warnings.simplefilter("ignore")
    tf.logging.set_verbosity_error()
    ids = torch.tensor(np.random.default_rng(0).integers(words, size=(sequences, tokens)))
    batches = [{"input_ids": part, "labels": part} for part in ids.split(8)]
    return Network(language_model(kind, layers, width, words), CrossEntropy(), batches)


def _tangent(kind, layers, width, words, sequences, tokens):
    item = Item(
        f"S17 {kind} {layers}",
        f"Tangent problem of a language model, {kind} of {layers} layers and {words} words: value and gradient, "
        f"{sequences * tokens} tokens, CPU seconds",
        rtol=1e-9,
        remark="At the point of linearisation, where both have the same value. What is kept is what backward passes "
        "need of the forward one, for all data.",
    )
    made = (kind, layers, width, words, sequences, tokens)

    def sampler(loss, X):
        return timed(lambda: loss.value_and_grad(X)[0], float, clock=time.process_time)

    def linearised(kept):
        from lorasolve.networks import LinearizedNetwork

        net = network(*made)
        tangent = LinearizedNetwork(net, net.point)
        # A copy has nothing kept, and keeps nothing.
        return sampler(tangent if kept else copy.copy(tangent), tangent.point)

    @item.peer("lorasolve, a gradient of the network", ours=True, needs="peft", threads=1)
    def _(quick):
        net = network(*made)
        return sampler(net, [A @ B.T for A, B in net.point])

    @item.peer("lorasolve, an evaluation of its tangent problem", needs="peft", threads=1)
    def _(quick):
        return linearised(True)

    @item.peer("lorasolve, an evaluation with nothing kept", needs="peft", threads=1)
    def _(quick):
        return linearised(False)

    return item


def adapted_layer(side, rank):
    """Return a linear layer with factors, and their gradients where that in the weight is ``u v^T``."""
    import torch

    torch.manual_seed(0)
    layer = torch.nn.Linear(side, side, bias=False).requires_grad_(False)
    u, v = torch.randn(2, side)
    layer.lora_A = torch.nn.Parameter(0.01 * torch.randn(rank, side))
    layer.lora_B = torch.nn.Parameter(0.01 * torch.randn(side, rank))
    layer.lora_A.grad = torch.outer(layer.lora_B.detach().T @ u, v)
    layer.lora_B.grad = torch.outer(u, layer.lora_A.detach() @ v)
    return layer


def _reading(side, rank):
    item = Item(
        f"S18 {side}",
        f"Monitor of a training run, a layer of {side} x {side}, rank {rank}: a reading, CPU seconds",
        rtol=np.inf,
        remark="The norm of a frozen weight is taken once a run: by a singular value decomposition up to 250000 "
        "entries, else by Lanczos.",
    )

    @item.peer("lorasolve LoRAMonitor.step", ours=True, needs="torch", threads=1)
    def _(quick):
        from lorasolve.networks import LoRAMonitor

        layer, monitor = adapted_layer(side, rank), LoRAMonitor(lam=0.01)

        def work():
            layer.lora_A.data.mul_(1.0 + 1e-6)  # a reading of factors that have not moved is another
            return monitor.step(layer)

        return timed(work, lambda reason: float(reason is None), clock=time.process_time)

    @item.peer("lorasolve, the norm of the weight, once", needs="torch", threads=1)
    def _(quick):
        from lorasolve.networks import adapted_layers

        (layer,) = adapted_layers(adapted_layer(side, rank))
        return timed(lambda: layer.base_norm, float, clock=time.process_time)

    return item


ITEMS = [*(_tangent(*model) for model in MODELS), *(_reading(*layer) for layer in LAYERS)]
