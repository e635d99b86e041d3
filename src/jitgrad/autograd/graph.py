"""The walk: gradients from outputs back to leaves, in reverse order of recording, without recursion."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from threading import RLock
from typing import Any, NoReturn

from numpy import ndarray

from jitgrad.autograd.creation import scalar
from jitgrad.autograd.door import SHAPES
from jitgrad.autograd.inplace import COPY_
from jitgrad.autograd.mode import current_mode, reset_mode, set_mode, with_grad
from jitgrad.autograd.node import Hooks, Leaf, Node, last_write
from jitgrad.autograd.primitives import CLONE, add, clone, filled, sum_to
from jitgrad.autograd.tensor import Tensor, current_node, wrap
from jitgrad.errors import DeviceError, DTypeError, GradError, ShapeError

Grad = Any  # a Tensor; on its way to a node of several outputs, a tuple with one slot for each


class Walk:
    """One backward pass. ``leaves`` and ``captured`` hold what arrived; nothing is written to any ``.grad`` before the end."""

    # What few walks have lies on the class: setting it would be a tenth of a small backward.
    targets: set[Any] | None = None
    needed: set[Any] | None = None
    captured: dict[Any, Tensor] | None = None  # what arrived at the targets that are no leaves
    retained: list[tuple[Node, Tensor]] | None = None  # for retain_grad()
    hooked = False  # whether a leaf has hooks
    shared = False  # whether somebody outside may hold gradients on their way

    def __init__(self, retain_graph: bool) -> None:
        self.retain_graph = retain_graph
        self.leaves: dict[Leaf, Tensor] = {}
        self.heap: list[int] = []  # minus the seq of each pending node: the latest comes first
        self.pending: dict[int, tuple[Node, Grad]] = {}

    def run(self, roots: list[tuple[Any, Tensor]]) -> None:
        """Walk from the roots until nothing is pending, then run the hooks of the leaves."""
        if self.needed is not None:
            roots = [root for root in roots if type(root[0]) is Node or root[0] in self.needed]
        if len(roots) == 1 and type(roots[0][0]) is Node:
            self._chain(*roots[0])
        else:
            for node, g in roots:
                self._push(node, g)
        while self.heap:
            self._chain(*self.pending.pop(-heappop(self.heap)))
        if self.hooked:
            for leaf, g in self.leaves.items():
                if leaf.hooks is not None and leaf.hooks.on_grad:
                    self.leaves[leaf] = self._hooked(leaf, g)

    def _chain(self, n: Node, g: Grad) -> None:
        """Run the rules of a node, and go on with the next: while only one is pending, the heap is not touched."""
        needed, leaves, heap = self.needed, self.leaves, self.heap
        while True:
            if n.hooks is not None:
                g = self._hooked(n, g)
            if needed is not None and self.targets is not None:  # they are set together
                if n in self.targets:
                    self.captured = self.captured or {}
                    self.captured[n] = g
                if not any(e in needed for e in n.edges):
                    return  # the walk ends here: what n has kept is neither wanted nor freed
            saved = n.saved
            if saved is None:
                _freed(n)
            elif n.kept and last_write[0] > n.seq:
                _check_kept(n, saved)
            following: Node | None = None
            following_grad: Grad = None
            prim = n.prim
            at_once = prim.grads  # one rule that returns all gradients, or one rule for each
            for e, rule in zip(n.edges, prim.rules if at_once is None else at_once(g, n)):  # noqa: B905  (the keyword costs as much as the loop)
                if e is None or rule is None or (needed is not None and e not in needed):
                    continue
                ge = rule(g, n) if at_once is None else rule
                if ge is None:
                    continue
                if e.shape is not None:
                    u = ge.array if type(ge) is Tensor else None
                    if u is None or u.shape != e.shape or u.dtype is not e.dtype:
                        ge = _checked(prim, e, ge)
                if type(e) is Leaf:
                    leaves[e] = ge if e not in leaves else add(leaves[e], ge)
                    if e.hooks is not None:
                        self.hooked = True
                elif following is None and not heap:
                    following, following_grad = e, ge
                elif following is e:
                    following_grad = _sum(following_grad, ge)
                else:
                    if following is not None:
                        self._push(following, following_grad)
                        following = None
                    self._push(e, ge)
            if n.kept & ~SHAPES and not self.retain_graph:
                n.saved = None
            if following is None:
                return
            n, g = following, following_grad

    def _push(self, e: Any, g: Grad) -> None:
        """Add a gradient to what has come for e."""
        if type(e) is Leaf:
            old = self.leaves.get(e)
            self.leaves[e] = g if old is None else add(old, g)
            self.hooked |= e.hooks is not None
            return
        waiting = self.pending.get(e.seq)
        if waiting is None:
            heappush(self.heap, -e.seq)
        self.pending[e.seq] = (e, g if waiting is None else _sum(waiting[1], g))

    def _hooked(self, n: Node | Leaf, g: Tensor) -> Tensor:
        """The gradient after the hooks on it."""
        hooks = n.hooks
        assert hooks is not None
        self.shared = True
        for hook in tuple(hooks.on_grad.values()):
            new = hook(g)
            if new is not None:
                if not isinstance(new, Tensor):
                    raise TypeError(f"hook: expected a Tensor or None, given {type(new).__name__}.")
                if new.shape != g.shape or new.dtype is not g.dtype:
                    raise ShapeError(f"hook: expected a gradient {g.shape} {g.dtype}, given {new.shape} {new.dtype}.")
                g = new
        if hooks.retains and isinstance(n, Node):
            self.retained = [*(self.retained or ()), (n, g)]
        return g


def _sum(a: Grad, b: Grad) -> Grad:
    if type(a) is tuple:
        return tuple(y if x is None else x if y is None else add(x, y) for x, y in zip(a, b, strict=True))
    return add(a, b)


def _freed(n: Node) -> NoReturn:
    raise GradError(
        f"backward through {n.prim.name} a second time: what it had kept is freed. Pass retain_graph=True to the first backward."
    )


def _check_kept(n: Node, saved: tuple[Any, ...]) -> None:
    """Raise where what a node kept was overwritten after it was kept."""
    seq = n.seq
    for t in saved[0]:
        if t is not None and t.stamp is not None and t.stamp[0] > seq:
            _overwritten(n, t.stamp)
    if saved[2] is not None:
        for _, stamp in saved[2]:
            if stamp[0] > seq:
                _overwritten(n, stamp)


def _overwritten(n: Node, stamp: list[Any]) -> NoReturn:
    lines = "" if hasattr(n, "line") else " To see the line of the forward, run it under jg.autograd.detect_anomaly()."
    raise GradError(
        f"backward of {n.prim.name}: a tensor that it kept was overwritten later by {stamp[1]}. "
        f"Use the op without the trailing underscore, or clone() the tensor before writing to it.{lines}"
    )


def _checked(prim: Any, e: Node | Leaf, g: Any) -> Tensor:
    """A gradient that fits its edge: summed over broadcast dims where the primitive says so, an error that names the rule else."""
    if not isinstance(g, Tensor):
        raise GradError(f"the backward rule of {prim.name} returned {type(g).__name__}: expected a Tensor or None.")
    if e.shape is not None and g.array.shape != e.shape:
        if not prim.broadcasts:
            raise GradError(f"the backward rule of {prim.name} returned shape {g.shape}: expected {e.shape}.")
        g = sum_to(g, e.shape)
    if e.dtype is not None and g.array.dtype != e.dtype:
        raise GradError(f"the backward rule of {prim.name} returned {g.dtype}: expected {e.dtype}.")
    return g


# One writer at a time into .grad, so that two threads that share parameters lose nothing; made anew in a forked child.
_accumulating = RLock()


def _fresh_lock() -> None:
    global _accumulating
    _accumulating = RLock()


os.register_at_fork(after_in_child=_fresh_lock)


def _accumulate(walk: Walk, create_graph: bool, roots: list[tuple[Any, Tensor]]) -> None:
    """Write what arrived into .grad: taken over where nothing else holds it, added in place to what is there."""
    given = {id(roots[0][1].array)} if len(roots) == 1 else {id(g.array) for _, g in roots}  # arrays that somebody holds
    leaves, shared = walk.leaves, walk.shared
    with _accumulating:
        if walk.retained is not None:
            _retain(walk)
        # First everything that may fail, then the writes.
        for leaf, g in leaves.items():
            if leaf.grad is not None:
                leaves[leaf] = add(leaf.grad, g)
                continue
            if shared or g.base is not None or id(g.array) in given:
                leaves[leaf] = clone(g) if create_graph else _copied(g)
            elif len(leaves) > 1:
                given.add(id(g.array))
        for leaf, g in leaves.items():
            old = leaf.grad
            if old is None or create_graph or old.node is not None:
                leaf.grad = g
            else:
                COPY_.apply(old, g)
    if walk.hooked:
        _run_after_accumulate(walk)


def _copied(g: Tensor) -> Tensor:
    """clone(g) where nothing is recorded: at half the time where nobody listens either."""
    x = g.array
    if current_mode() is False and type(x) is ndarray:
        return wrap(CLONE.impl[ndarray](x))
    return clone(g)


def _retain(walk: Walk) -> None:
    """Add what arrived where retain_grad() is in force to what is kept there."""
    for n, g in walk.retained or ():
        if n.hooks is not None:
            kept = n.hooks.retained
            n.hooks.retained = clone(g) if kept is None else add(kept, g)


def _run_after_accumulate(walk: Walk) -> None:
    for leaf in walk.leaves:
        if leaf.hooks is not None and leaf.hooks.after_accumulate:
            owner = leaf.owner()
            for hook in tuple(leaf.hooks.after_accumulate.values()):
                if owner is not None:
                    hook(owner)


def _needed(roots: Iterable[Any], targets: set[Any]) -> set[Any]:
    """Nodes from which a target can be reached."""
    seen: dict[Any, None] = {}
    stack = list(roots)
    while stack:
        n = stack.pop()
        if n not in seen:
            seen[n] = None
            if type(n) is Node:
                stack.extend(e for e in n.edges if e is not None and e not in seen)
    needed = set(targets)
    for n in sorted(seen, key=lambda n: n.seq):  # edges lead to earlier nodes, so these are decided first
        if type(n) is Node and any(e in needed for e in n.edges):
            needed.add(n)
    return needed


def _root(t: Tensor, g: Tensor | None, i: int, what: str) -> tuple[Any, Tensor]:
    """An output's node with its gradient; every check of them but that of their types is here."""
    node = t.node if t.base is None else current_node(t)
    if node is None:
        raise GradError(
            f"{what}: output {i} does not require grad and was not computed from anything that does. "
            "Set requires_grad=True on an input, and check that it was not computed under no_grad() or after detach()."
        )
    x = t.array
    if g is None:
        if x.size != 1:
            raise GradError(
                f"{what}: a gradient can be created for one number only, and output {i} has shape {t.shape}. "
                "Reduce it first, e.g. y.sum().backward(), or pass a gradient of its shape."
            )
        return node, scalar(1, x.dtype, t) if x.ndim == 0 else filled(t.shape, 1, t)
    u = g.array
    if u.shape != x.shape:
        raise ShapeError(f"{what}: expected a gradient of shape {t.shape}, given {g.shape}.")
    if u.dtype is not x.dtype and u.dtype != x.dtype:
        raise DTypeError(f"{what}: expected a gradient of {t.dtype}, given {g.dtype}. Try gradient.to({t.dtype.name!r}).")
    if type(u) is not type(x):
        raise DeviceError(f"{what}: expected a gradient on {t.device}, given {g.device}.")
    return node, g


