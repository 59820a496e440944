"""Adapted embeddings and convolutions: linear layers of one-hot inputs and of patches. Skipped without torch."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lora_layers import LoRALinear  # noqa: E402

from lorasolve.networks import (  # noqa: E402
    CrossEntropy,
    LoRAMonitor,
    Network,
    SquareLoss,
    adapted_layers,
    fine_tune,
    judge,
    linearize,
)

torch.set_num_threads(1)
LAM = 0.02
WORDS, N = 9, 20


class LoRAEmbedding(torch.nn.Module):
    """An embedding beside factors as PEFT has them: (r, vocabulary) and (width, r)."""

    def __init__(self, words, width, rank=2, scaling=2.0, **settings):
        super().__init__()
        self.embedding = torch.nn.Embedding(words, width, **settings).requires_grad_(False)
        self.lora_A = torch.nn.Parameter(torch.randn(rank, words))
        self.lora_B = torch.nn.Parameter(torch.randn(width, rank))
        self.scaling = scaling
        if self.embedding.padding_idx is not None:
            self.lora_A.data[:, self.embedding.padding_idx] = 0.0

    def forward(self, ids):
        rows = torch.nn.functional.embedding(ids, self.lora_A.T, padding_idx=self.embedding.padding_idx)
        return self.embedding(ids) + self.scaling * rows @ self.lora_B.T


class LoRAConv(torch.nn.Module):
    """A convolution beside one to r channels and one of single entries, as PEFT has them."""

    def __init__(self, conv, rank=2, scaling=0.5):
        super().__init__()
        kind = type(conv)
        self.conv = conv.requires_grad_(False)
        self.lora_A = kind(conv.in_channels, rank, conv.kernel_size, conv.stride, conv.padding, bias=False)
        self.lora_B = kind(rank, conv.out_channels, 1, bias=False)
        self.scaling = scaling

    def forward(self, x):
        return self.conv(x) + self.scaling * self.lora_B(self.lora_A(x))


class Words(torch.nn.Module):
    """Mean of a hidden layer over the tokens of a sentence."""

    def __init__(self, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.words = LoRAEmbedding(WORDS, 5, **settings)
        self.head = torch.nn.Linear(5, 3).requires_grad_(False)
        self.double()

    def forward(self, ids):
        return self.head(torch.tanh(self.words(ids)).mean(1))


class Images(torch.nn.Module):
    """Mean of a hidden layer over the places of an image."""

    def __init__(self, conv=None):
        super().__init__()
        torch.manual_seed(0)
        self.patches = LoRAConv(conv or torch.nn.Conv2d(3, 5, (2, 3), stride=2, padding=1))
        self.head = torch.nn.Linear(5, 3).requires_grad_(False)
        self.double()

    def forward(self, x):
        return self.head(torch.tanh(self.patches(x)).flatten(2).mean(2))


class Plain(torch.nn.Module):
    """The same over rows that are given: one-hot ones or patches."""

    def __init__(self, W, bias, lora_A, lora_B, scaling, head):
        super().__init__()
        self.layer = LoRALinear(W.shape[1], W.shape[0], len(lora_A), scaling).double()
        with torch.no_grad():
            self.layer.linear.weight.copy_(W)
            self.layer.linear.bias.copy_(bias)
            self.layer.lora_A.copy_(lora_A)
            self.layer.lora_B.copy_(lora_B)
        self.head = head

    def forward(self, rows):
        return self.head(torch.tanh(self.layer(rows)).mean(1))


def sentences(n=N, length=4):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, WORDS, (n, length), generator=generator)
    ids[0] = torch.tensor([3, 0, 3, 3])[:length]
    return ids, torch.randint(0, 3, (n,), generator=generator)


def images(n=N, shape=(3, 5, 6)):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 3, (n,), generator=generator)


def with_words():
    """A network over an embedding, its batches, and the same with a linear layer of one-hot inputs."""
    model, (ids, y) = Words(), sentences()
    layer = model.words
    equal = Plain(layer.embedding.weight.T, torch.zeros(5), layer.lora_A, layer.lora_B, layer.scaling, model.head)
    rows = torch.nn.functional.one_hot(ids, WORDS).double()
    return model, [(ids[:7], y[:7]), (ids[7:], y[7:])], equal, [(rows[:7], y[:7]), (rows[7:], y[7:])]


def with_images():
    """The same over a convolution, and with a linear layer of patches."""
    model, (x, y) = Images(), images()
    layer, conv = model.patches, model.patches.conv
    factors = layer.lora_A.weight.flatten(1), layer.lora_B.weight.flatten(1)
    equal = Plain(conv.weight.flatten(1), conv.bias, *factors, layer.scaling, model.head)
    rows = torch.nn.functional.unfold(x, conv.kernel_size, padding=conv.padding, stride=conv.stride).transpose(1, 2)
    return model, [(x[:7], y[:7]), (x[7:], y[7:])], equal, [(rows[:7], y[:7]), (rows[7:], y[7:])]


KINDS = pytest.mark.parametrize("pair", [with_words, with_images])


def close(one, two, rel=1e-11):
    size = max(float(np.abs(b).max()) for b in two)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=rel * size)


@KINDS
def test_value_gradient_and_curvature_are_those_of_the_linear_layer_it_is(pair):
    model, batches, equal, rows = pair()
    network, other = Network(model, CrossEntropy(), batches), Network(equal, CrossEntropy(), rows)
    assert network.shapes == other.shapes
    close(network.point[0], other.point[0])
    one, two = (net.value_and_gradients(net.point) for net in (network, other))
    assert one[0] == pytest.approx(two[0], rel=1e-13)
    close(one[1], two[1])
    # And the model's own loss, by its own forward pass.
    x, y = (torch.cat(parts) for parts in zip(*batches))
    assert one[0] == pytest.approx(float(torch.nn.functional.cross_entropy(model(x), y)), rel=1e-13)
    D = [np.random.default_rng(0).standard_normal(shape) for shape in network.shapes]
    close(*(net.gradients_and_products(net.point, D)[1] for net in (network, other)))
    assert network.differences is None


@KINDS
def test_gradients_are_those_that_training_leaves_in_the_factors(pair):
    model, batches, _, _ = pair()
    network = Network(model, CrossEntropy(), batches)
    layer = network.layers[0]
    (G,) = network.value_and_gradients(network.point)[1]
    A, B = layer.factors
    x, y = (torch.cat(parts) for parts in zip(*batches))
    torch.nn.functional.cross_entropy(model(x), y).backward()
    close([G @ B, A.T @ G], [part.grad.flatten(1).numpy() for part in (layer.lora_B, layer.lora_A)])
    monitor = LoRAMonitor(LAM, base=model)
    monitor.step(model)
    ((_, reading),) = monitor.history[-1][1].items()
    assert reading.spectral == pytest.approx(np.linalg.norm(layer.scale * A @ B.T, 2), rel=1e-12)
    assert reading.mismatch < 1e-12
    rest = math.hypot(np.linalg.norm(G @ B + LAM * A), np.linalg.norm(G.T @ A + LAM * B))
    assert reading.stationarity == pytest.approx(rest / (LAM * math.hypot(np.linalg.norm(A), np.linalg.norm(B))))


@KINDS
def test_gradients_are_those_of_finite_differences(pair):
    model, batches, _, _ = pair()
    network = Network(model, CrossEntropy(), batches)
    (X,), rng = [A @ B.T for A, B in network.point], np.random.default_rng(1)
    (G,), D = network.value_and_grad([X])[1], rng.standard_normal(network.shapes[0])
    ends = [network.value_and_grad([X + t * D])[0] for t in (1e-5, -1e-5)]
    assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(float(np.vdot(G, D)), rel=1e-6)


@KINDS
def test_verdicts_are_those_of_the_linear_layer_it_is(pair):
    model, batches, equal, rows = pair()
    one, two = (
        fine_tune(net, CrossEntropy(), data, LAM, tangent_solve=True, second=True).verdict
        for net, data in ((model, batches), (equal, rows))
    )
    assert one.kind == two.kind == "tangent_optimal"
    assert pytest.approx(two.F, rel=1e-9) == one.F
    assert one.base_norms[0] == pytest.approx(two.base_norms[0], rel=1e-6)
    assert one.certificate.dual_norm == pytest.approx(two.certificate.dual_norm, rel=1e-6)
    assert one.solved.relative_gap < 1e-6 and one.second.is_sosp
    # The factors are in the layers, and the model is what was judged.
    x, y = (torch.cat(parts) for parts in zip(*batches))
    assert float(torch.nn.functional.cross_entropy(model(x), y)) == pytest.approx(one.certificate.f, rel=1e-9)


@pytest.mark.parametrize(
    "conv",
    [
        torch.nn.Conv1d(3, 5, 2, padding=1),
        torch.nn.Conv1d(3, 5, 3, dilation=2, padding="same", padding_mode="circular", bias=False),
        torch.nn.Conv2d(3, 5, 3, padding="same", padding_mode="reflect"),
        torch.nn.Conv2d(3, 5, (2, 1), stride=(1, 2), padding=(0, 1)),
        torch.nn.Conv3d(3, 5, (1, 2, 2)),
    ],
    ids=["1d", "1d dilated", "2d reflecting", "2d strided", "3d"],
)
def test_linearised_outputs_that_are_affine_are_the_network_everywhere(conv):
    class Affine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.head = conv, torch.nn.Linear(5, 3)

        def forward(self, x):
            return self.head(self.conv(x).flatten(2).mean(2))

    x, y = images(shape=(3, 4, 5, 3)[: conv.weight.ndim - 1])
    network = Network(Affine().double(), CrossEntropy(), [(x, y)], layers="conv")
    rng = np.random.default_rng(0)
    factors = [(rng.standard_normal((m, 2)), rng.standard_normal((n, 2))) for m, n in network.shapes]
    ntk = linearize(network, network.zeros())
    (f, G), (ours, H) = (which.value_and_grad([A @ B.T for A, B in factors]) for which in (network, ntk))
    assert f == pytest.approx(ours, rel=1e-12)
    close(G, H)


# ---------------------------------------------------------------------- known optima
def thresholded(Y, threshold):
    """Return ``argmin ||X - Y||^2 / 2 + threshold ||X||_*`` and its value."""
    U, s, Vt = np.linalg.svd(Y, full_matrices=False)
    kept = np.maximum(s - threshold, 0.0)
    X = (U * kept) @ Vt
    return X, 0.5 * float(np.sum((X - Y) ** 2)) + threshold * float(kept.sum())


def test_an_embedding_by_squares_is_globally_optimal_where_its_singular_values_are_thresholded():
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Embedding(WORDS, 4)).double()
    ids, y = torch.arange(WORDS), torch.randn(WORDS, 4, dtype=torch.float64)
    lam = 0.1
    X, F = thresholded((y - model[0].weight.detach()).numpy().T, lam * WORDS)
    end = fine_tune(model, SquareLoss(), [(ids[:5], y[:5]), (ids[5:], y[5:])], lam, layers="0", rank=4)
    assert end.verdict.kind == "global"
    assert pytest.approx(F / WORDS, rel=1e-9) == end.verdict.F
    ((A, B),) = end.factors
    np.testing.assert_allclose(A @ B.T, X, atol=1e-6)
    assert judge(model, SquareLoss(), [(ids, y)], lam, layers="0", factors=[(A, 1.1 * B)]).kind != "global"


def test_a_convolution_by_squares_is_globally_optimal_where_its_singular_values_are_thresholded():
    torch.manual_seed(4)
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 2, bias=False), torch.nn.Flatten()).double()
    # Each image is one patch, with one entry.
    x, y = torch.eye(8, dtype=torch.float64).reshape(8, 2, 2, 2), torch.randn(8, 4, dtype=torch.float64)
    lam = 0.1
    X, F = thresholded((y - model[0].weight.detach().flatten(1).T).numpy().T, lam * 8)
    end = fine_tune(model, SquareLoss(), [(x, y)], lam, layers="0", rank=4)
    assert end.verdict.kind == "global"
    assert pytest.approx(F / 8, rel=1e-9) == end.verdict.F
    ((A, B),) = end.factors
    np.testing.assert_allclose(A @ B.T, X, atol=1e-6)


# ---------------------------------------------------------------------- the padding index
@pytest.mark.parametrize("index", [0, -1])
def test_the_row_of_the_padding_index_is_held_and_the_optimum_is_that_over_the_others(index):
    """Its token counts in the loss, at the value that it has; PEFT's gradient and torch's leave it out too."""
    torch.manual_seed(5)
    layer = LoRAEmbedding(WORDS, 4, 4, 1.0, padding_idx=index)
    torch.nn.init.normal_(layer.embedding.weight)
    torch.nn.init.zeros_(layer.lora_A)
    model = torch.nn.Sequential(layer).double()
    ids, y = torch.arange(WORDS), torch.randn(WORDS, 4, dtype=torch.float64)
    off = (y - layer.embedding.weight.detach()).numpy()
    others = np.arange(WORDS) != index % WORDS
    lam = 0.1
    X, F = thresholded(off[others].T, lam * WORDS)
    F += 0.5 * float(np.sum(off[index] ** 2))
    start = [(np.eye(4), np.full((WORDS, 4), 0.3))]
    for init in (None, ([start[0][0]], [start[0][1]])):
        end = fine_tune(model, SquareLoss(), [(ids, y)], lam, init=init)
        assert end.verdict.kind == "global"
        assert pytest.approx(F / WORDS, rel=1e-9) == end.verdict.F
        assert not layer.lora_A[:, index].any()
        change = (model(ids) - layer.embedding(ids)).detach().numpy()
        np.testing.assert_allclose(change[others].T, X, atol=1e-6)
        assert not change[index].any()
    assert any("the row of the padding index stays what it is" in text for text in end.verdict.premises)
    network = Network(model, SquareLoss(), [(ids, y)])
    _, (G,), fault = network.tested_value_and_gradients(network.point)
    assert fault is None and not G[:, index].any()
    ntk = linearize(network, network.point)
    assert ntk.value_and_grad([start[0][0] @ start[0][1].T])[0] == pytest.approx(network.value(start), rel=1e-12)


def test_an_update_at_the_padding_index_is_refused():
    model = Words(padding_idx=2)
    ids, y = sentences()
    assert judge(model, CrossEntropy(), [(ids, y)], LAM).certificate is not None
    model.words.lora_A.data[0, 2] = 1e-3
    with pytest.raises(ValueError, match=r"words: expected zeros in lora_A at the padding index 2, which no gradient"):
        judge(model, CrossEntropy(), [(ids, y)], LAM)
    model.words.lora_A.data[0, 2] = math.nan
    assert judge(model, CrossEntropy(), [(ids, y)], LAM).kind == "non_finite"


# ---------------------------------------------------------------------- refused by name
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LoRAConv(torch.nn.Conv2d(4, 4, 3, groups=2)), r"adapts a grouped convolution \(2 groups\)"),
        (lambda: LoRAEmbedding(WORDS, 5, max_norm=1.0), "0 adapts an embedding with max_norm, without which it can"),
        (lambda: LoRAEmbedding(WORDS, 5, scale_grad_by_freq=True, sparse=True), "with scale_grad_by_freq and sparse"),
        (
            lambda: LoRAConv(torch.nn.ConvTranspose2d(4, 4, 3)),
            r"adapts a ConvTranspose2d; only linear layers .*, embeddings and",
        ),
    ],
)
def test_what_is_no_matrix_times_inputs_is_refused_by_name(make, words):
    with pytest.raises(ValueError, match=words):
        adapted_layers(torch.nn.Sequential(make()))


def test_of_plain_layers_too_what_is_no_matrix_times_inputs_is_refused_by_name():
    with pytest.raises(ValueError, match=r"0 adapts a grouped convolution \(2 groups\)"):
        adapted_layers(torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, groups=2)), layers="0")


def test_factors_of_other_shapes_are_refused_by_name():
    model = Images()
    model.patches.lora_B = torch.nn.Conv2d(2, 5, 2, bias=False)
    with pytest.raises(ValueError, match=r"patches: expected lora_A \(r, in, 2, 3\) and lora_B \(out, r, 1, 1\), got"):
        adapted_layers(model)
    # As loralib has them: of blocks of the kernel, which is another matrix.
    model.patches.lora_A = torch.nn.Parameter(torch.zeros(4, 6))
    model.patches.lora_B = torch.nn.Parameter(torch.zeros(10, 4))
    with pytest.raises(ValueError, match=r"patches is 5 x 18, but lora_A is \(4, 6\) and lora_B is \(10, 4\)"):
        adapted_layers(model)


def test_a_layer_that_computes_something_else_of_its_factors_is_refused():
    model, (x, y) = Images(), images()
    model.patches.conv.padding_mode = "circular"  # which the factors do not share
    with pytest.raises(ValueError, match="patches: expected W x"):
        judge(model, CrossEntropy(), [(x, y)], LAM)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_scaling_by_another_name_is_seen_in_a_large_vocabulary_too(dtype):
    model = torch.nn.Sequential(LoRAEmbedding(20_000, 8), torch.nn.Flatten(), torch.nn.Linear(16, 3))
    model[0].forward = lambda ids: (
        model[0].embedding(ids) + 3.0 * torch.nn.functional.embedding(ids, model[0].lora_A.T) @ model[0].lora_B.T
    )
    batches = [(torch.arange(40).reshape(20, 2), torch.arange(20) % 3)]
    with pytest.raises(ValueError, match="0: expected W x"):
        judge(model, CrossEntropy(), batches, LAM, dtype=dtype)


def test_an_embedding_tied_to_a_head_is_judged_as_the_one_place_that_its_factors_change():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.words, self.head = LoRAEmbedding(WORDS, 5), torch.nn.Linear(5, WORDS, bias=False)
            self.head.weight = self.words.embedding.weight
            self.double()

        def forward(self, ids):
            return self.head(torch.tanh(self.words(ids)).mean(1))

    model, (ids, y) = Tied(), sentences()
    own = torch.nn.functional.cross_entropy(model(ids), y)
    own.backward()
    assert LoRAMonitor(LAM).step(model) is None
    network = Network(model, CrossEntropy(), [(ids, y)])
    f, (G,) = network.value_and_gradients(network.point)
    assert f == pytest.approx(float(own), rel=1e-13)
    close([G @ network.point[0][1]], [model.words.lora_B.grad.numpy()])
    told = judge(model, CrossEntropy(), [(ids, y)], LAM, tangent_solve=True)
    assert "change these layers alone, until they are merged into tied weights: words" in str(told)
    # Beside a copy it is the same, and nothing is said of it.
    model.head.weight = torch.nn.Parameter(model.head.weight.detach().clone(), requires_grad=False)
    apart = judge(model, CrossEntropy(), [(ids, y)], LAM, tangent_solve=True)
    assert (apart.F, apart.solved.value) == pytest.approx((told.F, told.solved.value), rel=1e-12)
    assert "tied" not in str(apart)


def test_factors_that_are_views_of_each_other_are_tied():
    """So PEFT ties those of an embedding to those of a head, whose parameters are not the same then."""
    model = torch.nn.Sequential(LoRAEmbedding(WORDS, 5), LoRALinear(5, WORDS))
    model[1].lora_A.data = model[0].lora_B.data.T
    model[1].lora_B.data = model[0].lora_A.data.T
    with pytest.raises(ValueError, match=r"lora_A of 0 is tied \(0.lora_A, 1.lora_B\): a shared factor"):
        adapted_layers(model)


def test_factors_in_another_memory_format_are_written_too():
    model, (x, y) = Images().to(memory_format=torch.channels_last), images()
    end = fine_tune(model, CrossEntropy(), [(x, y)], LAM, max_calls=20)
    assert float(torch.nn.functional.cross_entropy(model(x), y)) == pytest.approx(end.verdict.certificate.f, rel=1e-9)


def test_samples_have_to_be_the_first_axis_for_the_tangent_problem():
    class Positions(Words):
        def forward(self, x):
            return self.head(torch.tanh(x[..., None] * self.words(torch.arange(x.shape[1])[None])).mean(1))

    x, y = torch.randn(N, 4, dtype=torch.float64), sentences()[1]
    network = Network(Positions(), CrossEntropy(), [(x, y)])
    with pytest.raises(ValueError, match=r"words sees \(1, 4\) for 20 samples; the first axis has to be that of the"):
        linearize(network, network.point)


def test_channels_are_not_taken_for_samples_by_the_tangent_problem():
    """A convolution of one image without an axis of samples: its one channel is as many as there are samples."""

    class Unbatched(Images):
        def forward(self, x):
            return self.head(torch.tanh(self.patches(x)))

    model = Unbatched(torch.nn.Conv1d(1, 1, 1))
    x, y = torch.ones(1, 5, dtype=torch.float64), torch.tensor([1])
    network = Network(model, CrossEntropy(), [(x, y)])
    with pytest.raises(ValueError, match=r"patches sees \(1, 5\) for 1 samples; the first axis has to be that of the"):
        linearize(network, network.point)
