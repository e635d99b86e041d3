"""Where an edit is to be made: the slots that a key means, and the modules that come there."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from jitgrad._words import listed
from jitgrad.errors import ArgumentError, InputTypeError, SurgeryError
from jitgrad.nn import activation
from jitgrad.nn._place import short_name
from jitgrad.nn.module import Module
from jitgrad.nn.surgery._address import Key, Place, find_some, places


class Slot:
    """A name in a parent, which has several paths where the parent stands at several places."""

    def __init__(self, place: Place) -> None:
        assert place.parent is not None
        self.parent, self.name, self.module = place.parent, place.name, place.module
        self.paths: list[str] = []  # that the key means
        self.others: list[str] = []  # that it does not mean

    @property
    def path(self) -> str:
        return (self.paths or self.others)[0]


def slots(model: Module, key: Key, what: str) -> list[Slot]:
    """The slots that a key means, in order; none is the model itself, none inside another."""
    meant = find_some(model, key, what)
    if any(p.parent is None for p in meant):
        raise SurgeryError(
            f"{what}: the path '' is the model itself, which stands in no other module. Assign to the variable that holds it."
        )
    wanted = {p.path for p in meant}
    for p in meant:
        above = next((q for q in _above(p.path) if q in wanted), None)
        if above is not None:
            raise SurgeryError(f"{what}: {p.path} is inside {above}, and both are meant. Give a key that means one of them.")
    found: dict[tuple[int, str], Slot] = {}
    for p in meant:
        found.setdefault((id(p.parent), p.name), Slot(p))
    for p in places(model):
        slot = found.get((id(p.parent), p.name))
        if slot is not None:
            (slot.paths if p.path in wanted else slot.others).append(p.path)
    return list(found.values())


def _above(path: str) -> Iterator[str]:
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


def _holds(outer: Module, inner: Module) -> bool:
    return any(m is inner for m in outer.modules())


def same_slots(found: Sequence[Slot], what: str) -> None:
    """SurgeryError where an edit at a path would be one at another path too, which was not meant."""
    for slot in found:
        if slot.others:
            raise SurgeryError(
                f"{what}: {slot.path} is also {listed(slot.others)}, as the {type(slot.parent).__name__} around it "
                "stands at several places. "
                f"Name all of them, or give one of these places a {type(slot.parent).__name__} of its own: "
                "surgery.replace(model, path, copy.deepcopy, shared='here')."
            )


def same_modules(model: Module, found: list[Slot], shared: str | None, what: str) -> list[Slot]:
    """The slots to be edited, given what is to happen to modules that stand at other places too."""
    modules = {id(s.module) for s in found}
    meant = {path for s in found for path in s.paths}
    rest = [p for p in places(model) if id(p.module) in modules and p.path not in meant]
    if shared == "here" or not rest:
        same_slots(found, what)
        return found
    if shared is None:
        one = next(s for s in found if any(p.module is s.module for p in rest))
        raise SurgeryError(
            f"{what}: {one.path} ({short_name(one.module)}) also stands at {listed([p.path for p in rest if p.module is one.module])}. "
            "Say shared='everywhere' to edit it there too, or shared='here' for this place only."
        )
    if any(p.parent is None for p in rest):
        raise SurgeryError(f"{what}: the module also is the model itself, which cannot be replaced.")
    return slots(model, [*meant, *(p.path for p in rest)], what)


def check_new(new: Any, what: str) -> None:
    """TypeError unless new is a Module or a function that makes one of the old."""
    if isinstance(new, Module):
        return
    if inspect.isclass(new):
        raise TypeError(
            f"{what}: expected a Module or a function of the old one, given the class {new.__name__}. Try lambda old: {_called(new)}."
        )
    if new is None:
        raise TypeError(f"{what}: expected a Module or a function of the old one, given None. Try nn.Identity(), or surgery.remove.")
    if not callable(new):
        raise TypeError(f"{what}: expected a Module or a function of the old one, given {type(new).__name__}.")


def _called(cls: type) -> str:
    return f"{'nn.' * cls.__module__.startswith('jitgrad.nn.')}{cls.__name__}(...)"


class Maker:
    """Gives the new module for each old one: from a function, or one Module and copies of it."""

    def __init__(self, new: Any, places: int, what: str) -> None:
        check_new(new, what)
        self.new, self.what = new, what
        self.given = 0
        if places > 1 and isinstance(new, Module) and (any(True for _ in new.parameters()) or any(True for _ in new.buffers())):
            raise SurgeryError(
                f"{what}: one {short_name(new)} for {places} places would tie their weights. "
                f"Give a function that makes one for each: lambda old: {_called(type(new))}."
            )

    def __call__(self, slot: Slot) -> Module:
        """The new module for a slot, checked."""
        if isinstance(self.new, Module):
            self.given += 1
            made: Any = self.new if self.given == 1 else copy.deepcopy(self.new)
        else:
            made = self._made(slot)
        if not isinstance(made, Module):
            raise TypeError(f"{self.what}: the function is expected to return a Module, for {slot.path} it returned {_kind(made)}.")
        if _holds(made, slot.parent):
            raise SurgeryError(
                f"{self.what}: the new {type(made).__name__} for {slot.path} contains the {type(slot.parent).__name__} it is to be part of."
            )
        return made

    def _made(self, slot: Slot) -> Any:
        """What the function gives; where it takes Tensors, as ``F.gelu`` does, the error says that it is given a module."""
        try:
            return self.new(slot.module)
        except Exception as error:
            of_tensors = str(getattr(self.new, "__module__", "")).startswith(("jitgrad.ops.", "jitgrad.nn.functional"))
            if not of_tensors and not isinstance(error, InputTypeError):
                raise
            given = f"given {self.new.__name__}, which takes Tensors" if of_tensors else f"it raised {type(error).__name__}: {error}"
            name = self.new.__name__.replace("_", "") if of_tensors else ""
            layer = next((n for n, kind in vars(activation).items() if n.lower() == name and inspect.isclass(kind)), "")
            fix = f"lambda old: nn.{layer}()" if layer else "a function that makes one, such as lambda old: nn.GELU()"
            raise TypeError(
                f"{self.what}: expected a Module or a function that is called with each old module and returns a Module; "
                f"for {slot.path} ({short_name(slot.module)}) {given}".rstrip(".")
                + f". Try {fix}."
            ) from error


def _kind(made: Any) -> str:
    return f"the class {made.__name__}" if inspect.isclass(made) else type(made).__name__


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """ArgumentError for a value that an option does not have."""
    if value not in allowed:
        raise ArgumentError(f"{name} is expected to be {' or '.join(map(repr, allowed))}, given {value!r}.")
