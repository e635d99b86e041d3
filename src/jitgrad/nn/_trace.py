"""Trace: what happens while a model runs: calls of its modules and operations at the door, with the lines of the program they come from."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any

from jitgrad.autograd import DryRun, Line, Listener, Primitive, RemovableHandle, Tensor, copy_, no_grad, user_line
from jitgrad.ops.convert import clone
from jitgrad.ops.random import get_rng_state, set_rng_state

if TYPE_CHECKING:
    from jitgrad.nn.module import Module


class Call:
    """One call of a module: where it stands, who called it from which line, what went in and came out, how long it took."""

    __slots__ = ("args", "error", "kwargs", "line", "module", "ops", "output", "parent", "path", "seconds")

    def __init__(self, module: Module, path: str, parent: Call | None, line: Line | None, args: Any, kwargs: Any) -> None:
        self.module = module
        self.path = path
        self.parent = parent
        self.line = line
        self.args = args
        self.kwargs = kwargs
        self.output: Any = None
        self.error: BaseException | None = None
        self.ops = range(0)  # places in the trace's ops of what ran inside, also in modules below
        self.seconds = 0.0


class Op:
    """One operation at the door: its inputs and outputs, the innermost call around it, the line of the program."""

    __slots__ = ("call", "inputs", "line", "outputs", "p", "prim")

    def __init__(self, prim: Primitive, inputs: Any, p: tuple[Any, ...], outputs: Any, call: Call | None, line: Line | None) -> None:
        self.prim = prim
        self.inputs: Sequence[Tensor | None] = inputs
        self.p = p
        self.outputs: Sequence[Tensor] = outputs if isinstance(outputs, tuple) else (outputs,)
        self.call = call
        self.line = line


class Trace(Listener):
    """Hears calls and operations of a model while it is entered; ``calls`` and ``ops`` are in the order in which they began.

    Parameters
    ----------
    model
        The module that runs; what it has below it when the trace is entered is heard.
    dry
        Whether shapes and dtypes only are computed, see DryRun.
    ops
        Whether operations are heard too, beside calls.

    A trace holds all tensors that came by, so that what is one and what is another stays certain. Other threads are not heard.
    """

    def __init__(self, model: Module, *, dry: bool = False, ops: bool = True) -> None:
        self.model = model
        self.calls: list[Call] = []
        self.ops: list[Op] = []
        self._compute = DryRun() if dry else self.run
        self._hears_ops = ops or dry
        self._open: list[Call] = []
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Trace:
        self._thread = get_ident()
        self._error_before = sys.exception()
        if self._hears_ops:
            super().__enter__()
        for path, m in self.model.named_modules():
            self._handles.append(m.register_forward_pre_hook(self._before(path), with_kwargs=True))
            self._handles.append(m.register_forward_hook(self._after, with_kwargs=True, always_call=True))
        return self

    def __exit__(self, *exc: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        super().__exit__(*exc)

    def __call__(self, prim: Primitive, inputs: Sequence[Tensor | None], p: tuple[Any, ...]) -> Any:
        outputs = self._compute(prim, inputs, p)
        op = Op(prim, inputs, p, outputs, self._open[-1] if self._open else None, user_line())
        self.ops.append(op)
        self.heard(op)
        return outputs

    def heard(self, op: Op) -> None:
        """Called with each operation when it has run; subclasses look at values here, before they are overwritten."""

    def _before(self, path: str) -> Any:
        def before(module: Module, args: Any, kwargs: Any) -> None:
            if get_ident() == self._thread:
                call = Call(module, path, self._open[-1] if self._open else None, user_line(), args, kwargs)
                call.ops = range(len(self.ops), len(self.ops))
                self.calls.append(call)
                self._open.append(call)
                call.seconds = -perf_counter()

        return before

    def _after(self, module: Module, args: Any, kwargs: Any, output: Any) -> None:
        if get_ident() == self._thread and self._open and self._open[-1].module is module:
            call = self._open.pop()
            call.seconds += perf_counter()
            call.output = output
            call.ops = range(call.ops.start, len(self.ops))
            error = sys.exception()
            call.error = None if error is self._error_before else error


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The Tensors in arguments or outputs: also in tuples, lists, dicts and objects with attributes of them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from tensors_in(v)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for v in value:
            yield from tensors_in(v)
    elif hasattr(value, "__dataclass_fields__"):
        yield from tensors_in(vars(value))


@contextmanager
def preserved(model: Module) -> Iterator[None]:
    """Afterwards model is as it was before: buffers, gradients, attributes that forward sets, and the lists, dicts and sets among them;
    and so is the default random generator."""
    modules = list(model.modules())
    attributes = [dict(m.__dict__) for m in modules]
    plain = [(v, type(v)(v)) for had in attributes for v in had.values() if type(v) in (list, dict, set)]
    with no_grad():
        buffers = [(b, b._version, clone(b)) for b in model.buffers()]
    grads = [(p, p.grad) for p in model.parameters()]
    rng_state = get_rng_state()
    try:
        for p, _ in grads:
            p.grad = None
        yield
    finally:
        set_rng_state(rng_state)
        for m, had in zip(modules, attributes, strict=True):
            m.__dict__.clear()
            m.__dict__.update(had)
        for container, held in plain:
            container.clear()
            container.extend(held) if isinstance(container, list) else container.update(held)
        for p, g in grads:
            p.grad = g
        with no_grad():
            for b, version, old in buffers:
                if b._version != version:
                    copy_(b, old)
