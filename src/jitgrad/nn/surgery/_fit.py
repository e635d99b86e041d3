"""Whether a model takes an example: it is run on shapes alone, and is afterwards as it was."""

from __future__ import annotations

from typing import Any, NamedTuple

from jitgrad.autograd import Tensor, raised_at
from jitgrad.errors import JitgradError, SurgeryError
from jitgrad.nn._dry import Arguments, is_shape, traced
from jitgrad.nn._place import short_name
from jitgrad.nn._trace import Trace
from jitgrad.nn.module import Module


class Example:
    """One value that says with what a model is called: a Tensor or a shape, a tuple of arguments, a dict of keyword arguments."""

    def __init__(self, model: Module, given: Any) -> None:
        if isinstance(given, dict):
            self.given = Arguments(model, (), given, named_shapes=True)
        elif isinstance(given, Tensor) or is_shape(given):
            self.given = Arguments(model, (given,))
        elif isinstance(given, tuple):
            self.given = Arguments(model, given)
        else:
            raise TypeError(
                f"example: expected a Tensor, a shape, a tuple of arguments or a dict of keyword arguments, given {type(given).__name__}."
            )

    def run(self, model: Module) -> tuple[Trace, Exception | None]:
        """A trace of the model on this example, and what it raised."""
        return traced(model, self.given)

    def run_first(self, model: Module) -> tuple[Trace, None] | tuple[None, SurgeryError]:
        """A trace of the model as it is, or what is to be raised where the example does not fit it."""
        trace, error = self.run(model)
        if error is None:
            return trace, None
        at = where(error, trace)
        misfit = SurgeryError(
            f"the example does not fit {type(model).__name__} as it is, before any edit: {at.name}: {said(error)}{at.line}\n"
            "  Nothing was changed. Give an example that the model takes."
        )
        misfit.__cause__ = error
        return None, misfit


class Where(NamedTuple):
    """Where an error came from: the layer, unless it was the model's own forward, its path, its words, and the line of the code."""

    module: Module | None
    path: str
    layer: str
    line: str

    @property
    def name(self) -> str:
        """Path and layer."""
        return f"{self.path} ({self.layer})" if self.path else self.layer


def where(error: Exception, trace: Trace) -> Where:
    """The innermost layer that an error came from, or the forward of the model."""
    line = raised_at(error)
    text = f"\n  at {line}" if line is not None else ""
    call = trace.failed_call(error)
    if call is None or not call.path:
        return Where(None, "", f"the forward of {type(trace.model).__name__}", text)
    name = short_name(call.module) if not call.module._modules else f"the forward of {type(call.module).__name__}"
    return Where(call.module, call.path, name, text)


def said(error: BaseException) -> str:
    """An error's own words: without the place, and without what jitgrad's errors say to do, as an edit has more ways."""
    text = error.parts()[0] if isinstance(error, JitgradError) else f"{type(error).__name__}: {error}"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def shapes_text(value: Any, depth: int = 6) -> str:
    """An output in words: ``(1, 8)``, or for several ``((1, 8), (1, 4))``."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if not depth:
        return "..."
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(shapes_text(v, depth - 1) for v in value) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {shapes_text(v, depth - 1)}" for k, v in value.items()) + "}"
    return "None" if value is None else type(value).__name__
