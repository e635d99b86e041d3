"""Following a model after an edit: what an optimizer drops, what it takes in and what it leaves out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from jitgrad._words import listed
from jitgrad.autograd import Tensor
from jitgrad.errors import SurgeryError
from jitgrad.nn import Module, Parameter, _edit_mark
from jitgrad.optim._watch import SHOWN, Watch, Watched

if TYPE_CHECKING:
    from jitgrad.optim.optimizer import Optimizer

Here = dict[int, tuple[str, Parameter]]  # parameters of a model by id, with their paths


class Synced(NamedTuple):
    """What ``optimizer.sync`` did: paths of parameters that it added and dropped, and of those of the model that it does not hold."""

    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def __repr__(self) -> str:
        done = [f"{what} {listed(paths, SHOWN)}" for what, paths in (("added", self.added), ("dropped", self.dropped)) if paths]
        more = f"\n  left out: {listed(self.left_out, SHOWN)}" if self.left_out else ""
        return f"Synced: {'; '.join(done) or 'nothing has changed'}{more}"


def follow(optimizer: Optimizer, model: Module) -> Synced:
    """Optimizer.sync: everything is worked out and checked before anything changes."""
    mark, watch, groups = _edit_mark.mark, optimizer._watch or Watch(), optimizer.param_groups
    what = f"{type(optimizer).__name__}.sync"
    if not any(True for _ in model.parameters()):
        raise ValueError(f"{what}: {type(model).__name__} has no parameters.")
    own, model = _own(watch, model)
    here: Here = {id(p): (path, p) for path, p in model.named_parameters()}
    inside = {id(m) for m in model.modules()}
    followed = _followed(watch, own)
    others = [w for w in watch.modules if w not in followed and (m := w.module()) is not None and id(m) not in inside]
    elsewhere = {id(p) for w in others for p in w.module().parameters(recurse=w.recurse)}  # type: ignore[union-attr]
    may_go = {i for w in followed for i in w.given} - elsewhere
    may_go |= {id(p) for g in groups for p in g["params"] if _out(p, watch)} - {i for w in others for i in w.given}
    kept = [[p for p in g["params"] if id(p) in here or (followed and id(p) not in may_go)] for g in groups]
    wanted = _wanted(optimizer._watch, optimizer._whole, own, here, [p for g in groups for p in g["params"]])
    if not wanted and not any(kept):
        raise SurgeryError(
            f"{what}: the optimizer has no parameter of this {type(model).__name__}, and none of them is newer than the optimizer: "
            "nothing tells which to train. Nothing was changed. Make a new optimizer."
        )
    homes = _Homes(groups, kept, here, watch.modules)
    for path, new_one in wanted:
        optimizer._check_parameter(path, new_one)
        if (home := homes.of(path)) is None:
            raise SurgeryError(
                f"{what}: groups {homes.emptied} have lost all their parameters, and nothing tells to which "
                f"of them {path} belongs. Nothing was changed. Make a new optimizer."
            )
        kept[home].append(new_one)
    order = {i: k for k, i in enumerate(here)}
    for params in kept:
        params.sort(key=lambda p: order.get(id(p), len(order)))
    known = [_paths(group, watch.modules) for group in groups]
    held = {id(p) for params in kept for p in params}
    new = Watch()
    new.add(model, True, held)
    new.given(p for params in kept for p in params)
    new.modules += others
    new.mark = mark
    # From here on nothing can fail.
    dropped = tuple(
        paths.get(id(p)) or f"one of shape {p.shape}"
        for group, paths in zip(groups, known, strict=True) for p in group["params"] if id(p) not in held
    )  # fmt: skip
    for group, params, paths in zip(groups, kept, known, strict=True):
        if "param_names" in group:
            group["param_names"] = [here[id(p)][0] if id(p) in here else paths.get(id(p), "") for p in params]
        group["params"] = params
    for p in [p for p in optimizer.state if id(p) not in held]:
        del optimizer.state[p]
    optimizer._watch = new
    return Synced(tuple(path for path, _ in wanted), dropped, tuple(path for i, (path, _) in here.items() if i not in held))


def _own(watch: Watch, model: Module) -> tuple[Watched | None, Module]:
    """What is watched of the model, if anything, and the model: for a part of a watched one that one."""
    own = next((w for w in watch.modules if w.module() is model), None)
    around = [] if own else [(w, m) for w in watch.modules if (m := w.module()) is not None and any(x is model for x in m.modules())]
    return around[0] if around else (own, model)


def _followed(watch: Watch, own: Watched | None) -> list[Watched]:
    """What of the watched is followed: the model; where it was not watched, those that are trained no more, or else all of them."""
    gone = [w for w in watch.modules if w.missed or (m := w.module()) is None or m in _edit_mark.out]
    return [own] if own is not None else gone or watch.modules


def _out(p: Tensor, watch: Watch) -> bool:
    """Whether surgery took a parameter out of a model after it was given."""
    return isinstance(p, Parameter) and p._left is not None and watch.known.get(id(p)) is not p._left


def _wanted(
    watch: Watch | None, whole: frozenset[str], own: Watched | None, here: Here, params: list[Tensor]
) -> list[tuple[str, Parameter]]:  # fmt: skip
    """What of a model is to be taken in: all of it where all was given, else what is new and wants gradients, not what was left out."""
    held = {id(p) for p in params}
    missing = {i: found for i, found in here.items() if i not in held}
    if watch is None:
        known = {path: True for i, (path, _) in here.items() if i in held}
        if not whole.isdisjoint(known):
            return list(missing.values())
        return [(path, p) for path, p in missing.values() if p.requires_grad and _nearest(path, known)]
    followed = _followed(watch, own)
    paths = {path for path, _ in here.values()}
    if any(w.whole and (w is own or {path for path, _ in w.given.values()} == paths) for w in followed):
        return list(missing.values())
    lost = {p._left.path for p in params if isinstance(p, Parameter) and p._left is not None}
    lost |= {path for i, (path, _) in own.given.items() if i not in here} if own else set()
    new = {i for i, (_, p) in missing.items() if p._born > watch.made}
    old: set[int] = set()
    for w in followed:
        if (m := w.module()) is not None:
            # What wanted gradients and was not given was left out on purpose, and so is what takes its place or comes beside it.
            known = {path: False for path, wanted in w.apart.items() if wanted} | {path: True for path, _ in w.given.values()}
            for path, p in m.named_parameters(recurse=w.recurse):
                apart = (path in w.apart and p._born < watch.made) or not any(_nearest(path, known) or [True])
                (old if path not in lost and (apart or id(p) in w.given) else new).add(id(p))
    return [(path, p) for i, (path, p) in missing.items() if p.requires_grad and (path in lost or i in new) and i not in old]


def _nearest(path: str, known: dict[str, bool]) -> list[bool]:
    """What is known of this path, or else of those that have the longest beginning in common with it, if any have."""
    if path in known:
        return [known[path]]
    steps = path.split(".")
    beginnings = (".".join(steps[:k]) + "." for k in range(len(steps) - 1, 0, -1))
    return next((found for start in beginnings if (found := [is_so for p, is_so in known.items() if p.startswith(start)])), [])


def _paths(group: dict[str, Any], modules: Iterable[Watched]) -> dict[int, str]:
    """The names of a group's parameters, as far as any are known."""
    params = group["params"]
    if "param_names" in group:
        return {id(p): path for p, path in zip(params, group["param_names"], strict=False)}
    known = {i: path for w in modules for i, (path, _) in w.given.items()}
    return {id(p): known[id(p)] for p in params if id(p) in known}


class _Homes:
    """Where in the groups new parameters belong, by the paths of those that are or were there."""

    def __init__(self, groups: list[dict[str, Any]], kept: list[list[Tensor]], here: Here, modules: list[Watched]) -> None:
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
