"""Random edits of containers beside Python's list and dict: after each the two hold the same, also where one refuses.

2,000 programs for each container: HYPOTHESIS_PROFILE=thorough pytest tests/test_container_machines.py
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import jitgrad as jg
from jitgrad import nn
from jitgrad.nn import _edit_mark

POOL: dict[str, list[Any]] = {
    "modules": [nn.Identity() for _ in range(5)],
    "parameters": [*(nn.Parameter(jg.ones(1)) for _ in range(4)), "word"],
    "buffers": [jg.ones(1) for _ in range(5)],
}
BAD = {"modules": [None, 3, "relu"], "buffers": [None, 3, nn.Parameter(jg.ones(1))]}
INDEX = st.integers(-7, 7)
MEMBER = st.integers(0, 4)
MEMBERS = st.lists(MEMBER, max_size=4)
BOUND = st.none() | INDEX
SLICE = st.builds(slice, BOUND, BOUND, st.sampled_from([None, 1, 2, 3, -1, -2]))
ERRORS = (IndexError, ValueError, KeyError, TypeError)


def alike(a: Any, b: Any) -> bool:
    """The same objects in the same order, or equal results."""
    if a is b:
        return True
    if isinstance(b, dict):
        return alike(list(a.items()), list(b.items()))
    if isinstance(b, (list, tuple)):
        a = list(a)
        return len(a) == len(b) and all(map(alike, a, b))
    return isinstance(b, (int, str)) and type(a) is type(b) and a == b


class Machine(RuleBasedStateMachine):
    """One container, and what Python's own holds."""

    kind: ClassVar[str]
    make: ClassVar[Callable[..., Any]]
    ours: Any
    plain: Any
    last: tuple[Any, ...] = (None, [], None)  # the container, what was in its tables, and the mark of the last edit

    def both(self, act: Callable[[Any], Any], returns: bool = True) -> None:
        """Do the same to both: the same result, or errors that a handler of Python's class catches; then nothing has changed."""
        try:
            expected = act(self.plain)
        except ERRORS as error:
            with pytest.raises(type(error)):
                act(self.ours)
            return
        given = act(self.ours)
        assert not returns or alike(given, expected), (given, expected)

    @invariant()
    def same(self) -> None:
        assert alike(self.ours, self.plain) and len(self.ours) == len(self.plain) and bool(self.ours) == bool(self.plain)

    @invariant()
    def edits_are_marked(self) -> None:
        """Optimizers look at a model again only where the mark is another."""
        ours, held, mark = self.last
        now = [*self.ours._modules.items(), *self.ours._parameters.items()]
        assert ours is not self.ours or alike(now, held) or _edit_mark.mark is not mark
        self.last = self.ours, now, _edit_mark.mark


