"""What edits are made of: a replacement, an insertion, a removal; how each is written into a model, and what it does to shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from jitgrad.autograd import Tensor
from jitgrad.errors import ArgumentError, SurgeryError
from jitgrad.nn._dry import output_of
from jitgrad.nn._place import short_name
from jitgrad.nn._trace import Call, Trace, tensors_in
from jitgrad.nn.containers import ModuleDict, Sequential
from jitgrad.nn.module import Module
from jitgrad.nn.surgery._adapting import adapted
from jitgrad.nn.surgery._change import Change, Edit, SetModes
from jitgrad.nn.surgery._fit import Example, said, shapes_text
from jitgrad.nn.surgery._slots import Maker, Slot, one_of

Shapes = list[tuple[Tensor, tuple[int, ...]]]
ADAPT_BEFORE = "With adapt=True it must fit before the edit; one that fits the edited model only is for a check: leave adapt=True out."
FIX = "Try adapt=True, which resizes what follows, or a layer whose sizes are those of the old one."


class Operation(Protocol):
    """One part of an edit: what comes, if anything, beside or in the place of which module; fix says what helps where it does not fit."""

    fix: str
    replaces: bool
    new: Module | None

    @property
    def module(self) -> Module:
        """The module that is there before."""

    @property
    def path(self) -> str:
        """Where it stands."""

    def make(self) -> None:
        """Make the new module, if there is one."""

    def write(self, edit: Edit) -> None:
        """Edit the model; steps of the edit say how to go back."""

    def changes(self, trace: Trace, what: str) -> Shapes:
        """The tensors of a run before the edit that have other shapes after it."""

    def gone(self) -> set[Module]:
        """The modules that the model loses."""


class Replacement:
    """A new module in all slots of an old one."""

    fix = FIX
    replaces = True

    def __init__(self, found: list[Slot], maker: Maker) -> None:
        self.found, self.maker = found, maker
        self.module, self.path = found[0].module, found[0].path
        self.new: Module | None = None

    def make(self) -> None:
        if self.new is None:
            self.new = self.maker(self.found[0])

    def write(self, edit: Edit) -> None:
        self.make()
        assert self.new is not None
        for slot in self.found:
            edit.put(slot.path, slot.parent, slot.name, self.new)

    def changes(self, trace: Trace, what: str) -> Shapes:
        found: Shapes = []
        for call in _calls(trace, self.found, what):
            found += _differing(call.output, _result(self.new, call.args, call.kwargs, call.path, what), call.path, what)
        return found

    def gone(self) -> set[Module]:
        assert self.new is not None
        return set(self.module.modules()) - set(self.new.modules())


class Insertion:
    """A new module beside an old one, in its list or in a Sequential of the two."""

    fix = "Try adapt=True, which resizes what follows, or a layer that gives the sizes of what it takes."
    replaces = False

    def __init__(self, slot: Slot, maker: Maker, after: bool, name: str | None, wrap: bool) -> None:
        self.slot, self.maker, self.after, self.name, self.wrap = slot, maker, after, name, wrap
        self.module, self.path = slot.module, slot.path
        self.new: Module | None = None

    def make(self) -> None:
        if self.new is None:
            self.new = self.maker(self.slot)

    def write(self, edit: Edit) -> None:
        self.make()
        assert self.new is not None
        slot, new = self.slot, self.new
        if self.wrap:
            both = Sequential(slot.module).insert(int(self.after), new, name=self.name)
            edit.put(slot.path, slot.parent, slot.name, both)
            return
        parent: Any = slot.parent
        edit.table(slot.path.rpartition(".")[0], parent)
        parent.insert(list(parent._modules).index(slot.name) + self.after, new, name=self.name)
        edit.steps.append(SetModes(new, slot.module.training, edit.inside))

    def changes(self, trace: Trace, what: str) -> Shapes:
        found: Shapes = []
        calls = _calls(trace, [self.slot], what)
        for call in calls:
            at = call.output if self.after else _only_input(call, what)
            if not self.after:
                _goes_nowhere_else(trace, at, calls, call, what)
            found += _differing(at, _result(self.new, (at,), {}, call.path, what), call.path, what)
        return found

    def gone(self) -> set[Module]:
        return set()


class Removal:
    """A module taken out of its container."""

    fix = "Try adapt=True, which resizes what follows, or take that layer out too."
    replaces = False
    new: Module | None = None

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.module, self.path = slot.module, slot.path

    def make(self) -> None:
        pass

    def write(self, edit: Edit) -> None:
        parent: Any = self.slot.parent
        edit.table(self.slot.path.rpartition(".")[0], parent)
        del parent[self.slot.name if isinstance(parent, ModuleDict) else list(parent._modules).index(self.slot.name)]

    def changes(self, trace: Trace, what: str) -> Shapes:
        found: Shapes = []
        for call in _calls(trace, [self.slot], what):
            found += _differing(call.output, _only_input(call, what), call.path, what)
        return found

    def gone(self) -> set[Module]:
        return set(self.slot.module.modules())


# ---- making an edit
class Fitting:
    """How an edit is checked: the example it must take, and whether what follows is resized to fit."""

    def __init__(self, model: Module, example: Any, adapt: bool, keep: str, what: str) -> None:
        one_of("adapt", adapt, (False, True))
        one_of("keep", keep, ("overlap", "none"))
        if adapt and example is None:
            raise ArgumentError(f"{what}: adapt=True needs an example, an input of the model, to see what follows. Give example=x.")
        if keep != "overlap" and not adapt:
            raise ArgumentError(f"{what}: keep={keep!r} says what adapt=True keeps of a resized layer. Give adapt=True with it.")
        self.example = None if example is None else Example(model, example)
        self.adapt, self.keep = adapt, keep


def carry_out(model: Module, what: str, operations: Sequence[Operation], fitting: Fitting) -> Change:
    """The edit that consists of these operations, all of them or none."""
    # Replacements keep all positions, and each is to meet what those before it have resized; others go from the end, for the positions.
    order = operations if all(isinstance(o, Replacement) for o in operations) else operations[::-1]
    with Edit(model, what, fitting.example) as edit:
        if fitting.adapt:
            if edit.misfit is not None:
                raise SurgeryError(f"{edit.misfit} {ADAPT_BEFORE}") from edit.misfit.__cause__
            for operation in order:
                adapted(edit, operation, fitting.keep)
        else:
            for operation in operations:
                operation.make()
            for operation in order:
                operation.write(edit)
            edit.check(next((o.fix for o in operations), FIX))
        return edit.change()


def _calls(trace: Trace, found: Sequence[Slot], what: str) -> list[Call]:
    """The calls of the module in these slots; SurgeryError where it has none, or others."""
    module, path = found[0].module, found[0].path
    if sum(len(s.paths) for s in found) < sum(m is module for m in trace.model.modules(remove_duplicate=False)):
        raise SurgeryError(
            f"{what}: adapt=True cannot tell calls of {path} from those of its other places. Nothing was changed. "
            f"Give it a module of its own there first: surgery.replace(model, {path!r}, copy.deepcopy, shared='here')."
        )
    calls = [c for c in trace.calls if c.module is module]
    if not calls:
        raise SurgeryError(
            f"{what}: {path} is not called with this example, so adapt=True cannot see what follows it. Nothing was changed."
        )
    return calls


def _result(new: Module | None, args: Any, kwargs: Any, path: str, what: str) -> Any:
    assert new is not None
    try:
        return output_of(new, args, kwargs)
    except Exception as error:
        raise SurgeryError(
            f"{what}: the new {short_name(new)} does not take what comes to {path}, {shapes_text(args)}: {said(error)} "
            "Nothing was changed. adapt=True resizes what follows: give the new layer the sizes of its input."
        ) from error


def _differing(before: Any, after: Any, path: str, what: str) -> Shapes:
    old, new = tensors_in(before), tensors_in(after)
    if len(old) != len(new):
        raise SurgeryError(
            f"{what}: {path} gave {shapes_text(before)}, and now {shapes_text(after)}: adapt=True cannot follow. Nothing was changed."
        )
    return [(a, tuple(b.shape)) for a, b in zip(old, new, strict=True) if a.shape != b.shape]


def _only_input(call: Call, what: str) -> Tensor:
    given = [*call.args, *call.kwargs.values()]
    if len(given) != 1 or not isinstance(given[0], Tensor):
        raise SurgeryError(f"{what}: {call.path} takes {shapes_text(given)}: adapt=True follows one Tensor. Nothing was changed.")
    return given[0]


def _goes_nowhere_else(trace: Trace, x: Tensor, calls: Sequence[Call], call: Call, what: str) -> None:
    inside = {i for c in calls for i in c.ops}
    other = next((op for i, op in enumerate(trace.ops) if i not in inside and any(t is x for t in op.inputs)), None)
    if other is not None:
        at = other.call.path if other.call is not None and other.call.path else type(trace.model).__name__
        raise SurgeryError(
            f"{what}: what comes to {call.path} also goes to {other.prim.name} in {at}, whose sizes stay: adapt=True cannot follow. "
            "Nothing was changed."
        )
