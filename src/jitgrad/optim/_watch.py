"""Watching models: which of their parameters an optimizer was given, what has left and come since, and following them."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref

from jitgrad._words import listed
from jitgrad.autograd import Tensor
from jitgrad.errors import SurgeryError
from jitgrad.nn import Module, _edit_mark

if TYPE_CHECKING:
    from jitgrad.optim.optimizer import Optimizer

SHOWN = 9  # parameters that a message lists


class Watched:
    """One module, held weakly: its parameters that the optimizer was given, with their paths, and whether these were all."""

    __slots__ = ("given", "kind", "missed", "module", "recurse", "whole")

    def __init__(self, module: Module, recurse: bool, held: set[int]) -> None:
        here = dict(module.named_parameters(recurse=recurse))
        self.module = ref(module)
        self.recurse = recurse
        self.kind = type(module).__name__
        self.given = {id(p): (path, p) for path, p in here.items() if id(p) in held}
        self.whole = len(self.given) == len(here)
        self.missed = False  # whether it was seen that the module does not exist any more


class Watch:
    """The modules that an optimizer watches, and the mark of the last edit before its last look at them."""

    __slots__ = ("frozen", "mark", "modules", "told")

    def __init__(self) -> None:
        self.mark = _edit_mark.mark
        self.modules: list[Watched] = []
        self.told: dict[int, Tensor] = {}  # gained, and named in a warning
        self.frozen: list[Tensor] = []  # gained, but without a gradient: named once they want one

    def add(self, module: Module, recurse: bool, held: set[int]) -> None:
        """Watch one more module."""
        self.modules.append(Watched(module, recurse, held))


def look(optimizer: Optimizer, watch: Watch) -> None:
    """Look at the models after an edit: SurgeryError for what has left them, a warning for what has come."""
    mark = _edit_mark.mark
    if watch.mark is mark and not any(p.requires_grad for p in watch.frozen):
        return
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    alive = [(w, dict(m.named_parameters(recurse=w.recurse))) for w in watch.modules if (m := w.module()) is not None]
    there = {id(p) for _, here in alive for p in here.values()}
    name = type(optimizer).__name__
    left = [(path, p, w.kind) for w, _ in alive for i, (path, p) in w.given.items() if i in held and i not in there]
    if left:
        raise SurgeryError(
            f"{name}.step: {_count(left)} left {left[0][2]} since the optimizer was made: {_list(left)}. "
            "Nothing was updated. Call optimizer.sync(model): it keeps the state of the others."
        )
    new = {
        id(p): (path, p, w.kind)
        for w, here in alive if w.whole for path, p in here.items() if id(p) not in held and id(p) not in w.given
    }  # fmt: skip
    wanted = [found for i, found in new.items() if i not in watch.told and found[1].requires_grad]
    gone = [w for w in watch.modules if w.module() is None and not w.missed]
    # Tensors may well outlive their module; without a gradient they are what a model that was made anew has left behind.
    lost = [w for w in gone if w.given and all(i in held and i not in there and p.grad is None for i, (_, p) in w.given.items())]
    # All is noted before the warnings, which a filter may make errors.
    watch.mark = mark
    for w in gone:
        w.missed = True
    watch.frozen = [p for _, p, _ in new.values() if not p.requires_grad]
    watch.told = {i: p for i, (_, p, _) in new.items() if p.requires_grad}
    if wanted:
        warnings.warn(
            f"{name}.step: {wanted[0][2]} has gained {_count(wanted, '')} that the optimizer does not update: {_list(wanted)}. "
            "Call optimizer.sync(model), or optimizer.add_param_group.",
            stacklevel=3,
        )
    for w in lost:
        warnings.warn(
            f"{name}.step: the {w.kind} whose parameters were given does not exist any more, and they have no gradients. "
            "Was another one made in its place? Call optimizer.sync(model).",
            stacklevel=3,
        )


def _count(found: Sequence[Any], verb: str = " have") -> str:
    return f"{len(found)} parameters{verb}" if len(found) > 1 else f"a parameter{verb and ' has'}"


def _list(found: Sequence[tuple[str, Tensor, str]]) -> str:
    return listed([f"{path} {p.shape}" for path, p, _ in found], SHOWN)


# ---- following
def follow(optimizer: Optimizer, model: Module) -> None:
    """Optimizer.sync: everything is worked out and checked before anything changes."""
    mark, watch, groups = _edit_mark.mark, optimizer._watch or Watch(), optimizer.param_groups
    here: dict[int, tuple[str, Tensor]] = {id(p): (path, p) for path, p in model.named_parameters()}
    if not here:
        raise ValueError(f"{type(optimizer).__name__}.sync: {type(model).__name__} has no parameters.")
    own = next((w for w in watch.modules if w.module() is model), None)
    inside = {id(m) for m in model.modules()}
    others = [w for w in watch.modules if own is not None and (m := w.module()) is not None and id(m) not in inside]
    elsewhere = {id(p) for w in others for p in w.module().parameters(recurse=w.recurse)}  # type: ignore[union-attr]
    followed = watch.modules if own is None else [own]
    may_go = {i for w in followed for i in w.given} - elsewhere
    kept = [[p for p in g["params"] if id(p) in here or (followed and id(p) not in may_go)] for g in groups]
    held = {id(p) for params in kept for p in params}
    homes = _Homes(groups, kept, here, watch.modules)
    for i, (path, p) in here.items():
        if i not in held:
            optimizer._check_parameter(path, p)
            if (home := homes.of(path)) is None:
                raise SurgeryError(
                    f"{type(optimizer).__name__}.sync: groups {homes.emptied} have lost all their parameters, and nothing tells to which "
                    f"of them {path} belongs. Nothing was changed. Make a new optimizer."
                )
            kept[home].append(p)
    order = {i: k for k, i in enumerate(here)}
    for params in kept:
        params.sort(key=lambda p: order.get(id(p), len(order)))
    known = [_paths(group, watch.modules) for group in groups]
    new = Watch()
    new.add(model, True, set(here))
    new.modules += others
    new.mark = mark
    # From here on nothing can fail.
    for group, params, paths in zip(groups, kept, known, strict=True):
        if "param_names" in group:
            group["param_names"] = [here[id(p)][0] if id(p) in here else paths.get(id(p), "") for p in params]
        group["params"] = params
    held = {id(p) for params in kept for p in params}
    for p in [p for p in optimizer.state if id(p) not in held]:
        del optimizer.state[p]
    optimizer._watch = new


def _paths(group: dict[str, Any], modules: Iterable[Watched]) -> dict[int, str]:
    """The names of a group's parameters, as far as any are known."""
    params = group["params"]
    if "param_names" in group:
        return {id(p): path for p, path in zip(params, group["param_names"], strict=False)}
    known = {i: path for w in modules for i, (path, _) in w.given.items()}
    return {id(p): known[id(p)] for p in params if id(p) in known}


