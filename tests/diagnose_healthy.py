"""Healthy models of every style, which nn.diagnose leaves in peace, and the notes that it may make about them."""

from __future__ import annotations

from collections import namedtuple
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnose_cases import C, Net, fc, frozen, labels, loop, square, tied, two_heads, without_grad, x
from diagnose_training_cases import B, zeros

import jitgrad as jg
from jitgrad import nn


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


given = x(8, 4).requires_grad_()
steps = jg.arange(16, dtype=jg.float32) / 8 - 1


def penalty(y: Any) -> Any:
    (g,) = jg.autograd.grad(y.sum(), given, create_graph=True)
    return (((g * g).sum(1) ** 0.5 - 1) ** 2).mean()


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


def begins_at_zero(m: Any, x: Any) -> Any:
    return x + m.b(jg.tanh(m.a(x)))


outside = fc()
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
    "forces": (lambda: Net(gradient_of_energy, a=fc(), out=fc(4, 1)), V, square, {"no gradient"}),
    "gradient penalty": (lambda: nn.Sequential(fc(), nn.Tanh(), fc(4, 1)), (given,), penalty, {"no gradient"}),
    "gradient penalty through a relu": (lambda: nn.Sequential(fc(4, 16), nn.ReLU(), fc(16, 1)), (given,), penalty, {"no gradient"}),
    "a hinge that is met": (lambda: nn.Sequential(fc(), fc(4, 1)), (x(64, 4),), lambda y: jg.relu(y * 1e-3 - 1).mean(), {"dead relu"}),
    "a hinge that a few meet": (lambda: nn.Sequential(fc(), fc(4, 16)), (x(64, 4),), lambda y: jg.relu(y - steps).mean(), set()),
    "a hinge of few values": (lambda: nn.Sequential(fc(), fc(4, 1)), V, lambda y: jg.relu(y * 1e-3 - 1).mean(), {"zero gradient"}),
    "read by Python": (lambda: Net(reads, a=fc()), V, None, set()),
    "softmax without a loss": (lambda: nn.Sequential(fc(), nn.Softmax(1)), V, None, set()),
    "norm without a loss": (lambda: nn.Sequential(fc(), nn.LayerNorm(4)), (x(8, 4),), None, set()),
    "log_softmax before nll_loss": (
        lambda: nn.Sequential(fc(), nn.LogSoftmax(1)), (x(4, 4),), lambda y: nn.functional.nll_loss(y, labels), set()),
    "softmax along other dims": (lambda: nn.Sequential(fc(), nn.Softmax(0)), (x(4, 4),), lambda y: C(y, labels), set()),
    "a scaled sigmoid as logits": (
        lambda: Net(lambda m, x: 8 * jg.sigmoid(m.a(x)) - 4, a=fc()), (x(4, 4),), lambda y: B(y, jg.ones(4, 4)), set()),
    "sigmoid before the loss of probabilities": (
        lambda: nn.Sequential(fc(), nn.Sigmoid()), (x(4, 4),), lambda y: -jg.log(y).mean(), set()),
    "a distribution and its log for a divergence": (
        lambda: fc(), (x(4, 4),), lambda y: (jg.softmax(y, 1) * (jg.log_softmax(y, 1) + 2)).mean(), set()),
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
    "repeat to share": (lambda: nn.Sequential(fc(), nn.Tanh()).repeat(3, mode="share"), V, square, {"shared"}),
    "a copy of what is shared": (lambda: deepcopy(nn.Sequential(fc()).repeat(3, mode="share"))[:2], V, square, {"shared"}),
    "repeat": (lambda: nn.Sequential(fc(), nn.Tanh()).repeat(3, mode="copy"), V, square, set()),
    "no parameters": (lambda: nn.Sequential(nn.ReLU(), nn.Flatten()), (x(64, 4),), None, set()),
    "plain list of numbers and of the parent": (lambda: with_parent(), V, None, set()),
    "no tensors": (lambda: Net(lambda m, n: n + 1), (3,), None, set()),
    "keyword": (lambda: Net(lambda m, x, *, scale: m.a(x) * scale, a=fc()), V, None, set()),
    "float16 as a result": (lambda: Net(lambda m, x: m.a(x).half(), a=fc()), V, None, set()),
    "five sigmoids": (lambda: nn.Sequential(*[nn.Sequential(fc(8, 8), nn.Sigmoid()) for _ in range(5)]), (x(16, 8),), square, set()),
    "a branch of little weight": (
        lambda: Net(lambda m, x: x + m.a(x) * 1e-9 + m.b(m.d(m.c(x))), a=fc(), b=fc(), c=fc(), d=fc()), V, square, set()),
    "large data and a large loss": (lambda: nn.Sequential(fc(), nn.ReLU(), fc()), (x(64, 4) * 1e6,), lambda y: (y * y).sum(), set()),
    "residual, 30 times": (
        lambda: nn.Sequential(*[Net(lambda m, x: x + m.a(x), a=nn.Sequential(fc(8, 8, scale=0.1), nn.Sigmoid())) for _ in range(30)]),
        (x(16, 8),), square, set()),
    "zeros at the end of branches": (lambda: nn.Sequential(fc(), *[Net(begins_at_zero, a=fc(), b=zeros()) for _ in range(3)]),
        (x(8, 4),), square, {"zero gradient"}),
    "a layer from outside": (lambda: Net(lambda m, x: nn.functional.linear(m.a(x), outside.weight.detach()), a=fc()), V, square, set()),
    "a constant made in forward": (
        lambda: Net(lambda m, x: m.a(x) * nn.Parameter(jg.ones(4), requires_grad=False), a=fc()), V, square, set()),
    "a loss with weights": (lambda: fc(), V, lambda y: square(outside(y)), set()),
    "dropout of nearly all": (lambda: nn.Sequential(fc(4, 64), nn.Dropout(0.9), fc(64, 4)), (x(64, 4),), square, set()),
    "a loss in evaluation mode": (lambda: nn.Sequential(fc(), nn.LayerNorm(4)).eval(), (x(8, 4),), square, set()),
    "all frozen": (lambda: frozen(nn.Sequential(fc(), fc())), V, square, {"frozen"}),
}  # fmt: skip


def with_parent() -> nn.Module:
    model = Net(lambda m, x: m.a(x), a=fc())
    model.a.__dict__["parents"] = [model, 3]
    return model
