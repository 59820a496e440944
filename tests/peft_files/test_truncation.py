"""Truncated adapters against dense best approximations, in every layout, and written so that they are read back."""

import json

import numpy as np
import pytest

from lorasolve.peft_files import TensorFile, UnreadableError, facts_of, interfere, read, truncate

RNG = np.random.default_rng(0)


def dense(folder):
    return {layer.module: layer.scale * layer.A @ layer.B.T for layer in read(folder).layers()}


def tail(X, k):
    """Return the spectral and the Frobenius norm of what the best approximation of rank k leaves (Eckart and Young)."""
    sigma = np.append(np.linalg.svd(X, compute_uv=False), 0.0)
    return sigma[min(k, len(sigma) - 1)], np.linalg.norm(sigma[k:])


def everything(make):
    """Return the tensors of an adapter with one module of each layout, in float64, and its configuration."""
    normal = RNG.standard_normal
    tensors = make.linear("h.1.q", normal((4, 7)), normal((9, 4))) | make.linear(
        "h.11.q", normal((4, 7)), normal((9, 4))
    )
    tensors |= make.linear("conv", normal((4, 2, 3, 3)), normal((6, 4, 1, 1)))
    tensors |= make.linear("mlp.experts", normal((12, 7)), normal((9, 12)))
    tensors |= {"base_model.model.e.lora_embedding_A": normal((4, 20))}
    tensors |= {"base_model.model.e.lora_embedding_B": normal((6, 4)), "base_model.model.head.weight": normal((3, 3))}
    tensors |= {"base_model.model.h.1.q.lora_magnitude_vector": normal(9)}
    return tensors, {"target_parameters": ["mlp.experts.up"], "alpha_pattern": {"h.1.q": 3, "conv": 5}}


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 9])
def test_every_layout_is_truncated_to_the_best_approximation(tmp_path, make, k, rslora):
    tensors, config = everything(make)
    folder = make.adapter(tmp_path / "a", tensors, use_rslora=rslora, **config)
    done = truncate(folder, tmp_path / "b", rank=k)
    before, after = dense(folder), dense(tmp_path / "b")
    assert before.keys() == after.keys() and len(done.layers) == len(before) == 7
    for layer in done.layers:
        X, Y = before[layer.module], after[layer.module]
        assert layer.r == min(k, 4) and np.linalg.matrix_rank(Y, 1e-9) <= k
        spectral, frobenius = tail(X, layer.r)
        np.testing.assert_allclose([layer.spectral_loss, layer.frobenius_loss], [spectral, frobenius], atol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(X - Y), frobenius, atol=1e-12)
        assert layer.relative_loss == pytest.approx(frobenius / np.linalg.norm(X), abs=1e-12)
    total = np.sqrt(sum(np.linalg.norm(before[name] - after[name]) ** 2 for name in before))
    assert done.frobenius_loss == pytest.approx(total, abs=1e-12)
    scales = [{layer.module: layer.scale for layer in read(path).layers()} for path in (folder, tmp_path / "b")]
    assert scales[0] == pytest.approx(scales[1])
    if k < 4:
        assert all(facts_of(layer).wasted == pytest.approx(0, abs=1e-12) for layer in read(tmp_path / "b").layers())
    file = TensorFile(tmp_path / "b" / "adapter_model.safetensors")
    for copied in ("base_model.model.head.weight", "base_model.model.h.1.q.lora_magnitude_vector"):
        np.testing.assert_array_equal(file.read(copied), tensors[copied])


@pytest.mark.parametrize("error", [0.0, 1e-3, 0.1, 0.5, 1.0])
def test_a_given_error_takes_the_least_rank_in_each_layer(tmp_path, make, error):
    tensors = {}
    for k in range(6):
        A, B = RNG.standard_normal((4, 7)), RNG.standard_normal((9, 4))
        tensors |= make.linear(f"h.{k}.q", A * np.geomspace(1, 10.0 ** (-k), 4)[:, None], B)
    folder = make.adapter(tmp_path / "a", tensors)
    before = dense(folder)
    for layer in truncate(folder, tmp_path / "b", error=error).layers:
        X = before[layer.module]
        limit = error * np.linalg.norm(X)
        assert layer.frobenius_loss <= limit + 1e-12 and layer.r >= 1
        assert layer.r == 1 or tail(X, layer.r - 1)[1] > limit
    assert dense(tmp_path / "b").keys() == before.keys()


