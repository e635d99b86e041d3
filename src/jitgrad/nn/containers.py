"""Containers: Sequential, ModuleList, ModuleDict. Indexing gives references; a failed edit changes nothing."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from functools import partial
from typing import Any, Self, TypeVar, overload

from jitgrad.errors import ArgumentError, JitgradError, NoForwardError
from jitgrad.nn._edit_mark import edited, registered
from jitgrad.nn._hooks import call_with_hooks
from jitgrad.nn._listed import POSITION, Entry, Listed, positions
from jitgrad.nn._mapped import Mapped
from jitgrad.nn._place import add_step
from jitgrad.nn._show import indented, repr_of_children
from jitgrad.nn._tree import check_child
from jitgrad.nn.module import Module

M = TypeVar("M", bound=Module)


def _owns_parameters(module: Module) -> bool:
    return any(p is not None for p in module._parameters.values())


class _Box(Module):
    """A container of modules only: no other value, no None, and not the container itself."""

    def _member(self, where: str, value: Any) -> Any:
        return check_child(self, where, value)

    def _replace(self, table: str, name: str, value: Any) -> None:
        if table == "_modules" and value is None:
            raise TypeError(f"{type(self).__name__}: module {name!r} cannot be None. Remove it by del, or put nn.Identity() there.")
        super()._replace(table, name, value)

    def register_module(self, name: str, module: Module | None) -> None:
        """Enter a module under a name."""
        if module is None:
            raise TypeError(f"module {name!r}: expected a Module, given NoneType.")
        super().register_module(name, module)

    add_module = register_module


class _OnPurpose(tuple[Module, ...]):
    """Modules that a container shares on purpose."""


class _Modules(_Box, Listed[M]):
    """What Sequential and ModuleList share: modules in order, a digit name being its position, always."""

    _shared = _OnPurpose()  # by repeat(mode="share"): diagnose takes what stands here several times for no mistake

    def _entries(self) -> list[Entry[M]]:
        return list(self._modules.items())  # type: ignore[arg-type]

    def _set_entries(self, entries: Iterable[Entry[M]]) -> None:
        new = positions(entries)
        self._modules.clear()
        self._modules.update(new)
        self._forget_shared()
        edited()

    def _share(self, modules: tuple[Module, ...]) -> Self:
        if modules:
            self._shared = _OnPurpose(modules)
            self._forget_shared()
        return self

    def _forget_shared(self) -> None:
        """Of what is shared on purpose, what is not here several times any more."""
        if self._shared:
            here = Counter(map(id, self._modules.values()))
            self._shared = _OnPurpose(m for m in self._shared if here[id(m)] > 1)

    def _like(self, entries: Iterable[Entry[M]]) -> Self:
        return super()._like(entries)._share(self._shared)

    def _empty(self) -> Self:
        # A subclass whose constructor builds its modules cannot make an empty one.
        own_init = type(self).__init__ in (Sequential.__init__, ModuleList.__init__)
        return type(self)() if own_init else Sequential() if isinstance(self, Sequential) else ModuleList()  # type: ignore[return-value]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[M]:
        return iter([*self._modules.values()])  # type: ignore[list-item]  # a copy: the loop may edit

    @overload
    def __getitem__(self, index: int) -> M: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> M | Self:
        """The module at an index, negative ones from the end; for a slice a container of the same modules."""
        if type(index) is int:
            try:
                return [*self._modules.values()][index]  # type: ignore[return-value]
            except IndexError:
                pass
        return super().__getitem__(index)

    def __setitem__(self, index: int | slice, value: Any) -> None:
        if isinstance(index, slice):
            super().__setitem__(index, value)
        else:  # in its place, so that a loop over the container may go on
            name = list(self._modules)[self._position(index)]
            self._modules[name] = self._member(f"{type(self).__name__}[{index}]", value)
            self._forget_shared()
            edited()

    def append(self, module: Module, name: str | None = None) -> Self:
        """Add a module at the end, under its position or, where given, a name; returns the container."""
        return self._added(len(self), module, "append", name)

    def _added(self, index: int, module: Any, how: str, name: str | None) -> Self:
        member = self._member(f"{type(self).__name__}.{how}", module)
        if name is not None:
            if isinstance(name, str) and name.isdigit():
                raise ArgumentError(f"{type(self).__name__}.{how}: a name of digits is a position, given {name!r}. Leave name out.")
            self._check_name("module", name, {})
        entries = self._entries()
        entries.insert(index, (name or POSITION, member))
        self._set_entries(entries)
        return self

    def _inserted(self, index: Any, module: Any, after: str | None, name: str | None) -> Self:
        """insert(index, module), or insert(module, after=name)."""
        if after is None:
            return self._added(index, module, "insert", name)
        if module is not None:
            raise TypeError(f"{type(self).__name__}.insert: expected an index or after=, given both.")
        names = list(self._modules)
        if after not in names:
            raise KeyError(f"{type(self).__name__}.insert: there is no module {after!r}; it has {', '.join(names) or 'none'}.")
        return self._added(names.index(after) + 1, index, "insert", name)

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end, all or none; returns the container."""
        if isinstance(modules, Module) and not isinstance(modules, (_Modules, ModuleDict)):
            raise TypeError(f"{type(self).__name__}.extend: expected several modules, given {type(modules).__name__}. Try append.")
        return super().extend(modules.values() if isinstance(modules, ModuleDict) else modules)

    def repeat(self, n: int, mode: str = "init") -> Self:
        """A new container with these modules and n - 1 repetitions of them.

        Parameters
        ----------
        n
            How many times, at least 1.
        mode
            What a repetition is: "init": a deep copy whose modules have got new parameters by their ``reset_parameters()``;
            "copy": a deep copy with equal values; "share": the same modules, with the same weights, which nn.diagnose does not take
            for a mistake.

        Raises TypeError, with "init", for a module that owns parameters and has no reset_parameters.

        >>> import jitgrad as jg
        >>> blocks = jg.nn.ModuleList([jg.nn.Linear(2, 2)]).repeat(3)
        >>> len(blocks), blocks[0].weight is blocks[1].weight
        (3, False)
        """
        if mode not in ("init", "copy", "share"):
            raise ArgumentError(f"{type(self).__name__}.repeat: mode is expected to be 'init', 'copy' or 'share', given {mode!r}.")
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ArgumentError(f"{type(self).__name__}.repeat: n is expected to be an int of at least 1, given {n!r}.")
        members = list(self)
        if mode == "init":
            for path, m in self.named_modules():
                if _owns_parameters(m) and not hasattr(m, "reset_parameters"):
                    raise TypeError(
                        f"{type(self).__name__}.repeat: {path} ({type(m).__name__}) owns parameters and has no reset_parameters(). "
                        "Define it, or use mode='copy'."
                    )
        entries = self._entries()
        for _ in range(n - 1):
            more = members if mode == "share" else copy.deepcopy(members)  # at once: what they share they go on sharing
            if mode == "init":
                for m in ModuleList(more).modules():
                    if _owns_parameters(m):
                        m.reset_parameters()
            entries += [(POSITION, m) for m in more]
        return self._like(entries)._share((*self._shared, *members)) if mode == "share" else self._like(entries)

    # ---- other ways to the same table
    def register_module(self, name: str, module: Module | None) -> None:
        """Enter a module under a name; a new name of digits becomes its position."""
        super().register_module(name, module)
        self._set_entries(self._entries())

    add_module = register_module

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._set_entries(self._entries())


