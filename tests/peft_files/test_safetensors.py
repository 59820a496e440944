"""Every dtype exactly, every malformed header refused by name, and files that others read."""

import json
import struct
from fractions import Fraction

import numpy as np
import pytest

import lorasolve as ls
from lorasolve.io import Ratings, save_result
from lorasolve.models.completion import fit_completion
from lorasolve.peft_files import TensorFile, UnreadableError, encoded, read, write_tensors
from lorasolve.peft_files.safetensors import HEADER_LIMIT, StoredTensor


def eight_bit(code, exponent_bits, mantissa_bits, has_infinity):
    """Return the value of an 8-bit float by its definition, in fractions; None for NaN."""
    bias = 2 ** (exponent_bits - 1) - 1
    sign, rest = (-1 if code & 128 else 1), code & 127
    exponent, mantissa = divmod(rest, 2**mantissa_bits)
    if has_infinity and exponent == 2**exponent_bits - 1:
        return None if mantissa else sign * float("inf")
    if not has_infinity and rest == 127:
        return None
    if exponent == 0:
        return sign * Fraction(mantissa, 2**mantissa_bits) * Fraction(2) ** (1 - bias)
    return sign * (1 + Fraction(mantissa, 2**mantissa_bits)) * Fraction(2) ** (exponent - bias)


@pytest.mark.parametrize(("name", "layout"), [("F8_E4M3", (4, 3, False)), ("F8_E5M2", (5, 2, True))])
def test_all_256_values_of_the_8_bit_floats(tmp_path, make, name, layout):
    make.file(tmp_path / "x.safetensors", {"x": (name, np.arange(256, dtype=np.uint8))})
    read = TensorFile(tmp_path / "x.safetensors").read("x")
    assert read.shape == (256,)
    for code, value in enumerate(read):
        expected = eight_bit(code, *layout)
        assert np.isnan(value) if expected is None else float(value) == float(expected)


def test_known_8_bit_values():
    """The extremes that the OCP specification of 8-bit floating point lists."""
    for name, code, value in (
        ("F8_E4M3", 0x7E, 448.0),
        ("F8_E4M3", 0x01, 2.0**-9),
        ("F8_E5M2", 0x7B, 57344.0),
        ("F8_E5M2", 0x01, 2.0**-16),
    ):
        assert StoredTensor(name, (1,), np.array([code], np.uint8)).decoded()[0] == value


def test_every_bfloat16_is_decoded_exactly(tmp_path, make):
    codes = np.arange(2**16, dtype=np.uint16)
    make.file(tmp_path / "x.safetensors", {"x": ("BF16", codes)})
    read = TensorFile(tmp_path / "x.safetensors").read("x")
    padded = np.zeros((2**16, 4), np.uint8)
    padded[:, 2:] = codes.view(np.uint8).reshape(-1, 2)  # a bfloat16 is the upper half of a float32
    same = np.array_equal(read.astype(np.float32), padded.view(np.float32).ravel(), equal_nan=True)
    assert same


def test_bfloat16_is_rounded_to_nearest_with_ties_to_even():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.standard_normal(2000) * 10.0 ** rng.integers(-30, 30, 2000), [0.0, -0.0, 1.0]])
    values = values.astype(np.float32)
    halves = ((values.view(np.uint32) & 0xFFFF0000) | 0x8000).view(np.float32)  # exactly between two neighbours
    for x in (values, halves):
        y = encoded(x, "BF16").decoded()
        below = (x.view(np.uint32) & 0xFFFF0000).view(np.float32)
        above = ((x.view(np.uint32) & 0xFFFF0000) + 0x10000).view(np.float32)
        down, up = np.abs(x - below), np.abs(above - x)
        even = (below.view(np.uint32) >> 16) & 1 == 0
        np.testing.assert_array_equal(y, np.where((down < up) | ((down == up) & even), below, above))


