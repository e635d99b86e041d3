"""Which layers follow when one gets another width, that they keep what they knew, and where a width is refused."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings, strategies as st

import jitgrad as jg
from jitgrad import nn
from jitgrad.errors import JitgradError, SurgeryError
from jitgrad.nn._place import short_name
from jitgrad.nn._trace import Trace, preserved
from jitgrad.nn.surgery._resize import Resize
from jitgrad.nn.surgery._widths import plan


# ---- models
class Forward(nn.Module):
    """A model from its layers and a function of them and the input."""

    def __init__(self, run: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, m in layers.items():
            self.add_module(name, m)

    def forward(self, *x: Any) -> Any:
        return self.run(self, *x)


class ComplexModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3)
        self.linear1 = nn.Linear(16 * 6 * 6, 128)
        self.module_list = nn.ModuleList([nn.Linear(128, 64), nn.Linear(64, 32)])
        self.nested = nn.Sequential(nn.Linear(32, 16), nn.Linear(16, 8))

    def forward(self, x: Any) -> Any:
        x = self.conv1(x)
        x = x.view(x.size(0), -1)
        x = self.linear1(x)
        for mod in self.module_list:
            x = mod(x)
        return self.nested(x)


class WrittenModel(ComplexModel):
    def forward(self, x: Any) -> Any:
        x = self.conv1(x)
        x = x.view(-1, 16 * 6 * 6)  # the size is written here
        return self.linear1(x)


class ConvNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(
            [
                nn.Conv2D(in_channels=3, out_channels=16, kernel_size=3, padding=1),
                nn.ReLU(),
                nn.MaxPool2D(kernel_size=2, stride=2),
                nn.Conv2D(in_channels=16, out_channels=32, kernel_size=3, padding=1),
                nn.ReLU(),
                nn.MaxPool2D(kernel_size=2, stride=2),
            ]
        )
        self.fc = nn.Linear(in_features=32 * 2 * 2, out_features=10)

    def forward(self, x: Any) -> Any:
        for layer in self.conv_layers:
            x = layer(x)
        x = x.view(x.size(0), -1)
        return self.fc(x)


class BranchingModuleListNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 30), nn.Linear(20, 10)])
        self.head = nn.Linear(40, 3)

    def forward(self, x: Any) -> Any:
        x = self.layers[1](self.layers[0](x))
        return self.head(jg.cat((self.layers[2](x), self.layers[3](x)), dim=1))


class Block(nn.Module):
    """A residual block, with a projection where the channels differ."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.short = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x: Any) -> Any:
        y = jg.relu(self.bn1(self.conv1(x)))
        return jg.relu(self.bn2(self.conv2(y)) + self.short(x))


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), Block(4, 4), Block(4, 6), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


def transformer_mlp() -> nn.Module:
    return Forward(
        lambda m, x: m.head(x + m.fc2(m.drop(m.gelu(m.fc1(m.norm(x)))))),
        norm=nn.LayerNorm(8), fc1=nn.Linear(8, 16), gelu=nn.GELU(), drop=nn.Dropout(0.1), fc2=nn.Linear(16, 8), head=nn.Linear(8, 2),
    )  # fmt: skip


def residual_mlp() -> nn.Module:
    """A transformer's MLP block after a projection, whose width goes round."""
    return nn.Sequential(
        nn.Linear(5, 8),
        Forward(lambda m, x: x + m.fc2(m.fc1(m.norm(x))), norm=nn.LayerNorm(8), fc1=nn.Linear(8, 16), fc2=nn.Linear(16, 8)),
        nn.LayerNorm(8, elementwise_affine=False),
        nn.Linear(8, 2),
    )


def embedding_classifier() -> nn.Module:
    return Forward(lambda m, x: m.fc(m.embed(x).mean(1)), embed=nn.Embedding(11, 6, padding_idx=0), fc=nn.Linear(6, 3))


