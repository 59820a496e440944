"""Layers with LoRA factors, as one writes them without PEFT."""

import torch


class LoRALinear(torch.nn.Module):
    """A frozen linear layer beside two factors as LoRA starts them: B is zero."""

    def __init__(self, n, m, rank=2, scaling=2.0):
        super().__init__()
        self.linear = torch.nn.Linear(n, m).requires_grad_(False)
        self.lora_A = torch.nn.Parameter(torch.randn(rank, n) / n**0.5)
        self.lora_B = torch.nn.Parameter(torch.zeros(m, rank))
        self.scaling = scaling

    def forward(self, x):
        return self.linear(x) + self.scaling * (x @ self.lora_A.T) @ self.lora_B.T


class MovedLoRALinear(LoRALinear):
    """The same with both factors random, as after some training."""

    def __init__(self, n, m, rank=2, scaling=2.0):
        super().__init__(n, m, rank, scaling)
        torch.nn.init.normal_(self.lora_B, std=m**-0.5)
