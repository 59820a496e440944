"""What arguments are made of: valid values by name and kind, and hostile ones with what has to become of them."""

from __future__ import annotations

import decimal
import fractions
import functools
import inspect
import json
import pathlib
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import lorasolve as ls

M_ROWS, N_COLS, RANK = 5, 4, 2
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="campaign-"))
# A folder that is there only during the call that writes it.
NEW = FOLDER / "new"


class Omitted(Exception):
    """The parameter is left out: its default is made anew in each call."""


class Own(Exception):
    """An exception of the user's, which has to come through as it is."""


def _rng() -> np.random.Generator:
    return np.random.default_rng(7)


def target() -> np.ndarray:
    """The matrix of the problem that all valid calls are about: singular values 3, 2, 0.5."""
    P = np.linalg.qr(_rng().standard_normal((M_ROWS, 3)))[0]
    Q = np.linalg.qr(_rng().standard_normal((N_COLS, 3)))[0]
    return (P * [3.0, 2.0, 0.5]) @ Q.T


LAM = 0.75


def problem() -> ls.Problem:
    return ls.Problem(ls.objectives.Denoising(target()), RANK, LAM)


def factors() -> tuple[np.ndarray, np.ndarray]:
    return _rng().standard_normal((M_ROWS, RANK)), _rng().standard_normal((N_COLS, RANK))


def result() -> ls.Result:
    return ls.solve(problem(), "lbfgs")


def _saved() -> str:
    path = FOLDER / "saved.npz"
    if not path.exists():
        ls.io.save_result(path, problem(), result(), {"M": target()})
    return str(path)


# Valid values by the name of the parameter: names mean the same everywhere in the package.
BY_NAME: dict[str, Callable[[], Any]] = {
    "problem": problem,
    "problems": lambda: [problem(), problem().replace(lam=0.5)],
    "objective": lambda: ls.objectives.Denoising(target()),
    "loss": lambda: "square",
    "rank": lambda: RANK,
    "lam": lambda: LAM,
    "result": result,
    "point": lambda: factors(),
    "points": lambda: [factors(), target()],
    "method": lambda: "lbfgs",
    "methods": lambda: ["lbfgs", "gd"],
    "optimizer": lambda: ls.optimizers.GD(),
    "adapter": lambda: ls.adapters.LoRA(),
    "init": lambda: ls.inits.Gaussian(),
    "schedule": lambda: ls.schedules.Cosine(),
    "route": lambda: ls.convex.registry.make("factored", "route"),
    "reference": lambda: None,
    "X_star": target,
    "M": target,
    "A": lambda: factors()[0],
    "B": lambda: factors()[1],
    "W0": lambda: _rng().standard_normal((M_ROWS, N_COLS)),
    "V": lambda: _rng().standard_normal((3, M_ROWS)),
    "Z": lambda: _rng().standard_normal((N_COLS, 12)),
    "Y": lambda: _rng().standard_normal((M_ROWS, 12)),
    "labels": lambda: np.arange(12) % M_ROWS,
    "rows": lambda: np.array([0, 1, 2, 3, 4, 0]),
    "cols": lambda: np.array([0, 1, 2, 3, 0, 1]),
    "values": lambda: np.arange(1.0, 7.0),
    "shape": lambda: (M_ROWS, N_COLS),
    "measurements": lambda: _rng().standard_normal((9, M_ROWS, N_COLS)),
    "y": lambda: _rng().standard_normal(9),
    "features": lambda: _rng().standard_normal((6, 2, M_ROWS, N_COLS)),
    "targets": lambda: _rng().standard_normal((6, 2)),
    "singular_values": lambda: np.array([3.0, 1.0, 0.1]),
    "eps": lambda: 0.1,
    "batch": lambda: 2,
    "step": lambda: 0.1,
    "r": lambda: 2,
    "r_star": lambda: 1,
    "rsc": lambda: 1.0,
    "rsm": lambda: 2.0,
    "curvature": lambda: (1.0, 2.0),
    "angles": lambda: [0.1],
    "scales": lambda: [0.5],
    "n_classes": lambda: M_ROWS,
    "ridge": lambda: 0.1,
    "name": lambda: "denoising",
    "arrays": lambda: {"M": target()},
    "arguments": lambda: {"M": target()},
    "source": lambda: "here",
    "document": lambda: {"a": 1.5},
    "schema": lambda: "solve",
    "body": lambda: {"a": 1.5},
    "kind": lambda: ls.objectives.Denoising,
    "given": lambda: ls.objectives.Denoising(target()),
    "n": lambda: 1,
    "seed": lambda: 0,
    "rng": lambda: 0,
    "stop": lambda: ls.StoppingRule(max_iter=50),
    "callback": lambda: None,
    "comparison": lambda: ls.compare(problem(), ["lbfgs"]),
    "status": lambda: ls.Status.CONVERGED,
    "value": lambda: 1.0,
    "samples": lambda: 5,
    "starts": lambda: 2,
    "max_rounds": lambda: 20,
    "text": lambda: "gd",
}


