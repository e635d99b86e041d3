"""The place of an error: the path of the layer that raised it, as the error passes out through Module.__call__."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

from jitgrad.autograd import Tensor
from jitgrad.errors import InputTypeError, JitgradError
from jitgrad.nn._hidden import hiding_places

if TYPE_CHECKING:
    from jitgrad.nn.module import Module

SHOWN = 3  # paths of a shared module that are told


class Trail:
    """Where an error has come from so far: the outermost module reached, the paths from it, the layer and its input in words."""

    __slots__ = ("inputs", "layer", "lost", "outermost", "paths", "what")

    def __init__(self, outermost: Module, what: str, inputs: str) -> None:
        self.outermost = outermost
        self.what = what  # of the layer, where it was not its forward
        self.layer = short_name(outermost)
        self.inputs = inputs
        self.paths: list[str] = []  # several where the layer is shared, and the calls do not tell by which path it was reached
        # A module that was not below the one that called it, and the paths from it: perhaps it is below one further out.
        self.lost: tuple[Module, list[str]] | None = None

    def __str__(self) -> str:
        paths = " or ".join(self.paths[:SHOWN]) + (" or others" if len(self.paths) > SHOWN else "")
        where = f"{paths} ({self.layer}) of {type(self.outermost).__name__}" if paths else self.layer
        return f"{self.what}{where}{self.inputs}"

    def pass_out(self, module: Module, steps: list[str] | None = None) -> None:
        """Note that the error comes to module from below, by one of some steps."""
        found = _paths_to(module, self.lost[0]) if self.lost is not None else []
        if self.lost is not None and found:
            steps, self.paths, self.lost = found, self.lost[1], None
        elif steps is None:
            steps = _paths_to(module, self.outermost)
            if not steps:
                self.lost = self.lost or (self.outermost, self.paths)
                steps = [f"<{type(self.outermost).__name__} that is not a submodule>"]
        self.paths = [f"{step}.{path}" if path else step for step in steps for path in self.paths or [""]][: SHOWN + 1]
        self.outermost = module


def add_place(error: JitgradError, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], what: str = "") -> None:
    """Note that the error passes out of module: called innermost first, so that the path grows to the left.

    Each step looks for the module below among all submodules, so that containers that are not called are part of the path.
    """
    trail: Trail | None = error.trail
    if trail is None:
        trail = error.trail = Trail(module, what, _described(args, kwargs))
    elif trail.outermost is not module:
        trail.pass_out(module)
    error.place = str(trail)


def add_step(error: JitgradError, box: Module, name: str) -> None:
    """Note that the error passes out of the member of this name: for containers, which know what they have called."""
    trail: Trail | None = error.trail
    if trail is not None and trail.outermost is box._modules.get(name):
        trail.pass_out(box, [name])
        error.place = str(trail)


def add_backward_place(error: JitgradError, module: Module, what: str, grads: tuple[Any, ...]) -> None:
    """Note that a backward hook of module raised the error; which model it is in is not known there."""
    if error.trail is None:
        given = ", ".join(map(_value, grads))
        error.trail = Trail(module, what, f", gradient{'s' * (len(grads) > 1)} {given}")
        error.place = str(error.trail)


def _paths_to(root: Module, target: Module) -> list[str]:
    """Paths from root, a few if there are many; through plain lists and dicts where the module is not registered; or none."""
    found = list(islice(_walks(root, target), SHOWN + 1))
    if not found:
        hidden = ((f"{at}.{path}" if path else at) for at, m in hiding_places(root) for path in _walks(m, target))
        found = list(islice(hidden, SHOWN + 1))
    return found


def _walks(root: Module, target: Module) -> Iterator[str]:
    """All paths, with no way into a part from which none leads there."""
    leads: dict[Module, bool] = {}

    def leads_there(m: Module) -> bool:
        if m not in leads:
            leads[m] = m is target or any(leads_there(child) for child in m._modules.values() if child is not None)
        return leads[m]

    def walk(m: Module, path: str) -> Iterator[str]:
        if m is target:
            yield path
            return
        for name, child in m._modules.items():
            if child is not None and leads_there(child):
                yield from walk(child, f"{path}.{name}" if path else name)

    return walk(root, "")


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


def _described(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    values = [_value(a) for a in args] + [f"{k}={_value(v)}" for k, v in kwargs.items()]
    return f", input{'s' * (len(values) > 1)} {', '.join(values)}" if values else ""


def _value(x: Any) -> str:
    if isinstance(x, Tensor):
        return f"{x.shape} {x.dtype.name}"
    if isinstance(x, (list, tuple)) and 0 < len(x) <= SHOWN and all(isinstance(v, Tensor) for v in x):
        return f"{type(x).__name__} of {', '.join(map(_value, x))}"
    return type(x).__name__
