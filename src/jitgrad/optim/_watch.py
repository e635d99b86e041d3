"""Watching models: which of their parameters an optimizer was given, and what has left and come since."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref

from jitgrad._words import listed
from jitgrad.autograd import Tensor
from jitgrad.autograd.node import tick
from jitgrad.errors import SurgeryError
from jitgrad.nn import Module, Parameter, _edit_mark

if TYPE_CHECKING:
    from jitgrad.optim.optimizer import Optimizer

SHOWN = 9  # parameters that a message lists
Found = tuple[str, Tensor, str]  # a parameter, its path, and the class of its module


class Watched:
    """One module, held weakly: its parameters that the optimizer was given, with their paths, and whether these were all."""

    __slots__ = ("apart", "given", "guessed", "kind", "missed", "module", "recurse", "whole")

    def __init__(self, module: Module, recurse: bool, held: set[int], guessed: bool = False) -> None:
        here = dict(module.named_parameters(recurse=recurse))
        self.module = ref(module)
        self.recurse = recurse
        self.guessed = guessed  # found for a list, not given
        self.kind = type(module).__name__
        self.given = {id(p): (path, p) for path, p in here.items() if id(p) in held}
        self.apart = {path: p.requires_grad for path, p in here.items() if id(p) not in held}  # left out by who made the optimizer
        self.whole = not self.apart
        self.missed = False  # whether it was seen that the module is not trained any more


class Watch:
    """The modules that an optimizer watches, and the mark of the last edit before its last look at them."""

    __slots__ = ("frozen", "known", "made", "mark", "modules", "told")

    def __init__(self) -> None:
        self.mark = _edit_mark.mark
        self.made = tick()  # what is younger is new
        self.modules: list[Watched] = []
        self.known: dict[int, _edit_mark.Left] = {}  # what had left a model before it was given: somebody wants it all the same
        self.told: dict[int, Tensor] = {}  # gained, and named in a warning
        self.frozen: list[Tensor] = []  # gained, but without a gradient: named once they want one

    def add(self, module: Module, recurse: bool, held: set[int], guessed: bool = False) -> None:
        """Watch one more module, or the same with more of its parameters."""
        new = Watched(module, recurse, held, guessed)
        for old in [w for w in self.modules if w.module() is module and w.recurse == recurse]:
            new.given |= {i: found for i, found in old.given.items() if i not in new.given}
            new.apart = {path: wanted for path, wanted in new.apart.items() if path in old.apart}
            new.whole = not new.apart
            new.guessed = new.guessed and old.guessed
            self.modules.remove(old)
        self.modules.append(new)

    def given(self, params: Iterable[Tensor]) -> None:
        """Note what had left a model before the optimizer was given it."""
        self.known.update({id(p): p._left for p in params if isinstance(p, Parameter) and p._left is not None})


def model_of(params: Sequence[Tensor]) -> Module | None:
    """The largest module that was asked for its parameters and has all the given ones; None where there is none."""
    ids = {id(p) for p in params if isinstance(p, Parameter)}
    best, most = None, 0
    if len(ids) == len(params) > 0:
        for m in _edit_mark.in_use():
            here = parameter_ids(m)
            if len(here) > most and ids <= here:
                best, most = m, len(here)
    return best


def parameter_ids(module: Module) -> set[int]:
    """The ids of all that is registered in a module, without a word on what is not."""
    return {id(p) for m in module.modules() for p in m._parameters.values() if p is not None}


def look(optimizer: Optimizer, watch: Watch) -> None:
    """Look at the models after an edit: SurgeryError for what has left them, a warning for what has come."""
    mark = _edit_mark.mark
    edited = watch.mark is not mark
    if not edited and not any(p.requires_grad for p in watch.frozen):
        return
    held = {id(p): p for group in optimizer.param_groups for p in group["params"]}
    alive = [(w, dict(m.named_parameters(recurse=w.recurse))) for w in watch.modules if (m := w.module()) is not None]
    there = {id(p) for _, here in alive for p in here.values()}
    name = type(optimizer).__name__
    left = _left(watch, held, alive, there)
    if left:
        whole = any(w.whole and w.kind == left[0][2] for w, _ in alive)
        raise SurgeryError(
            f"{name}.step: {_count(left)} left {left[0][2]} since the optimizer was made: {_list(left)}. "
            f"Nothing was updated. {_call(left, whole or len(left) < len(held))}: it keeps the state of the others."
        )
    new = {
        id(p): (path, p, w.kind)
        for w, here in alive if w.whole for path, p in here.items() if id(p) not in held and id(p) not in w.given
    }  # fmt: skip
    wanted = [found for i, found in new.items() if i not in watch.told and found[1].requires_grad]
    idle = [w for w in watch.modules if edited and not w.missed and not (wanted and w.module()) and _idle(w, held, there)]
    # All is noted before the warnings, which a filter may make errors.
    watch.mark = mark
    for w in watch.modules:
        w.missed = w.missed or w in idle or w.module() is None
    watch.frozen = [p for _, p, _ in new.values() if not p.requires_grad]
    watch.told = {i: p for i, (_, p, _) in new.items() if p.requires_grad}
    if wanted:
        warnings.warn(
            f"{name}.step: {wanted[0][2]} has gained {_count(wanted, '')} that the optimizer does not update: {_list(wanted)}. "
            "Call optimizer.sync(model), or optimizer.add_param_group.",
            stacklevel=3,
        )
    for w in idle:
        warnings.warn(f"{name}.step: {_idle_words(w)}", stacklevel=3)


def _left(watch: Watch, held: dict[int, Tensor], alive: Sequence[tuple[Watched, dict[str, Any]]], there: set[int]) -> list[Found]:
    """What the optimizer holds that has left a module it watches, or that surgery took out of a model."""
    left: dict[int, Found] = {}
    for w, _ in alive:
        gone = {i: (path, p, w.kind) for i, (path, p) in w.given.items() if i in held and i not in there}
        if gone and not (w.guessed and _meant_another(w, held)):
            left |= gone
    marked = {
        i: (p._left.path, p, p._left.kind)
        for i, p in held.items() if isinstance(p, Parameter) and p._left is not None and watch.known.get(i) is not p._left
    }  # fmt: skip
    if marked:
        used = {i for m in _edit_mark.in_use() for i in parameter_ids(m)}
        used.update(id(p) for w, here in alive if w.module() not in _edit_mark.out for p in here.values())
        left = {i: found for i, found in marked.items() if i not in used} | left
    return list(left.values())


def _meant_another(guessed: Watched, held: dict[int, Tensor]) -> bool:
    """Whether a list may as well have been that of another module, which has all its parameters still."""
    ids = guessed.given.keys() & held.keys()
    return any(ids <= parameter_ids(m) for m in _edit_mark.in_use() if m is not guessed.module())


def _idle(w: Watched, held: dict[int, Tensor], there: set[int]) -> bool:
    """Whether nothing trains what was given of a module: another one may have taken its place.

    Tensors may well outlive their module; without gradients they are what a model that was made anew has left behind.
    """
    given = [p for _, p in w.given.values()]
    if not given or any(id(p) not in held or p.grad is not None for p in given):
        return False
    return any(p.requires_grad for p in given) if w.module() is not None else not any(id(p) in there for p in given)


def _idle_words(w: Watched) -> str:
    if w.module() is None:
        return (
            f"the {w.kind} whose parameters were given does not exist any more, and they have no gradients. "
            "Was another one made in its place? Call optimizer.sync(model)."
        )
    found = [(path, p, w.kind) for path, p in w.given.values()]
    if w.guessed and not w.whole:
        call = f"{_call(found, False)}."
    else:
        call = f"Call optimizer.sync with what is in the place of this {w.kind} now, such as model.fc."
    return (
        f"no parameter of the {w.kind} that was given has a gradient, and a model has been edited: {_list(found)}. "
        f"Was another module put in its place? {call}"
    )


def _call(found: Sequence[Found], whole: bool) -> str:
    """The call that mends it, of the part that all of them are in where the optimizer has only them."""
    steps = [path.split(".")[:-1] for path, _, _ in found]
    same = 0 if whole else next((k for k, names in enumerate(zip(*steps, strict=False)) if len(set(names)) > 1), min(map(len, steps)))
    return "Call optimizer.sync(model" + "".join(f"[{s}]" if s.isdigit() else f".{s}" for s in steps[0][:same]) + ")"


def _count(found: Sequence[Any], verb: str = " have") -> str:
    return f"{len(found)} parameters{verb}" if len(found) > 1 else f"a parameter{verb and ' has'}"


def _list(found: Sequence[Found]) -> str:
    return listed([f"{path} {p.shape}" for path, p, _ in found], SHOWN)
