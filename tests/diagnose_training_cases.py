"""Models that train badly or not at all, by what nn.diagnose is to find in them: the second half of the table of diagnose_cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diagnose_cases import C, Net, dead, fc, frozen, labels, square, x

import jitgrad as jg
from jitgrad import nn

F = nn.functional
B = F.binary_cross_entropy_with_logits


def overwrites(m: Any, x: Any) -> Any:
    y = jg.exp(x)
    y.add_(1)  # overwritten
    return y


def overwrites_a_row(m: Any, x: Any) -> Any:
    y = jg.sigmoid(x)
    y[0].mul_(2)  # a row
    return y


def makes(m: Any, x: Any) -> Any:
    layer = nn.Linear(4, 8)  # made here
    return layer(x)


def makes_once(m: Any, x: Any) -> Any:
    if not hasattr(m, "b"):
        m.b = nn.Linear(4, 4)  # once
    return m.b(m.a(x))


def zeros(**kwargs: Any) -> nn.Linear:
    layer = nn.Linear(4, 4, **kwargs)
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


class Broken(jg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 1

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * (1 / 0)  # no division


class Wrong(Broken):
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g.sum(0)


def repeated(n: int, layer: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(*[layer() for _ in range(n)])


# columns as in FINDS
TRAINS_BADLY: list[tuple[str, Any, Any, Any, str, str, str, str, str, str]] = [
    ("zero by zero weights", lambda: Net(lambda m, x: x + F.linear(m.a(x), m.w), a=fc(), w=nn.Parameter(jg.zeros(4, 4))), (x(2, 4),), None,
     "zero gradient", "note", "a (weight, bias)", "linear multiplies by w, which is all 0.", "", "draw w anew"),
    ("zero layers before a loss that pulls", lambda: nn.Sequential(zeros(), zeros(), zeros()), (x(4, 4),), lambda y: C(y, labels),
     "zero gradient", "warning", "0 (weight, bias) and 1 (weight, bias)", "multiplies by 2.weight, which is all 0, and stays so", "",
     "draw 2.weight anew"),
    ("a zero layer among others", lambda: nn.Sequential(fc(), zeros(), fc()), (x(8, 4),), square,
     "zero gradient", "note", "0 (weight, bias)", "linear in 1 (Linear(4, 4)) multiplies by 1.weight, which is all 0.", "",
     "draw 1.weight anew"),
    ("zero layers without biases", lambda: nn.Sequential(zeros(bias=False), zeros(bias=False)), (x(4, 4),), lambda y: C(y, labels),
     "zero gradient", "warning", "0.weight", "multiplies by 1.weight, which is all 0, and stays so", "", "draw 1.weight anew"),
    ("after a zero layer", lambda: nn.Sequential(frozen(zeros(bias=False)), fc(bias=False)), (x(4, 4),), lambda y: C(y, labels),
     "zero gradient", "warning", "1.weight", "multiplies by an input that is all 0, because 0.weight is.", "", "draw 0.weight anew"),
    ("a zero layer before a relu", lambda: nn.Sequential(fc(), zeros(), nn.ReLU(), fc()), (x(64, 4),), square,
     "zero gradient", "warning", "0 (weight, bias) and 1 (weight, bias)", "lets none through, because 1.weight is all 0", "",
     "draw 1.weight anew"),
    ("zero by a zero input", lambda: nn.Sequential(fc(bias=False), fc()), (jg.zeros(8, 4),), square,
     "zero gradient", "note", "0.weight", "linear in 0 (Linear(4, 4)) multiplies by an input that is all 0.", "", "try real data"),
    ("zero by a constant", lambda: Net(lambda m, x: m.b(x + m.a(x) * jg.zeros(4)), a=fc(), b=fc()), (x(8, 4),), square,
     "zero gradient", "note", "a (weight, bias)", "mul multiplies by a constant that is all 0.", "", ""),
    ("saturated", lambda: nn.Sequential(fc(), nn.Sigmoid(), fc()), (jg.sign(x(8, 4)) * 1e6,), square,
     "zero gradient", "warning", "0 (weight, bias)", "sigmoid in 1 (Sigmoid()) is saturated", "", "make its input smaller"),
    ("a slope of 0", lambda: Net(lambda m, x: m.b(jg.clamp(m.a(x), 100, 200) + x), a=fc(), b=fc()), (x(8, 4),), square,
     "zero gradient", "warning", "a (weight, bias)", "clamp_min is flat at all of these values.", "", "bounds"),
    ("dropout that drops all", lambda: nn.Sequential(fc(), nn.Dropout(1.0), fc()), (x(8, 4),), square,
     "dropout", "warning", "1", "1 is Dropout with p=1.0: in training all becomes 0", "", "the share that is dropped"),
    ("a loss in evaluation mode", lambda: nn.Sequential(fc(), nn.BatchNorm1d(4), nn.Dropout(0.1)).eval(), (x(8, 4),), square,
     "evaluation", "note", "", "dropout is off and batch norm uses its running statistics", "", "model.train()"),
    ("a layer made in forward", lambda: nn.Sequential(fc(), Net(makes)), (x(2, 4),), square,
     "made in forward", "warning", "1", "linear in 1 (Net) used Parameters of shape (8, 4) and (8,) that are made anew in each call and "
     "never trained", "# made here", "in __init__"),
    ("a parameter made in forward", lambda: Net(lambda m, x: m.a(x) * nn.Parameter(jg.ones(4)), a=fc()), (x(2, 4),), square,
     "made in forward", "warning", "", "mul used a Parameter of shape (4,) that is made anew in each call", "nn.Parameter(jg.ones(4))",
     "in __init__"),
    ("a layer that forward makes once", lambda: Net(makes_once, a=fc()), (x(2, 4),), square,
     "made in forward", "note", "", "made in forward: an optimizer made before does not have it", "# once", "before the optimizer"),
    ("zero by a tiny dead relu", lambda: nn.Sequential(dead(-100), nn.ReLU(), fc(16, 2)), (x(1, 4),), None,
     "zero gradient", "note", "0 (weight, bias)", "relu in 1 (ReLU()) is 0 for this whole batch", "", "larger batch"),
    ("softmax before cross entropy", lambda: nn.Sequential(fc(), nn.Softmax(1)), (x(4, 4),), lambda y: C(y, labels),
     "softmax", "warning", "1", "cross_entropy takes logits, and was given the output of softmax in 1 (Softmax()): it applies a softmax",
     "", "leave out the softmax"),
    ("softmax in the loss", lambda: fc(), (x(4, 4),), lambda y: C(jg.softmax(y, 1), labels),
     "softmax", "warning", "", "the output of softmax in the loss", "C(jg.softmax", "leave out the softmax"),
    ("softmax before soft labels", lambda: nn.Sequential(fc(), nn.Softmax(1)), (x(4, 4),), lambda y: C(y, jg.softmax(x(4, 4), 1)),
     "softmax", "warning", "1", "cross_entropy takes logits", "", "leave out"),
    ("softmax before smoothed labels", lambda: nn.Sequential(fc(), nn.Softmax(1)), (x(4, 4),),
     lambda y: F.cross_entropy(y, labels, label_smoothing=0.1), "softmax", "warning", "1", "cross_entropy takes logits", "", "leave out"),
    ("log_softmax before cross entropy", lambda: nn.Sequential(fc(), nn.LogSoftmax(1)), (x(4, 4),), lambda y: C(y, labels),
     "softmax", "note", "1", "the second log_softmax changes nothing", "", "leave out the log_softmax, or use nll_loss"),
    ("relu before cross entropy", lambda: nn.Sequential(fc(), nn.ReLU()), (x(4, 4),), lambda y: C(y, labels),
     "softmax", "note", "1", "cross_entropy takes logits of any sign, and was given the output of relu in 1", "", "leave out the relu"),
    ("sigmoid before the loss with logits", lambda: nn.Sequential(fc(), nn.Sigmoid()), (x(4, 4),), lambda y: B(y, jg.ones(4, 4)),
     "softmax", "warning", "1", "binary_cross_entropy_with_logits takes logits, and was given the output of sigmoid in 1", "",
     "leave out the sigmoid"),
    ("sigmoid before the loss with logits, weighted", lambda: nn.Sequential(fc(4, 1), nn.Sigmoid(), nn.Flatten(0)), (x(4, 4),),
     lambda y: B(y, jg.ones(4), pos_weight=jg.tensor(2.0)), "softmax", "warning", "1", "_with_logits takes logits", "", "leave out"),
    ("relu before the loss with logits", lambda: nn.Sequential(fc(), nn.ReLU()), (x(4, 4),), lambda y: B(y, jg.ones(4, 4)),
     "softmax", "note", "1", "logits of any sign, and was given the output of relu", "", "leave out the relu"),
    ("an error in backward", lambda: Net(lambda m, x: (h := jg.exp(m.a(x)), h.add_(1))[0], a=fc()), (x(2, 4),), None,
     "error", "error", "", "backward failed: backward of exp: a tensor that it kept was overwritten later by add_.\n    in exp",
     "h.add_(1)", "use the op without the trailing underscore, or clone() the tensor before writing to it"),
    ("an error in backward, in a layer", lambda: nn.Sequential(fc(), Net(overwrites)), (x(2, 4),), square,
     "error", "error", "1", "    in exp in 1 (Net), at diagnose_training_cases.py", "# overwritten", "clone()"),
    ("an error in backward, by a view", lambda: nn.Sequential(fc(), Net(overwrites_a_row)), (x(2, 4),), square,
     "error", "error", "1", "    in sigmoid in 1 (Net), at diagnose_training_cases.py", "# a row", "clone()"),
    ("a backward of a wrong shape", lambda: nn.Sequential(fc(), Net(lambda m, x: Wrong.apply(x))), (x(2, 4),), square,
     "error", "error", "1", "expected (2, 4).\n    in Wrong in 1 (Net)", "Wrong.apply(x)", ""),
    ("a mistake in a backward", lambda: nn.Sequential(fc(), Net(lambda m, x: Broken.apply(x))), (x(2, 4),), square,
     "error", "error", "1", "backward failed: ZeroDivisionError: ", "# no division", ""),
    ("sigmoids, 30 times", lambda: repeated(30, lambda: nn.Sequential(fc(8, 8), nn.Sigmoid())), (x(16, 8),), square,
     "vanishing gradient", "warning", "0.0", "for the weight of 0.0 (Linear(8, 8)), the first of 30 layers, and", "", "residual"),
    ("sigmoids, 120 times", lambda: repeated(120, lambda: nn.Sequential(fc(8, 8), nn.Sigmoid())), (x(16, 8),), square,
     "vanishing gradient", "warning", "0.0", "is 0 for the weight of 0.0 (Linear(8, 8))", "", "normalization"),
    ("large weights, 20 times", lambda: repeated(20, lambda: fc(8, 8, scale=10)), (x(16, 8),), lambda y: y.mean(),
     "exploding gradient", "warning", "0", "the gradients explode: their root mean square is", "", "a smaller init"),
]  # fmt: skip