def attention() -> nn.Module:
    def run(m: Any, x: Any) -> Any:
        N, L, E = x.shape
        q, k, v = (f(x).view(N, L, 2, E // 2).transpose(1, 2) for f in (m.q, m.k, m.v))
        y = jg.softmax(q @ k.transpose(-1, -2), -1) @ v
        return m.out(y.transpose(1, 2).reshape(N, L, E))

    return Forward(run, q=nn.Linear(8, 8), k=nn.Linear(8, 8), v=nn.Linear(8, 8), out=nn.Linear(8, 8))


def single_head() -> nn.Module:
    """Attention without heads: the widths of q and k go together, those of v go on."""
    return Forward(
        lambda m, x: m.out(jg.softmax(m.q(x) @ m.k(x).transpose(-1, -2), -1) @ m.v(x)),
        q=nn.Linear(8, 5), k=nn.Linear(8, 5), v=nn.Linear(8, 7), out=nn.Linear(7, 8),
    )  # fmt: skip


def flat_branches() -> nn.Module:
    """Two images side by side, flattened: the columns of the second move."""
    return Forward(
        lambda m, x: m.fc(jg.cat([m.a(x), m.b(x)], 1).flatten(1)),
        a=nn.Conv2d(2, 3, 3), b=nn.Conv2d(2, 4, 3), fc=nn.Linear(7 * 2 * 2, 5),
    )  # fmt: skip


def cat_of_flat() -> nn.Module:
    return Forward(
        lambda m, x: m.fc(jg.cat([m.a(x).flatten(1), m.b(x).flatten(1), x.flatten(1)], 1)),
        a=nn.Conv2d(2, 3, 3), b=nn.Conv2d(2, 4, 3, padding=1), fc=nn.Linear(3 * 4 + 4 * 16 + 2 * 16, 5),
    )  # fmt: skip


def sum_of_cat() -> nn.Module:
    """A layer beside a cat: its rows are two groups."""
    return Forward(
        lambda m, x: m.fc(jg.cat([m.a(x), m.b(x)], -1) + m.c(x)),
        a=nn.Linear(4, 3), b=nn.Linear(4, 5), c=nn.Linear(4, 8), fc=nn.Linear(8, 2),
    )  # fmt: skip


def bilinear() -> nn.Module:
    return Forward(
        lambda m, x: m.fc(m.b(m.l1(x), m.l2(x))), l1=nn.Linear(4, 3), l2=nn.Linear(4, 5), b=nn.Bilinear(3, 5, 6), fc=nn.Linear(6, 2)
    )


def conv1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(4, 3, 2), nn.Flatten(), nn.Linear(6, 2)
    )


def channels_last() -> nn.Module:
    """Channels become the last dim and are normalized there."""
    return Forward(
        lambda m, x: m.fc(m.norm(m.conv(x).permute(0, 2, 3, 1)).mean((1, 2))),
        conv=nn.Conv2d(2, 4, 3), norm=nn.LayerNorm(4), fc=nn.Linear(4, 3),
    )  # fmt: skip


def called_twice() -> nn.Module:
    """One layer at two places."""
    return Forward(lambda m, x: m.head(m.loop(m.loop(m.first(x)))), first=nn.Linear(3, 6), loop=nn.Linear(6, 6), head=nn.Linear(6, 2))


def in_place() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 6), nn.ReLU(inplace=True), nn.Dropout(0.1, inplace=True), nn.Linear(6, 2))


# ---- an edit by hand
def edit(model: nn.Module, path: str, new: nn.Module, *x: Any) -> tuple[list[Resize], Callable[[], str | None]]:
    """What must follow; and, after the edit, which line has a size written in it."""
    old = model.get_submodule(path)
    with preserved(model), Trace(model, dry=True) as trace:
        model(*x)
    changed = []
    with jg.autograd.DryRun():
        for call in trace.calls:
            if call.module is old:
                changed.append((call.output, new(*call.args).shape))
    resizes = plan(trace, changed, {old})

    def line() -> str | None:
        with preserved(model), Trace(model, dry=True) as after, suppress(JitgradError):
            model(*x)
        return resizes.written(after)

    return resizes, line


def example(shape: tuple[int, ...]) -> Any:
    return jg.randint(0, 11, shape[1:]) if shape[0] == 0 else jg.rand(*shape) - 0.5


class Case(NamedTuple):
    model: Callable[[], nn.Module]
    path: str
    new: Callable[[], nn.Module]
    shape: tuple[int, ...]
    texts: list[str]
    exact: bool = True  # whether new units that give 0 leave the function as it was: not so through LayerNorm and softmax


