"""Listed: Python's list methods for containers whose members are registered under names. An edit is made whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Generic, Self, TypeVar, overload

from jitgrad.autograd import Tensor
from jitgrad.errors import ArgumentError

T = TypeVar("T")
Entry = tuple[str, T]
POSITION = "0"  # the name of an entry that is to be named by its position: any digits will do


class Listed(Generic[T]):
    """A list of named members: a name of digits is the member's position, other names stay with their members.

    Subclasses say where the members are: ``_entries`` gives them, ``_set_entries`` puts others in their place, ``_member`` checks one
    that comes in, ``_empty`` makes a container of the same kind.
    """

    def __class_getitem__(cls, item: Any) -> type[Self]:
        """``ModuleList[Linear]`` is for type checkers; when a program runs, it is the class itself."""
        return cls

    def _entries(self) -> list[Entry[T]]:
        raise NotImplementedError

    def _set_entries(self, entries: Iterable[Entry[T]]) -> None:
        raise NotImplementedError

    def _member(self, where: str, value: Any) -> T:
        raise NotImplementedError

    def _empty(self) -> Self:
        raise NotImplementedError

    def _members(self, where: str, values: Any) -> list[Entry[T]]:
        """Checked members that come in together."""
        where = f"{type(self).__name__}{where}"
        if isinstance(values, Tensor) or not isinstance(values, Iterable):
            raise TypeError(f"{where}: expected several members, given {type(values).__name__}.")
        return [(POSITION, self._member(where, value)) for value in list(values)]

    def _like(self, entries: Iterable[Entry[T]]) -> Self:
        """A container of the same kind on some of the same members."""
        new = self._empty()
        new._set_entries(entries)
        return new

    def _position(self, index: Any) -> int:
        if not hasattr(index, "__index__"):
            raise TypeError(f"{type(self).__name__}: indices are expected to be ints or slices, given {type(index).__name__}.")
        i, n = index.__index__(), len(self)
        if not -n <= i < n:
            raise IndexError(f"{type(self).__name__}: index {i} is out of range for {n} members.")
        return i % n if n else 0

    # ---- looking
    def __len__(self) -> int:
        return len(self._entries())

    def __bool__(self) -> bool:
        return len(self) > 0

    def __iter__(self) -> Iterator[T]:
        return iter([value for _, value in self._entries()])

    def __reversed__(self) -> Iterator[T]:
        return reversed([value for _, value in self._entries()])

    def __contains__(self, value: object) -> bool:
        return any(_same(value, v) for _, v in self._entries())

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> T | Self:
        """The member at an index, negative ones from the end; for a slice a container of the same members."""
        entries = self._entries()
        return self._like(entries[index]) if isinstance(index, slice) else entries[self._position(index)][1]

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """The first position of a member; ValueError where it is not there."""
        entries = self._entries()
        for i in range(*slice(start, stop).indices(len(entries))):
            if _same(value, entries[i][1]):
                return i
        raise ValueError(f"{type(self).__name__}.index: this {type(value).__name__} is not one of its members.")

    def count(self, value: Any) -> int:
        """How many times something is a member."""
        return sum(_same(value, v) for _, v in self._entries())

    def copy(self) -> Self:
        """A new container of the same members."""
        return self._like(self._entries())

    # ---- editing
    def __setitem__(self, index: int | slice, value: Any) -> None:
        """Put a member in the place of another, which keeps its name; for a slice as many as Python's list would take."""
        entries = self._entries()
        if not isinstance(index, slice):
            i = self._position(index)
            entries[i] = entries[i][0], self._member(f"{type(self).__name__}[{index}]", value)
            self._set_entries(entries)
            return
        new = self._members("[...] = ...", value)
        places = range(*index.indices(len(entries)))
        if places.step == 1:
            entries[index] = new
        elif len(places) != len(new):
            raise ArgumentError(f"{type(self).__name__}: expected {len(places)} members for the places of the slice, given {len(new)}.")
        else:
            for i, (_, member) in zip(places, new, strict=True):
                entries[i] = entries[i][0], member
        self._set_entries(entries)

    def __delitem__(self, index: int | slice) -> None:
        entries = self._entries()
        del entries[index if isinstance(index, slice) else self._position(index)]
        self._set_entries(entries)

    def append(self, value: Any) -> Self:
        """Add a member at the end; returns the container."""
        self._set_entries([*self._entries(), (POSITION, self._member(f"{type(self).__name__}.append", value))])
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add members at the end, all or none; returns the container."""
        new = self._members(".extend", values)
        self._set_entries([*self._entries(), *new])
        return self

    def insert(self, index: int, value: Any) -> Any:
        """Add a member before an index, as Python's list.insert does."""
        entries = self._entries()
        entries.insert(index, (POSITION, self._member(f"{type(self).__name__}.insert", value)))
        self._set_entries(entries)

    @overload
    def pop(self, key: int = -1) -> T: ...
    @overload
    def pop(self, key: slice) -> Self: ...
    def pop(self, key: int | slice = -1) -> T | Self:
        """Remove the member at an index and return it; for a slice a container of the members removed."""
        removed = self[key]
        del self[key]
        return removed

    def remove(self, value: Any) -> None:
        """Remove the first place of a member; ValueError where it is not there."""
        del self[self.index(value)]

    def reverse(self) -> None:
        """Turn the order round."""
        self._set_entries(self._entries()[::-1])

    def clear(self) -> None:
        """Remove all members."""
        self._set_entries([])

    # ---- operators
    def __add__(self, other: Any) -> Self:
        new = self._members(" + ...", other)
        return self._like([*self._entries(), *new])

    def __iadd__(self, other: Any) -> Self:
        return self.extend(other)

    def __mul__(self, times: Any) -> Self:
        """The same members several times over."""
        return self._like(self._times(times))

    __rmul__ = __mul__

    def __imul__(self, times: Any) -> Self:
        self._set_entries(self._times(times))
        return self

    def _times(self, times: Any) -> list[Entry[T]]:
        if not hasattr(times, "__index__"):
            raise TypeError(f"{type(self).__name__} * ...: expected an int, given {type(times).__name__}.")
        entries, n = self._entries(), times.__index__()
        return [*entries, *((POSITION, value) for _ in range(n - 1) for _, value in entries)] if n > 0 else []


def positions(entries: Iterable[Entry[T]]) -> dict[str, T]:
    """Entries by name, each name of digits being its position."""
    return {(str(i) if name.isdigit() else name): value for i, (name, value) in enumerate(entries)}


def _same(a: Any, b: Any) -> bool:
    """Equal as Python's list sees it; Tensors are compared elementwise by ==, so for them it is whether they are one object."""
    return a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and bool(a == b))
