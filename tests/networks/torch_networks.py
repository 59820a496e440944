"""Small networks with adapted layers, and data for them; imported by the tests that need torch."""

from __future__ import annotations

import types

import numpy as np
import torch
from lora_layers import LoRALinear

LAM = 0.02


class Net(torch.nn.Module):
    """Two adapted layers over tokens that are then averaged, and a frozen head; dropout that has to be off."""

    def __init__(self, rank=4, seed=0, classes=3, dropout=0.3, weight=1.0):
        super().__init__()
        torch.manual_seed(seed)
        self.first = LoRALinear(6, 7, rank, 2.0)
        self.second = LoRALinear(7, 5, rank, 0.5)
        self.drop = torch.nn.Dropout(dropout)
        self.head = torch.nn.Linear(5, classes).requires_grad_(False)
        for layer in (self.first, self.second):
            layer.linear.weight *= weight

    def forward(self, x):
        return self.head(torch.tanh(self.second(self.drop(torch.tanh(self.first(x))))).mean(1))


class Coarse(Net):
    """A network with a part in half precision, by a cast that no evaluation in float64 takes out."""

    def __init__(self, kind=None):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        h = torch.tanh(self.first(x)) + 16.0
        h = h if self.kind is None else h.type(f"torch.{self.kind}Tensor").to(h.dtype)
        return self.head(torch.tanh(self.second(h - 16.0)).mean(1))


class CoarseOfMany(Coarse):
    """One of which large batches go through the cast alone, as a layer that runs in half for long inputs."""

    def forward(self, x):
        return (super() if len(x) > 10 else super(Coarse, self)).forward(x)


def data(n=24, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, 6, generator=generator)
    y = torch.randint(0, classes, (n,), generator=generator)
    return [(x[:10], y[:10]), (x[10:], y[10:])]


def factors(network, rank=4, seed=1, size=0.5):
    rng = np.random.default_rng(seed)
    return [(size * rng.standard_normal((m, rank)), size * rng.standard_normal((n, rank))) for m, n in network.shapes]


class Regression(torch.nn.Module):
    """A model whose own loss is the mean of squares."""

    def __init__(self, outputs):
        super().__init__()
        torch.manual_seed(0)
        self.layer = LoRALinear(5, outputs, 1, 1.0)

    def forward(self, x, labels=None):
        logits = self.layer(x)
        loss = None if labels is None else torch.nn.functional.mse_loss(logits.squeeze(), labels.squeeze())
        return types.SimpleNamespace(loss=loss, logits=logits)


def mean_of_a_batch(model, batch):
    """What training code returns, in the shape of one sample's loss."""
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])[None]


class Last(torch.nn.Module):
    """A network whose last layer alone is adapted."""

    def __init__(self, rank, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = torch.nn.Linear(6, 8).requires_grad_(False)
        self.out = LoRALinear(8, 6, rank, 1.0)

    def forward(self, x):
        return self.out(torch.tanh(self.body(x).mean(1)))


def last_with(bend):
    """A last layer whose outputs are bent by what the graph of gradients does not show."""

    class Masked(Last):
        def forward(self, x):
            return bend(super().forward(x))

    return Masked(6)


class Dead(torch.nn.Module):
    """A ReLU by hand that is off for all positive inputs without an update."""

    def __init__(self):
        super().__init__()
        self.layer = LoRALinear(3, 1, 1, 1.0).double()
        self.layer.linear.weight.fill_(-1.0)
        self.layer.linear.bias.fill_(-1.0)

    def forward(self, x):
        hidden = self.layer(x)
        return hidden * (hidden > 0)


CASTS = {
    "none": lambda x: x,
    "float": lambda x: x.float(),
    "half": lambda x: x.half(),
    "to": lambda x: x.to(torch.float32),
    "to dtype": lambda x: x.to(dtype=torch.bfloat16),
    "to other": lambda x: x.to(torch.zeros(1)),
    "type": lambda x: x.type(torch.float32),
    "type_as": lambda x: x.type_as(torch.zeros(1)),
    "mask": lambda x: (x.abs() < 1e9).float() * x,
    "a tensor type": lambda x: x.type("torch.FloatTensor"),
}


class Casting(torch.nn.Module):
    """A norm and a softmax as language models have them, computed in float32 whatever they are given."""

    def __init__(self, cast, classes=3):
        super().__init__()
        torch.manual_seed(0)
        self.first = LoRALinear(6, 7, 4, 2.0)
        self.second = LoRALinear(7, classes, 3, 0.5)
        self.cast = cast

    def forward(self, x):
        h = self.first(x)
        inner = CASTS[self.cast](h)
        h = (inner * torch.rsqrt(inner.pow(2).mean(-1, keepdim=True) + 1e-6)).to(h.dtype)
        scores = h @ h.transpose(1, 2)
        kind = None if self.cast == "none" else torch.float32
        weights = torch.nn.functional.softmax(scores, dim=-1, dtype=kind).to(h.dtype)
        return self.second(torch.tanh(weights @ h)).mean(1)