IMAGES = (2, 3, 8, 8)
CASES = {
    "seed": Case(ComplexModel, "nested.0", lambda: nn.Linear(32, 21), IMAGES, ["nested.1: Linear(16, 8) -> Linear(21, 8)"]),
    "list": Case(ComplexModel, "module_list.1", lambda: nn.Linear(64, 40), IMAGES, ["nested.0: Linear(32, 16) -> Linear(40, 16)"]),
    "view": Case(ComplexModel, "conv1", lambda: nn.Conv2d(3, 20, 3), IMAGES, ["linear1: Linear(576, 128) -> Linear(720, 128)"]),
    "view of one": Case(
        ComplexModel, "conv1", lambda: nn.Conv2d(3, 20, 3), (1, 3, 8, 8), ["linear1: Linear(576, 128) -> Linear(720, 128)"]
    ),
    "last": Case(ComplexModel, "nested.1", lambda: nn.Linear(16, 9), IMAGES, []),
    "same size": Case(ComplexModel, "nested.0", lambda: nn.Linear(32, 16, bias=False), IMAGES, [], False),
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
        BranchingModuleListNetwork, "layers.2", lambda: nn.Linear(20, 33), (2, 10), ["head: Linear(40, 3) -> Linear(43, 3)"]
    ),
    "cat last": Case(
        BranchingModuleListNetwork, "layers.3", lambda: nn.Linear(20, 11), (2, 10), ["head: Linear(40, 3) -> Linear(41, 3)"]
    ),
    "branches": Case(
        BranchingModuleListNetwork, "layers.0", lambda: nn.Linear(10, 22), (2, 10),
        ["layers.2: Linear(20, 30) -> Linear(22, 30)", "layers.3: Linear(20, 10) -> Linear(22, 10)"],
    ),
    "residual": Case(
        resnet, "0", lambda: nn.Conv2d(3, 5, 3, padding=1), (2, 3, 6, 6),
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
        resnet, "3.conv1", lambda: nn.Conv2d(4, 7, 3, padding=1, bias=False), (2, 3, 6, 6),
        ["3.bn1: BatchNorm2d(4) -> BatchNorm2d(7)", "3.conv2: Conv2d(4, 4, (3, 3)) -> Conv2d(7, 4, (3, 3))"],
    ),
    "residual projection": Case(
        resnet, "4.short", lambda: nn.Conv2d(4, 8, 1), (2, 3, 6, 6),
        [
            "4.conv2: Conv2d(6, 6, (3, 3)) -> Conv2d(6, 8, (3, 3))",
            "4.bn2: BatchNorm2d(6) -> BatchNorm2d(8)",
            "7: Linear(6, 3) -> Linear(8, 3)",
        ],
    ),
    "block": Case(resnet, "4", lambda: Block(4, 9), (2, 3, 6, 6), ["7: Linear(6, 3) -> Linear(9, 3)"], False),
    "transformer": Case(transformer_mlp, "fc1", lambda: nn.Linear(8, 20), (2, 5, 8), ["fc2: Linear(16, 8) -> Linear(20, 8)"]),
    "round a residual": Case(
        residual_mlp, "0", lambda: nn.Linear(5, 9), (2, 5),
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
        embedding_classifier, "embed", lambda: nn.Embedding(11, 7, padding_idx=0), (0, 2, 4), ["fc: Linear(6, 3) -> Linear(7, 3)"]
    ),
    "more words": Case(embedding_classifier, "embed", lambda: nn.Embedding(15, 6, padding_idx=0), (0, 2, 4), []),
    "keys": Case(single_head, "q", lambda: nn.Linear(8, 6), (2, 4, 8), ["k: Linear(8, 5) -> Linear(8, 6)"]),
    "values": Case(single_head, "v", lambda: nn.Linear(8, 9), (2, 4, 8), ["out: Linear(7, 8) -> Linear(9, 8)"]),
    "flat branches": Case(flat_branches, "a", lambda: nn.Conv2d(2, 5, 3), (2, 2, 4, 4), ["fc: Linear(28, 5) -> Linear(36, 5)"]),
    "cat of flat": Case(cat_of_flat, "b", lambda: nn.Conv2d(2, 6, 3, padding=1), (1, 2, 4, 4), ["fc: Linear(108, 5) -> Linear(140, 5)"]),
    "sum of cat": Case(
        sum_of_cat, "a", lambda: nn.Linear(4, 4), (2, 4), ["c: Linear(4, 8) -> Linear(4, 9)", "fc: Linear(8, 2) -> Linear(9, 2)"]
    ),
    "bilinear": Case(bilinear, "l1", lambda: nn.Linear(4, 5), (2, 4), ["b: Bilinear(3, 5, 6) -> Bilinear(5, 5, 6)"]),
    "bilinear second": Case(bilinear, "l2", lambda: nn.Linear(4, 6), (2, 4), ["b: Bilinear(3, 5, 6) -> Bilinear(3, 6, 6)"]),
    "conv1d": Case(
        conv1d, "0", lambda: nn.Conv1d(2, 5, 3), (2, 2, 8),
        ["1: BatchNorm1d(4) -> BatchNorm1d(5)", "4: Conv1d(4, 3, (2,)) -> Conv1d(5, 3, (2,))"],
    ),
    "conv1d to fc": Case(conv1d, "4", lambda: nn.Conv1d(4, 5, 2), (2, 2, 8), ["6: Linear(6, 2) -> Linear(10, 2)"]),
    "channels last": Case(
        channels_last, "conv", lambda: nn.Conv2d(2, 5, 3), (2, 2, 5, 5),
        ["norm: LayerNorm((4,)) -> LayerNorm((5,))", "fc: Linear(4, 3) -> Linear(5, 3)"], False,
    ),
    "called twice": Case(
        called_twice, "first", lambda: nn.Linear(3, 7), (2, 3), ["loop: Linear(6, 6) -> Linear(7, 7)", "head: Linear(6, 2) -> Linear(7, 2)"]
    ),
    "in place": Case(in_place, "0", lambda: nn.Linear(3, 8), (2, 3), ["3: Linear(6, 2) -> Linear(8, 2)"]),
}  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_what_follows(name: str, training: bool) -> None:
    case = CASES[name]
    model, x = case.model().train(training), example(case.shape)
    new = case.new().train(training)
    resizes, line = edit(model, case.path, new, x)
    assert [r.text for r in resizes] == case.texts
    for r in resizes:
        r.apply("overlap")
    model.set_submodule(case.path, new)
    for r in resizes:
        assert r.text.endswith(f"-> {short_name(r.module)}")
    y = model(x)
    y.sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())
    assert line() is None


