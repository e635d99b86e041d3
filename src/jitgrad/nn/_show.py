"""A Module in words, and in a notebook: a tree that unfolds, with arguments, parameter counts, and what is shared."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from jitgrad._html import Html, block, branch, element, faint, joined
from jitgrad.nn._tree import count, every_parameter

if TYPE_CHECKING:
    from jitgrad.nn.module import Module

OPEN_DEPTH = 2  # levels that are unfolded at first


_shown: ContextVar[set[int] | None] = ContextVar("jitgrad_shown_modules", default=None)  # in the repr that is being made


def repr_of_children(module: Module) -> Iterator[tuple[str, str]]:
    """Names and reprs of the submodules; one that the outermost repr has shown already is marked as shared."""
    shown = _shown.get()
    token = None
    if shown is None:
        shown = {id(module)}
        token = _shown.set(shown)
    try:
        for name, child in module._modules.items():
            again = child is not None and id(child) in shown
            shown.add(id(child))
            yield name, repr(child) + (" (shared)" if again else "")
    finally:
        if token is not None:
            _shown.reset(token)


def indented(text: str) -> str:
    """Text with all lines but the first moved in."""
    return text.replace("\n", "\n  ")


def module_html(module: Module) -> str:
    """The tree under a module, and a line with its totals; a parameter that is used twice counts once."""
    parameters = list(module.parameters())
    trained = count(p for p in parameters if p.requires_grad)
    size = sum(t.nbytes for t in (*parameters, *module.buffers()))
    total = f"{count(parameters):,} parameters, {trained:,} trainable, {size:,} bytes with buffers"
    return block(_node("", module, set(), 0), faint(total))


def _node(name: str, module: Module, seen: set[int], depth: int) -> Html:
    head = joined([faint(f"({name}): ") if name else Html(""), element("b", type(module).__name__), f"({module.extra_repr()}) "])
    if id(module) in seen:
        return branch(joined([head, faint("(shared)")]), (), False)
    seen.add(id(module))
    children = [_leaf(n, p, "parameter", seen) for n, p in module._parameters.items() if p is not None]
    children += [_leaf(n, b, "buffer", seen) for n, b in module._buffers.items() if b is not None]
    children += [_node(n, m, seen, depth + 1) for n, m in module._modules.items() if m is not None]
    own = count(every_parameter(module.modules()))
    summary = joined([head, faint(f"{own:,} parameters")]) if own else head
    return branch(summary, children, depth < OPEN_DEPTH and not _is_leaf(module))


def _is_leaf(module: Module) -> bool:
    return not module._modules


def _leaf(name: str, t: Any, kind: str, seen: set[int]) -> Html:
    words = [kind, str(t.shape), t.dtype.name]
    if kind == "parameter" and not t.requires_grad:
        words.append("frozen")
    if id(t) in seen:
        words.append("(shared)")
    seen.add(id(t))
    return branch(joined([f"{name} ", faint(" ".join(words))]), (), False)