def _text(name: str, text: str) -> str:
    path = FOLDER / name
    path.write_text(text)
    return str(path)


# Where a name alone does not say it.
BY_FUNCTION: dict[tuple[str, str], Callable[[], Any]] = {
    ("MultiProblem", "objective"): lambda: _two_matrices(),
    ("MultiProblem", "ranks"): lambda: RANK,
    ("tasks.image_columns", "images"): lambda: _rng().standard_normal((3, M_ROWS, N_COLS)),
    ("objectives.Logistic", "labels"): lambda: np.sign(_rng().standard_normal((M_ROWS, 12))),
    ("objectives.TwoLayer", "Y"): lambda: _rng().standard_normal((3, 12)),
    ("landscape.instances.Quadratic", "H"): lambda: np.eye(M_ROWS * N_COLS),
    ("landscape.instances.Quadratic", "X_star"): target,
    ("io.read_ratings", "path"): lambda: _text("r.csv", "user,item,value\n1,a,2\n2,a,3\n1,b,4\n"),
    ("io.read_task", "path"): lambda: _text("t.csv", "1,a,2\n2,a,3\n1,b,4\n"),
    ("io.read_task", "name"): lambda: "completion",
    ("convex.read_sdpa_solution", "path"): lambda: _text("s.result", "0\n2 1 1 6 1.5\n2 1 9 9 1.0\n"),
    ("objectives.as_objective", "argument"): lambda: "objective",
    ("landscape.sharp_threshold", "A"): lambda: np.array([[1.0], [0.5]]),
    ("landscape.sharp_threshold", "B"): lambda: np.array([[1.0], [0.5]]),
    ("landscape.sharp_threshold", "X_star"): lambda: np.diag([1.0, 0.0]),
    ("landscape.instances.sharp", "m"): lambda: M_ROWS,
    ("landscape.instances.sharp", "n"): lambda: N_COLS,
    ("landscape.instances.SharpInstance", "m"): lambda: M_ROWS,
    ("landscape.instances.SharpInstance", "n"): lambda: N_COLS,
    ("landscape.instances.SharpInstance", "kappa"): lambda: 6.0,
    **{
        (f"landscape.instances.{name}", key): lambda value=value: value
        for name in ("restricted", "RestrictedInstance", "two_constants", "TwoConstantInstance")
        for key, value in (("m", M_ROWS), ("n", N_COLS), ("beta", 6.0))
    },
}


# ---------------------------------------------------------------------- adapters, networks, studies
MODULE = "base_model.model.layer"


