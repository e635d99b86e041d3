"""A model is run for its summary: without arithmetic for shapes and operations, then for real for the times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from jitgrad import dtypes
from jitgrad.autograd import DryRun, Line, Tensor, no_grad, user_line
from jitgrad.dtypes import DType
from jitgrad.errors import ArgumentError, JitgradError, NoDataError
from jitgrad.nn._preserve import preserved
from jitgrad.nn._trace import Call, Trace, tensors_in
from jitgrad.ops.create import zeros
from jitgrad.ops.random import randn

if TYPE_CHECKING:
    from jitgrad.nn.module import Module

BUDGET = 1.0  # seconds that the timed runs take in all, unless the first two take longer
MOST = 30  # timed runs


@dataclass
class Run:
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
        same = (self.error, self.error.__cause__)  # a module words what is no error of jitgrad anew, on top of it
        return next((c.module for c in reversed(self.trace.calls) if c.error is not None and c.error in same), self.trace.model)


def traced(model: Module, inputs: Sequence[Any], kwargs: Mapping[str, Any], dtype: Any, *, real: bool, time: bool = False) -> Run:
    """Run the model without arithmetic; for real, where it may be, if that does not do, or for the times. It is afterwards as it was."""
    shapes = [_is_shape(x) for x in inputs]
    kinds = _dtypes(dtype, shapes.count(True))
    with preserved(model, inputs, kwargs):
        with DryRun():
            given = _filled(inputs, kinds, model)
        run = _traced(model, given, kwargs, True)
        run.inputs = [describe(x) for x in given] + [f"{k}={describe(v)}" for k, v in kwargs.items()]
        run.guessed = any(shapes)
        # What is no error of jitgrad may come from a program that takes a tensor's array out, which a dry run has not.
        certain = run.error is None or (isinstance(run.error, JitgradError) and not isinstance(run.error, NoDataError))
        if not real or (certain and (run.error is not None or not time)):
            return run
        given = _filled(inputs, kinds, model)
        if not certain:
            found = _traced(model, given, kwargs, False)
            run.trace, run.error = found.trace, found.error
        if time and run.error is None:
            try:
                with no_grad():
                    model(*given, **kwargs)  # what is not compiled yet is compiled now
            except Exception:
                found = _traced(model, given, kwargs, False)
                run.trace, run.error = found.trace, found.error
            else:
                _time(run, model, given, kwargs)
    return run


def _is_shape(x: Any) -> bool:
    return isinstance(x, tuple) and all(isinstance(n, int) and not isinstance(n, bool) for n in x)


def _dtypes(dtype: Any, count: int) -> list[DType]:
    if not isinstance(dtype, (list, tuple)):
        return [dtypes.as_dtype(dtype)] * count
    if len(dtype) != count:
        raise ArgumentError(f"summary: expected a dtype for each of {count} shapes, or one for all, given {len(dtype)}.")
    return [dtypes.as_dtype(d) for d in dtype]


def _filled(inputs: Sequence[Any], kinds: Sequence[DType], model: Module) -> list[Any]:
    """The inputs with a tensor in place of each shape, where the model's parameters are: random floats, or zeros."""
    at = next((t.device for t in (*model.parameters(), *model.buffers())), None)
    rest = iter(kinds)
    return [_example(x, next(rest), at) if _is_shape(x) else x for x in inputs]


def _example(shape: Any, dtype: DType, device: Any) -> Tensor:
    make = randn if dtype.is_floating_point else zeros
    return make(shape, dtype=dtype, device=device)


def _traced(model: Module, inputs: Sequence[Any], kwargs: Mapping[str, Any], dry: bool) -> Run:
    error = None
    with no_grad(), Trace(model, dry=dry) as trace:
        try:
            model(*inputs, **kwargs)
        except Exception as raised:
            error = raised
    return Run(trace, error, [])


def _time(run: Run, model: Module, inputs: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Medians: of the whole where nobody listens, of the parts in runs between these."""
    whole: list[float] = []
    parts: dict[str, list[float]] = {}
    on_card = any(t.device.type != "cpu" for t in (*model.parameters(), *model.buffers(), *tensors_in(inputs)))
    begun = perf_counter()
    while len(whole) < MOST and (not whole or perf_counter() - begun < BUDGET):
        with no_grad(), ExitStack() as stack:
            start = perf_counter()
            output = model(*inputs, **kwargs)
            if on_card:
                _finish(output)
            whole.append(perf_counter() - start)
            for m in model.modules() if on_card else ():  # before the trace's own hooks, which stop the clock
                stack.enter_context(m.register_forward_hook(lambda module, args, output: _finish(output)))
            with Trace(model, ops=False, lines=False) as trace:
                model(*inputs, **kwargs)
        for path, seconds in _by_path(trace.calls).items():
            parts.setdefault(path, []).append(seconds)
    run.seconds = {path: median(found) for path, found in parts.items()} | {"": median(whole)}
    run.times = len(whole)


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


def line_of(error: BaseException) -> Line | None:
    """The innermost line of the user's program that the error came through inside the model."""
    found, tb = None, error.__traceback__
    while tb is not None:
        here = user_line(tb.tb_frame)
        if here is not None and here.file == tb.tb_frame.f_code.co_filename:
            found = Line(here.file, tb.tb_lineno, here.function)
        tb = tb.tb_next
    return found