class Sequential(_Modules[Module]):
    """Modules called one after the other: ``Sequential(a, b)(x)`` is ``b(a(x))``.

    Parameters
    ----------
    *args
        Modules, which get their positions as names, or one dict of names and modules.

    A name of digits is the module's position, always; other names never change, and stay with their modules.

    >>> import jitgrad as jg
    >>> from jitgrad import nn
    >>> nn.Sequential(nn.ReLU(), nn.Flatten())(jg.tensor([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            named = dict(args[0])
            for name, module in named.items():
                self._check_name("module", name, {})
                self._member(f"Sequential, name {name!r}", module)
            self._set_entries(named.items())
            return
        for i, module in enumerate(args):
            more = " Try Sequential(*layers)." if isinstance(module, Iterable) else ""
            if not isinstance(module, Module):
                raise TypeError(f"Sequential: expected modules, given {type(module).__name__} at {i}.{more}")
            registered(module)
            self._modules[str(i)] = module

    def insert(self, index: Any, module: Any = None, *, after: str | None = None, name: str | None = None) -> Self:
        """Add a module before an index, as Python's list.insert does, or ``insert(module, after="conv1")``; returns the container.

        >>> from collections import OrderedDict
        >>> from jitgrad import nn
        >>> net = nn.Sequential(OrderedDict(conv1=nn.Conv2d(1, 2, 3), act=nn.ReLU()))
        >>> [name for name, _ in net.insert(nn.BatchNorm2d(2), after="conv1", name="norm").named_children()]
        ['conv1', 'norm', 'act']
        """
        return self._inserted(index, module, after, name)

    def forward(self, input: Any) -> Any:
        """The last module's output; a module's output, be it a tuple, is the one argument of the next. Lists inside are chained too."""
        return _in_order(self, input)

    def __add__(self, other: Sequential) -> Sequential:
        """A new Sequential of the same modules, which get their positions as names."""
        return Sequential(*self, *_as_sequential(other))

    def __iadd__(self, other: Sequential) -> Self:
        return self.extend(_as_sequential(other))

    def __mul__(self, other: int) -> Sequential:
        """A new Sequential with the same modules several times over: they are shared, and so are their weights."""
        return Sequential(*list(self) * _as_count(other))

    __rmul__ = __mul__

    def __imul__(self, other: int) -> Self:
        return super().__imul__(_as_count(other))


def _in_order(box: _Modules[Any], input: Any) -> Any:
    name = ""
    try:
        for name, module in box._modules.items():  # noqa: B007
            input = module(input) if not isinstance(module, ModuleList) else module._chain(input)  # type: ignore[misc]
    except JitgradError as error:
        add_step(error, box, name)  # the same module may stand in several places: only here is known in which it was called
        raise
    return input


def _as_sequential(other: Any) -> Sequential:
    if not isinstance(other, Sequential):
        raise ArgumentError(f"Sequential + ...: expected a Sequential, given {type(other).__name__}. Try append or extend.")
    return other


def _as_count(times: Any) -> int:
    if not isinstance(times, int):
        raise TypeError(f"Sequential * ...: expected an int, given {type(times).__name__}.")
    if times < 1:
        raise ArgumentError(f"Sequential * ...: expected an int above 0, given {times}.")
    return times


class ModuleList(_Modules[M]):
    """Modules in a list that registers them; a container only: write the loop over it in your forward.

    Parameters
    ----------
    modules
        Any iterable of modules.

    >>> from jitgrad import nn
    >>> layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    >>> layers[-1] is layers[2], len(layers[:2])
    (True, 2)
    """

    def __init__(self, modules: Iterable[M] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """A list has no order of calls of its own: NotImplementedError."""
        raise NoForwardError(
            "a ModuleList cannot be called: it does not say how its modules follow each other. "
            "Loop over it (for layer in layers: x = layer(x)), or use nn.Sequential(*layers)."
        )

    def _chain(self, input: Any) -> Any:
        """What a Sequential does with a list inside it: call its modules in order, or the list where it has a forward of its own."""
        if type(self).forward is not ModuleList.forward:
            return self(input)
        return call_with_hooks(self, (input,), {}, partial(_in_order, self))

    def insert(self, index: Any, module: Any = None, *, after: str | None = None, name: str | None = None) -> None:
        """Add a module before an index, as Python's list.insert does, or ``insert(module, after="norm")``."""
        self._inserted(index, module, after, name)

    def __repr__(self) -> str:
        blocks: list[tuple[int, str, str]] = []  # length, name of the first, and what stands there
        for name, text in repr_of_children(self):
            if blocks and name.isdigit() and blocks[-1][1].isdigit() and blocks[-1][2] == text:
                blocks[-1] = (blocks[-1][0] + 1, *blocks[-1][1:])
            else:
                blocks.append((1, name, text))
        if not blocks:
            return f"{type(self).__name__}()"
        lines = [f"({a}): {t}" if n == 1 else f"({a}-{int(a) + n - 1}): {n} x {t}" for n, a, t in blocks]
        return f"{type(self).__name__}(\n  " + "\n  ".join(map(indented, lines)) + "\n)"


