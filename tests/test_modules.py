"""Generic tests over the table of layers in module_cases.py."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import numpy as np
import pytest
from module_cases import CASES, ModuleCase

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import JitgradError

rows = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)


def _layer(case: ModuleCase, seed: int = 1) -> Any:
    jg.manual_seed(seed)
    layer = case.make(*case.args, **case.kwargs)
    for p in layer.parameters():
        nn.init.normal_(p, 0.5, 0.5)
    return layer


def _inputs(case: ModuleCase, dtype: Any = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    # Distinct values, none close to 0, so that finite differences cross no kink.
    arrays = [(rng.permutation(int(np.prod(s))) * 0.1 - 0.93).reshape(s).astype(dtype) for s in case.inputs]
    return arrays if case.labels is None else [*arrays, case.labels]


@rows
def test_repr_is_pytorchs(case: ModuleCase) -> None:
    assert repr(_layer(case)) == case.repr


@rows
def test_every_layer_has_a_row_and_words(case: ModuleCase) -> None:
    assert case.make.__doc__ and case.make.forward.__doc__
    assert ">>>" in case.make.__doc__


def test_table_is_complete() -> None:
    containers = {"BufferDict", "BufferList", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"}
    layers = {v.__name__ for v in vars(nn).values() if isinstance(v, type)} - containers - {"Buffer", "Module", "Parameter"}
    assert layers == {c.make.__name__ for c in CASES}


@rows
def test_forward(case: ModuleCase) -> None:
    layer, arrays = _layer(case).double(), _inputs(case)
    given = [jg.tensor(a) for a in arrays]
    y = layer(*given)
    assert y.dtype == jg.float64
    np.testing.assert_allclose(y.detach().numpy(), case.reference(layer, *arrays), rtol=1e-10, atol=1e-12)
    for t, a in zip(given, arrays, strict=True):
        assert np.array_equal(t.numpy(), a), "the input was written to"


@rows
def test_float32_stays(case: ModuleCase) -> None:
    y = _layer(case)(*[jg.tensor(a) for a in _inputs(case, np.float32)])
    assert y.dtype == jg.float32


@rows
def test_gradients_by_finite_differences(case: ModuleCase) -> None:
    layer, arrays = _layer(case).double(), _inputs(case)
    floats = [jg.tensor(a, requires_grad=True) for a in arrays if a.dtype.kind == "f"]
    rest = [jg.tensor(a) for a in arrays if a.dtype.kind != "f"]
    leaves = [*floats, *layer.parameters()]
    rng = np.random.default_rng(1)
    u = jg.tensor(rng.standard_normal(layer(*floats, *rest).shape))

    def value() -> Any:
        return (layer(*floats, *rest) * u).sum()

    value().backward()
    for leaf in leaves:
        step = rng.standard_normal(leaf.shape)
        padding = getattr(layer, "padding_idx", None)
        if padding is not None:
            step[padding] = 0.0  # this row is declared to get no gradient
        d, at = 1e-6, leaf.detach().clone()
        sides = []
        for sign in (1, -1):
            with jg.no_grad():
                leaf.copy_(at + jg.tensor(sign * d * step))
                sides.append(value().item())
        with jg.no_grad():
            leaf.copy_(at)
        slope = (sides[0] - sides[1]) / (2 * d)
        np.testing.assert_allclose((leaf.grad.numpy() * step).sum(), slope, rtol=1e-5, atol=1e-7)


@rows
def test_state_dict_round_trip(case: ModuleCase) -> None:
    a, b = _layer(case, 1), _layer(case, 2)
    assert list(a.state_dict()) == case.keys.split()
    assert repr(b.load_state_dict(a.state_dict())) == "<All keys matched successfully>"
    for k, v in a.state_dict().items():
        assert np.array_equal(v.numpy(), b.state_dict()[k].numpy())
        assert v.array is not b.state_dict()[k].array


@rows
def test_copies(case: ModuleCase) -> None:
    layer, given = _layer(case), [jg.tensor(a) for a in _inputs(case, np.float32)]
    twins = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    y = layer(*given).detach().numpy()
    for twin in twins:
        assert type(twin) is case.make and repr(twin) == case.repr
        assert all(type(p) is nn.Parameter and p.requires_grad for p in twin.parameters())
        assert np.array_equal(twin(*given).detach().numpy(), y)
        assert not {id(p) for p in twin.parameters()} & {id(p) for p in layer.parameters()}


@rows
def test_train_and_eval(case: ModuleCase) -> None:
    layer = _layer(case)
    assert layer.training and not layer.eval().training and layer.train().training


@rows
def test_device_and_dtype_arguments(case: ModuleCase) -> None:
    if not any(True for _ in _layer(case).parameters()):
        return
    layer = case.make(*case.args, **case.kwargs, dtype=jg.float64, device="cpu")
    assert all(p.dtype == jg.float64 for p in layer.parameters())


@pytest.mark.parametrize("case", [c for c in CASES if c.wrong is not None], ids=lambda c: c.id)
def test_error_names_the_place(case: ModuleCase) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Identity(), nn.Sequential(_layer(case))])

        def forward(self, *xs: Any) -> Any:
            for block in self.blocks[1:]:
                xs = (block[0](*xs),)
            return xs

    net = Net()
    before = {k: v.tolist() for k, v in net.state_dict().items()}
    given = [jg.zeros(case.wrong)] if case.labels is None else [jg.zeros(case.wrong), jg.tensor(case.labels)]
    with pytest.raises(JitgradError) as caught:
        net(*given)
    place = str(caught.value).split("\n  in ")[1]
    assert place.startswith(f"blocks.1.0 ({case.make.__name__}(")
    assert f"of Net, input{'s' * (len(given) > 1)} {case.wrong} float32" in place
    assert {k: v.tolist() for k, v in net.state_dict().items()} == before


@pytest.mark.parametrize("case", [c for c in CASES if c.keys and c.inputs], ids=lambda c: c.id)
def test_layers_do_not_promote(case: ModuleCase) -> None:
    if case.keys.startswith("running"):
        return
    with pytest.raises(jg.errors.DTypeError, match=r"float64.*float32|float32.*float64"):
        _layer(case)(*[jg.tensor(a) for a in _inputs(case)])


@pytest.mark.parametrize("make", sorted({c.make for c in CASES} - {nn.Tanh, nn.Sigmoid}, key=lambda m: m.__name__))
def test_arguments_are_pytorchs(make: Any) -> None:
    """Names, order, defaults and what is keyword-only; torch's Tanh and Sigmoid take and ignore anything."""
    torch = pytest.importorskip("torch")
    ours, theirs = (inspect.signature(f).parameters.values() for f in (make.__init__, getattr(torch.nn, make.__name__).__init__))
    assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]


