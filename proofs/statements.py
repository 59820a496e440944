"""The statements of the paper that the checks refer to, those that are not checked, and the corrections.

J. Kim, J. Kim, E. K. Ryu, "LoRA Training Provably Converges to a Low-Rank Global Minimum or It Fails Loudly (But it
Probably Won't Fail)", ICML 2025, arXiv:2502.09376v3. Section numbers are those of this project's notes: 1 objects,
2 weight decay, 3 assumptions, 4 theorem 1, 5 theorem 2, 6 theorem 3, 7 why it probably will not fail.
"""

STATEMENTS: dict[str, str] = {
    "1 gradient": "grad_A L = G B + lam A, grad_B L = G^T A + lam B",
    "1 Hessian form": "hess f[D, D] + 2 <G, U V^T> + lam (|U|^2 + |V|^2)",
    "2 variational lower bound": "(|A|^2 + |B|^2)/2 >= ||A B^T||_*",
    "2 variational attainment": "equality at A = P S^{1/2}, B = Q S^{1/2}",
    "2 reduction to the convex problem": "min L = min { F(X) : rank X <= r }",
    "2 balance": "A^T A = B^T B at a stationary point, lam > 0",
    "2 gradient structure": "G = -lam P Q^T + S, P^T S = 0, S Q = 0",
    "2 pairing and value": "<G, X> = -lam ||X||_* and L(A, B) = F(X)",
    "2 rebalancing at lam = 0": "second-order stationarity depends on X only",
    "2 rank-deficient point at lam = 0": "G = 0",
    "4 step 1": "the escape direction, with signs and norms",
    "4 step 2": "||S||_2 <= lam + beta sigma_r",
    "4 step 3": "a subgradient g with Z = g + G off the singular vectors, ||Z||_2 <= beta sigma_r",
    "4 step 4": "Pi_{r*}(X) is a best rank-r* approximation of X - kappa Z",
    "4 step 5": "||Pi - X||^2 <= ||X* - X||^2 + 2 kappa <X* - X, Z>",
    "4 step 6": "<X* - X, Z> <= -alpha ||X - X*||^2",
    "4 step 7": "(2 kappa alpha - 1) ||X* - X||^2 + ||Pi - X||^2 <= 0",
    "4 special regime": "theorem 1: 2 alpha > beta implies global",
    "4 generic regime": "theorem 1: the ratio of singular values and the distance",
    "4 rank-deficient point": "a rank-deficient second-order stationary point is global",
    "4 corollary (i)": "sigma_r <= (2 alpha/beta) sigma_{r*} implies global, r > r*",
    "4 corollary (ii)": "the lower bound on ||X||_F",
    "5 theorem 2": "several matrices",
    "6 theorem 3, special regime": "approximately low-rank minimizers, eps-global",
    "6 theorem 3, generic regime": "approximately low-rank minimizers, sigma_r and distance",
    "7 magnitude": "||X*||_* <= (f(0) - inf f)/lam",
    "7 lemma 1": "SGD's limit is close to low rank",
}

NOT_CHECKED: dict[str, str] = {
    "Section 3": "definitions of restricted strong convexity and smoothness; they enter the checks as hypotheses",
    "Section 7, gradient descent avoids strict saddles": "cited (Lee et al. 2016, Ge et al. 2015), measure theory",
    "Experiments": "reproduced numerically elsewhere in the package, not proved",
}

CORRECTIONS: tuple[tuple[str, str, str], ...] = (
    (
        "Theorem 1",
        "`theorem1`",
        "the constant 2 is sharp for restricted constants: at beta = 2 alpha, r = r* = 1 a 2 x 2 quadratic has a "
        "spurious second-order stationary point.",
    ),
    (
        "Theorem 2",
        "`theorem2`",
        "`2 alpha_l >= beta_l for all l` must be strict, or r > r*; the instance above refutes equality at r = r*.",
    ),
    (
        "Theorem 2",
        "`theorem2`",
        "the constants alpha_l of each diagonal block are not enough: f(X1, x2) = ||X1 - E11||^2/2 + (x2 - 3)^2/2 + g "
        "<N, X1 - E11> (x2 - 3), N = (E11 - E22)/sqrt 2, g^2 = 3/4, is strongly convex with alpha_l = beta_l = 1 in "
        "each block and has a spurious second-order stationary point at X1 = (3/5) E22, r = r* = 1, lam = 0, f = 1/5. "
        "What is proved is the version with the joint inequality <grad f(X) - grad f(X*), X - X*> >= sum_l alpha_l "
        "||X_l - X*_l||^2.",
    ),
    (
        "Theorem 3",
        "`theorem3`",
        "explicit constants; sigma_r >= alpha eps/(2 beta sqrt(r*)) holds with r* in place of r; the slack eps^2 in "
        "the distance bound needs c delta <= (1 - c) eps^2.",
    ),
    (
        "Lemma 1",
        "`lemma1`",
        "needs eps/4 <= 1 - mu lam, its argument 1 - mu lam >= 1/4 too; if the factors converge, rank X <= b outright.",
    ),
    (
        "Theorem 1",
        "`theorem_a`",
        "the special regime extends to beta/alpha < 2 sqrt(r/r*).",
    ),
    (
        "Theorem 1",
        "`theorem_c`",
        "and no further under the paper's assumptions: at beta/alpha = 2 sqrt(r/r*), for every r >= r* and lam >= 0, "
        "there is a spurious second-order point at the distance sqrt(2) ||X*||.",
    ),
    (
        "Theorem 1",
        "`theorem_b`",
        "with bounds alpha, beta on the curvature along rank r + r* the condition is beta2 (beta - alpha) < 2 alpha "
        "beta sqrt(r/r*), beta2 the restricted smoothness; `theorem_b_sharp` attains it.",
    ),
    (
        "Theorem 2",
        "`theorem2_joint`",
        "with the joint inequality: beta_l < 2 alpha_l sqrt(r_l/r*_l) for every matrix suffices.",
    ),
    (
        "DoRA",
        "`dora_gradient`",
        "the projector of the gradient acts column by column; the formula with one matrix is false.",
    ),
    (
        "Expressive power",
        "`expressive_power`",
        "the ReLU error bound holds with the trace of the covariance, not with its Frobenius norm.",
    ),
)
