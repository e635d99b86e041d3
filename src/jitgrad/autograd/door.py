"""The door: everything that computes on Tensors goes through ``apply`` (or ``apply_many``), and nothing goes round it."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Token
from typing import Any

from numpy import asarray, generic

from jitgrad.autograd.mode import Listening, current_mode, is_grad_enabled, reset_mode, set_mode
from jitgrad.autograd.node import Node, tick
from jitgrad.autograd.primitive import AUX, OUTPUT, SHAPES, Primitive
from jitgrad.autograd.tensor import Tensor, current_node, new, output_node, stamp_of, wrap
from jitgrad.errors import DeviceError

_NOTHING = ((), (None,), (None, None), (None, None, None))  # nothing kept of so many inputs


def apply(prim: Primitive, a: Tensor, b: Tensor | None = None, c: Tensor | None = None, p: tuple[Any, ...] = ()) -> Any:
    """Apply a primitive to one, two or three Tensors with the static parameters p.

    This is the fast way, for primitives with one output that is no view and nothing special; it hands over all others. It is
    spelled out by the number of inputs, since every microsecond here is in every op.
    """
    m = current_mode()
    if prim.special or (m is not True and m is not False):
        if prim.geometry is not None and (m is True or m is False):
            return _apply_view(prim, a, p, m)
        return apply_many(prim, (a, b, c)[: len(prim.args)], p)
    x = a.array
    kind = type(x)
    # A view's node may have to be made anew; anything else has its own.
    na = a.node if a.base is None else current_node(a)
    nb = nc = shape = dtype = aux = None
    if b is None:
        if x.dtype.char in prim.pointwise:
            y = prim.impl[kind](x)
        else:
            shape, dtype = prim.infer(x, *p)
            if prim.check is not None:
                prim.check(x, *p)
            y = prim.impl[kind](x, *p)
    elif c is None and not prim.optional:
        xb = b.array
        nb = b.node if b.base is None else current_node(b)
        if type(xb) is not kind:
            _mixed(prim, (a, b))
        d = x.dtype
        if d.char in prim.pointwise:
            if d is not xb.dtype and d != xb.dtype:
                if prim.promote is not None:
                    return prim.promote(a, b)
                prim.infer(x, xb)  # raises: the launcher would convert one of them without a word
            try:
                y = prim.impl[kind](x, xb)
            except ValueError:  # a launcher looks at the shapes before anything else; infer says what is wrong
                prim.infer(x, xb)
                raise
        else:
            shape, dtype = prim.infer(x, xb, *p) if p else prim.infer(x, xb)
            if prim.check is not None:
                prim.check(x, xb, *p)
            y = prim.impl[kind](x, xb, *p) if p else prim.impl[kind](x, xb)
    else:
        xb, xc = b.array, None
        nb = b.node if b.base is None else current_node(b)
        if c is not None:
            xc = c.array
            nc = c.node if c.base is None else current_node(c)
        if type(xb) is not kind or (c is not None and type(xc) is not kind):
            _mixed(prim, (a, b, c))
        shape, dtype = prim.infer(x, xb, xc, *p)
        if prim.check is not None:
            prim.check(x, xb, xc, *p)
        y = prim.impl[kind](x, xb, xc, *p)
    if type(y) is not kind:
        if type(y) is tuple:
            y, *aux = y
        elif isinstance(y, generic):  # NumPy turns 0-d results into scalars; a copy to another device is no NumPy array
            y = asarray(y)
    t: Tensor = new(Tensor)
    t.array = y
    t.base = t.stamp = t.node = None
    if m and (na is not None or nb is not None or nc is not None) and prim.keep:
        n = Node()
        n.prim = prim
        n.seq = tick()
        if shape is None:
            n.shape = y.shape
            n.dtype = y.dtype
        else:
            n.shape = shape
            n.dtype = dtype
        n.hooks = outs = None
        if b is None:
            n.kept = k = prim.keep[1]
            n.edges = (na,)
            inputs: tuple[Any, ...] = (a,) if k & 1 else _NOTHING[1]
        elif c is None and not prim.optional:
            n.kept = k = prim.keep[(na is not None) + 2 * (nb is not None)]
            n.edges = (na, nb)
            inputs = (a if k & 1 else None, b if k & 2 else None) if k & 3 else _NOTHING[2]
        else:
            n.kept = k = prim.keep[(na is not None) + 2 * (nb is not None) + 4 * (nc is not None)]
            n.edges = (na, nb, nc)
            inputs = (a if k & 1 else None, b if k & 2 else None, c if k & 4 else None) if k & 7 else _NOTHING[3]
        if k & OUTPUT:
            t.stamp = [0, ""]
            outs = ((y, t.stamp),)
        n.saved = (inputs, p, outs, aux if k & AUX else None)
        t.node = n
    return t


def _apply_view(prim: Primitive, a: Tensor, p: tuple[Any, ...], m: bool) -> Tensor:
    """A view of a: same memory, same stamp; recorded unless it detaches."""
    x = a.array
    base = a.base
    na = a.node if base is None else current_node(a)
    shape, strides, offset = prim.geometry(x, *p)  # type: ignore[misc]
    stamp = a.stamp
    if stamp is None:
        stamp = a.stamp = [0, ""]
    t: Tensor = new(Tensor)
    t.array = prim.impl[type(x)](x, shape, strides, offset)
    t.stamp = stamp
    t.node = t.base = None
    if prim.detaches:
        return t
    if base is None:
        t.base = a
        t.offset = offset
        t.seen = a.node
    else:
        t.base = base
        t.offset = a.offset + offset
        t.seen = base.node
    if m and na is not None:
        n = Node()
        n.prim = prim
        n.seq = tick()
        n.edges = (na,)
        n.kept = k = prim.keep[1]
        n.saved = ((a if k & 1 else None,), p, None, None)
        n.shape = shape
        n.dtype = x.dtype
        n.hooks = None
        t.node = n
    return t


def make_node(prim: Primitive, edges: tuple[Any, ...], saved: tuple[Any, ...], kept: int = 0) -> Node:
    """A node without shape and dtype yet."""
    n = Node()
    n.prim = prim
    n.seq = tick()
    n.edges = edges
    n.saved = saved
    n.kept = kept
    n.shape = n.dtype = n.hooks = None
    return n


def apply_many(prim: Primitive, inputs: Sequence[Tensor | None], p: tuple[Any, ...] = ()) -> Any:
    """Apply any primitive: any number of inputs (None where an optional one is missing), several outputs, mutation, sources."""
    m = current_mode()
    if not isinstance(m, bool):
        if prim.promote is not None and inputs[0].dtype is not inputs[1].dtype:  # type: ignore[union-attr]
            return prim.promote(*inputs)  # so that the listener hears the casts
        return _hear(m, prim, tuple(inputs), p)
    if prim.geometry is not None:
        (a,) = inputs
        assert a is not None
        return _apply_view(prim, a, p, m)
    if not prim.special:
        return apply(prim, *inputs, p=p)  # type: ignore[arg-type, misc]
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


def _run(prim: Primitive, inputs: Sequence[Tensor | None], p: tuple[Any, ...]) -> tuple[Any, Any]:
    """Check and compute: what infer describes, and what the kernel returned."""
    if prim.source:
        return prim.infer(*p), prim.impl.on(p[0])(*p[1:])  # type: ignore[attr-defined]
    arrays: list[Any] = []
    kind = None
    for t in inputs:
        if t is None:
            arrays.append(None)
        else:
            x = t.array
            if kind is None:
                kind = type(x)
            elif type(x) is not kind:
                _mixed(prim, inputs)
            arrays.append(x)
    args = arrays if prim.plain == len(prim.args) else prim.grouped(arrays)
    described = prim.infer(*args, *p)
    if prim.check is not None:
        prim.check(*args, *p)
    return described, prim.impl[kind](*args, *p)  # type: ignore[index]


def _record(prim: Primitive, inputs: Any, nodes: list[Any], tensors: list[Tensor], p: Any, aux: Any, described: Any) -> None:
    """Give the outputs their node; with several, each float output has a node of its own before the common one."""
    if prim.grads is not None:
        kept: tuple[Any, ...] = ()
        edges, k = tuple(nodes), SHAPES
        aux = (*aux, tuple(t.shape for t in inputs))
    else:
        edges = tuple(n if r is not None else None for n, r in zip(nodes, prim.rules, strict=True))
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
    now = tick()
    args = prim.grouped(inputs)
    for i in prim.mutates:
        for t in args[i] if isinstance(args[i], tuple) else (args[i],):
            if t is not None:
                stamp = stamp_of(t)
                stamp[0], stamp[1] = now, prim.name
    return args[prim.mutates[0]]


def _mixed(prim: Primitive, tensors: Sequence[Tensor | None]) -> None:
    given = ", ".join(str(t.device) for t in tensors if t is not None)
    raise DeviceError(f"{prim.name}: expected all tensors on one device, given {given}. Try x.to({str(tensors[0].device)!r}).")  # type: ignore[union-attr]


class Listener:
    """Hears every operation while it is entered: subclass it and override ``__call__``.

    ``__call__(prim, inputs, p)`` gets the primitive, its input Tensors and its static parameters, and returns the outputs;
    ``self.run(prim, inputs, p)`` computes them as if nobody listened. Forward, backward, optimizer updates, running
    statistics, gradient accumulation and random draws all pass here. Listeners nest: the one entered last hears first.

    >>> import jitgrad as jg
    >>> class Names(jg.autograd.Listener):
    ...     def __init__(self):
    ...         self.names = []
    ...     def __call__(self, prim, inputs, p):
    ...         self.names.append(prim.name)
    ...         return self.run(prim, inputs, p)
    >>> x = jg.ones(2, requires_grad=True)
    >>> with Names() as heard:
    ...     y = (x * x).sum()
    >>> heard.names
    ['mul', 'sum']
    """

    _token: Token[bool | Listening] | None = None

    def __enter__(self) -> Any:
        if self._token is not None:
            raise RuntimeError(f"{type(self).__name__} is already listening: make another one.")
        self._token = set_mode(Listening(self, current_mode(), is_grad_enabled()))
        return self

    def __exit__(self, *exc: object) -> None:
        token, self._token = self._token, None
        if token is not None:
            reset_mode(token)

    def __call__(self, prim: Primitive, inputs: Sequence[Tensor | None], p: tuple[Any, ...]) -> Any:
        return self.run(prim, inputs, p)

    @staticmethod
    def run(prim: Primitive, inputs: Sequence[Tensor | None], p: tuple[Any, ...]) -> Any:
        """Apply the primitive beneath this listener."""
        return apply_many(prim, inputs, p)


def _hear(m: Listening, prim: Primitive, inputs: tuple[Tensor | None, ...], p: tuple[Any, ...]) -> Any:
    """Hand a call to the listener, with the mode beneath it in force."""
    token = set_mode(m.below)
    try:
        return m.listener(prim, inputs, p)
    finally:
        reset_mode(token)
