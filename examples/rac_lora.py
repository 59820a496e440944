"""RAC-LoRA
========

RAC-LoRA's example: plain LoRA stops at the best matrix of rank one, the chain of blocks reaches the optimum.
"""

import lorasolve as ls
from lorasolve.inits import LoRAStart
from lorasolve.optimizers import GD
from lorasolve.papers.rac_lora import PaperExample
from lorasolve.schedules import RACChain


def run(quick=True):
    objective = PaperExample()
    problem = ls.Problem(objective, rank=1)
    stop = ls.StoppingRule(max_iter=2000, grad_tol=0.0)
    gaps = {}
    for name, schedules in (("LoRA", ()), ("RAC-LoRA", RACChain(inner=1))):
        result = ls.solve(problem, ls.Method(GD(0.05), schedules, init=LoRAStart(std=1.0)), stop=stop)
        gaps[name] = result.fun - objective.facts.lower_bound
        print(f"{name:<9} gap to the optimum {gaps[name]:.5f}")
    return gaps


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "papers/rac_lora.png"
