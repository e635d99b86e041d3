"""Whether a model takes an example: it is run on shapes alone, and is afterwards as it was."""

from __future__ import annotations

from types import TracebackType
from typing import Any, NamedTuple

from jitgrad.autograd import DryRun, Line, Tensor, no_grad, user_line
from jitgrad.errors import JitgradError, NoDataError, SurgeryError
from jitgrad.nn._place import short_name
from jitgrad.nn._preserve import preserved
from jitgrad.nn._trace import Trace
from jitgrad.nn.module import Module
from jitgrad.ops.create import zeros


class Example:
    """The arguments of one call of a model; a tuple of ints stands for float32 zeros of that shape."""

    def __init__(self, model: Module, given: Any) -> None:
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        if isinstance(given, dict):
            self.kwargs = {name: _value(model, v) for name, v in given.items()}
        elif isinstance(given, Tensor) or _is_shape(given):
            self.args = (_value(model, given),)
        elif isinstance(given, tuple):
            self.args = tuple(_value(model, v) for v in given)
        else:
            raise TypeError(
                f"example: expected a Tensor, a shape, a tuple of arguments or a dict of keyword arguments, given {type(given).__name__}."
            )

    def run(self, model: Module) -> tuple[Trace, Exception | None]:
        """A trace of the model on this example, dry, or where its forward asks for values, with them; and what it raised."""
        trace, error = self._traced(model, dry=True)
        return self._traced(model, dry=False) if isinstance(error, NoDataError) else (trace, error)

    def run_first(self, model: Module) -> Trace:
        """A trace of the model as it is; SurgeryError where the example does not fit it."""
        trace, error = self.run(model)
        if error is not None:
            at = where(error, trace)
            raise SurgeryError(
                f"the example does not fit {type(model).__name__} as it is, before any edit: {at.name}: {said(error)}{at.line}\n"
                "  Nothing was changed. Give an example that the model takes."
            ) from error
        return trace

    def _traced(self, model: Module, dry: bool) -> tuple[Trace, Exception | None]:
        trace = Trace(model, dry=dry)
        try:
            with preserved(model), no_grad(), trace:
                model(*self.args, **self.kwargs)
        except Exception as error:  # whatever a model's own code raises says that it does not take the example
            return trace, error
        return trace, None


def _is_shape(given: Any) -> bool:
    return isinstance(given, tuple) and len(given) > 0 and all(isinstance(n, int) and not isinstance(n, bool) for n in given)


def _value(model: Module, given: Any) -> Any:
    return zeros(given, device=next((p.device for p in model.parameters()), None)) if _is_shape(given) else given


def output_of(module: Module, args: Any, kwargs: Any) -> Any:
    """What a module makes of the arguments of another's call: shapes, or where it asks for values the values."""
    with preserved(module), no_grad():
        try:
            with DryRun():
                return module(*args, **kwargs)
        except NoDataError:
            return module(*args, **kwargs)


class Where(NamedTuple):
    """Where an error came from: the layer, unless it was the model's own forward, its name, and a text line with the line of code."""

    module: Module | None
    name: str
    line: str


def where(error: Exception, trace: Trace) -> Where:
    """The innermost layer that an error came from, or the forward of the model."""
    line = _line(error.__traceback__)
    text = f"\n  at {line}" if line is not None else ""
    same = (error, error.__cause__, error.__context__)
    call = next((c for c in reversed(trace.calls) if c.error is not None and any(c.error is e for e in same)), None)
    if call is None or not call.path:
        return Where(None, f"the forward of {type(trace.model).__name__}", text)
    name = short_name(call.module) if not call.module._modules else f"the forward of {type(call.module).__name__}"
    return Where(call.module, f"{call.path} ({name})", text)


def _line(at: TracebackType | None) -> Line | None:
    """The innermost line of the model's own code that an error passed."""
    found = None
    while at is not None:
        line = user_line(at.tb_frame)
        if line is not None and line[::2] == (at.tb_frame.f_code.co_filename, at.tb_frame.f_code.co_name):
            found = line
        at = at.tb_next
    return found


def said(error: BaseException) -> str:
    """An error's own words, without the place."""
    text = str(error.args[0]) if isinstance(error, JitgradError) else f"{type(error).__name__}: {error}"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def shapes_text(value: Any) -> str:
    """An output in words: ``(1, 8)``, or for several ``((1, 8), (1, 4))``."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(map(shapes_text, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {shapes_text(v)}" for k, v in value.items()) + "}"
    return "None" if value is None else type(value).__name__
