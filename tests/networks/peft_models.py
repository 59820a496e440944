"""Small models of transformers with LoRA layers of PEFT, and data for them; imported by the tests that need both."""

from __future__ import annotations

import numpy as np
import peft
import torch
import transformers

LAM = 0.02
N, LENGTH = 32, 8


def bert(seed=0, dropout=0.1):
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=2,
        initializer_range=0.3,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return transformers.BertForSequenceClassification(config)


def adapted(rank=4, seed=0, dropout=0.1, **settings):
    settings = {"target_modules": ["query", "value"], "lora_alpha": 2 * rank} | settings
    return peft.get_peft_model(bert(seed, dropout), peft.LoraConfig(r=rank, **settings))


def tokens(n=N, seed=0):
    rng = np.random.default_rng(seed)
    ids = torch.tensor(rng.integers(5, 60, (n, LENGTH)))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": (ids[:, 0] > 30).long()}


def batches(n=N, size=16):
    whole = tokens(n)
    return [{key: value[k : k + size] for key, value in whole.items()} for k in range(0, n, size)]


def rows(n=N):
    whole = tokens(n)
    return [{key: value[k] for key, value in whole.items()} for k in range(n)]


def moved(model, seed=0):
    """Return a model of PEFT with factors as after some training."""
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name or "lora_embedding_A" in name:
            torch.nn.init.normal_(parameter, std=0.3)
        if "word_embeddings.lora_embedding_A" in name:
            parameter.data[:, 0] = 0.0
    return model


def scaled():
    """A model that multiplies its embeddings by 4."""
    config = transformers.Gemma3TextConfig(
        vocab_size=60,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        tie_word_embeddings=False,
        pad_token_id=None,
    )
    return transformers.Gemma3ForCausalLM(config)


def llama(kind, **settings):
    torch.manual_seed(0)
    given = {
        "vocab_size": 30,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
        "initializer_range": 0.3,
        "pad_token_id": 0,
    }
    return getattr(transformers, kind)(transformers.LlamaConfig(**(given | settings)))
