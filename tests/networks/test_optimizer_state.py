"""The weight decay that an optimizer's state tells. Skipped without torch."""

from __future__ import annotations

import json
import math
import pathlib
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from lorasolve.networks import read_optimizer_state  # noqa: E402
from lorasolve.networks.optimizer_state import GroupDecay, OptimizerState  # noqa: E402
from lorasolve.peft_files.decay import OPTIMIZERS, explain_decay  # noqa: E402

torch.set_num_threads(1)


def test_the_optimizers_state_tells_its_decay(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter], lr=2e-4, weight_decay=0.01)
    for _ in range(5):
        parameter.grad = torch.full((3,), 2.0)
        optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert found.horizon == pytest.approx(500_000)
    assert (found.steps, found.adaptive, len(found.smoothed_gradients)) == (5, True, 1)
    assert found.smoothed_gradients[0] == pytest.approx(2.0 * (1 - 0.9**5) * 3**0.5, rel=1e-6)
    assert "decoupled" in str(found) and "; steps 5;" in str(found) and json.dumps(found.to_dict())
    torch.save(torch.optim.SGD([parameter], lr=0.1).state_dict(), tmp_path / "plain.pt")
    assert "no decay" in str(read_optimizer_state(tmp_path / "plain.pt"))


def test_at_the_end_of_a_schedule_the_decay_is_still_told(tmp_path):
    # The Trainer's last checkpoint has a learning rate of 0.
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter], lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / 5)
    for _ in range(5):
        parameter.grad = torch.ones(3)
        optimizer.step()
        schedule.step()
    state = optimizer.state_dict()
    torch.save(state, tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert (found.groups[0].lr, found.groups[0].full_lr) == (0.0, 1e-3)
    assert found.horizon == pytest.approx(100_000) and "no decay" not in str(found)
    del state["param_groups"][0]["initial_lr"]
    torch.save(state, tmp_path / "unknown.pt")
    assert "not known" in str(read_optimizer_state(tmp_path / "unknown.pt"))


@pytest.mark.parametrize(
    ("optimizer", "decays", "kind", "lam"),
    [
        ("Adam", (0.05, 0.05), "l2", 0.05),
        ("Adam", (0.05, 0.0), "unknown", None),
        ("SGD", (0.05, 0.1), "unknown", None),
        ("AdamW", (0.05, 0.05), "decoupled", 0.05),
        ("AdamW", (0.05, 0.0), "decoupled", None),
        ("Adam", (0.0, 0.0), "none", None),
    ],
)
def test_one_lam_is_read_only_where_all_tensors_have_it(tmp_path, optimizer, decays, kind, lam):
    """A penalty on one factor alone is stationary at unbalanced factors, whose imbalance then proves nothing."""
    folder = pathlib.Path(tmp_path)
    parts = [torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(4, 3))]
    groups = [{"params": [part], "weight_decay": decay} for part, decay in zip(parts, decays)]
    state = getattr(torch.optim, optimizer)(groups, lr=1e-3).state_dict()
    # The Trainer of transformers writes a group for biases even where there are none.
    state["param_groups"].append(state["param_groups"][0] | {"params": [], "weight_decay": 0.7})
    torch.save(state, folder / "optimizer.pt")
    found = read_optimizer_state(folder)
    assert (found.decay_kind, found.weight_decay) == (kind, lam)
    assert ("AdamW" in str(found)) == (kind == "decoupled")
    # The decay of no tensor is not told as one of the run.
    assert "0.7" not in str(found) and ("no decay was applied" in str(found)) == (kind == "none")
    assert found.horizon == pytest.approx(1.0 / (1e-3 * max(decays)) if max(decays) else math.inf)
    del state["param_groups"][0]["params"], state["param_groups"][1]["params"]
    torch.save(state, folder / "optimizer.pt")
    assert read_optimizer_state(folder).decay_kind == "unknown"