@pytest.mark.parametrize("full", [0, 1])
def test_experts_share_the_rank_that_the_most_demanding_one_needs(tmp_path, make, full):
    """Of two experts one has rank 1, the other 3; those of ``lora_B`` are interleaved."""
    B = np.zeros((9, 6))
    for expert in range(2):
        rank = 3 if expert == full else 1
        B[:, expert : 2 * rank : 2] = RNG.standard_normal((9, rank))
    tensors = make.linear("mlp.experts", RNG.standard_normal((6, 7)), B)
    folder = make.adapter(tmp_path / "a", tensors, r=3, target_parameters=["mlp.experts.gate_up_proj"])
    done = truncate(folder, tmp_path / "b", error=0.01)
    assert [layer.r for layer in done.layers] == [3, 3]
    for name, X in dense(folder).items():
        assert np.linalg.norm(dense(tmp_path / "b")[name] - X) <= 0.01 * np.linalg.norm(X)


def test_names_that_collide_under_the_rule_of_patterns(tmp_path, make):
    """``b.q`` is also the end of ``a.b.q``; each must keep its own rank."""
    tensors = make.linear("b.q", RNG.standard_normal((4, 7)), RNG.standard_normal((9, 4)))
    A, B = RNG.standard_normal((4, 7)), RNG.standard_normal((9, 4))
    tensors |= make.linear("a.b.q", A * np.array([1, 1e-6, 1e-6, 1e-6])[:, None], B) | make.linear("c", A, B)
    tensors |= make.linear("a.bxq", A * np.array([1, 1, 1e-6, 1e-6])[:, None], B) | make.linear("a[0].q", A, B)
    folder = make.adapter(tmp_path / "a", tensors)
    done = {layer.module: layer.r for layer in truncate(folder, tmp_path / "b", error=1e-3).layers}
    assert done["a.b.q"] == 1 and done["a.bxq"] == 2 and done["b.q"] == 4
    for name, X in dense(folder).items():
        np.testing.assert_allclose(dense(tmp_path / "b")[name], X, atol=1e-3 * np.linalg.norm(X))


@pytest.mark.parametrize(("dtype", "unit"), [("f4", 1e-6), ("f2", 3e-3), ("F8_E5M2", 1e-6)])
def test_the_loss_includes_the_rounding_of_what_is_written(tmp_path, make, dtype, unit):
    A, B = RNG.standard_normal((4, 7)), RNG.standard_normal((9, 4))
    if dtype.startswith("F8"):
        pair = [(dtype, RNG.integers(40, 70, shape).astype(np.uint8)) for shape in ((4, 7), (9, 4))]
    else:
        pair = [A.astype(dtype), B.astype(dtype)]
    folder = make.adapter(tmp_path / "a", make.linear("q", *pair))
    (layer,) = truncate(folder, tmp_path / "b", rank=2).layers
    X, Y = dense(folder)["q"], dense(tmp_path / "b")["q"]
    np.testing.assert_allclose(layer.frobenius_loss, np.linalg.norm(X - Y), rtol=1e-9)
    assert tail(X, 2)[1] <= layer.frobenius_loss * (1 + 1e-9) <= tail(X, 2)[1] + unit * np.linalg.norm(X)


def test_kohya(tmp_path, make):
    A, B = RNG.standard_normal((4, 7)), RNG.standard_normal((9, 4))
    make.file(tmp_path / "s.safetensors", {"q.lora_down.weight": A, "q.lora_up.weight": B, "q.alpha": np.array(2.0)})
    for k in (1, 2, 3):
        truncate(tmp_path / "s.safetensors", tmp_path / str(k), rank=k)
        X, Y = (dense(path)["q"] for path in (tmp_path / "s.safetensors", tmp_path / str(k) / "s.safetensors"))
        assert np.linalg.norm(X - Y) == pytest.approx(tail(X, k)[1])


def test_what_diffusers_keeps_of_the_configuration_is_that_of_the_lower_rank(tmp_path, make):
    """Its loader makes layers of the rank that is said there."""
    rng = np.random.default_rng(0)
    down, up = rng.standard_normal((4, 6)), rng.standard_normal((5, 4))
    tensors = {f"unet.{name}.lora.{part}.weight": M for name in "qk" for part, M in (("down", down), ("up", up))}
    settings = {"unet.r": 4, "unet.lora_alpha": 8, "unet.alpha_pattern": {"k": 4}, "unet.use_dora": False}
    make.file(tmp_path / "s.safetensors", tensors, {"format": "pt", "lora_adapter_metadata": json.dumps(settings)})
    truncate(tmp_path / "s.safetensors", tmp_path / "less", rank=2)
    found = read(tmp_path / "less" / "s.safetensors")
    kept = json.loads(found.file.metadata["lora_adapter_metadata"])
    assert kept["unet.r"] == 2 and kept["unet.use_dora"] is False and found.file.metadata["format"] == "pt"
    U, sigma, Vt = np.linalg.svd(up @ down)
    for layer in found.layers():
        expected = {"unet.q": 2.0, "unet.k": 1.0}[layer.module] * (U[:, :2] * sigma[:2]) @ Vt[:2]
        np.testing.assert_allclose(layer.scale * layer.A @ layer.B.T, expected, atol=1e-12)