def copied(new: Any, old: Any) -> None:
    """Units of old into new; those that old does not have give 0."""
    for name, p in new.named_parameters():
        q = old.get_parameter(name)
        values = jg.zeros(p.shape)
        values[tuple(slice(0, n) for n in q.shape)] = q.detach()
        p.data = values


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.exact])
def test_units_that_stay_keep_their_weights(name: str) -> None:
    case = CASES[name]
    model, x = case.model().eval(), example(case.shape)
    for b in model.buffers():
        b.data = jg.rand(*b.shape) + 0.5 if b.is_floating_point() else b.data
    y = model(x)
    old, new = model.get_submodule(case.path), case.new().eval()
    copied(new, old)
    resizes, _ = edit(model, case.path, new, x)
    for r in resizes:
        before = {n: p.shape for n, p in r.module.named_parameters()}
        r.apply("overlap")
        if case.model is sum_of_cat and r.path == "c":  # its new row stands between the groups
            with jg.no_grad():
                r.module.weight[3:4] = 0.0
                r.module.bias[3:4] = 0.0
            continue
        for n, p in r.module.named_parameters():
            if p.shape[0] > before[n][0] and "BatchNorm" not in r.text:
                with jg.no_grad():
                    p[before[n][0] :] = 0.0
    model.set_submodule(case.path, new)
    got = model(x)
    got = got[tuple(slice(0, n) for n in y.shape)]
    assert jg.allclose(got, y, atol=1e-5)


# ---- undo
@pytest.mark.parametrize("keep", ["overlap", "none"])
def test_undo_brings_back_the_very_objects(keep: str) -> None:
    model, x = resnet(), jg.rand(2, 3, 6, 6)
    model[3].conv1.requires_grad_(False)
    model(x).sum().backward()
    before = [(k, t, t.tolist()) for k, t in (*model.named_parameters(), *model.named_buffers())]
    text = repr(model)
    resizes, _ = edit(model, "0", nn.Conv2d(3, 5, 3, padding=1), x)
    assert repr(model) == text
    undo = [r.apply(keep) for r in resizes]
    assert repr(model) != text
    assert not model[3].conv1.weight.requires_grad and model[3].conv2.weight.requires_grad
    for back in reversed(undo):
        back()
    after = [*model.named_parameters(), *model.named_buffers()]
    assert [k for k, _, _ in before] == [k for k, _ in after]
    assert all(t is u and values == u.tolist() for (_, t, values), (_, u) in zip(before, after, strict=True))
    assert repr(model) == text


