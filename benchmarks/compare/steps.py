"""Whole training steps: zero_grad, forward, cross entropy, backward, update."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.compare.case import Arrays, Call, Uncounted


def mlp(lib: Any) -> Any:
    """64-32-10."""
    nn = lib.nn
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def lenet(lib: Any) -> Any:
    """LeNet-5 on images of 28 x 28: Y. LeCun et al., Gradient-based learning applied to document recognition, 1998."""
    nn = lib.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def conv_network(lib: Any) -> Any:
    """Two convolutions and a linear layer on images of 32 x 32, its layers in a ModuleList."""
    nn = lib.nn

    class ConvNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv_layers = nn.ModuleList(
                [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            )
            self.fc = nn.Linear(32 * 8 * 8, 10)

        def forward(self, x: Any) -> Any:
            for layer in self.conv_layers:
                x = layer(x)
            return self.fc(x.view(x.size(0), -1))

    return ConvNetwork()


def resnet20(lib: Any) -> Any:
    """ResNet-20 for images of 32 x 32: K. He et al., Deep residual learning for image recognition, 2016, section 4.2."""
    nn = lib.nn

    class Block(nn.Module):
        def __init__(self, C: int, F: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(C, F, 3, stride, 1, bias=False), nn.BatchNorm2d(F)
            self.conv2, self.bn2 = nn.Conv2d(F, F, 3, 1, 1, bias=False), nn.BatchNorm2d(F)
            self.shortcut = nn.Sequential(nn.Conv2d(C, F, 1, stride, bias=False), nn.BatchNorm2d(F)) if stride > 1 else nn.Identity()

        def forward(self, x: Any) -> Any:
            y = lib.relu(self.bn1(self.conv1(x)))
            return lib.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    layers, C = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
    for F in (16, 32, 64):
        for i in range(3):
            layers.append(Block(C, F, 2 if i == 0 and F > 16 else 1))
            C = F
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


MODELS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "MLP 64-32-10": (mlp, (64,)),
    "LeNet": (lenet, (1, 28, 28)),
    "ConvNetwork": (conv_network, (3, 32, 32)),
    "ResNet-20": (resnet20, (3, 32, 32)),
}


@dataclass(frozen=True)
class Step(Uncounted):
    """A training step of a model; both libraries begin with the same weights."""

    name: str
    model: str
    batch: int
    optimizer: str
    row: str = "training step"
    modes: tuple[str, ...] = ("step",)
    exact: bool = True

    def arrays(self) -> Arrays:
        """Images and labels, and the weights to begin with."""
        import torch

        rng = np.random.default_rng(0)
        build, shape = MODELS[self.model]
        torch.manual_seed(0)
        weights = {f"model.{name}": value.numpy().copy() for name, value in build(torch).state_dict().items()}
        return {"x": rng.standard_normal((self.batch, *shape), np.float32), "t": rng.integers(0, 10, self.batch), **weights}

    def calls(self, lib: Any, arrays: Arrays, dtype: Any = None) -> dict[str, Call]:
        """The step; it returns the parameters."""
        model = MODELS[self.model][0](lib)
        model.load_state_dict({name.removeprefix("model."): lib.tensor(a) for name, a in arrays.items() if name.startswith("model.")})
        x, t = lib.tensor(arrays["x"]), lib.tensor(arrays["t"])
        if dtype is not None:
            model, x = model.to(dtype), x.to(dtype)
        parameters = list(model.parameters())
        optimizer = lib.optim.SGD(parameters, lr=1e-3, momentum=0.9) if self.optimizer == "SGD" else lib.optim.Adam(parameters, lr=1e-4)
        cross_entropy = lib.nn.functional.cross_entropy

        def step() -> Any:
            optimizer.zero_grad()
            cross_entropy(model(x), t).backward()
            optimizer.step()
            return parameters

        return {"step": step}


def steps() -> Iterator[Step]:
    """Every model at every batch size with both optimizers."""
    for model in MODELS:
        for batch in (1, 32, 128):
            for optimizer in ("SGD", "Adam"):
                yield Step(f"{model}, batch {batch}, {optimizer}", model, batch, optimizer)