class Lists(Machine):
    def __init__(self) -> None:
        super().__init__()
        self.pool = POOL[self.kind]
        self.ours, self.plain = type(self).make(), []

    def chosen(self, ms: list[int]) -> list[Any]:
        return [self.pool[m] for m in ms]

    def as_operand(self, ms: list[int], box: Any) -> Any:
        return nn.Sequential(*self.chosen(ms)) if isinstance(box, nn.Sequential) else self.chosen(ms)

    @invariant()
    def names_are_positions(self) -> None:
        tables = (self.ours._modules, self.ours._parameters, self.ours._buffers)
        names = [int(name) for table in tables for name in table]
        assert names == sorted(names) and set(names) <= set(range(len(self.plain)))

    @rule(i=INDEX)
    def look(self, i: int) -> None:
        self.both(lambda box: box[i])

    @rule(s=SLICE)
    def look_at_slice(self, s: slice) -> None:
        self.both(lambda box: box[s])

    @rule(i=INDEX, m=MEMBER)
    def put(self, i: int, m: int) -> None:
        if self.kind == "parameters" and -len(self.plain) <= i < len(self.plain):  # a Parameter gives way to a Tensor only
            m = 4 if isinstance(self.plain[i], str) else m % 4
        self.both(lambda box: box.__setitem__(i, self.pool[m]))

    @rule(s=SLICE, ms=MEMBERS)
    def put_slice(self, s: slice, ms: list[int]) -> None:
        self.both(lambda box: box.__setitem__(s, self.chosen(ms)))

    @rule(i=INDEX)
    def delete(self, i: int) -> None:
        self.both(lambda box: box.__delitem__(i))

    @rule(s=SLICE)
    def delete_slice(self, s: slice) -> None:
        self.both(lambda box: box.__delitem__(s))

    @rule(m=MEMBER)
    def append(self, m: int) -> None:
        self.both(lambda box: box.append(self.pool[m]), returns=False)

    @rule(ms=MEMBERS, once=st.booleans())
    def extend(self, ms: list[int], once: bool) -> None:
        self.both(lambda box: box.extend(iter(self.chosen(ms)) if once else self.chosen(ms)), returns=False)

    @rule()
    def extend_by_itself(self) -> None:
        if len(self.plain) < 9:
            self.both(lambda box: box.extend(box), returns=False)

    @rule(i=INDEX, m=MEMBER)
    def insert(self, i: int, m: int) -> None:
        self.both(lambda box: box.insert(i, self.pool[m]), returns=False)

    @rule(i=st.none() | INDEX)
    def pop(self, i: int | None) -> None:
        self.both(lambda box: box.pop() if i is None else box.pop(i))

    @rule(m=MEMBER)
    def find_and_remove(self, m: int) -> None:
        places = [i for i, v in enumerate(self.plain) if v is self.pool[m]]
        assert self.ours.count(self.pool[m]) == len(places) and (self.pool[m] in self.ours) == bool(places)
        if not places:
            for act in (self.ours.remove, self.ours.index):
                with pytest.raises(ValueError, match="not one of its members"):
                    act(self.pool[m])
            return
        assert self.ours.index(self.pool[m]) == places[0] and self.ours.index(self.pool[m], places[-1]) == places[-1]
        self.ours.remove(self.pool[m])
        del self.plain[places[0]]

    @rule()
    def reverse(self) -> None:
        self.both(lambda box: box.reverse())

    @rule()
    def clear(self) -> None:
        self.both(lambda box: box.clear())

    @rule()
    def copied(self) -> None:
        self.both(lambda box: box.copy())
        assert type(self.ours.copy()) is type(self.ours) is type(self.ours[:])

    @rule(ms=MEMBERS)
    def add(self, ms: list[int]) -> None:
        self.both(lambda box: box + self.as_operand(ms, box))
        self.ours += self.as_operand(ms, self.ours)
        self.plain += self.chosen(ms)

    @rule(n=st.integers(-1, 2))
    def times(self, n: int) -> None:
        if isinstance(self.ours, nn.Sequential) and n < 1:  # as PyTorch
            with pytest.raises(ValueError, match="above 0"):
                self.ours * n
            return
        self.both(lambda box: box * n)
        self.both(lambda box: n * box)
        if len(self.plain) < 9:
            self.ours *= n
            self.plain *= n

    @rule()
    def backwards(self) -> None:
        assert alike(list(reversed(self.ours)), self.plain[::-1])

    @rule(bad=st.integers(0, 2), i=INDEX, ms=MEMBERS)
    def refuse(self, bad: int, i: int, ms: list[int]) -> None:
        if self.kind not in BAD:
            return
        value, ours = BAD[self.kind][bad], self.ours
        acts: list[Callable[[], Any]] = [
            lambda: ours.append(value), lambda: ours.insert(i, value), lambda: ours.extend([*self.chosen(ms), value]),
            lambda: ours.__setitem__(slice(1, 2), [value]),
        ]  # fmt: skip
        for act in acts:
            with pytest.raises(TypeError, match="expected"):
                act()

    @rule()
    def travel(self) -> None:
        """Copies keep what is shared."""
        shared = [[a is b for b in self.plain] for a in self.plain]
        for other in (copy.deepcopy(self.ours), pickle.loads(pickle.dumps(self.ours))):
            assert [[a is b for b in other] for a in other] == shared and list(other.state_dict()) == list(self.ours.state_dict())