def test_what_is_kept() -> None:
    layer = nn.Linear(3, 4)
    model = nn.Sequential(nn.Linear(2, 3), layer)
    weight, bias = layer.weight, layer.bias
    resizes, _ = edit(model, "0", nn.Linear(2, 5), jg.ones(1, 2))
    undo = resizes[0].apply("overlap")
    assert layer.bias is bias and layer.weight is not weight and layer.weight[:, :3].tolist() == weight.tolist()
    assert bool((layer.weight[:, 3:].abs() <= 5**-0.5).all()) and bool((layer.weight[:, 3:] != 0).all())
    undo()
    resizes[0].apply("none")
    assert layer.bias is not bias and layer.weight[:, :3].tolist() != weight.tolist() and layer.in_features == 5
    with pytest.raises(ValueError, match="'overlap' or 'none', given 'all'"):
        resizes[0].apply("all")


def test_running_statistics_are_kept() -> None:
    model = resnet()
    model(jg.rand(2, 3, 6, 6))
    norm = model[1]
    mean, count = norm.running_mean.tolist(), norm.num_batches_tracked
    resizes, _ = edit(model, "0", nn.Conv2d(3, 5, 3, padding=1), jg.rand(2, 3, 6, 6))
    resizes[0].apply()
    assert norm.running_mean.tolist() == [*mean, 0.0] and norm.num_batches_tracked is count and count.item() == 1


def test_dtype_and_buffers_stay_what_they_are() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 4)).double()
    model[1].running_var = nn.Buffer(jg.ones(3, dtype=jg.float64), persistent=False)
    resizes, _ = edit(model, "0", nn.Linear(2, 5).double(), jg.ones(2, 2, dtype=jg.float64))
    for r in resizes:
        r.apply()
    assert {p.dtype for m in (model[1], model[2]) for p in m.parameters()} == {jg.float64}
    assert isinstance(model[1].running_var, nn.Buffer) and not model[1].running_var.persistent and model[1].running_var.shape == (5,)


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


class Refusal(NamedTuple):
    model: Callable[[], nn.Module]
    path: str
    new: Callable[[], nn.Module]
    shape: tuple[int, ...]
    words: list[str]


