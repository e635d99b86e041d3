"""A model is run for its summary: without arithmetic for shapes and operations, then for real for the times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from jitgrad.autograd import Tensor, no_grad
from jitgrad.nn._dry import Arguments, traced, traced_once
from jitgrad.nn._preserve import preserved
from jitgrad.nn._trace import Call, Trace, tensors_in
from jitgrad.nn._tree import every_parameter

if TYPE_CHECKING:
    from jitgrad.nn.module import Module

BUDGET = 1.0  # seconds that the timed runs take in all, unless the first two take longer
MOST = 30  # timed runs


@dataclass
class Measured:
    """What was found: the trace of one run, what stopped it, and seconds by the path of the module."""

    trace: Trace
    error: Exception | None
    inputs: list[str]
    guessed: bool = False  # whether shapes were given
    seconds: dict[str, float] = field(default_factory=dict)
    times: int = 0

    @property
    def failed(self) -> Module | None:
        """The innermost module whose call raised the error; None where there is none."""
        if self.error is None:
            return None
        call = self.trace.failed_call(self.error)
        return self.trace.model if call is None else call.module


def measured(model: Module, given: Arguments, time: bool) -> Measured:
    """Run the model without arithmetic; with time for real too. It is afterwards as it was."""
    trace, error = traced(model, given, real=time)
    args, kwargs = given.made(dry=True)
    inputs = [describe(x) for x in args] + [f"{k}={describe(v)}" for k, v in kwargs.items()]
    found = Measured(trace, error, inputs, given.guessed)
    if time and error is None and not _timed(found, model, given):
        found.trace, found.error = traced_once(model, given, dry=False)
    return found


def _timed(found: Measured, model: Module, given: Arguments) -> bool:
    """Take the times; False where the model does not run for real."""
    with preserved(model, given.args, given.kwargs), no_grad():
        args, kwargs = given.made(dry=False)
        try:
            model(*args, **kwargs)  # what is not compiled yet is compiled now
        except Exception:
            return False
        _time(found, model, args, kwargs)
    return True


def _time(found: Measured, model: Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Medians: of the whole where nobody listens, of the parts in runs between these."""
    whole: list[float] = []
    parts: dict[str, list[float]] = {}
    on_card = any(t.device.type != "cpu" for t in (*every_parameter(model.modules()), *model.buffers(), *tensors_in(args)))
    begun = perf_counter()
    while len(whole) < MOST and (not whole or perf_counter() - begun < BUDGET):
        with ExitStack() as stack:
            start = perf_counter()
            output = model(*args, **kwargs)
            if on_card:
                _finish(output)
            whole.append(perf_counter() - start)
            for m in model.modules() if on_card else ():  # before the trace's own hooks, which stop the clock
                stack.enter_context(m.register_forward_hook(lambda module, args, output: _finish(output)))
            with Trace(model, ops=False, lines=False) as trace:
                model(*args, **kwargs)
        for path, seconds in _by_path(trace.calls).items():
            parts.setdefault(path, []).append(seconds)
    found.seconds = {path: median(each) for path, each in parts.items()} | {"": median(whole)}
    found.times = len(whole)


def _finish(output: Any) -> None:
    """Wait until a card has computed an output: one of its elements is brought here."""
    for t in tensors_in(output):
        if t.numel():
            t[(0,) * t.ndim].cpu()
            return


def _by_path(calls: Sequence[Call]) -> dict[str, float]:
    """Seconds by path; a call inside another of the same module is part of that one."""
    total: dict[str, float] = {}
    for call in calls:
        above = call.parent
        while above is not None and above.module is not call.module:
            above = above.parent
        if above is None:
            total[call.path] = total.get(call.path, 0.0) + call.seconds
    return total


def describe(value: Any) -> str:
    """``(2, 3) float32`` for a Tensor, also inside other things; the name of the type where there is none."""
    found = [f"{t.shape} {t.dtype.name}" for t in tensors_in(value)]
    if isinstance(value, Tensor):
        return found[0]
    name = type(value).__name__
    return f"{name} of {', '.join(found)}" if found else repr(value) if isinstance(value, (int, float, str, type(None))) else name
