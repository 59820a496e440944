"""The projection on the tangent space, held against least squares over all pairs of factor steps."""

import numpy as np

from lorasolve.papers.lora_pro import tangent_projection


def test_the_projection_is_the_best_fit_by_factor_steps():
    rng = np.random.default_rng(0)
    m, n, r = 6, 5, 2
    A, B, G = rng.standard_normal((m, r)), rng.standard_normal((n, r)), rng.standard_normal((m, n))
    columns = []
    for k in range((m + n) * r):
        step = np.zeros((m + n) * r)
        step[k] = 1.0
        dA, dB = step[: m * r].reshape(m, r), step[m * r :].reshape(n, r)
        columns.append((dA @ B.T + A @ dB.T).ravel())
    design = np.array(columns).T
    best = design @ np.linalg.lstsq(design, G.ravel(), rcond=None)[0]
    np.testing.assert_allclose(tangent_projection(G, A, B).ravel(), best, atol=1e-12)
