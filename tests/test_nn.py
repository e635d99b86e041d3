"""Module, Parameter, containers, hooks, state dicts and initialisation."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import DTypeError, ShapeError, StateDictError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.ReLU()])
        self.scale = nn.Parameter(jg.ones(1))
        self.register_buffer("seen", jg.zeros(1))
        self.register_buffer("scratch", jg.zeros(1), persistent=False)

    def forward(self, x: Any) -> Any:
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return x * self.scale


# ---- Parameter
def test_parameter() -> None:
    t = jg.ones(2)
    p = nn.Parameter(t)
    assert p.is_leaf and p.requires_grad and isinstance(p, jg.Tensor)
    with jg.no_grad():
        p.fill_(3)
    assert t.tolist() == [3.0, 3.0]
    assert not nn.Parameter(t, requires_grad=False).requires_grad
    assert repr(nn.Parameter(jg.ones(1))) == "Parameter containing:\ntensor([1.], requires_grad=True)"
    with pytest.raises(TypeError, match=r"expected a Tensor, given list. Try nn.Parameter\(jg.tensor"):
        nn.Parameter([1.0])  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="float"):
        nn.Parameter(jg.tensor([1]))
    assert not nn.Parameter(jg.tensor([1]), requires_grad=False).requires_grad
    x = jg.ones(2, requires_grad=True)
    assert nn.Parameter(x * 2).is_leaf
    twin = copy.deepcopy(p)
    assert type(twin) is nn.Parameter and twin is not p and twin.tolist() == p.tolist()


def test_buffer() -> None:
    t = jg.ones(2)
    b = nn.Buffer(t, persistent=False)
    t.fill_(3)
    assert b.tolist() == [3.0, 3.0] and not b.requires_grad and not b.persistent and nn.Buffer(t).persistent
    assert repr(b) == "tensor([3., 3.])"
    with pytest.raises(TypeError, match=r"expected a Tensor, given list. Try nn.Buffer\(jg.tensor"):
        nn.Buffer([1.0])  # type: ignore[arg-type]
    for twin in (copy.deepcopy(b), pickle.loads(pickle.dumps(b))):
        assert type(twin) is nn.Buffer and twin.tolist() == [3.0, 3.0]
    with pytest.raises(AttributeError, match="cannot assign the buffer"):
        nn.Module.__new__(nn.Module).scale = b


# ---- registration
def test_registration_and_walks() -> None:
    net = Net()
    assert [n for n, _ in net.named_parameters()] == ["scale", "first.weight", "first.bias", "layers.0.weight", "layers.0.bias"]
    assert [n for n, _ in net.named_parameters("net", recurse=False)] == ["net.scale"]
    assert [n for n, _ in net.named_buffers()] == ["seen", "scratch"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "layers", "layers.0", "layers.1"]
    assert [n for n, _ in net.named_children()] == ["first", "layers"]
    assert list(net.state_dict()) == ["scale", "seen", "first.weight", "first.bias", "layers.0.weight", "layers.0.bias"]
    assert net.get_submodule("layers.1") is net.layers[1] and net.get_submodule("") is net
    assert net.get_parameter("first.bias") is net.first.bias and net.get_buffer("seen") is net.seen
    assert {"first", "scale", "seen"} <= set(dir(net))
    with pytest.raises(AttributeError, match=r"'layers.7': ModuleList has no submodule '7'; it has 0 and 1"):
        net.get_submodule("layers.7")
    with pytest.raises(AttributeError, match="has no parameter 'weights'; it has weight and bias"):
        net.get_parameter("first.weights")


def test_shared_modules_and_parameters_count_once() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    net[2].weight = net[0].weight
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "2.bias"]
    assert [n for n, _ in net.named_parameters(remove_duplicate=False)] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert twin[2].weight is twin[0].weight
    assert net.double()[2].weight is net[0].weight
    one = nn.Linear(2, 2)
    assert len(list(nn.Sequential(one, one).children())) == 1


def test_assignment() -> None:
    net = Net()
    net.scale = None
    assert net.scale is None and "scale" not in net.state_dict()
    net.scale = nn.Parameter(jg.zeros(1))
    with pytest.raises(TypeError, match="'scale' is registered in Net: expected a Parameter or None, given Tensor"):
        net.scale = jg.ones(1)
    with pytest.raises(TypeError, match="'first' is registered in Net: expected a Module"):
        net.first = 3
    net.seen = jg.ones(1)
    assert net.state_dict()["seen"].tolist() == [1.0]
    net.seen = nn.Parameter(jg.ones(1))
    assert "seen" not in dict(net.named_buffers()) and "seen" in dict(net.named_parameters())
    net.plain = 3
    net.plain = nn.ReLU()
    assert "plain" in dict(net.named_children()) and "plain" not in net.__dict__
    del net.plain, net.first, net.scratch
    for name in ("plain", "first", "scratch"):
        with pytest.raises(AttributeError, match=f"'Net' object has no attribute '{name}'"):
            getattr(net, name)
    with pytest.raises(AttributeError):
        del net.nothing
    with pytest.raises(KeyError, match="without dots"):
        net.register_parameter("a.b", None)
    with pytest.raises(KeyError, match="already"):
        net.register_buffer("forward", jg.ones(1))
    with pytest.raises(TypeError, match="expected a Tensor"):
        net.register_buffer("b", 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a Module"):
        net.add_module("m", 3)  # type: ignore[arg-type]


def test_a_module_that_is_refused_leaves_what_has_its_name() -> None:
    net: Any = nn.Module()
    net.w, net.mean = nn.Parameter(jg.ones(1)), nn.Buffer(jg.ones(1))
    for name in ("w", "mean"):
        with pytest.raises(ValueError, match="cannot be inside itself"):
            setattr(net, name, net)
    assert list(net.state_dict()) == ["w", "mean"]


def test_forgotten_super_init_is_explained() -> None:
    class NoSuper(nn.Module):
        def __init__(self) -> None:
            self.fc = nn.Linear(1, 1)

    class Late(nn.Module):
        def __init__(self) -> None:
            self.size = 3

        def forward(self, x: Any) -> Any:
            return x

    with pytest.raises(AttributeError, match=r"Call super\(\).__init__\(\) first in NoSuper.__init__"):
        NoSuper()
    with pytest.raises(AttributeError, match=r"Late.__init__ does not call super\(\).__init__\(\)"):
        Late()(jg.ones(1))
    with pytest.raises(AttributeError, match=r"Late.__init__ does not call super\(\).__init__\(\)"):
        list(Late().parameters())
    with pytest.raises(NotImplementedError, match="Module has no forward method"):
        nn.Module()(jg.ones(1))


# ---- modes, moves
def test_modes_and_moves() -> None:
    net = Net()
    assert net.eval() is net and not net.layers[0].training and net.train().layers[0].training
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    net.requires_grad_()
    net(jg.ones(1, 2)).sum().backward()
    weight = net.first.weight
    net.to(jg.float64)
    assert net.first.weight is weight and weight.dtype == weight.grad.dtype == net.seen.dtype == jg.float64
    net(jg.ones(1, 2, dtype=jg.float64)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert weight.grad.sum().item() == 0.0
    net.zero_grad()
    assert weight.grad is None
    assert net.float().to(jg.ones(1, dtype=jg.float64)).half().cpu().seen.dtype == jg.float16
    with pytest.raises(DTypeError, match="expected a float dtype"):
        net.to(jg.int64)
    if not jg.cuda.is_available():
        with pytest.raises(jg.errors.DeviceError):
            net.cuda()
    with pytest.raises(ValueError, match="True or False"):
        net.train("yes")  # type: ignore[arg-type]
    bn = nn.BatchNorm1d(2).double()
    assert bn.num_batches_tracked.dtype == jg.int64
    seen: list[str] = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "Linear", "ReLU", "ModuleList", "Net"]


# ---- state
def test_load_state_dict_is_all_or_nothing() -> None:
    net = Net()
    before = {k: v.tolist() for k, v in net.state_dict().items()}
    given = {k: v + 1 for k, v in net.state_dict().items()}
    given["first.weight"] = jg.ones(3, 3)
    del given["layers.0.bias"]
    given["layers.1.bias"] = jg.ones(3)
    given["seen"] = 3.0  # type: ignore[assignment]
    with pytest.raises(StateDictError) as caught:
        net.load_state_dict(given)
    assert str(caught.value) == (
        "load_state_dict: 4 of the keys do not fit Net, nothing was loaded:\n"
        "    key            problem      model   state dict\n"
        "    layers.0.bias  missing      (3,)    - (did you mean layers.1.bias?)\n"
        "    layers.1.bias  unexpected   -       (3,)\n"
        "    seen           no Tensor    (1,)    float\n"
        "    first.weight   wrong shape  (3, 2)  (3, 3)"
    )
    assert isinstance(caught.value, RuntimeError) and isinstance(caught.value, ValueError)
    with pytest.raises(StateDictError, match="2 of the keys"):
        net.load_state_dict(given, strict=False)
    assert {k: v.tolist() for k, v in net.state_dict().items()} == before
    with pytest.raises(TypeError, match="expected a dict"):
        net.load_state_dict([1])  # type: ignore[arg-type]


def test_load_state_dict() -> None:
    net, other = Net(), Net().double()
    weight = net.first.weight
    keys = net.load_state_dict({"first.weight": other.first.weight, "more": jg.ones(1)}, strict=False)
    assert keys.unexpected_keys == ["more"] and len(keys.missing_keys) == 5
    assert net.first.weight is weight and weight.dtype == jg.float32
    np.testing.assert_allclose(weight.detach().numpy(), other.first.weight.detach().numpy(), rtol=1e-6)
    state = Net().state_dict()
    net.load_state_dict(state, assign=True)
    assert np.shares_memory(net.first.weight.detach().numpy(), state["first.weight"].numpy()) and type(net.first.weight) is nn.Parameter
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    once = {k: v for k, v in tied.state_dict().items() if k != "1.weight"}
    assert tied.load_state_dict(once).missing_keys == []
    vars_ = net.state_dict(keep_vars=True)
    assert vars_["first.weight"] is net.first.weight and not net.state_dict()["first.weight"].requires_grad


# ---- hooks
def test_hooks() -> None:
    net, heard = nn.Linear(1, 1), []
    pre = net.register_forward_pre_hook(lambda m, args: heard.append("pre") or (args[0] * 2,))
    net.register_forward_pre_hook(lambda m, args: heard.append("first"), prepend=True)
    after = net.register_forward_hook(lambda m, args, y: heard.append(args[0].item()) or y * 0)
    assert net(jg.ones(1)).item() == 0.0
    assert heard == ["first", "pre", 2.0]
    pre.remove()
    pre.remove()
    with after:
        pass
    heard.clear()
    assert net(jg.ones(1)).item() != 0.0 and heard == ["first"]

    class Named(nn.Module):
        def forward(self, x: Any, b: int) -> Any:
            return x * b

    with_kwargs = Named()
    with_kwargs.register_forward_pre_hook(lambda m, args, kwargs: (args, {"b": kwargs["a"]}), with_kwargs=True)
    with_kwargs.register_forward_hook(lambda m, args, kwargs, y: list(kwargs), with_kwargs=True)
    assert with_kwargs(jg.ones(1), a=1) == ["b"]
    always = nn.Linear(1, 1)
    always.register_forward_hook(lambda m, args, y: heard.append(y), always_call=True)
    with pytest.raises(ShapeError, match=r"in Linear\(1, 1\), input \(2,\) float32"):
        always(jg.ones(2))
    assert heard == ["first", None]
    with pytest.raises(TypeError, match="callable"):
        net.register_forward_hook(3)  # type: ignore[arg-type]


# ---- places
def test_place_of_errors() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.here = nn.Sequential(nn.Linear(2, 2))
            self.plain = [self.here, nn.Linear(9, 2)]

        def forward(self, x: Any, which: int = 0) -> Any:
            return self.plain[which](x) if which < 2 else x.reshape(7)

    net = Hidden()
    for which, place in (
        (0, r"in here.0 \(Linear\(2, 2\)\) of Hidden, input \(1, 3\) float32$"),
        (2, r"in Hidden, inputs \(1, 3\) float32, int$"),
    ):
        with pytest.raises(ShapeError, match=place):
            net(jg.ones(1, 3), which)
    with pytest.raises(ShapeError, match=r"in plain\[1\] \(Linear\(9, 2\)\) of Hidden"):
        net(jg.ones(1, 3), 1)
    with pytest.raises(ShapeError) as caught:
        net(jg.ones(1, 3))
    twin = pickle.loads(pickle.dumps(caught.value))
    assert str(twin) == str(caught.value)


# ---- layers beside the table
def test_dropout() -> None:
    x = jg.ones(1000)
    layer = nn.Dropout(0.25)
    y = layer(x)
    assert set(np.unique(y.numpy())) == {np.float32(0.0), np.float32(1.0) / np.float32(0.75)}
    assert abs((y == 0).to(jg.float32).mean().item() - 0.25) < 0.06
    jg.manual_seed(0)
    again = [layer(x).tolist() for _ in range(2)]
    jg.manual_seed(0)
    assert layer(x).tolist() == again[0] != again[1]
    assert layer.eval()(x) is x
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout(1.5)


def test_inplace_relu() -> None:
    x = jg.tensor([-1.0, 2.0], requires_grad=True)
    y = x * 1
    z = nn.ReLU(inplace=True)(y)
    assert z is y
    z.sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]


def test_batch_norm_statistics() -> None:
    x = jg.tensor(np.arange(12, dtype=np.float32).reshape(4, 3))
    bn = nn.BatchNorm1d(3, momentum=None)
    bn(x)
    bn(x + 3)
    np.testing.assert_allclose(bn.running_mean.numpy(), x.numpy().mean(0) + 1.5, rtol=1e-6)
    assert bn.num_batches_tracked.item() == 2
    bn.reset_running_stats()
    assert bn.running_var.tolist() == [1.0] * 3 and bn.num_batches_tracked.item() == 0


def test_batch_norm_outside_training_cancels_nothing() -> None:
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((16, 4, 12, 12)).astype(np.float32) for _ in range(2))
    x += 300
    norm = nn.BatchNorm2d(4).eval()
    norm.running_mean.copy_(jg.tensor(x.mean((0, 2, 3))))
    (norm(jg.tensor(x)) * jg.tensor(g)).sum().backward()
    want = ((x.astype(np.float64) - norm.running_mean.numpy()[:, None, None]) * g).sum((0, 2, 3))
    np.testing.assert_allclose(norm.weight.grad.numpy(), want, rtol=1e-5)


def test_constructors_refuse() -> None:
    for make in (
        lambda: nn.Conv2d(3, 4, 3, groups=2), lambda: nn.Conv2d(1, 1, 3, padding="some"),
        lambda: nn.Conv2d(1, 1, 3, padding_mode="reflect"),
        lambda: nn.Conv2d(1, 1, 3, stride=2, padding="same"), lambda: nn.Linear(-1, 2), lambda: nn.CrossEntropyLoss(reduction="all"),
        lambda: nn.CrossEntropyLoss(label_smoothing=2.0), lambda: nn.GELU("sigmoid"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected"):
            make()
    with pytest.raises(IndexError, match="out of range"):
        nn.Embedding(3, 2, padding_idx=3)
    with pytest.raises(IndexError, match=r"in Embedding\(3, 2\)"):
        nn.Embedding(3, 2)(jg.tensor([3]))


# ---- initialisation
def test_default_initialisation() -> None:
    jg.manual_seed(0)
    made = ((nn.Linear(100, 200), 100), (nn.Conv2d(10, 40, 3), 90), (nn.Conv1d(8, 200, 5, groups=2), 20), (nn.Bilinear(40, 30, 90), 40))
    for layer, fan in made:
        bound = fan**-0.5
        for p in layer.parameters():  # uniform in [-bound, bound): moments bound^2 / 3 and bound^4 / 5
            a = p.detach().numpy()
            assert 0.9 * bound < np.abs(a).max() <= bound and abs(a.mean()) < 0.2 * bound
            if a.size > 1000:
                assert abs((a**2).mean() * 3 / bound**2 - 1) < 0.08 and abs((a**4).mean() * 5 / bound**4 - 1) < 0.15
    table = nn.Embedding(100, 100, padding_idx=0).weight.detach().numpy()
    assert abs(table.std() - 1) < 0.03 and not table[0].any()
    jg.manual_seed(5)
    a = nn.Linear(3, 3).weight.tolist()
    jg.manual_seed(5)
    assert nn.Linear(3, 3).weight.tolist() == a


def test_init() -> None:
    w = jg.empty(200, 100)
    g = jg.Generator().manual_seed(1)
    first = nn.init.uniform_(w, -1, 3, g).tolist()
    assert first == nn.init.uniform_(jg.empty(200, 100), -1, 3, jg.Generator().manual_seed(1)).tolist()
    for fill, std in (
        (lambda: nn.init.normal_(w, 0, 2), 2.0), (lambda: nn.init.uniform_(w, -3, 3), 3 / 3**0.5),
        (lambda: nn.init.kaiming_uniform_(w, nonlinearity="relu"), (2 / 100) ** 0.5),
        (lambda: nn.init.kaiming_normal_(w, a=1, mode="fan_out"), (1 / 200) ** 0.5),
        (lambda: nn.init.xavier_uniform_(w, 2.0), 2 * (2 / 300) ** 0.5), (lambda: nn.init.xavier_normal_(w), (2 / 300) ** 0.5),
        (lambda: nn.init.constant_(w, 3.0), 0.0), (lambda: nn.init.zeros_(w), 0.0), (lambda: nn.init.ones_(w), 0.0),
    ):  # fmt: skip
        assert fill() is w
        assert abs(w.numpy().std() - std) <= 0.03 * std
    p = nn.Parameter(jg.empty(2, 2))
    assert nn.init.ones_(p) is p and p.requires_grad and p.is_leaf
    for name, gain in (
        ("linear", 1),
        ("conv_transpose2d", 1),
        ("sigmoid", 1),
        ("relu", 2**0.5),
        ("leaky_relu", (2 / 1.0001) ** 0.5),
        ("selu", 0.75),
    ):
        assert nn.init.calculate_gain(name) == pytest.approx(gain)
    for bad in (lambda: nn.init.calculate_gain("sine"), lambda: nn.init.xavier_uniform_(jg.empty(2)), lambda: nn.init.uniform_(w, 2, 1),
                lambda: nn.init.kaiming_uniform_(w, mode="fan"), lambda: nn.init.normal_(w, 0, -1)):  # fmt: skip
        with pytest.raises(ValueError):
            bad()


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"), [(0.0, 1.0, -2.0, 2.0), (1.0, 2.0, -1.0, 2.0), (0.0, 1.0, 4.0, 9.0), (0.0, 0.5, -0.1, 0.2)]
)
def test_trunc_normal(mean: float, std: float, a: float, b: float) -> None:
    """Inside its bounds, with the mean and variance that the density says."""
    w = nn.init.trunc_normal_(jg.empty(200, 100), mean, std, a, b, jg.Generator().manual_seed(1)).numpy().astype(float)
    x = np.linspace(a, b, 100_001)
    p = np.exp(-(((x - mean) / std) ** 2) / 2)
    p /= p.sum()
    expected, spread = (x * p).sum(), np.sqrt((x**2 * p).sum() - (x * p).sum() ** 2)
    assert a <= w.min() and w.max() <= b
    assert abs(w.mean() - expected) < 0.03 * spread and abs(w.std() / spread - 1) < 0.03


def test_init_of_structure() -> None:
    """eye_, dirac_, orthogonal_, sparse_: what holds of them exactly."""
    assert nn.init.eye_(jg.empty(2, 3)).tolist() == np.eye(2, 3).tolist()
    x = jg.randn(2, 4, 5, 5)
    w = nn.init.dirac_(jg.empty(4, 4, 3, 3))
    assert nn.functional.conv2d(x, w, padding=1).tolist() == x.tolist()
    grouped = nn.init.dirac_(jg.empty(4, 2, 3), groups=2).numpy()
    assert grouped.sum() == 4 and grouped[0, 0, 1] == grouped[1, 1, 1] == grouped[2, 0, 1] == grouped[3, 1, 1] == 1
    for shape in ((5, 8), (8, 5), (4, 2, 3, 3), (1, 1)):
        q = nn.init.orthogonal_(jg.empty(shape), gain=3.0).numpy().reshape(shape[0], -1).astype(float)
        square = q @ q.T if len(q) <= q.shape[1] else q.T @ q
        np.testing.assert_allclose(square, 9 * np.eye(len(square)), atol=1e-5)
    assert nn.init.orthogonal_(jg.empty(0, 3)).shape == (0, 3)
    s = nn.init.sparse_(jg.empty(10, 4), 0.25, std=2.0).numpy()
    assert ((s == 0).sum(0) == 3).all() and s.std() > 0.5
    p = nn.Parameter(jg.empty(3, 3))
    for fill in (nn.init.eye_, nn.init.orthogonal_, nn.init.trunc_normal_, lambda t: nn.init.sparse_(t, 0.5)):
        assert fill(p) is p and p.is_leaf and p.requires_grad
    for bad in (
        lambda: nn.init.eye_(jg.empty(3)), lambda: nn.init.dirac_(jg.empty(3, 3)), lambda: nn.init.dirac_(jg.empty(3, 3, 3), 2),
        lambda: nn.init.orthogonal_(jg.empty(3)), lambda: nn.init.sparse_(jg.empty(3), 0.1), lambda: nn.init.sparse_(jg.empty(3, 3), 2),
        lambda: nn.init.trunc_normal_(jg.empty(3), a=2.0, b=1.0), lambda: nn.init.trunc_normal_(jg.empty(3), std=0.0),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            bad()


# ---- arguments that a table of layers does not try
@pytest.mark.parametrize("make", [nn.ReLU, nn.SiLU, nn.LeakyReLU, nn.ELU])
def test_inplace_activations(make: Any) -> None:
    """They overwrite their input, with the gradients of the others; a leaf is refused."""
    values, found = jg.tensor([-2.0, -0.5, 0.5, 3.0]), []
    for layer in (make(), make(inplace=True)):
        leaf = values.clone().requires_grad_()
        x = leaf * 1
        y = layer(x)
        assert (y is x) == layer.inplace
        (y * y).sum().backward()
        found.append((y.tolist(), leaf.grad.tolist()))  # type: ignore[union-attr]
    assert found[0] == found[1]
    assert "inplace=True" in repr(make(inplace=True))
    with pytest.raises(jg.errors.GradError):
        make(inplace=True)(jg.ones(2, requires_grad=True))


def test_arguments_that_are_refused_in_words() -> None:
    for make, words in (
        (lambda: nn.Conv1d(1, 1, 1, padding_mode="reflect"), "Conv1d: padding_mode is expected to be 'zeros'"),
        (lambda: nn.Conv2d(1, 1, 1, padding_mode="circular"), "other modes are not supported"),
        (lambda: nn.Embedding(2, 3, max_norm=1.0), "not supported, given max_norm=1.0"),
        (lambda: nn.Embedding(2, 3, sparse=True), "sparse=True"),
        (lambda: nn.Embedding(2, 3, _weight=jg.ones(3, 2)), r"expected a weight \(2, 3\)"),
        (lambda: nn.GELU("erf"), "'none' or 'tanh'"),
        (lambda: nn.MSELoss(reduction="avg"), "MSELoss: reduction is expected"),
        (lambda: nn.CrossEntropyLoss(None, True), "CrossEntropyLoss: size_average and reduce are old names"),
    ):
        with pytest.raises(ValueError, match=words):
            make()
    for make, words in (
        (lambda: nn.Softmax(), "Softmax: dim is expected to be an int, given None. Try dim=-1"),
        (lambda: nn.LogSoftmax(None), "LogSoftmax: dim"),
        (lambda: nn.Unflatten("C", (2, 3)), "Unflatten: dim: expected an int, given 'C'"),
    ):
        with pytest.raises(TypeError, match=words):
            make()


def test_names_and_tables_from_elsewhere() -> None:
    assert nn.Conv2D is nn.Conv2d and nn.MaxPool2D is nn.MaxPool2d
    table = jg.tensor([[1.0, 2.0], [3.0, 4.0]])
    layer = nn.Embedding.from_pretrained(table)
    assert layer(jg.tensor([1])).tolist() == [[3.0, 4.0]] and not layer.weight.requires_grad
    assert nn.Embedding.from_pretrained(table, freeze=False).weight.requires_grad
    loss = nn.BCEWithLogitsLoss(weight=jg.ones(3), pos_weight=jg.full((3,), 2.0))
    assert list(loss.state_dict()) == ["weight", "pos_weight"]
    assert loss(jg.zeros(3), jg.ones(3)).item() == pytest.approx(2 * np.log(2))


def test_a_convolution_without_filters() -> None:
    x, w = jg.ones(2, 3, 5, 5, requires_grad=True), jg.ones(0, 3, 3, 3, requires_grad=True)
    y = nn.functional.conv2d(x, w)
    y.sum().backward()
    assert (
        y.shape == (2, 0, 3, 3) and x.grad is not None and not x.grad.numpy().any() and w.grad is not None and w.grad.shape == (0, 3, 3, 3)
    )


def test_the_weights_gradient_of_no_images_is_zero() -> None:
    for groups in (1, 2):
        w = jg.ones(8, 26 // groups, 3, 3, requires_grad=True)
        np.full(w.numel(), np.nan, np.float32)  # what lies in memory that is given out again
        nn.functional.conv2d(jg.ones(0, 26, 8, 8), w, padding=1, groups=groups).sum().backward()
        assert w.grad is not None and not w.grad.numpy().any()
