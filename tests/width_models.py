"""Models of all kinds, for edits that other layers must follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from surgery_models import ComplexModel

import jitgrad as jg
from jitgrad import nn


class Forward(nn.Module):
    """A model from its layers and a function of them and the input."""

    def __init__(self, run: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, m in layers.items():
            self.add_module(name, m)

    def forward(self, *x: Any) -> Any:
        return self.run(self, *x)


class AnyImageModel(ComplexModel):
    """With no size in its forward."""

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


class ResidualBlock(nn.Module):
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
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), ResidualBlock(4, 4), ResidualBlock(4, 6), nn.AdaptiveAvgPool2d(1),
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


def squeeze_excite() -> nn.Module:
    def run(m: Any, x: Any) -> Any:
        y = m.conv(x)
        return m.out((y * jg.sigmoid(m.b(y.mean((2, 3)))).view(y.shape[0], -1, 1, 1)).flatten(1))

    return Forward(run, conv=nn.Conv2d(2, 4, 3), b=nn.Linear(4, 4), out=nn.Linear(4 * 4, 3))


def dense() -> nn.Module:
    """Each layer reads all before it."""

    def run(m: Any, x: Any) -> Any:
        a = m.a(x)
        b = m.b(jg.cat([x, a], 1))
        return m.c(jg.cat([x, a, b], 1))

    return Forward(run, a=nn.Linear(3, 4), b=nn.Linear(7, 5), c=nn.Linear(12, 2))


def loop() -> nn.Module:
    """A recurrent net, whose hidden width goes round."""

    def run(m: Any, x: Any) -> Any:
        h = jg.zeros_like(m.i(x[:, 0]))
        for t in range(x.shape[1]):
            h = jg.tanh(m.i(x[:, t]) + m.h(h))
        return m.o(h)

    return Forward(run, i=nn.Linear(3, 6), h=nn.Linear(6, 6), o=nn.Linear(6, 2))


def in_place() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 6), nn.ReLU(inplace=True), nn.Dropout(0.1, inplace=True), nn.Linear(6, 2))
