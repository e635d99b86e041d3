"""Edits: a mark that is another one after any edit of any model, what surgery took out of models, and whose parameters were asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from weakref import WeakSet, ref

if TYPE_CHECKING:
    from jitgrad.nn.module import Module

T = TypeVar("T")
KEPT = 128  # modules that are remembered

mark = object()  # compared by identity: no two edits can make the same, whatever the thread


def edited() -> None:
    """Say that a table of parameters or submodules has changed: who watches a model looks at it again."""
    global mark
    mark = object()


# ---- what has left
class Left(NamedTuple):
    """Where surgery took a parameter from: its path, and the class of the model. Compared by identity: each edit makes its own."""

    path: str
    kind: str


out: WeakSet[Module] = WeakSet()  # modules that surgery took out of a model


def registered(module: Module) -> None:
    """Say that a module is being registered: what had left with it is in use again."""
    if len(out) and module in out:
        for m in module.modules():
            out.discard(m)
        for _, p in module._named("_parameters", "", True, True):
            p._left = None


class Members:
    """The modules and parameters of a model, noted before surgery edits it."""

    def __init__(self, model: Module) -> None:
        self.model = model
        self.modules = set(model.modules())
        self.parameters = dict(model._named("_parameters", "", True, True))

    def changed(self) -> None:
        """Mark what the model has lost since, and unmark what is in it now."""
        now = Members(self.model)
        here = {id(p) for p in now.parameters.values()}
        for p in now.parameters.values():
            p._left = None
        for path, p in self.parameters.items():
            if id(p) not in here:
                p._left = Left(path, type(self.model).__name__)
        out.difference_update(now.modules)
        out.update(self.modules - now.modules)
        edited()


# ---- who was asked
_asked: OrderedDict[ref[Module], None] = OrderedDict()


def asked(module: Module) -> None:
    """Remember, weakly, a module whose parameters are asked for: an optimizer that is given a list of them looks for their model here."""
    this = ref(module)
    _asked.pop(this, None)
    _asked[this] = None
    if len(_asked) > KEPT:
        _asked.popitem(last=False)


def in_use() -> list[Module]:
    """The modules remembered, the latest first, that exist and are not out of their model."""
    return [m for this in reversed(list(_asked)) if (m := this()) is not None and m not in out]


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
