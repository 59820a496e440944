"""Methods against oracles written from their papers and releases, in the papers' orientation and notation.

The forward pass is ``y = (W0 + s B A) x`` with ``B`` (m, r) and ``A`` (r, n): their ``B`` is our ``A``, their ``A`` our
``B^T``. Gradients come from complex steps of that forward pass; nothing of the package is used.
"""

import numpy as np
import pytest
import scipy.linalg
from numpy.testing import assert_allclose

import lorasolve as ls
from lorasolve import optimizers
from lorasolve.adapters import LoRA, SoRA
from lorasolve.objectives import LinearFineTuning

SHAPES = [(6, 4), (4, 7)]
RANK, ALPHA = 2, 3.0
S = ALPHA / RANK


class Network:
    """``0.5/N ||(W0 + s B A) Z - Y||^2``, plus ``(lam/2)(||A||^2 + ||B||^2)`` where a method decays by the loss."""

    def __init__(self, m, n, lam, seed=0):
        rng = np.random.default_rng(seed)
        self.W0, self.Z, self.Y = (rng.standard_normal(size) for size in ((m, n), (n, 12), (m, 12)))
        self.lam = lam
        self.B, self.A = rng.standard_normal((m, RANK)), rng.standard_normal((RANK, n))

    def problem(self, lam=None):
        objective = LinearFineTuning(self.W0, self.Z, self.Y)
        return ls.Problem(objective, RANK, self.lam if lam is None else lam, LoRA(alpha=ALPHA))

    def loss(self, A, B, lam, W0=None):
        residual = ((self.W0 if W0 is None else W0) + S * B @ A) @ self.Z - self.Y
        decay = 0.5 * lam * (np.sum(A * A) + np.sum(B * B))
        return np.sum(residual * residual) / (2 * self.Z.shape[1]) + decay

    def gradients(self, A, B, lam, W0=None):
        """Return the derivatives in ``A`` and ``B`` by complex steps."""
        out = []
        for k, factor in enumerate((A, B)):
            grad = np.empty_like(factor)
            for index in np.ndindex(factor.shape):
                moved = [A.astype(complex), B.astype(complex)]
                moved[k][index] += 1e-30j
                grad[index] = self.loss(*moved, lam, W0).imag / 1e-30
            out.append(grad)
        return out


def run(network, optimizer, steps, factors=None, lam=None):
    """Return ``A`` and ``B`` in the papers' orientation after some steps of a method of the package."""
    A, B = (network.A, network.B) if factors is None else factors
    end = ls.solve(network.problem(lam), optimizer, (B, A.T), stop=ls.StoppingRule(steps, grad_tol=0.0))
    return end.B.T, end.A


def inverse(M):
    return np.linalg.inv(M)


def polar(M):
    return scipy.linalg.polar(M)[0]


def muon(network, steps, lr, momentum, nesterov):
    A, B = network.A.copy(), network.B.copy()
    buffers = [np.zeros_like(A), np.zeros_like(B)]
    for _ in range(steps):
        for p, g, buffer in zip((A, B), network.gradients(A, B, network.lam), buffers):
            buffer *= momentum
            buffer += g
            p -= lr * polar(g + momentum * buffer if nesterov else buffer)
    return A, B


def lora_rite(network, steps, lr, beta1, beta2, eps, clip):
    """LoRA-RITE in polar bases ``U_B = B (B^T B)^{-1/2}`` instead of QR: any orthonormal basis gives the same step."""
    A, B = network.A.copy(), network.B.copy()

    def moments(beta, t, old, new):
        if beta == 0.0:
            return new
        total = sum(beta**k for k in range(t))  # the weights of a bias-corrected mean
        return (beta * sum(beta**k for k in range(t - 1)) * old + new) / total

    V = [np.zeros((RANK, RANK)), np.zeros((RANK, RANK))]
    M = [np.zeros_like(A.T), np.zeros_like(B)]
    bases = [np.zeros_like(B), np.zeros_like(A.T)]
    for t in range(1, steps + 1):
        gA, gB = network.gradients(A, B, network.lam)
        roots = [np.real(scipy.linalg.sqrtm(F.T @ F)) for F in (B, A.T)]
        new_bases = [B @ inverse(roots[0]), A.T @ inverse(roots[1])]
        freed = [gA.T @ inverse(roots[0]), gB @ inverse(roots[1])]
        norm = np.sqrt(sum(np.sum(g * g) for g in freed))
        if clip is not None and norm > clip:
            freed = [g * clip / norm for g in freed]
        steps_taken = []
        for k, g in enumerate(freed):
            P = new_bases[k].T @ bases[k]
            V[k] = moments(beta2, t, P @ V[k] @ P.T, g.T @ g / len(g))
            w, Q = np.linalg.eigh(V[k])
            M[k] = moments(beta1, t, M[k] @ P.T, g @ Q @ np.diag(1.0 / (np.sqrt(np.maximum(w, 0)) + eps)) @ Q.T)
            steps_taken.append(M[k] @ inverse(roots[k]))
        bases = new_bases
        A, B = A - lr * steps_taken[0].T, B - lr * steps_taken[1]
    return A, B


