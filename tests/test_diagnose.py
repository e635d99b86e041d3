"""nn.diagnose: each kind of finding is made where it should be, and healthy models of every style are left in peace."""

from __future__ import annotations

import pickle
import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import jitgrad as jg
from jitgrad import nn
from jitgrad.nn.diagnosis import Finding, Report

F = nn.functional
Forward = Callable[..., Any]


class Net(nn.Module):
    """A model made of modules by name and a function as its forward."""

    def __init__(self, forward: Forward, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs)


def x(*shape: int) -> Any:
    return jg.randn(*shape, generator=jg.Generator().manual_seed(1))


def fc(a: int = 4, b: int = 4, **kwargs: Any) -> nn.Linear:
    layer = nn.Linear(a, b, **kwargs)
    draw = jg.Generator().manual_seed(a + 7 * b)
    with jg.no_grad():
        for p in layer.parameters():
            p.copy_(jg.randn(*p.shape, generator=draw) * 0.5)
    return layer


def square(y: Any) -> Any:
    return (y * y).mean()


# ---- the wrong examples of people's questions
class Unchained(nn.Module):
    """A ModuleList taken for a Sequential."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([fc(10, hidden), nn.ReLU(), fc(hidden, 10)])

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            layer(x)
        return x


def test_a_loop_that_does_not_chain_where_shapes_fit() -> None:
    report = nn.diagnose(Unchained(10), x(1, 10))
    (f,) = report
    assert (f.kind, f.severity, f.path) == ("output dropped", "error", "layers.0, layers.1 and layers.2")
    assert f.line is not None and f.line.text == "layer(x)" and f.line.function == "forward"
    assert f.fix.startswith("x = layer(x)")
    assert not report.ok
    assert str(f) == (
        "error: layers.0 (Linear(10, 10)), layers.1 (ReLU()) and layers.2 (Linear(10, 10)) were called, but what they\n"
        "    returned is dropped: the model returns something else.\n"
        f"    at: test_diagnose.py:{f.line.number} in forward: layer(x)\n"
        "    fix: x = layer(x), so that each layer gets what the one before it returned"
    )


def test_a_loop_that_does_not_chain_where_shapes_do_not_fit() -> None:
    dropped, failed = nn.diagnose(Unchained(20), x(1, 10))
    assert dropped.kind == "output dropped" and "so that layers.2 (Linear(20, 10)) was given what came before them" in dropped.text
    assert failed.kind == "error" and "expected an input (..., 20)" in failed.text and "layers.2" in failed.text
    assert failed.line == dropped.line


# ---- tables
def one_dropped(m: Any, x: Any) -> Any:
    x, _y = x + 1, m.b(m.a(x))  # y is forgotten
    return m.c(x)


def bare_sequential(m: Any, x: Any) -> Any:
    m.a(x)  # a Sequential
    return m.b(x)


def detached(m: Any, x: Any) -> Any:
    return m.b(m.a(x).detach())  # detach


def data(m: Any, x: Any) -> Any:
    return m.b(m.a(x).data)  # data


def without_grad(m: Any, x: Any) -> Any:
    with jg.no_grad():
        x = m.a(x)  # no_grad
    return m.b(x)


def by_argmax(m: Any, x: Any) -> Any:
    chosen = m.a(x).argmax(1)  # argmax
    return m.b(x) * chosen.reshape(-1, 1)


def by_comparison(m: Any, x: Any) -> Any:
    mask = m.a(x) > 0  # comparison
    return m.b(x) * mask


def by_int(m: Any, x: Any) -> Any:
    return m.b(m.a(x).long().float() + x)  # cast


def by_numpy(m: Any, x: Any) -> Any:
    h = m.a(x).detach()
    return m.b(jg.tensor(np.tanh(h.numpy())) + x)  # numpy


def by_item(m: Any, x: Any) -> Any:
    if m.a(x).sum().item() > 1e9:  # item
        x = x * 2
    return m.b(x)


def by_sign(m: Any, x: Any) -> Any:
    return m.b(jg.sign(m.a(x)))  # sign


def two_heads(m: Any, x: Any) -> Any:
    return {"out": m.a(x), "aux": m.b(x)}


def unused_product(m: Any, x: Any) -> Any:
    m.scale * x  # nothing takes it
    return m.a(x)


class NoGradient(jg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, w: Any) -> Any:
        return x * w

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g, None


def silent(m: Any, x: Any) -> Any:
    return NoGradient.apply(m.a(x), m.scale)  # silent


def through_log(m: Any, x: Any) -> Any:
    y = m.a(x)
    y = jg.log(y - 100)  # log
    return m.b(y)


def through_exp(m: Any, x: Any) -> Any:
    y = jg.exp(m.a(x) * 0 + 200)  # exp
    return y - y


def whole_row_masked(m: Any, x: Any) -> Any:
    mask = jg.ones(4, dtype=jg.bool)
    y = jg.where(mask, float("-inf"), m.a(x))
    return jg.softmax(y, 1)  # softmax


def root_of_zero(m: Any, x: Any) -> Any:
    y = m.a(x)
    return jg.sqrt(y - y) + y  # sqrt


def direct(m: Any, x: Any) -> Any:
    return F.linear(m.a.forward(x), m.b.weight)  # direct


def widened(m: Any, x: Any) -> Any:
    y = m.a(x).double()  # cast here
    return m.b(y)


def dead(bias: float) -> nn.Linear:
    layer = fc(4, 16)
    with jg.no_grad():
        layer.bias.fill_(bias)  # type: ignore[union-attr]
    return layer


def half_dead() -> nn.Linear:
    layer = fc(4, 16)
    with jg.no_grad():
        layer.bias[:9] = -100.0  # type: ignore[index]
    return layer


def with_nan() -> nn.Linear:
    layer = fc()
    with jg.no_grad():
        layer.weight[0, 0] = float("nan")
    return layer


def frozen(m: Any) -> Any:
    return m.requires_grad_(False)


def loop(m: Any, x: Any) -> Any:
    for layer in m.layers:
        x = layer(x)
    return x


shared = fc()
hidden_model = lambda parts: Net(loop, layers=parts)
C = nn.CrossEntropyLoss()
labels = jg.tensor([0, 1, 2, 3])

# (name, model, args, loss, kind, severity, path, words of the text, words of the line, words of the fix)
FINDS: list[tuple[str, Any, Any, Any, str, str, str, str, str, str]] = [
    ("never called", lambda: Net(lambda m, x: m.a(x), a=fc(), b=fc(4, 2)), (x(2, 4),), None,
     "never called", "warning", "b", "b (Linear(4, 2)) was never called: its 10 parameters do nothing", "",
     "call self.b(...) in the forward of Net, or remove it"),
    ("several in a list", lambda: Net(lambda m, x: m.a[0](x), a=nn.ModuleList([fc(), fc(), fc()])), (x(2, 4),), None,
     "never called", "warning", "a.1 and a.2", "their 40 parameters", "", "self.a[1]"),
    ("in blocks", lambda: nn.Sequential(*[Net(lambda m, x: m.a(x), a=fc(), b=fc()) for _ in range(2)]), (x(2, 4),), None,
     "never called", "warning", "0.b and 1.b", "their 40 parameters do nothing", "", "call self.b(...) in the forward of Net"),
    ("a block", lambda: Net(lambda m, x: m.a(x), a=fc(), b=nn.Sequential(fc(), nn.ReLU())), (x(2, 4),), None,
     "never called", "warning", "b", "b (Sequential) was never called", "", "self.b"),
    ("without parameters", lambda: Net(lambda m, x: m.a(x), a=fc(), act=nn.ReLU()), (x(2, 4),), None,
     "never called", "note", "act", "act (ReLU()) was never called, and has no parameters", "", ""),
    ("forward called directly", lambda: Net(direct, a=fc(), b=fc(bias=False)), (x(2, 4),), None,
     "never called", "note", "a", "hooks on it do not run", "# direct", "self.a(...)"),
    ("tied and not called", lambda: tied(called=False), (labels,), None,
     "never called", "note", "out", "tied to those of emb", "", ""),
    ("dropped", lambda: Net(one_dropped, a=fc(), b=fc(), c=fc()), (x(2, 4),), None,
     "output dropped", "warning", "b", "b (Linear(4, 4)) was called, but what it returned never reached the result. a leads only there",
     "# y is forgotten", "use what it returns"),
    ("dropped inside", lambda: nn.Sequential(fc(), Net(one_dropped, a=fc(), b=fc(), c=fc())), (x(2, 4),), square,
     "output dropped", "warning", "1.b", "1.a leads only there", "# y is forgotten", ""),
    ("running statistics are no use of it", lambda: Net(one_dropped, a=fc(), b=nn.BatchNorm1d(4), c=fc()), (x(8, 4),), None,
     "output dropped", "warning", "b", "b (BatchNorm1d(4)) was called, but what it returned never reached the result. a leads only there",
     "# y is forgotten", ""),
    ("a Sequential dropped", lambda: Net(bare_sequential, a=nn.Sequential(fc(), nn.ReLU()), b=fc()), (x(2, 4),), None,
     "output dropped", "error", "a", "a (Sequential) was called, but what it returned is dropped", "# a Sequential", "x = m.a(x)"),
    ("no return", lambda: Net(lambda m, x: setattr(m, "y", m.a(x)), a=fc()), (x(2, 4),), None,
     "output dropped", "error", "", "forward of Net returned None", "", "return"),
    ("no return, and a loss", lambda: Net(lambda m, x: None, a=fc()), (x(2, 4),), square,
     "output dropped", "error", "", "forward of Net returned None", "", "return"),
    ("detach", lambda: Net(detached, a=fc(), b=fc()), (x(2, 4),), square,
     "no gradient", "warning", "a (weight, bias)", "detach() cuts", "# detach", "leave out detach()"),
    (".data", lambda: Net(data, a=fc(), b=fc()), (x(2, 4),), square,
     "no gradient", "warning", "a (weight, bias)", "detach() cuts", "# data", ".data"),
    ("no_grad", lambda: Net(without_grad, a=fc(), b=fc()), (x(2, 4),), square,
     "no gradient", "warning", "a (weight, bias)", "linear in a (Linear(4, 4)) ran under no_grad()", "# no_grad", "no_grad"),
    ("argmax", lambda: Net(by_argmax, a=fc(), b=fc()), (x(2, 4),), square,
     "no gradient", "warning", "a (weight, bias)", "argmax has no gradient", "# argmax", "argmax"),
    ("comparison", lambda: Net(by_comparison, a=fc(), b=fc()), (x(2, 4),), None,
     "no gradient", "warning", "a (weight, bias)", "gt has no gradient", "# comparison", ""),
    ("cast to int", lambda: Net(by_int, a=fc(), b=fc()), (x(2, 4),), None,
     "no gradient", "warning", "a (weight, bias)", "a cast to int64 ends the gradient", "# cast", "floats"),
    ("numpy", lambda: Net(by_numpy, a=fc(), b=fc()), (x(2, 4),), None,
     "no gradient", "warning", "a (weight, bias)", "plain numbers", "# numpy", ""),
    ("item", lambda: Net(by_item, a=fc(), b=fc()), (x(2, 4),), None,
     "no gradient", "warning", "a (weight, bias)", "plain numbers", "# item", ""),
    ("unused by the loss", lambda: Net(two_heads, a=fc(), b=fc()), (x(2, 4),), lambda y: square(y["out"]),
     "no gradient", "warning", "b (weight, bias)", "the loss does not use that", "", "freeze"),
    ("never used", lambda: Net(lambda m, x: m.a(x), a=fc(), scale=nn.Parameter(jg.ones(4))), (x(2, 4),), None,
     "no gradient", "warning", "scale", "scale has no gradient: never used", "", "use it in forward"),
    ("dead end", lambda: Net(unused_product, a=fc(), scale=nn.Parameter(jg.ones(4))), (x(2, 4),), None,
     "no gradient", "warning", "scale", "ends in mul and reaches no output", "# nothing takes it", ""),
    ("a rule without gradient", lambda: Net(silent, a=fc(), scale=nn.Parameter(jg.ones(4))), (x(2, 4),), None,
     "no gradient", "warning", "scale", "the backward of NoGradient gives none", "# silent", "return a gradient"),
    ("frozen", lambda: Net(lambda m, x: m.b(m.a(x)), a=frozen(nn.Sequential(fc(), fc())), b=fc()), (x(2, 4),), None,
     "frozen", "note", "a", "frozen: a (40 parameters)", "", ""),
    ("zero by sign", lambda: Net(by_sign, a=fc(), b=fc()), (x(2, 4),), None,
     "zero gradient", "warning", "a (weight, bias)", "sign is flat", "# sign", "smooth"),
    ("zero by zero weights", lambda: Net(lambda m, x: x + F.linear(m.a(x), m.w), a=fc(), w=nn.Parameter(jg.zeros(4, 4))), (x(2, 4),), None,
     "zero gradient", "note", "a (weight, bias)", "linear multiplies by weights that are all 0", "", ""),
    ("zero by a tiny dead relu", lambda: nn.Sequential(dead(-100), nn.ReLU(), fc(16, 2)), (x(1, 4),), None,
     "zero gradient", "note", "0 (weight, bias)", "relu in 1 (ReLU()) is 0 for this whole batch", "", "larger batch"),
    ("a plain list", lambda: hidden_model([fc(), fc()]), (x(2, 4),), None,
     "hidden", "error", "layers", "layers of Net is a plain list with 2 Modules", "", "use nn.ModuleList(...)"),
    ("[layer] * 3", lambda: Net(loop, layers=nn.ModuleList([shared] * 3)), (x(2, 4),), None,
     "shared", "warning", "layers.0, layers.1 and layers.2", "one and the same Linear(4, 4), 3 times in the ModuleList layers", "",
     "repeat(3)"),
    ("twice in a dict", lambda: Net(lambda m, x: m.d["a"](x) + m.d["b"](x), d=nn.ModuleDict({"a": shared, "b": shared})), (x(2, 4),), None,
     "shared", "warning", "d.a and d.b", "2 times in the ModuleDict d", "", "deepcopy"),
    ("at two places", lambda: Net(lambda m, x: m.b(m.a(x)), a=nn.Sequential(shared), b=shared), (x(2, 4),), None,
     "shared", "note", "a.0 and b", "are one Linear(4, 4)", "", ""),
    ("two names", lambda: Net(lambda m, x: m.b(m.a(x)), a=shared, b=shared), (x(2, 4),), None,
     "shared", "note", "a and b", "are one Linear(4, 4)", "", ""),
    ("tied", lambda: tied(called=True), (labels,), None,
     "shared", "note", "emb.weight and out.weight", "tied weights", "", ""),
    ("float64 input", lambda: nn.Sequential(fc(), nn.ReLU()), (x(2, 4).double(),), None,
     "dtype", "error", "0", "0 (Linear(4, 4)) has float32 weights and was given an input (2, 4) float64, as the model itself was",
     "", "model(x.to(jg.float32)), or model.to(jg.float64)"),
    ("int input", lambda: nn.Sequential(fc()), (jg.ones(2, 4, dtype=jg.int64),), None,
     "dtype", "error", "0", "given an input (2, 4) int64", "", "model(x.to(jg.float32))"),
    ("floats for labels", lambda: nn.Sequential(nn.Embedding(5, 4)), (jg.zeros(2, dtype=jg.float64),), None,
     "error", "error", "0", "float64", "", ""),
    ("float64 on the way", lambda: Net(widened, a=fc(), b=fc()), (x(2, 4),), None,
     "dtype", "error", "b", "float64, made by a cast at test_diagnose.py", "return m.b(y)", "x.to(jg.float32)"),
    ("float64 where it was not reached", lambda: Net(lambda m, x: m.a(x), a=nn.Sequential(fc(), fc()), b=fc().double()), (x(2, 4),), None,
     "dtype", "warning", "b.weight and b.bias", "float64, where the model's other parameters are float32, and layers do not promote", "",
     "model.to(jg.float32)"),
    ("float64 between casts", lambda: Net(lambda m, x: m.b(m.a(x).double()).float(), a=nn.Sequential(fc(), fc()), b=fc().double()),
     (x(2, 4),), None, "dtype", "note", "b.weight and b.bias", "forward casts between them", "", ""),
    ("nan", lambda: Net(through_log, a=fc(), b=fc()), (x(2, 4),), None,
     "not finite", "error", "", "log made the first NaN, of finite inputs; it reaches the result", "# log", "small number"),
    ("inf that becomes nan", lambda: Net(through_exp, a=fc()), (x(2, 4),), None,
     "not finite", "error", "", "exp made the first inf, of finite inputs", "# exp", "maximum"),
    ("masked out whole", lambda: Net(whole_row_masked, a=fc()), (x(2, 4),), None,
     "not finite", "error", "", "softmax made the first NaN, of an input that holds infinity", "# softmax", "masked out whole"),
    ("nan in the loss", lambda: fc(), (x(2, 4),), lambda y: jg.log(y - 100).mean(),
     "not finite", "error", "", "log in the loss made the first NaN, of finite inputs; it reaches the loss", "log(y - 100)", ""),
    ("nan in the input", lambda: fc(), (x(2, 4) * float("nan"),), None,
     "not finite", "error", "", "the input holds NaN, and so does the result", "", "data"),
    ("nan in a parameter", lambda: nn.Sequential(fc(), with_nan()), (x(2, 4),), None,
     "not finite", "error", "1.weight", "1.weight holds NaN before the model runs", "", "reset_parameters"),
    ("nan on the way back", lambda: Net(root_of_zero, a=fc()), (x(2, 4),), None,
     "not finite", "error", "a.weight and a.bias", "values forward are finite: the backward of sqrt made it", "# sqrt", "small number"),
    ("dead relu", lambda: nn.Sequential(dead(-100), nn.ReLU(), fc(16, 2)), (x(64, 4),), None,
     "dead relu", "warning", "1", "relu in 1 (ReLU()): all units are 0 for the whole batch (64 values each)", "", "LeakyReLU"),
    ("half dead", lambda: nn.Sequential(half_dead(), nn.ReLU(), fc(16, 2)), (x(64, 4),), None,
     "dead relu", "warning", "1", "9 of 16 units are 0", "", ""),
    ("the input is ignored", lambda: Net(lambda m, x: m.a(jg.ones(2, 4)), a=fc()), (x(2, 4),), None,
     "constant", "warning", "", "does not depend on the input", "", ""),
    ("softmax before cross entropy", lambda: nn.Sequential(fc(), nn.Softmax(1)), (x(4, 4),), lambda y: C(y, labels),
     "softmax", "note", "1", "was given the output of softmax in 1", "", "leave out"),
    ("an error", lambda: nn.Sequential(fc(), fc(5, 2)), (x(2, 4),), None,
     "error", "error", "1", "1 (Linear(5, 2)) of Sequential, input (2, 4) float32", "", ""),
    ("a mistake in forward", lambda: Net(lambda m, x: m.a(x).no_such_thing, a=fc()), (x(2, 4),), None,
     "error", "error", "", "forward failed: AttributeError", "no_such_thing", ""),
    ("no input", lambda: fc(), (), None, "error", "error", "", "forward failed: TypeError", "", ""),
    ("a list that is called", lambda: nn.ModuleList([fc()]), (x(2, 4),), None,
     "error", "error", "", "ModuleList", "", ""),
    ("one value per channel", lambda: nn.Sequential(fc(), nn.BatchNorm1d(4)), (x(1, 4),), None,
     "error", "error", "1", "more than 1 value per channel", "", "larger batch"),
    ("a loss that raises", lambda: fc(), (x(2, 4),), lambda y: y["out"], "error", "error", "", "loss failed:", 'y["out"]', ""),
    ("a loss that is no Tensor", lambda: fc(), (x(2, 4),), lambda y: y.sum().item(),
     "error", "error", "", "returned a float", "", "item()"),
    ("a loss of many numbers", lambda: fc(), (x(2, 4),), lambda y: y * y, "error", "error", "", "of shape (2, 4)", "", "mean()"),
    ("an error in backward", lambda: Net(lambda m, x: (h := jg.exp(m.a(x)), h.add_(1))[0], a=fc()), (x(2, 4),), None,
     "error", "error", "", "backward failed: backward of exp: a tensor that it kept was overwritten", "", ""),
]  # fmt: skip


def tied(called: bool) -> nn.Module:
    def forward(m: Any, i: Any) -> Any:
        h = m.emb(i)
        return m.out(h) if called else F.linear(h, m.emb.weight)

    model = Net(forward, emb=nn.Embedding(5, 4), out=nn.Linear(4, 5, bias=False))
    model.out.weight = model.emb.weight
    return model


@pytest.mark.parametrize("case", FINDS, ids=lambda c: c[0])
def test_finds(case: Any) -> None:
    _, make, args, loss, kind, severity, path, text, line, fix = case
    report = nn.diagnose(make(), *args, loss=loss)
    of_kind = report.of_kind(kind)
    assert of_kind, report
    f = of_kind[0]
    assert (f.severity, f.path) == (severity, path), report
    assert text in f.text, report
    assert fix in f.fix and (f.fix or severity == "note" or kind == "error"), report
    if line:
        assert f.line is not None and line in f.line.text, report
    else:
        assert f.line is None or kind in ("error", "dtype", "zero gradient")
    assert report.ok is (severity == "note" and all(g.severity == "note" for g in report))
    # What one finding explains is not said again by another.
    beside = {"error", "warning"} & {g.severity for g in report if g.kind not in (kind, "never called")}
    assert not beside, report


# ---- healthy models: nothing, or notes of these kinds only
class Block(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c)
        self.conv2, self.bn2 = nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c)
        self.act = nn.ReLU(inplace=True)
        self.skip = nn.Identity()

    def forward(self, x: Any) -> Any:
        y = self.act(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.skip(x)
        return self.act(y)


@dataclass
class Outputs:
    logits: Any
    features: Any
    nothing: Any = None


Pair = namedtuple("Pair", "a b")


class Plain:
    def __init__(self, y: Any) -> None:
        self.y = y


class Slots:
    __slots__ = ("y",)

    def __init__(self, y: Any) -> None:
        self.y = y


class Square(jg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return g * 2 * x


def attention(m: Any, x: Any) -> Any:
    _, T, D = x.shape
    q, k, v = (f(x) for f in (m.q, m.k, m.v))
    weights = q @ k.transpose(1, 2) / D**0.5
    mask = jg.tensor(np.triu(np.ones((T, T), bool), 1))
    m.weights = jg.softmax(jg.where(mask, float("-inf"), weights), -1)  # kept as an attribute
    return m.norm(x + m.out(m.drop(m.weights @ v)))


def in_place(m: Any, x: Any) -> Any:
    out = jg.zeros(2, 8)
    out[:, :4] = m.a(x)
    out[:, 4:].copy_(m.b(x))
    return out


def by_views(m: Any, x: Any) -> Any:
    h = m.a(x).reshape(2, 2, 2).transpose(0, 1)
    return m.b(h.transpose(0, 1)[:, :, :].flatten(1))


def remembers(m: Any, x: Any) -> Any:
    m.memory.copy_(m.a(x).detach().mean(0))
    m.aux_loss = m.b(x).mean()
    return m.c(x)


def gradient_of_energy(m: Any, x: Any) -> Any:
    x = x.detach().requires_grad_()
    energy = m.out(jg.tanh(m.a(x))).sum()
    (force,) = jg.autograd.grad(energy, x, create_graph=True)
    return force


def says_nothing(m: Any, x: Any) -> Any:
    m.silent(x)
    return m.a(x)


def reads(m: Any, x: Any) -> Any:
    with jg.no_grad():
        good = m.a(x).abs().max().item() < 1e9
    return m.a(x) if good else m.a(x) * 0


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), Block(4), nn.Dropout(0.1), nn.Identity(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 4)
    )


def attentive() -> nn.Module:
    return Net(attention, **{name: fc() for name in ("q", "k", "v", "out")}, norm=nn.LayerNorm(4), drop=nn.Dropout(0.1))


def nested() -> nn.Module:
    def forward(m: Any, x: Any) -> Any:
        for row in m.rows:
            x = x + sum(row[name](x) for name in row)
        return x

    return Net(forward, rows=nn.ModuleList([nn.ModuleDict({"a": fc(), "b": nn.Sequential(fc(), nn.Tanh())}) for _ in range(2)]))


def hooked() -> nn.Module:
    model = nn.Sequential(fc(), nn.Identity(), nn.Tanh(), fc())
    for m in model.modules():
        m.register_full_backward_hook(lambda module, into, out: None)
        m.register_forward_hook(lambda module, args, output: output * 2)
        m.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    return model


def registered_bank() -> nn.Module:
    model = Net(remembers, a=frozen(fc()), b=fc(), c=fc())
    model.register_buffer("memory", jg.zeros(4))
    return model


IMAGE = (x(4, 3, 8, 8),)
V = (x(2, 4),)
HEALTHY: dict[str, tuple[Any, Any, Any, set[str]]] = {
    "cnn": (cnn, IMAGE, lambda y: C(y, labels), set()),
    "cnn in eval": (lambda: cnn().eval(), IMAGE, None, set()),
    "transformer": (attentive, (x(2, 3, 4),), None, set()),
    "tied": (lambda: tied(True), (labels,), None, {"shared"}),
    "dict": (lambda: Net(two_heads, a=fc(), b=fc()), V, None, set()),
    "dataclass": (lambda: Net(lambda m, x: Outputs(m.a(x), [m.b(x)]), a=fc(), b=fc()), V, None, set()),
    "tuple": (lambda: Net(lambda m, x: (m.a(x), (m.b(x), 3)), a=fc(), b=fc()), V, lambda y: square(y[0]) + square(y[1][0]), set()),
    "named tuple": (lambda: Net(lambda m, x: Pair(m.a(x), m.b(x)), a=fc(), b=fc()), V, None, set()),
    "object": (lambda: Net(lambda m, x: Plain(m.a(x)), a=fc()), V, None, set()),
    "object with slots": (lambda: Net(lambda m, x: Slots(m.a(x)), a=fc()), V, None, set()),
    "generator and loss": (lambda: Net(lambda m, x: (f(x) for f in (m.a, m.b)), a=fc(), b=fc()), V, lambda y: sum(map(square, y)), set()),
    "frozen backbone": (lambda: Net(without_grad, a=frozen(fc()), b=fc()), V, square, {"frozen"}),
    "generator": (lambda: Net(lambda m, x: (f(x) for f in (m.a, m.b)), a=fc(), b=fc()), V, None, {"not followed"}),
    "only in training": (lambda: Net(lambda m, x: m.a(x) if not m.training else m.b(x), a=fc(), b=fc()).eval(), V, None, {"never called"}),
    "straight through": (lambda: Net(lambda m, x: (h := m.a(x)) + (jg.round(h) - h).detach(), a=fc()), V, square, set()),
    "with hooks": (hooked, V, square, set()),
    "in place": (lambda: Net(in_place, a=fc(), b=fc()), V, square, set()),
    "views": (lambda: Net(by_views, a=fc(), b=fc()), V, square, set()),
    "called twice, dropped once": (lambda: Net(lambda m, x: (m.a(x), m.a(x + 1))[1], a=fc()), V, None, set()),
    "nested lists and dicts": (nested, V, square, set()),
    "Sequential walked": (lambda: Net(loop, layers=nn.Sequential(fc(), nn.Tanh(), fc())), V, square, set()),
    "a ModuleList in a Sequential": (lambda: nn.Sequential(nn.ModuleList([fc(), nn.Tanh()]), fc()), V, None, set()),
    "Function": (lambda: Net(lambda m, x: m.b(Square.apply(m.a(x))), a=fc(), b=fc()), V, square, set()),
    "submodule that returns None": (
        lambda: Net(says_nothing, a=fc(), silent=Net(lambda m, x: None)), V, square, set()),
    "buffer and attribute": (registered_bank, V, square, {"frozen", "no gradient"}),
    "forces": (lambda: Net(gradient_of_energy, a=fc(bias=False), out=fc(4, 1, bias=False)), V, square, set()),
    "read by Python": (lambda: Net(reads, a=fc()), V, None, set()),
    "softmax without a loss": (lambda: nn.Sequential(fc(), nn.Softmax(1)), V, None, set()),
    "norm without a loss": (lambda: nn.Sequential(fc(), nn.LayerNorm(4)), (x(8, 4),), None, set()),
    "log_softmax before cross entropy": (lambda: nn.Sequential(fc(), nn.LogSoftmax(1)), (x(4, 4),), lambda y: C(y, labels), set()),
    "bias before a norm": (lambda: nn.Sequential(fc(), nn.BatchNorm1d(4), nn.ReLU(), fc()), (x(64, 4),), square, set()),
    "masked logits": (
        lambda: Net(lambda m, x: jg.where(x > 1, float("-inf"), m.a(x)), a=fc()), V, lambda y: jg.exp(y).mean(), set()),
    "zeros as a batch": (lambda: nn.Sequential(fc(4, 16), nn.ReLU(), fc(16, 2)), (jg.zeros(64, 4),), square, set()),
    "one row as a batch": (lambda: nn.Sequential(fc(4, 16), nn.ReLU(), fc(16, 2)), (x(1, 4).expand(64, 4),), square, set()),
    "a few dead units": (lambda: nn.Sequential(fc(4, 16), nn.ReLU(), fc(16, 2)), (x(64, 4),), square, set()),
    "parameter lists": (
        lambda: Net(lambda m, x: x @ m.w[0] + m.d["b"], w=nn.ParameterList([nn.Parameter(x(4, 4))]), d=nn.ParameterDict({"b": jg.ones(4)})),
        V, square, set()),
    "activation shared": (lambda: (lambda act: nn.Sequential(fc(), act, fc(), act))(nn.Tanh()), V, square, set()),
    "repeat": (lambda: nn.Sequential(fc(), nn.Tanh()).repeat(3, mode="copy"), V, square, set()),
    "no parameters": (lambda: nn.Sequential(nn.ReLU(), nn.Flatten()), (x(64, 4),), None, set()),
    "plain list of numbers and of the parent": (lambda: with_parent(), V, None, set()),
    "no tensors": (lambda: Net(lambda m, n: n + 1), (3,), None, set()),
    "keyword": (lambda: Net(lambda m, x, *, scale: m.a(x) * scale, a=fc()), V, None, set()),
    "float16 as a result": (lambda: Net(lambda m, x: m.a(x).half(), a=fc()), V, None, set()),
    "all frozen": (lambda: frozen(nn.Sequential(fc(), fc())), V, square, {"frozen"}),
}  # fmt: skip


def with_parent() -> nn.Module:
    model = Net(lambda m, x: m.a(x), a=fc())
    model.a.__dict__["parents"] = [model, 3]
    return model


@pytest.mark.parametrize("name", HEALTHY)
def test_leaves_healthy_models_in_peace(name: str) -> None:
    make, args, loss, notes = HEALTHY[name]
    kwargs = {"scale": 2.0} if name == "keyword" else {}
    report = nn.diagnose(make(), *args, loss=loss, **kwargs)
    assert report.ok and {f.kind for f in report} == notes, report


# ---- the model afterwards
def test_the_model_is_afterwards_as_it_was() -> None:
    def forward(m: Any, x: Any) -> Any:
        m.seen = x
        m.log.append(x)
        with jg.no_grad():
            m.fc.bias.add_(1)
        m.fc.weight.data.mul_(2)
        m.bn.bias.data = jg.ones(4)
        return m.plain[0](m.drop(m.bn(m.fc(x))))

    model = Net(forward, fc=fc(), bn=nn.BatchNorm1d(4), drop=nn.Dropout(0.5), plain=[nn.BatchNorm1d(4)], log=[])
    model.fc.weight.grad = jg.ones(4, 4)
    given = x(8, 4).requires_grad_()
    jg.manual_seed(3)
    parts = (model, model.plain[0])
    parameters = [p for m in parts for _, p in m._named("_parameters", "", True, True)]
    everything = lambda: [t.tolist() for t in (*parameters, *(b for m in parts for b in m.buffers()))]
    before, grads = everything(), [p.grad for p in parameters]
    with jg.no_grad():
        report = nn.diagnose(model, given)
        assert not jg.is_grad_enabled()
    assert [f.kind for f in report] == ["hidden"]
    assert everything() == before
    assert all(p.grad is g for p, g in zip(parameters, grads, strict=True))
    assert model.log == [] and given.grad is None and not hasattr(model, "seen") and jg.get_rng_state().tolist() == [3, 0]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_what_the_report_names_is_not_warned_of_again() -> None:
    model = hidden_model([fc()])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.diagnose(model, *V)
        list(model.parameters())


def test_findings_before_the_error_are_there() -> None:
    model = Net(lambda m, x: m.b(m.layers[0](x)), layers=[fc()], b=fc(5, 2), w=nn.ModuleList([shared] * 2))
    assert [f.kind for f in nn.diagnose(model, *V)] == ["hidden", "error", "shared"]


def test_values_that_are_taken_are_not_told_dropped_when_forward_fails() -> None:
    kept: list[Any] = []

    def forward(m: Any, x: Any) -> Any:
        kept.append(m.a(x))
        m.y = m.a(x)
        m.b(x)

    model = Net(forward, a=nn.Sequential(fc()), b=nn.Sequential(fc(), fc(5, 5)))
    dropped, failed = nn.diagnose(model, *V)
    assert (dropped.path, failed.path) == ("b", "b.1")
    assert dropped.text == "what b (Sequential) returns is dropped."


def test_the_line_that_calls_diagnose_is_no_line_of_the_model() -> None:
    report = nn.diagnose(nn.Sequential(fc(), fc(5, 5)), *V)
    assert [(f.kind, f.line) for f in report] == [("error", None)]
    report = nn.diagnose(nn.Sequential(dead(-100), nn.ReLU(), fc(16, 2)), x(64, 4))
    assert [(f.kind, f.line) for f in report] == [("dead relu", None)]


def test_interrupts_are_not_findings() -> None:
    def stop(m: Any, x: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nn.diagnose(Net(stop), *V)


@pytest.mark.parametrize(("args", "kwargs"), [((3,), {}), ((fc, x(2, 4)), {}), ((Net(square),), {"loss": 3})])
def test_misuse(args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError, match="diagnose: "):
        nn.diagnose(*args, **kwargs)


# ---- the report
def test_a_report_reads_well() -> None:
    report = nn.diagnose(nn.Sequential(OrderedDict(a=fc(), b=nn.ReLU())), *V)
    assert repr(report) == "diagnose(Sequential): nothing wrong found (3 module calls, gradients for 2 of 2 parameters)"
    assert len(report) == 0 and list(report) == [] and report.ok
    with pytest.raises(TypeError, match=r"report\.ok"):
        bool(report)


def test_the_worst_comes_first_and_many_are_cut() -> None:
    findings = [Finding("frozen", "note", "p", f"note {i}") for i in range(30)] + [Finding("dtype", "error", "q", "wrong", fix="mend it")]
    report = Report("Net", findings, "facts")
    assert report[0].severity == "error" and not report.ok
    lines = str(report).splitlines()
    assert lines[0] == "diagnose(Net): 1 error, 30 notes (facts)"
    assert lines[2:4] == ["error: wrong", "    fix: mend it"]
    assert lines[-1] == "... and 18 more notes in report.findings"
    assert len(pickle.loads(pickle.dumps(report)).findings) == 31


def test_html_is_escaped_and_says_the_severity() -> None:
    html = Report("Net", [Finding("error", "error", "p", "a < b\n    in c", fix="<script>")], "facts")._repr_html_()
    assert "a &lt; b" in html and "<script>" not in html and ">error<" in html and "&lt;script&gt;" in html
    assert "nothing wrong found" in Report("Net", [], "facts")._repr_html_()
    assert "a &lt; b" in Finding("error", "error", "p", "a < b")._repr_html_()


def test_listeners_hear_where_values_leave() -> None:
    class Reads(jg.autograd.Listener):
        def __init__(self) -> None:
            self.shapes: list[Any] = []

        def read(self, tensor: Any) -> None:
            self.shapes.append(tensor.shape)

    with Reads() as outer, Reads() as inner:
        bool(jg.ones(()) > 0)
        jg.ones(2).tolist(), np.asarray(jg.ones(3)), jg.ones(4).numpy(), np.from_dlpack(jg.ones(5))
    assert outer.shapes == inner.shapes == [(), (2,), (3,), (4,), (5,)]
