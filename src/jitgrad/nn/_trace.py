"""Trace: what happens while a model runs: calls of its modules and operations at the door, with the lines of the program they come from."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from threading import get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any

from jitgrad.autograd import DryRun, Line, Listener, Primitive, RemovableHandle, Tensor, user_line

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
    lines
        Whether the lines of the program are looked up, which takes most of the time where there are many small calls.

    A trace holds all tensors that came by, so that what is one and what is another stays certain. Other threads are not heard.
    """

    def __init__(self, model: Module, *, dry: bool = False, ops: bool = True, lines: bool = True) -> None:
        self.model = model
        self._line = user_line if lines else _no_line
        self.calls: list[Call] = []
        self.ops: list[Op] = []
        self._compute = DryRun() if dry else self.run
        self._hears_ops = ops or dry
        self._open: list[Call] = []
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Trace:
        self._thread = get_ident()
        self._error_before = sys.exception()
        try:
            for path, m in self.model.named_modules():
                self._handles.append(m.register_forward_pre_hook(self._before(path), with_kwargs=True))
                self._handles.append(m.register_forward_hook(self._after, with_kwargs=True, always_call=True))
            if self._hears_ops:
                super().__enter__()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            super().__exit__(*exc)
        finally:
            for handle in self._handles:
                handle.remove()
            self._handles.clear()

    def __call__(self, prim: Primitive, inputs: Sequence[Tensor | None], p: tuple[Any, ...]) -> Any:
        outputs = self._compute(prim, inputs, p)
        op = Op(prim, inputs, p, outputs, self._open[-1] if self._open else None, self._line())
        self.ops.append(op)
        self.heard(op)
        return outputs

    def heard(self, op: Op) -> None:
        """Called with each operation when it has run; subclasses look at values here, before they are overwritten."""

    def _before(self, path: str) -> Any:
        def before(module: Module, args: Any, kwargs: Any) -> None:
            if get_ident() == self._thread:
                call = Call(module, path, self._open[-1] if self._open else None, self._line(), args, kwargs)
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

    def failed_call(self, error: BaseException | None) -> Call | None:
        """The innermost call that an error came out of, also where what came out was worded anew on the way; None where it was none."""
        same: list[BaseException] = []
        while error is not None and not any(error is e for e in same):
            same.append(error)
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return next((c for c in reversed(self.calls) if any(c.error is e for e in same)), None)


def _no_line() -> None:
    return None


_DEPTH, _MOST = 6, 20_000  # how deep and how far is searched for tensors
_PLAIN = (bool, int, float, complex, str, bytes, type)


def tensors_in(value: Any) -> list[Tensor]:
    """The Tensors in arguments or outputs, in order: also in tuples, lists, dicts and objects of any class."""
    return searched(value)[0]


def searched(value: Any) -> tuple[list[Tensor], bool]:
    """The same, and whether something was met that cannot be looked into."""
    found: list[Tensor] = []
    seen: set[int] = set()
    opaque = False
    todo = [(value, _DEPTH)]
    while todo and len(seen) < _MOST:
        v, depth = todo.pop()
        if isinstance(v, Tensor):
            found.append(v)
        elif v is not None and not isinstance(v, _PLAIN) and id(v) not in seen:
            seen.add(id(v))
            parts = _parts(v) if depth else None
            if parts is None:
                opaque = True
            else:
                todo += [(part, depth - 1) for part in reversed(parts)]
    return found, opaque


def _parts(v: Any) -> list[Any] | None:
    if isinstance(v, dict):
        return list(v.values())
    if isinstance(v, (list, tuple, set, frozenset)):
        return list(v)
    slots = [getattr(v, name) for cls in type(v).__mro__ for name in _slots(cls) if hasattr(v, name)]
    inside = [*vars(v).values(), *slots] if hasattr(v, "__dict__") else slots
    return inside or None


def _slots(cls: type) -> Iterator[str]:
    slots = cls.__dict__.get("__slots__", ())
    return iter((slots,) if isinstance(slots, str) else slots)