FOUR = jg.ones(4)
REFUSALS = {
    "input": Refusal(
        lambda: Forward(lambda m, x: x + m.fc(x), fc=nn.Linear(4, 4)), "fc", lambda: nn.Linear(4, 5), (2, 4),
        ["the width 4 cannot become 5", "the model's input"],
    ),
    "its own input": Refusal(
        lambda: nn.Sequential(nn.Linear(3, 4), Forward(lambda m, x: x + m.fc(x), fc=nn.Linear(4, 4))),
        "1.fc", lambda: nn.Linear(4, 5), (2, 3),
        ["it comes back to 1.fc, where the new layer takes the old size"],
    ),
    "called twice": Refusal(called_twice, "loop", lambda: nn.Linear(6, 7), (2, 3), ["it comes back to loop"]),
    "heads": Refusal(
        attention, "q", lambda: nn.Linear(8, 10), (2, 3, 8),
        ["the width 8 cannot become 10 in reshape at test_surgery_widths.py:", "a width of 8 is cut into 2 x 4", "attention heads"],
    ),
    "merged heads": Refusal(
        lambda: Forward(lambda m, x: m.out(x.view(2, 3, 2, 4).reshape(2, 3, 8) + m.a(x)), a=nn.Linear(8, 8), out=nn.Linear(8, 2)),
        "a", lambda: nn.Linear(8, 9), (2, 3, 8), ["it must equal 2 x 4, and which of them is to change cannot be told"],
    ),
    "groups": Refusal(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=2)), "0", lambda: nn.Conv2d(3, 6, 3), IMAGES,
        ["the width 4 cannot become 6 in conv2d of 1 (Conv2d(4, 4, (3, 3)))", "groups=2"],
    ),
    "tied": Refusal(
        tied, "mid", lambda: nn.Linear(6, 7), (0, 2, 3), ["the width 6 cannot become 7", "embed.weight and decode.weight are one tensor"]
    ),
    "own parameter": Refusal(
        lambda: nn.Sequential(nn.Linear(3, 6), Scaled()), "0", lambda: nn.Linear(3, 7), (2, 3),
        ["the width 6 cannot become 7", "dim 0 of 'scale' of 1 (Scaled)", "only layers of jitgrad.nn"],
    ),
    "slice": Refusal(
        lambda: Forward(lambda m, x: m.b(m.a(x)[:, :2]), a=nn.Linear(3, 4), b=nn.Linear(2, 2)), "a", lambda: nn.Linear(3, 5), (2, 3),
        ["a slice of 2 of 4 is taken here"],
    ),
    "chunk": Refusal(
        lambda: Forward(lambda m, x: (lambda a, b: m.b(a * jg.sigmoid(b)))(*m.a(x).chunk(2, -1)), a=nn.Linear(3, 4), b=nn.Linear(2, 2)),
        "a", lambda: nn.Linear(3, 6), (2, 3), ["a slice of 2 of 4 is taken here"],
    ),
    "index": Refusal(
        lambda: Forward(lambda m, x: m.a(x)[:, 1], a=nn.Linear(3, 4)), "a", lambda: nn.Linear(3, 5), (2, 3), ["place 1 of 4 is taken out"]
    ),
    "constant": Refusal(
        lambda: Forward(lambda m, x, c=FOUR: m.a(x) + c, a=nn.Linear(3, 4)), "a", lambda: nn.Linear(3, 5), (2, 3),
        ["a tensor (4,)", "neither a parameter nor computed from the input"],
    ),
    "broadcast": Refusal(
        lambda: Forward(lambda m, x: m.a(x) * m.b(x), a=nn.Linear(3, 1), b=nn.Linear(3, 4)), "a", lambda: nn.Linear(3, 2), (2, 3),
        ["the width 1 cannot become 2 in mul", "a size of 1 is broadcast"],
    ),
    "joined": Refusal(
        lambda: Forward(double, a=nn.Linear(3, 6), b=nn.Linear(3, 2), c=nn.Linear(3, 4), fc=nn.Linear(6, 1)),
        "a", lambda: nn.Linear(3, 7), (2, 3),
        ["it must equal 2 + 4, and which of them is to change cannot be told"],
    ),
    "unknown operation": Refusal(
        lambda: Forward(lambda m, x: m.a(x).as_strided((2, 2), (4, 1)), a=nn.Linear(3, 4)), "a", lambda: nn.Linear(3, 5), (2, 3),
        ["what as_strided does to widths is not known"],
    ),
    "image too small": Refusal(
        lambda: nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 5)), "0", lambda: nn.Conv2d(1, 1, 6), (1, 1, 8, 8),
        ["after the change conv2d of 1 (Conv2d(1, 1, (5, 5)))", "would fail", "larger than the input"],
    ),
    "images that no longer meet": Refusal(
        lambda: Forward(lambda m, x: m.a(x) + m.b(x), a=nn.Conv2d(1, 2, 3), b=nn.Conv2d(1, 2, 3)),
        "a", lambda: nn.Conv2d(1, 2, 5), (1, 1, 8, 8),
        ["the width 6 cannot become 4 in conv2d of b", "it gives 6"],
    ),
    "dims": Refusal(
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), "0", lambda: nn.Unflatten(1, (3, 1)), (2, 3),
        ["another number of dims"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_refused(name: str) -> None:
    case = REFUSALS[name]
    model, x = case.model(), example(case.shape)
    with pytest.raises(SurgeryError) as error:
        edit(model, case.path, case.new(), x)
    for words in case.words:
        assert words in str(error.value)


def test_what_does_not_meet_the_change_never_refuses() -> None:
    """Heads, groups, slices and the like beside the change."""

    def run(m: Any, x: Any) -> Any:
        y = m.conv(x).flatten(1)[:, 1:5].as_strided((2, 2), (4, 1))
        return m.b(m.a(y)) + jg.ones(2)

    model = Forward(run, conv=nn.Conv2d(4, 4, 3, groups=2), a=nn.Linear(2, 3), b=nn.Linear(3, 2))
    resizes, _ = edit(model, "a", nn.Linear(2, 5), jg.rand(2, 4, 5, 5))
    assert [r.text for r in resizes] == ["b: Linear(3, 2) -> Linear(5, 2)"]


@pytest.mark.parametrize("batch", [1, 2, 4])  # of 4 images 20 channels make 5 of 16: only the next layer fails
def test_a_written_size_is_named(batch: int) -> None:
    model, x, new = WrittenModel(), jg.rand(batch, 3, 8, 8), nn.Conv2d(3, 20, 3)
    resizes, line = edit(model, "conv1", new, x)
    for r in resizes:
        r.apply()
    model.set_submodule("conv1", new)
    text = line()
    assert text is not None and "x = x.view(-1, 16 * 6 * 6)  # the size is written here" in text and f"({batch}, 720) follows" in text


def test_an_insertion() -> None:
    """A tensor changes for those who read it, not for the layer that made it."""
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), jg.ones(1, 3)
    with Trace(model, dry=True) as trace:
        model(x)
    resizes = plan(trace, [(trace.calls[2].output, (1, 6))], set())
    assert [r.text for r in resizes] == ["2: Linear(4, 2) -> Linear(6, 2)"]