def alt_lora(network, steps, lr, beta, delta):
    """Their ``B`` first, then their ``A``, each with the gradient at the other's new value."""
    A, B = network.A.copy(), network.B.copy()
    MA, MB = np.zeros_like(A), np.zeros_like(B)
    A_old, B_old = np.zeros_like(A), np.zeros_like(B)
    eye = np.eye(RANK)
    for t in range(steps):
        count = t // 2 + 1
        if t % 2 == 0:
            K = inverse(A @ A.T + delta * eye)
            MB = beta * MB @ A_old @ A.T @ K + (1 - beta) * network.gradients(A, B, network.lam)[1] @ K / S**2
            A_old = A
            B = B - lr * MB / (1 - beta**count)
        else:
            K = inverse(B.T @ B + delta * eye)
            MA = beta * K @ B.T @ B_old @ MA + (1 - beta) * K @ network.gradients(A, B, network.lam)[0] / S**2
            B_old = B
            A = A - lr * MA / (1 - beta**count)
    return A, B


def lora_pro_terms(A, B, gA, gB, mode, delta):
    """Theorems 2.1 and 2.3 in the paper's orientation, with SciPy's Sylvester solver."""
    KA, KB = inverse(A @ A.T + delta * np.eye(RANK)), inverse(B.T @ B + delta * np.eye(RANK))
    if mode == "sylvester":
        X = scipy.linalg.solve_sylvester(B.T @ B, A @ A.T, -KB @ gA @ A.T / S**2)
    elif mode == "symmetric":
        X = -0.5 * KB @ B.T @ gB @ KA / S**2
    else:
        X = np.zeros((RANK, RANK))
    dA = KB @ gA / S**2 + X @ A
    dB = (np.eye(len(B)) - B @ KB @ B.T) @ gB @ KA / S**2 - B @ X
    return dA, dB


def lora_pro_adamw(network, steps, lr, b1, b2, eps, wd, mode, delta):
    A, B = network.A.copy(), network.B.copy()
    m = [np.zeros_like(A), np.zeros_like(B)]
    v = [np.zeros_like(A), np.zeros_like(B)]
    for t in range(1, steps + 1):
        d = lora_pro_terms(A, B, *network.gradients(A, B, 0.0), mode, delta)
        for k, p in enumerate((A, B)):
            m[k] = b1 * m[k] + (1 - b1) * d[k]
            v[k] = b2 * v[k] + (1 - b2) * d[k] ** 2
            denominator = np.sqrt(v[k]) / np.sqrt(1 - b2**t) + eps
            p *= 1 - wd * lr
            p -= lr * m[k] / (1 - b1**t) / denominator
    return A, B


def lora_pro_adamw_full(network, steps, lr, b1, b2, eps, wd, mode, delta):
    A, B, W0 = network.A.copy(), network.B.copy(), network.W0.copy()
    m, v = np.zeros_like(W0), np.zeros_like(W0)
    for t in range(1, steps + 1):
        dA, dB = lora_pro_terms(A, B, *network.gradients(A, B, 0.0, W0), "zero", delta)
        g = S * B @ dA + S * dB @ A
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        g = m / (1 - b1**t) / (np.sqrt(v) / np.sqrt(1 - b2**t) + eps)
        dA, dB = lora_pro_terms(A, B, S * B.T @ g, S * g @ A.T, mode, delta)
        A, B, W0 = A * np.sqrt(1 - wd * lr), B * np.sqrt(1 - wd * lr), W0 * (1 - wd * lr)
        A, B = A - lr * dA, B - lr * dB
    return A, B


