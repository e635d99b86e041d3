"""Models that tests of surgery edit, and what must be the same again afterwards."""

from __future__ import annotations

from typing import Any

import jitgrad as jg
from jitgrad import nn


class ComplexModel(nn.Module):
    """A list, a Sequential and plain attributes; a size is written in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3)
        self.linear1 = nn.Linear(16 * 6 * 6, 128)
        self.module_list = nn.ModuleList([nn.Linear(128, 64), nn.Linear(64, 32)])
        self.nested = nn.Sequential(nn.Linear(32, 16), nn.Linear(16, 8))

    def forward(self, x: Any) -> Any:
        x = self.conv1(x)
        x = x.view(-1, 16 * 6 * 6)
        x = self.linear1(x)
        for mod in self.module_list:
            x = mod(x)
        return self.nested(x)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.Linear(4, 4)
        self.mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x: Any) -> Any:
        return x + self.mlp(self.attn(x))


class Net(nn.Module):
    """Blocks, a dict, a shared activation and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(jg.ones(4))
        self.blocks = nn.Sequential(Block(), Block())
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 2), "type": nn.Linear(4, 3)})
        self.act = self.blocks[0].mlp[1]
        self.empty = nn.Sequential()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Any, head: str = "a") -> Any:
        return self.heads[head](self.norm(self.act(self.blocks(self.empty(x)) * self.scale)))


class Sized(nn.Module):
    """Attributes, and a width in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.same = nn.Linear(4, 6), nn.Linear(6, 2), nn.Sequential(nn.Linear(3, 3))
        self.twin = self.same

    def forward(self, x: Any) -> Any:
        return self.b(self.a(x).relu())


def state(model: nn.Module) -> Any:
    """All that an edit may touch, with the identity of every object."""
    modules = [(path, id(m), _attributes(m), list(m._modules)) for path, m in model.named_modules(remove_duplicate=False)]
    parameters = [(k, id(p), id(p.array), p.requires_grad, p.tolist()) for k, p in model.named_parameters(remove_duplicate=False)]
    return repr(model), modules, parameters, [(k, id(b), id(b.array), b.tolist()) for k, b in model.named_buffers()]


def _attributes(m: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(m).items() if isinstance(value, (bool, int, float, str, tuple))}


def everything(model: nn.Module) -> Any:
    """What a refused edit leaves as it is: the model, and the default random generator."""
    return state(model), jg.get_rng_state().tolist()
