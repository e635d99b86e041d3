"""The door for any primitive: everything that computes on Tensors goes through the door, and nothing goes round it.

``PRIM.apply(a, b, dim)`` is the door of one primitive, printed for it by printed.py. It calls ``apply_any`` here for all that is not
plain: listeners, mutation, sources, any number of outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from numpy import asarray, generic, ndarray

from jitgrad.autograd.mode import Listening, current_mode, reset_mode, set_mode
from jitgrad.autograd.node import Node, last_write, tick
from jitgrad.autograd.tensor import Tensor, current_node, new, output_node, stamp_of, wrap
from jitgrad.errors import DeviceError, InputTypeError

if TYPE_CHECKING:
    from jitgrad.autograd.primitive import Primitive

# Bits of a keep mask beside the inputs' bits; SHAPES alone is nothing that backward would have to free.
OUTPUT, AUX, SHAPES = 1 << 30, 1 << 29, 1 << 28
MOST_KNOWN = 1024  # answers of infer that one primitive remembers


def apply_any(prim: Primitive, inputs: Sequence[Tensor | None], p: tuple[Any, ...] = ()) -> Any:
    """Apply any primitive: any number of inputs (None where an optional one is missing), several outputs, mutation, sources."""
    m = current_mode()
    if not isinstance(m, bool):
        refuse_others(prim, inputs)
        if prim.promote is not None and _wants_casts(inputs):
            return prim.promote(*inputs)  # so that the listener hears the casts
        return _hear(m, prim, tuple(inputs), p)
    if not prim.special:
        return prim.apply(*inputs, *p)
    described, result = _run(prim, inputs, p)
    if prim.mutates:
        return _written(prim, inputs)
    outputs = result if type(result) is tuple else (result,)
    count = len(prim.outputs) or len(outputs) - 1
    tensors = [wrap(asarray(y) if isinstance(y, generic) else y) for y in outputs[:count]]
    if m and (prim.rules or prim.grads):
        nodes = [None if t is None else current_node(t) for t in inputs]
        if any(n is not None for n in nodes):
            _record(prim, inputs, nodes, tensors, p, outputs[count:], described)
    return tensors[0] if count == 1 else tuple(tensors)


def many_door(prim: Primitive) -> Callable[..., Any]:
    """The door of a primitive that takes any number of inputs, and has one output and one rule for all gradients: ``apply(inputs, *p)``.

    What it does for arrays on the CPU is what apply_any does, with infer asked once for each combination of shapes and dtypes.
    """
    answers: dict[Any, Any] = {}

    def apply(inputs: Sequence[Tensor], *p: Any) -> Any:
        m = current_mode()
        if m is not True and m is not False:
            return apply_any(prim, inputs, p)
        arrays: list[ndarray] = []
        key: list[Any] = [p]
        wanted, dense = False, True
        try:
            for t in inputs:
                x = t.array
                if type(x) is not ndarray:
                    return apply_any(prim, inputs, p)
                arrays.append(x)
                key.append((x.shape, x.dtype))
                if not x.flags.carray:
                    dense = False
                if t.node is not None or t.base is not None:
                    wanted = True
        except AttributeError:
            refuse_others(prim, inputs)
            raise
        xs = tuple(arrays)
        said = answers.get(tuple(key))
        if said is None:
            if len(answers) >= MOST_KNOWN:
                answers.clear()
            launcher = prim.impl[ndarray]
            said = answers[tuple(key)] = prim.infer(xs, *p), launcher.prepared(xs, *p) if hasattr(launcher, "prepared") else None
        described, run = said
        y = new(Tensor)
        y.array = run(xs) if dense and run is not None else prim.impl[ndarray](xs, *p)
        y.base = y.node = y.stamp = None
        if m and wanted:
            nodes = tuple([current_node(t) for t in inputs])
            if any(nodes):
                y.node = n = Node()
                n.prim = prim
                n.seq = tick()
                n.edges = nodes
                n.saved = ((), p, None, (tuple([x.shape for x in xs]),))
                n.kept = SHAPES
                n.shape, n.dtype = described
                n.hooks = None
        return y

    return apply


def _wants_casts(inputs: Sequence[Any]) -> bool:
    """Whether one input is no float, or two differ."""
    dtype = inputs[0].dtype
    return not dtype.is_floating_point if len(inputs) == 1 else dtype is not inputs[1].dtype


def _run(prim: Primitive, inputs: Sequence[Tensor | None], p: tuple[Any, ...]) -> tuple[Any, Any]:
    """Check and compute: what infer describes, and what the kernel returned."""
    if prim.source:
        return prim.infer(*p), prim.impl.on(p[0])(*p[1:])  # type: ignore[attr-defined]
    try:
        arrays = [None if t is None else t.array for t in inputs]
    except AttributeError:
        refuse_others(prim, inputs)
        raise
    kind = type(arrays[0])
    for x in arrays:
        if type(x) is not kind and x is not None:
            refuse_mixed(prim, inputs)
    args = arrays if prim.plain == len(prim.args) else prim.grouped(arrays)
    described = prim.infer(*args, *p)
    if prim.check is not None:
        prim.check(*args, *p)
    return described, prim.impl[kind](*args, *p)


def _record(prim: Primitive, inputs: Any, nodes: list[Any], tensors: list[Tensor], p: Any, aux: Any, described: Any) -> None:
    """Give the outputs their node; with several, each float output has a node of its own before the common one."""
    kept: tuple[Any, ...] = ()
    if prim.plain < len(prim.args):
        edges, k = tuple(nodes), SHAPES
        aux = (*aux, tuple(t.shape for t in inputs))
    else:
        rules = prim.rules or (prim.grads,) * len(nodes)
        edges = tuple(n if r is not None else None for n, r in zip(nodes, rules, strict=True))
        k = prim.keep[sum(1 << i for i, n in enumerate(edges) if n is not None)]
        kept = tuple(t if k >> i & 1 else None for i, t in enumerate(inputs))
    if not any(n is not None for n in edges):
        return
    outs = tuple((t.array, stamp_of(t)) for t in tensors) if k & OUTPUT else None
    n = make_node(prim, edges, (kept, p, outs, aux if k & (AUX | SHAPES) else None), k)
    if len(tensors) == 1 and len(prim.outputs) == 1:
        tensors[0].node = n
        n.shape, n.dtype = described
    else:
        for i, t in enumerate(tensors):
            if t.array.dtype.kind == "f":
                t.node = output_node(n, i, len(tensors), t.array)
    if prim.recorded is not None:
        prim.recorded(n, inputs, tensors)


def _written(prim: Primitive, inputs: Sequence[Tensor | None]) -> Any:
    """Stamp what a mutating primitive wrote, and return it; the gradients of in-place ops are inplace.py's business."""
    now, name = tick(), prim.name
    last_write[0] = now
    args = prim.grouped(inputs)
    for i in prim.mutates:
        for t in args[i] if type(args[i]) is tuple else (args[i],):
            if t is not None:
                stamp = t.stamp
                if stamp is None:
                    t.stamp = [now, name]
                else:
                    stamp[0], stamp[1] = now, name
    return args[prim.mutates[0]]


