"""Containers: Sequential, ModuleList, ModuleDict. Indexing gives references; a failed edit changes nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from functools import partial
from typing import Any, Self

from jitgrad.errors import ArgumentError, NoForwardError
from jitgrad.nn._hooks import call_with_hooks
from jitgrad.nn.module import Module, _indented

Entry = tuple[str, Module]


def _as_module(where: str, value: Any) -> Module:
    if not isinstance(value, Module):
        raise TypeError(f"{where}: expected a Module, given {type(value).__name__}.")
    return value


class _Listed(Module):
    """What Sequential and ModuleList share: modules in order, a digit name being its position, always."""

    def _entries(self) -> list[Entry]:
        return list(self._modules.items())  # type: ignore[arg-type]

    def _set_entries(self, entries: Iterable[Entry]) -> None:
        """Put entries in place of all modules; digit names become positions, other names stay."""
        new = {(str(i) if name.isdigit() else name): m for i, (name, m) in enumerate(entries)}
        self._modules.clear()
        self._modules.update(new)

    def _position(self, index: Any) -> int:
        if not hasattr(index, "__index__"):
            raise TypeError(f"{type(self).__name__}: indices are expected to be ints or slices, given {type(index).__name__}.")
        i, n = index.__index__(), len(self._modules)
        if not -n <= i < n:
            raise IndexError(f"{type(self).__name__}: index {i} is out of range for {n} modules.")
        return i % n

    def _like(self, entries: list[Entry]) -> Any:
        """A container of the same class (where its constructor is ours) on some of the same modules."""
        own_init = type(self).__init__ in (Sequential.__init__, ModuleList.__init__)
        kind = type(self) if own_init else Sequential if isinstance(self, Sequential) else ModuleList
        new = kind()
        new._set_entries(entries)
        return new

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        return bool(self._modules)

    def __getitem__(self, index: Any) -> Any:
        """The module at an index, negative ones from the end; for a slice a container of the same modules."""
        if isinstance(index, slice):
            return self._like(self._entries()[index])
        return list(self._modules.values())[self._position(index)]

    def __setitem__(self, index: Any, module: Any) -> None:
        if isinstance(index, slice):
            raise TypeError(f"{type(self).__name__}: slices cannot be assigned; assign one index at a time.")
        name = list(self._modules)[self._position(index)]
        self._modules[name] = _as_module(f"{type(self).__name__}[{index}]", module)

    def __delitem__(self, index: Any) -> None:
        entries = self._entries()
        if isinstance(index, slice):
            del entries[index]
        else:
            del entries[self._position(index)]
        self._set_entries(entries)

    def append(self, module: Module) -> Self:
        """Add a module at the end; returns the container."""
        self._set_entries([*self._entries(), ("0", _as_module(f"{type(self).__name__}.append", module))])
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Add a module before an index, as Python's list.insert does; returns the container."""
        entries = self._entries()
        entries.insert(index, ("0", _as_module(f"{type(self).__name__}.insert", module)))
        self._set_entries(entries)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end; returns the container."""
        if (isinstance(modules, Module) and not isinstance(modules, (_Listed, ModuleDict))) or not hasattr(modules, "__iter__"):
            raise TypeError(f"{type(self).__name__}.extend: expected several modules, given {type(modules).__name__}. Try append.")
        items = modules.values() if isinstance(modules, ModuleDict) else modules
        new = [("0", _as_module(f"{type(self).__name__}.extend", m)) for m in list(items)]
        self._set_entries([*self._entries(), *new])
        return self

    def pop(self, key: int | slice = -1) -> Any:
        """Remove the module at an index and return it; for a slice a container of the modules removed."""
        removed = self[key]
        del self[key]
        return removed


class Sequential(_Listed):
    """Modules called one after the other: ``Sequential(a, b)(x)`` is ``b(a(x))``.

    Parameters
    ----------
    *args
        Modules, which get their positions as names, or one dict of names and modules.

    A name of digits is the module's position, always; other names never change.

    >>> import jitgrad as jg
    >>> from jitgrad import nn
    >>> nn.Sequential(nn.ReLU(), nn.Flatten())(jg.tensor([[-1.0, 2.0]])).tolist()
    [[0.0, 2.0]]
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.register_module(name, _as_module(f"Sequential, name {name!r}", module))
        else:
            for i, module in enumerate(args):
                more = " Try Sequential(*layers)." if isinstance(module, (list, tuple)) else ""
                if not isinstance(module, Module):
                    raise TypeError(f"Sequential: expected modules, given {type(module).__name__} at {i}.{more}")
                self._modules[str(i)] = module

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
        return self.extend(list(self) * (_as_count(other) - 1))