class ModuleDict(_Box, Mapped[M]):
    """Modules by name, registered; ``d["fc"]`` and ``d.fc`` give the same object, with the same gradients.

    Parameters
    ----------
    modules
        A mapping, or an iterable of (name, module) pairs.

    A name that Module or ModuleDict has as an attribute (such as "type" or "keys") is reached by ``d[...]`` only.

    >>> from jitgrad import nn
    >>> d = nn.ModuleDict({"act": nn.ReLU()})
    >>> d["act"] is d.act, "act" in d
    (True, True)
    """

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def _table(self) -> dict[str, Any]:
        return self._modules

    def __getitem__(self, key: str) -> M:
        """The module under a key."""
        return self._modules[key]  # type: ignore[return-value]

    def _enter(self, key: str, value: M) -> None:
        self._modules[key] = value
        edited()

    def _drop(self, key: str) -> None:
        del self._modules[key]
        edited()

    def _empty(self) -> Self:
        return type(self)() if type(self).__init__ is ModuleDict.__init__ else ModuleDict()  # type: ignore[return-value]

    def _put_module(self, name: str, module: Module) -> None:
        self[name] = module

    def values(self) -> ValuesView[M]:
        """Modules in order."""
        return self._modules.values()  # type: ignore[return-value]

    def items(self) -> ItemsView[str, M]:
        """Pairs of name and module in order."""
        return self._modules.items()  # type: ignore[return-value]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """A dict has no order of calls of its own: NotImplementedError."""
        raise NoForwardError(
            "a ModuleDict cannot be called: it does not say how its modules follow each other. "
            "Call its modules by name (x = layers['fc'](x)), or loop over layers.values()."
        )