@rows
def test_parity_with_torch(case: ModuleCase) -> None:
    torch = pytest.importorskip("torch")
    ours = _layer(case).double()
    theirs = getattr(torch.nn, case.make.__name__)(*case.args, **case.kwargs).double()
    assert repr(theirs) == case.repr and list(theirs.state_dict()) == case.keys.split()
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    arrays = _inputs(case)
    mine = [jg.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    other = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    for _ in range(2):
        y, z = ours(*mine), theirs(*other)
        (y * y).sum().backward()
        (z * z).sum().backward()
    for model in (ours, theirs):
        model.eval()
    np.testing.assert_allclose(ours(*mine).detach().numpy(), theirs(*other).detach().numpy(), rtol=1e-9, atol=1e-12)
    for p, q in zip([*mine, *ours.parameters()], [*other, *theirs.parameters()], strict=True):
        if q.grad is not None:
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-8, atol=1e-10)
    for k, v in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[k].numpy(), v.numpy(), rtol=1e-10)


@pytest.mark.parametrize("case", [c for c in CASES if c.inputs and c.make is not nn.Identity], ids=lambda c: c.id)
def test_a_list_for_a_tensor_names_the_place(case: ModuleCase) -> None:
    """Whatever a layer does first with its input: the error says which layer, and what was expected."""
    net = nn.Sequential(nn.Identity(), _layer(case))
    with pytest.raises(JitgradError, match="expected a Tensor") as caught:
        net[1](*[[1.0]] * (len(case.inputs) + (case.labels is not None)))
    assert case.make.__name__ in str(caught.value)


def test_the_users_own_attribute_errors_stay_theirs() -> None:
    class Batch:
        pass

    class Net(nn.Module):
        def forward(self, batch: Any) -> Any:
            return batch.pixels

    with pytest.raises(AttributeError, match="'Batch' object has no attribute 'pixels'"):
        Net()(Batch())
    with pytest.raises(AttributeError, match="expected a Tensor, given Batch"):
        nn.Linear(1, 1)(Batch())


def test_a_refused_name_leaves_what_was_there() -> None:
    m = nn.Module()
    m.forward = lambda x: x + 1  # type: ignore[method-assign]
    with pytest.raises(KeyError, match="'forward'"):
        m.forward = nn.ReLU()
    assert m(1) == 2


class Hiding(nn.Module):
    """Holds layers where nothing finds them."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.ReLU())
        self.inner[0].held = held


HIDDEN = {
    "a list": (lambda m, p: [m, m], r"inner\.0\.held of Hiding is a plain list with 2 Modules that .* Use nn\.ModuleList"),
    "a tuple": (lambda m, p: (m,), r"a plain tuple with 1 Module that .* nn\.ModuleList"),
    "a dict": (lambda m, p: {"a": m, "b": 3}, r"a plain dict with 1 Module that .* nn\.ModuleDict"),
    "a set": (lambda m, p: {m}, r"a plain set with 1 Module"),
    "parameters": (lambda m, p: [p, p], r"a plain list with 2 Parameters that .* nn\.ParameterList"),
    "nested": (lambda m, p: {"a": [3, (m, [p])]}, r"a plain dict with 2 Modules"),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_modules_in_plain_containers_are_named_once(name: str) -> None:
    make, words = HIDDEN[name]
    for look in (lambda net: list(net.parameters()), lambda net: net.state_dict(), lambda net: jg.optim.SGD([*net.parameters(), p])):
        p = nn.Parameter(jg.ones(1))
        net = Hiding(make(nn.Linear(1, 1), p))
        with pytest.warns(UserWarning, match=words):
            look(net)
        look(net)  # a second warning would be an error here


def test_what_hides_nothing_is_not_warned_of() -> None:
    net = Hiding([1, "two", {"three": None}, [], nn.ReLU])
    net.blocks = nn.ModuleList([nn.Linear(1, 1)])
    net.order = [net.blocks[0], net.blocks[0].weight]  # known by other names
    net.inner.parent = (net,)
    assert len(list(net.parameters())) == 2 and len(list(net.inner.parameters())) == 0
    net.late = []
    assert len(list(net.parameters())) == 2
    net.late.append(nn.Linear(1, 1))
    with pytest.warns(UserWarning, match="late of Hiding is a plain list"):
        net.zero_grad()