@pytest.mark.parametrize("name", ["F64", "F32", "F16", "BF16"])
def test_what_is_written_is_read_back(tmp_path, name):
    x = np.random.default_rng(0).standard_normal((3, 5, 2)) * 0.01
    tensors = {"b": encoded(x, name), "a": encoded(x[0, 0], "F32"), "empty": encoded(np.zeros((0, 3)), "F16")}
    write_tensors(tmp_path / "x.safetensors", tensors, {"format": "pt"})
    file = TensorFile(tmp_path / "x.safetensors")
    assert file.metadata == {"format": "pt"} and set(file.tensors) == set(tensors)
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(file.read(key), tensor.decoded())
        assert file.read(key).shape == tensor.shape
    unit = {"F64": 0.0, "F32": 2.0**-24, "F16": 2.0**-11, "BF16": 2.0**-8}[name]
    assert np.all(np.abs(file.read("b") - x) <= unit * np.abs(x) + (1e-7 if name == "F16" else 0))


def test_names_and_metadata_that_the_format_does_not_hold_are_refused(tmp_path):
    path, one = tmp_path / "a.safetensors", encoded(np.ones(2), "F32")
    for tensors, metadata, message in (
        ({1: one}, None, "tensors: expected a text, got 1"),
        ({"__metadata__": one}, None, "tensors: the format keeps the name"),
        ({"a": one}, {"n": 1.5}, "metadata\\['n'\\]: expected a text, got 1.5"),
        ({"a": one}, {1: "x"}, "metadata: expected a text, got 1"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            write_tensors(path, tensors, metadata)
    assert not path.exists()
    write_tensors(path, {"weight": one})
    with pytest.raises(ValueError, match=r"name: .* holds no tensor 'weigth'\. Did you mean 'weight'"):
        TensorFile(path).read("weigth")


def test_the_original_reader_accepts_what_is_written(tmp_path):
    original = pytest.importorskip("safetensors.numpy")
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    write_tensors(tmp_path / "x.safetensors", {"b": encoded(x, "F32"), "a": encoded(x, "F16")}, {"format": "pt"})
    read = original.load_file(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(read["b"], x)
    np.testing.assert_array_equal(read["a"], x.astype(np.float16))


def raw(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


EIGHT = b"\0" * 8
MALFORMED = {
    "empty": (b"", "shorter than any"),
    "git lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    "what torch.save writes": (b"PK\x03\x04" + bytes(60), "a zip archive.*pickle.*safetensors where you trust it"),
    "a document": (b'{"schema": "solve"}', "is a JSON document, and no safetensors file"),
    "header beyond the file": (raw({}, length=10**6), "truncated"),
    "no json": (raw(b"not json"), "not valid JSON"),
    "not utf-8": (raw(b"{\xff\xfe}"), "not valid JSON"),
    "a list": (raw([]), "expected a JSON object"),
    "deep": (raw(b"[" * 100_000), "nested too deeply|not valid JSON"),
    # From Python 3.14 on they are read.
    "deep objects": (
        raw(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
        "nested too deeply|not valid JSON|expected dtype, shape",
    ),
    "many entries": (raw(b"[" + b"[]," * 600_000 + b"[]]"), "more entries"),
    "long number": (
        raw(b'{"x":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}'),
        "not valid JSON",
    ),
    "twice": (raw(b'{"x":%s,"x":%s}' % ((json.dumps(entry()).encode(),) * 2), EIGHT), "occurs twice"),
    "no object": (raw({"x": 1}), "expected dtype, shape"),
    "no shape": (raw({"x": {"dtype": "F32", "data_offsets": [0, 0]}}), "expected dtype, shape"),
    "unknown dtype": (raw({"x": entry("F4")}, EIGHT), "'F4' is not supported"),
    "dtype no text": (raw({"x": entry(["F32"])}, EIGHT), "not supported"),
    "negative shape": (raw({"x": entry(shape=(-2,))}, EIGHT), "integers >= 0"),
    "two negatives": (raw({"x": entry(shape=(-1, -2))}, EIGHT), "integers >= 0"),
    "fraction": (raw({"x": entry(shape=(2.0,))}, EIGHT), "integers >= 0"),
    "boolean": (raw({"x": entry(shape=(True, 2))}, EIGHT), "integers >= 0"),
    "many dimensions": (raw({"x": entry(shape=(1,) * 9 + (2,))}, EIGHT), "at most 8"),
    "huge dimensions": (raw({"x": entry(shape=(2**62,) * 8)}, EIGHT), "needs"),
    "wrong byte count": (raw({"x": entry(shape=(3,))}, EIGHT), "has 8 bytes"),
    "decreasing offsets": (raw({"x": entry(offsets=(8, 0))}, EIGHT), "increasing"),
    "three offsets": (raw({"x": entry(offsets=(0, 8, 8))}, EIGHT), "increasing"),
    "overlap": (raw({"x": entry(), "y": entry()}, EIGHT), "overlaps"),
    "hole": (raw({"x": entry(), "y": entry(offsets=(16, 24))}, EIGHT * 3), "hole"),
    "truncated": (raw({"x": entry()}, b"\0" * 5), "truncated"),
    "trailing bytes": (raw({"x": entry()}, b"\0" * 12), "need 8 bytes"),
    "metadata no object": (raw({"__metadata__": 3}), "__metadata__"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_are_refused_by_name(tmp_path, case):
    content, message = MALFORMED[case]
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(UnreadableError, match=message) as error:
        TensorFile(tmp_path / "x.safetensors")
    assert "x.safetensors" in str(error.value)


def test_a_file_that_becomes_shorter_after_its_header_was_read_is_refused(tmp_path, make):
    path = tmp_path / "x.safetensors"
    make.file(path, {"a": np.arange(6.0).reshape(2, 3)})
    file = TensorFile(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UnreadableError, match="became shorter while it was read"):
        file.read("a")


def test_archives_of_arrays_are_no_pickles_and_name_the_commands_that_read_them(tmp_path):
    problem, path = ls.Problem(ls.objectives.Denoising(np.eye(3)), 1, 0.1), tmp_path / "run.npz"
    save_result(path, problem, ls.solve(problem, "lbfgs"), {"M": np.eye(3)})
    expected = "archive of arrays, header first, and no adapter; 'lorasolve verdict' and 'lorasolve certify' read what"
    with pytest.raises(UnreadableError, match=expected):
        read(path)
    entries = Ratings(*map(np.array, ([0, 0, 1], [0, 1, 0], [1.0, 2.0, 3.0], ["a", "b"], ["x", "y"])))
    fit_completion(entries, lam=0.1).model.save(path)
    with pytest.raises(UnreadableError, match="'lorasolve predict' and 'lorasolve recommend' read what"):
        read(path)
    np.savez(path, X=np.eye(3))
    with pytest.raises(UnreadableError, match="X first, and no adapter; 'lorasolve certify' reads those that hold a"):
        read(path)
    np.save(tmp_path / "X.npy", np.eye(3))
    with pytest.raises(UnreadableError, match="is an array of NumPy, and no safetensors file"):
        read(tmp_path / "X.npy")


@pytest.mark.parametrize("length", [123, 123 + 256])
def test_a_header_whose_length_begins_as_json_does_is_read(tmp_path, length):
    header = json.dumps({"x": entry()}).encode()
    (tmp_path / "x.safetensors").write_bytes(raw(header.ljust(length), EIGHT))
    assert list(TensorFile(tmp_path / "x.safetensors").tensors) == ["x"]


def test_a_long_header_is_not_read(tmp_path):
    path = tmp_path / "x.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", 2**33))
        file.truncate(2**33 + 100)  # a file of holes: 8 GB that take no place
    with pytest.raises(UnreadableError, match=f"up to {HEADER_LIMIT}"):
        TensorFile(path)


def test_names_are_made_safe_to_print(tmp_path):
    header = b'{"\\u001b[31mred\\ud800\\n":{"dtype":"F4","shape":[2],"data_offsets":[0,8]}}'
    (tmp_path / "x.safetensors").write_bytes(raw(header, EIGHT))
    with pytest.raises(UnreadableError) as error:
        TensorFile(tmp_path / "x.safetensors")
    assert str(error.value).encode() and "\x1b" not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("values", "dtype"), [(1e300, "F32"), (1e300, "BF16"), (7e4, "F16"), (np.nan, "F64")])
def test_what_a_dtype_cannot_hold_is_refused(values, dtype):
    with pytest.raises(ValueError, match="values: has"):
        encoded(np.array([values]), dtype)


def test_the_settings_of_an_adapter_are_not_its_tensors(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UnreadableError, match=r"adapter_config\.json: has no tensors: give the folder that holds it"):
        read(tmp_path / "adapter_config.json")
