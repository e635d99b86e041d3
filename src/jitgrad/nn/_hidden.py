"""Modules and Parameters that a model holds in plain lists, tuples, dicts or sets, where nothing finds them: a warning names each once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from jitgrad.nn.parameter import Parameter

if TYPE_CHECKING:
    from jitgrad.nn._tree import Tree
    from jitgrad.nn.module import Module

PLAIN = frozenset({list, tuple, dict, set, frozenset})
_OWN = frozenset({"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"})
_warned: WeakKeyDictionary[Tree, set[str]] = WeakKeyDictionary()  # attributes that have been named


def warn_of_hidden(root: Tree) -> None:
    """Warn of what lies in plain containers below root and is registered nowhere below it."""
    for m, name in _suspects(root):
        value = m.__dict__[name]
        hidden = _unregistered(root, m, _inside(value, 3)) if value and name not in _warned.get(m, ()) else None
        if hidden:
            _warned.setdefault(m, set()).add(name)
            path = next(path for path, module in root.named_modules() if module is m)
            warnings.warn(_words(f"{path}.{name}" if path else name, root, value, hidden), stacklevel=3)


def _suspects(root: Tree) -> list[tuple[Tree, str]]:
    """Modules and their attributes that are plain containers; quick, as every look at the parameters begins with it."""
    found: list[tuple[Tree, str]] = []
    todo, seen = [root], {root}
    for m in todo:
        names = [name for name, value in m.__dict__.items() if type(value) in PLAIN]
        if len(names) > len(_OWN):
            found += [(m, name) for name in names if name not in _OWN]
        for child in m._modules.values():
            if child is not None and child not in seen:
                seen.add(child)
                todo.append(child)
    return found


def _inside(value: Any, depth: int) -> Iterator[Any]:
    """Modules and Parameters in a container, and in containers in it."""
    for item in value.values() if type(value) is dict else value:
        if isinstance(item, Parameter) or hasattr(type(item), "named_modules"):
            yield item
        elif type(item) in PLAIN and depth:
            yield from _inside(item, depth - 1)


def hiding_places(root: Tree) -> Iterator[tuple[str, Module]]:
    """Modules in plain containers below root, each with the path at which it is found."""
    paths = {m: path for path, m in root.named_modules()}
    for m, name in _suspects(root):
        path = paths[cast("Module", m)]
        for at, item in _placed(m.__dict__[name], 3):
            yield (f"{path}.{name}{at}" if path else f"{name}{at}"), item


def _placed(value: Any, depth: int) -> Iterator[tuple[str, Module]]:
    pairs = value.items() if type(value) is dict else enumerate(value)
    for key, item in pairs:
        at = f"[{key!r}]" if type(value) in (dict, list, tuple) else "{...}"
        if hasattr(type(item), "named_modules"):
            yield at, item
        elif type(item) in PLAIN and depth:
            yield from ((at + more, module) for more, module in _placed(item, depth - 1))


def _unregistered(root: Tree, holder: Tree, candidates: Iterator[Any]) -> list[Any]:
    """Those that are not below root, and not above the module that holds them: a reference to one's parent hides nothing."""
    found = list(candidates)
    if not found:
        return []
    known = {id(x) for m in root.modules() for x in (m, *m._parameters.values())}
    return [x for x in found if id(x) not in known and (isinstance(x, Parameter) or all(m is not holder for m in x.modules()))]


def _words(path: str, root: Tree, value: Any, hidden: list[Any]) -> str:
    kind = type(value).__name__
    parameters = all(isinstance(x, Parameter) for x in hidden)
    proper = ("Parameter" if parameters else "Module") + ("Dict" if kind == "dict" else "List")
    what = f"{len(hidden)} {'Parameter' if parameters else 'Module'}{'s' * (len(hidden) > 1)}"
    return (
        f"{path} of {type(root).__name__} is a plain {kind} with {what} that parameters(), state_dict() and to() do not reach. "
        f"Use nn.{proper}({'...' if kind in ('list', 'tuple', 'dict') else '[...]'})."
    )
