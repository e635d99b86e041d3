"""How the modules of a model are named: one kind of key in every function of surgery."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from jitgrad._words import listed
from jitgrad.autograd import Tensor
from jitgrad.errors import ArgumentError, InputTypeError, OutOfRangeError, UnknownPathError
from jitgrad.nn._hidden import PLAIN
from jitgrad.nn._paths import did_you_mean, some
from jitgrad.nn._place import short_name
from jitgrad.nn.containers import ModuleDict, ModuleList, Sequential
from jitgrad.nn.module import Module

Key = Any


class Place(NamedTuple):
    """Where a module stands: under a name in its parent; the model itself has the path "" and no parent."""

    path: str
    parent: Module | None
    name: str
    module: Module


def places(model: Module) -> list[Place]:
    """The model and everything below it, depth first; a module that stands at several places once for each."""
    return [Place("", None, "", checked(model)), *_below(model, "")]


def checked(model: Module) -> Module:
    """The model; TypeError where it is none."""
    if not isinstance(model, Module):
        raise InputTypeError(f"surgery: expected a model, a Module, given {type(model).__name__}.")
    return model


def _below(module: Module, prefix: str) -> Iterator[Place]:
    for name, child in module._modules.items():
        if child is not None:
            yield Place(prefix + name, module, name, child)
            yield from _below(child, f"{prefix}{name}.")


def is_layer(module: Module) -> bool:
    """Whether a module is a layer: nothing below it, and no container that happens to be empty."""
    return all(m is None for m in module._modules.values()) and not isinstance(module, (Sequential, ModuleList, ModuleDict))


def layers(model: Module) -> list[Place]:
    """The layers, depth first: what an index counts."""
    return [p for p in places(model) if is_layer(p.module)]


def find(model: Module, key: Key) -> list[Place]:
    """The places that a key means, in the order of the model, each once."""
    everything = places(model)
    wanted = set(_paths(everything, key))
    return [p for p in everything if p.path in wanted]


def find_some(model: Module, key: Key, what: str) -> list[Place]:
    """The places that a key means; UnknownPathError where there are none."""
    found = find(model, key)
    if not found:
        raise UnknownPathError(
            f"{what}: nothing in {type(model).__name__} matches {key_text(key)}. surgery.index(model) shows what is there."
        )
    return found


def _paths(everything: list[Place], key: Key) -> list[str]:
    if isinstance(key, str):
        return _by_path(everything, key)
    if isinstance(key, Module):
        found = [p.path for p in everything if p.module is key]
        if not found:
            raise UnknownPathError(
                f"{short_name(key)} is no part of this {type(everything[0].module).__name__}: nothing in it is this object."
            )
        return found
    if isinstance(key, (list, tuple)):
        return [path for k in key for path in _paths(everything, k)]
    if isinstance(key, type):
        return [p.path for p in everything[1:] if isinstance(p.module, key)]
    if isinstance(key, slice):
        return [p.path for p in everything if is_layer(p.module)][key]
    if hasattr(key, "__index__") and not isinstance(key, (bool, Tensor)):
        return [_by_index([p.path for p in everything if is_layer(p.module)], key.__index__())]
    if callable(key):
        return [p.path for p in everything[1:] if key(p.module)]
    raise TypeError(
        "a key is expected to be an index, a slice, a path such as 'layers.0', a pattern such as 'layers.*', a class, "
        f"a function of a module, a module, or a list of these, given {type(key).__name__}."
    )


def _by_index(paths: list[str], i: int) -> str:
    n = len(paths)
    if not -n <= i < n:
        raise OutOfRangeError(f"layer {i} is out of range: the model has {n} layers, 0 to {n - 1}. surgery.index(model) shows them.")
    return paths[i]


def _by_path(everything: list[Place], key: str) -> list[str]:
    if any(p.path == key for p in everything):
        return [key]
    if re.search(r"[*?]|\[[^\]]+\]", key):
        return [p.path for p in everything[1:] if _pattern(key).fullmatch(p.path)]
    raise UnknownPathError(_unknown(everything, key))


def _pattern(key: str) -> re.Pattern[str]:
    """``*``, ``?`` and ``[0-9]`` stand for what is between two dots, ``**`` for dots too, and ``**.`` for nothing as well."""
    said = {"**.": r"(?:.*\.)?", "**": ".*", "*": "[^.]*", "?": "[^.]"}
    text = ""
    for part in re.findall(r"\*\*\.|\*\*|\*|\?|\[!?[^\]]+\]|.", key, flags=re.S):
        in_brackets = part.startswith("[") and len(part) > 1
        text += said.get(part) or ("[" + re.sub("^!", "^", part[1:-1].replace("\\", "\\\\")) + "]" if in_brackets else re.escape(part))
    try:
        return re.compile(text, flags=re.S)
    except re.error as error:
        raise ArgumentError(f"the pattern {key!r} cannot be read: {error}.") from None


def _unknown(everything: list[Place], key: str) -> str:
    """What a path that leads nowhere may have meant, and what is there."""
    by_path = {p.path: p.module for p in everything}
    model = everything[0].module
    known = key
    while known not in by_path:
        known = known.rpartition(".")[0]
    holder, rest = by_path[known], key[len(known) :].lstrip(".")
    name = rest.split(".")[0]
    message = f"there is no module {key!r} in {type(model).__name__}."
    if name in holder._parameters or name in holder._buffers:
        kind = "parameter" if name in holder._parameters else "buffer"
        return f"{message} {name!r} is a {kind} of {known or 'the model itself'}; surgery works on modules."
    held = type(holder.__dict__.get(name))
    if held in PLAIN:
        proper = "nn.ModuleDict" if held is dict else "nn.ModuleList"
        at = f"{known}.{name}" if known else name
        return f"{message} {at!r} is a plain {held.__name__}, whose modules are no part of the model: use {proper}."
    there = some([n for n, m in holder._modules.items() if m is not None])
    guess = did_you_mean(key, [p for p in by_path if p])
    return f"{message}{guess} {f'In {known!r}' if known else 'At its top'} there is: {there}."


def key_text(key: Key) -> str:
    """A key in words."""
    if isinstance(key, Module):
        return short_name(key)
    if isinstance(key, type):
        return key.__name__
    if isinstance(key, tuple):
        return "(" + ", ".join(map(key_text, key)) + ")"
    if isinstance(key, list):
        return "[" + ", ".join(map(key_text, key)) + "]"
    if isinstance(key, slice):
        return (
            "[" + ":".join("" if v is None else str(v) for v in (key.start, key.stop, key.step)[: 3 if key.step is not None else 2]) + "]"
        )
    return repr(key) if not callable(key) else getattr(key, "__name__", type(key).__name__)


def get(model: Module, key: Key) -> Module:
    """The one module that a key means.

    Parameters
    ----------
    model
        The model that is looked at.
    key
        An index in the table of ``surgery.index(model)``, negative ones from the end; a slice of it; a dotted path; a pattern, whose
        ``*`` stands for what is between two dots and ``**`` for dots too; a class; a function of a module that says whether it is meant;
        a module of the model; a list or tuple of such keys.

    Raises UnknownPathError (a KeyError) where nothing is meant, OutOfRangeError (an IndexError) for an index beyond the layers,
    ArgumentError where several modules are, all of which it names.

    >>> from jitgrad import nn
    >>> from jitgrad.nn import surgery
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1)))
    >>> surgery.get(net, -1) is surgery.get(net, "1.1") is net[1][1]
    True
    >>> surgery.get(net, nn.ReLU)
    ReLU()
    """
    found = find_some(model, key, "get")
    if len({id(p.module) for p in found}) > 1:
        raise ArgumentError(
            f"get: {key_text(key)} means {len(found)} modules: {listed([p.path or repr('') for p in found])}. "
            "Use surgery.select for all of them."
        )
    return found[0].module


def select(model: Module, key: Key) -> dict[str, Module]:
    """The modules that a key means, by path in the order of the model; a shared one under each of its paths.

    Parameters
    ----------
    model
        The model that is looked at.
    key
        As in get. A class, a function, a pattern or a slice may mean nothing: an empty dict.

    Raises UnknownPathError for a path that leads nowhere, OutOfRangeError for an index beyond the layers.

    >>> from jitgrad import nn
    >>> from jitgrad.nn import surgery
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1)))
    >>> surgery.select(net, nn.Linear)
    {'0': Linear(in_features=2, out_features=3, bias=True), '1.1': Linear(in_features=3, out_features=1, bias=True)}
    >>> list(surgery.select(net, "1.*")), list(surgery.select(net, slice(0, 2)))
    (['1.0', '1.1'], ['0', '1.0'])
    """
    return {p.path: p.module for p in find(model, key)}