def _in_order(box: _Listed, input: Any) -> Any:
    for module in box._modules.values():
        input = module(input) if not isinstance(module, ModuleList) else module._chain(input)  # type: ignore[misc]
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


class ModuleList(_Listed):
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

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
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

    def insert(self, index: int, module: Module) -> None:  # type: ignore[override]  # PyTorch's returns nothing here
        """Add a module before an index, as Python's list.insert does."""
        super().insert(index, module)

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __repr__(self) -> str:
        blocks: list[tuple[int, int, str]] = []  # first and last position, and what stands there
        for i, module in enumerate(self):
            text = repr(module)
            if blocks and blocks[-1][2] == text:
                blocks[-1] = (blocks[-1][0], i, text)
            else:
                blocks.append((i, i, text))
        if not blocks:
            return f"{type(self).__name__}()"
        lines = [f"({a}): {t}" if a == b else f"({a}-{b}): {b - a + 1} x {t}" for a, b, t in blocks]
        return f"{type(self).__name__}(\n  " + "\n  ".join(map(_indented, lines)) + "\n)"


class ModuleDict(Module):
    """Modules by name, registered; ``d["fc"]`` and ``d.fc`` give the same object, with the same gradients.

    Parameters
    ----------
    modules
        A mapping, or an iterable of (name, module) pairs.

    >>> from jitgrad import nn
    >>> d = nn.ModuleDict({"act": nn.ReLU()})
    >>> d["act"] is d.act, "act" in d
    (True, True)
    """

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def _put_module(self, name: str, module: Module) -> None:
        self[name] = module

    def __getitem__(self, key: str) -> Module:
        return self._modules[key]  # type: ignore[return-value]

    def __setitem__(self, key: str, module: Module) -> None:
        self._modules[_as_key(key)] = _as_module(f"ModuleDict[{key!r}]", module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def __bool__(self) -> bool:
        return bool(self._modules)

    def keys(self) -> KeysView[str]:
        """Names."""
        return self._modules.keys()

    def values(self) -> ValuesView[Module]:
        """Modules."""
        return self._modules.values()  # type: ignore[return-value]

    def items(self) -> ItemsView[str, Module]:
        """Pairs of name and module."""
        return self._modules.items()  # type: ignore[return-value]

    def clear(self) -> None:
        """Remove all modules."""
        self._modules.clear()

    def pop(self, key: str) -> Module:
        """Remove a module and return it."""
        return self._modules.pop(key)  # type: ignore[return-value]

    def update(self, modules: Any) -> None:
        """Enter modules from a mapping, a ModuleDict or (name, module) pairs; all or none."""
        pairs = modules.items() if isinstance(modules, (Mapping, ModuleDict)) else modules
        try:
            new = OrderedDict((_as_key(k), _as_module(f"ModuleDict[{k!r}]", m)) for k, m in pairs)
        except ValueError:
            raise TypeError("ModuleDict.update: expected a mapping, or (name, module) pairs.") from None
        self._modules.update(new)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """A dict has no order of calls of its own: NotImplementedError."""
        raise NoForwardError(
            "a ModuleDict cannot be called: it does not say how its modules follow each other. "
            "Call its modules by name (x = layers['fc'](x)), or loop over layers.values()."
        )


def _as_key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"ModuleDict: names are expected to be strings, given {type(key).__name__}.")
    if not key or "." in key:
        raise KeyError(f"ModuleDict: a name is expected to be non-empty and without dots, given {key!r}.")
    return key