@functools.cache
def _adapter() -> str:
    """Return a folder with an adapter of one layer, as PEFT saves it, and the base weight beside it."""
    folder = FOLDER / "adapter"
    folder.mkdir(exist_ok=True)
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 4}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    A, B = factors()
    tensors = {f"{MODULE}.lora_A.weight": B.T, f"{MODULE}.lora_B.weight": A}
    for name, stored in (("adapter_model", tensors), ("model", {"layer.weight": target()})):
        ls.peft_files.write_tensors(folder / f"{name}.safetensors", _stored(stored))
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": [{"loss": 1.0, "step": 1}]}))
    return str(folder)


def _stored(tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: ls.peft_files.encoded(np.ascontiguousarray(values), "F32") for name, values in tensors.items()}


@functools.cache
def _network() -> tuple[Any, Any, list[Any]]:
    """Return a model with one LoRA layer, a loss and a batch; without torch only names that are not looked at."""
    try:
        import torch
    except ImportError:
        return None, None, [None]
    torch.manual_seed(0)

    class Adapted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = torch.nn.Linear(N_COLS, M_ROWS, bias=False, dtype=torch.float64)
            self.lora_A = torch.nn.Parameter(torch.randn(RANK, N_COLS, dtype=torch.float64))
            self.lora_B = torch.nn.Parameter(torch.randn(M_ROWS, RANK, dtype=torch.float64))

        def forward(self, x: Any) -> Any:
            return self.base(x) + x @ self.lora_A.T @ self.lora_B.T

    batch = torch.randn(6, N_COLS, dtype=torch.float64), torch.arange(6) % M_ROWS
    return torch.nn.Sequential(Adapted()), ls.networks.CrossEntropy(), [batch]


@functools.cache
def _optimizer_state() -> str:
    path = FOLDER / "optimizer.pt"
    try:
        import torch
    except ImportError:
        return str(path)
    weight = torch.nn.Parameter(torch.ones(3, 2))
    torch.save(torch.optim.AdamW([weight], 1e-3).state_dict(), path)
    return str(path)


def _tokens() -> Any:
    owner = np.repeat(np.arange(6), 2)
    signals, inputs = _rng().standard_normal((12, 2, M_ROWS)), _rng().standard_normal((12, N_COLS))
    return ls.networks.LayerTokens(signals, inputs, owner)


def _ntk() -> Any:
    return ls.networks.TokenNTK([_tokens()], np.zeros((6, 2)), np.arange(6) % 3)


def _tangent(times: float = 1.0) -> Any:
    A, B = factors()
    return ls.networks.tangent_certificate(1.0, [target()], [(times * A, B)], LAM)


@functools.cache
def _store() -> Any:
    """Return a store with the runs of :func:`_study`."""
    runs = _study().run(FOLDER / "store", backend="serial")
    return runs.store


def _study() -> Any:
    return ls.Study(problem(), {"lam": [0.5, 0.75]}, "gd", stop=ls.StoppingRule(max_iter=5))


def _ratings() -> Any:
    return ls.io.read_ratings(_text("r.csv", "user,item,value\n1,a,2\n2,a,3\n1,b,4\n"))


@functools.cache
def _completed() -> Any:
    from lorasolve.models import fit_completion

    return fit_completion(_ratings())


def _theorems() -> Any:
    import types

    package = types.ModuleType("theorems")
    package.__path__ = []
    return package


def _theorem() -> Any:
    from proofs import lemma1

    return lemma1.THEOREM