def lora_plus_adam(network, steps, lr, ratio, b1, b2, eps):
    """Adam with the step ``ratio * lr`` for their ``A``, our ``B``."""
    factors = [network.A.copy(), network.B.copy()]
    m, v = [0.0, 0.0], [0.0, 0.0]
    for t in range(1, steps + 1):
        for k, g in enumerate(network.gradients(*factors, network.lam)):
            m[k] = b1 * m[k] + (1 - b1) * g
            v[k] = b2 * v[k] + (1 - b2) * g**2
            step = lr * (ratio if k == 0 else 1.0)
            factors[k] = factors[k] - step * m[k] / (1 - b1**t) / (np.sqrt(v[k] / (1 - b2**t)) + eps)
    return factors


def mgpo(network, steps, lr, rho, mu, beta, sign, clamp):
    """Equation 3 of the published version, with plain steps; ``clamp`` says that the trainer's form is meant."""
    A, B = network.A.copy(), network.B.copy()
    vA, vB, mean = None, None, None
    for _ in range(steps):
        eA, eB, E = np.zeros_like(A), np.zeros_like(B), np.zeros_like(network.W0)
        if vA is not None and clamp is None:
            length = np.sqrt(np.sum(vA**2) + np.sum(vB**2))
            eA, eB = sign * rho * vA / length / mean, sign * rho * vB / length / mean
        elif vA is not None:
            M = S * (vB @ A + B @ vA)
            E = sign * rho * M / np.linalg.norm(M) * min(1.0 / mean, clamp)
        gA, gB = network.gradients(A + eA, B + eB, network.lam, network.W0 + E)
        velocity = S * (gB @ A + B @ gA)
        length = np.sqrt(np.sum(gA**2) + np.sum(gB**2)) if clamp is None else np.linalg.norm(velocity)
        mean = length if mean is None else beta * mean + (1 - beta) * length
        vA, vB = (gA, gB) if vA is None else (mu * vA + gA, mu * vB + gB)
        A, B = A - lr * gA, B - lr * gB
    return A, B


def ggpo(network, steps, lr, sigma, beta, seed=0):
    """Equations 6 to 8 of version 1 as its implementations cite them, with plain steps and row by row."""
    A, B, rng = network.A.copy(), network.B.copy(), np.random.default_rng(seed)
    last = None
    for _ in range(steps):
        W = network.W0 + S * B @ A
        if last is not None:
            noise = rng.standard_normal(W.shape)
            for i, (row, slope) in enumerate(zip(network.W0 + S * B @ A, last)):
                W[i] += np.sqrt(sigma**2 / len(row) * (row @ row + beta * slope @ slope)) * noise[i]
        last = (W @ network.Z - network.Y) @ network.Z.T / network.Z.shape[1]
        gA, gB = network.gradients(A, B, network.lam, W - S * B @ A)
        A, B = A - lr * gA, B - lr * gB
    return A, B


CASES = {
    "mgpo": (mgpo, optimizers.MGPO(0.01, "gd", rho=0.3, mu=0.7, beta=0.6), (0.01, 0.3, 0.7, 0.6, 1, None)),
    "mgpo_trainer": (
        mgpo,
        optimizers.MGPOTrainer(0.01, "gd", rho=0.3, mu=0.7, beta=0.6, clamp=0.1),
        (0.01, 0.3, 0.7, 0.6, -1, 0.1),
    ),
    "ggpo": (ggpo, optimizers.GGPO(0.01, "gd", sigma=0.3, beta=0.2), (0.01, 0.3, 0.2)),
    "lora_plus_adam": (
        lora_plus_adam,
        optimizers.LoRAPlusAdam(0.01, 0.8, 0.9, ratio=5.0),
        (0.01, 5.0, 0.8, 0.9, 1e-8),
    ),
    "muon": (muon, optimizers.Muon(0.05, 0.9), (0.05, 0.9, True)),
    "muon, spectral descent": (muon, optimizers.Muon(0.05, 0.0), (0.05, 0.0, True)),
    "muon, heavy ball": (muon, optimizers.Muon(0.05, 0.7, False), (0.05, 0.7, False)),
    "lora_rite": (lora_rite, optimizers.LoRARITE(0.02, 0.8, 0.9), (0.02, 0.8, 0.9, 1e-6, None)),
    "lora_rite, clipped": (lora_rite, optimizers.LoRARITE(0.02, 0.0, 0.9, clip=0.3), (0.02, 0.0, 0.9, 1e-6, 0.3)),
    "alt_lora": (alt_lora, optimizers.AltLoRA(0.1, 0.9, 1e-3), (0.1, 0.9, 1e-3)),
    "alt_lora, no momentum": (alt_lora, optimizers.AltLoRA(0.1, 0.0, 1e-3), (0.1, 0.0, 1e-3)),
}