@pytest.mark.parametrize(
    ("optimizer", "settings", "kind"),
    [("Adam", {}, "l2"), ("SGD", {"momentum": 0.9}, "l2"), ("AdamW", {}, "decoupled")],
)
def test_vectors_without_a_decay_leave_that_of_the_factors(tmp_path, optimizer, settings, kind):
    """The Trainer of transformers decays neither biases nor norms, and a classifier that is trained beside has one."""
    matrices = [torch.nn.Parameter(torch.ones(*shape)) for shape in ((3, 2), (4, 3))]
    bias = torch.nn.Parameter(torch.ones(4))
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": [bias], "weight_decay": 0.0}]
    made = getattr(torch.optim, optimizer)(groups, lr=1e-3, **settings)
    state = made.state_dict()
    torch.save(state, tmp_path / "before.pt")  # nothing is kept of any gradient: it is not known what is a bias
    assert read_optimizer_state(tmp_path / "before.pt").weight_decay is None
    for part in (*matrices, bias):
        part.grad = torch.ones_like(part)
    made.step()
    torch.save(made.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert (found.decay_kind, found.weight_decay) == (kind, 0.05)
    assert [group.of_vectors for group in found.groups] == [False, True]
    assert "weight decay 0.05 (0 on vectors, as biases are); steps" in str(found)
    # A matrix without a decay may be a factor.
    state = made.state_dict()
    state["param_groups"][1]["params"].append(state["param_groups"][0]["params"].pop())
    torch.save(state, tmp_path / "optimizer.pt")
    assert read_optimizer_state(tmp_path).weight_decay is None


@pytest.mark.parametrize("name", ["AdamW", "Adafactor", "Muon"])
def test_a_decay_that_shrinks_where_there_is_no_gradient_is_decoupled(tmp_path, name):
    """A penalty of 0.05 would be divided by the size that these give a gradient, and make a step of about lr."""
    if not hasattr(torch.optim, name):
        pytest.skip(f"this torch has no {name}")
    parameter = torch.nn.Parameter(torch.full((3, 2), 2.0))
    optimizer = getattr(torch.optim, name)([parameter], lr=1e-2, weight_decay=0.05)
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert float(parameter.max()) == pytest.approx(2.0 * (1.0 - 1e-2 * 0.05), rel=1e-6)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert (found.decay_kind, found.horizon) == ("decoupled", pytest.approx(1.0 / (1e-2 * 0.05)))


@pytest.mark.parametrize("name", ["Adam8bit", "AdamW8bit", "AdamW32bit", "LAMB8bit", "AdEMAMix8bit"])
def test_bitsandbytes_decays_beside_the_gradient(tmp_path, name):
    """Without any gradient it shrinks the weights, in 8 bits and in 32."""
    optim = pytest.importorskip("bitsandbytes").optim
    matrix, bias = torch.nn.Parameter(torch.full((64, 80), 2.0)), torch.nn.Parameter(torch.ones(4100))
    groups = [{"params": [matrix], "weight_decay": 0.05}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = getattr(optim, name)(groups, lr=1e-2)
    for part in (matrix, bias):
        part.grad = torch.zeros_like(part)
    optimizer.step()
    assert float(matrix.max()) == pytest.approx(2.0 * (1.0 - 1e-2 * 0.05), rel=1e-6) and float(bias.min()) == 1.0
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert (found.decay_kind, found.weight_decay, found.steps, found.adaptive) == ("decoupled", 0.05, 1, True)
    assert found.horizon == pytest.approx(1.0 / (1e-2 * 0.05))
    assert [group.of_vectors for group in found.groups] == [False, True]


def test_of_bitsandbytes_with_one_state_the_decay_is_not_known(tmp_path):
    """Lion shrinks the weights, gradient descent adds to the gradient, and both write the same settings."""
    optim = pytest.importorskip("bitsandbytes").optim
    kinds = set()
    for name, settings in (("Lion8bit", {}), ("SGD8bit", {"momentum": 0.9})):
        parameter = torch.nn.Parameter(torch.full((64, 80), 2.0))
        optimizer = getattr(optim, name)([parameter], lr=1e-2, weight_decay=0.05, **settings)
        parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
        kinds.add(read_optimizer_state(tmp_path).decay_kind)
    assert kinds == {"unknown"}


def test_what_groups_differ_in_is_not_told_of_all(tmp_path):
    parts = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    groups = [{"params": [parts[0]], "lr": 1e-3}, {"params": [parts[1]], "lr": 1e-2}]
    optimizer = torch.optim.Adam(groups, weight_decay=0.05)
    for step in range(5):
        for part in parts[step > 2 :]:
            part.grad = torch.ones(2)
        optimizer.step()
        optimizer.zero_grad()
    state = optimizer.state_dict()
    state["param_groups"][1]["decoupled_weight_decay"] = True
    torch.save(state, tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    # The shortest horizon is that of the larger learning rate, and the most steps are those of the second tensor.
    assert (found.steps, found.decay_kind) == (5, "unknown")
    assert found.horizon == pytest.approx(1.0 / (1e-2 * 0.05)) == 2000.0


def test_a_gradient_descent_that_decouples_its_decay_is_not_taken_for_that_of_torch(tmp_path):
    """With momentum mu it rests at ``g + (1 - mu) weight_decay theta = 0``, which is another lam."""
    parameter = torch.nn.Parameter(torch.ones(3))
    state = torch.optim.SGD([parameter], lr=0.1, momentum=0.9, weight_decay=0.05).state_dict()
    torch.save(state, tmp_path / "optimizer.pt")
    assert read_optimizer_state(tmp_path).decay_kind == "l2"
    keys = state["param_groups"][0]
    fused = keys.pop("fused")
    others = (
        {"fused": fused, "weight_decouple": True},
        {"caution": False, "corrected_weight_decay": False},  # the SGDW of timm, which names its decay nowhere
    )
    for added in others:
        torch.save(state | {"param_groups": [keys | added]}, tmp_path / "optimizer.pt")
        assert read_optimizer_state(tmp_path).decay_kind == "unknown"


@pytest.mark.parametrize(
    ("momentum", "dampening", "expected"), [(0.0, 2.0, 5000.0), (0.9, 0.0, 500.0), (0.9, 0.5, 1000.0)]
)
def test_the_horizon_of_gradient_descent_is_that_of_its_momentum(tmp_path, momentum, dampening, expected):
    """With 0.9 a weight shrinks ten times as fast as ``lr wd`` says: that many steps shrink it by ``e``."""
    parameter = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    settings = {"lr": 0.02, "weight_decay": 0.01, "momentum": momentum, "dampening": dampening}
    optimizer = torch.optim.SGD([parameter], **settings)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert found.horizon == pytest.approx(expected) and found.groups[0].momentum == momentum
    formula = "(1 - momentum)/((1 - dampening) lr wd)" if momentum else "1/(lr wd)"
    assert f"{formula} = {expected:.3g} steps" in str(found)
    sizes = []
    for _ in range(2):
        for _ in range(int(expected)):
            parameter.grad = torch.zeros(2, dtype=torch.float64)
            optimizer.step()
        sizes.append(float(parameter[0].detach()))
    assert sizes[1] / sizes[0] == pytest.approx(math.exp(-1.0), rel=0.03)


@pytest.mark.parametrize("dampening", [1.0, 2.0])
def test_of_gradient_descent_that_does_not_follow_its_gradient_no_penalty_is_told(tmp_path, dampening):
    """At the minimiser of ``|theta - 2|^2/2 + 0.5 |theta|^2`` it does not rest, whichever way it has come there."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.5, dampening=dampening, weight_decay=1.0)
    for _ in range(100):
        parameter.grad = parameter.detach() - 2.0
        optimizer.step()
    assert abs(float(parameter[0].detach()) - 1.0) > 0.1
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert found.decay_kind == "unknown" and "learning rate is 0" not in str(found)


def test_of_a_decay_that_an_optimizer_divides_no_horizon_is_told(tmp_path):
    """Adam's steps are of size ``lr`` whatever the decay: where a thousandth was told a weight has shrunk by ``e``."""
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([parameter], lr=0.1, weight_decay=1e-3)
    for _ in range(8):
        parameter.grad = torch.zeros(2)
        optimizer.step()
    assert float(parameter[0].detach()) < math.exp(-1.0)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert found.decay_kind == "l2" and "of it done" not in str(found) and "it has no horizon" in str(found)
    groups = [{"params": [0], "lr": 0.1, "weight_decay": 1e-3}]  # of an optimizer that nothing tells
    torch.save({"param_groups": groups, "state": {}}, tmp_path / "optimizer.pt")
    told = str(read_optimizer_state(tmp_path))
    assert told.endswith("decay horizon 1/(lr wd) = 1e+04 steps at the full lr if it is decoupled")


def test_what_is_told_of_several_groups_holds_for_each_of_them():
    def told(*groups):
        return str(OptimizerState(groups, 50, False, ()))

    decoupled = GroupDecay(1, 0.1, 0.01, 0.1, 1000.0, decoupled=True, momentum=None)
    plain = replace(decoupled, decoupled=False, momentum=0.0)
    heavy = replace(plain, momentum=0.9, horizon=100.0)
    assert "1/(lr wd) = 1e+03 steps at the full lr, at most 0.05 of it done" in told(decoupled)
    assert "1/(lr wd) = 1e+03 steps at the full lr, at most 0.05 of it done" in told(plain)
    # (1 - 0.9)/(lr wd) = 100, and without momentum the same formula is 1/(lr wd).
    for groups in ((heavy, plain), (plain, heavy)):
        assert "(1 - momentum)/((1 - dampening) lr wd) = 100 steps at the full lr, at most 0.5" in told(*groups)
    unknown = told(decoupled, replace(decoupled, decoupled=None))
    assert unknown.split(";")[2].endswith("if it is decoupled") and "of it done" not in unknown
    own = replace(decoupled, lr=None, full_lr=None, horizon=math.inf)
    assert "steps of a size of its own" in told(own, replace(own, weight_decay=0.0))
    assert "no decay was applied" in told(replace(own, weight_decay=0.0))
    assert "the learning rate is 0 here" in told(replace(own, lr=0.0))


@pytest.mark.parametrize("name", ["RMSprop", "Adagrad", "Adadelta", "Adamax", "ASGD"])
def test_what_rests_where_the_penalty_balances_the_gradient_has_that_penalty(tmp_path, name):
    """The gradient is ``-lam theta``: an optimizer that adds the decay to it stays, and one that decouples it moves."""
    matrix, bias = (torch.nn.Parameter(torch.full(shape, 2.0, dtype=torch.float64)) for shape in ((3, 2), (3,)))
    none = {"lambd": 0.0} if name == "ASGD" else {}
    groups = [{"params": [matrix], "weight_decay": 0.03}, {"params": [bias], "weight_decay": 0.0, **none}]
    optimizer = getattr(torch.optim, name)(groups, **({"lr": 0.1, "lambd": 0.02} if name == "ASGD" else {"lr": 0.1}))
    lam = 0.05 if name == "ASGD" else 0.03
    for _ in range(3):
        matrix.grad, bias.grad = -lam * matrix.detach(), torch.ones_like(bias)
        optimizer.step()
    assert (matrix - 2.0).abs().max() < 1e-12 and (bias - 2.0).abs().max() > 1e-4
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    found = read_optimizer_state(tmp_path)
    assert (found.decay_kind, found.weight_decay) == ("l2", pytest.approx(lam))
    assert [group.of_vectors for group in found.groups] == [False, True]
    assert found.adaptive == (name != "ASGD") and "it has no horizon" in str(found)
    # As timm's RMSprop says that it may decouple its decay.
    state = optimizer.state_dict()
    state["param_groups"][0]["decoupled_decay"] = True
    torch.save(state, tmp_path / "optimizer.pt")
    assert read_optimizer_state(tmp_path).decay_kind == "unknown"


def test_names_and_states_of_optimizers_tell_one_kind_of_decay(tmp_path):
    """Of all of torch that ``explain_decay`` knows; without a step, and so without what is kept of gradients."""
    told = {}
    for name in filter(lambda name: name.lower() in OPTIMIZERS, dir(torch.optim)):
        optimizer = getattr(torch.optim, name)([torch.nn.Parameter(torch.ones(3, 2))], lr=1e-2, weight_decay=0.05)
        torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
        told[name] = read_optimizer_state(tmp_path).decay_kind
    explained = {name: explain_decay(name, 1e-2, 0.05, alpha=8, rank=8, steps=9).decay.kind for name in told}
    assert told == explained and {"SGD", "Adam", "AdamW", "Adamax"} <= told.keys()


def test_averaged_gradient_descent_decays_without_a_weight_decay(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(3, 2))
    torch.save(torch.optim.ASGD([parameter]).state_dict(), tmp_path / "optimizer.pt")  # lambd is 1e-4
    found = read_optimizer_state(tmp_path)
    assert (found.decay_kind, found.weight_decay) == ("l2", 1e-4) and "no decay" not in str(found)


def test_files_that_are_no_optimizers_state_are_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (print, ("run",))

    with pytest.raises(FileNotFoundError):
        read_optimizer_state(tmp_path)
    torch.save({"param_groups": [{"lr": Hostile()}]}, tmp_path / "hostile.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"param_groups": [{}]}, tmp_path / "empty.pt")
    (tmp_path / "noise.pt").write_bytes(b"\x80\x04noise")
    hints = {"hostile": "readable", "list": "param_groups", "empty": "learning rate", "noise": "readable"}
    for name, hint in hints.items():
        with pytest.raises(ValueError, match=hint):
            read_optimizer_state(tmp_path / f"{name}.pt")
