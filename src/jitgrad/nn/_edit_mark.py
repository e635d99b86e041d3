"""Edits: a mark that is another one after any edit of any model, and iterators that remember whose parameters they give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from jitgrad.nn.module import Module

T = TypeVar("T")

mark = object()  # compared by identity: no two edits can make the same, whatever the thread


def edited() -> None:
    """Say that a table of parameters or submodules has changed: who watches a model looks at it again."""
    global mark
    mark = object()


class ParameterIterator(Iterator[T]):
    """An iterator over the parameters of a module that an optimizer can ask whose they are; else as the generator in it."""

    __slots__ = ("_rest", "module", "recurse")

    def __init__(self, module: Module, recurse: bool, rest: Iterator[T]) -> None:
        self.module = module
        self.recurse = recurse
        self._rest = rest

    def __iter__(self) -> Iterator[T]:
        return self._rest  # a loop runs at a generator's speed

    def __next__(self) -> T:
        return next(self._rest)