@pytest.mark.parametrize("lam", [0.0, 0.2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_it_is_the_published_method(case, steps, shape, lam):
    oracle, optimizer, settings = case
    network = Network(*shape, lam)
    for found, expected in zip(run(network, optimizer, steps), oracle(network, steps, *settings), strict=True):
        assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mode", ["sylvester", "symmetric", "zero"])
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize("name", ["lora_pro_adamw", "lora_pro_adamw_full"])
def test_lora_pro_adamw_is_the_released_one(name, steps, shape, decay, mode):
    network = Network(*shape, 0.0)
    oracle = {"lora_pro_adamw": lora_pro_adamw, "lora_pro_adamw_full": lora_pro_adamw_full}[name]
    settings = (0.05, 0.8, 0.9, 1e-8, decay, mode, 1e-8)
    keys = ("step_size", "beta1", "beta2", "eps", "weight_decay", "mode", "damping")
    optimizer = optimizers.registry.classes()[name](**dict(zip(keys, settings)))
    # What L adds for its own decay plays no part.
    for lam in (0.0, 0.4):
        for found, expected in zip(
            run(network, optimizer, steps, lam=lam), oracle(network, steps, *settings), strict=True
        ):
            assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mode", ["sylvester", "symmetric", "zero"])
def test_balancing_leaves_the_released_sgd_path_in_the_mode_sylvester_alone(mode):
    """As documented; the first step of the package from unbalanced factors is the balancing itself."""
    network = Network(6, 4, 0.0)
    A, B = network.A.copy(), network.B.copy()
    for _ in range(5):
        dA, dB = lora_pro_terms(A, B, *network.gradients(A, B, 0.0), mode, 0.0)
        A, B = A - 0.1 * dA, B - 0.1 * dB
    found_A, found_B = run(network, optimizers.LoRAPro(0.1, mode, 0.0), 6)
    apart = np.linalg.norm(found_B @ found_A - B @ A) / np.linalg.norm(B @ A)
    assert (apart > 1e-4) if mode == "sylvester" else (apart < 1e-12)


@pytest.mark.parametrize("lam", [0.0, 0.2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [1, 20])
def test_the_riemannian_step_is_a_projection_and_a_truncated_svd(steps, shape, lam):
    """Dense: ``X <- [X - t (P_U G + G P_V - P_U G P_V)]_r``, ``G`` with the subgradient of ``(lam/s) ||.||_*``."""
    network = Network(*shape, lam)
    U, s, Vt = np.linalg.svd(network.B @ network.A)
    U, s, V = U[:, :RANK], s[:RANK], Vt[:RANK].T
    start = (np.sqrt(s)[:, None] * V.T, U * np.sqrt(s))
    A, B = run(network, optimizers.Riemannian(0.1, damping=0.0), steps, start)
    X = S * U * s @ V.T
    for _ in range(steps):
        residual = (network.W0 + X) @ network.Z - network.Y
        G = residual @ network.Z.T / network.Z.shape[1] + lam / S * U @ V.T
        P, Q = U @ U.T, V @ V.T
        P_full, s, Vt = np.linalg.svd(X - 0.1 * (P @ G + G @ Q - P @ G @ Q))
        U, V = P_full[:, :RANK], Vt[:RANK].T
        X = U * s[:RANK] @ V.T
    assert_allclose(S * B @ A, X, atol=1e-10)


def spectral_manifold_descent(network, X, steps, lr, momentum, nesterov, lam):
    """Dense: ``M <- momentum P(M) + P(G)``, ``X <- [X - lr P(polar(M))]_r``; ``P`` the tangent projection at ``X``."""
    M = np.zeros_like(X)
    for _ in range(steps):
        U, _, Vt = np.linalg.svd(X)
        P, Q = U[:, :RANK] @ U[:, :RANK].T, Vt[:RANK].T @ Vt[:RANK]

        def project(Z, P=P, Q=Q):
            return P @ Z + Z @ Q - P @ Z @ Q

        residual = (network.W0 + X) @ network.Z - network.Y
        G = residual @ network.Z.T / network.Z.shape[1] + lam / S * U[:, :RANK] @ Vt[:RANK]
        M = momentum * project(M) + project(G)
        u, s, vt = np.linalg.svd(project(G) + momentum * M if nesterov else M)
        kept = int(np.sum(s > 1e-12 * s[0]))
        assert kept <= 2 * RANK
        u, s, vt = np.linalg.svd(X - lr * project(u[:, :kept] @ vt[:kept]))
        X = u[:, :RANK] * s[:RANK] @ vt[:RANK]
    return X


@pytest.mark.parametrize("lam", [0.0, 0.2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.7, False), (0.0, True)])
def test_riemannion_is_muon_on_the_manifold(momentum, nesterov, steps, shape, lam):
    network = Network(*shape, lam)
    U, s, Vt = np.linalg.svd(network.B @ network.A)
    U, s, Vt = U[:, :RANK], s[:RANK], Vt[:RANK]
    optimizer = optimizers.Riemannion(0.05, momentum, nesterov)
    A, B = run(network, optimizer, steps, (np.sqrt(s)[:, None] * Vt, U * np.sqrt(s)))
    expected = spectral_manifold_descent(network, S * U * s @ Vt, steps, 0.05, momentum, nesterov, lam)
    assert_allclose(S * B @ A, expected, rtol=1e-10, atol=1e-10)


def test_riemannion_depends_on_the_product_of_the_factors_alone():
    network = Network(6, 4, 0.2)
    T = np.array([[2.0, 0.3], [-0.5, 0.4]])
    ends = [
        run(network, optimizers.Riemannion(0.05), 21, factors)
        for factors in ((network.A, network.B), (np.linalg.solve(T, network.A), network.B @ T))
    ]
    (A, B), (other_A, other_B) = ends
    assert_allclose(B @ A, other_B @ other_A, rtol=1e-9)


@pytest.mark.parametrize("zero", ["A", "B"])
def test_from_a_zero_factor_riemannion_begins_with_an_orthogonal_step(zero):
    network = Network(6, 4, 0.2)
    setattr(network, zero, np.zeros_like(getattr(network, zero)))
    A, B = run(network, optimizers.Riemannion(0.05), 1)
    residual = network.W0 @ network.Z - network.Y
    G = residual @ network.Z.T / network.Z.shape[1]
    Q = scipy.linalg.orth(network.B if zero == "A" else network.A.T)
    expected = Q @ polar(Q.T @ G) if zero == "A" else polar(G @ Q) @ Q.T
    assert_allclose(S * B @ A, -0.05 * expected, atol=1e-12)


def sora_adamw(network, steps, lr, b1, b2, eps, wd, penalty, variant):
    """SoRA: AdamW on ``W0 + s B diag(g) A``, then the gates' threshold; the released map is written as its code."""
    parts = [network.A.copy(), network.B.copy(), np.ones(RANK)]

    def loss(A, B, g):
        residual = (network.W0 + S * B @ np.diag(g) @ A) @ network.Z - network.Y
        return np.sum(residual * residual) / (2 * network.Z.shape[1])

    m, v = [0.0] * 3, [0.0] * 3
    for t in range(1, steps + 1):
        grads = []
        for k, part in enumerate(parts):
            grad = np.empty_like(part)
            for index in np.ndindex(part.shape):
                moved = [p.astype(complex) for p in parts]
                moved[k][index] += 1e-30j
                grad[index] = loss(*moved).imag / 1e-30
            grads.append(grad)
        for k, grad in enumerate(grads):
            m[k] = b1 * m[k] + (1 - b1) * grad
            v[k] = b2 * v[k] + (1 - b2) * grad**2
            decay = wd if k < 2 else 0.0
            step = lr * m[k] / (1 - b1**t) / (np.sqrt(v[k] / (1 - b2**t)) + eps)
            parts[k] = parts[k] * (1 - lr * decay) - step
        g = parts[2]
        if variant == "released":
            g[g > penalty] -= penalty
            g[g < -penalty] += penalty
            g[np.abs(g) < penalty] = 0.0
        else:
            g[:] = np.sign(g) * np.maximum(np.abs(g) - lr * penalty, 0.0)
    return parts


@pytest.mark.parametrize(("variant", "penalty"), [("paper", 2.0), ("released", 0.04)])
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [1, 20])
def test_sora_trains_as_released(steps, shape, decay, variant, penalty):
    network = Network(*shape, 0.0)
    objective = network.problem().objective
    problem = ls.Problem(objective, RANK, 0.0, SoRA(gate_penalty=penalty, variant=variant, alpha=ALPHA))
    optimizer = optimizers.ProximalAdamW(0.05, 0.8, 0.9, 1e-8, decay)
    end = ls.solve(problem, optimizer, (network.B, network.A.T), stop=ls.StoppingRule(steps, grad_tol=0.0))
    expected = sora_adamw(network, steps, 0.05, 0.8, 0.9, 1e-8, decay, penalty, variant)
    for found, part in zip((end.B.T, end.A, problem.split(end.theta)[2]), expected, strict=True):
        assert_allclose(found, part, atol=1e-10)


def test_lora_rite_and_the_riemannian_step_do_not_depend_on_how_the_update_is_factored():
    """Exactly, without decay; gradient descent and Adam do depend on it."""
    network = Network(6, 4, 0.0)
    C = np.array([[3.0, 1.0], [0.0, 0.2]])
    other = (np.linalg.inv(C) @ network.A, network.B @ C)
    apart = {}
    for optimizer in (optimizers.LoRARITE(1e-2), optimizers.Adam(1e-2), optimizers.GD(1e-2)):
        moves = []
        for A, B in ((network.A, network.B), other):
            new_A, new_B = run(network, optimizer, 20, (A, B))
            moves.append(new_B @ new_A - network.B @ network.A)
        apart[optimizer.name] = np.linalg.norm(moves[0] - moves[1]) / np.linalg.norm(moves[0])
    assert apart["lora_rite"] < 1e-11
    assert min(apart["adam"], apart["gd"]) > 0.1


def test_lora_rite_leaves_out_what_is_below_its_cutoff():
    """The second column of ``B`` is 1e-5 of the first: below the default cut-off, above the cut-off 0."""
    rng = np.random.default_rng(0)
    A, M, B = rng.standard_normal((4, 2)), rng.standard_normal((4, 3)), np.diag([1.0, 1e-5, 0.0])[:, :2]
    problem, stop = ls.Problem(ls.objectives.Denoising(M), 2), ls.StoppingRule(1, grad_tol=0.0)
    ends = [ls.solve(problem, optimizers.LoRARITE(0.01, **given), (A, B), stop=stop).A for given in ({}, {"cutoff": 0})]
    # Without memory of other steps the first one is h sqrt(m) polar(G Q) R^-T, with Q = e_1 or (e_1, e_2).
    G = A @ B.T - M
    column = G[:, 0] / np.linalg.norm(G[:, 0])
    assert_allclose((A - ends[0]) / 0.01, np.stack([2.0 * column, np.zeros(4)], axis=1), atol=1e-4)
    assert_allclose((A - ends[1]) / 0.01, 2.0 * polar(G[:, :2]) / [1.0, 1e-5], rtol=1e-4)


@pytest.mark.parametrize("lam", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_lora_rite_does_not_blow_up_with_more_rank_than_the_optimum_has(lam, seed):
    rng = np.random.default_rng(seed)
    M = rng.standard_normal((12, 2)) @ rng.standard_normal((2, 10))
    problem = ls.Problem(ls.objectives.Denoising(M), 4, lam)
    end = ls.solve(problem, "lora_rite", seed=seed, stop=ls.StoppingRule(500))
    assert max(end.trace.value) < 1.1 * problem.value_at_zero
    # From the closed form, whose other columns are zero but for rounding.
    U, s, Vt = np.linalg.svd(M)
    root = np.sqrt(np.maximum(s[:4] - lam, 0.0) * [1.0, 1.0, 0.0, 0.0])
    noise = [1e-9 * rng.standard_normal((size, 4)) for size in (12, 10)]
    least = 0.5 * np.sum(np.minimum(s, lam) ** 2) + lam * np.sum(np.maximum(s - lam, 0.0))
    start = (U[:, :4] * root + noise[0], Vt[:4].T * root + noise[1])
    end = ls.solve(problem, "lora_rite", start, stop=ls.StoppingRule(300, grad_tol=0.0))
    assert max(end.trace.value) < least + 0.05 * problem.value_at_zero


def test_alt_lora_has_the_unique_nearest_gradient_and_muon_equal_singular_values():
    network = Network(6, 4, 0.0)
    residual = (network.W0 + S * network.B @ network.A) @ network.Z - network.Y
    G = residual @ network.Z.T / network.Z.shape[1]
    B = run(network, optimizers.AltLoRA(1.0, 0.0, 0.0), 1)[1]
    least = np.linalg.lstsq(S * network.A.T, G.T, rcond=None)[0].T
    assert_allclose(network.B - B, least, atol=1e-12)
    A, B = run(network, optimizers.Muon(0.05), 1)
    for step in (A - network.A, B - network.B):
        assert_allclose(np.linalg.svd(step, compute_uv=False), 0.05, rtol=1e-12)


@pytest.mark.parametrize("name", ["muon", "lora_rite", "alt_lora", "riemannian", "riemannion"])
def test_with_a_decaying_step_they_end_at_the_global_optimum(name):
    network = Network(6, 4, 0.2)
    problem = network.problem()
    best = ls.solve_convex(problem).fun
    method = ls.Method.parse(name + ("+cosine" if name in ("muon", "lora_rite", "riemannion") else ""))
    end = ls.solve(problem, method, seed=0, stop=ls.StoppingRule(4000, grad_tol=0.0))
    reached = ls.solve(problem, "lbfgs", seed=0).fun
    assert end.fun - reached < 1e-5 * reached
    assert end.fun > best * (1.0 - 1e-9)


def test_what_makes_no_sense_is_refused():
    network = Network(6, 4, 0.1)
    objective = network.problem().objective
    cases = [
        ("muon", ls.Problem(objective, 2, 0.1, "dora"), "beyond the factors"),
        ("lora_rite", ls.Problem(objective, 2, 0.1, "dora"), "X = s A B"),
        ("alt_lora", ls.Problem(objective, 2, 0.1, LoRA(frozen="A")), "frozen"),
        ("riemannian", ls.Problem(objective, 2, 0.1, LoRA(frozen="B")), "frozen"),
        ("riemannion", ls.Problem(objective, 2, 0.1, LoRA(frozen="A")), "frozen"),
        ("lora_pro_adamw", ls.Problem(objective, 2, 0.1, LoRA(frozen="B")), "frozen"),
    ]
    for name, problem, words in cases:
        with pytest.raises(ValueError, match=words):
            ls.solve(problem, name)
    bare = ls.Problem(ls.objectives.Denoising(np.ones((3, 2))), 1)
    with pytest.raises(ValueError, match="weight_decay: it decays the frozen weight"):
        ls.solve(bare, optimizers.LoRAProAdamWFull(weight_decay=0.1))
    # A new stage knows nothing of how far W0 has decayed: the weight would jump back.
    tuned, brief = ls.Problem(objective, 2), ls.StoppingRule(max_iter=8)
    with pytest.raises(ValueError, match="taken from the frozen weight would come back"):
        ls.solve(tuned, "lora_pro_adamw_full:weight_decay=0.1+periodic:period=4", stop=brief)
    ls.solve(tuned, "lora_pro_adamw_full:weight_decay=0.1+cosine", stop=brief)
    ls.solve(tuned, "lora_pro_adamw_full+periodic:period=4", stop=brief)
    for cls, setting in (
        (optimizers.LoRAPlusAdam, {"ratio": 0.0}),
        (optimizers.Muon, {"momentum": 1.0}),
        (optimizers.LoRARITE, {"clip": 0.0}),
        (optimizers.LoRARITE, {"cutoff": 1.0}),
        (optimizers.AltLoRA, {"damping": -1.0}),
        (optimizers.Riemannian, {"step_size": 0.0}),
        (optimizers.Riemannion, {"momentum": 1.0}),
        (optimizers.LoRAProAdamW, {"mode": "none"}),
        (optimizers.LoRAProAdamWFull, {"weight_decay": -1.0}),
    ):
        with pytest.raises(ValueError, match=next(iter(setting))):
            cls(**setting)
