"""Dotted paths that lead nowhere: what is there, and which path was perhaps meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jitgrad._words import listed

if TYPE_CHECKING:
    from jitgrad.nn._tree import Tree

_TABLES = {"submodule": "_modules", "parameter": "_parameters", "buffer": "_buffers"}
SHOWN = 13  # names that an error lists


def steps_of(path: Any, where: str) -> list[str]:
    """The steps of a path; none of the empty one."""
    if not isinstance(path, str):
        raise TypeError(f"{where}: expected a path such as 'layers.0', given {type(path).__name__}.")
    return path.split(".") if path else []


def no_entry(root: Tree, path: str, module: Tree, name: str, kind: str) -> AttributeError:
    """The error of a path from root, where module has no submodule, parameter or buffer of that name."""
    more = _another_kind(module, name, kind) or did_you_mean(path, _paths(root, kind))
    return AttributeError(f"{path!r}: {type(module).__name__} has no {kind} {name!r}; it has {some(module.__dict__[_TABLES[kind]])}.{more}")


def _another_kind(module: Tree, name: str, kind: str) -> str:
    return next(
        (f" {name!r} is a {k}: see get_{k}." for k, t in _TABLES.items() if k != kind and module.__dict__[t].get(name) is not None), ""
    )


def some(names: Iterable[str]) -> str:
    """Names of what is there: ``0 to 5`` for a list's."""
    found = list(names)
    if len(found) > 2 and found == [str(i) for i in range(len(found))]:
        return f"0 to {len(found) - 1}"
    return listed(found, SHOWN) or "none"


def _paths(root: Tree, kind: str) -> list[str]:
    modules = [(path, m) for path, m in root.named_modules(remove_duplicate=False)]
    if kind == "submodule":
        return [path for path, _ in modules if path]
    return [f"{path}.{n}" if path else n for path, m in modules for n, t in m.__dict__[_TABLES[kind]].items() if t is not None]


def did_you_mean(path: str, paths: list[str]) -> str:
    """The one path that ends with this one, the longest that this one ends with, or one that is spelt alike."""
    around = [p for p in paths if path and p.endswith(f".{path}")]
    inside = sorted((p for p in paths if path.endswith(f".{p}")), key=len)
    spelt = [p for p in paths if p.count(".") == path.count(".") and _without_digits(p) != _without_digits(path)]
    alike = difflib.get_close_matches(path, spelt, 1, 0.7)  # another index is no other spelling
    found = around if len(around) == 1 else inside[-1:] or alike
    return f" Did you mean {found[0]!r}?" if found else ""


def _without_digits(path: str) -> str:
    return re.sub("[0-9]+", "", path)