BY_FUNCTION |= {
    ("io.read_pairs", "path"): lambda: _text("pairs.csv", "1,a\n2,a\n"),
    ("cross_validate", "lams"): lambda: [0.5, 0.1],
    ("cross_validate", "held_out"): lambda: ls.objectives.Denoising(target() + 0.1),
    ("studies.cross_validate", "lams"): lambda: [0.5, 0.1],
    ("studies.cross_validate", "held_out"): lambda: ls.objectives.Denoising(target() + 0.1),
    **{
        (f"{prefix}{name}", key): make
        for prefix in ("", "studies.")
        for name, key, make in (
            ("Study", "axes", lambda: {"lam": [0.5, 0.75]}),
            ("Runs", "store", _store),
        )
    },
    ("studies.Calls", "function"): lambda: len,
    ("studies.Calls", "cells"): lambda: [{"n": 1}, {"n": 2}],
    ("studies.Store", "path"): lambda: str(_store().path),
    ("studies.RankChoice", "optimum"): lambda: ls.solve_convex(problem()),
    ("studies.RankChoice", "level"): lambda: None,
    ("studies.Validation", "fit"): lambda: ls.solve_convex(problem()),
    ("networks.Network", "batches"): lambda: _network()[2],
    **{
        (f"networks.{name}", key): lambda place=place: _network()[place]
        for name in ("Network", "adapted_layers", "features", "fine_tune", "judge")
        for place, key in enumerate(("model", "loss", "batches"))
    },
    ("networks.features", "model"): lambda: _network()[0] and _network()[0][0].base,
    ("networks.callback", "monitor"): lambda: ls.networks.LoRAMonitor(LAM),
    **{
        (f"networks.{name}", "network"): lambda: ls.networks.Network(*_network())
        for name in ("linearity", "linearize", "LinearizedNetwork")
    },
    ("networks.read_optimizer_state", "path"): _optimizer_state,
    ("networks.TokenNTK", "layers"): lambda: [_tokens()],
    ("networks.TokenNTK", "offset"): lambda: np.zeros((6, 2)),
    ("networks.TokenNTK", "targets"): lambda: np.arange(6) % 3,
    ("networks.solve_tangent", "ntk"): _ntk,
    ("networks.tangent_certificate", "f"): lambda: 1.0,
    ("networks.tangent_certificate", "gradients"): lambda: [target()],
    ("networks.two_points", "first"): _tangent,
    ("networks.two_points", "second"): lambda: _tangent(2.0),
    **{(f"networks.{name}", "factors"): lambda: [factors()] for name in (
        "linearize", "LinearizedNetwork", "solve_tangent", "tangent_certificate", "judge",
    )},
    ("peft_files.Adapter", "file"): lambda: ls.peft_files.TensorFile(f"{_adapter()}/adapter_model.safetensors"),
    ("peft_files.Adapter", "config"): lambda: ls.peft_files.read(_adapter()).config,
    ("peft_files.TensorFile", "path"): lambda: f"{_adapter()}/adapter_model.safetensors",
    **{
        (f"peft_files.{name}", "path"): _adapter
        for name in ("BaseWeights", "diagnose", "read", "truncate")
    },
    ("peft_files.encoded", "dtype"): lambda: "F32",
    ("peft_files.explain_decay", "optimizer"): lambda: "adamw",
    ("peft_files.facts_of", "layer"): lambda: next(ls.peft_files.read(_adapter()).layers()),
    ("peft_files.interfere", "paths"): lambda: [_adapter(), _adapter()],
    ("peft_files.read_trainer_state", "folder"): _adapter,
    ("peft_files.truncate", "out"): lambda: str(NEW),
    ("peft_files.truncate", "rank"): lambda: 1,
    ("peft_files.write_tensors", "path"): lambda: str(FOLDER / "written.safetensors"),
    ("peft_files.write_tensors", "tensors"): lambda: _stored({"a": target()}),
    ("plotting.save_figure", "path"): lambda: str(FOLDER / "figure.png"),
    ("attacks.attack", "target"): lambda: "step",
    ("attacks.attack", "seconds"): lambda: 0.1,
    ("attacks.attack", "trials"): lambda: 2,
    ("certificates.better_by", "point"): lambda: factors(),
    ("certificates.better_by", "better"): target,
    ("checks.readiness", "cls"): lambda: ls.optimizers.GD,
    ("comparison.target_of", "method"): lambda: ls.Method.parse("gd"),
    ("models.CompletionFit", "model"): lambda: _completed().model,
    ("models.CompletionFit", "optimum"): lambda: _completed().optimum,
    ("models.CompletionModel", "row_labels"): lambda: np.arange(M_ROWS),
    ("models.CompletionModel", "col_labels"): lambda: np.arange(N_COLS),
    ("models.choose_completion", "ratings"): _ratings,
    ("models.fit_completion", "ratings"): _ratings,
    ("multi.MultiProblem", "objective"): lambda: _two_matrices(),
    ("multi.MultiProblem", "ranks"): lambda: RANK,
    ("multi.BlockView", "objective"): lambda: _two_matrices(),
    ("multi.BlockView", "index"): lambda: 1,
    ("multi.BlockView", "X"): lambda: [target(), target().T],
    ("multi.Separable", "parts"): lambda: [ls.objectives.Denoising(target()), ls.objectives.Denoising(target().T)],
    ("multi.TwoLayerPair", "Y"): lambda: _rng().standard_normal((3, 12)),
    ("multi.TwoLayerPair", "W"): lambda: _rng().standard_normal((M_ROWS, N_COLS)),
    ("tables.aligned", "rows"): lambda: [["a", "b"]],
    ("tables.aligned", "left"): lambda: [True, False],
    ("tables.latex_tabular", "heads"): lambda: ["a", "b"],
    ("tables.latex_tabular", "rows"): lambda: [["a", "b"]],
    ("tables.latex_tabular", "left"): lambda: [True, False],
    ("tables.markdown_table", "heads"): lambda: ["a", "b"],
    ("tables.markdown_table", "rows"): lambda: [["a", "b"]],
    ("tables.markdown_table", "left"): lambda: [True, False],
    ("tables.html_table", "heads"): lambda: ["a", "b"],
    ("tables.html_table", "rows"): lambda: [["a", "b"]],
    ("tables.html_table", "left"): lambda: [True, False],
    ("tables.data_frame", "records"): lambda: [{"a": 1}, {"b": 2}],
    ("symbolic.discover", "package"): _theorems,
    ("symbolic.run_module", "name"): lambda: "small",
    ("symbolic.run_module", "theorem"): _theorem,
}  # fmt: skip


