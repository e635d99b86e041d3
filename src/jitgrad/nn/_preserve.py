"""preserved: a model runs to be looked at, and is afterwards as it was."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

from jitgrad.autograd import Leaf, Spec, Tensor, copy_, no_grad
from jitgrad.nn._trace import tensors_in
from jitgrad.nn._tree import Tree
from jitgrad.ops.convert import clone
from jitgrad.ops.random import get_rng_state, set_rng_state
from jitgrad.ops.summary import equal

_BOXES = frozenset({list, dict, set, deque, OrderedDict, defaultdict, Counter})  # what a forward may collect things in
_LOOKED_INTO = _BOXES | {tuple, frozenset}


@contextmanager
def preserved(model: Tree, *inputs: Any, values: bool = True) -> Iterator[None]:
    """Afterwards model and inputs are as they were before, and so is the default random generator.

    Of modules, also of those in plain containers: their attributes, and what lies in lists, dicts, sets and deques however deep. Of
    Tensors there and in inputs: their elements, also where they were written behind the back of ``_version``, their place in the
    graph, their gradients. Not kept are objects of other classes, and what a program holds elsewhere.

    Parameters
    ----------
    model, inputs
        What runs, and what it is given.
    values
        Whether elements are kept, by a copy of each Tensor; a dry run writes none.
    """
    modules, boxes, tensors = _found(model, inputs)
    attributes = [dict(m.__dict__) for m in modules]
    contents = [copy(box) if box else None for box in boxes]
    states = [_State(t, values) for t in tensors]
    rng_state = get_rng_state()
    try:
        for state in states:
            state.take_gradient()
        yield
    finally:
        set_rng_state(rng_state)
        for m, had in zip(modules, attributes, strict=True):
            m.__dict__.update(had)  # first, so that an interrupted module is never empty
            for name in m.__dict__.keys() - had.keys():
                del m.__dict__[name]
        for box, content in zip(boxes, contents, strict=True):
            if content is None:
                box.clear()
            elif _identities(box) != _identities(content):
                box.clear()
                (box.extend if isinstance(box, (list, deque)) else box.update)(content)
        for state in states:
            state.restore()


def _found(model: Tree, inputs: Any) -> tuple[list[Tree], list[Any], list[Tensor]]:
    """The modules, containers and Tensors that can be reached from a model and its inputs."""
    modules: list[Tree] = []
    boxes: list[Any] = []
    tensors = {id(t): t for t in tensors_in(inputs)}
    seen: set[int] = set()
    todo: list[Any] = [model, inputs]
    for v in todo:
        if id(v) in seen:
            continue
        seen.add(id(v))
        if isinstance(v, Tree):
            modules.append(v)
            inside = v.__dict__.values()
        else:
            if type(v) in _BOXES:
                boxes.append(v)
            if not v:
                continue
            inside = v.values() if isinstance(v, dict) else v
        for x in inside:
            if isinstance(x, Tensor):
                tensors[id(x)] = x
            elif type(x) in _LOOKED_INTO or isinstance(x, Tree):
                todo.append(x)
    return modules, boxes, list(tensors.values())


def _identities(box: Any) -> list[int]:
    """What lies in a container, by id, in order."""
    return [*map(id, box), *(map(id, box.values()) if isinstance(box, dict) else ())]


class _State:
    """A Tensor as it is: its memory, its elements, its place in the graph, its gradient."""

    __slots__ = ("fields", "grad", "leaf", "old", "tensor", "version")

    def __init__(self, t: Tensor, values: bool) -> None:
        self.tensor = t
        self.fields = _fields(t)
        if t.base is not None:  # it is written to where a view is
            self.fields += _fields(t.base)
        node = t.node
        self.leaf = (node, node.shape, node.dtype, node.grad) if type(node) is Leaf else None
        self.old = None
        if values and not isinstance(t.array, Spec):
            self.version = t._version
            with no_grad():
                self.old = clone(t)

    def take_gradient(self) -> None:
        """Gradients go elsewhere meanwhile: backward adds to those that are there in place."""
        if self.leaf is not None:
            self.leaf[0].grad = None

    def restore(self) -> None:
        for owner, name, value in self.fields:
            setattr(owner, name, value)
        if self.leaf is not None:
            leaf, *had = self.leaf
            leaf.shape, leaf.dtype, leaf.grad = had
        t = self.tensor
        if self.old is not None:
            with no_grad():
                if t._version != self.version or not equal(t, self.old):
                    copy_(t, self.old)


def _fields(t: Tensor) -> list[tuple[Tensor, str, Any]]:
    found: list[tuple[Tensor, str, Any]] = [(t, "array", t.array), (t, "node", t.node), (t, "base", t.base)]
    return found if t.base is None else [*found, (t, "seen", t.seen)]
