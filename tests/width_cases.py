"""Which layers follow when one gets another width, in words; and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from width_models import (
    AnyImageModel,
    BranchingModuleListNetwork,
    ConvNetwork,
    Forward,
    ResidualBlock,
    attention,
    bilinear,
    called_twice,
    cat_of_flat,
    channels_last,
    conv1d,
    dense,
    embedding_classifier,
    flat_branches,
    in_place,
    loop,
    residual_mlp,
    resnet,
    single_head,
    squeeze_excite,
    sum_of_cat,
    transformer_mlp,
)

import jitgrad as jg
from jitgrad import nn


def values(*shape: int) -> Callable[[], Any]:
    return lambda: jg.rand(*shape) - 0.5


def words(*shape: int) -> Callable[[], Any]:
    """Numbers of words."""
    return lambda: jg.randint(0, 11, shape)


def odd(h: Any) -> Any:
    """Pointwise operations of all kinds that keep 0."""
    y = jg.where(h > 0, h.exp() - 1, -h.abs()).clamp(-3, 3) ** 2
    return nn.functional.silu(y) + jg.maximum(h, h.sin()) * nn.functional.softplus(h) - nn.functional.elu(h).detach()


class Case(NamedTuple):
    model: Callable[[], nn.Module]
    path: str
    new: Callable[[], nn.Module]
    x: Callable[[], Any]
    texts: list[str]
    exact: bool = True  # whether new units that give 0 leave the function as it was: not so through LayerNorm and softmax


IMAGES = values(2, 3, 8, 8)
CASES = {
    "seed": Case(AnyImageModel, "nested.0", lambda: nn.Linear(32, 21), IMAGES, ["nested.1: Linear(16, 8) -> Linear(21, 8)"]),
    "list": Case(AnyImageModel, "module_list.1", lambda: nn.Linear(64, 40), IMAGES, ["nested.0: Linear(32, 16) -> Linear(40, 16)"]),
    "view": Case(AnyImageModel, "conv1", lambda: nn.Conv2d(3, 20, 3), IMAGES, ["linear1: Linear(576, 128) -> Linear(720, 128)"]),
    "view of one": Case(
        AnyImageModel, "conv1", lambda: nn.Conv2d(3, 20, 3), values(1, 3, 8, 8), ["linear1: Linear(576, 128) -> Linear(720, 128)"]
    ),
    "last": Case(AnyImageModel, "nested.1", lambda: nn.Linear(16, 9), IMAGES, []),
    "same size": Case(AnyImageModel, "nested.0", lambda: nn.Linear(32, 16, bias=False), IMAGES, [], False),
    "conv": Case(
        ConvNetwork, "conv_layers.0", lambda: nn.Conv2d(3, 18, 3, padding=1), IMAGES,
        ["conv_layers.3: Conv2d(16, 32, (3, 3)) -> Conv2d(18, 32, (3, 3))"],
    ),
    "conv to fc": Case(
        ConvNetwork, "conv_layers.3", lambda: nn.Conv2d(16, 33, 3, padding=1), IMAGES, ["fc: Linear(128, 10) -> Linear(132, 10)"]
    ),
    "image": Case(
        ConvNetwork, "conv_layers.3", lambda: nn.Conv2d(16, 32, 3, padding=2), IMAGES, ["fc: Linear(128, 10) -> Linear(288, 10)"], False
    ),
    "image and width": Case(
        ConvNetwork, "conv_layers.0", lambda: nn.Conv2d(3, 17, 3, padding=3), IMAGES,
        ["conv_layers.3: Conv2d(16, 32, (3, 3)) -> Conv2d(17, 32, (3, 3))", "fc: Linear(128, 10) -> Linear(288, 10)"], False,
    ),
    "cat first": Case(
        BranchingModuleListNetwork, "layers.2", lambda: nn.Linear(20, 33), values(2, 10), ["head: Linear(40, 3) -> Linear(43, 3)"]
    ),
    "cat last": Case(
        BranchingModuleListNetwork, "layers.3", lambda: nn.Linear(20, 11), values(2, 10), ["head: Linear(40, 3) -> Linear(41, 3)"]
    ),
    "branches": Case(
        BranchingModuleListNetwork, "layers.0", lambda: nn.Linear(10, 22), values(2, 10),
        ["layers.2: Linear(20, 30) -> Linear(22, 30)", "layers.3: Linear(20, 10) -> Linear(22, 10)"],
    ),
    "residual": Case(
        resnet, "0", lambda: nn.Conv2d(3, 5, 3, padding=1), values(2, 3, 6, 6),
        [
            "1: BatchNorm2d(4) -> BatchNorm2d(5)",
            "3.conv1: Conv2d(4, 4, (3, 3)) -> Conv2d(5, 4, (3, 3))",
            "3.conv2: Conv2d(4, 4, (3, 3)) -> Conv2d(4, 5, (3, 3))",
            "3.bn2: BatchNorm2d(4) -> BatchNorm2d(5)",
            "4.conv1: Conv2d(4, 6, (3, 3)) -> Conv2d(5, 6, (3, 3))",
            "4.short: Conv2d(4, 6, (1, 1)) -> Conv2d(5, 6, (1, 1))",
        ],
    ),
    "residual inside": Case(
        resnet, "3.conv1", lambda: nn.Conv2d(4, 7, 3, padding=1, bias=False), values(2, 3, 6, 6),
        ["3.bn1: BatchNorm2d(4) -> BatchNorm2d(7)", "3.conv2: Conv2d(4, 4, (3, 3)) -> Conv2d(7, 4, (3, 3))"],
    ),
    "residual projection": Case(
        resnet, "4.short", lambda: nn.Conv2d(4, 8, 1), values(2, 3, 6, 6),
        [
            "4.conv2: Conv2d(6, 6, (3, 3)) -> Conv2d(6, 8, (3, 3))",
            "4.bn2: BatchNorm2d(6) -> BatchNorm2d(8)",
            "7: Linear(6, 3) -> Linear(8, 3)",
        ],
    ),
    "block": Case(resnet, "4", lambda: ResidualBlock(4, 9), values(2, 3, 6, 6), ["7: Linear(6, 3) -> Linear(9, 3)"], False),
    "transformer": Case(transformer_mlp, "fc1", lambda: nn.Linear(8, 20), values(2, 5, 8), ["fc2: Linear(16, 8) -> Linear(20, 8)"]),
    "round a residual": Case(
        residual_mlp, "0", lambda: nn.Linear(5, 9), values(2, 5),
        [
            "1.norm: LayerNorm((8,)) -> LayerNorm((9,))",
            "1.fc1: Linear(8, 16) -> Linear(9, 16)",
            "1.fc2: Linear(16, 8) -> Linear(16, 9)",
            "2: LayerNorm((8,)) -> LayerNorm((9,))",
            "3: Linear(8, 2) -> Linear(9, 2)",
        ],
        False,
    ),
    "embedding": Case(
        embedding_classifier, "embed", lambda: nn.Embedding(11, 7, padding_idx=0), words(2, 4), ["fc: Linear(6, 3) -> Linear(7, 3)"]
    ),
    "more words": Case(embedding_classifier, "embed", lambda: nn.Embedding(15, 6, padding_idx=0), words(2, 4), []),
    "keys": Case(single_head, "q", lambda: nn.Linear(8, 6), values(2, 4, 8), ["k: Linear(8, 5) -> Linear(8, 6)"]),
    "values": Case(single_head, "v", lambda: nn.Linear(8, 9), values(2, 4, 8), ["out: Linear(7, 8) -> Linear(9, 8)"]),
    "flat branches": Case(flat_branches, "a", lambda: nn.Conv2d(2, 5, 3), values(2, 2, 4, 4), ["fc: Linear(28, 5) -> Linear(36, 5)"]),
    "cat of flat": Case(
        cat_of_flat, "b", lambda: nn.Conv2d(2, 6, 3, padding=1), values(1, 2, 4, 4),
        ["fc: Linear(108, 5) -> Linear(140, 5)"],
    ),
    "sum of cat": Case(
        sum_of_cat, "a", lambda: nn.Linear(4, 4), values(2, 4), ["c: Linear(4, 8) -> Linear(4, 9)", "fc: Linear(8, 2) -> Linear(9, 2)"]
    ),
    "bilinear": Case(bilinear, "l1", lambda: nn.Linear(4, 5), values(2, 4), ["b: Bilinear(3, 5, 6) -> Bilinear(5, 5, 6)"]),
    "bilinear second": Case(bilinear, "l2", lambda: nn.Linear(4, 6), values(2, 4), ["b: Bilinear(3, 5, 6) -> Bilinear(3, 6, 6)"]),
    "conv1d": Case(
        conv1d, "0", lambda: nn.Conv1d(2, 5, 3), values(2, 2, 8),
        ["1: BatchNorm1d(4) -> BatchNorm1d(5)", "4: Conv1d(4, 3, (2,)) -> Conv1d(5, 3, (2,))"],
    ),
    "conv1d to fc": Case(conv1d, "4", lambda: nn.Conv1d(4, 5, 2), values(2, 2, 8), ["6: Linear(6, 2) -> Linear(10, 2)"]),
    "channels last": Case(
        channels_last, "conv", lambda: nn.Conv2d(2, 5, 3), values(2, 2, 5, 5),
        ["norm: LayerNorm((4,)) -> LayerNorm((5,))", "fc: Linear(4, 3) -> Linear(5, 3)"], False,
    ),
    "called twice": Case(
        called_twice, "first", lambda: nn.Linear(3, 7), values(2, 3),
        ["loop: Linear(6, 6) -> Linear(7, 7)", "head: Linear(6, 2) -> Linear(7, 2)"]
    ),
    "one channel": Case(
        lambda: nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(16, 2)), "0",
        lambda: nn.Conv2d(1, 3, 3), values(2, 1, 6, 6),
        ["1: BatchNorm2d(1) -> BatchNorm2d(3)", "3: Linear(16, 2) -> Linear(48, 2)"],
    ),
    "squeeze and excite": Case(
        squeeze_excite, "conv", lambda: nn.Conv2d(2, 6, 3), values(1, 2, 4, 4),
        ["b: Linear(4, 4) -> Linear(6, 6)", "out: Linear(16, 3) -> Linear(24, 3)"],
    ),
    "dense": Case(
        dense, "a", lambda: nn.Linear(3, 6), values(2, 3),
        ["b: Linear(7, 5) -> Linear(9, 5)", "c: Linear(12, 2) -> Linear(14, 2)"],
    ),
    "loop": Case(
        loop, "i", lambda: nn.Linear(3, 8), values(2, 4, 3),
        ["h: Linear(6, 6) -> Linear(8, 8)", "o: Linear(6, 2) -> Linear(8, 2)"],
    ),
    "stack": Case(
        lambda: Forward(lambda m, x: m.o(jg.stack([m.a(x), m.b(x)]).mean(0)), a=nn.Linear(3, 4), b=nn.Linear(3, 4), o=nn.Linear(4, 2)),
        "a", lambda: nn.Linear(3, 5), values(2, 3), ["b: Linear(3, 4) -> Linear(3, 5)", "o: Linear(4, 2) -> Linear(5, 2)"],
    ),
    "positions": Case(
        lambda: Forward(lambda m, x: m.o(m.e(x) + m.p(jg.arange(4))), e=nn.Linear(3, 6), p=nn.Embedding(9, 6), o=nn.Linear(6, 2)),
        "e", lambda: nn.Linear(3, 8), values(2, 4, 3), ["p: Embedding(9, 6) -> Embedding(9, 8)", "o: Linear(6, 2) -> Linear(8, 2)"],
    ),
    "pointwise": Case(
        lambda: Forward(lambda m, x: m.b(odd(m.a(x).double()).float()), a=nn.Linear(3, 4), b=nn.Linear(4, 2)),
        "a", lambda: nn.Linear(3, 5), values(2, 3), ["b: Linear(4, 2) -> Linear(5, 2)"],
    ),
    "in place": Case(in_place, "0", lambda: nn.Linear(3, 8), values(2, 3), ["3: Linear(6, 2) -> Linear(8, 2)"]),
}  # fmt: skip


# ---- refusals
class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(jg.ones(6))

    def forward(self, x: Any) -> Any:
        return x * self.scale


def tied() -> nn.Module:
    m = Forward(lambda m, x: m.decode(m.mid(m.embed(x))), embed=nn.Embedding(11, 6), mid=nn.Linear(6, 6), decode=nn.Linear(6, 11))
    m.decode.weight = m.embed.weight
    return m


def double(m: Any, x: Any) -> Any:
    return m.fc(m.a(x) + jg.cat([m.b(x), m.c(x)], 1))


class OwnNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", jg.zeros(6))
        self.register_buffer("var", jg.ones(6))

    def forward(self, x: Any) -> Any:
        return nn.functional.batch_norm(x, self.mean, self.var, training=True)


def goes_round(m: Any, x: Any) -> Any:
    y = m.a(x)
    return y + m.c(m.b(y))


class Refusal(NamedTuple):
    model: Callable[[], nn.Module]
    path: str
    new: Callable[[], nn.Module]
    x: Callable[[], Any]
    words: list[str]
    fix: str = "Put a layer in between that gives "


FOUR = jg.ones(4)
REFUSALS = {
    "input": Refusal(
        lambda: Forward(lambda m, x: x + m.fc(x), fc=nn.Linear(4, 4)), "fc", lambda: nn.Linear(4, 5), values(2, 4),
        ["the width 4 cannot become 5", "the model's input", "in add at width_cases.py:", "x + m.fc(x)"],
    ),
    "its own input": Refusal(
        lambda: nn.Sequential(nn.Linear(3, 4), Forward(lambda m, x: x + m.fc(x), fc=nn.Linear(4, 4))),
        "1.fc", lambda: nn.Linear(4, 5), values(2, 3),
        ["it comes back to 1.fc, where the new layer takes the old size"],
    ),
    "called twice": Refusal(called_twice, "loop", lambda: nn.Linear(6, 7), values(2, 3), ["it comes back to loop"]),
    "heads": Refusal(
        attention, "q", lambda: nn.Linear(8, 10), values(2, 3, 8),
        ["the width 8 cannot become 10: a width of 8 is cut into 2 x 4 here (as attention heads are).\n  in reshape at width_models.py:"],
        "Keep 8, or edit the code that has 2 x 4 in it",
    ),
    "merged heads": Refusal(
        lambda: Forward(lambda m, x: m.out(x.view(2, 3, 2, 4).reshape(2, 3, 8) + m.a(x)), a=nn.Linear(8, 8), out=nn.Linear(8, 2)),
        "a", lambda: nn.Linear(8, 9), values(2, 3, 8), ["it must equal 2 x 4, and which of them is to change cannot be told"],
    ),
    "groups": Refusal(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=2)), "0", lambda: nn.Conv2d(3, 6, 3), IMAGES,
        ["the width 4 cannot become 6: a convolution with groups=2", "in conv2d of 1 (Conv2d(4, 4, (3, 3)))"],
        "Give that convolution groups=1 first, or replace both at once",
    ),
    "tied": Refusal(
        tied, "mid", lambda: nn.Linear(6, 7), words(2, 3), ["the width 6 cannot become 7", "embed.weight and decode.weight are one tensor"],
        "Untie them first: surgery.replace(model, 'decode', copy.deepcopy).",
    ),
    "own parameter": Refusal(
        lambda: nn.Sequential(nn.Linear(3, 6), Scaled()), "0", lambda: nn.Linear(3, 7), values(2, 3),
        ["the width 6 cannot become 7", "dim 0 of 'scale' of 1 (Scaled)", "only layers of jitgrad.nn"],
    ),
    "slice": Refusal(
        lambda: Forward(lambda m, x: m.b(m.a(x)[:, :2]), a=nn.Linear(3, 4), b=nn.Linear(2, 2)), "a", lambda: nn.Linear(3, 5), values(2, 3),
        ["a slice of 2 of 4 is taken here"],
    ),
    "chunk": Refusal(
        lambda: Forward(lambda m, x: (lambda a, b: m.b(a * jg.sigmoid(b)))(*m.a(x).chunk(2, -1)), a=nn.Linear(3, 4), b=nn.Linear(2, 2)),
        "a", lambda: nn.Linear(3, 6), values(2, 3), ["a slice of 2 of 4 is taken here"],
    ),
    "index": Refusal(
        lambda: Forward(lambda m, x: m.a(x)[:, 1], a=nn.Linear(3, 4)), "a", lambda: nn.Linear(3, 5), values(2, 3),
        ["place 1 of 4 is taken out"]
    ),
    "constant": Refusal(
        lambda: Forward(lambda m, x, c=FOUR: m.a(x) + c, a=nn.Linear(3, 4)), "a", lambda: nn.Linear(3, 5), values(2, 3),
        ["a tensor (4,)", "neither a parameter nor computed from the input"],
    ),
    "broadcast": Refusal(
        lambda: Forward(lambda m, x: m.a(x) * m.b(x), a=nn.Linear(3, 1), b=nn.Linear(3, 4)), "a", lambda: nn.Linear(3, 2), values(2, 3),
        ["the width 1 cannot become 2: a size of 1 is broadcast", "in mul at"],
    ),
    "joined": Refusal(
        lambda: Forward(double, a=nn.Linear(3, 6), b=nn.Linear(3, 2), c=nn.Linear(3, 4), fc=nn.Linear(6, 1)),
        "a", lambda: nn.Linear(3, 7), values(2, 3),
        ["it must equal 2 + 4, and which of them is to change cannot be told"],
    ),
    "unknown operation": Refusal(
        lambda: Forward(lambda m, x: m.a(x).as_strided((2, 2), (4, 1)), a=nn.Linear(3, 4)), "a", lambda: nn.Linear(3, 5), values(2, 3),
        ["what as_strided does to widths is not known"],
    ),
    "image too small": Refusal(
        lambda: nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 5)), "0", lambda: nn.Conv2d(1, 1, 6), values(1, 1, 8, 8),
        ["changes the size of the image at 0 from 6 x 6 to 3 x 3, which does not fit in 1 (Conv2d(1, 1, (5, 5)))", "larger than the input"],
        "Give it the stride and padding that give 6 x 6 again.",
    ),
    "images that no longer meet": Refusal(
        lambda: Forward(lambda m, x: m.a(x) + m.b(x), a=nn.Conv2d(1, 2, 3), b=nn.Conv2d(1, 2, 3)),
        "a", lambda: nn.Conv2d(1, 2, 5), values(1, 1, 8, 8),
        ["changes the size of the image at a from 6 x 6 to 4 x 4", "do not broadcast"], "Try padding=1, which gives 6 x 6 again.",
    ),
    "images that go round": Refusal(
        lambda: Forward(goes_round, a=nn.Conv2d(1, 2, 3), b=nn.Conv2d(2, 2, 3, padding=1), c=nn.Conv2d(2, 2, 3, padding=1)),
        "b", lambda: nn.Conv2d(2, 2, 5, padding=1), values(1, 1, 8, 8),
        ["changes the size of the image at b from 6 x 6 to 4 x 4", "do not broadcast"], "Try padding=2, which gives 6 x 6 again.",
    ),
    "own buffer": Refusal(
        lambda: nn.Sequential(nn.Linear(3, 6), OwnNorm()), "0", lambda: nn.Linear(3, 7), values(2, 3), ["dim 0 of 'mean' of 1 (OwnNorm)"]
    ),
    "unflatten": Refusal(
        lambda: nn.Sequential(nn.Linear(3, 6), nn.Unflatten(1, (2, 3))), "0", lambda: nn.Linear(3, 8), values(2, 3),
        ["a width of 6 is cut into 2 x 3 here", "in reshape of 1 (Unflatten(1, (2, 3)))"], "Keep 6, or edit the code that has 2 x 3 in it",
    ),
    "dims": Refusal(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), "0", lambda: nn.Unflatten(1, (3, 1)), values(2, 3),
        ["another number of dims"], "Give a layer whose output has as many dims",
    ),
}  # fmt: skip