# ---- random nets
@st.composite
def nets(draw: st.DrawFn) -> tuple[nn.Module, Any, list[str]]:
    """A net of random blocks on rows or images, an input, and the paths of layers whose width is free."""
    widths = st.integers(2, 5)
    image = draw(st.booleans())
    width, layers, free = 3, nn.ModuleDict(), []
    kinds: list[str] = draw(st.lists(st.sampled_from(["plain", "residual", "cat"]), min_size=1, max_size=4))

    def layer(name: str, a: int, b: int) -> None:
        body = nn.Conv2d(a, b, 3, padding=1) if image else nn.Linear(a, b)
        layers[name] = nn.Sequential(body, nn.BatchNorm2d(b) if image else nn.BatchNorm1d(b), nn.ReLU())
        free.append(f"layers.{name}.0")

    for i, kind in enumerate(kinds):
        a, b = draw(widths), draw(widths)
        if kind == "plain":
            layer(f"{i}a", width, a)
            width = a
        elif kind == "cat":
            layer(f"{i}a", width, a)
            layer(f"{i}b", width, b)
            width = a + b
        else:
            layer(f"{i}a", width, a)
            layer(f"{i}b", a, width)
            free.pop()  # it would change the width of the way round it, which the layer itself may read
    flat = image and draw(st.booleans())

    def run(m: Any, x: Any) -> Any:
        for i, kind in enumerate(kinds):
            first = m.layers[f"{i}a"](x)
            if kind == "plain":
                x = first
            elif kind == "cat":
                x = jg.cat([first, m.layers[f"{i}b"](x)], 1)
            else:
                x = x + m.layers[f"{i}b"](first)
        return m.head(x.flatten(1) if flat else x.mean((2, 3)) if image else x)

    model = Forward(run, layers=layers, head=nn.Linear(width * 16 if flat else width, 2))
    return model, jg.rand(2, 3, 4, 4) if image else jg.rand(4, 3), free


@settings(deadline=None)
@given(nets(), st.data())
def test_random_nets(net: tuple[nn.Module, Any, list[str]], data: st.DataObject) -> None:
    model, x, free = net
    model.eval()
    path = data.draw(st.sampled_from(free))
    old = model.get_submodule(path)
    own = old.out_features if isinstance(old, nn.Linear) else old.out_channels
    size = data.draw(st.integers(1, 7))
    new = nn.Linear(old.in_features, size) if isinstance(old, nn.Linear) else nn.Conv2d(old.in_channels, size, 3, padding=1)
    y = model(x)
    with jg.no_grad():
        n = min(own, size)
        for p, q in zip(new.parameters(), old.parameters(), strict=True):
            p[:n] = q[:n]
            p[n:] = 0.0
    reason = ""
    try:
        resizes, line = edit(model, path, new, x)
    except SurgeryError as error:
        reason = str(error)
    if reason:  # the way round a residual block comes from the input, or is a cat
        assert "the model's input" in reason or "cannot be told" in reason
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.init, "weight_and_bias_", lambda *tensors: [nn.init.zeros_(t) for t in tensors if t is not None])
        undo = [r.apply() for r in resizes]
    model.set_submodule(path, new)
    got = model(x)
    got.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert line() is None
    if size >= own:  # new units give 0: what was there gives what it gave
        assert jg.allclose(got, y, atol=1e-5)
    for back in reversed(undo):
        back()
    model.set_submodule(path, old)
    assert jg.equal(model(x), y)
