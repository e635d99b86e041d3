"""In-place ops: the pure op, then a write-back of its result, and the history that this leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitgrad.autograd.door import make_node
from jitgrad.autograd.mode import is_grad_enabled, no_grad
from jitgrad.autograd.node import Leaf, Node, tick
from jitgrad.autograd.primitive import Primitive
from jitgrad.autograd.primitives import (
    AS_STRIDED,
    AS_STRIDED_GRAD,
    AS_STRIDED_SCATTER,
    clone,
    contiguous,
    filled,
    gather_strided,
    sum_to,
)
from jitgrad.autograd.tensor import Tensor, current_node, offset_in_base, stamp_of
from jitgrad.errors import DTypeError, GradError, ShapeError
from jitgrad.shapes import Shape, broadcast_shapes, is_contiguous, memory_span


def _copy_infer(dst: Any, src: Any) -> tuple[Shape, Any]:
    if dst.shape != src.shape and broadcast_shapes(dst.shape, src.shape) != dst.shape:
        raise ShapeError(f"copy_: expected a shape that broadcasts to {dst.shape}, given {src.shape}.")
    if dst.dtype != src.dtype:
        raise DTypeError(f"copy_: expected {dst.dtype}, given {src.dtype}.")
    return dst.shape, dst.dtype


COPY_ = Primitive("copy_", "dst src", _copy_infer, mutates="dst")

# The node that ``x[...] = src`` leaves: x's old value no longer counts, src's gradient is summed over what it was broadcast to.
# Its forward is COPY_.
OVERWRITE = Primitive(
    "overwrite",
    "x src",
    lambda x, src: (x.shape, x.dtype),
    grad_x=lambda g: filled(g.array.shape, 0, g),
    grad_src=lambda g, src_shape: sum_to(g, src_shape),
)


# The node that writing src through a view leaves on the view's base: the region's old value no longer counts. x_strides are
# those of the base, in whose memory (shape, strides, offset) lies. Its forward is COPY_ too.
OVERWRITE_REGION = Primitive(
    "overwrite_region",
    "x src",
    lambda x, src, shape, strides, offset, x_strides: (x.shape, x.dtype),
    grad_x=lambda g, x_shape, shape, strides, offset, x_strides: _without_region(g, x_shape, shape, strides, offset, x_strides),
    grad_src=lambda g, shape, strides, offset, x_strides: gather_strided(g, g.array.shape, x_strides, shape, strides, offset),
)


def _without_region(g: Tensor, x_shape: Shape, shape: Shape, strides: Any, offset: int, x_strides: Any) -> Tensor:
    """g with zeros in the region, which lies in memory laid out as x was."""
    item = g.array.dtype.itemsize
    zeros = filled(shape, 0, g)
    if is_contiguous(x_shape, x_strides, item):
        return AS_STRIDED_SCATTER.apply(contiguous(g), zeros, shape, strides, offset)
    low, high = memory_span(x_shape, x_strides, item)
    flat = AS_STRIDED_GRAD.apply(g, ((high - low) // item,), (item,), x_shape, x_strides, -low)
    flat = AS_STRIDED_SCATTER.apply(flat, zeros, shape, strides, offset - low)
    return AS_STRIDED.apply(flat, x_shape, x_strides, -low, (item,))


def check_writable(t: Tensor, name: str) -> None:
    """Raise, before anything is computed, where an in-place op on t could not be done or recorded."""
    a = t.array
    if a.size and any(s == 0 and n > 1 for s, n in zip(a.strides, a.shape, strict=True)):
        raise GradError(f"{name}: several elements of this expanded view share one place in memory. Try x.clone() first.")
    if not is_grad_enabled():
        return
    node, base = current_node(t), t.base
    if isinstance(node, Leaf):
        raise GradError(
            f"{name}: a leaf that requires gradients cannot be modified in place while operations are recorded. "
            "Do it under jg.no_grad(), or on x.detach(), or work on x.clone()."
        )
    viewed = node
    while isinstance(viewed, Node) and viewed.prim.geometry is not None:
        viewed = viewed.edges[0]
    if isinstance(viewed, Leaf) or (base is not None and isinstance(base.node, Leaf)):
        raise GradError(
            f"{name}: this is a view of a leaf that requires gradients, which cannot be modified in place while operations are recorded. "
            "Do it under jg.no_grad(), or on a clone()."
        )
    if base is not None and base.node is not None and node is None:
        raise GradError(f"{name}: this view was made under no_grad(), and its base requires gradients. Make the view while recording.")


def write(t: Tensor, name: str, compute: Callable[[], Tensor]) -> Tensor:
    """``t = compute()`` in place: check, compute, check the result, write it into t's memory, rewrite t's history."""
    check_writable(t, name)
    start = tick()
    result = compute()
    if result.array.shape != t.array.shape:
        raise ShapeError(f"{name}: the result has shape {result.shape}, and in place it must keep {t.shape}.")
    if result.array.dtype != t.array.dtype:
        raise DTypeError(
            f"{name}: the result is {result.dtype}, which cannot be written into {t.dtype} in place. "
            f"Try the op without the underscore, or x.to({result.dtype.name!r}) first."
        )
    node = current_node(result)
    _keep_old_value(t, node, start)
    return _written(t, result, node, name)


def _keep_old_value(t: Tensor, node: Node | Leaf | None, start: int) -> None:
    """Where what was recorded since start has kept t's memory for backward, let it keep a copy: its value is about to go."""
    stack = [node]
    while stack:
        n = stack.pop()
        if not isinstance(n, Node) or n.seq < start or n.saved is None:
            continue
        kept, *rest = n.saved
        if isinstance(kept, tuple):  # not so where n only hands on one output of several
            n.saved = (tuple(_copied(k) if _on_memory_of(t, k) else k for k in kept), *rest)
        stack.extend(n.edges)


def _on_memory_of(t: Tensor, k: Any) -> bool:
    return k is t or (isinstance(k, Tensor) and t.stamp is not None and k.stamp is t.stamp)


def _copied(x: Tensor) -> Tensor:
    with no_grad():
        copy = clone(x)
    copy.node = current_node(x)
    return copy


def copy_(t: Tensor, src: Tensor, name: str = "copy_") -> Tensor:
    """``t[...] = src`` in place; src broadcasts to t's shape and has its dtype."""
    check_writable(t, name)
    before, after = None if t.base is not None else current_node(t), current_node(src)
    node = None
    if before is not None or after is not None:
        node = make_node(OVERWRITE, (before, after), ((None, None), (), None, None))
        node.shape, node.dtype = t.array.shape, t.array.dtype
    return _written(t, src, node, name)


def _written(t: Tensor, src: Tensor, after: Node | Leaf | None, name: str) -> Tensor:
    """Write src into t's memory; while recording, ``after`` is the node of t's new value."""
    base = t.base
    before = None if base is None else base.node
    COPY_.apply(t, src)
    stamp_of(t)[1] = name
    if is_grad_enabled():
        if base is None:
            t.node = after
        elif before is not None or after is not None:
            x, y = base.array, t.array
            n = make_node(OVERWRITE_REGION, (before, after), ((None, None), (y.shape, y.strides, offset_in_base(t), x.strides), None, None))
            n.shape, n.dtype = x.shape, x.dtype
            base.node = n
    return t