def _symbol() -> Any:
    return ls.symbolic.matrix("S", 3, 3)


SYMBOLIC: dict[str, Callable[[str], Any]] = {
    "rows": lambda function: 3,
    "cols": lambda function: 3,
    "symbol": lambda function: ls.symbolic.scalars("s") if function.endswith("named") else _symbol(),
    "of": lambda function: ls.symbolic.tr(_symbol()) if function.endswith("gradient") else _symbol(),
    "left": lambda function: _symbol() if function.endswith("inner") else [_symbol()],
    "right": lambda function: _symbol() if function.endswith("inner") else [_symbol()],
    "by": lambda function: ls.symbolic.tr(_symbol()) if function.endswith("named") else _symbol() @ _symbol(),
    "along": lambda function: {_symbol(): ls.symbolic.matrix("D", 3, 3)},
    "fact": lambda function: ls.symbolic.Fact("known", "a statement", "a reference"),
    "what": lambda function: ls.symbolic.orthonormal(ls.symbolic.matrix("P", 3, 2)),
    "kind": lambda function: "constant",
}


def _two_matrices() -> Any:
    from lorasolve.multi import Separable

    return Separable([ls.objectives.Denoising(target()), ls.objectives.Denoising(target().T)])


def valid(name: str, parameter: inspect.Parameter, function: str) -> Any:
    """Return a valid value of a parameter, or raise LookupError if none is known."""
    if function.startswith("symbolic.") and name in SYMBOLIC:
        return SYMBOLIC[name](function)
    if (function, name) in BY_FUNCTION:
        return BY_FUNCTION[function, name]()
    if name in ("path", "file"):
        return _saved() if "read" in function or "load" in function or "is_" in function else str(FOLDER / "out.tmp")
    if name == "ax":
        from matplotlib.figure import Figure

        return Figure().subplots()
    if name == "figure":
        from matplotlib.figure import Figure

        return Figure()
    if parameter.default is not parameter.empty and name not in ("stop",):
        if repr(parameter.default) == "<factory>":
            raise Omitted
        return parameter.default
    if name in BY_NAME:
        return BY_NAME[name]()
    kind = kind_of(parameter)
    fallback = {"int": 1, "float": 0.5, "bool": False, "text": "gd", "array": target(), "any": 1}
    if kind in fallback:
        return fallback[kind]
    raise LookupError(name)


