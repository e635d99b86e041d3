"""What a type checker knows of containers: read by mypy (see pyproject.toml), and run by tests/test_containers.py."""

from __future__ import annotations

from typing import assert_type

from jitgrad import nn
from jitgrad.autograd import Tensor

layers: nn.ModuleList[nn.Linear] = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
assert_type(layers[0], nn.Linear)
assert_type(layers[1:], nn.ModuleList[nn.Linear])
assert_type(layers.pop().out_features, int)
for layer in layers:
    assert_type(layer, nn.Linear)

inferred = nn.ModuleList(nn.Conv2d(1, 1, 1) for _ in range(2))
assert_type(inferred[0], nn.Conv2d)

by_name: nn.ModuleDict[nn.ReLU] = nn.ModuleDict({"act": nn.ReLU()})
assert_type(by_name["act"], nn.ReLU)
assert_type(nn.Sequential(nn.ReLU())[0], nn.Module)
assert_type(nn.BufferList()[:], nn.BufferList)


class Blocks(nn.ModuleList[nn.Linear]):
    """A list of one kind of module."""


assert_type(Blocks([nn.Linear(1, 1)])[0], nn.Linear)


def first(stats: nn.BufferDict) -> Tensor:
    return stats["mean"]
