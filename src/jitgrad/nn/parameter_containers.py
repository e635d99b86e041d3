"""ParameterList, ParameterDict, BufferList, BufferDict: tensors in a list or a dict that registers them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Self

from jitgrad.autograd import Tensor
from jitgrad.errors import ArgumentError, NoForwardError
from jitgrad.nn._edit_mark import edited
from jitgrad.nn._listed import Entry, Listed, positions
from jitgrad.nn._mapped import Mapped
from jitgrad.nn._tree import check_child
from jitgrad.nn.module import Module
from jitgrad.nn.parameter import Parameter


class _Kept(Module):
    """Keeps values of any kind by name: Parameters and Modules registered, others beside them."""

    _others: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        self._others = {}

    def _tables(self) -> tuple[dict[str, Any], ...]:
        return self._parameters, self._modules, self._others

    def _find(self, name: str) -> Any:
        for table in self._tables():
            if name in table:
                return table[name]
        raise KeyError(name)

    def _keep(self, name: str, value: Any) -> None:
        home = self._parameters if isinstance(value, Parameter) else self._modules if isinstance(value, Module) else self._others
        for table in self._tables():
            if table is not home:
                table.pop(name, None)
        home[name] = value
        if home is self._parameters:
            value._left = None
        edited()

    def _forget(self, name: str) -> None:
        for table in self._tables():
            table.pop(name, None)
        edited()

    def _member(self, where: str, value: Any) -> Any:
        if isinstance(value, Module):
            return check_child(self, where, value)
        return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value

    def _empty(self) -> Self:
        return type(self)()

    def __getattr__(self, name: str) -> Any:
        others = self.__dict__.get("_others", ())
        return self._others[name] if name in others else super().__getattr__(name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """A container of parameters computes nothing: NotImplementedError."""
        raise NoForwardError(
            f"a {type(self).__name__} cannot be called: it computes nothing. Use its parameters in the forward of your module."
        )


class ParameterList(_Kept, Listed[Any]):
    """A list whose Tensors become Parameters and are registered under their positions; other objects are kept beside them.

    Parameters
    ----------
    values
        Any iterable. A Parameter goes in as it is, another Tensor as a Parameter on its memory.

    >>> import jitgrad as jg
    >>> weights = jg.nn.ParameterList([jg.ones(2, 3), jg.zeros(3)])
    >>> [name for name, _ in weights.named_parameters()], weights[-1] is weights[1]
    (['0', '1'], True)
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def __len__(self) -> int:
        return self._size

    def _entries(self) -> list[Entry[Any]]:
        return [(str(i), self._find(str(i))) for i in range(self._size)]

    def _set_entries(self, entries: Iterable[Entry[Any]]) -> None:
        new = positions(entries)
        for i in range(self._size):
            self._forget(str(i))
        for name, value in new.items():
            self._keep(name, value)
        self._size = len(new)

    def __setitem__(self, index: int | slice, value: Any) -> None:
        if not isinstance(index, slice) and isinstance(self[index], Parameter) and not isinstance(value, Tensor):
            raise TypeError(f"ParameterList[{index}] is a Parameter: expected a Tensor in its place, given {type(value).__name__}.")
        super().__setitem__(index, value)

    # ---- other ways to the same tables
    def __setattr__(self, name: str, value: Any) -> None:
        if self._at(name) is not None:
            self[int(name)] = value
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if self._at(name) is not None:
            del self[int(name)]
        else:
            super().__delattr__(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Enter a parameter under a name; a new name of digits becomes its position."""
        if isinstance(name, str) and name.isdigit() and isinstance(param, Parameter):
            self._put(name, param)
        else:
            super().register_parameter(name, param)

    def register_module(self, name: str, module: Module | None) -> None:
        """Enter a module under a name; a new name of digits becomes its position."""
        if isinstance(name, str) and name.isdigit() and isinstance(module, Module):
            self._put(name, module)
        else:
            super().register_module(name, module)

    add_module = register_module

    def _at(self, name: str) -> int | None:
        """The position that is meant by a name."""
        return int(name) if name.isdigit() and int(name) < self.__dict__.get("_size", 0) else None

    def _put(self, name: str, value: Any) -> None:
        if self._at(name) is None:
            self.append(value)
        else:
            self[int(name)] = value

    def extra_repr(self) -> str:
        return "\n".join(f"  ({i}): {_described(value)}" for i, value in enumerate(self))


class ParameterDict(_Kept, Mapped[Any]):
    """A dict whose Tensors become Parameters and are registered under their keys; other objects are kept beside them.

    Parameters
    ----------
    parameters
        A mapping, or an iterable of (key, value) pairs. A plain dict is entered in the order of its sorted keys, an OrderedDict, a
        ParameterDict and pairs in their own, as in PyTorch: the order of the parameters is theirs in an optimizer.

    A key is any string that is not empty and has no dot. ``d["w"]`` and ``d.w`` give the same object.

    >>> import jitgrad as jg
    >>> d = jg.nn.ParameterDict({"w": jg.ones(2), "size": 2})
    >>> d.w is d["w"], list(d), [name for name, _ in d.named_parameters()]
    (True, ['size', 'w'], ['w'])
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def _table(self) -> dict[str, Any]:
        return self._keys

    def _enter(self, key: str, value: Any) -> None:
        self._keep(key, value)
        self._keys[key] = None

    def _drop(self, key: str) -> None:
        del self._keys[key]
        self._forget(key)

    def _ordered(self, given: Mapping[str, Any]) -> Iterable[Any]:
        return given.items() if isinstance(given, OrderedDict) else sorted(given.items(), key=lambda pair: pair[0])

    def __getitem__(self, key: str) -> Any:
        """The value under a key."""
        if key not in self._keys:
            raise KeyError(key)
        return self._find(key)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Enter a parameter under a key."""
        self._check_name("parameter", name, self._keys)
        self[name] = param

    def register_module(self, name: str, module: Module | None) -> None:
        """Enter a module under a key."""
        self._check_name("module", name, self._keys)
        self[name] = module

    add_module = register_module

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_keys", ()):
            self[name] = value
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__.get("_keys", ()):
            del self[name]
        else:
            super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(k for k in self._keys if k.isidentifier())})

    def extra_repr(self) -> str:
        return "\n".join(f"  ({key}): {_described(value)}" for key, value in self.items())


class _Buffers(Module):
    """What BufferList and BufferDict share: Tensors in the table of buffers."""

    def __init__(self, persistent: bool) -> None:
        super().__init__()
        self.persistent = persistent

    def _member(self, where: str, value: Any) -> Tensor:
        if not isinstance(value, Tensor) or isinstance(value, Parameter):
            more = " Try nn.ParameterList or nn.ParameterDict." if isinstance(value, Parameter) else " Try jg.tensor(...)."
            raise TypeError(f"{where}: expected a Tensor that is no Parameter, given {type(value).__name__}.{more}")
        return value

    def _empty(self) -> Self:
        return type(self)(persistent=self.persistent)

    def _replace(self, table: str, name: str, value: Any) -> None:
        if table == "_buffers":
            self._member(f"{type(self).__name__}[{name!r}]", value)  # not None, which has no place in a list
        super()._replace(table, name, value)

    def _mark(self) -> None:
        """Say of all buffers whether they are saved."""
        self._non_persistent_buffers_set.clear()
        if not self.persistent:
            self._non_persistent_buffers_set.update(self._buffers)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """A container of buffers computes nothing: NotImplementedError."""
        raise NoForwardError(
            f"a {type(self).__name__} cannot be called: it computes nothing. Use its tensors in the forward of your module."
        )


class BufferList(_Buffers, Listed[Tensor]):
    """A list whose Tensors are registered as buffers under their positions.

    Parameters
    ----------
    values
        Any iterable of Tensors.
    persistent
        Whether they are part of the state dict.

    >>> import jitgrad as jg
    >>> means = jg.nn.BufferList([jg.zeros(2), jg.ones(3)])
    >>> list(means.state_dict()), means[-1].shape
    (['0', '1'], (3,))
    """

    def __init__(self, values: Iterable[Tensor] | None = None, *, persistent: bool = True) -> None:
        super().__init__(persistent)
        if values is not None:
            self.extend(values)

    def _entries(self) -> list[Entry[Tensor]]:
        return list(self._buffers.items())  # type: ignore[arg-type]

    def _set_entries(self, entries: Iterable[Entry[Tensor]]) -> None:
        new = positions(entries)
        self._buffers.clear()
        self._buffers.update(new)
        self._mark()

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Enter a tensor under a name; a new name of digits becomes its position. It is saved if the list is: all are, or none."""
        self._member(f"BufferList, buffer {name!r}", tensor)
        if self.persistent and not persistent:
            raise ArgumentError(
                "BufferList.register_buffer: persistent=False is for the whole list. Try BufferList(..., persistent=False)."
            )
        super().register_buffer(name, tensor, persistent)
        self._set_entries(self._entries())

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._set_entries(self._entries())

    def extra_repr(self) -> str:
        return "\n".join(f"({name}): {_described(value)}" for name, value in self._entries())


class BufferDict(_Buffers, Mapped[Tensor]):
    """A dict whose Tensors are registered as buffers under their keys.

    Parameters
    ----------
    buffers
        A mapping, or an iterable of (key, Tensor) pairs.
    persistent
        Whether they are part of the state dict.

    >>> import jitgrad as jg
    >>> stats = jg.nn.BufferDict({"mean": jg.zeros(2)})
    >>> stats.mean is stats["mean"], list(stats.state_dict())
    (True, ['mean'])
    """

    def __init__(self, buffers: Any = None, *, persistent: bool = True) -> None:
        super().__init__(persistent)
        if buffers is not None:
            self.update(buffers)

    def _table(self) -> dict[str, Any]:
        return self._buffers

    def _enter(self, key: str, value: Tensor) -> None:
        self._buffers[key] = value
        self._mark()

    def _drop(self, key: str) -> None:
        del self._buffers[key]
        self._mark()

    def extra_repr(self) -> str:
        return "\n".join(f"({key}): {_described(value)}" for key, value in self.items())


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"Object of type: {type(value).__name__}"
    where = f" ({value.device})" if value.device.type == "cuda" else ""
    kind = "Parameter" if isinstance(value, Parameter) else "Buffer"
    return f"{kind} containing: [{value.dtype} of size {'x'.join(map(str, value.shape))}{where}]"
