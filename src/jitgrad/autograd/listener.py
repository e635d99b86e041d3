"""Listener: hears every operation at the door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jitgrad.autograd.door import apply_any
from jitgrad.autograd.mode import Listening, current_mode, enter_mode, is_grad_enabled, leave_mode
from jitgrad.autograd.node import Node
from jitgrad.autograd.primitive import Primitive
from jitgrad.autograd.tensor import Tensor


class Listener:
    """Hears every operation while it is entered: subclass it and override ``__call__``.

    ``__call__(prim, inputs, p)`` gets the primitive, its input Tensors and its static parameters, and returns the outputs;
    ``self.run(prim, inputs, p)`` computes them as if nobody listened. Forward, backward, optimizer updates, running
    statistics, gradient accumulation and random draws all pass here. Listeners nest: the one entered last hears first.

    >>> import jitgrad as jg
    >>> class Names(jg.autograd.Listener):
    ...     def __init__(self):
    ...         self.names = []
    ...     def __call__(self, prim, inputs, p):
    ...         self.names.append(prim.name)
    ...         return self.run(prim, inputs, p)
    >>> x = jg.ones(2, requires_grad=True)
    >>> with Names() as heard:
    ...     y = (x * x).sum()
    >>> heard.names
    ['mul', 'sum']
    """

    walk: Any = None  # the class of Walk that a backward takes while this one listens
    _entered = False

    def __enter__(self) -> Any:
        if self._entered:
            raise RuntimeError(f"{type(self).__name__} is already listening: make another one.")
        enter_mode(Listening(self, current_mode(), is_grad_enabled()))
        self._entered = True
        return self

    def __exit__(self, *exc: object) -> None:
        if self._entered:
            self._entered = False
            leave_mode()

    def __call__(self, prim: Primitive, inputs: Sequence[Tensor | None], p: tuple[Any, ...]) -> Any:
        return self.run(prim, inputs, p)

    def made(self, node: Node) -> None:
        """Hears of a node that no call made: what an in-place write, or a view whose base was written to, leaves in the graph."""

    def read(self, tensor: Tensor) -> None:
        """Called where Python or NumPy gets the elements of a tensor: ``item()``, ``tolist()``, ``numpy()``."""

    @staticmethod
    def run(prim: Primitive, inputs: Sequence[Tensor | None], p: tuple[Any, ...]) -> Any:
        """Apply the primitive beneath this listener."""
        return apply_any(prim, inputs, p)


def tell_read(tensor: Tensor) -> None:
    """Tell all who listen that the elements of tensor leave."""
    m = current_mode()
    while m is not True and m is not False:
        m.listener.read(tensor)
        m = m.below
