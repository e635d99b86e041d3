"""ParameterList, ParameterDict: parameters, and other things beside them, in a list or a dict that registers them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Any, Self

from jitgrad.autograd import Tensor
from jitgrad.errors import ArgumentError, NoForwardError
from jitgrad.nn.module import Module
from jitgrad.nn.parameter import Parameter


class ParameterList(Module):
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

    def _name(self, index: Any) -> str:
        if not hasattr(index, "__index__"):
            raise TypeError(f"{type(self).__name__}: indices are expected to be ints or slices, given {type(index).__name__}.")
        i, n = index.__index__(), self._size
        if not -n <= i < n:
            raise IndexError(f"{type(self).__name__}: index {i} is out of range for {n} values.")
        return str(i % n)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(self._size))

    def __getitem__(self, index: Any) -> Any:
        """The value at an index, negative ones from the end; for a slice a list of the same values."""
        if isinstance(index, slice):
            return type(self)(self[i] for i in range(*index.indices(self._size)))
        return getattr(self, self._name(index))

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, self._name(index), _as_parameter(value))

    def append(self, value: Any) -> Self:
        """Add a value at the end; returns the list."""
        return self.extend([value])

    def extend(self, values: Iterable[Any]) -> Self:
        """Add values at the end, all or none; returns the list."""
        if isinstance(values, Tensor) or not isinstance(values, Iterable):
            raise TypeError(f"{type(self).__name__}.extend: expected several values, given {type(values).__name__}. Try append.")
        for value in [_as_parameter(v) for v in values]:
            setattr(self, str(self._size), value)
            self._size += 1
        return self

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """A list of parameters computes nothing: NotImplementedError."""
        raise NoForwardError("a ParameterList cannot be called: it computes nothing. Use its parameters in the forward of your module.")

    def extra_repr(self) -> str:
        return "\n".join(f"  ({i}): {_described(value)}" for i, value in enumerate(self))


class ParameterDict(Module):
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
        self._others: dict[str, Any] = {}  # what is neither Parameter nor Module
        if parameters is not None:
            self.update(parameters)

    def __getattr__(self, name: str) -> Any:
        others = self.__dict__.get("_others", ())
        return self._others[name] if name in others else super().__getattr__(name)

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

    def __getitem__(self, key: str) -> Any:
        """The value under a key."""
        if key in self._keys:
            for table in (self._parameters, self._modules, self._others):
                if key in table:
                    return table[key]
        raise KeyError(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self.update([(key, value)])

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        for table in (self._parameters, self._modules, self._others):
            table.pop(key, None)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __or__(self, other: Any) -> ParameterDict:
        new = self.copy()
        new.update(other)
        return new

    def __ror__(self, other: Any) -> ParameterDict:
        new = ParameterDict(other)
        new.update(self)
        return new

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    def keys(self) -> KeysView[str]:
        """Keys in order."""
        return self._keys.keys()

    def values(self) -> Iterator[Any]:
        """Values in order."""
        return (self[k] for k in self._keys)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Pairs of key and value."""
        return ((k, self[k]) for k in self._keys)

    def get(self, key: str, default: Any = None) -> Any:
        """The value under a key, or default."""
        return self[key] if key in self._keys else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value under a key, which is default if there was none."""
        if key not in self._keys:
            self[key] = default
        return self[key]

    def copy(self) -> ParameterDict:
        """A new dict of the same values."""
        return ParameterDict(list(self.items()))

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A new dict with these keys and one value."""
        return ParameterDict((k, default) for k in keys)

    def pop(self, key: str) -> Any:
        """Remove a key and return its value."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the last key and return it with its value."""
        if not self._keys:
            raise KeyError("ParameterDict.popitem: the dict is empty.")
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def clear(self) -> None:
        """Remove all."""
        for key in list(self._keys):
            del self[key]

    def update(self, parameters: Any) -> None:
        """Enter values from a mapping, a ParameterDict or (key, value) pairs; all or none."""
        for key, value in _pairs(parameters):
            home = self._parameters if isinstance(value, Parameter) else self._modules if isinstance(value, Module) else self._others
            for table in (self._parameters, self._modules, self._others):
                if table is not home:
                    table.pop(key, None)
            home[key] = value
            self._keys[key] = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """A dict of parameters computes nothing: NotImplementedError."""
        raise NoForwardError("a ParameterDict cannot be called: it computes nothing. Use its parameters in the forward of your module.")

    def extra_repr(self) -> str:
        return "\n".join(f"  ({key}): {_described(value)}" for key, value in self.items())


def _as_parameter(value: Any) -> Any:
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


def _pairs(given: Any) -> list[tuple[str, Any]]:
    """Checked pairs of key and value, with Parameters for Tensors."""
    if isinstance(given, (OrderedDict, ParameterDict)):
        given = given.items()
    elif isinstance(given, Mapping):
        given = sorted(given.items(), key=lambda pair: pair[0])
    elif isinstance(given, Tensor) or not isinstance(given, Iterable):
        raise TypeError(f"ParameterDict.update: expected a mapping, or (key, value) pairs, given {type(given).__name__}.")
    pairs = []
    for pair in given:
        if isinstance(pair, str) or not isinstance(pair, Iterable):
            raise TypeError(f"ParameterDict.update: expected (key, value) pairs, given {type(pair).__name__}.")
        pair = tuple(pair)
        if len(pair) != 2:
            raise ArgumentError(f"ParameterDict.update: expected (key, value) pairs, given {len(pair)} things for a pair.")
        key, value = pair
        if not isinstance(key, str):
            raise TypeError(f"ParameterDict: keys are expected to be strings, given {type(key).__name__}.")
        if not key or "." in key:
            raise KeyError(f"ParameterDict: a key is expected to be non-empty and without dots, given {key!r}.")
        pairs.append((key, _as_parameter(value)))
    return pairs


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"Object of type: {type(value).__name__}"
    where = f" ({value.device})" if value.device.type == "cuda" else ""
    return f"Parameter containing: [{value.dtype} of size {'x'.join(map(str, value.shape))}{where}]"