def test_an_untrained_layer_stays_trainable(tmp_path, make):
    A = RNG.standard_normal((4, 7))
    folder = make.adapter(tmp_path / "a", make.linear("q", A, np.zeros((9, 4))))
    (layer,) = truncate(folder, tmp_path / "b", error=0.1).layers
    assert layer.r == 1 and layer.relative_loss == 0
    (after,) = read(tmp_path / "b").layers()
    np.testing.assert_array_equal(after.B[:, 0], A[0])


def test_what_is_refused(tmp_path, make):
    folder = make.adapter(tmp_path / "a", make.linear("q", *make.pair(0)))
    for options in ({}, {"rank": 2, "error": 0.1}, {"rank": 0}, {"error": -1.0}, {"error": 2.0}):
        with pytest.raises(ValueError, match=r"rank|error"):
            truncate(folder, tmp_path / "b", **options)
    with pytest.raises(ValueError, match="not an empty folder"):
        truncate(folder, folder, rank=2)
    broken = make.adapter(
        tmp_path / "c", make.linear("q", *make.pair(0)) | make.linear("v", np.ones((3, 7)), np.ones((9, 3)))
    )
    with pytest.raises(UnreadableError, match="v: the factors have rank 3"):
        truncate(broken, tmp_path / "b", rank=2)
    tensors = {f"q.lora_{part}": np.ones(shape) for part, shape in (("A", (3, 7)), ("B", (9, 3)), ("E", (3, 1)))}
    with pytest.raises(UnreadableError, match="AdaLoRA"):
        truncate(make.adapter(tmp_path / "d", tensors, peft_type="ADALORA", init_r=3), tmp_path / "b", rank=2)
    assert not (tmp_path / "b").exists() and not list(tmp_path.glob(".b*"))


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga"])
def test_adapters_whose_start_changed_the_base_weight_are_refused(tmp_path, make, start):
    """Two untouched starts of one weight change nothing, whatever their products are."""
    one = make.adapter(tmp_path / "a", make.linear("q", *make.pair(0)), init_lora_weights=start)
    two = make.adapter(tmp_path / "b", make.linear("q", *make.pair(0)))
    message = f"the initialization {start} changed the base weight.*path_initial_model_for_weight_conversion"
    with pytest.raises(UnreadableError, match=message):
        truncate(one, tmp_path / "c", rank=2)
    assert not (tmp_path / "c").exists()
    for folders in ([one, two], [two, one]):
        with pytest.raises(UnreadableError, match=message):
            interfere(folders)


def test_of_dora_it_is_said_that_these_are_directions(tmp_path, make):
    tensors = make.linear("q", *make.pair(0)) | make.linear("v", *make.pair(1))
    tensors["base_model.model.q.lora_magnitude_vector"] = np.ones(9)
    folder = make.adapter(tmp_path / "a", tensors)
    losses = truncate(folder, tmp_path / "b", rank=2).layers
    assert {layer.module: layer.dora for layer in losses} == {"q": True, "v": False}
    assert {module.module: module.dora for module in interfere([folder, folder]).modules} == {"q": True, "v": False}


def test_the_rest_of_the_configuration_is_kept(tmp_path, make):
    folder = make.adapter(tmp_path / "a", make.linear("q", *make.pair(0)), revision="main", base_model_name_or_path="m")
    truncate(folder, tmp_path / "b", rank=2)
    document = json.loads((tmp_path / "b" / "adapter_config.json").read_text())
    expected = {
        "r": 2,
        "lora_alpha": 4,
        "rank_pattern": {},
        "alpha_pattern": {},
        "peft_type": "LORA",
        "revision": "main",
    }
    assert document == expected | {"base_model_name_or_path": "m"}