def refuse_mixed(prim: Primitive, tensors: Sequence[Tensor | None]) -> None:
    """Raise for inputs on different devices."""
    given = ", ".join(str(t.device) for t in tensors if t is not None)
    raise DeviceError(f"{prim.name}: expected all tensors on one device, given {given}. Try x.to({str(tensors[0].device)!r}).")  # type: ignore[union-attr]


def refuse_others(prim: Primitive, inputs: Sequence[Any]) -> None:
    """Raise for inputs that are no Tensors."""
    for x in inputs:
        if x is not None and not isinstance(x, Tensor):
            raise InputTypeError(f"{prim.name}: expected a Tensor, given {type(x).__name__}. Try jg.tensor(...).")


def make_node(prim: Primitive, edges: tuple[Any, ...], saved: tuple[Any, ...], kept: int = 0) -> Node:
    """A node without shape and dtype yet."""
    n = Node()
    n.prim = prim
    n.seq = tick()
    n.edges = edges
    n.saved = saved
    n.kept = kept
    n.shape = n.dtype = n.hooks = None
    m = current_mode()
    if m is not True and m is not False:
        m.made(n)
    return n


def _hear(m: Listening, prim: Primitive, inputs: tuple[Tensor | None, ...], p: tuple[Any, ...]) -> Any:
    """Hand a call to the listener, with the mode beneath it in force."""
    token = set_mode(m.below)
    try:
        return m.listener(prim, inputs, p)
    finally:
        reset_mode(token)
