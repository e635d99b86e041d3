"""Wrong models by what nn.diagnose is to find in them: one table, and the forwards of its models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import jitgrad as jg
from jitgrad import nn

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


def fc(a: int = 4, b: int = 4, scale: float = 0.5, **kwargs: Any) -> nn.Linear:
    layer = nn.Linear(a, b, **kwargs)
    draw = jg.Generator().manual_seed(a + 7 * b)
    with jg.no_grad():
        for p in layer.parameters():
            p.copy_(jg.randn(*p.shape, generator=draw) * scale)
    return layer


def square(y: Any) -> Any:
    return (y * y).mean()


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


def keeps(m: Any, x: Any) -> Any:
    m.features = m.a(x)  # keeps
    return x


def prints(m: Any, x: Any) -> Any:
    for layer in m.layers:
        y = layer(x)  # not chained
        str(y.mean().item())
    return x


def loop_without_grad(m: Any, x: Any) -> Any:
    with jg.no_grad():
        for block in m.blocks:
            x = block(x)  # blocks
    return m.head(x)


def backbone() -> nn.ModuleList[nn.Module]:
    return nn.ModuleList([Net(lambda m, x: m.norm(m.conv(x)), conv=fc(), norm=nn.BatchNorm1d(4)) for _ in range(15)])


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
     "never called", "warning", "b", "b (Linear(4, 2)) was never called: its 10 parameters were not used in this run", "",
     "call self.b(...) in the forward of Net, or remove it"),
    ("keys of a dict", lambda: Net(lambda m, x: m.a(x), a=fc(), d=nn.ModuleDict({"my key": fc(), "0": nn.Sequential(fc())})), (x(2, 4),),
     None, "never called", "warning", "d.my key", "its 20 parameters were not used in this run.", "",
     "call self.d['my key'](...) in the forward of Net, or remove it; one run shows one route: others may lead there"),
    ("digits as the key of a dict", lambda: Net(lambda m, x: m.a(x), a=fc(), d=nn.ModuleDict({"0": fc()})), (x(2, 4),), None,
     "never called", "warning", "d.0", "never called", "", "call self.d['0'](...)"),
    ("a name in a Sequential", lambda: Net(lambda m, x: m.a(x), a=fc(), d=nn.Sequential({"fc": fc(), "1": fc()})[:1]), (x(2, 4),), None,
     "never called", "warning", "d", "never called", "", "call self.d(...)"),
    ("several in a list", lambda: Net(lambda m, x: m.a[0](x), a=nn.ModuleList([fc(), fc(), fc()])), (x(2, 4),), None,
     "never called", "warning", "a.1 and a.2", "their 40 parameters", "", "self.a[1]"),
    ("in blocks", lambda: nn.Sequential(*[Net(lambda m, x: m.a(x), a=fc(), b=fc()) for _ in range(2)]), (x(2, 4),), None,
     "never called", "warning", "0.b and 1.b", "their 40 parameters were not used", "", "call self.b(...) in the forward of Net"),
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
     "output dropped", "warning", "1.b", "1.a leads only there", "# y is forgotten", "use what it returns in what forward returns"),
    ("running statistics are no use of it", lambda: Net(one_dropped, a=fc(), b=nn.BatchNorm1d(4), c=fc()), (x(8, 4),), None,
     "output dropped", "warning", "b", "b (BatchNorm1d(4)) was called, but what it returned never reached the result. a leads only there",
     "# y is forgotten", "or remove the call"),
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
     "no gradient", "warning", "a (weight, bias)", "no gradient: a (Linear(4, 4)) ran under no_grad()", "# no_grad", "no_grad"),
    ("no_grad around many blocks", lambda: Net(loop_without_grad, blocks=backbone(), head=fc()), (x(8, 4),), square,
     "no gradient", "warning", "blocks", "blocks has no gradient: blocks.0 (Net), blocks.1 (Net), blocks.2 (Net), blocks.3 (Net), "
     "blocks.4 (Net) and 10 more ran under no_grad().", "# blocks", "take it out of the no_grad() block"),
    ("no_grad on forward", lambda: nn.Sequential(Net(jg.no_grad()(loop), layers=nn.Sequential(fc(), fc()))), (x(2, 4),), square,
     "no gradient", "warning", "all of the model", "all of the model has no gradient: Sequential ran under no_grad().", "",
     "take its forward out of no_grad()"),
    ("no_grad in the loss", lambda: fc(), (x(2, 4),), jg.no_grad()(square),
     "no gradient", "warning", "weight, bias", "mul in the loss and mean in the loss ran under no_grad()", "(y * y).mean()", "no_grad"),
    ("an attribute is no use", lambda: Net(keeps, a=fc()), (x(2, 4),), square,
     "output dropped", "warning", "a", "a (Linear(4, 4)) was called, but what it returned is not used: the model returns something else. "
     "An attribute keeps it.", "# keeps", "use what it returns in what forward returns, or remove the call"),
    ("an attribute, for a loss that is not given", lambda: Net(keeps, a=fc()), (x(2, 4),), None,
     "output dropped", "warning", "a", "An attribute keeps it.", "# keeps", "pass that loss to diagnose"),
    ("a print is no use", lambda: Net(prints, layers=nn.ModuleList([fc(), nn.ReLU(), fc()])), (x(2, 4),), None,
     "output dropped", "warning", "layers.0, layers.1 and layers.2", "something else. Python only read numbers of it, by item()",
     "# not chained", "use what they return"),
    ("an attribute, and nothing has a gradient", lambda: Net(lambda m, x: (setattr(m, "y", x * m.w), x)[1], w=nn.Parameter(jg.ones(4))),
     (x(2, 4),), None, "no gradient", "warning", "w", "the model keeps what comes of it in an attribute", "", "add it to the loss"),
    ("by numpy alone", lambda: Net(lambda m, x: jg.tensor(m.a(x).detach().numpy()), a=fc()), (x(2, 4),), None,
     "no gradient", "warning", "all of the model", "plain numbers", "numpy()", "compute with jitgrad's operations"),
    ("argmax", lambda: Net(by_argmax, a=fc(), b=fc()), (x(2, 4),), square,
     "no gradient", "warning", "a (weight, bias)", "argmax has no gradient", "# argmax", "argmax"),
    ("comparison", lambda: Net(by_comparison, a=fc(), b=fc()), (x(2, 4),), None,
     "no gradient", "warning", "a (weight, bias)", "gt has no gradient", "# comparison", "in the place of gt"),
    ("cast to int", lambda: Net(by_int, a=fc(), b=fc()), (x(2, 4),), None,
     "no gradient", "warning", "a (weight, bias)", "a cast to int64 ends the gradient", "# cast", "floats"),
    ("numpy", lambda: Net(by_numpy, a=fc(), b=fc()), (x(2, 4),), None,
     "no gradient", "warning", "a (weight, bias)", "plain numbers", "# numpy", "compute with jitgrad's operations"),
    ("item", lambda: Net(by_item, a=fc(), b=fc()), (x(2, 4),), None,
     "no gradient", "warning", "a (weight, bias)", "plain numbers", "# item", "up to the loss"),
    ("unused by the loss", lambda: Net(two_heads, a=fc(), b=fc()), (x(2, 4),), lambda y: square(y["out"]),
     "no gradient", "warning", "b (weight, bias)", "the loss does not use that", "", "freeze"),
    ("never used", lambda: Net(lambda m, x: m.a(x), a=fc(), scale=nn.Parameter(jg.ones(4))), (x(2, 4),), None,
     "no gradient", "warning", "scale", "scale has no gradient: never used", "", "use it in forward"),
    ("dead end", lambda: Net(unused_product, a=fc(), scale=nn.Parameter(jg.ones(4))), (x(2, 4),), None,
     "no gradient", "warning", "scale", "ends in mul and reaches no output", "# nothing takes it", "use that result, or remove it"),
    ("a rule without gradient", lambda: Net(silent, a=fc(), scale=nn.Parameter(jg.ones(4))), (x(2, 4),), None,
     "no gradient", "warning", "scale", "the backward of NoGradient gives none", "# silent", "return a gradient"),
    ("frozen", lambda: Net(lambda m, x: m.b(m.a(x)), a=frozen(nn.Sequential(fc(), fc())), b=fc()), (x(2, 4),), None,
     "frozen", "note", "a", "frozen: a (40 parameters)", "", ""),
    ("zero by sign", lambda: Net(by_sign, a=fc(), b=fc()), (x(2, 4),), None,
     "zero gradient", "warning", "a (weight, bias)", "sign is flat", "# sign", "smooth"),
    ("a plain list", lambda: hidden_model([fc(), fc()]), (x(2, 4),), None,
     "hidden", "error", "layers", "layers of Net is a plain list with 2 Modules", "", "use nn.ModuleList(...)"),
    ("beside other things", lambda: Net(lambda m, x: m.layers[1](m.layers[2]["a"][0](x)), layers=[3, fc(), {"a": [fc()]}]), (x(2, 4),),
     None, "hidden", "error", "layers", "a plain list with 2 Modules", "", "use nn.ModuleList(...)"),
    ("a parameter in a dict", lambda: Net(lambda m, x: x * m.held["w"], held={"w": nn.Parameter(jg.ones(4))}), (x(2, 4),), None,
     "hidden", "error", "held", "held of Net is a plain dict with 1 Parameter", "", "use nn.ParameterDict(...)"),
    ("[layer] * 3", lambda: Net(loop, layers=nn.ModuleList([shared] * 3)), (x(2, 4),), None,
     "shared", "warning", "layers.0, layers.1 and layers.2", "one and the same Linear(4, 4), 3 times in the ModuleList layers", "",
     'repeat(3) makes layers with weights of their own; to share on purpose, call one layer several times, or say repeat(3, mode="share")'),
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
     "error", "error", "0", "float64", "", "try input.long()"),
    ("float64 on the way", lambda: Net(widened, a=fc(), b=fc()), (x(2, 4),), None,
     "dtype", "error", "b", "float64, made by a cast at diagnose_cases.py", "return m.b(y)", "x.to(jg.float32)"),
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
     "not finite", "error", "", "log in the loss made the first NaN, of finite inputs; it reaches the loss", "log(y - 100)",
     "add a small number before log"),
    ("nan in the input", lambda: fc(), (x(2, 4) * float("nan"),), None,
     "not finite", "error", "", "the input holds NaN, and so does the result", "", "data"),
    ("nan in a parameter", lambda: nn.Sequential(fc(), with_nan()), (x(2, 4),), None,
     "not finite", "error", "1.weight", "1.weight holds NaN before the model runs", "", "reset_parameters"),
    ("nan on the way back", lambda: Net(root_of_zero, a=fc()), (x(2, 4),), None,
     "not finite", "error", "a.weight and a.bias", "values forward are finite: the backward of sqrt made it", "# sqrt", "small number"),
    ("dead relu", lambda: nn.Sequential(dead(-100), nn.ReLU(), fc(16, 2)), (x(64, 4),), None,
     "dead relu", "warning", "1", "relu in 1 (ReLU()): all units are 0 for the whole batch (64 values each)", "", "LeakyReLU"),
    ("half dead", lambda: nn.Sequential(half_dead(), nn.ReLU(), fc(16, 2)), (x(64, 4),), None,
     "dead relu", "warning", "1", "9 of 16 units are 0", "", "LeakyReLU"),
    ("the input is ignored", lambda: Net(lambda m, x: m.a(jg.ones(2, 4)), a=fc()), (x(2, 4),), None,
     "constant", "warning", "", "does not depend on the input", "", "use the input in forward"),
    ("an error", lambda: nn.Sequential(fc(), fc(5, 2)), (x(2, 4),), None,
     "error", "error", "1", "1 (Linear(5, 2)) of Sequential, input (2, 4) float32", "", "give the layer in_features=4"),
    ("a mistake in forward", lambda: Net(lambda m, x: m.a(x).no_such_thing, a=fc()), (x(2, 4),), None,
     "error", "error", "", "forward failed: AttributeError", "no_such_thing", ""),
    ("no input", lambda: fc(), (), None, "error", "error", "", "forward failed: TypeError", "", ""),
    ("a list that is called", lambda: nn.ModuleList([fc()]), (x(2, 4),), None,
     "error", "error", "", "ModuleList", "", "loop over it"),
    ("one value per channel", lambda: nn.Sequential(fc(), nn.BatchNorm1d(4)), (x(1, 4),), None,
     "error", "error", "1", "more than 1 value per channel", "", "larger batch"),
    ("a loss that raises", lambda: fc(), (x(2, 4),), lambda y: y["out"], "error", "error", "", "loss failed:", 'y["out"]', ""),
    ("a loss that is no Tensor", lambda: fc(), (x(2, 4),), lambda y: y.sum().item(),
     "error", "error", "", "returned a float", "", "item()"),
    ("a loss of many numbers", lambda: fc(), (x(2, 4),), lambda y: y * y, "error", "error", "", "of shape (2, 4)", "", "mean()"),
]  # fmt: skip


def tied(called: bool) -> nn.Module:
    def forward(m: Any, i: Any) -> Any:
        h = m.emb(i)
        return m.out(h) if called else F.linear(h, m.emb.weight)

    model = Net(forward, emb=nn.Embedding(5, 4), out=nn.Linear(4, 5, bias=False))
    model.out.weight = model.emb.weight
    return model
