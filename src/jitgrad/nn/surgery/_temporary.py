"""temporarily: other modules for the length of a ``with`` block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from jitgrad.errors import SurgeryError
from jitgrad.nn._edit_mark import Members
from jitgrad.nn._hidden import warn_of_hidden
from jitgrad.nn._place import short_name
from jitgrad.nn.module import Module
from jitgrad.nn.surgery._address import Key, checked, key_text, places
from jitgrad.nn.surgery._change import Change, PutModule, SetModes
from jitgrad.nn.surgery._edits import replacements
from jitgrad.nn.surgery._operations import Fitting, Operation, carry_out
from jitgrad.nn.surgery._slots import check_new, slots

Slot = tuple[Module, str]  # a parent and a name in it


def temporarily(
    model: Module, edits: Mapping[Key, Any], *, example: Any = None, shared: str | None = None
) -> AbstractContextManager[Module]:
    """Replace modules for the length of a ``with`` block, all of them or none; afterwards, also after an error, all is as before.

    Parameters
    ----------
    model, example, shared
        As in replace.
    edits
        Keys and the new module for each, or a function of the old one. All keys mean the model as it is before.

    At the end each old module comes back to where the one that was put in for it stands then. Where the block itself has replaced or
    removed that, nothing comes back, and what the block put there stays: a SurgeryError names it, or a note on what the block raises.
    Raises as replace does, and SurgeryError where two keys mean one place.

    >>> from jitgrad import nn
    >>> from jitgrad.nn import surgery
    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.ReLU())
    >>> with surgery.temporarily(net, {nn.Dropout: nn.Identity(), "2": nn.Tanh()}) as changed:
    ...     changed[1:]
    Sequential(
      (0): Identity()
      (1): Tanh()
    )
    >>> net[2]
    ReLU()
    """
    if not isinstance(edits, Mapping):
        raise TypeError(f"temporarily: expected a dict of keys and modules, given {type(edits).__name__}.")
    warn_of_hidden(checked(model))
    return _replaced(model, edits, example, shared)


@contextmanager
def _replaced(model: Module, edits: Mapping[Key, Any], example: Any, shared: str | None) -> Iterator[Module]:
    operations: list[Operation] = []
    paths: list[str] = []
    for key, new in edits.items():
        what = f"temporarily {key_text(key)}"
        check_new(new, what)
        for r in replacements(model, key, new, shared, what):
            operations.append(r)
            paths += [path for slot in r.found for path in slot.paths]  # type: ignore[attr-defined]
    twice = next((p for i, p in enumerate(paths) if p in paths[:i]), None)
    if twice is not None:
        raise SurgeryError(f"temporarily: {twice} is meant by two keys.")
    if paths:
        slots(model, paths, "temporarily")
    fitting = Fitting(model, example, False, "overlap", "temporarily")
    change = carry_out(model, "temporarily", operations, fitting)
    way_back = None
    try:
        way_back = _WayBack(change)
        yield model
    except BaseException as error:
        if way_back is None:
            change.undo()
            raise
        stayed = way_back.go()
        if stayed:
            error.add_note(stayed)
        raise
    stayed = way_back.go()
    if stayed:
        raise SurgeryError(stayed)


class _WayBack:
    """Finds the modules that an edit put in, wherever they stand later, and puts there those that they came for."""

    def __init__(self, change: Change) -> None:
        self.change, self.model = change, change.model
        by_slot = {(s.parent, s.name): s for s in change._steps if isinstance(s, PutModule) and s.new is not s.old}
        self.puts: dict[Module, list[PutModule]] = {}  # by the module that came, in the order of the model
        for slot in _standing(self.model):
            if slot in by_slot:
                self.puts.setdefault(by_slot[slot].new, []).append(by_slot[slot])

    def go(self) -> str:
        """Put the old modules back; what could not be, in words."""
        if not self.change._since():
            self.change.undo()
            return ""
        missed: list[PutModule] = []
        members = Members(self.model)
        for new, puts in self.puts.items():
            inside = {m for s in puts if s.old is not None for m in s.old.modules()}
            now = [(p, n) for p, n in _standing(self.model) if p._modules[n] is new and p not in inside]
            pairs, left = _pairs(puts, now)
            missed += left
            for step, (parent, name) in pairs:
                step.put_back(parent, name)
        for s in self.change._steps:
            if isinstance(s, SetModes):
                s.undo()
        members.changed()
        return f"temporarily: {'; '.join(map(_missed, missed))}. All else is as it was before." if missed else ""


def _pairs(puts: list[PutModule], now: list[Slot]) -> tuple[list[tuple[PutModule, Slot]], list[PutModule]]:
    """Which old module comes back where, and what has no place left; one old module goes to all places that the new one was copied to."""
    if len(puts) == len(now):
        return list(zip(puts, now, strict=True)), []
    own = {(s.parent, s.name): s for s in puts}
    left = [s for s in puts if (s.parent, s.name) not in now]
    pairs = []
    for slot in now:
        step = own.get(slot) or (left.pop(0) if left else puts[0] if len({s.old for s in puts}) == 1 else None)
        if step is not None:
            pairs.append((step, slot))
    return pairs, left


def _standing(model: Module) -> list[Slot]:
    """Where modules stand in a model, depth first, each parent and name once."""
    return list(dict.fromkeys((p.parent, p.name) for p in places(model) if p.parent is not None))


def _missed(step: PutModule) -> str:
    assert step.old is not None
    there = step.parent._modules.get(step.name)
    stays = f", where {short_name(there)} stays" if there is not None else ""
    return (
        f"{short_name(step.old)} is not back at {step.path}{stays}: the block took away the {short_name(step.new)} that stood there for it"
    )