class _Homes:
    """Where in the groups new parameters belong, by the paths of those that are or were there."""

    def __init__(
        self, groups: list[dict[str, Any]], kept: list[list[Tensor]], here: dict[int, tuple[str, Tensor]], modules: list[Watched]
    ) -> None:
        self.near: dict[tuple[str, ...], set[int]] = defaultdict(set)  # groups by the beginning of a path
        self.alike: dict[tuple[tuple[str, ...], str], set[int]] = defaultdict(set)  # and by its last name too
        for number, group in enumerate(groups):
            paths = _paths(group, modules) | {id(p): here[id(p)][0] for p in group["params"] if id(p) in here}
            for path in paths.values():
                steps = tuple(path.split("."))
                for k in range(len(steps) + 1):
                    self.near[steps[:k]].add(number)
                    self.alike[steps[:k], steps[-1]].add(number)
        self.emptied = [number for number, group in enumerate(groups) if group["params"] and not kept[number]]

    def of(self, path: str) -> int | None:
        """The number of the group for a new parameter; None where several have become empty and it may belong to any of them."""
        steps = tuple(path.split("."))
        k = next(k for k in range(len(steps), -1, -1) if k == 0 or steps[:k] in self.near)
        for found in (self.near[steps[:k]], self.alike[steps[:k], steps[-1]]) if k else ():
            if len(found) == 1:
                return min(found)
        if self.emptied:
            return self.emptied[0] if len(self.emptied) == 1 else None
        found = self.alike[(), steps[-1]]
        return min(found) if len(found) == 1 else 0