class Dicts(Machine):
    keys = st.sampled_from(["a", "b", "type", "keys", "0", "weight"])
    pairs = st.lists(st.tuples(keys, MEMBER), max_size=4)

    def __init__(self) -> None:
        super().__init__()
        self.pool = POOL[self.kind]
        self.ours, self.plain = type(self).make(), {}

    def chosen(self, pairs: list[tuple[str, int]]) -> list[tuple[str, Any]]:
        return [(k, self.pool[m]) for k, m in pairs]

    @rule(k=keys, m=MEMBER)
    def put(self, k: str, m: int) -> None:
        self.both(lambda box: box.__setitem__(k, self.pool[m]))
        if k not in ("type", "keys"):
            assert getattr(self.ours, k) is self.ours[k]

    @rule(k=keys)
    def look(self, k: str) -> None:
        self.both(lambda box: box[k])
        self.both(lambda box: box.get(k))
        self.both(lambda box: k in box)

    @rule(k=keys)
    def delete(self, k: str) -> None:
        self.both(lambda box: box.__delitem__(k))

    @rule(k=keys, default=st.booleans())
    def pop(self, k: str, default: bool) -> None:
        self.both(lambda box: box.pop(k, self.pool[0]) if default else box.pop(k))

    @rule()
    def popitem(self) -> None:
        self.both(lambda box: box.popitem())

    @rule(k=keys, m=MEMBER)
    def setdefault(self, k: str, m: int) -> None:
        self.both(lambda box: box.setdefault(k, self.pool[m]))

    @rule(pairs=pairs, how=st.sampled_from(["pairs", "generator", "own"]))
    def update(self, pairs: list[tuple[str, int]], how: str) -> None:
        given = self.chosen(pairs)
        self.ours.update(given if how == "pairs" else iter(given) if how == "generator" else type(self.ours)(given))
        self.plain.update(given)

    @rule(pairs=pairs)
    def merge(self, pairs: list[tuple[str, int]]) -> None:
        more, plain = type(self.ours)(self.chosen(pairs)), dict(self.chosen(pairs))
        assert alike(self.ours | more, self.plain | plain) and type(self.ours | more) is type(self.ours)
        self.ours |= more
        self.plain |= plain

    @rule()
    def copied(self) -> None:
        self.both(lambda box: box.copy())

    @rule(ks=st.lists(keys, max_size=3), m=MEMBER)
    def from_keys(self, ks: list[str], m: int) -> None:
        self.both(lambda box: type(box).fromkeys(ks, self.pool[m]))

    @rule()
    def clear(self) -> None:
        self.both(lambda box: box.clear())

    @rule()
    def views(self) -> None:
        assert list(self.ours.keys()) == list(self.plain.keys()) and list(reversed(self.ours)) == list(reversed(self.plain))
        assert alike(list(self.ours.values()), list(self.plain.values())) and list(self.ours) == list(self.plain)

    @rule(k=st.sampled_from(["", "a.b", 3, None]), pairs=pairs)
    def refuse(self, k: Any, pairs: list[tuple[str, int]]) -> None:
        with pytest.raises((KeyError, TypeError), match="expected"):
            self.ours.update([*self.chosen(pairs), (k, self.pool[0])])
        for value in BAD.get(self.kind, ()):
            with pytest.raises(TypeError, match="expected"):
                self.ours.update([*self.chosen(pairs), ("a", value)])


def _machine(base: type[Machine], kind: str, make: type) -> Any:
    return type(f"{make.__name__}Machine", (base,), {"kind": kind, "make": make}).TestCase


TestSequential = _machine(Lists, "modules", nn.Sequential)
TestModuleList = _machine(Lists, "modules", nn.ModuleList)
TestParameterList = _machine(Lists, "parameters", nn.ParameterList)
TestBufferList = _machine(Lists, "buffers", nn.BufferList)
TestModuleDict = _machine(Dicts, "modules", nn.ModuleDict)
TestParameterDict = _machine(Dicts, "parameters", nn.ParameterDict)
TestBufferDict = _machine(Dicts, "buffers", nn.BufferDict)