def kind_of(parameter: inspect.Parameter) -> str:
    """Return the kind of a parameter by its annotation: what it has to refuse depends on nothing else."""
    words = {part.strip() for part in re.split(r"\|(?![^\[]*\])", str(parameter.annotation).strip("'\""))} - {"None"}
    if words and words <= {"ArrayLike", "Array"}:
        return "array"
    if words == {"bool"}:
        return "bool"
    if words == {"int"}:
        return "int"
    if words == {"float"}:
        return "float"
    if words == {"str"}:
        return "text"
    if words == {"PathLike"}:
        return "path"
    if words and all(word.startswith("Literal[") for word in words):
        return "choice"
    if words and words <= {"Callback"}:
        return "function"
    if words and words <= INSTANCES:
        return "instance"
    return "any"


INSTANCES = {"Problem", "StoppingRule", "ConvexResult", "Result", "Comparison", "Init", "Adapter", "Optimizer"}
INSTANCES |= {"Schedule", "ConvexRoute", "Constants", "Method", "Figure", "Axes"}


# Where an argument takes more than its kind tells: a tensor of any dimension, a constant that is known to be no good.
TAKEN = {
    ("peft_files.encoded", "values", "a number"),
    ("peft_files.encoded", "values", "a further dimension"),
    ("peft_files.encoded", "values", "empty"),
    ("landscape.regime", "rsc", "-inf"),
}


@dataclass(frozen=True)
class Change:
    """A value in place of a valid one. ``fate``: "same" answer, "refuse", or "any" (no crash, no hang, no warning)."""

    label: str
    make: Callable[[Any], Any]
    fate: str


def _first(x: Any, value: Any, dtype: Any) -> np.ndarray:
    array = np.array(x, dtype=dtype)
    array.flat[0] = value
    return array


def _masked(x: Any) -> np.ma.MaskedArray:
    mask = np.zeros(np.shape(x), bool)
    mask.flat[-1] = True
    return np.ma.masked_array(x, mask)


def _view(x: Any) -> np.ndarray:
    wide = np.zeros(tuple(2 * k for k in np.shape(x)), np.asarray(x).dtype)
    inner = wide[tuple(slice(None, None, 2) for _ in np.shape(x))]
    inner[...] = x
    return inner


def _read_only(x: Any) -> np.ndarray:
    array = np.array(x)
    array.flags.writeable = False
    return array


