"""SoRA's gates
============

SoRA with weight decay: the gates' l1 penalty is a Schatten-1/2 penalty, whose optimum has a closed form.
"""

import numpy as np

import lorasolve as ls
from lorasolve.adapters import SoRA
from lorasolve.objectives import Denoising
from lorasolve.papers.sora import half_threshold_optimum, open_gates


def run(quick=True):
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((rows, 6)))[0] for rows in (20, 16))
    T = (U * [4.0, 3.0, 2.0, 1.0, 0.3, 0.1]) @ V.T

    optimum = half_threshold_optimum(T, gate_penalty=0.5, lam=0.1)
    print(f"closed form: objective {optimum.fun:.6f}, {optimum.gates} gates open")
    problem = ls.Problem(Denoising(T), 6, 0.1, adapter=SoRA(gate_penalty=0.5))
    starts = {"the singular vectors": (2.0 * U * (np.arange(6) < 4), 2.0 * V * (np.arange(6) < 4)), "lora": "lora"}
    ends = {}
    for name, init in starts.items():
        stop = ls.StoppingRule(max_iter=20_000, grad_tol=1e-8)
        result = ls.solve(problem, "proximal_gd", init, stop=stop)
        ends[name] = (result.fun, open_gates(result))
        print(f"from {name}: objective {result.fun:.6f}, {open_gates(result)} gates open")
    return {"optimum": optimum, "ends": ends}


if __name__ == "__main__":
    run()

# sphinx_gallery_thumbnail_path = "papers/sora.png"
