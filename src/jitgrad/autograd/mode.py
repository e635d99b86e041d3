"""Grad mode and listeners: one context variable that the door reads once per call.

Its value is True or False (recording or not), or a Listening where somebody listens at the door.
A context variable is right in threads (each starts with recording on) and in asyncio tasks (each keeps its creator's).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Listening:
    """Mode while a listener is on: the listener, the mode beneath it, and whether recording is on."""

    __slots__ = ("below", "grad", "listener")

    def __init__(self, listener: Any, below: bool | Listening, grad: bool) -> None:
        self.listener = listener
        self.below = below
        self.grad = grad

    def walk(self) -> Any:
        """The class of Walk that the nearest listener with one brings, None where there is none."""
        found = self.listener.walk
        return found if found is not None or isinstance(self.below, bool) else self.below.walk()

    def made(self, node: Any) -> None:
        """Tell all who listen of a node that was made beside their calls."""
        self.listener.made(node)
        if not isinstance(self.below, bool):
            self.below.made(node)


_mode: ContextVar[bool | Listening] = ContextVar("jitgrad_mode", default=True)
# Modes that entered blocks will bring back, innermost first, as (mode, rest): one for each context, whoever shares the objects.
_outer: ContextVar[Any] = ContextVar("jitgrad_outer_modes", default=None)
current_mode = _mode.get
set_mode = _mode.set
reset_mode = _mode.reset


def is_grad_enabled() -> bool:
    """Whether operations are being recorded.

    >>> import jitgrad as jg
    >>> with jg.no_grad():
    ...     jg.is_grad_enabled()
    False
    """
    m = current_mode()
    return m if m is True or m is False else m.grad


def with_grad(m: bool | Listening, grad: bool) -> bool | Listening:
    """The same mode with recording on or off."""
    return grad if isinstance(m, bool) else Listening(m.listener, with_grad(m.below, grad), grad)


def enter_mode(m: bool | Listening) -> None:
    """Set the mode for a block, until leave_mode."""
    _outer.set((current_mode(), _outer.get()))
    set_mode(m)


def leave_mode() -> None:
    """Bring back the mode outside of the innermost block."""
    m, rest = _outer.get()
    _outer.set(rest)
    set_mode(m)


def change_modes(change: Callable[[bool | Listening], bool | Listening]) -> None:
    """Change the mode and those that entered blocks will bring back, so that the change outlives these blocks."""
    set_mode(change(current_mode()))
    modes, stack = [], _outer.get()
    while stack is not None:
        m, stack = stack
        modes.append(change(m))
    for m in reversed(modes):
        stack = (m, stack)
    _outer.set(stack)


class _GradMode:
    """Context manager and decorator that sets recording; entering twice, or in several threads, is safe."""

    grad: bool

    def __enter__(self) -> None:
        m = current_mode()
        _outer.set((m, _outer.get()))
        set_mode(self.grad if m is True or m is False else with_grad(m, self.grad))

    def __exit__(self, *exc: object) -> None:
        m, rest = _outer.get()
        _outer.set(rest)
        _mode.set(m)

    def _fresh(self) -> _GradMode:
        return type(self)()

    def __call__(self, fn: F) -> F:
        fresh = self._fresh
        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def around_coroutine(*args: Any, **kwargs: Any) -> Any:
                with fresh():
                    return await fn(*args, **kwargs)

            return around_coroutine  # type: ignore[return-value]
        if inspect.isgeneratorfunction(fn):

            @functools.wraps(fn)
            def around_generator(*args: Any, **kwargs: Any) -> Any:
                # The mode holds while the body runs, not while its consumer does.
                with fresh():
                    generator = fn(*args, **kwargs)
                sent, step = None, generator.send
                while True:
                    try:
                        with fresh():
                            item = step(sent)
                    except StopIteration as stop:
                        return stop.value
                    try:
                        sent, step = (yield item), generator.send
                    except GeneratorExit:
                        with fresh():
                            generator.close()
                        raise
                    except BaseException as error:
                        sent, step = error, generator.throw

            return around_generator  # type: ignore[return-value]

        @functools.wraps(fn)
        def around(*args: Any, **kwargs: Any) -> Any:
            with fresh():
                return fn(*args, **kwargs)

        return around  # type: ignore[return-value]


class _BareDecorator(type):
    """Lets ``@no_grad`` work without its parentheses."""

    _made: Any = None

    def __call__(cls, *args: Any) -> Any:
        made = cls._made
        if made is None:  # one object serves all: what it brings back is kept by context
            made = cls._made = super().__call__()
        if not args:
            return made
        if len(args) == 1 and callable(args[0]):
            return made(args[0])
        raise TypeError(f"{cls.__name__}() takes no arguments, or the function to decorate; given {args!r}.")


class no_grad(_GradMode, metaclass=_BareDecorator):  # noqa: N801  (PyTorch's name)
    """Turn recording off: ``with jg.no_grad():``, ``@jg.no_grad()``.

    >>> import jitgrad as jg
    >>> x = jg.ones(2, requires_grad=True)
    >>> with jg.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    grad = False


class enable_grad(_GradMode, metaclass=_BareDecorator):  # noqa: N801
    """Turn recording on, also inside no_grad.

    >>> import jitgrad as jg
    >>> x = jg.ones(2, requires_grad=True)
    >>> with jg.no_grad(), jg.enable_grad():
    ...     (x * 2).requires_grad
    True
    """

    grad = True


class set_grad_enabled(_GradMode):  # noqa: N801
    """Set recording from here on, or for a ``with`` block, or for a decorated function.

    >>> import jitgrad as jg
    >>> with jg.set_grad_enabled(False):
    ...     jg.is_grad_enabled()
    False
    >>> jg.is_grad_enabled()
    True
    """

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, bool):
            raise TypeError(f"set_grad_enabled: expected True or False, given {mode!r}.")
        self.grad = mode
        self._before: bool | Listening | None = current_mode()
        _mode.set(with_grad(current_mode(), mode))

    def __enter__(self) -> None:
        if self._before is None:
            super().__enter__()
            return
        # The constructor has set the mode already: leaving must bring back what was there before it.
        _mode.set(self._before)
        self._before = None
        super().__enter__()

    def _fresh(self) -> _GradMode:
        return set_grad_enabled(self.grad)

    def __call__(self, fn: F) -> F:
        if self._before is not None:
            _mode.set(self._before)
            self._before = None
        return super().__call__(fn)
