"""Readings of a training run: penalties, scalers, loud layers. Skipped without torch."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lora_layers import LoRALinear  # noqa: E402
from torch_networks import LAM, Net, data  # noqa: E402

from lorasolve.networks import CrossEntropy, LoRAMonitor, adapted_layers, judge  # noqa: E402

torch.set_num_threads(1)


@pytest.mark.parametrize("penalty", [0.0, 1e-5])
def test_rounding_in_bfloat16_is_not_taken_for_a_penalty(penalty):
    """It breaks the identity of the two inner products as well, in some layer by just what the penalty would."""
    torch.manual_seed(0)
    layers = [LoRALinear(16, 16, 4, 2.0) for _ in range(8)]
    model = torch.nn.Sequential(*(part for layer in layers for part in (layer, torch.nn.Tanh())))
    factors = [part for part in model.parameters() if part.requires_grad]
    optimizer = torch.optim.AdamW(factors, lr=3e-3, weight_decay=0.0)
    x, y = torch.randn(64, 16), torch.randint(0, 16, (64,))
    monitors = {lam: LoRAMonitor(lam=lam) for lam in (1e-6, 1e-5, 1e-4)}
    monitors[None] = LoRAMonitor()
    chances = dict.fromkeys((1e-6, 1e-5, 1e-4), 0)
    for _ in range(60):
        optimizer.zero_grad()
        chosen = torch.randint(0, 64, (16,))
        with torch.autocast("cpu", torch.bfloat16, enabled=not penalty):
            loss = torch.nn.functional.cross_entropy(model(x[chosen]).float(), y[chosen])
        (loss + 0.5 * penalty * sum(part.square().sum() for part in factors)).backward()
        for lam, monitor in monitors.items():
            monitor.step(model)
            for layer in layers if lam else ():
                (A, dA), (B, dB) = ((p.detach().double(), p.grad.double()) for p in (layer.lora_B, layer.lora_A))
                difference = float((A * dA).sum() - (B * dB).sum())
                of_penalty = lam * float((A * A).sum() - (B * B).sum())
                chances[lam] += abs(difference - of_penalty) < 0.01 * abs(difference)
        optimizer.step()
    if penalty:
        for monitor in monitors.values():
            (text,) = monitor.warnings
            assert float(text.partition("of about ")[2].partition(":")[0]) == pytest.approx(penalty, rel=0.02)
    else:
        assert sum(chances.values()) > 0 and not any(monitor.warnings for monitor in monitors.values())


def test_layers_over_quantised_and_tied_weights_are_watched():
    """Factors and gradients are all that a monitor reads; the numbers are those of the layer over a plain weight."""
    model, monitors = Net(), [LoRAMonitor(lam=LAM) for _ in range(2)]
    with torch.no_grad():
        model.second.lora_B.normal_()
    CrossEntropy()(model, data()[0]).mean().backward()
    monitors[0].step(model)
    # As bitsandbytes packs a weight, and a second owner of the other.
    packed = torch.zeros(18, 1, dtype=torch.uint8)
    model.second.linear.weight = torch.nn.Parameter(packed, requires_grad=False)
    model.other = torch.nn.Linear(6, 7)
    model.other.weight = model.first.linear.weight
    with pytest.raises(ValueError, match="second has a quantised weight"):
        adapted_layers(model)
    with pytest.raises(ValueError, match=r"second has a quantised weight .* for a monitor's base"):
        LoRAMonitor(lam=LAM, base=model)
    with pytest.raises(ValueError, match=r"the weight of other is tied .*: the update has no layer"):
        adapted_layers(model, "other")
    assert monitors[1].step(model) is None
    assert monitors[0].history == monitors[1].history
    model.second.lora_A = torch.nn.Parameter(torch.ones(3, 7))
    with pytest.raises(ValueError, match=r"second: expected lora_A \(r, in\) and lora_B \(out, r\), got \(3, 7\) and"):
        monitors[1].step(model)
    assert monitors[1].steps == 1


def test_a_gradient_that_is_nan_is_seen_beside_a_frozen_factor():
    model = Net()
    model.first.lora_A.requires_grad_(False)
    monitor = LoRAMonitor(LAM)
    CrossEntropy()(model, data()[0]).mean().backward()
    assert monitor.step(model) is None
    model.first.lora_B.grad[0, 0] = math.nan
    assert "first has non-finite factors or gradients" in monitor.step(model)


@pytest.mark.parametrize("broken", [False, True])
def test_a_step_that_a_scaler_leaves_out_is_said_and_does_not_end_the_run(broken):
    """Losses of 1e36 overflow at scales above 256; one that is infinite does at every scale."""
    model, batch = Net(), data()[0]
    factors = [part for layer in (model.first, model.second) for part in (layer.lora_A, layer.lora_B)]
    optimizer = torch.optim.SGD(factors, lr=1e-40)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    monitor = LoRAMonitor()
    skipped = []
    for step in range(1, 20):
        optimizer.zero_grad()
        scaler.scale(CrossEntropy()(model, batch).mean() * (math.inf if broken else 1e36)).backward()
        scaler.unscale_(optimizer)
        before = scaler.get_scale()
        reason = monitor.step(model, scaler)
        if reason is not None:
            break
        scaler.step(optimizer)
        scaler.update()
        skipped += [step] * (scaler.get_scale() < before)
    assert (len(skipped) == 12 and "step 13: first has non-finite" in reason) if broken else 2 < len(skipped) < 12
    assert monitor.skipped == skipped == monitor.to_dict()["skipped"] and len(monitor.warnings) == 1
    assert [step for step, read in monitor.history if read["first"].finite] == [
        step for step in range(1, monitor.steps + 1) if step not in skipped and not broken
    ]


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ([LAM] * 2, False),
        ([LAM] * 3, True),
        ([LAM, LAM, 0.0, LAM, LAM], False),
        ([LAM, LAM, 2.0 * LAM, LAM, LAM], False),
        ([LAM, 0.0, LAM, LAM, LAM], True),
    ],
)
def test_a_penalty_in_the_loss_is_told_after_three_readings_in_a_row(weights, told):
    """One penalty that explains the inner products of a single reading may be chance, as of rounding."""
    model, monitor = Net(dropout=0.0).double(), LoRAMonitor()
    factors = [part for layer in (model.first, model.second) for part in (layer.lora_A, layer.lora_B)]
    x, y = data()[0]
    for weight in weights:
        model.zero_grad()
        penalty = 0.5 * weight * sum(part.square().sum() for part in factors)
        (CrossEntropy()(model, (x.double(), y)).mean() + penalty).backward()
        monitor.step(model)
        with torch.no_grad():
            for part in factors:
                part -= 0.1 * part.grad
    assert [text.partition(",")[0] for text in monitor.warnings] == (
        ["the gradients already contain the weight decay"] if told else []
    )


@pytest.mark.parametrize("penalty", [0.0, LAM])
def test_gradients_of_a_scaled_loss_are_not_taken_for_those_of_the_loss(penalty):
    """``lam_hat`` was as many times that of the loss as its scale says, and so was a penalty that is in the loss."""
    model = Net(dropout=0.0).double()
    factors = [part for layer in (model.first, model.second) for part in (layer.lora_A, layer.lora_B)]
    optimizer = torch.optim.SGD(factors, lr=0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    x, y = data()[0]
    early, late, plain = (LoRAMonitor(LAM) for _ in range(3))
    for _ in range(5):

        def loss():
            decay = 0.5 * penalty * sum(part.square().sum() for part in factors)
            return CrossEntropy()(model, (x.double(), y)).mean() + decay

        optimizer.zero_grad()
        loss().backward()
        plain.step(model)
        optimizer.zero_grad()
        scaler.scale(loss()).backward()
        early.step(model, scaler)
        scaler.unscale_(optimizer)
        late.step(model, scaler)
        scaler.step(optimizer)
        scaler.update()
    assert late.warnings == plain.warnings and bool(plain.warnings) == bool(penalty)
    assert late.lam_hat == pytest.approx(plain.lam_hat, rel=1e-12)
    assert [text.partition(":")[0] for text in early.warnings] == [
        "the scaler of the loss has not unscaled the gradients"
    ]
    for reading, other in zip(early.history[-1][1].values(), plain.history[-1][1].values()):
        assert (reading.grad, reading.stationarity, reading.lam_hat) == (None, None, None)
        assert reading.spectral == other.spectral


def test_factors_that_are_not_finite_end_the_run_whatever_scales_the_loss():
    model = Net()
    CrossEntropy()(model, data()[0]).mean().backward()
    with torch.no_grad():
        model.first.lora_B[0, 0] = math.nan
    monitor = LoRAMonitor()
    assert "first has non-finite factors" in monitor.step(model, torch.amp.GradScaler("cpu", init_scale=2.0**12))
    assert monitor.skipped == []


def test_the_decay_of_two_layers_is_their_median():
    """Layers with one decay each: a gradient of -lam times a factor is stationary for that lam."""
    model = Net()
    for layer, lam in ((model.first, 0.0119), (model.second, -0.0024)):
        for part in (layer.lora_A, layer.lora_B):
            part.grad = -lam * part.detach()
    monitor = LoRAMonitor()
    assert monitor.lam_hat is None
    monitor.step(model)
    assert monitor.lam_hat == pytest.approx((0.0119 - 0.0024) / 2, rel=1e-6)


def with_spectra(layer, a, b, rng):
    """Set factors ``P diag(a) R`` and ``Q diag(b) R``, whose product has the singular values ``a b``."""
    m, n = layer.linear.weight.shape
    P, Q, R = (np.linalg.qr(rng.standard_normal(shape))[0] for shape in ((m, len(a)), (n, len(b)), (len(a), len(a))))
    layer.lora_B.data = torch.tensor(P * a @ R)
    layer.lora_A.data = torch.tensor((Q * b @ R).T)


def test_a_reading_is_that_of_the_dense_matrices():
    """Also for a negative scaling; the second layer is small beside the first, and in units of its own as large."""
    rng, model = np.random.default_rng(0), Net(rank=3).double()
    model.first.scaling = -1.5
    spectra = {"first": ([2.0, 1.0, 0.5], [3.0, 2.0, 4e-3]), "second": ([1e-2, 2e-2, 3e-2], [4e-3, 1e-3, 1e-3])}
    for name, (a, b) in spectra.items():
        with_spectra(getattr(model, name), np.array(a), np.array(b), rng)
    monitor, (x, y) = LoRAMonitor(LAM, full_batch=True), data()[0]
    CrossEntropy()(model, (x.double(), y)).mean().backward()
    # A part of the gradient that is not that of a function of the product alone.
    model.first.lora_A.grad += 0.01 * torch.tensor(rng.standard_normal((3, 6)))
    assert monitor.step(model) is None
    for name, rank in (("first", 2), ("second", 3)):
        a, b = map(np.array, spectra[name])
        layer, reading = getattr(model, name), monitor.history[0][1][name]
        values, size = abs(layer.scaling) * a * b, float(a @ a + b @ b)
        assert (reading.spectral, reading.nuclear) == pytest.approx((values.max(), values.sum()), rel=1e-9)
        assert reading.rank == rank
        assert reading.balance == pytest.approx(np.linalg.norm(a**2 - b**2) / size, rel=1e-9)
        assert reading.wasted == pytest.approx(0.5 * size - float(a @ b), rel=1e-9)
        A, B, dA, dB = (
            part.detach().numpy() for part in (layer.lora_B, layer.lora_A, layer.lora_B.grad, layer.lora_A.grad)
        )
        on_A, on_B = float((A * dA).sum()), float((B * dB).sum())
        assert reading.grad == pytest.approx((np.sum(dA**2) + np.sum(dB**2)) ** 0.5, rel=1e-9)
        rest = (np.sum((dA + LAM * A) ** 2) + np.sum((dB + LAM * B) ** 2)) ** 0.5
        assert reading.stationarity == pytest.approx(rest / (LAM * size**0.5), rel=1e-9)
        assert reading.lam_hat == pytest.approx(-(on_A + on_B) / size, rel=1e-9)
        assert reading.mismatch == pytest.approx(abs(on_A - on_B) / max(abs(on_A), abs(on_B)), abs=1e-9)
    assert monitor.to_dict()["gradients"] == "full batch"
    # What makes the inner products differ here is not the penalty.
    assert monitor.history[0][1]["first"].mismatch > 1e-3 and monitor.warnings == []


def test_what_clipping_leaves_of_gradients_is_not_taken_for_them():
    """Clipped tenfold, ``lam_hat`` would be a tenth of the decay for which the point is stationary."""
    model = Net().double()
    x, y = data()[0]
    CrossEntropy()(model, (x.double(), y)).mean().backward()
    before = LoRAMonitor(LAM)
    before.step(model)
    length = float(torch.nn.utils.clip_grad_norm_(model.parameters(), math.inf))
    untouched = LoRAMonitor(LAM)
    untouched.step(model, clipped_to=2.0 * length)
    assert untouched.history == before.history and untouched.clipped == untouched.warnings == []
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1 * length)
    monitor = LoRAMonitor(LAM)
    for _ in range(2):
        monitor.step(model, clipped_to=0.1 * length)
    assert monitor.clipped == monitor.to_dict()["clipped"] == [1, 2] and len(monitor.warnings) == 1
    for name, reading in monitor.history[-1][1].items():
        assert (reading.grad, reading.stationarity, reading.lam_hat) == (None, None, None)
        assert reading.spectral == before.history[-1][1][name].spectral
    assert monitor.lam_hat is None
    for wrong in (0.0, "1"):
        with pytest.raises((ValueError, TypeError), match="clipped_to: expected"):
            monitor.step(model, clipped_to=wrong)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_clipping_is_noticed_in_half_precision(dtype):
    """It rounds the length of gradients to the precision of these: what it leaves may be shorter by half a percent."""
    model = Net().to(dtype)
    parameters = [part for part in model.parameters() if part.requires_grad]
    lengths = []
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        for part in parameters:
            part.grad = torch.randn(part.shape, generator=generator).to(dtype)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        lengths.append(math.hypot(*(float(part.grad.double().norm()) for part in parameters)))
        monitor = LoRAMonitor(LAM)
        monitor.step(model, clipped_to=1.0)
        assert monitor.clipped == [1], lengths[-1]
        # Gradients that were shorter are no others for it.
        untouched = LoRAMonitor(LAM)
        untouched.step(model, clipped_to=1.05)
        assert untouched.clipped == []
    assert min(lengths) < 0.9995 and max(lengths) < 1.02


def test_every_third_step_is_read_from_the_first_on_and_a_reason_stays():
    model = loud()
    monitor = LoRAMonitor(every=3, base=model)
    reason = monitor.step(model)
    assert reason is not None
    with torch.no_grad():
        model.first.lora_B.zero_()
    assert [monitor.step(model) for _ in range(6)] == [reason] * 6
    assert [step for step, _ in monitor.history] == [1, 4, 7]


def loud():
    """Return a network with a gradient and a far too large update."""
    model = Net()
    with torch.no_grad():
        model.first.lora_B.normal_(std=30.0)
    CrossEntropy()(model, data()[0]).mean().backward()
    return model


def compiled(model):
    return torch.compile(model, backend="eager")


WRAPPERS = {
    "compiled": compiled,
    "DataParallel": torch.nn.DataParallel,
    "both": lambda model: compiled(torch.nn.DataParallel(compiled(model))),
}


@pytest.mark.parametrize("case", ["in order", "never", "too late", "zero", "one factor", "not trained"])
def test_a_reading_without_any_gradient_is_noticed(case):
    model, monitor = Net(), LoRAMonitor()
    if case == "not trained":
        model.requires_grad_(False)
    if case not in ("never", "not trained"):
        CrossEntropy()(model, data()[0]).mean().backward()
    if case in ("too late", "zero"):
        model.zero_grad(set_to_none=case == "too late")
    if case == "one factor":  # at the start, where lora_B is zero, lora_A has none but zero
        for layer in (model.first, model.second):
            layer.lora_A.requires_grad_(False).grad = None
    assert monitor.step(model) is None
    silent = case in ("never", "too late", "zero")
    assert [text.startswith("no gradient but zero had come to any of the 2 layers") for text in monitor.warnings] == (
        [True] * silent
    )
    monitor.step(model)
    assert len(monitor.warnings) == silent


@pytest.mark.parametrize("wrapped", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapper_does_not_hide_a_loud_layer(wrapped):
    model = loud()
    reason = LoRAMonitor(base=model).step(model)
    assert "loud: first has" in reason
    assert LoRAMonitor(base=model).step(wrapped(model)) == reason
    assert LoRAMonitor(base=wrapped(model)).step(model) == reason
    plain = judge(model, CrossEntropy(), data(), LAM)
    assert judge(wrapped(model), CrossEntropy(), data(), LAM).to_dict() == plain.to_dict()


def test_a_base_without_the_layers_is_refused():
    with pytest.raises(ValueError, match=r"^base: has no LoRA layers"):
        LoRAMonitor(base=torch.nn.Linear(3, 2))
    model = loud()
    outer = torch.nn.Sequential(model)
    for base, given in ((model, outer), (outer, model)):
        with pytest.raises(ValueError, match=r"base: expected the model that step is given, .* 2 of its 2 LoRA layers"):
            LoRAMonitor(base=base).step(given)


def test_factors_that_are_both_zero_are_named_as_what_stops_their_training():
    """Gradients ``G B`` and ``G^T A`` are zero there, though that of the weight is not: nothing was called wrongly."""
    for zero in (("first", "second"), ("second",)):
        model, monitor = Net(), LoRAMonitor(lam=LAM)
        optimizer = torch.optim.SGD([part for part in model.parameters() if part.requires_grad], 0.1, weight_decay=LAM)
        with torch.no_grad():
            for name in zero:
                model.get_submodule(name).lora_A.zero_()
                model.get_submodule(name).lora_B.zero_()
        model.second.linear.weight.requires_grad_()
        for _ in range(3):
            optimizer.zero_grad()
            CrossEntropy()(model, data()[0]).mean().backward()
            monitor.step(model)
            optimizer.step()
        assert model.second.linear.weight.grad.any() and not any(
            part.any() for part in (model.second.lora_A, model.second.lora_B)
        )
        (text,) = monitor.warnings
        assert text.startswith(f"both factors are zero in {', '.join(zero)}: no gradient comes")


@pytest.mark.parametrize("kind", ["normal", "orthogonal", "zero", "thin"])
def test_the_norm_of_a_large_weight_needs_no_decomposition_of_it(kind, monkeypatch):
    """That of 4096 x 4096 numbers takes 13 s, which a monitor took for each layer before the first step."""
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(*((2, 200_000) if kind == "thin" else (600, 520)), generator=generator)
    W = {"orthogonal": lambda: torch.linalg.qr(W)[0], "zero": lambda: 0.0 * W}.get(kind, lambda: W)()
    model = torch.nn.Sequential(LoRALinear(W.shape[1], W.shape[0], 2))
    model[0].linear.weight.data = W
    exact = float(np.linalg.eigvalsh((W.double() @ W.double().T).numpy())[-1]) ** 0.5
    monkeypatch.setattr(torch.linalg, "matrix_norm", None)
    (found,) = LoRAMonitor(base=model).base_norms.values()
    assert found == (None if kind == "zero" else pytest.approx(exact, rel=1e-4))


@pytest.mark.parametrize(("accumulated", "told"), [(1, False), (2, True), (4, True)])
def test_readings_between_steps_of_the_optimizer_are_noticed(accumulated, told):
    """Gradients of which parts are still to come are those of no objective; the schedule begins with a step of 0."""
    model, monitor = Net(), LoRAMonitor(lam=LAM)
    optimizer = torch.optim.SGD([part for part in model.parameters() if part.requires_grad], lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min(1.0, k / 5))
    for k, batch in enumerate(data() * 8, 1):
        CrossEntropy()(model, batch).mean().div(accumulated).backward()
        assert monitor.step(model) is None
        if k % accumulated == 0:
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    assert [text for text in monitor.warnings if "what they were at the reading before" in text] == monitor.warnings
    assert bool(monitor.warnings) == told


def test_steps_that_a_scaler_leaves_out_are_no_standing_still():
    model, monitor = Net(), LoRAMonitor(lam=LAM)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    for k in range(8):
        CrossEntropy()(model, data()[0]).mean().backward()
        if k < 4:
            model.first.lora_A.grad[0, 0] = math.inf
        monitor.step(model, scaler)
        if k >= 4:
            with torch.no_grad():
                for part in (model.first.lora_B, model.second.lora_B):
                    part -= 0.1 * part.grad
        model.zero_grad()
    assert monitor.skipped == [1, 2, 3, 4]
    assert not any("the reading before" in text for text in monitor.warnings)