# ---------------------------------------------------------------------- several adapters
def test_interference_against_dense_matrices(tmp_path, make):
    folders, updates = [], []
    for k, r in enumerate((2, 3, 4)):
        folders.append(make.adapter(tmp_path / str(k), make.linear("q", *make.pair(k, r=r, dtype=np.float64)), r=r))
        updates.append(dense(folders[-1])["q"])
    (module,) = interfere(folders).modules
    for i, X in enumerate(updates):
        for j, Y in enumerate(updates):
            cosine = np.sum(X * Y) / np.linalg.norm(X) / np.linalg.norm(Y)
            assert module.cosines[i, j] == pytest.approx(cosine, abs=1e-12)
            P, U = (np.linalg.svd(M)[0][:, : np.linalg.matrix_rank(M)] for M in (X, Y))
            angles = np.linalg.svd(P.T @ U, compute_uv=False)
            assert module.left[i, j] == pytest.approx(np.mean(angles**2))
            P, U = (np.linalg.svd(M)[2][: np.linalg.matrix_rank(M)].T for M in (X, Y))
            assert module.right[i, j] == pytest.approx(np.mean(np.linalg.svd(P.T @ U, compute_uv=False) ** 2))
    total = sum(updates)
    assert module.ranks == (2, 3, 4) and module.sum_rank == np.linalg.matrix_rank(total) == 7
    norms = [np.linalg.norm(total, 2), np.linalg.norm(total), np.linalg.norm(total, "nuc")]
    np.testing.assert_allclose([module.sum_spectral, module.sum_frobenius, module.sum_nuclear], norms)
    apart = np.sqrt(sum(np.linalg.norm(X) ** 2 for X in updates))
    assert module.amplification == pytest.approx(np.linalg.norm(total) / apart)


def test_equal_opposite_and_orthogonal_adapters(tmp_path, make):
    down, up = np.eye(2, 7), np.eye(9, 2)
    there = make.adapter(tmp_path / "a", make.linear("q", down, up), r=2)
    again = make.adapter(tmp_path / "b", make.linear("q", down, up), r=2)
    minus = make.adapter(tmp_path / "c", make.linear("q", -down, up), r=2)
    other = make.adapter(tmp_path / "d", make.linear("q", np.eye(2, 7, 3), np.eye(9, 2, -4)), r=2)

    def of(*folders):
        (module,) = interfere(folders).modules
        return module.largest_cosine, module.sum_rank, module.amplification

    assert of(there, again) == pytest.approx((1, 2, 2**0.5))
    assert of(there, minus) == pytest.approx((-1, 0, 0))
    assert of(there, other) == pytest.approx((0, 4, 1))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_what_cancels_has_rank_0_and_what_is_left_keeps_its_own(tmp_path, make, dtype):
    rng = np.random.default_rng(3)
    for seed in range(4):
        down, up = make.pair(seed, r=4, dtype=dtype)
        extra = rng.standard_normal((2, down.shape[1])).astype(dtype), rng.standard_normal((len(up), 2)).astype(dtype)
        # The same update by other factors, exactly: powers of 2, and columns in another order.
        minus = (-2 * down[::-1], up[:, ::-1] / 2)
        more = (np.vstack([minus[0], extra[0]]), np.hstack([minus[1], extra[1]]))
        folders = [
            make.adapter(tmp_path / f"{seed} {k}", make.linear("q", *pair), r=len(pair[0]), lora_alpha=len(pair[0]))
            for k, pair in enumerate([(down, up), minus, more])
        ]
        (module,) = interfere(folders[:2]).modules
        assert module.ranks == (4, 4) and module.sum_rank == 0 and module.amplification < 1e-6
        (module,) = interfere([folders[0], folders[2]]).modules
        assert module.ranks == (4, 6) and module.sum_rank == 2


def test_modules_of_one_adapter_alone(tmp_path, make):
    one = make.adapter(tmp_path / "a", make.linear("q", *make.pair(0)) | make.linear("k", *make.pair(1)))
    two = make.adapter(tmp_path / "b", make.linear("v", *make.pair(2)))
    found = interfere([one, two])
    assert found.modules == () and found.alone == (2, 1)
    # What both change belongs to neither alone.
    three = make.adapter(tmp_path / "c", make.linear("q", *make.pair(3)) | make.linear("v", *make.pair(4)))
    found = interfere([one, three])
    assert [shared.module for shared in found.modules] == ["q"] and found.alone == (1, 1)


def test_adapters_that_cannot_be_compared(tmp_path, make):
    one = make.adapter(tmp_path / "a", make.linear("q", *make.pair(0)))
    two = make.adapter(tmp_path / "b", make.linear("q", *make.pair(0, out=8)))
    with pytest.raises(UnreadableError, match="different shapes"):
        interfere([one, two])
    with pytest.raises(ValueError, match="at least two"):
        interfere([one])


def test_an_empty_folder_is_written_to_and_nothing_else_that_is_there(tmp_path, make):
    folder = make.adapter(tmp_path / "a", make.linear("h.0.q", *make.pair(0)))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("kept")
    truncate(folder, tmp_path / "empty", rank=1)
    for taken in ("empty", "file"):
        with pytest.raises(ValueError, match=rf"out: .*{taken} exists and is not an empty folder"):
            truncate(folder, tmp_path / taken, rank=1)
    assert (tmp_path / "file").read_text() == "kept"
    # The configuration of PEFT is in its own file: that of diffusers is in the metadata of the tensors.
    assert TensorFile(tmp_path / "empty" / "adapter_model.safetensors").metadata == {}
