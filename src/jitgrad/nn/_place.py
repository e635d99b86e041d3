"""The place of an error: the path of the layer that raised it, as the error passes out through Module.__call__."""

from __future__ import annotations

import inspect
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from jitgrad.autograd import Tensor
from jitgrad.errors import InputTypeError, JitgradError

if TYPE_CHECKING:
    from jitgrad.nn.module import Module


class Trail:
    """Where an error has come from so far: the outermost module reached, the path from it, the layer and its input in words."""

    __slots__ = ("inputs", "layer", "outermost", "path")

    def __init__(self, layer: str, inputs: str, outermost: Module) -> None:
        self.layer = layer
        self.inputs = inputs
        self.outermost = outermost
        self.path = ""


def add_place(error: JitgradError, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Note that the error passes out of module: called innermost first, so that the path grows to the left.

    Each step looks for the module below among all submodules, so that containers that are not called are part of the path.
    """
    trail: Trail | None = error.trail
    if trail is None:
        trail = error.trail = Trail(short_name(module), _describe(args, kwargs), module)
    elif trail.outermost is not module:
        step = next((name for name, m in module.named_modules() if m is trail.outermost), None)
        if step is None:  # reached round the registered submodules, through a plain list or a closure
            step = f"<{type(trail.outermost).__name__} that is not a submodule>"
        trail.path = f"{step}.{trail.path}" if trail.path else step
        trail.outermost = module
    where = f"{trail.path} ({trail.layer}) of {type(module).__name__}" if trail.path else trail.layer
    error.place = where + trail.inputs


def not_a_tensor(error: AttributeError, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> JitgradError | None:
    """The error in words where an input of module that is no Tensor was taken for one."""
    given = error.obj
    of_tensors = hasattr(Tensor, error.name or "")  # else the user's own mistake about an object of theirs
    if isinstance(given, Tensor) or not of_tensors or not any(given is a for a in (*args, *kwargs.values())):
        return None
    placed = InputTypeError(f"{type(module).__name__}: expected a Tensor, given {type(given).__name__}. Try jg.tensor(...).")
    add_place(placed, module, args, kwargs)
    return placed


def short_name(module: Module) -> str:
    """``Linear(10, 20)``: the class and the arguments its constructor requires, where attributes keep them by the same names."""
    name = type(module).__name__
    if module._modules:
        return name
    cls: Any = type(module)
    required = _required(cls)
    if any(p not in module.__dict__ for p in required):
        return name
    return f"{name}({', '.join(repr(module.__dict__[p]) for p in required)})"


@lru_cache(maxsize=1000)
def _required(cls: Any) -> tuple[str, ...]:
    """The names of the arguments that a constructor requires."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return tuple(p.name for p in takewhile(lambda p: p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD, parameters))


def _describe(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    values = [_value(a) for a in args] + [f"{k}={_value(v)}" for k, v in kwargs.items()]
    return f", input{'s' * (len(values) > 1)} {', '.join(values)}" if values else ""


def _value(x: Any) -> str:
    return f"{x.shape} {x.dtype.name}" if isinstance(x, Tensor) else type(x).__name__
