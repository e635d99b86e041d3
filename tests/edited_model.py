"""A model with a bit of everything, edits of it, and what an optimizer says of them."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jitgrad as jg
from jitgrad import nn, optim
from jitgrad.errors import SurgeryError


class Net(nn.Module):
    """A bit of everything that holds parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.seq = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
        self.named = nn.Sequential(OrderedDict(a=nn.Linear(1, 1)))
        self.list = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
        self.dict = nn.ModuleDict({"x": nn.Linear(1, 1), "type": nn.Linear(1, 1)})
        self.plist = nn.ParameterList([jg.ones(1), jg.ones(2)])
        self.pdict = nn.ParameterDict({"w": jg.ones(1), "v": jg.ones(2)})
        self.scale = nn.Parameter(jg.ones(1))
        self.free: nn.Parameter | None
        self.register_parameter("free", None)
        self.head = nn.Linear(1, 1)
        self.mean = nn.Buffer(jg.zeros(1))


def new() -> nn.Parameter:
    return nn.Parameter(jg.ones(1))


def layer() -> nn.Linear:
    return nn.Linear(1, 1)


def editing(statements: str) -> Callable[[Any], None]:
    """A function that makes the edit; its layers are made here, as that is an edit too."""
    layers = [layer() for _ in range(3)]

    def edit(m: Any) -> None:
        for statement in statements.split("; "):
            exec(statement, {"m": m, "new": new, "layer": layers.pop, "nn": nn, "jg": jg})

    return edit


def said(opt: optim.Optimizer) -> str | None:
    """What a step with gradients says: the first name that has left, or +the first that was gained."""
    for p in [p for g in opt.param_groups for p in g["params"] if p.requires_grad and p.grad is None]:
        p.grad = jg.zeros_like(p)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            opt.step()
        except SurgeryError as error:
            return str(error).split(": ")[2].split()[0]
    return "+" + str(heard[0].message).split(": ")[2].split()[0] if heard else None
