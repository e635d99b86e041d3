"""Modules and Parameters that a model holds in plain lists, tuples, dicts or sets, where nothing finds them: a warning names each once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from weakref import WeakKeyDictionary

from jitgrad.nn.parameter import Parameter

if TYPE_CHECKING:
    from jitgrad.nn._tree import Tree
    from jitgrad.nn.module import Module

PLAIN = frozenset({list, tuple, dict, set, frozenset})
_OWN = frozenset({"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"})
_warned: WeakKeyDictionary[Tree, set[str]] = WeakKeyDictionary()  # attributes that have been named


class Hidden(NamedTuple):
    """A plain container that hides something: its path, itself, and what it hides, each by the path at which it is found."""

    path: str
    container: Any
    items: list[tuple[str, Any]]


def warn_of_hidden(root: Tree) -> None:
    """Warn of what lies in plain containers below root and is registered nowhere below it."""
    for h in hidden(root, again=False):
        what, fix = in_words(root, h)
        warnings.warn(f"{what} {fix[0].upper()}{fix[1:]}.", stacklevel=3)


def hidden(root: Tree, again: bool = True) -> Iterator[Hidden]:
    """What lies in plain containers below root and is registered nowhere below it; if not again, what has not been given before.

    Whoever asks tells the user, so that the warning is not for what a report has named.
    """
    for m, name in _suspects(root):
        value = m.__dict__[name]
        found = _unregistered(root, m, list(_inside(value, 3))) if value and (again or name not in _warned.get(m, ())) else []
        if found:
            _warned.setdefault(m, set()).add(name)
            path = _below(next(path for path, module in root.named_modules() if module is m), name)
            yield Hidden(path, value, [(path + at, x) for at, x in found])


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


def _inside(value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Modules and Parameters in a container, and in containers in it, each with the way to it: ``[1]['head']``."""
    for key, item in value.items() if type(value) is dict else enumerate(value):
        at = f"[{key!r}]" if type(value) in (dict, list, tuple) else "{...}"
        if isinstance(item, Parameter) or hasattr(type(item), "named_modules"):
            yield at, item
        elif type(item) in PLAIN and depth:
            yield from ((at + more, x) for more, x in _inside(item, depth - 1))


def hiding_places(root: Tree) -> Iterator[tuple[str, Module]]:
    """Modules in plain containers below root, each with the path at which it is found."""
    paths = {m: path for path, m in root.named_modules()}
    for m, name in _suspects(root):
        path = _below(paths[cast("Module", m)], name)
        yield from ((path + at, x) for at, x in _inside(m.__dict__[name], 3) if not isinstance(x, Parameter))


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _unregistered(root: Tree, holder: Tree, found: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Those that are not below root, and not above the module that holds them: a reference to one's parent hides nothing."""
    if not found:
        return []
    known = {id(x) for m in root.modules() for x in (m, *m._parameters.values())}
    return [
        (at, x) for at, x in found if id(x) not in known and (isinstance(x, Parameter) or all(m is not holder for m in x.modules()))
    ]  # fmt: skip


def in_words(root: Tree, found: Hidden) -> tuple[str, str]:
    """What is wrong, a sentence, and what to do about it."""
    kind, n = type(found.container).__name__, len(found.items)
    parameters = all(isinstance(x, Parameter) for _, x in found.items)
    noun = "Parameter" if parameters else "Module"
    what = f"{found.path} of {type(root).__name__} is a plain {kind} with {n} {noun}{'s' * (n > 1)}"
    proper = "Dict" if kind == "dict" else "List"
    fix = f"use nn.{noun}{proper}({'...' if kind in ('list', 'tuple', 'dict') else '[...]'})"
    return f"{what} that parameters(), state_dict() and to() do not reach.", fix
