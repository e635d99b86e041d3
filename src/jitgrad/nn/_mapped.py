"""Mapped: Python's dict methods for containers whose members are registered under their keys. An edit is made whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Any, Generic, Self, TypeVar

from jitgrad.autograd import Tensor
from jitgrad.errors import ArgumentError

T = TypeVar("T")
_MISSING: Any = object()


class Mapped(Generic[T]):
    """A dict of registered members: a key is any string that is not empty and has no dot.

    Subclasses say where the members are: ``_table`` is a dict with the keys in order, ``_enter`` and ``_drop`` change one, ``_member``
    checks one that comes in, ``_empty`` makes a container of the same kind.
    """

    def __class_getitem__(cls, item: Any) -> type[Self]:
        """``ModuleDict[Linear]`` is for type checkers; when a program runs, it is the class itself."""
        return cls

    def _table(self) -> dict[str, Any]:
        raise NotImplementedError

    def _enter(self, key: str, value: T) -> None:
        raise NotImplementedError

    def _drop(self, key: str) -> None:
        raise NotImplementedError

    def _member(self, where: str, value: Any) -> T:
        raise NotImplementedError

    def _empty(self) -> Self:
        raise NotImplementedError

    def _ordered(self, given: Mapping[str, Any]) -> Iterable[Any]:
        """Pairs of a mapping in the order in which they are entered."""
        return given.items()

    def _pairs(self, given: Any) -> list[tuple[str, T]]:
        """Checked pairs of key and member."""
        where = type(self).__name__
        if isinstance(given, Mapped):
            given = list(given.items())
        elif isinstance(given, Mapping):
            given = self._ordered(given)
        elif isinstance(given, Tensor) or not isinstance(given, Iterable):
            raise TypeError(f"{where}: expected a mapping, or (key, value) pairs, given {type(given).__name__}.")
        pairs = []
        for pair in given:
            if isinstance(pair, str) or not isinstance(pair, Iterable):
                raise TypeError(f"{where}: expected a mapping, or (key, value) pairs, given {type(pair).__name__} for a pair.")
            both = tuple(pair)
            if len(both) != 2:
                raise ArgumentError(f"{where}: expected (key, value) pairs, given {len(both)} things for a pair.")
            pairs.append((self._key(both[0]), self._member(f"{where}[{both[0]!r}]", both[1])))
        return pairs

    def _key(self, key: Any) -> str:
        if not isinstance(key, str):
            raise TypeError(f"{type(self).__name__}: keys are expected to be strings, given {type(key).__name__}.")
        if not key or "." in key:
            raise KeyError(f"{type(self).__name__}: a key is expected to be non-empty and without dots, given {key!r}.")
        return key

    # ---- looking
    def __getitem__(self, key: str) -> T:
        member: T = self._table()[key]
        return member

    def __len__(self) -> int:
        return len(self._table())

    def __bool__(self) -> bool:
        return len(self) > 0

    def __iter__(self) -> Iterator[str]:
        return iter(self._table())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._table())

    def __contains__(self, key: object) -> bool:
        return key in self._table()

    def keys(self) -> KeysView[str]:
        """Keys in order."""
        return self._table().keys()

    def values(self) -> Any:
        """Members in order."""
        return (self[key] for key in self._table())

    def items(self) -> Any:
        """Pairs of key and member in order."""
        return ((key, self[key]) for key in self._table())

    def get(self, key: str, default: Any = None) -> Any:
        """The member under a key, or default."""
        return self[key] if key in self._table() else default

    def copy(self) -> Self:
        """A new container of the same members."""
        new = self._empty()
        for key, value in self.items():
            new._enter(key, value)
        return new

    @classmethod
    def fromkeys(cls, keys: Iterable[str], default: Any = None) -> Self:
        """A new container with these keys and one member."""
        return cls([(key, default) for key in keys])  # type: ignore[call-arg]

    # ---- editing
    def __setitem__(self, key: str, value: Any) -> None:
        self.update([(key, value)])

    def __delitem__(self, key: str) -> None:
        if key not in self._table():
            raise KeyError(key)
        self._drop(key)

    def update(self, given: Any) -> None:
        """Enter members from a mapping or (key, value) pairs; all or none."""
        for key, value in self._pairs(given):
            self._enter(key, value)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The member under a key, which is default if there was none."""
        if key not in self._table():
            self[key] = default
        return self[key]

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """Remove a key and return its member; where it is not there default, or a KeyError."""
        if key not in self._table() and default is not _MISSING:
            return default
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, T]:
        """Remove the last key and return it with its member."""
        if not self._table():
            raise KeyError(f"{type(self).__name__}.popitem: it is empty.")
        key = next(reversed(self._table()))
        return key, self.pop(key)

    def clear(self) -> None:
        """Remove all members."""
        for key in list(self._table()):
            self._drop(key)

    # ---- operators
    def __or__(self, other: Any) -> Self:
        if not isinstance(other, (Mapping, Mapped)):
            return NotImplemented
        new = self.copy()
        new.update(other)
        return new

    def __ror__(self, other: Any) -> Self:
        if not isinstance(other, Mapping):
            return NotImplemented
        new = self._empty()
        new.update(other)
        new.update(self)
        return new

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self