def _roots(tensors: Tensor | Sequence[Tensor], gradients: Any, what: str) -> list[tuple[Any, Tensor]]:
    if isinstance(tensors, Tensor) and (gradients is None or isinstance(gradients, Tensor)):
        return [_root(tensors, gradients, 0, what)]
    outputs = _as_tuple(tensors)
    given = (None,) * len(outputs) if gradients is None else _as_tuple(gradients)
    if len(given) != len(outputs):
        raise GradError(f"{what}: expected {len(outputs)} gradients, one for each output, given {len(given)}.")
    for t, g in zip(outputs, given, strict=True):
        if not isinstance(t, Tensor):
            raise TypeError(f"{what}: expected Tensors, given {type(t).__name__}.")
        if g is not None and not isinstance(g, Tensor):
            raise TypeError(f"{what}: expected a Tensor as gradient, given {type(g).__name__}.")
    return [_root(t, g, i, what) for i, (t, g) in enumerate(zip(outputs, given, strict=True))]


def _targets(inputs: Sequence[Tensor], what: str) -> list[Any]:
    nodes = []
    for i, t in enumerate(inputs):
        if not isinstance(t, Tensor):
            raise TypeError(f"{what}: expected Tensors as inputs, given {type(t).__name__}.")
        node = current_node(t)
        if node is None:
            raise GradError(f"{what}: input {i} does not require gradients. Try x.requires_grad_() before computing the output.")
        nodes.append(node)
    return nodes


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return (value,) if isinstance(value, Tensor) or value is None else tuple(value)


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    *,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Accumulate the gradients of tensors in the ``.grad`` of the leaves they were computed from (of ``inputs`` only, where given).

    Raises GradError for an output that does not require grad, a missing gradient for more than one number, a graph that was
    freed, a kept value that was overwritten. After an error no ``.grad`` has changed.

    >>> import jitgrad as jg
    >>> x = jg.tensor([1.0, 2.0], requires_grad=True)
    >>> jg.autograd.backward((x * x).sum())
    >>> x.grad.tolist()
    [2.0, 4.0]
    """
    run_backward(tensors, grad_tensors, retain_graph, create_graph, inputs)


def run_backward(tensors: Any, grad_tensors: Any, retain_graph: bool | None, create_graph: bool, inputs: Any) -> None:
    """See backward; Tensor.backward calls it too."""
    roots = _roots(tensors, grad_tensors, "backward")
    m = current_mode()
    walk = (Walk if m is True or m is False else m.walk() or Walk)(create_graph if retain_graph is None else retain_graph)
    if inputs is not None:
        chosen = _as_tuple(inputs)
        if not chosen:
            raise GradError("backward: inputs is empty. Leave it out to reach every leaf.")
        targets = set(_targets(chosen, "backward"))
        walk.targets, walk.needed = targets, _needed([n for n, _ in roots], targets)
    token = None if m is create_graph else set_mode(create_graph if m is True or m is False else with_grad(m, create_graph))
    try:
        walk.run(roots)
        if walk.captured is not None:
            for n, g in walk.captured.items():
                if n.hooks is None or not n.hooks.retains:
                    n.hooks = n.hooks or Hooks()
                    walk.retained = [*(walk.retained or ()), (n, g)]
        _accumulate(walk, create_graph, roots)
    finally:
        if token is not None:
            reset_mode(token)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    *,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of outputs with respect to inputs; no leaf's ``.grad`` is touched.

    An input that outputs do not depend on is a GradError, None with ``allow_unused``, zeros with ``materialize_grads``.

    >>> import jitgrad as jg
    >>> x = jg.tensor(3.0, requires_grad=True)
    >>> (g,) = jg.autograd.grad(x * x * x, x, create_graph=True)
    >>> jg.autograd.grad(g, x)[0].item()
    18.0
    """
    roots = _roots(outputs, grad_outputs, "grad")
    chosen = _as_tuple(inputs)
    nodes = _targets(chosen, "grad")
    targets = set(nodes)
    m = current_mode()
    walk = (Walk if isinstance(m, bool) else m.walk() or Walk)(create_graph if retain_graph is None else retain_graph)
    walk.targets, walk.needed = targets, _needed([n for n, _ in roots], targets)
    token = set_mode(with_grad(m, create_graph))
    try:
        walk.run(roots)
        result = [_arrived(walk, i, t, n, allow_unused, materialize_grads) for i, (t, n) in enumerate(zip(chosen, nodes, strict=True))]
        with _accumulating:
            _retain(walk)
    finally:
        reset_mode(token)
    return tuple(result)


def _arrived(walk: Walk, i: int, t: Tensor, n: Any, allow_unused: bool | None, materialize: bool) -> Tensor | None:
    """What grad returns for its input i."""
    found = walk.leaves.get(n) if isinstance(n, Leaf) else (walk.captured or {}).get(n)
    if found is None and materialize:
        found = filled(t.shape, 0, t)
    if found is None and not allow_unused:
        raise GradError(f"grad: the outputs do not depend on input {i}. Pass allow_unused=True to get None for it.")
    return found