ARRAYS = [
    Change("a list", lambda x: np.asarray(x).tolist(), "same"),
    Change("column order", lambda x: np.asfortranarray(x), "same"),
    Change("a view with gaps", _view, "same"),
    Change("backwards", lambda x: np.array(np.asarray(x)[::-1])[::-1], "same"),
    Change("read-only", _read_only, "same"),
    Change("other byte order", lambda x: np.asarray(x).astype(np.asarray(x).dtype.newbyteorder()), "same"),
    Change("a mask that hides nothing", lambda x: np.ma.masked_array(x), "same"),
    Change("masked", _masked, "refuse"),
    Change("masked in a list", lambda x: [_masked(x)], "refuse"),
    Change("ragged", lambda x: [[1.0], [1.0, 2.0]], "refuse"),
    Change("nan", lambda x: _first(x, np.nan, float), "refuse"),
    Change("inf", lambda x: _first(x, -np.inf, float), "refuse"),
    Change("complex", lambda x: np.asarray(x) + 1j, "refuse"),
    Change("objects", lambda x: np.asarray(x, dtype=object), "refuse"),
    Change("None", lambda x: None, "none"),
    Change("texts", lambda x: np.asarray(x).astype(str), "refuse"),
    Change("dates", lambda x: np.zeros(np.shape(x), "datetime64[s]"), "refuse"),
    Change("empty", lambda x: np.asarray(x)[:0], "refuse"),
    Change("a further dimension", lambda x: np.asarray(x)[None], "refuse"),
    Change("a number", lambda x: 1.0, "refuse"),
    Change("a text", lambda x: "abc", "refuse"),
    Change("10**400", lambda x: [[10**400]], "refuse"),
    Change("longdouble beyond float64", lambda x: _first(x, np.longdouble("1e4000"), np.longdouble), "refuse"),
    Change("a dictionary", lambda x: {}, "refuse"),
    Change("huge", lambda x: np.asarray(x, float) * 1e300, "any"),
    Change("tiny", lambda x: np.asarray(x, float) * 1e-300, "any"),
    Change("zero", lambda x: np.zeros(np.shape(x)), "any"),
    Change("float16", lambda x: np.asarray(x).astype(np.float16), "any"),
    Change("float32", lambda x: np.asarray(x).astype(np.float32), "any"),
    Change("int8", lambda x: np.asarray(x).astype(np.int8), "any"),
    Change("bool", lambda x: np.asarray(x).astype(bool), "any"),
    Change("transposed", lambda x: np.asarray(x).T, "any"),
]

_WRONG = [
    Change("None", lambda x: None, "none"),
    Change("an object", lambda x: object(), "refuse"),
    Change("a class", lambda x: dict, "refuse"),
    Change("a dictionary", lambda x: {}, "refuse"),
    Change("bytes", lambda x: b"x", "refuse"),
    Change("a complex number", lambda x: 1 + 2j, "refuse"),
    Change("a list", lambda x: [1.0], "refuse"),
]
_NUMBERS = [
    *_WRONG,
    Change("a text", lambda x: "abc", "refuse"),
    Change("a number as text", lambda x: "1", "refuse"),
    Change("True", lambda x: True, "refuse"),
    Change("NumPy's True", lambda x: np.True_, "refuse"),
    Change("nan", lambda x: float("nan"), "refuse"),
    Change("masked", lambda x: np.ma.masked, "refuse"),
    Change("an array", lambda x: np.ones(1), "refuse"),
    Change("a decimal", lambda x: decimal.Decimal("1"), "refuse"),
    Change("-inf", lambda x: -float("inf"), "refuse"),
    Change("-1", lambda x: -1, "any"),
    Change("0", lambda x: 0, "any"),
    Change("10**400", lambda x: 10**400, "any"),
    Change("10**5000", lambda x: 10**5000, "any"),
    Change("2**63", lambda x: 2**63, "any"),
]
KINDS = {
    "array": ARRAYS,
    "int": [
        *_NUMBERS,
        Change("NumPy's integer", lambda x: None if x is None else np.int64(x), "same"),
        Change("a fraction", lambda x: 1.5, "refuse"),
        Change("a float", lambda x: 2.0, "refuse"),
        Change("inf", lambda x: float("inf"), "refuse"),
    ],
    "float": [
        *_NUMBERS,
        Change("NumPy's float", lambda x: None if x is None else np.float64(x), "same"),
        Change("a fraction", lambda x: fractions.Fraction(1, 2), "any"),
        Change("the least number", lambda x: 5e-324, "any"),
        Change("1e308", lambda x: 1e308, "any"),
        Change("inf", lambda x: float("inf"), "any"),
    ],
    "bool": [
        *_WRONG,
        Change("NumPy's own", lambda x: np.bool_(x), "same"),
        Change("a text", lambda x: "yes", "refuse"),
        Change("1", lambda x: 1, "refuse"),
        Change("nan", lambda x: float("nan"), "refuse"),
        Change("an array", lambda x: np.ones(2, bool), "refuse"),
    ],
    "text": [
        *_WRONG,
        Change("a number", lambda x: 7, "refuse"),
        Change("an unknown name", lambda x: "no such name", "any"),
        Change("nothing", lambda x: "", "any"),
        Change("a zero byte", lambda x: "a\0b", "any"),
        Change("brackets", lambda x: "gd:step_size=" + "(" * 300, "any"),
        Change("very long", lambda x: "x" * 100_000, "any"),
        Change("NumPy's own", lambda x: x if x is None else np.str_(x), "same"),
    ],
    "choice": [
        *_WRONG,
        Change("an unknown name", lambda x: "no such name", "refuse"),
        Change("a number", lambda x: 7, "refuse"),
    ],
    "path": [
        *_WRONG,
        Change("a number", lambda x: 7, "refuse"),
        Change("nothing", lambda x: "", "refuse"),
        Change("a zero byte", lambda x: "a\0b", "refuse"),
        Change("a path object", lambda x: pathlib.Path(x), "same"),
    ],
    "function": [*_WRONG, Change("a number", lambda x: 7, "refuse"), Change("a text", lambda x: "abc", "refuse")],
    "instance": [
        *_WRONG,
        Change("a number", lambda x: 7, "refuse"),
        Change("an array", lambda x: np.ones(2), "refuse"),
    ],
    "any": [
        Change(change.label, change.make, "any")
        for change in [*_NUMBERS, *ARRAYS]
        if change.label not in ("other byte order",)
    ],
}


class Hostile:
    """A user's objective that answers in one of many wrong ways."""

    shape = (M_ROWS, N_COLS)

    def __init__(self, answer: Callable[[np.ndarray], Any]) -> None:
        self.answer = answer

    def value_and_grad(self, X: np.ndarray) -> Any:
        return self.answer(X)


def _raise(X: np.ndarray) -> Any:
    raise Own("the user's own")


OBJECTIVES: list[tuple[str, Callable[[np.ndarray], Any], str]] = [
    ("raises", _raise, "own"),
    ("None", lambda X: None, "refuse"),
    ("gradient None", lambda X: (1.0, None), "refuse"),
    ("gradient of objects", lambda X: (1.0, X.astype(object)), "refuse"),
    ("complex gradient", lambda X: (1.0, X + 1j), "refuse"),
    ("complex value", lambda X: (1j, X), "refuse"),
    ("value None", lambda X: (None, X), "refuse"),
    ("value in an array", lambda X: (np.ones(2), X), "refuse"),
    ("gradient of another shape", lambda X: (1.0, X.T), "refuse"),
    ("ragged gradient", lambda X: (1.0, [[1.0], [1.0, 2.0]]), "refuse"),
    ("masked gradient", lambda X: (1.0, np.ma.masked_array(X, mask=True)), "refuse"),
    ("masked value", lambda X: (np.ma.masked, X), "refuse"),
    ("three parts", lambda X: (1.0, X, X), "refuse"),
    ("nan", lambda X: (np.nan, X), "any"),
    ("inf", lambda X: (np.inf, X), "any"),
    ("nan in the gradient", lambda X: (1.0, X * np.nan), "any"),
    ("values that do not fit", lambda X: (float(np.sin(1e6 * X.sum())), X + 1.0), "any"),
    ("noise", lambda X: (float(np.random.default_rng().standard_normal()), X - 1.0), "any"),
    ("constant", lambda X: (3.0, np.zeros_like(X)), "any"),
    ("unbounded", lambda X: (-float((X**2).sum()), -2.0 * X), "any"),
    ("huge", lambda X: (1e300 * float((X**2).sum()), 2e300 * X), "any"),
]
